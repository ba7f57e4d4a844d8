//! Random requests.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        "\\PC{0,8}".prop_map(|text| Some(Any::StringValue(text))),
        any::<bool>().prop_map(|truth| Some(Any::BoolValue(truth))),
        any::<i64>().prop_map(|int| Some(Any::IntValue(int))),
        any::<f64>().prop_map(|double| Some(Any::DoubleValue(double))),
        vec(any::<u8>(), 0..8).prop_map(|bytes| Some(Any::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 4, |inner| {
        let key_value = ("\\PC{0,4}", option::of(inner.clone()))
            .prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| Any::ArrayValue(ArrayValue { values })),
            vec(key_value, 0..4).prop_map(|values| Any::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("\\PC{0,6}", option::of(any_value()));
    vec(pair.prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 }), 0..4)
}

/// Mostly an id of `length` bytes, sometimes one that is not.
fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(1..255_u8, length),
        1 => Just(Vec::new()),
        1 => Just(vec![0; length]),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of((attributes(), any::<u32>()).prop_map(|(attributes, dropped_attributes_count)| {
        Resource { attributes, dropped_attributes_count, entity_refs: Vec::new() }
    }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of(("\\PC{0,6}", "\\PC{0,3}", attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    ))
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), "\\PC{0,6}", attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), "\\PC{0,6}", attributes(), any::<u32>(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let status =
        option::of(("\\PC{0,6}", 0..4_i32).prop_map(|(message, code)| Status { message, code }));
    let ids = (id(16), id(8), id(8), "\\PC{0,6}", any::<u32>());
    let numbers = (-1..7_i32, any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3), status, "\\PC{0,9}");
    (ids, numbers, lists).prop_map(|(ids, numbers, lists)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: ids.3,
        flags: ids.4,
        kind: numbers.0,
        start_time_unix_nano: numbers.1,
        end_time_unix_nano: numbers.2,
        dropped_attributes_count: numbers.3,
        dropped_events_count: numbers.4,
        dropped_links_count: numbers.4,
        attributes: lists.0,
        events: lists.1,
        links: lists.2,
        status: lists.3,
        name: lists.4,
    })
}

fn log() -> impl Strategy<Value = LogRecord> {
    let ids = (id(16), id(8), any::<u32>(), "\\PC{0,6}", "\\PC{0,6}");
    let numbers = (any::<u64>(), any::<u64>(), 0..25_i32, any::<u32>());
    (ids, numbers, option::of(any_value()), attributes()).prop_map(
        |(ids, numbers, body, attributes)| LogRecord {
            trace_id: ids.0,
            span_id: ids.1,
            flags: ids.2,
            severity_text: ids.3,
            event_name: ids.4,
            time_unix_nano: numbers.0,
            observed_time_unix_nano: numbers.1,
            severity_number: numbers.2,
            dropped_attributes_count: numbers.3,
            body,
            attributes,
        },
    )
}

pub(crate) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let group = (scope(), vec(span(), 0..3), "\\PC{0,6}")
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let group = (resource(), vec(group, 0..3), "\\PC{0,6}").prop_map(
        |(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url },
    );
    vec(group, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

pub(crate) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let group = (scope(), vec(log(), 0..3), "\\PC{0,6}")
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let group = (resource(), vec(group, 0..3), "\\PC{0,6}").prop_map(
        |(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url },
    );
    vec(group, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}
