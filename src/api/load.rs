//! What the API refuses for its load, as plain numbers that whoever exports metrics reads.

use super::shares::Full;
use crate::access::DeniedCounts;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! limits {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A limit of the API that was hit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Limit {
            $($(#[$doc])* $variant,)*
        }

        impl Limit {
            const ALL: [(Self, &str); [$($name),*].len()] = [$((Self::$variant, $name)),*];
        }
    };
}

limits! {
    /// Questions at once.
    Queries = "max_queries",
    /// Questions of one credential at once.
    QueriesOfCredential = "max_queries_of_a_credential",
    /// Bytes of evidence that is on its way.
    IncomingBytes = "max_incoming_bytes",
    /// Largest body that is evidence.
    EvidenceBytes = "max_evidence_bytes",
    /// Largest body of any other request.
    BodyBytes = "max_body_bytes",
    /// How long a body may take to arrive.
    BodyTime = "api_body_timeout",
    /// Values in a body of `AxonFlow`'s calls.
    Values = "axonflow_max_values",
    /// Largest body that is forwarded.
    ForwardedBytes = "axonflow_max_forwarded_bytes",
    /// Calls that wait for the upstream.
    UpstreamInFlight = "axonflow_upstream_in_flight",
    /// Answered calls on their way into the record.
    Recording = "axonflow_max_recording",
    /// Largest answer of the upstream.
    UpstreamAnswerBytes = "axonflow_upstream_max_answer_bytes",
    /// How long the upstream may take.
    UpstreamTime = "axonflow_upstream_timeout",
    /// Workflows that are remembered: the oldest was forgotten.
    KnownWorkflows = "axonflow_max_known_workflows",
    /// Bytes of answers on their way out.
    AnswersBytes = "max_answers_bytes",
    /// Bundles of evidence that are made and read at once.
    Bundles = "max_bundles",
    /// How long an answer may take to be read.
    ReadTime = "read_timeout",
}

/// Numbers since the start of the process.
#[derive(Debug, Default)]
pub struct Load {
    hits: [AtomicU64; Limit::ALL.len()],
    /// Questions that nobody may ask with that credential.
    pub denied: DeniedCounts,
}

impl Load {
    /// Limits of the API that were hit, by the name of the limit.
    pub fn hits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.hits.iter().map(|count| count.load(Ordering::Relaxed));
        Limit::ALL.iter().zip(counts).map(|((_, name), count)| (*name, count))
    }

    /// Answers for which there was no memory.
    pub fn answers_refused(&self) -> u64 {
        self.count(Limit::AnswersBytes)
    }

    /// Answers that were not read in time.
    pub fn answers_cut(&self) -> u64 {
        self.count(Limit::ReadTime)
    }

    /// Counts that a limit was hit.
    pub(super) fn hit(&self, limit: Limit) {
        if let Some(count) = self.hits.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn no_place(&self, full: Full) {
        self.hit(match full {
            Full::Own => Limit::QueriesOfCredential,
            Full::All => Limit::Queries,
        });
    }

    fn count(&self, limit: Limit) -> u64 {
        self.hits.get(limit as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
