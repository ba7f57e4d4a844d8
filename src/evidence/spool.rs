//! Where a bundle is written while it grows, and where one is read: a file, or memory.
//!
//! A story can be large and several are asked for at once, so a bundle grows on disk: in a file
//! without a name, which is gone as soon as nobody has it open, whatever happens to the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Bytes that are gathered before they go to the file, and that are read at once.
const PIECE_BYTES: usize = 256 * 1_024;

/// Permissions of the file while it has a name.
const FILE_MODE: u32 = 0o600;

/// Bytes at places: a file, or a slice. Most of a bundle goes by in pieces.
pub(super) trait Bytes {
    /// How many there are.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` with those from that place on.
    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// At most so many from that place on; fewer at the end.
    fn up_to(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length()?.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        if !bytes.is_empty() {
            self.fill(at, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// All of a range.
    fn whole(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let length = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?];
        self.fill(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// A range in pieces.
    fn pieces(&self, range: &Range<u64>, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at.saturating_add(PIECE_BYTES as u64));
            visit(&self.whole(&(at..end))?);
            at = end;
        }
        Ok(())
    }
}

impl Bytes for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let found = self.get(start..start.saturating_add(into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }
}

/// A bundle that grows.
///
/// ```
/// use spanledger::evidence::Spool;
/// let spool = Spool::in_dir(&std::env::temp_dir())?;
/// assert!(spool.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Spool {
    /// Where it goes; `None` keeps all of it in memory.
    file: Option<File>,
    /// What is not in the file yet.
    gathered: Vec<u8>,
    /// Bytes in the file.
    written: u64,
}

impl Spool {
    /// In memory: for small ones.
    pub fn in_memory() -> Self {
        Self { file: None, gathered: Vec::new(), written: 0 }
    }

    /// In a file that is empty.
    pub fn on_disk(file: File) -> Self {
        Self { file: Some(file), ..Self::in_memory() }
    }

    /// In a file without a name in that folder.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn in_dir(dir: &Path) -> io::Result<Self> {
        let mut noise = [0; 8];
        getrandom::fill(&mut noise).map_err(io::Error::other)?;
        let path = dir.join(format!(".evidence-{:016x}.tmp", u64::from_le_bytes(noise)));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self::on_disk(file))
    }

    /// Bytes that were written.
    pub fn len(&self) -> u64 {
        self.written.saturating_add(self.gathered.len() as u64)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, read into memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let all = 0..self.len();
        if self.file.is_none() { Ok(self.gathered) } else { self.read_back(&all) }
    }

    /// The file and its length.
    ///
    /// # Errors
    /// When it cannot be written, or all is in memory.
    pub fn into_file(mut self) -> io::Result<(File, u64)> {
        self.flush()?;
        let file = self.file.ok_or_else(|| io::Error::other("it is in memory"))?;
        Ok((file, self.written))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_all_at(&self.gathered, self.written)?;
            self.written = self.len();
            self.gathered.clear();
        }
        Ok(())
    }

    /// Writes over bytes that were written.
    pub(super) fn patch(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at < self.written {
            self.flush()?;
        }
        let in_memory = at.checked_sub(self.written).and_then(|at| usize::try_from(at).ok());
        let place =
            in_memory.and_then(|at| self.gathered.get_mut(at..at.saturating_add(bytes.len())));
        match (place, &self.file) {
            (Some(place), _) => place.copy_from_slice(bytes),
            (None, Some(file)) => file.write_all_at(bytes, at)?,
            (None, None) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    /// Bytes that were written.
    pub(super) fn read_back(&mut self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        self.flush()?;
        match &self.file {
            Some(file) => file.whole(range),
            None => self.gathered.as_slice().whole(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_has_no_name_and_gives_back_what_was_written_and_patched() {
        let dir = tempfile::tempdir().unwrap();
        let mut on_disk = Spool::in_dir(dir.path()).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "it has no name");
        let mut in_memory = Spool::in_memory();
        for spool in [&mut on_disk, &mut in_memory] {
            for n in 0..9_u8 {
                spool.append(&vec![n; PIECE_BYTES / 3]).unwrap();
            }
            spool.patch(4, b"first").unwrap();
            let last = spool.len() - 6;
            spool.patch(last, b"last").unwrap();
            assert_eq!(spool.read_back(&(3..10)).unwrap(), b"\0first\0");
        }
        let (file, length) = on_disk.into_file().unwrap();
        let bytes = in_memory.into_bytes().unwrap();
        assert_eq!(length, bytes.len() as u64);
        assert!(file.whole(&(0..length)).unwrap() == bytes);
        assert!(bytes.ends_with(b"last\x08\x08"));
    }
}
