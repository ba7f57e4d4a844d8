//! Everything computed again from the segments, trusting nothing that was derived from them.
//!
//! For each entry: checksums, the hashes of body and sealed bytes, the leaf and its hash, both
//! sequence numbers.
//! For each group: its place, size and root. For each segment: that it follows the one before it.
//! Sidecars are not read. What an attacker wrote anew from some entry to the end is consistent in
//! itself: only a tree head that was kept elsewhere shows it, see [`verify_against`].

use super::bytes::{len64, u64_at};
use super::chain::Mismatch;
use super::error::Damage;
use super::frame::{Frame, Seal};
use super::merkle::Frontier;
use super::sealed::SealedState;
use super::segment::{HEADER_LEN, Header};
use super::source::{self, Source};
use super::types::{EntryRef, Hash, TreeHead};
use super::verify_report::{Problem, Progress, Tail, VerifyError, VerifyReport};
use super::walk::{Walk, WalkError};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Problems that are listed; more are counted.
const MAX_PROBLEMS: usize = 1000;

/// Entries whose ids are compared, so that memory stays below 128 MiB.
const MAX_COMPARED: usize = 1 << 24;

/// Checks the ledger in `dir`. Takes no lock and changes nothing: beside a running program it
/// checks what is complete.
///
/// # Errors
/// [`VerifyError`] when there is nothing to check or it cannot be read. Damage is no error of the
/// verification: it is in the report.
pub fn verify(dir: &Path, progress: impl FnMut(Progress)) -> Result<VerifyReport, VerifyError> {
    verify_against(dir, &[], None, progress)
}

/// Gives the pseudonym of a tenant: who has the keys can.
pub type Pseudonyms<'a> = &'a dyn Fn(&str) -> [u8; 16];

/// Is shown each entry of a ledger that is checked, in order, with the hash of its leaf and the number
/// with which its segment starts: for who compares something else with the ledger in the same pass.
pub type Observer<'a> = &'a mut dyn FnMut(&EntryRef<'_>, &Hash, u64);

/// Checks the ledger in `dir`, and that it still contains the trees whose heads somebody kept; with
/// `pseudonyms` also that each entry is of the tenant that its leaf stands for.
///
/// # Errors
/// As for [`verify`].
pub fn verify_against(
    dir: &Path,
    expected: &[TreeHead],
    pseudonyms: Option<Pseudonyms<'_>>,
    progress: impl FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    verify_observed(dir, expected, pseudonyms, &mut |_, _, _| {}, progress)
}

/// [`verify_against`], showing each entry that can be read to an observer.
///
/// # Errors
/// As for [`verify`].
pub fn verify_observed(
    dir: &Path,
    expected: &[TreeHead],
    pseudonyms: Option<Pseudonyms<'_>>,
    observer: Observer<'_>,
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    if !dir.is_dir() {
        return Err(VerifyError::Absent { path: dir.to_owned() });
    }
    let io = |path: &Path, source| VerifyError::Io { path: path.to_owned(), source };
    let listing = source::list(dir).map_err(|error| io(dir, error))?;
    let firsts = listing.segments;
    let Some(last) = firsts.last().copied() else {
        return Err(VerifyError::Absent { path: dir.to_owned() });
    };
    let total_bytes =
        firsts.iter().map(|first| source::length(dir, *first)).fold(0, u64::saturating_add);
    let mut check = Check::new(expected, pseudonyms, total_bytes, observer, &mut progress);
    for first in firsts {
        let source = Source::open(dir, first).map_err(|error| io(dir, error))?;
        let path = source.path();
        check.segment(&source, first, first == last).map_err(|error| io(path, error))?;
    }
    // A segment gets its sidecar when the next one is there, and is packed only then.
    let orphan = listing.sidecars.last().is_some_and(|newest| *newest >= last);
    if orphan || listing.packed.last() == Some(&last) {
        let first = check.next;
        check.at.offset = 0;
        check.problem(Damage::Missing { first });
    }
    Ok(check.finish())
}

/// Where the check is.
#[derive(Debug, Default)]
struct At {
    segment: PathBuf,
    /// The entry that the segment is named by.
    first: u64,
    offset: u64,
}

struct Check<'a> {
    progress: &'a mut dyn FnMut(Progress),
    observer: Observer<'a>,
    total_bytes: u64,
    at: At,
    report: VerifyReport,
    /// Sequence of the next entry.
    next: u64,
    tree: Frontier,
    /// The tree at the last sound seal.
    sealed: Frontier,
    /// Whether something is missing from the tree: every root from here on would differ.
    broken: bool,
    /// Whether the next entry may have any sequence: what was before it could not be read.
    lost: bool,
    pseudonyms: Option<Pseudonyms<'a>>,
    tenants: HashMap<[u8; 16], Tenant>,
    /// The pseudonym of each name.
    names: HashMap<String, [u8; 16]>,
    group_start: u64,
    /// Sequence of the first entry of the open group.
    group_first: u64,
    previous: Option<Header>,
    ids: Vec<u64>,
    /// Heads that are still to come, the largest first.
    expected: Vec<TreeHead>,
}

