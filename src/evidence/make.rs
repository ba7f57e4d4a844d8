//! A bundle is made: entry by entry into a spool, then what is told of all of them.

use super::check::{KeySource, Trust};
use super::format::{
    CHECKPOINT, Covered, INSTRUCTIONS, Item, KEYS, MANIFEST, Manifest, REPORT, entry_name, hex,
    proof_name,
};
use super::judge::{Case, Seen};
use super::report::{Desk, write_report};
use super::spool::Spool;
use super::zip::{Member, WriteError, Writer};
use crate::ledger::TreeHead;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What stands in `INSTRUCTIONS.txt`.
pub(super) const TEXT: &str = include_str!("instructions.txt");

/// What a bundle is made of, for one that fits in memory.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What it says of itself. Checkpoint, verdict, findings and files are filled in.
    pub manifest: Manifest,
    /// The entries with their proofs, in the order of the story.
    pub items: Vec<Item>,
    /// Entries of the log about itself that explain those of the story.
    pub acts: Vec<Item>,
    /// The checkpoint that the proofs lead to.
    pub checkpoint: Option<SignedCheckpoint>,
    /// The keys that the log publishes.
    pub keys: Vec<VerifierKey>,
}

impl Parts {
    /// Writes the bundle.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`].
    pub fn write(self) -> Result<Vec<u8>, WriteError> {
        let Self { manifest, items, acts, checkpoint, keys } = self;
        let mut spool = Spool::in_memory();
        let mut maker = Maker::begin(&mut spool, manifest, checkpoint, keys);
        for item in &items {
            maker.add(item)?;
        }
        maker.finish(&acts)?;
        Ok(spool.into_bytes()?)
    }
}

/// A bundle that is being made. Of the entries that were added it keeps what [`Brief`] says.
///
/// [`Brief`]: super::format::Brief
#[derive(Debug)]
pub(super) struct Maker<'s> {
    zip: Writer<'s>,
    manifest: Manifest,
    checkpoint: Option<SignedCheckpoint>,
    keys: Vec<VerifierKey>,
    seen: Seen,
}

impl<'s> Maker<'s> {
    /// Begins one in an empty spool.
    pub(super) fn begin(
        spool: &'s mut Spool,
        manifest: Manifest,
        checkpoint: Option<SignedCheckpoint>,
        keys: Vec<VerifierKey>,
    ) -> Self {
        let manifest = Manifest { files: BTreeMap::new(), entries: Vec::new(), ..manifest };
        Self { zip: Writer::new(spool), manifest, checkpoint, keys, seen: Seen::default() }
    }

    /// The tree that covers the entries.
    pub(super) fn head(&self) -> Option<TreeHead> {
        self.checkpoint.as_ref().map(|signed| signed.checkpoint.head)
    }

    /// What was added.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Tells of an entry of the story that another ledger has.
    pub(super) fn add_elsewhere(&mut self, id: &[u8; 16]) {
        self.manifest.elsewhere.push(hex(id));
    }

    /// Adds the next entry of the story.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(super) fn add(&mut self, item: &Item) -> Result<(), WriteError> {
        let body = self.files_of(item)?;
        let head = self.head();
        self.manifest.entries.push(item.proof.sequence);
        self.seen.look(item, item.brief(body.map(|it| it.range)), head.as_ref());
        Ok(())
    }

    /// Writes the files of an entry; gives the one with its body.
    fn files_of(&mut self, item: &Item) -> Result<Option<Member>, WriteError> {
        let sequence = item.proof.sequence;
        self.file(&proof_name(sequence), &pretty(&item.proof))?;
        item.body.as_deref().map(|body| self.file(&entry_name(sequence), body)).transpose()
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<Member, WriteError> {
        let member = self.zip.member(name, bytes)?;
        self.manifest.files.insert(name.to_owned(), hex(&member.sha256));
        Ok(member)
    }

    /// Ends it, with the entries of ours that explain those of the story.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(super) fn finish(mut self, acts: &[Item]) -> Result<(), WriteError> {
        let own: BTreeSet<u64> = self.manifest.entries.iter().copied().collect();
        self.manifest.acts.clear();
        for act in acts {
            self.manifest.acts.push(act.proof.sequence);
            // The files of one that belongs to the story are there already.
            if !own.contains(&act.proof.sequence) {
                self.files_of(act)?;
            }
        }
        let head = self.head();
        self.manifest.checkpoint = head.map(|it| Covered { size: it.size, root: hex(&it.root) });
        self.manifest.mapping_versions = self.seen.mapping_versions();
        let (manifest, seen) = (&self.manifest, &self.seen);
        let case = Case { manifest, seen, acts, checkpoint: self.checkpoint.as_ref() };
        let trust = Trust { keys: self.keys.clone(), from: KeySource::Beside };
        let findings = case.judge(&trust).findings;
        self.manifest.verdict = Some(findings.verdict());
        self.manifest.findings = findings.listed().to_vec();
        self.file(INSTRUCTIONS, TEXT.as_bytes())?;
        self.report(acts)?;
        if let Some(signed) = self.checkpoint.take() {
            self.file(CHECKPOINT, &signed.note)?;
        }
        let lines: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        self.file(KEYS, (lines.join("\n") + "\n").as_bytes())?;
        // The last one, since it has the hashes of all others.
        self.zip.member(MANIFEST, &pretty(&self.manifest))?;
        self.zip.finish()
    }

    fn report(&mut self, acts: &[Item]) -> Result<(), WriteError> {
        self.zip.begin(REPORT)?;
        let mut desk = Written { zip: &mut self.zip, failed: None };
        let written = write_report(&self.manifest, &self.seen.entries, acts, &mut desk);
        let failed = desk.failed.take();
        failed.map_or(Ok(()), Err)?;
        written?;
        let member = self.zip.end()?;
        self.manifest.files.insert(REPORT.to_owned(), hex(&member.sha256));
        Ok(())
    }
}

/// Where the report of a bundle is written that is being made.
struct Written<'z, 's> {
    zip: &'z mut Writer<'s>,
    failed: Option<WriteError>,
}

impl Desk for Written<'_, '_> {
    fn body(&mut self, _: usize, range: &std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        self.zip.read_back(range)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.zip.push(text.as_bytes()).map_err(|error| match error {
            WriteError::Io(error) => error,
            too_large @ WriteError::TooLarge => {
                self.failed = Some(too_large);
                io::ErrorKind::FileTooLarge.into()
            }
        })
    }
}

/// JSON as a person reads it.
pub(super) fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // None of ours has a key that is not text.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
