//! Attributes as payloads: the value as it came, and in front of it what it says, where a mapping
//! tells the wrapping from the payload.

use super::decode::compact;
use super::path;
use super::python;
use super::record::is_nothing;
use super::table::{Facts, NameRules, PayloadRule, is_excepted};
use super::values::Notes;
use crate::entry::{Entry, Json, Payload, PayloadKind};
use crate::span::{Attribute, Value};
use std::borrow::Cow;

/// The rule that takes a value as a payload.
pub(super) fn rule_for<'t>(
    rules: &'t NameRules,
    value: &Value<'_>,
    facts: Facts,
) -> Option<&'t PayloadRule> {
    let rule = rules.payloads.iter().find(|rule| rule.condition.holds(facts))?;
    let says_nothing = is_nothing(value) || is_excepted(&rule.except, value.as_str());
    (!says_nothing).then_some(rule)
}

/// Takes the attribute as a payload if a rule says so.
pub(super) fn place_payload<'r>(
    attribute: &'r Attribute<'_>,
    rules: &NameRules,
    facts: Facts,
    entry: &mut Entry<'r>,
    notes: &mut Notes<'r>,
) -> bool {
    let Some(rule) = rule_for(rules, &attribute.value, facts) else { return false };
    let kind = rule.kind_on(facts.kind);
    let source = notes.text(&attribute.key, "attribute name");
    if let Some((place, text)) = unwrapped(rule, &attribute.value, source, notes) {
        let source = Cow::Owned(format!("{source}/{place}"));
        entry.audit.payload.push(of_text(kind, source, text));
    }
    entry.audit.payload.push(payload(kind, Cow::Borrowed(source), &attribute.value, notes));
    true
}

/// A value as a payload: text as it is, anything else as compact JSON text.
pub(super) fn payload<'r>(
    kind: PayloadKind,
    source: Cow<'r, str>,
    value: &'r Value<'_>,
    notes: &mut Notes<'r>,
) -> Payload<'r> {
    let text = text_of(notes.json(value, &source));
    of_text(kind, source, text)
}

fn of_text<'r>(kind: PayloadKind, source: Cow<'r, str>, text: Cow<'r, str>) -> Payload<'r> {
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    Payload { kind, source, text: Some(text), hash: None, bytes }
}

fn text_of(value: Json<'_>) -> Cow<'_, str> {
    match value {
        Json::Text(text) => text,
        other => Cow::Owned(compact(&other)),
    }
}

/// The payload inside of a value, with its place there: the first path that leads to something,
/// and a Python literal as the JSON that it means. `None` when the value is the payload itself.
fn unwrapped<'r>(
    rule: &PayloadRule,
    value: &'r Value<'_>,
    source: &str,
    notes: &mut Notes<'r>,
) -> Option<(String, Cow<'r, str>)> {
    if rule.inside.is_empty() && !rule.python {
        return None;
    }
    let whole = notes.json(value, source);
    let (place, found) = if rule.inside.is_empty() {
        ("json".to_owned(), whole)
    } else {
        let whole = path::structured(whole)?;
        let mut found = rule.inside.iter().filter_map(|path| Some((path, path::at(&whole, path)?)));
        let (path, value) = found.find(|(_, value)| is_something(value))?;
        (path.join("."), value)
    };
    let literal = if rule.python { found.as_str().and_then(python::to_json) } else { None };
    match (literal, rule.inside.is_empty()) {
        (Some(literal), _) => Some((place, text_of(literal))),
        // Neither wrapped nor a literal: the value is the payload as it stands.
        (None, true) => None,
        (None, false) => Some((place, text_of(found))),
    }
}

/// Whether a member says anything.
fn is_something(value: &Json<'_>) -> bool {
    match value {
        Json::Null => false,
        Json::Text(text) => !text.is_empty(),
        Json::List(items) => !items.is_empty(),
        Json::Map(fields) => !fields.is_empty(),
        _ => true,
    }
}
