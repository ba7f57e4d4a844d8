//! The little JSON that is read by hand: where strings and values of a body end.
//!
//! A body was written by [`Entry::write`](crate::entry::Entry::write): it has no spaces between
//! its tokens. [`Scan::skip_value`] finds the end of a value without looking into it;
//! [`Scan::check_value`] looks, so that what it accepts can stand in a document that others read.

use crate::entry::first_special;
use std::borrow::Cow;

/// How deep values may be nested: as many containers as have a bit each. Receivers take less.
const MAX_DEPTH: u32 = 127;

/// A place in a text that moves forward.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Moves past a byte that has to be there.
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then_some(())?;
        self.at = self.at.checked_add(1)?;
        Some(())
    }

    /// Moves past a byte if it is there.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        self.expect(byte).is_some()
    }

    /// Moves past a string; gives what stands between its quotes, and whether that has escapes.
    pub(super) fn string(&mut self) -> Option<(&'a str, bool)> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at = self.at.checked_add(quote_or_backslash(rest)?)?;
            if self.peek() == Some(b'"') {
                let inner = self.text.get(start..self.at)?;
                self.at = self.at.checked_add(1)?;
                return Some((inner, escapes));
            }
            escapes = true;
            // A backslash and what it escapes.
            self.at = self.at.checked_add(2)?;
        }
    }

    /// Moves past a string; gives its text.
    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        let (inner, escapes) = self.string()?;
        if !escapes {
            return Some(Cow::Borrowed(inner));
        }
        let quoted = self.text.get(start..self.at)?;
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    }

    /// Moves past a value of whatever kind.
    pub(super) fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth = depth.checked_add(1)?;
                    self.at = self.at.checked_add(1)?;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at = self.at.checked_add(1)?;
                }
                _ => {
                    let rest = self.text.as_bytes().get(self.at..)?;
                    let plain = |b: &u8| !matches!(b, b'"' | b'{' | b'}' | b'[' | b']' | b',');
                    let length = rest.iter().take_while(|b| plain(b)).count();
                    // A comma within an object or array is passed over alone.
                    self.at = self.at.checked_add(length.max(1))?;
                }
            }
            if depth == 0 && matches!(self.peek(), None | Some(b',' | b'}' | b']')) {
                return Some(());
            }
        }
    }

    /// Moves past a value that is JSON throughout; `None` for anything else, and for what is nested
    /// deeper than [`MAX_DEPTH`]. Source: RFC 8259, without the spaces.
    pub(super) fn check_value(&mut self) -> Option<()> {
        // The containers around this place, the innermost in the lowest bit: 1 for an object.
        let (mut objects, mut depth) = (0_u128, 0_u32);
        loop {
            match self.peek()? {
                b'"' => self.check_string()?,
                open @ (b'{' | b'[') => {
                    self.at = self.at.checked_add(1)?;
                    let is_object = open == b'{';
                    if !self.eat(if is_object { b'}' } else { b']' }) {
                        depth = depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
                        objects = objects << 1 | u128::from(is_object);
                        if is_object {
                            self.check_key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.check_number()?,
            }
            // Behind a value: another one follows, or what it is in ends, and what that is in.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let in_object = objects & 1 == 1;
                if self.eat(b',') {
                    if in_object {
                        self.check_key()?;
                    }
                    break;
                }
                self.expect(if in_object { b'}' } else { b']' })?;
                objects >>= 1;
                depth = depth.checked_sub(1)?;
            }
        }
    }

    fn check_key(&mut self) -> Option<()> {
        self.check_string()?;
        self.expect(b':')
    }

    /// Moves past a string without a byte in it that JSON has no place for.
    pub(super) fn check_string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at = self.at.checked_add(first_special(rest)?)?;
            match self.peek()? {
                b'"' => return self.expect(b'"'),
                b'\\' => self.check_escape()?,
                _ => return None,
            }
        }
    }

    fn check_escape(&mut self) -> Option<()> {
        self.expect(b'\\')?;
        let escape = self.peek()?;
        self.at = self.at.checked_add(1)?;
        match escape {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..)?.first_chunk::<4>()?;
                self.at = self.at.checked_add(4)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        rest.starts_with(word).then_some(())?;
        self.at = self.at.checked_add(word.len())?;
        Some(())
    }

    fn check_number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.check_digits()?;
        }
        if self.eat(b'.') {
            self.check_digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.check_digits()?;
        }
        Some(())
    }

    /// Moves past digits, at least one.
    fn check_digits(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at = self.at.checked_add(digits)?;
        (digits > 0).then_some(())
    }

    /// Whether nothing follows.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }
}

