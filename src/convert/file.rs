//! A mapping as people write it. `config/mappings/README.md` explains each key.
//!
//! Words that mean something to the code (fields, kinds, decoders) are kept with their place and
//! resolved by `compile.rs`, so that a mistake is reported with its line.

use super::error::{MappingError, unknown};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub name: Spanned<String>,
    #[serde(rename = "about")]
    pub _about: Option<String>,
    pub rank: Spanned<u8>,
    pub dataset: Option<Spanned<String>>,
    #[serde(default)]
    pub only_when_detected: bool,
    #[serde(default)]
    pub detect: Vec<Spanned<Detect>>,
    #[serde(default)]
    pub owns: Vec<String>,
    #[serde(default)]
    pub kinds: Vec<Spanned<KindRule>>,
    #[serde(default)]
    pub fields: Vec<Spanned<FieldRule>>,
    #[serde(default)]
    pub payloads: Vec<Spanned<PayloadRule>>,
    #[serde(default)]
    pub nested: Vec<Spanned<NestedRule>>,
    #[serde(default)]
    pub span_names: Vec<Spanned<SpanNameRule>>,
    pub event_names: Option<Names>,
    #[serde(default)]
    pub events: Vec<Spanned<EventRule>>,
    #[serde(default)]
    pub bodies: Vec<Spanned<BodyRule>>,
    #[serde(default)]
    pub tracestate: Vec<Spanned<FieldRule>>,
    #[serde(default)]
    pub resource: Vec<Spanned<FieldRule>>,
    #[serde(default)]
    pub actions: BTreeMap<String, String>,
    pub usage_repeated: Option<Spanned<Repeated>>,
}

/// One sign by which a family is recognised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detect {
    pub scope: Option<String>,
    pub schema: Option<String>,
    pub span: Option<String>,
    pub event: Option<String>,
    pub attribute: Option<String>,
    pub is: Option<String>,
}

/// What tells the kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindRule {
    pub attribute: Option<String>,
    pub span: Option<Names>,
    pub event: Option<Names>,
    pub values: Option<BTreeMap<String, String>>,
    pub kind: Option<String>,
    pub action: Option<String>,
    pub root: Option<bool>,
    #[serde(default)]
    pub otherwise: bool,
}

/// Attributes, the field that they fill, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldRule {
    pub from: Names,
    pub to: String,
    #[serde(rename = "as")]
    pub decode: Option<String>,
    pub except: Option<Names>,
    #[serde(default)]
    pub otherwise: bool,
    pub when: Option<When>,
}

/// Under which conditions a rule applies.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    pub kind: Option<Names>,
    pub not_kind: Option<Names>,
    pub root: Option<bool>,
}

/// Attributes that hold prompts, answers, arguments or results.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PayloadRule {
    pub from: Names,
    pub kind: String,
    #[serde(default)]
    pub kind_when: BTreeMap<String, String>,
    pub inside: Option<Names>,
    #[serde(rename = "as")]
    pub decode: Option<String>,
    pub except: Option<Names>,
    pub when: Option<When>,
}

/// Members of an attribute that holds several values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NestedRule {
    pub from: Option<Names>,
    pub prefix: Option<Names>,
    pub format: Option<String>,
    pub only_with: Option<String>,
    pub fields: Vec<Spanned<FieldRule>>,
    pub when: Option<When>,
}

/// The part of a span's name that fills a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanNameRule {
    pub name: Names,
    pub to: String,
    pub when: Option<When>,
}

/// What an event of a span means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRule {
    pub name: Names,
    #[serde(rename = "where", default)]
    pub conditions: BTreeMap<String, String>,
    pub becomes: Option<String>,
    pub marks: Option<String>,
    #[serde(default)]
    pub fields: Vec<Spanned<FieldRule>>,
    #[serde(default)]
    pub payloads: Vec<Spanned<PayloadRule>>,
}

/// What the body of a log record means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BodyRule {
    pub event: Option<Names>,
    pub payload: Option<String>,
    #[serde(default)]
    pub fields: Vec<Spanned<FieldRule>>,
}

/// Which records repeat the usage of another one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repeated {
    pub kinds: Option<Names>,
    pub events: Option<Names>,
    pub spans: Option<Names>,
}

/// One name or a list of names.
#[derive(Debug, Default, Clone)]
pub(super) struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element::<String>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Reads the text of a mapping.
///
/// # Errors
/// [`MappingError::Invalid`] with the line of the first mistake.
pub(super) fn parse(file: &str, text: &str) -> Result<File, MappingError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let problem = match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                unknown("key", field, super::error::nearest(field, expected.iter().copied()))
            }
            other => other.to_string(),
        };
        let line = error.location().map_or(0, |location| location.line());
        MappingError::Invalid { file: file.to_owned(), line, problem }
    })
}
