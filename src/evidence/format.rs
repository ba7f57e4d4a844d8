//! What is in a bundle: the names of its files and what stands in them.

use crate::access::Tenant;
use crate::ledger::{Commitment, Hash, LeafRecord, StoredEntry, merkle};
use crate::store::{EntryView, Envelope};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use super::verdict::{Finding, Verdict};

/// Name and version of the format.
pub const FORMAT: &str = "spanledger-evidence/1";

/// The program that makes it.
pub(super) const PROGRAM: &str = concat!("spanledger ", env!("CARGO_PKG_VERSION"));

/// Files of a bundle.
pub(super) const INSTRUCTIONS: &str = "INSTRUCTIONS.txt";
pub(super) const REPORT: &str = "report.html";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const KEYS: &str = "keys";

/// Most entries of one bundle: a story has some hundreds, and a file of more is read by nobody.
pub const MAX_ENTRIES: usize = 10_000;

/// Most entries of ours in one bundle, which explain those of the story: a segment of a class is
/// pruned once or twice, and a key of the log lives for months.
pub const MAX_ACTS: usize = 1_000;

/// Most bytes of the bodies in one bundle: what its report tells of them is in memory while it is made
/// and checked.
pub const MAX_BODY_BYTES: usize = 16 * 1_024 * 1_024;

/// The file with the body of an entry.
pub(super) fn entry_name(sequence: u64) -> String {
    format!("entries/{sequence:020}.json")
}

/// The file with the proof of an entry.
pub(super) fn proof_name(sequence: u64) -> String {
    format!("proofs/{sequence:020}.json")
}

/// What a bundle says of itself. Only what the proofs show is proved: the rest is what the server
/// said when it made the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// By which program, with its version.
    pub made_by: String,
    /// The id that was asked for.
    pub asked: String,
    /// Whose evidence it is.
    pub tenant: String,
    /// Name of the log: the first line of its checkpoints.
    pub origin: String,
    /// The checkpoint that covers the entries, when one was signed.
    pub checkpoint: Option<Covered>,
    /// Every trace id of the story.
    pub trace_ids: Vec<String>,
    /// Sequences of the entries, in the order of the story.
    pub entries: Vec<u64>,
    /// Sequences of entries of the log about itself that explain those of the story: which bodies were
    /// taken out and why, which key handed over to which. One that belongs to the story is in both lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<u64>,
    /// Whether the originals that are sealed beside the entries were asked for: then there is a file for
    /// each entry whose leaf commits to some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payloads: bool,
    /// Entries of the story that are in another ledger, which has the proof.
    pub elsewhere: Vec<String>,
    /// Whether the story has more than the bundle.
    pub truncated: bool,
    /// Versions of the mappings that made the bodies, 16 hexadecimal digits each.
    pub mapping_versions: Vec<String>,
    /// What a verification said when the bundle was made.
    pub verdict: Option<Verdict>,
    /// The same, one by one.
    pub findings: Vec<Finding>,
    /// SHA-256 of every other file.
    pub files: BTreeMap<String, String>,
}

/// Which tree covers the entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// Entries of the tree.
    pub size: u64,
    /// Its root, 64 hexadecimal digits.
    pub root: String,
}

/// What proves an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Its place in the ledger, which is the index of its leaf.
    pub sequence: u64,
    /// `event.id` of the entry.
    pub id: String,
    /// The leaf record, base64: SHA-256 of a zero byte and these is the leaf's hash.
    pub leaf_record: String,
    /// Hash of the leaf, 64 hexadecimal digits.
    pub leaf_hash: String,
    /// Whether the body was taken out when the time for which it is kept was over.
    pub pruned: bool,
    /// Salts of the commitments in the leaf record, 64 hexadecimal digits each; zeros where the
    /// salt is sealed or was taken out.
    pub salts: Vec<String>,
    /// The inclusion proof of RFC 6962, section 2.1.1, from the leaf up; `None` when no checkpoint
    /// covered the entry yet.
    pub inclusion: Option<Vec<String>>,
}

