//! Runs as `LangSmith`'s own clients upload them: from multipart or JSON to [`Sink`] calls.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Runs`], [`decode`], [`measure`], and what `GET /info` answers |
//! | `multipart.rs` | the parts of a form |
//! | `parts.rs` | parts and JSON put together to one object a run |
//! | `run.rs` | a run as a span, a later part of it or feedback as a log record |
//!
//! A run is posted when it starts and patched when it ends: two records with one run id, both kept.
//! A client that sends both together posts it once, with its end. What members mean is said in
//! `config/mappings/langsmith_runs.yaml`.
//!
//! Source: `LangSmith` API, "Ingest Runs (Multipart)" and "Ingest Runs (Batch JSON)".

mod multipart;
mod parts;
mod run;

pub(super) use multipart::boundary;

use super::Limits;
use super::otlp::{DecodeError, Shape};
use crate::span::{Refusal, Resource, Scope, Sink};
use bytes::Bytes;

/// Runs that a client is told to send in one request at most: what `LangSmith` itself says.
const MAX_RUNS: usize = 100;

/// Bytes that a client is told to send in one request at most, when the limit of requests allows
/// it: what `LangSmith` itself says.
const MAX_BYTES: usize = 20 * 1024 * 1024;

/// How runs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// `POST /runs/multipart`: a form with this boundary.
    Multipart(String),
    /// `POST /runs/batch`: an object with the lists `post` and `patch`.
    Batch,
    /// `POST /runs`: one run, or several, one a line.
    Post,
    /// `PATCH /runs/ID`: what is new of the run with this id.
    Patch(String),
}

/// Gives every record of a request to the sink, in the order in which they were sent.
///
/// # Errors
/// [`DecodeError`] when it is no form or no JSON. The sink may have been given records before.
pub fn decode(runs: &Runs, request: &[u8], sink: &mut impl Sink) -> Result<(), DecodeError> {
    sink.resource(&Resource::default());
    sink.scope(&Scope { name: "langsmith".into(), ..Scope::default() });
    for sent in parts::sent(runs, request)? {
        if sent.is_object() {
            run::record(&sent, sink)?;
        } else {
            sink.refuse(Refusal::NotAnObject);
        }
    }
    Ok(())
}

/// Counts what a request holds, without decoding it.
pub fn measure(runs: &Runs, request: &[u8]) -> Shape {
    let mut shape = Shape::default();
    // What cannot be told apart is refused, by `decode`, with its reason.
    for sent in parts::sent(runs, request).unwrap_or_default() {
        shape.add(sent.bytes(), sent.elements());
    }
    shape
}

/// What a client asks before it sends: that it may send forms, how large, and compressed.
pub(super) fn info(limits: &Limits) -> Bytes {
    // Half of a request's limit: a client counts a run before it is encoded.
    let bytes = MAX_BYTES.min(limits.max_request_bytes / 2);
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "instance_flags": { "zstd_compression_enabled": true },
        "batch_ingest_config": {
            "use_multipart_endpoint": true,
            "size_limit": MAX_RUNS,
            "size_limit_bytes": bytes,
            "scale_up_qsize_trigger": 1_000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
        },
    })
    .to_string()
    .into()
}
