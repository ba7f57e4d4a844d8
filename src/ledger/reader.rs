//! Reading: one entry by its sequence number, or all in order, in chunks.

use super::bytes::to_usize;
use super::frame::{self, Frame, FrameError};
use super::leaves::Leaves;
use super::segment::HEADER_LEN;
use super::source::Source;
use super::types::{EntryRef, StoredEntry, TreeHead};
use super::view::{Segment, View};
use super::{OpenError, ReadError, survey};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Reads a ledger up to its watermark: nothing that is not durable is ever visible. Cheap to
/// clone; reading never disturbs the writer.
#[derive(Debug, Clone)]
pub struct Reader {
    view: Arc<View>,
    changes: watch::Receiver<TreeHead>,
    /// The watermark that [`Reader::changed`] has told.
    told: u64,
}

impl Reader {
    pub(super) fn new(view: Arc<View>) -> Self {
        let changes = view.subscribe();
        let told = view.head().size;
        Self { view, changes, told }
    }

    /// Opens the ledger in `dir` for reading only, as it is now: the complete groups. Takes no
    /// lock and changes nothing, so it works beside a running server too; what comes later is
    /// not seen.
    ///
    /// # Errors
    /// [`OpenError`] when there is no ledger, or it is damaged.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Ok(Self::new(Arc::new(survey::snapshot(dir)?)))
    }

    /// Number of durable entries: those with a smaller sequence number can be read.
    pub fn watermark(&self) -> u64 {
        self.head().size
    }

    /// Bytes of the log from an entry on to the end of what is durable: how far behind is who reads
    /// there. 0 beyond the watermark.
    ///
    /// # Errors
    /// [`ReadError`] when the segment cannot be read.
    pub fn bytes_from(&self, sequence: u64) -> Result<u64, ReadError> {
        self.view.bytes_from(sequence)
    }

    /// Size and root of the tree of the durable entries.
    pub fn head(&self) -> TreeHead {
        self.view.head()
    }

    /// Random number of the log, made when it was created.
    pub fn origin(&self) -> [u8; 16] {
        self.view.origin
    }

    /// Whether the watermark will never move again: the ledger was closed or has stopped, or was
    /// opened for reading only.
    pub fn has_ended(&self) -> bool {
        self.view.has_ended()
    }

    /// Waits until the watermark has moved since this reader was made or last told it here; gives
    /// it, or `None` when it will never move again. For tasks; may be cancelled at any time.
    pub async fn changed(&mut self) -> Option<u64> {
        loop {
            // Asked before the watermark: after the end it does not move.
            let ended = self.has_ended();
            let now = self.changes.borrow_and_update().size;
            if now != self.told {
                self.told = now;
                return Some(now);
            }
            if ended {
                return None;
            }
            self.changes.changed().await.ok()?;
        }
    }

    /// Waits until the entry `sequence` can be read, nothing more will come, or `timeout` has
    /// passed; gives the watermark. For threads: it blocks.
    pub fn wait_beyond(&self, sequence: u64, timeout: Duration) -> u64 {
        self.view.wait_beyond(sequence, timeout)
    }

    /// The entry with that sequence number; `None` at and above the watermark.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read or is damaged there.
    pub fn get(&self, sequence: u64) -> Result<Option<StoredEntry>, ReadError> {
        self.view.get(sequence)
    }

    /// The leaves of the group that has the entry `from`, when they are still in memory. For the
    /// one who follows the log: they are given once.
    pub fn take_leaves(&self, from: u64) -> Option<Leaves> {
        self.view.recent_leaves.take(from)
    }

    /// Reads all entries from `from` on, in order.
    pub fn scan(&self, from: u64) -> Scan {
        Scan { view: self.view.clone(), next: from, place: None, spare: Vec::new(), once: false }
    }

    /// The same for who reads everything once and in order, such as a consumer: what it reads from
    /// the disk does not push anything else out of the system's memory.
    pub fn scan_once(&self, from: u64) -> Scan {
        Scan { once: true, ..self.scan(from) }
    }
}

/// Entries in order. At the watermark it stops, and goes on when more is there.
#[derive(Debug)]
pub struct Scan {
    view: Arc<View>,
    next: u64,
    place: Option<Place>,
    /// Memory for the next chunk.
    spare: Vec<u8>,
    /// Whether nothing is read again.
    once: bool,
}

/// Where the next entry is.
#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    file: Arc<Source>,
    offset: u64,
}

