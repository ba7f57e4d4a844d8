//! What the outbox itself says, and the frame of a request around records that are encoded
//! already. Nothing is decoded here.
//!
//! ```text
//! Export…ServiceRequest { 1: Resource… { 1: resource, 2: Scope… { 1: scope, 2: record, 2: … } } }
//! ```
//!
//! The numbers of these fields are the same for spans and log records.
//! Source: `opentelemetry/proto/{common,logs,trace,collector}`, version 1.

use super::numbers::Numbers;
use bytes::{BufMut, Bytes};
use std::time::{SystemTime, UNIX_EPOCH};

/// OTLP's `SEVERITY_NUMBER_INFO` and `SEVERITY_NUMBER_WARN`.
const INFO: u8 = 9;
const WARN: u8 = 13;

/// Gap entries that one cause may give: further ranges are joined, and the entry says so.
const MOST_GAPS: usize = 64;

/// Records that will never arrive, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) numbers: Numbers,
    /// For people.
    pub(super) reason: String,
}

impl Lost {
    /// Those that are not among the others.
    pub(super) fn without(&self, others: &Numbers) -> Self {
        Self { numbers: self.numbers.without(others), reason: self.reason.clone() }
    }
}

/// Records that are missing, and why. Becomes entries of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// The instance whose records are missing.
    pub(super) instance: String,
    /// Which. Empty: unknown.
    pub(super) numbers: Numbers,
    /// Everything after this number may be missing too.
    pub(super) after: Option<u64>,
    /// For people: why.
    pub(super) reason: String,
    /// The instance that tells it, if it is another one.
    pub(super) told_by: Option<String>,
}

impl Gap {
    /// A gap that its own instance tells.
    pub(super) fn of(instance: &str, lost: Lost) -> Self {
        let Lost { numbers, reason } = lost;
        Self { instance: instance.to_owned(), numbers, after: None, reason, told_by: None }
    }

    /// The encoded log records that tell it.
    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let mut numbers = self.numbers.clone();
        let joined = numbers.len() > MOST_GAPS;
        numbers.blur(MOST_GAPS);
        let known = numbers.ranges().map(|(first, last)| self.record(first, Some(last), joined));
        let open = self.after.map(|after| self.record(after.saturating_add(1), None, false));
        known.chain(open).collect()
    }

    fn record(&self, first: u64, last: Option<u64>, joined: bool) -> Vec<u8> {
        let instance = &self.instance;
        let reason = &self.reason;
        let what = match last {
            None => format!("records after number {} may be missing", first.saturating_sub(1)),
            Some(_) if joined => "records of this range are missing, and not all of it".to_owned(),
            Some(last) if last == first => format!("record {first} is missing"),
            Some(last) => format!("records {first} to {last} are missing"),
        };
        let mut attributes = vec![
            ("spanledger.kind", Value::Text("gap")),
            ("spanledger.instance.id", Value::Text(instance)),
            ("spanledger.gap.first", Value::Number(first)),
            ("spanledger.gap.reason", Value::Text(reason)),
        ];
        if let Some(last) = last {
            attributes.insert(3, ("spanledger.gap.last", Value::Number(last)));
        }
        if let Some(told_by) = &self.told_by {
            attributes.push(("spanledger.gap.told_by", Value::Text(told_by)));
        }
        let body = format!("instance {instance}: {what} ({reason})");
        log_record("spanledger.gap", WARN, &body, &attributes)
    }
}

/// The first record of an instance.
pub(super) fn hello(instance: &str) -> Vec<u8> {
    let body = format!("instance {instance} starts; its records are numbered from 1");
    let attributes = [
        ("spanledger.instance.id", Value::Text(instance)),
        ("process.pid", Value::Number(u64::from(std::process::id()))),
    ];
    log_record("spanledger.instance.start", INFO, &body, &attributes)
}

/// The last one, with the highest number that was taken.
pub(super) fn goodbye(instance: &str, highest: u64) -> Vec<u8> {
    let body = format!("instance {instance} ends; its last record has number {highest}");
    let attributes = [
        ("spanledger.instance.id", Value::Text(instance)),
        ("spanledger.instance.last", Value::Number(highest)),
    ];
    log_record("spanledger.instance.end", INFO, &body, &attributes)
}

/// An encoded `Resource` that names the instance and nothing else: for records whose own is lost.
pub(super) fn resource_of(instance: &str) -> Vec<u8> {
    let mut resource = Vec::new();
    attribute(&mut resource, 1, "service.instance.id", &Value::Text(instance));
    resource
}

