//! What the writer shows to readers: the segments, how far each may be read, and the watermark.

use super::ReadError;
use super::bytes::to_usize;
use super::frame::{self, Frame, FrameError};
use super::leaves::RecentLeaves;
use super::segment::{HEADER_LEN, PACKED, SEGMENT, path};
use super::sidecar;
use super::source::Source;
use super::types::{StoredEntry, TreeHead};
use super::walk::{Walk, WalkError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most segment files that are kept open for reading.
const OPEN_FILES: usize = 32;

/// First guess at the length of an entry, in bytes: most are read in one go.
const GUESS: usize = 8 * 1024;

/// A segment as a reader sees it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Name of its plain file, which may have been replaced by a packed one.
    path: PathBuf,
    /// End of what is durable and complete. Grows in the active segment only.
    end: AtomicU64,
    /// Where its frames start, for the active segment and for one without a sidecar.
    offsets: RwLock<Option<Vec<u32>>>,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: u64, end: u64, offsets: Option<Vec<u32>>) -> Self {
        let path = path(dir, first, SEGMENT);
        Self { first, path, end: AtomicU64::new(end), offsets: RwLock::new(offsets) }
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Shows a group more, up to `end`.
    pub(super) fn extend(&self, offsets: impl Iterator<Item = u32>, end: u64) {
        if let Some(known) = self.offsets.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            known.extend(offsets);
        }
        self.end.store(end, Ordering::Release);
    }

    /// The sidecar tells from now on where the frames are.
    pub(super) fn forget_offsets(&self) {
        *self.offsets.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn known_offset(&self, nth: u64) -> Option<u64> {
        let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
        offsets.as_ref()?.get(to_usize(nth)).map(|offset| u64::from(*offset))
    }

    /// Finds out where the frames are by reading them all: the slow way, when there is no sidecar.
    fn learn_offsets(&self, source: &Source) -> Result<(), ReadError> {
        let mut found = Vec::new();
        let mut walk = Walk::new(source, HEADER_LEN as u64, self.end());
        loop {
            let offset = walk.offset();
            match walk.next() {
                Ok(Some((at, Frame::Entry(_)))) => {
                    found.push(u32::try_from(at).unwrap_or(u32::MAX));
                }
                Ok(Some((_, Frame::Seal(_)))) => {}
                Ok(None) => break,
                Err(WalkError::Io(source)) => {
                    return Err(self.io(source));
                }
                Err(WalkError::Frame(_)) => {
                    let sequence = self.first.saturating_add(found.len() as u64);
                    return Err(self.corrupt(offset, sequence));
                }
            }
        }
        *self.offsets.write().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(())
    }

    /// The file that it is in now.
    fn file(&self) -> PathBuf {
        let packed = self.path.with_extension(PACKED);
        if !self.path.exists() && packed.exists() { packed } else { self.path.clone() }
    }

    pub(super) fn corrupt(&self, offset: u64, sequence: u64) -> ReadError {
        ReadError::Corrupt { segment: self.file(), offset, sequence }
    }

    pub(super) fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.file(), source }
    }
}

/// Everything that readers share with each other and with the writer.
#[derive(Debug)]
pub(super) struct View {
    pub(super) dir: PathBuf,
    pub(super) origin: [u8; 16],
    segments: RwLock<Vec<Arc<Segment>>>,
    head: watch::Sender<TreeHead>,
    /// Whether the watermark will never move again; guards the condition below.
    ended: Mutex<bool>,
    moved: Condvar,
    /// Leaves of what was written last.
    pub(super) recent_leaves: RecentLeaves,
    files: Mutex<Vec<(u64, Arc<Source>)>>,
}

