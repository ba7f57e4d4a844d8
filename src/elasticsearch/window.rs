//! Which entries are out: what bounds memory, and how far the cursor may go.

use super::status::{ExporterStatus, locked};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most bulks that are out at once, whatever they hold: each costs a task and its timers.
pub(super) const MAX_BULKS: usize = 256;

/// The bulks that are not at their end.
#[derive(Debug, Default)]
pub(super) struct Window {
    out: Mutex<Bulks>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Bulks {
    by_number: BTreeMap<u64, Out>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Out {
    /// The first entry that is not done with.
    lowest: u64,
    bytes: usize,
}

impl Bulks {
    /// Whether that many bytes more may go out. Something always may when nothing is out.
    fn takes(&self, bytes: usize, max_bytes: usize) -> bool {
        let fits = self.bytes.saturating_add(bytes) <= max_bytes;
        self.by_number.is_empty() || fits && self.by_number.len() < MAX_BULKS
    }
}

impl Window {
    /// A bulk goes out; gives its number.
    pub(super) fn add(&self, lowest: u64, bytes: usize, status: &ExporterStatus) -> u64 {
        let mut out = locked(&self.out);
        let number = out.next;
        out.next = number.saturating_add(1);
        out.by_number.insert(number, Out { lowest, bytes });
        out.bytes = out.bytes.saturating_add(bytes);
        status.held_bytes.store(out.bytes, Ordering::Relaxed);
        number
    }

    /// What is left of a bulk: its first entry that is not done with, and the bytes that it holds.
    pub(super) fn note(&self, number: u64, lowest: u64, bytes: usize, status: &ExporterStatus) {
        self.change(number, Some(Out { lowest, bytes }), status);
    }

    /// IMPORTANT: only for a bulk of which every entry was delivered or is a durable dead letter.
    /// The cursor passes it.
    pub(super) fn done(&self, number: u64, status: &ExporterStatus) {
        self.change(number, None, status);
    }

    fn change(&self, number: u64, left: Option<Out>, status: &ExporterStatus) {
        let mut bulks = locked(&self.out);
        let Some(out) = bulks.by_number.remove(&number) else { return };
        bulks.bytes = bulks.bytes.saturating_sub(out.bytes);
        if let Some(left) = left {
            bulks.bytes = bulks.bytes.saturating_add(left.bytes);
            bulks.by_number.insert(number, left);
        }
        status.held_bytes.store(bulks.bytes, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// The first entry that is out.
    pub(super) fn lowest(&self) -> Option<u64> {
        locked(&self.out).by_number.values().map(|out| out.lowest).min()
    }

    /// Whether that many bytes more may go out when fewer than `most_bulks` are.
    pub(super) fn has_room(&self, bytes: usize, max_bytes: usize, most_bulks: usize) -> bool {
        let bulks = locked(&self.out);
        bulks.by_number.len() < most_bulks.min(MAX_BULKS) && bulks.takes(bytes, max_bytes)
    }

    /// How many bulks are out.
    pub(super) fn len(&self) -> usize {
        locked(&self.out).by_number.len()
    }

    /// Waits a moment until that many bytes more may go out; whether they may.
    pub(super) fn wait_for_room(&self, bytes: usize, max_bytes: usize, most: Duration) -> bool {
        let is_full = |bulks: &mut Bulks| !bulks.takes(bytes, max_bytes);
        let waited = self.changed.wait_timeout_while(locked(&self.out), most, is_full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits a moment until nothing is out; whether that is so.
    pub(super) fn wait_until_empty(&self, most: Duration) -> bool {
        let holds = |bulks: &mut Bulks| !bulks.by_number.is_empty();
        let waited = self.changed.wait_timeout_while(locked(&self.out), most, holds);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
