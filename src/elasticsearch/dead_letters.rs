//! Dead letters: the entries that the cluster does not take, durably, with the reason.
//!
//! `letters.log` in a folder of its own, one record per line:
//!
//! ```text
//! <crc32c> <start of the group> {"letter":{"sequence":7,"id":"…","tenant":"…",…}}⏎
//! <crc32c> <start of the group> {"resolved":{"sequence":7,"how":"delivered","at_ns":…}}⏎
//! <crc32c> <start of the group> {"resolved":{"sequence":8,"how":{"dropped":{"by":"…","reason":"…"}},…}}⏎
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
//! - A torn last group is of a crash and was never relied upon: it is kept beside and cut off.
//!   Damage of anything that was durable is an error (`letter_log.rs`).
//! - When most of the file is done with, it is written anew with the open letters, and with who
//!   dropped which and why.
//!
//! Letters of all tenants lie in one file and are listed together: they are the operator's, who
//! runs the export, and not for whoever may read one tenant's evidence.

use super::letter::{DeadLetter, Record, Resolved, parse};
use super::letter_log::{LetterLog, Place, damaged, io_error};
use super::status::locked;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Most open letters. When so many entries are refused, something is wrong with all of them: the
/// exporter then waits instead of putting more aside. An open letter costs about 100 bytes of
/// memory.
pub const MAX_OPEN: usize = 100_000;

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
        "{path} is damaged at byte {at}; stop the server, move the folder of that file and \
         cursors/elasticsearch.cursor of the data folder away, and start again: what the file \
         named is in the ledger, and all of it is sent again from there"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// Where what cannot be read starts, in bytes.
        at: u64,
    },
    /// There are too many open letters.
    #[error("{MAX_OPEN} dead letters are open; find out why, then replay or drop them")]
    Full,
}

/// The dead letters of an exporter.
///
/// What gives a [`DeadLetterError`] reads or writes files: not for a thread that others need. The
/// rest may be asked anywhere.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    max_open: usize,
    /// Number of open letters.
    count: AtomicUsize,
    /// Never held while a file is read or written.
    index: Mutex<Index>,
    /// Held while the file is written; locked before `index`, which nobody else changes.
    log: Mutex<LetterLog>,
}

/// The file that the places are in, and the places.
#[derive(Debug)]
struct Index {
    file: Arc<File>,
    standing: Standing,
}

/// Where each open letter stands.
#[derive(Debug, Default)]
struct Standing {
    open: BTreeMap<u64, Place>,
    /// Bytes of lines that count: of open letters, and of what was dropped.
    live: u64,
}

