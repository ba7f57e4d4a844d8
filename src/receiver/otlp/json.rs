//! OTLP/JSON: protobuf's JSON mapping, but that ids are hex and enums are numbers.
//!
//! | file | holds |
//! |---|---|
//! | `json.rs` | a walk over the two requests |
//! | `json/value.rs` | attributes, values, and scalars that come in more than one way |
//! | `../json.rs` | JSON, token by token |
//!
//! Accepted because SDKs send it: 64-bit integers as numbers or strings, integers beyond 64 bits,
//! `"NaN"`, null anywhere, halves of surrogate pairs, names of enums, keys that come twice (later
//! scalars win, lists grow, as in protobuf). Unknown keys are ignored; `snake_case` is unknown.
//! Ids that are short, long, not hex or begin with `0x` refuse their record and no other.
//!
//! As in protobuf, what stands around records may come after them, and is looked up first.

mod value;

use super::protobuf::{clear_log, clear_span};
use super::{DecodeError, Shape, Signal};
use crate::receiver::json::Reader;
use crate::span::{Event, Link, LogRecord, Record, Refusal, Resource, Scope, Sink, Span, Value};
use value::{Id, attributes, each, enumeration, u32, u64, value};

type Result<T> = std::result::Result<T, DecodeError>;

/// Walks over a request. See [`super::decode`].
pub(super) fn decode(signal: Signal, request: &[u8], sink: &mut impl Sink) -> Result<()> {
    let names = Names::of(signal);
    let mut walk = Walk { names, sink, span: Span::default(), log: LogRecord::default() };
    let mut reader = Reader::new(request);
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        if key.as_str() == names.resources {
            each(&mut reader, |reader| walk.resource(reader))?;
        } else {
            reader.skip()?;
        }
    }
    reader.end()
}

/// What the lists are called.
#[derive(Clone, Copy)]
struct Names {
    signal: Signal,
    resources: &'static str,
    scopes: &'static str,
    records: &'static str,
}

impl Names {
    fn of(signal: Signal) -> Self {
        let (resources, scopes, records) = match signal {
            Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
            Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        };
        Self { signal, resources, scopes, records }
    }
}

/// The sink, and the one span or log record that all of the request's are decoded into.
struct Walk<'a, 's, S> {
    names: Names,
    sink: &'s mut S,
    span: Span<'a>,
    log: LogRecord<'a>,
}

impl<'a, S: Sink> Walk<'a, '_, S> {
    fn resource(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        let mut found = Resource::default();
        let mut first = *reader;
        let mut open = first.object()?;
        while let Some(key) = first.key(&mut open)? {
            match key.as_str() {
                "resource" => resource(&mut first, &mut found)?,
                "schemaUrl" => found.schema_url = first.string()?,
                _ => first.skip()?,
            }
        }
        self.sink.resource(&found);
        let scopes = self.names.scopes;
        inner(reader, scopes, |reader| self.scope(reader))
    }

    fn scope(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        let mut found = Scope::default();
        let mut first = *reader;
        let mut open = first.object()?;
        while let Some(key) = first.key(&mut open)? {
            match key.as_str() {
                "scope" => scope(&mut first, &mut found)?,
                "schemaUrl" => found.schema_url = first.string()?,
                _ => first.skip()?,
            }
        }
        self.sink.scope(&found);
        let records = self.names.records;
        inner(reader, records, |reader| self.record(reader))
    }

    fn record(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        let sound = match self.names.signal {
            Signal::Traces => span(reader, &mut self.span)?.map(|()| Record::Span(&self.span)),
            Signal::Logs => log(reader, &mut self.log)?.map(|()| Record::Log(&self.log)),
        };
        match sound {
            Ok(record) => self.sink.record(record),
            Err(why) => self.sink.refuse(why),
        }
        Ok(())
    }
}

