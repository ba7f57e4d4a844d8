//! What it costs to make bulk requests of entries of 1.5 KB: items are entries.
//!
//! `cargo bench --bench bulk`

use divan::counter::ItemsCount;
use spanledger::elasticsearch::Filling;
use spanledger::entry::{Entry, Json, Kind};
use spanledger::ledger::{Batch, Chunk, EntryId, Ledger, NewEntry, Options};
use spanledger::store::projection::Origin;
use std::time::Duration;

const ENTRIES: u64 = 1_000;

fn main() {
    divan::main();
}

/// The body of entry `n`: a call of a model with its texts and 20 attributes.
fn body(n: u64) -> Vec<u8> {
    let mut entry = Entry::new(Kind::LlmCall);
    entry.timestamp = "2026-11-21T08:00:00.000000000Z".into();
    entry.event.action = Some("chat gpt-4o-mini".into());
    entry.message = Some(format!("please refund order {n} of the customer, it is late").into());
    entry.add_trace_id(format!("{n:032x}").into());
    for at in 0..20_u64 {
        let value = format!("value {} of the attribute", (n + at) * 7_919 % 1_000);
        entry.attributes.push(format!("app.attribute.{at}").into(), Json::Text(value.into()));
    }
    let mut body = Vec::new();
    entry.write(&mut body).expect("an entry is always written");
    body
}

/// As a consumer is given them.
fn chunk() -> Chunk {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (ledger, _) = Ledger::open(dir.path(), Options::default()).expect("a ledger");
    let mut batch = Batch::new();
    for n in 0..ENTRIES {
        let body = body(n);
        let entry = NewEntry {
            id: EntryId(
                u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes(),
            ),
            tenant: "default",
            tenant_pseudonym: [1; 16],
            retention_class: 0,
            received_ns: 1_795_241_529_767_677_952,
            mapping_version: [2; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: &body,
        };
        batch.push(&entry).expect("the entry fits");
    }
    runtime.block_on(ledger.append(batch)).expect("the batch is stored");
    ledger.reader().scan(0).next_chunk(usize::MAX).expect("readable").expect("entries")
}

fn bulk(bencher: divan::Bencher<'_, '_>, gzip: Option<bool>) {
    let chunk = chunk();
    let mut memory = Vec::new();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(move || {
        let mut filling = Filling::new(std::mem::take(&mut memory));
        for entry in divan::black_box(&chunk).entries() {
            filling.push(entry, Origin { name: "example.com/ledger" });
        }
        let mut part = filling.take(usize::MAX, Vec::new());
        if let Some(gzip) = gzip {
            part.make_wire(gzip);
            divan::black_box(part.request(true, Duration::from_secs(90)));
        }
        memory = part.into_memory().unwrap_or_default();
    });
}

/// Action lines and documents.
#[divan::bench]
fn lay_out(bencher: divan::Bencher<'_, '_>) {
    bulk(bencher, None);
}

/// And the request, as it is.
#[divan::bench]
fn request_without_gzip(bencher: divan::Bencher<'_, '_>) {
    bulk(bencher, Some(false));
}

/// And the request, compressed.
#[divan::bench]
fn request_with_gzip(bencher: divan::Bencher<'_, '_>) {
    bulk(bencher, Some(true));
}
