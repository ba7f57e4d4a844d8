//! One record on its way: in the buffer, in memory, and in a segment of the spool.
//!
//! ```text
//!  0       4      8      9      12       16       24        28
//!  ├ magic ┼ head ┼ kind ┼ zero ┼ length ┼ number ┼ body ───┼ record (length bytes) ─┤
//!            CRC-32 of 8..28                        CRC-32 of the record
//! ```
//!
//! Numbers are little endian. Agents' threads leave both checksums open; the writer [seals] a
//! frame before it goes to disk. Both begin with the instance's salt, which no record knows: after
//! damage the next frame is searched by its magic, and what an attacker wrote into a record must
//! not be taken for one. A head with its own checksum keeps that search linear, and still names
//! the record when only its bytes are damaged.
//!
//! [seals]: seal

use super::destination::Signal;
use super::numbers::Numbers;
use bytes::Bytes;
use std::ops::Range;

/// Bytes in front of a record.
pub(super) const HEAD_BYTES: usize = 28;

/// First bytes of each frame; no UTF-8 text holds 0xF7 or 0xFE.
const MAGIC: [u8; 4] = [0xF7, b'S', b'O', 0xFE];

/// Places of the fields.
const HEAD_CRC: usize = 4;
const KIND: usize = 8;
const LENGTH: usize = 12;
const NUMBER: usize = 16;
const BODY_CRC: usize = 24;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An encoded span.
    Spans = 1,
    /// An encoded log record.
    Logs = 2,
    /// Nothing: the record of this number was delivered without the spool.
    Covered = 3,
    /// First of a segment: the numbers that earlier segments hold or tell.
    Seen = 4,
    /// Follows gap entries: the numbers that they tell.
    Told = 5,
    /// The instance said goodbye; the number is the highest that was taken.
    End = 6,
    /// In the file that describes an instance: the encoded resource and scope of its records.
    Resource = 7,
    Scope = 8,
    /// In the cursor's file: segment (as number) and place behind what was delivered.
    Cursor = 9,
    /// In the page of what is owed: a reason, and the numbers that no entry tells yet.
    Owed = 10,
}

/// A frame somewhere in bytes that hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The record's number; 0 for what the outbox itself says.
    pub(super) number: u64,
    /// Where the record is.
    pub(super) record: Range<usize>,
}

impl Frame {
    /// The signal, if this is to be sent.
    pub(super) fn signal(&self) -> Option<Signal> {
        match self.kind {
            Kind::Spans => Some(Signal::Spans),
            Kind::Logs => Some(Signal::Logs),
            _ => None,
        }
    }

    /// Adds the numbers that this frame holds or tells.
    pub(super) fn note(&self, data: &[u8], seen: &mut Numbers) {
        match self.kind {
            Kind::Spans | Kind::Logs | Kind::Covered if self.number > 0 => seen.insert(self.number),
            Kind::Told => seen.extend(&Numbers::from_bytes(self.bytes(data))),
            _ => {}
        }
    }

    /// The record's bytes, in the bytes that the frame was found in.
    pub(super) fn bytes<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.record.clone()).unwrap_or_default()
    }
}

/// Appends a frame, its checksums open. One reservation at most, none where there is room.
pub(super) fn append(out: &mut Vec<u8>, kind: Kind, number: u64, record: &[u8]) {
    let mut head = [0; HEAD_BYTES];
    put(&mut head, 0, &MAGIC);
    put(&mut head, KIND, &[kind as u8]);
    put(&mut head, LENGTH, &u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
    put(&mut head, NUMBER, &number.to_le_bytes());
    out.reserve(HEAD_BYTES.saturating_add(record.len()));
    out.extend_from_slice(&head);
    out.extend_from_slice(record);
}

/// Fills in the checksums of frames that [`append`] wrote one after another.
pub(super) fn seal(frames: &mut [u8], salt: u32) {
    let mut rest = frames;
    while let Some(frame) = head(rest, 0) {
        let Some((this, next)) = rest.split_at_mut_checked(frame.record.end) else { return };
        let body = crc(salt, this.get(HEAD_BYTES..).unwrap_or_default());
        put(this, BODY_CRC, &body.to_le_bytes());
        let sum = crc(salt, this.get(KIND..HEAD_BYTES).unwrap_or_default());
        put(this, HEAD_CRC, &sum.to_le_bytes());
        rest = next;
    }
}

/// What a reader finds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame.
    Frame(Frame),
    /// Bytes that are no whole frame; the number if the head could be read.
    Damage { bytes: Range<usize>, number: Option<u64> },
}

