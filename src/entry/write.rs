//! The JSON of a body: compact, in the order of the fields, byte for byte what `serde_json` writes.
//!
//! Writing the body was a tenth of what a span costs: `serde_json` looks at every byte of every
//! string and every key with a table. Here keys are copied, and strings are copied and looked at
//! sixteen bytes at a time. A property test holds both to the same bytes.

use serde::ser::{self, Error as _, Impossible, Serialize};
use serde_json::Error;

/// Appends the JSON of `value` to `out`. On an error, part of it may be there.
pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(&mut Writer { out })
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends a string with its quotes.
    fn string(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.out.reserve(bytes.len().saturating_add(2));
        self.out.push(b'"');
        if is_plain(bytes) {
            self.put(bytes);
        } else {
            self.escaped(bytes);
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, bytes: &[u8]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut rest = bytes;
        while let Some(at) = first_special(rest) {
            let Some(((plain, byte), after)) =
                rest.split_at_checked(at).and_then(|(plain, tail)| {
                    tail.split_first().map(|(byte, after)| ((plain, *byte), after))
                })
            else {
                break;
            };
            self.put(plain);
            match byte {
                b'"' => self.put(br#"\""#),
                b'\\' => self.put(br"\\"),
                b'\n' => self.put(br"\n"),
                b'\r' => self.put(br"\r"),
                b'\t' => self.put(br"\t"),
                0x08 => self.put(br"\b"),
                0x0c => self.put(br"\f"),
                other => {
                    let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
                    self.put(br"\u00");
                    self.put(&[digit(other >> 4), digit(other & 15)]);
                }
            }
            rest = after;
        }
        self.put(rest);
    }

    fn integer(&mut self, integer: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(integer).as_bytes());
    }
}

/// Whether a byte of a string cannot stand for itself.
/// Source: RFC 8259, section 7.
const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether no byte needs an escape. Without branches within a block, so that the compiler makes
/// vector instructions of it.
fn is_plain(bytes: &[u8]) -> bool {
    const BLOCK: usize = 16;
    let plain = |block: &[u8; BLOCK]| !block.iter().fold(false, |bad, b| bad | needs_escape(*b));
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    blocks.iter().all(plain)
        && match bytes.last_chunk::<BLOCK>() {
            // The last block again covers what is left.
            Some(last) => rest.is_empty() || plain(last),
            None => !rest.iter().any(|byte| needs_escape(*byte)),
        }
}

/// Where the first byte is that cannot stand for itself in a string: quote, backslash, control.
#[inline]
pub(crate) fn first_special(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let plain = |block: &[u8; BLOCK]| !block.iter().fold(false, |bad, b| bad | needs_escape(*b));
    let blocks = bytes.as_chunks::<BLOCK>().0.iter();
    let mut at = blocks.take_while(|block| plain(block)).count().checked_mul(BLOCK)?;
    let (words, rest) = bytes.get(at..)?.as_chunks::<8>();
    for word in words {
        let marks = special_bytes(u64::from_le_bytes(*word));
        if marks != 0 {
            let byte = marks.trailing_zeros().checked_div(8)?;
            return at.checked_add(usize::try_from(byte).ok()?);
        }
        at = at.checked_add(8)?;
    }
    let found = rest.iter().position(|byte| needs_escape(*byte))?;
    at.checked_add(found)
}

/// The high bit of each byte of a word that needs an escape, exact for the lowest of them.
///
/// Source: Anderson, "Bit Twiddling Hacks", a byte less than n; Mycroft's test for a zero byte, in
/// Warren, "Hacker's Delight", 6-1.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let equal_to = |byte: u8| {
        let zero_where_equal = word ^ LOW.wrapping_mul(u64::from(byte));
        zero_where_equal.wrapping_sub(LOW) & !zero_where_equal & HIGH
    };
    let below_space = word.wrapping_sub(LOW.wrapping_mul(0x20)) & !word & HIGH;
    equal_to(b'"') | equal_to(b'\\') | below_space
}

/// The members of an object or the items of an array that is being written.
struct Members<'w, 'o> {
    writer: &'w mut Writer<'o>,
    close: u8,
    first: bool,
}

