//! Text and values as they came: any depth, any bytes.

use std::borrow::Cow;

/// Text of a source. Invalid UTF-8 is repaired with U+FFFD and the bytes as they came are kept
/// beside it: one bad string suppresses nobody's evidence.
///
/// ```
/// use spanledger::span::Text;
/// let good = Text::from_bytes(b"chat");
/// assert_eq!((good.as_str(), good.raw()), ("chat", None));
/// let bad = Text::from_bytes(b"a\xff");
/// assert_eq!((bad.as_str(), bad.raw()), ("a\u{fffd}", Some(&b"a\xff"[..])));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a> {
    text: Cow<'a, str>,
    raw: Option<Box<[u8]>>,
}

impl<'a> Text<'a> {
    /// Text of these bytes, repaired where they are not UTF-8.
    #[inline]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { text: Cow::Borrowed(text), raw: None },
            Err(_) => Self::repaired(bytes),
        }
    }

    #[cold]
    fn repaired(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Self { text: text.into(), raw: Some(bytes.into()) }
    }

    /// The same of bytes that are owned, as a decoder has them after it removed escapes.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text: Cow::Owned(text), raw: None },
            Err(error) => {
                let bytes = error.into_bytes();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Self { text: Cow::Owned(text), raw: Some(bytes.into()) }
            }
        }
    }

    /// The text, repaired if need be.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, by value.
    pub fn into_cow(self) -> Cow<'a, str> {
        self.text
    }

    /// The bytes as they came, when they were not UTF-8.
    pub fn raw(&self) -> Option<&[u8]> {
        self.raw.as_deref()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), raw: None }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self { text: Cow::Owned(text), raw: None }
    }
}

/// A value of an attribute or a log body.
///
/// Source: opentelemetry-proto `common.v1.AnyValue`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value<'a> {
    /// An `AnyValue` with nothing in it: what SDKs send for null.
    #[default]
    Empty,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer, never by way of a float.
    Int(i64),
    /// A float: −0.0, NaN and infinities included. A JSON integer beyond 64 bits also comes here.
    Double(f64),
    /// A string.
    Text(Text<'a>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// An array, of mixed types if the source sent it so.
    List(Vec<Value<'a>>),
    /// A map, in the order in which it was sent, duplicates included.
    Map(Vec<Attribute<'a>>),
}

impl Value<'_> {
    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }
}

/// A key and its value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attribute<'a> {
    /// The name; may be empty, may occur twice in one record.
    pub key: Text<'a>,
    /// The value.
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// An attribute of literal parts, as tests and our own producers write them.
    pub fn new(key: impl Into<Text<'a>>, value: Value<'a>) -> Self {
        Self { key: key.into(), value }
    }
}