/// Calls `f` at each item of the list called `name`, and passes over all other keys.
fn inner<'a>(
    reader: &mut Reader<'a>,
    name: &str,
    mut f: impl FnMut(&mut Reader<'a>) -> Result<()>,
) -> Result<()> {
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        if key.as_str() == name {
            each(reader, &mut f)?;
        } else {
            reader.skip()?;
        }
    }
    Ok(())
}

fn resource<'a>(reader: &mut Reader<'a>, found: &mut Resource<'a>) -> Result<()> {
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "attributes" => attributes(reader, &mut found.attributes)?,
            "droppedAttributesCount" => found.dropped_attributes = u32(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok(())
}

fn scope<'a>(reader: &mut Reader<'a>, found: &mut Scope<'a>) -> Result<()> {
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "name" => found.name = reader.string()?,
            "version" => found.version = reader.string()?,
            "attributes" => attributes(reader, &mut found.attributes)?,
            "droppedAttributesCount" => found.dropped_attributes = u32(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok(())
}

/// Reads a span. The inner result says whether it can be accepted.
fn span<'a>(
    reader: &mut Reader<'a>,
    span: &mut Span<'a>,
) -> Result<std::result::Result<(), Refusal>> {
    clear_span(span);
    let (mut trace_id, mut span_id) = (Id::Absent, Id::Absent);
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "traceId" => trace_id = Id::read(reader)?,
            "spanId" => span_id = Id::read(reader)?,
            "parentSpanId" => {
                span.parent_span_id = Id::read(reader)?.valid().unwrap_or_default();
            }
            "traceState" => span.trace_state = reader.string()?,
            "flags" => span.flags = u32(reader)?,
            "name" => span.name = reader.string()?,
            "kind" => span.kind = enumeration(reader, span_kind)?,
            "startTimeUnixNano" => span.start_ns = u64(reader)?,
            "endTimeUnixNano" => span.end_ns = u64(reader)?,
            "attributes" => attributes(reader, &mut span.attributes)?,
            "droppedAttributesCount" => span.dropped_attributes = u32(reader)?,
            "events" => each(reader, |reader| event(reader, &mut span.events))?,
            "droppedEventsCount" => span.dropped_events = u32(reader)?,
            "links" => each(reader, |reader| link(reader, &mut span.links))?,
            "droppedLinksCount" => span.dropped_links = u32(reader)?,
            "status" => status(reader, span)?,
            _ => reader.skip()?,
        }
    }
    Ok(match (trace_id.valid(), span_id.valid()) {
        (None, _) => Err(Refusal::TraceId),
        (_, None) => Err(Refusal::SpanId),
        (Some(trace_id), Some(span_id)) => {
            span.trace_id = trace_id;
            span.span_id = span_id;
            Ok(())
        }
    })
}

fn event<'a>(reader: &mut Reader<'a>, events: &mut Vec<Event<'a>>) -> Result<()> {
    let mut event = Event::default();
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "timeUnixNano" => event.time_ns = u64(reader)?,
            "name" => event.name = reader.string()?,
            "attributes" => attributes(reader, &mut event.attributes)?,
            "droppedAttributesCount" => event.dropped_attributes = u32(reader)?,
            _ => reader.skip()?,
        }
    }
    events.push(event);
    Ok(())
}

fn link<'a>(reader: &mut Reader<'a>, links: &mut Vec<Link<'a>>) -> Result<()> {
    let mut link = Link::default();
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "traceId" => link.trace_id = Id::read(reader)?.valid().unwrap_or_default(),
            "spanId" => link.span_id = Id::read(reader)?.valid().unwrap_or_default(),
            "traceState" => link.trace_state = reader.string()?,
            "attributes" => attributes(reader, &mut link.attributes)?,
            "droppedAttributesCount" => link.dropped_attributes = u32(reader)?,
            "flags" => link.flags = u32(reader)?,
            _ => reader.skip()?,
        }
    }
    links.push(link);
    Ok(())
}

