//! A data folder, all of it against itself and against what was kept elsewhere.
//!
//! ```text
//! ledger ── every byte ──► entries, tree ──┬─► the log's own checkpoint, and who signed it
//!                                          ├─► checkpoints that somebody kept
//!                                          ├─► the tiles of the public log
//!                                          └─► entries of ours: what was pruned, erased, repaired
//! ```

use super::check::{KeySource, Trust, check_newest, kept_signers, signers};
use super::format::hex;
use super::gone::Pruning;
use super::own::Own;
use super::tiles::Tiles;
use super::verdict::{Code, Findings, Place, Verdict};
use crate::intake::now_ns;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::{
    CHECKPOINT_FILE, Damage, EntryRef, Hash, Mismatch, Problem, Progress, Pseudonyms, PublicLog,
    PublicLogError, Reader, TreeHead, VerifyError, VerifyReport, verify_observed,
};
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Bytes that are read at once where entries are looked at again.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Age of an entry, in nanoseconds, at which a checkpoint has to cover it: a server signs every second.
const COVERED_WITHIN_NS: u64 = 60 * 1_000_000_000;

/// A checkpoint that somebody kept elsewhere.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is called in findings: its file.
    pub name: String,
    /// The checkpoint.
    pub signed: SignedCheckpoint,
}

impl Kept {
    /// The file that it stands in: that of a sink has many, each named by its line.
    fn file(&self) -> &str {
        let line = self.name.rsplit_once(':');
        let line = line.filter(|(_, line)| line.bytes().all(|b| b.is_ascii_digit()));
        line.map_or(&self.name, |(file, _)| file)
    }
}

/// Those of these that can be compared with one of the trees alone, without the log; of a file that has
/// none, its largest, of which that can be told.
pub(super) fn comparable<'k>(kept: &'k [Kept], trees: &[TreeHead]) -> Vec<&'k Kept> {
    let size = |it: &Kept| it.signed.checkpoint.head.size;
    let speaks = |it: &Kept| trees.iter().any(|tree| tree.size == size(it));
    let mut largest: BTreeMap<&str, &Kept> = BTreeMap::new();
    for it in kept {
        let of = largest.entry(it.file()).or_insert(it);
        if (speaks(it), size(it)) > (speaks(of), size(of)) {
            *of = it;
        }
    }
    let is_said =
        |it: &&Kept| speaks(it) || largest.get(it.file()).is_some_and(|of| std::ptr::eq(*of, *it));
    kept.iter().filter(is_said).collect()
}

/// What is checked, and against what.
pub struct Folder<'a> {
    /// Folder of the ledger.
    pub ledger: &'a Path,
    /// The public log.
    pub log: PublicLog,
    /// Keys by which checkpoints have to be signed.
    pub trust: Trust,
    /// Checkpoints that were kept elsewhere.
    pub kept: &'a [Kept],
    /// Sizes and roots that were kept elsewhere, without a signature.
    pub expected: &'a [TreeHead],
    /// What tells tenants by their pseudonym, for who has the keys.
    pub pseudonyms: Option<Pseudonyms<'a>>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct FolderReport {
    /// What the ledger says of itself.
    pub ledger: VerifyReport,
    /// The checkpoint that was signed last.
    pub checkpoint: Option<SignedCheckpoint>,
    /// Who signed it, of those whose keys are known: `name+id`.
    pub signers: Vec<String>,
    /// Where the keys come from.
    pub keys_from: KeySource,
    /// What was found.
    pub findings: Findings,
}

impl FolderReport {
    /// Entries that no checkpoint covers yet.
    pub fn uncovered(&self) -> u64 {
        let covered = self.checkpoint.as_ref().map_or(0, |it| it.checkpoint.head.size);
        self.ledger.head.size.saturating_sub(covered)
    }

    /// What all of it comes to.
    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }
}

/// Why a folder could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] VerifyError),
    /// The public log.
    #[error(transparent)]
    Log(#[from] PublicLogError),
}

