//! Where requests go, as the sender sees it.

use super::receipt::Receipt;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// An encoded `opentelemetry.proto.trace.v1.Span`.
    Spans,
    /// An encoded `opentelemetry.proto.logs.v1.LogRecord`.
    Logs,
}

impl Signal {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Spans => Self::Logs,
            Self::Logs => Self::Spans,
        }
    }
}

/// The answer that a destination's future gives.
pub(crate) type Sending<'a> =
    Pin<Box<dyn Future<Output = Result<Delivered, SendError>> + Send + 'a>>;

/// Where requests go: OTLP over gRPC, an embedded ledger, a test.
///
/// Its futures are polled on the sender's thread, in a tokio runtime of one thread with IO and
/// time, where no subscriber listens.
pub(crate) trait Destination: Send + Sync + 'static {
    /// Delivers one request and returns when the receiver has made it durable.
    ///
    /// `request` is an encoded `ExportTraceServiceRequest` or `ExportLogsServiceRequest`. With
    /// `receipts` the answer holds one for each record, in order, if the receiver gives any.
    fn send(&self, signal: Signal, request: Bytes, receipts: bool) -> Sending<'_>;
}

/// A request that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// Records of the request that the receiver will never take (OTLP's partial success).
    pub(crate) refused: u64,
    /// What the receiver said about it.
    pub(crate) why: Option<String>,
    /// One for each record of the request in order, or none.
    pub(crate) receipts: Vec<Receipt>,
}

/// Why a request was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendError {
    /// Sending the same again may help: no connection, no room, a credential to be renewed.
    Later {
        /// The least time that the receiver asks to wait.
        after: Option<Duration>,
        /// For people.
        reason: String,
    },
    /// The receiver will never take this request, or one record of it.
    Never {
        /// For people.
        reason: String,
    },
    /// The receiver, or something on the way, broke over this request: because of it, or because
    /// it breaks over everything. Sent again, and as `Never` once another request goes well.
    Broken {
        /// For people.
        reason: String,
    },
    /// Nobody takes this signal there: a Collector with a pipeline for traces alone answers so to log
    /// records. Sent again, and given up when it goes on while the other signal is taken.
    Unserved {
        /// For people.
        reason: String,
    },
    /// Larger than the receiver takes: to be sent in smaller requests.
    TooLarge {
        /// For people.
        reason: String,
    },
}
