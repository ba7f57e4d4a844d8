//! The ledger as a whole, with the file system under it.

mod crash;
mod faults;
mod publishing;
mod repair;
mod signed;
mod simulated;
mod simulated_files;
mod upkeep;

use super::*;

/// An entry of the default tenant whose id is that number.
pub(super) fn entry(id: u64, body: &[u8]) -> NewEntry<'_> {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&id.to_be_bytes());
    NewEntry {
        id: EntryId(name),
        tenant: "default",
        tenant_pseudonym: [0xDE; 16],
        retention_class: 1,
        received_ns: 1_700_000_000_000_000_000 + id,
        mapping_version: *b"mapping1",
        source_key: None,
        commitments: &[],
        sealed: &[],
        body,
    }
}

/// A batch of entries with those ids and some body each.
pub(super) fn batch(ids: impl IntoIterator<Item = u64>) -> Batch {
    let mut batch = Batch::new();
    for id in ids {
        batch.push(&entry(id, format!("{{\"n\":{id}}}").as_bytes())).unwrap();
    }
    batch
}

/// Small segments, so that a few entries make several.
pub(super) fn small() -> Options {
    Options { segment_bytes: 2_000, reserve_bytes: 0, ..Options::default() }
}

/// Ids of all entries that can be read, in order.
pub(super) fn ids(reader: &Reader) -> Vec<u64> {
    let mut found = Vec::new();
    let mut scan = reader.scan(0);
    while let Some(chunk) = scan.next_chunk(500).unwrap() {
        for entry in chunk.entries() {
            assert_eq!(entry.sequence, found.len() as u64);
            found.push(u64::from_be_bytes(entry.id.0[..8].try_into().unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn what_was_appended_is_read_again_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, recovery) = Ledger::open(dir.path(), small()).unwrap();
    assert!(recovery.created);
    for n in 0..20 {
        let receipt = ledger.append(batch([2 * n, 2 * n + 1])).await.unwrap();
        assert_eq!(receipt.entries[1].sequence, 2 * n + 1);
    }
    let reader = ledger.reader();
    assert_eq!(ids(&reader), (0..40).collect::<Vec<_>>());
    assert_eq!(reader.get(7).unwrap().unwrap().body, b"{\"n\":7}");
    assert_eq!(reader.get(40).unwrap(), None);
    let left: Vec<u64> = (0..=40).map(|from| reader.bytes_from(from).unwrap()).collect();
    assert!(left.is_sorted_by(|more, less| more > less) && left[40] == 0, "{left:?}");
    let files = dir.path().read_dir().unwrap().map(|file| file.unwrap());
    let segments = files.filter(|file| file.path().extension().is_some_and(|e| e == "segment"));
    let written: u64 = segments.map(|file| file.metadata().unwrap().len()).sum();
    assert!(left[0] < written && left[0] + 200 > written, "{} of {written}", left[0]);
    let head = ledger.close().await.unwrap();
    drop(ledger);

    let (ledger, recovery) = Ledger::open(dir.path(), small()).unwrap();
    assert_eq!((recovery.clean, recovery.head, recovery.torn), (true, head, None));
    assert!(recovery.segments > 3, "{}", recovery.segments);
    assert_eq!(recovery.window, 40);
    ledger.append(batch([40])).await.unwrap();
    assert_eq!(ids(&ledger.reader()), (0..41).collect::<Vec<_>>());
    let report = verify(dir.path(), |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.head, ledger.reader().head());
    assert_eq!(ids(&Reader::open(dir.path()).unwrap()), (0..41).collect::<Vec<_>>());
}
