//! What an agent asks of the ledger within its process, and the end of it.

use super::owner::{Owner, Seen};
use crate::access::Tenant;
use crate::layer::Handle;
use crate::layer::outbox::Delivery;
use crate::ledger::Recovery;
use crate::store::AuditStore;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long the end may take when everything is dropped without a shutdown.
const DROP_WITHIN: Duration = Duration::from_secs(5);

/// The ledger within this process, as its agent sees it: see [`Handle::ledger`].
pub struct Ledger {
    tenant: Tenant,
    notices: Vec<String>,
    store: Mutex<Option<Arc<dyn AuditStore>>>,
    seen: Seen,
    owner: Owner,
}

impl Ledger {
    pub(super) fn new(
        tenant: Tenant,
        notices: Vec<String>,
        store: Arc<dyn AuditStore>,
        seen: Seen,
        owner: Owner,
    ) -> Self {
        let store = Mutex::new(Some(store));
        Self { tenant, notices, store, seen, owner }
    }

    async fn end(&self, within: Duration) -> Result<(), String> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.owner.end(within).await
    }

    /// Whose evidence all entries are.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// What answers questions: every entry with a receipt is found at once. Its calls block, so
    /// async code makes them on a blocking thread. `None` after the end: whoever keeps one keeps the
    /// folder from the next layer.
    pub fn store(&self) -> Option<Arc<dyn AuditStore>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the API of it listens; `None` where it does not: see
    /// [`Embedded::listen_api`](super::Embedded::listen_api).
    pub fn api(&self) -> Option<SocketAddr> {
        self.seen.api
    }

    /// What was found when the ledger was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.seen.recovery
    }

    /// What an operator should know about the configuration.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What is in the way now, a sentence each: of the ledger, which then takes nothing, and of
    /// consumers, which do their work later. Empty: nothing.
    pub fn troubles(&self) -> Vec<String> {
        let consumers = self.seen.vitals.consumers();
        let of_consumers = consumers.filter_map(|(name, why)| Some(format!("{name}: {}", why?)));
        let ledger = self.seen.vitals.ledger().map(|why| format!("ledger: {why}"));
        let not_exported = self.seen.not_exported.as_ref();
        let not_exported = not_exported
            .map(|why| format!("elasticsearch: nothing is exported until a restart: {why}"));
        ledger.into_iter().chain(not_exported).chain(of_consumers).collect()
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Behind the outbox, which the layer ends first: the folder is free when the last part of the
/// layer is gone.
impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = wait(self.end(DROP_WITHIN));
    }
}

impl Handle {
    /// The ledger within this process; `None` for a layer that sends elsewhere.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.0.ledger.get()
    }

    /// What answers questions about this process's ledger, so that an agent can ask for its own
    /// story; `None` for a layer that sends elsewhere, and after the end.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use spanledger::access::Tenant;
    /// use spanledger::layer::{AuditLayer, Embedded};
    /// use spanledger::store::TraceRequest;
    ///
    /// let handle = AuditLayer::builder().embedded(Embedded::new("audit-data"))?.handle();
    /// if let Some(store) = handle.store() {
    ///     let story = store.trace(&TraceRequest::new(Tenant::default(), "refund-run-1"))?;
    ///     println!("{} entries", story.total);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn store(&self) -> Option<Arc<dyn AuditStore>> {
        self.ledger().and_then(Ledger::store)
    }

    pub(in crate::layer) async fn end_ledger(
        &self,
        delivery: Delivery,
        within: Duration,
    ) -> Delivery {
        let Some(ledger) = self.ledger() else { return delivery };
        told(delivery, ledger.end(within).await)
    }

    pub(in crate::layer) fn end_ledger_blocking(
        &self,
        delivery: Delivery,
        within: Duration,
    ) -> Delivery {
        let Some(ledger) = self.ledger() else { return delivery };
        told(delivery, wait(ledger.end(within)))
    }
}

/// The answer of a shutdown, with what was not clean behind the outbox.
fn told(mut delivery: Delivery, ended: Result<(), String>) -> Delivery {
    if let Err(why) = ended {
        delivery.stats.last_error = Some(format!("the end of the ledger was not clean: {why}"));
    }
    delivery
}

/// Blocks the thread until it is done. For futures that need no runtime.
fn wait<F: Future>(work: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = std::pin::pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