struct Tenant {
    name: String,
    next: u64,
}

impl<'a> Check<'a> {
    fn new(
        expected: &[TreeHead],
        pseudonyms: Option<Pseudonyms<'a>>,
        total_bytes: u64,
        observer: Observer<'a>,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let mut expected = expected.to_vec();
        expected.sort_by_key(|head| std::cmp::Reverse(head.size));
        let tree = Frontier::default();
        let report = VerifyReport {
            head: tree.head(),
            origin: [0; 16],
            segments: 0,
            groups: 0,
            bytes: 0,
            tenants: 0,
            duplicates: 0,
            not_compared: 0,
            conflicts: 0,
            pruned: 0,
            closed: false,
            tail: None,
            problems: Vec::new(),
            more_problems: 0,
        };
        Self {
            progress,
            observer,
            total_bytes,
            at: At::default(),
            report,
            next: 0,
            sealed: tree.clone(),
            tree,
            broken: false,
            lost: false,
            pseudonyms,
            tenants: HashMap::new(),
            names: HashMap::new(),
            group_start: 0,
            group_first: 0,
            previous: None,
            ids: Vec::new(),
            expected,
        }
    }

    fn problem(&mut self, damage: impl Into<Damage>) {
        let (segment, offset, sequence) = (self.at.segment.clone(), self.at.offset, self.next);
        if self.report.problems.len() < MAX_PROBLEMS {
            let damage = damage.into();
            self.report.problems.push(Problem { segment, offset, sequence, damage });
        } else {
            self.report.more_problems = self.report.more_problems.saturating_add(1);
        }
    }

    fn segment(&mut self, file: &Source, name: u64, last: bool) -> io::Result<()> {
        self.at = At { segment: file.path().to_owned(), first: name, offset: 0 };
        let length = file.length()?;
        if file.is_broken() {
            self.problem(Damage::Packed);
        }
        self.report.segments = self.report.segments.saturating_add(1);
        match file.header()? {
            Ok(header) => self.header(header, name),
            Err(error) => {
                self.problem(error);
                self.previous = None;
                self.next = self.next.max(name);
            }
        }
        let start = HEADER_LEN as u64;
        (self.group_start, self.group_first) = (start, self.next);
        let mut walk = Walk::new(file, start, length);
        while self.step(&mut walk, last)? {}
        let open_group = self.group_start < walk.offset() && self.report.tail.is_none();
        if open_group {
            self.at.offset = self.group_start;
            if last {
                self.tail(length, false);
            } else {
                self.problem(Damage::Unfinished);
            }
        }
        self.report.bytes = self.report.bytes.saturating_add(length);
        self.tell();
        Ok(())
    }

