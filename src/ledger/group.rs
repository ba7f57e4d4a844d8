//! A group: the entries that one `fdatasync` makes durable, and whom to tell.

use super::batch::{Batch, Spares};
use super::chain::Chain;
use super::error::AppendError;
use super::frame::{self, SEAL_LEN, Seal};
use super::leaves::Leaves;
use super::queue::{Answer, Job};
use super::sidecar::Record;
use super::status::Counters;
use super::types::{Appended, Receipt};
use super::window::{Key, NO_SOURCE, Seen, Window};
use std::io::IoSlice;
use std::ops::Range;
use tokio::sync::oneshot;

/// Entries with their places, ready to be written from where the requests laid them out.
pub(super) struct Group {
    batches: Vec<Batch>,
    /// Frames of the entries that are new: which batch, and where in it. Neighbours are one run.
    runs: Vec<(usize, Range<usize>)>,
    /// Bytes of the entries.
    length: usize,
    seal: [u8; SEAL_LEN],
    /// Key of each new entry and where its frame starts in the group.
    records: Vec<Record>,
    leaves: Leaves,
    answers: Vec<(oneshot::Sender<Answer>, Receipt)>,
    duplicates: u64,
    conflicts: u64,
}

/// Numbers the entries that are new and finds those that are not: check and append are one step.
/// The group is open in `chain` and `window` until it is stored or taken back.
pub(super) fn assemble(jobs: Vec<Job>, chain: &mut Chain, window: &mut Window) -> Group {
    let mut group = Group {
        batches: Vec::with_capacity(jobs.len()),
        runs: Vec::with_capacity(jobs.len()),
        length: 0,
        seal: [0; SEAL_LEN],
        records: Vec::new(),
        leaves: Leaves::with_capacity(jobs.iter().map(|job| job.batch.len()).sum()),
        answers: Vec::with_capacity(jobs.len()),
        duplicates: 0,
        conflicts: 0,
    };
    for Job { mut batch, reply, .. } in jobs {
        let places: Vec<_> = batch.places().collect();
        let entries = places.into_iter().filter_map(|at| group.add(&mut batch, at, chain, window));
        let receipt = Receipt { entries: entries.collect() };
        group.batches.push(batch);
        group.answers.push((reply, receipt));
    }
    group
}

impl Group {
    /// Adds a frame of the batch that comes next. `None` cannot happen: the frame was laid out by
    /// this program.
    fn add(
        &mut self,
        batch: &mut Batch,
        at: Range<usize>,
        chain: &mut Chain,
        window: &mut Window,
    ) -> Option<Appended> {
        let frame = batch.frame_mut(&at)?;
        let peek = frame::peek(frame)?;
        let source = peek.source_key.unwrap_or(NO_SOURCE);
        let conflict = match window.look(&peek.id, &source) {
            Seen::Before { sequence, leaf } => {
                self.duplicates = self.duplicates.saturating_add(1);
                return Some(Appended { sequence, leaf_hash: leaf, duplicate: true });
            }
            Seen::New { conflict } => conflict,
        };
        let sequence = chain.next();
        let tenant_sequence = chain.next_of(&peek.pseudonym);
        let leaf = self.leaves.push(sequence, |record| {
            frame::place(frame, sequence, tenant_sequence, conflict, record)
        })?;
        chain.push(peek.pseudonym, leaf);
        let key = Key { id: peek.id, source, leaf };
        window.stage(key);
        let offset = u32::try_from(self.length).unwrap_or(u32::MAX);
        self.records.push(Record { key, offset });
        self.conflicts = self.conflicts.saturating_add(u64::from(conflict));
        self.length = self.length.saturating_add(at.len());
        let number = self.batches.len();
        match self.runs.last_mut() {
            Some((last, run)) if *last == number && run.end == at.start => run.end = at.end,
            _ => self.runs.push((number, at)),
        }
        Some(Appended { sequence, leaf_hash: leaf, duplicate: false })
    }

    /// Whether there is nothing to write: all entries were there already.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the entries' frames.
    pub(super) fn length(&self) -> u64 {
        self.length as u64
    }

    /// What is to be written: the entries and their seal.
    pub(super) fn sealed(&mut self, seal: &Seal) -> Vec<IoSlice<'_>> {
        self.seal = seal.encode();
        let runs = self
            .runs
            .iter()
            .filter_map(|(batch, run)| Some(IoSlice::new(self.batches.get(*batch)?.run(run))));
        runs.chain(std::iter::once(IoSlice::new(&self.seal))).collect()
    }

    /// The entries, with their offsets when the group is written at `start`.
    pub(super) fn records(&self, start: u64) -> impl Iterator<Item = Record> {
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        self.records
            .iter()
            .map(move |record| Record { offset: record.offset.saturating_add(start), ..*record })
    }

    /// Gives the leaves away.
    pub(super) fn take_leaves(&mut self) -> Leaves {
        std::mem::take(&mut self.leaves)
    }

    /// Adds what the group is to the counters.
    pub(super) fn count(&self, counters: &mut Counters) {
        let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
        add(&mut counters.entries, self.records.len() as u64);
        add(&mut counters.duplicates, self.duplicates);
        add(&mut counters.conflicts, self.conflicts);
        add(&mut counters.frame_bytes, self.length());
    }

    /// Tells all that their entries are durable. Gives the memory back.
    pub(super) fn answer(self, spares: &Spares) {
        for (reply, receipt) in self.answers {
            // Whoever went away does not need the answer.
            let _ = reply.send(Ok(receipt));
        }
        self.batches.into_iter().for_each(|batch| spares.keep(batch));
    }

    /// Tells all that nothing was appended.
    pub(super) fn refuse(self, error: &AppendError) {
        for (reply, _) in self.answers {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
