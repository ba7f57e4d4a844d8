//! What the public log asks of the disk, as a trait with two implementations: the file system, and in
//! tests one that crashes and fails where they want it.
//!
//! ```text
//! tiles        make_dirs, write ….new of each ─► sync of all ─► rename of each ─► sync_dir
//! checkpoint   write ….new, synced ─► rename ─► sync_dir
//! ```

use super::storage::{create_private, sync_dir};
use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Files that are written once, whole. Reading goes past it.
pub(super) trait Files: Debug + Send + Sync {
    /// Makes a folder for the owner alone, with those above it.
    fn make_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Writes a file that only its owner can read, in place of what has that name; with `durable` its
    /// bytes are on the disk when this returns.
    fn write(&self, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()>;
    /// Gives a file another name, in place of what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the bytes of a file durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes everything durable that is on the file system of that folder.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with what is in it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Default)]
pub(super) struct FileSystem;

impl Files for FileSystem {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn write(&self, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut file = create_private(path)?;
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }
}

/// The name of a file before it gets its own.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

/// Puts a file in its place at once: whoever reads sees the old one or the whole new one. With
/// `durable` it stays there whatever happens next.
pub(crate) fn place(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    place_with(&FileSystem, path, bytes, durable)
}

/// The same on those files.
pub(super) fn place_with(
    files: &dyn Files,
    path: &Path,
    bytes: &[u8],
    durable: bool,
) -> io::Result<()> {
    let temporary = temporary(path);
    // IMPORTANT: its bytes are durable before the file gets its name.
    files.write(&temporary, bytes, durable)?;
    files.rename(&temporary, path)?;
    match path.parent().filter(|_| durable) {
        // IMPORTANT: else the old file may be back after a crash.
        Some(dir) => files.sync_dir(dir),
        None => Ok(()),
    }
}
