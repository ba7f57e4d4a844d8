//! Entries of ours that explain others: who took out bodies and why, which key of the log handed over
//! to which.
//!
//! ```text
//! entry 4     body gone   ◄── entry 6000, kind prune: entries 0 to 1023, class 0, before …
//! --key OLD ──signed──► entry 7000, log_key.rotated: NEW ──signed──► checkpoint
//! ```
//!
//! They are entries of the log as all others, with their own proofs. A hand-over counts only where it
//! stands: the keys are followed in the order of the log, so a statement that is older than the one that
//! made its signer a key of the log leads nowhere.

use super::format::{Brief, Item, MAX_ACTS, proof_name};
use super::gone::Pruning;
use super::own::{Act, act, next_key};
use super::verdict::{Code, Findings, Place};
use crate::ledger::LeafRecord;
use crate::ledger::checkpoint::VerifierKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::slice;

/// A key of the log that handed over to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handover {
    /// The entry that says so.
    pub sequence: u64,
    /// Name and id of the key that signed it.
    pub from: String,
    /// The key that it names: `NAME+ID+BASE64`.
    pub to: String,
    /// When, RFC 3339.
    pub at: Option<String>,
    /// Who had it done.
    pub by: Option<String>,
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {} handed over to {}", self.sequence, self.from, name_of(&self.to))?;
        self.at.iter().try_for_each(|at| write!(f, ", {at}"))?;
        self.by.iter().try_for_each(|by| write!(f, ", by {by}"))
    }
}

/// Name and id of a verifier key, as its signatures have them.
fn name_of(key: &str) -> &str {
    key.rsplit_once('+').map_or(key, |(name, _)| name)
}

/// An entry that says that bodies were taken out.
#[derive(Debug)]
pub(super) struct Prune {
    pub(super) sequence: u64,
    pruning: Pruning,
    reason: Option<String>,
    by: Option<String>,
}

impl Prune {
    /// Whether it speaks of that entry.
    fn tells_of(&self, sequence: u64, leaf: &LeafRecord) -> bool {
        let Pruning { range, class, before_ns, .. } = &self.pruning;
        range.contains(&sequence)
            && range.end <= self.sequence
            && *class == leaf.retention_class
            && leaf.received_ns < *before_ns
    }
}

impl fmt::Display for Prune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It knows that they were gone, and not why.
        let writer = if self.pruning.told_again { ", which a repair wrote" } else { "" };
        write!(f, "entry {} of the log{writer}", self.sequence)?;
        let told = self.reason.iter().cloned().chain(self.by.iter().map(|by| format!("by {by}")));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            write!(f, " ({})", told.join(", "))?;
        }
        f.write_str(" tells")
    }
}

/// What the acts of a bundle say.
#[derive(Debug, Default)]
pub(super) struct Acts {
    prunes: Vec<Prune>,
    /// Each with its statement, in the order of the log.
    rotations: Vec<(Handover, String)>,
}

