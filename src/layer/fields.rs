//! The values of one span or event, as its macros gave them.

use super::callsite::{Callsite, Role};
use super::protobuf::Value;
use crate::protect::AttributeProtector;
use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::ops::Range;
use tracing::field::{Field, Visit};

/// Longest text or bytes of one field. A prompt of a large context window fits; a core dump does
/// not. What is longer is cut, and the record says so in [`TRUNCATED`].
pub const MAX_VALUE_BYTES: usize = 256 * 1024;

/// Attribute with the names of fields that were longer than [`MAX_VALUE_BYTES`].
pub const TRUNCATED: &str = "spanledger.truncated";

/// Replaced text that a span keeps before it tidies up, bytes. A field that is recorded in a loop
/// would grow without bound else.
const MAX_STALE_BYTES: usize = 64 * 1024;

/// What stands in front of each text, so that a search over all of them sees where one begins.
const SEPARATOR: char = '"';

/// Values by field. All text lies in one buffer, which is searched for secrets in one go.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    texts: String,
    /// Values that were given as bytes.
    raw: Vec<u8>,
    values: Vec<(u8, Held)>,
    stale: usize,
    /// What [`Fields::suspects`] found, until there is another value.
    suspected: Cell<Option<bool>>,
    /// Bits of the fields that were cut.
    truncated: u64,
}

#[derive(Debug, Clone)]
enum Held {
    Text(Range<usize>),
    Bytes(Range<usize>),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl Fields {
    /// Whether there may be a secret in one of the values, by what looks for them.
    pub(super) fn suspects(&self, protector: &AttributeProtector) -> bool {
        self.suspected.get().unwrap_or_else(|| {
            let suspected = protector.suspects(self.texts.as_bytes())
                || (!self.raw.is_empty() && protector.suspects(&self.raw));
            self.suspected.set(Some(suspected));
            suspected
        })
    }

    /// Values in the order in which they were first given, by index of their field.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Value<'_>)> {
        self.values.iter().map(|(field, held)| (usize::from(*field), self.value(held)))
    }

    /// Indices of the fields that were cut.
    pub(super) fn truncated(&self) -> impl Iterator<Item = usize> {
        let bits = self.truncated;
        (0..64).filter(move |field| bits & (1 << field) != 0)
    }

    /// The text of the first field of a role.
    pub(super) fn text_of(&self, callsite: &Callsite, role: Role) -> Option<&str> {
        if !callsite.has_roles {
            return None;
        }
        self.iter().find_map(|(field, value)| match value {
            Value::Text(text) if callsite.fields.get(field)?.role == role => Some(text),
            _ => None,
        })
    }

    /// Takes what `from` has, later values in place of earlier ones.
    pub(super) fn merge(&mut self, from: &Self) {
        for (field, held) in &from.values {
            match from.value(held) {
                Value::Text(text) => self.text(*field, text),
                Value::Bytes(bytes) => self.bytes(*field, bytes),
                Value::Bool(truth) => self.set(*field, Held::Bool(truth)),
                Value::Int(int) => self.set(*field, Held::Int(int)),
                Value::Double(double) => self.set(*field, Held::Double(double)),
                Value::Texts(_) => {}
            }
        }
        self.truncated |= from.truncated;
        self.tidy();
    }

