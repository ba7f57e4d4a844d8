//! The leaves that were written last, in memory, for who follows the log.
//!
//! Tiles need nothing of an entry but its leaf, a tenth of it. Under load groups go to the disk past
//! the system's memory ([`direct`](super::direct)), so that reading them back for their leaves costs
//! a quarter of what all else does. What is not here any more is read from the disk.

use super::types::Hash;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes of leaves that are kept: those of a second under more load than two cores bring. Without a
/// metric: what goes over it costs a read of the ledger, and nothing is lost.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// The leaves of a group.
#[derive(Debug, Default)]
pub struct Leaves {
    first: u64,
    /// The records, one behind the other.
    records: Vec<u8>,
    /// Where each record ends, and its hash.
    ends: Vec<(usize, Hash)>,
}

impl Leaves {
    /// Room for so many leaves.
    pub(super) fn with_capacity(leaves: usize) -> Self {
        /// Bytes of a record with three commitments.
        const USUAL: usize = 192;
        let records = Vec::with_capacity(leaves.saturating_mul(USUAL));
        Self { first: 0, records, ends: Vec::with_capacity(leaves) }
    }

    /// Adds a leaf: `write` appends its record and gives its hash.
    pub(super) fn push(
        &mut self,
        sequence: u64,
        write: impl FnOnce(&mut Vec<u8>) -> Option<Hash>,
    ) -> Option<Hash> {
        let start = self.records.len();
        let Some(hash) = write(&mut self.records) else {
            self.records.truncate(start);
            return None;
        };
        if self.ends.is_empty() {
            self.first = sequence;
        }
        self.ends.push((self.records.len(), hash));
        Some(hash)
    }

    fn next(&self) -> u64 {
        self.first.saturating_add(self.ends.len() as u64)
    }

    fn bytes(&self) -> usize {
        let ends = self.ends.capacity().saturating_mul(size_of::<(usize, Hash)>());
        self.records.capacity().saturating_add(ends)
    }

    /// Record and hash of each leaf from the entry `from` on.
    pub fn from(&self, from: u64) -> impl Iterator<Item = (&[u8], Hash)> {
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        let leaves = starts.zip(&self.ends).skip(skipped);
        leaves.filter_map(|(start, (end, hash))| Some((self.records.get(start..*end)?, *hash)))
    }
}

/// What is kept, once somebody has asked.
#[derive(Debug, Default)]
pub(super) struct RecentLeaves(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Whether anybody follows: nothing is kept for nobody.
    wanted: bool,
    groups: VecDeque<Leaves>,
    bytes: usize,
}

impl RecentLeaves {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the leaves of a group that is durable. Who does not take them in time reads the ledger,
    /// and none are kept until he asks again.
    pub(super) fn keep(&self, leaves: Leaves) {
        let mut kept = self.kept();
        if !kept.wanted {
            return;
        }
        kept.bytes = kept.bytes.saturating_add(leaves.bytes());
        kept.groups.push_back(leaves);
        if kept.bytes > KEPT_BYTES {
            *kept = Kept::default();
        }
    }

    /// Takes the group that has the leaf `from`; what is before it is not kept any longer.
    pub(super) fn take(&self, from: u64) -> Option<Leaves> {
        let mut kept = self.kept();
        kept.wanted = true;
        while kept.groups.front().is_some_and(|group| group.next() <= from) {
            kept.drop_first();
        }
        let has_it = kept.groups.front().is_some_and(|group| group.first <= from);
        if has_it { kept.drop_first() } else { None }
    }
}

impl Kept {
    fn drop_first(&mut self) -> Option<Leaves> {
        let first = self.groups.pop_front();
        self.bytes = self.bytes.saturating_sub(first.as_ref().map_or(0, Leaves::bytes));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(first: u64, records: &[&[u8]]) -> Leaves {
        let mut leaves = Leaves::default();
        for (sequence, record) in (first..).zip(records) {
            let hash = leaves.push(sequence, |out| {
                out.extend_from_slice(record);
                Some([record[0]; 32])
            });
            assert_eq!(hash, Some([record[0]; 32]));
        }
        leaves
    }

    fn records(leaves: &Leaves, from: u64) -> Vec<(&[u8], u8)> {
        leaves.from(from).map(|(record, hash)| (record, hash[0])).collect()
    }

    #[test]
    fn leaves_are_taken_in_order_from_where_the_reader_is() {
        let recent = RecentLeaves::default();
        assert!(recent.take(0).is_none());
        recent.keep(group(0, &[b"a", b"bb"]));
        recent.keep(group(2, &[b"ccc"]));
        recent.keep(group(3, &[b"d", b"e"]));
        let taken = recent.take(1).unwrap();
        assert_eq!(records(&taken, 1), [(&b"bb"[..], b'b')]);
        // The second group is skipped.
        let taken = recent.take(3).unwrap();
        assert_eq!(records(&taken, 3), [(&b"d"[..], b'd'), (&b"e"[..], b'e')]);
        assert!(recent.take(5).is_none());
    }

    #[test]
    fn what_was_before_the_first_question_or_is_in_a_gap_has_to_be_read() {
        let recent = RecentLeaves::default();
        recent.keep(group(0, &[b"a"]));
        assert!(recent.take(0).is_none());
        recent.keep(group(1, &[b"b"]));
        assert!(recent.take(0).is_none());
        assert!(recent.take(1).is_some());
        assert_eq!(recent.kept().bytes, 0);
    }

    #[test]
    fn none_are_kept_for_who_does_not_take_them() {
        let recent = RecentLeaves::default();
        assert!(recent.take(0).is_none());
        let long = vec![b'x'; KEPT_BYTES / 4];
        for sequence in 0..6 {
            recent.keep(group(sequence, &[&long]));
        }
        assert_eq!(recent.kept().bytes, 0);
        assert!(recent.take(5).is_none());
        recent.keep(group(6, &[b"a"]));
        assert!(recent.take(6).is_some());
    }

    #[test]
    fn a_leaf_that_cannot_be_made_leaves_nothing_behind() {
        let mut leaves = group(7, &[b"a"]);
        let none = leaves.push(8, |out| {
            out.push(b'?');
            None
        });
        assert_eq!(none, None);
        assert_eq!(records(&leaves, 0), [(&b"a"[..], b'a')]);
    }
}
