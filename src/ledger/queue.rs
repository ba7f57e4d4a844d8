//! Batches that wait for the writer: bounded, and never left without an answer.

use super::batch::{Batch, Spares};
use super::error::AppendError;
use super::options::Options;
use super::types::Receipt;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What is answered to an append.
pub(super) type Answer = Result<Receipt, AppendError>;

/// A batch and whom to answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: Batch,
    /// Whether the reserve may be used for it.
    pub(super) urgent: bool,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Append these.
    Jobs(Vec<Job>),
    /// Nothing came in the time that it wanted to wait.
    Idle,
    /// Everything is done: end.
    Close,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Why nothing more is accepted.
    closed: Option<AppendError>,
}

/// The queue in front of the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    max_bytes: usize,
    max_batches: usize,
    pub(super) spares: Spares,
}

impl Queue {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            max_bytes: options.queue_bytes,
            max_batches: options.queue_batches,
            spares: Spares::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch in. When the queue is full it says so at once: waiting here would only hide
    /// from the sender that the disk is slower than the senders.
    pub(super) fn push(&self, job: Job) -> Result<(), AppendError> {
        let bytes = job.batch.bytes();
        if bytes > self.max_bytes {
            return Err(AppendError::TooLarge { bytes, limit: self.max_bytes });
        }
        let mut state = self.state();
        if let Some(why) = &state.closed {
            return Err(why.clone());
        }
        let total = state.bytes.saturating_add(bytes);
        if total > self.max_bytes || state.jobs.len() >= self.max_batches {
            return Err(AppendError::Full { batches: state.jobs.len(), bytes: state.bytes });
        }
        state.bytes = total;
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes what is there, up to about `group_bytes`; waits for the first batch only, at most
    /// for `patience`.
    pub(super) fn take(&self, group_bytes: usize, patience: Option<Duration>) -> Work {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.state();
        while state.jobs.is_empty() {
            if state.closed.is_some() {
                return Work::Close;
            }
            let Some(deadline) = deadline else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Work::Idle;
            }
            let woken = self.work.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut jobs = Vec::new();
        let mut bytes = 0_usize;
        while let Some(next) = state.jobs.front().map(|job| job.batch.bytes()) {
            if !jobs.is_empty() && bytes.saturating_add(next) > group_bytes {
                break;
            }
            bytes = bytes.saturating_add(next);
            jobs.extend(state.jobs.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        Work::Jobs(jobs)
    }

    /// Accepts nothing more; what is in it is still done.
    pub(super) fn close(&self) {
        self.state().closed.get_or_insert(AppendError::Closed);
        self.work.notify_all();
    }

    /// Accepts nothing more, and answers with that error to all who wait.
    pub(super) fn fail(&self, why: &AppendError) {
        let mut state = self.state();
        state.closed = Some(why.clone());
        state.bytes = 0;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.work.notify_all();
        // Whoever went away does not need the answer.
        for job in jobs {
            let _ = job.reply.send(Err(why.clone()));
        }
    }

    /// Why nothing more is accepted, if that is so.
    pub(super) fn closed(&self) -> Option<AppendError> {
        self.state().closed.clone()
    }

    /// Batches and bytes that are waiting.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state();
        (state.jobs.len(), state.bytes)
    }
}
