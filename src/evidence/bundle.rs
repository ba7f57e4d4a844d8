//! A bundle: made from entries and a checkpoint, opened again, and checked without anything else.

use super::check::{KeySource, Trust, check_items, signers};
use super::folder::Kept;
use super::format::{
    CHECKPOINT, Covered, FORMAT, INSTRUCTIONS, Item, KEYS, MANIFEST, Manifest, PROGRAM, Proof,
    REPORT, entry_name, hex, proof_name, record_of,
};
use super::report::report;
use super::verdict::{Code, Findings, Place, Verdict};
use super::zip::{self, Member, TooLarge};
use crate::convert::ids::further_forms;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::ledger::{LeafRecord, TreeHead, merkle};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What stands in `INSTRUCTIONS.txt`.
const TEXT: &str = include_str!("instructions.txt");

/// What a bundle is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What it says of itself. Checkpoint, verdict, findings and files are filled in.
    pub manifest: Manifest,
    /// The entries with their proofs, in the order of the story.
    pub items: Vec<Item>,
    /// The checkpoint that the proofs lead to.
    pub checkpoint: Option<SignedCheckpoint>,
    /// The keys that the log publishes.
    pub keys: Vec<VerifierKey>,
}

impl Parts {
    /// Writes the bundle.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn write(self) -> Result<Vec<u8>, TooLarge> {
        let Self { mut manifest, items, checkpoint, keys } = self;
        let mut findings = Findings::default();
        let trust = Trust { keys, from: KeySource::Beside };
        judge(&manifest, &items, checkpoint.as_ref(), &trust, &mut findings);
        let head = checkpoint.as_ref().map(|it| it.checkpoint.head);
        manifest.checkpoint = head.map(|it| Covered { size: it.size, root: hex(&it.root) });
        manifest.entries = items.iter().map(|item| item.proof.sequence).collect();
        manifest.mapping_versions = mapping_versions(&items);
        manifest.verdict = Some(findings.verdict());
        manifest.findings = findings.listed().to_vec();
        let mut files: Vec<(String, Vec<u8>)> = vec![
            (INSTRUCTIONS.to_owned(), TEXT.as_bytes().to_vec()),
            (REPORT.to_owned(), report(&manifest, &items).into_bytes()),
        ];
        if let Some(signed) = checkpoint {
            files.push((CHECKPOINT.to_owned(), signed.note));
        }
        let lines: Vec<_> = trust.keys.iter().map(ToString::to_string).collect();
        files.push((KEYS.to_owned(), (lines.join("\n") + "\n").into_bytes()));
        for Item { proof, body, .. } in items {
            files.push((proof_name(proof.sequence), pretty(&proof)));
            files.extend(body.map(|body| (entry_name(proof.sequence), body)));
        }
        manifest.files =
            files.iter().map(|(name, bytes)| (name.clone(), hex(&Sha256::digest(bytes)))).collect();
        let manifest = pretty(&manifest);
        let mut members = vec![Member { name: MANIFEST, bytes: &manifest }];
        members.extend(files.iter().map(|(name, bytes)| Member { name, bytes }));
        zip::write(&members)
    }
}

/// Versions of the mappings that made the bodies.
fn mapping_versions(items: &[Item]) -> Vec<String> {
    let versions: BTreeSet<_> = items.iter().map(|it| hex(&it.leaf.mapping_version)).collect();
    versions.into_iter().collect()
}

