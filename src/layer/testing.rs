//! For tests of agents: what was audited, without a receiver.
//!
//! ```
//! use tracing_subscriber::layer::SubscriberExt as _;
//! let (layer, audited) = spanledger::testing::layer();
//! tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
//!     tracing::info!(target: "audit", decision = "block", reason = "over the limit", "refused");
//! });
//! let record = audited.only();
//! assert_eq!(record.text("spanledger.decision.outcome"), Some("block"));
//! assert_eq!(record.body.as_deref(), Some("refused"));
//! ```

use super::out::Numbers;
use super::outbox::{Receipt, Signal};
use super::{AuditLayer, Builder, messages};
use crate::span::{SpanId, TraceId};
use std::sync::{Arc, Mutex, PoisonError};

/// A layer that keeps what it audits in memory, and what reads it. One with other settings is had
/// from [`Builder::for_test`].
///
/// # Panics
/// Never: the default settings are sound.
#[allow(clippy::expect_used)] // for tests, and its settings are constants
pub fn layer() -> (AuditLayer, Audited) {
    Builder::default().for_test().expect("the default settings are sound")
}

/// What was audited. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audited(pub(super) Arc<Kept>);

/// One record: a span that ended, or an event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Audit {
    /// Whether it was a span; else it was an event, or something that was recorded by itself.
    pub is_span: bool,
    /// Name of the span, or of the event if it has one.
    pub name: String,
    /// Message of the event.
    pub body: Option<String>,
    /// The trace; zeros when there is none.
    pub trace_id: TraceId,
    /// The span itself, or the one in which the event happened; zeros when there is none.
    pub span_id: SpanId,
    /// The parent of a span; zeros for a root.
    pub parent_span_id: SpanId,
    /// OTLP's `SpanKind`.
    pub kind: i32,
    /// Start of a span, time of an event; nanoseconds since 1970.
    pub start_ns: u64,
    /// End of a span, nanoseconds since 1970.
    pub end_ns: u64,
    /// Attributes in their order.
    pub attributes: Vec<(String, serde_json::Value)>,
    /// The spans that it follows.
    pub links: Vec<(TraceId, SpanId)>,
    /// OTLP's status: 0 unset, 1 ok, 2 error.
    pub status: i32,
    /// The status in words.
    pub status_message: String,
}

impl Audit {
    /// The last value of an attribute.
    pub fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.attributes.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The last value of an attribute, if it is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(serde_json::Value::as_str)
    }
}

impl Audited {
    /// All records, in the order in which they ended.
    pub fn records(&self) -> Vec<Audit> {
        self.0.records()
    }

    /// The record with that name of a span or event, or with that message.
    pub fn named(&self, name: &str) -> Option<Audit> {
        self.records().into_iter().find(|it| it.name == name || it.body.as_deref() == Some(name))
    }

    /// The only record.
    ///
    /// # Panics
    /// When there is none, or more than one: it is for tests.
    #[track_caller]
    #[allow(clippy::panic)] // a test that must fail
    pub fn only(&self) -> Audit {
        let mut records = self.records();
        match (records.pop(), records.is_empty()) {
            (Some(record), true) => record,
            (None, _) => panic!("nothing was audited"),
            (Some(last), false) => {
                panic!("besides {} others there is: {last:#?}", records.len())
            }
        }
    }
}

/// What a test keeps.
#[derive(Debug, Default)]
pub(super) struct Kept {
    records: Mutex<Vec<Audit>>,
    numbers: Numbers,
}

impl Kept {
    pub(super) fn number(&self) -> u64 {
        self.numbers.next()
    }

    pub(super) fn taken(&self) -> u64 {
        self.numbers.last()
    }

    pub(super) fn push(&self, signal: Signal, _number: u64, record: &[u8]) {
        let audit = match signal {
            Signal::Spans => messages::span(record),
            Signal::Logs => messages::log(record),
        };
        if let Some(audit) = audit {
            self.records.lock().unwrap_or_else(PoisonError::into_inner).push(audit);
        }
    }

    pub(super) fn confirm(&self, signal: Signal, number: u64, record: &[u8]) -> Receipt {
        self.push(signal, number, record);
        Receipt { sequence: number.saturating_sub(1), leaf_hash: [0; 32] }
    }

    fn records(&self) -> Vec<Audit> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
