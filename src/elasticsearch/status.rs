//! What the exporter does, as plain numbers that anybody may read at any time.

use super::outcome::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most types of errors that are counted by name; the others are counted as `other`. A metric
/// with as many labels as a cluster can make up would not be bounded.
pub const MAX_ERROR_TYPES: usize = 32;

/// Upper bounds of the buckets of bulk latency, in milliseconds; the last bucket has none.
pub const LATENCY_BUCKETS_MS: [u64; 12] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 30_000, 90_000];

/// What the exporter is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExporterState {
    /// It delivers, or has nothing to deliver.
    Running,
    /// It is held up by something that is tried again.
    HeldUp(Problem),
    /// Dead letters cannot be written, or there are too many.
    DeadLettersStuck,
}

impl ExporterState {
    /// Every state.
    pub const ALL: &'static [ExporterState] = &[
        Self::Running,
        Self::HeldUp(Problem::Busy),
        Self::HeldUp(Problem::Unavailable),
        Self::HeldUp(Problem::Blocked),
        Self::HeldUp(Problem::Refused),
        Self::HeldUp(Problem::SetupMissing),
        Self::HeldUp(Problem::Unauthorized),
        Self::HeldUp(Problem::OtherCluster),
        Self::DeadLettersStuck,
    ];

    /// The word for it in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::HeldUp(Problem::Busy) => "busy",
            Self::HeldUp(Problem::Unavailable) => "retrying",
            Self::HeldUp(Problem::Blocked) => "blocked",
            Self::HeldUp(Problem::Refused) => "refused",
            Self::HeldUp(Problem::SetupMissing) => "setup_missing",
            Self::HeldUp(Problem::Unauthorized) => "unauthorized",
            Self::HeldUp(Problem::OtherCluster) => "other_cluster",
            Self::DeadLettersStuck => "dead_letters_stuck",
        }
    }

    /// What somebody has to do; `None` when it is only a matter of time.
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Self::Running | Self::HeldUp(Problem::Busy | Problem::Unavailable) => None,
            Self::HeldUp(Problem::Blocked) => {
                Some("an index is read-only or closed: make room on the cluster, or lift the block")
            }
            Self::HeldUp(Problem::Refused) => {
                Some("something refuses bulk requests: check the address and proxies in between")
            }
            Self::HeldUp(Problem::SetupMissing) => {
                Some("the data stream or its template is missing: run setup elasticsearch")
            }
            Self::HeldUp(Problem::Unauthorized) => {
                Some("the key is not valid or may not create documents: check its privileges")
            }
            Self::HeldUp(Problem::OtherCluster) => Some(
                "correct the address; or stop and remove cursors/elasticsearch.cursor from the data \
                 folder to export everything to this cluster, or cursors/elasticsearch-cluster.id to \
                 export only what is new",
            ),
            Self::DeadLettersStuck => {
                Some("dead letters cannot be kept: check the disk, or replay what is there")
            }
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|state| *state == self).unwrap_or(0)
    }
}

/// Declares the counters with their meaning, once.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty;)*) => {
        /// Numbers of an exporter since the start of the program.
        #[derive(Debug, Default)]
        pub struct ExporterStatus {
            $(pub(super) $name: $kind,)*
            dead_by_type: Mutex<BTreeMap<String, u64>>,
            pub(super) latency: Histogram,
            /// How many parts of the exporter are in each state but the first.
            held_up: [AtomicUsize; ExporterState::ALL.len()],
            last_error: Mutex<Option<String>>,
        }

        impl ExporterStatus {
            $($(#[$doc])*
            pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed) as u64
            })*
        }
    };
}

counters! {
    /// Documents that a request of ours created.
    delivered: AtomicU64;
    /// Documents that were there already: sent again after a restart or a lost reply.
    already_there: AtomicU64;
    /// Of those, the ones that a lookup found.
    found_by_lookup: AtomicU64;
    /// Times that an entry was put back to be sent again.
    retried: AtomicU64;
    /// Dead letters written. See also [`ExporterStatus::dead_letters_by_type`].
    dead_lettered: AtomicU64;
    /// Bulk requests sent.
    requests: AtomicU64;
    /// Requests without a reply, or with one that says nothing of the entries.
    in_doubt: AtomicU64;
    /// Requests that were halved (400, 413).
    halved: AtomicU64;
    /// Requests to look up what may be there.
    lookups: AtomicU64;
    /// Entries sent again without a lookup because the key may not read: at most one duplicate
    /// each, when a rollover came between.
    unresolved: AtomicU64;
    /// Bytes of bulk bodies sent, as on the wire.
    bytes_sent: AtomicU64;
    /// Bytes of bulk bodies sent, before compression.
    bytes_before_compression: AtomicU64;
    /// Bulk requests in flight now.
    in_flight: AtomicUsize;
    /// How many may be in flight now.
    in_flight_limit: AtomicUsize;
    /// How large a request may become now, in bytes before compression.
    batch_bytes: AtomicUsize;
    /// Bytes of entries that are held in memory now, before compression.
    held_bytes: AtomicUsize;
}

