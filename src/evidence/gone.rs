//! Bodies that are gone, against what entries of ours say about them.
//!
//! Counted by segment and class, as retention takes them out: an entry of kind `prune` stands behind
//! the segment that it is about, so it finds the count of that segment complete, and nothing has to be
//! kept of entries that fit nothing. What a repair lost can lie anywhere; where that is in question the
//! segment is read again, entry by entry.

use super::verdict::{Code, Findings, Place};
use crate::ledger::EntryRef;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

/// Segments times classes of which bodies are gone that are compared: 100 MiB, and more than a ledger
/// of 50 TiB has. What is beyond counts as missing.
const MAX_PIECES: usize = 1 << 20;

/// Ranges of bodies that repairs lost: 16 MiB. What is beyond is named by nobody.
const MAX_LOST: usize = 1 << 20;

/// Shows entries again; `false` when not all of them can be read.
pub(super) type Again<'a> = &'a dyn Fn(Range<u64>, &mut dyn FnMut(&EntryRef<'_>)) -> bool;

/// What an entry of kind `prune` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pruning {
    /// The segment.
    pub(crate) range: Range<u64>,
    /// Of which class.
    pub(crate) class: u8,
    /// Received before that time.
    pub(crate) before_ns: u64,
    /// How many.
    pub(crate) entries: u64,
    /// Whether a repair says so of bodies that were gone before it: nobody knows why.
    pub(crate) told_again: bool,
}

/// Bodies of one class that are gone from one segment.
#[derive(Debug, Default, Clone)]
struct Bodies {
    count: u64,
    /// From the first of them to behind the last.
    range: Range<u64>,
    newest_ns: u64,
}

impl Bodies {
    fn add(&mut self, entry: &EntryRef<'_>) {
        if self.count == 0 {
            self.range.start = entry.sequence;
        }
        self.count = self.count.saturating_add(1);
        self.range.end = entry.sequence.saturating_add(1);
        self.newest_ns = self.newest_ns.max(entry.received_ns);
    }
}

/// What entries of kind `prune` say about one class of one segment, all together.
#[derive(Debug, Default)]
struct Said {
    end: u64,
    before_ns: u64,
    entries: u64,
    /// How many of these a repair found gone, and nobody said why.
    told_again: u64,
}

impl Said {
    /// How many of these bodies nobody put on record.
    fn leaves(&self, gone: &Bodies) -> u64 {
        let fits = self.end >= gone.range.end && self.before_ns > gone.newest_ns;
        gone.count.saturating_sub(if fits { self.entries } else { 0 })
    }
}

#[derive(Debug, Default)]
struct Piece {
    gone: Bodies,
    said: Said,
}

/// What is gone, and what is said about it.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// By the first entry of the segment, and class.
    pieces: BTreeMap<(u64, u8), Piece>,
    /// Bodies beyond [`MAX_PIECES`], and the first of them.
    beyond: u64,
    first_beyond: u64,
    /// What repairs lost.
    lost: Vec<RangeInclusive<u64>>,
}

impl Gone {
    /// The body of an entry is gone; its segment starts with the entry `segment`.
    pub(super) fn push(&mut self, entry: &EntryRef<'_>, segment: u64) {
        let key = (segment, entry.retention_class);
        let has_room = self.pieces.len() < MAX_PIECES;
        match self.pieces.get_mut(&key) {
            Some(piece) => piece.gone.add(entry),
            None if has_room => self.pieces.entry(key).or_default().gone.add(entry),
            None => {
                if self.beyond == 0 {
                    self.first_beyond = entry.sequence;
                }
                self.beyond = self.beyond.saturating_add(1);
            }
        }
    }

    /// An entry of kind `prune`, the entry `at`: it can only speak of what stands before it.
    pub(super) fn pruning(&mut self, pruning: &Pruning, at: u64) {
        if pruning.range.end > at {
            return;
        }
        // Where nothing is gone it was not carried out, or not yet.
        if let Some(piece) = self.pieces.get_mut(&(pruning.range.start, pruning.class)) {
            let said = &mut piece.said;
            said.end = said.end.max(pruning.range.end);
            said.before_ns = said.before_ns.max(pruning.before_ns);
            said.entries = said.entries.saturating_add(pruning.entries);
            if pruning.told_again {
                said.told_again = said.told_again.saturating_add(pruning.entries);
            }
        }
    }