impl Folder<'_> {
    /// Checks everything. Takes no lock and changes nothing: beside a running server it checks what
    /// is complete. `also` is shown each entry, for what else is compared in the same pass.
    ///
    /// # Errors
    /// [`FolderError`] when something cannot be read. Damage is in the report.
    pub fn verify(
        mut self,
        also: &mut dyn FnMut(&EntryRef<'_>),
        progress: impl FnMut(Progress),
    ) -> Result<FolderReport, FolderError> {
        let mut findings = Findings::default();
        let began_ns = now_ns();
        // Before the ledger: beside a running server that only grows.
        let checkpoint = self.own_checkpoint(&mut findings)?;
        let head = checkpoint.as_ref().map(|it| it.checkpoint.head);
        let kept = self.kept.iter().map(|it| it.signed.checkpoint.head);
        let heads: Vec<TreeHead> =
            head.into_iter().chain(kept).chain(self.expected.iter().copied()).collect();
        let mut tiles = Tiles::new(&self.log, head.map_or(0, |head| head.size));
        let (mut of_tiles, mut own) = (Findings::default(), Own::default());
        let is_public = head.is_some();
        let covered = head.map_or(0, |head| head.size);
        let mut oldest_ns = u64::MAX;
        let mut observe = |entry: &EntryRef<'_>, leaf: &Hash, segment: u64| {
            own.look(entry, segment);
            if entry.sequence >= covered {
                oldest_ns = oldest_ns.min(entry.received_ns);
            }
            if is_public {
                tiles.push(entry.sequence, &entry.leaf_record(), *leaf, &mut of_tiles);
            }
            also(entry);
        };
        let ledger = verify_observed(self.ledger, &heads, self.pseudonyms, &mut observe, progress)?;
        for problem in &ledger.problems {
            let (code, place) = meaning(problem, &ledger.head, head, self.kept);
            findings.weigh(code, Verdict::Compromised, place, problem.damage.to_string());
        }
        findings.count_more(ledger.more_problems, Verdict::Compromised);
        if let Some(tail) = ledger.tail.as_ref().filter(|tail| !tail.sealed) {
            let place = Place::file(tail.segment.display().to_string()).at(tail.offset);
            let bytes = tail.bytes;
            let text = format!(
                "{bytes} bytes belong to no complete group: being written, or torn by a crash"
            );
            findings.add(Code::TornTail, place, text);
        }
        tiles.finish(&mut of_tiles);
        if !tiles.wider.is_empty() {
            // A running server may have gone on since its last entry was read here.
            let now = Reader::open(self.ledger).map_or(ledger.head.size, |it| it.watermark());
            tiles.beyond(now, &mut of_tiles);
        }
        if let Some(error) = tiles.failed.take() {
            return Err(error.into());
        }
        findings.append(of_tiles);
        let newest = own.follow_handovers(&mut self.trust.keys, covered);
        let reader = LazyCell::new(|| Reader::open(self.ledger).ok());
        own.finish(&|range, see| again(reader.as_ref(), range, see), &mut findings);
        let is_late = ledger.closed || oldest_ns < began_ns.saturating_sub(COVERED_WITHIN_NS);
        if is_public && is_late && ledger.head.size > covered {
            let text = format!(
                "no checkpoint covers the last {} entries, so somebody who wrote these anew would not be \
                 found; a server signs them within a second of its start",
                ledger.head.size.saturating_sub(covered)
            );
            findings.add(Code::Unsigned, Place::entry(covered), text);
        }
        let signers = self.signatures(checkpoint.as_ref(), &ledger, &mut findings);
        if let (Some(signed), Some(newest)) = (&checkpoint, newest.filter(|_| !signers.is_empty()))
        {
            let told = format!("{}+{:08x}", newest.name(), newest.id());
            check_newest(signed, &newest, &told, &own_place(), &mut findings);
        }
        let keys_from = self.trust.from;
        Ok(FolderReport { ledger, checkpoint, signers, keys_from, findings })
    }

    /// The checkpoint that the folder has; one that cannot be read is a finding.
    fn own_checkpoint(
        &self,
        findings: &mut Findings,
    ) -> Result<Option<SignedCheckpoint>, FolderError> {
        match self.log.checkpoint() {
            Ok(checkpoint) => Ok(checkpoint),
            Err(error @ (PublicLogError::Io { .. } | PublicLogError::Missing { .. })) => {
                Err(error.into())
            }
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let why = why.unwrap_or_else(|| error.to_string());
                findings.add(Code::BadSignature, own_place(), why);
                Ok(None)
            }
        }
    }

    /// Who signed what, and for which log.
    fn signatures(
        &self,
        checkpoint: Option<&SignedCheckpoint>,
        ledger: &VerifyReport,
        findings: &mut Findings,
    ) -> Vec<String> {
        let origin = hex(&ledger.origin);
        let is_ours = |signed: &SignedCheckpoint| {
            signed.checkpoint.origin.rsplit('/').next() == Some(origin.as_str())
        };
        let other = |signed: &SignedCheckpoint| {
            format!(
                "it is of the log {:?}, and this one ends in {origin}",
                signed.checkpoint.origin
            )
        };
        for kept in self.kept {
            let (head, place) = (kept.signed.checkpoint.head, Place::file(&kept.name));
            let is_false = |problem: &Problem| matches!(&problem.damage, Damage::Expected { expected } if *expected == head);
            let is_the_logs = is_ours(&kept.signed) && !ledger.problems.iter().any(is_false);
            kept_signers(&kept.signed, &self.trust, &place, is_the_logs, findings);
            if !is_ours(&kept.signed) {
                findings.add(Code::WrongOrigin, Place::file(&kept.name), other(&kept.signed));
            }
        }
        let Some(signed) = checkpoint else {
            let (text, weight) = if self.trust.from == KeySource::Given {
                ("a key was given, and no checkpoint is signed", Verdict::Compromised)
            } else {
                let text = "no checkpoint is signed: only damage is found, and not somebody who wrote \
                            everything anew";
                (text, Verdict::Partial)
            };
            findings.weigh(Code::Unsigned, weight, own_place(), text);
            return Vec::new();
        };
        if !is_ours(signed) {
            findings.add(Code::WrongOrigin, own_place(), other(signed));
        }
        signers(signed, &self.trust, &own_place(), findings)
    }
}

