//! Records whose receipt somebody waits for. Each is in one place at a time: here, or with the
//! others that wait.

use super::destination::Signal;
use super::sync::{Mutex, MutexGuard};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// A record that is sent ahead of the others.
#[derive(Debug, Clone)]
pub(super) struct Urgent {
    pub(super) signal: Signal,
    pub(super) number: u64,
    pub(super) record: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    records: BTreeMap<u64, Urgent>,
    closed: bool,
}

impl Pending {
    /// `None` when the outbox is closed.
    pub(super) fn add(&self, urgent: Urgent) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let ticket = state.next;
        state.next = ticket.wrapping_add(1);
        state.records.insert(ticket, urgent);
        Some(ticket)
    }

    /// Takes one out and does `then` with it, before [`close`](Self::close) can return: what `then` hands
    /// over comes before the end, or it was not done. `false` when `close` took it.
    pub(super) fn settle(&self, ticket: u64, then: impl FnOnce(&Urgent)) -> bool {
        let mut state = self.lock();
        let urgent = state.records.remove(&ticket);
        if let Some(urgent) = &urgent {
            then(urgent);
        }
        urgent.is_some()
    }

    /// Takes all out, and takes no more in.
    pub(super) fn close(&self) -> Vec<Urgent> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.records).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
