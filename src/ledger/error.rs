//! What can go wrong, and what to do then.

use super::chain::Mismatch;
use super::frame::FrameError;
use super::segment::HeaderError;
use super::types::TreeHead;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a batch was not acknowledged. Nothing of it is known to be durable; sending it again is
/// always right, for what was written after all is answered as a duplicate.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// More is waiting for the disk than the queue may hold.
    #[error("the ledger's queue is full ({batches} batches, {bytes} bytes): send again later")]
    Full {
        /// Batches that are waiting.
        batches: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The disk, a quota or a file size limit is at its end. Writing goes on by itself when space
    /// is back.
    #[error("no space to write the ledger ({reason}): free some, then send again")]
    DiskFull {
        /// What the operating system said.
        reason: Arc<str>,
    },
    /// A write or an `fdatasync` failed: what the disk holds is uncertain, so nothing is
    /// acknowledged any more.
    #[error("the ledger stopped after a storage failure ({reason}): check the disk, then restart")]
    Poisoned {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// The batch would not fit the empty queue.
    #[error("the batch has {bytes} bytes, the queue holds {limit}: send fewer entries at once")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Most bytes of the queue.
        limit: usize,
    },
}

impl AppendError {
    /// Whether the same batch may succeed later without anybody doing anything about this
    /// process. A transport answers UNAVAILABLE or 503 then.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::DiskFull { .. })
    }
}

/// What about a segment is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A segment's header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Bytes that are not the frame that was written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A sound frame in a place where it does not belong.
    #[error(transparent)]
    Chain(#[from] Mismatch),
    /// The segment was not begun after the one that is before it.
    #[error("the segment does not follow the one before it")]
    Order,
    /// The segment has another log's origin.
    #[error("the segment belongs to another log")]
    Origin,
    /// The segment ends before the group that the next one follows.
    #[error("the segment does not end where the next one begins")]
    Short,
    /// The tables of a packed segment.
    #[error("the tables of the packed segment are damaged")]
    Packed,
    /// A segment is missing.
    #[error("the segment that starts with entry {first} is missing")]
    Missing {
        /// Sequence of its first entry.
        first: u64,
    },
    /// An unfinished group where only finished ones can be.
    #[error("the last group is not finished")]
    Unfinished,
    /// The last group of a log that was not closed is damaged and has its trailer. [`verify`]
    /// reports it, and opening cuts it off.
    ///
    /// [`verify`]: super::verify
    #[error(
        "the last group ({} entries from {} on) is damaged and has its trailer: a power loss before \
         it was acknowledged, or damage after; the next start cuts it off and saves its bytes",
        .entries.end.saturating_sub(.entries.start), .entries.start
    )]
    Final {
        /// Sequences of its entries, as its trailer says.
        entries: Range<u64>,
    },
    /// An entry has the name of a tenant that its leaf does not stand for.
    #[error("the entry is said to be of tenant {name:?}, and its leaf stands for another")]
    Name {
        /// The name.
        name: String,
    },
    /// A tenant's pseudonym stands for two tenants.
    #[error("the pseudonym of tenant {first:?} stands for tenant {second:?} too")]
    Tenant {
        /// The name that came first.
        first: String,
        /// The other one.
        second: String,
    },
    /// The log is not the one of which somebody kept the tree head.
    #[error("the tree of size {} is not the expected one ({expected})", .expected.size)]
    Expected {
        /// What was expected.
        expected: TreeHead,
    },
}

/// What to do about damage: the end of each message about it.
const REMEDY: &str = "run `spanledger verify` to see all of it, then restore the file from a copy; without one, `spanledger repair`";

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another process: stop it, or give this one another directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// There is no ledger.
    #[error("there is no ledger in {}", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// What was acknowledged is damaged or missing. Nothing was changed.
    #[error("{} is damaged at byte {offset}, entry {sequence}: {damage}; {REMEDY}", segment.display())]
    Corrupt {
        /// The segment file.
        segment: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Sequence of the first entry that cannot be trusted.
        sequence: u64,
        /// What is wrong there.
        damage: Box<Damage>,
    },
    /// The ledger is not the one that was signed: it is older, or another.
    #[error(
        "a checkpoint of {signed} was signed, and the ledger in {} has {found}: {}. To go on would \
         sign a second history. Bring back the newest copy of the ledger; if it is lost, \
         `spanledger repair` goes on with this one as another log and keeps all for the auditor",
        dir.display(),
        if found.size < signed.size { "entries that were signed are missing" }
        else { "entries that were signed were changed" }
    )]
    Rollback {
        /// The folder of the ledger.
        dir: PathBuf,
        /// The tree that was signed.
        signed: Box<TreeHead>,
        /// The tree that is there; of that size when it is larger.
        found: Box<TreeHead>,
    },
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused to read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The segment file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What is stored is not what was written.
    #[error("{} is damaged at byte {offset}, entry {sequence}; {REMEDY}", segment.display())]
    Corrupt {
        /// The segment file.
        segment: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// The entry that was wanted.
        sequence: u64,
    },
}

/// Why a ledger was not closed properly. Everything that was acknowledged is durable anyway.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It had stopped before.
    #[error("the ledger had stopped after a storage failure ({reason})")]
    Poisoned {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The mark of a clean end could not be written: the next start looks for a torn group.
    #[error("no space for the mark of a clean end ({reason})")]
    DiskFull {
        /// What the operating system said.
        reason: Arc<str>,
    },
}

/// An error and its causes in one line, for places that keep no error.
pub(super) fn in_a_line(doing: &str, error: &dyn std::error::Error) -> Arc<str> {
    let mut line = format!("{doing}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.into()
}
