//! Up to where an instance's segments are delivered: one frame in a file of its own, written in
//! place. When it cannot be read everything is sent again, which a receiver recognises.

use super::private;
use crate::layer::outbox::frame::{Found, Frames, Kind, append, field, seal};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// A place in an instance's segments; in memory without a spool, the same of buffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::layer::outbox) struct Position {
    pub(in crate::layer::outbox) segment: u64,
    pub(in crate::layer::outbox) place: u64,
}

/// The file, opened when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Cursor(Option<File>);

impl Cursor {
    /// What the file says.
    pub(super) fn read(folder: &Path, salt: u32) -> Option<Position> {
        let data = Bytes::from(fs::read(folder.join("cursor")).ok()?);
        let Found::Frame(frame) = Frames::checked(data.clone(), 0, salt).next()? else {
            return None;
        };
        let place = field(frame.bytes(&data), 0).map(u64::from_le_bytes)?;
        (frame.kind == Kind::Cursor).then_some(Position { segment: frame.number, place })
    }

    /// Writes it.
    pub(super) fn write(&mut self, folder: &Path, salt: u32, to: Position) -> io::Result<()> {
        let file = match &mut self.0 {
            Some(file) => file,
            none => none.insert(private().truncate(false).open(folder.join("cursor"))?),
        };
        let mut frame = Vec::new();
        append(&mut frame, Kind::Cursor, to.segment, &to.place.to_le_bytes());
        seal(&mut frame, salt);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&frame)
    }
}
