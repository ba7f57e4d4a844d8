//! The listeners of a server: what each answers to, and how they end.

use super::serve::ServeError;
use crate::access::{Credentials, Tls};
use crate::api::{self, Api, Bounds, HostCheck};
use crate::config::{Config, Index};
use crate::receiver::{self, Receiver};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tasks that end when they are told to.
#[derive(Debug)]
pub(super) struct Part {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Part {
    fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    /// Resolves when the part is told to end.
    fn told(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender is gone only when the process is.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has ended too.
            let _ = task.await;
        }
    }
}

/// What all listeners share.
pub(super) struct Listening<'a> {
    pub(super) config: &'a Config,
    pub(super) receiver: &'a Receiver,
    pub(super) tls: Option<&'a Arc<Tls>>,
}

impl Listening<'_> {
    async fn bind(
        &self,
        address: SocketAddr,
        flag: &'static str,
    ) -> Result<receiver::Server, ServeError> {
        let (limits, metrics) = (self.receiver.limits().clone(), self.receiver.metrics().clone());
        receiver::Server::bind(address, limits, metrics)
            .await
            .map(|server| server.with_tls(self.tls.cloned()))
            .map_err(|source| ServeError::Listen { address, flag, source })
    }

    /// Answers questions.
    pub(super) async fn api(&self, api: Api) -> Result<(SocketAddr, Part), ServeError> {
        let server = self.bind(self.config.listen.api, "--listen-api").await?;
        let address = server.address();
        let bounds = self.config.index.as_ref().map_or_else(Bounds::default, Index::bounds);
        let router = api::router(api.within(bounds), HostCheck::for_listener(address));
        let mut part = Part::new();
        part.tasks.push(tokio::spawn(server.serve(router, part.told())));
        Ok((address, part))
    }

    /// Takes evidence, over gRPC and over HTTP.
    pub(super) async fn otlp(
        &self,
        credentials: Credentials,
    ) -> Result<(SocketAddr, SocketAddr, Part), ServeError> {
        let grpc = self.bind(self.config.listen.grpc, "--listen-grpc").await?;
        let http = self.bind(self.config.listen.http, "--listen-http").await?;
        let addresses = (grpc.address(), http.address());
        let mut part = Part::new();
        part.tasks.push(tokio::spawn(grpc.serve(self.receiver.grpc(), part.told())));
        let hosts = HostCheck::for_listener(http.address()).on_any_port();
        let service = guarded(hosts, credentials, self.receiver.http());
        part.tasks.push(tokio::spawn(http.serve(service, part.told())));
        let watch = |tls: &Arc<Tls>| tokio::spawn(Arc::clone(tls).watch(part.told()));
        part.tasks.extend(self.tls.map(watch));
        Ok((addresses.0, addresses.1, part))
    }
}

/// A service that, while nobody needs a credential, answers to the names of its listener only: what
/// a page of the web sends under its own name is refused before it is read.
fn guarded<S>(
    hosts: HostCheck,
    credentials: Credentials,
    service: S,
) -> impl tower::Service<
    Request<Incoming>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
where
    S: tower::Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    let hosts = Arc::new(hosts);
    tower::service_fn(move |request: Request<Incoming>| {
        let refused = hosts.check(&request, Some(&credentials)).err();
        let mut service = service.clone();
        async move {
            let Some(problem) = refused else { return service.call(request).await };
            let mut response = Response::new(Full::new(Bytes::from(problem.detail)));
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            Ok(response)
        }
    })
}
