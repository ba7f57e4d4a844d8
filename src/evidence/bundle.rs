//! A bundle is opened again and checked without anything else.
//!
//! Of the file names, hashes and places are in memory, of each entry a few hundred bytes, and of the
//! bodies one at a time.

use super::acts::Handover;
use super::check::{KeySource, Trust, kept_signers};
use super::folder::{Kept, comparable};
use super::format::{
    Brief, CHECKPOINT, Covered, FORMAT, INSTRUCTIONS, Item, KEYS, MANIFEST, MAX_ACTS, MAX_ENTRIES,
    Manifest, PROGRAM, Proof, REPORT, entry_name, hex, proof_name, record_of,
};
use super::judge::{Case, Judged, Seen};
use super::make::TEXT;
use super::originals::{Shown, originals_name};
use super::report::{Desk, write_report};
use super::spool::Bytes;
use super::verdict::{Code, Findings, Place, Verdict};
use super::zip::{self, Member};
use crate::convert::ids::further_forms;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::ledger::{LeafRecord, TreeHead, merkle};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Most bytes of one file of a bundle that are in memory: the manifest of the largest one has three
/// million, a body at most as many as all bodies together.
const MAX_HELD_BYTES: u64 = 32 * 1_024 * 1_024;

/// What a check of a bundle found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// What the bundle says of itself; `None` when it cannot be read.
    pub manifest: Option<Manifest>,
    /// Its entries, as far as they can be read, in the order of the story.
    pub entries: Vec<Brief>,
    /// Entries of the log about itself that explain those, as far as they can be read.
    pub acts: Vec<Item>,
    /// The tree that covers them.
    pub head: Option<TreeHead>,
    /// Who signed that, of those whose keys are known: `name+id`.
    pub signers: Vec<String>,
    /// The hand-overs by which a key that signed was reached from those that were given.
    pub handovers: Vec<Handover>,
    /// Entries of which the bundle has the originals.
    pub originals: usize,
    /// What was found.
    pub findings: Findings,
    /// The keys that were asked for, and those that they handed over to.
    trust: Option<Trust>,
    /// The checkpoint that covers them.
    checkpoint: Option<SignedCheckpoint>,
}

/// Checks a bundle that is in memory. Nothing else is looked at, and nothing is fetched. With no key
/// given the one that came with it says only that it is whole.
pub fn check_bundle(file: &[u8], given: &[VerifierKey]) -> Checked {
    check(&file, given).unwrap_or_else(|error| {
        // Memory is read to its end.
        let mut checked = Checked::default();
        checked.findings.add(Code::Missing, Place::default(), error.to_string());
        checked
    })
}

/// Checks a bundle in a file, of which little is in memory at a time: see [`check_bundle`].
///
/// # Errors
/// When the file cannot be read.
pub fn check_bundle_file(file: &File, given: &[VerifierKey]) -> io::Result<Checked> {
    check(file, given)
}

/// Draws the report of a bundle anew, from what was checked, piece by piece: with the verdict and the
/// findings of that check, whatever the bundle says of itself. Of a bundle that is not as it was made
/// nothing is drawn: what it says is not what was recorded.
///
/// # Errors
/// What `put` says, and when the file cannot be read.
pub fn redraw_report(
    file: &File,
    checked: &Checked,
    put: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let is_false = checked.verdict() == Verdict::Compromised;
    let Some(manifest) = checked.manifest.as_ref().filter(|_| !is_false) else { return Ok(()) };
    let manifest = &Manifest {
        verdict: Some(checked.verdict()),
        findings: checked.findings.listed().to_vec(),
        ..manifest.clone()
    };
    write_report(manifest, &checked.entries, &checked.acts, &mut Redrawn { file, put })
}

/// The entries of a bundle that is in memory, and those of the log about itself, as far as they can be
/// read: unchecked.
pub fn read_bundle(file: &[u8]) -> Option<(Manifest, Vec<Item>, Vec<Item>)> {
    let members = zip::read(&file).ok()?.ok()?;
    let files =
        Files { file: &file, members: members.iter().map(|it| (it.name.as_str(), it)).collect() };
    let manifest: Manifest = serde_json::from_slice(&files.bytes(MANIFEST).ok()??).ok()?;
    let read = |all: &[u64]| all.iter().filter_map(|it| files.item(*it).ok()?.ok()).collect();
    let (entries, acts) = (read(&manifest.entries), read(&manifest.acts));
    Some((manifest, entries, acts))
}

