//! Reading what an ended process left, and what of it is missing.
//!
//! The numbers that were written are known from the frames, and for segments that are delivered
//! and deleted from the first frame of the oldest one that is left. Every number below the highest
//! that is not among them is missing; without a goodbye, later ones may be missing too. What tells so
//! is delivered as its last records.

use super::cursor::{Cursor, Position};
use super::farewell::{Farewell, Missing};
use super::instance::{Framing, Instance};
use super::owed::Owed;
use super::shelf::Shelf;
use crate::layer::outbox::frame::{Found, Frames, Kind};
use crate::layer::outbox::numbers::Numbers;
use crate::layer::outbox::records::Lost;
use crate::layer::outbox::settings::Settings;
use crate::layer::outbox::window::{Window, fill};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::sync::Arc;

/// The reader of an instance whose process ended.
#[derive(Debug)]
pub(in crate::layer::outbox) struct LeftReader {
    instance: Instance,
    shelf: Arc<Shelf>,
    /// Segments that are not read yet, with their bytes.
    segments: VecDeque<(u64, u64)>,
    /// The one that is.
    open: Option<(u64, u64, Frames)>,
    /// What the cursor's file said.
    delivered: Option<Position>,
    cursor: Cursor,
    seen: Numbers,
    /// The highest number that a segment speaks of.
    highest: u64,
    /// The number that the goodbye named.
    ended: Option<u64>,
    damaged: bool,
    any: bool,
    owed: Owed,
    /// Numbers that its own entries tell.
    told: Numbers,
    farewell: Farewell,
}

/// The place of what tells that it ended, behind all segments.
const FAREWELL: u64 = u64::MAX;

impl LeftReader {
    /// The reader of that instance, by another one whose id is `teller`.
    pub(in crate::layer::outbox) fn new(
        instance: Instance,
        shelf: Arc<Shelf>,
        teller: &str,
    ) -> io::Result<Self> {
        let segments: VecDeque<_> = instance.segments()?.into();
        let delivered = Cursor::read(&instance.folder, instance.salt);
        shelf.adopted(bytes_of(&segments));
        Ok(Self {
            any: !segments.is_empty() || delivered.is_some(),
            owed: Owed::read(&instance.folder, instance.salt),
            farewell: Farewell::of(&instance.folder, instance.salt, teller),
            told: Numbers::default(),
            instance,
            shelf,
            segments,
            open: None,
            delivered,
            cursor: Cursor::default(),
            seen: Numbers::default(),
            highest: 0,
            ended: None,
            damaged: false,
        })
    }

    pub(in crate::layer::outbox) fn id(&self) -> &str {
        &self.instance.id
    }

    pub(in crate::layer::outbox) fn framing(&self) -> &Framing {
        &self.instance.framing
    }

    /// The next records; `None` at the end. What was given out before is delivered.
    pub(in crate::layer::outbox) fn window(
        &mut self,
        settings: &Settings,
    ) -> io::Result<Option<Window>> {
        loop {
            if let Some((segment, bytes, frames)) = &mut self.open {
                let data = frames.data.clone();
                let taken = fill(frames, settings, |_| {}).filter(|frames| !frames.is_empty());
                if let Some(taken) = taken {
                    let end = Position { segment: *segment, place: frames.at() as u64 };
                    return Ok(Some(Window { data, frames: taken, end, lost: None }));
                }
                let (segment, bytes) = (*segment, *bytes);
                if segment == FAREWELL {
                    return Ok(None);
                }
                // Its gap entries are acknowledged, and what they tell can be read here no longer.
                self.owed.settle(&self.told)?;
                if self.segments.is_empty() {
                    // While all that is known of it can still be read again. Without room for it the
                    // segment goes first.
                    let _ =
                        self.farewell.write(&self.instance.id, self.missing(), self.owed.lost());
                }
                match fs::remove_file(self.instance.segment(segment)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => self.shelf.freed(bytes),
                }
                self.open = None;
            }
            let Some((segment, bytes)) = self.segments.front().copied() else {
                let missing = self.missing();
                self.farewell.write(&self.instance.id, missing, self.owed.lost())?;
                let data = self.farewell.bytes();
                let from = self.delivered_in(FAREWELL);
                self.open = Some((FAREWELL, 0, Frames::checked(data, from, self.instance.salt)));
                continue;
            };
            let data = match fs::read(self.instance.segment(segment)) {
                Ok(data) => Bytes::from(data),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Bytes::new(),
                Err(error) => return Err(error),
            };
            self.segments.pop_front();
            self.survey(&data);
            let from = self.delivered_in(segment);
            self.open = Some((segment, bytes, Frames::checked(data, from, self.instance.salt)));
        }
    }

