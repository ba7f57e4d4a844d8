//! Rewriting sealed segments: packed, and without the bodies whose time is over.
//!
//! ```text
//! read ….segment or ….packed, frame by frame, each checked
//!   └► write ….packed.new ─► fsync ─► compare with what was read ─► rename to ….packed
//!      ─► fsync of the directory ─► remove ….segment
//! ```
//!
//! A crash at any moment leaves a whole segment: see [`source`](super::source). What is damaged is
//! not rewritten, so that no damage gets new checksums. The bytes of a segment keep their places:
//! a pruned body is zeros of the same length, which take no room when packed.

use super::ReadError;
use super::frame::{self, Frame};
use super::packed::{Kept, Packer, Tally};
use super::segment::{HEADER_LEN, PACKED, SEGMENT, path};
use super::source::Source;
use super::storage::{is_full, sync_dir};
use super::types::EntryRef;
use super::view::{Segment, View};
use super::walk::{Walk, WalkError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Ending of a packed file that is not finished; what a crash leaves of it is removed at the next
/// start.
const UNFINISHED: &str = "packed.new";

/// Why a segment was not rewritten. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The segment cannot be read, or is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What was written is not what was read.
    #[error("{} came out differently: nothing was replaced; check memory and disk", path.display())]
    Differs {
        /// The file that was written.
        path: PathBuf,
    },
    /// Whoever asked for it does not want it any more.
    #[error("rewriting was stopped")]
    Stopped,
}

impl RewriteError {
    /// Whether there was no room for the new file: nothing is wrong with the segment.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// What rewriting a segment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Sequence of its first entry.
    pub first: u64,
    /// Bytes on disk before.
    pub before_bytes: u64,
    /// Bytes on disk now.
    pub after_bytes: u64,
    /// Entries that were pruned.
    pub pruned: u64,
}

/// What is asked again and again while a segment is read or rewritten, every 256 KiB: whether to go
/// on. It may take its time, so that this work leaves the machine to more urgent work.
pub type GoOn<'a> = &'a mut dyn FnMut() -> bool;

/// Looks after sealed segments, beside the writer and all readers. There should be one at a time.
#[derive(Debug, Clone)]
pub struct Upkeep(Arc<View>);

impl Upkeep {
    pub(super) fn new(view: Arc<View>) -> Self {
        Self(view)
    }

    /// The first entries of the sealed segments that are plain files and were not changed since
    /// that time, the oldest first.
    pub fn unpacked(&self, since: SystemTime) -> Vec<u64> {
        let sealed = self.0.sealed().into_iter().map(|segment| segment.first);
        let old = |first: &u64| {
            let meta = path(&self.0.dir, *first, SEGMENT).metadata();
            meta.and_then(|meta| meta.modified()).is_ok_and(|changed| changed <= since)
        };
        sealed.filter(old).collect()
    }

    /// Packs the segment that starts with that entry.
    ///
    /// # Errors
    /// [`RewriteError`]; the segment is as it was.
    pub fn pack(&self, first: u64, go_on: GoOn<'_>) -> Result<Rewritten, RewriteError> {
        let segment = self.segment(first)?;
        self.rewrite(&segment, &mut |_| false, go_on, || Some(()))
    }

