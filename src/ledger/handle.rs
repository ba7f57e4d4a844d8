//! The handle by which a program appends, asks, and closes.

use super::Batch;
use super::error::{AppendError, CloseError, OpenError};
use super::options::Options;
use super::queue::{Job, Queue};
use super::reader::Reader;
use super::recover::{self, Recovery};
use super::reserve::Reserve;
use super::rewrite::Upkeep;
use super::status::{Notebook, Status};
use super::storage::{Disk, Storage, is_full, sync_dir};
use super::types::{Receipt, TreeHead};
use super::view::View;
use super::writer::Writer;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{oneshot, watch};

/// How the writer ended, once it has.
type Outcome = Option<Result<TreeHead, CloseError>>;

/// An append-only, tamper-evident log of entries. Cheap to clone.
///
/// There is one writer for each directory. When the last handle is dropped it finishes what it
/// was given and marks a clean end; [`Ledger::close`] waits for that.
///
/// ```
/// use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let (ledger, recovery) = Ledger::open(dir.path(), Options::default())?;
/// assert!(recovery.created);
/// let mut batch = Batch::new();
/// batch.push(&NewEntry {
///     id: EntryId([1; 16]),
///     tenant: "default",
///     tenant_pseudonym: [2; 16],
///     retention_class: 0,
///     received_ns: 1_700_000_000_000_000_000,
///     mapping_version: *b"v1------",
///     source_key: None,
///     commitments: &[],
///     sealed: &[],
///     body: b"{}",
/// })?;
/// let receipt = ledger.append(batch).await?;
/// let entry = ledger.reader().get(receipt.entries[0].sequence)?.ok_or("not there")?;
/// assert_eq!(entry.body, b"{}");
/// ledger.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    view: Arc<View>,
    notes: Arc<Notebook>,
    outcome: watch::Receiver<Outcome>,
    /// Held until the writer has ended and the ledger is closed: a stopped one stays locked, so
    /// that nobody goes on in a file that failed while this process is still reading it.
    lock: Mutex<Option<Arc<File>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Ledger {
    /// Opens the ledger in `dir`, or makes one: takes its lock, checks and recovers what is
    /// there, starts the writer. Blocks while it reads.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of what was acknowledged is changed then.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(dir, options, Box::new(Disk))
    }

    /// Opens the ledger on storage that may be another than the file system.
    pub(super) fn open_on(
        dir: &Path,
        options: Options,
        mut storage: Box<dyn Storage>,
    ) -> Result<(Self, Recovery), OpenError> {
        make_dir(dir).map_err(OpenError::io("make the directory", dir))?;
        let lock = Arc::new(lock(dir)?);
        let notes = Arc::new(Notebook::default());
        let opened = recover::open(dir, &options, storage.as_mut(), &notes)?;
        let reserve = Reserve::new(dir, options.reserve_bytes);
        match reserve.ensure() {
            // Reading, and saying that the disk is full, still works.
            Err(error) if !is_full(&error) => {
                return Err(OpenError::io("make the reserve in", dir)(error));
            }
            _ => notes.open().reserve = reserve.is_there(),
        }
        let queue = Arc::new(Queue::new(&options));
        let view = opened.view;
        let writer = Writer {
            options,
            storage,
            active: opened.active,
            sealed: None,
            chain: opened.chain,
            window: opened.window,
            view: view.clone(),
            queue: queue.clone(),
            notes: notes.clone(),
            reserve,
        };
        let (ended, outcome) = watch::channel(None);
        let guard =
            Guard { queue: queue.clone(), view: view.clone(), ended, lock: Some(lock.clone()) };
        std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || guard.watch(|| writer.run()))
            .map_err(OpenError::io("start the writer of", dir))?;
        let lock = Mutex::new(Some(lock));
        let ledger = Self(Arc::new(Inner { queue, view, notes, outcome, lock }));
        Ok((ledger, opened.recovery))
    }

    /// An empty batch, in memory that an earlier one no longer needs if there is any.
    pub fn batch(&self) -> Batch {
        self.0.queue.spares.take()
    }

    /// Appends the entries of a batch, in their order. Resolves when each of them is durable: the
    /// `fdatasync` that covers it, or the original of which it is a duplicate, has returned.
    ///
    /// The batch is appended even if the future is dropped.
    ///
    /// # Errors
    /// [`AppendError`]; [`AppendError::is_transient`] says whether to send again.
    pub async fn append(&self, batch: Batch) -> Result<Receipt, AppendError> {
        self.submit(batch, false).await
    }

    /// Appends as [`Ledger::append`] does, and when the disk is full uses the reserve: for the
    /// few entries that say that evidence was lost.
    ///
    /// # Errors
    /// As for [`Ledger::append`].
    pub async fn append_urgent(&self, batch: Batch) -> Result<Receipt, AppendError> {
        self.submit(batch, true).await
    }

    async fn submit(&self, batch: Batch, urgent: bool) -> Result<Receipt, AppendError> {
        if batch.is_empty() {
            return self.0.queue.closed().map_or_else(|| Ok(Receipt::default()), Err);
        }
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job { batch, urgent, reply })?;
        match answer.await {
            Ok(answer) => answer,
            // The writer's thread died with the batch in its hands.
            Err(_) => Err(match self.0.queue.closed() {
                Some(error @ AppendError::Poisoned { .. }) => error,
                _ => AppendError::Poisoned { reason: DIED.into() },
            }),
        }
    }

    /// Reads what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(self.0.view.clone())
    }

    /// Looks after sealed segments: packs them, and prunes what is no longer kept.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep::new(self.0.view.clone())
    }

    /// How the ledger is now.
    pub fn status(&self) -> Status {
        let closed = self.0.queue.closed();
        let (queue_batches, queue_bytes) = self.0.queue.waiting();
        let notes = self.0.notes.open().clone();
        let poisoned = match &closed {
            Some(AppendError::Poisoned { reason }) => Some(reason.to_string()),
            _ => None,
        };
        Status {
            head: self.0.view.head(),
            poisoned,
            disk_full: notes.disk_full,
            reserve: notes.reserve,
            closed: closed.is_some(),
            segments: self.0.view.segment_count(),
            queue_batches,
            queue_bytes,
            window: notes.window,
            window_bytes: notes.window_bytes,
            counters: notes.counters,
        }
    }

    /// Accepts nothing more, finishes what was accepted, marks a clean end and gives the
    /// directory free. Gives the size and root that were reached. May be called again.
    ///
    /// # Errors
    /// [`CloseError`] when the end is not clean; all that was acknowledged is durable anyway.
    pub async fn close(&self) -> Result<TreeHead, CloseError> {
        self.0.queue.close();
        let mut outcome = self.0.outcome.clone();
        let outcome = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or_else(|| Err(CloseError::Poisoned { reason: DIED.into() }))
    }
}

const DIED: &str = "the writer's thread died";

/// Sees to it that nobody waits for a writer that has ended, however it ended.
struct Guard {
    queue: Arc<Queue>,
    view: Arc<View>,
    ended: watch::Sender<Outcome>,
    /// Held as long as the thread may write.
    lock: Option<Arc<File>>,
}

impl Guard {
    fn watch(mut self, run: impl FnOnce() -> Result<TreeHead, CloseError>) {
        let outcome = run();
        self.finish(outcome);
    }

    /// Gives the lock free before it tells: who was told may open the ledger again.
    fn finish(&mut self, outcome: Result<TreeHead, CloseError>) {
        self.lock = None;
        self.view.end();
        self.ended.send_replace(Some(outcome));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            let reason: Arc<str> = DIED.into();
            self.queue.fail(&AppendError::Poisoned { reason: reason.clone() });
            self.finish(Err(CloseError::Poisoned { reason }));
        }
    }
}

/// Makes the directory, with those above it, if it is not there; their names are durable then.
fn make_dir(dir: &Path) -> io::Result<()> {
    let fresh: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for dir in fresh {
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
        sync_dir(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Takes the lock of a ledger; it is held as long as the file is open.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::options().create(true).write(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &path)(source)),
    }
}
