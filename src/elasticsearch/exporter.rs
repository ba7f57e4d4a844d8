//! The exporter as a sink: entries in, bulks out, and how far everything is delivered.
//!
//! ```text
//!  consumer's thread                          tasks, one for each bulk
//!  Sink::apply ─► Filling ─full─► window ───► lookup ─► gzip ─► gate ─► _bulk ─► outcomes
//!                     │ waits for room          ▲                                  │ again
//!  Sink::settled ◄─ lowest entry that is out    └──────────────────────────────────┤
//!                                                          dead letters, durable ◄─┘ rejected
//! ```
//!
//! - At most `2 × max_in_flight × max_bytes` of entries are in memory; then [`Sink::apply`] waits,
//!   and the ledger keeps the rest.
//! - After a restart, what was sent and is not behind the cursor is sent again. What may have been
//!   sent is looked up first, so a rollover in between makes no duplicate: a file says how far
//!   that may be, written before anything beyond it is sent.

use super::bulk::{DEFAULT_BULK_TIMEOUT, DEFAULT_MAX_BYTES, DEFAULT_MAX_ITEMS, Filling};
use super::dead_letters::DeadLetters;
use super::deliver::{Shared, deliver};
use super::gate::Gate;
use super::late::Replays;
use super::outcome::Problem;
use super::pace::Pace;
use super::replay::Exporter;
use super::status::{ExporterState, ExporterStatus, locked};
use super::transport::Transport;
use super::window::Window;
use crate::export::{Backoff, ConsumerStatus, CursorFile, Sink, SinkError};
use crate::ledger::{Chunk, Reader};
use crate::store::projection::Origin;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How many bulk requests are in flight: enough to keep a small cluster busy; a busy one gets less.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 4;

/// How many entries ahead it is noted that they may have been sent.
pub const DEFAULT_SENT_AHEAD: u64 = 50_000;

/// How often a wait looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How an exporter is run.
#[derive(Debug, Clone)]
pub struct ExporterOptions {
    /// Name of the sink, its cursor and its metrics.
    pub name: String,
    /// Name of the ledger, for `audit.ledger.origin` of the documents.
    pub origin: String,
    /// Where the file lies that says how far entries may have been sent: beside the cursors.
    pub cursors: PathBuf,
    /// Most bytes of a bulk before compression. A larger entry goes alone.
    pub max_bytes: usize,
    /// Most items of a bulk.
    pub max_items: usize,
    /// Most bulk requests in flight.
    pub max_in_flight: usize,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// How long the reply to a bulk may take.
    pub timeout: Duration,
    /// The wait after a first failure, and the longest.
    pub retry: (Duration, Duration),
    /// How long a refresh takes to come by itself, for a key that may read but not refresh. At
    /// least the `refresh_interval` of the template.
    pub refresh_wait: Duration,
    /// Whether the cluster knows `require_data_stream`: Elasticsearch does, OpenSearch does not.
    /// Found out by itself when set wrongly to true.
    pub require_data_stream: bool,
    /// How many entries ahead it is noted that they may have been sent. After a crash at most that
    /// many more than were sent are looked up; each step costs one durable write.
    pub sent_ahead: u64,
    /// Where it is noted that dead letters are sent again, for the correlator that has passed them.
    pub replays: Option<Arc<Replays>>,
    /// How long, at the end, replies are waited for while all is well. In an outage it ends at
    /// once.
    pub stop_grace: Duration,
}

impl ExporterOptions {
    /// The default, for the ledger of that name, with files in `cursors`.
    pub fn new(origin: impl Into<String>, cursors: impl Into<PathBuf>) -> Self {
        Self {
            name: "elasticsearch".to_owned(),
            origin: origin.into(),
            cursors: cursors.into(),
            max_bytes: DEFAULT_MAX_BYTES,
            max_items: DEFAULT_MAX_ITEMS,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            gzip: true,
            timeout: DEFAULT_BULK_TIMEOUT,
            retry: (Duration::from_millis(100), Duration::from_secs(30)),
            refresh_wait: Duration::from_secs(10),
            require_data_stream: true,
            sent_ahead: DEFAULT_SENT_AHEAD,
            replays: None,
            stop_grace: Duration::from_secs(5),
        }
    }