    /// Whether the disk has room for packing that segment, should it not become smaller, and for that
    /// many bytes more. What the system does not tell is room enough: packing finds out.
    pub fn has_room(&self, first: u64, more: u64) -> bool {
        let plain = path(&self.0.dir, first, SEGMENT).metadata().map_or(0, |meta| meta.len());
        let disk = rustix::fs::statvfs(&self.0.dir);
        disk.map_or(true, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) >= plain.saturating_add(more)
        })
    }

    /// The sealed segment that starts with that entry.
    pub(super) fn segment(&self, first: u64) -> Result<Arc<Segment>, RewriteError> {
        let found = self.0.sealed().into_iter().find(|segment| segment.first == first);
        found.ok_or_else(|| {
            let path = path(&self.0.dir, first, SEGMENT);
            io_error("find the sealed segment", &path)(io::ErrorKind::NotFound.into())
        })
    }

    /// The sealed segments, and for each the entry that follows its last one.
    pub(super) fn sealed(&self) -> Vec<(Arc<Segment>, u64)> {
        let segments = self.0.sealed();
        let active = self.0.active_first();
        let ends = segments.iter().skip(1).map(|next| next.first).chain(active).collect::<Vec<_>>();
        segments.into_iter().zip(ends).collect()
    }

    /// What is kept of a segment, by class: from its tables, else by reading it.
    pub(super) fn kept(
        &self,
        segment: &Segment,
        go_on: GoOn<'_>,
    ) -> Result<Vec<Kept>, RewriteError> {
        let source = self.0.open(segment)?;
        if let Some(kept) = source.kept() {
            return Ok(kept.to_vec());
        }
        let mut tally = Tally::default();
        self.each(segment, &mut |entry| tally.add(entry), go_on)?;
        Ok(tally.kept())
    }

    /// Whether the segment is a plain file that was begun after that time: its header says so, and
    /// the rest need not be read.
    pub(super) fn is_plain_since(&self, segment: &Segment, ns: u64) -> Result<bool, RewriteError> {
        let source = self.0.open(segment)?;
        if source.is_packed() {
            return Ok(false);
        }
        let header = source.header().map_err(|error| segment.io(error))?;
        Ok(header.is_ok_and(|header| header.created_ns >= ns))
    }

    /// Reads the entries of a segment.
    pub(super) fn each(
        &self,
        segment: &Segment,
        visit: &mut dyn FnMut(&EntryRef<'_>),
        go_on: GoOn<'_>,
    ) -> Result<(), RewriteError> {
        let source = self.0.open(segment)?;
        let mut walk = Walk::new(&source, HEADER_LEN as u64, segment.end());
        let mut place = Place::new(segment);
        while let Some((at, frame)) = place.next(&mut walk)? {
            if let Frame::Entry(entry) = frame {
                visit(&entry);
            }
            place.pause(at, go_on)?;
        }
        Ok(())
    }

    /// Rewrites a segment, packed, and pruned of the entries that `choose` names. `last_look` is asked
    /// when all is written and nothing is replaced yet, which may be minutes after the beginning:
    /// with `None` it stays so. What it gives is kept until the new file is in its place.
    pub(super) fn rewrite<G>(
        &self,
        segment: &Segment,
        choose: &mut dyn FnMut(&EntryRef<'_>) -> bool,
        go_on: GoOn<'_>,
        last_look: impl FnOnce() -> Option<G>,
    ) -> Result<Rewritten, RewriteError> {
        let (dir, first) = (&self.0.dir, segment.first);
        let new = path(dir, first, UNFINISHED);
        // Not one that a reader has open: what is compared below is what is on disk.
        let old = Source::open(dir, first).map_err(|error| segment.io(error))?;
        let written = write(segment, &old, &new, choose, go_on)
            .and_then(|done| compare(segment, &old, &new, done.pruned, go_on).map(|()| done))
            .and_then(|done| Ok((done, last_look().ok_or(RewriteError::Stopped)?)));
        let (Written { pruned, bytes }, guard) = written.inspect_err(|_| {
            // What is left of it is removed at the next start at the latest.
            let _ = std::fs::remove_file(&new);
        })?;
        let before_bytes = old.path().metadata().map_or(0, |meta| meta.len());
        let (packed, plain) = (path(dir, first, PACKED), path(dir, first, SEGMENT));
        std::fs::rename(&new, &packed).map_err(io_error("rename", &new))?;
        // IMPORTANT: the plain file goes only when the packed one cannot.
        sync_dir(dir).map_err(io_error("make durable the name of", &packed))?;
        drop(guard);
        if !old.is_packed() {
            std::fs::remove_file(&plain).map_err(io_error("remove", &plain))?;
            sync_dir(dir).map_err(io_error("make durable the end of", &plain))?;
        }
        self.0.forget_file(first);
        Ok(Rewritten { first, before_bytes, after_bytes: bytes, pruned })
    }
}

struct Written {
    pruned: u64,
    bytes: u64,
}

/// Writes the packed file; it is durable then.
fn write(
    segment: &Segment,
    old: &Source,
    new: &Path,
    choose: &mut dyn FnMut(&EntryRef<'_>) -> bool,
    go_on: GoOn<'_>,
) -> Result<Written, RewriteError> {
    let failed = || io_error("write", new);
    let mut header = [0; HEADER_LEN];
    old.read_up_to(&mut header, 0).map_err(|error| segment.io(error))?;
    let mut packer = Packer::begin(new, &header).map_err(failed())?;
    let mut walk = Walk::new(old, HEADER_LEN as u64, segment.end());
    let mut place = Place::new(segment);
    let mut pruned = 0_u64;
    while let Some((at, frame)) = place.next(&mut walk)? {
        let goes = match &frame {
            Frame::Entry(entry) if !entry.pruned && choose(entry) => true,
            Frame::Entry(entry) => {
                packer.tally(entry);
                false
            }
            Frame::Seal(_) => false,
        };
        let bytes = walk.last_frame();
        if goes {
            frame::prune(bytes).map_err(|_| segment.corrupt(at, place.next))?;
            pruned = pruned.saturating_add(1);
        }
        packer.push(bytes).map_err(failed())?;
        place.pause(at, go_on)?;
    }
    let bytes = packer.finish().map_err(failed())?;
    Ok(Written { pruned, bytes })
}

/// Reads both files side by side: each frame is the same, or pruned where it was not.
fn compare(
    segment: &Segment,
    old: &Source,
    new: &Path,
    pruned: u64,
    go_on: GoOn<'_>,
) -> Result<(), RewriteError> {
    let differs = || RewriteError::Differs { path: new.to_owned() };
    let source = Source::open_packed(new.to_owned()).map_err(io_error("read", new))?;
    let length = source.length().map_err(io_error("read", new))?;
    let same_header = matches!((old.header(), source.header()), (Ok(Ok(a)), Ok(Ok(b))) if a == b);
    if length != segment.end() || !same_header {
        return Err(differs());
    }
    let mut before = Walk::new(old, HEADER_LEN as u64, length);
    let mut after = Walk::new(&source, HEADER_LEN as u64, length);
    let mut place = Place::new(segment);
    let mut left = pruned;
    while let Some((at, frame)) = place.next(&mut before)? {
        let Ok(Some((_, found))) = after.next() else { return Err(differs()) };
        let same = match (frame, found) {
            (Frame::Entry(old), Frame::Entry(new)) if new.pruned && !old.pruned => {
                left = left.saturating_sub(1);
                is_pruned(&old, &new)
            }
            (old, new) => old == new,
        };
        if !same {
            return Err(differs());
        }
        place.pause(at, go_on)?;
    }
    if left == 0 { Ok(()) } else { Err(differs()) }
}

/// Whether `new` is `old` without body, sealed bytes and salts.
fn is_pruned(old: &EntryRef<'_>, new: &EntryRef<'_>) -> bool {
    let commitments = new.commitments;
    let expected = EntryRef { pruned: true, sealed: b"", body: b"", commitments, ..*old };
    expected == *new && old.leaf_record() == new.leaf_record()
}

/// How far a walk through a segment is.
struct Place<'s> {
    segment: &'s Segment,
    /// Sequence of the next entry.
    next: u64,
    /// Where to pause.
    pause_at: u64,
}

/// Bytes between two questions whether to go on.
const STEP_BYTES: u64 = 256 * 1024;

impl<'s> Place<'s> {
    fn new(segment: &'s Segment) -> Self {
        Self { segment, next: segment.first, pause_at: 0 }
    }

    /// The next frame and where it is.
    fn next<'w>(
        &mut self,
        walk: &'w mut Walk<'_>,
    ) -> Result<Option<(u64, Frame<'w>)>, RewriteError> {
        let offset = walk.offset();
        let found = walk.next().map_err(|error| match error {
            WalkError::Io(error) => self.segment.io(error),
            WalkError::Frame(_) => self.segment.corrupt(offset, self.next),
        })?;
        if matches!(found, Some((_, Frame::Entry(_)))) {
            self.next = self.next.saturating_add(1);
        }
        Ok(found)
    }

    fn pause(&mut self, at: u64, go_on: GoOn<'_>) -> Result<(), RewriteError> {
        if at < self.pause_at {
            return Ok(());
        }
        self.pause_at = at.saturating_add(STEP_BYTES);
        if go_on() { Ok(()) } else { Err(RewriteError::Stopped) }
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RewriteError {
    let path = path.to_owned();
    move |source| RewriteError::Io { doing, path, source }
}
