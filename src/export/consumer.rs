//! The consumer: a thread that brings the entries of the ledger to a sink.

use super::{Backoff, ConsumerState, ConsumerStatus, CursorFile, Sink, SinkError, chain, thread};
use crate::ledger::{Reader, Scan};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How a consumer is run; the default is right for a server.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Where cursor files lie.
    pub cursors: PathBuf,
    /// Bytes of entries that the sink is given at once. What fits into the processor's cache is
    /// read and looked through faster than more.
    pub chunk_bytes: usize,
    /// How long without entries until the sink is told.
    pub idle_after: Duration,
    /// Longest time between two writings of the cursor file: what is given again after a crash.
    pub cursor_every: Duration,
    /// The wait after a first failure, and the longest.
    pub retry: (Duration, Duration),
}

impl ConsumerOptions {
    /// The default, with cursor files in `cursors`.
    pub fn new(cursors: impl Into<PathBuf>) -> Self {
        Self {
            cursors: cursors.into(),
            chunk_bytes: 256 * 1024,
            idle_after: Duration::from_secs(2),
            cursor_every: Duration::from_secs(1),
            retry: (Duration::from_millis(100), Duration::from_secs(30)),
        }
    }
}

/// How a consumer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The sink wrote what it held, and the cursor is durable.
    Cleanly,
    /// The deadline passed first. The thread ends when its sink lets it; after a restart some
    /// entries are given again.
    Late,
}

/// A running consumer. Dropping it tells the thread to end, and does not wait.
#[derive(Debug)]
pub struct Consumer {
    name: String,
    status: Arc<ConsumerStatus>,
    wake: Sender<()>,
    done: Receiver<()>,
}

/// How often a thread that waits for entries looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(50);

