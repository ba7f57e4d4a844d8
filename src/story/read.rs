//! What is read of a projected entry: the fields that a story is told by, and nothing of payloads.

use crate::entry::{Outcome, parse_ns};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Which entry: with either of the two a proof can be asked for.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub struct EntryRef {
    /// `event.id` of the entry, 32 hexadecimal digits.
    pub id: String,
    /// `event.sequence`: its place in the ledger.
    pub sequence: u64,
}

/// An entry as far as a story needs it.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Which entry it is.
    pub entry: EntryRef,
    /// Time of its event, nanoseconds since 1970.
    pub event_ns: u64,
    /// When it was over; the time of its event where it does not say.
    pub end_ns: u64,
    /// What it says.
    pub doc: Document,
}

impl Record {
    /// Reads a projected entry. `None` when it is not one: its body was pruned, or a later version
    /// wrote it.
    pub fn read(document: &[u8], event_ns: u64) -> Option<Self> {
        let doc: Document = serde_json::from_slice(document).ok()?;
        let end_ns = doc.event.end.as_deref().and_then(parse_ns).unwrap_or(event_ns).max(event_ns);
        let entry = EntryRef { id: doc.event.id.clone(), sequence: doc.event.sequence };
        Some(Self { entry, event_ns, end_ns, doc })
    }

    /// The canonical outcome of its decision.
    pub fn outcome(&self) -> Option<Outcome> {
        self.doc.audit.decision.outcome.as_deref().and_then(Outcome::from_word)
    }

    /// The trace id that stands for all: the orchestrator's as it came, else OpenTelemetry's.
    pub fn trace_id(&self) -> Option<&str> {
        let external = self.doc.audit.external.trace_id.first();
        external.or(self.doc.trace.id.as_ref()).map(String::as_str)
    }

    /// The span that it is; a log record or an event of a span only belongs to one.
    pub(super) fn own_span(&self) -> Option<(&str, &str)> {
        self.is_span().then(|| self.span())?
    }

    /// The span that it happened in.
    pub(super) fn outer_span(&self) -> Option<(&str, &str)> {
        if !self.is_span() {
            return self.span();
        }
        Some((self.doc.trace.id.as_deref()?, self.doc.span.parent_id.as_deref()?))
    }

    fn span(&self) -> Option<(&str, &str)> {
        Some((self.doc.trace.id.as_deref()?, self.doc.span.id.as_deref()?))
    }

    fn is_span(&self) -> bool {
        self.doc.event.dataset.as_deref().is_none_or(|dataset| dataset == "otlp.span")
    }
}

macro_rules! shape {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
    };
}

type Text = Option<String>;

