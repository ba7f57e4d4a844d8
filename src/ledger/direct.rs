//! Writes and reads that go past the system's memory.
//!
//! Under load a group is a megabyte. Copied into the system's pages it costs as much as hashing it:
//! each page is fresh memory, is filled, written and given back. So whole blocks go to the disk
//! from memory of our own that is used again, and only what stands in a block with something else,
//! at both ends, goes through the system's memory:
//!
//! ```text
//!  … written before ┊▒▒▒│████████│████████│████████│▒▒▒┊
//!                    ▒ in blocks with something else: as every write
//!                        █ whole blocks, new, beyond the end of the file: past the memory
//! ```
//!
//! No block is written both ways, so nobody who reads the file can find an old page of it. A consumer
//! that is behind reads the same way: what it reads once costs no pages.

use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What positions, lengths and addresses of such writes are multiples of, bytes: the block size of
/// nearly every file system, and the largest sector of disks.
pub(super) const BLOCK: usize = 4096;

/// Bytes from which a write is worth it: so much comes under load, when consumers are behind and
/// read from the disk anyway. Smaller ones stay in memory, where consumers find them.
pub(super) const LARGE_WRITE_BYTES: usize = 128 * 1024;

/// Bytes that are written at once.
const STAGE: usize = 1024 * 1024;

/// A file that is open a second time, for such writes.
pub(super) struct Direct {
    file: File,
    /// [`STAGE`] bytes that start at a block, and what it takes to find such a place.
    memory: Vec<u8>,
}

impl Direct {
    /// Opens the file; `None` where it cannot be written like that.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = open(OpenOptions::new().write(true), path)?;
        Some(Self { file, memory: Vec::new() })
    }

    /// Writes the parts one after the other at `offset`, the end of the file; what is not whole
    /// blocks through `cached`, the same file.
    ///
    /// # Errors
    /// Those of the disk. [`Unsupported`] in front of the first byte, when this file cannot be
    /// written like that after all.
    pub(super) fn write(
        &mut self,
        cached: &File,
        parts: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> Result<(), DirectError> {
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        let mut parts = Parts(parts);
        let mut edge = [0; BLOCK];
        let head = edge_before(offset).min(left);
        let whole = left.saturating_sub(head).checked_div(BLOCK).unwrap_or(0).saturating_mul(BLOCK);
        let head = edge.get_mut(..head).unwrap_or_default();
        parts.move_to(head);
        left = left.saturating_sub(head.len()).saturating_sub(whole);
        let start = offset.saturating_add(head.len() as u64);
        self.write_blocks(&mut parts, whole, start)?;
        // Only when the first blocks are written is it known that this works at all.
        cached.write_all_at(head, offset)?;
        offset = start.saturating_add(whole as u64);
        let tail = edge.get_mut(..left).unwrap_or_default();
        parts.move_to(tail);
        Ok(cached.write_all_at(tail, offset)?)
    }

    /// Writes whole blocks, as much at once as there is memory for.
    fn write_blocks(
        &mut self,
        parts: &mut Parts<'_, '_>,
        mut left: usize,
        mut offset: u64,
    ) -> Result<(), DirectError> {
        self.memory.resize(STAGE.saturating_add(BLOCK), 0);
        let at = self.memory.as_ptr().align_offset(BLOCK);
        let mut first = true;
        while left > 0 {
            let length = left.min(STAGE);
            let end = at.saturating_add(length);
            let Some(stage) = self.memory.get_mut(at..end) else {
                return Err(DirectError::Unsupported);
            };
            parts.move_to(stage);
            match write_all(&self.file, stage, offset) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) if first => {
                    return Err(DirectError::Unsupported);
                }
                done => done.map_err(io::Error::from)?,
            }
            first = false;
            offset = offset.saturating_add(length as u64);
            left = left.saturating_sub(length);
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn open(options: &mut OpenOptions, path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed()).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open(_: &mut OpenOptions, _: &Path) -> Option<File> {
    None
}

/// A file that is open a second time, to be read like that.
#[derive(Debug)]
pub(super) struct DirectReads(File);

impl DirectReads {
    /// Opens what is open as `cached` again; `None` where it cannot be read like that, or another
    /// file has got its name.
    pub(super) fn open(path: &Path, cached: &File) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let file = open(OpenOptions::new().read(true), path)?;
        let (this, that) = (file.metadata().ok()?, cached.metadata().ok()?);
        ((this.dev(), this.ino()) == (that.dev(), that.ino())).then_some(Self(file))
    }

    /// Reads up to `length` bytes at `offset` into `memory`, whatever blocks they are in; gives where
    /// in it they are.
    ///
    /// # Errors
    /// Those of the disk, and of a file that cannot be read like that after all.
    pub(super) fn read(
        &self,
        memory: &mut Vec<u8>,
        offset: u64,
        length: usize,
    ) -> io::Result<Range<usize>> {
        let before = usize::try_from(offset.checked_rem(BLOCK as u64).unwrap_or(0)).unwrap_or(0);
        let start = offset.saturating_sub(before as u64);
        let blocks = before.saturating_add(length).div_ceil(BLOCK).saturating_mul(BLOCK);
        memory.resize(blocks.saturating_add(BLOCK), 0);
        let at = memory.as_ptr().align_offset(BLOCK);
        let into = memory.get_mut(at..).and_then(|rest| rest.get_mut(..blocks));
        let read = read_blocks(&self.0, into.unwrap_or_default(), start)?;
        let found = at.saturating_add(before);
        Ok(found..found.saturating_add(read.saturating_sub(before).min(length)))
    }
}

fn read_blocks(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0_usize;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done = done.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // The file ends in a block, and there is no going on from within one.
        if done.checked_rem(BLOCK) != Some(0) {
            break;
        }
    }
    Ok(done)
}

/// Why nothing, or not everything, was written.
#[derive(Debug)]
pub(super) enum DirectError {
    /// The file cannot be written like that: nothing was. The parts are used up.
    Unsupported,
    /// The disk's own.
    Io(io::Error),
}

impl From<io::Error> for DirectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes up to the next block.
fn edge_before(offset: u64) -> usize {
    let within = usize::try_from(offset.checked_rem(BLOCK as u64).unwrap_or(0)).unwrap_or(0);
    if within == 0 { 0 } else { BLOCK.saturating_sub(within) }
}

/// What is left to write.
struct Parts<'p, 'b>(&'p mut [IoSlice<'b>]);

impl Parts<'_, '_> {
    /// Moves the first bytes into `into`, which they fill.
    fn move_to(&mut self, into: &mut [u8]) {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(part) = self.0.first() else { break };
            let length = part.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..length), part.get(..length)) {
                to.copy_from_slice(from);
            }
            done = done.saturating_add(length);
            IoSlice::advance_slices(&mut self.0, length);
        }
    }
}

fn write_all(file: &File, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            // A disk that is full takes what fits, in whole blocks.
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset = offset.saturating_add(written as u64);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
