//! Payloads, changes, claims, and what a reader should know about an entry.

use super::Json;
use super::part::part;
#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One field that changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct Change<'a> {
    /// Where: `rules[1].conditions[0].value`.
    pub path: Cow<'a, str>,
    /// The value before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Json<'a>>,
    /// The value after.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<Json<'a>>,
}

/// What a payload is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// What was said to a model.
    #[default]
    Prompt,
    /// Standing instructions to a model.
    System,
    /// What a model said.
    Response,
    /// What a model thought.
    Reasoning,
    /// Arguments of a tool.
    Arguments,
    /// Result of a tool.
    Result,
    /// Context handed over, or any other input.
    Input,
    /// Any other output.
    Output,
}

/// Text that may be personal or secret: protected before anything is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct Payload<'a> {
    /// What it is.
    pub kind: PayloadKind,
    /// The attribute that it came from.
    pub source: Cow<'a, str>,
    /// The text after redaction; absent in modes `hash` and `full`. Structured values are compact JSON text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<Cow<'a, str>>,
    /// HMAC-SHA256 of the original under the tenant's key, hexadecimal: equal payloads have equal
    /// hashes, and nobody without the key can guess a short one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hash: Option<Cow<'a, str>>,
    /// Length of the original, bytes.
    pub bytes: u64,
}

part! {
    /// What a payload claims.
    Claims {
        /// Tenant.
        tenant_id: Cow<'a, str>,
        /// Client.
        client_id: Cow<'a, str>,
        /// Organisation.
        organization_id: Cow<'a, str>,
    }
}

part! {
    /// A request that was refused.
    Rejection {
        /// Why.
        reason: Cow<'a, str>,
        /// Status that was answered.
        status: u16,
        /// Size of the request, bytes as received.
        bytes: u64,
        /// SHA-256 of the request as received, hexadecimal; absent when it was not read to its end.
        hash: Cow<'a, str>,
        /// Records that were refused.
        records: u64,
        /// Endpoint.
        endpoint: Cow<'a, str>,
        /// How many more refusals this one stands for, because the rate limit withheld theirs.
        withheld: u64,
    }
}

part! {
    /// Times as sent, nanoseconds since 1970.
    RawTime {
        /// Start.
        start: u64,
        /// End.
        end: u64,
        /// Observed.
        observed: u64,
    }
}

/// What a reader should know about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// A text was not UTF-8 and was repaired; see `audit.invalid_text`.
    InvalidUtf8,
    /// The time of the event is outside 1970 to 2262; see `audit.time`.
    ImplausibleTime,
    /// The span ends before it starts; see `audit.time`.
    EndBeforeStart,
    /// An attribute was sent twice; its field has both values.
    DuplicateAttribute,
    /// An id is longer than 255 characters: it is kept and joins nothing.
    IdTooLong,
    /// A word for a decision is not in the vocabulary; the raw word is kept.
    UnknownOutcome,
    /// A field that should have been of another type was kept as an attribute.
    UnexpectedType,
}

/// What protection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct Redaction<'a> {
    /// The rule that fired: `aws_access_key`, `field:email`, ….
    pub rule: Cow<'a, str>,
    /// Where: the path of the field in the entry.
    pub place: Cow<'a, str>,
    /// How often in that field.
    pub count: u32,
}

/// Text that was not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct InvalidText<'a> {
    /// Where: the name of the attribute or field.
    pub place: Cow<'a, str>,
    /// The bytes as they came, base64.
    pub base64: Cow<'a, str>,
}
