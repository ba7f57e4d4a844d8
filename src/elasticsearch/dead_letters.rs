//! Dead letters: the entries that the cluster does not take, durably, with the reason.
//!
//! `letters.log` in a folder of its own, one record per line, only ever appended to:
//!
//! ```text
//! <crc32c> <start of the group> {"letter":{"sequence":7,"id":"…","tenant":"…",…}}⏎
//! <crc32c> <start of the group> {"resolved":{"sequence":7,"how":"delivered","at_ns":…}}⏎
//! ```
//!
//! The checksum, 8 hex digits, covers what follows it. A group is what one write made durable; its
//! start is an offset in the file.
//!
//! - A letter names its entry by sequence number. The document is not copied: it is in the ledger,
//!   and stays there as long as its retention says.
//! - A letter is durable before the cursor may pass its entry.
//! - Of several records of one sequence the last one counts.
//! - In memory is where each open letter stands, not what it says; [`MAX_OPEN`] bounds that.
//! - A torn last group is of a crash and was never relied upon: it is cut off. Damage with anything
//!   of a later group behind it is an error.

use super::letter::{DeadLetter, Lines, Record, Resolved, line, parse};
use super::status::{count_type, locked};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Most open letters. When so many entries are refused, something is wrong with all of them: the
/// exporter then waits instead of putting more aside. An open letter costs about 100 bytes of
/// memory.
pub const MAX_OPEN: usize = 100_000;

/// Most letters of one page.
pub const MAX_LETTERS_PAGE: usize = 1_000;

/// Why dead letters could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The system refused.
    #[error("cannot {doing} {path}; the exporter waits until it works")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not what was written.
    #[error(
        "{path} is damaged in line {line}; move it away and set the exporter's cursor back: what \
         it named is in the ledger and is sent again"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// Which line, counted from one.
        line: u64,
    },
    /// There are too many open letters.
    #[error("{MAX_OPEN} dead letters are open; find out why, then replay or drop them")]
    Full,
}

/// The dead letters of an exporter.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Bytes that are durable and whole.
    length: u64,
    /// Whether something behind `length` may have been written.
    dirty: bool,
    open: BTreeMap<u64, Place>,
    max_open: usize,
}

/// Where the last record of an open letter stands.
#[derive(Debug, Clone)]
struct Place {
    at: u64,
    length: usize,
    /// For the counts.
    error_type: String,
}

impl DeadLetters {
    /// Opens the letters in `dir`, and makes it when it is not there.
    ///
    /// # Errors
    /// [`DeadLetterError`] when the files cannot be read or are damaged.
    pub fn open(dir: &Path) -> Result<Self, DeadLetterError> {
        Self::open_with(dir, MAX_OPEN)
    }

    /// The same with another bound for open letters.
    ///
    /// # Errors
    /// As [`DeadLetters::open`].
    pub fn open_with(dir: &Path, max_open: usize) -> Result<Self, DeadLetterError> {
        let path = dir.join("letters.log");
        let io = |doing| move |source| io_error(doing, &dir.join("letters.log"), source);
        std::fs::create_dir_all(dir).map_err(io("make the folder of"))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        let mut inner = Inner { length: 0, dirty: false, open: BTreeMap::new(), file, max_open };
        inner.recover(&path)?;
        // IMPORTANT: the name is durable before anything relies on the file.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync the folder of"))?;
        Ok(Self { path, inner: Mutex::new(inner) })
    }

    /// Makes letters durable. For an entry that has an open letter, the old one's first attempt
    /// is kept and its attempts are added.
    ///
    /// # Errors
    /// [`DeadLetterError`]; none of the letters counts then.
    pub fn append(&self, letters: Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        let mut inner = locked(&self.inner);
        let mut records = Vec::with_capacity(letters.len());
        let mut more = 0_usize;
        for mut letter in letters {
            match inner.open.get(&letter.sequence).cloned() {
                Some(place) => {
                    let old = inner.read(&self.path, letter.sequence, &place)?;
                    letter.first_attempt_ns = old.first_attempt_ns;
                    letter.attempts = letter.attempts.saturating_add(old.attempts);
                }
                None => more = more.saturating_add(1),
            }
            records.push(Record::Letter(letter));
        }
        if more > 0 && inner.open.len().saturating_add(more) > inner.max_open {
            return Err(DeadLetterError::Full);
        }
        inner.append(&self.path, records)
    }

    /// Marks letters as done with; those that are not open are left alone.
    ///
    /// # Errors
    /// [`DeadLetterError`]; they are then still open.
    pub fn resolve(
        &self,
        sequences: &[u64],
        how: Resolved,
        at_ns: u64,
    ) -> Result<(), DeadLetterError> {
        let mut inner = locked(&self.inner);
        let records: Vec<Record> = sequences
            .iter()
            .filter(|sequence| inner.open.contains_key(sequence))
            .map(|sequence| Record::Resolved { sequence: *sequence, how, at_ns })
            .collect();
        if records.is_empty() { Ok(()) } else { inner.append(&self.path, records) }
    }

