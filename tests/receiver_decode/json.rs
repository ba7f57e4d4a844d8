//! OTLP/JSON: the same records as protobuf, and the conformance cases that SDKs need.

use super::calls::{Call, Calls, decoded};
use super::spelled::{logs, traces};
use super::strategies;
use proptest::prelude::*;
use prost::Message;
use spanledger::receiver::otlp::{Format, Signal, decode};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink, Span, Value};

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
