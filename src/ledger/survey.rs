//! Which segments there are, whether they follow each other, and what is in the last one.

use super::bytes::len64;
use super::chain::Chain;
use super::error::{Damage, OpenError};
use super::frame::Frame;
use super::segment::{HEADER_LEN, Header, SEGMENT, SIDECAR, path};
use super::sidecar::{Record, Sealed, Sidecar};
use super::source::{self, Source};
use super::types::{Hash, TreeHead};
use super::view::{Segment, View};
use super::walk::{Remains, Walk, WalkError};
use super::window::{Key, NO_SOURCE};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment with a sound header that follows the one before it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    pub(super) header_hash: Hash,
    /// What it ends with; `None` for the last one, which is not sealed.
    pub(super) sealed: Option<Sealed>,
}

impl Found {
    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    pub(super) fn open(&self, dir: &Path) -> Result<Source, OpenError> {
        Source::open(dir, self.first()).map_err(OpenError::io("open", &self.path))
    }

    pub(super) fn corrupt(
        &self,
        offset: u64,
        sequence: u64,
        damage: impl Into<Damage>,
    ) -> OpenError {
        let (segment, damage) = (self.path.clone(), Box::new(damage.into()));
        OpenError::Corrupt { segment, offset, sequence, damage }
    }
}

/// All segments in order, each checked to follow the one before it. Reads no bodies.
pub(super) fn survey(dir: &Path) -> Result<Vec<Found>, OpenError> {
    let listing = source::list(dir).map_err(OpenError::io("list", dir))?;
    let mut all: Vec<Found> = Vec::with_capacity(listing.segments.len());
    for first in &listing.segments {
        let plain = path(dir, *first, SEGMENT);
        let file = Source::open(dir, *first).map_err(OpenError::io("open", &plain))?;
        let path = file.path().to_owned();
        let header = file.header().map_err(OpenError::io("read", &path))?;
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                let (segment, damage) = (path, Box::new(error.into()));
                return Err(OpenError::Corrupt { segment, offset: 0, sequence: *first, damage });
            }
        };
        let header_hash = header.hash();
        let found = Found { path, header, header_hash, sealed: None };
        follows(dir, all.last_mut(), &found, *first)?;
        all.push(found);
    }
    // A segment gets its sidecar when the next segment is there, so the last one has none.
    let newest = all.last().map(Found::first);
    let orphan = listing.sidecars.into_iter().find(|first| Some(*first) >= newest);
    // Nor is the last one ever packed.
    let orphan = orphan.or(newest.filter(|last| listing.packed.contains(last)));
    orphan.map_or(Ok(all), |orphan| Err(lost(dir, orphan)))
}

/// What a sidecar or a packed file without a next segment says: that one is missing, and perhaps its own too.
fn lost(dir: &Path, orphan: u64) -> OpenError {
    let end = Source::open(dir, orphan).and_then(|file| file.last_seal());
    let first = end.ok().flatten().map_or(orphan, |seal| seal.head.size);
    let damage = Box::new(Damage::Missing { first });
    OpenError::Corrupt { segment: path(dir, first, SEGMENT), offset: 0, sequence: first, damage }
}

/// Checks that `found` follows `before`, and notes what `before` ends with.
fn follows(
    dir: &Path,
    before: Option<&mut Found>,
    found: &Found,
    name: u64,
) -> Result<(), OpenError> {
    let header = &found.header;
    if header.first != name {
        return Err(found.corrupt(0, name, Damage::Order));
    }
    let Some(before) = before else {
        if header.first != 0 {
            return Err(found.corrupt(0, 0, Damage::Missing { first: 0 }));
        }
        return Ok(());
    };
    if header.origin != before.header.origin {
        return Err(found.corrupt(0, header.first, Damage::Origin));
    }
    let file = before.open(dir)?;
    if file.is_broken() {
        return Err(before.corrupt(0, before.first(), Damage::Packed));
    }
    let read = OpenError::io("read", &before.path);
    let (end, seal) =
        file.length().and_then(|length| Ok((length, file.last_seal()?))).map_err(read)?;
    let Some(head) = seal.map(|seal| seal.head) else {
        return Err(before.corrupt(end, header.first, Damage::Short));
    };
    if head.size < header.first {
        return Err(before.corrupt(end, head.size, Damage::Missing { first: head.size }));
    }
    if header.before != before.header_hash || head != header.start() {
        return Err(found.corrupt(0, header.first, Damage::Order));
    }
    before.sealed = Some(Sealed { header_hash: before.header_hash, head, end });
    Ok(())
}

/// What is in a segment.
pub(super) struct Replayed {
    /// Its entries in complete groups.
    pub(super) records: Vec<Record>,
    /// Where the last complete group with entries starts.
    pub(super) last_group: u64,
    /// Where the complete groups end.
    pub(super) end: u64,
    /// Length of the file.
    pub(super) length: u64,
    /// Whether the last thing in it is the mark of a clean end.
    pub(super) clean: bool,
    /// What is behind the complete groups: nothing, or a group that no other follows.
    pub(super) remains: Remains,
}

