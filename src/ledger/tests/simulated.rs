//! A disk that fails and crashes where a test wants it to.
//!
//! Files are real, so that recovery reads them as it always does. What is written counts as
//! durable only once it was synced; a crash leaves of the rest what the test says.

use crate::ledger::segment::{SEGMENT, path};
use crate::ledger::storage::{SegmentFile, Storage};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

/// What the writer can ask of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Write,
    Sync,
    Truncate,
    /// Anything that is done to files of the public log.
    File,
}

/// What a disk may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error of that kind; of a write, this many bytes arrive before it.
    Error(io::ErrorKind, usize),
    /// The thread dies.
    Panic,
}

/// What a crash leaves of what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tear {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// That many bytes of the front.
    Front(usize),
    /// Blocks of 512 bytes, each of them by the bits of this number; the others are zeros.
    Blocks(u64),
}

#[derive(Default)]
struct Plan {
    operations: u64,
    crash_at: Option<u64>,
    faults: Vec<(Op, u64, Fault)>,
    counts: HashMap<&'static str, u64>,
    durable: HashMap<PathBuf, Vec<u8>>,
    /// Each sync waits for a message.
    gate: Option<mpsc::Receiver<()>>,
}

/// The disk. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Simulated(Arc<Mutex<Plan>>);

impl Simulated {
    /// The `nth` operation of that kind (from 0) fails.
    pub(super) fn fail(&self, op: Op, nth: u64, fault: Fault) {
        self.0.lock().unwrap().faults.push((op, nth, fault));
    }

    /// From that operation on (from 0) nothing reaches the disk.
    pub(super) fn crash_at(&self, operation: u64) {
        self.0.lock().unwrap().crash_at = Some(operation);
    }

    /// From now on each sync waits for a message.
    pub(super) fn hold_syncs(&self) -> mpsc::Sender<()> {
        let (open, gate) = mpsc::channel();
        self.0.lock().unwrap().gate = Some(gate);
        open
    }

    /// How many operations there were.
    pub(super) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// How many operations of that kind there were.
    pub(super) fn count(&self, op: Op) -> u64 {
        self.0.lock().unwrap().counts.get(name(op)).copied().unwrap_or(0)
    }

    /// Leaves the files as the crash left them.
    pub(super) fn crash(&self, tear: Tear) {
        for (path, durable) in &self.0.lock().unwrap().durable {
            let written = std::fs::read(path).unwrap();
            // A new file: emptying one makes some file systems write it out, which takes long.
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, torn(durable, &written, tear)).unwrap();
        }
    }

    /// The next operation: it works, or not.
    pub(super) fn step(&self, op: Op) -> Result<(), Fault> {
        let mut plan = self.0.lock().unwrap();
        let operation = plan.operations;
        plan.operations += 1;
        let count = plan.counts.entry(name(op)).or_default();
        let nth = *count;
        *count += 1;
        if plan.crash_at.is_some_and(|at| operation >= at) {
            return Err(Fault::Error(io::ErrorKind::BrokenPipe, usize::MAX));
        }
        let fault = plan.faults.iter().find(|(of, at, _)| (*of, *at) == (op, nth));
        fault.map_or(Ok(()), |(_, _, fault)| Err(*fault))
    }

    fn settled(&self, path: &Path) {
        let bytes = std::fs::read(path).unwrap();
        self.0.lock().unwrap().durable.insert(path.to_owned(), bytes);
    }
}

fn name(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Write => "write",
        Op::Sync => "sync",
        Op::Truncate => "truncate",
        Op::File => "file",
    }
}

pub(super) fn torn(durable: &[u8], written: &[u8], tear: Tear) -> Vec<u8> {
    let from = durable.len().min(written.len());
    let fresh = written.len() - from;
    let mut out = written.to_vec();
    match tear {
        Tear::Nothing => return durable.to_vec(),
        Tear::Everything => {}
        Tear::Front(bytes) => out.truncate(from + bytes.min(fresh)),
        Tear::Blocks(bits) => {
            for block in (from / 512)..=(written.len() / 512) {
                let start = (block * 512).max(from);
                let end = ((block + 1) * 512).min(written.len());
                if start < end && bits >> (block % 64) & 1 == 0 {
                    out[start..end].fill(0);
                }
            }
        }
    }
    out
}

pub(super) fn failed(fault: Fault) -> io::Error {
    match fault {
        Fault::Error(kind, _) => kind.into(),
        Fault::Panic => panic!("the disk makes the writer panic"),
    }
}

struct SimulatedFile {
    disk: Simulated,
    path: PathBuf,
    file: File,
}

impl SegmentFile for SimulatedFile {
    fn write(&mut self, parts: &mut [io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        match self.disk.step(Op::Write) {
            Ok(()) => self.file.write_all_at(&bytes, offset),
            Err(fault @ Fault::Error(_, arrived)) => {
                // What is written when the crash comes may arrive in part.
                let arrived = arrived.min(bytes.len());
                self.file.write_all_at(&bytes[..arrived], offset)?;
                Err(failed(fault))
            }
            Err(fault) => Err(failed(fault)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let gate = self.disk.0.lock().unwrap().gate.take();
        if let Some(gate) = gate {
            // A test that went away opens the gate for good.
            if gate.recv().is_ok() {
                self.disk.0.lock().unwrap().gate = Some(gate);
            }
        }
        self.disk.step(Op::Sync).map_err(failed)?;
        self.disk.settled(&self.path);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.step(Op::Truncate).map_err(failed)?;
        self.file.set_len(length)
    }

    fn forget(&mut self, _: Option<std::num::NonZeroU64>) {}
}

impl Simulated {
    fn file(&self, dir: &Path, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = path(dir, first, SEGMENT);
        let file = File::options().read(true).write(true).open(&path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), path, file }))
    }
}

impl Storage for Simulated {
    fn create(
        &mut self,
        dir: &Path,
        first: u64,
        header: &[u8],
        _: u64,
    ) -> io::Result<Box<dyn SegmentFile>> {
        self.step(Op::Create).map_err(failed)?;
        std::fs::write(path(dir, first, SEGMENT), header)?;
        self.settled(&path(dir, first, SEGMENT));
        self.file(dir, first)
    }

    fn open(&mut self, dir: &Path, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.settled(&path(dir, first, SEGMENT));
        self.file(dir, first)
    }

    fn probe(&mut self, _: &Path, _: u64) -> io::Result<()> {
        Ok(())
    }
}
