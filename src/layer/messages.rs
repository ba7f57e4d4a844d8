//! OTLP's messages as far as this layer writes them, read back for tests of agents.

use super::testing::Audit;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value as Json;

#[derive(Message)]
#[allow(clippy::struct_field_names)] // the names of the protocol
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_ns: u64,
    #[prost(fixed64, tag = "8")]
    end_ns: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_ns: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span_id: Vec<u8>,
    #[prost(string, tag = "12")]
    event_name: String,
}

#[derive(Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 7")]
    value: Option<Any>,
}

#[derive(prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    List(List),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

/// A `Span`; `None` when it is none.
pub(super) fn span(record: &[u8]) -> Option<Audit> {
    let span = Span::decode(record).ok()?;
    let status = span.status.unwrap_or_default();
    Some(Audit {
        is_span: true,
        name: span.name,
        body: None,
        trace_id: id(&span.trace_id),
        span_id: id(&span.span_id),
        parent_span_id: id(&span.parent_span_id),
        kind: span.kind,
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (id(&link.trace_id), id(&link.span_id))).collect(),
        status: status.code,
        status_message: status.message,
    })
}

/// A `LogRecord`; `None` when it is none.
pub(super) fn log(record: &[u8]) -> Option<Audit> {
    let log = LogRecord::decode(record).ok()?;
    let body = log.body.map(json);
    Some(Audit {
        name: log.event_name,
        body: body.and_then(|body| body.as_str().map(str::to_owned)),
        trace_id: id(&log.trace_id),
        span_id: id(&log.span_id),
        start_ns: log.time_ns,
        attributes: attributes(log.attributes),
        ..Audit::default()
    })
}

fn attributes(list: Vec<KeyValue>) -> Vec<(String, Json)> {
    list.into_iter().map(|it| (it.key, it.value.map_or(Json::Null, json))).collect()
}

fn json(value: AnyValue) -> Json {
    match value.value {
        None => Json::Null,
        Some(Any::Text(text)) => text.into(),
        Some(Any::Bool(truth)) => truth.into(),
        Some(Any::Int(int)) => int.into(),
        Some(Any::Double(double)) => double.into(),
        Some(Any::List(list)) => list.values.into_iter().map(json).collect(),
        Some(Any::Bytes(bytes)) => STANDARD.encode(bytes).into(),
    }
}

fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}
