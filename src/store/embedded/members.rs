//! Groups over the index: ids are looked up in the runs, and each hit is checked in the ledger.

use super::super::{EntryView, Pruned, StoreError};
use super::ids::Damaged;
use super::listing::Lister;
use super::plan::Indexed;
use super::search::{read_range, unreadable};
use crate::correlate::{Id, Member, Members, Namespace};
use crate::ledger::Reader;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::time::Instant;

/// The entries of one tenant, found by their ids.
pub(super) struct IndexedMembers<'s> {
    pub(super) reader: &'s Reader,
    pub(super) indexed: &'s Indexed,
    pub(super) lister: &'s Lister,
    pub(super) tenant: &'s str,
    pub(super) deadline: Instant,
    pub(super) watermark: u64,
    pub(super) damaged: &'s dyn Fn(Damaged),
    /// What the runs do not list yet, listed for this one question.
    pub(super) unlisted: Option<HashMap<u64, Vec<u64>>>,
    pub(super) out_of_time: bool,
    /// Entries that were listed under an id of the group and have no body any more. Where a key is
    /// the only thing that still says so, its 64 bits under the secret of the index do.
    pub(super) pruned: BTreeSet<Pruned>,
}

impl IndexedMembers<'_> {
    /// The entries listed under one of the keys, in order.
    fn sequences(&mut self, keys: &[u64]) -> Result<Vec<u64>, StoreError> {
        if self.unlisted.is_none() {
            self.unlisted = Some(self.list_unlisted()?);
        }
        let mut found = Vec::new();
        for key in keys {
            let whole = 0..self.watermark;
            if let Err(damage) = self.indexed.ids.find(*key, &whole, &mut found) {
                let range = damage.range.clone();
                (self.damaged)(damage);
                self.add_unlisted(&range)?;
                // The other runs are still to be asked: each side of the damage by itself.
                self.find_around(*key, &range, &mut found);
            }
            if let Some(unlisted) = &self.unlisted {
                found.extend(unlisted.get(key).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn find_around(&self, key: u64, damaged: &Range<u64>, found: &mut Vec<u64>) {
        for side in [0..damaged.start, damaged.end..self.watermark] {
            if let Err(damage) = self.indexed.ids.find(key, &side, found) {
                (self.damaged)(damage);
            }
        }
    }

    fn list_unlisted(&mut self) -> Result<HashMap<u64, Vec<u64>>, StoreError> {
        self.unlisted = Some(HashMap::new());
        let tail = self.indexed.ids.end..self.watermark;
        let ranges: Vec<Range<u64>> = self.indexed.ids.gaps().chain([tail]).collect();
        for range in ranges {
            self.add_unlisted(&range)?;
        }
        Ok(self.unlisted.take().unwrap_or_default())
    }

    /// Reads entries that no run lists. The time for the question bounds it.
    fn add_unlisted(&mut self, range: &Range<u64>) -> Result<(), StoreError> {
        let (lister, tenant, deadline) = (self.lister, self.tenant, self.deadline);
        let (mut keys, mut word) = (Vec::new(), String::new());
        let mut out_of_time = false;
        let mut found = self.unlisted.take().unwrap_or_default();
        // The latest first: they are what somebody asks for while an index is being built.
        let mut end = range.end;
        while end > range.start && !out_of_time {
            const AT_ONCE: u64 = 4096;
            let part = end.saturating_sub(AT_ONCE).max(range.start)..end;
            end = part.start;
            read_range(self.reader, &part, &mut |chunk| {
                for entry in chunk.entries().filter(|e| part.contains(&e.sequence)) {
                    if entry.tenant == tenant {
                        lister.list_keys(&EntryView::from(entry), &mut keys, &mut word);
                        for key in keys.drain(..) {
                            found.entry(key).or_default().push(entry.sequence);
                        }
                    }
                }
                Ok(())
            })?;
            out_of_time = Instant::now() >= deadline && end > range.start;
        }
        self.out_of_time |= out_of_time;
        self.unlisted = Some(found);
        Ok(())
    }

    /// Gives those that carry what they were listed under. Those without a body cannot say any more
    /// whether they do: they are given back.
    fn visit(
        &self,
        sequences: Vec<u64>,
        known: &HashSet<u64>,
        carries: &dyn Fn(&EntryView<'_>) -> bool,
        visit: &mut dyn FnMut(Member),
    ) -> Result<Vec<Pruned>, StoreError> {
        let mut pruned = Vec::new();
        for sequence in sequences.into_iter().filter(|sequence| !known.contains(sequence)) {
            let entry = self.reader.get(sequence).map_err(unreadable)?;
            let Some(entry) = entry.filter(|entry| entry.tenant == self.tenant) else { continue };
            let view = EntryView::from(entry.as_ref());
            if carries(&view) {
                visit(view.member());
            } else if entry.pruned {
                let (id, received_ns) = (entry.id.0, entry.received_ns);
                pruned.push(Pruned { sequence, id, received_ns });
            }
        }
        Ok(pruned)
    }
}

impl Members for IndexedMembers<'_> {
    type Error = StoreError;

    fn find(
        &mut self,
        id: &Id<'_>,
        known: &HashSet<u64>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), StoreError> {
        let keys: Vec<u64> = self.lister.id_keys(self.tenant, id).collect();
        let sequences = self.sequences(&keys)?;
        let carries = |view: &EntryView<'_>| match id.namespace {
            Namespace::Entry => view.id_text() == id.text,
            _ => view.facets().ids.iter().any(|own| own.is_same_as(id)),
        };
        let pruned = self.visit(sequences, known, &carries, visit)?;
        self.pruned.extend(pruned);
        Ok(())
    }

    fn paused_in(
        &mut self,
        thread: &Id<'_>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), StoreError> {
        let sequences = self.sequences(&[self.lister.pause_key(self.tenant, thread)])?;
        let carries = |view: &EntryView<'_>| {
            let facets = view.facets();
            facets.pause().is_some()
                && facets.ids_in(Namespace::Thread).any(|own| own.is_same_as(thread))
        };
        // A thread has runs of other stories, too.
        self.visit(sequences, &HashSet::new(), &carries, visit).map(drop)
    }

    fn out_of_time(&self) -> bool {
        self.out_of_time || Instant::now() >= self.deadline
    }
}
