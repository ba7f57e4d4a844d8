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
use crate::store::projection::{Origin, write_document, write_hex};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Kind};
    use crate::ledger::{Batch, EntryId, Ledger, NewEntry, Options};

    #[test]
    fn every_class_has_a_stream_of_its_own() {
        let names: std::collections::HashSet<String> = (0..=255).map(data_stream).collect();
        assert_eq!(names.len(), 256);
    }

    #[tokio::test]
    async fn an_item_is_the_action_and_the_document_that_everybody_shows() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(dir.path(), Options::default()).unwrap();
        let mut body = Vec::new();
        Entry::new(Kind::Decision).write(&mut body).unwrap();
        let mut batch = Batch::new();
        let entry = NewEntry {
            id: EntryId([0x9a; 16]),
            tenant: "acme",
            tenant_pseudonym: [0; 16],
            retention_class: 2,
            received_ns: 7,
            mapping_version: [0; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: &body,
        };
        batch.push(&entry).unwrap();
        ledger.append(batch).await.unwrap();
        let stored = ledger.reader().get(0).unwrap().unwrap();
        let origin = Origin { name: "test/ledger" };
        let mut out = b"what stands before\n".to_vec();
        write_item(stored.as_ref(), origin, &mut out);
        let mut document = Vec::new();
        write_document(&EntryView::from(stored.as_ref()), origin, &mut document);
        let id = "9a".repeat(16);
        let action = format!(r#"{{"create":{{"_index":"spanledger-2","_id":"{id}"}}}}"#);
        let document = String::from_utf8(document).unwrap();
        let expected = format!("what stands before\n{action}\n{document}\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(document.contains(&format!(r#""event":{{"id":"{id}","sequence":0"#)));
    }
}
