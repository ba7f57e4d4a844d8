//! What a verification of the ledger says.

use super::error::Damage;
use super::types::TreeHead;
use std::io;
use std::path::PathBuf;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were checked.
    pub bytes: u64,
    /// Bytes that there are.
    pub total_bytes: u64,
    /// Entries that were checked.
    pub entries: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset}, entry {sequence}: {damage}", segment.display())]
pub struct Problem {
    /// The segment file.
    pub segment: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Sequence of the entry, or of the one that comes next.
    pub sequence: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// A last group that is not whole: opening the ledger for writing cuts it off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The segment file.
    pub segment: PathBuf,
    /// Where in it they start.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Whether it has its trailer. It is among the problems then: it may have been acknowledged.
    pub sealed: bool,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Size and root of the complete groups. Worth nothing when there are problems.
    pub head: TreeHead,
    /// Random number of the log.
    pub origin: [u8; 16],
    /// Segment files.
    pub segments: u64,
    /// Groups of entries.
    pub groups: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Tenants, by pseudonym.
    pub tenants: usize,
    /// Entries whose id an earlier entry has. That is legal beyond the window of duplicates.
    pub duplicates: u64,
    /// Entries that were not looked at for duplicates, because there are too many.
    pub not_compared: u64,
    /// Entries with the conflict mark.
    pub conflicts: u64,
    /// Entries whose body was taken out by retention.
    pub pruned: u64,
    /// Whether the log ends with the mark of a clean end.
    pub closed: bool,
    /// A group at the end that is not whole: being written by a running program, or torn by a
    /// crash. Unless it is sealed, nobody was told that it was stored.
    pub tail: Option<Tail>,
    /// What is wrong, in order; the first thousand.
    pub problems: Vec<Problem>,
    /// Problems that are not listed.
    pub more_problems: u64,
}

impl VerifyReport {
    /// Whether everything that counts is as it was written.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Why a verification could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no ledger.
    #[error("there is no ledger in {}", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused to read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
