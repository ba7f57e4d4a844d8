//! The one way in: a placeholder with the signatures that receivers call.
//!
//! It counts records and keeps nothing. The real module converts, protects, encodes and appends.

use crate::access::Tenant;
use crate::span::{Record, Refusal, Resource, Scope, Sink};
use std::net::IpAddr;
use std::time::Duration;

/// Where every record goes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Intake {}

/// The records of one request, on their way.
#[derive(Debug, Default)]
pub struct Draft {
    records: u64,
    refused: u64,
    why: Option<Refusal>,
}

/// What was made durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that are in the ledger now.
    pub accepted: u64,
    /// Records that will never be accepted.
    pub refused: u64,
    /// Why the first of them was refused.
    pub why: Option<Refusal>,
    /// Sequence of the first entry.
    pub first_sequence: Option<u64>,
    /// Leaf hashes, in order.
    pub leaf_hashes: Vec<[u8; 32]>,
}

/// Why nothing of a request was made durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// For now: the same request may be sent again.
    #[error("{reason}")]
    Unavailable {
        /// How long to wait before the next attempt.
        retry_after: Duration,
        /// What is wrong, for the sender.
        reason: String,
    },
    /// For ever: the request does not fit.
    #[error("request holds {bytes} bytes of entries, the limit is {limit}: send smaller requests")]
    TooLarge {
        /// Bytes of the entries.
        bytes: usize,
        /// Bytes that fit.
        limit: usize,
    },
}

/// A request of which nothing was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Where it came in, such as `/v1/traces`.
    pub endpoint: &'static str,
    /// The HTTP status of the answer, also for gRPC.
    pub status: u16,
    /// Why.
    pub reason: String,
    /// Bytes received.
    pub bytes: u64,
    /// SHA-256 of the bytes as received, when they were read to the end.
    pub hash: Option<[u8; 32]>,
    /// Records that had been decoded.
    pub records: u64,
    /// The sender.
    pub peer: Option<IpAddr>,
}

impl Intake {
    /// A draft for one request.
    pub fn draft(&self, _tenant: &Tenant) -> Draft {
        Draft::default()
    }

    /// Makes the draft durable.
    ///
    /// # Errors
    /// [`IntakeError`] when nothing of it was.
    #[expect(clippy::unused_async, reason = "the real one waits for the ledger")]
    pub async fn commit(&self, draft: Draft) -> Result<Accepted, IntakeError> {
        Ok(Accepted {
            accepted: draft.records,
            refused: draft.refused,
            why: draft.why,
            ..Accepted::default()
        })
    }

    /// Records that a request was refused. Never blocks.
    pub fn reject(&self, _tenant: Option<&Tenant>, _refused: RefusedRequest) {}
}

impl Draft {
    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        0
    }
}

impl Sink for Draft {
    fn resource(&mut self, _resource: &Resource<'_>) {}
    fn scope(&mut self, _scope: &Scope<'_>) {}
    fn record(&mut self, _record: Record<'_, '_>) {
        self.records = self.records.saturating_add(1);
    }
    fn refuse(&mut self, why: Refusal) {
        self.refused = self.refused.saturating_add(1);
        self.why.get_or_insert(why);
    }
}
