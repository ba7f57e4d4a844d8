//! Consumers of the ledger: whatever is derived from it is written by one of these.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Sink`]: what a consumer drives |
//! | `consumer.rs` | [`Consumer`]: the thread, its loop, how it ends |
//! | `cursor.rs` | [`CursorFile`]: how far a sink is, durably |
//! | `backoff.rs` | [`Backoff`]: how long to wait after a failure |
//! | `thread.rs` | threads that hear tracing as little as whoever starts them |
//! | `status.rs` | [`ConsumerStatus`]: state and lag, plain numbers |
//! | `webhook.rs`, `webhook_text.rs` | [`WebhookSink`]: alerts, and what they say |
//! | `webhook_tests.rs` | alerts against a webhook that is away, slow or refuses |
//! | `store_sink.rs` | [`StoreSink`]: any [`AuditStore`](crate::store::AuditStore) as a sink |
//!
//! ```text
//!  ledger ── watermark ──► chunk ──► Sink::apply ──► Sink::settled ──► cursor
//!     ▲                                  │ error                         │ restart
//!     └──────────── wait, then again ◄───┘                              └─► reads from here
//! ```
//!
//! - Each entry is given at least once, in order, and none is skipped. A sink that takes an entry
//!   twice must end where it would with once; entries have ids for that.
//! - Each consumer has a thread of its own. What one waits for stops neither intake nor another.
//! - A failure is tried again for ever, ever more slowly, and shows in its status.

mod backoff;
mod consumer;
mod cursor;
mod status;
mod store_sink;
pub(crate) mod thread;
mod webhook;
mod webhook_text;

pub use backoff::Backoff;
pub use consumer::{Consumer, ConsumerOptions, Stopped};
pub use cursor::CursorFile;
pub use status::{ConsumerState, ConsumerStatus};
pub use store_sink::StoreSink;
pub use webhook::{
    Alert, AlertStatus, GIVE_UP_AFTER, MAX_LINES, MAX_RETRY_AFTER, WebhookSink, WebhookUrl,
    WebhookUrlError,
};
pub use webhook_text::Shape;

use crate::ledger::Chunk;
use std::sync::Arc;

/// Why a sink did not take entries. Its text is logged and shown: it must not have payloads.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Where a consumer brings entries. It is called from one thread, and may block.
pub trait Sink: Send {
    /// Its name: in logs, metrics, and as the name of its cursor file.
    fn name(&self) -> &str;

    /// Called once before anything else. A sink that waits within [`Sink::apply`] looks at
    /// [`ConsumerStatus::is_stopping`] meanwhile, and ends the wait with an error.
    fn begin(&mut self, _status: &Arc<ConsumerStatus>) {}

    /// The sequence number from which it wants entries, when it keeps that with its own data.
    /// Asked at the start and after each error, so a sink can go back. `None` leaves it to a file.
    fn position(&mut self) -> Option<u64> {
        None
    }

    /// Takes entries. They may come again; an error brings the same ones again.
    ///
    /// # Errors
    /// Whatever keeps the sink from taking them. Nothing is skipped for it.
    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError>;

    /// The sequence number up to which nothing has to be given again, when that is less than what
    /// was applied: a sink that answers later. `None`: all that was applied.
    fn settled(&mut self) -> Option<u64> {
        None
    }

    /// The sequence number up to which everything is where it is found, when that is less than
    /// what was applied: what the lag is measured by. `None`: all that was applied.
    fn arrived(&mut self) -> Option<u64> {
        None
    }

    /// Called when there are no entries for now, and once at the end: write what is still held.
    ///
    /// # Errors
    /// As [`Sink::apply`].
    fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Called many times a second while there are no entries, for what a sink does by the clock.
    /// Must not block.
    ///
    /// # Errors
    /// As [`Sink::apply`].
    fn tick(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Whether there is something to do though no entries came: [`Sink::idle`] is called again.
    fn has_more(&mut self) -> bool {
        false
    }
}

/// An error with what caused it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