/// Reads frames one after another.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    pub(super) data: Bytes,
    at: usize,
    /// `None`: the bytes never left this process, and no checksum is looked at.
    salt: Option<u32>,
}

impl Frames {
    /// Frames as the writer made them in memory.
    pub(super) fn trusted(data: Bytes) -> Self {
        Self { data, at: 0, salt: None }
    }

    /// Frames as they come from a disk, from that place on.
    pub(super) fn checked(data: Bytes, at: usize, salt: u32) -> Self {
        Self { data, at, salt: Some(salt) }
    }

    /// Where the next frame begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What [`next`](Iterator::next) will give.
    pub(super) fn peek(&self) -> Option<Found> {
        if self.at >= self.data.len() {
            return None;
        }
        let Some(frame) = self.head_at(self.at) else {
            let bytes = self.at..self.next_magic(self.at.saturating_add(1));
            return Some(Found::Damage { bytes, number: None });
        };
        let Some(record) = self.data.get(frame.record.clone()) else {
            // The head is whole and the rest is torn off: nothing can follow, unless bytes were
            // taken out of the middle.
            let bytes = self.at..self.next_magic(self.at.saturating_add(1));
            return Some(Found::Damage { bytes, number: Some(frame.number) });
        };
        let sum = field::<4>(&self.data, self.at.saturating_add(BODY_CRC)).map(u32::from_le_bytes);
        if self.salt.is_none_or(|salt| sum == Some(crc(salt, record))) {
            return Some(Found::Frame(frame));
        }
        // The length may be trusted, the bytes not: was the record overwritten, or cut out?
        let follows =
            frame.record.end == self.data.len() || self.head_at(frame.record.end).is_some();
        let next =
            if follows { frame.record.end } else { self.next_magic(self.at.saturating_add(1)) };
        Some(Found::Damage { bytes: self.at..next, number: Some(frame.number) })
    }

    /// The frame whose head stands there, whole or not.
    fn head_at(&self, at: usize) -> Option<Frame> {
        let frame = head(&self.data, at)?;
        let Some(salt) = self.salt else { return Some(frame) };
        let end = at.checked_add(HEAD_BYTES)?;
        let sum = crc(salt, self.data.get(at.checked_add(KIND)?..end)?);
        (field(&self.data, at.checked_add(HEAD_CRC)?)? == sum.to_le_bytes()).then_some(frame)
    }

    /// The next place with a whole head, or the end.
    fn next_magic(&self, mut from: usize) -> usize {
        while let Some(found) =
            self.data.get(from..).and_then(|rest| memchr::memmem::find(rest, &MAGIC))
        {
            from = from.saturating_add(found);
            if self.head_at(from).is_some() {
                return from;
            }
            from = from.saturating_add(1);
        }
        self.data.len()
    }
}

impl Iterator for Frames {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let found = self.peek()?;
        self.at = match &found {
            Found::Frame(frame) => frame.record.end,
            Found::Damage { bytes, .. } => bytes.end,
        };
        Some(found)
    }
}

