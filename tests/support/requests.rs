//! OTLP requests with ids that a test can count.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// 2026-11-21T08:00:00Z, so that what a test sends is the same each time.
pub const START_NS: u64 = 1_795_248_000_000_000_000;

/// An attribute with text in it.
pub fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

/// The span id of a serial number, as the API shows it.
pub fn span_id_hex(serial: u64) -> String {
    format!("{:016x}", serial + 1)
}

/// A span of which everything follows from its serial number.
pub fn span(serial: u64, attributes: Vec<KeyValue>) -> Span {
    let mut trace_id = vec![0xab; 8];
    trace_id.extend_from_slice(&(serial / 10 + 1).to_be_bytes());
    Span {
        trace_id,
        span_id: (serial + 1).to_be_bytes().to_vec(),
        name: "chat".to_owned(),
        kind: 3,
        start_time_unix_nano: START_NS + serial,
        end_time_unix_nano: START_NS + serial + 1_000_000,
        attributes,
        ..Span::default()
    }
}

/// A request of spans from one service.
pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "refund-agent")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// A request of `count` spans with serial numbers from `first`, about 1 KB each.
pub fn numbered(first: u64, count: u64) -> ExportTraceServiceRequest {
    let spans = (first..first + count)
        .map(|serial| {
            span(
                serial,
                vec![
                    text("gen_ai.operation.name", "chat"),
                    text("gen_ai.request.model", "gpt-4o-mini"),
                    text("external.trace_id", &format!("external-{}", serial / 10)),
                    text("gen_ai.input.messages", &"where is my parcel ".repeat(40)),
                ],
            )
        })
        .collect();
    request(spans)
}
