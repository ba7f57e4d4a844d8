//! What writes: OTLP over gRPC and HTTP, decision logs of governance engines, runs of `LangSmith`, the
//! calls of AxonFlow's API.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Receiver`], which makes the two services |
//! | `server.rs` | [`Server`]: one hardened accept loop for every port |
//! | `connections.rs` | who is connected, and who makes room when all places are taken |
//! | `handshake.rs`, `opened.rs` | a new connection: TLS, then HTTP/1.1 or HTTP/2 |
//! | `http.rs`, `grpc.rs` | the two transports: headers, framing, answers |
//! | `routes.rs` | which path of the HTTP port takes what |
//! | `content.rs` | what a request holds, and the decoder for it |
//! | `request.rs` | the shape of a request, the same for all |
//! | `inside.rs` | [`Receiver::take`]: requests of this very process |
//! | `kept.rs` | [`kept`]: requests that were kept in a file |
//! | `receipt.rs` | receipts for the records of a request, when a client asks |
//! | `body.rs`, `inflate.rs` | bytes as they arrive, and decompression |
//! | `budget.rs` | memory for all requests together |
//! | `refused.rs` | why a request was refused, as an HTTP status and a gRPC code |
//! | `limits.rs`, `metrics.rs` | every bound with its reason; what is counted |
//! | `fuzzing.rs` | what `fuzz/` reaches of the private decoders |
//! | `json.rs` | JSON, token by token |
//! | `otlp/` | protobuf and JSON to [`Sink`](crate::span::Sink) calls |
//! | `decision_logs/` | the same for OPA, Cerbos, Cordum and flat audit lines |
//! | `langsmith/` | the same for `LangSmith`'s native runs |
//! | `axonflow/` | what AxonFlow's clients report and ask; the engine that decides |
//!
//! A success is sent after [`Intake::commit`](crate::intake::Intake::commit) returned, which is
//! after the fsync that covers every record of the request. A refusal says by its status whether
//! the request may be sent again, and leaves a rejection entry.

pub mod axonflow;
mod body;
mod budget;
mod connections;
mod content;
pub mod decision_logs;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod grpc;
mod handshake;
mod http;
mod inflate;
mod inside;
mod json;
mod kept;
pub mod langsmith;
mod limits;
mod metrics;
mod opened;
pub mod otlp;
mod receipt;
mod refused;
mod request;
mod routes;
mod server;

pub use budget::{Budget, OverBudget, Permit};
pub use inside::NotTaken;
pub use kept::{Kept, NotKept, kept};
pub use limits::{Limits, MAX_RECEIPTS};
pub use metrics::{HandshakeFailure, LimitHit, Metrics};
pub use server::{Peer, Server};

use crate::access::Credentials;
use crate::intake::Intake;
use bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Makes the services that take requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    intake: Intake,
    limits: Limits,
    budget: Budget,
    credentials: Option<Credentials>,
    metrics: Arc<Metrics>,
    blocking: Arc<Semaphore>,
}

impl Receiver {
    /// Receivers that give what they decode to `intake`, from whoever reaches them.
    pub fn new(intake: Intake, limits: Limits) -> Self {
        Self::with(intake, limits, None)
    }

    /// Receivers that take requests from those only whom these credentials let in.
    pub fn guarded(intake: Intake, limits: Limits, credentials: Credentials) -> Self {
        Self::with(intake, limits, Some(credentials))
    }

    fn with(intake: Intake, limits: Limits, credentials: Option<Credentials>) -> Self {
        let shared = Shared {
            intake,
            budget: Budget::new(limits.memory_bytes, limits.credential_memory_bytes),
            credentials,
            metrics: Arc::default(),
            blocking: Arc::new(Semaphore::new(limits.max_blocking_decodes.max(1))),
            limits,
        };
        Self { shared: Arc::new(shared) }
    }

    /// OTLP over HTTP, decision logs and runs, for port 4318.
    pub fn http(
        &self,
    ) -> impl tower::Service<
        ::http::Request<hyper::body::Incoming>,
        Response = ::http::Response<http_body_util::Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + use<> {
        let shared = Arc::clone(&self.shared);
        tower::service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok(http::answer(&shared, request).await) }
        })
    }

    /// OTLP over gRPC, for port 4317: `TraceService/Export` and `LogsService/Export`.
    pub fn grpc(
        &self,
    ) -> impl tower::Service<
        ::http::Request<hyper::body::Incoming>,
        Response = ::http::Response<grpc::Reply>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + use<> {
        let shared = Arc::clone(&self.shared);
        tower::service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok(grpc::answer(&shared, request).await) }
        })
    }

    /// What was counted since the start.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The memory that requests share.
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// The bounds, as given.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }
}
