//! From an agent's thread to the receiver's acknowledgement.
//!
//! ```text
//! agents' threads      thread spanledger-outbox              thread spanledger-sender
//! push ─► handover ─► writer ─► spool (files) or memory ─► backlog ─► courier ─► Destination
//! confirm ───────────────────────────────────────────────► ahead of all ────────► (OTLP)
//! ```
//!
//! Each record has a number of its instance, and each number that was taken ends in one of three
//! ways: the receiver acknowledged it, it waits in the spool, or an entry tells that it is missing:
//!
//! | what happened | what tells it |
//! |---|---|
//! | no room, too large, refused by the receiver, taken and never pushed | `spanledger.gap` with first and last number and the reason |
//! | the process ended without goodbye (`kill -9`, abort, `exec`) | `spanledger.gap` without a last number, written by the next process that uses the folder, as a last record of the one that ended: records after that number may be missing |
//! | a segment was cut, changed or deleted | `spanledger.gap` with the numbers that cannot be read |
//! | the process ended as it should | `spanledger.instance.end` with the highest number |
//!
//! What a `kill -9` can lose is what the buffer holds: what was pushed in about the last 10 ms, or since
//! the disk is full. The spool is never synced, so a power cut may lose more; only a receipt
//! promises that a record survives it. Without a spool all that waits ends with the process, and
//! nobody is left to tell. After `fork` the child has the outbox without its threads: nothing is
//! promised for what it pushes.
//!
//! | file | holds |
//! |---|---|
//! | [`handover`] | the buffer between agents' threads and the writer |
//! | [`writer`] | the writer's thread: gaps, goodbye, and where records wait |
//! | [`memory`], [`spool`] | where they wait |
//! | [`sender`], [`backlog`], [`courier`] | the sender's thread: what is sent next, again, in halves, never |
//! | [`confirm`], [`pending`] | records whose receipt somebody waits for |
//! | [`window`] | the next records of one source |
//! | [`frame`], [`numbers`] | a record between two places; sets of numbers |
//! | [`records`] | requests around encoded records, and what the outbox says itself |
//! | [`destination`], [`otlp`], [`otlp_settings`] | where requests go, over OTLP or otherwise |
//! | [`settings`], [`stats`] | what may be set, and what is told |
//! | [`receipt`], [`error`] | what is answered, and what can be wrong |
//! | [`sync`] | locks, news and time; `tests/interleavings` has others, and tries every order |
//! | [`start`], [`shared`], [`shutdown`] | putting together, sharing, ending |

mod backlog;
mod confirm;
mod courier;
mod destination;
mod error;
mod frame;
mod handover;
mod memory;
mod numbers;
mod otlp;
mod otlp_settings;
mod pending;
mod receipt;
mod records;
mod sender;
mod settings;
mod shared;
mod shutdown;
mod spool;
mod start;
mod stats;
mod sync;
mod window;
mod writer;

#[allow(unused_imports)] // the first three are the embedded ledger's
pub(crate) use destination::{Delivered, SendError, Sending};
pub(crate) use destination::{Destination, Signal};
pub use error::OutboxError;
pub(crate) use otlp::OtlpReceiver;
pub use otlp_settings::{Otlp, OtlpError, Tls, Token};
pub use receipt::{Receipt, ReceiptError};
pub use settings::{Policy, Settings, SpoolSettings, WhenFull};
pub use stats::{Delivery, Stats};

use pending::Urgent;
use shared::{Place, Shared};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The way out of the process for all records of one layer. Cheap to clone. When the last clone
/// goes without a shutdown, what a spool holds is delivered by a later process, and what waits in
/// memory is lost.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Inner>);

