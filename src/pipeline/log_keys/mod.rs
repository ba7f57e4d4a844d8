//! The private key of the public log, in the folder of keys.
//!
//! ```text
//! KEYS/log.key    0600  PRIVATE+KEY+…   signs checkpoints
//! KEYS/log.pub          its public half: give it to whoever verifies
//! KEYS/log.next   0600  the key that is to take over, who wants it and since when; until it has
//! KEYS/log.old    0600  the key that it took over from, until a checkpoint is signed by both
//! KEYS/log.signed 0600  origin, size and root of what was signed last, from before it was
//! ```
//!
//! A rotation is asked for with `log.next` and done by whoever publishes: first the entry that says
//! so is durable, with a statement that the old key signed, then the new key takes the old one's
//! place, then both sign one checkpoint. A crash anywhere is gone on from at the next start.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`LogKeys`]: the keys that sign, and what they signed last |
//! | `files.rs` | their files: read, parsed, removed |
//! | `rotation.rs` | how a new key takes over |
//! | `error.rs` | [`LogKeyError`] |

mod error;
mod files;
mod rotation;

pub use error::LogKeyError;
pub(super) use files::last_signed;
pub use files::log_key;
pub(super) use rotation::Rotation;
pub use rotation::ask_for_rotation;

use crate::ledger::checkpoint::{
    Checkpoint, CheckpointError, LogKey, SignedCheckpoint, Signer, VerifierKey,
};
use crate::ledger::place;
use crate::protect::place_private;
use files::{parse, read, remove_leftovers};
use std::fs;
use std::path::{Path, PathBuf};

const KEY: &str = "log.key";
const PUBLIC: &str = "log.pub";
const NEXT: &str = "log.next";
const OLD: &str = "log.old";
const SIGNED: &str = "log.signed";

/// The files of a log's key, in its folder; the key itself is the last.
pub(super) const FILES: [&str; 5] = [NEXT, OLD, PUBLIC, SIGNED, KEY];

/// The keys that sign: one, or two while one takes over from the other.
#[derive(Debug)]
pub(super) struct LogKeys {
    dir: PathBuf,
    current: LogKey,
    retiring: Option<LogKey>,
    /// What was signed last, or was about to be.
    signed: Option<Checkpoint>,
}

impl LogKeys {
    /// The keys in `dir`, for the log whose name ends in `origin` (32 hex digits). When there is no
    /// key one is made, unless something was signed before. `last` is the last checkpoint: its newest
    /// signature must be that of a key which is there.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        origin: &str,
        last: Option<&SignedCheckpoint>,
    ) -> Result<Self, LogKeyError> {
        let path = dir.join(KEY);
        remove_leftovers(dir);
        let signed = last_signed(dir)?;
        let signed = signed.filter(|signed| signed.origin.rsplit('/').next() == Some(origin));
        let current = match read(&path)? {
            Some(text) => parse(&path, &text)?,
            None if last.is_some() || signed.is_some() => return Err(LogKeyError::Lost { path }),
            None => {
                let key = LogKey::generate(&format!("{name}/{origin}"));
                let key = key.map_err(|source| LogKeyError::Key { path: path.clone(), source })?;
                place_private(dir, KEY, format!("{}\n", key.to_private_text()).as_bytes())?;
                // Another process may have been faster: the key that is there counts.
                let text = read(&path)?.ok_or(LogKeyError::Lost { path: path.clone() })?;
                parse(&path, &text)?
            }
        };
        let found = current.verifier().name();
        if found.rsplit('/').next() != Some(origin) {
            let (found, expected) = (found.to_owned(), format!("{name}/{origin}"));
            return Err(LogKeyError::OtherLog { path, found, expected });
        }
        let old = dir.join(OLD);
        let retiring = read(&old)?.map(|text| parse(&old, &text)).transpose()?;
        // Linked before the new key took its place, and the crash came in between.
        let retiring = retiring.filter(|old| old.verifier() != current.verifier());
        let keys = Self { dir: dir.to_owned(), current, retiring, signed };
        last.map_or(Ok(()), |last| keys.demand_newest(last))?;
        keys.write_public()?;
        Ok(keys)
    }

    /// The log's name, which is the origin in its checkpoints.
    pub(super) fn origin(&self) -> &str {
        self.current.verifier().name()
    }

    /// Public halves, the newest last.
    pub(super) fn verifiers(&self) -> Vec<VerifierKey> {
        let all = self.retiring.iter().chain([&self.current]);
        all.map(|key| key.verifier().clone()).collect()
    }

    /// Refuses keys from before a rotation. While one key takes over, the last signature may be that
    /// of the old one.
    fn demand_newest(&self, last: &SignedCheckpoint) -> Result<(), LogKeyError> {
        let signers = last.signers();
        let of_log = |signer: &&Signer| signer.name == last.checkpoint.origin;
        let newest = signers.iter().rfind(of_log).map(|signer| signer.id);
        let ours = self.verifiers();
        let refused = match last.verify(&ours) {
            // Whose log that is, is said elsewhere.
            Err(CheckpointError::WrongOrigin { .. }) => return Ok(()),
            Ok(_) if ours.iter().any(|key| Some(key.id()) == newest) => return Ok(()),
            verified => verified.err(),
        };
        let signers: Vec<_> = signers.iter().map(Signer::to_string).collect();
        let (path, signers) = (self.dir.join(KEY), signers.join(", "));
        Err(LogKeyError::Retired { path, signers, source: refused })
    }

    /// Notes durably what is about to be signed. It is signed only after this.
    fn note(&mut self, checkpoint: &Checkpoint) -> Result<(), LogKeyError> {
        let (path, now) = (self.dir.join(SIGNED), checkpoint.head);
        if let Some(Checkpoint { head: signed, .. }) = self.signed {
            if signed == now {
                return Ok(());
            }
            if signed.size >= now.size {
                return Err(LogKeyError::Contradiction { path, signed, now });
            }
        }
        let placed = place(&path, checkpoint.text().as_bytes(), true);
        placed.map_err(|source| LogKeyError::Io { what: "write", path, source })?;
        self.signed = Some(checkpoint.clone());
        Ok(())
    }

    /// Signs with all of them.
    pub(super) fn sign(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> Result<SignedCheckpoint, LogKeyError> {
        self.note(checkpoint)?;
        let keys: Vec<&LogKey> = self.retiring.iter().chain([&self.current]).collect();
        Ok(SignedCheckpoint::sign(checkpoint, &keys)?)
    }

    fn write_public(&self) -> Result<(), LogKeyError> {
        let path = self.dir.join(PUBLIC);
        let line = format!("{}\n", self.current.verifier());
        if fs::read_to_string(&path).is_ok_and(|there| there == line) {
            return Ok(());
        }
        // Whoever reads it sees a whole key.
        let written = place(&path, line.as_bytes(), true);
        written.map_err(|source| LogKeyError::Io { what: "write", path, source })
    }

    fn sync(&self) -> Result<(), LogKeyError> {
        let synced = fs::File::open(&self.dir).and_then(|dir| dir.sync_all());
        let failed = |source| LogKeyError::Io { what: "sync", path: self.dir.clone(), source };
        synced.map_err(failed)
    }
}

#[cfg(test)]
mod tests;
