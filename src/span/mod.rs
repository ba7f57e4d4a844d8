//! The neutral record: what every source makes of what it received, before anybody interprets it.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Span`], [`LogRecord`], what stands around them ([`Resource`], [`Scope`]) and the [`Sink`] that takes them |
//! | `value.rs` | [`Text`], [`Value`], [`Attribute`]: text that may have been repaired, values of any depth |
//! | `canonical.rs` | one byte string for each record, the same for each transport: what an entry's id is made of |
//!
//! Records borrow from the request where they can. A decoder reuses one record for the whole
//! request and hands it to the [`Sink`] by reference, so the memory of a request is its bytes and
//! what the sink keeps, never a tree of a million empty spans.

mod canonical;
mod value;

pub use canonical::{canonical_record, canonical_resource, canonical_scope};
pub use value::{Attribute, Text, Value};

/// A W3C trace id. All zeros means "none": OTLP sends no other way to say so.
pub type TraceId = [u8; 16];
/// A W3C span id. All zeros means "none".
pub type SpanId = [u8; 8];

/// What produced the records that follow it: a service, with its attributes.
///
/// Source: opentelemetry-proto `resource.v1.Resource`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource<'a> {
    /// Attributes in the order in which they were sent, duplicates included.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the `ResourceSpans` or `ResourceLogs`.
    pub schema_url: Text<'a>,
}

/// The instrumentation that made the records that follow it.
///
/// Source: opentelemetry-proto `common.v1.InstrumentationScope`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope<'a> {
    /// Name of the instrumentation library.
    pub name: Text<'a>,
    /// Its version.
    pub version: Text<'a>,
    /// Attributes in the order in which they were sent.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the `ScopeSpans` or `ScopeLogs`.
    pub schema_url: Text<'a>,
}

/// One span.
///
/// Source: opentelemetry-proto `trace.v1.Span`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Span<'a> {
    /// The trace; never all zeros when it reaches a [`Sink`].
    pub trace_id: TraceId,
    /// The span; never all zeros when it reaches a [`Sink`].
    pub span_id: SpanId,
    /// The parent, all zeros for a root.
    pub parent_span_id: SpanId,
    /// W3C tracestate.
    pub trace_state: Text<'a>,
    /// W3C flags and OTLP's "parent is remote" bits.
    pub flags: u32,
    /// Name of the operation.
    pub name: Text<'a>,
    /// `SpanKind` as its number: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Start, nanoseconds since 1970; 0 when absent.
    pub start_ns: u64,
    /// End, nanoseconds since 1970; 0 when absent. May be before the start: sent as is, kept as is.
    pub end_ns: u64,
    /// Attributes in the order in which they were sent, duplicates included.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
    /// Span events in the order in which they were sent.
    pub events: Vec<Event<'a>>,
    /// How many events the SDK dropped.
    pub dropped_events: u32,
    /// Links to other spans.
    pub links: Vec<Link<'a>>,
    /// How many links the SDK dropped.
    pub dropped_links: u32,
    /// `StatusCode` as its number: 0 unset, 1 ok, 2 error.
    pub status_code: i32,
    /// Message of the status.
    pub status_message: Text<'a>,
}

/// Something that happened during a span.
///
/// Source: opentelemetry-proto `trace.v1.Span.Event`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event<'a> {
    /// Nanoseconds since 1970; 0 when absent.
    pub time_ns: u64,
    /// Name of the event.
    pub name: Text<'a>,
    /// Attributes in the order in which they were sent.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
}

/// A pointer to another span.
///
/// Source: opentelemetry-proto `trace.v1.Span.Link`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Link<'a> {
    /// Trace of the other span; all zeros when it was not valid.
    pub trace_id: TraceId,
    /// The other span; all zeros when it was not valid.
    pub span_id: SpanId,
    /// W3C tracestate of the other span.
    pub trace_state: Text<'a>,
    /// Attributes of the link.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
    /// W3C flags.
    pub flags: u32,
}

/// One log record.
///
/// Source: opentelemetry-proto `logs.v1.LogRecord`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogRecord<'a> {
    /// When it happened, nanoseconds since 1970; 0 when absent (Python's `GenAI` events have none).
    pub time_ns: u64,
    /// When the collection system saw it, nanoseconds since 1970; 0 when absent.
    pub observed_ns: u64,
    /// `SeverityNumber`, 0 unspecified to 24.
    pub severity_number: i32,
    /// Severity as the source wrote it.
    pub severity_text: Text<'a>,
    /// The body; absent and empty are told apart because both are sent.
    pub body: Option<Value<'a>>,
    /// Attributes in the order in which they were sent, duplicates included.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK dropped.
    pub dropped_attributes: u32,
    /// W3C flags.
    pub flags: u32,
    /// The trace, all zeros when there is none.
    pub trace_id: TraceId,
    /// The span, all zeros when there is none.
    pub span_id: SpanId,
    /// Name of the event, empty for a plain log line.
    pub event_name: Text<'a>,
}

/// A span or a log record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Record<'r, 'a> {
    /// From `/v1/traces` and its relatives.
    Span(&'r Span<'a>),
    /// From `/v1/logs` and its relatives.
    Log(&'r LogRecord<'a>),
}

/// Why one record of an otherwise sound request will never be accepted.
///
/// These are the records that OTLP's `partial_success` counts: the client must not send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The trace id of a span is not 16 bytes, or all of them are zero.
    #[error("trace id is not 16 bytes (32 hex digits) with one that is not zero")]
    TraceId,
    /// The span id of a span is not 8 bytes, or all of them are zero.
    #[error("span id is not 8 bytes (16 hex digits) with one that is not zero")]
    SpanId,
    /// What should be the JSON object of a record is something else.
    #[error("record is not a JSON object")]
    NotAnObject,
    /// The record is larger than the ledger takes.
    #[error("record is larger than an entry may be")]
    TooLarge,
}

/// Takes the records of one request in the order in which they were sent.
///
/// A decoder calls `resource` before the scopes that belong to it, `scope` before its records. An
/// error of the wire format may come after records were given: then the whole request is refused
/// and the sink is dropped with what it holds.
pub trait Sink {
    /// The records that follow belong to this resource.
    fn resource(&mut self, resource: &Resource<'_>);
    /// The records that follow belong to this scope.
    fn scope(&mut self, scope: &Scope<'_>);
    /// One record.
    fn record(&mut self, record: Record<'_, '_>);
    /// One record that will never be accepted.
    fn refuse(&mut self, why: Refusal);
}