impl Outbox {
    /// Starts the two threads, and says hello before any record.
    ///
    /// `resource` encodes the OTLP `Resource` of all records, given the instance's id.
    ///
    /// # Errors
    /// [`OutboxError`]: limits that cannot hold, or a spool that cannot be written.
    pub(crate) fn start(
        settings: Settings,
        resource: impl FnOnce(&str) -> Vec<u8>,
        destination: Arc<dyn Destination>,
    ) -> Result<Self, OutboxError> {
        start::start(settings, resource, destination).map(|inner| Self(Arc::new(inner)))
    }

    /// The next number of this instance's records, from 1. Taken before encoding: the number
    /// stands in the record. A number that is taken and never pushed is told as a gap.
    pub(crate) fn number(&self) -> u64 {
        self.0.shared.handover.number()
    }

    /// The random id of this instance: 32 hex digits.
    pub(crate) fn instance(&self) -> &str {
        &self.0.shared.id
    }

    /// Takes one encoded record. For agents' threads: never panics, needs no tokio, may be called
    /// inside `Drop` while unwinding, and waits only where [`WhenFull::Block`] says so.
    pub(crate) fn push(&self, signal: Signal, number: u64, record: &[u8]) {
        self.0.shared.handover.push(signal, number, record);
    }

    /// Sends one record ahead of all others, and returns when the receiver says that it is
    /// durable. Runs in any executor; a caller that stops waiting stops nothing.
    ///
    /// # Errors
    /// [`ReceiptError`]; when the time passes, the record waits like any other.
    pub(crate) async fn confirm(
        &self,
        signal: Signal,
        number: u64,
        record: Vec<u8>,
        within: Duration,
    ) -> Result<Receipt, ReceiptError> {
        let shared = self.0.shared.clone();
        let urgent = Urgent { signal, number, record: record.into() };
        let ticket = shared.pending.add(urgent.clone()).ok_or(ReceiptError::Closed)?;
        let sent = async move { shared.confirm(urgent, ticket, within).await };
        self.0.runtime.spawn(sent).await.unwrap_or(Err(ReceiptError::Closed))
    }

    /// Blocks until everything pushed before is in the spool; returns at once without one.
    /// `false` when the time passed.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let shared = self.0.shared.clone();
        let Place::Spool { .. } = shared.place else { return true };
        let (tell, told) = mpsc::channel();
        self.0.runtime.spawn(async move {
            let _ = tell.send(tokio::time::timeout(within, shared.flush()).await.is_ok());
        });
        told.recv_timeout(within).unwrap_or(false)
    }

    /// Waits until everything pushed before is delivered. Runs in any executor.
    pub(crate) async fn delivered(&self, within: Duration) -> Delivery {
        let shared = self.0.shared.clone();
        let reached = self.0.runtime.spawn(async move {
            let pushed = shared.handover.hurry();
            tokio::time::timeout(within, shared.reach(pushed)).await.is_ok()
        });
        let complete = reached.await.unwrap_or(false);
        self.0.shared.delivery(complete)
    }

    /// Delivers what it can within the time, says goodbye, and stops the threads. What is pushed
    /// afterwards is only counted. Runs in any executor.
    pub(crate) async fn shutdown(&self, within: Duration) -> Delivery {
        let shared = self.0.shared.clone();
        let done = self.0.runtime.spawn(async move { shared.shutdown(within).await });
        done.await.unwrap_or_else(|_| self.0.shared.told_last())
    }

    /// [`shutdown`](Self::shutdown) for `Drop`: blocks the thread.
    pub(crate) fn shutdown_blocking(&self, within: Duration) -> Delivery {
        let shared = self.0.shared.clone();
        let (tell, told) = mpsc::channel();
        self.0.runtime.spawn(async move {
            let _ = tell.send(shared.shutdown(within).await);
        });
        // Ends when the task has, or was dropped with its runtime.
        told.recv().unwrap_or_else(|_| self.0.shared.told_last())
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> Stats {
        self.0.shared.stats()
    }
}

/// What all clones share; the threads hold only [`Shared`].
struct Inner {
    shared: Arc<Shared>,
    /// The sender's.
    runtime: tokio::runtime::Handle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