    fn max_held(&self) -> usize {
        self.max_in_flight.saturating_mul(2).saturating_mul(self.max_bytes)
    }
}

/// Why the exporter did not take entries.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// It was told to end.
    #[error("the exporter ends; what is not delivered is sent after the restart")]
    Stopping,
    /// The end came before everything was delivered.
    #[error("{bulks} bulks are not delivered; they are sent again after the restart")]
    Undelivered {
        /// How many.
        bulks: usize,
    },
    /// A defect of the program.
    #[error("a task of the exporter ended by itself; restart the program and report this")]
    TaskEnded,
}

/// How far entries may have been sent, durably.
#[derive(Debug)]
struct Sent {
    file: CursorFile,
    /// The file's number.
    noted: u64,
    /// What may have been sent before this start.
    in_doubt_below: u64,
}

impl Sent {
    fn open(dir: &Path, name: &str, reader: &Reader) -> Self {
        let file = CursorFile::new(dir, &format!("{name}-sent"), reader.origin());
        // Without the file anything that is in the ledger may have been sent.
        let noted = file.read().unwrap_or_else(|| reader.watermark());
        Self { file, noted, in_doubt_below: noted }
    }

    /// Before anything below `end` is sent.
    fn cover(&mut self, end: u64, ahead: u64) -> Result<(), SinkError> {
        if end > self.noted { self.write(end.saturating_add(ahead)) } else { Ok(()) }
    }

    fn write(&mut self, end: u64) -> Result<(), SinkError> {
        if end != self.noted {
            self.file.write(end)?;
            self.noted = end;
        }
        Ok(())
    }
}

/// Brings entries to the data streams of a cluster. Give it to
/// [`Consumer::start`](crate::export::Consumer::start); keep its [`Exporter`] for status, dead
/// letters and replays.
#[derive(Debug)]
pub struct ElasticsearchSink<T: Transport> {
    shared: Arc<Shared<T>>,
    runtime: Handle,
    /// Ends with the sink: what is not delivered then is sent after the restart.
    tasks: JoinSet<()>,
    filling: Filling,
    /// Sequence after the last entry that was taken; `None` before the first.
    next: Option<u64>,
    sent: Sent,
    consumer: Option<Arc<ConsumerStatus>>,
}

impl<T: Transport> ElasticsearchSink<T> {
    /// A sink whose requests run on `runtime`.
    ///
    /// # Errors
    /// [`std::io::Error`] when the folder of `options.cursors` cannot be made.
    pub fn new(
        transport: T,
        options: ExporterOptions,
        dead: Arc<DeadLetters>,
        reader: &Reader,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(&options.cursors)?;
        let status = Arc::new(ExporterStatus::default());
        let pace = Pace::new(options.max_in_flight, options.max_bytes);
        let backoff = Backoff::new(options.retry.0, options.retry.1);
        let sent = Sent::open(&options.cursors, &options.name, reader);
        let shared = Shared {
            transport,
            gate: Gate::new(pace, backoff, status.clone()),
            status,
            dead,
            window: Window::default(),
            spare: Mutex::new(Vec::new()),
            require_data_stream: AtomicBool::new(options.require_data_stream),
            streams: Mutex::new(BTreeSet::new()),
            accepted: AtomicU64::new(0),
            options,
        };
        Ok(Self {
            shared: Arc::new(shared),
            runtime,
            tasks: JoinSet::new(),
            filling: Filling::default(),
            next: None,
            sent,
            consumer: None,
        })
    }

    /// What outlives the sink: status, dead letters, replays.
    pub fn exporter(&self) -> Exporter<T> {
        Exporter::new(self.shared.clone())
    }

