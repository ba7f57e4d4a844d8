//! What the correlator does, as plain numbers that anybody may read at any time.

use crate::elasticsearch::status::{Histogram, Latency};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Numbers of a correlator since the start of the program.
#[derive(Debug, Default)]
pub struct LateStatus {
    pub(super) updated: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) ids_cut: AtomicU64,
    pub(super) unwritable: AtomicU64,
    pub(super) groups_truncated: AtomicU64,
    pub(super) rounds: AtomicU64,
    pub(super) reduced: AtomicBool,
    pub(super) convergence: Histogram,
}

impl LateStatus {
    /// Documents that were given ids.
    pub fn updated(&self) -> u64 {
        self.updated.load(Ordering::Relaxed)
    }

    /// Documents that somebody else changed meanwhile; they were read and written again.
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// Link documents that were created.
    pub fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Ids that documents were not given because of [`MAX_LATE_IDS`](super::MAX_LATE_IDS).
    pub fn ids_cut(&self) -> u64 {
        self.ids_cut.load(Ordering::Relaxed)
    }

    /// Documents that cannot be changed where they lie, so that a link was made.
    pub fn unwritable(&self) -> u64 {
        self.unwritable.load(Ordering::Relaxed)
    }

    /// Groups of which only a part was looked at, because of a bound.
    pub fn groups_truncated(&self) -> u64 {
        self.groups_truncated.load(Ordering::Relaxed)
    }

    /// Times that the cluster was looked at.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Whether the key may not read and change documents, so that there are links only.
    pub fn is_reduced(&self) -> bool {
        self.reduced.load(Ordering::Relaxed)
    }

    /// From the receipt of an entry that joined a group until the cluster had acknowledged the
    /// documents that it gave ids to.
    pub fn convergence(&self) -> Latency {
        self.convergence.read()
    }
}