/// How long something took, each time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    /// Times per bucket of [`LATENCY_BUCKETS_MS`], and those above the last; not cumulative.
    pub buckets: Vec<u64>,
    /// The time of all together.
    pub total: Duration,
}

/// Counts how long something takes.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    total_us: AtomicU64,
}

impl Histogram {
    pub(super) fn read(&self) -> Latency {
        Latency {
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            total: Duration::from_micros(self.total_us.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn note(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let at = LATENCY_BUCKETS_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.buckets.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl ExporterStatus {
    /// What it is doing; of several things that hold it up, the gravest.
    pub fn state(&self) -> ExporterState {
        let held = |at: &usize| {
            self.held_up.get(*at).is_some_and(|count| count.load(Ordering::Relaxed) > 0)
        };
        let at = (1..ExporterState::ALL.len()).rev().find(held).unwrap_or(0);
        ExporterState::ALL.get(at).copied().unwrap_or(ExporterState::Running)
    }

    /// What went wrong last, in words that quote no document; `None` while all goes well.
    pub fn last_error(&self) -> Option<String> {
        if self.state() == ExporterState::Running { None } else { locked(&self.last_error).clone() }
    }

    /// Dead letters written, by type of error; at most [`MAX_ERROR_TYPES`] and `other`.
    pub fn dead_letters_by_type(&self) -> BTreeMap<String, u64> {
        locked(&self.dead_by_type).clone()
    }

    /// How long bulk requests took until their reply.
    pub fn latency(&self) -> Latency {
        self.latency.read()
    }

    pub(super) fn note_dead_letter(&self, error_type: &str) {
        add(&self.dead_lettered, 1);
        count_type(&mut locked(&self.dead_by_type), error_type);
    }

    /// Moves a part of the exporter from one state to another.
    pub(super) fn change(&self, from: ExporterState, to: ExporterState, error: Option<&str>) {
        if let Some(error) = error {
            *locked(&self.last_error) = Some(error.to_owned());
        }
        if from == to {
            return;
        }
        if let Some(count) = self.held_up.get(to.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if from != ExporterState::Running
            && let Some(count) = self.held_up.get(from.index())
        {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts a type of error, under `other` when there are many already.
pub(super) fn count_type(counts: &mut BTreeMap<String, u64>, error_type: &str) {
    let known = counts.contains_key(error_type) || counts.len() < MAX_ERROR_TYPES;
    let label = if known { error_type } else { "other" };
    let count = counts.entry(label.to_owned()).or_default();
    *count = count.saturating_add(1);
}

pub(super) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a whole value: each is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_of_what_holds_it_up_is_shown_until_it_is_over() {
        let status = ExporterStatus::default();
        let (busy, key) =
            (ExporterState::HeldUp(Problem::Busy), ExporterState::HeldUp(Problem::Unauthorized));
        let running = ExporterState::Running;
        assert_eq!((status.state(), status.last_error()), (running, None));
        status.change(running, busy, Some("429"));
        status.change(running, key, Some("403"));
        assert_eq!(status.state(), key);
        status.change(key, running, None);
        assert_eq!(status.state(), busy);
        assert_eq!(status.last_error().as_deref(), Some("403"));
        status.change(busy, running, None);
        assert_eq!((status.state(), status.last_error()), (running, None));
    }

    #[test]
    fn labels_are_bounded_and_every_dead_letter_is_counted() {
        let status = ExporterStatus::default();
        for n in 0..100 {
            status.note_dead_letter(&format!("type_{n}"));
        }
        let by_type = status.dead_letters_by_type();
        assert_eq!(by_type.len(), MAX_ERROR_TYPES + 1);
        assert_eq!(by_type.values().sum::<u64>(), 100);
        assert_eq!(status.dead_lettered(), 100);
    }

    #[test]
    fn every_latency_falls_into_one_bucket() {
        let status = ExporterStatus::default();
        for ms in [0, 5, 6, 90_000, 90_001, 10_000_000] {
            status.latency.note(Duration::from_millis(ms));
        }
        let latency = status.latency();
        assert_eq!(latency.buckets.iter().sum::<u64>(), 6);
        assert_eq!((latency.buckets[0], latency.buckets[1], latency.buckets[12]), (2, 1, 2));
    }
}
