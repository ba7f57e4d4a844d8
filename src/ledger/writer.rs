//! The one writer: drain, number, write, sync, show, answer.

use super::batch::MAX_BATCH_BYTES;
use super::bytes::len64;
use super::chain::Chain;
use super::error::{AppendError, CloseError, in_a_line};
use super::frame::{SEAL_LEN, Seal};
use super::group::{self, Group};
use super::now_ns;
use super::options::{MAX_SEGMENT_BYTES, Options};
use super::queue::{Job, Queue, Work};
use super::recover::{self, Active};
use super::reserve::Reserve;
use super::sidecar::{self, Sealed};
use super::status::Notebook;
use super::storage::{SegmentFile, Storage, is_full};
use super::types::TreeHead;
use super::view::View;
use super::window::Window;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

/// Room that has to be there before a full disk is called usable again, in bytes.
const PROBE_BYTES: u64 = 1024 * 1024;

/// Bytes written last that stay in memory, for the consumers, which read what is new.
const RECENT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that are forgotten at once: each time costs a system call.
const FORGET_STEP_BYTES: u64 = 4 * 1024 * 1024;

/// The state of the writer's thread.
pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) storage: Box<dyn Storage>,
    pub(super) active: Active,
    /// The segment before it, if this run sealed it.
    pub(super) sealed: Option<Box<dyn SegmentFile>>,
    pub(super) chain: Chain,
    pub(super) window: Window,
    pub(super) view: Arc<View>,
    pub(super) queue: Arc<Queue>,
    pub(super) notes: Arc<Notebook>,
    pub(super) reserve: Reserve,
}

/// Why a group did not become durable.
enum Failure {
    /// It may work later; the file is as it was.
    Full(Arc<str>),
    /// Nothing will work in this process.
    Poison(Arc<str>),
}

impl Writer {
    /// Works until the queue is closed and empty, or the storage fails.
    pub(super) fn run(mut self) -> Result<TreeHead, CloseError> {
        loop {
            let patience = self.lacks_space().then_some(self.options.space_check);
            let group_bytes = self.options.group_bytes.min(MAX_BATCH_BYTES);
            let done = match self.queue.take(group_bytes, patience) {
                Work::Jobs(jobs) => self.append(jobs),
                Work::Idle => {
                    self.look_for_space();
                    Ok(())
                }
                Work::Close => return self.close(),
            };
            if let Err(reason) = done {
                return Err(CloseError::Poisoned { reason });
            }
        }
    }

    /// Appends the jobs as one group and answers them all. An error is final.
    fn append(&mut self, jobs: Vec<Job>) -> Result<(), Arc<str>> {
        let urgent = jobs.iter().any(|job| job.urgent);
        let mut group = group::assemble(jobs, &mut self.chain, &mut self.window);
        let mut done = self.store(&mut group);
        if urgent && matches!(done, Err(Failure::Full(_))) && self.reserve.release() {
            done = self.store(&mut group);
        }
        match done {
            Ok(()) => {
                self.advance(&mut group);
                // Acknowledge only what is durable: the fdatasync that covers the group has
                // returned, and readers may see it.
                group.answer(&self.queue.spares);
                self.forget_old_pages();
                Ok(())
            }
            Err(Failure::Full(reason)) => {
                self.take_back();
                let mut notes = self.notes.open();
                notes.disk_full = Some(reason.to_string());
                notes.reserve = self.reserve.is_there();
                notes.counters.disk_full = notes.counters.disk_full.saturating_add(1);
                drop(notes);
                group.refuse(&AppendError::DiskFull { reason });
                Ok(())
            }
            Err(Failure::Poison(reason)) => {
                let error = AppendError::Poisoned { reason: reason.clone() };
                // Who is told that it failed finds it stopped.
                self.queue.fail(&error);
                self.view.end();
                group.refuse(&error);
                Err(reason)
            }
        }
    }

    /// Writes and syncs the group, in a new segment if this one is large enough.
    fn store(&mut self, group: &mut Group) -> Result<(), Failure> {
        if group.is_empty() {
            return Ok(());
        }
        let length = group.length().saturating_add(SEAL_LEN as u64);
        let limit = self.options.segment_bytes.min(MAX_SEGMENT_BYTES);
        if !self.active.records.is_empty() && self.active.end.saturating_add(length) > limit {
            self.rotate()?;
        }
        let seal = self.seal(false, group.length());
        self.write_and_sync(&mut group.sealed(&seal))
    }

    fn seal(&self, close: bool, bytes: u64) -> Seal {
        let (first, head) = (self.chain.group_first(), self.chain.tree().head());
        Seal { close, first, head, bytes, time_ns: now_ns() }
    }

