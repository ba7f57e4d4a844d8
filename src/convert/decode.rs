//! Decoders: the ways in which a value becomes the value of a field.
//!
//! Each answers with the decoded value and whether it is the attribute's value word for word. Only
//! then does the attribute disappear from `attributes`: whatever was interpreted is kept raw too.

use super::derived;
use super::target::{Decoded, Shape};
use super::values::Notes;
use crate::entry::{Change, Fields, Json, Outcome};
use crate::span::Value;
use std::borrow::Cow;

/// A way to read a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoder {
    /// As the field's shape demands.
    Plain,
    /// A string that holds a JSON string: `"\"ext-1\""`.
    Quoted,
    /// Any value as text; structured ones as compact JSON.
    JsonText,
    /// `true`, `approved`, … as `approved`; `false`, `denied`, … as `rejected`.
    Approval,
    /// A status word as `success`, `failure` or `unknown`.
    Result,
    /// A list of pairs, or text of `a; b`, as its first word list.
    Joined,
    /// A truth that says the opposite: a guardrail that was triggered did not allow.
    Inverted,
    /// A truth and nothing else.
    Boolean,
    /// A word and nothing else.
    Word,
    /// That it is there: the decision is an error.
    Error,
    /// Nanoseconds as milliseconds.
    Nanoseconds,
    /// What lies inside, as one text.
    Leaves,
    /// Names of members.
    Keys,
    /// Places that the source removed.
    Erased,
    /// Places that the source changed.
    Masked,
}

