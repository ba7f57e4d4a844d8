//! Any JSON as a value of the neutral record, and what values say about times and traces.

use crate::receiver::json::{Number, Reader};
use crate::receiver::otlp::DecodeError;
use crate::span::{Attribute, SpanId, Text, TraceId, Value};
use jiff::Timestamp;

/// How deep a value may nest; what lies deeper is kept as its JSON text. Arguments of tools nest
/// four or five deep, and an index or a person reads no deeper ones.
const MAX_DEPTH: u32 = 32;

/// Reads any value.
pub(in crate::receiver) fn value<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
    within(reader, MAX_DEPTH)
}

fn within<'a>(reader: &mut Reader<'a>, depth_left: u32) -> Result<Value<'a>, DecodeError> {
    match (reader.peek(), depth_left.checked_sub(1)) {
        (Some(b'{' | b'['), None) => {
            let start = reader.position();
            reader.skip()?;
            Ok(Value::Text(Text::from_bytes(reader.since(start))))
        }
        (Some(b'{'), Some(inner)) => {
            let mut map = Vec::new();
            let mut open = reader.map()?;
            while let Some(key) = reader.member(&mut open)? {
                let value = within(reader, inner)?;
                map.push(Attribute { key, value });
            }
            Ok(Value::Map(map))
        }
        (Some(b'['), Some(inner)) => {
            let mut list = Vec::new();
            let mut open = reader.list()?;
            while reader.item(&mut open)? {
                list.push(within(reader, inner)?);
            }
            Ok(Value::List(list))
        }
        (Some(b'"'), _) => reader.string().map(Value::Text),
        (Some(b't' | b'f'), _) => reader.boolean().map(Value::Bool),
        (Some(b'n'), _) => reader.null().map(|_| Value::Empty),
        _ => number(reader),
    }
}

/// A number; one that neither 64 bits nor a float hold is kept as its digits.
fn number<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
    let start = reader.position();
    let number = reader.number()?;
    let digits = reader.since(start);
    let is_whole = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    Ok(match number {
        Number::Negative(int) => Value::Int(int),
        Number::Unsigned(unsigned) => match i64::try_from(unsigned) {
            Ok(int) => Value::Int(int),
            Err(_) => Value::Text(Text::from_bytes(digits)),
        },
        Number::Float(float) if float.is_finite() && (!is_whole || float == 0.0) => {
            Value::Double(float)
        }
        Number::Float(_) => Value::Text(Text::from_bytes(digits)),
    })
}

/// An upper bound for the elements in JSON: each but the first follows a bracket or a comma.
pub(in crate::receiver) fn elements(json: &[u8]) -> usize {
    memchr::memchr3_iter(b'{', b'[', b',', json).count().saturating_add(1)
}

/// A value below others: a member of a map, the first item of a list, the first of the `values`
/// that gRPC metadata has. Names are compared as those of headers are.
pub(super) fn at<'v, 'a>(members: &'v [Attribute<'a>], path: &[&str]) -> Option<&'v Value<'a>> {
    let (first, rest) = path.split_first()?;
    let is_it = |member: &&Attribute<'_>| member.key.as_str().eq_ignore_ascii_case(first);
    let found = &members.iter().find(is_it)?.value;
    match found {
        Value::Map(inner) if !rest.is_empty() => at(inner, rest),
        found if rest.is_empty() => Some(found),
        _ => None,
    }
}

/// Trace and span of a W3C `traceparent`, where values of headers may stand.
pub(super) fn traceparent(value: &Value<'_>) -> Option<(TraceId, SpanId)> {
    match value {
        // W3C Trace Context, "traceparent Header": version, trace, parent, flags.
        Value::Text(text) => {
            let mut parts = text.as_str().trim().split('-');
            let _version = parts.next().filter(|version| version.len() == 2)?;
            Some((hex_id(parts.next()?)?, hex_id(parts.next()?)?))
        }
        Value::List(items) => traceparent(items.first()?),
        Value::Map(members) => traceparent(at(members, &["values"])?),
        _ => None,
    }
}

