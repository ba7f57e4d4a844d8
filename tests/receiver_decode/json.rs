//! OTLP/JSON: the same records as protobuf, and the conformance cases that SDKs need.

use super::oracle::{Call, Calls, decoded};
use super::strategies;
use base64::Engine;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};
use spanledger::receiver::otlp::{Format, Signal, decode};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink, Span, Value};

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

fn traces(request: &ExportTraceServiceRequest) -> Json {
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

fn logs(request: &ExportLogsServiceRequest) -> Json {
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

proptest! {
    #[test]
    fn a_record_has_the_same_canonical_bytes_in_json_and_in_protobuf(
        spans in strategies::traces(),
        records in strategies::logs(),
    ) {
        for (signal, json, protobuf) in [
            (Signal::Traces, traces(&spans), spans.encode_to_vec()),
            (Signal::Logs, logs(&records), records.encode_to_vec()),
        ] {
            let from_json = decoded(signal, Format::Json, json.to_string().as_bytes());
            prop_assert_eq!(from_json, decoded(signal, Format::Protobuf, &protobuf));
        }
    }

    #[test]
    fn a_damaged_request_never_makes_it_panic(
        request in strategies::traces(),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = traces(&request).to_string().into_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let _ = decoded(Signal::Traces, Format::Json, &bytes);
    }
}

/// The one span of a request with these members beside its ids.
fn span_with(members: &str, check: impl FnMut(&Span<'_>)) {
    struct One<F>(F, usize);
    impl<F: FnMut(&Span<'_>)> Sink for One<F> {
        fn resource(&mut self, _: &Resource<'_>) {}
        fn scope(&mut self, _: &Scope<'_>) {}
        fn record(&mut self, record: Record<'_, '_>) {
            let Record::Span(span) = record else { panic!("not a span") };
            self.0(span);
            self.1 += 1;
        }
        fn refuse(&mut self, why: Refusal) {
            panic!("refused: {why}");
        }
    }
    let mut sink = One(check, 0);
    let request = request_with(members);
    decode(Signal::Traces, Format::Json, request.as_bytes(), &mut sink).unwrap();
    assert_eq!(sink.1, 1);
}

fn request_with(members: &str) -> String {
    let ids = r#""traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7""#;
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids}{comma}{members}}}]}}]}}]}}"#)
}

