//! What queries need from a body, read in one pass and borrowed where it can be.
//!
//! ```text
//! {"schema_version":1,"@timestamp":…,"trace_id":[…],"event":{…},"audit":{…},…,"resource":{…}}
//!                      time          ids            fields      fields, ids, texts   skipped
//! ```
//!
//! The reader walks the JSON along a table (`take`): at each key it goes in, takes the value as a
//! field, an id or free text, or skips it. It never fails: a body that is not what this version
//! writes gives what was read before the reader lost its way, and says so.

use super::fields::Field;
use crate::correlate::{Id, Member, Namespace, PauseKind};
use crate::entry::parse_ns;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;

/// Free text of one entry that is searched, in bytes. A transcript of a book is kept whole; its
/// first 64 KiB are searched.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What queries need from a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facets<'a> {
    /// Time of the event, nanoseconds since 1970; absent when the source's was not plausible.
    pub event_ns: Option<u64>,
    /// Every id, each once: other spellings of a trace id are left out.
    pub ids: Vec<Id<'a>>,
    /// Known fields with their values, in the order of the body. A field with several values
    /// stands several times.
    pub fields: Vec<(Field, Cow<'a, str>)>,
    /// Texts that have no field of their own: payloads, attributes, events, bodies of logs.
    pub texts: Vec<Cow<'a, str>>,
    /// Whether the body was not what this version writes, so that something may be missing.
    pub malformed: bool,
    /// Whether there was more text than [`MAX_TEXT_BYTES`].
    pub text_was_cut: bool,
    parent: Option<Cow<'a, str>>,
    text_bytes: usize,
}

impl<'a> Facets<'a> {
    /// Reads a body.
    pub fn from_body(body: &'a [u8]) -> Self {
        let mut facets = Facets {
            ids: Vec::with_capacity(16),
            fields: Vec::with_capacity(24),
            texts: Vec::with_capacity(24),
            ..Facets::default()
        };
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = Walk { node: Node::Root, out: &mut facets }.deserialize(&mut json);
        facets.malformed = read.is_err() || json.end().is_err();
        facets.reduce_trace_ids();
        facets
    }

    /// The values of a field.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(f, _)| *f == field).map(|(_, value)| value.as_ref())
    }

    /// The first value of a field.
    pub fn value(&self, field: Field) -> Option<&str> {
        self.values(field).next()
    }

    /// The ids of a namespace.
    pub fn ids_in(&self, namespace: Namespace) -> impl Iterator<Item = &Id<'a>> {
        self.ids.iter().filter(move |id| id.namespace == namespace)
    }

    /// Every text that a bare word is looked for in: known fields and the rest.
    pub fn all_text(&self) -> impl Iterator<Item = &str> {
        let known = self.fields.iter().map(|(_, value)| value.as_ref());
        known.chain(self.texts.iter().map(AsRef::as_ref))
    }

    /// What the entry did to its thread: stopped a run, or resumed one. Question and answer in one
    /// entry are neither: nothing is left to be paired.
    pub fn pause(&self) -> Option<PauseKind> {
        let has = |field| self.value(field).is_some();
        let asked = has(Field::InterruptReason);
        let answered = has(Field::InterruptResponse) || has(Field::InterruptResponder);
        match (asked, answered) {
            (true, true) => None,
            (false, true) => Some(PauseKind::Resume),
            (true, false) => Some(PauseKind::Interrupt),
            (false, false) => {
                (self.value(Field::Kind) == Some("interrupt")).then_some(PauseKind::Interrupt)
            }
        }
    }

    /// What a group needs to know of the entry. `received_ns` stands in for a missing event time.
    pub fn member(&self, sequence: u64, entry: [u8; 16], received_ns: u64) -> Member {
        let mut ids: Vec<Id<'static>> = self
            .ids
            .iter()
            .filter(|id| id.namespace.is_strong())
            .map(|id| id.clone().into_owned())
            .collect();
        ids.sort_by_key(|id| id.namespace);
        // A log record, and an event of a span, happened within the span whose id they carry.
        let own = self.ids_in(Namespace::Span).next().map(|id| span_number(&id.text));
        let is_span = self.value(Field::Dataset).is_none_or(|d| d == "otlp.span");
        let above = self.parent.as_deref().map(span_number);
        let thread = self.ids_in(Namespace::Thread).next();
        Member {
            sequence,
            entry,
            event_ns: self.event_ns.unwrap_or(received_ns),
            span: own.filter(|_| is_span),
            parent: if is_span { above } else { own },
            ids,
            pause: self.pause().and_then(|kind| Some((thread?.clone().into_owned(), vec![kind]))),
        }
    }

    /// Of several spellings of one trace id the whole one stays, or the first.
    fn reduce_trace_ids(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        // Whole ids first, so that their halves are found to be halves.
        ids.sort_by_key(|id| (id.namespace, std::cmp::Reverse(id.text.len().min(32))));
        for id in ids {
            let known = self.ids.iter().any(|seen| seen.is_same_as(&id));
            if !known {
                self.ids.push(id);
            }
        }
    }

    fn take_text(&mut self, text: Cow<'a, str>) {
        let room = MAX_TEXT_BYTES.saturating_sub(self.text_bytes);
        self.text_was_cut |= text.len() > room;
        if text.is_empty() || room == 0 {
            return;
        }
        let text = cut(text, room);
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        self.texts.push(text);
    }

    fn take_id(&mut self, namespace: Namespace, text: Cow<'a, str>) {
        let there = |id: &Id<'_>| id.namespace == namespace && id.text == text;
        if !text.is_empty() && !self.ids.iter().any(there) {
            self.ids.push(Id { namespace, text });
        }
    }
}