    fn is_stopping(&self) -> bool {
        self.consumer.as_ref().is_some_and(|consumer| consumer.is_stopping())
    }

    /// Lets go of tasks that are at their end.
    fn reap(&mut self) -> Result<(), SinkError> {
        while let Some(ended) = self.tasks.try_join_next() {
            // Its bulk stays out, so the cursor never passes it.
            ended.map_err(|_| ExporterError::TaskEnded)?;
        }
        Ok(())
    }

    fn wait_for_room(&self) -> Result<(), SinkError> {
        let (bytes, max) = (self.filling.bytes(), self.shared.options.max_held());
        while !self.shared.window.wait_for_room(bytes, max, LOOK_UP) {
            if self.is_stopping() {
                return Err(ExporterError::Stopping.into());
            }
        }
        Ok(())
    }

    /// Hands what is held to a task.
    fn dispatch(&mut self) -> Result<(), SinkError> {
        self.reap()?;
        let Some(first) = self.filling.first_sequence() else { return Ok(()) };
        self.sent.cover(self.next.unwrap_or(first), self.shared.options.sent_ahead)?;
        let shared = self.shared.clone();
        let memory = locked(&shared.spare).pop().unwrap_or_default();
        let part = self.filling.take(shared.gate.bytes(), memory);
        let in_doubt = first < self.sent.in_doubt_below;
        let bulk = shared.window.add(first, part.held_bytes(), &shared.status);
        let held = self.filling.first_sequence().or(self.next).unwrap_or(first);
        shared.window.hand_over(held);
        self.tasks.spawn_on(deliver(shared, part, in_doubt, Some(bulk)), &self.runtime);
        Ok(())
    }

    /// Waits for the last replies, unless they do not come.
    fn finish(&mut self) -> Result<(), SinkError> {
        let since = Instant::now();
        while !self.shared.window.wait_until_empty(LOOK_UP) {
            let state = self.shared.status.state();
            let passing = [ExporterState::Running, ExporterState::HeldUp(Problem::Busy)];
            if since.elapsed() >= self.shared.options.stop_grace || !passing.contains(&state) {
                self.tasks.abort_all();
                return Err(ExporterError::Undelivered { bulks: self.shared.window.len() }.into());
            }
        }
        // All of it was answered: the next start has nothing to look up.
        self.next.map_or(Ok(()), |next| self.sent.write(next.max(self.sent.in_doubt_below)))
    }
}

impl<T: Transport> Sink for ElasticsearchSink<T> {
    fn name(&self) -> &str {
        &self.shared.options.name
    }

    fn begin(&mut self, status: &Arc<ConsumerStatus>) {
        self.consumer = Some(status.clone());
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        self.reap()?;
        let shared = self.shared.clone();
        let origin = Origin { name: &shared.options.origin };
        for entry in chunk.entries() {
            // After an error entries come again; those that are held or out are not lost.
            if self.next.is_some_and(|next| entry.sequence < next) {
                continue;
            }
            let is_full = self.filling.bytes() >= shared.gate.bytes()
                || self.filling.len() >= shared.options.max_items;
            if is_full {
                self.wait_for_room()?;
                self.dispatch()?;
            }
            if self.next.is_none() {
                // What lies before was done with before this start.
                shared.window.hand_over(entry.sequence);
            }
            self.next = Some(entry.sequence.saturating_add(1));
            self.filling.push(entry, origin);
        }
        Ok(())
    }

    fn settled(&mut self) -> Option<u64> {
        let next = self.next?;
        let held = self.filling.first_sequence().unwrap_or(next);
        Some(self.shared.window.lowest().map_or(held, |lowest| lowest.min(held)))
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        // Twice when the last entry did not fit. Does not wait for room: at most one bulk more.
        while !self.filling.is_empty() {
            self.dispatch()?;
        }
        if self.is_stopping() { self.finish() } else { Ok(()) }
    }
}