    /// Open letters from the sequence `from` on, in order, at most `limit` and [`MAX_LETTERS_PAGE`]. The
    /// next page starts behind the last.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub fn list(&self, from: u64, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let inner = locked(&self.inner);
        let page = inner.open.range(from..).take(limit.min(MAX_LETTERS_PAGE));
        page.map(|(sequence, place)| inner.read(&self.path, *sequence, place)).collect()
    }

    /// The open letter of an entry.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub fn get(&self, sequence: u64) -> Result<Option<DeadLetter>, DeadLetterError> {
        let inner = locked(&self.inner);
        let place = inner.open.get(&sequence);
        place.map(|place| inner.read(&self.path, sequence, place)).transpose()
    }

    /// Whether an entry has an open letter.
    pub fn contains(&self, sequence: u64) -> bool {
        locked(&self.inner).open.contains_key(&sequence)
    }

    /// Number of open letters.
    pub fn len(&self) -> usize {
        locked(&self.inner).open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Open letters by type of error; bounded as
    /// [`MAX_ERROR_TYPES`](super::status::MAX_ERROR_TYPES) says.
    pub fn by_type(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for place in locked(&self.inner).open.values() {
            count_type(&mut counts, &place.error_type);
        }
        counts
    }
}

impl Inner {
    /// Reads all lines, and cuts off a torn one.
    fn recover(&mut self, path: &Path) -> Result<(), DeadLetterError> {
        let read = |source| io_error("read", path, source);
        let length = self.file.metadata().map_err(read)?.len();
        let mut lines = Lines::new(BufReader::new(&self.file));
        while let Some((at, line)) = lines.next().map_err(read)? {
            let Some((_, record)) = parse(line) else {
                let number = lines.number;
                // What is durable later says that this was durable before.
                while let Some((_, line)) = lines.next().map_err(read)? {
                    if parse(line).is_some_and(|(group, _)| group > at) {
                        return Err(DeadLetterError::Damaged { path: shown(path), line: number });
                    }
                }
                break;
            };
            self.length = at.saturating_add(line.len() as u64);
            apply(&mut self.open, &record, at, line.len());
        }
        self.dirty = self.length < length;
        self.repair(path)
    }

