//! What an agent asks of its layer besides tracing.

use super::audit_layer::Shared;
use super::current::Here;
use super::event::AuditEvent;
use super::out::Out;
use super::outbox::{Delivery, Stats};
use super::recording::Recording;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Span;

/// A handle on a layer, taken before the layer is put into a subscriber. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// Blocks until everything that was captured so far is written to the spool; at once without
    /// one. `false` when the time passed.
    pub fn flush(&self, within: Duration) -> bool {
        match &self.0.out {
            Out::Outbox(outbox) => outbox.flush(within),
            Out::Test(_) => true,
        }
    }

    /// Waits until everything that was captured so far is acknowledged. Runs in any executor.
    pub async fn delivered(&self, within: Duration) -> Delivery {
        match &self.0.out {
            Out::Outbox(outbox) => outbox.delivered(within).await,
            Out::Test(_) => self.complete(),
        }
    }

    /// Ends the layer: spans that are still open become entries marked
    /// [`INCOMPLETE`](super::INCOMPLETE), what waits is delivered as far as the time allows, and
    /// the answer says how far that was. What is not delivered stays in the spool for the next
    /// process. Runs in any executor.
    pub async fn shutdown(&self, within: Duration) -> Delivery {
        self.0.finish_open();
        match &self.0.out {
            Out::Outbox(outbox) => {
                let start = Instant::now();
                let delivery = outbox.shutdown(within).await;
                self.end_ledger(delivery, within.saturating_sub(start.elapsed())).await
            }
            Out::Test(_) => self.complete(),
        }
    }

    /// [`shutdown`](Self::shutdown) where nothing is async.
    pub fn shutdown_blocking(&self, within: Duration) -> Delivery {
        self.0.finish_open();
        match &self.0.out {
            Out::Outbox(outbox) => {
                let start = Instant::now();
                let delivery = outbox.shutdown_blocking(within);
                self.end_ledger_blocking(delivery, within.saturating_sub(start.elapsed()))
            }
            Out::Test(_) => self.complete(),
        }
    }

    /// Shuts down when it is dropped: for the end of `main`, where a global subscriber is never
    /// dropped itself.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let layer = spanledger::layer("http://127.0.0.1:4317")?;
    /// let _at_the_end = layer.handle().on_drop(Duration::from_secs(5));
    /// // tracing_subscriber::registry().with(layer).init(); …
    /// # Ok(()) }
    /// ```
    #[must_use = "dropping it ends the layer"]
    pub fn on_drop(&self, within: Duration) -> ShutdownOnDrop {
        ShutdownOnDrop { handle: self.clone(), within }
    }

    /// The random id of this process's layer, which every entry of it has as
    /// `service.instance.id`; empty in a test.
    pub fn instance(&self) -> &str {
        match &self.0.out {
            Out::Outbox(outbox) => outbox.instance(),
            Out::Test(_) => "",
        }
    }

    /// Puts an event on record, as [`record`](super::record()) does, through this layer whatever
    /// subscriber the thread has: inside of a `reload::Layer`, in a thread without one. It stands in
    /// the current span if that is captured here.
    pub fn record(&self, event: impl Into<AuditEvent>) -> Recording {
        let span = Span::current().id().map(|id| id.into_u64());
        let place =
            span.and_then(|id| self.0.spans.below(id, &self.0.protector)).unwrap_or_default();
        Recording::new(event.into(), Ok(Here { shared: Arc::clone(&self.0), place }))
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.0.out.stats()
    }

    #[cfg(not(feature = "ledger"))]
    #[allow(clippy::unused_async, clippy::unused_self)] // as it is with the feature
    async fn end_ledger(&self, delivery: Delivery, _: Duration) -> Delivery {
        delivery
    }

    #[cfg(not(feature = "ledger"))]
    #[allow(clippy::unused_self)] // as it is with the feature
    fn end_ledger_blocking(&self, delivery: Delivery, _: Duration) -> Delivery {
        delivery
    }

    fn complete(&self) -> Delivery {
        Delivery { complete: true, kept: false, stats: self.stats() }
    }
}

/// See [`Handle::on_drop`].
#[derive(Debug)]
pub struct ShutdownOnDrop {
    handle: Handle,
    within: Duration,
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.handle.shutdown_blocking(self.within);
    }
}