/// JSON as a person reads it.
fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // None of ours has a key that is not text.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What is checked of entries and checkpoint, whoever asks.
fn judge(
    manifest: &Manifest,
    items: &[Item],
    checkpoint: Option<&SignedCheckpoint>,
    trust: &Trust,
    findings: &mut Findings,
) -> Vec<String> {
    let place = Place::file(CHECKPOINT);
    let mut by = Vec::new();
    match checkpoint {
        Some(signed) => {
            by = signers(signed, trust, &place, findings);
            if signed.checkpoint.origin != manifest.origin {
                let text = format!("it is of the log {:?}", signed.checkpoint.origin);
                findings.add(Code::WrongOrigin, place, text);
            }
        }
        None if trust.from == KeySource::Given => {
            let text = "a key was given, and the bundle has no signed checkpoint";
            findings.weigh(Code::Unsigned, Verdict::Compromised, place, text);
        }
        None => findings.add(Code::Unsigned, place, "there is no signed checkpoint"),
    }
    if items.is_empty() && manifest.elsewhere.is_empty() {
        findings.add(Code::Missing, Place::file(MANIFEST), "the bundle has no entry");
    }
    check_items(items, checkpoint.map(|it| &it.checkpoint.head), findings);
    for id in &manifest.elsewhere {
        let text = format!("entry {id} of the story is in another ledger");
        findings.weigh(Code::Missing, Verdict::Partial, Place::default(), text);
    }
    if manifest.truncated {
        let text = "the story has more entries than the bundle";
        findings.weigh(Code::Missing, Verdict::Partial, Place::default(), text);
    }
    by
}

/// What a check of a bundle found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the bundle says of itself; `None` when it cannot be read.
    pub manifest: Option<Manifest>,
    /// Its entries, as far as they can be read, in the order of the story.
    pub items: Vec<Item>,
    /// The tree that covers them.
    pub head: Option<TreeHead>,
    /// Who signed that, of those whose keys are known: `name+id`.
    pub signers: Vec<String>,
    /// What was found.
    pub findings: Findings,
    /// The keys that were asked for.
    trust: Trust,
}

/// Checks a bundle. Nothing else is looked at, and nothing is fetched. With no key given the one
/// that came with it says only that it is whole.
pub fn check_bundle(file: &[u8], given: &[VerifierKey]) -> Checked {
    let mut findings = Findings::default();
    let nothing = |findings| Checked {
        manifest: None,
        items: Vec::new(),
        head: None,
        signers: Vec::new(),
        findings,
        trust: Trust { keys: Vec::new(), from: KeySource::Given },
    };
    let members = match zip::read(file) {
        Ok(members) => members,
        Err(error) => {
            let file = error.member.unwrap_or_else(|| "the bundle".to_owned());
            let offset = u64::try_from(error.offset).unwrap_or(u64::MAX);
            findings.add(Code::HashMismatch, Place::file(file).at(offset), error.problem);
            return nothing(findings);
        }
    };
    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for member in members {
        if files.insert(member.name, member.bytes).is_some() {
            findings.add(Code::OutOfOrder, Place::file(member.name), "the file is there twice");
        }
    }
    let Some(manifest) = files.get(MANIFEST).and_then(|bytes| serde_json::from_slice(bytes).ok())
    else {
        findings.add(Code::Missing, Place::file(MANIFEST), "there is no manifest that can be read");
        return nothing(findings);
    };
    let mut checked = Checked { manifest: None, ..nothing(findings) };
    checked.contents(&manifest, &files, given);
    checked.manifest = Some(manifest);
    checked
}

