//! A flat walk over the two protobuf requests.
//!
//! ```text
//! request ─ 1 Resource{Spans,Logs} ┬ 1 Resource       ─ 1 KeyValue, 2 dropped
//!                                  ├ 2 Scope{Spans,Logs} ┬ 1 InstrumentationScope
//!                                  └ 3 schema_url        ├ 2 Span or LogRecord
//!                                                        └ 3 schema_url
//! ```
//!
//! A message on the wire may have its fields in any order, and Go's and Java's SDKs write the
//! schema URL last. So what stands around records is looked up first, and the records are read in
//! a second pass over the same bytes.

use super::value::{attribute, entity_ref, text, value};
use super::wire::{Fields, Payload};
use super::{DecodeError, Signal};
use crate::span::{
    Event, Link, LogRecord, Record, Refusal, Resource, Scope, Sink, Span, SpanId, TraceId, Value,
};

/// Walks over a request. See [`super::decode`].
pub(super) fn decode(
    signal: Signal,
    request: &[u8],
    sink: &mut impl Sink,
) -> Result<(), DecodeError> {
    let mut walk = Walk { signal, sink, span: Span::default(), log: LogRecord::default() };
    let mut fields = Fields::new(request);
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => walk.resource(fields.message(payload)?)?,
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

/// The sink, and the one span or log record that all of the request's are decoded into.
struct Walk<'a, 's, S> {
    signal: Signal,
    sink: &'s mut S,
    span: Span<'a>,
    log: LogRecord<'a>,
}

impl<'a, S: Sink> Walk<'a, '_, S> {
    fn resource(&mut self, message: Fields<'a>) -> Result<(), DecodeError> {
        let mut found = Resource::default();
        let mut fields = message;
        while let Some((number, payload)) = fields.next()? {
            match number {
                1 => resource(fields.message(payload)?, &mut found)?,
                2 => drop(fields.message(payload)?),
                3 => found.schema_url = text(&fields, payload)?,
                _ => fields.skip(number, payload)?,
            }
        }
        self.sink.resource(&found);
        let mut fields = message;
        while let Some((number, payload)) = fields.next()? {
            match (number, payload) {
                (2, payload) => self.scope(fields.message(payload)?)?,
                (number, payload @ Payload::Group) => fields.skip(number, payload)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn scope(&mut self, message: Fields<'a>) -> Result<(), DecodeError> {
        let mut found = Scope::default();
        let mut fields = message;
        while let Some((number, payload)) = fields.next()? {
            match number {
                1 => scope(fields.message(payload)?, &mut found)?,
                2 => drop(fields.message(payload)?),
                3 => found.schema_url = text(&fields, payload)?,
                _ => fields.skip(number, payload)?,
            }
        }
        self.sink.scope(&found);
        let mut fields = message;
        while let Some((number, payload)) = fields.next()? {
            match (number, payload) {
                (2, payload) => self.record(fields.message(payload)?)?,
                (number, payload @ Payload::Group) => fields.skip(number, payload)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn record(&mut self, message: Fields<'a>) -> Result<(), DecodeError> {
        let sound = match self.signal {
            Signal::Traces => span(message, &mut self.span)?.map(|()| Record::Span(&self.span)),
            Signal::Logs => log(message, &mut self.log)?.map(|()| Record::Log(&self.log)),
        };
        match sound {
            Ok(record) => self.sink.record(record),
            Err(why) => self.sink.refuse(why),
        }
        Ok(())
    }
}

fn resource<'a>(mut fields: Fields<'a>, found: &mut Resource<'a>) -> Result<(), DecodeError> {
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => attribute(fields.message(payload)?, &mut found.attributes)?,
            2 => found.dropped_attributes = fields.number32(payload)?,
            3 => entity_ref(fields.message(payload)?)?,
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

fn scope<'a>(mut fields: Fields<'a>, found: &mut Scope<'a>) -> Result<(), DecodeError> {
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => found.name = text(&fields, payload)?,
            2 => found.version = text(&fields, payload)?,
            3 => attribute(fields.message(payload)?, &mut found.attributes)?,
            4 => found.dropped_attributes = fields.number32(payload)?,
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

/// Reads a `Span`. The inner result says whether it can be accepted.
fn span<'a>(
    mut fields: Fields<'a>,
    span: &mut Span<'a>,
) -> Result<Result<(), Refusal>, DecodeError> {
    clear_span(span);
    let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => trace_id = fields.bytes(payload)?,
            2 => span_id = fields.bytes(payload)?,
            3 => span.trace_state = text(&fields, payload)?,
            4 => parent = fields.bytes(payload)?,
            5 => span.name = text(&fields, payload)?,
            6 => span.kind = fields.number32(payload)?.cast_signed(),
            7 => span.start_ns = fields.fixed64(payload)?,
            8 => span.end_ns = fields.fixed64(payload)?,
            9 => attribute(fields.message(payload)?, &mut span.attributes)?,
            10 => span.dropped_attributes = fields.number32(payload)?,
            11 => event(fields.message(payload)?, &mut span.events)?,
            12 => span.dropped_events = fields.number32(payload)?,
            13 => link(fields.message(payload)?, &mut span.links)?,
            14 => span.dropped_links = fields.number32(payload)?,
            15 => status(fields.message(payload)?, span)?,
            16 => span.flags = fields.fixed32(payload)?,
            _ => fields.skip(number, payload)?,
        }
    }
    span.parent_span_id = id(parent).unwrap_or_default();
    Ok(match (id(trace_id), id(span_id)) {
        (None, _) => Err(Refusal::TraceId),
        (_, None) => Err(Refusal::SpanId),
        (Some(trace_id), Some(span_id)) => {
            span.trace_id = trace_id;
            span.span_id = span_id;
            Ok(())
        }
    })
}

fn event<'a>(mut fields: Fields<'a>, events: &mut Vec<Event<'a>>) -> Result<(), DecodeError> {
    let mut event = Event::default();
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => event.time_ns = fields.fixed64(payload)?,
            2 => event.name = text(&fields, payload)?,
            3 => attribute(fields.message(payload)?, &mut event.attributes)?,
            4 => event.dropped_attributes = fields.number32(payload)?,
            _ => fields.skip(number, payload)?,
        }
    }
    events.push(event);
    Ok(())
}

