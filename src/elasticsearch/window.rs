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
    /// Everything below is out or done with; 0 before the first bulk.
    handed: u64,
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

    /// Everything below is done with.
    fn done(&self) -> u64 {
        let lowest = self.by_number.values().map(|out| out.lowest).min();
        lowest.map_or(self.handed, |lowest| lowest.min(self.handed))
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

    /// Everything below `sequence` is out or done with.
    pub(super) fn hand_over(&self, sequence: u64) {
        let mut out = locked(&self.out);
        out.handed = out.handed.max(sequence);
        self.changed.notify_all();
    }

    /// Waits a moment until more than `sequence` entries are done with; with how many that is so.
    pub(super) fn wait_beyond(&self, sequence: u64, most: Duration) -> u64 {
        let is_behind = |bulks: &mut Bulks| bulks.done() <= sequence;
        let waited = self.changed.wait_timeout_while(locked(&self.out), most, is_behind);
        waited.unwrap_or_else(PoisonError::into_inner).0.done()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_ends_before_the_first_that_is_out_and_before_what_is_still_held() {
        let (window, status) = (Window::default(), ExporterStatus::default());
        let done = || window.wait_beyond(u64::MAX, Duration::ZERO);
        assert_eq!(done(), 0, "nothing is known before the first entry");
        window.hand_over(10);
        assert_eq!(done(), 10);
        let first = window.add(10, 1, &status);
        window.hand_over(20);
        let second = window.add(20, 1, &status);
        window.hand_over(30);
        assert_eq!(done(), 10);
        window.done(second, &status);
        assert_eq!(done(), 10);
        window.note(first, 15, 1, &status);
        assert_eq!(done(), 15);
        window.done(first, &status);
        assert_eq!(done(), 30, "what is held is not handed over");
    }

    #[test]
    fn who_waits_is_woken_by_the_last_reply() {
        let (window, status) = (Window::default(), ExporterStatus::default());
        let bulk = window.add(0, 1, &status);
        window.hand_over(5);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| window.wait_beyond(4, Duration::from_mins(1)));
            window.done(bulk, &status);
            assert_eq!(waiting.join().unwrap(), 5);
        });
    }
}
