//! OTLP's `Span`, `LogRecord` and `Resource` as bytes, without a tree of objects in between.
//!
//! Source: `opentelemetry-proto` 1.x, `trace/v1/trace.proto`, `logs/v1/logs.proto`,
//! `common/v1/common.proto`; protobuf's wire format. Tests decode with `opentelemetry-proto`.

use prost::encoding::encoded_len_varint;

/// Wire types that OTLP uses.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// `Span.attributes`.
pub(super) const SPAN_ATTRIBUTES: u32 = 9;
/// `LogRecord.attributes`.
pub(super) const LOG_ATTRIBUTES: u32 = 6;
/// `Resource.attributes`.
pub(super) const RESOURCE_ATTRIBUTES: u32 = 1;

/// Most bytes of tags and lengths around an attribute's key and value.
const MOST_AROUND: usize = 32;

/// A value on its way into an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list of texts.
    Texts(&'a [String]),
}

/// Appends `number: bytes` unless there are none.
#[inline]
pub(super) fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        prefix(number, bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}

/// Appends what stands in front of that many bytes.
#[inline]
pub(super) fn prefix(number: u32, length: usize, out: &mut Vec<u8>) {
    tag(number, BYTES, out);
    encode_varint(length as u64, out);
}

/// Appends `number: count` unless it is 0.
pub(super) fn varint(number: u32, count: u64, out: &mut Vec<u8>) {
    if count != 0 {
        tag(number, VARINT, out);
        encode_varint(count, out);
    }
}

/// Appends a fixed 64-bit number unless it is 0.
pub(super) fn fixed64(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        tag(number, FIXED64, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends `number: KeyValue { key, value }`. `key` is the encoded field 1 of it: see [`key_field`].
pub(super) fn attribute(number: u32, key: &[u8], value: Value<'_>, out: &mut Vec<u8>) {
    let value_bytes = any_value_len(value);
    out.reserve(key.len().saturating_add(value_bytes).saturating_add(MOST_AROUND));
    let inner = 1_usize.saturating_add(len_len(value_bytes)).saturating_add(value_bytes);
    prefix(number, key.len().saturating_add(inner), out);
    out.extend_from_slice(key);
    prefix(2, value_bytes, out);
    any_value(value, out);
}

/// The encoded `key` of a `KeyValue`: it is the same for each record of a call site.
pub(super) fn key_field(key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len().saturating_add(4));
    bytes(1, key.as_bytes(), &mut out);
    out
}

/// Appends an `AnyValue`, without tag and length.
#[inline]
pub(super) fn any_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            prefix(1, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bool(truth) => {
            tag(2, VARINT, out);
            out.push(u8::from(truth));
        }
        Value::Int(int) => {
            tag(3, VARINT, out);
            encode_varint(int.cast_unsigned(), out);
        }
        Value::Double(double) => {
            tag(4, FIXED64, out);
            out.extend_from_slice(&double.to_le_bytes());
        }
        Value::Texts(texts) => {
            prefix(5, texts_len(texts), out);
            for text in texts {
                let length = any_value_len(Value::Text(text));
                prefix(1, length, out);
                any_value(Value::Text(text), out);
            }
        }
        Value::Bytes(bytes) => {
            prefix(7, bytes.len(), out);
            out.extend_from_slice(bytes);
        }
    }
}

#[inline]
fn any_value_len(value: Value<'_>) -> usize {
    let with_length = |bytes: usize| 1_usize.saturating_add(len_len(bytes)).saturating_add(bytes);
    match value {
        Value::Text(text) => with_length(text.len()),
        Value::Bool(_) => 2,
        Value::Int(int) => 1_usize.saturating_add(encoded_len_varint(int.cast_unsigned())),
        Value::Double(_) => 9,
        Value::Texts(texts) => with_length(texts_len(texts)),
        Value::Bytes(bytes) => with_length(bytes.len()),
    }
}

fn texts_len(texts: &[String]) -> usize {
    texts.iter().fold(0, |sum, text| {
        let length = any_value_len(Value::Text(text));
        sum.saturating_add(1).saturating_add(len_len(length)).saturating_add(length)
    })
}

#[inline]
fn len_len(length: usize) -> usize {
    if length < 0x80 { 1 } else { encoded_len_varint(length as u64) }
}

#[inline]
fn tag(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    encode_varint(u64::from((number << 3) | wire_type), out);
}

/// Nearly always one byte.
#[inline]
fn encode_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
    use prost::Message as _;

    #[test]
    fn what_is_written_is_what_opentelemetry_reads() {
        let texts = ["a".to_owned(), "b".repeat(300)];
        let mut out = Vec::new();
        for value in [
            Value::Text("t"),
            Value::Bytes(&[0, 255]),
            Value::Bool(false),
            Value::Int(i64::MIN),
            Value::Int(0),
            Value::Double(-0.0),
            Value::Texts(&texts),
            Value::Text(""),
        ] {
            attribute(SPAN_ATTRIBUTES, &key_field("key"), value, &mut out);
        }
        let span = OtlpSpan::decode(&out[..]).unwrap();
        let values: Vec<_> =
            span.attributes.into_iter().map(|it| it.value.unwrap().value.unwrap()).collect();
        assert_eq!(values[0], Any::StringValue("t".into()));
        assert_eq!(values[1], Any::BytesValue(vec![0, 255]));
        assert_eq!(values[2], Any::BoolValue(false));
        assert_eq!((&values[3], &values[4]), (&Any::IntValue(i64::MIN), &Any::IntValue(0)));
        assert!(matches!(values[5], Any::DoubleValue(d) if d.is_sign_negative()));
        assert!(matches!(&values[6], Any::ArrayValue(list) if list.values.len() == 2));
        assert_eq!(values[7], Any::StringValue(String::new()));
    }
}