/// The encoded `InstrumentationScope` of everything that this version sends.
pub(super) fn scope() -> Vec<u8> {
    let mut scope = Vec::new();
    bytes_field(&mut scope, 1, b"spanledger");
    bytes_field(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    scope
}

/// A request with these records.
pub(super) fn request<'a>(
    resource: &[u8],
    scope: &[u8],
    records: impl Iterator<Item = &'a [u8]> + Clone,
) -> Bytes {
    let of_records =
        records.clone().fold(0_usize, |sum, it| sum.saturating_add(field_len(it.len())));
    let in_scope = field_len(scope.len()).saturating_add(of_records);
    let in_resource = field_len(resource.len()).saturating_add(field_len(in_scope));
    let mut out = Vec::with_capacity(field_len(in_resource));
    head(&mut out, 1, in_resource);
    bytes_field(&mut out, 1, resource);
    head(&mut out, 2, in_scope);
    bytes_field(&mut out, 1, scope);
    for record in records {
        bytes_field(&mut out, 2, record);
    }
    Bytes::from(out)
}

enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

fn log_record(event: &str, severity: u8, body: &str, attributes: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let now = now_nanos();
    fixed64_field(&mut out, 1, now);
    out.extend([2 << 3, severity]);
    bytes_field(&mut out, 3, if severity == WARN { b"WARN" } else { b"INFO" });
    let mut text = Vec::new();
    bytes_field(&mut text, 1, body.as_bytes());
    bytes_field(&mut out, 5, &text);
    for (key, value) in attributes {
        attribute(&mut out, 6, key, value);
    }
    fixed64_field(&mut out, 11, now);
    bytes_field(&mut out, 12, event.as_bytes());
    out
}

/// A `KeyValue`.
fn attribute(out: &mut Vec<u8>, field: u8, key: &str, value: &Value<'_>) {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => bytes_field(&mut any, 1, text.as_bytes()),
        Value::Number(number) => {
            any.push(3 << 3);
            varint(&mut any, *number);
        }
    }
    let mut pair = Vec::new();
    bytes_field(&mut pair, 1, key.as_bytes());
    bytes_field(&mut pair, 2, &any);
    bytes_field(out, field, &pair);
}

fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A field of wire type 2. Fields here are below 16: one byte of tag.
fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, field: u8, length: usize) {
    out.push(field << 3 | 2);
    varint(out, length as u64);
}

fn fixed64_field(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | 1);
    out.put_u64_le(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while let [low, ..] = value.to_le_bytes()
        && value > 0x7f
    {
        out.push(low | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0] & 0x7f);
}

/// Bytes of a field of wire type 2 with that many bytes of content.
fn field_len(content: usize) -> usize {
    let bits = usize::BITS.saturating_sub(content.leading_zeros()).max(1);
    (bits.div_ceil(7) as usize).saturating_add(content).saturating_add(1)
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message;

    fn text(record: &LogRecord, key: &str) -> Option<Any> {
        let pair = record.attributes.iter().find(|pair| pair.key == key)?;
        pair.value.clone()?.value
    }

    #[test]
    fn a_request_is_what_generated_code_reads() {
        let gap = Gap {
            instance: "i".repeat(32),
            numbers: Numbers::from_bytes(&[3_u64.to_le_bytes(), 500_u64.to_le_bytes()].concat()),
            after: Some(900),
            reason: "the buffer was full".to_owned(),
            told_by: Some("t".repeat(32)),
        };
        let records = gap.records();
        let resource = Resource { dropped_attributes_count: 7, ..Resource::default() };
        let records = records.iter().map(Vec::as_slice);
        let request = request(&resource.encode_to_vec(), &scope(), records.clone());
        let read = ExportLogsServiceRequest::decode(request.clone()).unwrap();
        assert_eq!(read.encode_to_vec(), request, "no byte that the schema does not know");
        assert_eq!(read.resource_logs[0].resource, Some(resource));
        let scope = &read.resource_logs[0].scope_logs[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "spanledger");
        let [known, open] = &scope.log_records[..] else { panic!("two entries") };
        assert_eq!(known.event_name, "spanledger.gap");
        assert_eq!(text(known, "spanledger.kind"), Some(Any::StringValue("gap".into())));
        assert_eq!(text(known, "spanledger.gap.first"), Some(Any::IntValue(3)));
        assert_eq!(text(known, "spanledger.gap.last"), Some(Any::IntValue(500)));
        assert_eq!(text(open, "spanledger.gap.first"), Some(Any::IntValue(901)));
        assert_eq!(text(open, "spanledger.gap.last"), None);
    }

    #[test]
    fn lengths_are_right_where_a_varint_grows() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::new();
            bytes_field(&mut out, 1, &vec![0; length]);
            assert_eq!(out.len(), field_len(length), "{length}");
        }
    }
}