    /// What a header has to say about what is before it.
    fn header(&mut self, header: Header, name: u64) {
        if self.report.segments == 1 {
            self.report.origin = header.origin;
        } else if header.origin != self.report.origin {
            self.problem(Damage::Origin);
        }
        let no_hash: Hash = [0; 32];
        let before = match &self.previous {
            Some(previous) => Some(previous.hash()),
            None if self.report.segments == 1 => Some(no_hash),
            // The header before was damaged, which was reported.
            None => None,
        };
        if header.first != name {
            self.problem(Damage::Order);
        } else if header.first > self.next && !self.lost {
            self.problem(Damage::Missing { first: self.next });
            self.lose();
        } else if before.is_some_and(|before| before != header.before)
            || (!self.broken && header.root != self.tree.root())
        {
            self.problem(Damage::Order);
        }
        if self.lost {
            self.next = header.first;
        }
        self.previous = Some(header);
    }

    /// From here on the tree cannot be computed, and the next entry may have any number.
    fn lose(&mut self) {
        self.broken = true;
        self.lost = true;
    }

    /// Checks the next frame. `false` at the end of the segment.
    fn step(&mut self, walk: &mut Walk<'_>, last: bool) -> io::Result<bool> {
        self.at.offset = walk.offset();
        match walk.next() {
            Ok(None) => Ok(false),
            Ok(Some((_, Frame::Entry(entry)))) => {
                self.report.closed = false;
                self.entry(&entry);
                Ok(true)
            }
            Ok(Some((at, Frame::Seal(seal)))) => {
                self.seal(&seal, at);
                Ok(true)
            }
            Err(WalkError::Io(error)) => Err(error),
            Err(WalkError::Frame(error)) => {
                let remains = if last {
                    walk.remains(self.group_start, self.group_first, self.next)?
                } else {
                    None
                };
                let Some(remains) = remains else {
                    self.problem(error);
                    self.lose();
                    return walk.skip_damage();
                };
                if remains.sealed {
                    self.next = remains.entries.start;
                    self.problem(Damage::Final { entries: remains.entries });
                }
                self.at.offset = self.group_start;
                self.tail(walk.end(), remains.sealed);
                Ok(false)
            }
        }
    }

    fn tail(&mut self, length: u64, sealed: bool) {
        let (segment, offset) = (self.at.segment.clone(), self.at.offset);
        let bytes = length.saturating_sub(offset);
        self.report.closed = false;
        self.report.tail = Some(Tail { segment, offset, bytes, sealed });
    }

    fn entry(&mut self, entry: &EntryRef<'_>) {
        let (expected, found) = (self.next, entry.sequence);
        if found != expected {
            if !self.lost {
                self.problem(Mismatch::Sequence { expected, found });
            }
            self.lose();
        }
        self.tenant(entry);
        self.lost = false;
        if !entry.pruned && Hash::from(Sha256::digest(entry.body)) != entry.body_hash {
            self.problem(Mismatch::Body);
        }
        match entry.sealed_state() {
            SealedState::Changed => self.problem(Mismatch::Sealed),
            SealedState::Missing => self.problem(Mismatch::SealedMissing),
            SealedState::Absent | SealedState::Bound | SealedState::Unbound => {}
        }
        let leaf = entry.leaf().hash();
        if leaf != entry.leaf_hash {
            self.problem(Mismatch::Leaf);
        }
        if !self.broken {
            self.meet_expectations();
            self.tree.push(leaf);
        }
        (self.observer)(entry, &leaf, self.at.first);
        self.next = found.saturating_add(1);
        self.report.conflicts = self.report.conflicts.saturating_add(u64::from(entry.conflict));
        self.report.pruned = self.report.pruned.saturating_add(u64::from(entry.pruned));
        if self.ids.len() < MAX_COMPARED {
            self.ids.push(u64_at(&entry.id.0, 0).unwrap_or_default());
        } else {
            self.report.not_compared = self.report.not_compared.saturating_add(1);
        }
    }

