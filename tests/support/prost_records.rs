//! Captured requests as neutral records, by way of prost: the slow decoder that nobody of ours
//! wrote, so that what comes out is what was sent.
#![allow(unreachable_pub, reason = "a module of test binaries")]

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::{common, logs, resource, trace};
use prost::Message;
use spanledger::span::{
    Attribute, Event, Link, LogRecord, Record, Resource, Scope, Sink, Span, Text, Value,
};
use std::io::Read;
use std::path::Path;

/// Reads a captured request and gives its records to a sink. The name of the file says what it
/// is: `*.traces.*` or `*.logs.*`.
pub fn replay(file: &Path, sink: &mut impl Sink) {
    let name = file.file_name().unwrap().to_str().unwrap();
    for message in messages(file) {
        if name.contains(".traces.") {
            traces(&ExportTraceServiceRequest::decode(&*message).unwrap(), sink);
        } else {
            logs(&ExportLogsServiceRequest::decode(&*message).unwrap(), sink);
        }
    }
}

/// The messages of a captured request: `*.grpc.bin` has frames; gzip is told by its first bytes.
pub fn messages(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    if file.to_str().unwrap().ends_with(".grpc.bin") {
        frames(&bytes)
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        vec![gunzip(&bytes)]
    } else {
        vec![bytes]
    }
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The messages of a gRPC body: one byte of compression, four of length, the message.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(5) {
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        let (message, rest) = rest.split_at(length);
        messages.push(if header[0] == 1 { gunzip(message) } else { message.to_vec() });
        bytes = rest;
    }
    messages
}

fn traces(request: &ExportTraceServiceRequest, sink: &mut impl Sink) {
    for of_resource in &request.resource_spans {
        sink.resource(&resource(of_resource.resource.as_ref(), &of_resource.schema_url));
        for of_scope in &of_resource.scope_spans {
            sink.scope(&scope(of_scope.scope.as_ref(), &of_scope.schema_url));
            for one in &of_scope.spans {
                sink.record(Record::Span(&span(one)));
            }
        }
    }
}

fn logs(request: &ExportLogsServiceRequest, sink: &mut impl Sink) {
    for of_resource in &request.resource_logs {
        sink.resource(&resource(of_resource.resource.as_ref(), &of_resource.schema_url));
        for of_scope in &of_resource.scope_logs {
            sink.scope(&scope(of_scope.scope.as_ref(), &of_scope.schema_url));
            for one in &of_scope.log_records {
                sink.record(Record::Log(&log(one)));
            }
        }
    }
}

fn resource<'a>(resource: Option<&'a resource::v1::Resource>, schema_url: &'a str) -> Resource<'a> {
    Resource {
        attributes: resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default(),
        dropped_attributes: resource.map_or(0, |resource| resource.dropped_attributes_count),
        schema_url: schema_url.into(),
    }
}

fn scope<'a>(
    scope: Option<&'a common::v1::InstrumentationScope>,
    schema_url: &'a str,
) -> Scope<'a> {
    let Some(scope) = scope else { return Scope::default() };
    Scope {
        name: scope.name.as_str().into(),
        version: scope.version.as_str().into(),
        attributes: attributes(&scope.attributes),
        dropped_attributes: scope.dropped_attributes_count,
        schema_url: schema_url.into(),
    }
}

fn span(span: &trace::v1::Span) -> Span<'_> {
    let status = span.status.clone().unwrap_or_default();
    Span {
        trace_id: id(&span.trace_id),
        span_id: id(&span.span_id),
        parent_span_id: id(&span.parent_span_id),
        trace_state: span.trace_state.as_str().into(),
        flags: span.flags,
        name: span.name.as_str().into(),
        kind: span.kind,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        dropped_attributes: span.dropped_attributes_count,
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_ns: event.time_unix_nano,
                name: event.name.as_str().into(),
                attributes: attributes(&event.attributes),
                dropped_attributes: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events: span.dropped_events_count,
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: id(&link.trace_id),
                span_id: id(&link.span_id),
                trace_state: link.trace_state.as_str().into(),
                attributes: attributes(&link.attributes),
                dropped_attributes: link.dropped_attributes_count,
                flags: link.flags,
            })
            .collect(),
        dropped_links: span.dropped_links_count,
        status_code: status.code,
        status_message: Text::from(status.message),
    }
}

fn log(log: &logs::v1::LogRecord) -> LogRecord<'_> {
    LogRecord {
        time_ns: log.time_unix_nano,
        observed_ns: log.observed_time_unix_nano,
        severity_number: log.severity_number,
        severity_text: log.severity_text.as_str().into(),
        body: log.body.as_ref().map(value),
        attributes: attributes(&log.attributes),
        dropped_attributes: log.dropped_attributes_count,
        flags: log.flags,
        trace_id: id(&log.trace_id),
        span_id: id(&log.span_id),
        event_name: log.event_name.as_str().into(),
    }
}

/// An id of exactly its length; absent is all zeros.
fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    if bytes.is_empty() { [0; N] } else { bytes.try_into().expect("an id of the right length") }
}

fn attributes(list: &[KeyValue]) -> Vec<Attribute<'_>> {
    list.iter()
        .map(|pair| Attribute {
            key: pair.key.as_str().into(),
            value: pair.value.as_ref().map(value).unwrap_or_default(),
        })
        .collect()
}

fn value(value_: &AnyValue) -> Value<'_> {
    match &value_.value {
        None => Value::Empty,
        Some(any_value::Value::StringValue(text)) => Value::Text(text.as_str().into()),
        Some(any_value::Value::BoolValue(truth)) => Value::Bool(*truth),
        Some(any_value::Value::IntValue(int)) => Value::Int(*int),
        Some(any_value::Value::DoubleValue(double)) => Value::Double(*double),
        Some(any_value::Value::ArrayValue(list)) => {
            Value::List(list.values.iter().map(value).collect())
        }
        Some(any_value::Value::KvlistValue(map)) => Value::Map(attributes(&map.values)),
        Some(any_value::Value::BytesValue(bytes)) => Value::Bytes(bytes.as_slice().into()),
        Some(other) => panic!("prost knows a value that the neutral record does not: {other:?}"),
    }
}
