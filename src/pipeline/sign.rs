//! The publisher: a thread that follows the ledger and signs what is durable.
//!
//! ```text
//! ledger ══fdatasync══► watermark ─► tiles ══fsync══► is the tiles' root the ledger's?
//!                                                        │ yes              │ no
//!                                                        ▼                  ▼
//!                       checkpoint ══fsync, rename══► published      made anew once, then never
//!                                                                    signed
//! ```
//!
//! It never disturbs intake: evidence is taken and acknowledged whether or not it is signed, and
//! what is in the way of signing stands in `/readyz` and in the metrics. What it signs is always
//! what the ledger itself says of that size, and never less than it signed before.

use super::cosigning::Cosigning;
use super::log_keys::{LogKeyError, LogKeys, Rotation};
use super::outgoing::Latest;
use super::publish::{Command, Parts, PublishStatus};
use crate::access::Tenant;
use crate::export::chain;
use crate::intake::{IntakeError, OperatorAction};
use crate::ledger::checkpoint::{Checkpoint, VerifierKey};
use crate::ledger::{Kind, PublicLogError, ReadError, Tile, TileWriter, TreeHead};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// Bytes of entries that are read at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Full tiles that are looked at between two checkpoints: a few milliseconds.
const TILES_AT_ONCE: usize = 64;

/// What cannot be done, while the key in use signs on.
const ROTATION: &str = "rotation of the log's key";

/// File that the one publisher of a log holds locked.
const LOCK_FILE: &str = "lock";

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Key(#[from] LogKeyError),
    #[error(transparent)]
    Log(#[from] PublicLogError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the change of the log's key could not be put on record")]
    Record(#[from] IntakeError),
    #[error(
        "the last checkpoint is that of {found}, and this log is {expected}: each ledger has a \
             data folder of its own"
    )]
    OtherLog { found: String, expected: String },
    #[error("the ledger has {now}, and {signed} was signed: it is not signed again")]
    Contradiction { now: TreeHead, signed: TreeHead },
    #[error(
        "the tiles make {tiles}, and the ledger says {ledger}, also after they were made anew: \
             nothing more is signed. Run `spanledger verify` and keep the data folder"
    )]
    Diverged { tiles: TreeHead, ledger: TreeHead },
    #[error("another process publishes this log, or {} cannot be locked", path.display())]
    Locked { path: PathBuf, source: Option<io::Error> },
    #[error("it was told to end")]
    Cancelled,
}

/// What runs on the thread.
pub(super) struct Driver {
    parts: Parts,
    outgoing: Latest,
    status: Arc<PublishStatus>,
    cancelled: Arc<AtomicBool>,
    keys: Option<LogKeys>,
    /// Held as long as the thread may publish.
    lock: Option<File>,
    writer: Option<TileWriter>,
    /// Whether tiles are not to be believed.
    anew: bool,
    /// Level and index of the full tile that is looked at next; each start looks through all once.
    looked_through: Option<(u8, u64)>,
    /// What the tiles said, when they disagree with the ledger for good.
    diverged: Option<(TreeHead, TreeHead)>,
    /// The key whose taking over is on record.
    recorded: Option<VerifierKey>,
    /// What witnesses signed.
    cosigning: Cosigning,
    /// When the last look began.
    looked: Instant,
    /// Whether the ledger takes nothing more.
    ending: bool,
}

impl Driver {
    pub(super) fn new(
        parts: Parts,
        outgoing: Latest,
        status: Arc<PublishStatus>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        let witnesses = parts.settings.witnesses.iter().map(|witness| &witness.key);
        let cosigning = Cosigning::by(witnesses);
        Self {
            parts,
            outgoing,
            status,
            cancelled,
            keys: None,
            lock: None,
            writer: None,
            anew: false,
            looked_through: Some((0, 0)),
            diverged: None,
            recorded: None,
            cosigning,
            looked: Instant::now(),
            ending: false,
        }
    }

