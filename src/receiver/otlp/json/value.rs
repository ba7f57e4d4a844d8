//! Attributes and values of OTLP/JSON, and the scalars that come in more than one way.

use super::super::DecodeError;
use crate::receiver::json::{Number, Reader, parse_number};
use crate::span::{Attribute, Text, Value};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

type Result<T> = std::result::Result<T, DecodeError>;

/// Appends the `KeyValue`s of a list; null items are absent.
pub(super) fn attributes<'a>(reader: &mut Reader<'a>, list: &mut Vec<Attribute<'a>>) -> Result<()> {
    each(reader, |reader| {
        let mut attribute = Attribute::default();
        let mut open = reader.object()?;
        while let Some(key) = reader.key(&mut open)? {
            match key.as_str() {
                "key" => attribute.key = reader.string()?,
                "value" => value(reader, &mut attribute.value)?,
                _ => reader.skip()?,
            }
        }
        list.push(attribute);
        Ok(())
    })
}

/// Merges an `AnyValue` into `target`.
pub(super) fn value<'a>(reader: &mut Reader<'a>, target: &mut Value<'a>) -> Result<()> {
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "stringValue" => *target = Value::Text(reader.string()?),
            "boolValue" => *target = Value::Bool(reader.boolean()?),
            "intValue" => *target = integer(number(reader)?),
            "doubleValue" => *target = Value::Double(double(number(reader)?)),
            "bytesValue" => *target = Value::Bytes(base64(reader)?.into()),
            "arrayValue" => list(reader, target)?,
            "kvlistValue" => map(reader, target)?,
            _ => reader.skip()?,
        }
    }
    Ok(())
}

fn list<'a>(reader: &mut Reader<'a>, target: &mut Value<'a>) -> Result<()> {
    let mut items = match std::mem::take(target) {
        Value::List(items) => items,
        _ => Vec::new(),
    };
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        if key.as_str() != "values" {
            reader.skip()?;
            continue;
        }
        let mut open = reader.list()?;
        while reader.item(&mut open)? {
            // Null keeps its place: the items after it would else move.
            let mut item = Value::Empty;
            if !reader.null()? {
                value(reader, &mut item)?;
            }
            items.push(item);
        }
    }
    *target = Value::List(items);
    Ok(())
}

fn map<'a>(reader: &mut Reader<'a>, target: &mut Value<'a>) -> Result<()> {
    let mut items = match std::mem::take(target) {
        Value::Map(items) => items,
        _ => Vec::new(),
    };
    let mut open = reader.object()?;
    while let Some(key) = reader.key(&mut open)? {
        match key.as_str() {
            "values" => attributes(reader, &mut items)?,
            _ => reader.skip()?,
        }
    }
    *target = Value::Map(items);
    Ok(())
}

/// Calls `f` at each item of a list that is not null.
pub(super) fn each<'a>(
    reader: &mut Reader<'a>,
    mut f: impl FnMut(&mut Reader<'a>) -> Result<()>,
) -> Result<()> {
    let mut open = reader.list()?;
    while reader.item(&mut open)? {
        if !reader.null()? {
            f(reader)?;
        }
    }
    Ok(())
}

/// A number, or a string with a number in it. An empty string is 0, as it is in some SDKs.
fn number(reader: &mut Reader<'_>) -> Result<Number> {
    if reader.peek() != Some(b'"') {
        return reader.number();
    }
    let text = reader.string()?;
    let parsed = match text.as_str().trim() {
        "" => Some(Number::Unsigned(0)),
        // Rust reads all three names of protobuf's JSON: NaN, Infinity, -Infinity.
        text => parse_number(text),
    };
    parsed.ok_or_else(|| reader.error("string without a number in it"))
}

