//! One hardened accept loop for every port.
//!
//! Bounds of [`Limits`]: connections, time to the first bytes, header bytes and time, streams,
//! resets, pings, age, and the time that a shutdown waits. A TLS handshake and the first bytes,
//! which tell HTTP/1.1 from HTTP/2, share one deadline: hyper's own detection waits for ever.

use super::Limits;
use super::connections::{Activity, Connections, Place};
use super::handshake::{Failed, Stream, handshake};
use super::metrics::{HandshakeFailure, LimitHit, Metrics, add};
use super::opened::Opened;
use crate::access::{PeerCertificate, Tls};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// Pause after an accept error such as "too many open files": the socket stays readable, so
/// without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When all places are taken: time between two idle connections that are asked to leave, until one
/// has left. A client that answers takes a round trip.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Time that a connection without requests has to leave when it was asked.
const LEAVE: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The address of the other side, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A listening socket that does not accept yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one, see [`Server::address`].
    ///
    /// # Errors
    /// Those of the operating system, such as an address in use.
    pub async fn bind(
        address: SocketAddr,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, limits, metrics, tls: None })
    }

    /// Speaks TLS and nothing else, when there is any: what it gives at the moment of a connection
    /// is what that connection gets. The names in a client's certificate are in the extensions of
    /// each of its requests, as [`PeerCertificate`], next to [`Peer`].
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>) -> Self {
        self.tls = tls;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done; then accepts no more, lets requests in flight finish, and
    /// returns when all connections are closed or cut off after
    /// [`shutdown_timeout`](Limits::shutdown_timeout).
    ///
    /// ```no_run
    /// # async fn serve(intake: spanledger::intake::Intake) -> std::io::Result<()> {
    /// use spanledger::receiver::{Limits, Receiver, Server};
    /// let receiver = Receiver::new(intake, Limits::default());
    /// let address = "127.0.0.1:4318".parse().expect("an address");
    /// let metrics = receiver.metrics().clone();
    /// let server = Server::bind(address, Limits::default(), metrics).await?;
    /// server.serve(receiver.http(), async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve<S, B>(self, service: S, shutdown: impl Future<Output = ()>)
    where
        S: tower::Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let mut shutdown = pin!(shutdown);
        let (stop, stopped) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(self.limits.max_connections.max(1)));
        let open = Connections::new(
            self.limits.max_connections_per_address,
            self.limits.max_streams_per_address,
        );
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            let Some((stream, peer)) = accepted else { continue };
            let Some(place) = open.take(peer.ip()) else {
                self.metrics.hit(LimitHit::ConnectionsPerAddress);
                continue;
            };
            let slot = tokio::select! {
                biased;
                () = &mut shutdown => break,
                slot = self.slot(&slots, &open) => slot,
            };
            add(&self.metrics.connections, 1);
            let connection = Connection {
                limits: self.limits.clone(),
                metrics: Arc::clone(&self.metrics),
                tls: self.tls.clone(),
                stopped: stopped.clone(),
            };
            let service = service.clone();
            connections.spawn(async move {
                let _held = slot;
                connection.serve(stream, Peer(peer), service, &place).await;
            });
        }
        drop(self.listener);
        stop.send_replace(true);
        let closed = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.shutdown_timeout, closed).await.is_err() {
            tracing::warn!(address = %self.address, "connections were cut off at shutdown");
            connections.shutdown().await;
        }
    }

    /// The next connection. Nothing after an error, which was waited out.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        match self.listener.accept().await {
            Ok(accepted) => Some(accepted),
            // The peer went away while it was waiting: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                tracing::warn!(address = %self.address, %error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    /// A slot for a new connection; who has been idle for long makes room for it. None never: the
    /// slots are not closed.
    async fn slot(
        &self,
        slots: &Arc<Semaphore>,
        open: &Connections,
    ) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Some(slot);
        }
        self.metrics.hit(LimitHit::Connections);
        loop {
            if let Some(asked) = open.ask_idle(self.limits.idle_after) {
                add(&self.metrics.connections_evicted, 1);
                let (address, idle) = (asked.address, asked.idle);
                tracing::debug!(%address, ?idle, "an idle connection makes room for a new one");
            }
            if let Ok(slot) = timeout(ASK_AGAIN, Arc::clone(slots).acquire_owned()).await {
                return slot.ok();
            }
        }
    }
}

