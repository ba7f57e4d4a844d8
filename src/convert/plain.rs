//! What a span or a log record says by itself, without any mapping: ids, times, status.

use super::ids::{span_id_text, trace_id_text};
use super::values::Notes;
use crate::entry::{Entry, Flag, SpanLink, format_ns, is_plausible_ns};
use crate::span::{Link, LogRecord, Span};
use std::borrow::Cow;

/// `StatusCode` of OTLP.
pub(super) const STATUS_OK: i32 = 1;
pub(super) const STATUS_ERROR: i32 = 2;

/// Writes what a span says by itself.
pub(super) fn span<'r>(span: &'r Span<'_>, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
    entry.event.dataset = Some("otlp.span".into());
    entry.message = notes.optional(&span.name, "span.name");
    entry.trace.id = trace_id_text(&span.trace_id).map(Cow::Owned);
    entry.trace.state = notes.optional(&span.trace_state, "trace.state");
    entry.span.id = span_id_text(&span.span_id).map(Cow::Owned);
    entry.span.parent_id = span_id_text(&span.parent_span_id).map(Cow::Owned);
    entry.span.name.clone_from(&entry.message);
    entry.span.kind = span_kind(span.kind).map(Cow::Borrowed);
    entry.span.status = match span.status_code {
        STATUS_OK => Some("ok".into()),
        STATUS_ERROR => Some("error".into()),
        _ => None,
    };
    entry.span.status_message = notes.optional(&span.status_message, "span.status_message");
    entry.span.flags = (span.flags != 0).then_some(span.flags);
    entry.span.dropped_attributes = some_if_any(span.dropped_attributes);
    entry.span.dropped_events = some_if_any(span.dropped_events);
    entry.span.dropped_links = some_if_any(span.dropped_links);
    entry.links = span.links.iter().map(|link| span_link(link, notes)).collect();
    times(span, entry, notes);
}

fn times<'r>(span: &Span<'_>, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
    let (start, end) = (span.start_ns, span.end_ns);
    start_time(start, entry, notes);
    if end == 0 {
        return;
    }
    if !is_plausible_ns(end) {
        notes.flag(Flag::ImplausibleTime);
        entry.audit.time.end = Some(end);
    } else if end < start {
        notes.flag(Flag::EndBeforeStart);
        entry.audit.time.start = Some(start);
        entry.audit.time.end = Some(end);
    } else {
        entry.event.end = Some(format_ns(end).into());
        if is_plausible_ns(start) {
            entry.event.duration = Some(end.saturating_sub(start));
        }
    }
}

/// The time of the entry, or the time as it was sent where that cannot be one.
fn start_time(ns: u64, entry: &mut Entry<'_>, notes: &mut Notes<'_>) {
    if is_plausible_ns(ns) {
        entry.timestamp = format_ns(ns).into();
    } else {
        notes.flag(Flag::ImplausibleTime);
        entry.audit.time.start = Some(ns);
    }
}

/// Writes what a log record says by itself, but for its body.
pub(super) fn log<'r>(log: &'r LogRecord<'_>, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
    entry.event.dataset = Some("otlp.log".into());
    entry.trace.id = trace_id_text(&log.trace_id).map(Cow::Owned);
    entry.span.id = span_id_text(&log.span_id).map(Cow::Owned);
    entry.span.flags = (log.flags != 0).then_some(log.flags);
    entry.span.dropped_attributes = some_if_any(log.dropped_attributes);
    entry.log.level = notes.optional(&log.severity_text, "log.level");
    entry.log.severity_number = (log.severity_number != 0).then_some(log.severity_number);
    entry.log.event_name = notes.optional(&log.event_name, "log.event_name");
    start_time(if log.time_ns == 0 { log.observed_ns } else { log.time_ns }, entry, notes);
    if is_plausible_ns(log.observed_ns) {
        entry.event.created = Some(format_ns(log.observed_ns).into());
    } else if log.observed_ns != 0 {
        entry.audit.time.observed = Some(log.observed_ns);
    }
}

fn span_link<'r>(link: &'r Link<'_>, notes: &mut Notes<'r>) -> SpanLink<'r> {
    let none = |id: Option<String>| Cow::Owned(id.unwrap_or_default());
    SpanLink {
        trace_id: none(trace_id_text(&link.trace_id)),
        span_id: none(span_id_text(&link.span_id)),
        trace_state: notes.optional(&link.trace_state, "links.trace_state"),
        attributes: notes.fields(link.attributes.iter(), ""),
    }
}

fn span_kind(kind: i32) -> Option<&'static str> {
    match kind {
        1 => Some("internal"),
        2 => Some("server"),
        3 => Some("client"),
        4 => Some("producer"),
        5 => Some("consumer"),
        _ => None,
    }
}

pub(super) fn some_if_any(count: u32) -> Option<u32> {
    (count != 0).then_some(count)
}
