//! Plain numbers about a ledger, for metrics and for people.

use super::types::TreeHead;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a ledger is, at one moment. Counters count since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Size and root of what is durable.
    pub head: TreeHead,
    /// The storage failure after which nothing is acknowledged any more.
    pub poisoned: Option<String>,
    /// Why there is no space to write, while that is so.
    pub disk_full: Option<String>,
    /// Whether the reserve for the end of the program is there.
    pub reserve: bool,
    /// Whether it was closed.
    pub closed: bool,
    /// Segment files.
    pub segments: usize,
    /// Batches that wait for the writer.
    pub queue_batches: usize,
    /// Bytes that wait for the writer.
    pub queue_bytes: usize,
    /// Entries in the window of duplicates.
    pub window: usize,
    /// Memory of the window of duplicates, in bytes.
    pub window_bytes: usize,
    /// What the writer has done.
    pub counters: Counters,
}

/// What a writer has done since the ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Entries that were appended.
    pub entries: u64,
    /// Entries that were there already.
    pub duplicates: u64,
    /// Entries that were marked: same source key as an earlier one, other id.
    pub conflicts: u64,
    /// Bytes of the appended entries' frames.
    pub frame_bytes: u64,
    /// All bytes written to segments and sidecars.
    pub bytes_written: u64,
    /// Groups that were written: one `fdatasync` each.
    pub groups: u64,
    /// Times that `fdatasync` took, together.
    pub sync_total: Duration,
    /// The longest time that it took.
    pub sync_longest: Duration,
    /// The last time that it took.
    pub sync_last: Duration,
    /// Groups for which there was no space.
    pub disk_full: u64,
    /// Sidecars that could not be written; they are made again when needed.
    pub sidecars_failed: u64,
}

/// What the writer notes as it goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub(super) counters: Counters,
    pub(super) disk_full: Option<String>,
    pub(super) reserve: bool,
    pub(super) window: usize,
    pub(super) window_bytes: usize,
}

/// Notes that the writer writes and anybody reads.
#[derive(Debug, Default)]
pub(super) struct Notebook(Mutex<Notes>);

impl Notebook {
    pub(super) fn open(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