fn cut(text: Cow<'_, str>, room: usize) -> Cow<'_, str> {
    if text.len() <= room {
        return text;
    }
    let end = text.floor_char_boundary(room);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// A number for a span id: its own when it is 16 hexadecimal digits, else one made of its bytes.
fn span_number(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|_| {
        // FNV-1a: two odd ids that fall together only change the order of one moment.
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
}

/// Where in a body the reader is.
#[derive(Debug, Clone, Copy)]
enum Node {
    Root,
    Event,
    Audit,
    Actor,
    Target,
    Record,
    Decision,
    Policy,
    Approval,
    Workflow,
    Run,
    Step,
    Job,
    Session,
    External,
    ActionPart,
    Safety,
    Handoff,
    Interrupt,
    Guardrail,
    Rejection,
    Payload,
    Trace,
    Span,
    Log,
    User,
    Service,
    Error,
    GenAi,
    Operation,
    Provider,
    Request,
    Response,
    Agent,
    Tool,
    ToolCall,
    Conversation,
    SpanEvent,
}

/// What is done with the value of a key.
#[derive(Debug, Clone, Copy)]
enum Take {
    Enter(Node),
    Field(Field),
    Id(Namespace),
    IdAndField(Namespace, Field),
    Text,
    Timestamp,
    Parent,
    Skip,
}

/// The table: which values of a body queries need.
#[allow(clippy::too_many_lines, clippy::match_same_arms, reason = "a table")]
fn take(node: Node, key: &str) -> Take {
    use Field as F;
    use Namespace as N;
    use Take::{Enter, Id, IdAndField, Skip, Text};
    let field = Take::Field;
    match (node, key) {
        (Node::Root, "@timestamp") => Take::Timestamp,
        (Node::Root, "trace_id") => Id(N::Trace),
        (Node::Root, "message") => field(F::Message),
        (Node::Root, "event") => Enter(Node::Event),
        (Node::Root, "audit") => Enter(Node::Audit),
        (Node::Root, "trace") => Enter(Node::Trace),
        (Node::Root, "span") => Enter(Node::Span),
        (Node::Root, "log") => Enter(Node::Log),
        (Node::Root, "user") => Enter(Node::User),
        (Node::Root, "service") => Enter(Node::Service),
        (Node::Root, "gen_ai") => Enter(Node::GenAi),
        (Node::Root, "error") => Enter(Node::Error),
        (Node::Root, "events") => Enter(Node::SpanEvent),
        (Node::Root, "attributes" | "body") => Text,

        (Node::Event, "action") => field(F::Action),
        (Node::Event, "outcome") => field(F::EventOutcome),
        (Node::Event, "reason") => field(F::EventReason),
        (Node::Event, "dataset") => field(F::Dataset),

        (Node::Audit, "kind") => field(F::Kind),
        (Node::Audit, "mapping") => field(F::Mapping),
        (Node::Audit, "request_type") => field(F::RequestType),
        (Node::Audit, "flags") => field(F::Flags),
        (Node::Audit, "actor") => Enter(Node::Actor),
        (Node::Audit, "target") => Enter(Node::Target),
        (Node::Audit, "record") => Enter(Node::Record),
        (Node::Audit, "decision") => Enter(Node::Decision),
        (Node::Audit, "policy") => Enter(Node::Policy),
        (Node::Audit, "approval") => Enter(Node::Approval),
        (Node::Audit, "workflow") => Enter(Node::Workflow),
        (Node::Audit, "run") => Enter(Node::Run),
        (Node::Audit, "step") => Enter(Node::Step),
        (Node::Audit, "job") => Enter(Node::Job),
        (Node::Audit, "session") => Enter(Node::Session),
        (Node::Audit, "external") => Enter(Node::External),
        (Node::Audit, "action") => Enter(Node::ActionPart),
        (Node::Audit, "output_safety") => Enter(Node::Safety),
        (Node::Audit, "handoff") => Enter(Node::Handoff),
        (Node::Audit, "interrupt") => Enter(Node::Interrupt),
        (Node::Audit, "guardrail") => Enter(Node::Guardrail),
        (Node::Audit, "rejection") => Enter(Node::Rejection),
        (Node::Audit, "payload") => Enter(Node::Payload),
        (Node::Audit, "branch" | "change" | "claims") => Text,

        (Node::Actor, "id") => Id(N::Actor),
        (Node::Actor, "type") => field(F::ActorType),
        (Node::Actor, "source") => field(F::ActorSource),
        (Node::Target, "id") => Text,
        (Node::Target, "type") => field(F::TargetType),
        (Node::Record, "id") => Id(N::Record),

        (Node::Decision, "id") => Id(N::Decision),
        (Node::Decision, "outcome") => field(F::Outcome),
        (Node::Decision, "raw") => field(F::OutcomeRaw),
        (Node::Decision, "reason") => field(F::Reason),
        (Node::Decision, "phase") => field(F::Phase),
        (Node::Decision, "source") => field(F::DecisionSource),
        (Node::Decision, "stage") => field(F::Stage),
        (Node::Decision, "enforcement") => field(F::Enforcement),

        (Node::Policy, "id") => field(F::PolicyId),
        (Node::Policy, "name") => field(F::PolicyName),
        (Node::Policy, "rule_id") => field(F::PolicyRule),
        (Node::Policy, "layer") => field(F::PolicyLayer),
        (Node::Policy, "snapshot") => field(F::PolicySnapshot),
        (Node::Policy, "version") => field(F::PolicyVersion),
        (Node::Policy, "evaluated" | "matched" | "snapshot_before" | "snapshot_after") => Text,

        (Node::Approval, "id") => Id(N::Approval),
        (Node::Approval, "status") => field(F::ApprovalStatus),
        (Node::Approval, "resolution") => field(F::ApprovalResolution),
        (Node::Approval, "resolved_by") => field(F::ResolvedBy),
        (Node::Approval, "comment") => field(F::ApprovalComment),
        (Node::Approval, "url") => Text,

        (Node::Workflow, "id") => Id(N::Workflow),
        (Node::Workflow, "name") => field(F::WorkflowName),
        (Node::Workflow, "source") => field(F::WorkflowSource),
        (Node::Workflow, "status") => field(F::WorkflowStatus),
        (Node::Run, "id") => Id(N::Run),
        (Node::Run, "name") => field(F::RunName),
        (Node::Step, "id") => Id(N::Step),
        (Node::Step, "name") => field(F::StepName),
        (Node::Step, "type") => field(F::StepType),
        (Node::Step, "result") => field(F::StepResult),
        (Node::Job, "id") => Id(N::Job),
        (Node::Job, "state") => field(F::JobState),
        (Node::Job, "hash" | "context_ptr" | "result_ptr") => Text,
        (Node::Session, "id") => Id(N::Session),
        (Node::Session, "thread_id") => Id(N::Thread),
        (Node::External, "trace_id") => Id(N::Trace),
        (Node::ActionPart, "scope") => field(F::ActionScope),
        (Node::ActionPart, "key" | "args_hash") => Text,
        (Node::Safety, "decision") => field(F::SafetyOutcome),
        (Node::Safety, "rule_id") => field(F::SafetyRule),
        (Node::Safety, "reason") => field(F::SafetyReason),
        (Node::Safety, "raw") => Text,
        (Node::Handoff, "source") => field(F::HandoffSource),
        (Node::Handoff, "target") => field(F::HandoffTarget),
        (Node::Handoff, "intent") => field(F::HandoffIntent),
        (Node::Interrupt, "reason") => field(F::InterruptReason),
        (Node::Interrupt, "responder") => field(F::InterruptResponder),
        (Node::Interrupt, "response") => field(F::InterruptResponse),
        (Node::Guardrail, "name") => field(F::GuardrailName),
        (Node::Guardrail, "status") => field(F::GuardrailStatus),
        (Node::Rejection, "reason") => field(F::RejectionReason),
        (Node::Rejection, "endpoint" | "hash") => Text,
        (Node::Payload, "text" | "hash") => Text,

        (Node::Trace, "id") => Id(N::Trace),
        (Node::Span, "id") => Id(N::Span),
        (Node::Span, "parent_id") => Take::Parent,
        (Node::Span, "name") => field(F::SpanName),
        (Node::Span, "status") => field(F::SpanStatus),
        (Node::Span, "status_message") => field(F::SpanStatusMessage),
        (Node::Log, "level") => field(F::LogLevel),
        (Node::Log, "event_name") => field(F::LogEvent),
        (Node::User, "id" | "email") => Id(N::User),
        (Node::User, "name") => IdAndField(N::User, F::UserName),
        (Node::Service, "name") => field(F::Service),
        (Node::Service, "environment") => field(F::Environment),
        (Node::Error, "type") => field(F::ErrorType),
        (Node::Error, "message") => field(F::ErrorMessage),

        (Node::GenAi, "operation") => Enter(Node::Operation),
        (Node::GenAi, "provider") => Enter(Node::Provider),
        (Node::GenAi, "request") => Enter(Node::Request),
        (Node::GenAi, "response") => Enter(Node::Response),
        (Node::GenAi, "agent") => Enter(Node::Agent),
        (Node::GenAi, "tool") => Enter(Node::Tool),
        (Node::GenAi, "conversation") => Enter(Node::Conversation),
        (Node::Operation, "name") => field(F::Operation),
        (Node::Provider, "name") => field(F::Provider),
        (Node::Request, "model") => field(F::RequestModel),
        (Node::Response, "model") => field(F::ResponseModel),
        (Node::Response, "finish_reasons") => field(F::FinishReasons),
        (Node::Response, "id") => Text,
        (Node::Agent, "id") => field(F::AgentId),
        (Node::Agent, "name") => field(F::AgentName),
        (Node::Agent, "version") => field(F::AgentVersion),
        (Node::Tool, "name") => field(F::Tool),
        (Node::Tool, "type") => field(F::ToolType),
        (Node::Tool, "call") => Enter(Node::ToolCall),
        (Node::ToolCall, "id") => Id(N::ToolCall),
        (Node::Conversation, "id") => Id(N::Conversation),

        (Node::SpanEvent, "name" | "attributes") => Text,
        _ => Skip,
    }
}

/// What the index knows of the values at a dotted path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// They are a field's.
    Field(Field),
    /// They are ids.
    Id(Namespace),
    /// Their words are searched with all other text.
    Text,
    /// Nothing: an entry has to be read to know.
    None,
}

/// What the index knows of the values at a dotted path of the body.
pub(super) fn coverage(path: &str) -> Coverage {
    let mut node = Node::Root;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        match take(node, segment) {
            Take::Enter(inner) => node = inner,
            Take::Text if path.contains("stacktrace") => return Coverage::None,
            Take::Text => return Coverage::Text,
            Take::Field(field) if segments.peek().is_none() => return Coverage::Field(field),
            Take::Id(namespace) | Take::IdAndField(namespace, _) if segments.peek().is_none() => {
                return Coverage::Id(namespace);
            }
            _ => return Coverage::None,
        }
    }
    Coverage::None
}

/// Walks an object, or each object of an array, along the table.
struct Walk<'o, 'a> {
    node: Node,
    out: &'o mut Facets<'a>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Values that are not what the table expects are passed over, whatever they are.
macro_rules! ignore_scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<(), E> { Ok(()) })*
        fn visit_unit<E>(self) -> Result<(), E> { Ok(()) }
    };
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of an audit entry")
    }

    ignore_scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            match take(self.node, &key) {
                Take::Enter(node) => map.next_value_seed(Walk { node, out: &mut *self.out })?,
                Take::Skip => {
                    map.next_value::<IgnoredAny>()?;
                }
                take => map.next_value_seed(Leaves { take, out: &mut *self.out })?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { node: self.node, out: &mut *self.out })?.is_some() {}
        Ok(())
    }
}

