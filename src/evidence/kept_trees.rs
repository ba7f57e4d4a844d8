//! Checkpoints that a sink kept, many of them, against a ledger that is read once.
//!
//! A ledger that was rolled back, or written anew, is not the tree that was signed: whoever did it cannot
//! take back what lies in a sink that only takes more.

use super::check::{KeySource, Trust};
use super::format::hex;
use super::verdict::{Code, Findings, Place, Verdict};
use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::ledger::merkle::{Frontier, leaf_hash};
use crate::ledger::{Hash, ReadError, Reader, TreeHead};
use std::collections::BTreeMap;

/// Bytes of the ledger that are read at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Other logs that are named.
const MAX_OTHERS: usize = 16;

/// Trees that were signed, as a sink kept them.
#[derive(Debug)]
pub struct KeptTrees<'a> {
    /// How the name of the log ends: the random number of its ledger.
    log: String,
    trust: &'a Trust,
    /// Each tree, and where it was found first.
    trees: BTreeMap<(u64, Hash), String>,
    /// Other logs, and how many checkpoints there are of each.
    others: BTreeMap<String, u64>,
    /// Checkpoints of further logs than those.
    further: u64,
}

impl<'a> KeptTrees<'a> {
    /// None yet; `origin` is that of the ledger.
    pub fn new(origin: [u8; 16], trust: &'a Trust) -> Self {
        let (trees, others) = (BTreeMap::new(), BTreeMap::new());
        Self { log: hex(&origin), trust, trees, others, further: 0 }
    }