    /// Up to where a segment was delivered before.
    fn delivered_in(&self, segment: u64) -> usize {
        let delivered = self.delivered.filter(|at| at.segment == segment);
        delivered.map_or(0, |at| usize::try_from(at.place).unwrap_or_default())
    }

    /// Notes records that will never arrive: its farewell tells them.
    pub(in crate::layer::outbox) fn owe(&mut self, lost: &[Lost]) -> io::Result<()> {
        self.owed.add(lost)
    }

    /// Everything up to there is delivered.
    pub(in crate::layer::outbox) fn done(&mut self, to: Position) -> io::Result<()> {
        self.cursor.write(&self.instance.folder, self.instance.salt, to)
    }

    /// What is missing, when everything is read.
    fn missing(&self) -> Option<Missing> {
        let highest = self.ended.unwrap_or(0).max(self.highest).max(self.seen.highest());
        let numbers = self.seen.missing(1..=highest);
        // A folder without a segment: the process ended before its outbox had started.
        let after = (self.ended.is_none() && self.any).then_some(highest);
        if numbers.is_empty() && after.is_none() {
            return None;
        }
        let reason = match (self.damaged, self.ended.is_some()) {
            (true, true) => "its spool is damaged",
            (true, false) => "it ended without goodbye, and its spool is damaged",
            (false, true) => "its spool does not hold them",
            (false, false) => "it ended without goodbye",
        };
        Some(Missing { lost: Lost { numbers, reason: reason.to_owned() }, after })
    }

    /// Removes the folder.
    pub(in crate::layer::outbox) fn remove(&self) -> io::Result<()> {
        self.instance.remove()
    }

    /// Notes the numbers of a whole segment, what is delivered of it included.
    fn survey(&mut self, data: &Bytes) {
        let first = self.seen.is_empty();
        for found in Frames::checked(data.clone(), 0, self.instance.salt) {
            let frame = match found {
                Found::Frame(frame) => frame,
                Found::Damage { number, .. } => {
                    self.damaged = true;
                    self.highest = self.highest.max(number.unwrap_or(0));
                    continue;
                }
            };
            match frame.kind {
                // Numbers before the oldest segment were delivered with theirs. A later segment
                // only repeats what was read here, or should have been.
                Kind::Seen => {
                    let seen = Numbers::from_bytes(frame.bytes(data));
                    self.highest = self.highest.max(seen.highest());
                    if first && !self.damaged {
                        self.seen.extend(&seen);
                    }
                }
                // What a gap entry tells is missing when that entry may be.
                Kind::Told if self.damaged => {}
                Kind::End => self.ended = Some(frame.number),
                Kind::Told => {
                    frame.note(data, &mut self.seen);
                    frame.note(data, &mut self.told);
                }
                _ => frame.note(data, &mut self.seen),
            }
        }
    }
}

impl Drop for LeftReader {
    fn drop(&mut self) {
        let open = self.open.as_ref().map_or(0, |(_, bytes, _)| *bytes);
        self.shelf.freed(bytes_of(&self.segments).saturating_add(open));
    }
}

fn bytes_of(segments: &VecDeque<(u64, u64)>) -> u64 {
    segments.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}
