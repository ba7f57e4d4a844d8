//! Which field of an entry names the person whose payloads it has.

use crate::entry::{Entry, Fields, Json};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Longest name of an attribute, bytes.
const MAX_NAME_BYTES: usize = 128;

/// A field that can name a subject, as `audit.subject` lists it.
///
/// ```
/// use spanledger::entry::{Entry, Kind};
/// use spanledger::protect::SubjectField;
/// let mut entry = Entry::new(Kind::LlmCall);
/// entry.user.id = Some("alice".into());
/// let field: SubjectField = "user.id".parse()?;
/// assert_eq!(field.of(&entry).as_deref(), Some("alice"));
/// assert!("password".parse::<SubjectField>().is_err());
/// # Ok::<(), spanledger::protect::InvalidSubjectField>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectField {
    /// `user.id`.
    UserId,
    /// `user.name`.
    UserName,
    /// `user.email`.
    UserEmail,
    /// `audit.actor.id`.
    ActorId,
    /// `audit.session.id`.
    SessionId,
    /// `audit.claims.client_id`.
    ClientId,
    /// `attributes.NAME`: an attribute of the record.
    Attribute(String),
    /// `resource.NAME`: an attribute of the resource.
    Resource(String),
}

/// A text that names no field of a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no subject: write user.id, user.name, user.email, audit.actor.id, audit.session.id, \
     audit.claims.client_id, attributes.NAME or resource.NAME"
)]
pub struct InvalidSubjectField(String);

impl SubjectField {
    /// What stands in the field; `None` when there is nothing.
    pub fn of<'e>(&self, entry: &'e Entry<'_>) -> Option<Cow<'e, str>> {
        let borrowed = |text: &'e Option<Cow<'_, str>>| text.as_deref().map(Cow::Borrowed);
        let found = match self {
            Self::UserId => borrowed(&entry.user.id),
            Self::UserName => borrowed(&entry.user.name),
            Self::UserEmail => borrowed(&entry.user.email),
            Self::ActorId => borrowed(&entry.audit.actor.id),
            Self::SessionId => borrowed(&entry.audit.session.id),
            Self::ClientId => borrowed(&entry.audit.claims.client_id),
            Self::Attribute(name) => scalar(&entry.attributes, name),
            Self::Resource(name) => scalar(&entry.resource, name),
        };
        found.filter(|text| !text.is_empty())
    }
}

/// A text, or a number as it is written: many ids are numbers.
fn scalar<'e>(fields: &'e Fields<'_>, name: &str) -> Option<Cow<'e, str>> {
    match fields.get(name)? {
        Json::Text(text) => Some(Cow::Borrowed(text)),
        Json::Int(number) => Some(Cow::Owned(number.to_string())),
        Json::UInt(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

impl FromStr for SubjectField {
    type Err = InvalidSubjectField;

    fn from_str(text: &str) -> Result<Self, InvalidSubjectField> {
        let named = |name: &str| {
            (!name.is_empty() && text.len() <= MAX_NAME_BYTES).then(|| name.to_owned())
        };
        let attribute = || text.strip_prefix("attributes.").and_then(named).map(Self::Attribute);
        let resource = || text.strip_prefix("resource.").and_then(named).map(Self::Resource);
        let field = match text {
            "user.id" => Some(Self::UserId),
            "user.name" => Some(Self::UserName),
            "user.email" => Some(Self::UserEmail),
            "audit.actor.id" => Some(Self::ActorId),
            "audit.session.id" => Some(Self::SessionId),
            "audit.claims.client_id" => Some(Self::ClientId),
            _ => attribute().or_else(resource),
        };
        field.ok_or_else(|| InvalidSubjectField(text.chars().take(MAX_NAME_BYTES).collect()))
    }
}

impl fmt::Display for SubjectField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserId => f.write_str("user.id"),
            Self::UserName => f.write_str("user.name"),
            Self::UserEmail => f.write_str("user.email"),
            Self::ActorId => f.write_str("audit.actor.id"),
            Self::SessionId => f.write_str("audit.session.id"),
            Self::ClientId => f.write_str("audit.claims.client_id"),
            Self::Attribute(name) => write!(f, "attributes.{name}"),
            Self::Resource(name) => write!(f, "resource.{name}"),
        }
    }
}

impl Serialize for SubjectField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SubjectField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;

    #[test]
    fn a_field_is_written_as_it_is_read_and_nothing_else_is_one() {
        for text in ["user.id", "audit.session.id", "attributes.customer.id", "resource.tenant"] {
            assert_eq!(text.parse::<SubjectField>().unwrap().to_string(), text);
        }
        for text in ["", "user", "attributes.", "gen_ai.input.messages"] {
            let error = text.parse::<SubjectField>().unwrap_err().to_string();
            assert!(error.contains("user.id"), "{error}");
        }
    }

    #[test]
    fn a_number_names_a_subject_and_an_empty_text_does_not() {
        let mut entry = Entry::new(Kind::Span);
        entry.attributes.push("customer".into(), Json::Int(42));
        entry.attributes.push("empty".into(), Json::Text("".into()));
        let of = |text: &str| text.parse::<SubjectField>().unwrap().of(&entry).map(Cow::into_owned);
        assert_eq!(of("attributes.customer").as_deref(), Some("42"));
        assert_eq!(of("attributes.empty"), None);
        assert_eq!(of("attributes.none"), None);
    }
}
