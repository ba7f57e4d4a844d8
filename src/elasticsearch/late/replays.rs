//! Entries that were delivered after the correlator had passed them: dead letters, replayed.
//!
//! Their sequences are noted durably before they are sent again, and until their documents were
//! given their ids. So neither a crash nor an outage in between loses one; one that was refused
//! again is looked at once more for nothing.

use crate::elasticsearch::status::locked;
use crate::store::StoreError;
use crate::store::durable::NumbersFile;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Sequences that are to be looked at again. As many as there are dead letters at most.
#[derive(Debug)]
pub struct Replays {
    file: NumbersFile,
    /// Each with how many requests are sending it just now.
    noted: Mutex<BTreeMap<u64, usize>>,
}

/// Says at its end that the sequences are not being sent any more.
#[derive(Debug)]
pub(in crate::elasticsearch) struct Sending {
    replays: Arc<Replays>,
    sequences: Vec<u64>,
}

impl Replays {
    /// Opens the file in `dir`, for the ledger with that random number. A damaged file is read as
    /// an empty one: a replayed entry may then lack ids until its group grows.
    pub fn open(dir: &Path, name: &str, ledger: [u8; 16]) -> Self {
        let path = dir.join(format!("{name}.replays"));
        let file = NumbersFile { path, title: "spanledger replays 1", ledger };
        let read = file.read();
        if read.is_none() && file.path.exists() {
            tracing::warn!(path = %file.path.display(), "is damaged and begun anew");
        }
        let noted = read.unwrap_or_default().into_iter().map(|sequence| (sequence, 0)).collect();
        Self { file, noted: Mutex::new(noted) }
    }

    /// Notes sequences before they are sent. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`]; then they must not be sent.
    pub(in crate::elasticsearch) fn note(
        self: &Arc<Self>,
        sequences: Vec<u64>,
    ) -> Result<Sending, StoreError> {
        let mut noted = locked(&self.noted);
        for sequence in &sequences {
            let sending = noted.entry(*sequence).or_default();
            *sending = sending.saturating_add(1);
        }
        let sending = Sending { replays: Arc::clone(self), sequences };
        let written = self.write(&noted);
        drop(noted);
        written.map(|()| sending)
    }

    /// Whether [`Replays::ready`] has some.
    pub(super) fn has_ready(&self) -> bool {
        locked(&self.noted).values().any(|sending| *sending == 0)
    }

    /// Some that are not being sent just now.
    pub(super) fn ready(&self, most: usize) -> Vec<u64> {
        let noted = locked(&self.noted);
        let ready = noted.iter().filter(|(_, sending)| **sending == 0);
        ready.map(|(sequence, _)| *sequence).take(most).collect()
    }

    /// Forgets sequences that were looked at, in order, but for those that are being sent again
    /// meanwhile.
    pub(super) fn done(&self, sequences: &[u64]) -> Result<(), StoreError> {
        let mut noted = locked(&self.noted);
        noted
            .retain(|sequence, sending| *sending > 0 || sequences.binary_search(sequence).is_err());
        self.write(&noted)
    }

    fn write(&self, noted: &BTreeMap<u64, usize>) -> Result<(), StoreError> {
        self.file.write(noted.keys().copied())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut noted = locked(&self.replays.noted);
        for sequence in &self.sequences {
            if let Some(sending) = noted.get_mut(sequence) {
                *sending = sending.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_survives_a_restart_until_it_was_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Arc::new(Replays::open(dir.path(), "late", [1; 16]));
        let replays = open();
        let sending = replays.note(vec![7, 3]).unwrap();
        assert!(!replays.has_ready(), "they are being sent");
        assert_eq!(open().ready(9), [3, 7], "after a crash nothing is being sent any more");
        drop(sending);
        assert_eq!(replays.ready(1), [3]);
        replays.done(&[3]).unwrap();
        assert_eq!((replays.ready(9), open().ready(9)), (vec![7], vec![7]));
        let other = Replays::open(dir.path(), "late", [2; 16]);
        assert!(!other.has_ready(), "those of another ledger say nothing");
    }

    #[test]
    fn what_is_sent_again_while_it_is_looked_at_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let replays = Arc::new(Replays::open(dir.path(), "late", [1; 16]));
        drop(replays.note(vec![3]).unwrap());
        let ready = replays.ready(9);
        let sending = replays.note(vec![3]).unwrap();
        replays.done(&ready).unwrap();
        drop(sending);
        assert_eq!(replays.ready(9), [3]);
    }

    #[test]
    fn a_damaged_file_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let replays = Arc::new(Replays::open(dir.path(), "late", [1; 16]));
        drop(replays.note(vec![3]).unwrap());
        let path = dir.path().join("late.replays");
        let text = std::fs::read_to_string(&path).unwrap().replace("\n3\n", "\n4\n");
        std::fs::write(&path, text).unwrap();
        assert!(!Replays::open(dir.path(), "late", [1; 16]).has_ready());
    }
}