/// The frame at that place, whole or not, its checksums not looked at.
pub(super) fn head(data: &[u8], at: usize) -> Option<Frame> {
    let head: [u8; HEAD_BYTES] = field(data, at)?;
    if !head.starts_with(&MAGIC) {
        return None;
    }
    let [kind, 0, 0, 0] = field(&head, KIND)? else { return None };
    let kind = match kind {
        1 => Kind::Spans,
        2 => Kind::Logs,
        3 => Kind::Covered,
        4 => Kind::Seen,
        5 => Kind::Told,
        6 => Kind::End,
        7 => Kind::Resource,
        8 => Kind::Scope,
        9 => Kind::Cursor,
        10 => Kind::Owed,
        _ => return None,
    };
    let start = at.checked_add(HEAD_BYTES)?;
    let length = u32::from_le_bytes(field(&head, LENGTH)?) as usize;
    let number = u64::from_le_bytes(field(&head, NUMBER)?);
    Some(Frame { kind, number, record: start..start.checked_add(length)? })
}

fn crc(salt: u32, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&salt.to_le_bytes());
    sum.update(bytes);
    sum.finalize()
}

/// `N` bytes from that place.
pub(super) fn field<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: u32 = 0x1234_5678;

    fn sealed(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, record) in (1..).zip(records) {
            append(&mut out, Kind::Spans, number, record);
        }
        seal(&mut out, SALT);
        out
    }

    /// The records that can be read, with their numbers.
    fn read(data: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
        let data = Bytes::from(data);
        let frames = Frames::checked(data.clone(), 0, SALT);
        let whole = frames.filter_map(|found| match found {
            Found::Frame(frame) => Some((frame.number, frame.bytes(&data).to_vec())),
            Found::Damage { .. } => None,
        });
        whole.collect()
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let records = [b"one".to_vec(), Vec::new(), vec![0xF7; 300]];
        let expected: Vec<_> = (1..).zip(records.iter().cloned()).collect();
        assert_eq!(read(sealed(&records)), expected);
    }

    #[test]
    fn a_frame_inside_a_record_is_no_frame_even_when_its_own_is_damaged() {
        let mut inner = Vec::new();
        append(&mut inner, Kind::Spans, 99, b"forged");
        seal(&mut inner, 0);
        let mut data = sealed(&[inner, b"next".to_vec()]);
        data[HEAD_CRC] ^= 1;
        assert_eq!(read(data), [(2, b"next".to_vec())]);
    }

    #[test]
    fn a_damaged_record_is_named_and_the_next_one_is_read() {
        let mut data = sealed(&[b"first".to_vec(), b"second".to_vec()]);
        data[HEAD_BYTES] ^= 1;
        let mut frames = Frames::checked(Bytes::from(data), 0, SALT);
        assert!(matches!(frames.next(), Some(Found::Damage { number: Some(1), .. })));
        assert!(matches!(frames.next(), Some(Found::Frame(Frame { number: 2, .. }))));
        assert_eq!(frames.next(), None);
    }

    proptest! {
        /// Whatever is cut, flipped or filled in: no panic, no record that was not written, and
        /// every record that the damage did not touch.
        #[test]
        fn damage_costs_only_what_it_touches(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
            cut in any::<prop::sample::Index>(),
            flip in prop::option::of((any::<prop::sample::Index>(), 1_u8..)),
        ) {
            let whole = sealed(&records);
            let mut data = whole.clone();
            let cut = cut.index(whole.len() + 1);
            data.truncate(cut);
            let flipped = flip.filter(|_| cut > 0).map(|(at, bits)| {
                let at = at.index(cut);
                data[at] ^= bits;
                at
            });
            let mut expected = Vec::new();
            let mut at = 0;
            for (number, record) in (1..).zip(&records) {
                let bytes = at..at + HEAD_BYTES + record.len();
                at = bytes.end;
                if bytes.end <= cut && !flipped.is_some_and(|at| bytes.contains(&at)) {
                    expected.push((number, record.clone()));
                }
            }
            prop_assert_eq!(read(data), expected);
        }
    }
}
