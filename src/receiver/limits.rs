//! Every bound of the receivers, with its name, unit, default and reason.

use std::time::Duration;

/// Records of a request for which an answer has receipts; with more it has none. 64 are 3.4 KB of a
/// header: many HTTP clients take 8 KiB of headers in all. Counted as `max_receipts`.
pub const MAX_RECEIPTS: usize = 64;

/// Bounds of the receivers. At each bound the request is answered as its field says, and the hit
/// is counted under the field's name (see [`LimitHit`](super::LimitHit)).
///
/// ```
/// use spanledger::receiver::Limits;
/// let limits = Limits { max_request_bytes: 1024 * 1024, ..Limits::default() };
/// assert!(limits.memory_bytes > limits.max_request_bytes);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of one request, as it is sent and once more after decompression. Default 64 MiB: the
    /// largest request seen from an agent framework is 4.6 MB, a collector's batch may be ten
    /// times that. Over it: 413, `RESOURCE_EXHAUSTED`, do not send again.
    pub max_request_bytes: usize,
    /// How many times its compressed size a request may grow. Default 200; transcripts that were
    /// repeated in many spans reach 10 to 60. Over it: 413.
    pub max_inflate_ratio: usize,
    /// Decompressed bytes below which the ratio does not count. Default 8 MiB, and generous on
    /// purpose: a prompt of one letter, repeated, must not take its neighbours' evidence with it.
    pub inflate_free_bytes: usize,
    /// Bytes of memory for all requests together: bodies, and an estimate of what they decode
    /// to. Default 192 MiB. Over it: 503, `UNAVAILABLE`, send again later. A request that alone
    /// would exceed it: 413.
    pub memory_bytes: usize,
    /// Of [`memory_bytes`](Limits::memory_bytes), the bytes for all requests of one credential
    /// together. Default 96 MiB, half of it: whoever sends much leaves room for others. Over it:
    /// 503, `UNAVAILABLE`, send again later. A request that is the only one of its credential may
    /// be larger.
    pub credential_memory_bytes: usize,
    /// Time for a request's body to arrive. Default 30 s, three times the SDKs' own deadline.
    /// Over it: 503, `UNAVAILABLE`, and the connection is closed.
    pub body_timeout: Duration,
    /// Decoded bytes up to which a request is decoded where it was received. Default 1 MiB, about
    /// 300 µs: more would delay the other requests of that thread.
    pub inline_bytes: usize,
    /// Requests that are decoded off the async threads at the same time; others wait for their
    /// turn, their bytes charged. Default: the number of processors.
    pub max_blocking_decodes: usize,
    /// What a refused sender is told to wait. Default 1 s.
    pub retry_after: Duration,
    /// Bytes of a refused request that are still read, so that an HTTP/1.1 sender sees the answer
    /// instead of a reset connection. Default 1 MiB.
    pub drain_bytes: usize,
    /// Connections of one listener at the same time. Default 1,024. Over it a new one takes the
    /// place of one that has been idle for [`idle_after`](Limits::idle_after), and else waits.
    pub max_connections: usize,
    /// Time without a request after which an HTTP/2 connection makes room for a new one, when all
    /// places are taken. Default 10 s: twice the time between two batches of an SDK. Counted in
    /// `spanledger_receiver_connections_evicted_total`.
    pub idle_after: Duration,
    /// Of those, connections from one address. Default 512, half of them: behind a proxy all clients
    /// have one. Over it new ones are closed.
    pub max_connections_per_address: usize,
    /// Time that a peer may leave what is written to it unread. Default 30 s. Then the connection
    /// is closed.
    pub write_timeout: Duration,
    /// Requests of one HTTP/2 connection at the same time. Default 64: each that nobody reads the
    /// answer of costs some KiB. Over it the client waits.
    pub max_concurrent_streams: u32,
    /// Requests of HTTP/2 under way at the same time, over all connections of one address. Default
    /// 4,096, what 64 connections may have at most: behind a proxy all clients have one address. Over
    /// it a stream is refused with `REFUSED_STREAM`, after which clients send it again.
    pub max_streams_per_address: usize,
    /// Bytes of a request's headers. Default 16 KiB. Over it: 431.
    pub max_header_bytes: u32,
    /// Streams that a peer opened and reset before they were answered. Default 20 (h2's own).
    /// Over it the connection is closed: this is how HTTP/2 rapid reset attacks look.
    pub max_reset_streams: usize,
    /// Time for the first byte of a connection and for the headers of each request. Default 30 s.
    /// An idle HTTP/1.1 connection is closed after it too, so it is longer than the 5 s between two
    /// batches of an SDK: a client that sends at the very moment of the close gets no answer.
    pub header_timeout: Duration,
    /// Time between HTTP/2 pings on a connection. Default 30 s.
    pub keepalive_interval: Duration,
    /// Time for the answer to such a ping; then the connection is closed. Default 20 s.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is closed after its requests. Default 1 h: long-lived gRPC
    /// connections never find a new collector behind a load balancer otherwise.
    pub connection_age: Duration,
    /// Time that requests in flight have at shutdown. Default 10 s. Then they are cut off.
    pub shutdown_timeout: Duration,
}

const MIB: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 * MIB,
            max_inflate_ratio: 200,
            inflate_free_bytes: 8 * MIB,
            memory_bytes: 192 * MIB,
            credential_memory_bytes: 96 * MIB,
            body_timeout: Duration::from_secs(30),
            inline_bytes: MIB,
            max_blocking_decodes: std::thread::available_parallelism().map_or(2, usize::from),
            retry_after: Duration::from_secs(1),
            drain_bytes: MIB,
            max_connections: 1024,
            idle_after: Duration::from_secs(10),
            max_connections_per_address: 512,
            write_timeout: Duration::from_secs(30),
            max_concurrent_streams: 64,
            max_streams_per_address: 4096,
            max_header_bytes: 16 * 1024,
            max_reset_streams: 20,
            header_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            connection_age: Duration::from_hours(1),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}
