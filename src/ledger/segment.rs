//! Segment files: their names, their header, and which of them there are.
//!
//! ```text
//!  0       8         12           16       32               40              72
//!  ├ magic ┼ version ┼ header len ┼ origin ┼ first sequence ┼ previous root ┤
//!  72                      104          112    116
//!  ├ previous header hash ─┼ created ns ┼ crc ─┤     all integers little-endian
//! ```
//!
//! A segment is named after its first sequence number and has its header before it has its name,
//! so a segment with a bad header is damaged, never torn. Each header names the root of the tree
//! up to it and the hash of the header before it: segments of another log, or of another place in
//! this one, do not fit.

use super::bytes::{crc32c, field, put, u32_at, u64_at};
use super::types::{Hash, TreeHead};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Version of all the files of a ledger.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"SPANLDGR";

/// Bytes of a segment's header.
pub(super) const HEADER_LEN: usize = HEADER_BYTES as usize;

const HEADER_BYTES: u32 = 116;

const VERSION: usize = 8;
const LENGTH: usize = 12;
const ORIGIN: usize = 16;
const FIRST: usize = 32;
const PREVIOUS_ROOT: usize = 40;
const PREVIOUS_HEADER: usize = 72;
const CREATED: usize = 104;
const CRC: usize = 112;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Random number of the log, the same in all its segments.
    pub(super) origin: [u8; 16],
    /// Sequence of the first entry.
    pub(super) first: u64,
    /// Root of the tree before that entry.
    pub(super) root: Hash,
    /// SHA-256 of the header of the segment before; zeros in the first.
    pub(super) before: Hash,
    /// When the segment was begun, in nanoseconds since 1970.
    pub(super) created_ns: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not what was written.
    #[error("the segment's header is damaged")]
    Damaged,
    /// Another version of this program wrote it.
    #[error(
        "format version {found} is not known to this program, which knows {FORMAT_VERSION}: use the version that wrote it"
    )]
    Version {
        /// The version in the header.
        found: u32,
    },
}

impl Header {
    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        put(&mut out, 0, &MAGIC);
        put(&mut out, VERSION, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, LENGTH, &HEADER_BYTES.to_le_bytes());
        put(&mut out, ORIGIN, &self.origin);
        put(&mut out, FIRST, &self.first.to_le_bytes());
        put(&mut out, PREVIOUS_ROOT, &self.root);
        put(&mut out, PREVIOUS_HEADER, &self.before);
        put(&mut out, CREATED, &self.created_ns.to_le_bytes());
        let crc = out.get(..CRC).map_or(0, crc32c);
        put(&mut out, CRC, &crc.to_le_bytes());
        out
    }

    /// Reads a header.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        Self::read(bytes).ok_or(HeaderError::Damaged)?
    }

    fn read(bytes: &[u8]) -> Option<Result<Self, HeaderError>> {
        let covered = bytes.get(..CRC)?;
        if field(bytes, 0)? != MAGIC || u32_at(bytes, CRC)? != crc32c(covered) {
            return None;
        }
        let found = u32_at(bytes, VERSION)?;
        if found != FORMAT_VERSION {
            return Some(Err(HeaderError::Version { found }));
        }
        Some(Ok(Self {
            origin: field(bytes, ORIGIN)?,
            first: u64_at(bytes, FIRST)?,
            root: field(bytes, PREVIOUS_ROOT)?,
            before: field(bytes, PREVIOUS_HEADER)?,
            created_ns: u64_at(bytes, CREATED)?,
        }))
    }

    /// The tree before the first entry.
    pub(super) fn start(&self) -> TreeHead {
        TreeHead { size: self.first, root: self.root }
    }

    /// What the next segment names this one by.
    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(self.encode()).into()
    }
}

/// Endings of the files beside each other.
pub(super) const SEGMENT: &str = "segment";
pub(super) const PACKED: &str = "packed";
pub(super) const SIDECAR: &str = "index";
pub(super) const NEW: &str = "new";
pub(super) const TORN: &str = "torn";

/// Path of the file of the segment that starts with that sequence number.
pub(super) fn path(dir: &Path, first: u64, ending: &str) -> PathBuf {
    dir.join(format!("{first:020}.{ending}"))
}

/// First sequence numbers of the files with that ending, in order.
pub(super) fn list(dir: &Path, ending: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for file in dir.read_dir()? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(ending)?.strip_suffix('.'));
        let number = number.filter(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit()));
        found.extend(number.and_then(|n| n.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads as much as there is at `offset`, up to the buffer's length.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_with(buffer, offset, |rest, offset| file.read_at(rest, offset))
}

/// The same for who reads everything once: what was not in the system's memory before is not kept
/// there afterwards. Where the system cannot do that it is a plain read.
pub(super) fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_with(buffer, offset, |rest, offset| match read_uncached(file, rest, offset) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => file.read_at(rest, offset),
        read => read,
    })
}

/// `RWF_DONTCACHE`: pages that the call brought into memory do not stay there. Asked for since Linux
/// 6.16 only: it is two versions older, but had defects there.
#[cfg(target_os = "linux")]
fn read_uncached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    const DONT_CACHE: rustix::io::ReadWriteFlags =
        rustix::io::ReadWriteFlags::from_bits_retain(0x80);
    static SOUND: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let system = rustix::system::uname();
        is_at_least(system.release().to_str().unwrap_or_default(), (6, 16))
    });
    if !*SOUND {
        return file.read_at(buffer, offset);
    }
    let mut slices = [io::IoSliceMut::new(buffer)];
    Ok(rustix::io::preadv2(file, &mut slices, offset, DONT_CACHE)?)
}

#[cfg(not(target_os = "linux"))]
fn read_uncached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Whether a release of the system, as `6.18.4-generic`, is that version or a later one.
#[cfg(target_os = "linux")]
fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

fn read_with(
    buffer: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0_usize;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done = done.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { origin: [1; 16], first: 7, root: [2; 32], before: [3; 32], created_ns: 9 }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_goes_unnoticed() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(Header::decode(&bytes[..HEADER_LEN - 1]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_later_format_is_named_not_called_damage() {
        let mut bytes = header().encode();
        bytes[VERSION] = 2;
        let crc = crc32c(&bytes[..CRC]);
        put(&mut bytes, CRC, &crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Version { found: 2 }));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_release_is_compared_by_its_numbers() {
        for (release, newer) in [
            ("6.16.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.9.1", false),
            ("", false),
        ] {
            assert_eq!(is_at_least(release, (6, 16)), newer, "{release}");
        }
    }

    #[test]
    fn only_files_named_by_a_sequence_number_are_segments() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["00000000000000000007.segment", "7.segment", "x.segment", "lock"] {
            std::fs::write(dir.path().join(name), []).unwrap();
        }
        std::fs::write(path(dir.path(), 3, SEGMENT), []).unwrap();
        assert_eq!(list(dir.path(), SEGMENT).unwrap(), [3, 7]);
    }
}
