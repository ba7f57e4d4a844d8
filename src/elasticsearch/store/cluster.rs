//! Requests of the store: sent from a thread that may wait, counted, and in time.
//!
//! Points in time are kept for the next page under a random number, so that a client never holds
//! the cluster's own id: that id names what it may see and would be used again as it is.

use super::super::flavor::Product;
use super::super::search::{Found, SearchError, SearchRequest, close_pit, open_pit, search};
use super::super::status::locked;
use super::super::transport::Transport;
use super::StoreOptions;
use super::status::StoreStatus;
use crate::export::chain;
use crate::store::StoreError;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How the cluster is asked.
#[derive(Debug)]
pub(super) struct Cluster<T> {
    transport: T,
    /// Where requests run while a thread of the caller's waits.
    runtime: Handle,
    pub(super) options: StoreOptions,
    pub(super) status: Arc<StoreStatus>,
    /// Which words for points in time it understands; found out with the first.
    product: OnceLock<Product>,
    kept: Mutex<HashMap<u64, Kept>>,
}

/// A point in time that waits for the next page.
#[derive(Debug)]
struct Kept {
    id: String,
    tenant: String,
    since: Instant,
}

impl<T: Transport> Cluster<T> {
    pub(super) fn new(transport: T, runtime: Handle, options: StoreOptions) -> Self {
        Self {
            transport,
            runtime,
            options,
            status: Arc::default(),
            product: OnceLock::new(),
            kept: Mutex::default(),
        }
    }

    /// Searches. Blocks.
    pub(super) fn search(&self, request: &SearchRequest) -> Result<Found, SearchError> {
        let start = Instant::now();
        let answer = self.runtime.block_on(search(&self.transport, request));
        self.status.latency.note(start.elapsed());
        answer.inspect_err(|error| self.status.note_failure(error))
    }

    /// Opens a point in time; `None` when there is nothing to search, or the cluster gives none:
    /// the next page then goes on after the last entry all the same, among those that are there.
    pub(super) fn open(&self) -> Result<Option<String>, SearchError> {
        let known = self.product.get();
        let either = [Product::Elasticsearch, Product::OpenSearch];
        for product in known.map_or(&either[..], std::slice::from_ref) {
            let opened = open_pit(&self.transport, *product, self.options.keep_alive);
            match self.runtime.block_on(opened) {
                Ok(id) => {
                    if id.is_some() {
                        let _ = self.product.set(*product);
                    }
                    return Ok(id);
                }
                Err(
                    error @ (SearchError::Send(_)
                    | SearchError::Unauthorized
                    | SearchError::Forbidden
                    | SearchError::Unreadable),
                ) => {
                    self.status.note_failure(&error);
                    return Err(error);
                }
                // It may understand the other product's words.
                Err(error) => tracing::debug!(%error, "no point in time"),
            }
        }
        self.status.note_failure(&SearchError::PointInTimeGone);
        Ok(None)
    }

    /// Takes what was kept under a number, when it is that tenant's and not over.
    pub(super) fn take(&self, handle: u64, tenant: &str) -> Option<String> {
        let mut kept = locked(&self.kept);
        let is_there = kept.get(&handle).is_some_and(|kept| {
            kept.tenant == tenant && kept.since.elapsed() < self.options.keep_alive
        });
        is_there.then(|| kept.remove(&handle)).flatten().map(|kept| kept.id)
    }

    /// Keeps a point in time for the next page and gives the number it is found under.
    pub(super) fn keep(&self, id: String, tenant: &str) -> u64 {
        let Some(handle) = random() else {
            self.close(id);
            return 0;
        };
        let mut over = Vec::new();
        {
            let mut kept = locked(&self.kept);
            // What is over is closed by the cluster.
            kept.retain(|_, kept| kept.since.elapsed() < self.options.keep_alive);
            while kept.len() >= self.options.max_points_in_time.max(1) {
                let oldest = kept.iter().min_by_key(|(_, kept)| kept.since).map(|(at, _)| *at);
                over.extend(oldest.and_then(|oldest| kept.remove(&oldest)));
            }
            let tenant = tenant.to_owned();
            kept.insert(handle, Kept { id, tenant, since: Instant::now() });
        }
        for kept in over {
            self.status.evicted.fetch_add(1, Ordering::Relaxed);
            self.close(kept.id);
        }
        handle
    }

    /// Closes a point in time, without waiting for it: it is over by itself soon.
    pub(super) fn close(&self, id: String) {
        let Some(product) = self.product.get().copied() else { return };
        let transport = self.transport.clone();
        self.runtime.spawn(async move {
            if let Err(error) = close_pit(&transport, product, &id).await {
                tracing::debug!(%error, "a point in time is left to end by itself");
            }
        });
    }
}

/// A number that nobody guesses, and not 0.
pub(super) fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes).max(1))
}

/// Why the store has no answer, and what to do. Where the cluster is and what its connection said is
/// for the log: who asks may be anybody who may read entries.
pub(super) fn unavailable(error: &SearchError) -> StoreError {
    tracing::warn!(error = chain(error), "the cluster did not answer a question");
    StoreError::Unavailable(format!("Elasticsearch: {error}"))
}

/// What is left of the time for a question; `None` when it is over.
pub(super) fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