    /// Takes what was kept under that name. What nobody signed whose key is known is a finding: then
    /// somebody put it there.
    pub fn add(&mut self, name: &str, note: Option<&str>, findings: &mut Findings) {
        let place = || Place::file(name);
        let Some(signed) = note.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok())
        else {
            findings.add(
                Code::ExtraDocument,
                place(),
                "it is no checkpoint: no spanledger wrote it",
            );
            return;
        };
        let TreeHead { size, root } = signed.checkpoint.head;
        let origin = &signed.checkpoint.origin;
        if origin.rsplit('/').next() != Some(self.log.as_str()) {
            // Whoever writes there must not fill our memory with names.
            let is_named = self.others.len() < MAX_OTHERS || self.others.contains_key(origin);
            let count = if is_named {
                self.others.entry(origin.clone()).or_default()
            } else {
                &mut self.further
            };
            *count = count.saturating_add(1);
            return;
        }
        if let Err(error) = signed.verify(&self.trust.keys) {
            let (code, weight) = match error {
                // Nobody knows a key: nothing can be said.
                _ if self.trust.keys.is_empty() && self.trust.from != KeySource::Given => {
                    (Code::UnknownKey, Verdict::Partial)
                }
                CheckpointError::Unsigned { .. } => (Code::Unsigned, Verdict::Compromised),
                CheckpointError::UnknownKey { .. } => (Code::UnknownKey, Verdict::Compromised),
                CheckpointError::WrongOrigin { .. } => (Code::WrongOrigin, Verdict::Compromised),
                _ => (Code::BadSignature, Verdict::Compromised),
            };
            findings.weigh(code, weight, place(), error.to_string());
            return;
        }
        self.trees.entry((size, root)).or_insert_with(|| name.to_owned());
    }

    /// Compares them with the ledger. How many there were.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger cannot be read.
    pub fn compare(self, reader: &Reader, findings: &mut Findings) -> Result<u64, ReadError> {
        let count = u64::try_from(self.trees.len()).unwrap_or(u64::MAX);
        for (name, count) in &self.others {
            let text = format!(
                "{count} checkpoints are of the log {name:?}: if no other collector of that name writes there, \
                 this ledger took the place of that one"
            );
            findings.weigh(Code::WrongOrigin, Verdict::Partial, Place::default(), text);
        }
        findings.count_more(self.further, Verdict::Partial);
        let Some(largest) = self.trees.last_key_value().map(|((size, _), _)| *size) else {
            return Ok(0);
        };
        let mut kept = self.trees.into_iter().peekable();
        let mut tree = Frontier::default();
        let mut scan = reader.scan_once(0);
        let mut compare = |tree: &Frontier, findings: &mut Findings| {
            while let Some(((_, root), name)) = kept.next_if(|((size, _), _)| *size == tree.size())
            {
                if tree.root() != root {
                    let place = Place::file(name).of_entry(tree.size());
                    let text = format!("another tree of {} entries was signed", tree.size());
                    findings.add(Code::RootMismatch, place, text);
                }
            }
        };
        compare(&tree, findings);
        while tree.size() < largest {
            let Some(chunk) = scan.next_chunk(CHUNK_BYTES)? else { break };
            for entry in chunk.entries() {
                tree.push(leaf_hash(&entry.leaf_record()));
                compare(&tree, findings);
            }
            scan.recycle(chunk);
        }
        let there = tree.size();
        for ((size, _), name) in kept {
            let text = format!("{size} entries were signed, and the ledger has {there}");
            findings.add(Code::Rollback, Place::file(name).of_entry(there), text);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use crate::ledger::{Batch, EntryId, Ledger, NewEntry, Options};

    async fn ledger(dir: &std::path::Path, entries: u8) -> Ledger {
        let (ledger, _) = Ledger::open(dir, Options::default()).unwrap();
        for n in 0..entries {
            let mut batch = Batch::new();
            let entry = NewEntry {
                id: EntryId([n; 16]),
                tenant: "acme",
                tenant_pseudonym: [0; 16],
                retention_class: 0,
                received_ns: 7,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: b"{}",
            };
            batch.push(&entry).unwrap();
            ledger.append(batch).await.unwrap();
        }
        ledger
    }

    #[tokio::test]
    async fn a_ledger_is_held_to_every_tree_that_was_kept_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), 5).await;
        let reader = ledger.reader();
        let origin = format!("spanledger/{}", hex(&reader.origin()));
        let key = LogKey::generate(&origin).unwrap();
        let note = |key: &LogKey, head: TreeHead| {
            let origin = key.verifier().name().to_owned();
            let signed = SignedCheckpoint::sign(&Checkpoint { origin, head }, &[key]).unwrap();
            String::from_utf8(signed.note).unwrap()
        };
        let trust = Trust { keys: vec![key.verifier().clone()], from: KeySource::Beside };
        let check = |notes: &[Option<String>]| {
            let mut findings = Findings::default();
            let mut kept = KeptTrees::new(reader.origin(), &trust);
            for (at, note) in notes.iter().enumerate() {
                kept.add(&format!("n{at}"), note.as_deref(), &mut findings);
            }
            let count = kept.compare(&reader, &mut findings).unwrap();
            let codes: Vec<Code> = findings.listed().iter().map(|it| it.code).collect();
            (count, codes, findings.verdict())
        };
        let empty = TreeHead { size: 0, root: Frontier::default().root() };
        let head = reader.head();
        let good = [Some(note(&key, empty)), Some(note(&key, head)), Some(note(&key, head))];
        assert_eq!(check(&good), (2, vec![], Verdict::Ok), "twice the same is one");
        let other = LogKey::generate("spanledger/else").unwrap();
        let false_key = LogKey::generate(&origin).unwrap();
        for (kept, code, verdict) in [
            (
                note(&key, TreeHead { size: 3, root: [9; 32] }),
                Code::RootMismatch,
                Verdict::Compromised,
            ),
            (note(&key, TreeHead { size: 6, ..head }), Code::Rollback, Verdict::Compromised),
            (
                note(&key, TreeHead { root: [9; 32], ..empty }),
                Code::RootMismatch,
                Verdict::Compromised,
            ),
            (note(&false_key, head), Code::UnknownKey, Verdict::Compromised),
            (note(&other, head), Code::WrongOrigin, Verdict::Partial),
            ("rubbish".to_owned(), Code::ExtraDocument, Verdict::Compromised),
        ] {
            let (_, codes, worst) = check(&[good[1].clone(), Some(kept)]);
            assert_eq!((codes.as_slice(), worst), (&[code][..], verdict));
        }
        // Names without end are counted, not kept.
        let mut many = KeptTrees::new(reader.origin(), &trust);
        for n in 0..MAX_OTHERS * 3 {
            let key = LogKey::generate(&format!("spanledger/{n}")).unwrap();
            many.add("n", Some(&note(&key, head)), &mut Findings::default());
        }
        assert_eq!((many.others.len(), many.further), (MAX_OTHERS, MAX_OTHERS as u64 * 2));
        assert_eq!(check(&[None]).1, [Code::ExtraDocument]);
        assert_eq!(check(&[]), (0, vec![], Verdict::Ok));
    }
}