impl Decoder {
    /// The decoders by the word that a mapping writes.
    pub(super) const WORDS: &'static [(&'static str, Decoder)] = &[
        ("plain", Decoder::Plain),
        ("quoted", Decoder::Quoted),
        ("json_text", Decoder::JsonText),
        ("approval", Decoder::Approval),
        ("result", Decoder::Result),
        ("joined", Decoder::Joined),
        ("inverted", Decoder::Inverted),
        ("boolean", Decoder::Boolean),
        ("word", Decoder::Word),
        ("error", Decoder::Error),
        ("nanoseconds", Decoder::Nanoseconds),
        ("leaves", Decoder::Leaves),
        ("keys", Decoder::Keys),
        ("erased", Decoder::Erased),
        ("masked", Decoder::Masked),
    ];

    /// Whether the decoder makes values of that shape.
    pub(super) fn suits(self, shape: Shape) -> bool {
        match self {
            Decoder::Plain => true,
            Decoder::Quoted | Decoder::Leaves => matches!(shape, Shape::Text | Shape::Id),
            Decoder::JsonText | Decoder::Approval | Decoder::Result => shape == Shape::Text,
            Decoder::Joined | Decoder::Keys => shape == Shape::Words,
            Decoder::Inverted | Decoder::Boolean | Decoder::Word | Decoder::Error => {
                shape == Shape::Outcome
            }
            Decoder::Nanoseconds => shape == Shape::Float,
            Decoder::Erased | Decoder::Masked => shape == Shape::Redactions,
        }
    }

    /// Whether it is for some types of values only, so that another one is no mistake.
    pub(super) fn is_choosy(self) -> bool {
        matches!(self, Decoder::Boolean | Decoder::Word)
    }

    /// Decodes a value of an attribute. `None` when it is of another type than the field needs.
    pub(super) fn value<'r>(
        self,
        shape: Shape,
        value: &'r Value<'_>,
        place: &str,
        notes: &mut Notes<'r>,
    ) -> Option<(Decoded<'r>, bool)> {
        // The common case, without a detour: text into text, a number into a number.
        match (self, shape, value) {
            (Decoder::Plain, Shape::Text | Shape::Id, Value::Text(text)) if !text.is_empty() => {
                return Some((Decoded::Text(notes.text(text, place).into()), true));
            }
            (Decoder::Plain, Shape::Int, Value::Int(int)) => {
                return Some((Decoded::Int(*int), true));
            }
            _ => {}
        }
        self.json(shape, notes.json(value, place))
    }

    /// Whether [`Decoder::value`] would give a value, as cheaply as can be said.
    pub(super) fn fits(self, shape: Shape, value: &Value<'_>) -> bool {
        match (self, shape, value) {
            (_, _, Value::Empty) => false,
            (Decoder::Plain, Shape::Text | Shape::Id | Shape::Outcome, Value::Text(text)) => {
                !text.is_empty()
            }
            (Decoder::Plain, Shape::Int, Value::Int(_)) | (Decoder::Plain, Shape::Json, _) => true,
            _ => {
                let mut unheard = Notes::default();
                self.json(shape, unheard.json(value, "")).is_some()
            }
        }
    }

    /// Decodes a value that is JSON already, as members of nested values are.
    pub(super) fn json(self, shape: Shape, value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
        match self {
            Decoder::Plain => plain(shape, value),
            Decoder::Quoted => {
                let Json::Text(text) = value else { return None };
                match serde_json::from_str::<String>(&text) {
                    Ok(inner) => (!inner.is_empty()).then(|| (text_of(inner), false)),
                    Err(_) => (!text.is_empty()).then_some((Decoded::Text(text), true)),
                }
            }
            Decoder::JsonText => match value {
                Json::Null => None,
                Json::Text(text) => Some((Decoded::Text(text), true)),
                other => Some((text_of(compact(&other)), false)),
            },
            Decoder::Approval => {
                let word = match &value {
                    Json::Bool(truth) => Outcome::from_word(if *truth { "true" } else { "false" }),
                    Json::Text(word) => Outcome::from_word(word),
                    _ => None,
                };
                let word = match word? {
                    Outcome::Allow | Outcome::AllowWithConstraints => "approved",
                    Outcome::Block => "rejected",
                    _ => return None,
                };
                Some((Decoded::Text(Cow::Borrowed(word)), false))
            }
            Decoder::Result => result(&value),
            Decoder::Inverted => {
                let Some((Decoded::Bool(truth), _)) = plain(Shape::Bool, value) else {
                    return None;
                };
                let outcome = if truth { Outcome::Block } else { Outcome::Allow };
                Some((Decoded::Outcome(Some(outcome), truth.to_string().into()), false))
            }
            Decoder::Boolean => derived::boolean(&value),
            Decoder::Word => derived::word(value),
            Decoder::Error => derived::error(&value),
            Decoder::Nanoseconds => derived::nanoseconds(&value),
            Decoder::Leaves => derived::leaves(value),
            Decoder::Keys => derived::keys(&value),
            Decoder::Erased => derived::removed("source.erased", &value),
            Decoder::Masked => derived::removed("source.masked", &value),
            Decoder::Joined => match value {
                Json::Text(text) => {
                    let words = text.split([';', ',']).map(str::trim).filter(|w| !w.is_empty());
                    let words: Vec<Cow<'_, str>> =
                        words.map(|word| Cow::Owned(word.to_owned())).collect();
                    (!words.is_empty()).then_some((Decoded::Words(words), false))
                }
                other => plain(shape, other),
            },
        }
    }
}

fn text_of(text: String) -> Decoded<'static> {
    Decoded::Text(Cow::Owned(text))
}

