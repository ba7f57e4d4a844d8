//! What is told about the outbox: counts that only grow, and what waits now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What an outbox has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records that agents handed over, those for which there was no room included.
    pub taken: u64,
    /// Records written to the spool, the outbox's own about gaps, start and end included.
    pub spooled: u64,
    /// Records that the receiver acknowledged. One that was sent twice counts twice: whether the
    /// receiver had it already is not told.
    pub delivered: u64,
    /// Records that the receiver will never take; each is told by a gap entry.
    pub refused: u64,
    /// Records lost for want of room or for their size; each is told by a gap entry.
    pub lost: u64,
    /// Records that came after the goodbye: no entry tells them.
    pub too_late: u64,
    /// Bytes that wait in the spool, or in memory without one.
    pub waiting_bytes: u64,
    /// Requests that failed and were or will be sent again.
    pub retries: u64,
    /// What went wrong last with the spool and with requests; `None` again when it can be written and one
    /// succeeds.
    pub last_error: Option<String>,
}

/// How far delivery came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Everything that was handed over before is acknowledged by the receiver, refused by it, or
    /// told by a gap entry that is acknowledged.
    pub complete: bool,
    /// What waits in files of the spool survives the process and is delivered by a later one.
    pub kept: bool,
    /// Everything counted.
    pub stats: Stats,
}

/// Counts that the writer and the sender keep.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) spooled: Counter,
    pub(super) delivered: Counter,
    pub(super) refused: Counter,
    pub(super) retries: Counter,
    pub(super) spool_error: LastError,
    pub(super) send_error: LastError,
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went wrong last, until it goes well.
#[derive(Debug, Default)]
pub(super) struct LastError(Mutex<Option<String>>);

impl LastError {
    pub(super) fn set(&self, error: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
