//! Reading a segment from front to back, frame by frame, and looking for frames after damage.

use super::bytes::to_usize;
use super::frame::{self, Frame, FrameError, MAGIC, MAX_FRAME, Seal};
use super::segment::read_up_to;
use std::fs::File;
use std::io;

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
    file: &'f File,
    buffer: Vec<u8>,
    /// Start of what has not been given out, in the buffer and in the file.
    start: usize,
    offset: u64,
    /// Where to stop reading.
    end: u64,
}

impl<'f> Walk<'f> {
    /// From `offset` to `end`.
    pub(super) fn new(file: &'f File, offset: u64, end: u64) -> Self {
        Self { file, buffer: Vec::new(), start: 0, offset, end }
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
        self.offset = at.saturating_add(length as u64);
        Ok(Some((at, frame)))
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
        let n = read_up_to(self.file, fresh, self.offset.saturating_add(have as u64))?;
        self.buffer.truncate(have.saturating_add(n));
        Ok(self.buffer.len() >= needed)
    }

    /// Goes to the next sound frame behind this place, whatever lies between. `false` when there
    /// is none.
    pub(super) fn skip_damage(&mut self) -> io::Result<bool> {
        let mut at = self.offset.saturating_add(1);
        let mut window = vec![0; STEP];
        while at < self.end {
            let n = read_up_to(self.file, &mut window, at)?;
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
            let mut ahead = Walk::new(self.file, at, self.end);
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

    /// Whether the bad frame at this place can be a torn write: no sound seal is behind it, so
    /// nothing from here on was ever durable as a whole. Stays at this place.
    pub(super) fn is_torn(&self, size: u64) -> io::Result<bool> {
        let ahead = Walk::new(self.file, self.offset, self.end).find_seal_beyond(size)?;
        Ok(ahead.is_none())
    }

    /// The first sound seal behind this place that is about a larger tree than `size`: proof that
    /// what is damaged before it was once complete.
    fn find_seal_beyond(&mut self, size: u64) -> io::Result<Option<(u64, Seal)>> {
        while self.skip_damage()? {
            loop {
                match self.next() {
                    Ok(Some((at, Frame::Seal(seal)))) if seal.head.size > size || seal.close => {
                        return Ok(Some((at, seal)));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(None),
                    Err(WalkError::Io(error)) => return Err(error),
                    Err(WalkError::Frame(_)) => break,
                }
            }
        }
        Ok(None)
    }
}