fn check(file: &dyn Bytes, given: &[VerifierKey]) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let findings = &mut checked.findings;
    let members = match zip::read(file)? {
        Ok(members) => members,
        Err(error) => {
            let file = error.member.unwrap_or_else(|| "the bundle".to_owned());
            findings.add(Code::HashMismatch, Place::file(file).at(error.offset), error.problem);
            return Ok(checked);
        }
    };
    let mut files = Files { file, members: BTreeMap::new() };
    for member in &members {
        if files.members.insert(&member.name, member).is_some() {
            findings.add(Code::OutOfOrder, Place::file(&member.name), "the file is there twice");
        }
    }
    let manifest = files.bytes(MANIFEST)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(manifest) = manifest else {
        findings.add(Code::Missing, Place::file(MANIFEST), "there is no manifest that can be read");
        return Ok(checked);
    };
    checked.contents(&manifest, &files, given)?;
    checked.manifest = Some(manifest);
    Ok(checked)
}

/// The files of a bundle by name.
struct Files<'f> {
    file: &'f dyn Bytes,
    members: BTreeMap<&'f str, &'f Member>,
}

impl Files<'_> {
    /// A file; `None` when it is not there, or larger than any of ours.
    fn bytes(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let range = self.members.get(name).map(|member| &member.range);
        let range = range.filter(|it| it.end.saturating_sub(it.start) <= MAX_HELD_BYTES);
        range.map(|range| self.file.whole(range)).transpose()
    }

    /// An entry and its proof.
    fn item(&self, sequence: u64) -> io::Result<Result<Item, (Code, String, &'static str)>> {
        let (name, body_name) = (proof_name(sequence), entry_name(sequence));
        let Some(bytes) = self.bytes(&name)? else {
            return Ok(Err((Code::Missing, name, "the proof is not there")));
        };
        let body = self.bytes(&body_name)?;
        Ok(read_item(sequence, &bytes, body)
            .map_err(|(code, of_body, why)| (code, if of_body { body_name } else { name }, why)))
    }
}

/// Reads an entry out of its two files. An error says whether it is about the second.
fn read_item(
    sequence: u64,
    proof: &[u8],
    body: Option<Vec<u8>>,
) -> Result<Item, (Code, bool, &'static str)> {
    let Ok(proof) = serde_json::from_slice::<Proof>(proof) else {
        return Err((Code::HashMismatch, false, "the proof cannot be read"));
    };
    if proof.sequence != sequence {
        return Err((Code::OutOfOrder, false, "the proof is of another entry"));
    }
    let record = record_of(&proof);
    let Some((leaf, record)) = record.and_then(|it| Some((LeafRecord::read(&it)?, it))) else {
        return Err((Code::HashMismatch, false, "the leaf record is not one"));
    };
    match (&body, proof.pruned) {
        (Some(_), true) => Err((Code::Missing, true, "there is a body of a pruned entry")),
        (None, false) => Err((Code::Missing, true, "the body is not there")),
        _ => Ok(Item { leaf, leaf_hash: merkle::leaf_hash(&record), proof, body }),
    }
}

/// Where a report is drawn anew.
struct Redrawn<'r> {
    file: &'r dyn Bytes,
    put: &'r mut dyn FnMut(&str) -> io::Result<()>,
}

impl Desk for Redrawn<'_> {
    fn body(&mut self, _: usize, range: &Range<u64>) -> io::Result<Vec<u8>> {
        self.file.whole(range)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        (self.put)(text)
    }
}