fn status<'a>(reader: &mut Reader<'a>, span: &mut Span<'a>) -> Result<()> {
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "message" => span.status_message = reader.string()?,
            "code" => span.status_code = enumeration(reader, status_code)?,
            _ => reader.skip()?,
        }
    }
    Ok(())
}

/// Reads a log record. The inner result says whether it can be accepted.
fn log<'a>(
    reader: &mut Reader<'a>,
    log: &mut LogRecord<'a>,
) -> Result<std::result::Result<(), Refusal>> {
    clear_log(log);
    let (mut trace_id, mut span_id) = (Id::Absent, Id::Absent);
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "timeUnixNano" => log.time_ns = u64(reader)?,
            "observedTimeUnixNano" => log.observed_ns = u64(reader)?,
            "severityNumber" => log.severity_number = enumeration(reader, severity)?,
            "severityText" => log.severity_text = reader.string()?,
            "body" => value(reader, log.body.get_or_insert(Value::Empty))?,
            "attributes" => attributes(reader, &mut log.attributes)?,
            "droppedAttributesCount" => log.dropped_attributes = u32(reader)?,
            "flags" => log.flags = u32(reader)?,
            "traceId" => trace_id = Id::read(reader)?,
            "spanId" => span_id = Id::read(reader)?,
            "eventName" => log.event_name = reader.string()?,
            _ => reader.skip()?,
        }
    }
    Ok(match (trace_id.or_absent(), span_id.or_absent()) {
        (None, _) => Err(Refusal::TraceId),
        (_, None) => Err(Refusal::SpanId),
        (Some(trace_id), Some(span_id)) => {
            log.trace_id = trace_id;
            log.span_id = span_id;
            Ok(())
        }
    })
}

fn span_kind(name: &str) -> Option<i32> {
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    SpanKind::from_str_name(name).map(|kind| kind as i32)
}

fn status_code(name: &str) -> Option<i32> {
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    StatusCode::from_str_name(name).map(|code| code as i32)
}

fn severity(name: &str) -> Option<i32> {
    use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
    SeverityNumber::from_str_name(name).map(|severity| severity as i32)
}

/// Counts what a request holds. See [`super::measure`].
pub(super) fn shape(signal: Signal, request: &[u8]) -> Shape {
    let names = Names::of(signal);
    let mut shape = Shape::default();
    let mut reader = Reader::new(request);
    // A broken request is counted up to where it breaks.
    let _ = inner(&mut reader, names.resources, |reader| {
        let (of_resource, context) = around(reader, names.scopes, |reader| {
            let (of_scope, context) = around(reader, names.records, |reader| {
                let mut one = Shape::default();
                let start = reader.position();
                reader.skip()?;
                let record = reader.since(start);
                one.add(record.len(), elements(record));
                Ok(one)
            })?;
            let mut sum = Shape::default();
            sum.add_with_context(of_scope, context.len, context.elements);
            Ok(sum)
        })?;
        shape.add_with_context(of_resource, context.len, context.elements);
        Ok(())
    });
    shape
}

/// What a resource or scope is repeated with.
#[derive(Default)]
struct Context {
    len: usize,
    elements: usize,
}

/// The sum over the list called `name`, and the size of all other keys.
fn around<'a>(
    reader: &mut Reader<'a>,
    name: &str,
    mut f: impl FnMut(&mut Reader<'a>) -> Result<Shape>,
) -> Result<(Shape, Context)> {
    let (mut sum, mut context) = (Shape::default(), Context::default());
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        if key.as_str() == name {
            each(reader, |reader| {
                sum.add_with_context(f(reader)?, 0, 0);
                Ok(())
            })?;
        } else {
            let start = reader.position();
            reader.skip()?;
            let bytes = reader.since(start);
            context.len = context.len.saturating_add(bytes.len());
            context.elements = context.elements.saturating_add(elements(bytes));
        }
    }
    Ok((sum, context))
}

/// An upper bound for the elements in JSON: each but the first follows a brace or a comma.
fn elements(json: &[u8]) -> usize {
    memchr::memchr2_iter(b'{', b',', json).count()
}