/// An entry of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What proves it.
    pub proof: Proof,
    /// The leaf record, read.
    pub leaf: LeafRecord,
    /// Hash of the leaf record.
    pub leaf_hash: Hash,
    /// The body; `None` when it was pruned.
    pub body: Option<Vec<u8>>,
}

impl Item {
    /// An entry of the ledger, without its inclusion proof.
    pub fn of(stored: &StoredEntry) -> Option<Self> {
        let entry = stored.as_ref();
        let record = entry.leaf_record();
        let salts = entry.commitments.iter().map(|it: Commitment| hex(&it.salt));
        let proof = Proof {
            sequence: entry.sequence,
            id: entry.id.to_string(),
            leaf_hash: hex(&entry.leaf_hash),
            pruned: entry.pruned,
            salts: salts.collect(),
            inclusion: None,
            leaf_record: BASE64.encode(&record),
        };
        let body = (!entry.pruned).then(|| entry.body.to_vec());
        let leaf = LeafRecord::read(&record)?;
        Some(Self { proof, leaf, leaf_hash: merkle::leaf_hash(&record), body })
    }

    /// What stays of it in memory; its body stands at that place of the bundle.
    pub(super) fn brief(&self, body: Option<Range<u64>>) -> Brief {
        let leaf = LeafRecord { commitments: Vec::new(), ..self.leaf.clone() };
        let (sequence, leaf_hash) = (self.proof.sequence, self.leaf_hash);
        Brief { sequence, leaf, leaf_hash, is_proved: self.proof.inclusion.is_some(), body }
    }
}

/// What of an entry is in memory while a bundle is made or checked: a few hundred bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Its place in the ledger.
    pub sequence: u64,
    /// The leaf record, without its commitments.
    pub leaf: LeafRecord,
    /// Hash of the leaf record.
    pub leaf_hash: Hash,
    /// Whether it has an inclusion proof.
    pub is_proved: bool,
    /// Where its body stands in the bundle; `None` when it was pruned.
    pub body: Option<Range<u64>>,
}

impl Brief {
    /// The entry as it is projected, for a report.
    pub(super) fn view<'a>(&self, tenant: &'a str, body: &'a [u8]) -> EntryView<'a> {
        let envelope = Envelope {
            sequence: self.sequence,
            id: self.leaf.id.0,
            tenant,
            received_ns: self.leaf.received_ns,
            conflict: self.leaf.conflict,
            leaf_hash: self.leaf_hash,
        };
        EntryView::new(envelope, body)
    }
}

impl Manifest {
    /// A manifest of an empty story.
    pub fn new(asked: &str, tenant: &Tenant, origin: &str, made_at: String) -> Self {
        Self {
            format: FORMAT.to_owned(),
            made_at,
            made_by: PROGRAM.to_owned(),
            asked: asked.to_owned(),
            tenant: tenant.name().to_owned(),
            origin: origin.to_owned(),
            ..Self::default()
        }
    }
}

/// The record that a proof holds, decoded.
pub(super) fn record_of(proof: &Proof) -> Option<Vec<u8>> {
    // In one spelling only: a second one would be a byte that means nothing.
    let record = BASE64.decode(&proof.leaf_record).ok()?;
    (BASE64.encode(&record) == proof.leaf_record).then_some(record)
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hash of 64 lower-case hexadecimal digits.
pub fn unhex(text: &str) -> Option<Hash> {
    let digits = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    digits.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_in_one_way() {
        let hash = [0xab; 32];
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        for text in ["", "ab", &hex(&hash).to_uppercase(), &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn the_files_of_entries_sort_as_the_ledger_does() {
        assert!(entry_name(9) < entry_name(10) && proof_name(9) < proof_name(u64::MAX));
    }
}
