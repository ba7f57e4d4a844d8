//! A proof that somebody saved, checked without the log: a receipt, an inclusion or a consistency proof
//! as the API answers them.

use super::check::{Trust, kept_signers, signers};
use super::folder::{Kept, comparable};
use super::format::{hex, unhex};
use super::verdict::{Code, Findings, Place, Verdict};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::proof::{InvalidProof, verify_consistency, verify_inclusion};
use crate::ledger::{Hash, LeafRecord, TreeHead, merkle};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

/// Largest file with a proof, bytes: a path has at most 64 hashes, a checkpoint some kilobytes.
pub const MAX_PROOF_BYTES: u64 = 1_024 * 1_024;

/// A proof, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedProof {
    /// What it shows.
    pub shows: Shows,
    /// The checkpoint of the tree that it leads to, as a signed note.
    pub checkpoint: Option<String>,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// An entry is in a tree.
    Inclusion {
        /// Its place.
        index: u64,
        /// Hash of its leaf.
        leaf: Hash,
        /// The leaf record, where it was saved.
        record: Option<Box<LeafRecord>>,
        /// The tree; `None` in a receipt, whose checkpoint names it.
        head: Option<TreeHead>,
        /// From the leaf up.
        path: Vec<Hash>,
    },
    /// A tree is the beginning of another.
    Consistency {
        /// The older tree.
        old: TreeHead,
        /// The newer tree.
        new: TreeHead,
        /// What leads to both roots.
        path: Vec<Hash>,
    },
}

/// Why a file holds no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no proof as `spanledger proof --json`, /api/v1/entries/{{id}}/receipt or /api/v1/log/… answer it: {why}"
)]
pub struct NoProof {
    /// What is wrong.
    pub why: &'static str,
}

/// The members of all three.
#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    sequence: Option<u64>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    leaf_record: Option<String>,
    #[serde(default)]
    leaf_hash: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    root: Option<String>,
    #[serde(default)]
    inclusion: Option<Vec<String>>,
    #[serde(default)]
    proof: Option<Vec<String>>,
    #[serde(default)]
    old: Option<u64>,
    #[serde(default)]
    old_root: Option<String>,
    #[serde(default)]
    new: Option<u64>,
    #[serde(default)]
    new_root: Option<String>,
    #[serde(default)]
    checkpoint: Option<String>,
}

fn head(size: u64, root: Option<&str>) -> Result<TreeHead, NoProof> {
    let root =
        root.and_then(unhex).ok_or(NoProof { why: "a root is not 64 hexadecimal digits" })?;
    Ok(TreeHead { size, root })
}

fn hashes(path: Option<&Vec<String>>) -> Result<Vec<Hash>, NoProof> {
    let path = path.ok_or(NoProof { why: "it has no path: was the entry still pending?" })?;
    let hashes: Option<Vec<Hash>> = path.iter().map(|hash| unhex(hash)).collect();
    hashes.ok_or(NoProof { why: "a hash of the path is not 64 hexadecimal digits" })
}

impl SavedProof {
    /// Reads a proof as it was answered, whichever of the three.
    ///
    /// # Errors
    /// [`NoProof`].
    pub fn read(json: &[u8]) -> Result<Self, NoProof> {
        let read: Read =
            serde_json::from_slice(json).map_err(|_| NoProof { why: "it is no JSON object" })?;
        let shows = match (read.old, read.new, &read.leaf_hash) {
            (Some(old), Some(new), _) => Shows::Consistency {
                old: head(old, read.old_root.as_deref())?,
                new: head(new, read.new_root.as_deref())?,
                path: hashes(read.proof.as_ref())?,
            },
            (_, _, Some(leaf)) => inclusion(&read, leaf)?,
            _ => return Err(NoProof { why: "it names neither a leaf nor two trees" }),
        };
        Ok(Self { shows, checkpoint: read.checkpoint })
    }

    /// The signed checkpoint, when there is one that can be read.
    fn signed(&self, findings: &mut Findings) -> Option<SignedCheckpoint> {
        let note = self.checkpoint.as_ref()?;
        match SignedCheckpoint::parse(note.as_bytes()) {
            Ok(signed) => Some(signed),
            Err(error) => {
                findings.add(Code::BadSignature, Place::file("checkpoint"), error.to_string());
                None
            }
        }
    }

