//! The public log as the rest of the process sees it: how publishing goes, and who does it.

use super::outgoing::{self, Outlets};
use super::sign::Driver;
use crate::config::PublicLogSettings;
use crate::export::thread;
use crate::intake::Intake;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::ledger::{PublicLog, Reader, TreeHead};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Name of the publisher in `/readyz`.
pub(super) const PUBLIC_LOG: &str = "public_log";

/// How publishing goes, in plain numbers.
#[derive(Debug, Default)]
pub struct PublishStatus {
    /// Checkpoints that were signed and published.
    pub checkpoints: AtomicU64,
    /// Times that one could not be.
    pub failures: AtomicU64,
    /// Times that tiles were made anew from the ledger.
    pub rebuilds: AtomicU64,
    /// Signatures that witnesses gave.
    pub cosignatures: AtomicU64,
    /// Times that a witness did not sign.
    pub witness_failures: AtomicU64,
    /// Checkpoints that sinks took.
    pub sink_writes: AtomicU64,
    /// Times that a sink did not take one.
    pub sink_failures: AtomicU64,
    /// How it goes with each witness.
    pub witnesses: Outlets,
    /// How it goes with each sink.
    pub sinks: Outlets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    published: Option<TreeHead>,
    trouble: Option<String>,
    /// What has to be seen by a person although checkpoints are signed, by who says so.
    standing: BTreeMap<String, String>,
    /// When the oldest entry that is not covered was seen first.
    uncovered_since: Option<Instant>,
}

impl PublishStatus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is published and since when something is not.
    pub(super) fn note(&self, head: TreeHead, published: Option<TreeHead>) {
        let mut state = self.state();
        let covered = published.is_some_and(|published| published.size >= head.size);
        // What came while the last checkpoint was made is younger than what that one covers.
        if covered || state.published != published {
            state.uncovered_since = None;
        }
        if !covered {
            state.uncovered_since.get_or_insert_with(Instant::now);
        }
        state.published = published;
    }

    /// The tree of the last checkpoint.
    pub fn published(&self) -> Option<TreeHead> {
        self.state().published
    }

    /// Why nothing is signed, while that is so.
    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// What a person has to see although checkpoints are signed: a key cannot be changed.
    pub fn standing(&self) -> Option<String> {
        self.state().standing.values().next().cloned()
    }

    /// Says what stays to be seen, whatever else goes well, until `who` takes it back; whether that
    /// is another thing than before.
    pub(super) fn stand(&self, who: &str, why: Option<&str>) -> bool {
        let standing = &mut self.state().standing;
        let before = match why {
            Some(why) => standing.insert(who.to_owned(), why.to_owned()),
            None => standing.remove(who),
        };
        before.as_deref() != why
    }

    /// Says what is in the way; whether that is another thing than before.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let mut state = self.state();
        let other = state.trouble != trouble;
        state.trouble = trouble;
        other
    }

    /// How long entries have been waiting for a checkpoint that covers them.
    pub fn uncovered(&self) -> Duration {
        self.state().uncovered_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// What the publisher is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// To publish now, and what came of it.
    Publish(oneshot::Sender<Result<SignedCheckpoint, String>>),
    /// To keep what a witness signed.
    Cosigned {
        /// The checkpoint that it was sent.
        of: Box<SignedCheckpoint>,
        /// Its answer.
        lines: String,
        /// Its key.
        key: Box<VerifierKey>,
    },
    /// To publish a last time and end.
    Stop,
}

/// A running publisher, for who reads what it publishes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    log: PublicLog,
    commands: Sender<Command>,
    status: Arc<PublishStatus>,
}

impl Published {
    /// The log.
    pub fn log(&self) -> &PublicLog {
        &self.log
    }

    /// How publishing goes.
    pub fn status(&self) -> &Arc<PublishStatus> {
        &self.status
    }

