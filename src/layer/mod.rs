//! The tracing layer: spans and events of an agent that become audit entries.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tracing_subscriber::layer::SubscriberExt as _;
//! use tracing_subscriber::util::SubscriberInitExt as _;
//!
//! let audit = spanledger::layer("http://127.0.0.1:4317")?;
//! let _at_the_end = audit.handle().on_drop(std::time::Duration::from_secs(5));
//! tracing_subscriber::registry().with(audit).init();
//!
//! let run = tracing::info_span!("run", trace_id = "langsmith-run-abc123", run_id = "run-1");
//! run.in_scope(|| tracing::info!(decision = "block", reason = "over the limit", "no refund"));
//! # Ok(()) }
//! ```
//!
//! # What becomes an entry
//! A span when it ends, an event at once, if its target is `audit` (or begins with `audit::`) or it
//! declares one of: a field of `spanledger.`, `audit.`, `gen_ai.`, `openinference.`, `llm.`,
//! `langsmith.`, `langfuse.`, `traceloop.`, `mcp.`, `spectra.`; or `trace_id`, `external_trace_id`,
//! `decision`, `decision_id`, `approval_id`, `approved_by`, `tool_name`, `tool_call_id`.
//! [`Builder::capture`] adds others. Everything else costs a few instructions. In the target `audit`
//! the prefix `spanledger.` may be left out of every name: see [`key`].
//!
//! What a span says of its run is handed down to all below it, also when it is learned late:
//! `trace_id`, `run_id`, `run_name`, `workflow_id`, `workflow_name`, `step_id`, `job_id`,
//! `session_id`, `thread_id`, `tenant`, `org_id`, `client_id`, `user_id`, `user_email`, the agent's
//! name and id. A field that is recorded late must be declared when the span begins, as
//! `tracing::field::Empty`, or `tracing` drops it before anybody sees it; [`audit_span!`] declares
//! the usual ones.
//!
//! [`audit_span!`]: crate::audit_span
//!
//! # What is promised
//! - **Nothing is lost silently.** Each record of a process has a [number](NUMBER) without a hole,
//!   each process a random instance id, a first and a last record. What could not be kept is told
//!   by an entry of the kind `gap`, with the numbers that are missing. When a process ends without
//!   its goodbye, the next one on the same spool delivers what it left, and tells as a gap what may
//!   have been in its memory: what was captured in about its last 10 ms, longer on a machine so busy
//!   that the writing thread waits for its turn. That entry stands among those of the process that lost
//!   them, and says in `spanledger.gap.told_by` who tells it.
//! - **Delivered means acknowledged** by the receiver, after its fsync if it is spanledger. Until
//!   then records are in the spool, which survives the process but, as it is not fsynced, not a
//!   power failure. Only a receipt promises that: [`record`], [`AuditSpan::audit`], [`gate`].
//! - **Secrets stay.** Credentials in values, and the fields that [`Builder::redact_fields`] names,
//!   are replaced before a record leaves memory: the spool holds what the receiver gets.
//! - Sampling of OpenTelemetry does not count here. Filters in front of the layer do.
//!
//! | when there is no room | what happens | set by |
//! |---|---|---|
//! | the spool is full, or its disk | the agent's thread waits up to 5 s, then a gap | [`SpoolSettings`] |
//! | memory only, `Block` | the thread waits as long as you say, then a gap | [`Policy::Memory`] |
//! | memory only, `Gap` | a gap at once | [`Policy::Memory`] |
//!
//! # The end of a process
//! [`Handle::shutdown`] ends open spans as entries marked [`INCOMPLETE`], delivers, says goodbye and
//! tells how far it came; [`Handle::on_drop`] does it at the end of `main`. A panic has what is in
//! memory written to the spool. On SIGTERM nothing happens by itself: a program that handles it ends
//! its `main`, or calls [`Handle::shutdown_blocking`]; one that does not loses nothing but its
//! goodbye and about its last 10 ms, and the next process tells so. After `fork` the layer works in the
//! parent only.
//!
//! # Beside `tracing-opentelemetry`
//! With the feature `layer-opentelemetry` every entry has the trace and span id that OpenTelemetry
//! gave the span, in either order of registration, if the span was ever entered. Put this layer
//! first, `registry().with(audit).with(opentelemetry)`, and it holds for spans that never were, too.
//!
//! # Without a second process
//! With the feature `ledger` the receiver is within the agent's process, and all that is behind it:
//! conversion, ledger, index, export. See `Embedded` and [`Builder`]'s `embedded`. Then nothing is
//! spooled unless a policy was set: the ledger is on the same disk.
//!
//! # In tests
//! [`testing`] keeps what was audited in memory and lets a test look at it.
//!
//! # Dependencies
//! With `default-features = false, features = ["layer"]`, for what each is there:
//!
//! | crate | for |
//! |---|---|
//! | `tracing`, `tracing-subscriber` | what this is a layer of (`registry` only) |
//! | `tonic`, `http`, `tokio`, `bytes`, `prost` | OTLP over gRPC, on a thread and runtime of its own: the agent needs no tokio |
//! | `serde`, `serde_json`, `base64`, `itoa` | values of typed events; the entry's types |
//! | `aho-corasick`, `memchr` | the search for credentials |
//! | `crc32fast`, `getrandom`, `thiserror` | frames of the spool; ids; errors |
//!
//! No `opentelemetry` crate: the client of `opentelemetry-otlp` logs a partial success and returns
//! `Ok`, and hides the answer's metadata, so neither "delivered" nor a receipt can be had from it.
//!
//! # Rooms
//! | file | holds |
//! |---|---|
//! | `audit_layer.rs` | the `tracing_subscriber::Layer` |
//! | `callsite.rs`, `names.rs` | which call sites are captured, and what their fields are called |
//! | `fields.rs`, `scope.rs`, `open.rs` | values of a span; what it hands down; spans that have not ended |
//! | `record.rs`, `protobuf.rs`, `ids.rs`, `clock.rs` | a span or event as OTLP bytes |
//! | `otel.rs`, `current.rs` | ids of OpenTelemetry; from a span in hand to its layer |
//! | `outbox/` | from the agent's thread to the acknowledgement: memory, spool, sender |
//! | `recording.rs`, `gate.rs`, `event/`, `audited.rs`, `macros.rs` | what an agent says by itself |
//! | `builder.rs`, `handle.rs`, `testing.rs` | making one, ending it, testing with it |

