//! One byte string for each record, the same whatever the transport: what an entry's id is made of.
//!
//! ```text
//! times, values   8 bytes little-endian          text, bytes   length, then the bytes
//! value           tag byte, then its content     list, map     count, then the items
//! lengths, counts, other numbers   7 bits a byte, the lowest first, the high bit says that more follow
//! ```
//!
//! Every item has its length or count in front, so no two records share a string. Text that was
//! repaired goes in as the bytes that came. Order is kept: it is part of what was sent.

use super::{Attribute, LogRecord, Record, Resource, Scope, Span, Text, Value};

/// First byte of a record's string: what it is, and with it the version of this layout.
const SPAN: u8 = 3;
const LOG: u8 = 4;

/// Appends the canonical bytes of a resource to `out`.
pub fn canonical_resource(resource: &Resource<'_>, out: &mut Vec<u8>) {
    attributes(&resource.attributes, out);
    count(u64::from(resource.dropped_attributes), out);
    text(&resource.schema_url, out);
}

/// Appends the canonical bytes of a scope to `out`.
pub fn canonical_scope(scope: &Scope<'_>, out: &mut Vec<u8>) {
    text(&scope.name, out);
    text(&scope.version, out);
    attributes(&scope.attributes, out);
    count(u64::from(scope.dropped_attributes), out);
    text(&scope.schema_url, out);
}

/// Appends the canonical bytes of a record to `out`, without its resource and scope.
///
/// ```
/// use spanledger::span::{canonical_record, Record, Span};
/// let (mut one, mut other) = (Vec::new(), Vec::new());
/// canonical_record(Record::Span(&Span { start_ns: 1, ..Span::default() }), &mut one);
/// canonical_record(Record::Span(&Span { start_ns: 2, ..Span::default() }), &mut other);
/// assert_ne!(one, other);
/// ```
pub fn canonical_record(record: Record<'_, '_>, out: &mut Vec<u8>) {
    match record {
        Record::Span(span) => canonical_span(span, out),
        Record::Log(log) => canonical_log(log, out),
    }
}

fn canonical_span(span: &Span<'_>, out: &mut Vec<u8>) {
    out.push(SPAN);
    out.extend_from_slice(&span.trace_id);
    out.extend_from_slice(&span.span_id);
    out.extend_from_slice(&span.parent_span_id);
    text(&span.trace_state, out);
    count(u64::from(span.flags), out);
    text(&span.name, out);
    count(u64::from(span.kind.cast_unsigned()), out);
    number(span.start_ns, out);
    number(span.end_ns, out);
    attributes(&span.attributes, out);
    count(u64::from(span.dropped_attributes), out);
    count(span.events.len() as u64, out);
    for event in &span.events {
        number(event.time_ns, out);
        text(&event.name, out);
        attributes(&event.attributes, out);
        count(u64::from(event.dropped_attributes), out);
    }
    count(u64::from(span.dropped_events), out);
    count(span.links.len() as u64, out);
    for link in &span.links {
        out.extend_from_slice(&link.trace_id);
        out.extend_from_slice(&link.span_id);
        text(&link.trace_state, out);
        attributes(&link.attributes, out);
        count(u64::from(link.dropped_attributes), out);
        count(u64::from(link.flags), out);
    }
    count(u64::from(span.dropped_links), out);
    count(u64::from(span.status_code.cast_unsigned()), out);
    text(&span.status_message, out);
}

fn canonical_log(log: &LogRecord<'_>, out: &mut Vec<u8>) {
    out.push(LOG);
    out.extend_from_slice(&log.trace_id);
    out.extend_from_slice(&log.span_id);
    number(log.time_ns, out);
    number(log.observed_ns, out);
    count(u64::from(log.severity_number.cast_unsigned()), out);
    text(&log.severity_text, out);
    match &log.body {
        None => out.push(0),
        Some(body) => {
            out.push(1);
            value(body, out);
        }
    }
    attributes(&log.attributes, out);
    count(u64::from(log.dropped_attributes), out);
    count(u64::from(log.flags), out);
    text(&log.event_name, out);
}

fn attributes(list: &[Attribute<'_>], out: &mut Vec<u8>) {
    count(list.len() as u64, out);
    for attribute in list {
        text(&attribute.key, out);
        value(&attribute.value, out);
    }
}

fn value(value_: &Value<'_>, out: &mut Vec<u8>) {
    match value_ {
        Value::Empty => out.push(0),
        Value::Bool(truth) => out.extend_from_slice(&[1, u8::from(*truth)]),
        Value::Int(int) => {
            out.push(2);
            signed(*int, out);
        }
        Value::Double(double) => {
            out.push(3);
            // All NaNs are one value: JSON and protobuf carry different bits for it.
            let bits = if double.is_nan() { f64::NAN.to_bits() } else { double.to_bits() };
            number(bits, out);
        }
        Value::Text(string) => {
            out.push(4);
            text(string, out);
        }
        Value::Bytes(bytes_) => {
            out.push(5);
            bytes(bytes_, out);
        }
        Value::List(items) => {
            out.push(6);
            count(items.len() as u64, out);
            for item in items {
                value(item, out);
            }
        }
        Value::Map(map) => {
            out.push(7);
            attributes(map, out);
        }
    }
}

fn text(text: &Text<'_>, out: &mut Vec<u8>) {
    bytes(text.raw().unwrap_or(text.as_str().as_bytes()), out);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    count(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number that is small nearly always. Source: LEB128, as in protobuf.
fn count(mut count: u64, out: &mut Vec<u8>) {
    while count >= 0x80 {
        out.push(u8::try_from(count & 0x7f).unwrap_or_default() | 0x80);
        count >>= 7;
    }
    out.push(u8::try_from(count).unwrap_or_default());
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn signed(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(span: &Span<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        canonical_record(Record::Span(span), &mut out);
        out
    }

    #[test]
    fn text_moved_from_one_attribute_to_the_next_is_another_record() {
        let pair = |a: &'static str, b: &'static str| Span {
            attributes: vec![
                Attribute::new(a, Value::Text("x".into())),
                Attribute::new(b, Value::Text("y".into())),
            ],
            ..Span::default()
        };
        assert_ne!(of(&pair("ab", "c")), of(&pair("a", "bc")));
        assert_ne!(of(&pair("a", "b")), of(&pair("b", "a")), "order is part of what was sent");
    }

    #[test]
    fn every_nan_is_one_value_and_minus_zero_is_not_zero() {
        let of = |double: f64| {
            let mut out = Vec::new();
            value(&Value::Double(double), &mut out);
            out
        };
        assert_eq!(of(f64::NAN), of(f64::from_bits(0x7ff8_0000_0000_0001)));
        assert_ne!(of(0.0), of(-0.0));
    }

    #[test]
    fn repaired_text_counts_as_the_bytes_that_came() {
        let named =
            |bytes: &'static [u8]| Span { name: Text::from_bytes(bytes), ..Span::default() };
        assert_ne!(of(&named(b"a\xff")), of(&named(b"a\xfe")));
    }
}
