//! Takes credentials and listed fields out of an entry.

use super::is_id_place;
use super::names::{is_secret_value, secret_name};
use super::record::Record;
use super::text::{Cleaner, field_rule, marker, secret_rule};
use super::walk::{Place, Visitor, walk};
use crate::entry::{Change, Entry, InvalidText, Json, Payload};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Shortest bytes value that is looked into: no credential is shorter.
const MIN_BYTES: usize = 8;

/// Fields that listed names do not reach: what an entry *is*, and our own notes. Their text is
/// searched for credentials like all others.
const STRUCTURE: &[&str] =
    &["@timestamp", "trace_id", "trace.id", "span.id", "span.parent_id", "event.dataset"];

/// Whether the encoded body may not tell what is in the entry: bytes are base64 there, and a listed
/// field may be named by a value (the source of a payload, the path of a change).
pub(super) fn must_walk(entry: &Entry<'_>, cleaner: &Cleaner) -> bool {
    let audit = &entry.audit;
    let named = cleaner.has_fields()
        && (audit.payload.iter().any(|payload| cleaner.field(&payload.source, "").is_some())
            || !audit.change.is_empty());
    let changed = audit.change.iter().any(|change| secret_name(last_key(&change.path)).is_some());
    named
        || changed
        || !audit.invalid_text.is_empty()
        || entry.attributes.iter().any(|(_, value)| has_bytes(value))
        || entry.resource.iter().any(|(_, value)| has_bytes(value))
        || entry
            .events
            .iter()
            .any(|event| event.attributes.iter().any(|(_, value)| has_bytes(value)))
        || entry.links.iter().any(|link| link.attributes.iter().any(|(_, value)| has_bytes(value)))
        || entry
            .scope
            .attributes
            .iter()
            .flat_map(crate::entry::Fields::iter)
            .any(|(_, v)| has_bytes(v))
        || entry.body.as_ref().is_some_and(has_bytes)
}

fn has_bytes(value: &Json<'_>) -> bool {
    match value {
        Json::Bytes(bytes) => bytes.len() >= MIN_BYTES,
        Json::List(items) => items.iter().any(has_bytes),
        Json::Map(fields) => fields.iter().any(|(_, value)| has_bytes(value)),
        _ => false,
    }
}

/// The key that a path of a change ends in: `email` of `contacts[0].email` and of `emails.email[1]`.
fn last_key(path: &str) -> &[u8] {
    let path = path.trim_end_matches(|c: char| c == ']' || c.is_ascii_digit());
    path.strip_suffix('[').unwrap_or(path).as_bytes()
}

/// Redacts the entry, and records what and where.
pub(super) fn redact(entry: &mut Entry<'_>, cleaner: &Cleaner, record: &mut Record) {
    walk(entry, &mut Redactor { cleaner, record });
}

struct Redactor<'r> {
    cleaner: &'r Cleaner,
    record: &'r mut Record,
}

impl Redactor<'_> {
    fn clean(&mut self, place: &str, text: &str) -> Option<String> {
        let record = &mut *self.record;
        self.cleaner.clean(text, is_id_place(place), |rule| record.add(rule, place))
    }

    /// The rule by which a value goes for its name.
    fn rule_of_name(&self, name: &str, path: &str, value: &Json<'_>) -> Option<String> {
        if matches!(value, Json::Null) || is_marker(value) {
            return None;
        }
        let listed = !STRUCTURE.iter().any(|field| path.starts_with(field));
        if let Some(field) = self.cleaner.field(name, path).filter(|_| listed) {
            return Some(field_rule(field));
        }
        let secret = secret_name(name.as_bytes()).filter(|_| self.cleaner.finds_credentials())?;
        let hit = match value {
            Json::Text(text) => is_secret_value(secret, text.as_bytes()),
            Json::Int(_) | Json::UInt(_) => secret == super::names::Secret::Password,
            Json::Bytes(bytes) => !bytes.is_empty(),
            _ => false,
        };
        hit.then(|| secret_rule(name.as_bytes()))
    }

    fn replace(&mut self, place: &str, rule: &str) -> Json<'static> {
        self.record.add(rule, place);
        Json::Text(Cow::Owned(marker(rule)))
    }
}

fn is_marker(value: &Json<'_>) -> bool {
    value.as_str().is_some_and(|text| {
        text.is_empty() || text.starts_with("[REDACTED:") || text.starts_with("[HASHED:")
    })
}

impl Visitor for Redactor<'_> {
    fn text(&mut self, place: &Place, text: &mut Cow<'_, str>) {
        let mut value = Json::Text(std::mem::take(text));
        if !self.value(place, &mut value)
            && let Json::Text(whole) = &mut value
            && let Some(clean) = self.clean(place.path(), whole)
        {
            *whole = Cow::Owned(clean);
        }
        if let Json::Text(done) = value {
            *text = done;
        }
    }

    fn value(&mut self, place: &Place, value: &mut Json<'_>) -> bool {
        if let Some(rule) = self.rule_of_name(place.name(), place.path(), value) {
            *value = self.replace(place.path(), &rule);
            return true;
        }
        if let Json::Bytes(bytes) = value
            && let Ok(text) = std::str::from_utf8(bytes)
            && let Some(clean) = self.clean(place.path(), text)
        {
            *value = Json::Text(Cow::Owned(clean));
            return true;
        }
        false
    }

    fn name(&mut self, place: &Place, name: &str) -> Option<String> {
        let place = format!("{} (name)", place.path());
        self.clean(&place, name)
    }

    fn payload(&mut self, place: &Place, payload: &mut Payload<'_>) -> bool {
        let Some(field) = self.cleaner.field(&payload.source, "") else { return false };
        let rule = field_rule(field);
        if payload.text.is_some() {
            let at = format!("{}.text", place.path());
            self.record.add(&rule, &at);
            payload.text = Some(Cow::Owned(marker(&rule)));
        }
        false
    }

    fn change(&mut self, place: &Place, change: &mut Change<'_>) -> bool {
        let name = String::from_utf8_lossy(last_key(&change.path)).into_owned();
        for (side, value) in [("before", &mut change.before), ("after", &mut change.after)] {
            if let Some(value) = value
                && let Some(rule) = self.rule_of_name(&name, &name, value)
            {
                *value = self.replace(&format!("{}.{side}", place.path()), &rule);
            }
        }
        false
    }

    fn invalid_text(&mut self, place: &Place, raw: &mut InvalidText<'_>) {
        let bytes = STANDARD.decode(raw.base64.as_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let at = format!("{}.base64", place.path());
        let named = self.rule_of_name(&raw.place, &raw.place, &Json::Text(text.clone()));
        if let Some(rule) = &named {
            self.record.add(rule, &at);
        }
        // The repaired text stands elsewhere and is cleaned there; the bytes behind it go.
        if named.is_some() || self.clean(&at, &text).is_some() {
            raw.base64 = Cow::Borrowed("");
        }
    }
}
