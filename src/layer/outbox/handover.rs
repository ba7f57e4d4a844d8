//! The one buffer between agents' threads and the writer's thread.
//!
//! ```text
//! push ─► frames (one lock, one copy) ──swap──► writer        full: wait for room, or count
//! ```
//!
//! An agent's thread copies its record and leaves. It wakes the writer only when the writer has
//! gone to sleep for want of work, or the buffer is half full; otherwise the writer looks by
//! itself every [`LOOK`]. What is in the buffer is what a `kill -9` may lose.

use super::destination::Signal;
use super::frame::{HEAD_BYTES, Kind, append};
use super::numbers::Numbers;
use super::records::Gap;
use super::settings::{Settings, WhenFull};
use super::sync::{AtomicU64, Condvar, Instant, LOOKS_IN_VAIN, Mutex, MutexGuard};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the writer looks while there is work.
const LOOK: Duration = Duration::from_millis(10);

/// Ranges of lost numbers that are kept apart, for each cause.
const MOST_RANGES: usize = 1024;

/// Gaps found elsewhere that wait for the writer; beyond it the newest are joined.
const MOST_GAPS: usize = 256;

/// Why a record found no place.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Full,
    Deadline,
    TooLarge,
}

impl Cause {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Full, "there was no room for them"),
        (Self::Deadline, "there was no room for them until the time to wait had passed"),
        (Self::TooLarge, "they are larger than max_record_bytes"),
    ];
}

/// The buffer, and who waits at it.
#[derive(Debug)]
pub(super) struct Handover {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Agents wait here.
    room: Condvar,
    next: AtomicU64,
    capacity: usize,
    max_record: usize,
    when_full: WhenFull,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<u8>,
    /// Records that were taken.
    records: u64,
    /// Everything that the writer has to write, ever: records, and what is to be told.
    pushed: u64,
    lost: [Numbers; 3],
    lost_count: u64,
    too_late: u64,
    gaps: Vec<Gap>,
    /// The writer sleeps until it is woken.
    asleep: bool,
    /// The writer was asked not to wait for its next look.
    hurry: bool,
    /// Agents that wait for room.
    waiting: u32,
    closed: bool,
}

impl State {
    fn has_work(&self) -> bool {
        !self.frames.is_empty()
            || !self.gaps.is_empty()
            || self.lost.iter().any(|it| !it.is_empty())
    }
}

/// What the writer took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Everything pushed so far, this included.
    pub(super) pushed: u64,
    /// Gaps to be told.
    pub(super) gaps: Vec<Gap>,
    /// No record comes after this; gaps may.
    pub(super) closed: bool,
}

/// Counts for [`Stats`](super::Stats).
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) lost: u64,
    pub(super) too_late: u64,
    pub(super) bytes: u64,
}