impl<'w, 'o> Members<'w, 'o> {
    fn open(writer: &'w mut Writer<'o>, open: u8, close: u8) -> Self {
        writer.out.push(open);
        Self { writer, close, first: true }
    }

    fn next(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.writer.out.push(b',');
        }
    }

    fn end(self) {
        self.writer.out.push(self.close);
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, integer: $type) -> Result<(), Error> {
            self.integer(integer);
            Ok(())
        }
    )*};
}

/// Shapes that no part of an entry has.
fn no_such_shape<T>() -> Result<T, Error> {
    Err(Error::custom("an entry has no value of this shape"))
}

impl<'w, 'o> ser::Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'w, 'o>;
    type SerializeTuple = Members<'w, 'o>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Members<'w, 'o>;
    type SerializeStruct = Members<'w, 'o>;
    type SerializeStructVariant = Impossible<(), Error>;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_bool(self, truth: bool) -> Result<(), Error> {
        self.put(if truth { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, float: f32) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.out, &float)
    }

    fn serialize_f64(self, float: f64) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.out, &float)
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.string(character.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.string(text);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        no_such_shape()
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.put(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        no_such_shape()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'w, 'o>, Error> {
        Ok(Members::open(self, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'w, 'o>, Error> {
        Ok(Members::open(self, b'[', b']'))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        no_such_shape()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_such_shape()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w, 'o>, Error> {
        Ok(Members::open(self, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'w, 'o>, Error> {
        Ok(Members::open(self, b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_such_shape()
    }
}

impl ser::SerializeSeq for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.next();
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        Members::end(self);
        Ok(())
    }
}

impl ser::SerializeTuple for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeMap for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.next();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        // A name is a string: a number here would not be JSON.
        if self.writer.out.get(start) == Some(&b'"') { Ok(()) } else { no_such_shape() }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        Members::end(self);
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.next();
        // The names of our fields need no escape.
        self.writer.out.push(b'"');
        self.writer.put(name.as_bytes());
        self.writer.put(b"\":");
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        Members::end(self);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Fields, Json, Kind};
    use proptest::prelude::*;

    fn written(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn the_first_byte_that_needs_an_escape_is_found(
            plain in "[a-cé ]{0,80}", text in "[a-c\"\\\\é\u{1}\u{1f} ]{0,80}",
        ) {
            let text = plain + &text;
            let first = text.bytes().position(needs_escape);
            prop_assert_eq!(first_special(text.as_bytes()), first);
        }
    }

    fn json() -> impl Strategy<Value = Json<'static>> {
        let text = prop_oneof!["[ -~]{0,40}", "\\PC{0,20}", any::<String>()];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(Json::Int),
            any::<u64>().prop_map(Json::UInt),
            any::<f64>().prop_map(Json::Double),
            text.clone().prop_map(|text| Json::Text(text.into())),
            any::<Vec<u8>>().prop_map(|bytes| Json::Bytes(bytes.into())),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            let fields = proptest::collection::vec((text.clone(), inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Json::List),
                fields.prop_map(|list| {
                    let mut fields = Fields::default();
                    for (name, value) in list {
                        fields.push(name.into(), value);
                    }
                    Json::Map(fields)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_is_written_as_serde_json_writes_it(value in json()) {
            prop_assert_eq!(written(&value), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn text_of_every_length_is_escaped_wherever_it_must_be(
            length in 0_usize..70, at in 0_usize..70, byte in 0_u8..0x80,
        ) {
            let mut bytes = vec![b'x'; length];
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let text = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn an_entry_is_written_as_serde_json_writes_it() {
        let mut entry = Entry::new(Kind::Decision);
        entry.message = Some("said \"no\"\n".into());
        entry.audit.decision.confidence = Some(0.1);
        entry.audit.policy.matched = Some(Json::List(vec!["a".into(), Json::Int(7)]));
        entry.attributes.push("k\"".into(), Json::List(vec![Json::Double(-0.0), Json::Null]));
        assert_eq!(written(&entry), serde_json::to_string(&entry).unwrap());
    }

    #[test]
    fn what_would_not_be_json_is_an_error() {
        let numbered = std::collections::BTreeMap::from([(1, 2)]);
        assert!(write(&numbered, &mut Vec::new()).is_err());
    }
}