    /// One write, one fdatasync. When there is no space the file is cut back to what counts.
    fn write_and_sync(&mut self, parts: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        let end = self.active.end;
        let length = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(len64(part)));
        if let Err(error) = self.active.file.write(parts, end) {
            let reason = in_a_line("write to the active segment", &error);
            if !is_full(&error) {
                return Err(Failure::Poison(reason));
            }
            // The sequence numbers are used again, so what was written of them must be gone.
            let cut = self.active.file.truncate(end).and_then(|()| self.active.file.sync());
            return Err(match cut {
                Ok(()) => Failure::Full(reason),
                Err(error) => Failure::Poison(in_a_line("cut an unwritten group", &error)),
            });
        }
        let started = Instant::now();
        // IMPORTANT: a failed fdatasync is final. Linux may have dropped the pages and calls them
        // clean; trying again would succeed and mean nothing.
        let synced = self.active.file.sync();
        synced.map_err(|error| Failure::Poison(in_a_line("fdatasync", &error)))?;
        let took = started.elapsed();
        let mut notes = self.notes.open();
        let counters = &mut notes.counters;
        counters.groups = counters.groups.saturating_add(1);
        counters.bytes_written = counters.bytes_written.saturating_add(length);
        counters.sync_last = took;
        counters.sync_longest = counters.sync_longest.max(took);
        counters.sync_total = counters.sync_total.saturating_add(took);
        Ok(())
    }

    /// The group is durable: it counts, for duplicates, for readers and for the numbers.
    fn advance(&mut self, group: &mut Group) {
        self.window.commit();
        self.chain.commit();
        if !group.is_empty() {
            let start = self.active.end;
            let length = group.length().saturating_add(SEAL_LEN as u64);
            self.active.end = start.saturating_add(length);
            self.active.records.extend(group.records(start));
            let offsets = group.records(start).map(|record| record.offset);
            self.active.segment.extend(offsets, self.active.end);
            self.view.recent_leaves.keep(group.take_leaves());
            self.view.publish(self.chain.committed().head());
        }
        let mut notes = self.notes.open();
        (notes.window, notes.window_bytes) = (self.window.len(), self.window.memory());
        group.count(&mut notes.counters);
        let was_full = !group.is_empty() && notes.disk_full.take().is_some();
        drop(notes);
        if was_full {
            self.restore_reserve();
        }
    }

    fn take_back(&mut self) {
        self.chain.roll_back();
        self.window.discard();
    }

    /// Goes on in a new segment. The open group is not in the file yet, so the new segment starts
    /// where the last group ended.
    fn rotate(&mut self) -> Result<(), Failure> {
        let (dir, origin) = (self.view.dir.clone(), self.view.origin);
        let begun = recover::begin(
            &dir,
            &self.options,
            self.storage.as_mut(),
            &self.chain,
            origin,
            self.active.header_hash,
        );
        let (active, _) = begun.map_err(|error| {
            let reason = in_a_line("begin a segment", &error);
            if is_full(&error) { Failure::Full(reason) } else { Failure::Poison(reason) }
        })?;
        let mut sealed = std::mem::replace(&mut self.active, active);
        self.view.add_segment(self.active.segment.clone());
        let facts = Sealed {
            header_hash: sealed.header_hash,
            head: self.chain.committed().head(),
            end: sealed.end,
        };
        let first = sealed.segment.first;
        let tenants = self.chain.committed_state();
        let written = sidecar::write(&dir, first, &sealed.records, &tenants, &facts);
        let mut notes = self.notes.open();
        let counters = &mut notes.counters;
        if let Ok(bytes) = written {
            counters.bytes_written = counters.bytes_written.saturating_add(bytes);
            sealed.segment.forget_offsets();
        } else {
            counters.sidecars_failed = counters.sidecars_failed.saturating_add(1);
        }
        // Gives back what was reserved behind the end; if it fails the space is only not used.
        let _ = sealed.file.truncate(sealed.end);
        // What is left of the segment in memory is new, and consumers read what is new: it stays
        // until the next one is sealed.
        if let Some(mut older) = self.sealed.replace(sealed.file) {
            older.forget(None);
        }
        Ok(())
    }

    /// Lets go of the memory that holds what was written some time ago, so that what comes next
    /// gets it again. Where the system has to find fresh memory for each page, as virtual
    /// machines do, writing costs several times as much CPU without it; and the ledger does not
    /// push the files of others out of memory.
    fn forget_old_pages(&mut self) {
        let old = self.active.end.saturating_sub(RECENT_BYTES);
        if old.saturating_sub(self.active.forgotten) >= FORGET_STEP_BYTES {
            self.active.file.forget(NonZeroU64::new(old));
            self.active.forgotten = old;
        }
    }

    /// Whether something waits for space to come back.
    fn lacks_space(&self) -> bool {
        let notes = self.notes.open();
        notes.disk_full.is_some() || (!notes.reserve && self.options.reserve_bytes > 0)
    }

    /// Finds out whether there is space again while nobody appends.
    fn look_for_space(&mut self) {
        if self.storage.probe(&self.view.dir, PROBE_BYTES).is_ok() {
            self.notes.open().disk_full = None;
            self.restore_reserve();
        }
    }

    fn restore_reserve(&mut self) {
        // If it does not fit yet, the next time that space comes back it may.
        let _ = self.reserve.ensure();
        self.notes.open().reserve = self.reserve.is_there();
    }

    /// Marks the end, so that the next start can tell a torn group from a damaged one.
    fn close(&mut self) -> Result<TreeHead, CloseError> {
        if self.notes.open().disk_full.is_some() {
            self.reserve.release();
        }
        let head = self.chain.committed().head();
        let seal = self.seal(true, 0).encode();
        let mut done = self.write_and_sync(&mut [IoSlice::new(&seal)]);
        if matches!(done, Err(Failure::Full(_))) && self.reserve.release() {
            done = self.write_and_sync(&mut [IoSlice::new(&seal)]);
        }
        match done {
            Ok(()) => {
                let end = self.active.end.saturating_add(SEAL_LEN as u64);
                let _ = self.active.file.truncate(end);
                Ok(head)
            }
            Err(Failure::Full(reason)) => Err(CloseError::DiskFull { reason }),
            Err(Failure::Poison(reason)) => {
                self.queue.fail(&AppendError::Poisoned { reason: reason.clone() });
                Err(CloseError::Poisoned { reason })
            }
        }
    }
}