shape! {
    /// The fields of an entry that a story is told by, under their names.
    #[allow(missing_docs, reason = "each stands under the name that docs/fields.md describes")]
    Document {
        #[serde(rename = "@timestamp")]
        timestamp: Text,
        message: Text,
        organization: Identified,
        event: Event,
        audit: Audit,
        trace: Identified,
        span: Span,
        user: User,
        service: Named,
        gen_ai: GenAi,
        error: Option<serde::de::IgnoredAny>,
        attributes: Attributes,
    }
}
shape! {
    /// An object with an id.
    #[allow(missing_docs, reason = "see Document")]
    Identified { id: Text, }
}
shape! {
    /// An object with a name.
    #[allow(missing_docs, reason = "see Document")]
    Named { id: Text, name: Text, version: Text, }
}
shape! {
    /// `event.*`
    #[allow(missing_docs, reason = "see Document")]
    Event {
        id: String, sequence: u64, action: Text, outcome: Text, reason: Text, end: Text, dataset: Text,
    }
}
shape! {
    /// `span.*`
    #[allow(missing_docs, reason = "see Document")]
    Span { id: Text, parent_id: Text, name: Text, status: Text, }
}
shape! {
    /// `user.*`
    #[allow(missing_docs, reason = "see Document")]
    User { id: Text, name: Text, email: Text, }
}
shape! {
    /// `attributes.*`: the numbers that a source gives to its own records.
    #[allow(missing_docs, reason = "see Document")]
    Attributes {
        #[serde(rename = "audit.sequence.number")]
        sequence_number: Option<Value>,
        #[serde(rename = "audit.sequence.stream_id")]
        sequence_stream: Option<Value>,
    }
}
shape! {
    /// `gen_ai.*`
    #[allow(missing_docs, reason = "see Document")]
    GenAi {
        agent: Named, tool: Tool, request: Model, response: Model, provider: Named, usage: Tokens,
    }
}
shape! {
    /// `gen_ai.tool.*`
    #[allow(missing_docs, reason = "see Document")]
    Tool { name: Text, call: Identified, }
}
shape! {
    /// `gen_ai.request.*`, `gen_ai.response.*`
    #[allow(missing_docs, reason = "see Document")]
    Model { model: Text, }
}
shape! {
    /// `gen_ai.usage.*`
    #[allow(missing_docs, clippy::struct_field_names, reason = "the names of gen_ai.usage")]
    Tokens {
        input_tokens: Option<i64>, output_tokens: Option<i64>, total_tokens: Option<i64>,
        reasoning_tokens: Option<i64>, cache_read_input_tokens: Option<i64>,
        cost: Option<Value>, repeated: bool,
    }
}
shape! {
    /// `audit.*`
    #[allow(missing_docs, reason = "see Document")]
    Audit {
        kind: String, request_type: Text, actor: Actor, target: Actor, decision: Decision, policy: Policy,
        approval: ApprovalPart, workflow: Workflow, run: Named, step: Step, job: Job,
        external: External, action: ActionPart, output_safety: Safety, interrupt: Interrupt,
        claims: Claims, change: Vec<Value>, guardrail: Named, session: Session,
    }
}
shape! {
    /// `audit.actor.*`, `audit.target.*`
    #[allow(missing_docs, reason = "see Document")]
    Actor { id: Text, #[serde(rename = "type")] kind: Text, source: Text, }
}
shape! {
    /// `audit.decision.*`
    #[allow(missing_docs, reason = "see Document")]
    Decision {
        id: Text, outcome: Text, raw: Text, reason: Text, phase: Text, source: Text, stage: Text,
        confidence: Option<Value>, attestation: Text, enforcement: Text,
    }
}
shape! {
    /// `audit.policy.*`
    #[allow(missing_docs, reason = "see Document")]
    Policy {
        id: Vec<String>, name: Text, rule_id: Text, layer: Text, snapshot: Text, version: Text,
        evaluated: Option<Value>, matched: Option<Value>, snapshot_before: Text, snapshot_after: Text,
    }
}
shape! {
    /// `audit.approval.*`
    #[allow(missing_docs, reason = "see Document")]
    ApprovalPart {
        id: Text, status: Text, required: Option<bool>, resolution: Text, resolved_by: Text,
        resolved_at: Text, comment: Text, url: Text,
    }
}
shape! {
    /// `audit.workflow.*`
    #[allow(missing_docs, reason = "see Document")]
    Workflow { id: Text, name: Text, status: Text, }
}
shape! {
    /// `audit.step.*`
    #[allow(missing_docs, reason = "see Document")]
    Step { id: Text, name: Text, #[serde(rename = "type")] kind: Text, result: Text, }
}
shape! {
    /// `audit.job.*`
    #[allow(missing_docs, reason = "see Document")]
    Job { id: Text, hash: Text, state: Text, context_ptr: Text, result_ptr: Text, }
}
shape! {
    /// `audit.external.*`
    #[allow(missing_docs, reason = "see Document")]
    External { trace_id: Vec<String>, }
}
shape! {
    /// `audit.action.*`
    #[allow(missing_docs, reason = "see Document")]
    ActionPart { key: Text, scope: Text, args_hash: Text, }
}
shape! {
    /// `audit.output_safety.*`
    #[allow(missing_docs, reason = "see Document")]
    Safety { decision: Text, raw: Text, rule_id: Text, reason: Text, }
}
shape! {
    /// `audit.interrupt.*`
    #[allow(missing_docs, reason = "see Document")]
    Interrupt { reason: Text, responder: Text, response: Text, }
}
shape! {
    /// `audit.session.*`
    #[allow(missing_docs, reason = "see Document")]
    Session { thread_id: Text, }
}
shape! {
    /// `audit.claims.*`
    #[allow(missing_docs, reason = "see Document")]
    Claims { tenant_id: Text, client_id: Text, }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::entry::format_ns;
    use serde_json::json;

    /// A record at that second with these fields of `audit`, and what else it has.
    #[allow(clippy::needless_pass_by_value, reason = "reads as the JSON that it is")]
    pub(crate) fn record(second: u64, audit: Value, more: Value) -> Record {
        let event_ns = second.saturating_mul(1_000_000_000);
        let mut doc = json!({
            "@timestamp": format_ns(event_ns),
            "event": {"id": format!("e{second}"), "sequence": second},
            "audit": audit,
        });
        merge(&mut doc, more);
        Record::read(doc.to_string().as_bytes(), event_ns).unwrap()
    }

    fn merge(into: &mut Value, more: Value) {
        match (into, more) {
            (Value::Object(into), Value::Object(more)) => {
                for (key, value) in more {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, more) if !more.is_null() => *into = more,
            _ => {}
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let text =
            br#"{"event":{"id":"a","sequence":3,"mood":1},"audit":{"kind":"x","new":{}},"z":[]}"#;
        let record = Record::read(text, 7).unwrap();
        assert_eq!((record.entry.sequence, record.event_ns, record.end_ns), (3, 7, 7));
        assert_eq!(record.doc.audit.kind, "x");
        assert!(Record::read(b"not json", 7).is_none());
    }

    #[test]
    fn the_orchestrators_own_trace_id_stands_before_opentelemetrys() {
        let more = json!({"trace": {"id": "4bf9"}});
        let both = record(1, json!({"external": {"trace_id": ["ls-1"]}}), more.clone());
        assert_eq!(both.trace_id(), Some("ls-1"));
        assert_eq!(record(1, json!({}), more).trace_id(), Some("4bf9"));
    }
}