fn link<'a>(mut fields: Fields<'a>, links: &mut Vec<Link<'a>>) -> Result<(), DecodeError> {
    let mut link = Link::default();
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => link.trace_id = id::<16>(fields.bytes(payload)?).unwrap_or_default(),
            2 => link.span_id = id::<8>(fields.bytes(payload)?).unwrap_or_default(),
            3 => link.trace_state = text(&fields, payload)?,
            4 => attribute(fields.message(payload)?, &mut link.attributes)?,
            5 => link.dropped_attributes = fields.number32(payload)?,
            6 => link.flags = fields.fixed32(payload)?,
            _ => fields.skip(number, payload)?,
        }
    }
    links.push(link);
    Ok(())
}

fn status<'a>(mut fields: Fields<'a>, span: &mut Span<'a>) -> Result<(), DecodeError> {
    while let Some((number, payload)) = fields.next()? {
        match number {
            2 => span.status_message = text(&fields, payload)?,
            3 => span.status_code = fields.number32(payload)?.cast_signed(),
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

/// Reads a `LogRecord`. The inner result says whether it can be accepted.
fn log<'a>(
    mut fields: Fields<'a>,
    log: &mut LogRecord<'a>,
) -> Result<Result<(), Refusal>, DecodeError> {
    clear_log(log);
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => log.time_ns = fields.fixed64(payload)?,
            2 => log.severity_number = fields.number32(payload)?.cast_signed(),
            3 => log.severity_text = text(&fields, payload)?,
            5 => {
                let body = log.body.get_or_insert(Value::Empty);
                value(fields.message(payload)?, body)?;
            }
            6 => attribute(fields.message(payload)?, &mut log.attributes)?,
            7 => log.dropped_attributes = fields.number32(payload)?,
            8 => log.flags = fields.fixed32(payload)?,
            9 => trace_id = fields.bytes(payload)?,
            10 => span_id = fields.bytes(payload)?,
            11 => log.observed_ns = fields.fixed64(payload)?,
            12 => log.event_name = text(&fields, payload)?,
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(log_ids(trace_id, span_id).map(|(trace_id, span_id)| {
        log.trace_id = trace_id;
        log.span_id = span_id;
    }))
}

/// The ids of a log record: absent is fine, and so is all zeros, which SDKs send for it.
fn log_ids(trace_id: &[u8], span_id: &[u8]) -> Result<(TraceId, SpanId), Refusal> {
    let trace_id = match trace_id {
        [] => TraceId::default(),
        bytes => bytes.try_into().map_err(|_| Refusal::TraceId)?,
    };
    let span_id = match span_id {
        [] => SpanId::default(),
        bytes => bytes.try_into().map_err(|_| Refusal::SpanId)?,
    };
    Ok((trace_id, span_id))
}

/// An id of the right length that is not all zeros.
#[inline]
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok().filter(|id| *id != [0; N])
}

/// Empties a span but keeps the memory of its lists for the next one.
pub(super) fn clear_span(span: &mut Span<'_>) {
    span.attributes.clear();
    span.events.clear();
    span.links.clear();
    let kept = std::mem::take(span);
    *span = Span {
        attributes: kept.attributes,
        events: kept.events,
        links: kept.links,
        ..Span::default()
    };
}

/// Empties a log record but keeps the memory of its attributes for the next one.
pub(super) fn clear_log(log: &mut LogRecord<'_>) {
    log.attributes.clear();
    let kept = std::mem::take(log);
    *log = LogRecord { attributes: kept.attributes, ..LogRecord::default() };
}
