//! Where the bytes of a segment are: in a plain file, or in a packed one.
//!
//! A segment is packed by writing `….packed` beside it and then removing `….segment`. A crash in
//! between leaves both: the plain one counts, whatever it says, for it is what was there before, and
//! who puts a copy of a damaged segment back into its place is believed. The next packing of the
//! segment replaces the other.

use super::direct::DirectReads;
use super::frame::{Frame, SEAL_LEN, Seal, decode};
use super::packed::{Kept, Packed};
use super::segment::{self, HEADER_LEN, Header, HeaderError, PACKED, SEGMENT, SIDECAR, path};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A segment, open for reading.
#[derive(Debug)]
pub(super) struct Source {
    bytes: Bytes,
    path: PathBuf,
    /// A plain file for large reads, once there was one, if it can be read like that.
    direct: OnceLock<Option<DirectReads>>,
}

/// Bytes from which a read past the system's memory is worth it: who asks for so many is behind.
const LARGE_READ_BYTES: usize = 128 * 1024;

#[derive(Debug)]
enum Bytes {
    Plain(File),
    Packed(Packed),
    /// Packed, and the tables are damaged: only the header can be read.
    Broken(File),
}

impl Source {
    /// Opens the segment that starts at `first`.
    pub(super) fn open(dir: &Path, first: u64) -> io::Result<Self> {
        let plain = path(dir, first, SEGMENT);
        match File::open(&plain) {
            Ok(file) => Ok(Self::new(Bytes::Plain(file), plain)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::open_packed(path(dir, first, PACKED)).map_err(|packed| {
                    // Neither is there: the name that people look for is the plain one.
                    if packed.kind() == io::ErrorKind::NotFound { error } else { packed }
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a packed file, whatever its name is.
    pub(super) fn open_packed(path: PathBuf) -> io::Result<Self> {
        let bytes = match Packed::open(File::open(&path)?)? {
            Ok(packed) => Bytes::Packed(packed),
            Err(file) => Bytes::Broken(file),
        };
        Ok(Self::new(bytes, path))
    }

    fn new(bytes: Bytes, path: PathBuf) -> Self {
        Self { bytes, path, direct: OnceLock::new() }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a packed file.
    pub(super) fn is_packed(&self) -> bool {
        !matches!(self.bytes, Bytes::Plain(_))
    }

    /// Whether it is a packed file of which only the header can be read.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.bytes, Bytes::Broken(_))
    }

    /// What is kept of it, by class; `None` for a plain file, which has to be read for that.
    pub(super) fn kept(&self) -> Option<&[Kept]> {
        match &self.bytes {
            Bytes::Packed(packed) => Some(packed.kept()),
            Bytes::Plain(_) | Bytes::Broken(_) => None,
        }
    }

    /// Length of the segment in bytes, unpacked.
    pub(super) fn length(&self) -> io::Result<u64> {
        match &self.bytes {
            Bytes::Plain(file) => Ok(file.metadata()?.len()),
            Bytes::Packed(packed) => Ok(packed.logical()),
            Bytes::Broken(_) => Ok(HEADER_LEN as u64),
        }
    }

    /// Reads as much as there is at `offset`, up to the buffer's length.
    pub(super) fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.bytes {
            Bytes::Plain(file) | Bytes::Broken(file) => segment::read_up_to(file, buffer, offset),
            Bytes::Packed(packed) => packed.read(buffer, offset, false),
        }
    }

    /// The same for who reads everything once, up to `length` bytes, into memory of which it takes
    /// what it needs; gives where in it they are. Many bytes come past the system's memory, the
    /// others through it ([`segment::read_once`]), where those that were written last still are.
    pub(super) fn read_once(
        &self,
        memory: &mut Vec<u8>,
        offset: u64,
        length: usize,
    ) -> io::Result<Range<usize>> {
        let file = match &self.bytes {
            Bytes::Plain(file) | Bytes::Broken(file) => file,
            Bytes::Packed(packed) => {
                memory.resize(length, 0);
                return Ok(0..packed.read(memory, offset, true)?);
            }
        };
        let direct = || self.direct.get_or_init(|| DirectReads::open(&self.path, file)).as_ref();
        if length >= LARGE_READ_BYTES
            && let Some(direct) = direct()
            && let Ok(read) = direct.read(memory, offset, length)
        {
            return Ok(read);
        }
        memory.resize(length, 0);
        Ok(0..segment::read_once(file, memory, offset)?)
    }

    /// Reads the segment's header.
    pub(super) fn header(&self) -> io::Result<Result<Header, HeaderError>> {
        let mut bytes = [0; HEADER_LEN];
        let n = self.read_up_to(&mut bytes, 0)?;
        Ok(Header::decode(bytes.get(..n).unwrap_or_default()))
    }

    /// Reads the seal that a sealed segment ends with, if it does.
    pub(super) fn last_seal(&self) -> io::Result<Option<Seal>> {
        let mut bytes = [0; SEAL_LEN];
        let Some(offset) = self.length()?.checked_sub(SEAL_LEN as u64) else { return Ok(None) };
        let n = self.read_up_to(&mut bytes, offset)?;
        Ok(match decode(bytes.get(..n).unwrap_or_default()) {
            Ok((Frame::Seal(seal), SEAL_LEN)) => Some(seal),
            _ => None,
        })
    }
}

/// The segments and sidecars of a directory, by their first sequence numbers, in order.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every segment, once.
    pub(super) segments: Vec<u64>,
    /// Those that are packed files and nothing else.
    pub(super) packed: Vec<u64>,
    pub(super) sidecars: Vec<u64>,
}

/// Lists a directory, also beside a program that begins and packs segments meanwhile: each sidecar
/// that is seen has its next segment, each segment is seen in one form at least, and what was begun
/// during the listing is not seen half.
pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    // IMPORTANT: in this order. A sidecar is written when the next segment is there, and a plain
    // file goes when the packed one is there.
    let sidecars = segment::list(dir, SIDECAR)?;
    let plain = segment::list(dir, SEGMENT)?;
    let mut packed = segment::list(dir, PACKED)?;
    packed.retain(|first| plain.binary_search(first).is_err());
    let mut segments = [&plain[..], &packed].concat();
    segments.sort_unstable();
    Ok(Listing { segments, packed, sidecars })
}

/// Length of a segment in bytes, unpacked; 0 when it cannot be read.
pub(super) fn length(dir: &Path, first: u64) -> u64 {
    Source::open(dir, first).and_then(|source| source.length()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_large_read_gives_the_same_bytes_wherever_it_begins_and_ends(
            size in 1_usize..600_000,
            offset in 0_usize..600_000,
            length in 1_usize..400_000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            std::fs::write(path(dir.path(), 0, SEGMENT), &bytes).unwrap();
            let source = Source::open(dir.path(), 0).unwrap();
            // As it is when other bytes were read before.
            let mut memory = vec![0xFF; 300_000];
            for length in [length, length + 1] {
                let read = source.read_once(&mut memory, offset as u64, length).unwrap();
                let expected = bytes.get(offset..).unwrap_or_default();
                prop_assert_eq!(&memory[read], &expected[..length.min(expected.len())]);
            }
        }
    }

    #[test]
    fn a_file_that_got_the_name_of_another_is_not_read_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let plain = path(dir.path(), 0, SEGMENT);
        std::fs::write(&plain, vec![1; 200_000]).unwrap();
        let source = Source::open(dir.path(), 0).unwrap();
        std::fs::remove_file(&plain).unwrap();
        std::fs::write(&plain, vec![2; 200_000]).unwrap();
        let mut memory = Vec::new();
        let read = source.read_once(&mut memory, 0, 200_000).unwrap();
        assert!(memory[read].iter().all(|byte| *byte == 1));
    }
}
