//! Files that only the user whom a server runs as can read, written so that a crash leaves the old
//! one or the new.

use super::BookError;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

const LOCK_FILE: &str = "lock";
const RESERVE_FILE: &str = "reserve";
/// Bytes of the reserve: as much as a file of two thousand credentials needs.
const RESERVE_BYTES: usize = 1024 * 1024;

/// The lock of a folder, held until it is dropped.
pub(super) fn open_lock(dir: &Path) -> Result<File, BookError> {
    let path = dir.join(LOCK_FILE);
    let failed = |source| io_error("lock", &path, source);
    let lock = private().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    give_to_owner(dir, &path).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Writes a file that only its owner can read, so that after a crash it is the old one or the new.
pub(super) fn write_private(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), BookError> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let write = || -> io::Result<()> {
        let mut file = private().create(true).truncate(true).write(true).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        give_to_owner(dir, &temporary)?;
        file.write_all(bytes)?;
        // IMPORTANT: the bytes are on disk before the name says that they are.
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    let written = match write() {
        // The disk is full: a key that is to be revoked cannot wait for somebody to make room.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            let _ = fs::remove_file(dir.join(RESERVE_FILE));
            write()
        }
        written => written,
    };
    written.map_err(|source| io_error("write", &path, source))
}

/// Gives a file or folder that root made for a server to the user whom the server runs as: the
/// owner of the folder that it is in. Otherwise the server could not read it.
pub(crate) fn give_to_owner(parent: &Path, path: &Path) -> io::Result<()> {
    let (wanted, own) = (fs::metadata(parent)?, fs::metadata(path)?);
    if wanted.uid() == own.uid() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(wanted.uid()), Some(wanted.gid()))
}

/// Keeps room for a change on a full disk. Without it the change is made all the same.
pub(super) fn keep_reserve(dir: &Path) {
    let path = dir.join(RESERVE_FILE);
    if path.metadata().is_ok_and(|file| file.len() == RESERVE_BYTES as u64) {
        return;
    }
    let reserve = || -> io::Result<()> {
        // Random bytes would be safer against file systems that compress; ones are enough for most.
        private()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?
            .write_all(&vec![1; RESERVE_BYTES])?;
        give_to_owner(dir, &path)
    };
    if reserve().is_err() {
        let _ = fs::remove_file(&path);
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}

pub(super) fn create_private_dir(dir: &Path) -> Result<(), BookError> {
    let failed = |source| io_error("create", dir, source);
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            give_to_owner(parent, dir).map_err(failed)
        }
        _ => Ok(()),
    }
}

pub(super) fn io_error(what: &'static str, path: &Path, source: io::Error) -> BookError {
    BookError::Io { what, path: path.to_owned(), source }
}
