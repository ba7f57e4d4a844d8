//! Values of a record as values of an entry, and what has to be noted on the way.

use crate::entry::{Entry, Fields, Flag, InvalidText, Json};
use crate::span::{Attribute, Text, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::collections::HashMap;

/// Up to this many fields a name is looked for one by one; above it in a map. A request may hold
/// a span with a million attributes.
const FEW_FIELDS: usize = 48;

/// What a reader of the entry should know, collected while it is made.
#[derive(Debug, Default)]
pub(super) struct Notes<'r> {
    flags: Vec<Flag>,
    invalid: Vec<InvalidText<'r>>,
}

impl<'r> Notes<'r> {
    /// Marks something, once.
    pub(super) fn flag(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// The text, and a note of its bytes when they were not UTF-8.
    pub(super) fn text(&mut self, text: &'r Text<'_>, place: &str) -> &'r str {
        if let Some(raw) = text.raw() {
            self.flag(Flag::InvalidUtf8);
            let note = InvalidText {
                place: Cow::Owned(place.to_owned()),
                base64: Cow::Owned(STANDARD.encode(raw)),
            };
            // A text is read more than once where it fills a field and stays an attribute.
            if !self.invalid.contains(&note) {
                self.invalid.push(note);
            }
        }
        text.as_str()
    }

    /// Text that a source may leave out.
    pub(super) fn optional(&mut self, text: &'r Text<'_>, place: &str) -> Option<Cow<'r, str>> {
        (!text.is_empty()).then(|| Cow::Borrowed(self.text(text, place)))
    }

    /// Puts the notes into the entry that they are about.
    pub(super) fn write(self, entry: &mut Entry<'r>) {
        for flag in self.flags {
            entry.flag(flag);
        }
        entry.audit.invalid_text.extend(self.invalid);
    }

    /// A value of any depth. `place` is the name of the attribute that it belongs to.
    pub(super) fn json(&mut self, value: &'r Value<'_>, place: &str) -> Json<'r> {
        match value {
            Value::Empty => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Int(int) => Json::Int(*int),
            Value::Double(double) => Json::Double(*double),
            Value::Text(text) => Json::Text(self.text(text, place).into()),
            Value::Bytes(bytes) => Json::Bytes(Cow::Borrowed(bytes)),
            Value::List(items) => {
                Json::List(items.iter().map(|item| self.json(item, place)).collect())
            }
            Value::Map(map) => Json::Map(self.fields(map.iter(), place)),
        }
    }

    /// Attributes as fields in their order. A name that was sent twice stands once, with the list
    /// of its values, and the entry is flagged. `inside` is where they stand, empty at the top.
    pub(super) fn fields<'v: 'r>(
        &mut self,
        attributes: impl ExactSizeIterator<Item = &'r Attribute<'v>> + Clone,
        inside: &str,
    ) -> Fields<'r> {
        let mut fields = Fields::with_capacity(attributes.len());
        if attributes.len() > FEW_FIELDS {
            return self.many_fields(attributes, inside);
        }
        for attribute in attributes.clone() {
            let key = attribute.key.as_str();
            if fields.iter().any(|(there, _)| there == key) {
                return self.many_fields(attributes, inside);
            }
            let name = self.text(&attribute.key, "attribute name");
            let value = self.json(&attribute.value, if inside.is_empty() { key } else { inside });
            fields.push(name.into(), value);
        }
        fields
    }

    /// The same for many names, or for names that were sent twice.
    fn many_fields<'v: 'r>(
        &mut self,
        attributes: impl ExactSizeIterator<Item = &'r Attribute<'v>>,
        inside: &str,
    ) -> Fields<'r> {
        let mut there: Vec<(&'r str, Json<'r>, usize)> = Vec::with_capacity(attributes.len());
        let mut index: HashMap<&'r str, usize> = HashMap::with_capacity(attributes.len());
        for attribute in attributes {
            let key = attribute.key.as_str();
            let name = self.text(&attribute.key, "attribute name");
            let value = self.json(&attribute.value, if inside.is_empty() { key } else { inside });
            if let Some((_, first, times)) = index.get(key).and_then(|at| there.get_mut(*at)) {
                self.flag(Flag::DuplicateAttribute);
                join(first, value, times);
            } else {
                index.insert(key, there.len());
                there.push((name, value, 1));
            }
        }
        let mut fields = Fields::with_capacity(there.len());
        for (name, value, _) in there {
            fields.push(name.into(), value);
        }
        fields
    }
}

/// The second value of a name makes a list of it, every further one lengthens that list.
fn join<'r>(there: &mut Json<'r>, value: Json<'r>, times: &mut usize) {
    match there {
        Json::List(items) if *times > 1 => items.push(value),
        _ => {
            let first = std::mem::take(there);
            *there = Json::List(vec![first, value]);
        }
    }
    *times = times.saturating_add(1);
}
