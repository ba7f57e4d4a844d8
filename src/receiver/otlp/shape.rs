//! How much memory a request will need, counted before anything of it is decoded.
//!
//! Bytes do not bound memory: two of them are an empty attribute, which is a hundred bytes in a
//! [`Span`](crate::span::Span); and a resource is written into the entry of each of its records,
//! so a long one in front of many short spans grows by their number.

use super::Signal;
use super::wire::{Fields, Payload};

/// Memory of one attribute, value, event or link, in the record and in the entry made of it.
const ELEMENT_BYTES: usize = 256;
/// Memory of one entry beside the bytes of its record: ids, names, hashes, envelope.
const ENTRY_BYTES: usize = 512;
/// Records up to this size are taken to consist of elements of two bytes, the smallest there
/// are; only longer ones are looked into. The difference is at most 4 MiB a request.
const EXACT_ABOVE_BYTES: usize = 32 * 1024;

/// What a request holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Spans or log records.
    pub records: usize,
    /// Elements in the record that has the most: only one is decoded at a time.
    pub widest: usize,
    /// Bytes of all records, each with the resource and scope that it will repeat.
    pub bytes: usize,
}

impl Shape {
    /// Bytes of memory that decoding and converting will need beside the request.
    ///
    /// An entry is a little longer than its OTLP: names grow, and a fixed part is added (2,250
    /// bytes for 1,525 in the corpus that this was measured with). What a draft really holds
    /// replaces the estimate once there is one.
    pub fn estimate(&self) -> usize {
        let entries = self.bytes.saturating_mul(5) / 4;
        self.widest
            .saturating_mul(ELEMENT_BYTES)
            .saturating_add(self.records.saturating_mul(ENTRY_BYTES))
            .saturating_add(entries)
    }

    /// Adds one record.
    pub(in crate::receiver) fn add(&mut self, bytes: usize, elements: usize) {
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.widest = self.widest.max(elements);
    }

    /// Adds what `inner` holds, with `context` bytes repeated in each of its records and
    /// `elements` alive beside them.
    pub(in crate::receiver) fn add_with_context(
        &mut self,
        inner: Self,
        context: usize,
        elements: usize,
    ) {
        self.records = self.records.saturating_add(inner.records);
        let repeated = inner.records.saturating_mul(context);
        self.bytes = self.bytes.saturating_add(inner.bytes).saturating_add(repeated);
        self.widest = self.widest.max(inner.widest.saturating_add(elements));
    }
}

/// Counts a protobuf request.
pub(super) fn of_protobuf(signal: Signal, request: &[u8]) -> Shape {
    let mut shape = Shape::default();
    each(Fields::new(request), |number, resource| {
        if number == 1 {
            let (inner, context, elements) = around(resource, RESOURCE, |scope| {
                let (inner, context, elements) = around(scope, SCOPE, |record| {
                    let mut one = Shape::default();
                    one.add(record.len(), elements_of(record, record_children(signal)));
                    one
                });
                let mut all = Shape::default();
                all.add_with_context(inner, context, elements);
                all
            });
            shape.add_with_context(inner, context, elements);
        }
    });
    shape
}

