//! A receiver on free ports, and requests to it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spanledger::convert::Mappings;
use spanledger::intake::Intake;
use spanledger::ledger::{Ledger, Options};
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::receiver::{Limits, Receiver, Server};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) struct Running {
    pub(crate) receiver: Receiver,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) stop: (oneshot::Sender<()>, oneshot::Sender<()>),
    pub(crate) served: (JoinHandle<()>, JoinHandle<()>),
    _directory: tempfile::TempDir,
}

/// The real way in, over a ledger of its own.
fn intake(directory: &Path) -> Intake {
    let (ledger, _) = Ledger::open(&directory.join("ledger"), Options::default()).unwrap();
    let keys = Keys::open_or_create(&directory.join("keys")).unwrap();
    let protector = Protector::new(&Settings::default(), keys).unwrap();
    Intake::new(Mappings::builtin().unwrap(), protector, ledger)
}

pub(crate) async fn start(limits: Limits) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(intake(directory.path()), limits.clone());
    let bind = || {
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Server::bind(free_port, limits.clone(), receiver.metrics().clone())
    };
    let (http, grpc) = (bind().await.unwrap(), bind().await.unwrap());
    let addresses = (http.address(), grpc.address());
    let (stop_http, stopped_http) = oneshot::channel::<()>();
    let (stop_grpc, stopped_grpc) = oneshot::channel::<()>();
    let (http_service, grpc_service) = (receiver.http(), receiver.grpc());
    let served = (
        tokio::spawn(async move {
            http.serve(http_service, async { stopped_http.await.unwrap_or(()) }).await;
        }),
        tokio::spawn(async move {
            grpc.serve(grpc_service, async { stopped_grpc.await.unwrap_or(()) }).await;
        }),
    );
    Running {
        receiver,
        http: addresses.0,
        grpc: addresses.1,
        stop: (stop_http, stop_grpc),
        served,
        _directory: directory,
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name));
        value.map_or("", |value| value.to_str().unwrap())
    }
}

type Body = BoxBody<Bytes, Infallible>;

pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

/// A body that ends when its sender is dropped.
pub(crate) fn open_body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = ReceiverStream::new(receiver).map(|data| Ok(Frame::data(data)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri(path).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// One request over its own HTTP/1.1 connection.
pub(crate) async fn send(address: SocketAddr, request: Request<Body>) -> Answer {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = read(sender.send_request(request).await.unwrap()).await;
    connection.abort();
    answer
}

pub(crate) type Http2 = hyper::client::conn::http2::SendRequest<Body>;

pub(crate) async fn connect_http2(address: SocketAddr) -> Http2 {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn read(response: hyper::Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Answer { status: head.status, headers: head.headers, trailers, body: collected.to_bytes() }
}

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn span(name: &str) -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], name: name.to_owned(), ..Span::default() }
}

pub(crate) fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
