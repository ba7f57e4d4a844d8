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
//! - A bulk goes out when it is full, or when its first entry has waited for `max_age`.
//! - At most `2 × max_in_flight × max_bytes` of entries are out, and one bulk is being filled; then
//!   [`Sink::apply`] waits, and the ledger keeps the rest.
//! - What is old waits too while `2 × max_in_flight` bulks are out: in an outage bulks become full.
//! - After a restart, what was sent and is not behind the cursor is sent again. What may have been
//!   sent is looked up first, so a rollover in between makes no duplicate: a file says how far
//!   that may be, written before anything beyond it is sent.

use super::bulk::{DEFAULT_BULK_TIMEOUT, DEFAULT_MAX_BYTES, DEFAULT_MAX_ITEMS, Filling};
use super::dead_letters::DeadLetters;
use super::deliver::{Shared, deliver};
use super::late::Replays;
use super::outcome::Problem;
use super::replay::Exporter;
use super::status::{ExporterState, locked};
use super::transport::Transport;
use super::watch::Watch;
use crate::export::{ConsumerStatus, CursorFile, Sink, SinkError};
use crate::ledger::{Chunk, Reader};
use crate::store::projection::Origin;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How many bulk requests are in flight: enough to keep a small cluster busy; a busy one gets less.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 4;

/// How many entries ahead it is noted that they may have been sent.
pub const DEFAULT_SENT_AHEAD: u64 = 50_000;

/// How long an entry waits for others to fill its bulk with. Entries are to be found in the cluster
/// soon, and a request a second costs it nothing.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(1);

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
    /// How long an entry waits for others to fill its bulk with.
    pub max_age: Duration,
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
            max_age: DEFAULT_MAX_AGE,
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
    /// A defect of the program. Nothing more is taken until the restart.
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
        let cursor = CursorFile::new(dir, name, reader.origin());
        let noted = match file.read() {
            Some(noted) => noted,
            // The file is written before anything is sent: nothing was.
            None if !file.exists() && !cursor.exists() => 0,
            // It is lost or damaged: anything that is in the ledger may have been sent.
            None => reader.watermark(),
        };
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
    /// When the first entry of what is being filled came.
    filling_since: Instant,
    /// Sequence after the last entry that was taken; `None` before the first.
    next: Option<u64>,
    sent: Sent,
    consumer: Option<Arc<ConsumerStatus>>,
    watch: Watch,
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
        let sent = Sent::open(&options.cursors, &options.name, reader);
        let shared = Shared::new(transport, options, dead, reader.origin());
        Ok(Self {
            shared: Arc::new(shared),
            runtime,
            tasks: JoinSet::new(),
            filling: Filling::default(),
            filling_since: Instant::now(),
            next: None,
            sent,
            consumer: None,
            watch: Watch::new(Instant::now()),
        })
    }

    /// What outlives the sink: status, dead letters, replays.
    pub fn exporter(&self) -> Exporter<T> {
        Exporter::new(self.shared.clone())
    }

    fn is_stopping(&self) -> bool {
        self.consumer.as_ref().is_some_and(|consumer| consumer.is_stopping())
    }

    /// Looks after the tasks: tells what holds them up, lets go of those at their end. Once one has
    /// panicked or lost its bulk, that is what every call says: the cursor never passes that bulk,
    /// and only a restart sends it again.
    fn reap(&mut self) -> Result<(), SinkError> {
        self.watch.look(&self.shared.status);
        while let Some(ended) = self.tasks.try_join_next() {
            if ended.is_err() {
                self.shared.broken.store(true, Ordering::Relaxed);
            }
        }
        if self.shared.broken.load(Ordering::Relaxed) {
            return Err(ExporterError::TaskEnded.into());
        }
        Ok(())
    }

    fn wait_for_room(&mut self) -> Result<(), SinkError> {
        let (bytes, max) = (self.filling.bytes(), self.shared.options.max_held());
        while !self.shared.window.wait_for_room(bytes, max, LOOK_UP) {
            self.reap()?;
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
        self.filling_since = Instant::now();
        let in_doubt = first < self.sent.in_doubt_below;
        let bulk = shared.window.add(first, part.held_bytes(), &shared.status);
        let held = self.filling.first_sequence().or(self.next).unwrap_or(first);
        shared.window.hand_over(held);
        self.tasks.spawn_on(deliver(shared, part, in_doubt, Some(bulk)), &self.runtime);
        Ok(())
    }

    /// Hands over what is held, as far as there is room. Twice when the last entry did not fit.
    fn dispatch_what_fits(&mut self) -> Result<(), SinkError> {
        let max = self.shared.options.max_held();
        let most_bulks = self.shared.options.max_in_flight.saturating_mul(2);
        while !self.filling.is_empty()
            && self.shared.window.has_room(self.filling.bytes(), max, most_bulks)
        {
            self.dispatch()?;
        }
        Ok(())
    }

    /// Waits for the last replies, unless they do not come.
    fn finish(&mut self) -> Result<(), SinkError> {
        let since = Instant::now();
        while !(self.shared.window.wait_until_empty(LOOK_UP) && self.filling.is_empty()) {
            self.reap()?;
            self.dispatch_what_fits()?;
            let state = self.shared.status.state();
            let passing = [ExporterState::Running, ExporterState::HeldUp(Problem::Busy)];
            if since.elapsed() >= self.shared.options.stop_grace || !passing.contains(&state) {
                self.tasks.abort_all();
                let held = usize::from(!self.filling.is_empty());
                let bulks = self.shared.window.len().saturating_add(held);
                return Err(ExporterError::Undelivered { bulks }.into());
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
            if self.filling.is_empty() {
                self.filling_since = Instant::now();
            }
            self.filling.push(entry, origin);
        }
        self.tick()
    }

    fn settled(&mut self) -> Option<u64> {
        let next = self.next?;
        let held = self.filling.first_sequence().unwrap_or(next);
        Some(self.shared.window.lowest().map_or(held, |lowest| lowest.min(held)))
    }

    fn arrived(&mut self) -> Option<u64> {
        self.settled()
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.reap()?;
        // Without room it stays, and goes out with a later tick.
        self.dispatch_what_fits()?;
        if self.is_stopping() { self.finish() } else { Ok(()) }
    }

    fn tick(&mut self) -> Result<(), SinkError> {
        self.reap()?;
        if self.filling_since.elapsed() < self.shared.options.max_age {
            return Ok(());
        }
        self.dispatch_what_fits()
    }
}