impl Checked {
    fn contents(
        &mut self,
        manifest: &Manifest,
        files: &BTreeMap<&str, &[u8]>,
        given: &[VerifierKey],
    ) {
        if manifest.format != FORMAT {
            let text =
                format!("the format is {:?}, and this program reads {FORMAT:?}", manifest.format);
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
            return;
        }
        listed(manifest, files, &mut self.findings);
        for sequence in &manifest.entries {
            match read_item(*sequence, files) {
                Ok(item) => self.items.push(item),
                Err((code, name, why)) => {
                    self.findings.add(code, Place::file(name).of_entry(*sequence), why);
                }
            }
        }
        let signed = files.get(CHECKPOINT).and_then(|note| match SignedCheckpoint::parse(note) {
            Ok(signed) => Some(signed),
            Err(error) => {
                self.findings.add(Code::BadSignature, Place::file(CHECKPOINT), error.to_string());
                None
            }
        });
        let lines = files.get(KEYS).map(|it| String::from_utf8_lossy(it)).unwrap_or_default();
        let beside: Vec<_> =
            lines.lines().filter_map(|line| VerifierKey::parse(line).ok()).collect();
        self.trust = if given.is_empty() {
            Trust { keys: beside.clone(), from: KeySource::Bundled }
        } else {
            Trust { keys: given.to_vec(), from: KeySource::Given }
        };
        self.signers =
            judge(manifest, &self.items, signed.as_ref(), &self.trust, &mut self.findings);
        let whole = self.items.len() == manifest.entries.len();
        if whole && manifest.made_by == PROGRAM {
            // What the bundle says of itself follows from what is in it, by the keys in it.
            let mut again = Findings::default();
            let trust = Trust { keys: beside, from: KeySource::Beside };
            judge(manifest, &self.items, signed.as_ref(), &trust, &mut again);
            self.told(manifest, files, &again);
        } else if whole {
            let text = format!(
                "it says that {:?} made it, and this is {PROGRAM:?}: report.html, INSTRUCTIONS.txt and the verdict \
                 that it tells were not checked; draw the report anew with --report FILE",
                manifest.made_by
            );
            self.findings.weigh(Code::FieldMismatch, Verdict::Partial, Place::file(REPORT), text);
        }
        self.asked(manifest);
        self.head = signed.map(|it| it.checkpoint.head);
        let covered = self.head.map(|it| Covered { size: it.size, root: hex(&it.root) });
        if covered != manifest.checkpoint {
            let text = "it names another tree than the checkpoint";
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
        }
        if whole && manifest.mapping_versions != mapping_versions(&self.items) {
            let text = "the versions of the mappings are not those of the entries";
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
        }
    }

    /// What a person reads first, for a bundle of this version: another may say it in another way.
    fn told(&mut self, manifest: &Manifest, files: &BTreeMap<&str, &[u8]>, again: &Findings) {
        let shown = |name| files.get(name).copied().unwrap_or_default();
        let mut differs = |name, text: &str| {
            self.findings.add(Code::FieldMismatch, Place::file(name), text);
        };
        if report(manifest, &self.items).as_bytes() != shown(REPORT) {
            differs(REPORT, "the report is not what these entries make");
        }
        if TEXT.as_bytes() != shown(INSTRUCTIONS) {
            differs(INSTRUCTIONS, "the instructions are not those of the program");
        }
        if manifest.verdict != Some(again.verdict()) || manifest.findings != again.listed() {
            differs(MANIFEST, "the verdict that it tells is not the one of these entries");
        }
    }

    /// Whether an entry carries the id that was asked for. No signature covers that name, and in a
    /// body that was pruned it may have stood.
    fn asked(&mut self, manifest: &Manifest) {
        let plain = |text: &str| -> String {
            let plain = text.chars().filter(|c| c.is_alphanumeric());
            plain.flat_map(char::to_lowercase).collect()
        };
        let forms: Vec<String> = std::iter::once(manifest.asked.clone())
            .chain(further_forms(&manifest.asked))
            .map(|form| plain(&form))
            .filter(|form| !form.is_empty())
            .collect();
        let carries = |item: &Item| {
            let body = item.body.as_deref().map(|it| plain(&String::from_utf8_lossy(it)));
            let all = body.iter().chain([&item.proof.id]);
            item.body.is_none()
                || all.into_iter().any(|it| forms.iter().any(|form| it.contains(form)))
        };
        if !self.items.is_empty() && !self.items.iter().any(carries) {
            let text = format!(
                "no entry carries the id {:?} that the bundle says was asked for",
                manifest.asked
            );
            self.findings.weigh(Code::FieldMismatch, Verdict::Partial, Place::file(MANIFEST), text);
        }
    }