/// Takes every text at or below a value.
struct Leaves<'o, 'a> {
    take: Take,
    out: &'o mut Facets<'a>,
}

impl<'a> Leaves<'_, 'a> {
    fn leaf(self, text: Cow<'a, str>) {
        let out = self.out;
        match self.take {
            Take::Field(field) => out.fields.push((field, cut(text, MAX_TEXT_BYTES))),
            Take::Id(namespace) => out.take_id(namespace, text),
            Take::IdAndField(namespace, field) => {
                out.take_id(namespace, text.clone());
                out.fields.push((field, text));
            }
            Take::Text => out.take_text(text),
            Take::Timestamp => out.event_ns = read_time(&text),
            Take::Parent => out.parent = Some(text),
            Take::Enter(_) | Take::Skip => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Leaves<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaves<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value of an audit entry")
    }

    ignore_scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.leaf(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.leaf(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            // A stack trace is long and its words are in nobody's question.
            if key.ends_with("stacktrace") {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Leaves { take: self.take, out: &mut *self.out })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Leaves { take: self.take, out: &mut *self.out })?.is_some() {}
        Ok(())
    }
}

/// RFC 3339 with any fraction.
fn read_time(text: &str) -> Option<u64> {
    parse_ns(text).or_else(|| {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    })
}

