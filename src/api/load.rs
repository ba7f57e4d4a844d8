//! What the API refuses for its load, as plain numbers that whoever exports metrics reads.

use super::shares::Full;
use crate::access::DeniedCounts;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers since the start of the process.
#[derive(Debug, Default)]
pub struct Load {
    busy: AtomicU64,
    caller_busy: AtomicU64,
    incoming_full: AtomicU64,
    upstream_full: AtomicU64,
    answers_refused: AtomicU64,
    answers_cut: AtomicU64,
    /// Questions that nobody may ask with that credential.
    pub denied: DeniedCounts,
}

impl Load {
    /// Limits of the API that were hit, by the name of the limit.
    pub fn hits(&self) -> [(&'static str, u64); 6] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("max_queries", of(&self.busy)),
            ("max_queries_of_a_credential", of(&self.caller_busy)),
            ("max_incoming_bytes", of(&self.incoming_full)),
            ("axonflow_upstream_in_flight", of(&self.upstream_full)),
            ("max_answers_bytes", of(&self.answers_refused)),
            ("read_timeout", of(&self.answers_cut)),
        ]
    }

    /// Answers for which there was no memory.
    pub fn answers_refused(&self) -> u64 {
        self.answers_refused.load(Ordering::Relaxed)
    }

    /// Answers that were not read in time.
    pub fn answers_cut(&self) -> u64 {
        self.answers_cut.load(Ordering::Relaxed)
    }

    pub(super) fn no_place(&self, full: Full) {
        let count = match full {
            Full::Own => &self.caller_busy,
            Full::All => &self.busy,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn no_room(&self) {
        self.incoming_full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn upstream_busy(&self) {
        self.upstream_full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer_refused(&self) {
        self.answers_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer_cut(&self) {
        self.answers_cut.fetch_add(1, Ordering::Relaxed);
    }
}