impl Handover {
    pub(super) fn new(settings: &Settings) -> Self {
        let state = State { frames: Vec::with_capacity(settings.buffer_bytes), ..State::default() };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            next: AtomicU64::new(1),
            capacity: settings.buffer_bytes,
            max_record: settings.max_record_bytes,
            when_full: settings.when_full(),
        }
    }

    /// The next number.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The highest number that was taken, 0 when none was.
    pub(super) fn highest(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Takes a record, waits, or counts it as lost.
    pub(super) fn push(&self, signal: Signal, number: u64, record: &[u8]) {
        let length = record.len().saturating_add(HEAD_BYTES);
        let mut state = self.lock();
        if record.len() > self.max_record {
            self.lose(&mut state, Cause::TooLarge, number);
            return;
        }
        if state.frames.len().saturating_add(length) > self.capacity && !state.closed {
            match self.when_full {
                WhenFull::Gap => {
                    self.lose(&mut state, Cause::Full, number);
                    return;
                }
                WhenFull::Block { within } => {
                    let (again, room) = self.wait_for_room(state, length, within);
                    state = again;
                    if !room {
                        self.lose(&mut state, Cause::Deadline, number);
                        return;
                    }
                }
            }
        }
        self.append(state, kind(signal), number, record);
    }

    /// Takes what must not wait, because it waited in memory already: room or not.
    pub(super) fn force(&self, signal: Signal, number: u64, record: &[u8]) {
        self.append(self.lock(), kind(signal), number, record);
    }

    /// Notes that this number needs no place any more.
    pub(super) fn covered(&self, number: u64) {
        self.append(self.lock(), Kind::Covered, number, &[]);
    }

    /// Has a gap told.
    pub(super) fn tell(&self, gap: Gap) {
        let mut state = self.lock();
        state.pushed = state.pushed.saturating_add(1);
        if state.gaps.len() < MOST_GAPS {
            state.gaps.push(gap);
        } else if let Some(last) = state.gaps.iter_mut().rfind(|it| it.instance == gap.instance) {
            last.numbers.extend(&gap.numbers);
            last.after = last.after.or(gap.after);
            last.reason = gap.reason;
        } else {
            state.gaps.push(gap); // of another instance: none tells any
        }
        self.wake(&mut state, true);
    }

    /// Has the writer work at once; returns how many records were pushed before.
    pub(super) fn hurry(&self) -> u64 {
        let mut state = self.lock();
        self.wake(&mut state, true);
        state.pushed
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(&mut state, true);
        self.room.notify_all();
    }

    /// For the writer: waits until there is work, and takes it by giving an empty buffer. The
    /// gaps say the instance's id.
    pub(super) fn take(&self, empty: &mut Vec<u8>, instance: &str) -> Taken {
        let mut state = self.lock();
        let mut looks = 0_u32;
        while !state.hurry {
            if looks >= LOOKS_IN_VAIN {
                state.asleep = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
            } else {
                let waited = self.work.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                looks = looks.saturating_add(1);
            }
            if state.has_work() {
                break;
            }
        }
        state.hurry = false;
        std::mem::swap(&mut state.frames, empty);
        let lost = Cause::ALL.iter().zip(state.lost.iter_mut().map(std::mem::take));
        let lost = lost.filter(|(_, numbers)| !numbers.is_empty()).map(|((_, why), numbers)| Gap {
            instance: instance.to_owned(),
            numbers,
            after: None,
            reason: (*why).to_owned(),
            told_by: None,
        });
        let gaps: Vec<_> = lost.collect();
        let gaps = gaps.into_iter().chain(std::mem::take(&mut state.gaps)).collect();
        if state.waiting > 0 {
            self.room.notify_all();
        }
        Taken { pushed: state.pushed, gaps, closed: state.closed }
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            records: state.records,
            lost: state.lost_count,
            too_late: state.too_late,
            bytes: state.frames.len() as u64,
        }
    }

    fn append(&self, mut state: MutexGuard<'_, State>, kind: Kind, number: u64, record: &[u8]) {
        if state.closed {
            state.too_late = state.too_late.saturating_add(u64::from(kind != Kind::Covered));
            return;
        }
        append(&mut state.frames, kind, number, record);
        state.pushed = state.pushed.saturating_add(1);
        if kind != Kind::Covered {
            state.records = state.records.saturating_add(1);
        }
        // Half full: the other half is room while the writer swaps.
        let full = state.frames.len() >= self.capacity >> 1;
        if state.asleep || (full && !state.hurry) {
            self.wake(&mut state, full);
        }
    }

    fn wake(&self, state: &mut State, hurry: bool) {
        state.hurry |= hurry;
        state.asleep = false;
        self.work.notify_one();
    }

    fn lose(&self, state: &mut State, cause: Cause, number: u64) {
        if state.closed {
            state.too_late = state.too_late.saturating_add(1);
            return;
        }
        state.lost_count = state.lost_count.saturating_add(1);
        state.pushed = state.pushed.saturating_add(1);
        if let Some(lost) = state.lost.get_mut(cause as usize) {
            lost.insert(number);
            if lost.len() > MOST_RANGES {
                lost.blur(MOST_RANGES >> 1);
            }
        }
        if state.asleep {
            self.wake(state, false);
        }
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        length: usize,
        within: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let start = Instant::now();
        self.wake(&mut state, true);
        state.waiting = state.waiting.saturating_add(1);
        let room = loop {
            if state.closed || state.frames.len().saturating_add(length) <= self.capacity {
                break true;
            }
            let Some(left) = within.checked_sub(start.elapsed()) else { break false };
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting = state.waiting.saturating_sub(1);
        (state, room)
    }

    /// A panic under this lock cannot leave it half changed: nothing here can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind(signal: Signal) -> Kind {
    match signal {
        Signal::Spans => Kind::Spans,
        Signal::Logs => Kind::Logs,
    }
}
