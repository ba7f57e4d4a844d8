//! JSON, token by token, from bytes that need not be UTF-8.
//!
//! `serde_json` would do but for four things. Its raw values and its object keys must be UTF-8,
//! so one bad byte, or half of a surrogate pair, would refuse the whole request. A record cannot
//! be read twice, first for what stands around it. Its depth limit, 128 of any brackets, is less
//! than the 100 messages that protobuf allows. And its errors have a line, not an offset. In tests
//! it is the oracle: what it accepts is accepted here.
//!
//! In messages of OTLP `null` as the value of a key means that the key is absent, so no reader of
//! those ever sees it. Maps of any JSON have their nulls.

use super::otlp::{DecodeError, MAX_DEPTH};
use crate::span::Text;

/// Brackets that may be open in something that is passed over.
const MAX_SKIP_DEPTH: u32 = 512;

/// What has not been read yet. A copy reads the same again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    messages_left: u32,
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

/// A list or object that is open: what may come next in it.
#[derive(Debug)]
pub(super) struct Open {
    first: bool,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl<'a> Reader<'a> {
    /// Reads a whole request.
    pub(super) fn new(input: &'a [u8]) -> Self {
        // One more than protobuf's: there the request itself is not counted.
        Self { input, at: 0, messages_left: MAX_DEPTH.saturating_add(1) }
    }

    /// Where the next token begins.
    pub(super) fn position(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The bytes from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.input.get(start..self.at).unwrap_or_default()
    }

    /// The first byte of the next token.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.space();
        self.input.get(self.at).copied()
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("something after the end of the request")),
        }
    }

    /// Opens an object that is a message. Close it by reading to its last key.
    pub(super) fn object(&mut self) -> Result<Open> {
        let Some(left) = self.messages_left.checked_sub(1) else {
            return Err(self.error("messages nested deeper than 100"));
        };
        self.messages_left = left;
        self.expect(b'{', "not an object")?;
        Ok(Open { first: true })
    }

    /// The next key with a value that is not null, or nothing where the object ends.
    pub(super) fn key(&mut self, open: &mut Open) -> Result<Option<Text<'a>>> {
        let key = self.any_key(open)?;
        if key.is_none() {
            self.messages_left = self.messages_left.saturating_add(1);
        }
        Ok(key)
    }

    fn any_key(&mut self, open: &mut Open) -> Result<Option<Text<'a>>> {
        while let Some(key) = self.member(open)? {
            if !self.null()? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Opens an object that is no message: who reads it bounds its depth.
    pub(super) fn map(&mut self) -> Result<Open> {
        self.expect(b'{', "not an object")?;
        Ok(Open { first: true })
    }

    /// The next key of such an object, whatever its value, or nothing where the object ends.
    pub(super) fn member(&mut self, open: &mut Open) -> Result<Option<Text<'a>>> {
        if !self.more(open, b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        self.expect(b':', "no colon after a key")?;
        Ok(Some(key))
    }

    /// Opens a list.
    pub(super) fn list(&mut self) -> Result<Open> {
        self.expect(b'[', "not a list")?;
        Ok(Open { first: true })
    }

    /// Whether the list has another item, which is next. It may be null.
    pub(super) fn item(&mut self, open: &mut Open) -> Result<bool> {
        self.more(open, b']')
    }

    /// Passes over `null`, if that is next.
    pub(super) fn null(&mut self) -> Result<bool> {
        if self.peek() == Some(b'n') { self.literal(b"null").map(|()| true) } else { Ok(false) }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b't') => self.literal(b"true").map(|()| true),
            Some(b'f') => self.literal(b"false").map(|()| false),
            _ => Err(self.error("not true or false")),
        }
    }

    /// A string. Control characters are let through: they harm nobody.
    pub(super) fn string(&mut self) -> Result<Text<'a>> {
        self.expect(b'"', "not a string")?;
        let start = self.at;
        if self.until_quote_or_backslash()? == b'"' {
            return Ok(Text::from_bytes(self.since_before_quote(start)));
        }
        let mut unescaped = self.since_before_quote(start).to_vec();
        loop {
            self.escape(&mut unescaped)?;
            let start = self.at;
            let stop = self.until_quote_or_backslash()?;
            unescaped.extend_from_slice(self.since_before_quote(start));
            if stop == b'"' {
                return Ok(Text::from_vec(unescaped));
            }
        }
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<Number> {
        self.space();
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let length = number_length(rest).ok_or_else(|| self.error("not a number"))?;
        self.at = start.saturating_add(length);
        let text = str::from_utf8(self.since(start)).unwrap_or_default();
        parse_number(text).ok_or_else(|| self.error("not a number"))
    }

    /// Passes over any value.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.skip_within(MAX_SKIP_DEPTH)
    }

    fn skip_within(&mut self, depth_left: u32) -> Result<()> {
        let inner = depth_left.checked_sub(1);
        let inner = inner.ok_or_else(|| self.error("nested deeper than 512"))?;
        match self.peek() {
            Some(b'{') => {
                let mut open = self.map()?;
                while self.any_key(&mut open)?.is_some() {
                    self.skip_within(inner)?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut open = self.list()?;
                while self.item(&mut open)? {
                    self.skip_within(inner)?;
                }
                Ok(())
            }
            Some(b'"') => self.skip_string(),
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') => self.literal(b"null"),
            _ => self.number().map(drop),
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        self.expect(b'"', "not a string")?;
        while self.until_quote_or_backslash()? == b'\\' {
            self.escape(&mut Vec::new())?;
        }
        Ok(())
    }

    /// Whether something follows in a list or object that ends with `end`.
    fn more(&mut self, open: &mut Open, end: u8) -> Result<bool> {
        let first = std::mem::replace(&mut open.first, false);
        match self.peek() {
            Some(byte) if byte == end => {
                self.at = self.at.saturating_add(1);
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at = self.at.saturating_add(1);
                match self.peek() {
                    Some(byte) if byte == end => Err(self.error("comma before the end")),
                    _ => Ok(true),
                }
            }
            _ => Err(self.error("no comma between two items, or no end")),
        }
    }

    /// Goes behind the next quote or backslash.
    fn until_quote_or_backslash(&mut self) -> Result<u8> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
            return Err(self.error("string without an end"));
        };
        self.at = self.at.saturating_add(length).saturating_add(1);
        Ok(rest.get(length).copied().unwrap_or_default())
    }

    fn since_before_quote(&self, start: usize) -> &'a [u8] {
        self.input.get(start..self.at.saturating_sub(1)).unwrap_or_default()
    }

    /// What follows a backslash. Half of a surrogate pair becomes the three bytes that UTF-8
    /// would have for it (WTF-8), which [`Text`] then repairs and keeps.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let byte = self.input.get(self.at).copied();
        self.at = self.at.saturating_add(1);
        out.push(match byte {
            Some(plain @ (b'"' | b'\\' | b'/')) => plain,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let unit = self.hex4()?;
                let pair = self.low_surrogate_after(unit);
                push_wtf8(pair.unwrap_or(u32::from(unit)), out);
                return Ok(());
            }
            _ => return Err(self.error("escape that does not exist")),
        });
        Ok(())
    }

    /// The code point of a pair, when `high` is its first half and the second half follows.
    fn low_surrogate_after(&mut self, high: u16) -> Option<u32> {
        let mut ahead = *self;
        let follows =
            (0xd800..0xdc00).contains(&high) && ahead.input.get(ahead.at..)?.starts_with(b"\\u");
        if !follows {
            return None;
        }
        ahead.at = ahead.at.saturating_add(2);
        let low = ahead.hex4().ok().filter(|low| (0xdc00..0xe000).contains(low))?;
        self.at = ahead.at;
        let character = char::decode_utf16([high, low]).next()?.ok()?;
        Some(u32::from(character))
    }

    fn hex4(&mut self) -> Result<u16> {
        let mut unit = 0_u16;
        for _ in 0..4 {
            let digit = self.input.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error("escape without four hex digits"));
            };
            unit = unit << 4 | u16::try_from(digit).unwrap_or_default();
            self.at = self.at.saturating_add(1);
        }
        Ok(unit)
    }

    fn literal(&mut self, literal: &'static [u8]) -> Result<()> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if !rest.starts_with(literal) {
            return Err(self.error("word that JSON does not have"));
        }
        self.at = self.at.saturating_add(literal.len());
        Ok(())
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<()> {
        if self.peek() == Some(byte) {
            self.at = self.at.saturating_add(1);
            Ok(())
        } else {
            Err(self.error(otherwise))
        }
    }

    fn space(&mut self) {
        while matches!(self.input.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at = self.at.saturating_add(1);
        }
    }

    #[cold]
    pub(super) fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.at, what }
    }
}