/// The bytes of an id in hexadecimal digits; nothing for other text and for zeros.
pub(in crate::receiver) fn hex_id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut id = [0; N];
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    (id != [0; N]).then_some(id)
}

/// A time, nanoseconds since 1970: RFC 3339, or a number of seconds, milliseconds, microseconds or
/// nanoseconds, told apart by its size.
pub(in crate::receiver) fn time_ns(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Text(text) => {
            let moment: Timestamp = text.as_str().trim().parse().ok()?;
            u64::try_from(moment.as_nanosecond()).ok()
        }
        Value::Int(number) => {
            // The year 5138 in seconds is 1973 in milliseconds, and so on.
            const LARGEST: u64 = 100_000_000_000;
            let mut number = u64::try_from(*number).ok()?;
            let mut limit = LARGEST;
            for unit in [1_000_000_000, 1_000_000, 1_000] {
                if number < limit {
                    number = number.checked_mul(unit)?;
                    return Some(number);
                }
                limit = limit.saturating_mul(1_000);
            }
            Some(number)
        }
        Value::Double(seconds) if (0.0..1e11).contains(seconds) => {
            let since = std::time::Duration::try_from_secs_f64(*seconds).ok()?;
            u64::try_from(since.as_nanos()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value<'_> {
        value(&mut Reader::new(json.as_bytes())).unwrap()
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        assert_eq!(read("9007199254740993"), Value::Int(9_007_199_254_740_993));
        assert_eq!(read("12345678901234567890"), Value::Text("12345678901234567890".into()));
        assert_eq!(read("-9223372036854775809"), Value::Text("-9223372036854775809".into()));
        assert_eq!(read("1e999"), Value::Text("1e999".into()));
        assert_eq!(read("59.9"), Value::Double(59.9));
        assert_eq!(read("-0"), Value::Double(-0.0));
    }

    #[test]
    fn what_lies_too_deep_is_kept_as_text() {
        let json = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        let mut value = &read(&json);
        let mut depth = 0;
        while let Value::List(items) = value {
            (value, depth) = (&items[0], depth + 1);
        }
        assert_eq!((depth, value.as_str()), (32, Some("[[[[[[[[1]]]]]]]]")));
    }

    #[test]
    fn a_null_is_a_value_and_not_the_absence_of_one() {
        let Value::Map(members) = read(r#"{"a":null,"b":[null]}"#) else { panic!("a map") };
        assert_eq!(members[0], Attribute::new("a", Value::Empty));
        assert_eq!(members[1].value, Value::List(vec![Value::Empty]));
    }

    #[test]
    fn times_are_read_in_every_unit_that_engines_write() {
        let expected = Some(1_795_241_529_000_000_000);
        for json in [
            r#""2026-11-21T06:12:09Z""#,
            r#""2026-11-21T07:12:09.000+01:00""#,
            "1795241529",
            "1795241529000",
            "1795241529000000",
            "1795241529000000000",
            "1795241529.0",
        ] {
            assert_eq!(time_ns(&read(json)), expected, "{json}");
        }
        for json in [r#""yesterday""#, "-1", "null", "1e300"] {
            assert_eq!(time_ns(&read(json)), None, "{json}");
        }
    }

    #[test]
    fn a_traceparent_is_found_where_engines_put_headers() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for json in [
            format!(r#"{{"traceparent":"{header}"}}"#),
            format!(r#"{{"Traceparent":["{header}"]}}"#),
            format!(r#"{{"traceparent":{{"values":["{header}"]}}}}"#),
        ] {
            let Value::Map(members) = read(&json) else { panic!("a map") };
            let found = traceparent(at(&members, &["traceparent"]).unwrap()).unwrap();
            assert_eq!(found.0, hex_id("4bf92f3577b34da6a3ce929d0e0e4736").unwrap());
        }
    }
}
