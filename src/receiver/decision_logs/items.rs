//! The objects of a request: one, a list, several behind one another, or a list in an envelope.

use super::form::Form;
use super::value::value;
use crate::receiver::json::Reader;
use crate::receiver::otlp::DecodeError;
use crate::span::{Attribute, Value};

/// Longest member of an envelope that is repeated on its records, bytes: they are ids.
const MAX_AROUND_BYTES: usize = 255;

/// One object, not read yet.
pub(super) struct Item<'a, 'e> {
    /// At its first byte.
    pub(super) reader: Reader<'a>,
    /// As it was sent.
    pub(super) bytes: &'a [u8],
    /// What its envelope says of it.
    pub(super) around: &'e [Attribute<'a>],
}

impl Item<'_, '_> {
    /// Whether it is an object at all.
    pub(super) fn is_object(&self) -> bool {
        self.bytes.first() == Some(&b'{')
    }

    /// Bytes of what its envelope says.
    pub(super) fn around_bytes(&self) -> usize {
        let text = |it: &Attribute<'_>| it.value.as_str().map_or(0, str::len);
        let bytes = self.around.iter().map(|it| it.key.as_str().len().saturating_add(text(it)));
        bytes.fold(0, usize::saturating_add)
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Shows every object of a request.
pub(super) fn each<'a>(
    form: &Form,
    request: &'a [u8],
    show: &mut impl FnMut(Item<'a, '_>) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader::new(request);
    if reader.peek().is_none() {
        return Err(reader.error("empty: send a JSON object, a list of them, or one a line"));
    }
    while let Some(first) = reader.peek() {
        if first == b'[' {
            list(&mut reader, &mut |reader| one(form, reader, show))?;
        } else {
            one(form, &mut reader, show)?;
        }
    }
    Ok(())
}

fn list<'a>(
    reader: &mut Reader<'a>,
    show: &mut impl FnMut(&mut Reader<'a>) -> Result<()>,
) -> Result<()> {
    let mut open = reader.list()?;
    while reader.item(&mut open)? {
        show(reader)?;
    }
    Ok(())
}

/// Shows an object, or those that it is the envelope of.
fn one<'a>(
    form: &Form,
    reader: &mut Reader<'a>,
    show: &mut impl FnMut(Item<'a, '_>) -> Result<()>,
) -> Result<()> {
    let (item, bytes) = passed(reader)?;
    if let Some(Envelope { around, lists }) = envelope(form, item)? {
        for mut inside in lists {
            list(&mut inside, &mut |reader| {
                let (item, bytes) = passed(reader)?;
                show(Item { reader: item, bytes, around: &around })
            })?;
        }
        return Ok(());
    }
    show(Item { reader: item, bytes, around: &[] })
}

/// Passes over a value, and gives a reader that stands in front of it.
fn passed<'a>(reader: &mut Reader<'a>) -> Result<(Reader<'a>, &'a [u8])> {
    let start = reader.position();
    let before = *reader;
    reader.skip()?;
    Ok((before, reader.since(start)))
}

/// An object that holds records and is none itself.
struct Envelope<'a> {
    around: Vec<Attribute<'a>>,
    lists: Vec<Reader<'a>>,
}

/// Nothing for an object that is a record: one that has an id of its own, or no list of records.
fn envelope<'a>(form: &Form, mut reader: Reader<'a>) -> Result<Option<Envelope<'a>>> {
    if form.lists.is_empty() || reader.peek() != Some(b'{') {
        return Ok(None);
    }
    let (mut around, mut lists) = (Vec::new(), Vec::new());
    let mut open = reader.map()?;
    while let Some(key) = reader.member(&mut open)? {
        let name = key.as_str();
        if name == "id" {
            return Ok(None);
        }
        if form.lists.contains(&name) && reader.peek() == Some(b'[') {
            lists.push(reader);
            reader.skip()?;
        } else if form.around.contains(&name) && reader.peek() == Some(b'"') {
            let text = value(&mut reader)?;
            if text.as_str().is_some_and(|text| text.len() <= MAX_AROUND_BYTES) {
                around.push(Attribute { key, value: text });
            }
        } else {
            reader.skip()?;
        }
    }
    Ok((!lists.is_empty()).then_some(Envelope { around, lists }))
}

/// The members of an object, and those of its envelope that it does not have itself.
pub(super) fn members<'a>(item: &Item<'a, '_>) -> Result<Vec<Attribute<'a>>> {
    let mut reader = item.reader;
    let mut members = Vec::new();
    let mut open = reader.map()?;
    while let Some(key) = reader.member(&mut open)? {
        let value = value(&mut reader)?;
        members.push(Attribute { key, value });
    }
    for of_all in item.around {
        let has = |it: &Attribute<'_>| it.key == of_all.key && it.value != Value::Empty;
        if !members.iter().any(has) {
            members.push(of_all.clone());
        }
    }
    Ok(members)
}
