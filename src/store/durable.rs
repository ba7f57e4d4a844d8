//! A file that is whole or not there: temporary name, fsync, rename, fsync of the directory; and a
//! few numbers in such a file.

use super::StoreError;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Extension of files that are not finished; one that is found at start is left of a crash.
pub(crate) const UNFINISHED: &str = "tmp";

/// Writes a file so that after a crash it has these bytes, or those from before, or none.
///
/// # Errors
/// [`StoreError::Io`], with nothing at `path` changed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_file_with(path, |file| file.write_all(bytes).map_err(|source| io("write", path, source)))
}

/// The same for what is better written piece by piece.
///
/// # Errors
/// [`StoreError::Io`], and what `content` says; with nothing at `path` changed.
pub(crate) fn write_file_with(
    path: &Path,
    content: impl FnOnce(&mut File) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // Behind the whole name: files of one stem may be written at the same time.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".");
    temporary.push(UNFINISHED);
    let temporary = PathBuf::from(temporary);
    let failed = |source| io("write", path, source);
    let mut file = File::create(&temporary).map_err(failed)?;
    content(&mut file)?;
    let finish = || {
        // IMPORTANT: the bytes are on disk before the name says that they are.
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path)
    };
    finish().map_err(failed)
}

/// A small file of numbers that belong to one ledger: positions, sequences.
///
/// ```text
/// <title>
/// <random number of the ledger, 32 hex digits>
/// <number>
/// …
/// <crc32c of the lines above, 8 hex digits>
/// ```
#[derive(Debug, Clone)]
pub(crate) struct NumbersFile {
    pub(crate) path: PathBuf,
    pub(crate) title: &'static str,
    pub(crate) ledger: [u8; 16],
}

impl NumbersFile {
    /// The numbers; `None` when there is no file, or it is damaged or of another ledger.
    pub(crate) fn read(&self) -> Option<Vec<u64>> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (content, crc) = text.trim_end().rsplit_once('\n')?;
        let mut lines = content.lines();
        let is_known = crc == checksum(content)
            && lines.next()? == self.title
            && lines.next()? == self.ledger_text();
        is_known.then(|| lines.map(|line| line.parse().ok()).collect()).flatten()
    }

    /// Makes the numbers durable in place of those that were there.
    ///
    /// # Errors
    /// As [`write_file`].
    pub(crate) fn write(&self, numbers: impl Iterator<Item = u64>) -> Result<(), StoreError> {
        let mut content = format!("{}\n{}", self.title, self.ledger_text());
        for number in numbers {
            content.push('\n');
            content.push_str(itoa::Buffer::new().format(number));
        }
        write_file(&self.path, format!("{content}\n{}\n", checksum(&content)).as_bytes())
    }

    fn ledger_text(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.ledger))
    }
}

fn checksum(content: &str) -> String {
    format!("{:08x}", crc_fast::crc32_iscsi(content.as_bytes()))
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
    fn files_of_one_stem_are_written_at_the_same_time_and_each_has_its_own_bytes() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for name in ["late.cursor", "late.replays"] {
                let path = dir.path().join(name);
                scope.spawn(move || {
                    for _ in 0..100 {
                        write_file(&path, name.as_bytes()).unwrap();
                        assert_eq!(fs::read_to_string(&path).unwrap(), name);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write_file(Path::new("/nowhere/at/all"), b"").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