    /// Checks it: the path, and who signed the tree to which it leads, or kept it.
    pub fn check(&self, trust: &Trust, kept: &[Kept], expected: &[TreeHead]) -> CheckedProof {
        let mut findings = Findings::default();
        let signed = self.signed(&mut findings);
        let signed_head = signed.as_ref().map(|it| it.checkpoint.head);
        let (trees, valid) = match &self.shows {
            Shows::Inclusion { index, leaf, head, path, .. } => match head.or(signed_head) {
                Some(head) => (vec![head], verify_inclusion(leaf, *index, &head, path)),
                None => (Vec::new(), Ok(())),
            },
            Shows::Consistency { old, new, path } => {
                (vec![*new, *old], verify_consistency(old, new, path))
            }
        };
        if let Err(error) = valid {
            findings.add(Code::HashMismatch, Place::file("proof"), wrong(&error));
        }
        let mut checked = CheckedProof { findings, signers: Vec::new(), trees };
        checked.signed(signed.as_ref(), trust);
        checked.compare(kept, expected, trust, signed.is_some());
        checked
    }
}

impl SavedProof {
    /// What witnesses may have signed of it: the checkpoint that came with it, and those that somebody
    /// kept of its newest tree, each signed by a key that is trusted where one is.
    pub fn witnessing(&self, checked: &CheckedProof, kept: &[Kept], trust: &Trust) -> Vec<Kept> {
        let note = self.checkpoint.as_ref().map(String::as_bytes);
        let own = note.and_then(|note| SignedCheckpoint::parse(note).ok());
        let own = own.map(|signed| Kept { name: "checkpoint".to_owned(), signed });
        let is_of_it = |it: &Kept| {
            checked.trees.first() == Some(&it.signed.checkpoint.head)
                && (trust.keys.is_empty() || it.signed.verify(&trust.keys).is_ok())
        };
        own.into_iter().chain(kept.iter().cloned()).filter(is_of_it).collect()
    }
}

fn wrong(error: &InvalidProof) -> String {
    format!("the path does not lead to the tree: {error}")
}

fn inclusion(read: &Read, leaf: &str) -> Result<Shows, NoProof> {
    let leaf = unhex(leaf).ok_or(NoProof { why: "the leaf hash is not 64 hexadecimal digits" })?;
    let index = read.sequence.or(read.index).ok_or(NoProof { why: "it names no sequence" })?;
    let path = hashes(read.inclusion.as_ref().or(read.proof.as_ref()))?;
    let head = read.size.map(|size| head(size, read.root.as_deref())).transpose()?;
    let mut record = None;
    if let Some(text) = &read.leaf_record {
        let bytes = BASE64.decode(text).ok();
        let found = bytes.and_then(|it| Some((LeafRecord::read(&it)?, merkle::leaf_hash(&it))));
        let (found, hash) = found.ok_or(NoProof { why: "the leaf record is not one" })?;
        let id = read.id.as_deref();
        if hash != leaf || id.is_some_and(|id| id != found.id.to_string()) {
            return Err(NoProof { why: "hash and id are not those of the leaf record" });
        }
        record = Some(Box::new(found));
    }
    Ok(Shows::Inclusion { index, leaf, record, head, path })
}

/// What a check of a proof found.
#[derive(Debug, Clone)]
pub struct CheckedProof {
    /// What was found.
    pub findings: Findings,
    /// Who signed, of those whose keys are known: `name+id`.
    pub signers: Vec<String>,
    /// The trees that it speaks of, the newest first.
    pub trees: Vec<TreeHead>,
}

