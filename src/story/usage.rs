//! Tokens by model, each call counted once.
//!
//! Parents repeat the totals of their children, and one call may be reported as several spans and
//! log records. The innermost report counts: what has a descendant that reports tokens of its own is
//! left out, and so is what a mapping marked as repeated, if what it repeats is there. Of a log record
//! that is the span that it happened in; of a span, a log record or what is not marked in its trace.

use super::read::Record;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use utoipa::ToSchema;

/// Tokens of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// The model that answered, else the one that was asked for; absent where no entry says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Calls that report tokens.
    pub calls: u64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// Tokens in and out of calls that report only the sum.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub total_only_tokens: i64,
    /// Tokens in that came from a cache.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub cache_read_input_tokens: i64,
    /// Tokens out that were spent on reasoning.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub reasoning_tokens: i64,
    /// Reports of the same tokens that were not added.
    #[serde(skip_serializing_if = "is_none", default)]
    pub repeated: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// Most levels between two spans that are looked through: a loop of parents ends here.
const MAX_LEVELS: usize = 64;

type Span<'r> = (&'r str, &'r str);

/// The totals of these records by model.
pub(super) fn totals(records: &[Record]) -> Vec<Usage> {
    let parents: HashMap<Span<'_>, Option<Span<'_>>> =
        records.iter().filter_map(|r| Some((r.own_span()?, r.outer_span()))).collect();
    let mut repeated: HashSet<Span<'_>> = HashSet::new();
    let reporting = || records.iter().filter(|record| reports(record));
    for record in reporting().filter(|record| record.own_span().is_some()) {
        let mut above = record.outer_span();
        for _ in 0..MAX_LEVELS {
            let Some(span) = above else { break };
            repeated.insert(span);
            above = parents.get(&span).copied().flatten();
        }
    }
    let mut told: HashSet<Span<'_>> = HashSet::new();
    let mut sums: BTreeMap<Option<&str>, Usage> = BTreeMap::new();
    let unmarked: HashSet<Option<&str>> =
        reporting().filter(|record| !is_marked(record)).map(trace).collect();
    let logged: HashSet<Option<&str>> =
        reporting().filter(|record| record.own_span().is_none()).map(trace).collect();
    let repeats = |record: &Record| {
        let (trace, is_span) = (trace(record), record.own_span().is_some());
        is_marked(record) && (unmarked.contains(&trace) || (is_span && logged.contains(&trace)))
    };
    let firsthand = reporting().filter(|record| !repeats(record));
    let spans: HashSet<Span<'_>> = firsthand.filter_map(Record::own_span).collect();
    for record in reporting() {
        let response = record.doc.gen_ai.response.model.as_deref();
        let model = response.or(record.doc.gen_ai.request.model.as_deref());
        // An agent that only repeats names no model of its own.
        let sum = sums.entry(model).or_default();
        let again = match (record.own_span(), record.outer_span()) {
            (Some(own), _) => repeats(record) || repeated.contains(&own),
            // Log records of a call: the span counts, or what is within it, or the first of them.
            (None, Some(span)) => {
                spans.contains(&span) || repeated.contains(&span) || !told.insert(span)
            }
            (None, None) => repeats(record),
        };
        if again {
            sum.repeated = sum.repeated.saturating_add(1);
        } else {
            add(sum, record);
        }
    }
    let named =
        |(model, sum): (Option<&str>, Usage)| Usage { model: model.map(str::to_owned), ..sum };
    sums.into_iter().map(named).filter(|sum| sum.calls > 0).collect()
}

fn is_marked(record: &Record) -> bool {
    record.doc.gen_ai.usage.repeated
}

fn trace(record: &Record) -> Option<&str> {
    record.doc.trace.id.as_deref()
}

fn reports(record: &Record) -> bool {
    let usage = &record.doc.gen_ai.usage;
    usage.input_tokens.is_some() || usage.output_tokens.is_some() || usage.total_tokens.is_some()
}

