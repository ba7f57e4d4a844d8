//! Searches: what is asked of the data streams, and what the cluster answers.
//!
//! ```text
//! Filter ─► SearchRequest ─► POST /spanledger-*/_search  or  /_search with a point in time ─► Found
//! ```
//!
//! A request is built from this module's types alone. An answer that lacks a shard is an error:
//! half an answer would be read as "not there".

pub use super::filter::{Filter, MAX_TERMS, Piece, known_field};

use super::flavor::Product;
use super::reason::safe_type;
use super::transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// The data streams of every retention class.
pub const STREAMS: &str = "spanledger-*";

/// Most hits of one reply: `index.max_result_window`.
pub const MAX_HITS: usize = 10_000;

/// Time beside a request's own for the way to the cluster and back.
const WAY: Duration = Duration::from_secs(2);

/// Where is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In the data streams of entries as they are now.
    Streams,
    /// In one other data stream as it is now.
    Stream(&'static str),
    /// In the data streams as they were when the point in time was opened. It lives for that long
    /// from now on.
    PointInTime {
        /// Its id; a reply may say another, which counts from then on.
        id: String,
        /// How long it stays.
        keep_alive: Duration,
    },
}

/// What comes back of each document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// All of it, byte for byte.
    All,
    /// These fields, written anew.
    Fields(Vec<&'static str>),
    /// Nothing.
    None,
}

/// A field that hits are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// Its name.
    pub field: &'static str,
    /// How it is indexed, for an index that does not have it.
    pub kind: &'static str,
    /// Whether the largest value comes first.
    pub descending: bool,
}

/// A search.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// Where.
    pub scope: Scope,
    /// What for.
    pub filter: Filter,
    /// In which order; empty for any.
    pub sort: Vec<Sort>,
    /// The values of `sort` of the last hit before.
    pub search_after: Option<Vec<Value>>,
    /// Most hits, at most [`MAX_HITS`].
    pub size: usize,
    /// What comes back of each document.
    pub source: Source,
    /// Whether `seq_no` and `primary_term` come back, for an update of what was read.
    pub versions: bool,
    /// How long the cluster may search.
    pub timeout: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The documents, in the order that was asked for.
    pub docs: Vec<FoundDoc>,
    /// The point in time's id from now on.
    pub pit_id: Option<String>,
    /// Whether the cluster stopped before it had searched everything.
    pub timed_out: bool,
    /// Shards that were searched; none when there is no data stream.
    pub shards: u64,
}

/// A document that was found.
#[derive(Debug, Clone, Deserialize)]
pub struct FoundDoc {
    /// Backing index.
    #[serde(rename = "_index")]
    pub index: String,
    /// Its id there.
    #[serde(rename = "_id")]
    pub id: String,
    /// Number of its last change, when asked for.
    #[serde(rename = "_seq_no", default)]
    pub seq_no: Option<u64>,
    /// Term of that number, when asked for.
    #[serde(rename = "_primary_term", default)]
    pub primary_term: Option<u64>,
    /// The document, byte for byte, when asked for.
    #[serde(rename = "_source", default)]
    pub source: Option<Box<RawValue>>,
    /// Its values of the fields that hits are ordered by.
    #[serde(default)]
    pub sort: Vec<Value>,
}

/// Why there is no answer. Nothing in it quotes a question or a document.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// There is no reply.
    #[error("the cluster does not reply; check that it runs and can be reached")]
    Send(#[from] SendError),
    /// The cluster does not know the credentials.
    #[error("the cluster does not accept the credentials (401); renew them in the configuration")]
    Unauthorized,
    /// The credentials may not search.
    #[error(
        "the credentials may not search (403); they need the privilege `read` on {STREAMS}, which the role spanledger-auditor has"
    )]
    Forbidden,
    /// It has too much to do.
    #[error("the cluster is busy (429); ask again in a moment")]
    Busy,
    /// The point in time is over.
    #[error("the point in time is over; open another")]
    PointInTimeGone,
    /// It does not take the request.
    #[error("the cluster refuses the search ({status}, {kind}); check its version and settings")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Type of the error.
        kind: String,
    },
    /// It failed, or a part of it did.
    #[error("the cluster cannot search now ({status}, {kind}); look at its health")]
    Failed {
        /// HTTP status.
        status: u16,
        /// Type of the error.
        kind: String,
    },
    /// What replies is no search.
    #[error("the reply cannot be read; check that the address is the cluster's")]
    Unreadable,
}