fn attribute_value(json: &str, expected: &Value<'_>) {
    let members = format!(r#""attributes":[{{"key":"k","value":{json}}}]"#);
    span_with(&members, |span| {
        assert_eq!(format!("{:?}", span.attributes[0].value), format!("{expected:?}"), "{json}");
    });
}

#[test]
fn values_that_sdks_send_in_their_own_way_are_understood() {
    use Value::{Bool, Double, Empty, Int};
    attribute_value(r#"{"intValue":"9007199254740993"}"#, &Int(9_007_199_254_740_993));
    attribute_value(r#"{"intValue":9007199254740994}"#, &Int(9_007_199_254_740_994));
    attribute_value(r#"{"intValue":-9223372036854775808}"#, &Int(i64::MIN));
    attribute_value(r#"{"intValue":1e+21}"#, &Double(1e21));
    attribute_value(r#"{"intValue":18446744073709551615}"#, &Double(18_446_744_073_709_552_000.0));
    attribute_value(r#"{"intValue":3.0}"#, &Int(3));
    attribute_value(r#"{"doubleValue":"NaN"}"#, &Double(f64::NAN));
    attribute_value(r#"{"doubleValue":"-Infinity"}"#, &Double(f64::NEG_INFINITY));
    attribute_value(r#"{"doubleValue":"Infinity"}"#, &Double(f64::INFINITY));
    attribute_value(r#"{"doubleValue":1}"#, &Double(1.0));
    attribute_value(r#"{"doubleValue":null}"#, &Empty);
    attribute_value(r#"{"stringValue":null,"boolValue":true}"#, &Bool(true));
    attribute_value("{}", &Empty);
    attribute_value("null", &Empty);
    attribute_value(r#"{"string_value":"snake case is unknown"}"#, &Empty);
    attribute_value(r#"{"arrayValue":{}}"#, &Value::List(vec![]));
    attribute_value(
        r#"{"arrayValue":{"values":[null,{},{"intValue":1}]}}"#,
        &Value::List(vec![Empty, Empty, Int(1)]),
    );
    attribute_value(r#"{"bytesValue":"_-8"}"#, &Value::Bytes(vec![0xff, 0xef].into()));
}

#[test]
fn enums_are_numbers_or_names() {
    for (json, kind) in [("3", 3), ("\"SPAN_KIND_CLIENT\"", 3), ("\"4\"", 4), ("\"NEW\"", 0)] {
        span_with(&format!(r#""kind":{json}"#), |span| assert_eq!(span.kind, kind, "{json}"));
    }
    let status = r#""status":{"code":"STATUS_CODE_ERROR","message":null}"#;
    span_with(status, |span| assert_eq!(span.status_code, 2));
}

#[test]
fn nulls_and_unknown_members_and_members_that_come_twice_are_no_error() {
    let members = r#""name":null,"parentSpanId":null,"parentSpanId":"","events":null,"links":[null],
        "kind":null,"status":null,"startTimeUnixNano":null,"unknown":{"a":[1,{"b":"\ud800"}]},
        "name":"first","name":"second","attributes":[null,{"key":"a"}],"attributes":[{"key":"b"}]"#;
    span_with(members, |span| {
        assert_eq!(span.name.as_str(), "second");
        let keys: Vec<&str> = span.attributes.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!((span.events.len(), span.links.len()), (0, 0));
    });
}

#[test]
fn half_of_a_surrogate_pair_is_repaired_wherever_it_is() {
    let members = r#""name":"\ud83d","attributes":[{"key":"\udc00","value":{"stringValue":"ok"}}]"#;
    span_with(members, |span| {
        assert_eq!(span.name.raw(), Some(&b"\xed\xa0\xbd"[..]));
        assert!(span.attributes[0].key.raw().is_some());
    });
}

#[test]
fn bytes_that_are_not_utf8_are_repaired_also_in_keys_that_nobody_knows() {
    let mut request = request_with(r#""name":"a?","b?":1"#).into_bytes();
    for byte in &mut request {
        if *byte == b'?' {
            *byte = 0xff;
        }
    }
    let calls = decoded(Signal::Traces, Format::Json, &request).unwrap();
    assert!(matches!(calls[..], [Call::Resource(_), Call::Scope(_), Call::Record(_)]));
}

#[test]
fn a_bad_id_refuses_its_record_and_no_other() {
    let mut spans = Vec::new();
    for trace_id in [
        r#""0x4bf92f3577b34da6a3ce929d0e0e47""#,
        r#""4bf92f3577b34da6a3ce929d0e0e473""#,
        r#""4bf92f3577b34da6a3ce929d0e0e473g""#,
        r#""00000000000000000000000000000000""#,
        r#""""#,
        "null",
        "17",
    ] {
        spans.push(format!(r#"{{"traceId":{trace_id},"spanId":"00f067aa0ba902b7"}}"#));
    }
    spans.push(
        r#"{"traceId":"4BF92F3577B34DA6A3CE929D0E0E4736","spanId":"00F067aa0ba902b7"}"#.into(),
    );
    let request =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    let mut sink = Calls::default();
    decode(Signal::Traces, Format::Json, request.as_bytes(), &mut sink).unwrap();
    let refused = sink.0.iter().filter(|call| matches!(call, Call::Refuse(Refusal::TraceId)));
    assert_eq!(refused.count(), 7);
    assert!(matches!(sink.0.last(), Some(Call::Record(_))));
}

#[test]
fn a_log_record_without_ids_is_accepted_and_one_with_a_short_id_is_not() {
    for (ids, accepted) in [
        ("", true),
        (r#""traceId":"","spanId":"""#, true),
        (r#""traceId":"00","spanId":"""#, false),
        (r#""traceId":"","spanId":"0x""#, false),
    ] {
        let request =
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{ids}}}]}}]}}]}}"#);
        let calls = decoded(Signal::Logs, Format::Json, request.as_bytes()).unwrap();
        assert_eq!(matches!(calls.last(), Some(Call::Record(_))), accepted, "{ids}");
    }
}

#[test]
fn values_nest_as_deep_as_in_protobuf() {
    let accepted = |levels: usize| {
        let value = format!(
            "{}{{}}{}",
            r#"{"arrayValue":{"values":["#.repeat(levels),
            "]}}".repeat(levels)
        );
        let request = request_with(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#));
        decoded(Signal::Traces, Format::Json, request.as_bytes()).is_ok()
    };
    assert!(accepted(47));
    assert!(!accepted(48));
    assert!(!accepted(100_000));
}

#[test]
fn broken_structure_is_refused_with_its_place() {
    for request in ["", "[]", "{", r#"{"resourceSpans":{}}"#, "{} {}", r#"{"a":tru}"#, "null"] {
        assert!(decoded(Signal::Traces, Format::Json, request.as_bytes()).is_err(), "{request}");
    }
    let error = decoded(Signal::Traces, Format::Json, br#"{"resourceSpans":7}"#).unwrap_err();
    assert_eq!(error.to_string(), "byte 17: not a list");
    for empty in ["{}", r#"{"resourceSpans":null}"#, r#" {"resourceSpans":[]} "#] {
        assert_eq!(decoded(Signal::Traces, Format::Json, empty.as_bytes()), Ok(vec![]));
    }
}
