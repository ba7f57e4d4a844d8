//! The private key of the public log, in the folder of keys.
//!
//! ```text
//! KEYS/log.key    0600  PRIVATE+KEY+…   signs checkpoints
//! KEYS/log.pub          its public half: give it to whoever verifies
//! KEYS/log.next   0600  the key that is to take over, who wants it and since when; until it has
//! KEYS/log.old    0600  the key that it took over from, until a checkpoint is signed by both
//! ```
//!
//! A rotation is asked for with `log.next` and done by whoever publishes: first the entry that says
//! so is durable, with a statement that the old key signed, then the new key takes the old one's
//! place, then both sign one checkpoint. A crash anywhere is gone on from at the next start.

use crate::ledger::checkpoint::{
    Checkpoint, CheckpointError, KeyError, LogKey, SignedCheckpoint, VerifierKey,
};
use crate::protect::{KeysError, demand_private, place_private};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const KEY: &str = "log.key";
const PUBLIC: &str = "log.pub";
const NEXT: &str = "log.next";
const OLD: &str = "log.old";

/// The files of a log's key, in its folder; the key itself is the last.
pub(super) const FILES: [&str; 4] = [NEXT, OLD, PUBLIC, KEY];

/// Largest key file, bytes: a key takes less than 200.
const MAX_KEY_BYTES: u64 = 4096;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum LogKeyError {
    /// The folder of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{} cannot be used; restore it from where you keep keys", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The key is that of another log.
    #[error(
        "{} is the key of the log {found}, and this ledger is {expected}: each ledger has a key of \
         its own, so give this one a folder of keys of its own with `keys:`",
        path.display()
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The log that the key is of.
        found: String,
        /// The log that is to be signed.
        expected: String,
    },
    /// There was a key, for there is a checkpoint, and it is gone.
    #[error(
        "{} is gone, and checkpoints of this log were signed with it: restore it from where you keep \
         keys. With another key nobody could tell this log from a false one",
        path.display()
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another rotation was asked for and is not done yet.
    #[error(
        "{} is there already: a rotation was asked for and is done when spanledger runs; start it, \
         or remove the file to take it back",
        path.display()
    )]
    Asked {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to rotate.
    #[error("there is no {}: start spanledger once, which makes the log's key", path.display())]
    None {
        /// Where it should be.
        path: PathBuf,
    },
}

/// The keys that sign: one, or two while one takes over from the other.
#[derive(Debug)]
pub(super) struct LogKeys {
    dir: PathBuf,
    current: LogKey,
    retiring: Option<LogKey>,
}

/// A rotation that was asked for.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) key: LogKey,
    /// Who asked for it.
    pub(super) actor: String,
    /// When, in nanoseconds since 1970.
    pub(super) at_ns: u64,
}

