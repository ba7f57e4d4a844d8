//! Clients: the ids of the run go out with each request.

use super::Context;

/// Puts the current [`Context`] into each request of a client, whatever the client is:
///
/// | client | how |
/// |---|---|
/// | tonic | `Client::with_interceptor(channel, Inject)` |
/// | hyper and other tower services | `ServiceBuilder::new().layer(Inject)`, feature `layer-tower` |
/// | reqwest 0.13 | `reqwest_middleware::ClientBuilder::new(client).with(Inject)`, feature `layer-reqwest` |
/// | anything else | `request.headers(Context::current().headers())` |
///
/// It takes the span in which the request is *made*, so it belongs outside of layers that hand
/// requests to other tasks, such as `tower::buffer`. It makes no span itself: the evidence is the
/// tool or model call around the request, and the server's span is directly below that.
///
/// ```
/// use spanledger::layer::context::Inject;
/// use tonic::service::Interceptor as _;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let (layer, _audited) = spanledger::testing::layer();
/// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
///     let _tool = tracing::info_span!("tool", tool_name = "refund", trace_id = "run-7").entered();
///     let request = Inject.call(tonic::Request::new(())).unwrap();
///     assert_eq!(request.metadata().get("spanledger-trace-id").unwrap(), "run-7");
///     assert!(request.metadata().contains_key("traceparent"));
/// });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Inject;

impl tonic::service::Interceptor for Inject {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        Context::current().inject(request.metadata_mut().as_mut());
        Ok(request)
    }
}

#[cfg(feature = "layer-tower")]
pub use tower::Injecting;

#[cfg(feature = "layer-tower")]
mod tower {
    use super::super::Context;
    use super::Inject;
    use http::Request;
    use std::task;

    /// What [`Inject`] makes of a tower service.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Injecting<S> {
        inner: S,
    }

    impl<S> tower_layer::Layer<S> for Inject {
        type Service = Injecting<S>;

        fn layer(&self, inner: S) -> Injecting<S> {
            Injecting { inner }
        }
    }

    impl<S, B> tower_service::Service<Request<B>> for Injecting<S>
    where
        S: tower_service::Service<Request<B>>,
    {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;

        fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
            self.inner.poll_ready(cx)
        }

        fn call(&mut self, mut request: Request<B>) -> S::Future {
            Context::current().inject(request.headers_mut());
            self.inner.call(request)
        }
    }
}

#[cfg(feature = "layer-reqwest")]
#[async_trait::async_trait]
impl reqwest_middleware::Middleware for Inject {
    async fn handle(
        &self,
        mut request: reqwest_middleware::reqwest::Request,
        extensions: &mut http::Extensions,
        next: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<reqwest_middleware::reqwest::Response> {
        Context::current().inject(request.headers_mut());
        next.run(request, extensions).await
    }
}