/// Searches.
///
/// # Errors
/// [`SearchError`]. A data stream that is not there is an empty answer.
pub async fn search<T: Transport>(
    transport: &T,
    request: &SearchRequest,
) -> Result<Found, SearchError> {
    let reply = transport.send(request.to_http()).await?;
    if is_nothing_there(&reply) {
        return Ok(Found::default());
    }
    let body = checked(&reply)?;
    let reply: SearchReply = serde_json::from_slice(body).map_err(|_| SearchError::Unreadable)?;
    if reply.shards.failed > 0 {
        let kind = "failed_shards".to_owned();
        return Err(SearchError::Failed { status: 200, kind });
    }
    Ok(Found {
        docs: reply.hits.hits,
        pit_id: reply.pit_id,
        timed_out: reply.timed_out,
        shards: reply.shards.total,
    })
}

/// Opens a point in time over the data streams; `None` when there is none yet.
///
/// # Errors
/// [`SearchError`].
pub async fn open_pit<T: Transport>(
    transport: &T,
    product: Product,
    keep_alive: Duration,
) -> Result<Option<String>, SearchError> {
    let path = match product {
        Product::Elasticsearch => format!("/{STREAMS}/_pit"),
        Product::OpenSearch => format!("/{STREAMS}/_search/point_in_time"),
    };
    let query = vec![("keep_alive", milliseconds(keep_alive))];
    let reply = transport.send(request(Method::Post, path, query, None, keep_alive)).await?;
    if is_nothing_there(&reply) {
        return Ok(None);
    }
    match checked(&reply) {
        Ok(body) => {
            let opened: Opened =
                serde_json::from_slice(body).map_err(|_| SearchError::Unreadable)?;
            Ok(Some(opened.id))
        }
        // OpenSearch says this where no data stream is there.
        Err(SearchError::Refused { status: 400, kind })
            if product == Product::OpenSearch && kind == "illegal_argument_exception" =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Closes a point in time. One that is over already is closed.
///
/// # Errors
/// [`SearchError`]; it is over by itself then, later.
pub async fn close_pit<T: Transport>(
    transport: &T,
    product: Product,
    id: &str,
) -> Result<(), SearchError> {
    let (path, body) = match product {
        Product::Elasticsearch => ("/_pit", json!({ "id": id })),
        Product::OpenSearch => ("/_search/point_in_time", json!({ "pit_id": [id] })),
    };
    let reply = transport
        .send(request(Method::Delete, path.to_owned(), Vec::new(), Some(&body), WAY))
        .await?;
    if reply.status == 404 { Ok(()) } else { checked(&reply).map(|_| ()) }
}

impl SearchRequest {
    fn to_http(&self) -> Request {
        let mut query = vec![("allow_partial_search_results", "false".to_owned())];
        if self.source != Source::All {
            // A reply that is filtered is written anew: with it numbers of documents would change.
            query.push(("filter_path", FILTER_PATH.to_owned()));
        }
        let path = match self.scope {
            Scope::Streams | Scope::Stream(_) => {
                // A stream that is deleted while it is searched is not there.
                query.push(("ignore_unavailable", "true".to_owned()));
                let stream = if let Scope::Stream(name) = self.scope { name } else { STREAMS };
                format!("/{stream}/_search")
            }
            Scope::PointInTime { .. } => "/_search".to_owned(),
        };
        let timeout = self.timeout.saturating_add(WAY);
        request(Method::Post, path, query, Some(&self.body()), timeout)
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("size", self.size.min(MAX_HITS).into());
        put("query", json!({ "bool": { "filter": [self.filter.to_json()] } }));
        put("track_total_hits", false.into());
        put("timeout", milliseconds(self.timeout).into());
        put(
            "_source",
            match &self.source {
                Source::All => true.into(),
                Source::None => false.into(),
                Source::Fields(fields) => json!(fields),
            },
        );
        if self.versions {
            put("seq_no_primary_term", true.into());
        }
        if !self.sort.is_empty() {
            put("sort", self.sort.iter().copied().map(Sort::to_json).collect());
        }
        if let Some(values) = &self.search_after {
            // Elasticsearch adds a value of its own to those of a point in time. Without it the
            // search goes on after every document of these values, which are one entry's.
            put("search_after", values.iter().take(self.sort.len()).cloned().collect());
        }
        if let Scope::PointInTime { id, keep_alive } = &self.scope {
            put("pit", json!({ "id": id, "keep_alive": milliseconds(*keep_alive) }));
        }
        Value::Object(body)
    }
}

impl Sort {
    fn to_json(self) -> Value {
        let order = if self.descending { "desc" } else { "asc" };
        let how = json!({ "order": order, "unmapped_type": self.kind });
        Value::Object([(self.field.to_owned(), how)].into_iter().collect())
    }
}

const FILTER_PATH: &str = "pit_id,timed_out,_shards.total,_shards.failed,hits.hits._index,\
    hits.hits._id,hits.hits._seq_no,hits.hits._primary_term,hits.hits._source,hits.hits.sort";

#[derive(Deserialize)]
struct SearchReply {
    #[serde(default)]
    pit_id: Option<String>,
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(default)]
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    failed: u64,
}

#[derive(Deserialize, Default)]
struct Hits {
    #[serde(default)]
    hits: Vec<FoundDoc>,
}

#[derive(Deserialize)]
struct Opened {
    #[serde(alias = "pit_id")]
    id: String,
}

#[derive(Deserialize)]
struct ErrorReply<'a> {
    #[serde(borrow)]
    error: ErrorKind<'a>,
}

