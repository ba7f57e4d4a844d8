//! Many senders, a few readers, one writer.

use spanledger::ledger::{Appended, Batch, EntryId, Ledger, NewEntry, Options, Reader, verify};
use std::collections::HashMap;
use std::time::Duration;

fn entry(id: u64, source: u64, body: &[u8]) -> NewEntry<'_> {
    let wide = |n: u64| {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&n.to_be_bytes());
        out
    };
    NewEntry {
        id: EntryId(wide(id)),
        tenant: ["one", "two", "three"][usize::try_from(id % 3).unwrap()],
        tenant_pseudonym: wide(id % 3),
        retention_class: 0,
        received_ns: id,
        mapping_version: [0; 8],
        source_key: Some(wide(source + 1)),
        commitments: &[],
        sealed: &[],
        body,
    }
}

fn batch(ids: &[u64]) -> Batch {
    let mut batch = Batch::new();
    for id in ids {
        batch.push(&entry(*id, *id, format!("{{\"id\":{id}}}").as_bytes())).unwrap();
    }
    batch
}

fn options() -> Options {
    Options { segment_bytes: 20_000, reserve_bytes: 0, ..Options::default() }
}

/// Reads everything until the ledger ends, checking that nothing is skipped or repeated.
fn follow(reader: &Reader) -> u64 {
    let mut scan = reader.scan(0);
    let mut next = 0;
    loop {
        while let Some(chunk) = scan.next_chunk(3_000).unwrap() {
            assert_eq!(chunk.first_sequence(), next);
            for entry in chunk.entries() {
                assert_eq!(entry.sequence, next);
                assert!(entry.sequence < reader.watermark());
                next += 1;
            }
            assert_eq!(chunk.next_sequence(), next);
        }
        if reader.wait_beyond(next, Duration::from_mins(1)) <= next && reader.has_ended() {
            return next;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_senders_of_overlapping_entries_each_get_the_one_place_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let followers: Vec<_> = (0..2)
        .map(|_| {
            let reader = ledger.reader();
            std::thread::spawn(move || follow(&reader))
        })
        .collect();
    let senders: Vec<_> = (0..24_u64)
        .map(|sender| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for round in 0..15 {
                    // Two senders share each entry, and one of each batch is repeated in it.
                    let from = (sender / 2) * 100 + round * 5;
                    let ids = [from, from + 1, from + 2, from + 3, from + 4, from + 2];
                    let receipt = ledger.append(batch(&ids)).await.unwrap();
                    assert!(receipt.entries[5].duplicate);
                    // What was acknowledged can be read.
                    let appended = receipt.entries[0];
                    let stored = ledger.reader().get(appended.sequence).unwrap().unwrap();
                    assert_eq!(stored.leaf_hash, appended.leaf_hash);
                    seen.extend(ids.into_iter().zip(receipt.entries));
                }
                seen
            })
        })
        .collect();
    let mut places: HashMap<u64, Appended> = HashMap::new();
    for sender in senders {
        for (id, appended) in sender.await.unwrap() {
            let known = places.entry(id).or_insert(appended);
            let same = (known.sequence, known.leaf_hash);
            assert_eq!(same, (appended.sequence, appended.leaf_hash), "entry {id}");
        }
    }
    assert_eq!(places.len(), 12 * 15 * 5);
    let head = ledger.close().await.unwrap();
    for follower in followers {
        assert_eq!(follower.join().unwrap(), head.size);
    }
    assert_eq!(head.size, places.len() as u64);
    let report = verify(dir.path(), |_| {}).unwrap();
    assert!(report.is_ok() && report.duplicates == 0 && report.tenants == 3, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_and_reading_beside_a_running_writer_sees_only_complete_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let writer = {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for id in 0..400 {
                ledger.append(batch(&[2 * id, 2 * id + 1])).await.unwrap();
            }
        })
    };
    let mut last = 0;
    while !writer.is_finished() {
        let path = dir.path().to_owned();
        let (report, offline) = tokio::task::spawn_blocking(move || {
            (verify(&path, |_| {}).unwrap(), Reader::open(&path).unwrap())
        })
        .await
        .unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
        assert!(report.head.size >= last && report.head.size % 2 == 0);
        assert!(offline.has_ended() && offline.watermark() >= report.head.size);
        last = report.head.size;
    }
    writer.await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn the_window_ends_where_it_says_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { window: 10, segment_bytes: 2_000, reserve_bytes: 0, ..options() };
    let (ledger, _) = Ledger::open(dir.path(), options.clone()).unwrap();
    for id in 0..30 {
        ledger.append(batch(&[id])).await.unwrap();
    }
    ledger.close().await.unwrap();
    let (ledger, recovery) = Ledger::open(dir.path(), options).unwrap();
    assert!(recovery.segments > 3 && recovery.window == 10, "{recovery:?}");
    // The window is 20..30 now; each entry that is appended pushes the oldest out.
    let receipt = ledger.append(batch(&[20, 29, 19, 20, 25])).await.unwrap();
    let found: Vec<_> = receipt.entries.iter().map(|e| (e.sequence, e.duplicate)).collect();
    let expected = [(20, true), (29, true), (30, false), (31, false), (25, true)];
    assert_eq!(found, expected);
    ledger.close().await.unwrap();
    let report = verify(dir.path(), |_| {}).unwrap();
    assert!(report.is_ok());
    assert_eq!(report.duplicates, 2, "legal, and counted");
}

#[tokio::test]
async fn the_same_source_key_with_another_id_is_marked_within_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let append = |ids: Vec<(u64, u64)>| {
        let mut batch = Batch::new();
        for (id, source) in ids {
            batch.push(&entry(id, source, b"{}")).unwrap();
        }
        ledger.append(batch)
    };
    append(vec![(1, 7), (2, 8), (3, 7)]).await.unwrap();
    append(vec![(4, 8), (1, 7), (5, 9)]).await.unwrap();
    let conflict = |n| ledger.reader().get(n).unwrap().unwrap().conflict;
    assert_eq!([0, 1, 2, 3, 4].map(conflict), [false, false, true, true, false]);
    assert_eq!(ledger.status().counters.conflicts, 2);
}

#[tokio::test]
async fn a_task_that_waits_is_told_of_each_move_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let mut reader = ledger.reader();
    let waiting = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(watermark) = reader.changed().await {
            told.push(watermark);
        }
        told
    });
    for id in 0..5 {
        ledger.append(batch(&[id])).await.unwrap();
    }
    ledger.close().await.unwrap();
    let told = waiting.await.unwrap();
    assert_eq!(told.last(), Some(&5));
    assert!(told.is_sorted());
}

#[tokio::test]
async fn a_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let refused = Ledger::open(dir.path(), options()).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    ledger.close().await.unwrap();
    Ledger::open(dir.path(), options()).unwrap();
}

#[tokio::test]
async fn what_is_written_is_little_more_than_the_frames() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1 << 20, reserve_bytes: 0, ..Options::default() };
    let (ledger, _) = Ledger::open(dir.path(), options).unwrap();
    let body = vec![b'x'; 2_300];
    for from in 0..100 {
        let mut batch = Batch::new();
        (from * 20..from * 20 + 20).for_each(|id| batch.push(&entry(id, id, &body)).unwrap());
        ledger.append(batch).await.unwrap();
    }
    let counters = ledger.status().counters;
    assert!(counters.bytes_written * 100 <= counters.frame_bytes * 110, "{counters:?}");
}