    /// An entry of kind `repair`, the entry `at`, names the bodies that were lost: `3,7-9`.
    pub(super) fn lost(&mut self, sequences: &str, at: u64) {
        for named in sequences.split(',') {
            let (first, last) = named.split_once('-').unwrap_or((named, named));
            let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse()) else { continue };
            if first <= last && last < at && self.lost.len() < MAX_LOST {
                self.lost.push(first..=last);
            }
        }
    }

    /// Says what is gone.
    pub(super) fn finish(mut self, again: Again<'_>, findings: &mut Findings) {
        self.merge_lost();
        let (mut pruned, mut first) = (0_u64, None);
        let (mut unknown, mut first_unknown) = (0_u64, None);
        for ((_, class), piece) in &self.pieces {
            let (gone, missing) = self.missing(piece, *class, again);
            if missing > 0 {
                let (start, last) = (gone.range.start, gone.range.end.saturating_sub(1));
                let text = format!(
                    "the bodies of {missing} entries of the class {class} among {start} to {last} are gone, \
                     and no entry says so"
                );
                findings.add(Code::Missing, Place::entry(start), text);
            }
            let explained = gone.count.saturating_sub(missing);
            // What a repair found gone stays gone, so it is among these.
            let again = piece.said.told_again.min(explained);
            let by_time = explained.saturating_sub(again);
            pruned = pruned.saturating_add(by_time);
            first = first.or((by_time > 0).then_some(gone.range.start));
            unknown = unknown.saturating_add(again);
            first_unknown = first_unknown.or((again > 0).then_some(gone.range.start));
        }
        if self.beyond > 0 {
            let text = format!(
                "{} bodies are gone in so many segments and classes that they could not be compared with \
                 what is on record",
                self.beyond
            );
            findings.add(Code::Missing, Place::entry(self.first_beyond), text);
        }
        if let Some(first) = first {
            let text = format!(
                "{pruned} bodies were taken out when the time for which they are kept was over; leaves \
                 and hashes stay"
            );
            findings.add(Code::RetentionTrimmed, Place::entry(first), text);
        }
        if let Some(first) = first_unknown {
            let text = format!(
                "{unknown} bodies were gone before a repair, and no entry that it kept said why: whether \
                 their time was over, nobody can tell; leaves and hashes stay"
            );
            findings.add(Code::Repaired, Place::entry(first), text);
        }
    }

    /// What is gone and nothing says, as entries of kind `prune` would say it.
    pub(super) fn unsaid(mut self, again: Again<'_>) -> Vec<Pruning> {
        self.merge_lost();
        let pieces = self.pieces.iter().filter_map(|((segment, class), piece)| {
            let (gone, entries) = self.missing(piece, *class, again);
            (entries > 0).then_some(Pruning {
                range: *segment..gone.range.end,
                class: *class,
                before_ns: gone.newest_ns.saturating_add(1),
                entries,
                told_again: true,
            })
        });
        pieces.collect()
    }

    /// Bodies of a piece that no repair lost where that is in question, and how many of them nobody
    /// put on record.
    fn missing(&self, piece: &Piece, class: u8, again: Again<'_>) -> (Bodies, u64) {
        let mut gone = piece.gone.clone();
        if piece.said.leaves(&gone) > 0 && self.has_lost(&gone.range) {
            gone = self.not_lost(&gone, class, again).unwrap_or(gone);
        }
        let missing = piece.said.leaves(&gone);
        (gone, missing)
    }

    /// Sorts what repairs lost, in ranges that do not overlap.
    fn merge_lost(&mut self) {
        self.lost.sort_unstable_by_key(|range| *range.start());
        self.lost.dedup_by(|next, range| {
            let overlaps = next.start() <= range.end();
            if overlaps {
                *range = *range.start()..=*range.end().max(next.end());
            }
            overlaps
        });
    }

    /// Whether a repair lost something there.
    fn has_lost(&self, range: &Range<u64>) -> bool {
        let next = self.lost.partition_point(|lost| *lost.end() < range.start);
        self.lost.get(next).is_some_and(|lost| *lost.start() < range.end)
    }

    /// The same bodies without those that a repair lost.
    fn not_lost(&self, gone: &Bodies, class: u8, again: Again<'_>) -> Option<Bodies> {
        let mut left = Bodies::default();
        let is_whole = again(gone.range.clone(), &mut |entry| {
            let at = entry.sequence;
            let is_of = entry.pruned && entry.retention_class == class;
            if is_of && !self.has_lost(&(at..at.saturating_add(1))) {
                left.add(entry);
            }
        });
        is_whole.then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::ledger::{Commitments, EntryId};

    /// Entries of these classes, of which the bodies are gone; received at ten times their number.
    fn entries(classes: &[u8]) -> Vec<EntryRef<'static>> {
        let entry = |(sequence, class): (u64, &u8)| EntryRef {
            sequence,
            tenant_sequence: sequence,
            id: EntryId([1; 16]),
            tenant: "acme",
            tenant_pseudonym: [0; 16],
            retention_class: *class,
            received_ns: sequence * 10,
            mapping_version: [0; 8],
            source_key: None,
            conflict: false,
            commitments: Commitments::default(),
            body_hash: [0; 32],
            leaf_hash: [0; 32],
            pruned: true,
            sealed: &[],
            body: b"",
        };
        (0..).zip(classes).map(entry).collect()
    }

    fn pruning(range: Range<u64>, class: u8, before_ns: u64, entries: u64) -> Pruning {
        Pruning { range, class, before_ns, entries, told_again: false }
    }

    /// What comes of it when segments have four entries each.
    fn found(all: &[EntryRef<'_>], acts: &[Pruning], lost: &str) -> Findings {
        let mut gone = Gone::default();
        for entry in all {
            gone.push(entry, entry.sequence / 4 * 4);
        }
        for act in acts {
            gone.pruning(act, 100);
        }
        gone.lost(lost, 100);
        let again = |range: Range<u64>, see: &mut dyn FnMut(&EntryRef<'_>)| {
            all.iter().filter(|entry| range.contains(&entry.sequence)).for_each(see);
            true
        };
        let mut findings = Findings::default();
        gone.finish(&again, &mut findings);
        findings
    }

    #[test]
    fn segments_that_were_pruned_on_different_days_are_each_on_record() {
        let all = entries(&[2; 8]);
        let acts = [pruning(0..4, 2, 31, 4), pruning(4..8, 2, 71, 4)];
        let findings = found(&all, &acts, "");
        assert_eq!(findings.verdict(), Verdict::Partial, "{findings:?}");
        assert!(findings.listed()[0].message.starts_with("8 bodies"), "{findings:?}");
        let early = [pruning(0..4, 2, 31, 4), pruning(4..8, 2, 70, 4)];
        let findings = found(&all, &early, "");
        assert_eq!(findings.verdict(), Verdict::Compromised);
        assert_eq!(findings.listed()[0].place, Place::entry(4));
        assert_eq!(found(&[], &acts, "").verdict(), Verdict::Ok, "nothing is gone");
    }

    #[test]
    fn more_bodies_than_were_announced_are_missing() {
        let all = entries(&[2, 2, 3, 2]);
        for (acts, missing) in [
            (vec![], Some("3 entries of the class 2")),
            (vec![pruning(0..4, 2, 31, 2)], Some("1 entries of the class 2")),
            (vec![pruning(0..4, 2, 31, 3)], None),
            // What was held, and went later.
            (vec![pruning(0..4, 2, 31, 2), pruning(0..4, 2, 99, 1)], None),
            (vec![pruning(0..3, 2, 31, 3)], Some("3 entries of the class 2")),
            (vec![pruning(4..8, 2, 31, 3)], Some("3 entries of the class 2")),
            // It stands within what it speaks of.
            (vec![pruning(0..101, 2, 31, 3)], Some("3 entries of the class 2")),
        ] {
            let acts: Vec<_> = acts.into_iter().chain([pruning(0..4, 3, 31, 1)]).collect();
            let findings = found(&all, &acts, "");
            let said = findings.listed().iter().find(|it| it.code == Code::Missing);
            assert_eq!(said.is_some(), missing.is_some(), "{acts:?}: {findings:?}");
            assert!(said.is_none_or(|it| it.message.contains(missing.unwrap())), "{findings:?}");
        }
    }

    #[test]
    fn what_a_repair_found_gone_is_told_as_that_and_never_as_what_retention_took() {
        let all = entries(&[2; 4]);
        let again = |entries| Pruning { told_again: true, ..pruning(0..4, 2, 31, entries) };
        for (acts, codes) in [
            (vec![again(4)], vec![Code::Repaired]),
            (vec![pruning(0..4, 2, 31, 3), again(1)], vec![Code::RetentionTrimmed, Code::Repaired]),
            (vec![again(3)], vec![Code::Missing, Code::Repaired]),
        ] {
            let findings = found(&all, &acts, "");
            let found: Vec<_> = findings.listed().iter().map(|it| it.code).collect();
            assert_eq!(found, codes, "{acts:?}: {findings:?}");
        }
        let findings = found(&all, &[pruning(0..4, 2, 31, 3), again(1)], "");
        assert!(findings.listed()[0].message.starts_with("3 bodies"), "{findings:?}");
        assert!(findings.listed()[1].message.starts_with("1 bodies"), "{findings:?}");
    }

    #[test]
    fn what_a_repair_lost_is_not_missing_and_excuses_nothing_else() {
        let all = entries(&[2, 2, 3, 2]);
        let acts = || vec![pruning(0..4, 2, 11, 2)];
        for (acts, lost, verdict) in [
            (vec![], "0-3", Verdict::Ok),
            (vec![], "1,0,2-2,3-3", Verdict::Ok),
            (vec![], "0-2", Verdict::Compromised),
            (vec![], "0,1,3", Verdict::Compromised),
            // Two were pruned when the other one, which is younger, was lost already.
            (acts(), "2,3", Verdict::Partial),
            (acts(), "2", Verdict::Compromised),
            (acts(), "2-1,x,", Verdict::Compromised),
            // A repair cannot lose what comes after it.
            (vec![], "0-100", Verdict::Compromised),
        ] {
            let findings = found(&all, &acts, lost);
            assert_eq!(findings.verdict(), verdict, "{acts:?} {lost}: {findings:?}");
        }
    }

    #[test]
    fn classes_that_alternate_take_no_more_memory_than_others() {
        let mut gone = Gone::default();
        for entry in &entries(&[1, 2].repeat(5_000)) {
            gone.push(entry, 0);
        }
        assert_eq!(gone.pieces.len(), 2);
    }
}
