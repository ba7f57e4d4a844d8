//! The next records to be sent, of one source.

use super::frame::{Found, Frame, Frames};
use super::records::Lost;
use super::settings::Settings;
use super::spool::cursor::Position;
use bytes::Bytes;

/// Some records in a row, as many as one request may carry of each signal.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The bytes that hold them.
    pub(super) data: Bytes,
    /// Frames with a signal.
    pub(super) frames: Vec<Frame>,
    /// Behind the last one.
    pub(super) end: Position,
    /// What the disk lost in front of it.
    pub(super) lost: Option<Lost>,
}

/// Takes the next frames to be sent. What the outbox says itself (number 0) never shares a
/// request with records: hello comes before them, and goodbye after. `true` when something was
/// read, were it only book-keeping; what is no frame goes to `damaged`.
pub(super) fn fill(
    frames: &mut Frames,
    settings: &Settings,
    mut seen: impl FnMut(&Found),
) -> Option<Vec<Frame>> {
    let mut taken: Vec<Frame> = Vec::new();
    let mut bytes = 0_usize;
    let mut any = false;
    while let Some(found) = frames.peek() {
        if let Found::Frame(frame) = &found
            && frame.signal().is_some()
        {
            let length = frame.record.len();
            if let Some(last) = taken.last() {
                let full = taken.len() >= settings.batch_records
                    || bytes.saturating_add(length) > settings.batch_bytes
                    || (last.number == 0) != (frame.number == 0);
                if full {
                    break;
                }
            }
            bytes = bytes.saturating_add(length);
            taken.push(frame.clone());
        }
        seen(&found);
        frames.next();
        any = true;
    }
    any.then_some(taken)
}
