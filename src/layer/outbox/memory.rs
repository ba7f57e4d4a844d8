//! Waiting in memory only: one buffer is with the sender while the other is filled.

use super::frame::Frames;
use super::settings::Settings;
use super::spool::cursor::Position;
use super::sync::{Condvar, Mutex, MutexGuard};
use super::window::{Window, fill};
use bytes::Bytes;
use std::sync::PoisonError;
use std::time::Duration;

/// Between two looks whether to stop.
const AGAIN: Duration = Duration::from_millis(50);

/// The place of one buffer between writer and sender.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: Option<Frames>,
    /// Counts buffers.
    index: u64,
    bytes: u64,
    end: Position,
}

impl Slot {
    /// Waits until the place is free, and puts frames there. `false`: told to stop before.
    pub(super) fn put(&self, data: &[u8], stop: &dyn Fn() -> bool) -> bool {
        if data.is_empty() {
            return true;
        }
        let mut state = self.lock();
        while state.frames.is_some() {
            if stop() {
                return false;
            }
            let waited = self.freed.wait_timeout(state, AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.index = state.index.saturating_add(1);
        state.bytes = data.len() as u64;
        state.end = Position { segment: state.index, place: state.bytes };
        state.frames = Some(Frames::trusted(Bytes::copy_from_slice(data)));
        true
    }

    /// The next records; what was given out before is delivered.
    pub(super) fn window(&self, settings: &Settings) -> Option<Window> {
        let mut state = self.lock();
        let segment = state.index;
        let frames = state.frames.as_mut()?;
        let taken = fill(frames, settings, |_| {}).filter(|taken| !taken.is_empty());
        let (data, place) = (frames.data.clone(), frames.at() as u64);
        if let Some(frames) = taken {
            return Some(Window { data, frames, end: Position { segment, place }, lost: None });
        }
        state.frames = None;
        state.bytes = 0;
        self.freed.notify_all();
        None
    }

    /// The end of what was put here.
    pub(super) fn end(&self) -> Position {
        self.lock().end
    }

    /// Up to where everything was given out.
    pub(super) fn at(&self) -> Position {
        let state = self.lock();
        let place = state.frames.as_ref().map(|frames| frames.at() as u64);
        place.map_or(state.end, |place| Position { segment: state.index, place })
    }

    /// Bytes that wait here.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
