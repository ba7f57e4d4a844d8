//! Late ids in a document, put there by bytes: nothing else of the document changes, and it is
//! still JSON, on one line.
//!
//! The first line is the document, each other line an id. The first line is also taken for the body of
//! an entry: out of the document that is made of it, it comes back byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use spanledger::fuzzing::{late_document, stored_document};
use spanledger::store::projection::{Origin, write_document};
use spanledger::store::{EntryView, Envelope};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let document = lines.next().unwrap_or_default();
    stored_document(document);
    comes_back_as_it_was(document);
    let ids: Vec<&str> = lines.take(300).collect();
    let Some(written) = late_document(document, &ids) else { return };
    assert!(!written.contains('\n'));
    // A number beyond what a float holds is JSON, but no `Value`.
    let Ok(mut before) = serde_json::from_str(document) else { return };
    let mut after = serde_json::from_str(&written).expect("what is written is JSON");
    let (old, new) = (take_late(&mut before), take_late(&mut after));
    assert_eq!(before, after, "the record is as it was");
    let own = strings(&before["trace_id"]);
    let (old, new) = (strings(&old["trace_id"]), strings(&new["trace_id"]));
    assert!(old.iter().all(|id| new.contains(id)), "what it was given before stays");
    assert!(new.iter().all(|id| old.contains(id) || ids.contains(&id.as_str())));
    let is_there = |id: &&str| own.iter().chain(&new).any(|have| have == id);
    assert!(new.len() >= 256 || ids.iter().all(|id| is_there(id)), "it has all of them");
    assert_eq!(late_document(&written, &ids), None, "and is not written again");
});

fn comes_back_as_it_was(body: &str) {
    // No version of ours writes what the projection adds.
    let added =
        ["\"id\"", "\"sequence\"", "\"hash\"", "\"ingested\"", "\"ledger\"", "\"correlation\""];
    if added.iter().any(|name| body.contains(name)) || body.contains('\\') {
        return;
    }
    let envelope = Envelope {
        sequence: 7,
        id: [0xab; 16],
        tenant: "a\"cme",
        received_ns: 1_795_241_529_767_677_952,
        conflict: body.len().is_multiple_of(2),
        leaf_hash: [0x11; 32],
    };
    let mut document = Vec::new();
    let origin = Origin { name: "example.com/ledger" };
    write_document(&EntryView::new(envelope, body.as_bytes()), origin, &mut document);
    let document = String::from_utf8(document).expect("a document is text");
    let found = stored_document(&document);
    assert_eq!(found.as_deref(), Some(body.as_bytes()), "{document}");
}

fn take_late(document: &mut Value) -> Value {
    let audit = document["audit"].as_object_mut().expect("a document of ours");
    audit.shift_remove("correlation").unwrap_or_default()
}

/// The strings of a value or of a list, which Elasticsearch does not tell apart.
fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
