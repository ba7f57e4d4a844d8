//! Subjects' keys on disk, and what is kept of those that were destroyed.
//!
//! ```text
//! KEYS/subjects/                0700
//! ├── lock                      held by the one process that makes and destroys keys
//! ├── orders/<time>-<subject>   an erasure that is not completed yet, JSON
//! └── <2 hex digits>/
//!     ├── <subject>.key         0600, 72 bytes: the key in use
//!     └── <subject>.erased      keys that were destroyed, when and by whom: a JSON object a line
//!
//!  0       4       8          24      40    72
//!  ├ magic ┼ check ┼ tenant   ┼ id    ┼ key ┤      check: SHA-256 of what follows, 4 bytes
//! ```
//!
//! `<subject>` and `tenant` are pseudonyms: the folder tells nobody's name.

use super::erasure_order::{Destroyed, ErasureOrder};
use super::keys::{KeysError, create_private_dir, demand_private, wipe, write_private};
use super::subject_key::{KeyId, Pseudonym, SubjectKey};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Folder of subjects' keys within the folder of keys.
const FOLDER: &str = "subjects";

/// Folder of erasures that are not completed.
const ORDERS: &str = "orders";

/// Extension of files that are not finished.
const UNFINISHED: &str = "tmp";

const MAGIC: [u8; 4] = *b"SLS1";
const CHECKED: usize = 8;
const KEY_AT: usize = 40;
const KEY_FILE_LEN: usize = 72;

/// Why a subject's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SubjectKeyError {
    /// Reading or writing failed.
    #[error("cannot {what} {}; check its disk, its owner and its permissions", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be made, or others can use it.
    #[error(transparent)]
    Folder(#[from] KeysError),
    /// A file is not what was written.
    #[error(
        "{} is damaged: restore it from where you keep keys, or erase its subject, because what was sealed with it \
         cannot be opened", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Another process makes and destroys the keys in this folder.
    #[error(
        "another spanledger seals payloads with the keys in {}; give each a folder of keys of its own, or let the \
         running one do it", path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// There is no folder to keep a key in.
    #[error(
        "payloads cannot be sealed without a folder of keys; use another payload mode than full"
    )]
    NoFolder,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a key; try again")]
    Random(#[source] getrandom::Error),
}

/// The folder of subjects' keys.
#[derive(Debug)]
pub(super) struct SubjectFiles(PathBuf);

impl SubjectFiles {
    pub(super) fn within(keys: &Path) -> Self {
        Self(keys.join(FOLDER))
    }

    /// Makes the folder and takes its lock, which is held until the file is dropped.
    pub(super) fn claim(&self) -> Result<File, SubjectKeyError> {
        create_private_dir(&self.0)?;
        let of_dir = fs::metadata(&self.0).map_err(io_error("examine", &self.0))?;
        demand_private(&self.0, &of_dir, 0o700)?;
        sync_parent(&self.0)?;
        let path = self.0.join("lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&path).map_err(io_error("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(SubjectKeyError::Taken { path: self.0.clone() }),
            Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
        }
    }

    fn path(&self, subject: &Pseudonym, extension: &str) -> PathBuf {
        let name = subject.to_string();
        let folder = name.get(..2).unwrap_or_default();
        self.0.join(folder).join(format!("{name}.{extension}"))
    }

    /// The subject's key in use.
    pub(super) fn read(&self, subject: &Pseudonym) -> Result<Option<SubjectKey>, SubjectKeyError> {
        let path = self.path(subject, "key");
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let damaged = || SubjectKeyError::Damaged { path: path.clone() };
        let bytes: [u8; KEY_FILE_LEN] = bytes.try_into().map_err(|_| damaged())?;
        let (head, rest) = bytes.split_at(CHECKED);
        if head != [MAGIC, check(rest)].concat() {
            return Err(damaged());
        }
        let id = rest.get(16..).and_then(<[u8]>::first_chunk).ok_or_else(damaged)?;
        let secret = bytes.get(KEY_AT..).and_then(<[u8]>::first_chunk).ok_or_else(damaged)?;
        Ok(Some(SubjectKey::new(KeyId(*id), *secret)))
    }

    /// Makes a new key durable. One that is in its place was ordered to be destroyed, and goes.
    pub(super) fn write(
        &self,
        subject: &Pseudonym,
        tenant: &[u8; 16],
        key: &SubjectKey,
    ) -> Result<(), SubjectKeyError> {
        let path = self.path(subject, "key");
        if path.exists() {
            shred(&path)?;
        }
        let mut rest = [&tenant[..], &key.id().0, key.secret()].concat();
        let mut bytes = [&MAGIC[..], &check(&rest), &rest].concat();
        let written = place(&path, &bytes);
        rest.fill(0);
        bytes.fill(0);
        std::hint::black_box((&rest, &bytes));
        written
    }

