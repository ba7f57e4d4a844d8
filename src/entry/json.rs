//! Values that survive the trip: 64-bit integers, −0.0, NaN and infinities, bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "server")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A value in an entry. Written as JSON: bytes as base64, NaN and the infinities as the strings
/// that OTLP/JSON uses, integers as integers of up to 64 bits, `-0.0` as `-0.0`.
///
/// Source: OTLP specification, "JSON Protobuf Encoding"; protobuf JSON mapping.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// An unsigned integer beyond `i64`.
    UInt(u64),
    /// A float.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes; read back as the base64 text that they were written as.
    Bytes(Cow<'a, [u8]>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object.
    Map(Fields<'a>),
}

impl Json<'_> {
    /// The text of a text value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Json::Text(Cow::Borrowed(text))
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(truth) => serializer.serialize_bool(*truth),
            Json::Int(int) => serializer.serialize_i64(*int),
            Json::UInt(int) => serializer.serialize_u64(*int),
            Json::Double(double) if double.is_nan() => serializer.serialize_str("NaN"),
            Json::Double(double) if double.is_infinite() => {
                serializer.serialize_str(if *double > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Json::Double(double) => serializer.serialize_f64(*double),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Json::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Json::Map(fields) => fields.serialize(serializer),
        }
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'static>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Self::Value, E> {
        Ok(Json::Int(int))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(int).map_or(Json::UInt(int), Json::Int))
    }

    fn visit_f64<E>(self, double: f64) -> Result<Self::Value, E> {
        Ok(Json::Double(double))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        read_fields(map).map(Json::Map)
    }
}

fn read_fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Fields<'static>, A::Error> {
    let mut fields = Fields::default();
    while let Some((key, value)) = map.next_entry::<String, Json<'static>>()? {
        fields.push(Cow::Owned(key), value);
    }
    Ok(fields)
}

impl<'de> Deserialize<'de> for Json<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

#[cfg(feature = "server")]
impl JsonSchema for Json<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Any JSON value. Bytes are base64, NaN and infinities the strings \"NaN\", \"Infinity\" and \"-Infinity\", integers have up to 64 bits."
        })
    }
}

/// An object with its keys in the order in which they were sent. A key that a source sent twice
/// stands once, with a list of its values: no reader of JSON agrees on what twice means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Fields<'a> {
    /// No fields yet, and room for that many.
    pub fn with_capacity(fields: usize) -> Self {
        Self(Vec::with_capacity(fields))
    }

    /// Adds a field at the end. The caller sees to it that the key is new; [`Fields::merge`] does.
    pub fn push(&mut self, key: Cow<'a, str>, value: Json<'a>) {
        self.0.push((key, value));
    }

    /// Adds a field. When its key is there already, the field becomes the list of both values and
    /// the answer is `true`.
    pub fn merge(&mut self, key: Cow<'a, str>, value: Json<'a>) -> bool {
        let Some((_, there)) = self.0.iter_mut().find(|(name, _)| *name == key) else {
            self.0.push((key, value));
            return false;
        };
        match there {
            // A list that was sent as a list nests: [[1,2],3] says which was which.
            Json::List(items)
                if items.len() > 1 && matches!(items.first(), Some(Json::List(_))) =>
            {
                items.push(value);
            }
            _ => {
                let first = std::mem::take(there);
                *there = Json::List(vec![first, value]);
            }
        }
        true
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The fields in their order, values open to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Json<'a>)> {
        self.0.iter_mut().map(|(key, value)| (&**key, value))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'static>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                read_fields(map)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(feature = "server")]
impl JsonSchema for Fields<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": true,
            "description": "Free fields under the names that the source gave them, dots included. A name that was sent twice has the list of its values."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trip(value: &Json<'_>) -> Json<'static> {
        serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn every_integer_of_64_bits_survives(int: i64, unsigned: u64) {
            prop_assert_eq!(trip(&Json::Int(int)), Json::Int(int));
            let back = i64::try_from(unsigned).map_or(Json::UInt(unsigned), Json::Int);
            prop_assert_eq!(trip(&Json::UInt(unsigned)), back);
        }

        #[test]
        fn every_finite_float_survives_bit_for_bit(double in prop::num::f64::ANY) {
            prop_assume!(double.is_finite());
            let Json::Double(back) = trip(&Json::Double(double)) else { panic!("not a float") };
            prop_assert_eq!(back.to_bits(), double.to_bits());
        }

        #[test]
        fn every_text_survives(text: String) {
            prop_assert_eq!(trip(&Json::Text((&text).into())), Json::Text(text.into()));
        }

        #[test]
        fn bytes_are_base64(bytes: Vec<u8>) {
            let Json::Text(text) = trip(&Json::Bytes((&bytes).into())) else { panic!("not text") };
            prop_assert_eq!(STANDARD.decode(text.as_bytes()).unwrap(), bytes);
        }
    }

    #[test]
    fn what_json_has_no_number_for_is_the_string_that_otlp_uses() {
        let written = |double| serde_json::to_string(&Json::Double(double)).unwrap();
        assert_eq!(written(f64::NAN), r#""NaN""#);
        assert_eq!(written(f64::INFINITY), r#""Infinity""#);
        assert_eq!(written(f64::NEG_INFINITY), r#""-Infinity""#);
        assert_eq!(written(-0.0), "-0.0");
    }

    #[test]
    fn a_key_sent_twice_stands_once_with_both_values() {
        let mut fields = Fields::default();
        assert!(!fields.merge("k".into(), Json::Int(1)));
        assert!(fields.merge("k".into(), Json::Int(2)));
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"k":[1,2]}"#);
    }
}
