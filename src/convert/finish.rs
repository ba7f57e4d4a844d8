//! What follows from the fields once they are filled: forms of ids, actor, outcome, action.

use super::ids::{further_forms, other_forms};
use super::plain::{STATUS_ERROR, STATUS_OK};
use super::table::{Families, Glob, Tables, kind_bit};
use crate::entry::{Entry, Kind};
use crate::span::TraceId;
use std::borrow::Cow;

/// S3's six operations: their word is also the name of the span that reports them.
const OPERATIONS: [Kind; 6] = [
    Kind::WorkflowCreated,
    Kind::WorkflowStepGate,
    Kind::WorkflowStepCompleted,
    Kind::WorkflowCompleted,
    Kind::WorkflowAborted,
    Kind::WorkflowFailed,
];

/// Fills what follows from the other fields.
pub(super) fn finish<'r>(
    tables: &'r Tables,
    entry: &mut Entry<'r>,
    action: Option<&'r str>,
    trace: &TraceId,
) {
    trace_forms(entry, trace);
    plain_kind(entry);
    actor(entry);
    let kind = entry.audit.kind;
    if entry.event.action.is_none() {
        let of_kind = tables.actions.iter().find(|(of, _)| *of == kind);
        let action = action.or(of_kind.map(|(_, action)| &**action));
        entry.event.action = action.map(Cow::Borrowed);
    }
    if entry.audit.request_type.is_none() && OPERATIONS.contains(&kind) {
        entry.audit.request_type = Some(kind.as_str().into());
    }
    usage(tables, entry);
}

/// The kind of a record that no name told: by what its members and its body said.
fn plain_kind(entry: &mut Entry<'_>) {
    let audit = &mut entry.audit;
    if !matches!(audit.kind, Kind::Span | Kind::Log) {
        return;
    }
    let said = [
        (audit.decision.raw.is_some(), Kind::Decision),
        (audit.approval.resolved_by.is_some(), Kind::Approval),
        (audit.interrupt.reason.is_some(), Kind::Interrupt),
        (!audit.change.is_empty(), Kind::Change),
    ];
    if let Some((_, kind)) = said.into_iter().find(|(said, _)| *said) {
        audit.kind = kind;
    }
}

/// Every form of every id under which a person might search.
pub(super) fn trace_forms(entry: &mut Entry<'_>, trace: &TraceId) {
    let written = std::mem::take(&mut entry.trace_id);
    entry.trace_id.reserve(6);
    if let Some(digits) = &entry.trace.id {
        // They differ from each other: no need to compare.
        entry.trace_id.push(digits.clone());
        entry.trace_id.extend(other_forms(trace, digits).map(Cow::Owned));
    }
    let external = entry.audit.external.trace_id.clone().unwrap_or_default();
    for id in external.into_iter().chain(written) {
        for form in further_forms(&id) {
            entry.add_trace_id(Cow::Owned(form));
        }
        entry.add_trace_id(id);
    }
}

/// Who did it, when the source did not say so in a field of its own: the person who resolved an
/// approval, else the agent, else the service. All of it is asserted.
fn actor(entry: &mut Entry<'_>) {
    let actor = &mut entry.audit.actor;
    if actor.id.is_none() {
        let approver = &entry.audit.approval.resolved_by;
        let agent = entry.gen_ai.agent.id.as_ref().or(entry.gen_ai.agent.name.as_ref());
        let (id, kind) = match (entry.audit.kind, approver, agent, &entry.service.name) {
            (Kind::Approval, Some(person), ..) => (person, "user"),
            (_, _, Some(agent), _) => (agent, "agent"),
            (_, _, _, Some(service)) => (service, "service"),
            _ => return,
        };
        actor.id = Some(id.clone());
        actor.kind.get_or_insert(Cow::Borrowed(kind));
    }
    actor.source = Some("asserted".into());
}

/// What came of it. A source's own word goes before the status; an interrupt is neither a
/// success nor a failure, whatever its status says; an unset status says nothing.
pub(super) fn outcome(entry: &mut Entry<'_>, status: Option<i32>) {
    let failed = entry.error.kind.is_some();
    let word = match status {
        _ if entry.audit.kind == Kind::Interrupt => "unknown",
        _ if entry.event.outcome.is_some() => return,
        Some(STATUS_OK) => "success",
        Some(STATUS_ERROR) => "failure",
        _ if failed => "failure",
        Some(_) => "unknown",
        None => return,
    };
    entry.event.outcome = Some(word.into());
}

/// Marks the tokens of a span that only sums up what spans inside it report, as its name tells.
pub(super) fn repeated_span(
    tables: &Tables,
    families: Families,
    name: &str,
    entry: &mut Entry<'_>,
) {
    let usage = &mut entry.gen_ai.usage;
    let repeats =
        |(of, glob): &(Families, Glob)| (*of == 0 || of & families != 0) && glob.matches(name);
    if !usage.is_empty() && tables.repeated_spans.iter().any(repeats) {
        usage.repeated = Some(true);
    }
}

/// Tokens that an inner record reports too are marked, so that nobody adds them up twice.
fn usage(tables: &Tables, entry: &mut Entry<'_>) {
    let usage = &mut entry.gen_ai.usage;
    if usage.is_empty() || usage.repeated.is_some() {
        return;
    }
    let event = entry.log.event_name.as_deref().unwrap_or_default();
    let repeated = tables.repeated_kinds & kind_bit(entry.audit.kind) != 0
        || (!event.is_empty() && tables.repeated_events.iter().any(|glob| glob.matches(event)));
    if repeated {
        usage.repeated = Some(true);
    }
}