    /// Takes the key off the disk, if it is one of these.
    pub(super) fn destroy(
        &self,
        subject: &Pseudonym,
        keys: &[KeyId],
    ) -> Result<(), SubjectKeyError> {
        let path = self.path(subject, "key");
        match self.read(subject) {
            Ok(Some(key)) if keys.contains(&key.id()) => shred(&path)?,
            // What cannot be read opens nothing, and is not left lying either.
            Err(SubjectKeyError::Damaged { .. }) => shred(&path)?,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let unfinished = path.with_extension(UNFINISHED);
        if unfinished.exists() { shred(&unfinished) } else { Ok(()) }
    }

    /// Keys of the subject that were destroyed.
    pub(super) fn destroyed(&self, subject: &Pseudonym) -> Result<Vec<Destroyed>, SubjectKeyError> {
        let path = self.path(subject, "erased");
        let Some(bytes) = read_if_there(&path)? else { return Ok(Vec::new()) };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let all = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        all.map_err(|_| SubjectKeyError::Damaged { path })
    }

    /// Notes for good that keys were destroyed.
    pub(super) fn note_destroyed(
        &self,
        subject: &Pseudonym,
        gone: Vec<Destroyed>,
    ) -> Result<(), SubjectKeyError> {
        let mut all = self.destroyed(subject)?;
        let known: Vec<_> = all.iter().map(|it| it.key).collect();
        all.extend(gone.into_iter().filter(|new| !known.contains(&new.key)));
        let mut text = Vec::new();
        for one in &all {
            text.extend(serde_json::to_vec(one).unwrap_or_default());
            text.push(b'\n');
        }
        place(&self.path(subject, "erased"), &text)
    }

    /// Erasures that are not completed, the oldest first.
    pub(super) fn orders(&self) -> Result<Vec<ErasureOrder>, SubjectKeyError> {
        let folder = self.0.join(ORDERS);
        let mut paths = Vec::new();
        match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io_error("read", &folder)(source)),
            Ok(files) => {
                for file in files {
                    let path = file.map_err(io_error("read", &folder))?.path();
                    if path.extension().is_some_and(|it| it == "json") {
                        paths.push(path);
                    }
                }
            }
        }
        paths.sort_unstable();
        let mut orders = Vec::new();
        for path in paths {
            // One that is gone was completed meanwhile.
            let Some(bytes) = read_if_there(&path)? else { continue };
            let order = serde_json::from_slice(&bytes);
            orders.push(order.map_err(|_| SubjectKeyError::Damaged { path })?);
        }
        Ok(orders)
    }

    fn order_path(&self, order: &ErasureOrder) -> PathBuf {
        self.0.join(ORDERS).join(format!("{:020}-{}.json", order.at_ns, order.subject))
    }

    /// Makes an order durable: from here on it is carried out, whatever happens.
    pub(super) fn write_order(&self, order: &ErasureOrder) -> Result<(), SubjectKeyError> {
        let path = self.order_path(order);
        let bytes = serde_json::to_vec(order).map_err(io::Error::other);
        place(&path, &bytes.map_err(io_error("write", &path))?)
    }

    pub(super) fn remove_order(&self, order: &ErasureOrder) -> Result<(), SubjectKeyError> {
        let path = self.order_path(order);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(source))
            }
            _ => sync_parent(&path),
        }
    }
}

fn check(bytes: &[u8]) -> [u8; 4] {
    Sha256::digest(bytes).first_chunk().copied().unwrap_or_default()
}

fn io_error<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> SubjectKeyError + 'p {
    move |source| SubjectKeyError::Io { what, path: path.to_owned(), source }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SubjectKeyError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read", path)(source)),
    }
}

/// Puts a file that only its owner can read in its place, so that after a crash it is the old one,
/// the new one, or none.
fn place(path: &Path, bytes: &[u8]) -> Result<(), SubjectKeyError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        create_private_dir(folder)?;
        sync_parent(folder)?;
    }
    let temporary = path.with_extension(UNFINISHED);
    let _ = fs::remove_file(&temporary);
    write_private(&temporary, bytes).map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("create", path))?;
    // IMPORTANT: what follows relies on it: an entry on its key, an erasure on its order.
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), SubjectKeyError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

/// Overwrites a file, and takes it away. A disk that writes elsewhere than where it is told keeps
/// the old bytes for a while: docs/erasure.md says so.
fn shred(path: &Path) -> Result<(), SubjectKeyError> {
    let overwrite = || -> io::Result<()> {
        let mut file = File::options().write(true).open(path)?;
        let mut noise = [0; 32];
        // Any other bytes do as well.
        let _ = getrandom::fill(&mut noise);
        for _ in 0..KEY_FILE_LEN.div_ceil(noise.len()) {
            file.write_all(&noise)?;
        }
        wipe(&mut noise);
        // IMPORTANT: before the name goes, or the system need not write it at all.
        file.sync_all()?;
        fs::remove_file(path)
    };
    overwrite().map_err(io_error("destroy", path))?;
    sync_parent(path)
}
