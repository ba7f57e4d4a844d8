//! One request to the cluster and its reply, as bytes: what the exporter, setup and the store ask
//! of whatever speaks HTTP.

use bytes::Bytes;
use std::future::Future;
use std::time::Duration;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks whether something exists.
    Head,
    /// Creates or replaces.
    Put,
    /// Does.
    Post,
    /// Removes.
    Delete,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// One JSON document.
    Json,
    /// Lines of JSON, as `_bulk` takes them.
    NdJson,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Path from the root of the cluster, with its slash, percent-encoded where it must be:
    /// `/_bulk`.
    pub path: String,
    /// Parameters, not encoded yet.
    pub query: Vec<(&'static str, String)>,
    /// The body, if there is one.
    pub body: Option<Body>,
    /// How long the reply may take, from the first byte sent to the last one read.
    pub timeout: Duration,
}

/// The body of a request. Cheap to clone: a request that is sent again sends the same bytes.
#[derive(Debug, Clone)]
pub struct Body {
    /// The bytes, compressed already if `gzip`.
    pub bytes: Bytes,
    /// What they are.
    pub content_type: ContentType,
    /// Whether they are compressed.
    pub gzip: bool,
}

/// A reply, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; not necessarily JSON: proxies answer in HTML.
    pub body: Bytes,
    /// `Retry-After`, when it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing of the request can have reached the cluster: no connection came about.
    #[error("cannot connect to {host}")]
    NotSent {
        /// Scheme, host and port, without credentials.
        host: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request may or may not have been carried out.
    #[error("no reply from {host}")]
    NoReply {
        /// Scheme, host and port, without credentials.
        host: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SendError {
    /// Whether the request may have been carried out all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, SendError::NoReply { .. })
    }
}

/// What sends requests to a cluster. Cheap to clone; used from many tasks at once.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Sends a request and reads the whole reply. A reply of any status is a reply.
    ///
    /// # Errors
    /// [`SendError`], which says whether the request may have been carried out.
    fn send(&self, request: Request) -> impl Future<Output = Result<Reply, SendError>> + Send;
}
