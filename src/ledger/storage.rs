//! What the writer asks of the disk, as a trait with two implementations: files, and in tests
//! files that fail on purpose.

use super::direct::{Direct, DirectError, LARGE_WRITE_BYTES};
use super::segment::{NEW, SEGMENT, path};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Most parts that one call of the system takes. Source: `IOV_MAX` of Linux.
const MAX_PARTS: usize = 1024;

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
    /// For large groups, where the file system can do that.
    direct: Option<Direct>,
}

impl DiskFile {
    fn new(file: File, path: &Path) -> Self {
        Self { file, direct: Direct::open(path) }
    }
}

impl SegmentFile for DiskFile {
    fn write(&mut self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let Some(direct) = self.direct.as_mut().filter(|_| length >= LARGE_WRITE_BYTES) else {
            return write_through_memory(&self.file, parts, offset);
        };
        match direct.write(&self.file, &mut parts.to_vec(), offset) {
            Ok(()) => Ok(()),
            Err(DirectError::Io(error)) => Err(error),
            Err(DirectError::Unsupported) => {
                self.direct = None;
                write_through_memory(&self.file, parts, offset)
            }
        }
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

/// Writes the parts one after the other; the system writes them to the disk when it is asked to.
fn write_through_memory(
    file: &File,
    mut parts: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    // Empty parts in front would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut parts, 0);
    while let Some(some) = parts.get(..parts.len().min(MAX_PARTS)).filter(|p| !p.is_empty()) {
        match rustix::io::pwritev(file, some, offset) {
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
        Ok(Box::new(DiskFile::new(file, &path(dir, first, SEGMENT))))
    }

    fn open(&mut self, dir: &Path, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = path(dir, first, SEGMENT);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Box::new(DiskFile::new(file, &path)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lengths around what decides how a group is written.
    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0..9_000_usize, 120_000..140_000_usize, 1_040_000..1_060_000_usize]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn groups_of_any_size_stand_one_after_the_other_and_nothing_behind_them(
            groups in prop::collection::vec((lengths(), 1..9_usize), 1..8),
            // Where a file is opened again, and where one is cut back.
            reopened in 0..8_usize,
            cut in 0..8_usize,
        ) {
            let dir = tempfile::tempdir_in(".").unwrap();
            let mut disk = Disk;
            let mut file = disk.create(dir.path(), 0, b"header", 1 << 20).unwrap();
            let mut expected = b"header".to_vec();
            for (number, (length, parts)) in groups.into_iter().enumerate() {
                if number == reopened {
                    file = disk.open(dir.path(), 0).unwrap();
                }
                let group: Vec<u8> = (0..=250).cycle().skip(number).take(length).collect();
                let mut slices: Vec<IoSlice<'_>> =
                    group.chunks(length / parts + 1).map(IoSlice::new).collect();
                file.write(&mut slices, expected.len() as u64).unwrap();
                if number == cut {
                    file.truncate(expected.len() as u64).unwrap();
                } else {
                    expected.extend(&group);
                }
                file.sync().unwrap();
                // Somebody reads along, through the system's memory.
                let found = std::fs::read(path(dir.path(), 0, SEGMENT)).unwrap();
                prop_assert!(found == expected, "group {}, {} bytes", number, length);
            }
        }
    }
}