/// Compact JSON text of a value.
pub(super) fn compact(value: &Json<'_>) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A status word in ECS terms. `true` and `false` are the words of a field `success`.
fn result(value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let word = match value {
        Json::Bool(true) => "success",
        Json::Bool(false) => "failure",
        Json::Text(word) => match word.to_ascii_lowercase().as_str() {
            "success" | "succeeded" | "ok" | "completed" | "complete" | "done" => "success",
            "failure" | "failed" | "error" | "errored" | "aborted" => "failure",
            _ => "unknown",
        },
        _ => return None,
    };
    Some((Decoded::Text(Cow::Borrowed(word)), false))
}

fn plain(shape: Shape, value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
    match shape {
        Shape::Text | Shape::Id => match value {
            Json::Text(text) => (!text.is_empty()).then_some((Decoded::Text(text), true)),
            Json::Int(_) | Json::UInt(_) => Some((text_of(compact(&value)), false)),
            // A float is rounded and a truth is shared: as an id either would join strangers.
            Json::Bool(_) if shape == Shape::Text => Some((text_of(compact(&value)), false)),
            Json::Double(double) if shape == Shape::Text && double.is_finite() => {
                Some((text_of(compact(&value)), false))
            }
            _ => None,
        },
        Shape::Int => match value {
            Json::Int(int) => Some((Decoded::Int(int), true)),
            Json::Text(text) => Some((Decoded::Int(text.trim().parse().ok()?), false)),
            Json::Double(double) => Some((Decoded::Int(whole(double)?), false)),
            _ => None,
        },
        Shape::Float => match value {
            Json::Double(double) => Some((Decoded::Float(double), true)),
            #[allow(clippy::cast_precision_loss, reason = "the integer is kept in `attributes`")]
            Json::Int(int) => Some((Decoded::Float(int as f64), false)),
            Json::Text(text) => Some((Decoded::Float(text.trim().parse().ok()?), false)),
            _ => None,
        },
        Shape::Bool => match value {
            Json::Bool(truth) => Some((Decoded::Bool(truth), true)),
            Json::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Some((Decoded::Bool(true), false)),
                "false" | "no" | "0" => Some((Decoded::Bool(false), false)),
                _ => None,
            },
            _ => None,
        },
        Shape::Words => words(value),
        Shape::Json => match value {
            Json::Null => None,
            Json::Text(text) => match structured(&text) {
                Some(inner) => Some((Decoded::Json(inner), false)),
                None => Some((Decoded::Json(Json::Text(text)), true)),
            },
            other => Some((Decoded::Json(other), true)),
        },
        Shape::Outcome => match value {
            Json::Text(word) if !word.is_empty() => {
                Some((Decoded::Outcome(Outcome::from_word(&word), word), true))
            }
            Json::Bool(truth) => {
                let word = if truth { "true" } else { "false" };
                Some((Decoded::Outcome(Outcome::from_word(word), word.into()), false))
            }
            _ => None,
        },
        Shape::Changes => changes(value),
        // Which rule of the source it was, only a decoder says.
        Shape::Redactions => None,
    }
}

/// A float that is a whole number within the integers that a float holds exactly.
fn whole(double: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
    (double.fract() == 0.0 && double.abs() <= EXACT).then_some(double as i64)
}

/// The value of text that is a JSON array or object.
fn structured(text: &str) -> Option<Json<'static>> {
    let first = text.trim_start().as_bytes().first()?;
    matches!(first, b'{' | b'[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A list of words: an array, text that holds a JSON array, or one word.
fn words(value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
    match value {
        Json::List(items) => {
            let mut words = Vec::with_capacity(items.len());
            for item in items {
                let Json::Text(word) = item else { return None };
                words.push(word);
            }
            (!words.is_empty()).then_some((Decoded::Words(words), true))
        }
        Json::Text(text) => match structured(&text) {
            Some(inner) => words(inner).map(|(decoded, _)| (decoded, false)),
            None => (!text.is_empty()).then(|| (Decoded::Words(vec![text]), true)),
        },
        _ => None,
    }
}

/// Changes: a list of objects, or one, each with `path` and `before` or `after`; or JSON text of it.
fn changes(value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
    let (list, verbatim) = match value {
        Json::Text(text) => (structured(&text)?, false),
        other => (other, true),
    };
    let list = match list {
        Json::List(items) => items,
        one @ Json::Map(_) => vec![one],
        _ => return None,
    };
    let mut changes = Vec::with_capacity(list.len());
    let mut whole = verbatim;
    for item in list {
        let Json::Map(fields) = item else { return None };
        let path = fields.get("path")?.as_str()?.to_owned();
        // More members than the three that a change has are kept in `attributes`.
        whole &= fields.iter().all(|(key, _)| matches!(key, "path" | "before" | "after"));
        let (before, after) = (member(&fields, "before"), member(&fields, "after"));
        changes.push(Change { path: Cow::Owned(path), before, after });
    }
    (!changes.is_empty()).then_some((Decoded::Changes(changes), whole))
}

fn member<'r>(fields: &Fields<'r>, key: &str) -> Option<Json<'r>> {
    fields.get(key).cloned()
}