    /// Signs and publishes all that is durable now, and gives the checkpoint.
    ///
    /// # Errors
    /// A sentence that says why nothing is signed.
    pub async fn publish(&self) -> Result<SignedCheckpoint, String> {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(Command::Publish(reply));
        let ended = || "publishing has ended".to_owned();
        asked.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// A publisher. Dropped, it publishes a last time in its own time.
#[derive(Debug)]
pub(super) struct Publisher {
    published: Published,
    cancelled: Arc<AtomicBool>,
    done: Receiver<()>,
}

/// What a publisher is given.
pub(super) struct Parts {
    pub(super) reader: Reader,
    pub(super) intake: Intake,
    pub(super) log: PublicLog,
    /// Folder of the keys.
    pub(super) keys: PathBuf,
    /// Its name, its interval, and who is sent checkpoints.
    pub(super) settings: PublicLogSettings,
    pub(super) runtime: Handle,
}

impl Publisher {
    /// Starts the thread.
    pub(super) fn start(parts: Parts) -> io::Result<Self> {
        let (commands, asked) = mpsc::channel();
        let (finished, done) = mpsc::channel::<()>();
        let status: Arc<PublishStatus> = Arc::default();
        let cancelled: Arc<AtomicBool> = Arc::default();
        let published = Published { log: parts.log.clone(), commands, status: Arc::clone(&status) };
        let latest = outgoing::start(
            &parts.settings,
            &parts.log,
            &status,
            &published.commands,
            &finished,
            &parts.runtime,
        )?;
        let driver = Driver::new(parts, latest, status, Arc::clone(&cancelled));
        thread::start("publisher".into(), move || {
            // Dropped at the end, however it comes: whoever waits for it and for the sinks is told.
            let _finished = finished;
            driver.run(&asked);
        })?;
        Ok(Self { published, cancelled, done })
    }

    pub(super) fn published(&self) -> Published {
        self.published.clone()
    }

    /// Publishes a last time and ends. Blocks at most for `deadline`; what is not signed by then is
    /// signed at the next start. `false` when it was cut short.
    pub(super) fn stop(self, deadline: Duration) -> bool {
        let _ = self.published.commands.send(Command::Stop);
        let ended = self.done.recv_timeout(deadline) == Err(RecvTimeoutError::Disconnected);
        self.cancelled.store(true, Ordering::Release);
        ended
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.published.commands.send(Command::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Mappings;
    use crate::ledger::{Batch, EntryId, Ledger, NewEntry, Options, TestWitness};
    use crate::protect::{Keys, Protector, Settings};

    const DEADLINE: Duration = Duration::from_mins(1);

    async fn append(ledger: &Ledger) {
        let mut batch = Batch::new();
        let entry = NewEntry {
            id: EntryId([7; 16]),
            tenant: "acme",
            tenant_pseudonym: [0; 16],
            retention_class: 0,
            received_ns: 7,
            mapping_version: [0; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: b"{}",
        };
        batch.push(&entry).unwrap();
        ledger.append(batch).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_witnesses_sign_brings_no_checkpoint_before_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let (settings, _) = Settings::default().validate().unwrap();
        let protector = Protector::new(&settings, Keys::open_or_create(&keys).unwrap()).unwrap();
        let (ledger, _) = Ledger::open(&dir.path().join("ledger"), Options::default()).unwrap();
        let log = PublicLog::open(&dir.path().join("log"));
        let started = Publisher::start(Parts {
            reader: ledger.reader(),
            intake: Intake::new(Mappings::builtin().unwrap(), protector, ledger.clone()),
            log: log.clone(),
            keys,
            settings: PublicLogSettings {
                name: "spanledger".to_owned(),
                checkpoint_interval: Duration::from_hours(1),
                witnesses: Vec::new(),
                sinks: Vec::new(),
            },
            runtime: Handle::current(),
        });
        let started = started.unwrap();
        let published = started.published();
        let signed = published.publish().await.unwrap();
        append(&ledger).await;
        for name in ["a.example/w", "b.example/w"] {
            let witness = TestWitness::new(name);
            let lines = witness.line(&signed.checkpoint.text(), 1_700_000_000);
            let (of, key) = (Box::new(signed.clone()), Box::new(witness.verifier().clone()));
            published.commands.send(Command::Cosigned { of, lines, key }).unwrap();
        }
        // When the second one is kept, all that the first one brought is done.
        let kept = async {
            while log.cosigned().unwrap().is_none_or(|kept| kept.signers().len() < 3) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, kept).await.unwrap();
        assert_eq!(published.status().checkpoints.load(Ordering::Relaxed), 1);
        assert_eq!(published.publish().await.unwrap().checkpoint.head.size, 1);
        let stopped = tokio::task::spawn_blocking(move || started.stop(DEADLINE)).await;
        assert!(stopped.unwrap());
        ledger.close().await.unwrap();
    }
}