/// 64 bits, or a float where they do not do: JavaScript sends `1e+21` as an integer.
#[expect(clippy::cast_possible_truncation, reason = "guarded by the comparison")]
#[expect(clippy::cast_precision_loss, reason = "what does not fit is a float by definition")]
fn integer(number: Number) -> Value<'static> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match number {
        Number::Unsigned(unsigned) => match i64::try_from(unsigned) {
            Ok(int) => Value::Int(int),
            Err(_) => Value::Double(unsigned as f64),
        },
        Number::Negative(int) => Value::Int(int),
        Number::Float(float) if float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float) => {
            Value::Int(float as i64)
        }
        Number::Float(float) => Value::Double(float),
    }
}

#[expect(clippy::cast_precision_loss, reason = "asked for as a double")]
fn double(number: Number) -> f64 {
    match number {
        Number::Unsigned(unsigned) => unsigned as f64,
        Number::Negative(int) => int as f64,
        Number::Float(float) => float,
    }
}

/// A `uint64` or `fixed64`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "guarded")]
pub(super) fn u64(reader: &mut Reader<'_>) -> Result<u64> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    match number(reader)? {
        Number::Unsigned(number) => Ok(number),
        Number::Float(float) if float.fract() == 0.0 && (0.0..LIMIT).contains(&float) => {
            Ok(float as u64)
        }
        _ => Err(reader.error("not a whole number of 64 bits")),
    }
}

/// A `uint32`.
pub(super) fn u32(reader: &mut Reader<'_>) -> Result<u32> {
    let number = u64(reader)?;
    u32::try_from(number).map_err(|_| reader.error("not a whole number of 32 bits"))
}

/// An enum, as its number or its name.
pub(super) fn enumeration(
    reader: &mut Reader<'_>,
    by_name: impl FnOnce(&str) -> Option<i32>,
) -> Result<i32> {
    if reader.peek() == Some(b'"') {
        let text = reader.string()?;
        // A name that is newer than this code is "unspecified", as protobuf demands.
        return Ok(by_name(text.as_str()).or_else(|| text.as_str().parse().ok()).unwrap_or(0));
    }
    match number(reader)? {
        Number::Unsigned(number) => i32::try_from(number).ok(),
        Number::Negative(number) => i32::try_from(number).ok(),
        Number::Float(_) => None,
    }
    .ok_or_else(|| reader.error("not the number of an enum"))
}

/// An id as it was sent: nothing, or bytes that may be too few or too many.
pub(super) enum Id<const N: usize> {
    Absent,
    Sound([u8; N]),
    Broken,
}

impl<const N: usize> Id<N> {
    /// Reads hex of either case. What is no id is for the caller to judge, record by record.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        if reader.peek() != Some(b'"') {
            return reader.skip().map(|()| Self::Broken);
        }
        let text = reader.string()?;
        let hex = text.as_str().as_bytes();
        if hex.is_empty() {
            return Ok(Self::Absent);
        }
        let (pairs, rest) = hex.as_chunks::<2>();
        let mut id = [0; N];
        if pairs.len() != N || !rest.is_empty() {
            return Ok(Self::Broken);
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            match (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) {
                (Some(high), Some(low)) => *byte = u8::try_from(high << 4 | low).unwrap_or(0),
                _ => return Ok(Self::Broken),
            }
        }
        Ok(Self::Sound(id))
    }

    /// The id, when it is one and not all zeros.
    pub(super) fn valid(self) -> Option<[u8; N]> {
        match self {
            Self::Sound(id) if id != [0; N] => Some(id),
            _ => None,
        }
    }

    /// The id, all zeros when it is absent, or nothing when it is broken.
    pub(super) fn or_absent(self) -> Option<[u8; N]> {
        match self {
            Self::Absent => Some([0; N]),
            Self::Sound(id) => Some(id),
            Self::Broken => None,
        }
    }
}

/// Base64 of either alphabet, padded or not: protobuf's JSON accepts all of them.
fn base64(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text: Text<'_> = reader.string()?;
    let text = text.as_str();
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, ANY_PADDING)
        .decode(text)
        .map_err(|_| reader.error("bytes that are not base64"))
}