/// What stands around records: the sum of field 2, and bytes and elements of all the rest.
fn around(
    message: Fields<'_>,
    children: Children,
    mut inner: impl FnMut(Fields<'_>) -> Shape,
) -> (Shape, usize, usize) {
    let (mut sum, mut context, mut elements) = (Shape::default(), 0_usize, 0_usize);
    each(message, |number, field| {
        if number == 2 {
            sum.add_with_context(inner(field), 0, 0);
        } else {
            context = context.saturating_add(field.len());
            if number == 1 {
                elements = elements.saturating_add(elements_of(field, children));
            }
        }
    });
    (sum, context, elements)
}

/// Which fields of a message are messages that become an element.
type Children = fn(u32) -> Option<Message>;

#[derive(Clone, Copy)]
struct Message(Children);

const RESOURCE: Children = |number| (number == 1).then_some(Message(KEY_VALUE));
const SCOPE: Children = |number| (number == 3).then_some(Message(KEY_VALUE));
const KEY_VALUE: Children = |number| (number == 2).then_some(Message(VALUE));
const VALUE: Children = |number| match number {
    5 => Some(Message(LIST)),
    6 => Some(Message(MAP)),
    _ => None,
};
const LIST: Children = |number| (number == 1).then_some(Message(VALUE));
const MAP: Children = |number| (number == 1).then_some(Message(KEY_VALUE));
const EVENT: Children = |number| (number == 3).then_some(Message(KEY_VALUE));
const LINK: Children = |number| (number == 4).then_some(Message(KEY_VALUE));
const SPAN: Children = |number| match number {
    9 => Some(Message(KEY_VALUE)),
    11 => Some(Message(EVENT)),
    13 => Some(Message(LINK)),
    _ => None,
};
const LOG: Children = |number| match number {
    5 => Some(Message(VALUE)),
    6 => Some(Message(KEY_VALUE)),
    _ => None,
};

fn record_children(signal: Signal) -> Children {
    match signal {
        Signal::Traces => SPAN,
        Signal::Logs => LOG,
    }
}

/// An upper bound for the elements of a message; exact when the message is long.
fn elements_of(message: Fields<'_>, children: Children) -> usize {
    if message.len() <= EXACT_ABOVE_BYTES { message.len() / 2 } else { count(message, children) }
}

/// Counts elements. As deep as [`Fields::message`] allows.
fn count(message: Fields<'_>, children: Children) -> usize {
    let mut elements = 0_usize;
    each(message, |number, field| {
        if let Some(Message(inner)) = children(number) {
            elements = elements.saturating_add(1).saturating_add(count(field, inner));
        }
    });
    elements
}

/// Calls `f` for each field that may be a message, until the end or the first error.
fn each<'a>(mut fields: Fields<'a>, mut f: impl FnMut(u32, Fields<'a>)) {
    while let Ok(Some((number, payload))) = fields.next() {
        match payload {
            Payload::Bytes(_) => match fields.message(payload) {
                Ok(message) => f(number, message),
                Err(_) => return,
            },
            Payload::Group if fields.skip(number, payload).is_err() => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of type 2.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn two_megabytes_of_empty_spans_are_a_million_records() {
        let spans: Vec<u8> = [0x12, 0x00].repeat(1_000_000);
        let request = field(1, &field(2, &spans));
        let shape = of_protobuf(Signal::Traces, &request);
        assert_eq!(shape.records, 1_000_000);
        assert!(shape.estimate() > 400_000_000, "{}", shape.estimate());
    }

    #[test]
    fn the_largest_request_of_usual_spans_fits_into_the_default_memory() {
        let limits = crate::receiver::Limits::default();
        let bytes = limits.max_request_bytes;
        let shape = Shape { records: bytes / 1500, widest: EXACT_ABOVE_BYTES / 2, bytes };
        let compressed = bytes / 10;
        assert!(shape.estimate() + bytes + compressed <= limits.memory_bytes);
    }

    #[test]
    fn a_long_resource_counts_once_for_each_record() {
        let resource = field(1, &field(1, &field(1, &[b'k'; 1000])));
        let scope = field(2, &[0x12, 0x00].repeat(50));
        let shape = of_protobuf(Signal::Logs, &field(1, &[resource, scope].concat()));
        assert!((50_000..60_000).contains(&shape.bytes), "{}", shape.bytes);
    }

    #[test]
    fn a_long_record_is_looked_into() {
        let text = field(2, &field(1, &vec![b'x'; 100_000]));
        let one = field(2, &field(9, &text));
        let shape = of_protobuf(Signal::Traces, &field(1, &field(2, &one)));
        assert_eq!(shape.widest, 2, "an attribute and its value");

        let many = field(2, &field(9, &field(2, &field(5, &[0x0a, 0x00].repeat(50_000)))));
        let shape = of_protobuf(Signal::Traces, &field(1, &field(2, &many)));
        assert_eq!(shape.widest, 50_003);
    }
}
