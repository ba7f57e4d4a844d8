//! A run as a span; what is new of it, and feedback, as log records of that span.
//!
//! The id of a trace is the UUID of its root run: the same 128 bits as OpenTelemetry's. Ids of spans
//! are the low 64 bits of a run's UUID: the high ones are mostly its time.

use super::parts::{Event, Sent};
use crate::receiver::decision_logs::value::{hex_id, time_ns, value};
use crate::receiver::json::Reader;
use crate::receiver::otlp::DecodeError;
use crate::span::{Attribute, LogRecord, Record, Sink, Span, SpanId, Text, TraceId, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// In front of the names of a run's members.
const RUN: &str = "langsmith.run.";
/// In front of the names of a feedback's members.
const FEEDBACK: &str = "langsmith.feedback.";

/// Status codes of OTLP.
const STATUS_OK: i32 = 1;
const STATUS_ERROR: i32 = 2;

/// Gives the record of an object to the sink.
pub(super) fn record(sent: &Sent<'_>, sink: &mut impl Sink) -> Result<(), DecodeError> {
    let members = members(sent)?;
    let ids = Ids::of(&members);
    let prefix = if sent.event == Event::Feedback { FEEDBACK } else { RUN };
    match (sent.event, ids.trace, ids.span) {
        (Event::Post, Some(trace_id), Some(span_id)) => {
            let error = text(&members, "error").filter(|error| !error.is_empty());
            let end_ns = time(&members, &["end_time"]);
            let span = Span {
                trace_id,
                span_id,
                parent_span_id: ids.parent.unwrap_or_default(),
                name: text(&members, "name").unwrap_or_default().to_owned().into(),
                kind: 1,
                start_ns: time(&members, &["start_time"]),
                end_ns,
                status_code: match (&error, end_ns) {
                    (Some(_), _) => STATUS_ERROR,
                    (None, 0) => 0,
                    // What LangSmith calls a success: an end without an error.
                    (None, _) => STATUS_OK,
                },
                status_message: error.unwrap_or_default().to_owned().into(),
                attributes: prefixed(prefix, members),
                ..Span::default()
            };
            sink.record(Record::Span(&span));
        }
        (event, trace_id, span_id) => {
            let (name, times): (_, &[&str]) = match event {
                Event::Post => ("langsmith.run.post", &["start_time"]),
                Event::Patch => ("langsmith.run.patch", &["end_time", "start_time"]),
                Event::Feedback => ("langsmith.feedback", &["created_at", "modified_at"]),
            };
            let log = LogRecord {
                time_ns: time(&members, times),
                trace_id: trace_id.unwrap_or_default(),
                span_id: span_id.unwrap_or_default(),
                event_name: name.into(),
                attributes: prefixed(prefix, members),
                ..LogRecord::default()
            };
            sink.record(Record::Log(&log));
        }
    }
    Ok(())
}

/// The members of an object and those that were sent beside it; null is what a client writes for
/// what it does not know.
fn members<'a>(sent: &Sent<'a>) -> Result<Vec<Attribute<'a>>, DecodeError> {
    let mut members = Vec::new();
    if !sent.object.is_empty() {
        let mut reader = Reader::new(sent.object);
        let mut open = reader.map()?;
        while let Some(key) = reader.member(&mut open)? {
            let value = value(&mut reader)?;
            if value != Value::Empty {
                members.push(Attribute { key, value });
            }
        }
    }
    let id = if sent.event == Event::Feedback { "run_id" } else { "id" };
    if !sent.id.is_empty() && text(&members, id).is_none() {
        members.push(Attribute::new(id, Value::Text(sent.id.into())));
    }
    for (name, json) in &sent.members {
        let value = whole(json).unwrap_or_else(|| Value::Text(Text::from_bytes(json)));
        if value != Value::Empty {
            members.push(Attribute::new(*name, value));
        }
    }
    if !sent.attachments.is_empty() {
        let files = sent.attachments.iter().map(|file| {
            let size = i64::try_from(file.content.len()).unwrap_or(i64::MAX);
            let hash = Sha256::digest(file.content).iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            Value::Map(vec![
                Attribute::new("name", Value::Text(file.name.into())),
                Attribute::new("content_type", Value::Text(file.media_type.into())),
                Attribute::new("bytes", Value::Int(size)),
                Attribute::new("sha256", Value::Text(hash.into())),
            ])
        });
        members.push(Attribute::new("attachments", Value::List(files.collect())));
    }
    Ok(members)
}

/// JSON that is whole and of one value.
fn whole(json: &[u8]) -> Option<Value<'_>> {
    let mut reader = Reader::new(json);
    let value = value(&mut reader).ok()?;
    reader.end().ok().map(|()| value)
}

/// Trace, span and parent of a run.
struct Ids {
    trace: Option<TraceId>,
    span: Option<SpanId>,
    parent: Option<SpanId>,
}

impl Ids {
    fn of(members: &[Attribute<'_>]) -> Self {
        let uuid = |name: &str| text(members, name).and_then(uuid);
        let low = |id: TraceId| id.last_chunk::<8>().copied().filter(|low| *low != [0; 8]);
        let run = uuid("run_id").or_else(|| uuid("id"));
        let parent = uuid("parent_run_id");
        // A root that says no trace is one: its own.
        let trace = uuid("trace_id").or(if parent.is_none() { run } else { None });
        Self { trace, span: run.and_then(low), parent: parent.and_then(low) }
    }
}

/// The bytes of a UUID, with its dashes or without.
fn uuid(text: &str) -> Option<TraceId> {
    if text.len() > 36 {
        return None;
    }
    hex_id(&text.replace('-', ""))
}

fn text<'v>(members: &'v [Attribute<'_>], name: &str) -> Option<&'v str> {
    members.iter().find(|member| member.key.as_str() == name)?.value.as_str()
}

/// The first of these members that is a time, or 0. A client writes UTC without saying so, too.
fn time(members: &[Attribute<'_>], names: &[&str]) -> u64 {
    let read = |name: &&str| {
        let member = members.iter().find(|member| member.key.as_str() == *name)?;
        time_ns(&member.value).or_else(|| {
            let utc = format!("{}Z", member.value.as_str()?);
            time_ns(&Value::Text(utc.into()))
        })
    };
    names.iter().find_map(read).unwrap_or_default()
}

fn prefixed<'a>(prefix: &str, members: Vec<Attribute<'a>>) -> Vec<Attribute<'a>> {
    let named = members.into_iter().map(|Attribute { key, value }| {
        let key = Text::from(format!("{prefix}{}", key.as_str()));
        Attribute { key, value }
    });
    named.collect()
}
