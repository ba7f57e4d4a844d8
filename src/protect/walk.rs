//! Every string of an entry, with its place.
//!
//! The patterns below name every field and have no `..`: who adds a field to the entry gets a
//! compile error here, and with it the question whether the field can hold a secret. Numbers and
//! our own fixed words (`skip`) cannot.

use crate::entry::{
    Action, Actor, AgentPart, Approval, Audit, Branch, Change, Claims, ConversationPart, Decision,
    Entry, ErrorPart, EventPart, External, Fields, GenAi, Guardrail, Handoff, Interrupt,
    InvalidText, Job, Json, LogPart, ModelRequest, ModelResponse, OperationPart, OutputSafety,
    Payload, Policy, ProviderPart, RawTime, RecordPart, Redaction, Rejection, Run, ScopePart,
    ServicePart, Session, SpanEvent, SpanLink, SpanPart, Step, Target, ToolCallPart, ToolPart,
    TracePart, Usage, UserPart, Workflow,
};
use std::borrow::Cow;

/// Where in an entry: `attributes.user.email`, `events[0].attributes.content`.
#[derive(Debug, Default)]
pub(super) struct Place {
    path: String,
    /// Where the innermost name begins. An index does not change it: the items of
    /// `authorization` are all called so.
    name_at: usize,
}

impl Place {
    /// The whole path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The innermost name, dots included when the source had them in it, and an index after it.
    pub(super) fn name(&self) -> &str {
        let name = self.path.get(self.name_at..).unwrap_or_default();
        if name.ends_with(']') { name.split('[').next().unwrap_or_default() } else { name }
    }

    fn enter(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let (length, name_at) = (self.path.len(), self.name_at);
        if length > 0 {
            self.path.push('.');
        }
        self.name_at = self.path.len();
        self.path.push_str(name);
        inside(self);
        self.path.truncate(length);
        self.name_at = name_at;
    }

    fn index(&mut self, index: usize, inside: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('[');
        self.path.push_str(&index.to_string());
        self.path.push(']');
        inside(self);
        self.path.truncate(length);
    }
}

/// What is done to the strings of an entry.
pub(super) trait Visitor {
    /// A string.
    fn text(&mut self, place: &Place, text: &mut Cow<'_, str>);

    /// A free value, before its parts. `true`: it is done with, its parts are not visited.
    fn value(&mut self, _: &Place, _: &mut Json<'_>) -> bool {
        false
    }

    /// The name of a free field, and the name that shall stand in its place.
    fn name(&mut self, _: &Place, _: &str) -> Option<String> {
        None
    }

    /// A payload. `true`: its strings are not visited.
    fn payload(&mut self, _: &Place, _: &mut Payload<'_>) -> bool {
        false
    }

    /// A changed field. `true`: its strings are not visited.
    fn change(&mut self, _: &Place, _: &mut Change<'_>) -> bool {
        false
    }

    /// A span event, before its parts.
    fn event(&mut self, _: &Place, _: &mut SpanEvent<'_>) {}

    /// Raw bytes of repaired text, in place of their base64.
    fn invalid_text(&mut self, _: &Place, _: &mut InvalidText<'_>) {}
}

/// Visits every string of the entry.
pub(super) fn walk(entry: &mut Entry<'_>, visitor: &mut impl Visitor) {
    entry.walk(&mut Place::default(), visitor);
}

trait Walk {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V);
}

impl Walk for Cow<'_, str> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        visitor.text(place, self);
    }
}

impl<T: Walk> Walk for Option<T> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        if let Some(part) = self {
            part.walk(place, visitor);
        }
    }
}

impl<T: Walk> Walk for Vec<T> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        for (at, item) in self.iter_mut().enumerate() {
            place.index(at, |place| item.walk(place, visitor));
        }
    }
}

impl Walk for Json<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        if visitor.value(place, self) {
            return;
        }
        match self {
            Json::Text(text) => visitor.text(place, text),
            Json::List(items) => items.walk(place, visitor),
            Json::Map(fields) => fields.walk(place, visitor),
            Json::Null
            | Json::Bool(_)
            | Json::Int(_)
            | Json::UInt(_)
            | Json::Double(_)
            | Json::Bytes(_) => {}
        }
    }
}

impl Walk for Fields<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        // Names first: no place may repeat a secret that was a name.
        let names: Vec<_> = self.iter().map(|(name, _)| visitor.name(place, name)).collect();
        if names.iter().any(Option::is_some) {
            let mut old = std::mem::take(self);
            for ((name, value), new) in old.iter_mut().zip(names) {
                let name = new.unwrap_or_else(|| name.to_owned());
                self.merge(Cow::Owned(name), std::mem::take(value));
            }
        }
        for (name, value) in self.iter_mut() {
            place.enter(name, |place| value.walk(place, visitor));
        }
    }
}

/// The name in the body: the field's own, or the one given.
macro_rules! word {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $word:literal) => {
        $word
    };
}

/// Implements [`Walk`] for objects, field by field.
macro_rules! walk_fields {
    ($($name:ident { $($field:ident $(= $word:literal)?),* $(; skip $($skipped:ident),*)? })*) => {$(
        impl Walk for $name<'_> {
            fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
                let $name { $($field,)* $($($skipped: _,)*)? } = self;
                $(place.enter(word!($field $($word)?), |place| $field.walk(place, visitor));)*
            }
        }
    )*};
}

