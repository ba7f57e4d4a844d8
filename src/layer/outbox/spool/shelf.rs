//! What the writer's thread and the sender's share about the spool: the segments of this
//! instance, and the bytes of everything that waits.

use super::cursor::Position;
use crate::layer::outbox::numbers::Numbers;
use crate::layer::outbox::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

/// A segment as its writer knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    pub(super) index: u64,
    /// Bytes that hold whole frames.
    pub(super) end: u64,
    /// Numbers of the records in it.
    pub(super) numbers: Numbers,
    /// Nothing is added any more.
    pub(super) closed: bool,
}

/// The list of segments.
#[derive(Debug, Default)]
pub(in crate::layer::outbox) struct Shelf {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    bytes: u64,
    /// Bytes of the oldest segment that are delivered.
    done: u64,
}

impl Shelf {
    /// Bytes on disk, those of adopted instances included.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Those of them that wait.
    pub(in crate::layer::outbox) fn waiting(&self) -> u64 {
        let state = self.lock();
        state.bytes.saturating_sub(state.done)
    }

    /// The oldest segment is delivered up to there.
    pub(super) fn done(&self, bytes: u64) {
        self.lock().done = bytes;
    }

    /// A new segment; the one before is closed.
    pub(super) fn begin(&self, index: u64, bytes: u64) {
        let mut state = self.lock();
        if let Some(last) = state.segments.back_mut() {
            last.closed = true;
        }
        state.segments.push_back(Segment { index, end: bytes, ..Segment::default() });
        state.bytes = state.bytes.saturating_add(bytes);
    }

    /// The last segment has whole frames up to `end`.
    pub(super) fn grown(&self, end: u64, numbers: &Numbers) {
        let mut state = self.lock();
        let Some(last) = state.segments.back_mut() else { return };
        let more = end.saturating_sub(last.end);
        last.end = end;
        last.numbers.extend(numbers);
        state.bytes = state.bytes.saturating_add(more);
    }

    /// The oldest segment.
    pub(super) fn first(&self) -> Option<Segment> {
        self.lock().segments.front().cloned()
    }

    /// The end of what is written.
    pub(in crate::layer::outbox) fn end(&self) -> Position {
        let state = self.lock();
        let last = state.segments.back();
        last.map_or(Position::default(), |it| Position { segment: it.index, place: it.end })
    }

    /// The oldest segment is deleted.
    pub(super) fn remove_first(&self) {
        let removed = {
            let mut state = self.lock();
            state.done = 0;
            state.segments.pop_front()
        };
        self.freed(removed.map_or(0, |it| it.end));
    }

    /// Bytes of another instance that this process delivers.
    pub(super) fn adopted(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(bytes);
    }

    /// Bytes that were deleted.
    pub(super) fn freed(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.freed.notify_all();
    }

    /// Waits until something is deleted, or that long.
    pub(super) fn wait_freed(&self, within: Duration) {
        let waited = self.freed.wait_timeout(self.lock(), within);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