impl View {
    pub(super) fn new(
        dir: &Path,
        origin: [u8; 16],
        segments: Vec<Arc<Segment>>,
        head: TreeHead,
        ended: bool,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            origin,
            segments: RwLock::new(segments),
            head: watch::Sender::new(head),
            ended: Mutex::new(ended),
            moved: Condvar::new(),
            recent_leaves: RecentLeaves::default(),
            files: Mutex::default(),
        }
    }

    /// Size and root of what is durable.
    pub(super) fn head(&self) -> TreeHead {
        *self.head.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<TreeHead> {
        self.head.subscribe()
    }

    /// Moves the watermark. The caller has shown the bytes before.
    pub(super) fn publish(&self, head: TreeHead) {
        self.head.send_replace(head);
        drop(self.ended());
        self.moved.notify_all();
    }

    /// The watermark will not move again: nobody should wait for it.
    pub(super) fn end(&self) {
        *self.ended() = true;
        // Wakes the tasks, which then see that it ended.
        self.head.send_modify(|_| {});
        self.moved.notify_all();
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended()
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the watermark is beyond `sequence`, nothing more will come, or time is up.
    pub(super) fn wait_beyond(&self, sequence: u64, timeout: Duration) -> u64 {
        let deadline = Instant::now().checked_add(timeout);
        let mut ended = self.ended();
        loop {
            let watermark = self.head().size;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or(Duration::from_hours(1));
            if watermark > sequence || *ended || left.is_zero() {
                return watermark;
            }
            let woken = self.moved.wait_timeout(ended, left);
            ended = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn add_segment(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The segment that holds an entry.
    pub(super) fn segment_of(&self, sequence: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let behind = segments.partition_point(|segment| segment.first <= sequence);
        segments.get(behind.checked_sub(1)?).cloned()
    }

    /// The sealed segments, in order.
    pub(super) fn sealed(&self) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        segments.pop();
        segments
    }

    /// First entry of the segment that is written to.
    pub(super) fn active_first(&self) -> Option<u64> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().map(|active| active.first)
    }

    /// The file of a segment was replaced: who reads from now on reads the new one.
    pub(super) fn forget_file(&self, first: u64) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(known, _)| *known != first);
    }

    /// The file of a segment, from those that are open if it is among them.
    pub(super) fn open(&self, segment: &Segment) -> Result<Arc<Source>, ReadError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = files.iter().find(|(first, _)| *first == segment.first) {
            return Ok(file.clone());
        }
        let file = Source::open(&self.dir, segment.first).map_err(|error| segment.io(error))?;
        let file = Arc::new(file);
        if files.len() >= OPEN_FILES {
            files.remove(0);
        }
        files.push((segment.first, file.clone()));
        Ok(file)
    }

    /// Where an entry's frame should start.
    pub(super) fn offset_of(
        &self,
        segment: &Segment,
        file: &Source,
        sequence: u64,
    ) -> Result<u64, ReadError> {
        let nth = sequence.saturating_sub(segment.first);
        if let Some(offset) = segment.known_offset(nth) {
            return Ok(offset);
        }
        let offset = sidecar::offset_of(&self.dir, segment.first, nth);
        if let Some(offset) = offset.filter(|at| is_entry(file, *at, sequence)) {
            return Ok(offset);
        }
        segment.learn_offsets(file)?;
        let offset = segment.known_offset(nth);
        offset.ok_or_else(|| segment.corrupt(segment.end(), sequence))
    }

    /// Bytes of the log from an entry on to the end of what is durable.
    pub(super) fn bytes_from(&self, sequence: u64) -> Result<u64, ReadError> {
        if sequence >= self.head().size {
            return Ok(0);
        }
        let Some(segment) = self.segment_of(sequence) else { return Ok(0) };
        let offset = self.offset_of(&segment, &*self.open(&segment)?, sequence)?;
        let later = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let later = later.iter().filter(|later| later.first > segment.first);
        let rest = segment.end().saturating_sub(offset);
        Ok(later.fold(rest, |sum, later| sum.saturating_add(later.end())))
    }

    /// Reads one entry below the watermark.
    pub(super) fn get(&self, sequence: u64) -> Result<Option<StoredEntry>, ReadError> {
        if sequence >= self.head().size {
            return Ok(None);
        }
        let Some(segment) = self.segment_of(sequence) else { return Ok(None) };
        let file = self.open(&segment)?;
        let offset = self.offset_of(&segment, &file, sequence)?;
        let bytes = read_frame(&file, offset, segment.end());
        let bytes = bytes.map_err(|error| segment.io(error))?;
        match frame::decode(&bytes) {
            Ok((Frame::Entry(entry), _)) if entry.sequence == sequence => {
                Ok(Some(entry.to_stored()))
            }
            _ => Err(segment.corrupt(offset, sequence)),
        }
    }
}

/// Whether the sound head of that entry is at that place.
fn is_entry(file: &Source, offset: u64, sequence: u64) -> bool {
    let mut head = vec![0; GUESS];
    let Ok(n) = file.read_up_to(&mut head, offset) else { return false };
    match frame::decode_head(head.get(..n).unwrap_or_default()) {
        Ok((found, _)) => found == Some(sequence),
        // Longer than the guess: the frame itself will tell.
        Err(FrameError::Incomplete { .. }) => true,
        Err(_) => false,
    }
}

/// The bytes of a frame, read in one go if it is not large.
fn read_frame(file: &Source, offset: u64, end: u64) -> io::Result<Vec<u8>> {
    let most = to_usize(end.saturating_sub(offset));
    let mut bytes = vec![0; GUESS.min(most)];
    loop {
        let n = file.read_up_to(&mut bytes, offset)?;
        match frame::decode(bytes.get(..n).unwrap_or_default()) {
            Err(FrameError::Incomplete { needed, .. })
                if needed > bytes.len() && needed <= most =>
            {
                bytes.resize(needed, 0);
            }
            _ => {
                bytes.truncate(n);
                return Ok(bytes);
            }
        }
    }
}
