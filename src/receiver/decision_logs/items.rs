//! The objects of a request: one, a list, several behind one another, or a list in an envelope.

use super::form::Form;
use super::value::value;
use crate::receiver::json::Reader;
use crate::receiver::otlp::DecodeError;
use crate::span::{Attribute, Text, Value};

/// Longest member of an envelope that is repeated on its records, bytes: they are ids.
const MAX_AROUND_BYTES: usize = 255;
/// What a number or a truth value is counted as.
const NUMBER_BYTES: usize = 8;

/// Members of an envelope that say which part of a list it holds, and nothing about a record.
#[rustfmt::skip]
const OF_A_PAGE: &[&str] = &[
    "next_cursor", "cursor", "previous_cursor", "next_page", "page", "page_size", "per_page",
    "total", "total_count", "total_pages", "count", "has_more", "has_next", "limit", "offset",
    "truncated",
];

/// One object, not read yet.
pub(super) struct Item<'a, 'e> {
    /// At its first byte.
    pub(super) reader: Reader<'a>,
    /// As it was sent.
    pub(super) bytes: &'a [u8],
    /// What its envelope says of it.
    pub(super) around: &'e [Attribute<'a>],
    /// Bytes of that.
    pub(super) around_bytes: usize,
}

impl Item<'_, '_> {
    /// Whether it is an object at all.
    pub(super) fn is_object(&self) -> bool {
        self.bytes.first() == Some(&b'{')
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
    if let Some(Envelope { around, around_bytes, lists }) = envelope(form, item)? {
        for mut inside in lists {
            list(&mut inside, &mut |reader| {
                let (item, bytes) = passed(reader)?;
                show(Item { reader: item, bytes, around: &around, around_bytes })
            })?;
        }
        return Ok(());
    }
    show(Item { reader: item, bytes, around: &[], around_bytes: 0 })
}

/// Passes over a value, and gives a reader that stands in front of it.
fn passed<'a>(reader: &mut Reader<'a>) -> Result<(Reader<'a>, &'a [u8])> {
    let start = reader.position();
    let before = *reader;
    reader.skip()?;
    Ok((before, reader.since(start)))
}

/// An object that holds records and is none itself.
#[derive(Default)]
struct Envelope<'a> {
    /// No name stands twice, so there are no more than the form has.
    around: Vec<Attribute<'a>>,
    around_bytes: usize,
    lists: Vec<Reader<'a>>,
}

/// Nothing for an object that is a record: one that has an id of its own, no list of records, or a
/// member that would be lost if only its lists were read. A decision about an order has `items`, too.
fn envelope<'a>(form: &Form, mut reader: Reader<'a>) -> Result<Option<Envelope<'a>>> {
    if form.lists.is_empty() || reader.peek() != Some(b'{') {
        return Ok(None);
    }
    let mut envelope = Envelope::default();
    let mut open = reader.map()?;
    while let Some(key) = reader.member(&mut open)? {
        let (is_list, is_around) =
            (form.lists.contains(&key.as_str()), form.around.contains(&key.as_str()));
        let kept = match reader.peek() {
            Some(b'[') if is_list => {
                envelope.lists.push(reader);
                reader.skip()?;
                true
            }
            Some(b'{' | b'[') => false,
            // An empty list, as some languages write it.
            Some(b'n') if is_list || is_around => {
                reader.skip()?;
                true
            }
            _ if is_around => {
                let value = value(&mut reader)?;
                envelope.repeats(key, value)
            }
            _ => {
                reader.skip()?;
                OF_A_PAGE.contains(&key.as_str())
            }
        };
        if !kept {
            return Ok(None);
        }
    }
    Ok((!envelope.lists.is_empty()).then_some(envelope))
}

impl<'a> Envelope<'a> {
    /// Keeps a member for each of the records. False when it cannot be: it is too long, or says
    /// another time what has been said. As a record the object has both, and a flag.
    fn repeats(&mut self, key: Text<'a>, value: Value<'a>) -> bool {
        let bytes = value.as_str().map_or(NUMBER_BYTES, str::len);
        if bytes > MAX_AROUND_BYTES || self.around.iter().any(|it| it.key == key) {
            return false;
        }
        let bytes = bytes.saturating_add(key.as_str().len());
        self.around_bytes = self.around_bytes.saturating_add(bytes);
        self.around.push(Attribute { key, value });
        true
    }
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
