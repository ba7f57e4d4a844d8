//! A file that is whole or not there: temporary name, fsync, rename, fsync of the directory.

use super::StoreError;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Extension of files that are not finished; one that is found at start is left of a crash.
pub(crate) const UNFINISHED: &str = "tmp";

/// Writes a file so that after a crash it has these bytes, or those from before, or none.
///
/// # Errors
/// [`StoreError::Io`], with nothing at `path` changed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension(UNFINISHED);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        // IMPORTANT: the bytes are on disk before the name says that they are.
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path)
    };
    write().map_err(|source| io("write", path, source))
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// An error with what was being done.
pub(crate) fn io(doing: &str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { context: format!("cannot {doing} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_unfinished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        write_file(&path, b"first, and longer").unwrap();
        write_file(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write_file(Path::new("/nowhere/at/all"), b"").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