impl Consumer {
    /// Starts the thread that brings the entries of `reader` to `sink`.
    ///
    /// # Errors
    /// [`std::io::Error`] when the system gives no thread, or the folder of cursors cannot be made.
    pub fn start(
        reader: Reader,
        sink: impl Sink + 'static,
        options: ConsumerOptions,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(&options.cursors)?;
        let name = sink.name().to_owned();
        let status = Arc::new(ConsumerStatus::default());
        let (wake, woken) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let cursor = CursorFile::new(&options.cursors, &name, reader.origin());
        let driver = Driver {
            backoff: Backoff::new(options.retry.0, options.retry.1),
            sink: Box::new(sink),
            status: status.clone(),
            saved: None,
            saved_at: Instant::now(),
            reader,
            options,
            woken,
            cursor,
        };
        let ending = Ending { status: status.clone(), finished };
        thread::start(format!("consumer-{name}"), move || {
            // Moved in, so that it says how the thread ended even when the sink panics.
            let ending = ending;
            driver.run();
            ending.status.set_state(ConsumerState::Stopped);
        })?;
        Ok(Self { name, status, wake, done })
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// State and lag, for as long as anybody wants to know.
    pub fn status(&self) -> Arc<ConsumerStatus> {
        self.status.clone()
    }

    /// Tells the thread to end and waits for it: the sink writes what it holds, and the cursor is
    /// made durable. Blocks at most for `deadline`.
    pub fn stop(self, deadline: Duration) -> Stopped {
        self.tell();
        match self.done.recv_timeout(deadline) {
            Err(RecvTimeoutError::Timeout) => Stopped::Late,
            _ if self.status.state() == ConsumerState::Failed => Stopped::Late,
            _ => Stopped::Cleanly,
        }
    }

    fn tell(&self) {
        self.status.stopping.store(true, Ordering::Release);
        // A thread that waits after a failure is woken; one that has ended does not mind.
        let _ = self.wake.send(());
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Says that the thread has ended, and that it failed unless it said otherwise.
struct Ending {
    status: Arc<ConsumerStatus>,
    finished: Sender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.status.state() != ConsumerState::Stopped {
            self.status.set_state(ConsumerState::Failed);
            tracing::error!("a consumer ended by itself; restart the program and report this");
        }
        let _ = self.finished.send(());
    }
}

/// What runs on the thread.
struct Driver {
    reader: Reader,
    sink: Box<dyn Sink>,
    options: ConsumerOptions,
    status: Arc<ConsumerStatus>,
    backoff: Backoff,
    woken: Receiver<()>,
    cursor: CursorFile,
    /// The cursor file as it is.
    saved: Option<u64>,
    saved_at: Instant,
}

impl Driver {
    fn run(mut self) {
        self.sink.begin(&self.status);
        self.saved = self.cursor.read();
        let mut scan = self.start();
        while !self.status.is_stopping() {
            if let Err(error) = self.step(&mut scan) {
                if self.status.is_stopping() {
                    // A sink that was waiting let go; what it has not taken comes again.
                    break;
                }
                self.fail(&*error);
                scan = self.start();
            }
        }
        if let Err(error) = self.finish() {
            tracing::warn!(
                consumer = self.sink.name(),
                error = %chain(&*error),
                "could not write everything at the end; it is given again after a restart"
            );
        }
    }

    /// Where to read from: what the sink says, else its cursor file, else the first entry.
    fn start(&mut self) -> Scan {
        let from = self.sink.position().or_else(|| self.settled_so_far()).unwrap_or(0);
        self.status.set_applied(from);
        self.status.set_settled(from);
        self.status.set_arrived(from);
        self.reader.scan_once(from)
    }

    /// What a sink without a position of its own has settled: in this process, else by its file.
    fn settled_so_far(&self) -> Option<u64> {
        let here = self.status.settled();
        if here > 0 { Some(here) } else { self.saved }
    }

    /// Brings a chunk, or waits for one.
    fn step(&mut self, scan: &mut Scan) -> Result<(), SinkError> {
        let Some(chunk) = scan.next_chunk(self.options.chunk_bytes)? else {
            return self.wait(scan.position());
        };
        self.status.set_state(ConsumerState::Running);
        self.sink.apply(&chunk)?;
        self.status.set_applied(chunk.next_sequence());
        scan.recycle(chunk);
        self.note_settled();
        self.succeed();
        if self.saved_at.elapsed() >= self.options.cursor_every {
            self.save()?;
        }
        Ok(())
    }

    /// Waits for the entry `next`; when it does not come for a while, tells the sink once.
    fn wait(&mut self, next: u64) -> Result<(), SinkError> {
        self.status.set_state(ConsumerState::Idle);
        let since = Instant::now();
        let mut told = false;
        while !self.status.is_stopping() {
            if self.reader.wait_beyond(next, LOOK_UP) > next {
                return Ok(());
            }
            self.sink.tick()?;
            let tell =
                (!told || self.sink.has_more()) && since.elapsed() >= self.options.idle_after;
            if tell {
                self.sink.idle()?;
                told = true;
            }
            // A sink that answers later settles while nothing comes.
            self.note_settled();
            if tell || self.saved_at.elapsed() >= self.options.cursor_every {
                self.save()?;
            }
            if tell {
                self.succeed();
            }
            if self.reader.has_ended() {
                // Nothing more will come: the wait returned at once. Wait to be told to end.
                let _ = self.woken.recv_timeout(LOOK_UP);
            }
        }
        Ok(())
    }

    fn note_settled(&mut self) {
        let applied = self.status.applied();
        let settled = self.sink.settled().unwrap_or(applied).min(applied);
        self.status.set_settled(settled);
        let arrived = self.sink.arrived().unwrap_or(applied).min(applied);
        self.status.set_arrived(arrived);
    }

    fn succeed(&mut self) {
        if self.status.last_error().is_some() {
            tracing::info!(consumer = self.sink.name(), "works again");
            self.status.note_success();
        }
        self.backoff.reset();
    }

    fn fail(&mut self, error: &(dyn std::error::Error + 'static)) {
        let text = chain(error);
        let wait = self.backoff.next_wait();
        tracing::warn!(
            consumer = self.sink.name(),
            error = %text,
            retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "failed; nothing is skipped, it is tried again"
        );
        self.status.note_failure(text);
        self.status.set_state(ConsumerState::Retrying);
        // Ends early when the consumer is told to stop.
        let _ = self.woken.recv_timeout(wait);
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        // What was settled counts even when the rest was not.
        let flushed = self.sink.idle();
        self.note_settled();
        self.save()?;
        flushed
    }

    /// Makes the cursor durable, unless the sink keeps its own.
    fn save(&mut self) -> Result<(), SinkError> {
        self.saved_at = Instant::now();
        let settled = self.status.settled();
        if self.sink.position().is_none() && self.saved != Some(settled) {
            self.cursor.write(settled)?;
            self.saved = Some(settled);
        }
        Ok(())
    }
}
