//! Reading one's own segments while they grow.

use super::cursor::{Cursor, Position};
use super::owed::Owed;
use super::shelf::{Segment, Shelf};
use super::{instance::Instance, segment_path};
use crate::layer::outbox::frame::{Found, Frames, Kind};
use crate::layer::outbox::numbers::Numbers;
use crate::layer::outbox::records::Lost;
use crate::layer::outbox::settings::Settings;
use crate::layer::outbox::window::{Window, fill};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// The reader of this instance's segments.
#[derive(Debug)]
pub(in crate::layer::outbox) struct LiveReader {
    folder: PathBuf,
    salt: u32,
    shelf: Arc<Shelf>,
    /// Up to where records were given out.
    at: Position,
    /// Bytes of the segment from `base` on.
    frames: Option<(u64, Frames)>,
    /// Numbers found in the segment.
    found: Numbers,
    damaged: bool,
    cursor: Cursor,
    owed: Owed,
    /// Numbers that entries tell which were given out.
    told: Numbers,
}

impl LiveReader {
    pub(in crate::layer::outbox) fn new(instance: &Instance, shelf: Arc<Shelf>) -> Self {
        Self {
            folder: instance.folder.clone(),
            salt: instance.salt,
            shelf,
            at: Position::default(),
            frames: None,
            found: Numbers::default(),
            damaged: false,
            cursor: Cursor::default(),
            owed: Owed::read(&instance.folder, instance.salt),
            told: Numbers::default(),
        }
    }

    /// The next records; `None` when there are none now. What was given out before is delivered.
    pub(in crate::layer::outbox) fn window(
        &mut self,
        settings: &Settings,
    ) -> io::Result<Option<Window>> {
        loop {
            let Some(segment) = self.shelf.first() else { return Ok(None) };
            if self.at.segment != segment.index {
                self.at = Position { segment: segment.index, place: 0 };
                self.found = Numbers::default();
                self.frames = None;
            }
            if let Some((base, frames)) = &mut self.frames {
                let (found, damaged) = (&mut self.found, &mut self.damaged);
                let told = &mut self.told;
                let data = frames.data.clone();
                let taken = fill(frames, settings, |it| {
                    match it {
                        Found::Damage { .. } => *damaged = true,
                        // What a gap entry tells is missing when that entry is.
                        Found::Frame(it) if *damaged && it.kind == Kind::Told => {}
                        Found::Frame(frame) => {
                            frame.note(&data, found);
                            if frame.kind == Kind::Told {
                                frame.note(&data, told);
                            }
                        }
                    }
                });
                self.at.place = base.saturating_add(frames.at() as u64);
                if let Some(frames) = taken.filter(|frames| !frames.is_empty()) {
                    return Ok(Some(Window { data, frames, end: self.at, lost: None }));
                }
                self.frames = None;
            }
            self.shelf.done(self.at.place);
            if self.at.place < segment.end {
                let data = self.read(&segment)?;
                self.frames = Some((self.at.place, Frames::checked(data, 0, self.salt)));
                continue;
            }
            let lost = segment.numbers.without(&self.found);
            if !lost.is_empty() {
                self.found.extend(&lost);
                // Nothing to send, and nothing is deleted before that is noted.
                let lost = Some(Lost { numbers: lost, reason: "the spool is damaged".to_owned() });
                return Ok(Some(Window { end: self.at, lost, ..Window::default() }));
            }
            if segment.closed {
                // Its gap entries are acknowledged, and what they tell can be read here no longer.
                self.owed.settle(&self.told)?;
                match fs::remove_file(segment_path(&self.folder, segment.index)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                self.shelf.remove_first();
            } else {
                return Ok(None);
            }
        }
    }

    /// Up to where everything was given out.
    pub(in crate::layer::outbox) fn at(&self) -> Position {
        self.at
    }

    /// Notes records that will never arrive, until an entry that tells them is acknowledged.
    pub(in crate::layer::outbox) fn owe(&mut self, lost: &[Lost]) -> io::Result<()> {
        self.owed.add(lost)
    }

    /// Everything given out so far is delivered.
    pub(in crate::layer::outbox) fn done(&mut self) -> io::Result<()> {
        self.owed.settle(&std::mem::take(&mut self.told))?;
        self.cursor.write(&self.folder, self.salt, self.at)
    }

    fn read(&self, segment: &Segment) -> io::Result<Bytes> {
        let bytes = segment.end.saturating_sub(self.at.place);
        let expected = usize::try_from(bytes).unwrap_or_default();
        let mut data = Vec::with_capacity(expected);
        match File::open(segment_path(&self.folder, segment.index)) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(self.at.place))?;
                file.take(bytes).read_to_end(&mut data)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Somebody cut or deleted the file: what is missing becomes a gap.
        data.resize(expected, 0);
        Ok(Bytes::from(data))
    }
}
