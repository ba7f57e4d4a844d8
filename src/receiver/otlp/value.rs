//! Attributes and values: the part of the walk that goes as deep as the sender likes.
//!
//! A message that comes twice where one is expected is merged, as protobuf demands: later scalars
//! win, lists grow.

use super::DecodeError;
use super::wire::{Fields, Payload};
use crate::span::{Attribute, Text, Value};

/// Reads a `KeyValue` and appends it to `list`.
pub(super) fn attribute<'a>(
    mut fields: Fields<'a>,
    list: &mut Vec<Attribute<'a>>,
) -> Result<(), DecodeError> {
    let (mut key, mut found): (&[u8], _) = (&[], Value::Empty);
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => key = fields.bytes(payload)?,
            2 => value(fields.message(payload)?, &mut found)?,
            // A position in a string table, which only profiles have: there is no such key.
            3 => drop(fields.number(payload)?),
            _ => fields.skip(number, payload)?,
        }
    }
    list.push(Attribute { key: Text::from_bytes(key), value: found });
    Ok(())
}

/// Merges an `AnyValue` into `target`.
pub(super) fn value<'a>(mut fields: Fields<'a>, target: &mut Value<'a>) -> Result<(), DecodeError> {
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => *target = Value::Text(Text::from_bytes(fields.bytes(payload)?)),
            2 => *target = Value::Bool(fields.number(payload)? != 0),
            3 => *target = Value::Int(fields.number(payload)?.cast_signed()),
            4 => *target = Value::Double(f64::from_bits(fields.fixed64(payload)?)),
            5 => list(fields.message(payload)?, target)?,
            6 => map(fields.message(payload)?, target)?,
            7 => *target = Value::Bytes(fields.bytes(payload)?.into()),
            8 => {
                fields.number(payload)?;
                *target = Value::Empty;
            }
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

fn list<'a>(mut fields: Fields<'a>, target: &mut Value<'a>) -> Result<(), DecodeError> {
    let mut items = match std::mem::take(target) {
        Value::List(items) => items,
        _ => Vec::new(),
    };
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => {
                let mut item = Value::Empty;
                value(fields.message(payload)?, &mut item)?;
                items.push(item);
            }
            _ => fields.skip(number, payload)?,
        }
    }
    *target = Value::List(items);
    Ok(())
}

fn map<'a>(mut fields: Fields<'a>, target: &mut Value<'a>) -> Result<(), DecodeError> {
    let mut items = match std::mem::take(target) {
        Value::Map(items) => items,
        _ => Vec::new(),
    };
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => attribute(fields.message(payload)?, &mut items)?,
            _ => fields.skip(number, payload)?,
        }
    }
    *target = Value::Map(items);
    Ok(())
}

/// Passes over an `EntityRef` of a resource, which nothing here uses, and checks its structure.
pub(super) fn entity_ref(mut fields: Fields<'_>) -> Result<(), DecodeError> {
    while let Some((number, payload)) = fields.next()? {
        match number {
            1..=4 => drop(fields.bytes(payload)?),
            _ => fields.skip(number, payload)?,
        }
    }
    Ok(())
}

/// Text of a `string` field.
#[inline]
pub(super) fn text<'a>(fields: &Fields<'a>, payload: Payload<'a>) -> Result<Text<'a>, DecodeError> {
    fields.bytes(payload).map(Text::from_bytes)
}