walk_fields! {
    Entry {
        timestamp = "@timestamp", trace_id, message, event, audit, trace, span, log, user, service,
        gen_ai, error, attributes, resource, scope, events, links, body; skip schema_version
    }
    Audit {
        mapping, request_type, actor, target, record, decision, policy, approval, workflow, run,
        step, job, session, external, action, output_safety, handoff, interrupt, branch, guardrail,
        change, payload, claims, rejection, redactions, invalid_text; skip kind, time, flags
    }
    GenAi { operation, provider, request, response, agent, tool, conversation; skip usage }
    ToolPart { name, kind = "type", call }
    SpanLink { trace_id, span_id, trace_state, attributes }
    Redaction { rule, place; skip count }

    EventPart { action, outcome, reason, end, dataset, created; skip duration, lifetime }
    TracePart { id, state; skip lifetime }
    SpanPart {
        id, parent_id, name, kind, status, status_message;
        skip flags, dropped_attributes, dropped_events, dropped_links, lifetime
    }
    LogPart { level, event_name; skip severity_number, lifetime }
    UserPart { id, name, email; skip lifetime }
    ServicePart { name, version, namespace, instance_id, environment; skip lifetime }
    ErrorPart { kind = "type", message; skip lifetime }
    ScopePart { name, version, attributes; skip lifetime }

    OperationPart { name; skip lifetime }
    ProviderPart { name; skip lifetime }
    ModelRequest { model; skip lifetime }
    ModelResponse { model, id, finish_reasons; skip lifetime }
    AgentPart { id, name, version; skip lifetime }
    ToolCallPart { id; skip lifetime }
    ConversationPart { id; skip lifetime }

    Actor { id, kind = "type", source; skip lifetime }
    Target { id, kind = "type"; skip lifetime }
    RecordPart { id; skip lifetime }
    Decision {
        id, raw, reason, phase, source, stage, attestation, enforcement;
        skip outcome, confidence, latency_ms, lifetime
    }
    Policy {
        id, name, rule_id, layer, snapshot, version, evaluated, matched, snapshot_before,
        snapshot_after; skip lifetime
    }
    Approval {
        id, status, resolution, resolved_by, resolved_at, comment, url; skip required, lifetime
    }
    Workflow { id, name, source, status; skip total_steps, lifetime }
    Run { id, name; skip lifetime }
    Step { id, name, kind = "type", result; skip lifetime }
    Job { id, hash, state, context_ptr, result_ptr; skip lifetime }
    Session { id, thread_id; skip lifetime }
    External { trace_id; skip lifetime }
    Action { key, scope, args_hash; skip lifetime }
    OutputSafety { raw, rule_id, reason; skip decision, lifetime }
    Handoff { source, target, intent; skip lifetime }
    Interrupt { reason, responder, response; skip lifetime }
    Branch { condition, selected_edge, result; skip lifetime }
    Guardrail { name, status; skip triggered, lifetime }
    Claims { tenant_id, client_id, organization_id; skip lifetime }
    Rejection { reason, hash, endpoint; skip status, bytes, records, withheld, lifetime }
}

// Numbers only: named here so that a text among them would not go unnoticed.
const _: fn(RawTime<'_>) = |RawTime { start: _, end: _, observed: _, lifetime: _ }| {};
const _: fn(Usage<'_>) = |Usage {
                              input_tokens: _,
                              output_tokens: _,
                              total_tokens: _,
                              cache_read_input_tokens: _,
                              cache_creation_input_tokens: _,
                              reasoning_tokens: _,
                              cost: _,
                              repeated: _,
                              lifetime: _,
                          }| {};

impl Walk for SpanEvent<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        visitor.event(place, self);
        let SpanEvent { name, timestamp, raw_time: _, attributes, dropped_attributes: _ } = self;
        place.enter("name", |place| name.walk(place, visitor));
        place.enter("@timestamp", |place| timestamp.walk(place, visitor));
        place.enter("attributes", |place| attributes.walk(place, visitor));
    }
}

impl Walk for Payload<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        if visitor.payload(place, self) {
            return;
        }
        let Payload { kind: _, source, text, hash, bytes: _ } = self;
        place.enter("source", |place| source.walk(place, visitor));
        place.enter("hash", |place| hash.walk(place, visitor));
        place.enter("text", |place| text.walk(place, visitor));
    }
}

impl Walk for Change<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        if visitor.change(place, self) {
            return;
        }
        let Change { path, before, after } = self;
        place.enter("path", |place| path.walk(place, visitor));
        place.enter("before", |place| before.walk(place, visitor));
        place.enter("after", |place| after.walk(place, visitor));
    }
}

impl Walk for InvalidText<'_> {
    fn walk<V: Visitor>(&mut self, place: &mut Place, visitor: &mut V) {
        visitor.invalid_text(place, self);
        let InvalidText { place: name, base64 } = self;
        place.enter("place", |place| name.walk(place, visitor));
        place.enter("base64", |place| base64.walk(place, visitor));
    }
}
