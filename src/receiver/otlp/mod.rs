//! OTLP requests: from bytes to [`Sink`] calls, in protobuf or JSON.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Signal`], [`Format`], [`decode`], and [`measure`], which comes first |
//! | `wire.rs` | the protobuf wire format, field by field |
//! | `protobuf.rs`, `value.rs` | a walk over the two requests; attributes and values |
//! | `json.rs`, `json/` | the same for OTLP/JSON |
//! | `shape.rs` | how many elements a request has, before any of them is decoded |
//!
//! Neither walk builds a tree of the request. One record is decoded at a time, into the same
//! [`Span`](crate::span::Span) or [`LogRecord`](crate::span::LogRecord), and given to the sink.
//!
//! Source: opentelemetry-proto 1.11, `collector/{trace,logs}/v1`, and the OTLP specification for
//! JSON.

mod json;
mod protobuf;
mod shape;
mod value;
mod wire;

pub use shape::Shape;
pub(super) use wire::MAX_DEPTH;

use crate::span::Sink;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
}

/// How it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON: protobuf's JSON mapping with ids in hex.
    Json,
}

/// A request whose structure is broken; nothing of it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct DecodeError {
    /// Where in the decompressed request.
    pub offset: usize,
    /// What is there.
    pub what: &'static str,
}

/// Gives every record of a request to the sink, in the order in which they were sent.
///
/// # Errors
/// [`DecodeError`] when the structure is broken. The sink may have been given records before.
pub fn decode(
    signal: Signal,
    format: Format,
    request: &[u8],
    sink: &mut impl Sink,
) -> Result<(), DecodeError> {
    match format {
        Format::Protobuf => protobuf::decode(signal, request, sink),
        Format::Json => json::decode(signal, request, sink),
    }
}

/// Counts what a request holds, without decoding it. A broken request is counted up to where it
/// breaks: [`decode`] says what is wrong with it.
pub fn measure(signal: Signal, format: Format, request: &[u8]) -> Shape {
    match format {
        Format::Protobuf => shape::of_protobuf(signal, request),
        Format::Json => json::shape(signal, request),
    }
}
