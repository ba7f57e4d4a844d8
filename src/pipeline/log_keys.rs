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

use crate::ledger::checkpoint::{
    Checkpoint, CheckpointError, KeyError, LogKey, SignedCheckpoint, Signer, VerifierKey,
};
use crate::ledger::{PublicLogError, TreeHead, place};
use crate::protect::{KeysError, demand_private, place_private};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const KEY: &str = "log.key";
const PUBLIC: &str = "log.pub";
const NEXT: &str = "log.next";
const OLD: &str = "log.old";
const SIGNED: &str = "log.signed";

/// The files of a log's key, in its folder; the key itself is the last.
pub(super) const FILES: [&str; 5] = [NEXT, OLD, PUBLIC, SIGNED, KEY];

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
    /// Another key signed last.
    #[error(
        "the last checkpoint was not signed with {} but by {signers}: is an older copy of the folder \
         of keys in place? Restore the newest one; nothing is signed with a key that was retired",
        path.display()
    )]
    Retired {
        /// The key.
        path: PathBuf,
        /// Who signed.
        signers: String,
        /// What is wrong with the signatures.
        source: Option<CheckpointError>,
    },
    /// What was signed last cannot be read.
    #[error(transparent)]
    Signed(#[from] PublicLogError),
    /// Something else of that size was signed, or something larger.
    #[error(
        "this key signed {signed}, as {} says, and now the log has {now}: it is not signed again",
        path.display()
    )]
    Contradiction {
        /// Where that stands.
        path: PathBuf,
        /// What was signed.
        signed: TreeHead,
        /// What was to be signed.
        now: TreeHead,
    },
    /// It cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
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
    /// What was signed last, or was about to be.
    signed: Option<Checkpoint>,
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

/// What the keys in that folder signed last, or were about to sign.
pub(super) fn last_signed(keys: &Path) -> Result<Option<Checkpoint>, PublicLogError> {
    let path = keys.join(SIGNED);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PublicLogError::Io { path, source }),
        Ok(text) => text,
    };
    let noted = Checkpoint::parse(&text);
    noted.map(Some).map_err(|source| PublicLogError::Checkpoint { path, source })
}

/// Removes copies of a key that a crash left while it was put in place.
fn remove_leftovers(dir: &Path) {
    let Ok(files) = dir.read_dir() else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(".log.key."));
        if random.is_some_and(|it| it.len() == 16 && it.bytes().all(|it| it.is_ascii_hexdigit())) {
            // What cannot be removed now is tried at the next start.
            let _ = fs::remove_file(file.path());
        }
    }
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
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    const ORIGIN: &str = "00112233445566778899aabbccddeeff";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn open(dir: &Path) -> Result<LogKeys, LogKeyError> {
        LogKeys::open(dir, "spanledger", ORIGIN, None)
    }

    fn checkpoint(size: u64) -> Checkpoint {
        let head = TreeHead { size, root: [1; 32] };
        Checkpoint { origin: format!("spanledger/{ORIGIN}"), head }
    }

    fn signers(keys: &mut LogKeys) -> usize {
        let signed = keys.sign(&checkpoint(1)).unwrap();
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
        let (dir, other) = (folder(), folder());
        let before = open(other.path()).unwrap().sign(&checkpoint(1)).unwrap();
        let lost = LogKeys::open(dir.path(), "spanledger", ORIGIN, Some(&before)).unwrap_err();
        assert!(matches!(lost, LogKeyError::Lost { .. }), "{lost}");
        assert!(!dir.path().join(KEY).exists());
        // Nor when only the folder of keys tells.
        fs::remove_file(other.path().join(KEY)).unwrap();
        assert!(matches!(open(other.path()).unwrap_err(), LogKeyError::Lost { .. }));
    }

    #[test]
    fn what_was_signed_binds_the_key_whatever_became_of_the_public_log() {
        let dir = folder();
        open(dir.path()).unwrap().sign(&checkpoint(5)).unwrap();
        assert_eq!(last_signed(dir.path()).unwrap(), Some(checkpoint(5)));
        let mut keys = open(dir.path()).unwrap();
        keys.sign(&checkpoint(5)).unwrap();
        let mut other = checkpoint(5);
        other.head.root = [2; 32];
        for wrong in [checkpoint(4), other] {
            let refused = keys.sign(&wrong).unwrap_err();
            assert!(matches!(refused, LogKeyError::Contradiction { .. }), "{refused}");
        }
        keys.sign(&checkpoint(6)).unwrap();
        assert_eq!(last_signed(dir.path()).unwrap(), Some(checkpoint(6)));
    }

    #[test]
    fn a_key_that_was_retired_signs_nothing_more_when_an_old_copy_is_put_back() {
        let (dir, copy) = (folder(), folder());
        let mut keys = open(dir.path()).unwrap();
        let first = keys.sign(&checkpoint(1)).unwrap();
        fs::copy(dir.path().join(KEY), copy.path().join(KEY)).unwrap();
        let reopen = |dir: &Path, last: &SignedCheckpoint| {
            LogKeys::open(dir, "spanledger", ORIGIN, Some(last))
        };
        ask_for_rotation(dir.path(), "os:ada").unwrap();
        let asked = keys.asked().unwrap().unwrap();
        keys.take_over(asked.key).unwrap();
        reopen(dir.path(), &first).expect("a crash before both signed");
        let both = keys.sign(&checkpoint(2)).unwrap();
        reopen(dir.path(), &both).expect("a crash before the old one was removed");
        keys.retire().unwrap();
        reopen(dir.path(), &both).expect("the new one signed");
        let alone = keys.sign(&checkpoint(3)).unwrap();
        reopen(copy.path(), &first).expect("it was the newest then");
        for last in [both, alone] {
            let refused = reopen(copy.path(), &last).unwrap_err();
            assert!(matches!(refused, LogKeyError::Retired { .. }), "{refused}");
        }
    }

    #[test]
    fn a_copy_of_the_key_that_a_crash_left_is_removed() {
        let dir = folder();
        let left = dir.path().join(".log.key.00ff00ff00ff00ff");
        let others = dir.path().join(".log.key.mine");
        for path in [&left, &others] {
            fs::write(path, "x").unwrap();
        }
        open(dir.path()).unwrap();
        assert!(!left.exists() && others.exists());
    }

    #[test]
    fn a_key_that_root_asks_for_belongs_to_the_user_of_the_server() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = folder();
        open(dir.path()).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
        ask_for_rotation(dir.path(), "os:root").unwrap();
        assert_eq!(fs::metadata(dir.path().join(NEXT)).unwrap().uid(), 65_534);
    }

    #[test]
    fn the_key_of_another_ledger_is_not_used() {
        let dir = folder();
        open(dir.path()).unwrap();
        let other = LogKeys::open(dir.path(), "spanledger", &"0".repeat(32), None).unwrap_err();
        assert!(matches!(other, LogKeyError::OtherLog { .. }), "{other}");
        let renamed = LogKeys::open(dir.path(), "another.name", ORIGIN, None).unwrap();
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
            assert_eq!(signers(&mut keys), 2);
            keys.retire().unwrap();
            assert_eq!((keys.verifiers(), signers(&mut keys)), (vec![wanted.clone()], 1));
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
