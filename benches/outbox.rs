//! What handing a record over costs an agent's thread, and how fast records go through.
//!
//! `cargo bench --bench outbox`. A push takes a number, copies 300 bytes and leaves; the buffer is
//! emptied between samples, so that nobody waits for room.

#[path = "../tests/layer_outbox/layer.rs"]
mod layer;

use divan::counter::ItemsCount;
use layer::outbox::{
    Delivered, Destination, Outbox, Policy, Sending, Settings, Signal, SpoolSettings, WhenFull,
};
use std::sync::Arc;
use std::time::Duration;

const RECORD: [u8; 300] = [7; 300];
const PUSHES: usize = 1_000;
const MINUTE: Duration = Duration::from_mins(1);

fn main() {
    divan::main();
}

/// A receiver that costs nothing.
struct TakesAll;

impl Destination for TakesAll {
    fn send(&self, _: Signal, _: bytes::Bytes, _: bool) -> Sending<'_> {
        Box::pin(std::future::ready(Ok(Delivered::default())))
    }
}

fn start(policy: Policy) -> Outbox {
    Outbox::start(Settings::new(policy), |_| Vec::new(), Arc::new(TakesAll)).unwrap()
}

fn push(outbox: &Outbox, times: usize) {
    for _ in 0..times {
        outbox.push(Signal::Spans, outbox.number(), &RECORD);
    }
}

/// A thousand pushes, of each of some threads at once.
#[divan::bench(threads = [1, 4, 16], sample_count = 200, sample_size = 1)]
fn thousand_pushes(bencher: divan::Bencher) {
    let folder = tempfile::tempdir().unwrap();
    let outbox = start(Policy::Spool(SpoolSettings::new(folder.path())));
    bencher
        .counter(ItemsCount::new(PUSHES))
        .with_inputs(|| assert!(outbox.flush(MINUTE)))
        .bench_values(|()| push(&outbox, PUSHES));
    outbox.shutdown_blocking(MINUTE);
}

/// From one thread to the acknowledgement of the last record, through files and through memory.
#[divan::bench(args = [true, false], sample_count = 10, sample_size = 1)]
fn through_to_the_acknowledgement(bencher: divan::Bencher, spool: bool) {
    const RECORDS: usize = 200_000;
    let folder = tempfile::tempdir().unwrap();
    bencher.counter(ItemsCount::new(RECORDS)).bench(|| {
        let outbox = start(if spool {
            Policy::Spool(SpoolSettings::new(folder.path()))
        } else {
            Policy::Memory(WhenFull::Block { within: MINUTE })
        });
        push(&outbox, RECORDS);
        let delivery = outbox.shutdown_blocking(MINUTE);
        assert!(delivery.complete && delivery.stats.lost == 0, "{delivery:?}");
    });
}
