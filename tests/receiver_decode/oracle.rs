//! What prost decodes, as the calls that a sink must see.

use super::calls::{Call, Calls};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any,
};
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message;
use spanledger::receiver::otlp::Signal;
use spanledger::span::{
    Attribute, Event, Link, LogRecord, Record, Refusal, Resource, Scope, Sink, Span, Value,
};

/// The calls that prost's decoding amounts to.
pub(crate) fn expected(signal: Signal, request: &[u8]) -> Result<Vec<Call>, prost::DecodeError> {
    let mut calls = Calls::default();
    match signal {
        Signal::Traces => traces(&ExportTraceServiceRequest::decode(request)?, &mut calls),
        Signal::Logs => log_records(&ExportLogsServiceRequest::decode(request)?, &mut calls),
    }
    Ok(calls.0)
}

fn traces(request: &ExportTraceServiceRequest, sink: &mut Calls) {
    for group in &request.resource_spans {
        sink.resource(&resource(group.resource.as_ref(), &group.schema_url));
        for group in &group.scope_spans {
            sink.scope(&scope(group.scope.as_ref(), &group.schema_url));
            for span in &group.spans {
                give(span_of(span).as_ref().map(Record::Span), sink);
            }
        }
    }
}

fn log_records(request: &ExportLogsServiceRequest, sink: &mut Calls) {
    for group in &request.resource_logs {
        sink.resource(&resource(group.resource.as_ref(), &group.schema_url));
        for group in &group.scope_logs {
            sink.scope(&scope(group.scope.as_ref(), &group.schema_url));
            for log in &group.log_records {
                give(log_of(log).as_ref().map(Record::Log), sink);
            }
        }
    }
}

fn give(record: Result<Record<'_, '_>, &Refusal>, sink: &mut Calls) {
    match record {
        Ok(record) => sink.record(record),
        Err(why) => sink.refuse(*why),
    }
}

fn resource<'a>(resource: Option<&'a ProtoResource>, schema_url: &'a str) -> Resource<'a> {
    let found = Resource { schema_url: schema_url.into(), ..Resource::default() };
    resource.map_or(found.clone(), |resource| Resource {
        attributes: attributes(&resource.attributes),
        dropped_attributes: resource.dropped_attributes_count,
        ..found
    })
}

fn scope<'a>(scope: Option<&'a InstrumentationScope>, schema_url: &'a str) -> Scope<'a> {
    let found = Scope { schema_url: schema_url.into(), ..Scope::default() };
    scope.map_or(found.clone(), |scope| Scope {
        name: scope.name.as_str().into(),
        version: scope.version.as_str().into(),
        attributes: attributes(&scope.attributes),
        dropped_attributes: scope.dropped_attributes_count,
        ..found
    })
}

fn attributes(list: &[KeyValue]) -> Vec<Attribute<'_>> {
    list.iter().map(|pair| Attribute::new(pair.key.as_str(), value(pair.value.as_ref()))).collect()
}

fn value(value_: Option<&AnyValue>) -> Value<'_> {
    match value_.and_then(|value| value.value.as_ref()) {
        None | Some(Any::StringValueStrindex(_)) => Value::Empty,
        Some(Any::StringValue(text)) => Value::Text(text.as_str().into()),
        Some(Any::BoolValue(truth)) => Value::Bool(*truth),
        Some(Any::IntValue(int)) => Value::Int(*int),
        Some(Any::DoubleValue(double)) => Value::Double(*double),
        Some(Any::BytesValue(bytes)) => Value::Bytes(bytes.into()),
        Some(Any::ArrayValue(list)) => {
            Value::List(list.values.iter().map(|item| value(Some(item))).collect())
        }
        Some(Any::KvlistValue(map)) => Value::Map(attributes(&map.values)),
    }
}

fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok().filter(|id| *id != [0; N])
}

fn span_of(span: &trace::Span) -> Result<Span<'_>, Refusal> {
    let status = span.status.as_ref();
    Ok(Span {
        trace_id: id(&span.trace_id).ok_or(Refusal::TraceId)?,
        span_id: id(&span.span_id).ok_or(Refusal::SpanId)?,
        parent_span_id: id(&span.parent_span_id).unwrap_or_default(),
        trace_state: span.trace_state.as_str().into(),
        flags: span.flags,
        name: span.name.as_str().into(),
        kind: span.kind,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        dropped_attributes: span.dropped_attributes_count,
        events: span.events.iter().map(event_of).collect(),
        dropped_events: span.dropped_events_count,
        links: span.links.iter().map(link_of).collect(),
        dropped_links: span.dropped_links_count,
        status_code: status.map_or(0, |status| status.code),
        status_message: status.map_or("", |status| &status.message).into(),
    })
}

fn event_of(event: &trace::span::Event) -> Event<'_> {
    Event {
        time_ns: event.time_unix_nano,
        name: event.name.as_str().into(),
        attributes: attributes(&event.attributes),
        dropped_attributes: event.dropped_attributes_count,
    }
}

fn link_of(link: &trace::span::Link) -> Link<'_> {
    Link {
        trace_id: id(&link.trace_id).unwrap_or_default(),
        span_id: id(&link.span_id).unwrap_or_default(),
        trace_state: link.trace_state.as_str().into(),
        attributes: attributes(&link.attributes),
        dropped_attributes: link.dropped_attributes_count,
        flags: link.flags,
    }
}

fn log_of(log: &logs::LogRecord) -> Result<LogRecord<'_>, Refusal> {
    let absent =
        |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0) && matches!(bytes.len(), 0 | 8 | 16);
    let trace_id = match &log.trace_id {
        bytes if absent(bytes) && bytes.len() != 8 => [0; 16],
        bytes => id(bytes).ok_or(Refusal::TraceId)?,
    };
    let span_id = match &log.span_id {
        bytes if absent(bytes) && bytes.len() != 16 => [0; 8],
        bytes => id(bytes).ok_or(Refusal::SpanId)?,
    };
    Ok(LogRecord {
        time_ns: log.time_unix_nano,
        observed_ns: log.observed_time_unix_nano,
        severity_number: log.severity_number,
        severity_text: log.severity_text.as_str().into(),
        body: log.body.as_ref().map(|body| value(Some(body))),
        attributes: attributes(&log.attributes),
        dropped_attributes: log.dropped_attributes_count,
        flags: log.flags,
        trace_id,
        span_id,
        event_name: log.event_name.as_str().into(),
    })
}
