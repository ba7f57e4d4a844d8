//! A ZIP file of one exact form: any program opens it, and every byte of it means something.
//!
//! ```text
//! ├ header, name, bytes ┼ header, name, bytes ┼ … ┼ directory: one record a member ┼ end ┤
//! ```
//!
//! Members are stored and not compressed, with one date, no extra fields and no comment. So the
//! members alone say what the file is, byte for byte, and [`read`] refuses whatever is not that:
//! a changed flag or date, bytes between members, a directory that names other members than there
//! are. Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.16.
//!
//! Both ways a member goes by in pieces: of the file nothing but names and hashes is in memory.

use super::spool::{Bytes, Spool};
use crate::ledger::Hash;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io;
use std::ops::Range;

/// Signatures of the records.
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";

/// Version 2.0 of the format is enough.
const VERSION: u16 = 20;

/// Made on Unix, so that the attributes below are its permissions.
const MADE_BY: u16 = (3 << 8) | VERSION;

/// An ordinary file that everybody may read.
const ATTRIBUTES: u32 = 0o100_644 << 16;

/// 1980-01-01, the first day that there is.
const DATE: u16 = (1 << 5) | 1;

/// Bytes of a local header before the name.
const LOCAL_LEN: usize = 30;

/// Most members: their number has two bytes.
pub(super) const MAX_MEMBERS: usize = 65_534;

/// Most bytes of a bundle. With the largest story that is taken (10,000 entries, 16 MiB of bodies) it
/// has half of that; so much of the disk a bundle takes until it is read.
pub const MAX_BUNDLE_BYTES: u64 = 256 * 1_024 * 1_024;

/// Longest name, bytes. Ours are shorter.
const MAX_NAME: usize = 255;

/// A file within the file: its name, where its bytes are, and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, ASCII, folders separated by `/`.
    pub name: String,
    /// Where its bytes stand in the file.
    pub range: Range<u64>,
    /// SHA-256 of them.
    pub sha256: Hash,
}

/// Why bytes are not such a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}{}", InMember(.member.as_deref()))]
pub(super) struct ZipError {
    /// What is wrong.
    pub problem: &'static str,
    /// Where, in bytes.
    pub offset: u64,
    /// The member that it concerns.
    pub member: Option<String>,
}

struct InMember<'a>(Option<&'a str>);

impl fmt::Display for InMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ", in {name}"))
    }
}

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The members are too much for one file.
    #[error("a bundle holds at most {MAX_MEMBERS} files and {MAX_BUNDLE_BYTES} bytes")]
    TooLarge,
    /// The spool cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the file, member by member.
#[derive(Debug)]
pub(super) struct Writer<'s> {
    spool: &'s mut Spool,
    directory: Vec<u8>,
    members: usize,
    open: Option<Open>,
}

/// The member that is being written.
#[derive(Debug)]
struct Open {
    name: String,
    header: u64,
    data: u64,
    crc: crc32fast::Hasher,
    sha256: Sha256,
}

impl<'s> Writer<'s> {
    /// Begins the file at the beginning of an empty spool.
    pub(super) fn new(spool: &'s mut Spool) -> Self {
        Self { spool, directory: Vec::new(), members: 0, open: None }
    }

    /// Writes a whole member.
    pub(super) fn member(&mut self, name: &str, bytes: &[u8]) -> Result<Member, WriteError> {
        self.begin(name)?;
        self.push(bytes)?;
        self.end()
    }

    /// Begins a member, whose bytes follow in pieces.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), WriteError> {
        if self.members >= MAX_MEMBERS {
            return Err(WriteError::TooLarge);
        }
        self.members = self.members.saturating_add(1);
        let header = self.spool.len();
        // Checksum and size are not known yet.
        self.spool.append(&local(name, 0, 0))?;
        let data = self.spool.len();
        let (crc, sha256) = (crc32fast::Hasher::new(), Sha256::new());
        self.open = Some(Open { name: name.to_owned(), header, data, crc, sha256 });
        Ok(())
    }

    /// Writes a piece of the member that was begun.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let after = self.spool.len().saturating_add(bytes.len() as u64);
        if after.saturating_add(self.directory.len() as u64) > MAX_BUNDLE_BYTES {
            return Err(WriteError::TooLarge);
        }
        if let Some(open) = &mut self.open {
            open.crc.update(bytes);
            open.sha256.update(bytes);
        }
        Ok(self.spool.append(bytes)?)
    }

    /// Ends the member that was begun.
    pub(super) fn end(&mut self) -> Result<Member, WriteError> {
        let nothing = || io::Error::other("no member was begun");
        let Open { name, header, data, crc, sha256 } = self.open.take().ok_or_else(nothing)?;
        let range = data..self.spool.len();
        let (crc, length) = (crc.finalize(), range.end.saturating_sub(range.start));
        self.spool.patch(header, &local(&name, crc, length))?;
        self.directory.extend(central(&name, crc, length, header));
        Ok(Member { name, range, sha256: sha256.finalize().into() })
    }

    /// Bytes that were written before.
    pub(super) fn read_back(&mut self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        self.spool.read_back(range)
    }

    /// Writes what stands behind the last member.
    pub(super) fn finish(self) -> Result<(), WriteError> {
        let end = end(self.spool.len(), self.directory.len() as u64, self.members);
        self.spool.append(&self.directory)?;
        Ok(self.spool.append(&end)?)
    }
}