impl Checked {
    fn contents(
        &mut self,
        manifest: &Manifest,
        files: &Files<'_>,
        given: &[VerifierKey],
    ) -> io::Result<()> {
        if manifest.format != FORMAT {
            let text =
                format!("the format is {:?}, and this program reads {FORMAT:?}", manifest.format);
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
            return Ok(());
        }
        if let Some((code, text)) = too_much(manifest) {
            self.findings.add(code, Place::file(MANIFEST), text);
            return Ok(());
        }
        listed(manifest, files, &mut self.findings);
        let note = files.bytes(CHECKPOINT)?;
        let signed = note.and_then(|note| match SignedCheckpoint::parse(&note) {
            Ok(signed) => Some(signed),
            Err(error) => {
                self.findings.add(Code::BadSignature, Place::file(CHECKPOINT), error.to_string());
                None
            }
        });
        self.head = signed.as_ref().map(|it| it.checkpoint.head);
        let (seen, carries) = self.read(manifest, files)?;
        let lines = files.bytes(KEYS)?.unwrap_or_default();
        let lines = String::from_utf8_lossy(&lines);
        let beside: Vec<_> =
            lines.lines().filter_map(|line| VerifierKey::parse(line).ok()).collect();
        let trust = if given.is_empty() {
            Trust { keys: beside.clone(), from: KeySource::Bundled }
        } else {
            Trust { keys: given.to_vec(), from: KeySource::Given }
        };
        let acts = &self.acts;
        let case = Case { manifest, seen: &seen, acts, checkpoint: signed.as_ref() };
        let whole =
            seen.entries.len() == manifest.entries.len() && acts.len() == manifest.acts.len();
        // What the bundle says of itself follows from what is in it, by the keys in it.
        let again = case.judge(&Trust { keys: beside, from: KeySource::Beside }).findings;
        let Judged { findings, signers, handovers, trust: reached } = case.judge(&trust);
        self.findings.append(findings);
        (self.signers, self.handovers) = (signers, handovers);
        self.trust = Some(reached.unwrap_or(trust));
        if whole && manifest.made_by == PROGRAM {
            self.told(manifest, files, &seen, &again)?;
        } else if whole {
            let text = format!(
                "it says that {:?} made it, and this is {PROGRAM:?}: report.html, INSTRUCTIONS.txt and the verdict \
                 that it tells were not checked; draw the report anew with --report FILE",
                manifest.made_by
            );
            self.findings.weigh(Code::FieldMismatch, Verdict::Partial, Place::file(REPORT), text);
        }
        if !seen.entries.is_empty() && !carries {
            let text = format!(
                "no entry carries the id {:?} that the bundle says was asked for",
                manifest.asked
            );
            self.findings.weigh(Code::FieldMismatch, Verdict::Partial, Place::file(MANIFEST), text);
        }
        let covered = self.head.map(|it| Covered { size: it.size, root: hex(&it.root) });
        if covered != manifest.checkpoint {
            let text = "it names another tree than the checkpoint";
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
        }
        if whole && manifest.mapping_versions != seen.mapping_versions() {
            let text = "the versions of the mappings are not those of the entries";
            self.findings.add(Code::FieldMismatch, Place::file(MANIFEST), text);
        }
        self.entries = seen.entries;
        self.checkpoint = signed;
        Ok(())
    }

    /// Reads all entries, one after the other. Gives what stays of those of the story, and whether one
    /// of them carries the id that was asked for.
    fn read(&mut self, manifest: &Manifest, files: &Files<'_>) -> io::Result<(Seen, bool)> {
        let mut seen = Seen::default();
        let asked = Asked::new(&manifest.asked);
        let mut carries = false;
        let mut shown = Shown::new(manifest.payloads);
        for sequence in &manifest.entries {
            match files.item(*sequence)? {
                Ok(item) => {
                    let name = originals_name(*sequence);
                    let is_there = files.members.contains_key(name.as_str());
                    // One that is larger than any of ours is there and cannot be read.
                    let file = files.bytes(&name)?.or(is_there.then(Vec::new));
                    shown.look(&item, file.as_deref(), &mut self.findings);
                    carries = carries || asked.is_in(&item);
                    let member = files.members.get(entry_name(*sequence).as_str());
                    let brief = item.brief(member.map(|member| member.range.clone()));
                    seen.look(&item, brief, self.head.as_ref());
                }
                Err((code, name, why)) => {
                    self.findings.add(code, Place::file(name).of_entry(*sequence), why);
                }
            }
        }
        self.originals = shown.finish(&mut self.findings);
        for sequence in &manifest.acts {
            match files.item(*sequence)? {
                Ok(item) => self.acts.push(item),
                Err((code, name, why)) => {
                    self.findings.add(code, Place::file(name).of_entry(*sequence), why);
                }
            }
        }
        Ok((seen, carries))
    }

    /// What a person reads first, for a bundle of this version: another may say it in another way.
    fn told(
        &mut self,
        manifest: &Manifest,
        files: &Files<'_>,
        seen: &Seen,
        again: &Findings,
    ) -> io::Result<()> {
        let mut differs = |name, text: &str| {
            self.findings.add(Code::FieldMismatch, Place::file(name), text);
        };
        let is = |name, sha256: Sha256| {
            files.members.get(name).is_some_and(|it| it.sha256[..] == sha256.finalize()[..])
        };
        let mut page = Sha256::new();
        let mut put = |text: &str| {
            page.update(text.as_bytes());
            Ok(())
        };
        let mut desk = Redrawn { file: files.file, put: &mut put };
        write_report(manifest, &seen.entries, &self.acts, &mut desk)?;
        if !is(REPORT, page) {
            differs(REPORT, "the report is not what these entries make");
        }
        if !is(INSTRUCTIONS, Sha256::new_with_prefix(TEXT)) {
            differs(INSTRUCTIONS, "the instructions are not those of the program");
        }
        if manifest.verdict != Some(again.verdict()) || manifest.findings != again.listed() {
            differs(MANIFEST, "the verdict that it tells is not the one of these entries");
        }
        Ok(())
    }

