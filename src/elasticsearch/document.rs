//! An entry as an item of a bulk request: its action line and its document.
//!
//! ```text
//! {"create":{"_index":"spanledger-default","_id":"000102030405060708090a0b0c0d0e0f"}}⏎
//! {"schema_version":1,"@timestamp":…,"event":{"id":"000102…",…},…}⏎
//! ```
//!
//! `create` with the entry's own id: the same entry sent again is answered with 409 and is there
//! once. The document is the [projection](crate::store::projection) that every other part of the
//! program shows.

use crate::ledger::EntryRef;
use crate::store::EntryView;
use crate::store::projection::{Origin, write_document};

/// Prefix of every data stream.
const PREFIX: &str = "spanledger-";

/// The name of the retention class 0.
const CLASS_0: &str = "default";

/// Name of the data stream of a retention class: `spanledger-default`, `spanledger-1`.
///
/// ```
/// use spanledger::elasticsearch::data_stream;
/// assert_eq!(data_stream(0), "spanledger-default");
/// assert_eq!(data_stream(7), "spanledger-7");
/// ```
pub fn data_stream(class: u8) -> String {
    let mut name = Vec::with_capacity(PREFIX.len().saturating_add(CLASS_0.len()));
    write_stream(class, &mut name);
    String::from_utf8(name).unwrap_or_default()
}

fn write_stream(class: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(PREFIX.as_bytes());
    if class == 0 {
        out.extend_from_slice(CLASS_0.as_bytes());
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(class).as_bytes());
    }
}

/// Appends an entry's two lines to the body of a bulk request.
pub fn write_item(entry: EntryRef<'_>, origin: Origin<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"create":{"_index":""#);
    write_stream(entry.retention_class, out);
    out.extend_from_slice(br#"","_id":""#);
    write_hex(&entry.id.0, out);
    out.extend_from_slice(b"\"}}\n");
    write_document(&EntryView::from(entry), origin, out);
    out.push(b'\n');
}

/// Appends bytes as hexadecimal digits.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' | nibble } else { b'W'.wrapping_add(nibble) };
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_stream_of_its_own_and_ids_are_hexadecimal() {
        let names: std::collections::HashSet<String> = (0..=255).map(data_stream).collect();
        assert_eq!(names.len(), 256);
        let mut out = Vec::new();
        write_hex(&[0x00, 0x9a, 0xf1, 0xff], &mut out);
        assert_eq!(out, b"009af1ff");
    }
}
