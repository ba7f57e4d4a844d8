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

use std::fmt;

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

/// Bytes of a record of the directory, and of the end, without names.
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;

/// Bytes of both headers of a member, without its name.
const HEADERS_LEN: usize = LOCAL_LEN + CENTRAL_LEN;

/// Most members: their number has two bytes.
pub(super) const MAX_MEMBERS: usize = 65_534;

/// Longest name, bytes. Ours are shorter.
const MAX_NAME: usize = 255;

/// A file within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its name, ASCII, folders separated by `/`.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Why bytes are not such a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}{}", InMember(.member.as_deref()))]
pub(super) struct ZipError {
    /// What is wrong.
    pub problem: &'static str,
    /// Where, in bytes.
    pub offset: usize,
    /// The member that it concerns.
    pub member: Option<String>,
}

struct InMember<'a>(Option<&'a str>);

impl fmt::Display for InMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ", in {name}"))
    }
}

/// Why members are too much for one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bundle holds at most {MAX_MEMBERS} files and 4 GiB")]
pub struct TooLarge;

/// Writes the file.
///
/// # Errors
/// [`TooLarge`].
pub(super) fn write(members: &[Member<'_>]) -> Result<Vec<u8>, TooLarge> {
    let lengths =
        members.iter().flat_map(|it| [HEADERS_LEN, it.name.len(), it.name.len(), it.bytes.len()]);
    let total = lengths.fold(END_LEN, usize::saturating_add);
    if members.len() > MAX_MEMBERS || u32::try_from(total).is_err() {
        return Err(TooLarge);
    }
    let mut out = Vec::with_capacity(total);
    let mut directory = Vec::new();
    for member in members {
        let at = short(out.len());
        let common = common(member);
        out.extend_from_slice(&LOCAL);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&common);
        out.extend_from_slice(member.name.as_bytes());
        out.extend_from_slice(member.bytes);
        directory.extend_from_slice(&CENTRAL);
        directory.extend_from_slice(&MADE_BY.to_le_bytes());
        directory.extend_from_slice(&VERSION.to_le_bytes());
        directory.extend_from_slice(&common);
        // No comment, the first disk, binary.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(member.name.as_bytes());
    }
    let (start, count) = (short(out.len()), u16::try_from(members.len()).map_err(|_| TooLarge)?);
    out.extend_from_slice(&directory);
    out.extend_from_slice(&END);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&short(directory.len()).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    Ok(out)
}

/// What both headers of a member say: flags, method, time, date, checksum, sizes, length of name
/// and of extra fields.
fn common(member: &Member<'_>) -> [u8; 24] {
    let mut out = [0; 24];
    let length = short(member.bytes.len()).to_le_bytes();
    let name = u16::try_from(member.name.len()).unwrap_or(u16::MAX);
    let fields: [(usize, &[u8]); 5] = [
        (6, &DATE.to_le_bytes()),
        (8, &crc32fast::hash(member.bytes).to_le_bytes()),
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

fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The members of a file that [`write`] wrote, in its order.
///
/// # Errors
/// [`ZipError`], with the place of the first byte that is not as it was written.
pub(super) fn read(file: &[u8]) -> Result<Vec<Member<'_>>, ZipError> {
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut at = 0_usize;
    while file.get(at..).is_some_and(|rest| rest.starts_with(&LOCAL)) {
        if members.len() == MAX_MEMBERS {
            return Err(problem("there are too many members", at, None));
        }
        let member = member(file, at)?;
        let start = at;
        at = at.saturating_add(LOCAL_LEN).saturating_add(member.name.len());
        let stated = number(file, start.saturating_add(14), 4);
        if u64::from(crc32fast::hash(member.bytes)) != stated {
            return Err(problem("the bytes are not those that were stored", at, Some(member.name)));
        }
        at = at.saturating_add(member.bytes.len());
        members.push(member);
    }
    let again = write(&members).map_err(|_| problem("the file is too large", at, None))?;
    if again == file {
        return Ok(members);
    }
    let same = again.iter().zip(file).take_while(|(ours, theirs)| ours == theirs).count();
    Err(problem("the file is not as it was written", same, name_at(&members, same)))
}

/// The member whose header stands at that place.
fn member(file: &[u8], at: usize) -> Result<Member<'_>, ZipError> {
    let field = |offset: usize, bytes| number(file, at.saturating_add(offset), bytes);
    let length = usize::try_from(field(18, 4)).unwrap_or(usize::MAX);
    let name_length = usize::try_from(field(26, 2)).unwrap_or(usize::MAX);
    let start = at.saturating_add(LOCAL_LEN);
    let name_end = start.saturating_add(name_length);
    let name = file.get(start..name_end).filter(|name| name.is_ascii() && name.len() <= MAX_NAME);
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| problem("no name of a member is here", start, None))?;
    let bytes = file.get(name_end..name_end.saturating_add(length));
    let bytes = bytes.ok_or_else(|| problem("the file ends within a member", at, Some(name)))?;
    Ok(Member { name, bytes })
}

/// The member in which a byte of the file stands.
fn name_at<'a>(members: &[Member<'a>], offset: usize) -> Option<&'a str> {
    let mut end = 0_usize;
    members.iter().find_map(|member| {
        end = end
            .saturating_add(LOCAL_LEN)
            .saturating_add(member.name.len())
            .saturating_add(member.bytes.len());
        (offset < end).then_some(member.name)
    })
}

fn problem(problem: &'static str, offset: usize, member: Option<&str>) -> ZipError {
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
        let members = [
            Member { name: "INSTRUCTIONS.txt", bytes: b"read me" },
            Member { name: "entries/1.json", bytes: b"{\"a\":1}" },
            Member { name: "empty", bytes: b"" },
        ];
        write(&members).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_every_changed_byte_and_every_cut_is_refused() {
        let file = sample();
        let members = read(&file).unwrap();
        assert_eq!(members[1], Member { name: "entries/1.json", bytes: b"{\"a\":1}" });
        assert_eq!(write(&members).unwrap(), file);
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