/// A string, borrowed when it has no escapes. (Serde's own `Cow` never borrows.)
struct Text<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Json, Kind, Outcome, Payload};
    use proptest::prelude::*;

    fn body(entry: &Entry<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        body
    }

    #[test]
    fn time_ids_fields_and_texts_are_read_from_a_body() {
        let mut entry = Entry::new(Kind::Decision);
        entry.timestamp = "2026-11-21T06:12:09.767677952Z".into();
        entry.trace_id = vec!["4bf92f3577b34da6a3ce929d0e0e4736".into(), "langsmith-1".into()];
        entry.audit.decision.outcome = Some(Outcome::Block);
        entry.audit.decision.reason = Some("too \"risky\"".into());
        entry.audit.policy.id = Some(vec!["p1".into(), "p2".into()]);
        entry.audit.run.id = Some("7".into());
        entry.user.name = Some("Ada".into());
        entry.audit.payload = vec![Payload { text: Some("pay up".into()), ..Payload::default() }];
        entry
            .attributes
            .push("a.b".into(), Json::List(vec![Json::Text("deep".into()), Json::Int(3)]));
        entry.resource.push("host".into(), Json::Text("not searched".into()));
        let body = body(&entry);
        let facets = Facets::from_body(&body);

        assert!(!facets.malformed);
        assert_eq!(facets.event_ns, Some(1_795_241_529_767_677_952));
        assert_eq!(facets.value(Field::Outcome), Some("block"));
        assert_eq!(facets.value(Field::Reason), Some("too \"risky\""));
        assert_eq!(facets.values(Field::PolicyId).collect::<Vec<_>>(), ["p1", "p2"]);
        assert_eq!(facets.texts, ["pay up", "deep"]);
        let ids: Vec<_> = facets.ids.iter().map(|i| (i.namespace, i.text.as_ref())).collect();
        assert_eq!(
            ids,
            [
                (Namespace::Trace, "4bf92f3577b34da6a3ce929d0e0e4736"),
                (Namespace::Trace, "langsmith-1"),
                (Namespace::Run, "7"),
                (Namespace::User, "Ada"),
            ]
        );
    }

    #[test]
    fn other_spellings_of_a_trace_id_are_left_out() {
        let mut entry = Entry::new(Kind::Span);
        let hex = "4bf92f3577b34da6a3ce929d0e0e4736";
        for form in [
            "a3ce929d0e0e4736",
            "11803532876627986230",
            hex,
            "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        ] {
            entry.add_trace_id(form.into());
        }
        entry.trace.id = Some(hex.into());
        let body = body(&entry);
        let ids = Facets::from_body(&body).ids;
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(ids[0].is_same_as(&Id::new(Namespace::Trace, hex)));
    }

    #[test]
    fn a_question_an_answer_and_both_in_one_are_told_apart() {
        let pause = |kind, reason: Option<&'static str>, response: Option<&'static str>| {
            let mut entry = Entry::new(kind);
            entry.audit.interrupt.reason = reason.map(Into::into);
            entry.audit.interrupt.response = response.map(Into::into);
            Facets::from_body(&body(&entry)).pause()
        };
        assert_eq!(pause(Kind::Interrupt, None, None), Some(PauseKind::Interrupt));
        assert_eq!(pause(Kind::Span, Some("approve?"), None), Some(PauseKind::Interrupt));
        assert_eq!(pause(Kind::WorkflowRun, None, Some("yes")), Some(PauseKind::Resume));
        assert_eq!(pause(Kind::Interrupt, Some("approve?"), Some("yes")), None);
        assert_eq!(pause(Kind::Span, None, None), None);
    }

    #[test]
    fn the_path_of_every_field_leads_to_it() {
        for field in Field::ALL.iter().filter(|f| **f != Field::UserName) {
            assert_eq!(coverage(field.path()), Coverage::Field(*field), "{}", field.path());
        }
        assert_eq!(coverage("audit.run.id"), Coverage::Id(Namespace::Run));
        assert_eq!(coverage("attributes.a.b"), Coverage::Text);
        assert_eq!(coverage("resource.host.name"), Coverage::None);
        assert_eq!(coverage(""), Coverage::None);
    }

    #[test]
    fn a_record_within_a_span_is_its_child() {
        let mut entry = Entry::new(Kind::Log);
        entry.span.id = Some("00f067aa0ba902b7".into());
        entry.event.dataset = Some("otlp.log".into());
        let log = body(&entry);
        let member = Facets::from_body(&log).member(1, [0; 16], 5);
        assert_eq!((member.span, member.parent), (None, Some(0x00f0_67aa_0ba9_02b7)));
        assert_eq!(member.event_ns, 5, "the received time stands in");
        entry.event.dataset = Some("otlp.span".into());
        let span = body(&entry);
        let member = Facets::from_body(&span).member(1, [0; 16], 5);
        assert_eq!((member.span, member.parent), (Some(0x00f0_67aa_0ba9_02b7), None));
    }

    #[test]
    fn no_more_text_is_searched_than_the_bound_says() {
        let mut entry = Entry::new(Kind::Log);
        entry.body = Some(Json::Text("ü".repeat(MAX_TEXT_BYTES).into()));
        let body = body(&entry);
        let facets = Facets::from_body(&body);
        assert!(facets.texts.iter().map(|t| t.len()).sum::<usize>() <= MAX_TEXT_BYTES);
    }

    #[test]
    fn what_is_not_a_body_gives_what_could_be_read() {
        let facets = Facets::from_body(br#"{"audit":{"kind":"span"},"message":"hi","#);
        assert!(facets.malformed);
        assert_eq!(facets.value(Field::Kind), Some("span"));
        assert!(Facets::from_body(b"").malformed);
        assert!(!Facets::from_body(br#"{"audit":7,"event":[],"trace_id":{"a":null}}"#).malformed);
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(input: Vec<u8>) {
            let _ = Facets::from_body(&input);
        }
    }
}
