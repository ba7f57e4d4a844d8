//! Requests as an SDK spells them in OTLP/JSON.

use base64::Engine;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use serde_json::{Value as Json, json};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02X}").unwrap();
        out
    })
}

fn value(value_: &AnyValue) -> Json {
    match &value_.value {
        None | Some(Any::StringValueStrindex(_)) => json!({}),
        Some(Any::StringValue(text)) => json!({ "stringValue": text }),
        Some(Any::BoolValue(truth)) => json!({ "boolValue": truth }),
        Some(Any::IntValue(int)) if int % 2 == 0 => json!({ "intValue": int }),
        Some(Any::IntValue(int)) => json!({ "intValue": int.to_string() }),
        Some(Any::DoubleValue(double)) if double.is_finite() => json!({ "doubleValue": double }),
        Some(Any::DoubleValue(double)) if double.is_nan() => json!({ "doubleValue": "NaN" }),
        Some(Any::DoubleValue(double)) if *double > 0.0 => json!({ "doubleValue": "Infinity" }),
        Some(Any::DoubleValue(_)) => json!({ "doubleValue": "-Infinity" }),
        Some(Any::BytesValue(bytes)) => {
            json!({ "bytesValue": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
        Some(Any::ArrayValue(list)) => {
            json!({ "arrayValue": { "values": list.values.iter().map(value).collect::<Vec<_>>() } })
        }
        Some(Any::KvlistValue(map)) => json!({ "kvlistValue": { "values": pairs(&map.values) } }),
    }
}

fn pairs(list: &[KeyValue]) -> Vec<Json> {
    list.iter()
        .map(|pair| json!({ "value": pair.value.as_ref().map(value), "key": pair.key }))
        .collect()
}

pub(crate) fn traces(request: &ExportTraceServiceRequest) -> Json {
    let span = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        json!({
            "traceId": hex(&span.trace_id),
            "spanId": hex(&span.span_id).to_lowercase(),
            "parentSpanId": hex(&span.parent_span_id),
            "traceState": span.trace_state,
            "flags": span.flags,
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": span.start_time_unix_nano,
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
            "attributes": pairs(&span.attributes),
            "droppedAttributesCount": span.dropped_attributes_count,
            "events": span.events.iter().map(|event| json!({
                "timeUnixNano": event.time_unix_nano.to_string(),
                "name": event.name,
                "attributes": pairs(&event.attributes),
                "droppedAttributesCount": event.dropped_attributes_count.to_string(),
            })).collect::<Vec<_>>(),
            "droppedEventsCount": span.dropped_events_count,
            "links": span.links.iter().map(|link| json!({
                "traceId": hex(&link.trace_id),
                "spanId": hex(&link.span_id),
                "traceState": link.trace_state,
                "attributes": pairs(&link.attributes),
                "droppedAttributesCount": link.dropped_attributes_count,
                "flags": link.flags,
            })).collect::<Vec<_>>(),
            "droppedLinksCount": span.dropped_links_count,
            "status": span.status.as_ref().map(|status| {
                json!({ "message": status.message, "code": status.code })
            }),
        })
    };
    let groups = request.resource_spans.iter().map(|group| {
        json!({
            "scopeSpans": group.scope_spans.iter().map(|group| json!({
                "spans": group.spans.iter().map(span).collect::<Vec<_>>(),
                "scope": group.scope.as_ref().map(|scope| json!({
                    "name": scope.name,
                    "version": scope.version,
                    "attributes": pairs(&scope.attributes),
                    "droppedAttributesCount": scope.dropped_attributes_count,
                })),
                "schemaUrl": group.schema_url,
            })).collect::<Vec<_>>(),
            "resource": group.resource.as_ref().map(|resource| json!({
                "attributes": pairs(&resource.attributes),
                "droppedAttributesCount": resource.dropped_attributes_count,
            })),
            "schemaUrl": group.schema_url,
        })
    });
    json!({ "resourceSpans": groups.collect::<Vec<_>>() })
}

pub(crate) fn logs(request: &ExportLogsServiceRequest) -> Json {
    let log = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
        json!({
            "timeUnixNano": log.time_unix_nano.to_string(),
            "observedTimeUnixNano": log.observed_time_unix_nano,
            "severityNumber": log.severity_number,
            "severityText": log.severity_text,
            "body": log.body.as_ref().map(value),
            "attributes": pairs(&log.attributes),
            "droppedAttributesCount": log.dropped_attributes_count,
            "flags": log.flags,
            "traceId": hex(&log.trace_id),
            "spanId": hex(&log.span_id),
            "eventName": log.event_name,
        })
    };
    let groups = request.resource_logs.iter().map(|group| {
        json!({
            "resource": group.resource.as_ref().map(|resource| json!({
                "attributes": pairs(&resource.attributes),
                "droppedAttributesCount": resource.dropped_attributes_count,
            })),
            "scopeLogs": group.scope_logs.iter().map(|group| json!({
                "scope": group.scope.as_ref().map(|scope| json!({
                    "name": scope.name,
                    "version": scope.version,
                    "attributes": pairs(&scope.attributes),
                    "droppedAttributesCount": scope.dropped_attributes_count,
                })),
                "logRecords": group.log_records.iter().map(log).collect::<Vec<_>>(),
                "schemaUrl": group.schema_url,
            })).collect::<Vec<_>>(),
            "schemaUrl": group.schema_url,
        })
    });
    json!({ "resourceLogs": groups.collect::<Vec<_>>() })
}
