//! The check of entries against a checkpoint: pure, for who makes a bundle and for who reads one.

use super::acts::{Acts, ranges};
use super::format::{Brief, Item, entry_name, hex, proof_name, unhex};
use super::verdict::{Code, Findings, Place, Verdict};
use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint, VerifierKey};
use crate::ledger::proof::verify_inclusion;
use crate::ledger::{Hash, TreeHead};
use crate::protect::Commitment;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::slice;

/// Where keys come from, and so what a signature by them shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// Whoever checks brought them.
    Given,
    /// They lie beside the log: whoever can write anew the one can replace the other.
    Beside,
    /// They came with the bundle.
    Bundled,
}

/// Keys by which a checkpoint has to be signed.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The keys; none when nobody knows one.
    pub keys: Vec<VerifierKey>,
    /// Where they come from.
    pub from: KeySource,
}

/// Checks a signed checkpoint; gives who signed it, of those that are known.
pub(super) fn signers(
    signed: &SignedCheckpoint,
    trust: &Trust,
    place: &Place,
    findings: &mut Findings,
) -> Vec<String> {
    match signed.verify(&trust.keys) {
        Ok(signers) => {
            if trust.from == KeySource::Bundled {
                let text = "the key that signed the checkpoint came with the bundle; give the one that the \
                            operator published with --key";
                findings.add(Code::UnknownKey, place.clone(), text);
            }
            signers.iter().map(ToString::to_string).collect()
        }
        Err(error) if trust.from == KeySource::Given || !trust.keys.is_empty() => {
            let code = match error {
                CheckpointError::Unsigned { .. } => Code::Unsigned,
                CheckpointError::UnknownKey { .. } => Code::UnknownKey,
                CheckpointError::WrongOrigin { .. } => Code::WrongOrigin,
                _ => Code::BadSignature,
            };
            findings.weigh(code, Verdict::Compromised, place.clone(), error.to_string());
            Vec::new()
        }
        Err(_) => {
            let text =
                "no key is known, so nobody can say who signed the checkpoint; give one with --key";
            findings.add(Code::UnknownKey, place.clone(), text);
            Vec::new()
        }
    }
}

/// Checks a checkpoint that somebody kept; gives who signed it, of those that are known. Where its tree is
/// the one that is checked (`is_ours`), a key that is not known takes nothing away: the log's key was
/// another one at that time.
pub(super) fn kept_signers(
    signed: &SignedCheckpoint,
    trust: &Trust,
    place: &Place,
    is_ours: bool,
    findings: &mut Findings,
) -> Vec<String> {
    match signed.verify(&trust.keys) {
        Err(CheckpointError::UnknownKey { signers, .. })
            if is_ours && !trust.keys.is_empty() && !signers.is_empty() =>
        {
            let text = format!(
                "its tree is the right one, and none of the keys that were given signed it, but {signers}: give \
                 the key of that time, too"
            );
            findings.weigh(Code::UnknownKey, Verdict::Partial, place.clone(), text);
            Vec::new()
        }
        _ => signers(signed, trust, place, findings),
    }
}

/// Tells when the newest key of the log did not sign: one that handed over may be in other hands since.
pub(super) fn check_newest(
    signed: &SignedCheckpoint,
    newest: &VerifierKey,
    told: &str,
    place: &Place,
    findings: &mut Findings,
) {
    match signed.verify(slice::from_ref(newest)) {
        Ok(_) => {}
        // A line in its name that it did not sign is worse than none.
        Err(error @ CheckpointError::BadSignature { .. }) => {
            findings.add(Code::BadSignature, place.clone(), error.to_string());
        }
        Err(_) => {
            let text = format!("it is not signed by the key that the log has since then ({told})");
            findings.weigh(Code::UnknownKey, Verdict::Partial, place.clone(), text);
        }
    }
}

/// Checks an entry by itself against a tree.
pub(super) fn check_item(item: &Item, head: Option<&TreeHead>, findings: &mut Findings) {
    let sequence = item.proof.sequence;
    let proof = || Place::file(proof_name(sequence)).of_entry(sequence);
    let entry = || Place::file(entry_name(sequence)).of_entry(sequence);
    if hex(&item.leaf_hash) != item.proof.leaf_hash {
        findings.add(Code::HashMismatch, proof(), "the leaf hash is not that of the leaf record");
    }
    if item.leaf.id.to_string() != item.proof.id {
        findings.add(Code::FieldMismatch, proof(), "the id is not that of the leaf record");
    }
    match &item.body {
        Some(body) if Hash::from(Sha256::digest(body)) != item.leaf.body_hash => {
            findings.add(
                Code::HashMismatch,
                entry(),
                "the body is not the one that the leaf has the hash of",
            );
        }
        Some(body) => commitments(item, body, findings),
        // Told of all of them together, with what explains them.
        None => {}
    }
    inclusion(item, head, findings);
}