/// A number in digits, with 64 bits where it has them.
pub(super) fn parse_number(text: &str) -> Option<Number> {
    if let Ok(unsigned) = text.parse() {
        return Some(Number::Unsigned(unsigned));
    }
    // `-0` is a float: an integer would lose the sign.
    match text.parse() {
        Ok(negative) if negative < 0 => Some(Number::Negative(negative)),
        _ => text.parse().ok().map(Number::Float),
    }
}

/// Bytes of the number at the front. Source: RFC 8259, section 6.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then(|| at.saturating_add(count))
    };
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let mut at = match bytes.get(sign) {
        Some(b'0') => sign.saturating_add(1),
        _ => digits(sign)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at.saturating_add(1))?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let exponent = at.saturating_add(1);
        let signed = matches!(bytes.get(exponent), Some(b'+' | b'-'));
        at = digits(exponent.saturating_add(usize::from(signed)))?;
    }
    Some(at)
}

#[expect(clippy::cast_possible_truncation, reason = "each byte takes its bits")]
fn push_wtf8(code: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (code >> shift) as u8 & 0x3f;
    match code {
        0..0x80 => out.push(code as u8),
        0x80..0x800 => out.extend([0xc0 | (code >> 6) as u8, tail(0)]),
        0x800..0x1_0000 => out.extend([0xe0 | (code >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xf0 | (code >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(json: &[u8]) -> Result<Text<'_>> {
        Reader::new(json).string()
    }

    fn skip_all(json: &[u8]) -> Result<()> {
        let mut reader = Reader::new(json);
        reader.skip()?;
        reader.end()
    }

    #[test]
    fn half_of_a_surrogate_pair_is_repaired_and_kept() {
        let text = string(br#""a\ud83d!""#).unwrap();
        assert_eq!(text.raw(), Some(&b"a\xed\xa0\xbd!"[..]));
        let text = string(br#""\ud83d\ud83d\ude00""#).unwrap();
        assert_eq!(
            text.raw(),
            Some("\u{1f600}".as_bytes()).map(|tail| [b"\xed\xa0\xbd", tail].concat()).as_deref()
        );
        assert_eq!(string(br#""\ud83d\ude00\u00e4\n""#).unwrap().as_str(), "\u{1f600}ä\n");
        assert_eq!(string(b"\"a\xff\"").unwrap().as_str(), "a\u{fffd}");
        assert!(string(br#""\ud83d\u12""#).is_err());
    }

    #[test]
    fn numbers_keep_their_64_bits() {
        let number = |json: &'static str| Reader::new(json.as_bytes()).number().unwrap();
        assert_eq!(number("18446744073709551615"), Number::Unsigned(u64::MAX));
        assert_eq!(number("-9223372036854775808"), Number::Negative(i64::MIN));
        assert_eq!(number("1e+21"), Number::Float(1e21));
        assert!(matches!(number("-0"), Number::Float(zero) if zero.is_sign_negative()));
        for bad in ["01", "-", ".5", "1.", "1e", "+1", "NaN", ""] {
            assert!(skip_all(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn brackets_without_end_are_refused_and_not_followed() {
        assert!(skip_all(&vec![b'['; 1_000_000]).is_err());
        assert!(skip_all(&b"{\"a\":".repeat(1_000_000)).is_err());
        let deep = [vec![b'['; 500], vec![b']'; 500]].concat();
        assert!(skip_all(&deep).is_ok());
    }

    proptest! {
        #[test]
        fn what_serde_json_accepts_is_accepted_and_little_else(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u00e4\"", "\"\\x\"", "\"", "1",
                    "-0.5e3", "1.", "true", "nul", "null", " ", "\n", "\\",
                ]),
                0..12,
            )
        ) {
            let json = pieces.concat();
            // Control characters are let through on purpose, half pairs are not among the pieces.
            if !json.contains('\n') {
                // A number beyond what a float holds is JSON all the same: it is passed over.
                let expected = serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok();
                prop_assert_eq!(skip_all(json.as_bytes()).is_ok(), expected, "{}", json);
            }
        }

        #[test]
        fn a_string_reads_as_serde_json_reads_it(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let read = string(json.as_bytes()).unwrap();
            prop_assert_eq!(read.as_str(), text);
        }

        #[test]
        fn a_number_reads_as_serde_json_reads_it(number: f64, integer: i64) {
            prop_assume!(number.is_finite());
            let json = serde_json::to_string(&number).unwrap();
            let read = match Reader::new(json.as_bytes()).number().unwrap() {
                Number::Float(float) => float,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(read.to_bits(), number.to_bits());
            let json = integer.to_string();
            let read = match Reader::new(json.as_bytes()).number().unwrap() {
                Number::Unsigned(unsigned) => i64::try_from(unsigned).unwrap(),
                Number::Negative(negative) => negative,
                Number::Float(float) => return Err(TestCaseError::fail(float.to_string())),
            };
            prop_assert_eq!(read, integer);
        }
    }
}
