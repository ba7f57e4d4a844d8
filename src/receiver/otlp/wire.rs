//! The protobuf wire format, read field by field from borrowed bytes.
//!
//! ```text
//! message  = field*          field = key ┬ 0  varint
//! key      = varint: number << 3 | type  ├ 1  8 bytes, little-endian
//! varint   = 7 bits a byte, low first,   ├ 2  varint length, then that many bytes
//!            bit 7 set but in the last   ├ 3  fields until the key with type 4 (a group)
//!                                        └ 5  4 bytes, little-endian
//! ```
//!
//! What is accepted is what prost accepts, but for text: here text is bytes, and whoever reads it
//! decides about its UTF-8.

#![expect(
    clippy::inline_always,
    reason = "measured: payloads that stay in registers make the walk about twice as fast"
)]

use super::DecodeError;

/// How deep messages may nest, the request itself not counted. The same as prost's.
pub(crate) const MAX_DEPTH: u32 = 100;

/// The fields of one message that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    /// Offset in the request at which the message ends: errors say where they are.
    end: usize,
    depth_left: u32,
}

/// The content of a field, by its wire type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// The start of a group; its fields have not been read.
    Group,
}

impl<'a> Fields<'a> {
    /// The fields of a whole request.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input, end: input.len(), depth_left: MAX_DEPTH }
    }

    /// Bytes that have not been read.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next field, or nothing at the end of the message.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let payload = match wire_type {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            3 => Payload::Group,
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.error("wire type that does not exist or ends nothing")),
        };
        Ok(Some((number, payload)))
    }

    /// Passes over a field that nobody knows.
    pub(crate) fn skip(&mut self, number: u32, payload: Payload<'a>) -> Result<(), DecodeError> {
        // Each open group by its number; its length is the depth, so the stack is bounded.
        let mut open: Vec<u32> = Vec::new();
        self.check_depth(0)?;
        if matches!(payload, Payload::Group) {
            open.push(number);
        }
        while let Some(group) = open.last().copied() {
            if self.rest.is_empty() {
                return Err(self.error("group without an end"));
            }
            let before = self.rest;
            let (inner, wire_type) = self.key()?;
            if wire_type == 4 {
                if inner != group {
                    return Err(self.error("end of a group that is not open"));
                }
                open.pop();
                continue;
            }
            self.check_depth(open.len())?;
            self.rest = before;
            if matches!(self.next()?, Some((_, Payload::Group))) {
                open.push(inner);
            }
        }
        Ok(())
    }

    /// The fields of the message that a payload is.
    #[inline(always)]
    pub(crate) fn message(&self, payload: Payload<'a>) -> Result<Fields<'a>, DecodeError> {
        let Payload::Bytes(rest) = payload else {
            return Err(self.wrong_type());
        };
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            return Err(self.error(TOO_DEEP));
        };
        // The payload is what was read last, so it ends where this message goes on.
        Ok(Fields { rest, end: self.offset(), depth_left })
    }

    /// The bytes of a `string` or `bytes` field.
    #[inline(always)]
    pub(crate) fn bytes(&self, payload: Payload<'a>) -> Result<&'a [u8], DecodeError> {
        match payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    /// The number of a varint field.
    #[inline(always)]
    pub(crate) fn number(&self, payload: Payload<'a>) -> Result<u64, DecodeError> {
        match payload {
            Payload::Varint(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    /// The same as 32 bits: further bits are cut off, as every protobuf library does.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "defined so by protobuf")]
    pub(crate) fn number32(&self, payload: Payload<'a>) -> Result<u32, DecodeError> {
        self.number(payload).map(|number| number as u32)
    }

    /// The number of a `fixed64` field, and the bits of a `double`.
    #[inline(always)]
    pub(crate) fn fixed64(&self, payload: Payload<'a>) -> Result<u64, DecodeError> {
        match payload {
            Payload::Fixed64(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    /// The number of a `fixed32` field.
    #[inline(always)]
    pub(crate) fn fixed32(&self, payload: Payload<'a>) -> Result<u32, DecodeError> {
        match payload {
            Payload::Fixed32(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    fn check_depth(&self, groups: usize) -> Result<(), DecodeError> {
        if groups < self.depth_left as usize { Ok(()) } else { Err(self.error(TOO_DEEP)) }
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(u32, u8), DecodeError> {
        let key = self.varint()?;
        let Ok(key) = u32::try_from(key) else {
            return Err(self.error("field number that is too large"));
        };
        match key >> 3 {
            0 => Err(self.error("field with the number 0")),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    /// Most varints are one byte: keys, and lengths of names.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        let mut shift = 0_u32;
        while let Some((byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            if shift == 63 && *byte > 1 {
                return Err(self.error("varint with more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
            shift = shift.saturating_add(7);
        }
        Err(self.error(TRUNCATED))
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.error(TRUNCATED));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.error(TRUNCATED));
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[cold]
    fn wrong_type(&self) -> DecodeError {
        self.error("known field with another wire type")
    }

    #[cold]
    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.offset(), what }
    }

    /// Where the next field begins in the request.
    fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }
}

const TRUNCATED: &str = "field that ends after its message";
const TOO_DEEP: &str = "messages nested deeper than 100";

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<(u32, Payload<'_>)>, DecodeError> {
        Fields::new(bytes).next()
    }

    #[test]
    fn an_error_says_where_it_is() {
        let error = first(&[0x0a, 0x05, 1, 2]).unwrap_err();
        assert_eq!(error.offset, 2);
        assert_eq!(error.to_string(), "byte 2: field that ends after its message");
    }

    #[test]
    fn a_varint_has_ten_bytes_at_most_and_the_last_is_one() {
        let max = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert!(matches!(first(&max), Ok(Some((1, Payload::Varint(u64::MAX))))));
        let over = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2];
        assert!(first(&over).is_err());
        assert!(first(&[0x08, 255]).is_err());
    }

    #[test]
    fn an_unknown_group_is_passed_over_with_all_that_is_in_it() {
        // 5: { 1: 7, 6: {}, 2: "ab" }, then 1: 9
        let bytes = [0x2b, 0x08, 7, 0x33, 0x34, 0x12, 2, b'a', b'b', 0x2c, 0x08, 9];
        let mut fields = Fields::new(&bytes);
        let (number, group) = fields.next().unwrap().unwrap();
        fields.skip(number, group).unwrap();
        assert!(matches!(fields.next(), Ok(Some((1, Payload::Varint(9))))));
    }

    #[test]
    fn a_group_that_ends_another_or_never_is_an_error() {
        for bytes in [&[0x2b, 0x34][..], &[0x2b], &[0x2c], &[0x2b, 0x33, 0x2c, 0x34]] {
            let mut fields = Fields::new(bytes);
            let skipped = fields.next().and_then(|field| match field {
                Some((number, payload)) => fields.skip(number, payload),
                None => Ok(()),
            });
            assert!(skipped.is_err(), "{bytes:?}");
        }
    }
}
