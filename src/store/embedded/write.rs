//! The consumer's side: entries become keys in the open run and tags in the open block.
//!
//! ```text
//!  0 ─── committed ───┬─── added: whole blocks ───┬─ open block ─┐
//!                     └ tantivy, in memory        └ here         next entry
//! ```
//!
//! After a restart the consumer reads again from the last commit or run on, whichever is less:
//! what was in memory is listed again, and what is listed already is passed over.

use super::block::Block;
use super::dictionary::Dictionary;
use super::search::read_range;
use super::{EmbeddedStore, EntryView, StoreError};
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// What whoever changes the index has in hand.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// The block that is being filled.
    block: Block,
    /// Sequence number and key of entries, for the open run.
    records: Vec<(u64, u64)>,
    /// Scratch space: the keys of one entry, and a word.
    keys: Vec<u64>,
    word: String,
}

impl EmbeddedStore {
    fn writable(&self) -> Result<&Dictionary, StoreError> {
        self.dictionary
            .as_ref()
            .filter(|_| self.writes)
            .ok_or_else(|| StoreError::Request("the index was opened for reading only".to_owned()))
    }

    /// Lists entries, and commits the dictionary when enough is waiting.
    pub(super) fn write_entries(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError> {
        let dictionary = self.writable()?;
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.mend()?;
        let written = self.list_entries(entries, dictionary, &mut writing);
        self.note_listed(dictionary, &writing.block);
        written
    }

    /// Commits the blocks that are full, when they are worth a segment.
    pub(super) fn flush_blocks(&self) -> Result<(), StoreError> {
        let dictionary = self.writable()?;
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.mend()?;
        let committed = commit_from(dictionary, self.options.idle_commit_entries);
        self.note_listed(dictionary, &writing.block);
        committed
    }

    fn list_entries(
        &self,
        entries: &[EntryView<'_>],
        dictionary: &Dictionary,
        writing: &mut Writing,
    ) -> Result<(), StoreError> {
        let Writing { block, records, keys, word } = writing;
        // After a failure the dictionary goes on where it was committed.
        if block.first != dictionary.added() {
            block.begin(dictionary.added());
        }
        records.clear();
        let mut ids_end = self.ids.end();
        let mut documents = Vec::new();
        for entry in entries {
            let sequence = entry.envelope.sequence;
            if sequence > ids_end || sequence > block.end {
                return Err(StoreError::Request(format!(
                    "entries of the index follow each other: {} comes next, not {sequence}",
                    ids_end.min(block.end)
                )));
            }
            let (to_ids, to_tags) = (sequence == ids_end, sequence == block.end);
            keys.clear();
            match (to_ids, to_tags) {
                (_, true) => self.lister.list(entry, keys, block),
                (true, false) => self.lister.list_keys(entry, keys, word),
                (false, false) => {}
            }
            if to_ids {
                ids_end = ids_end.saturating_add(1);
                records.extend(keys.iter().map(|key| (sequence, *key)));
            }
            if block.end.saturating_sub(block.first) >= self.options.block_entries {
                documents.push(block.take());
            }
        }
        self.ids.append(ids_end, records)?;
        dictionary.add(documents)?;
        commit_from(dictionary, self.options.commit_entries)
    }

    fn note_listed(&self, dictionary: &Dictionary, block: &Block) {
        let added = dictionary.added();
        let listed = if block.first == added { block.end } else { added };
        self.listed_tags.store(listed, Ordering::Relaxed);
    }

    /// Writes the runs again that were found to be damaged.
    pub(super) fn mend(&self) -> Result<(), StoreError> {
        let ranges =
            std::mem::take(&mut *self.damaged.lock().unwrap_or_else(PoisonError::into_inner));
        for range in ranges {
            tracing::warn!(?range, "a part of the index is damaged; it is written again");
            self.ids.replace(&range, &mut |part| self.records(part))?;
            self.mended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What a run of the range lists.
    fn records(&self, range: &Range<u64>) -> Result<Vec<(u64, u32)>, StoreError> {
        let (mut records, mut keys, mut word) = (Vec::new(), Vec::new(), String::new());
        read_range(&self.reader, range, &mut |chunk| {
            for entry in chunk.entries().filter(|entry| range.contains(&entry.sequence)) {
                let offset = entry.sequence.saturating_sub(range.start);
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                self.lister.list_keys(&EntryView::from(entry), &mut keys, &mut word);
                records.extend(keys.drain(..).map(|key| (key, offset)));
            }
            Ok(())
        })?;
        Ok(records)
    }
}

/// Commits when at least so many entries are waiting.
fn commit_from(dictionary: &Dictionary, least: u64) -> Result<(), StoreError> {
    let waiting = dictionary.added().saturating_sub(dictionary.view().end);
    if waiting >= least.max(1) { dictionary.commit() } else { Ok(()) }
}