#[derive(Deserialize)]
struct ErrorKind<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    root_cause: Vec<RootCause<'a>>,
}

#[derive(Deserialize)]
struct RootCause<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
}

/// The type of what lies deepest, which says most.
fn kind(body: &[u8]) -> String {
    let Ok(reply) = serde_json::from_slice::<ErrorReply<'_>>(body) else {
        return "unknown".to_owned();
    };
    let root = reply.error.root_cause.first().map(|cause| safe_type(&cause.kind));
    root.unwrap_or_else(|| safe_type(&reply.error.kind)).to_owned()
}

fn is_nothing_there(reply: &Reply) -> bool {
    reply.status == 404 && kind(&reply.body) == "index_not_found_exception"
}

/// The body of a reply that says yes.
fn checked(reply: &Reply) -> Result<&[u8], SearchError> {
    let status = reply.status;
    match status {
        200 => Ok(&reply.body),
        401 => Err(SearchError::Unauthorized),
        403 => Err(SearchError::Forbidden),
        429 => Err(SearchError::Busy),
        _ => Err(match kind(&reply.body) {
            kind if kind == "search_context_missing_exception" => SearchError::PointInTimeGone,
            kind if (400..500).contains(&status) => SearchError::Refused { status, kind },
            kind => SearchError::Failed { status, kind },
        }),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis().max(1))
}

fn request(
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<&Value>,
    timeout: Duration,
) -> Request {
    let body = body.map(|body| Body {
        bytes: body.to_string().into(),
        content_type: ContentType::Json,
        gzip: false,
    });
    Request { method, path, query, body, timeout }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