/// Checks entries of one tenant together: each once, and in the order of that tenant.
pub(super) fn check_order(entries: &[Brief], findings: &mut Findings) {
    let mut sorted: Vec<&Brief> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.sequence);
    for pair in sorted.windows(2) {
        let [before, after] = pair else { continue };
        let place = Place::file(proof_name(after.sequence)).of_entry(after.sequence);
        if before.sequence == after.sequence {
            findings.add(Code::OutOfOrder, place, "the entry is there twice");
        } else if before.leaf.tenant_pseudonym != after.leaf.tenant_pseudonym {
            findings.add(Code::FieldMismatch, place, "the entry is another tenant's");
        } else if before.leaf.tenant_sequence >= after.leaf.tenant_sequence {
            findings.add(
                Code::OutOfOrder,
                place,
                "the numbers of the tenant's entries do not rise",
            );
        }
    }
}

/// Tells of the entries without a body, together with what explains them.
pub(super) fn check_bodiless(entries: &[Brief], acts: &Acts, findings: &mut Findings) {
    let of = |sequences: &[u64]| -> Vec<&Brief> {
        let gone: BTreeSet<u64> = sequences.iter().copied().collect();
        entries.iter().filter(|entry| gone.contains(&entry.sequence)).collect()
    };
    let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
    for (act, (sequences, why)) in acts.bodiless(entries) {
        let first = sequences.iter().min().copied().unwrap_or_default();
        let place = Place::file(proof_name(first)).of_entry(first);
        let (these, which) = (sequences.len(), ranges(&sequences));
        let text = if act.is_some() {
            let most = acts.most_taken(&of(&sequences));
            if most.is_some_and(|most| most < count(these)) {
                let text = format!(
                    "{these} bodies are gone, and the entries of the log that tell of them took out {} at \
                     most: entries {which}",
                    most.unwrap_or_default()
                );
                findings.add(Code::Missing, place.clone(), text);
            }
            format!(
                "{these} bodies were taken out when the time for which they are kept was over: entries {which}. \
                 {why} that bodies of this kind were taken out; that these were among them is the \
                 bundle's word; leaves and hashes stay"
            )
        } else {
            format!(
                "the bundle has no body of {these} entries: {which}; it says that they were pruned, and \
                 has no entry of the log that says so"
            )
        };
        findings.add(Code::RetentionTrimmed, place, text);
    }
}

fn inclusion(item: &Item, head: Option<&TreeHead>, findings: &mut Findings) {
    let sequence = item.proof.sequence;
    let place = || Place::file(proof_name(sequence)).of_entry(sequence);
    let path = item.proof.inclusion.as_ref();
    let path = path.map(|path| path.iter().map(|it| unhex(it)).collect::<Option<Vec<Hash>>>());
    match (path, head) {
        (Some(None), _) => {
            findings.add(Code::HashMismatch, place(), "the inclusion proof is not one");
        }
        (Some(Some(path)), Some(head)) => {
            if verify_inclusion(&item.leaf_hash, sequence, head, &path).is_err() {
                let text = format!("the entry is not at this place of the tree ({head})");
                findings.add(Code::HashMismatch, place(), text);
            }
        }
        (Some(Some(_)), None) => {
            findings.add(Code::Missing, place(), "there is no checkpoint for the inclusion proof");
        }
        (None, Some(head)) if sequence < head.size => {
            findings.add(Code::Missing, place(), "the inclusion proof is not there");
        }
        (None, Some(_)) => {
            findings.add(Code::Unsigned, place(), "no checkpoint covered the entry yet");
        }
        // Said once, of all of them.
        (None, None) => {}
    }
}

/// What is read of a body for its commitments.
#[derive(Deserialize)]
struct Body {
    audit: Audit,
}

#[derive(Deserialize)]
struct Audit {
    #[serde(default)]
    payload: Vec<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    hash: Option<String>,
}

/// Kind of the commitment that stands for several payloads.
const SHARED_KIND: u8 = 0;

/// Salts that are shown have to open their commitments with the keyed hashes of the body.
fn commitments(item: &Item, body: &[u8], findings: &mut Findings) {
    let sequence = item.proof.sequence;
    let place = || Place::file(proof_name(sequence)).of_entry(sequence);
    let (salts, values) = (&item.proof.salts, &item.leaf.commitments);
    if salts.len() != values.len() {
        findings.add(Code::FieldMismatch, place(), "there is not one salt for each commitment");
        return;
    }
    let Ok(Body { audit }) = serde_json::from_slice(body) else { return };
    let hashes: Vec<Hash> =
        audit.payload.iter().filter_map(|it| unhex(it.hash.as_deref()?)).collect();
    for (salt, (kind, value)) in salts.iter().zip(values) {
        let Some(salt) = unhex(salt) else {
            findings.add(Code::HashMismatch, place(), "a salt is not one");
            continue;
        };
        let is_sealed = salt == [0; 32];
        let opens = hashes.iter().any(|hash| Commitment::value_of(&salt, hash) == *value);
        if !is_sealed && *kind != SHARED_KIND && !opens {
            findings.add(Code::HashMismatch, place(), "a salt does not open its commitment");
        }
    }
}
