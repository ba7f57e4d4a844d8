//! Which documents a search asks for: the few kinds of query that are sent, and nothing else.
//!
//! Names of fields are `&'static str`: they stand in this program or come from the table of fields
//! ([`known_field`]). What a user wrote is only ever a value. There is no query string, no script,
//! no expression: a value cannot become a part of the language.

use crate::elasticsearch::fields;
use crate::entry::format_ns;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The last nanosecond that the type `date_nanos` holds: 2262-04-11T23:47:16.854775807Z.
const LAST_NS: u64 = i64::MAX.unsigned_abs();

/// Most values of one [`Filter::Terms`]: half of the cluster's own default of 65,536
/// (`index.max_terms_count`), so that a cluster with another bound has room.
pub const MAX_TERMS: usize = 32_768;

/// Which documents are asked for. Nothing in it is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every document.
    All,
    /// None.
    None,
    /// The field has this value.
    Term(&'static str, String),
    /// The field has one of these values, at most [`MAX_TERMS`].
    Terms(&'static str, Vec<String>),
    /// The field has a value that starts so.
    Prefix(&'static str, String),
    /// The field has a value of this pattern, in any case of ASCII letters.
    Pattern(&'static str, Vec<Piece>),
    /// The field has a value between two times, both included, nanoseconds since 1970.
    Between(&'static str, u64, u64),
    /// The field has a whole number between the two, both included.
    Numbers(&'static str, u64, u64),
    /// The field has a value.
    Exists(&'static str),
    /// Documents of these ids, at most [`MAX_TERMS`].
    Ids(Vec<String>),
    /// All of them.
    And(Vec<Filter>),
    /// At least one of them.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// One character, whichever.
    One,
    /// Any characters, also none.
    Any,
}

static NAMES: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| fields::all().into_iter().map(|field| field.name).collect());

/// The name of a field that documents have, when there is one of that name.
///
/// ```
/// use spanledger::elasticsearch::search::known_field;
/// assert_eq!(known_field("audit.run.id"), Some("audit.run.id"));
/// assert_eq!(known_field("audit.run.id\" : 1"), None);
/// ```
pub fn known_field(name: &str) -> Option<&'static str> {
    NAMES.get(name).map(String::as_str)
}

impl Filter {
    /// All of them; what says nothing is left out.
    pub fn and(parts: impl IntoIterator<Item = Filter>) -> Self {
        let mut parts: Vec<Filter> =
            parts.into_iter().filter(|part| *part != Filter::All).collect();
        if parts.contains(&Filter::None) {
            return Filter::None;
        }
        match (parts.len(), parts.pop()) {
            (_, None) => Filter::All,
            (1, Some(only)) => only,
            (_, Some(last)) => {
                parts.push(last);
                Filter::And(parts)
            }
        }
    }

    /// At least one of them; what nothing fulfils is left out.
    pub fn or(parts: impl IntoIterator<Item = Filter>) -> Self {
        let mut parts: Vec<Filter> =
            parts.into_iter().filter(|part| *part != Filter::None).collect();
        if parts.contains(&Filter::All) {
            return Filter::All;
        }
        match (parts.len(), parts.pop()) {
            (_, None) => Filter::None,
            (1, Some(only)) => only,
            (_, Some(last)) => {
                parts.push(last);
                Filter::Or(parts)
            }
        }
    }

    /// Not this.
    #[allow(clippy::should_implement_trait, reason = "a constructor beside `and` and `or`")]
    pub fn not(inner: Filter) -> Self {
        Filter::Not(Box::new(inner))
    }

    /// The query as the cluster reads it.
    pub fn to_json(&self) -> Value {
        let each = |parts: &[Filter]| parts.iter().map(Filter::to_json).collect::<Vec<_>>();
        let of = |field: &str, value: Value| {
            Value::Object([(field.to_owned(), value)].into_iter().collect())
        };
        match self {
            Filter::All => json!({ "match_all": {} }),
            Filter::None => json!({ "match_none": {} }),
            Filter::Term(field, value) => json!({ "term": of(field, json!({ "value": value })) }),
            Filter::Terms(field, values) => json!({ "terms": of(field, json!(values)) }),
            Filter::Prefix(field, start) => {
                json!({ "prefix": of(field, json!({ "value": start })) })
            }
            Filter::Pattern(field, pieces) => {
                let pattern = json!({ "value": pattern(pieces), "case_insensitive": true });
                json!({ "wildcard": of(field, pattern) })
            }
            Filter::Between(field, first, last) => {
                let bounds = json!({
                    "gte": format_ns((*first).min(LAST_NS)),
                    "lte": format_ns((*last).min(LAST_NS)),
                    "format": "strict_date_optional_time_nanos",
                });
                json!({ "range": of(field, bounds) })
            }
            Filter::Numbers(field, first, last) => {
                // A `long` ends here, and so do the numbers that it can hold.
                let bounds = json!({ "gte": (*first).min(LAST_NS), "lte": (*last).min(LAST_NS) });
                json!({ "range": of(field, bounds) })
            }
            Filter::Exists(field) => json!({ "exists": { "field": field } }),
            Filter::Ids(ids) => json!({ "ids": { "values": ids } }),
            Filter::And(parts) => json!({ "bool": { "filter": each(parts) } }),
            Filter::Or(parts) => {
                json!({ "bool": { "should": each(parts), "minimum_should_match": 1 } })
            }
            Filter::Not(inner) => json!({ "bool": { "must_not": [inner.to_json()] } }),
        }
    }
}

/// A pattern as `wildcard` reads it: what is text stays text.
fn pattern(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::One => out.push('?'),
            Piece::Any => out.push('*'),
            Piece::Text(text) => {
                for c in text.chars() {
                    if matches!(c, '*' | '?' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let term = || Filter::Term("audit.kind", "span".to_owned());
        assert_eq!(Filter::and([Filter::All, term()]), term());
        assert_eq!(Filter::and([]), Filter::All);
        assert_eq!(Filter::and([term(), Filter::None]), Filter::None);
        assert_eq!(Filter::or([Filter::None, term()]), term());
        assert_eq!(Filter::or([]), Filter::None);
        assert_eq!(Filter::or([term(), Filter::All]), Filter::All);
    }

    #[test]
    fn a_value_stays_a_value() {
        let evil = r#"x"}},{"match_all":{"#;
        let query = Filter::Term("audit.kind", evil.to_owned()).to_json();
        assert_eq!(query["term"]["audit.kind"]["value"], evil);
        let pieces = vec![Piece::Text("a*b?\\".to_owned()), Piece::Any];
        let query = Filter::Pattern("audit.kind", pieces).to_json();
        assert_eq!(query["wildcard"]["audit.kind"]["value"], r"a\*b\?\\*");
    }

    #[test]
    fn bounds_beyond_what_the_types_hold_are_their_ends() {
        let query = Filter::Between("@timestamp", 0, u64::MAX).to_json();
        assert_eq!(query["range"]["@timestamp"]["lte"], "2262-04-11T23:47:16.854775807Z");
        let query = Filter::Numbers("event.sequence", 7, u64::MAX).to_json();
        assert_eq!(query["range"]["event.sequence"]["lte"], i64::MAX);
    }
}
