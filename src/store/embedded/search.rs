//! A page of hits: windows of the ledger from one end, candidates of each, and a look at each
//! candidate.
//!
//! ```text
//!  newest first:                    ◄─ 1M ─┼─ 256K ─┼─ 64K ─┼ 16K ┼ 4K ┤ watermark
//!                                                                   └ stops when the page is full
//! ```
//!
//! Windows grow, so that a question with many answers looks at few entries and one with few
//! answers takes few steps. Entries that are not indexed yet are read.

use super::super::memory::hit;
use super::super::query::Compiled;
use super::super::{EntryView, Hit, StoreError};
use super::ids::Damaged;
use super::listing::Lister;
use super::plan::{Candidates, Indexed, Plan};
use super::ranges::Ranges;
use crate::correlate::{Id, Member, Namespace};
use crate::ledger::{ReadError, Reader};
use std::ops::{ControlFlow, Range};
use std::time::Instant;

/// Entries of the first window, and of the largest.
const FIRST_WINDOW: u64 = 4096;
const LARGEST_WINDOW: u64 = 1 << 20;

/// Entries that are read in one go when all are candidates.
const READ_AT_ONCE: u64 = 512;

/// Bytes that are read from the ledger at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Entries of a window that are read in order in the time in which one piece is found and read by
/// itself.
const PIECE_COST: u64 = 8;

/// From which end of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The latest entry first.
    Down,
    /// The first entry first.
    Up,
}

/// A question on its way.
pub(super) struct Search<'s> {
    pub(super) reader: &'s Reader,
    pub(super) indexed: &'s Indexed,
    pub(super) lister: &'s Lister,
    pub(super) tenant: &'s str,
    pub(super) query: &'s Compiled,
    pub(super) plan: &'s Plan,
    pub(super) deadline: Instant,
    /// Number of last entries among which the ledger itself finds duplicates.
    pub(super) duplicate_window: u64,
    /// Told of runs that could not be read.
    pub(super) damaged: &'s dyn Fn(Damaged),
}

/// Where a search stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was looked at.
    Complete,
    /// Whoever takes the answers has enough.
    Enough,
    /// The time was over; entries from here on (exclusive downwards) were not looked at.
    OutOfTime(u64),
}

