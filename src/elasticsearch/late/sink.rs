//! The correlator as a consumer of the ledger: it follows the exporter.

use super::documents::Documents as _;
use super::memory::{MAX_REMEMBERED_IDS, Memory};
use super::remote::Remote;
use super::replays::Replays;
use super::round::Correlator;
use super::seed::Seed;
use super::status::LateStatus;
use super::{LateError, NAME};
use crate::correlate::JoinRules;
use crate::elasticsearch::Transport;
use crate::export::{ConsumerStatus, Sink, SinkError};
use crate::ledger::{Chunk, Reader};
use crate::store::AuditStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Entries that are looked at together, about 1 KB of memory each.
pub const MAX_PENDING: usize = 5_000;

/// How long entries are collected while more come: each look costs a refresh.
pub const ROUND_EVERY: Duration = Duration::from_secs(1);

/// How long without entries until those that are held are looked at.
pub const IDLE_AFTER: Duration = Duration::from_millis(200);

/// How often a wait looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Waits at most that long until the exporter is done with more than so many entries; with how
/// many it is.
pub type Delivered = Box<dyn Fn(u64, Duration) -> u64 + Send>;

/// How a correlator is run.
#[derive(Debug, Clone)]
pub struct LateOptions {
    /// Name of our ledger, as in `audit.ledger.origin` of its documents.
    pub origin: String,
    /// What joins.
    pub rules: JoinRules,
    /// How long the reply to a search may take.
    pub timeout: Duration,
    /// How long a refresh takes to come by itself, for a key that may not ask for one.
    pub refresh_wait: Duration,
}

/// Gives documents the ids of their group that became known later. Give it to
/// [`Consumer::start`](crate::export::Consumer::start).
pub struct LateIdSink<T: Transport> {
    correlator: Correlator<Remote<T>>,
    delivered: Delivered,
    replays: Arc<Replays>,
    reader: Reader,
    pending: Vec<Seed>,
    /// First entry that is not looked at, and since when it is held.
    first: Option<(u64, Instant)>,
    consumer: Option<Arc<ConsumerStatus>>,
}

impl<T: Transport> LateIdSink<T> {
    /// A correlator whose requests run on `runtime`, behind an exporter that says what it has
    /// `delivered`. `local` knows the groups of our own ledger, for a key that may not read.
    pub fn new(
        transport: T,
        options: LateOptions,
        delivered: Delivered,
        replays: Arc<Replays>,
        local: Option<Arc<dyn AuditStore>>,
        reader: Reader,
        runtime: Handle,
    ) -> Self {
        let LateOptions { origin, rules, timeout, refresh_wait } = options;
        let documents = Remote::new(transport, runtime, rules.clone(), timeout, refresh_wait);
        let correlator = Correlator {
            documents,
            memory: Memory::new(MAX_REMEMBERED_IDS),
            rules,
            origin,
            status: Arc::default(),
            local,
            rights: None,
        };
        Self {
            correlator,
            delivered,
            replays,
            reader,
            pending: Vec::new(),
            first: None,
            consumer: None,
        }
    }

    /// Plain numbers for metrics.
    pub fn status(&self) -> Arc<LateStatus> {
        self.correlator.status.clone()
    }

    fn is_stopping(&self) -> bool {
        self.consumer.as_ref().is_some_and(|consumer| consumer.is_stopping())
    }

    /// Waits until the exporter is done with everything below `end`.
    fn wait_for_exporter(&mut self, end: u64) -> Result<(), LateError> {
        let last = end.saturating_sub(1);
        let mut done = (self.delivered)(last, Duration::ZERO);
        if done < end {
            // What is held need not wait for what comes after it.
            self.round()?;
        }
        while done < end {
            if self.is_stopping() {
                return Err(LateError::Stopping);
            }
            done = (self.delivered)(last, LOOK_UP);
        }
        Ok(())
    }

    /// Looks at everything that is held, and at what was replayed.
    fn round(&mut self) -> Result<(), LateError> {
        let mut seeds = std::mem::take(&mut self.pending);
        let replayed = self.replays.ready(MAX_PENDING);
        for sequence in &replayed {
            let entry =
                self.reader.get(*sequence).map_err(|error| LateError::Ledger(error.to_string()))?;
            let seed = entry.and_then(|entry| Seed::read(entry.as_ref(), &self.correlator.rules));
            seeds.extend(seed);
        }
        self.correlator.round(&seeds)?;
        if !replayed.is_empty() {
            self.replays.done(&replayed)?;
        }
        self.first = None;
        Ok(())
    }

    /// After an error the same entries come again, from the first that was held: that stays.
    fn let_go(&mut self, error: LateError) -> SinkError {
        self.pending.clear();
        error.into()
    }

    fn take(&mut self, chunk: &Chunk) -> Result<(), LateError> {
        self.wait_for_exporter(chunk.next_sequence())?;
        for entry in chunk.entries() {
            if let Some(seed) = Seed::read(entry, &self.correlator.rules) {
                self.first.get_or_insert_with(|| (seed.sequence, Instant::now()));
                self.pending.push(seed);
            }
        }
        let waited = self.first.is_some_and(|(_, since)| since.elapsed() >= ROUND_EVERY);
        if waited || self.pending.len() >= MAX_PENDING { self.round() } else { Ok(()) }
    }
}

impl<T: Transport> Sink for LateIdSink<T> {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&mut self, status: &Arc<ConsumerStatus>) {
        self.correlator.documents.begin(status);
        self.consumer = Some(status.clone());
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        self.take(chunk).map_err(|error| self.let_go(error))
    }

    fn settled(&mut self) -> Option<u64> {
        self.first.map(|(sequence, _)| sequence)
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        // At the end nothing is begun: what is held comes again after the restart.
        if self.is_stopping() {
            return Ok(());
        }
        self.round().map_err(|error| self.let_go(error))
    }

    fn has_more(&mut self) -> bool {
        self.replays.has_ready()
    }
}