/// The header before a member.
fn local(name: &str, crc: u32, length: u64) -> Vec<u8> {
    let common = common(name, crc, length);
    [&LOCAL[..], &VERSION.to_le_bytes(), &common, name.as_bytes()].concat()
}

/// The record of a member in the directory.
fn central(name: &str, crc: u32, length: u64, header: u64) -> Vec<u8> {
    let (made_by, version) = (MADE_BY.to_le_bytes(), VERSION.to_le_bytes());
    let (common, attributes) = (common(name, crc, length), ATTRIBUTES.to_le_bytes());
    let at = short(header).to_le_bytes();
    // No comment, the first disk, binary.
    let parts: [&[u8]; 8] =
        [&CENTRAL, &made_by, &version, &common, &[0; 6], &attributes, &at, name.as_bytes()];
    parts.concat()
}

/// The end of the file.
fn end(directory: u64, length: u64, members: usize) -> Vec<u8> {
    let count = u16::try_from(members).unwrap_or(u16::MAX).to_le_bytes();
    let (length, directory) = (short(length).to_le_bytes(), short(directory).to_le_bytes());
    let parts: [&[u8]; 7] = [&END, &[0; 4], &count, &count, &length, &directory, &[0; 2]];
    parts.concat()
}

/// What both headers of a member say: flags, method, time, date, checksum, sizes, length of name
/// and of extra fields.
fn common(name: &str, crc: u32, length: u64) -> [u8; 24] {
    let mut out = [0; 24];
    let length = short(length).to_le_bytes();
    let name = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let fields: [(usize, &[u8]); 5] = [
        (6, &DATE.to_le_bytes()),
        (8, &crc.to_le_bytes()),
        (12, &length),
        (16, &length),
        (20, &name.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = out.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }
    out
}

fn short(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The members of a file that [`Writer`] wrote, in its order.
///
/// # Errors
/// What the system says; within, [`ZipError`] with the place of the first byte that is not as it was
/// written.
pub(super) fn read(file: &dyn Bytes) -> io::Result<Result<Vec<Member>, ZipError>> {
    let length = file.length()?;
    if length > MAX_BUNDLE_BYTES {
        return Ok(Err(problem("the file is too large", MAX_BUNDLE_BYTES, None)));
    }
    let (mut members, mut directory, mut at) = (Vec::new(), Vec::new(), 0_u64);
    while file.up_to(at, LOCAL.len())? == LOCAL {
        if members.len() == MAX_MEMBERS {
            return Ok(Err(problem("there are too many members", at, None)));
        }
        let (member, crc) = match member(file, at)? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let size = member.range.end.saturating_sub(member.range.start);
        directory.extend(central(&member.name, crc, size, at));
        at = member.range.end;
        members.push(member);
    }
    let last = members.last().map(|member| member.name.clone());
    let end = end(at, directory.len() as u64, members.len());
    directory.extend(end);
    let rest = file.up_to(at, directory.len().saturating_add(1))?;
    let same = directory.iter().zip(&rest).take_while(|(ours, theirs)| ours == theirs).count();
    if rest == directory {
        return Ok(Ok(members));
    }
    let offset = at.saturating_add(same as u64);
    let in_member = last.filter(|_| same < LOCAL.len());
    Ok(Err(problem("the file is not as it was written", offset, in_member.as_deref())))
}

/// The member whose header stands at that place, and the checksum of its bytes.
fn member(file: &dyn Bytes, at: u64) -> io::Result<Result<(Member, u32), ZipError>> {
    let header = file.up_to(at, LOCAL_LEN)?;
    let length = number(&header, 18, 4);
    let name_length = usize::try_from(number(&header, 26, 2)).unwrap_or(usize::MAX);
    let start = at.saturating_add(LOCAL_LEN as u64);
    let name = file.up_to(start, name_length.min(MAX_NAME.saturating_add(1)))?;
    let is_name = name.len() == name_length && name_length <= MAX_NAME && name.is_ascii();
    let name = String::from_utf8(name).ok().filter(|_| is_name);
    let Some(name) = name else {
        return Ok(Err(problem("no name of a member is here", start, None)));
    };
    let data = start.saturating_add(name_length as u64);
    let range = data..data.saturating_add(length);
    if range.end > file.length()? {
        return Ok(Err(problem("the file ends within a member", at, Some(&name))));
    }
    let (mut crc, mut sha256) = (crc32fast::Hasher::new(), Sha256::new());
    file.pieces(&range, &mut |piece| {
        crc.update(piece);
        sha256.update(piece);
    })?;
    let crc = crc.finalize();
    if u64::from(crc) != number(&header, 14, 4) {
        let text = "the bytes are not those that were stored";
        return Ok(Err(problem(text, data, Some(&name))));
    }
    let expected = local(&name, crc, length);
    let same = expected.iter().zip(&header).take_while(|(ours, theirs)| ours == theirs).count();
    if same < LOCAL_LEN {
        let offset = at.saturating_add(same as u64);
        return Ok(Err(problem("the file is not as it was written", offset, Some(&name))));
    }
    Ok(Ok((Member { name, range, sha256: sha256.finalize().into() }, crc)))
}

fn problem(problem: &'static str, offset: u64, member: Option<&str>) -> ZipError {
    ZipError { problem, offset, member: member.map(str::to_owned) }
}

/// A little-endian number of so many bytes; 0 beyond the end.
fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    let digits = bytes.get(at..at.saturating_add(count)).unwrap_or_default();
    digits.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut spool = Spool::in_memory();
        let mut writer = Writer::new(&mut spool);
        writer.member("INSTRUCTIONS.txt", b"read me").unwrap();
        writer.begin("entries/1.json").unwrap();
        for piece in [&b"{\"a\""[..], b"", b":1}"] {
            writer.push(piece).unwrap();
        }
        let written = writer.end().unwrap();
        assert_eq!(writer.read_back(&written.range).unwrap(), b"{\"a\":1}");
        writer.member("empty", b"").unwrap();
        writer.finish().unwrap();
        spool.into_bytes().unwrap()
    }

    fn read(file: &[u8]) -> Result<Vec<Member>, ZipError> {
        super::read(&file).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_every_changed_byte_and_every_cut_is_refused() {
        let file = sample();
        let members = read(&file).unwrap();
        assert_eq!(members[1].name, "entries/1.json");
        assert_eq!(members[1].sha256, Hash::from(Sha256::digest(b"{\"a\":1}")));
        assert_eq!((&file[..]).whole(&members[1].range).unwrap(), b"{\"a\":1}");
        for at in 0..file.len() {
            for bit in [0x01, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= bit;
                assert!(read(&changed).is_err(), "byte {at} with {bit:#x}");
            }
            assert!(read(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[&file[..], b"x"].concat()).is_err(), "something behind the end");
    }

    #[test]
    fn damage_names_the_member() {
        let mut file = sample();
        let at = file.windows(6).position(|window| window == b"{\"a\":1").unwrap();
        file[at] ^= 1;
        let error = read(&file).unwrap_err();
        assert_eq!(error.member.as_deref(), Some("entries/1.json"));
        assert!(error.to_string().contains("in entries/1.json"), "{error}");
    }

    #[test]
    fn a_file_is_written_to_disk_and_to_memory_in_the_same_bytes() {
        let mut spool = Spool::on_disk(tempfile::tempfile().unwrap());
        let mut writer = Writer::new(&mut spool);
        for (name, bytes) in
            [("INSTRUCTIONS.txt", &b"read me"[..]), ("entries/1.json", b"{\"a\":1}")]
        {
            writer.member(name, bytes).unwrap();
        }
        writer.member("empty", b"").unwrap();
        writer.finish().unwrap();
        let (file, length) = spool.into_file().unwrap();
        assert_eq!(file.whole(&(0..length)).unwrap(), sample());
        assert_eq!(super::read(&file).unwrap(), read(&sample()));
    }

    #[test]
    fn a_file_beyond_the_limit_is_not_written() {
        let mut spool = Spool::on_disk(tempfile::tempfile().unwrap());
        let mut writer = Writer::new(&mut spool);
        let piece = vec![0; 1 << 20];
        writer.begin("large").unwrap();
        for _ in 1..MAX_BUNDLE_BYTES >> 20 {
            writer.push(&piece).unwrap();
        }
        assert!(matches!(writer.push(&piece), Err(WriteError::TooLarge)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail_otherwise(bytes: Vec<u8>, cut in 0_usize..200) {
            let _ = read(&bytes);
            let mut file = sample();
            let cut = cut.min(file.len());
            file.splice(cut.., bytes);
            let _ = read(&file);
        }
    }
}