mod audit_layer;
mod audited;
mod builder;
mod callsite;
mod clock;
pub mod context;
mod current;
#[cfg(feature = "ledger")]
mod embedded;
mod event;
mod fields;
mod gate;
mod handle;
mod ids;
mod macros;
mod messages;
mod names;
mod open;
mod otel;
mod out;
mod outbox;
// Beside it and not inside: tests/layer_outbox.rs takes the outbox in without them.
#[cfg(test)]
#[path = "outbox/tests/mod.rs"]
mod outbox_tests;
mod protobuf;
mod record;
mod recording;
mod scope;
mod scratch;
pub mod testing;

pub use crate::entry::Outcome;
pub use audit_layer::AuditLayer;
pub use audited::{CANCELLED, audited};
pub use builder::{Builder, DEFAULT_SPOOL, LayerError, layer};
#[cfg(feature = "ledger")]
pub use embedded::{Embedded, EmbeddedError, Ledger};
pub use event::{
    Approval, ApprovalStatus, AuditEvent, AuditValue, Change, Decision, Handoff, Interrupt,
    ModelCall, ToolCall,
};
pub use fields::{MAX_VALUE_BYTES, TRUNCATED};
pub use gate::{Cleared, Gate, Held, Why, gate};
pub use handle::{Handle, ShutdownOnDrop};
pub use names::{TARGET, key};
pub use outbox::{
    Delivery, Otlp, OtlpError, OutboxError, Policy, Receipt, ReceiptError, Settings, SpoolSettings,
    Stats, Tls, Token, WhenFull,
};
pub use record::{INCOMPLETE, NUMBER, REDACTIONS, UNWINDING};
pub use recording::{
    AuditSpan, DEFAULT_WITHIN, OrProceed, PROCEEDED_WITHOUT, RecordError, Recorded, Recording,
    record,
};

/// For the macros.
#[doc(hidden)]
pub use tracing;
