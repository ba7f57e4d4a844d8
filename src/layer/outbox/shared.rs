//! What agents' threads, the writer's thread and the sender's share.

use super::destination::{Destination, Signal};
use super::handover::Handover;
use super::memory::Slot;
use super::pending::Pending;
use super::records::Gap;
use super::settings::Settings;
use super::spool::cursor::Position;
use super::spool::instance::{Framing, Instance};
use super::spool::shelf::Shelf;
use super::stats::{Counters, Delivery, Stats};
use super::sync::{AtomicBool, JoinHandle, Mutex, Notify, watch};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

/// How far writer and sender are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Everything pushed up to this count is written, or waits for the sender.
    pub(super) written: u64,
    /// Where that ends.
    pub(super) written_to: Position,
    /// Everything up to there is delivered, or refused and told.
    pub(super) done_to: Position,
    /// The goodbye is written.
    pub(super) goodbye: bool,
    /// The writer's thread has nothing open any more.
    pub(super) writer_ended: bool,
}

/// Where records wait between writer and sender.
#[derive(Debug)]
pub(super) enum Place {
    Spool { shelf: Arc<Shelf>, root: PathBuf },
    Memory(Slot),
}

pub(super) struct Shared {
    pub(super) id: String,
    pub(super) settings: Settings,
    pub(super) framing: Framing,
    /// The encoded record that said hello.
    pub(super) hello: Vec<u8>,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) handover: Handover,
    pub(super) place: Place,
    pub(super) counters: Counters,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) pending: Pending,
    /// The writer wrote something.
    pub(super) data: Notify,
    /// A wait between two tries is to end.
    pub(super) again: Notify,
    /// The sender's runtime is to end.
    pub(super) halt: Notify,
    /// The process is about to end: waits between tries are short.
    pub(super) closing: AtomicBool,
    /// The writer is to end.
    pub(super) stop: AtomicBool,
    /// The folder; taken out at shutdown.
    pub(super) instance: Mutex<Option<Instance>>,
    /// The task that sends what waits.
    pub(super) backlog: Mutex<Option<JoinHandle<()>>>,
    /// What nobody takes at the receiver, as long as it does not take it after all.
    pub(super) unserved: Mutex<Option<Signal>>,
    /// What shutdown told.
    pub(super) last: OnceLock<Delivery>,
}

impl Shared {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits until writer and sender are that far.
    pub(super) async fn when(&self, far: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.subscribe();
        // Fails only when the sender of news is gone, and that is `self`.
        progress.wait_for(far).await.map_or(Progress::default(), |progress| *progress)
    }

    /// Waits until everything pushed before is where it waits for the sender.
    pub(super) async fn flush(&self) {
        let pushed = self.handover.hurry();
        self.when(|it| it.written >= pushed).await;
    }

    /// Waits until everything up to that count is delivered.
    pub(super) async fn reach(&self, pushed: u64) {
        let to = self.when(|it| it.written >= pushed).await.written_to;
        self.when(|it| it.done_to >= to).await;
    }

    /// Has it told that the receiver or the disk kept records from their place.
    pub(super) fn tell(&self, gap: Gap) {
        self.handover.tell(gap);
    }

    /// The end of what is written.
    pub(super) fn end(&self) -> Position {
        match &self.place {
            Place::Spool { shelf, .. } => shelf.end(),
            Place::Memory(slot) => slot.end(),
        }
    }

    /// Takes something out that is there once.
    pub(super) fn take<T>(of: &Mutex<Option<T>>) -> Option<T> {
        of.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn stats(&self) -> Stats {
        let counts = self.handover.counts();
        let counters = &self.counters;
        let waiting = match &self.place {
            Place::Spool { shelf, .. } => shelf.waiting(),
            Place::Memory(slot) => slot.bytes(),
        };
        let errors = [counters.spool_error.get(), counters.send_error.get()];
        let errors: Vec<String> = errors.into_iter().flatten().collect();
        Stats {
            taken: counts.records.saturating_add(counts.lost),
            spooled: counters.spooled.get(),
            delivered: counters.delivered.get(),
            refused: counters.refused.get(),
            lost: counts.lost,
            too_late: counts.too_late,
            waiting_bytes: waiting.saturating_add(counts.bytes),
            retries: counters.retries.get(),
            last_error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}