    /// Compares its checkpoint with those that somebody kept: of one size there is one tree. Other
    /// sizes cannot be compared without the log, which is told of a file that has no other.
    pub fn compare(&mut self, kept: &[Kept]) {
        let trees: Vec<TreeHead> = self.head.into_iter().collect();
        for kept in comparable(kept, &trees) {
            self.compare_one(kept);
        }
    }

    /// What witnesses may have signed: its checkpoint, and those of the same tree that somebody kept.
    pub fn witnessing(&self, kept: &[Kept]) -> Vec<Kept> {
        let own = self.checkpoint.iter().cloned();
        let own = own.map(|signed| Kept { name: CHECKPOINT.to_owned(), signed });
        let same = |it: &&Kept| {
            self.checkpoint.as_ref().is_some_and(|own| own.checkpoint == it.signed.checkpoint)
        };
        own.chain(kept.iter().filter(same).cloned()).collect()
    }

    fn compare_one(&mut self, kept: &Kept) {
        let theirs = &kept.signed.checkpoint;
        let place = Place::file(&kept.name);
        let nobody = Trust { keys: Vec::new(), from: KeySource::Given };
        let trust = self.trust.as_ref().unwrap_or(&nobody);
        let is_ours = self.checkpoint.as_ref().is_some_and(|own| own.checkpoint == *theirs);
        kept_signers(&kept.signed, trust, &place, is_ours, &mut self.findings);
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

/// The id that was asked for. No signature covers that name, and in a body that was pruned it may have
/// stood.
struct Asked(Vec<String>);

impl Asked {
    fn new(asked: &str) -> Self {
        let forms = std::iter::once(asked.to_owned()).chain(further_forms(asked));
        Self(forms.map(|form| plain(&form)).filter(|form| !form.is_empty()).collect())
    }

    /// Whether the entry carries it.
    fn is_in(&self, item: &Item) -> bool {
        let carries = |text: &str| self.0.iter().any(|form| text.contains(form));
        let body = item.body.as_deref();
        body.is_none_or(|body| carries(&plain(&String::from_utf8_lossy(body))))
            || carries(&item.proof.id)
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Why a manifest names more than any of ours, before anything of it is read.
fn too_much(manifest: &Manifest) -> Option<(Code, String)> {
    for (entries, most) in [(&manifest.entries, MAX_ENTRIES), (&manifest.acts, MAX_ACTS)] {
        if entries.len() > most {
            let text = format!("it names {} entries; a bundle has at most {most}", entries.len());
            return Some((Code::FieldMismatch, text));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = entries.iter().find(|sequence| !seen.insert(**sequence)) {
            return Some((Code::OutOfOrder, format!("entry {twice} is there twice")));
        }
    }
    None
}

/// Whether the files are those of the manifest.
fn listed(manifest: &Manifest, files: &Files<'_>, findings: &mut Findings) {
    for (name, stated) in &manifest.files {
        match files.members.get(name.as_str()) {
            None => findings.add(Code::Missing, Place::file(name), "the file is not there"),
            Some(member) if hex(&member.sha256) != *stated => {
                let text = "the file is not the one that the manifest has the hash of";
                findings.add(Code::HashMismatch, Place::file(name), text);
            }
            Some(_) => {}
        }
    }
    let expected: BTreeSet<String> = manifest
        .entries
        .iter()
        .chain(&manifest.acts)
        .flat_map(|sequence| [entry_name(*sequence), proof_name(*sequence)])
        .chain(manifest.entries.iter().map(|sequence| originals_name(*sequence)))
        .chain([INSTRUCTIONS, REPORT, MANIFEST, CHECKPOINT, KEYS].map(str::to_owned))
        .collect();
    for name in [INSTRUCTIONS, REPORT, KEYS] {
        if !manifest.files.contains_key(name) {
            findings.add(Code::Missing, Place::file(name), "the manifest does not name the file");
        }
    }
    for name in files.members.keys() {
        let known = *name == MANIFEST || manifest.files.contains_key(*name);
        if !known || !expected.contains(*name) {
            let text = "no entry of the manifest belongs to this file";
            findings.add(Code::ExtraDocument, Place::file(*name), text);
        }
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
