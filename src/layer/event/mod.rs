//! What an agent puts on record by itself: typed, with the names of fields that spanledger knows.
//!
//! | type | for |
//! |---|---|
//! | [`Decision`] | what a policy or a gate decided |
//! | [`Approval`] | what a person answered, or is asked |
//! | [`ToolCall`], [`ModelCall`] | a call, when it is not a span of its own |
//! | [`Handoff`], [`Interrupt`] | one agent to another; waiting for somebody |
//! | [`Change`] | what became different, field by field |
//! | [`AuditEvent`] | anything else, by attributes |
//!
//! Each is handed to [`record`](super::record()). The span in which that happens gives it its trace
//! and what is handed down: the external trace id, the run, the tenant.
//!
//! ```
//! use spanledger::layer::{Decision, Outcome};
//! let decision = Decision::new(Outcome::RequireApproval)
//!     .reason("more than 500 €")
//!     .policy_id("refunds")
//!     .rule_id("refund.limit")
//!     .action("refund")
//!     .arguments(&serde_json::json!({"amount": 740}));
//! # let _ = decision;
//! ```

mod change;
mod kinds;

pub use change::Change;
pub use kinds::{Approval, ApprovalStatus, Decision, Handoff, Interrupt, ModelCall, ToolCall};

use super::names;
use super::protobuf::Value;
use serde::Serialize;
use std::borrow::Cow;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AuditValue {
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A list of texts.
    Texts(Vec<String>),
}

impl AuditValue {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(int) => Value::Int(*int),
            Self::Double(double) => Value::Double(*double),
            Self::Texts(texts) => Value::Texts(texts),
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for AuditValue {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from!(&str => Text, String => Text, Cow<'_, str> => Text, bool => Bool, f64 => Double, f32 => Double);
from!(i64 => Int, i32 => Int, i16 => Int, i8 => Int, u32 => Int, u16 => Int, u8 => Int);
from!(Vec<String> => Texts);

/// A number beyond the signed range is its decimal digits: OTLP has no unsigned numbers.
impl From<u64> for AuditValue {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| Self::Text(value.to_string()), Self::Int)
    }
}

impl From<usize> for AuditValue {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

/// One thing to put on record, by attributes. The other types of this module become one.
///
/// ```
/// use spanledger::layer::AuditEvent;
/// let event = AuditEvent::new("refund.sent").with("refund.amount", 740).saying("refund sent");
/// # let _ = event;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "it is on record when it was given to `record` and that was awaited"]
pub struct AuditEvent {
    pub(super) name: Cow<'static, str>,
    pub(super) body: Option<String>,
    pub(super) attributes: Vec<(Cow<'static, str>, AuditValue)>,
}

impl AuditEvent {
    /// An event of that name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), body: None, attributes: Vec::new() }
    }

    /// One more attribute; a second one of the same name takes the place of the first. The prefix
    /// of a name of ours may be left out, as in the target `audit`: `trace_id`, `run_id`, `reason`.
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AuditValue>) -> Self {
        let (given, value) = (key.into(), value.into());
        let full = names::key(&given, names::TARGET);
        let key = if full == given { given } else { Cow::Owned(full) };
        match self.attributes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key, value)),
        }
        self
    }

    /// One more attribute as JSON text. What cannot be shown as JSON says so.
    pub fn with_json(self, key: impl Into<Cow<'static, str>>, value: &impl Serialize) -> Self {
        self.with(key, json(value))
    }

    /// A sentence for people.
    pub fn saying(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// JSON of a value; a text as it is, without quotes.
pub(super) fn json(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(error) => format!("(no JSON: {error})"),
    }
}