/// What one connection knows.
struct Connection {
    limits: Limits,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve<S, B>(mut self, stream: TcpStream, peer: Peer, service: S, place: &Place)
    where
        S: tower::Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        // Answers are small, and a client waits for each.
        let _ = stream.set_nodelay(true);
        let mut stopped = self.stopped.clone();
        let opened = tokio::select! {
            opened = self.open(stream) => opened,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let Some((is_http2, certificate, stream)) = opened else { return };
        // The service is cloned for each request, and the names with it.
        let certificate = certificate.map(Arc::new);
        let service = service.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(PeerCertificate::clone(certificate));
            }
            request
        });
        let service = TowerToHyperService::new(service);
        let io = TokioIo::new(stream);
        if is_http2 {
            let activity = place.join();
            let (seen, metrics) = (Arc::clone(&activity), Arc::clone(&self.metrics));
            let service = service_fn(move |request| {
                let under_way = seen.begin().map(|busy| (busy, service.call(request)));
                if under_way.is_none() {
                    metrics.hit(LimitHit::StreamsPerAddress);
                }
                async move {
                    let Some((busy, answer)) = under_way else { return Err(Unanswered::refused()) };
                    // It is under way until the last of its body was sent.
                    let hold = |body: B| {
                        body.map_err(move |error| {
                            let _held = &busy;
                            error
                        })
                    };
                    match answer.await {
                        Ok(response) => Ok(response.map(hold)),
                        Err(error) => Err(Unanswered::Failed(error.into())),
                    }
                }
            });
            let connection = self.http2().serve_connection(io, service);
            self.drive(connection, Some(&activity)).await;
        } else {
            let connection = self.http1().serve_connection(io, service);
            self.drive(connection, None).await;
        }
    }

    /// The handshake, where there is TLS, and the first bytes, all by one deadline. Nothing for a
    /// connection that did not come about, which is counted.
    async fn open(
        &self,
        stream: TcpStream,
    ) -> Option<(bool, Option<PeerCertificate>, Opened<Stream>)> {
        let mut shakes_hands = self.tls.is_some();
        let metrics = Arc::clone(&self.metrics);
        let opening = async {
            let (stream, certificate) = match &self.tls {
                None => (Stream::Plain(stream), None),
                Some(tls) => handshake(tls, stream).await.map_err(Some)?,
            };
            shakes_hands = false;
            // What ends before it asks for anything needs no word.
            let (is_http2, opened) =
                Opened::read(stream, &self.limits, metrics).await.map_err(|_| None)?;
            Ok((is_http2, certificate, opened))
        };
        match timeout(self.limits.header_timeout, opening).await {
            Ok(Ok(opened)) => return Some(opened),
            Ok(Err(None)) => {}
            Ok(Err(Some(Failed { reason, why }))) => {
                tracing::debug!(reason = reason.name(), why, "no TLS connection");
                self.metrics.handshake_failed(reason);
            }
            Err(_) => {
                self.metrics.hit(LimitHit::HeaderTimeout);
                if shakes_hands {
                    self.metrics.handshake_failed(HandshakeFailure::Timeout);
                }
            }
        }
        None
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size((self.limits.max_header_bytes as usize).max(8 * 1024));
        builder
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.max_concurrent_streams)
            .max_header_list_size(self.limits.max_header_bytes)
            .max_pending_accept_reset_streams(self.limits.max_reset_streams)
            .max_local_error_reset_streams(self.limits.max_reset_streams)
            .keep_alive_interval(self.limits.keepalive_interval)
            .keep_alive_timeout(self.limits.keepalive_timeout);
        builder
    }

    /// Runs a connection until it ends, is too old, is asked to leave, or the server stops.
    async fn drive<C: GracefulConnection>(&mut self, connection: C, activity: Option<&Activity>) {
        let asked = async {
            match activity {
                Some(activity) => activity.asked().await,
                None => std::future::pending().await,
            }
        };
        let mut connection = pin!(connection);
        let end = tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(self.limits.connection_age) => End::Aged,
            () = asked => End::Asked,
            _ = self.stopped.wait_for(|stopped| *stopped) => End::Stopped,
        };
        connection.as_mut().graceful_shutdown();
        match end {
            // Bounded by whoever stopped the server.
            End::Stopped => drop(connection.await),
            // A stream that never ends must not keep an old connection.
            End::Aged => {
                self.metrics.hit(LimitHit::ConnectionAge);
                let _ = timeout(self.limits.shutdown_timeout, connection).await;
            }
            End::Asked => {
                let left = timeout(LEAVE, connection.as_mut()).await.is_ok();
                // A request that came meanwhile is answered.
                if !left && activity.is_some_and(Activity::is_busy) {
                    let _ = timeout(self.limits.shutdown_timeout, connection).await;
                }
            }
        }
    }
}

/// Why a stream is reset.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the address has too many requests under way: send it again")]
    Refused(#[source] h2::Error),
    #[error("the service failed")]
    Failed(#[source] BoxError),
}

impl Unanswered {
    /// Nothing was done for it: clients know that from the reason, and send it again.
    fn refused() -> Self {
        Self::Refused(h2::Error::from(h2::Reason::REFUSED_STREAM))
    }
}

/// Why a connection is to end.
enum End {
    Aged,
    Asked,
    Stopped,
}
