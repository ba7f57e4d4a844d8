//! Reading a segment from front to back, frame by frame, and looking for frames after damage.

use super::bytes::{len64, to_usize};
use super::frame::{self, Frame, FrameError, MAGIC, MAX_FRAME};
use super::source::Source;
use std::io;
use std::ops::Range;

/// Bytes that are read at once.
const STEP: usize = 1024 * 1024;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    #[error("cannot read")]
    Io(#[from] io::Error),
    #[error("no sound frame")]
    Frame(#[from] FrameError),
}

/// A place in a segment, and the bytes from there on.
pub(super) struct Walk<'f> {
    source: &'f Source,
    buffer: Vec<u8>,
    /// Start of what has not been given out, in the buffer and in the file.
    start: usize,
    /// Bytes of the frame that was given out last; it stands right before the start.
    last: usize,
    offset: u64,
    /// Where to stop reading.
    end: u64,
}

impl<'f> Walk<'f> {
    /// From `offset` to `end`.
    pub(super) fn new(source: &'f Source, offset: u64, end: u64) -> Self {
        Self { source, buffer: Vec::new(), start: 0, last: 0, offset, end }
    }

    /// Where the next frame starts.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame and where it starts, or `None` at the end. After an error the place is
    /// that of the frame that could not be read.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Frame<'_>)>, WalkError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        loop {
            let rest = self.rest();
            let needed = match frame::decode_head(rest) {
                Ok((_, length)) if length <= rest.len() => break,
                Ok((_, length)) => length,
                Err(FrameError::Incomplete { needed, .. }) => needed,
                Err(error) => return Err(error.into()),
            };
            let available = rest.len();
            if !self.has_more(needed)? {
                return Err(FrameError::Incomplete { available, needed }.into());
            }
        }
        let (frame, length) = frame::decode(self.buffer.get(self.start..).unwrap_or_default())?;
        let at = self.offset;
        self.start = self.start.saturating_add(length);
        self.last = length;
        self.offset = at.saturating_add(length as u64);
        Ok(Some((at, frame)))
    }

    /// The bytes of the frame that [`Walk::next`] gave last.
    pub(super) fn last_frame(&mut self) -> &mut [u8] {
        let from = self.start.saturating_sub(self.last);
        self.buffer.get_mut(from..self.start).unwrap_or_default()
    }

    /// Takes the damaged body of the frame at this place out of the bytes that were read: it comes
    /// next, without a body. `false` when there is no sound head.
    pub(super) fn lose_body(&mut self) -> bool {
        let frame = self.buffer.get_mut(self.start..).unwrap_or_default();
        frame::lose_body(frame).is_ok()
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Fetches what follows, so that `needed` bytes are there. `false` when the file ends before.
    fn has_more(&mut self, needed: usize) -> io::Result<bool> {
        let left = to_usize(self.end.saturating_sub(self.offset));
        if needed > left.min(MAX_FRAME) || needed <= self.rest().len() {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        let want = needed.max(STEP).min(left);
        self.buffer.resize(want, 0);
        let fresh = self.buffer.get_mut(have..).unwrap_or_default();
        let n = self.source.read_up_to(fresh, self.offset.saturating_add(have as u64))?;
        self.buffer.truncate(have.saturating_add(n));
        Ok(self.buffer.len() >= needed)
    }

    /// Goes to the next sound frame behind this place, whatever lies between. `false` when there
    /// is none.
    pub(super) fn skip_damage(&mut self) -> io::Result<bool> {
        let mut at = self.offset.saturating_add(1);
        let mut window = vec![0; STEP];
        while at < self.end {
            let n = self.source.read_up_to(&mut window, at)?;
            let bytes = window.get(..n).unwrap_or_default();
            let Some(found) = memchr::memmem::find(bytes, &MAGIC) else {
                let Some(step) = n.checked_sub(MAGIC.len().saturating_sub(1)).filter(|s| *s > 0)
                else {
                    return Ok(false);
                };
                at = at.saturating_add(step as u64);
                continue;
            };
            at = at.saturating_add(found as u64);
            let mut ahead = Walk::new(self.source, at, self.end);
            match ahead.next() {
                Ok(Some(_)) => {
                    self.buffer.clear();
                    (self.start, self.offset) = (0, at);
                    return Ok(true);
                }
                Err(WalkError::Io(error)) => return Err(error),
                _ => at = at.saturating_add(1),
            }
        }
        Ok(false)
    }

    /// Where to stop reading.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What is left of the open group, which starts at `start` with the entry `first`, when there
    /// is no sound frame at this place, where the entry `next` should be. `None` when something
    /// was written after the group: then it was durable, and this is no crash. Stays at this
    /// place.
    pub(super) fn remains(&self, start: u64, first: u64, next: u64) -> io::Result<Option<Remains>> {
        let mut ahead = Walk::new(self.source, self.offset, self.end);
        let mut end = next;
        while ahead.skip_damage()? {
            // A gap in a group is where entries are missing. If none is, it was a trailer.
            let mut least = end.saturating_add(1);
            loop {
                match ahead.next() {
                    Ok(Some((_, Frame::Entry(entry)))) if entry.sequence >= least => {
                        end = entry.sequence.saturating_add(1);
                        least = end;
                    }
                    Ok(Some((at, Frame::Seal(seal)))) => {
                        let behind = at.saturating_add(len64(&seal.encode()));
                        let ends_it = !seal.close
                            && seal.first == first
                            && seal.bytes == at.saturating_sub(start)
                            && seal.head.size >= least
                            && behind == self.end;
                        let remains = Remains { entries: first..seal.head.size, sealed: true };
                        return Ok(ends_it.then_some(remains));
                    }
                    Ok(Some(_)) => return Ok(None),
                    Ok(None) | Err(WalkError::Frame(_)) => break,
                    Err(WalkError::Io(error)) => return Err(error),
                }
            }
        }
        Ok(Some(Remains { entries: first..end, sealed: false }))
    }
}

/// The last group of a log, which is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remains {
    /// Sequences of its entries: as its trailer says, or else up to the last that can be read.
    pub(super) entries: Range<u64>,
    /// Whether it has its trailer.
    pub(super) sealed: bool,
}