fn add(sum: &mut Usage, record: &Record) {
    let usage = &record.doc.gen_ai.usage;
    let plus = |to: &mut i64, more: Option<i64>| *to = to.saturating_add(more.unwrap_or(0));
    sum.calls = sum.calls.saturating_add(1);
    plus(&mut sum.input_tokens, usage.input_tokens);
    plus(&mut sum.output_tokens, usage.output_tokens);
    plus(&mut sum.cache_read_input_tokens, usage.cache_read_input_tokens);
    plus(&mut sum.reasoning_tokens, usage.reasoning_tokens);
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        plus(&mut sum.total_only_tokens, usage.total_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::read::tests::record;
    use serde_json::json;

    fn span(second: u64, id: &str, parent: Option<&str>, tokens: i64) -> Record {
        record(
            second,
            json!({"kind": "llm_call"}),
            json!({
                "trace": {"id": "t"}, "span": {"id": id, "parent_id": parent},
                "gen_ai": {"response": {"model": "m"}, "usage": {"input_tokens": tokens}},
            }),
        )
    }

    #[test]
    fn what_parents_repeat_is_counted_once() {
        let records = [
            span(1, "root", None, 30),
            span(2, "wrapper", Some("root"), 10),
            span(3, "call", Some("wrapper"), 10),
            span(4, "other", Some("root"), 20),
        ];
        let [usage] = &totals(&records)[..] else { panic!("one model") };
        assert_eq!((usage.input_tokens, usage.calls, usage.repeated), (30, 2, 2));
    }

    #[test]
    fn log_records_of_a_call_do_not_count_beside_its_span() {
        let log = |second| {
            record(
                second,
                json!({"kind": "llm_call"}),
                json!({
                    "event": {"dataset": "otlp.log"}, "trace": {"id": "t"}, "span": {"id": "call"},
                    "gen_ai": {"response": {"model": "m"}, "usage": {"input_tokens": 10}},
                }),
            )
        };
        let with_span = totals(&[span(1, "call", None, 10), log(2), log(3)]);
        assert_eq!((with_span[0].input_tokens, with_span[0].repeated), (10, 2));
        let without = totals(&[log(2), log(3)]);
        assert_eq!((without[0].input_tokens, without[0].calls), (10, 1));
    }

    fn details(second: u64, id: &str) -> Record {
        record(
            second,
            json!({"kind": "llm_call"}),
            json!({
                "event": {"dataset": "otlp.log"}, "trace": {"id": "t"}, "span": {"id": id},
                "gen_ai": {"response": {"model": "m"},
                    "usage": {"input_tokens": 10, "repeated": true}},
            }),
        )
    }

    fn marked(span: Record) -> Record {
        let mut span = span;
        span.doc.gen_ai.usage.repeated = true;
        span
    }

    #[test]
    fn log_records_count_where_the_spans_that_they_repeat_did_not_arrive() {
        let sums = |records: &[Record]| {
            let found = totals(records);
            found.iter().map(|sum| (sum.input_tokens, sum.calls, sum.repeated)).collect::<Vec<_>>()
        };
        assert_eq!(sums(&[details(1, "a"), details(2, "b"), details(3, "b")]), [(20, 2, 1)]);
        let one_span = [span(1, "a", None, 10), details(2, "a"), details(3, "b")];
        assert_eq!(sums(&one_span), [(20, 2, 1)], "of the other call there is no span");
        // The record may stand in the agent's span, around that of the call.
        let inside = [span(2, "call", Some("agent"), 10), details(3, "agent")];
        assert_eq!(sums(&inside), [(10, 1, 1)]);
    }

    #[test]
    fn a_span_that_repeats_others_counts_when_none_of_them_arrived() {
        let agent = || marked(span(1, "agent", None, 30));
        assert_eq!(totals(&[agent()])[0].input_tokens, 30);
        let [usage] = &totals(&[agent(), span(2, "call", None, 10)])[..] else { panic!("one") };
        assert_eq!((usage.input_tokens, usage.repeated), (10, 1));
        let [usage] = &totals(&[agent(), details(2, "call")])[..] else { panic!("one") };
        assert_eq!((usage.input_tokens, usage.repeated), (10, 1), "the log tells of a call");
    }

    #[test]
    fn a_loop_of_parents_ends() {
        assert!(totals(&[span(1, "a", Some("b"), 1), span(2, "b", Some("a"), 1)]).is_empty());
    }
}