impl Standing {
    fn apply(&mut self, record: &Record, place: Place) {
        let (before, counts) = match record {
            Record::Letter(letter) => (self.open.insert(letter.sequence, place), true),
            Record::Resolved { sequence, how, .. } => {
                (self.open.remove(sequence), matches!(how, Resolved::Dropped { .. }))
            }
        };
        let gone = before.map_or(0, |place| place.length as u64);
        let more = if counts { place.length as u64 } else { 0 };
        self.live = self.live.saturating_sub(gone).saturating_add(more);
    }
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
        let mut standing = Standing::default();
        let log = LetterLog::open(dir, |record, place| standing.apply(&record, place))?;
        let letters = Self {
            path: log.path().to_owned(),
            max_open,
            count: AtomicUsize::new(standing.open.len()),
            index: Mutex::new(Index { file: log.file().clone(), standing }),
            log: Mutex::new(log),
        };
        letters.tidy(&mut locked(&letters.log));
        Ok(letters)
    }

    /// The open letters in `dir`, by sequence, while no server runs on it: nothing is written.
    /// `None` when nothing was ever exported there.
    ///
    /// # Errors
    /// [`DeadLetterError`] when the files cannot be read or are damaged.
    pub fn read_only(dir: &Path) -> Result<Option<BTreeMap<u64, DeadLetter>>, DeadLetterError> {
        let mut open = BTreeMap::new();
        let found = LetterLog::read_only(dir, |record| match record {
            Record::Letter(letter) => {
                open.insert(letter.sequence, letter);
            }
            Record::Resolved { sequence, .. } => {
                open.remove(&sequence);
            }
        })?;
        Ok(found.then_some(open))
    }

    /// Makes letters durable. For an entry that has an open letter, the old one's first attempt
    /// is kept and its attempts are added.
    ///
    /// # Errors
    /// [`DeadLetterError`]; none of the letters counts then.
    pub fn append(&self, letters: Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        let mut log = locked(&self.log);
        let mut records = Vec::with_capacity(letters.len());
        let mut more = 0_usize;
        for mut letter in letters {
            match self.get(letter.sequence)? {
                Some(old) => {
                    letter.first_attempt_ns = old.first_attempt_ns;
                    letter.attempts = letter.attempts.saturating_add(old.attempts);
                }
                None => more = more.saturating_add(1),
            }
            records.push(Record::Letter(letter));
        }
        if more > 0 && self.len().saturating_add(more) > self.max_open {
            return Err(DeadLetterError::Full);
        }
        self.write(&mut log, &records)
    }

    /// Marks letters as done with; those that are not open are left alone. Gives how many were.
    ///
    /// # Errors
    /// [`DeadLetterError`]; they are then still open.
    pub fn resolve(
        &self,
        sequences: &[u64],
        how: Resolved,
        at_ns: u64,
    ) -> Result<usize, DeadLetterError> {
        let mut log = locked(&self.log);
        let open: BTreeSet<u64> =
            sequences.iter().copied().filter(|sequence| self.contains(*sequence)).collect();
        let records: Vec<Record> = open
            .into_iter()
            .zip(std::iter::repeat(how))
            .map(|(sequence, how)| Record::Resolved { sequence, how, at_ns })
            .collect();
        if !records.is_empty() {
            self.write(&mut log, &records)?;
        }
        Ok(records.len())
    }

    /// Open letters from the sequence `from` on, in order, at most `limit`. The next page starts
    /// behind the last.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub fn list(&self, from: u64, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let (file, page) = {
            let index = locked(&self.index);
            let page = index.standing.open.range(from..).take(limit);
            let page: Vec<_> = page.map(|(sequence, place)| (*sequence, *place)).collect();
            (index.file.clone(), page)
        };
        page.into_iter().map(|(sequence, place)| self.read(&file, sequence, place)).collect()
    }

    /// The open letter of an entry.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub fn get(&self, sequence: u64) -> Result<Option<DeadLetter>, DeadLetterError> {
        let (file, place) = {
            let index = locked(&self.index);
            (index.file.clone(), index.standing.open.get(&sequence).copied())
        };
        place.map(|place| self.read(&file, sequence, place)).transpose()
    }

    /// Whether an entry has an open letter.
    pub fn contains(&self, sequence: u64) -> bool {
        locked(&self.index).standing.open.contains_key(&sequence)
    }

    /// Number of open letters.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self, log: &mut LetterLog, records: &[Record]) -> Result<(), DeadLetterError> {
        let places = log.append(records)?;
        {
            let mut index = locked(&self.index);
            for (record, place) in records.iter().zip(places) {
                index.standing.apply(record, place);
            }
            self.count.store(index.standing.open.len(), Ordering::Release);
        }
        self.tidy(log);
        Ok(())
    }

    /// Writes the file anew when most of it is done with. That may fail: the old one is as good.
    fn tidy(&self, log: &mut LetterLog) {
        let (live, open) = {
            let index = locked(&self.index);
            if !log.is_mostly_done_with(index.standing.live) {
                return;
            }
            (index.standing.live, index.standing.open.clone())
        };
        let is_open = |record: &Record, at: u64| match record {
            Record::Letter(letter) => {
                open.get(&letter.sequence).is_some_and(|place| place.at == at)
            }
            Record::Resolved { .. } => false,
        };
        match log.rewrite(is_open) {
            Ok(open) => {
                let standing = Standing { open: open.into_iter().collect(), live };
                *locked(&self.index) = Index { file: log.file().clone(), standing };
            }
            Err(error) => {
                tracing::warn!(%error, "what is done with stays in the file of dead letters");
            }
        }
    }

    fn read(
        &self,
        file: &File,
        sequence: u64,
        place: Place,
    ) -> Result<DeadLetter, DeadLetterError> {
        let mut bytes = vec![0; place.length];
        let read = file.read_exact_at(&mut bytes, place.at);
        read.map_err(|source| io_error("read", &self.path, source))?;
        match parse(&bytes) {
            Some((_, Record::Letter(letter))) if letter.sequence == sequence => Ok(letter),
            _ => Err(damaged(&self.path, place.at)),
        }
    }
}

#[cfg(test)]
#[path = "dead_letters_tests.rs"]
mod tests;
