//! Decoders that make one value of several, choose values by their type, or read what it means that
//! a value is there.

use super::decode::compact;
use super::target::Decoded;
use crate::entry::{Json, Outcome, Redaction};
use std::borrow::Cow;

/// Nanoseconds of a millisecond.
const NS_PER_MS: f64 = 1_000_000.0;

/// `true` or `false`, and no other value.
pub(super) fn boolean(value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let Json::Bool(truth) = value else { return None };
    let word = if *truth { "true" } else { "false" };
    Some((Decoded::Outcome(Outcome::from_word(word), word.into()), false))
}

/// A word, and no other value.
pub(super) fn word(value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
    match value {
        Json::Text(word) if !word.is_empty() => {
            Some((Decoded::Outcome(Outcome::from_word(&word), word), true))
        }
        _ => None,
    }
}

/// That something is there: it is what went wrong.
pub(super) fn error(value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let is_nothing = match value {
        Json::Null | Json::Bool(false) => true,
        Json::Text(text) => text.is_empty(),
        _ => false,
    };
    let outcome = Outcome::Error;
    (!is_nothing).then(|| (Decoded::Outcome(Some(outcome), outcome.as_str().into()), false))
}

/// A number of nanoseconds, in milliseconds.
pub(super) fn nanoseconds(value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let ns = match value {
        #[allow(clippy::cast_precision_loss, reason = "the integer is kept in `attributes`")]
        Json::Int(ns) => *ns as f64,
        Json::Double(ns) if ns.is_finite() => *ns,
        _ => return None,
    };
    Some((Decoded::Float(ns / NS_PER_MS), false))
}

/// Every text and number inside a value, at any depth, with `; ` between them.
pub(super) fn leaves(value: Json<'_>) -> Option<(Decoded<'_>, bool)> {
    if let Json::Text(text) = value {
        return (!text.is_empty()).then_some((Decoded::Text(text), true));
    }
    let mut joined = String::new();
    gather(&value, &mut joined);
    (!joined.is_empty()).then_some((Decoded::Text(Cow::Owned(joined)), false))
}

fn gather(value: &Json<'_>, joined: &mut String) {
    let text: Cow<'_, str> = match value {
        Json::List(items) => return items.iter().for_each(|item| gather(item, joined)),
        Json::Map(fields) => return fields.iter().for_each(|(_, value)| gather(value, joined)),
        Json::Null => return,
        Json::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(compact(other)),
    };
    if !text.is_empty() {
        if !joined.is_empty() {
            joined.push_str("; ");
        }
        joined.push_str(&text);
    }
}

/// The names of a map's members.
pub(super) fn keys(value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let Json::Map(fields) = value else { return None };
    let names: Vec<Cow<'_, str>> =
        fields.iter().map(|(name, _)| Cow::Owned(name.to_owned())).collect();
    (!names.is_empty()).then_some((Decoded::Words(names), false))
}

/// Places that the source itself removed or changed before it sent the record.
pub(super) fn removed(rule: &'static str, value: &Json<'_>) -> Option<(Decoded<'static>, bool)> {
    let Json::List(places) = value else { return None };
    let removed = |place: &str| Redaction {
        rule: Cow::Borrowed(rule),
        place: Cow::Owned(place.to_owned()),
        count: 1,
    };
    let places: Vec<_> = places.iter().filter_map(Json::as_str).map(removed).collect();
    (!places.is_empty()).then_some((Decoded::Redactions(places), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'static> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_lies_inside_is_joined_in_its_order() {
        let of = |text| leaves(json(text)).map(|(decoded, _)| decoded);
        let joined = |text: &str| Some(Decoded::Text(Cow::Owned(text.to_owned())));
        assert_eq!(of(r#"{"authz":{"revision":"v7"}}"#), joined("v7"));
        assert_eq!(of(r#"["too much",{"limit":50}]"#), joined("too much; 50"));
        assert_eq!(of("[]"), None);
        assert_eq!(of(r#"{"a":{}}"#), None);
    }

    #[test]
    fn a_choosy_decoder_takes_values_of_its_type_only() {
        assert!(boolean(&json("false")).is_some());
        assert!(boolean(&json(r#""false""#)).is_none());
        assert!(word(json(r#""deny""#)).is_some());
        assert!(word(json("{}")).is_none());
        assert!(error(&json("null")).is_none());
        assert!(error(&json(r#"{"code":"x"}"#)).is_some());
        assert_eq!(nanoseconds(&json("1500000")), Some((Decoded::Float(1.5), false)));
    }
}
