//! What the writer asks of the disk, as a trait with two implementations: files, and in tests
//! files that fail on purpose.

use super::segment::{NEW, SEGMENT, path};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Most parts that one call of the system takes. Source: `IOV_MAX` of Linux.
const MAX_PARTS: usize = 1024;

/// Bytes from which a write is not kept in memory: so much comes under load, when consumers are
/// behind and read from the disk anyway.
const LARGE_WRITE_BYTES: usize = 128 * 1024;

/// The active segment, as the writer sees it.
pub(super) trait SegmentFile: Send {
    /// Writes the parts one after the other at `offset`, which is the end of what counts.
    fn write(&mut self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes everything written so far durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file, and gives back what was reserved beyond its end.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Lets the system use the memory that holds the file's first `length` bytes for other
    /// things; all of it without one. They are durable; whoever reads them later reads them from
    /// the disk.
    fn forget(&mut self, length: Option<NonZeroU64>);
}

/// Makes and opens segments.
pub(super) trait Storage: Send {
    /// Makes a segment. When it returns, the header and the name of the file are durable.
    /// `expected` is the size that it will probably get, in bytes.
    fn create(
        &mut self,
        dir: &Path,
        first: u64,
        header: &[u8],
        expected: u64,
    ) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens the segment to go on with.
    fn open(&mut self, dir: &Path, first: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Whether that many bytes could be written now.
    fn probe(&mut self, dir: &Path, bytes: u64) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Default)]
pub(super) struct Disk;

struct DiskFile {
    file: File,
    /// Whether the system can write without keeping the pages: found out by trying.
    uncached: bool,
}

impl DiskFile {
    fn new(file: File) -> Self {
        Self { file, uncached: cfg!(target_os = "linux") }
    }

    /// One call of the system. Where each new page of memory is dear, as in virtual machines, a
    /// write whose pages are given back at once costs half; small ones stay in memory, where
    /// consumers find them without asking the disk.
    fn write_some(
        &mut self,
        parts: &[IoSlice<'_>],
        offset: u64,
        large: bool,
    ) -> rustix::io::Result<usize> {
        if large && self.uncached {
            match write_uncached(&self.file, parts, offset) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.uncached = false,
                done => return done,
            }
        }
        rustix::io::pwritev(&self.file, parts, offset)
    }
}

#[cfg(target_os = "linux")]
fn write_uncached(file: &File, parts: &[IoSlice<'_>], offset: u64) -> rustix::io::Result<usize> {
    rustix::io::pwritev2(file, parts, offset, super::segment::DONT_CACHE)
}

#[cfg(not(target_os = "linux"))]
fn write_uncached(file: &File, parts: &[IoSlice<'_>], offset: u64) -> rustix::io::Result<usize> {
    rustix::io::pwritev(file, parts, offset)
}

impl SegmentFile for DiskFile {
    fn write(&mut self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Empty parts in front would look like a disk that takes nothing.
        IoSlice::advance_slices(&mut parts, 0);
        let large = parts.iter().map(|part| part.len()).sum::<usize>() >= LARGE_WRITE_BYTES;
        while let Some(some) = parts.get(..parts.len().min(MAX_PARTS)).filter(|p| !p.is_empty()) {
            match self.write_some(some, offset, large) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut parts, written);
                    offset = offset.saturating_add(written as u64);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn forget(&mut self, length: Option<NonZeroU64>) {
        // Only advice: a file system that does not take it loses nothing.
        let _ = rustix::fs::fadvise(&self.file, 0, length, rustix::fs::Advice::DontNeed);
    }
}

impl Storage for Disk {
    fn create(
        &mut self,
        dir: &Path,
        first: u64,
        header: &[u8],
        expected: u64,
    ) -> io::Result<Box<dyn SegmentFile>> {
        let temporary = path(dir, first, NEW);
        let made = create_file(&temporary, header, expected).and_then(|file| {
            std::fs::rename(&temporary, path(dir, first, SEGMENT))?;
            Ok(file)
        });
        if made.is_err() {
            // What is left of it is removed at the next open at the latest.
            let _ = std::fs::remove_file(&temporary);
        }
        let file = made?;
        // IMPORTANT: without this the file may be nameless after a crash, with entries in it. A
        // failure is final, whatever it is: the name is there, and may not be tomorrow.
        sync_dir(dir).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(DiskFile::new(file)))
    }

    fn open(&mut self, dir: &Path, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = path(dir, first, SEGMENT);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(DiskFile::new(file)))
    }

    fn probe(&mut self, dir: &Path, bytes: u64) -> io::Result<()> {
        let path = dir.join("probe.new");
        let made = create_private(&path).and_then(|file| allocate(&file, bytes));
        let _ = std::fs::remove_file(&path);
        made
    }
}

fn create_file(path: &Path, header: &[u8], expected: u64) -> io::Result<File> {
    let file = create_private(path)?;
    // Reserving the room, without changing the file's length, makes `fdatasync` a quarter
    // faster on ext4. Not every file system can; none has to.
    let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
    let _ = rustix::fs::fallocate(&file, keep, 0, expected.max(1));
    file.write_all_at(header, 0)?;
    // IMPORTANT: the header is durable before the file gets its name.
    file.sync_all()?;
    Ok(file)
}

/// Makes a file that only its owner can read, or empties it.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Fills a file with room for that many bytes.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    /// Bytes written at once where the file system cannot reserve.
    const STEP: u32 = 64 * 1024;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1)) {
        Err(Errno::NOTSUP | Errno::NOSYS) => {
            let zeros = vec![0; STEP as usize];
            let step = u64::from(STEP);
            (0..bytes.div_ceil(step))
                .try_for_each(|n| file.write_all_at(&zeros, n.saturating_mul(step)))
        }
        other => Ok(other?),
    }
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether space may come back: the disk, a quota or a file size limit is at its end.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