    /// Cuts off what is not whole.
    fn repair(&mut self, path: &Path) -> Result<(), DeadLetterError> {
        if self.dirty {
            let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
            cut.map_err(|source| io_error("cut", path, source))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn append(&mut self, path: &Path, records: Vec<Record>) -> Result<(), DeadLetterError> {
        self.repair(path)?;
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let start = bytes.len();
            let line =
                line(self.length, &record).map_err(|source| io_error("write", path, source))?;
            bytes.extend_from_slice(line.as_bytes());
            places.push((record, self.length.saturating_add(start as u64), line.len()));
        }
        self.dirty = true;
        let write = self.file.write_all_at(&bytes, self.length);
        // IMPORTANT: on disk before anybody counts the entry as done with.
        let synced = write.and_then(|()| self.file.sync_data());
        synced.map_err(|source| io_error("write", path, source))?;
        self.dirty = false;
        self.length = self.length.saturating_add(bytes.len() as u64);
        for (record, at, length) in places {
            apply(&mut self.open, &record, at, length);
        }
        Ok(())
    }

    fn read(
        &self,
        path: &Path,
        sequence: u64,
        place: &Place,
    ) -> Result<DeadLetter, DeadLetterError> {
        let mut bytes = vec![0; place.length];
        let read = self.file.read_exact_at(&mut bytes, place.at);
        read.map_err(|source| io_error("read", path, source))?;
        match parse(&bytes) {
            Some((_, Record::Letter(letter))) if letter.sequence == sequence => Ok(letter),
            _ => Err(DeadLetterError::Damaged { path: shown(path), line: 0 }),
        }
    }
}

fn apply(open: &mut BTreeMap<u64, Place>, record: &Record, at: u64, length: usize) {
    match record {
        Record::Letter(letter) => {
            let place = Place { at, length, error_type: letter.error_type.clone() };
            open.insert(letter.sequence, place);
        }
        Record::Resolved { sequence, .. } => {
            open.remove(sequence);
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> DeadLetterError {
    DeadLetterError::Io { doing, path: shown(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(sequence: u64) -> DeadLetter {
        DeadLetter {
            sequence,
            id: format!("{sequence:032x}"),
            tenant: "acme".to_owned(),
            data_stream: "spanledger-default".to_owned(),
            status: 400,
            error_type: ["a", "b"][usize::from(sequence % 2 == 1)].to_owned(),
            reason: String::new(),
            first_attempt_ns: 5,
            last_attempt_ns: 5,
            attempts: 1,
        }
    }

    #[test]
    fn letters_are_there_after_a_restart_until_they_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(dir.path()).unwrap();
        letters.append((0..5).map(letter).collect()).unwrap();
        letters.resolve(&[1, 99], Resolved::Delivered, 9).unwrap();
        let again = DeadLetter { first_attempt_ns: 8, last_attempt_ns: 8, ..letter(2) };
        letters.append(vec![again]).unwrap();
        drop(letters);
        let letters = DeadLetters::open(dir.path()).unwrap();
        let page = letters.list(0, 2).unwrap();
        assert_eq!(page.iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [0, 2]);
        let twice = &page[1];
        assert_eq!((twice.first_attempt_ns, twice.last_attempt_ns, twice.attempts), (5, 8, 2));
        let rest = letters.list(3, 10).unwrap();
        assert_eq!(rest, [letter(3), letter(4)]);
        assert_eq!(letters.get(1).unwrap(), None);
        assert_eq!(letters.by_type(), BTreeMap::from([("a".into(), 3), ("b".into(), 1)]));
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_byte_and_what_was_durable_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters.log");
        let letters = DeadLetters::open(dir.path()).unwrap();
        letters.append(vec![letter(0)]).unwrap();
        let durable = std::fs::metadata(&path).unwrap().len();
        letters.append(vec![letter(1)]).unwrap();
        drop(letters);
        let bytes = std::fs::read(&path).unwrap();
        for length in usize::try_from(durable).unwrap()..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let letters = DeadLetters::open(dir.path()).unwrap();
            assert_eq!(letters.list(0, 9).unwrap(), [letter(0)], "{length} bytes");
            letters.append(vec![letter(2)]).unwrap();
            assert_eq!(letters.list(0, 9).unwrap(), [letter(0), letter(2)]);
        }
    }

    #[test]
    fn damage_that_no_crash_makes_is_an_error_and_never_another_letter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters.log");
        let letters = DeadLetters::open(dir.path()).unwrap();
        letters.append(vec![letter(0)]).unwrap();
        let first = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        letters.append(vec![letter(1), letter(2)]).unwrap();
        drop(letters);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..first {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            std::fs::write(&path, broken).unwrap();
            let error = DeadLetters::open(dir.path()).unwrap_err();
            assert!(matches!(error, DeadLetterError::Damaged { line: 1, .. }), "byte {at}");
        }
    }

    #[test]
    fn the_last_group_may_be_torn_anywhere_because_pages_are_written_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters.log");
        let letters = DeadLetters::open(dir.path()).unwrap();
        letters.append(vec![letter(0)]).unwrap();
        let first = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        letters.append(vec![letter(1), letter(2)]).unwrap();
        drop(letters);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[first..first + 40].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let letters = DeadLetters::open(dir.path()).unwrap();
        assert_eq!(letters.list(0, 9).unwrap(), [letter(0)]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), first as u64);
    }

    #[test]
    fn more_than_the_bound_is_refused_and_nothing_of_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open_with(dir.path(), 2).unwrap();
        let error = letters.append((0..3).map(letter).collect()).unwrap_err();
        assert!(matches!(error, DeadLetterError::Full));
        assert!(letters.is_empty());
        letters.append((0..2).map(letter).collect()).unwrap();
        letters.append(vec![letter(1)]).unwrap();
        assert_eq!(letters.get(1).unwrap().unwrap().attempts, 2, "one that is open has room");
    }

    proptest! {
        #[test]
        fn the_file_says_what_a_map_would(steps in proptest::collection::vec((0..3_u8, 0..6_u64), 0..30)) {
            let dir = tempfile::tempdir().unwrap();
            let mut letters = DeadLetters::open(dir.path()).unwrap();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for (step, sequence) in steps {
                match step {
                    0 => {
                        letters.append(vec![letter(sequence)]).unwrap();
                        *model.entry(sequence).or_default() += 1;
                    }
                    1 => {
                        letters.resolve(&[sequence], Resolved::Dropped, 1).unwrap();
                        model.remove(&sequence);
                    }
                    _ => {
                        drop(letters);
                        letters = DeadLetters::open(dir.path()).unwrap();
                    }
                }
                let shown = letters.list(0, 100).unwrap();
                let shown: BTreeMap<u64, u32> =
                    shown.into_iter().map(|letter| (letter.sequence, letter.attempts)).collect();
                prop_assert_eq!(&shown, &model);
            }
        }
    }
}
