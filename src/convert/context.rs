//! What stands around records, made once for each resource and scope and borrowed by its entries.

use super::table::{Families, Origin, Tables};
use super::target::{Decoded, Target};
use super::values::Notes;
use crate::entry::{Entry, Fields, Flag, InvalidText, Json, ScopePart};
use crate::span::{Attribute, Resource, Scope};
use std::borrow::Cow;

/// A resource, ready for the entries of its records. Owned, so that it outlives the request.
#[derive(Debug, Default)]
pub struct ResourceContext {
    fields: Fields<'static>,
    values: Vec<Filled>,
    noted: Noted,
}

/// A field that a resource fills.
#[derive(Debug)]
struct Filled {
    target: Target,
    text: String,
    /// The attribute that moved there and is in `resource` no more.
    moved: Option<String>,
    /// The attribute that said so, and the rule that took it.
    from: (String, Origin),
}

/// A scope, ready for the entries of its records.
#[derive(Debug, Default)]
pub struct ScopeContext {
    name: String,
    version: String,
    fields: Fields<'static>,
    noted: Noted,
    pub(super) families: Families,
}

/// Notes about a resource or scope, repeated on each of its entries.
#[derive(Debug, Default)]
struct Noted {
    flags: Vec<Flag>,
    invalid: Vec<InvalidText<'static>>,
}

impl Noted {
    fn of(notes: Notes<'_>) -> Self {
        let mut entry = Entry::default();
        notes.write(&mut entry);
        let owned = |note: InvalidText<'_>| InvalidText {
            place: Cow::Owned(note.place.into_owned()),
            base64: Cow::Owned(note.base64.into_owned()),
        };
        Self {
            flags: entry.audit.flags,
            invalid: entry.audit.invalid_text.into_iter().map(owned).collect(),
        }
    }

    fn write<'r>(&'r self, entry: &mut Entry<'r>) {
        for flag in &self.flags {
            entry.flag(*flag);
        }
        let borrowed = self.invalid.iter().map(|note| InvalidText {
            place: Cow::Borrowed(&note.place),
            base64: Cow::Borrowed(&note.base64),
        });
        entry.audit.invalid_text.extend(borrowed);
    }
}

impl ResourceContext {
    pub(super) fn new(tables: &Tables, resource: &Resource<'_>) -> Self {
        let mut notes = Notes::default();
        let sent = notes.fields(resource.attributes.iter(), "");
        let mut values: Vec<Filled> = Vec::new();
        for attribute in &resource.attributes {
            for member in tables.resource.get(attribute.key.as_str()).into_iter().flatten() {
                let shape = member.target.shape();
                let value =
                    member.decoder.value(shape, &attribute.value, "", &mut Notes::default());
                if values.iter().any(|filled| filled.target == member.target) {
                    continue;
                }
                if let Some((Decoded::Text(text), verbatim)) = value {
                    let key = attribute.key.as_str();
                    // A name that was sent twice stands in `resource` with both values.
                    let moved = verbatim
                        && member.target.is_of_service()
                        && sent.get(key).and_then(Json::as_str) == Some(&*text);
                    let moved = moved.then(|| key.to_owned());
                    let from = (key.to_owned(), member.origin);
                    let (target, text) = (member.target, text.into_owned());
                    values.push(Filled { target, text, moved, from });
                }
            }
        }
        let moved = |key: &str| values.iter().any(|filled| filled.moved.as_deref() == Some(key));
        let mut fields = Fields::with_capacity(sent.len());
        for (key, value) in sent.iter().filter(|(key, _)| !moved(key)) {
            fields.push(Cow::Owned(key.to_owned()), own(value));
        }
        Self { fields, values, noted: Noted::of(notes) }
    }

    /// What it fills where the record itself says nothing: the field, the attribute and the rule.
    pub(super) fn fills(&self) -> impl Iterator<Item = (Target, &str, Origin)> {
        self.values
            .iter()
            .map(|Filled { target, from: (key, origin), .. }| (*target, key.as_str(), *origin))
    }

