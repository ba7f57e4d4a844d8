//! What an append costs: batches of 100 entries of 2.3 KB, from laying out to durable.

use divan::counter::ItemsCount;
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
use std::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: u32 = 100;
const BODY: usize = 2_300;

fn main() {
    divan::main();
}

fn batch(from: u64, body: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.reserve(ENTRIES as usize * (BODY + 256));
    for n in from..from + u64::from(ENTRIES) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        let entry = NewEntry {
            id: EntryId(id),
            tenant: "default",
            tenant_pseudonym: [1; 16],
            retention_class: 0,
            received_ns: n,
            mapping_version: [2; 8],
            source_key: Some(id),
            commitments: &[],
            sealed: &[],
            body,
        };
        batch.push(&entry).expect("the entry fits");
    }
    batch
}

/// The request's part: layout, SHA-256 and checksum of the body.
#[divan::bench]
fn lay_out(bencher: divan::Bencher<'_, '_>) {
    let body = vec![b'x'; BODY];
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| batch(0, &body));
}

/// One request in flight: everything, one fdatasync for each batch.
#[divan::bench]
fn append(bencher: divan::Bencher<'_, '_>) {
    concurrent(bencher, 1);
}

/// Sixteen requests in flight: groups form.
#[divan::bench]
fn append_16_at_once(bencher: divan::Bencher<'_, '_>) {
    concurrent(bencher, 16);
}

fn concurrent(bencher: divan::Bencher<'_, '_>, tasks: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (ledger, _) = Ledger::open(dir.path(), Options::default()).expect("a ledger");
    let body = vec![b'x'; BODY];
    let next = AtomicU64::new(0);
    bencher
        .counter(ItemsCount::new(u64::from(ENTRIES) * tasks))
        .with_inputs(|| {
            let from = |_| next.fetch_add(ENTRIES.into(), Ordering::Relaxed);
            (0..tasks).map(from).map(|from| batch(from, &body)).collect::<Vec<_>>()
        })
        .bench_local_values(|batches| {
            runtime.block_on(async {
                let appends = batches.into_iter().map(|batch| {
                    let ledger = ledger.clone();
                    tokio::spawn(async move { ledger.append(batch).await })
                });
                for append in appends.collect::<Vec<_>>() {
                    append.await.expect("the task ends").expect("the batch is stored");
                }
            });
        });
    runtime.block_on(ledger.close()).expect("the ledger closes");
}
