//! Servers: the ids of the run come in with each request, which is handled in a span below them.

use super::Context;
use crate::layer::CANCELLED;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use tower_service::Service;
use tracing::Span;
use tracing::instrument::{Instrument as _, Instrumented};

type Only = dyn Fn(&Parts) -> bool + Send + Sync;
type Named = dyn Fn(&Parts) -> String + Send + Sync;

/// A tower layer that handles each request in an audited span of the kind `server`, below the
/// caller's span and under the caller's external id. For axum, tonic and everything else whose
/// requests are [`http::Request`]s.
///
/// ```
/// # #[cfg(feature = "server")]
/// # fn router() -> axum::Router {
/// use axum::Router;
/// use axum::routing::post;
/// use spanledger::layer::context::Extract;
///
/// Router::new()
///     .route("/refunds", post(async || "refunded"))
///     // Probes are no evidence.
///     .layer(Extract::new().only(|request| request.uri.path() != "/healthz"))
/// # }
/// ```
///
/// `tonic::transport::Server::builder().layer(Extract::new())` does the same for gRPC.
///
/// The span is named as OpenTelemetry names it, `GET`, or `package.Service/Method` for gRPC, and has
/// `http.request.method`, `url.path` (never the query), `http.response.status_code` and, for gRPC,
/// `rpc.grpc.status_code` of an error. It is marked as failed for a status that is the server's
/// fault, and with [`CANCELLED`] when the request was given up before its answer. What a handler knows more is
/// recorded on `Span::current()`; [`Context::span`] lists the fields. The span ends with the head of
/// the response: what a body does that streams on is outside of it.
#[derive(Clone, Default)]
pub struct Extract {
    only: Option<Arc<Only>>,
    named: Option<Arc<Named>>,
    ignores_incoming: bool,
}

impl Extract {
    /// For every request, with the ids that it brings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a span only for requests of which this says so; others are handled as if this layer
    /// were not there. Default: all.
    #[must_use]
    pub fn only(mut self, only: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Arc::new(only));
        self
    }

    /// Names the span. A good name is the same for many requests: a route, not a path.
    ///
    /// ```
    /// # #[cfg(feature = "server")]
    /// # fn named() -> spanledger::layer::context::Extract {
    /// use axum::extract::MatchedPath;
    /// spanledger::layer::context::Extract::new().named(|request| {
    ///     let route = request.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    ///     format!("{} {route}", request.method)
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn named(mut self, named: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.named = Some(Arc::new(named));
        self
    }

    /// Begins a trace of its own for each request: for services that strangers can reach, who could
    /// place their requests in the story of any run otherwise.
    #[must_use]
    pub fn ignore_incoming(mut self) -> Self {
        self.ignores_incoming = true;
        self
    }

    fn span(&self, parts: &Parts) -> Span {
        if self.only.as_ref().is_some_and(|only| !only(parts)) {
            return Span::none();
        }
        let context = if self.ignores_incoming {
            Context::default()
        } else {
            Context::extract(&parts.headers)
        };
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let is_grpc = is_grpc(&parts.headers);
        let named = self.named.as_ref().map(|named| named(parts));
        let span = context.span(match &named {
            Some(name) => name,
            None if is_grpc => path.trim_start_matches('/'),
            None => method,
        });
        span.record("otel.kind", "server");
        span.record("http.request.method", method);
        span.record("url.path", path);
        if is_grpc {
            span.record("rpc.system", "grpc");
        }
        span
    }
}

impl fmt::Debug for Extract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extract")
            .field("ignores_incoming", &self.ignores_incoming)
            .finish_non_exhaustive()
    }
}

impl<S> tower_layer::Layer<S> for Extract {
    type Service = Extracting<S>;

    fn layer(&self, inner: S) -> Extracting<S> {
        Extracting { inner, settings: self.clone() }
    }
}

/// What [`Extract`] makes of a service.
#[derive(Debug, Clone)]
pub struct Extracting<S> {
    inner: S,
    settings: Extract,
}

impl<S, B, R> Service<Request<B>> for Extracting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Serving<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let span = self.settings.span(&parts);
        let request = Request::from_parts(parts, body);
        // Services may begin their work here already.
        let inner = span.in_scope(|| self.inner.call(request));
        Serving { inner: inner.instrument(span), is_answered: false }
    }
}

pin_project! {
    /// A request that [`Extracting`] serves.
    #[derive(Debug)]
    pub struct Serving<F> {
        #[pin]
        inner: Instrumented<F>,
        is_answered: bool,
    }

    impl<F> PinnedDrop for Serving<F> {
        fn drop(this: Pin<&mut Self>) {
            // The layer marks a panic itself.
            if !this.is_answered && !std::thread::panicking() {
                this.inner.span().record(CANCELLED, true);
            }
        }
    }
}

impl<F, R, E> Future for Serving<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let answer = ready!(this.inner.as_mut().poll(cx));
        *this.is_answered = true;
        match &answer {
            Ok(response) => answered(this.inner.span(), response),
            Err(_) => {
                this.inner.span().record("otel.status_code", "error");
            }
        }
        Poll::Ready(answer)
    }
}

fn answered<R>(span: &Span, response: &Response<R>) {
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    let code =
        response.headers().get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    if let Some(code) = code {
        span.record("rpc.grpc.status_code", code);
    }
    if status.is_server_error() || code.is_some_and(is_servers_fault) {
        span.record("otel.status_code", "error");
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
///
/// Source: OpenTelemetry semantic conventions, "gRPC", span status of servers.
fn is_servers_fault(code: i64) -> bool {
    matches!(code, 2 | 4 | 12..=15)
}