    /// The name stands beside the leaf, which has the pseudonym only: whoever could write another
    /// name there would give evidence to another tenant.
    fn name(&mut self, entry: &EntryRef<'_>) {
        if let Some(pseudonym) = self.names.get(entry.tenant) {
            if *pseudonym != entry.tenant_pseudonym {
                self.problem(Damage::Name { name: entry.tenant.to_owned() });
            }
            return;
        }
        let known = self.pseudonyms.map(|of| of(entry.tenant));
        let pseudonym = known.unwrap_or(entry.tenant_pseudonym);
        self.names.insert(entry.tenant.to_owned(), pseudonym);
        if pseudonym != entry.tenant_pseudonym {
            self.problem(Damage::Name { name: entry.tenant.to_owned() });
        }
    }

    fn tenant(&mut self, entry: &EntryRef<'_>) {
        self.name(entry);
        let found = entry.tenant_sequence;
        let known = self.tenants.entry(entry.tenant_pseudonym);
        // After a loss, whatever comes is the start of what can be checked.
        let fresh = || Tenant { name: entry.tenant.to_owned(), next: 0 };
        let tenant = known.or_insert_with(fresh);
        let expected = std::mem::replace(&mut tenant.next, found.saturating_add(1));
        let other = (tenant.name != entry.tenant).then(|| tenant.name.clone());
        if found != expected && !self.broken {
            self.problem(Mismatch::TenantSequence { expected, found });
        }
        if let Some(first) = other {
            let second = entry.tenant.to_owned();
            self.problem(Damage::Tenant { first, second });
        }
    }

    fn seal(&mut self, seal: &Seal, at: u64) {
        let bytes = at.saturating_sub(self.group_start);
        self.group_start = at.saturating_add(len64(&seal.encode()));
        let first = self.sealed.size();
        let stated = seal.head;
        if self.broken {
            // The roots cannot be compared any more; the numbers can.
            if stated.size != self.next && !self.lost {
                let (expected, found) = (self.next, stated.size);
                self.problem(Mismatch::Sequence { expected, found });
            }
            self.next = stated.size;
            self.lost = false;
        } else if self.tree.head() != stated {
            let computed = self.tree.head();
            self.problem(Mismatch::Tree { stated, computed });
            self.broken = true;
        } else if seal.first != first || seal.bytes != bytes || seal.close != (bytes == 0) {
            self.problem(Mismatch::Group);
        }
        self.sealed = self.tree.clone();
        self.group_first = self.next;
        self.report.closed = seal.close;
        self.report.groups = self.report.groups.saturating_add(u64::from(!seal.close));
        self.tell();
    }

    /// Compares the tree with the heads that somebody kept of it at this size.
    fn meet_expectations(&mut self) {
        let size = self.tree.size();
        while let Some(expected) = self.expected.pop_if(|head| head.size <= size) {
            if self.broken || expected != self.tree.head() {
                self.problem(Damage::Expected { expected });
            }
        }
    }

    fn tell(&mut self) {
        let bytes = self.report.bytes.saturating_add(self.group_start).min(self.total_bytes);
        let (total_bytes, entries) = (self.total_bytes, self.next);
        (self.progress)(Progress { bytes, total_bytes, entries });
    }

    fn finish(mut self) -> VerifyReport {
        // An unfinished group does not count.
        self.tree = self.sealed.clone();
        self.meet_expectations();
        while let Some(expected) = self.expected.pop() {
            self.problem(Damage::Expected { expected });
        }
        self.ids.sort_unstable();
        let all = self.ids.len();
        self.ids.dedup();
        self.report.duplicates = all.saturating_sub(self.ids.len()) as u64;
        self.report.tenants = self.tenants.len();
        self.report.head = self.sealed.head();
        self.report
    }
}