impl Scan {
    /// Sequence of the entry that comes next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next entries, about `max_bytes` of them and at least one; `None` at the watermark.
    ///
    /// # Errors
    /// [`ReadError`] when a file cannot be read or is damaged; the position stays.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        let watermark = self.view.head().size;
        while self.next < watermark {
            let mut place = match self.place.take() {
                Some(place) if place.offset < place.segment.end() => place,
                _ => self.find()?,
            };
            let spare = std::mem::take(&mut self.spare);
            let chunk = place.read(self.next, watermark, max_bytes, spare, self.once)?;
            self.next = self.next.saturating_add(chunk.starts.len() as u64);
            self.place = Some(place);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// Takes the memory of a chunk that is done with, for the next one: fresh memory costs more
    /// than to read into it.
    pub fn recycle(&mut self, chunk: Chunk) {
        self.spare = chunk.bytes;
    }

    fn find(&self) -> Result<Place, ReadError> {
        let Some(segment) = self.view.segment_of(self.next) else {
            return Err(ReadError::Corrupt {
                segment: self.view.dir.clone(),
                offset: 0,
                sequence: self.next,
            });
        };
        let file = self.view.open(&segment)?;
        let offset = if self.next == segment.first {
            HEADER_LEN as u64
        } else {
            self.view.offset_of(&segment, &file, self.next)?
        };
        Ok(Place { segment, file, offset })
    }
}

impl Place {
    /// Reads what starts here into `bytes`, and moves behind it.
    fn read(
        &mut self,
        next: u64,
        limit: u64,
        max_bytes: usize,
        mut bytes: Vec<u8>,
        once: bool,
    ) -> Result<Chunk, ReadError> {
        let most = to_usize(self.segment.end().saturating_sub(self.offset));
        let mut length = max_bytes.max(frame::FIXED_LEN).min(most);
        loop {
            let read = self.bring(&mut bytes, length, once);
            let read = read.map_err(|error| self.segment.io(error))?;
            let at = read.start;
            let found = bytes.get(read).unwrap_or_default();
            match split(found, next, limit) {
                Ok((_, 0)) => return Err(self.segment.corrupt(self.offset, next)),
                Ok((mut starts, used)) => {
                    for start in &mut starts {
                        *start = start.saturating_add(at);
                    }
                    self.offset = self.offset.saturating_add(used as u64);
                    return Ok(Chunk { bytes, starts, first: next });
                }
                // Who asked for as much already has a file that was made shorter.
                Err(Stop::More(needed)) if needed > length && needed <= most => length = needed,
                Err(Stop::More(_)) => return Err(self.segment.corrupt(self.offset, next)),
                Err(Stop::Bad { at, sequence }) => {
                    let offset = self.offset.saturating_add(at as u64);
                    return Err(self.segment.corrupt(offset, sequence));
                }
            }
        }
    }
}

impl Place {
    /// Brings up to `length` bytes into memory; gives where in it they are.
    fn bring(&self, memory: &mut Vec<u8>, length: usize, once: bool) -> io::Result<Range<usize>> {
        if once {
            return self.file.read_once(memory, self.offset, length);
        }
        memory.resize(length, 0);
        Ok(0..self.file.read_up_to(memory, self.offset)?)
    }
}

/// Why bytes could not be split into frames.
enum Stop {
    /// The first frame is longer than the bytes.
    More(usize),
    /// A frame is damaged or is not the next one.
    Bad { at: usize, sequence: u64 },
}

/// Where the entries start among the bytes, and how many bytes the whole frames take.
fn split(bytes: &[u8], first: u64, limit: u64) -> Result<(Vec<usize>, usize), Stop> {
    let mut starts = Vec::new();
    let mut at = 0_usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let sequence = first.saturating_add(starts.len() as u64);
        let length = match frame::decode(rest) {
            Ok((Frame::Entry(_), _)) if sequence >= limit => break,
            Ok((Frame::Entry(entry), length)) if entry.sequence == sequence => {
                starts.push(at);
                length
            }
            Ok((Frame::Seal(_), length)) => length,
            Err(FrameError::Incomplete { needed, .. }) if at == 0 => {
                return Err(Stop::More(needed));
            }
            Err(FrameError::Incomplete { .. }) => break,
            _ => return Err(Stop::Bad { at, sequence }),
        };
        at = at.saturating_add(length);
    }
    Ok((starts, at))
}

/// Some entries in order, in one piece of memory.
#[derive(Debug, Clone)]
pub struct Chunk {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    first: u64,
}

impl Chunk {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none. A chunk that [`Scan::next_chunk`] gives has some.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Sequence of the first entry.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// Sequence after the last entry: the cursor of a consumer that is done with the chunk.
    pub fn next_sequence(&self) -> u64 {
        self.first.saturating_add(self.starts.len() as u64)
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.starts.iter().filter_map(|start| frame::entry_again(self.bytes.get(*start..)?))
    }
}