/// Bodies that are gone from the ledger in `dir` and that no entry of it speaks of: what a repair has
/// to tell again when it cuts off the entries that told it. `lost` are those that the repair itself
/// names: `3,7-9`.
///
/// # Errors
/// [`VerifyError`] when the ledger cannot be read.
pub(crate) fn unsaid(dir: &Path, lost: &str) -> Result<Vec<Pruning>, VerifyError> {
    let mut own = Own::default();
    own.lost(lost);
    let mut observe = |entry: &EntryRef<'_>, _: &Hash, segment: u64| own.look(entry, segment);
    verify_observed(dir, &[], None, &mut observe, |_| {})?;
    let reader = Reader::open(dir).ok();
    Ok(own.unsaid(&|range, see| again(reader.as_ref(), range, see)))
}

/// Shows entries again. `false` when not all of them can be read.
fn again(reader: Option<&Reader>, range: Range<u64>, see: &mut dyn FnMut(&EntryRef<'_>)) -> bool {
    let Some(reader) = reader else { return false };
    let mut scan = reader.scan_once(range.start);
    while scan.position() < range.end {
        let Ok(Some(chunk)) = scan.next_chunk(CHUNK_BYTES) else { return false };
        for entry in chunk.entries().filter(|entry| entry.sequence < range.end) {
            see(&entry);
        }
        scan.recycle(chunk);
    }
    true
}

fn own_place() -> Place {
    Place::file(format!("log/{CHECKPOINT_FILE}"))
}

/// What a problem of the ledger is called, and where it is.
fn meaning(
    problem: &Problem,
    now: &TreeHead,
    own: Option<TreeHead>,
    kept: &[Kept],
) -> (Code, Place) {
    let file = problem.segment.file_name().map_or_else(
        || problem.segment.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let place = Place::file(file).at(problem.offset).of_entry(problem.sequence);
    let code = match &problem.damage {
        Damage::Header(_) | Damage::Frame(_) | Damage::Packed => Code::HashMismatch,
        Damage::Chain(mismatch) => match mismatch {
            Mismatch::Sequence { expected, found }
            | Mismatch::TenantSequence { expected, found } => {
                if found > expected {
                    Code::Missing
                } else {
                    Code::OutOfOrder
                }
            }
            Mismatch::SealedMissing => Code::Missing,
            Mismatch::Leaf
            | Mismatch::Body
            | Mismatch::Sealed
            | Mismatch::Tree { .. }
            | Mismatch::Group => Code::HashMismatch,
        },
        Damage::Order => Code::OutOfOrder,
        Damage::Origin => Code::WrongOrigin,
        Damage::Short | Damage::Missing { .. } | Damage::Unfinished => Code::Missing,
        Damage::Final { .. } => Code::TornTail,
        Damage::Name { .. } | Damage::Tenant { .. } => Code::FieldMismatch,
        Damage::Expected { expected } => {
            let named = kept.iter().find(|it| it.signed.checkpoint.head == *expected);
            let code = match named {
                _ if expected.size > now.size => Code::Rollback,
                Some(_) if own.is_some() => Code::Equivocation,
                _ => Code::RootMismatch,
            };
            let place = match named {
                _ if own == Some(*expected) => own_place(),
                Some(kept) => Place::file(&kept.name),
                None => Place::default(),
            };
            return (code, place.of_entry(expected.size));
        }
    };
    (code, place)
}