impl Acts {
    /// Reads them. What is none, or does not stand where it can speak, is told.
    pub(super) fn read<'i>(
        items: impl IntoIterator<Item = &'i Item>,
        findings: &mut Findings,
    ) -> Self {
        let mut acts = Self::default();
        for item in items {
            let sequence = item.proof.sequence;
            match item.body.as_deref().and_then(act) {
                Some((Act::Prune(pruning, reason), by, _)) => {
                    acts.prunes.push(Prune { sequence, pruning, reason, by });
                }
                Some((Act::Rotation(note), by, at)) => {
                    let (from, to) = (String::new(), String::new());
                    acts.rotations.push((Handover { sequence, from, to, at, by }, note));
                }
                None => {
                    let place = Place::file(proof_name(sequence)).of_entry(sequence);
                    findings.add(Code::FieldMismatch, place, "the entry explains no other");
                }
            }
        }
        acts.prunes.sort_by_key(|it| it.sequence);
        acts.rotations.sort_by_key(|(it, _)| it.sequence);
        acts
    }

    /// The last one that speaks of that entry: what was held before went then.
    fn prune_of(&self, sequence: u64, leaf: &LeafRecord) -> Option<&Prune> {
        self.prunes.iter().rfind(|prune| prune.tells_of(sequence, leaf))
    }

    /// Entries without a body, by the entry that tells of them, with what that says.
    pub(super) fn bodiless(&self, entries: &[Brief]) -> BTreeMap<Option<u64>, (Vec<u64>, String)> {
        let mut told: BTreeMap<Option<u64>, (Vec<u64>, String)> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.body.is_none()) {
            let act = self.prune_of(entry.sequence, &entry.leaf);
            let (sequences, why) = told.entry(act.map(|act| act.sequence)).or_default();
            sequences.push(entry.sequence);
            if why.is_empty() {
                *why = act.map(ToString::to_string).unwrap_or_default();
            }
        }
        told
    }

    /// How many bodies those took out that speak of one of these; `None` where the bundle may not have all
    /// of them.
    pub(super) fn most_taken(&self, gone: &[&Brief]) -> Option<u64> {
        if self.prunes.len().saturating_add(self.rotations.len()) >= MAX_ACTS {
            return None;
        }
        let speaks =
            |prune: &&Prune| gone.iter().any(|entry| prune.tells_of(entry.sequence, &entry.leaf));
        let taken = self.prunes.iter().filter(speaks).map(|prune| prune.pruning.entries);
        Some(taken.fold(0, u64::saturating_add))
    }

    /// Hand-overs as entries tell them, whoever signed them, each with its statement.
    pub(super) fn rotations(&self) -> &[(Handover, String)] {
        &self.rotations
    }

    /// Adds the keys to which these handed over, one after the other.
    pub(super) fn follow(&self, keys: &mut Vec<VerifierKey>) -> Vec<Handover> {
        let mut followed = Vec::new();
        for (told, note) in &self.rotations {
            let signer = keys
                .iter()
                .find_map(|key| Some((key.clone(), next_key(note, slice::from_ref(key))?)));
            let Some((from, next)) = signer.filter(|(_, next)| !keys.contains(next)) else {
                continue;
            };
            let (from, to) = (name_of(&from.to_string()).to_owned(), next.to_string());
            followed.push(Handover { from, to, ..told.clone() });
            keys.push(next);
        }
        followed
    }
}

/// Which of these entries of ours belong into a bundle whose tree has so many entries, and which has no
/// body of these entries.
pub(super) fn chosen(
    candidates: impl IntoIterator<Item = Item>,
    size: u64,
    bodiless: &[(u64, LeafRecord)],
) -> Vec<Item> {
    let is_wanted = |item: &Item| {
        let sequence = item.proof.sequence;
        match item.body.as_deref().and_then(act) {
            Some((Act::Rotation(_), ..)) => sequence < size,
            Some((Act::Prune(pruning, reason), by, _)) => {
                let prune = Prune { sequence, pruning, reason, by };
                bodiless.iter().any(|(sequence, leaf)| prune.tells_of(*sequence, leaf))
            }
            None => false,
        }
    };
    let mut chosen: Vec<Item> = candidates.into_iter().filter(is_wanted).take(MAX_ACTS).collect();
    chosen.sort_by_key(|item| item.proof.sequence);
    chosen.dedup_by_key(|item| item.proof.sequence);
    chosen
}

/// Numbers as a person reads them: `3, 5 to 9`. After some dozens it says how many more there are.
pub(super) fn ranges(sequences: &[u64]) -> String {
    const MOST: usize = 24;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut sorted = sequences.to_vec();
    sorted.sort_unstable();
    for sequence in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last == sequence || last.checked_add(1) == Some(sequence) => {
                *last = sequence;
            }
            _ => ranges.push((sequence, sequence)),
        }
    }
    let one = |(first, last): &(u64, u64)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    let shown: Vec<String> = ranges.iter().take(MOST).map(one).collect();
    let more =
        ranges.iter().skip(MOST).map(|(first, last)| last.saturating_sub(*first).saturating_add(1));
    match more.sum::<u64>() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_told_as_one() {
        assert_eq!(ranges(&[7, 5, 3, 6, 9, 9]), "3, 5 to 7, 9");
        let many: Vec<u64> = (0..100).map(|n| n * 2).collect();
        assert!(ranges(&many).ends_with(", 46 and 76 more"), "{}", ranges(&many));
    }
}
