//! The thread `spanledger-outbox`: takes the buffer, adds what is to be told, writes it where it
//! waits for the sender.

use super::frame::{Kind, append, head};
use super::numbers::Numbers;
use super::records::{self, Gap, Lost};
use super::shared::{Place, Shared};
use super::spool::writer::SpoolWriter;
use std::sync::Arc;

/// Numbers that were taken and did not come yet, as ranges. Beyond it the oldest are told as a
/// gap: their threads are asleep since long, or ended.
const MOST_HOLES: usize = 1024;

/// Where the writer writes.
#[derive(Debug)]
pub(super) enum Store {
    Spool(SpoolWriter),
    /// In [`Place::Memory`]; with the numbers that went there.
    Memory(Numbers),
}

impl Store {
    /// Writes frames, however long it takes. `false`: told to stop before.
    pub(super) fn put(&mut self, shared: &Shared, frames: &mut [u8]) -> bool {
        // Asked while there is no room: only the sender can make some.
        let stop = || {
            shared.data.notify_one();
            shared.is_stopped()
        };
        let put = match (&mut *self, &shared.place) {
            (Self::Spool(spool), _) => {
                let told = |error| shared.counters.spool_error.set(error);
                spool.put(frames, &stop, &told).is_ok()
            }
            (Self::Memory(seen), Place::Memory(slot)) => {
                let put = slot.put(frames, &stop);
                each(frames, |frame| frame.note(frames, seen));
                put
            }
            (Self::Memory(_), Place::Spool { .. }) => false,
        };
        if put && let Self::Spool(_) = self {
            each(frames, |frame| {
                shared.counters.spooled.add(u64::from(frame.signal().is_some()));
            });
        }
        put
    }

    fn seen(&self) -> &Numbers {
        match self {
            Self::Spool(spool) => &spool.seen,
            Self::Memory(seen) => seen,
        }
    }
}

/// The thread's work, until the outbox stops.
pub(super) fn run(shared: &Arc<Shared>, mut store: Store) {
    let mut chunk = Vec::with_capacity(shared.settings.buffer_bytes);
    let mut goodbye = false;
    loop {
        let taken = shared.handover.take(&mut chunk, &shared.id);
        for gap in taken.gaps {
            tell(&mut chunk, &gap, &shared.id);
        }
        let mut put = store.put(shared, &mut chunk);
        chunk.clear();
        if put && store.seen().len() > MOST_HOLES {
            let holes = store.seen().missing(1..=store.seen().highest());
            let oldest = holes.ranges().take(MOST_HOLES >> 1).collect();
            tell(&mut chunk, &never_came(shared, oldest), &shared.id);
        }
        if put && taken.closed && !goodbye {
            say_goodbye(shared, &store, &mut chunk);
            goodbye = true;
        }
        put = put && store.put(shared, &mut chunk);
        chunk.clear();
        let written_to = shared.end();
        shared.progress.send_modify(|progress| {
            if put {
                progress.written = taken.pushed;
                progress.written_to = written_to;
                progress.goodbye = goodbye;
            }
        });
        shared.data.notify_one();
        // Not before the end was taken: what came while this was written is still there.
        if shared.is_stopped() && taken.closed {
            break;
        }
    }
    drop(store);
    shared.progress.send_modify(|progress| progress.writer_ended = true);
}

/// The first frames of an instance.
pub(super) fn first(hello: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    append(&mut frames, Kind::Logs, 0, hello);
    frames
}

/// The last ones: what never came, the highest number, and that this is the end.
fn say_goodbye(shared: &Shared, store: &Store, chunk: &mut Vec<u8>) {
    let highest = shared.handover.highest();
    let holes = store.seen().missing(1..=highest);
    if !holes.is_empty() {
        tell(chunk, &never_came(shared, holes), &shared.id);
    }
    append(chunk, Kind::Logs, 0, &records::goodbye(&shared.id, highest));
    append(chunk, Kind::End, highest, &[]);
}

fn never_came(shared: &Shared, numbers: Numbers) -> Gap {
    let reason = "their numbers were taken and they were never handed over".to_owned();
    Gap::of(&shared.id, Lost { numbers, reason })
}

/// The entries of a gap, and which of our own numbers they tell.
fn tell(chunk: &mut Vec<u8>, gap: &Gap, own: &str) {
    for record in gap.records() {
        append(chunk, Kind::Logs, 0, &record);
    }
    if gap.instance == own {
        append(chunk, Kind::Told, 0, &gap.numbers.to_bytes());
    }
}

fn each(frames: &[u8], mut of: impl FnMut(&super::frame::Frame)) {
    let mut at = 0;
    while let Some(frame) = head(frames, at) {
        at = frame.record.end;
        of(&frame);
    }
}
