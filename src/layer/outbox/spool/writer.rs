//! Appending frames to segments, within the bound.

use super::instance::Instance;
use super::shelf::Shelf;
use super::{private, segment_path};
use crate::layer::outbox::frame::{HEAD_BYTES, Kind, append, head, seal};
use crate::layer::outbox::numbers::Numbers;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a segment: what is read at once, and what a delivered record keeps on disk.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Between two tries while there is no room, or the disk cannot be written.
const AGAIN: Duration = Duration::from_millis(50);

/// The one that writes an instance's segments.
#[derive(Debug)]
pub(in crate::layer::outbox) struct SpoolWriter {
    folder: PathBuf,
    salt: u32,
    shelf: Arc<Shelf>,
    max_bytes: u64,
    segment_bytes: u64,
    /// `None`: the next frame begins a segment.
    file: Option<File>,
    index: u64,
    end: u64,
    /// Numbers that are written or told.
    pub(in crate::layer::outbox) seen: Numbers,
}

/// The writer was told to stop while there was no room.
#[derive(Debug)]
pub(in crate::layer::outbox) struct Stopped;

impl SpoolWriter {
    pub(in crate::layer::outbox) fn new(
        instance: &Instance,
        shelf: Arc<Shelf>,
        max_bytes: u64,
    ) -> Self {
        Self {
            folder: instance.folder.clone(),
            salt: instance.salt,
            shelf,
            max_bytes,
            segment_bytes: SEGMENT_BYTES.min(max_bytes >> 3),
            file: None,
            index: 0,
            end: 0,
            seen: Numbers::default(),
        }
    }

    /// Writes frames, however long there is no room for them, until `stop`. Errors go to `told`,
    /// which gets `None` when writing works again.
    pub(in crate::layer::outbox) fn put(
        &mut self,
        frames: &mut [u8],
        stop: &dyn Fn() -> bool,
        told: &dyn Fn(Option<String>),
    ) -> Result<(), Stopped> {
        seal(frames, self.salt);
        let mut rest: &[u8] = frames;
        let mut failed = false;
        while !rest.is_empty() {
            match self.put_some(rest) {
                Ok(0) => {
                    told(Some(format!("the spool is full: {} bytes wait", self.shelf.bytes())));
                    failed = true;
                }
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) => {
                    let folder = self.folder.display();
                    told(Some(format!("the spool {folder} cannot be written: {error}")));
                    failed = true;
                }
            }
            if stop() {
                return Err(Stopped);
            }
            self.shelf.wait_freed(AGAIN);
        }
        if failed {
            told(None);
        }
        Ok(())
    }

    /// Writes as many whole frames as there is room for.
    fn put_some(&mut self, frames: &[u8]) -> io::Result<usize> {
        if self.end >= self.segment_bytes {
            self.file = None;
        }
        let room = self.max_bytes.saturating_sub(self.shelf.bytes());
        let of_segment = match self.file {
            Some(_) => self.segment_bytes.saturating_sub(self.end),
            None => self.segment_bytes,
        };
        let mut numbers = Numbers::default();
        let mut end = 0;
        while let Some(frame) = head(frames, end) {
            let length = frame.record.end as u64;
            if length > room || (end > 0 && length > of_segment) {
                break;
            }
            frame.note(frames, &mut numbers);
            end = frame.record.end;
        }
        let Some(some) = frames.get(..end).filter(|some| !some.is_empty()) else { return Ok(0) };
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let index = self.index.saturating_add(1);
                let (file, bytes) = begin(&self.folder, self.salt, index, &self.seen)?;
                self.index = index;
                self.end = bytes;
                self.shelf.begin(index, bytes);
                none.insert(file)
            }
        };
        let written = file.seek(SeekFrom::Start(self.end)).and_then(|_| file.write_all(some));
        if let Err(error) = written {
            // What was written in part is cut off or written over; it was shown to nobody.
            if file.set_len(self.end).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.end = self.end.saturating_add(some.len() as u64);
        self.seen.extend(&numbers);
        self.shelf.grown(self.end, &numbers);
        Ok(end)
    }
}

/// Makes a segment that says which numbers came before it.
fn begin(
    folder: &std::path::Path,
    salt: u32,
    index: u64,
    seen: &Numbers,
) -> io::Result<(File, u64)> {
    let path = segment_path(folder, index);
    let mut first = Vec::with_capacity(HEAD_BYTES);
    append(&mut first, Kind::Seen, 0, &seen.to_bytes());
    seal(&mut first, salt);
    let mut file = private().truncate(true).open(&path)?;
    if let Err(error) = file.write_all(&first) {
        // An empty segment says nothing; the next try makes it again.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok((file, first.len() as u64))
}
