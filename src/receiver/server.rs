//! One hardened accept loop for every port.
//!
//! Bounds of [`Limits`]: connections, time to the first bytes, header bytes and time, streams,
//! resets, pings, age, and the time that a shutdown waits. HTTP/1.1 and HTTP/2 without TLS are
//! told apart by the first bytes, under the same deadline: hyper's own detection waits for ever.

use super::Limits;
use super::metrics::{LimitHit, Metrics, add};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// First bytes of an HTTP/2 connection. Source: RFC 9113, section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause after an accept error such as "too many open files": the socket stays readable, so
/// without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        Ok(Self { listener, address, limits, metrics })
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
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&slots) => accepted,
            };
            let Some((slot, stream, peer)) = accepted else { continue };
            add(&self.metrics.connections, 1);
            let connection = Connection {
                limits: self.limits.clone(),
                metrics: Arc::clone(&self.metrics),
                stopped: stopped.clone(),
            };
            let service = service.clone();
            connections.spawn(async move {
                let _slot = slot;
                connection.serve(stream, Peer(peer), service).await;
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

    /// The next connection, and its slot. Nothing after an error, which was waited out.
    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        if slots.available_permits() == 0 {
            self.metrics.hit(LimitHit::Connections);
        }
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, peer)) => Some((slot, stream, peer)),
            // The peer went away while it was waiting: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                tracing::warn!(address = %self.address, %error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

/// What one connection knows.
struct Connection {
    limits: Limits,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve<S, B>(mut self, stream: TcpStream, peer: Peer, service: S)
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
        let opened = tokio::select! {
            opened = timeout(self.limits.header_timeout, Opened::read(stream)) => opened,
            _ = self.stopped.wait_for(|stopped| *stopped) => return,
        };
        let (is_http2, stream) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => return,
            Err(_) => return self.metrics.hit(LimitHit::HeaderTimeout),
        };
        let service = service.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let service = TowerToHyperService::new(service);
        let io = TokioIo::new(stream);
        if is_http2 {
            let connection = self.http2().serve_connection(io, service);
            self.drive(connection).await;
        } else {
            let connection = self.http1().serve_connection(io, service);
            self.drive(connection).await;
        }
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

    /// Runs a connection until it ends, is too old, or the server stops.
    async fn drive<C: GracefulConnection>(&mut self, connection: C) {
        let mut connection = pin!(connection);
        let aged = tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(self.limits.connection_age) => true,
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
        };
        connection.as_mut().graceful_shutdown();
        if aged {
            self.metrics.hit(LimitHit::ConnectionAge);
            // A stream that never ends must not keep an old connection.
            let _ = timeout(self.limits.shutdown_timeout, connection).await;
        } else {
            // Bounded by whoever stopped the server.
            let _ = connection.await;
        }
    }
}

/// A stream whose first bytes were read to see what it speaks, and are read again.
struct Opened {
    stream: TcpStream,
    head: [u8; PREFACE.len()],
    read: usize,
    replayed: usize,
}

impl Opened {
    /// Reads until it is clear whether this is HTTP/2.
    async fn read(stream: TcpStream) -> io::Result<(bool, Self)> {
        let mut opened = Self { stream, head: [0; PREFACE.len()], read: 0, replayed: 0 };
        loop {
            let rest = opened.head.get_mut(opened.read..).unwrap_or_default();
            let read = opened.stream.read(rest).await?;
            opened.read = opened.read.saturating_add(read);
            let so_far = opened.head.get(..opened.read).unwrap_or_default();
            if !PREFACE.starts_with(so_far) {
                return Ok((false, opened));
            }
            if so_far.len() == PREFACE.len() {
                return Ok((true, opened));
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.head.get(this.replayed..this.read) {
            Some(rest) if !rest.is_empty() => {
                let length = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..length).unwrap_or_default());
                this.replayed = this.replayed.saturating_add(length);
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