    /// Compares its checkpoint with one that somebody kept: of one size there is one tree. Other
    /// sizes cannot be compared without the log, which is told.
    pub fn compare(&mut self, kept: &Kept) {
        let theirs = &kept.signed.checkpoint;
        let place = Place::file(&kept.name);
        signers(&kept.signed, &self.trust, &place, &mut self.findings);
        let size = self.head.map(|it| it.size);
        if self.manifest.as_ref().is_some_and(|it| it.origin != theirs.origin) {
            let text = format!("it is of the log {:?}", theirs.origin);
            self.findings.add(Code::WrongOrigin, place, text);
        } else if self.head.is_some_and(|it| it.size == theirs.head.size && it != theirs.head) {
            let text = "the bundle has another tree of the same size";
            self.findings.add(Code::Equivocation, place, text);
        } else if size != Some(theirs.head.size) {
            let text = format!(
                "it is of {} entries and the bundle's of {}: not comparable without the log; ask the operator for the \
                 consistency proof between the two",
                theirs.head.size,
                size.unwrap_or(0)
            );
            self.findings.weigh(Code::RootMismatch, Verdict::Partial, place, text);
        }
    }

    /// What all of it comes to.
    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }
}

/// Whether the files are those of the manifest.
fn listed(manifest: &Manifest, files: &BTreeMap<&str, &[u8]>, findings: &mut Findings) {
    for (name, stated) in &manifest.files {
        match files.get(name.as_str()) {
            None => findings.add(Code::Missing, Place::file(name), "the file is not there"),
            Some(bytes) if hex(&Sha256::digest(bytes)) != *stated => {
                let text = "the file is not the one that the manifest has the hash of";
                findings.add(Code::HashMismatch, Place::file(name), text);
            }
            Some(_) => {}
        }
    }
    let expected: BTreeSet<String> = manifest
        .entries
        .iter()
        .flat_map(|sequence| [entry_name(*sequence), proof_name(*sequence)])
        .chain([INSTRUCTIONS, REPORT, MANIFEST, CHECKPOINT, KEYS].map(str::to_owned))
        .collect();
    for name in [INSTRUCTIONS, REPORT, KEYS] {
        if !manifest.files.contains_key(name) {
            findings.add(Code::Missing, Place::file(name), "the manifest does not name the file");
        }
    }
    for name in files.keys() {
        let known = *name == MANIFEST || manifest.files.contains_key(*name);
        if !known || !expected.contains(*name) {
            let text = "no entry of the manifest belongs to this file";
            findings.add(Code::ExtraDocument, Place::file(*name), text);
        }
    }
}

/// Reads an entry and its proof.
fn read_item(
    sequence: u64,
    files: &BTreeMap<&str, &[u8]>,
) -> Result<Item, (Code, String, &'static str)> {
    let (name, body_name) = (proof_name(sequence), entry_name(sequence));
    let Some(bytes) = files.get(name.as_str()) else {
        return Err((Code::Missing, name, "the proof is not there"));
    };
    let Ok(proof) = serde_json::from_slice::<Proof>(bytes) else {
        return Err((Code::HashMismatch, name, "the proof cannot be read"));
    };
    if proof.sequence != sequence {
        return Err((Code::OutOfOrder, name, "the proof is of another entry"));
    }
    let record = record_of(&proof);
    let Some((leaf, record)) = record.and_then(|it| Some((LeafRecord::read(&it)?, it))) else {
        return Err((Code::HashMismatch, name, "the leaf record is not one"));
    };
    let body = files.get(body_name.as_str()).map(|body| body.to_vec());
    if body.is_none() != proof.pruned {
        let why = if proof.pruned {
            "there is a body of a pruned entry"
        } else {
            "the body is not there"
        };
        return Err((Code::Missing, body_name, why));
    }
    Ok(Item { leaf, leaf_hash: merkle::leaf_hash(&record), proof, body })
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
