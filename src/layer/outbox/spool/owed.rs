//! Records that will never arrive and that no entry tells yet: one page, written in place.
//!
//! A record that the receiver refuses leaves the spool, and the entry that tells it may wait for room,
//! in memory, when the spool is full. Its number stands here until that entry is acknowledged, so that
//! a later process tells it if this one is killed in between. The page is there from the beginning: it
//! can be written while nothing else can.

use super::private;
use crate::layer::outbox::frame::{Found, Frames, Kind, append, seal};
use crate::layer::outbox::numbers::Numbers;
use crate::layer::outbox::records::Lost;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Name of the file in an instance's folder.
pub(super) const OWED_FILE: &str = "owed";

/// Bytes of the file: a page is written as a whole or not at all when the process is killed.
const PAGE: usize = 4_096;

/// Reasons that are kept apart, ranges of numbers for each, and bytes of each reason: together they
/// fit the page. What is beyond is joined, and says so.
const MOST_REASONS: usize = 4;
const MOST_RANGES: usize = 40;
const MOST_REASON_BYTES: usize = 200;

/// Said of ranges that were joined.
const JOINED: &str = " (ranges were joined: not all of them are missing)";

/// The page of one instance.
#[derive(Debug)]
pub(in crate::layer::outbox) struct Owed {
    path: PathBuf,
    salt: u32,
    file: Option<File>,
    lost: Vec<Lost>,
}

impl Owed {
    /// Makes the file of a new instance.
    pub(super) fn create(folder: &Path) -> io::Result<()> {
        private().truncate(true).open(folder.join(OWED_FILE))?.write_all(&[0; PAGE])
    }

    /// What the file says; nothing when it cannot be read.
    pub(super) fn read(folder: &Path, salt: u32) -> Self {
        let path = folder.join(OWED_FILE);
        let data = Bytes::from(fs::read(&path).unwrap_or_default());
        let mut lost = Vec::new();
        for found in Frames::checked(data.clone(), 0, salt) {
            let Found::Frame(frame) = found else { break };
            if frame.kind == Kind::Owed {
                lost.extend(decode(frame.bytes(&data)));
            }
        }
        Self { path, salt, file: None, lost }
    }

    /// What no entry tells yet.
    pub(in crate::layer::outbox) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Adds records, before they leave the spool.
    pub(super) fn add(&mut self, more: &[Lost]) -> io::Result<()> {
        if more.is_empty() {
            return Ok(());
        }
        for lost in more {
            let reason = cut(&lost.reason);
            let is_same = |known: &str| known.strip_suffix(JOINED).unwrap_or(known) == reason;
            let same = self.lost.iter_mut().find(|it| is_same(&it.reason));
            if let Some(same) = same {
                same.numbers.extend(&lost.numbers);
            } else {
                let (numbers, reason) = (lost.numbers.clone(), reason.to_owned());
                self.lost.push(Lost { numbers, reason });
            }
        }
        while self.lost.len() > MOST_REASONS
            && let Some(last) = self.lost.pop()
            && let Some(before) = self.lost.last_mut()
        {
            before.numbers.extend(&last.numbers);
        }
        for lost in &mut self.lost {
            if lost.numbers.len() > MOST_RANGES {
                lost.numbers.blur(MOST_RANGES >> 1);
                if !lost.reason.ends_with(JOINED) {
                    lost.reason.push_str(JOINED);
                }
            }
        }
        self.write()
    }

    /// Takes out what an entry tells that is acknowledged.
    pub(super) fn settle(&mut self, told: &Numbers) -> io::Result<()> {
        let left = self.lost.iter().map(|it| it.without(told));
        let left: Vec<_> = left.filter(|it| !it.numbers.is_empty()).collect();
        if left == self.lost {
            return Ok(());
        }
        self.lost = left;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let mut page = Vec::with_capacity(PAGE);
        for lost in &self.lost {
            append(&mut page, Kind::Owed, 0, &encode(lost));
        }
        seal(&mut page, self.salt);
        page.resize(PAGE.max(page.len()), 0);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(private().truncate(false).open(&self.path)?),
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)
    }
}

/// The beginning of a reason.
fn cut(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(MOST_REASON_BYTES)).unwrap_or_default()
}

/// Bytes of the reason, the reason, the numbers.
fn encode(lost: &Lost) -> Vec<u8> {
    let length = u16::try_from(lost.reason.len()).unwrap_or_default();
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(lost.reason.as_bytes());
    bytes.extend(lost.numbers.to_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Lost> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (reason, numbers) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let reason = String::from_utf8_lossy(reason).into_owned();
    Some(Lost { numbers: Numbers::from_bytes(numbers), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(numbers: impl Iterator<Item = u64>, reason: &str) -> Lost {
        let numbers = numbers.map(|number| (number, number)).collect();
        Lost { numbers, reason: reason.to_owned() }
    }

    #[test]
    fn what_is_owed_is_read_again_until_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        Owed::create(folder.path()).unwrap();
        let mut owed = Owed::read(folder.path(), 7);
        assert_eq!(owed.lost(), []);
        owed.add(&[lost([3, 9].into_iter(), "bad record"), lost([5].into_iter(), "")]).unwrap();
        owed.add(&[lost([4].into_iter(), "bad record")]).unwrap();
        let again = Owed::read(folder.path(), 7);
        assert_eq!(again.lost(), owed.lost());
        assert_eq!(again.lost().iter().map(|it| it.numbers.len()).sum::<usize>(), 3);
        assert_eq!(Owed::read(folder.path(), 8).lost(), [], "of another instance");
        owed.settle(&[(1, 4)].into_iter().collect()).unwrap();
        owed.settle(&[(5, 9)].into_iter().collect()).unwrap();
        assert_eq!(Owed::read(folder.path(), 7).lost(), []);
    }

    #[test]
    fn however_much_is_owed_it_fits_the_page_and_no_number_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        Owed::create(folder.path()).unwrap();
        let mut owed = Owed::read(folder.path(), 7);
        let mut all = Numbers::default();
        for number in 0..3_000_u64 {
            let reason = format!("{}: {}", number % 9, "é".repeat(300));
            owed.add(&[lost([number * 3].into_iter(), &reason)]).unwrap();
            all.insert(number * 3);
        }
        let path = folder.path().join(OWED_FILE);
        assert_eq!(fs::metadata(path).unwrap().len(), PAGE as u64);
        let mut kept = Numbers::default();
        Owed::read(folder.path(), 7).lost().iter().for_each(|it| kept.extend(&it.numbers));
        assert!(all.without(&kept).is_empty());
    }
}
