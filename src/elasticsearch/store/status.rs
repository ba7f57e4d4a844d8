//! What the store does, as plain numbers that anybody may read at any time.

use super::super::search::SearchError;
use super::super::status::{Histogram, Latency};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why requests failed, as a label of a metric.
pub const FAILURES: [&str; 6] =
    ["unreachable", "unauthorized", "busy", "refused", "failed", "point_in_time"];

/// Numbers of a store since the start of the program.
#[derive(Debug, Default)]
pub struct StoreStatus {
    failures: [AtomicU64; FAILURES.len()],
    pub(super) evicted: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) latency: Histogram,
}

impl StoreStatus {
    /// Requests without an answer, by reason.
    pub fn failures(&self) -> [(&'static str, u64); FAILURES.len()] {
        let mut counts = FAILURES.map(|name| (name, 0));
        for ((_, count), own) in counts.iter_mut().zip(&self.failures) {
            *count = own.load(Ordering::Relaxed);
        }
        counts
    }

    /// Points in time that were closed for others, because as many as may be were open.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Documents in the data streams that are no entries of this version.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// How long requests took until their reply.
    pub fn latency(&self) -> Latency {
        self.latency.read()
    }

    pub(super) fn note_failure(&self, error: &SearchError) {
        let name = match error {
            SearchError::Send(_) | SearchError::Unreadable => "unreachable",
            SearchError::Unauthorized | SearchError::Forbidden => "unauthorized",
            SearchError::Busy => "busy",
            SearchError::Refused { .. } => "refused",
            SearchError::Failed { .. } => "failed",
            SearchError::PointInTimeGone => "point_in_time",
        };
        for (own, count) in FAILURES.iter().zip(&self.failures) {
            if *own == name {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_counted_under_its_reason() {
        let status = StoreStatus::default();
        status.note_failure(&SearchError::Busy);
        status.note_failure(&SearchError::Forbidden);
        status.note_failure(&SearchError::Unauthorized);
        let counted: Vec<_> = status.failures().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("unauthorized", 2), ("busy", 1)]);
    }
}