impl Search<'_> {
    /// Gives the answers within `range` to `take`, in order, until it has enough.
    pub(super) fn run(
        &self,
        mut range: Range<u64>,
        direction: Direction,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<End, StoreError> {
        let edges = self.indexed.edges();
        let mut size = FIRST_WINDOW;
        while !range.is_empty() {
            let window = match direction {
                Direction::Down => {
                    let below = edges.iter().rev().find(|edge| **edge < range.end);
                    let start = range.end.saturating_sub(size).max(range.start);
                    start.max(below.copied().unwrap_or(0))..range.end
                }
                Direction::Up => {
                    let above = edges.iter().find(|edge| **edge > range.start);
                    let end = range.start.saturating_add(size).min(range.end);
                    range.start..end.min(above.copied().unwrap_or(u64::MAX))
                }
            };
            match self.window(&window, direction, take)? {
                End::Complete => {}
                end => return Ok(end),
            }
            match direction {
                Direction::Down => range.end = window.start,
                Direction::Up => range.start = window.end,
            }
            size = size.saturating_mul(4).min(LARGEST_WINDOW);
        }
        Ok(End::Complete)
    }

    fn window(
        &self,
        window: &Range<u64>,
        direction: Direction,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<End, StoreError> {
        let candidates =
            self.indexed.candidates(self.plan, window, &mut |damage| (self.damaged)(damage))?;
        let length = window.end.saturating_sub(window.start);
        match candidates {
            Candidates::Everything => self.in_order(window, None, direction, take),
            Candidates::Among(ranges) if cost_of_pieces(&ranges) > length => {
                self.in_order(window, Some(&ranges), direction, take)
            }
            Candidates::Among(ranges) => self.piece_by_piece(ranges.as_slice(), direction, take),
        }
    }

    /// Reads candidates that are few, and nothing of what is between them.
    fn piece_by_piece(
        &self,
        pieces: &[Range<u64>],
        direction: Direction,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<End, StoreError> {
        let mut pieces = pieces.iter();
        loop {
            let piece = match direction {
                Direction::Down => pieces.next_back(),
                Direction::Up => pieces.next(),
            };
            let Some(piece) = piece else { return Ok(End::Complete) };
            match self.in_order(piece, None, direction, take)? {
                End::Complete => {}
                end => return Ok(end),
            }
        }
    }

    /// Reads all entries of a range, a few hundred at once, and looks at those on the list.
    fn in_order(
        &self,
        range: &Range<u64>,
        list: Option<&Ranges>,
        direction: Direction,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<End, StoreError> {
        let mut rest = range.clone();
        while !rest.is_empty() {
            let part = match direction {
                Direction::Down => rest.end.saturating_sub(READ_AT_ONCE).max(rest.start)..rest.end,
                Direction::Up => rest.start..rest.start.saturating_add(READ_AT_ONCE).min(rest.end),
            };
            if Instant::now() >= self.deadline {
                return Ok(End::OutOfTime(match direction {
                    Direction::Down => rest.end,
                    Direction::Up => rest.start,
                }));
            }
            if self.part(&part, list, direction, take)?.is_break() {
                return Ok(End::Enough);
            }
            match direction {
                Direction::Down => rest.end = part.start,
                Direction::Up => rest.start = part.end,
            }
        }
        Ok(End::Complete)
    }

    fn part(
        &self,
        part: &Range<u64>,
        list: Option<&Ranges>,
        direction: Direction,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if part.end.saturating_sub(part.start) == 1 {
            let entry = self.reader.get(part.start).map_err(unreadable)?;
            return entry.map_or(Ok(ControlFlow::Continue(())), |e| {
                self.look(&EntryView::from(e.as_ref()), take)
            });
        }
        let is_listed = |sequence: u64| list.is_none_or(|list| list.contains(sequence));
        let mut chunks = Vec::new();
        read_range(self.reader, part, &mut |chunk| {
            chunks.push(chunk);
            Ok(())
        })?;
        let mut entries: Vec<_> = chunks
            .iter()
            .flat_map(crate::ledger::Chunk::entries)
            .filter(|entry| part.contains(&entry.sequence) && is_listed(entry.sequence))
            .collect();
        if direction == Direction::Down {
            entries.reverse();
        }
        for entry in entries {
            if self.look(&EntryView::from(entry), take)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives an entry to `take` if it answers.
    fn look(
        &self,
        entry: &EntryView<'_>,
        take: &mut dyn FnMut(&EntryView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let answers = entry.envelope.tenant == self.tenant
            && self.query.matches(entry)
            && !self.repeats_an_earlier(entry)?;
        Ok(if answers { take(entry) } else { ControlFlow::Continue(()) })
    }

    /// Whether an entry of the same id stands further in front: the ledger finds duplicates among
    /// the last ones only. What is not indexed there cannot be told.
    fn repeats_an_earlier(&self, entry: &EntryView<'_>) -> Result<bool, StoreError> {
        let before = entry.envelope.sequence.saturating_sub(self.duplicate_window);
        if before == 0 {
            return Ok(false);
        }
        let id = Id::new(Namespace::Entry, entry.id_text());
        let mut found = Vec::new();
        for key in self.lister.id_keys(self.tenant, &id) {
            if let Err(damage) = self.indexed.ids.find(key, &(0..before), &mut found) {
                (self.damaged)(damage);
            }
        }
        for sequence in found {
            let other = self.reader.get(sequence).map_err(unreadable)?;
            let same = |other: &crate::ledger::StoredEntry| {
                other.id.0 == entry.envelope.id && other.tenant == self.tenant
            };
            if other.as_ref().is_some_and(same) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What it costs to read pieces by themselves, in entries that are read in order.
fn cost_of_pieces(pieces: &Ranges) -> u64 {
    let count = pieces.as_slice().len() as u64;
    count.saturating_mul(PIECE_COST).saturating_add(pieces.len())
}

/// Gives the entries of a range to `visit`, in chunks of memory; a chunk may go beyond it.
pub(super) fn read_range(
    reader: &Reader,
    range: &Range<u64>,
    visit: &mut dyn FnMut(crate::ledger::Chunk) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    /// A guess that keeps a chunk from reading far beyond a small range.
    const ENTRY_BYTES: u64 = 4096;
    let mut scan = reader.scan(range.start);
    while scan.position() < range.end {
        let wanted = range.end.saturating_sub(scan.position()).saturating_mul(ENTRY_BYTES);
        let bytes = usize::try_from(wanted).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match scan.next_chunk(bytes).map_err(unreadable)? {
            Some(chunk) => visit(chunk)?,
            None => break,
        }
    }
    Ok(())
}

/// Collects answers as they are shown.
pub(super) fn collect_hits<'h>(
    hits: &'h mut Vec<Hit>,
    limit: usize,
    origin: &'h str,
) -> impl FnMut(&EntryView<'_>) -> ControlFlow<()> + 'h {
    move |entry| {
        hits.push(hit(entry, origin));
        if hits.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Collects what is needed to sort answers.
pub(super) fn collect_members(
    members: &mut Vec<Member>,
    limit: usize,
) -> impl FnMut(&EntryView<'_>) -> ControlFlow<()> + '_ {
    move |entry| {
        members.push(entry.member());
        if members.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// An error of the ledger as one of the store.
pub(super) fn unreadable(error: ReadError) -> StoreError {
    StoreError::Damaged {
        context: "cannot read an entry of the ledger; run `spanledger verify`".to_owned(),
        source: Some(Box::new(error)),
    }
}