    /// Empties it and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.raw.clear();
        self.values.clear();
        (self.stale, self.truncated) = (0, 0);
        self.suspected.set(None);
    }

    /// Bytes of memory that its text has.
    pub(super) fn capacity(&self) -> usize {
        self.texts.capacity().saturating_add(self.raw.capacity())
    }

    fn value<'a>(&'a self, held: &Held) -> Value<'a> {
        match held {
            Held::Text(range) => Value::Text(self.texts.get(range.clone()).unwrap_or_default()),
            Held::Bytes(range) => Value::Bytes(self.raw.get(range.clone()).unwrap_or_default()),
            Held::Bool(truth) => Value::Bool(*truth),
            Held::Int(int) => Value::Int(*int),
            Held::Double(double) => Value::Double(*double),
        }
    }

    fn set(&mut self, field: u8, held: Held) {
        self.suspected.set(None);
        match self.values.iter_mut().find(|(known, _)| *known == field) {
            Some((_, old)) => {
                if let Held::Text(range) | Held::Bytes(range) = old {
                    self.stale = self.stale.saturating_add(range.len());
                }
                *old = held;
            }
            None => self.values.push((field, held)),
        }
    }

    fn text(&mut self, field: u8, text: &str) {
        let kept = if text.len() <= MAX_VALUE_BYTES {
            text
        } else {
            self.cut(field);
            text.get(..text.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or_default()
        };
        self.texts.push(SEPARATOR);
        let start = self.texts.len();
        self.texts.push_str(kept);
        let range = start..self.texts.len();
        self.texts.push(SEPARATOR);
        self.set(field, Held::Text(range));
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        let kept = bytes.get(..MAX_VALUE_BYTES).unwrap_or(bytes);
        if kept.len() < bytes.len() {
            self.cut(field);
        }
        self.raw.push(b'"');
        let start = self.raw.len();
        self.raw.extend_from_slice(kept);
        let range = start..self.raw.len();
        self.raw.push(b'"');
        self.set(field, Held::Bytes(range));
    }

    fn cut(&mut self, field: u8) {
        self.truncated |= 1_u64.checked_shl(field.into()).unwrap_or(0);
    }

    /// Drops replaced text when there is much of it.
    fn tidy(&mut self) {
        if self.stale <= MAX_STALE_BYTES {
            return;
        }
        let old = std::mem::take(self);
        self.truncated = old.truncated;
        for (field, held) in &old.values {
            match (old.value(held), held) {
                (Value::Text(text), _) => self.text(*field, text),
                (Value::Bytes(bytes), _) => self.bytes(*field, bytes),
                (_, held) => self.set(*field, held.clone()),
            }
        }
    }
}

/// Calls of [`Visit`] for one span, record or event. No lock is held meanwhile: `Debug` and
/// `Display` of values are somebody else's code.
impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(index(field), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(index(field), Held::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(index(field), Held::Int(value));
    }

    /// OTLP has no unsigned numbers: what does not fit is its decimal digits.
    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(int) => self.record_i64(field, int),
            Err(_) => self.write(field, format_args!("{value}")),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(int) => self.record_i64(field, int),
            Err(_) => self.write(field, format_args!("{value}")),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(int) => self.record_i64(field, int),
            Err(_) => self.write(field, format_args!("{value}")),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(index(field), Held::Double(value));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.bytes(index(field), value);
    }

    /// The error and what caused it, as `a: b: c`.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{value:?}"));
    }
}

impl Fields {
    /// Writes straight into the buffer, and stops at the limit.
    fn write(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let field = index(field);
        if let Some(text) = text.as_str() {
            return self.text(field, text);
        }
        self.texts.push(SEPARATOR);
        let start = self.texts.len();
        let mut bounded = Bounded { out: &mut self.texts, left: MAX_VALUE_BYTES, cut: false };
        // An error is the end of what may be written, or the value's own: then its text ends there.
        let failed = bounded.write_fmt(text).is_err() && !bounded.cut;
        let cut = bounded.cut;
        if failed {
            self.texts.push_str("(could not be shown)");
        }
        if cut {
            self.cut(field);
        }
        let range = start..self.texts.len();
        self.texts.push(SEPARATOR);
        self.set(field, Held::Text(range));
    }
}

struct Bounded<'b> {
    out: &'b mut String,
    left: usize,
    cut: bool,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(self.left);
        self.out.push_str(text.get(..end).unwrap_or_default());
        self.left = self.left.saturating_sub(end);
        if end < text.len() {
            self.cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A call site has at most 32 fields.
fn index(field: &Field) -> u8 {
    u8::try_from(field.index()).unwrap_or(u8::MAX)
}