/// Where the first quote or backslash is. Most strings of a body are keys and ids, for which a
/// call of `memchr` costs more than a look at two words of memory.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    /// Bytes that are looked at before it pays to call `memchr`.
    const SHORT: usize = 32;
    let head = bytes.get(..SHORT.min(bytes.len()))?;
    let (words, rest) = head.as_chunks::<8>();
    let mut at = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let marks = bytes_equal_to(word, b'"') | bytes_equal_to(word, b'\\');
        if marks != 0 {
            let byte = marks.trailing_zeros().checked_div(8)?;
            return at.checked_add(usize::try_from(byte).ok()?);
        }
        at = at.checked_add(8)?;
    }
    if bytes.len() > SHORT {
        return memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?.checked_add(at);
    }
    let found = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    at.checked_add(found)
}

/// The high bit of each byte of a word that equals `byte`, exact for the lowest of them.
///
/// Source: Mycroft's test for a zero byte, in Warren, "Hacker's Delight", 6-1.
#[inline]
fn bytes_equal_to(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_where_equal = word ^ LOW.wrapping_mul(u64::from(byte));
    zero_where_equal.wrapping_sub(LOW) & !zero_where_equal & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn nesting_is_followed_as_deep_as_receivers_let_it_go_and_no_deeper() {
        for (depth, followed) in [(1, true), (100, true), (127, true), (128, false), (1000, false)]
        {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(Scan::new(&text).check_value().is_some(), followed, "{depth}");
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (text, is_number) in [
            ("0", true),
            ("-0.0", true),
            ("1e300", true),
            ("1.5E-7", true),
            ("9007199254740993", true),
            ("01", false),
            ("+1", false),
            (".5", false),
            ("1.", false),
            ("1e", false),
            ("-", false),
            ("NaN", false),
        ] {
            let mut scan = Scan::new(text);
            let read = scan.check_value().is_some() && scan.is_at_end();
            assert_eq!(read, is_number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_end_of_every_value_is_found(value in json(), after in "[,}\\]]") {
            let text = format!("{value}{after}");
            let mut scan = Scan::new(&text);
            prop_assert_eq!(scan.skip_value(), Some(()));
            prop_assert_eq!(scan.at, text.len() - 1);
        }

        #[test]
        fn the_first_quote_or_backslash_is_found(bytes in "[a-c\"\\\\é]{0,80}") {
            let wanted = bytes.bytes().position(|b| matches!(b, b'"' | b'\\'));
            prop_assert_eq!(quote_or_backslash(bytes.as_bytes()), wanted);
        }

        #[test]
        fn every_string_is_read(text: String) {
            let written = serde_json::to_string(&text).unwrap();
            let mut scan = Scan::new(&written);
            prop_assert_eq!(scan.text(), Some(Cow::Owned(text)));
            prop_assert!(scan.is_at_end());
        }

        #[test]
        fn every_value_that_serde_json_writes_is_json(value in json()) {
            let text = value.to_string();
            let mut scan = Scan::new(&text);
            prop_assert_eq!(scan.check_value(), Some(()));
            prop_assert!(scan.is_at_end());
        }

        #[test]
        fn what_is_taken_for_json_is_json(
            value in json(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}:,\"\\\\0-9eE+.\u{1}u-]{0,3}"), 0..3),
        ) {
            let mut text = value.to_string();
            for (at, put) in cuts {
                let at = text.floor_char_boundary(at.index(text.len() + 1));
                let end = text.ceil_char_boundary((at + put.len() / 2).min(text.len()));
                text.replace_range(at..end, &put);
            }
            let mut scan = Scan::new(&text);
            if scan.check_value().is_some() && scan.is_at_end() {
                let read = serde_json::from_str::<serde::de::IgnoredAny>(&text);
                prop_assert!(read.is_ok(), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Scan::new(&text).check_value();
            let _ = Scan::new(&text).skip_value();
            let _ = Scan::new(&text).text();
        }
    }
}
