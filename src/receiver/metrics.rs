//! What the receivers count: plain numbers that whoever exports metrics reads.

use super::budget::OverBudget;
use super::otlp::Signal;
use crate::access::DeniedCounts;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered, whatever the answer.
    pub requests: AtomicU64,
    /// Requests of which nothing was accepted.
    pub requests_refused: AtomicU64,
    /// Spans that are durable.
    pub spans_accepted: AtomicU64,
    /// Log records that are durable.
    pub logs_accepted: AtomicU64,
    /// Records that will never be accepted, in requests that otherwise were.
    pub records_refused: AtomicU64,
    /// Body bytes as they were sent.
    pub bytes_received: AtomicU64,
    /// The same after decompression.
    pub bytes_decoded: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections that were asked to leave, so that new ones have a place.
    pub connections_evicted: AtomicU64,
    hits: [AtomicU64; LimitHit::ALL.len()],
    /// Requests whose credential did not let them in.
    pub denied: DeniedCounts,
    handshakes_failed: [AtomicU64; HandshakeFailure::ALL.len()],
}

/// A bound that was hit. [`LimitHit::name`] is the name of its field in
/// [`Limits`](super::Limits), or of its constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    /// A request larger than `max_request_bytes`.
    RequestBytes,
    /// A request that grows more than `max_inflate_ratio` times.
    InflateRatio,
    /// No room left in `memory_bytes`.
    Memory,
    /// No room left in `credential_memory_bytes`.
    CredentialMemory,
    /// A body that did not arrive within `body_timeout`.
    BodyTimeout,
    /// A connection that said nothing within `header_timeout`.
    HeaderTimeout,
    /// All of `max_connections` in use.
    Connections,
    /// All of `max_connections_per_address` in use.
    ConnectionsPerAddress,
    /// A peer that left what was written to it unread for `write_timeout`.
    WriteTimeout,
    /// A connection older than `connection_age`.
    ConnectionAge,
    /// All of `max_streams_per_address` in use.
    StreamsPerAddress,
    /// Receipts asked for more than [`MAX_RECEIPTS`](super::MAX_RECEIPTS) records.
    Receipts,
}

impl LimitHit {
    /// All of them, in the order in which they are exported.
    pub const ALL: [Self; 12] = [
        Self::RequestBytes,
        Self::InflateRatio,
        Self::Memory,
        Self::CredentialMemory,
        Self::BodyTimeout,
        Self::HeaderTimeout,
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::WriteTimeout,
        Self::ConnectionAge,
        Self::StreamsPerAddress,
        Self::Receipts,
    ];

    /// The limit that such a request hit.
    pub(super) const fn of(error: OverBudget) -> Self {
        match error {
            OverBudget::Share => Self::CredentialMemory,
            OverBudget::Now | OverBudget::Never { .. } => Self::Memory,
        }
    }

    /// The name of the limit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestBytes => "max_request_bytes",
            Self::InflateRatio => "max_inflate_ratio",
            Self::Memory => "memory_bytes",
            Self::CredentialMemory => "credential_memory_bytes",
            Self::BodyTimeout => "body_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::Connections => "max_connections",
            Self::ConnectionsPerAddress => "max_connections_per_address",
            Self::WriteTimeout => "write_timeout",
            Self::ConnectionAge => "connection_age",
            Self::StreamsPerAddress => "max_streams_per_address",
            Self::Receipts => "max_receipts",
        }
    }
}

/// Why a TLS connection did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client speaks plain HTTP.
    Plaintext,
    /// No version, cipher or protocol in common.
    Incompatible,
    /// The client's certificate is missing, expired, revoked or signed by somebody else.
    ClientCertificate,
    /// The client refused: it does not trust the server's certificate, most of the time.
    ClientAlert,
    /// The client went away.
    Closed,
    /// It did not end within `header_timeout`.
    Timeout,
    /// The client sent what no client should.
    Broken,
}

impl HandshakeFailure {
    /// All of them, in the order in which they are exported.
    pub const ALL: [Self; 7] = [
        Self::Plaintext,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::ClientAlert,
        Self::Closed,
        Self::Timeout,
        Self::Broken,
    ];

    /// The word for it in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::ClientAlert => "client_alert",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

impl Metrics {
    /// How often a TLS connection did not come about for a reason.
    pub fn handshakes_failed(&self, reason: HandshakeFailure) -> u64 {
        let failed = self.handshakes_failed.get(reason as usize);
        failed.map_or(0, |failed| failed.load(Ordering::Relaxed))
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        if let Some(failed) = self.handshakes_failed.get(reason as usize) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a limit was hit.
    pub fn hits(&self, limit: LimitHit) -> u64 {
        self.hits.get(limit as usize).map_or(0, |hits| hits.load(Ordering::Relaxed))
    }

    pub(super) fn hit(&self, limit: LimitHit) {
        if let Some(hits) = self.hits.get(limit as usize) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn accepted(&self, signal: Signal, accepted: u64, refused: u64) {
        let counter = match signal {
            Signal::Traces => &self.spans_accepted,
            Signal::Logs => &self.logs_accepted,
        };
        counter.fetch_add(accepted, Ordering::Relaxed);
        self.records_refused.fetch_add(refused, Ordering::Relaxed);
    }
}

pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_under_its_own_name() {
        let metrics = Metrics::default();
        for (position, limit) in LimitHit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, position);
            metrics.hit(limit);
            assert_eq!(metrics.hits(limit), 1, "{}", limit.name());
        }
    }
    #[test]
    fn each_reason_of_a_failed_handshake_is_counted_under_its_own_name() {
        let metrics = Metrics::default();
        for (position, reason) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            metrics.handshake_failed(reason);
            assert_eq!(metrics.handshakes_failed(reason), 1, "{}", reason.name());
        }
    }
}
