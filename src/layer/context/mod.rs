//! The ids of a run on their way from one process to the next.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Context`]: what is handed on, from where and to where |
//! | `traceparent.rs` | [`Traceparent`]: trace and span, as W3C writes them |
//! | `external.rs` | the external id in a header and in baggage, and what is accepted as one |
//! | `inject.rs` | [`Inject`]: puts it into requests of clients (tower, tonic, reqwest) |
//! | `extract.rs` | `Extract`: takes it out of requests in servers (axum, tonic, hyper) |
//!
//! ```text
//! agent                                          tool service
//! span (trace_id = "run-7") ── Inject ─► HTTP or gRPC ─► Extract ── span, child of the agent's
//!                              traceparent: 00-…             trace_id = "run-7"
//!                              spanledger-trace-id: run-7
//!                              baggage: …,spanledger.trace_id=run-7
//! ```
//!
//! | header | out | in |
//! |---|---|---|
//! | `traceparent` | trace and span of the nearest audited span; one that is there and valid stays, whoever put it there | by W3C Trace Context; two of them, or one that is not valid, are none |
//! | [`EXTERNAL_ID_HEADER`] | the external id, percent-encoded; replaces what is there | percent-decoded |
//! | `baggage` | the member [`EXTERNAL_ID_BAGGAGE`] is added to what is there | asked when the header has none |
//!
//! A header that is not valid is ignored: no request fails for it. Nothing is put into a request
//! that is made outside of audited spans, or without a layer in the subscriber. `tracestate` and the
//! baggage of others are not carried from an incoming request to an outgoing one: that is the work
//! of OpenTelemetry's propagators, beside which this works. With `layer-opentelemetry` the ids are
//! OpenTelemetry's, and so is the flag that says whether the trace is sampled.
//!
//! What comes in is what the caller says. A service that strangers can reach begins traces of its
//! own instead: `Extract::ignore_incoming`. What goes out tells the receiver the ids of the run:
//! [`Inject`] belongs on clients of your own services.

mod external;
#[cfg(feature = "layer-tower")]
mod extract;
mod inject;
mod traceparent;

pub use external::{
    EXTERNAL_ID_BAGGAGE, EXTERNAL_ID_HEADER, MAX_BAGGAGE_BYTES, MAX_BAGGAGE_MEMBERS,
    MAX_EXTERNAL_ID_CHARS,
};
#[cfg(feature = "layer-tower")]
pub use extract::{Extract, Extracting, Serving};
pub use inject::Inject;
#[cfg(feature = "layer-tower")]
pub use inject::Injecting;
pub use traceparent::{InvalidTraceparent, Traceparent};

use super::current::Here;
use super::names::{self, EXTERNAL_TRACE_ID, TARGET};
use http::HeaderMap;
use tracing::Span;
use tracing::field::Empty;

/// What the protector's markers begin with.
const REDACTED: &str = "[REDACTED:";

/// Which run something belongs to, and which span it is below.
///
/// ```
/// use spanledger::layer::context::Context;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let (layer, audited) = spanledger::testing::layer();
/// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
///     // The agent, before it calls a service:
///     let run = tracing::info_span!("run", trace_id = "langsmith-run-abc123");
///     let headers = run.in_scope(|| Context::current().headers());
///     assert_eq!(headers["spanledger-trace-id"], "langsmith-run-abc123");
///
///     // The service, in another process:
///     let served = Context::extract(&headers).span("POST /refunds");
///     served.in_scope(|| tracing::info!(decision = "allow", "below the limit"));
/// });
/// let (run, served) = (audited.named("run").unwrap(), audited.named("POST /refunds").unwrap());
/// assert_eq!(served.trace_id, run.trace_id);
/// assert_eq!(served.parent_span_id, run.span_id);
/// assert_eq!(served.text("spanledger.external.trace_id"), Some("langsmith-run-abc123"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Trace and span that the next span is below. `None` outside of audited spans.
    pub traceparent: Option<Traceparent>,
    /// The orchestrator's own id of the run, as it wrote it. What is no id by
    /// [`MAX_EXTERNAL_ID_CHARS`]'s rules is not sent.
    pub external_trace_id: Option<String>,
}

impl Context {
    /// Of the span that this thread is in.
    pub fn current() -> Self {
        Self::of(&Span::current())
    }

