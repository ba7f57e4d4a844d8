//! A group: the entries that one `fdatasync` makes durable, and whom to tell.

use super::chain::Chain;
use super::error::AppendError;
use super::frame::{self, Seal};
use super::queue::{Answer, Job};
use super::sidecar::Record;
use super::status::Counters;
use super::types::{Appended, Receipt};
use super::window::{Key, NO_SOURCE, Seen, Window};
use tokio::sync::oneshot;

/// Entries with their places, ready to be written.
pub(super) struct Group {
    /// Frames of the entries that are new; once it is sealed, the seal too.
    bytes: Vec<u8>,
    /// Bytes of the entries.
    length: usize,
    /// Key of each new entry and where its frame starts in `bytes`.
    records: Vec<Record>,
    answers: Vec<(oneshot::Sender<Answer>, Receipt)>,
    duplicates: u64,
    conflicts: u64,
}

/// Numbers the entries that are new and finds those that are not: check and append are one step.
/// The group is open in `chain` and `window` until it is stored or taken back.
pub(super) fn assemble(
    jobs: Vec<Job>,
    chain: &mut Chain,
    window: &mut Window,
    buffer: Vec<u8>,
) -> Group {
    let mut group = Group {
        bytes: buffer,
        length: 0,
        records: Vec::new(),
        answers: Vec::with_capacity(jobs.len()),
        duplicates: 0,
        conflicts: 0,
    };
    for job in jobs {
        let entries = job.batch.frames().filter_map(|frame| group.add(frame, chain, window));
        let receipt = Receipt { entries: entries.collect() };
        group.answers.push((job.reply, receipt));
    }
    group
}

impl Group {
    /// Adds a frame. `None` cannot happen: the frame was laid out by this program.
    fn add(&mut self, frame: &[u8], chain: &mut Chain, window: &mut Window) -> Option<Appended> {
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
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        let copy = self.bytes.get_mut(start..)?;
        let leaf = frame::place(copy, sequence, tenant_sequence, conflict)?;
        self.length = self.bytes.len();
        chain.push(peek.pseudonym, leaf);
        let key = Key { id: peek.id, source, leaf };
        window.stage(key);
        let offset = u32::try_from(start).unwrap_or(u32::MAX);
        self.records.push(Record { key, offset });
        self.conflicts = self.conflicts.saturating_add(u64::from(conflict));
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

    /// The bytes to write: the entries and their seal.
    pub(super) fn sealed(&mut self, seal: &Seal) -> &[u8] {
        self.bytes.truncate(self.length);
        self.bytes.extend_from_slice(&seal.encode());
        &self.bytes
    }

    /// The entries, with their offsets when the group is written at `start`.
    pub(super) fn records(&self, start: u64) -> impl Iterator<Item = Record> {
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        self.records
            .iter()
            .map(move |record| Record { offset: record.offset.saturating_add(start), ..*record })
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
    pub(super) fn answer(self) -> Vec<u8> {
        for (reply, receipt) in self.answers {
            // Whoever went away does not need the answer.
            let _ = reply.send(Ok(receipt));
        }
        self.bytes
    }

    /// Tells all that nothing was appended.
    pub(super) fn refuse(self, error: &AppendError) {
        for (reply, _) in self.answers {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