/// Reads a segment's frames and checks that each follows from what is before it.
///
/// The last group of the last segment may be damaged, sealed or not: power loss writes pages in
/// any order. What follows it proves that it was durable; then damage to it is an error.
pub(super) fn replay(
    found: &Found,
    file: &Source,
    chain: &mut Chain,
) -> Result<Replayed, OpenError> {
    let read = |source| OpenError::io("read", &found.path)(source);
    let length = file.length().map_err(read)?;
    let start = HEADER_LEN as u64;
    let mut done = Replayed {
        records: Vec::new(),
        last_group: start,
        end: start,
        length,
        clean: false,
        remains: Remains { entries: 0..0, sealed: false },
    };
    let mut complete = 0;
    let mut remains = None;
    let mut walk = Walk::new(file, start, length);
    loop {
        let at = walk.offset();
        match walk.next() {
            Ok(None) => break,
            Ok(Some((at, Frame::Entry(entry)))) => {
                let sequence = chain.next();
                chain.check_entry(&entry).map_err(|e| found.corrupt(at, sequence, e))?;
                let key = Key {
                    id: entry.id.0,
                    source: entry.source_key.unwrap_or(NO_SOURCE),
                    leaf: entry.leaf_hash,
                };
                let offset = u32::try_from(at).unwrap_or(u32::MAX);
                done.records.push(Record { key, offset });
                done.clean = false;
            }
            Ok(Some((at, Frame::Seal(seal)))) => {
                let sequence = chain.group_first();
                let bytes = at.saturating_sub(done.end);
                chain.check_seal(&seal, bytes).map_err(|e| found.corrupt(at, sequence, e))?;
                if !seal.close {
                    done.last_group = done.end;
                }
                done.clean = seal.close;
                done.end = at.saturating_add(len64(&seal.encode()));
                complete = done.records.len();
            }
            Err(WalkError::Io(error)) => return Err(read(error)),
            Err(WalkError::Frame(error)) => {
                let last = found.sealed.is_none();
                let (first, next) = (chain.group_first(), chain.next());
                if last {
                    remains = walk.remains(done.end, first, next).map_err(read)?;
                }
                if remains.is_none() {
                    return Err(found.corrupt(at, next, error));
                }
                break;
            }
        }
    }
    done.records.truncate(complete);
    done.clean &= done.end == length;
    let unfinished = Remains { entries: chain.group_first()..chain.next(), sealed: false };
    done.remains = remains.unwrap_or(unfinished);
    chain.roll_back();
    Ok(done)
}

/// The state before the segment at `index`, and sidecars for all segments before it from the last
/// one that has none: `rebuilt` counts them. With `write` unset nothing is written.
pub(super) fn state_before(
    dir: &Path,
    all: &[Found],
    index: usize,
    write: bool,
    rebuilt: &mut u64,
) -> Result<Chain, OpenError> {
    let before = all.get(..index).unwrap_or_default();
    let mut chain = Chain::default();
    let mut from = 0;
    for (at, found) in before.iter().enumerate().rev() {
        let sidecar = found.sealed.as_ref().and_then(|s| Sidecar::open(dir, found.first(), s));
        if let Some(sidecar) = sidecar {
            chain = sidecar.chain().clone();
            from = at.saturating_add(1);
            break;
        }
    }
    for found in before.iter().skip(from) {
        rebuild(dir, found, &mut chain, write)?;
        *rebuilt = rebuilt.saturating_add(1);
    }
    Ok(chain)
}

/// Reads a sealed segment, advances the state by it, and writes its sidecar.
pub(super) fn rebuild(
    dir: &Path,
    found: &Found,
    chain: &mut Chain,
    write: bool,
) -> Result<Vec<Record>, OpenError> {
    let file = found.open(dir)?;
    let replayed = replay(found, &file, chain)?;
    let Some(sealed) = found.sealed.filter(|sealed| sealed.head == chain.committed().head()) else {
        return Err(found.corrupt(replayed.end, chain.next(), Damage::Short));
    };
    if replayed.end != replayed.length {
        return Err(found.corrupt(replayed.end, chain.next(), Damage::Unfinished));
    }
    if write {
        let path = path(dir, found.first(), SIDECAR);
        super::sidecar::write(dir, found.first(), &replayed.records, chain, &sealed)
            .map_err(OpenError::io("write", &path))?;
    }
    Ok(replayed.records)
}

/// The ledger as it is now, for reading only.
pub(super) fn snapshot(dir: &Path) -> Result<View, OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::Absent { path: dir.to_owned() });
    }
    let all = survey(dir)?;
    let Some((last, sealed)) = all.split_last() else {
        return Err(OpenError::Absent { path: dir.to_owned() });
    };
    let mut chain = state_before(dir, &all, sealed.len(), false, &mut 0)?;
    let replayed = replay(last, &last.open(dir)?, &mut chain)?;
    let mut segments = sealed_segments(dir, sealed);
    let offsets = replayed.records.iter().map(|record| record.offset).collect();
    segments.push(Arc::new(Segment::new(dir, last.first(), replayed.end, Some(offsets))));
    let head: TreeHead = chain.committed().head();
    Ok(View::new(dir, last.header.origin, segments, head, true))
}

/// The sealed segments as readers see them.
pub(super) fn sealed_segments(dir: &Path, sealed: &[Found]) -> Vec<Arc<Segment>> {
    let end = |found: &Found| found.sealed.map_or(0, |sealed| sealed.end);
    let view = |found: &Found| Arc::new(Segment::new(dir, found.first(), end(found), None));
    sealed.iter().map(view).collect()
}