impl CheckedProof {
    /// What all of it comes to.
    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }

    /// The newest tree has to be the one that was signed.
    fn signed(&mut self, signed: Option<&SignedCheckpoint>, trust: &Trust) {
        let Some(signed) = signed else { return };
        let place = Place::file("checkpoint");
        self.signers = signers(signed, trust, &place, &mut self.findings);
        if self.trees.first() != Some(&signed.checkpoint.head) {
            let text = "the proof leads to another tree than the checkpoint";
            self.findings.add(Code::RootMismatch, place, text);
        }
    }

    /// Each tree that somebody kept has to be one of these. Without a signature one of them shows what
    /// the signature would, if it is the newest tree: who kept an older one knows nothing of what the
    /// proof says came after it.
    fn compare(&mut self, kept: &[Kept], expected: &[TreeHead], trust: &Trust, is_signed: bool) {
        let mut is_known = is_signed;
        let newest = self.trees.first().copied();
        for kept in comparable(kept, &self.trees) {
            let (place, head) = (Place::file(&kept.name), kept.signed.checkpoint.head);
            let is_ours = self.trees.contains(&head);
            let by = kept_signers(&kept.signed, trust, &place, is_ours, &mut self.findings);
            self.compare_tree(&head, place);
            is_known |= Some(head) == newest && !by.is_empty();
        }
        for head in expected {
            self.compare_tree(head, Place::default());
            is_known |= Some(*head) == newest;
        }
        if !is_known {
            let text = "no signed checkpoint of its newest tree came with it: give one with --checkpoint or --expect";
            let weight = Verdict::Partial;
            self.findings.weigh(Code::Unsigned, weight, Place::file("checkpoint"), text);
        }
    }

    /// Tells when it is none of these trees; of a size of one of them it has to be.
    fn compare_tree(&mut self, head: &TreeHead, place: Place) {
        if self.trees.contains(head) {
            return;
        }
        if self.trees.iter().any(|tree| tree.size == head.size) {
            let text = format!("the proof speaks of another tree of {} entries", head.size);
            self.findings.add(Code::Equivocation, place, text);
        } else {
            let sizes: Vec<_> = self.trees.iter().map(|tree| tree.size.to_string()).collect();
            let text = format!(
                "the tree of {} entries with the root {} is not one that the proof speaks of ({})",
                head.size,
                hex(&head.root),
                sizes.join(", ")
            );
            self.findings.weigh(Code::RootMismatch, Verdict::Partial, place, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeySource;
    use super::*;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use crate::ledger::merkle::node_hash;
    use serde_json::{Value, json};

    /// A tree of two leaves, and what shows that the second is in it.
    fn sample() -> (LogKey, TreeHead, Value) {
        let (one, two) = ([1; 32], [2; 32]);
        let head = TreeHead { size: 2, root: node_hash(&one, &two) };
        let key = LogKey::generate("example/log").unwrap();
        let signed = key.sign(&Checkpoint { origin: "example/log".to_owned(), head }).unwrap();
        let proof = json!({
            "index": 1, "leaf_hash": hex(&two), "size": 2, "root": hex(&head.root),
            "proof": [hex(&one)], "checkpoint": String::from_utf8(signed.note).unwrap(),
        });
        (key, head, proof)
    }

    fn trust(key: &LogKey) -> Trust {
        Trust { keys: vec![key.verifier().clone()], from: KeySource::Given }
    }

    fn check(proof: &Value, trust: &Trust, expected: &[TreeHead]) -> CheckedProof {
        let proof = SavedProof::read(proof.to_string().as_bytes()).unwrap();
        proof.check(trust, &[], expected)
    }

    #[test]
    fn a_proof_is_as_good_as_the_signature_of_its_tree() {
        let (key, head, proof) = sample();
        let found = check(&proof, &trust(&key), &[head]);
        assert_eq!(found.verdict(), Verdict::Ok, "{:?}", found.findings);
        assert_eq!((found.signers.len(), found.trees), (1, vec![head]));
        let other = LogKey::generate("example/log").unwrap();
        let found = check(&proof, &trust(&other), &[]);
        assert!(found.findings.has(Code::UnknownKey) && found.verdict() == Verdict::Compromised);
        let mut unsigned = proof.clone();
        unsigned["checkpoint"] = Value::Null;
        let found = check(&unsigned, &trust(&key), &[]);
        assert!(found.findings.has(Code::Unsigned) && found.verdict() == Verdict::Partial);
        assert_eq!(check(&unsigned, &trust(&key), &[head]).verdict(), Verdict::Ok);
        let another = TreeHead { root: [9; 32], ..head };
        let found = check(&proof, &trust(&key), &[another]);
        assert!(found.findings.has(Code::Equivocation), "{:?}", found.findings);
    }

    #[test]
    fn who_kept_the_older_tree_knows_nothing_of_the_newer_one() {
        let (one, two) = ([1; 32], [2; 32]);
        let old = TreeHead { size: 1, root: one };
        let new = TreeHead { size: 2, root: node_hash(&one, &two) };
        let key = LogKey::generate("example/log").unwrap();
        let proof = json!({
            "old": 1, "old_root": hex(&one), "new": 2, "new_root": hex(&new.root),
            "proof": [hex(&two)], "checkpoint": null,
        });
        let kept = |head| {
            let signed = key.sign(&Checkpoint { origin: "example/log".to_owned(), head });
            Kept { name: format!("sink:{}", head.size), signed: signed.unwrap() }
        };
        let proof = SavedProof::read(proof.to_string().as_bytes()).unwrap();
        let verdict = |kept: &[Kept], expected: &[TreeHead]| {
            let found = proof.check(&trust(&key), kept, expected);
            (found.verdict(), found.findings.has(Code::Unsigned))
        };
        assert_eq!(verdict(&[kept(old)], &[old]), (Verdict::Partial, true));
        assert_eq!(verdict(&[kept(new)], &[]), (Verdict::Ok, false));
        assert_eq!(verdict(&[], &[old, new]), (Verdict::Ok, false));
        // Of the lines of a sink those count that can be compared, and a false one does.
        let of = |size: u8| kept(TreeHead { size: size.into(), root: [size; 32] });
        let further = [3, 4].map(of);
        let lines = [kept(old), kept(new), further[0].clone(), further[1].clone()];
        assert_eq!(verdict(&lines, &[]), (Verdict::Ok, false));
        let found = proof.check(&trust(&key), &further, &[new]);
        assert_eq!((found.verdict(), found.findings.listed().len()), (Verdict::Partial, 1));
        let false_one = kept(TreeHead { root: [9; 32], ..new });
        let lines = [kept(old), kept(new), false_one];
        assert_eq!(verdict(&lines, &[]).0, Verdict::Compromised);
        // A witness of the older tree is none of the newer one.
        let seen = |kept: &[Kept]| {
            let found = proof.check(&trust(&key), kept, &[]);
            proof.witnessing(&found, kept, &trust(&key)).len()
        };
        assert_eq!((seen(&[kept(old)]), seen(&[kept(old), kept(new)])), (0, 1));
        // Signed by the key before the one that is known.
        let other = LogKey::generate("example/log").unwrap();
        let found = proof.check(&trust(&other), &[kept(old)], &[new]);
        assert_eq!(found.verdict(), Verdict::Partial, "{:?}", found.findings);
    }

    #[test]
    fn whatever_is_changed_in_a_proof_is_found() {
        let (key, head, proof) = sample();
        let bigger = key.sign(&Checkpoint {
            origin: "example/log".to_owned(),
            head: TreeHead { size: 3, ..head },
        });
        let bigger = String::from_utf8(bigger.unwrap().note).unwrap();
        for (member, value) in [
            ("index", json!(0)),
            ("leaf_hash", json!(hex(&[3; 32]))),
            ("root", json!(hex(&[3; 32]))),
            ("size", json!(3)),
            ("proof", json!([])),
            ("proof", json!([hex(&[1; 32]), hex(&[1; 32])])),
            ("checkpoint", json!(bigger)),
        ] {
            let mut changed = proof.clone();
            changed[member] = value;
            let found = check(&changed, &trust(&key), &[]);
            assert_eq!(found.verdict(), Verdict::Compromised, "{changed}");
        }
    }

    #[test]
    fn what_is_no_proof_is_told_and_not_guessed_at() {
        let (_, _, proof) = sample();
        for (member, value) in [
            ("leaf_hash", json!("ab")),
            ("index", Value::Null),
            ("proof", Value::Null),
            ("leaf_record", json!("AQ==")),
        ] {
            let mut changed = proof.clone();
            changed[member] = value;
            assert!(SavedProof::read(changed.to_string().as_bytes()).is_err(), "{changed}");
        }
        for text in ["", "[]", "{}", "\"x\"", "{\"old\":1}"] {
            assert!(SavedProof::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