    /// Writes the resource into an entry: its attributes, and the fields that they fill where
    /// the record itself said nothing.
    pub(super) fn write<'r>(&'r self, entry: &mut Entry<'r>) {
        entry.resource = borrow_fields(&self.fields);
        for Filled { target, text, moved, .. } in &self.values {
            if !target.is_set(entry) {
                target.put(entry, Decoded::Text(Cow::Borrowed(text)));
            } else if let Some(key) = moved {
                entry.resource.push(Cow::Borrowed(key), Json::Text(Cow::Borrowed(text)));
            }
        }
        self.noted.write(entry);
    }
}

impl ScopeContext {
    pub(super) fn new(tables: &Tables, scope: &Scope<'_>) -> Self {
        let mut notes = Notes::default();
        let name = notes.text(&scope.name, "scope.name").to_owned();
        let version = notes.text(&scope.version, "scope.version").to_owned();
        let fields = own_fields(&notes.fields(scope.attributes.iter(), ""));
        let mut families = 0;
        tables.scopes.each(&name, |sign| families |= sign.detects);
        tables.schemas.each(scope.schema_url.as_str(), |sign| families |= sign.detects);
        families |= families_of(tables, &scope.attributes);
        Self { name, version, fields, noted: Noted::of(notes), families }
    }

    pub(super) fn write<'r>(&'r self, entry: &mut Entry<'r>) {
        let text = |text: &'r String| (!text.is_empty()).then_some(Cow::Borrowed(text.as_str()));
        let attributes = (!self.fields.is_empty()).then(|| borrow_fields(&self.fields));
        entry.scope = ScopePart {
            name: text(&self.name),
            version: text(&self.version),
            attributes,
            ..ScopePart::default()
        };
        self.noted.write(entry);
    }
}

/// The families that some attributes are signs of.
fn families_of(tables: &Tables, attributes: &[Attribute<'_>]) -> Families {
    attributes.iter().fold(0, |families, attribute| {
        let rules = tables.names.get(attribute.key.as_str());
        families | rules.map_or(0, |rules| rules.families(&attribute.value))
    })
}

fn own_fields(fields: &Fields<'_>) -> Fields<'static> {
    let mut owned = Fields::with_capacity(fields.len());
    for (key, value) in fields.iter() {
        owned.push(Cow::Owned(key.to_owned()), own(value));
    }
    owned
}

/// The same value, owned.
pub(super) fn own(value: &Json<'_>) -> Json<'static> {
    match value {
        Json::Null => Json::Null,
        Json::Bool(truth) => Json::Bool(*truth),
        Json::Int(int) => Json::Int(*int),
        Json::UInt(int) => Json::UInt(*int),
        Json::Double(double) => Json::Double(*double),
        Json::Text(text) => Json::Text(Cow::Owned(text.clone().into_owned())),
        Json::Bytes(bytes) => Json::Bytes(Cow::Owned(bytes.clone().into_owned())),
        Json::List(items) => Json::List(items.iter().map(own).collect()),
        Json::Map(fields) => Json::Map(own_fields(fields)),
    }
}

fn borrow_fields<'r>(fields: &'r Fields<'static>) -> Fields<'r> {
    let mut borrowed = Fields::with_capacity(fields.len());
    for (key, value) in fields.iter() {
        borrowed.push(Cow::Borrowed(key), borrow(value));
    }
    borrowed
}

fn borrow<'r>(value: &'r Json<'static>) -> Json<'r> {
    match value {
        Json::Text(text) => Json::Text(Cow::Borrowed(text)),
        Json::Bytes(bytes) => Json::Bytes(Cow::Borrowed(bytes)),
        Json::List(items) => Json::List(items.iter().map(borrow).collect()),
        Json::Map(fields) => Json::Map(borrow_fields(fields)),
        plain => plain.clone(),
    }
}
