//! Putting something on record, and knowing that it is.

use super::audit_layer::Shared;
use super::clock::now_ns;
use super::current::Here;
use super::event::AuditEvent;
use super::open::{Place, Snapshot};
use super::outbox::{Receipt, ReceiptError, Signal};
use super::record::Writer;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tracing::Span;

/// How long a receipt is waited for unless something else is said.
pub const DEFAULT_WITHIN: Duration = Duration::from_secs(5);

/// Why something is not known to be on record. Do not act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is nothing that could record it.
    #[error(
        "no audit layer is in this thread's subscriber: put spanledger::layer(…) into it, or use the \
         layer's Handle (a reload::Layer hides what is inside of it)"
    )]
    NoLayer,
    /// The span is not captured, or has ended.
    #[error(
        "the span is not audited: give it the target \"audit\" or a field of ours, such as trace_id"
    )]
    NotAudited,
    /// There is no receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// What [`Recording::or_proceed`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is durable.
    Durable(Receipt),
    /// It is not known to be: the record is kept and will be sent again, and a further one says
    /// that the agent went on without a receipt.
    Unconfirmed(ReceiptError),
}

impl Recorded {
    /// The receipt, if there is one.
    pub fn receipt(&self) -> Option<Receipt> {
        match self {
            Self::Durable(receipt) => Some(*receipt),
            Self::Unconfirmed(_) => None,
        }
    }
}

/// Puts an event on record in the span of this thread. Nothing happens until it is awaited; then
/// the answer comes when the receiver says that it is durable.
///
/// ```no_run
/// # async fn gate() -> Result<(), Box<dyn std::error::Error>> {
/// use spanledger::layer::{Decision, Outcome};
/// let receipt = spanledger::record(Decision::new(Outcome::Allow).action("refund")).await?;
/// println!("on record as {}", receipt.sequence);
/// # Ok(()) }
/// ```
pub fn record(event: impl Into<AuditEvent>) -> Recording {
    Recording::new(event.into(), Here::of(&Span::current()).ok_or(RecordError::NoLayer))
}

/// Something on its way to be on record: await it.
#[derive(Debug)]
#[must_use = "nothing is recorded until it is awaited"]
pub struct Recording {
    what: Result<(Here, What), RecordError>,
    within: Duration,
}

#[derive(Debug)]
pub(super) enum What {
    Event(AuditEvent, u64),
    /// A span as it is now.
    Span(Box<Snapshot>),
}

impl Recording {
    pub(super) fn new(event: AuditEvent, here: Result<Here, RecordError>) -> Self {
        let what = here.map(|here| (here, What::Event(event, now_ns())));
        Self { what, within: DEFAULT_WITHIN }
    }

    pub(super) fn of(what: Result<(Here, What), RecordError>) -> Self {
        Self { what, within: DEFAULT_WITHIN }
    }

    /// How long to wait. Default: [`DEFAULT_WITHIN`].
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Goes on when the time passes, instead of refusing: the answer says whether there is a
    /// receipt, and an entry says that the agent did not wait for one.
    pub fn or_proceed(self) -> OrProceed {
        OrProceed(self)
    }

    async fn confirm(self) -> (Option<(Here, u64)>, Result<Receipt, RecordError>) {
        let (here, what) = match self.what {
            Ok(known) => known,
            Err(error) => return (None, Err(error)),
        };
        let (number, record) = encode(&here.shared, &here.place, &what);
        let receipt = here.shared.out.confirm(Signal::Logs, number, record, self.within).await;
        (Some((here, number)), receipt.map_err(RecordError::from))
    }
}

fn encode(shared: &Arc<Shared>, place: &Place, what: &What) -> (u64, Vec<u8>) {
    let number = shared.out.number();
    let writer = Writer { protector: &shared.protector, number };
    let mut out = Vec::new();
    match what {
        What::Event(event, time_ns) => writer.event(event, place, *time_ns, &mut out),
        What::Span(snapshot) => snapshot.write(writer, place, &mut out),
    }
    (number, out)
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, RecordError>> + Send>>;

impl IntoFuture for Recording {
    type Output = Result<Receipt, RecordError>;
    type IntoFuture = Answer<Receipt>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.confirm().await.1 })
    }
}

/// See [`Recording::or_proceed`].
#[derive(Debug)]
#[must_use = "nothing is recorded until it is awaited"]
pub struct OrProceed(Recording);

/// Attribute of the record that says that an agent went on without a receipt: the number of the
/// record that has none.
pub const PROCEEDED_WITHOUT: &str = "spanledger.proceeded_without";

impl IntoFuture for OrProceed {
    type Output = Result<Recorded, RecordError>;
    type IntoFuture = Answer<Recorded>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.0.confirm().await {
                (_, Ok(receipt)) => Ok(Recorded::Durable(receipt)),
                (Some((here, number)), Err(RecordError::Receipt(error))) => {
                    let event = AuditEvent::new("spanledger.proceeded")
                        .with(PROCEEDED_WITHOUT, number)
                        .saying(format!("went on without a receipt: {error}"));
                    here.shared.push(Signal::Logs, |writer, out| {
                        writer.event(&event, &here.place, now_ns(), out);
                    });
                    Ok(Recorded::Unconfirmed(error))
                }
                (_, Err(error)) => Err(error),
            }
        })
    }
}

/// Puts the present state of a span on record.
pub trait AuditSpan {
    /// What the span has so far, as an entry of its own, durable when it returns. The span itself
    /// is another entry when it ends.
    ///
    /// ```no_run
    /// # async fn gate() -> Result<(), Box<dyn std::error::Error>> {
    /// use spanledger::AuditSpan as _;
    /// let span = tracing::info_span!("gate", trace_id = "run-1", decision = "allow");
    /// let receipt = span.audit().await?;
    /// # let _ = receipt;
    /// # Ok(()) }
    /// ```
    fn audit(&self) -> Recording;
}

impl AuditSpan for Span {
    fn audit(&self) -> Recording {
        let Some(here) = Here::of(self) else { return Recording::of(Err(RecordError::NoLayer)) };
        let snapshot =
            self.id().and_then(|id| here.shared.spans.open(id.into_u64(), |open| open.snapshot()));
        Recording::of(match snapshot {
            Some(snapshot) => Ok((here, What::Span(Box::new(snapshot)))),
            None => Err(RecordError::NotAudited),
        })
    }
}