    /// Of what is directly below a span: its own ids if it is audited, else those of the nearest
    /// audited span above it. Empty when there is none, when no layer of ours is in the subscriber,
    /// or where it cannot be seen: inside of a `reload::Layer`.
    pub fn of(span: &Span) -> Self {
        let Some(Here { place, .. }) = Here::of(span) else { return Self::default() };
        let audited = place.trace_id != [0; 16] && place.parent_id != [0; 8];
        let traceparent = audited.then(|| Traceparent {
            trace_id: place.trace_id,
            parent_id: place.parent_id,
            // What is audited is recorded, which is all that the flag says.
            is_sampled: is_sampled(span).unwrap_or(true),
        });
        let slot = names::slot(EXTERNAL_TRACE_ID);
        let external_trace_id = slot
            .zip(place.scope)
            .and_then(|(slot, scope)| scope.text(slot))
            // Different ids with a credential inside look the same now: they would join runs.
            .filter(|id| !id.contains(REDACTED));
        Self { traceparent, external_trace_id }
    }

    /// What the headers of a request say. What is not valid in them is ignored.
    ///
    /// ```
    /// use spanledger::layer::context::Context;
    /// let mut headers = http::HeaderMap::new();
    /// headers.insert("traceparent", "not one".parse().unwrap());
    /// headers.insert("baggage", "team=blue, spanledger.trace_id=run%207".parse().unwrap());
    /// let context = Context::extract(&headers);
    /// assert_eq!(context.traceparent, None);
    /// assert_eq!(context.external_trace_id.as_deref(), Some("run 7"));
    /// ```
    pub fn extract(headers: &HeaderMap) -> Self {
        Self {
            traceparent: traceparent::extract(headers),
            external_trace_id: external::extract(headers),
        }
    }

    /// Puts it into the headers of a request; see the [module](self) for what stays of what is
    /// there.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(traceparent) = self.traceparent {
            traceparent.inject(headers);
        }
        if let Some(id) = &self.external_trace_id {
            external::inject(id, headers);
        }
    }

    /// Headers to be added to a request: for clients that have no middleware.
    ///
    /// ```no_run
    /// # #[cfg(feature = "layer-reqwest")]
    /// # async fn call() -> Result<(), reqwest_middleware::reqwest::Error> {
    /// # use reqwest_middleware::reqwest;
    /// use spanledger::layer::context::Context;
    /// let request = reqwest::Client::new().post("http://tools.internal/refunds");
    /// request.headers(Context::current().headers()).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.inject(&mut headers);
        headers
    }

    /// A span below it, which is audited; `name` is its `otel.name`.
    ///
    /// Fields that it declares and that may be recorded later: `otel.kind`, `otel.status_code`,
    /// `otel.status_description`, `http.request.method`, `http.route`, `url.path`,
    /// `http.response.status_code`, `rpc.system`, `rpc.grpc.status_code`,
    /// `messaging.destination.name`, `run_id`, `workflow_id`, `tenant_id`, `user_id`, `session_id`,
    /// `agent_id`, `agent_name`, [`CANCELLED`](super::CANCELLED).
    ///
    /// A span of your own with other fields joins the run by these two:
    ///
    /// ```
    /// # use spanledger::layer::context::Context;
    /// # let context = Context::default();
    /// let span = tracing::info_span!(
    ///     target: "audit",
    ///     "consume",
    ///     trace_id = context.external_trace_id.as_deref(),
    ///     traceparent = context.traceparent.map(display),
    ///     queue = "refunds",
    /// );
    /// ```
    pub fn span(&self, name: &str) -> Span {
        tracing::info_span!(
            target: TARGET,
            "request",
            trace_id = self.external_trace_id.as_deref(),
            traceparent = self.traceparent.map(display),
            otel.name = name,
            otel.kind = Empty,
            otel.status_code = Empty,
            otel.status_description = Empty,
            http.request.method = Empty,
            http.route = Empty,
            url.path = Empty,
            http.response.status_code = Empty,
            rpc.system = Empty,
            rpc.grpc.status_code = Empty,
            messaging.destination.name = Empty,
            run_id = Empty,
            workflow_id = Empty,
            tenant_id = Empty,
            user_id = Empty,
            session_id = Empty,
            agent_id = Empty,
            agent_name = Empty,
            spanledger.cancelled = Empty,
        )
    }
}

/// What OpenTelemetry decided for the trace of a span, if it traces it.
#[cfg(feature = "layer-opentelemetry")]
fn is_sampled(span: &Span) -> Option<bool> {
    use opentelemetry::trace::TraceContextExt as _;
    let context = span.with_subscriber(|(id, dispatch)| {
        tracing_opentelemetry::get_otel_context(id, dispatch)
    })??;
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.is_sampled())
}

#[cfg(not(feature = "layer-opentelemetry"))]
fn is_sampled(_: &Span) -> Option<bool> {
    None
}