impl LogKeys {
    /// The keys in `dir`, for the log whose name ends in `origin` (32 hex digits). When there is no
    /// key one is made, unless checkpoints were `signed` before.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        origin: &str,
        signed: bool,
    ) -> Result<Self, LogKeyError> {
        let path = dir.join(KEY);
        let current = match read(&path)? {
            Some(text) => parse(&path, &text)?,
            None if signed => return Err(LogKeyError::Lost { path }),
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
        let keys = Self { dir: dir.to_owned(), current, retiring };
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

    /// Signs with all of them.
    pub(super) fn sign(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<SignedCheckpoint, CheckpointError> {
        let keys: Vec<&LogKey> = self.retiring.iter().chain([&self.current]).collect();
        SignedCheckpoint::sign(checkpoint, &keys)
    }

    /// Whether a key is there that signs only once more.
    pub(super) fn is_retiring(&self) -> bool {
        self.retiring.is_some()
    }

    /// A rotation that was asked for.
    pub(super) fn asked(&self) -> Result<Option<Rotation>, LogKeyError> {
        let path = self.dir.join(NEXT);
        let Some(text) = read(&path)? else { return Ok(None) };
        let mut lines = text.lines().skip(1);
        let key = parse(&path, &text)?;
        let actor = lines.next().unwrap_or(crate::intake::UNKNOWN_ACTOR).to_owned();
        let at_ns = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
        if key.verifier().name() != self.origin() {
            let (found, expected) = (key.verifier().name().to_owned(), self.origin().to_owned());
            return Err(LogKeyError::OtherLog { path, found, expected });
        }
        Ok(Some(Rotation { key, actor, at_ns }))
    }

    /// The statement with which the key in use hands over to another, as a signed note.
    pub(super) fn statement(&self, next: &VerifierKey) -> String {
        self.current.sign_text(&format!("spanledger key rotation/v1\n{}\n{next}\n", self.origin()))
    }

    /// Puts a key in the place of the one in use, which signs once more. Its statement is on record.
    pub(super) fn take_over(&mut self, next: LogKey) -> Result<(), LogKeyError> {
        let (key, old) = (self.dir.join(KEY), self.dir.join(OLD));
        remove(&old)?;
        let linked = fs::hard_link(&key, &old);
        linked.map_err(|source| LogKeyError::Io { what: "make", path: old, source })?;
        let renamed = fs::rename(self.dir.join(NEXT), &key);
        renamed.map_err(|source| LogKeyError::Io { what: "replace", path: key, source })?;
        self.sync()?;
        self.retiring = Some(std::mem::replace(&mut self.current, next));
        self.write_public()
    }

    /// The old key signed for the last time.
    pub(super) fn retire(&mut self) -> Result<(), LogKeyError> {
        if self.retiring.take().is_some() {
            remove(&self.dir.join(OLD))?;
            self.sync()?;
        }
        Ok(())
    }

    fn write_public(&self) -> Result<(), LogKeyError> {
        let path = self.dir.join(PUBLIC);
        let line = format!("{}\n", self.current.verifier());
        if fs::read_to_string(&path).is_ok_and(|there| there == line) {
            return Ok(());
        }
        let written = fs::write(&path, line);
        written.map_err(|source| LogKeyError::Io { what: "write", path, source })
    }

    fn sync(&self) -> Result<(), LogKeyError> {
        let synced = fs::File::open(&self.dir).and_then(|dir| dir.sync_all());
        let failed = |source| LogKeyError::Io { what: "sync", path: self.dir.clone(), source };
        synced.map_err(failed)
    }
}

/// Asks for another key of the log whose key is in `keys`: whoever publishes puts it in place, at
/// once if a server runs. Gives its public half.
///
/// # Errors
/// [`LogKeyError`]; nothing is changed then.
pub fn ask_for_rotation(keys: &Path, actor: &str) -> Result<VerifierKey, LogKeyError> {
    let path = keys.join(KEY);
    let text = read(&path)?.ok_or(LogKeyError::None { path: path.clone() })?;
    let current = parse(&path, &text)?;
    let next = keys.join(NEXT);
    if next.exists() {
        return Err(LogKeyError::Asked { path: next });
    }
    let key = LogKey::generate(current.verifier().name());
    let key = key.map_err(|source| LogKeyError::Key { path: next, source })?;
    let text = format!("{}\n{actor}\n{}\n", key.to_private_text(), crate::intake::now_ns());
    place_private(keys, NEXT, text.as_bytes())?;
    Ok(key.verifier().clone())
}

/// The public half of the log's key in `keys`.
///
/// # Errors
/// [`LogKeyError`].
pub fn log_key(keys: &Path) -> Result<VerifierKey, LogKeyError> {
    let path = keys.join(KEY);
    let text = read(&path)?.ok_or(LogKeyError::None { path: path.clone() })?;
    Ok(parse(&path, &text)?.verifier().clone())
}

/// The key on the first line. Who asked for it may stand below.
fn parse(path: &Path, text: &str) -> Result<LogKey, LogKeyError> {
    LogKey::parse(text.lines().next().unwrap_or_default())
        .map_err(|source| LogKeyError::Key { path: path.to_owned(), source })
}

/// The text of a file that only its owner may read; `None` when it is not there.
fn read(path: &Path) -> Result<Option<String>, LogKeyError> {
    let failed = |source| LogKeyError::Io { what: "read", path: path.to_owned(), source };
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    demand_private(path, &found, 0o600)?;
    if found.len() > MAX_KEY_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read_to_string(path).map(Some).map_err(failed)
}

fn remove(path: &Path) -> Result<(), LogKeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogKeyError::Io { what: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::TreeHead;
    use std::os::unix::fs::PermissionsExt as _;

    const ORIGIN: &str = "00112233445566778899aabbccddeeff";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn open(dir: &Path) -> Result<LogKeys, LogKeyError> {
        LogKeys::open(dir, "spanledger", ORIGIN, false)
    }

    fn signers(keys: &LogKeys) -> usize {
        let origin = keys.origin().to_owned();
        let head = TreeHead { size: 1, root: [1; 32] };
        let signed = keys.sign(&Checkpoint { origin, head }).unwrap();
        signed.verify(&keys.verifiers()).unwrap().len()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = folder();
        let keys = open(dir.path()).unwrap();
        assert_eq!(keys.origin(), format!("spanledger/{ORIGIN}"));
        assert_eq!(open(dir.path()).unwrap().verifiers(), keys.verifiers());
        let mode = fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = fs::read_to_string(dir.path().join(PUBLIC)).unwrap();
        assert_eq!(VerifierKey::parse(&public).unwrap(), keys.verifiers()[0]);
        let mut names: Vec<_> =
            dir.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [KEY, PUBLIC], "no other copy of the key");
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = folder();
        open(dir.path()).unwrap();
        let path = dir.path().join(KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn no_new_key_takes_the_place_of_one_that_signed_and_is_lost() {
        let dir = folder();
        let lost = LogKeys::open(dir.path(), "spanledger", ORIGIN, true).unwrap_err();
        assert!(matches!(lost, LogKeyError::Lost { .. }), "{lost}");
        assert!(!dir.path().join(KEY).exists());
    }

    #[test]
    fn the_key_of_another_ledger_is_not_used() {
        let dir = folder();
        open(dir.path()).unwrap();
        let other = LogKeys::open(dir.path(), "spanledger", &"0".repeat(32), false).unwrap_err();
        assert!(matches!(other, LogKeyError::OtherLog { .. }), "{other}");
        let renamed = LogKeys::open(dir.path(), "another.name", ORIGIN, false).unwrap();
        assert_eq!(renamed.origin(), format!("spanledger/{ORIGIN}"), "a log keeps its name");
    }

    #[test]
    fn a_new_key_takes_over_with_one_checkpoint_that_both_sign() {
        let dir = folder();
        let mut keys = open(dir.path()).unwrap();
        assert!(keys.asked().unwrap().is_none());
        let wanted = ask_for_rotation(dir.path(), "os:ada").unwrap();
        assert!(matches!(ask_for_rotation(dir.path(), "x"), Err(LogKeyError::Asked { .. })));
        let asked = keys.asked().unwrap().unwrap();
        assert_eq!((asked.key.verifier(), asked.actor.as_str()), (&wanted, "os:ada"));
        let old = keys.verifiers();
        let note = keys.statement(asked.key.verifier());
        assert!(note.contains(&wanted.to_string()) && note.contains("\n\n— spanledger/"));
        keys.take_over(asked.key).unwrap();
        // A restart changes nothing of it.
        for mut keys in [open(dir.path()).unwrap(), keys] {
            assert!(keys.is_retiring() && keys.asked().unwrap().is_none());
            assert_eq!(keys.verifiers(), [old[0].clone(), wanted.clone()]);
            assert_eq!(signers(&keys), 2);
            keys.retire().unwrap();
            assert_eq!((keys.verifiers(), signers(&keys)), (vec![wanted.clone()], 1));
        }
        let keys = open(dir.path()).unwrap();
        assert_eq!(keys.verifiers(), [log_key(dir.path()).unwrap()]);
        assert_eq!(keys.verifiers()[0], wanted);
        assert!(!dir.path().join(OLD).exists());
    }

    #[test]
    fn a_crash_before_the_new_key_is_in_place_leaves_the_old_one() {
        let dir = folder();
        let keys = open(dir.path()).unwrap();
        ask_for_rotation(dir.path(), "os:ada").unwrap();
        fs::hard_link(dir.path().join(KEY), dir.path().join(OLD)).unwrap();
        let again = open(dir.path()).unwrap();
        assert_eq!(again.verifiers(), keys.verifiers());
        assert!(!again.is_retiring() && again.asked().unwrap().is_some());
    }
}
