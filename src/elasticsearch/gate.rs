//! What every request passes: how many are in flight, and the wait after a failure, which all
//! share. While something is wrong, one request at a time tries whether it still is.

use super::outcome::Problem;
use super::pace::Pace;
use super::status::{ExporterStatus, locked};
use crate::export::Backoff;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Longest `Retry-After` that is obeyed: a mistaken one must not stop the export for days.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Gate {
    inner: Mutex<Inner>,
    changed: Notify,
    status: Arc<ExporterStatus>,
}

#[derive(Debug)]
struct Inner {
    pace: Pace,
    active: usize,
    backoff: Backoff,
    /// Set while the last answer was a failure of a whole request.
    trouble: bool,
    pause_until: Option<Instant>,
    /// First request that was begun after the last failure.
    valid_from: u64,
}

/// A place among the requests in flight; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    gate: &'a Gate,
    /// As [`Pace::begin`] gave it.
    number: u64,
}

impl Gate {
    pub(super) fn new(pace: Pace, backoff: Backoff, status: Arc<ExporterStatus>) -> Self {
        let inner =
            Inner { pace, active: 0, backoff, trouble: false, pause_until: None, valid_from: 0 };
        let gate = Self { inner: Mutex::new(inner), changed: Notify::new(), status };
        gate.show(&locked(&gate.inner));
        gate
    }

    /// Bytes that a bulk may have now.
    pub(super) fn bytes(&self) -> usize {
        locked(&self.inner).pace.bytes()
    }

    /// Waits until a request may be sent.
    pub(super) async fn enter(&self) -> Ticket<'_> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Listening before looking: no change is missed.
            changed.as_mut().enable();
            let pause = match self.try_enter() {
                Ok(ticket) => return ticket,
                Err(pause) => pause,
            };
            match pause {
                Some(pause) => {
                    let _ = tokio::time::timeout(pause, changed).await;
                }
                None => changed.await,
            }
        }
    }

    fn try_enter(&self) -> Result<Ticket<'_>, Option<Duration>> {
        let mut inner = locked(&self.inner);
        let now = Instant::now();
        if let Some(pause) = inner.pause_until.and_then(|until| until.checked_duration_since(now))
            && !pause.is_zero()
        {
            return Err(Some(pause));
        }
        let limit = if inner.trouble { 1 } else { inner.pace.in_flight() };
        if inner.active >= limit {
            return Err(None);
        }
        inner.active = inner.active.saturating_add(1);
        let ticket = Ticket { gate: self, number: inner.pace.begin() };
        self.show(&inner);
        Ok(ticket)
    }

    /// A request of that many bytes was too large.
    pub(super) fn too_large(&self, bytes: usize) {
        let mut inner = locked(&self.inner);
        inner.pace.too_large(bytes);
        self.show(&inner);
    }

    fn show(&self, inner: &Inner) {
        let limit = if inner.trouble { 1 } else { inner.pace.in_flight() };
        self.status.in_flight.store(inner.active, Ordering::Relaxed);
        self.status.in_flight_limit.store(limit, Ordering::Relaxed);
        self.status.batch_bytes.store(inner.pace.bytes(), Ordering::Relaxed);
    }
}

impl Ticket<'_> {
    /// The cluster answered. `busy`: some of the items were refused because it is.
    pub(super) fn answered(&self, busy: bool) {
        let mut inner = locked(&self.gate.inner);
        if busy {
            inner.pace.congested(self.number);
        } else {
            inner.pace.good();
        }
        // An answer to a request from before the failure says nothing about now.
        if inner.trouble && self.number >= inner.valid_from {
            inner.trouble = false;
            inner.pause_until = None;
            inner.backoff.reset();
        }
        self.gate.show(&inner);
    }

    /// The whole request failed: nobody sends for a while.
    pub(super) fn failed(&self, problem: Problem, retry_after: Option<Duration>) {
        let mut inner = locked(&self.gate.inner);
        if matches!(problem, Problem::Busy | Problem::Unavailable) {
            inner.pace.congested(self.number);
        }
        // Those that were in flight together failed once.
        if self.number >= inner.valid_from {
            inner.valid_from = inner.pace.next();
            inner.trouble = true;
            let wait = inner.backoff.next_wait();
            let wait = wait.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
            inner.pause_until = Instant::now().checked_add(wait);
        }
        self.gate.show(&inner);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut inner = locked(&self.gate.inner);
        inner.active = inner.active.saturating_sub(1);
        self.gate.show(&inner);
        drop(inner);
        self.gate.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(20));
        Gate::new(Pace::new(4, 1_000_000), backoff, Arc::default())
    }

    #[tokio::test]
    async fn retry_after_is_obeyed_and_one_request_at_a_time_tries_afterwards() {
        let gate = gate();
        let ticket = gate.enter().await;
        ticket.failed(Problem::Busy, Some(Duration::from_millis(40)));
        drop(ticket);
        let since = Instant::now();
        let first = gate.enter().await;
        assert!(since.elapsed() >= Duration::from_millis(39));
        assert!(gate.try_enter().is_err(), "one at a time");
        first.answered(false);
        let second = gate.try_enter();
        assert!(second.is_ok(), "all is well again");
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_in_flight_and_a_place_is_given_back() {
        let gate = gate();
        let mut tickets = Vec::new();
        for _ in 0..4 {
            tickets.push(gate.enter().await);
        }
        assert!(matches!(gate.try_enter(), Err(None)));
        assert_eq!(gate.status.in_flight(), 4);
        tickets.pop();
        assert!(gate.try_enter().is_ok());
    }
}