    pub(super) fn run(mut self, asked: &Receiver<Command>) {
        let interval = self.parts.settings.checkpoint_interval;
        drop(self.look());
        loop {
            // At least a tenth of it: a look that always takes longer leaves room for others.
            let wait = interval
                .saturating_sub(self.looked.elapsed())
                .max(interval.checked_div(10).unwrap_or_default());
            match asked.recv_timeout(wait) {
                Ok(Command::Publish(reply)) => {
                    let done = self.look();
                    let log = &self.parts.log;
                    let answer = done.and_then(|()| match log.checkpoint() {
                        Ok(Some(signed)) => Ok(signed),
                        Ok(None) => Err("nothing was signed yet".to_owned()),
                        Err(error) => Err(chain(&error)),
                    });
                    // Who asked may have gone.
                    let _ = reply.send(answer);
                }
                Ok(Command::Cosigned { of, lines, key }) => {
                    if let Err(error) = self.cosigning.keep(&self.parts.log, &of, &lines, &key) {
                        tracing::warn!(error = %chain(&error), "a witness's signature is lost");
                    }
                    // Many of them put nothing off, and none brings the next checkpoint nearer.
                    if self.looked.elapsed() >= interval {
                        drop(self.look());
                    }
                }
                Err(RecvTimeoutError::Timeout) => drop(self.look()),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.ending = true;
                    drop(self.look());
                    return;
                }
            }
        }
    }

    /// Publishes what is there, and says why not.
    fn look(&mut self) -> Result<(), String> {
        self.looked = Instant::now();
        match self.publish() {
            Ok(()) => {
                if self.status.set_trouble(None) {
                    tracing::info!("the public log is signed again");
                }
                Ok(())
            }
            Err(PublishError::Cancelled) => Err(PublishError::Cancelled.to_string()),
            Err(error) => {
                // What is begun may be half written: the next attempt reads what was published.
                self.writer = None;
                let why = chain(&error);
                self.status.failures.fetch_add(1, Ordering::Relaxed);
                if self.status.set_trouble(Some(why.clone())) {
                    tracing::error!("nothing is signed: {why}");
                }
                Err(why)
            }
        }
    }

    fn publish(&mut self) -> Result<(), PublishError> {
        if let Some((tiles, ledger)) = self.diverged {
            return Err(PublishError::Diverged { tiles, ledger });
        }
        self.hold()?;
        let mut keys = self.keys()?;
        let published = self.sign(&mut keys);
        // Read again after a failure: somebody may have put the right one in place.
        self.keys = published.is_ok().then_some(keys);
        published
    }

    fn sign(&mut self, keys: &mut LogKeys) -> Result<(), PublishError> {
        if !self.ending {
            self.change_key(keys)?;
        }
        let head = self.parts.reader.head();
        let last = self.last(keys)?;
        self.status.note(head, last);
        if let Some(last) = last {
            self.look_through(last.size)?;
            if self.outgoing.borrow().is_none() {
                // At the last end somebody may not have got it.
                self.outgoing.send_replace(self.parts.log.checkpoint()?);
            }
        }
        if last == Some(head) && !keys.is_retiring() && !self.anew {
            return Ok(());
        }
        if let Some(signed) = last
            && (signed.size > head.size || (signed.size == head.size && signed != head))
        {
            return Err(PublishError::Contradiction { now: head, signed });
        }
        self.bring_tiles_to(head, last)?;
        let checkpoint = Checkpoint { origin: keys.origin().to_owned(), head };
        let signed = keys.sign(&checkpoint)?;
        if self.cancelled.load(Ordering::Acquire) {
            return Err(PublishError::Cancelled);
        }
        self.list_keys(keys)?;
        match &mut self.writer {
            Some(writer) => writer.publish(&signed)?,
            None => self.parts.log.publish(&signed)?,
        }
        keys.retire()?;
        self.status.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.outgoing.send_replace(Some(signed));
        self.status.note(self.parts.reader.head(), Some(head));
        Ok(())
    }

    /// The tree of the last checkpoint.
    fn last(&self, keys: &LogKeys) -> Result<Option<TreeHead>, PublishError> {
        if let Some(published) = self.status.published() {
            return Ok(Some(published));
        }
        let Some(signed) = self.parts.log.checkpoint()? else { return Ok(None) };
        let Checkpoint { origin, head } = signed.checkpoint;
        if origin != keys.origin() {
            let expected = keys.origin().to_owned();
            return Err(PublishError::OtherLog { found: origin, expected });
        }
        Ok(Some(head))
    }

    /// Two publishers of one log could sign different trees: there is one.
    fn hold(&mut self) -> Result<(), PublishError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let dir = self.parts.log.dir();
        let path = dir.join(LOCK_FILE);
        let opened = super::folders::make_private(dir).and_then(|()| {
            File::options().create(true).write(true).truncate(false).mode(0o600).open(&path)
        });
        let failed = |source| PublishError::Locked { path: path.clone(), source };
        let file = opened.map_err(|source| failed(Some(source)))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(failed(None)),
            Err(TryLockError::Error(source)) => return Err(failed(Some(source))),
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<LogKeys, PublishError> {
        if let Some(keys) = self.keys.take() {
            return Ok(keys);
        }
        self.open_keys()
    }

    fn open_keys(&self) -> Result<LogKeys, PublishError> {
        let origin = super::folders::hex(self.parts.reader.origin());
        let last = self.parts.log.checkpoint()?;
        Ok(LogKeys::open(&self.parts.keys, &self.parts.settings.name, &origin, last.as_ref())?)
    }

    /// Adds the keys in use to the list of all that ever signed.
    fn list_keys(&self, keys: &LogKeys) -> Result<(), PublishError> {
        let mut all = self.parts.log.keys()?;
        let known = all.len();
        for key in keys.verifiers() {
            if !all.contains(&key) {
                all.push(key);
            }
        }
        if all.len() > known {
            self.parts.log.publish_keys(&all)?;
        }
        Ok(())
    }

    /// Has a key take over when that was asked for. What fails is reported, and the key that is in
    /// place signs.
    fn change_key(&mut self, keys: &mut LogKeys) -> Result<(), PublishError> {
        let changed = match keys.asked() {
            Ok(Some(asked)) => self.rotate(keys, asked),
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let Err(error) = changed else {
            self.status.stand(ROTATION, None);
            return Ok(());
        };
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        let why = format!("the log's key is not changed as it was asked for: {}", chain(&error));
        if self.status.stand(ROTATION, Some(&why)) {
            tracing::error!("{why}");
        }
        // The folder says how far it came.
        *keys = self.open_keys()?;
        Ok(())
    }

    /// Puts on record that a key takes over, and puts it in place.
    fn rotate(&mut self, keys: &mut LogKeys, asked: Rotation) -> Result<(), PublishError> {
        let next = asked.key.verifier().clone();
        if self.recorded.as_ref() == Some(&next) {
            return Ok(keys.take_over(asked.key)?);
        }
        let action = OperatorAction {
            tenant: Tenant::system(),
            at_ns: asked.at_ns,
            actor: asked.actor,
            action: "log_key.rotated",
            target_type: "log_key",
            target: next.to_string(),
            message: keys.statement(&next),
        };
        self.parts.runtime.block_on(self.parts.intake.record(&action))?;
        self.recorded = Some(next);
        Ok(keys.take_over(asked.key)?)
    }

    /// Writes the tiles of that tree, and makes sure that they are those of the ledger.
    fn bring_tiles_to(
        &mut self,
        head: TreeHead,
        last: Option<TreeHead>,
    ) -> Result<(), PublishError> {
        loop {
            let anew = self.anew;
            let mut writer = match self.writer.take() {
                Some(writer) if !anew => writer,
                _ => self.resume(last)?,
            };
            self.follow(&mut writer, head.size)?;
            writer.flush()?;
            let tiles = writer.head();
            if tiles == head {
                (self.writer, self.anew) = (Some(writer), false);
                return Ok(());
            }
            if anew {
                self.diverged = Some((tiles, head));
                return Err(PublishError::Diverged { tiles, ledger: head });
            }
            tracing::warn!("the tiles are not those of the ledger; they are made anew");
            self.anew = true;
        }
    }

    /// Looks at some of the full tiles that were published: one that is damaged or lost, or that
    /// the system does not read, is made again, with all others.
    fn look_through(&mut self, size: u64) -> Result<(), PublishError> {
        let is_sound = |tile| match self.parts.log.is_sound(&tile) {
            Err(PublicLogError::Io { .. }) => Ok(false),
            sound => sound,
        };
        for _ in 0..TILES_AT_ONCE {
            let Some((level, index)) = self.looked_through else { break };
            let bits = u32::from(level).saturating_add(1).saturating_mul(8);
            if index < size.checked_shr(bits).unwrap_or(0) {
                let sound = is_sound(Tile::full(Kind::Hashes(level), index))?
                    && (level > 0 || is_sound(Tile::full(Kind::Entries, index))?);
                self.anew |= !sound;
                self.looked_through = Some((level, index.saturating_add(1)));
            } else {
                // A level without a full tile has none above it.
                self.looked_through = (index > 0).then_some((level.saturating_add(1), 0));
            }
        }
        Ok(())
    }

    fn resume(&self, last: Option<TreeHead>) -> Result<TileWriter, PublishError> {
        let log = &self.parts.log;
        let Some(last) = last else { return Ok(TileWriter::new(log.clone())) };
        if !self.anew
            && let Some(writer) = TileWriter::resume(log, &last)
        {
            return Ok(writer);
        }
        tracing::warn!("tiles of the public log are made anew from the ledger");
        self.status.rebuilds.fetch_add(1, Ordering::Relaxed);
        let mut writer = TileWriter::new(log.clone());
        // The tree that was signed last has partial tiles of its own, which others may be reading.
        self.follow(&mut writer, last.size)?;
        writer.flush()?;
        let now = writer.head();
        if now != last {
            return Err(PublishError::Contradiction { now, signed: last });
        }
        Ok(writer)
    }

    /// Follows the ledger up to that size: what is no longer in memory is read.
    fn follow(&self, writer: &mut TileWriter, size: u64) -> Result<(), PublishError> {
        let mut scan = self.parts.reader.scan_once(writer.size());
        while writer.size() < size {
            if self.cancelled.load(Ordering::Acquire) {
                return Err(PublishError::Cancelled);
            }
            if let Some(leaves) = self.parts.reader.take_leaves(writer.size()) {
                for (record, hash) in leaves.from(writer.size()) {
                    writer.push(record, hash)?;
                }
                continue;
            }
            if scan.position() != writer.size() {
                scan = self.parts.reader.scan_once(writer.size());
            }
            let Some(chunk) = scan.next_chunk(CHUNK_BYTES)? else { break };
            for entry in chunk.entries().take_while(|entry| entry.sequence < size) {
                writer.push_entry(&entry)?;
            }
            scan.recycle(chunk);
        }
        Ok(())
    }
}
