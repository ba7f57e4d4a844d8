//! The client of OTLP over gRPC against a server that answers what a test says, byte by byte.

use super::receiver::{DEADLINE, block_on};
use crate::layer::outbox::{
    Delivered, Destination, Otlp, OtlpError, OtlpReceiver, Receipt, SendError, Signal, Token,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// What the server saw of a call.
#[derive(Debug, Clone)]
struct Call {
    path: String,
    headers: HeaderMap,
    message: Bytes,
}

/// What it answers: a status, with details, and the message's bytes where that is 0.
#[derive(Debug, Clone, Default)]
struct Answer {
    status: u16,
    details: Vec<u8>,
    message: Vec<u8>,
    receipts: Option<String>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// Starts the server in a runtime, and gives its address.
fn serve(
    runtime: &Runtime,
    answer: impl Fn(&Call) -> Answer + Send + Sync + 'static,
) -> (String, Calls) {
    let calls = Calls::default();
    let answer = Arc::new(answer);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = calls.clone();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, seen) = (answer.clone(), seen.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, seen) = (answer.clone(), seen.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let message = body.collect().await.unwrap().to_bytes().slice(5..);
                    let call =
                        Call { path: head.uri.path().to_owned(), headers: head.headers, message };
                    let answered = respond(&answer(&call));
                    seen.lock().unwrap().push(call);
                    Ok::<_, Infallible>(answered)
                }
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, calls)
}

fn respond(
    answer: &Answer,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(answer.status));
    trailers.insert("grpc-message", HeaderValue::from_static("it said so"));
    if !answer.details.is_empty() {
        let details = STANDARD_NO_PAD.encode(&answer.details);
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
    }
    let mut response = Response::builder().header("content-type", "application/grpc");
    if let Some(receipts) = &answer.receipts {
        response = response.header("spanledger-receipt", receipts);
    }
    let mut body = Vec::new();
    if answer.status == 0 {
        body.push(0);
        body.extend(u32::try_from(answer.message.len()).unwrap().to_be_bytes());
        body.extend(&answer.message);
    }
    let body = Full::new(Bytes::from(body));
    response.body(body.with_trailers(std::future::ready(Some(Ok(trailers))))).unwrap()
}

fn send(runtime: &Runtime, to: &OtlpReceiver, receipts: bool) -> Result<Delivered, SendError> {
    runtime.block_on(to.send(Signal::Spans, Bytes::from_static(b"a request"), receipts))
}

fn receiver(address: &str) -> OtlpReceiver {
    OtlpReceiver::new(Otlp::new(address)).unwrap()
}

/// Two runtimes: the server's, and one as the sender has.
fn runtimes() -> (Runtime, Runtime) {
    (Runtime::new().unwrap(), Builder::new_current_thread().enable_all().build().unwrap())
}

#[test]
fn a_request_goes_unchanged_to_the_method_of_its_signal() {
    let (server, client) = runtimes();
    let (address, calls) = serve(&server, |_| Answer::default());
    let to = receiver(&address);
    assert_eq!(send(&client, &to, false).unwrap().refused, 0);
    client.block_on(to.send(Signal::Logs, Bytes::from_static(b"logs"), true)).unwrap();
    let calls = calls.lock().unwrap();
    let [spans, logs] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(spans.path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(logs.path, "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    assert_eq!((&spans.message[..], &logs.message[..]), (&b"a request"[..], &b"logs"[..]));
    assert_eq!(spans.headers.get("spanledger-receipt"), None);
    assert_eq!(logs.headers["spanledger-receipt"], "1");
    let agent = spans.headers["user-agent"].to_str().unwrap();
    assert!(agent.starts_with("spanledger-layer/"), "{agent}");
    assert_eq!(spans.headers.get("grpc-encoding"), None, "not compressed");
}

#[test]
fn receipts_are_read_from_the_answer_and_never_half() {
    let entry = |sequence: u64| [&sequence.to_be_bytes()[..], &[9; 32]].concat();
    let both = [entry(5), entry(6)].concat();
    let receipt = |sequence| Receipt { sequence, leaf_hash: [9; 32] };
    let (server, client) = runtimes();
    for (header, expected) in [
        (Some(STANDARD_NO_PAD.encode(&both)), vec![receipt(5), receipt(6)]),
        (Some(STANDARD_NO_PAD.encode(&both[..79])), Vec::new()),
        (Some("not base64".to_owned()), Vec::new()),
        (None, Vec::new()),
    ] {
        let receipts = header.clone();
        let (address, _) =
            serve(&server, move |_| Answer { receipts: receipts.clone(), ..Answer::default() });
        let delivered = send(&client, &receiver(&address), true).unwrap();
        assert_eq!(delivered.receipts, expected, "{header:?}");
    }
}

#[test]
fn partial_success_is_read() {
    let (server, client) = runtimes();
    let (address, _) = serve(&server, |_| {
        let message = [&[10, 8, 8, 3, 18, 4][..], b"why?"].concat();
        Answer { message, ..Answer::default() }
    });
    let delivered = send(&client, &receiver(&address), false).unwrap();
    assert_eq!((delivered.refused, delivered.why.as_deref()), (3, Some("why?")));
}

#[test]
fn each_status_says_what_becomes_of_the_request() {
    // google.rpc.Status { details: [Any { RetryInfo { 2 s } }] }
    let kind = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![10, u8::try_from(kind.len()).unwrap()];
    any.extend(kind);
    any.extend([18, 4, 10, 2, 8, 2]);
    let mut retry_info = vec![26, u8::try_from(any.len()).unwrap()];
    retry_info.extend(any);
    let (server, client) = runtimes();
    let judged = |status: u16, details: &[u8]| {
        let answer = Answer { status, details: details.to_vec(), ..Answer::default() };
        let (address, _) = serve(&server, move |_| answer.clone());
        send(&client, &receiver(&address), false).unwrap_err()
    };
    let two = Duration::from_secs(2);
    for later in [1, 4, 10, 11, 14, 15] {
        assert!(matches!(judged(later, b""), SendError::Later { after: None, .. }), "{later}");
    }
    for asked in [8, 14] {
        let judged = judged(asked, &retry_info);
        assert!(matches!(judged, SendError::Later { after: Some(it), .. } if it == two), "{asked}");
    }
    assert!(matches!(judged(8, b""), SendError::TooLarge { .. }));
    assert!(matches!(judged(12, b""), SendError::Unserved { .. }));
    for slowly in [5, 7, 16] {
        let judged = judged(slowly, b"");
        assert!(matches!(judged, SendError::Later { after: Some(it), .. } if it > two), "{slowly}");
    }
    for broken in [2, 13] {
        assert!(matches!(judged(broken, b""), SendError::Broken { .. }), "{broken}");
    }
    for never in [3, 6, 9] {
        let judged = judged(never, b"");
        let SendError::Never { reason } = judged else { panic!("{never}: {judged:?}") };
        assert!(reason.contains("it said so"), "{reason}");
    }
}

#[test]
fn a_token_comes_from_a_file_that_is_read_again_when_it_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old\n").unwrap();
    let (server, client) = runtimes();
    let (address, _) = serve(&server, |call| {
        let known = call.headers.get("authorization").is_some_and(|it| it == "Bearer new");
        Answer { status: if known { 0 } else { 16 }, ..Answer::default() }
    });
    let token = Some(Token::File(path.clone()));
    let to = OtlpReceiver::new(Otlp { token, ..Otlp::new(&address) }).unwrap();
    assert!(matches!(send(&client, &to, false), Err(SendError::Later { .. })));
    std::fs::write(&path, "new\n").unwrap();
    send(&client, &to, false).unwrap();
    let token = Some(Token::Text("new".to_owned()));
    let to = OtlpReceiver::new(Otlp { token, ..Otlp::new(&address) }).unwrap();
    send(&client, &to, false).unwrap();
}

#[test]
fn nobody_at_the_address_means_later_and_the_connection_is_made_when_somebody_is() {
    let (server, client) = runtimes();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let to = receiver(&nobody);
    let error = send(&client, &to, false).unwrap_err();
    assert!(
        matches!(&error, SendError::Later { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    let listener =
        server.block_on(TcpListener::bind(nobody.trim_start_matches("http://"))).unwrap();
    server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(respond(&Answer::default()))
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http2.serve_connection(TokioIo::new(stream), service).await
    });
    send(&client, &to, false).unwrap();
}

#[test]
fn a_connection_that_breaks_means_later() {
    let (server, client) = runtimes();
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    server.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut some).await;
        }
    });
    let error = send(&client, &receiver(&address), false).unwrap_err();
    assert!(matches!(error, SendError::Later { .. }), "{error:?}");
}

#[test]
fn an_address_or_a_token_that_cannot_work_is_an_error_at_the_start() {
    let refused = |otlp| OtlpReceiver::new(otlp).err().unwrap();
    for address in ["", "localhost", "localhost:4317", "ftp://localhost", "http://"] {
        let error = refused(Otlp::new(address));
        assert!(matches!(error, OtlpError::Address { .. }), "{address}: {error}");
    }
    let address = "http://localhost:4317";
    let token = Some(Token::Text("line\nbreak".to_owned()));
    assert!(matches!(refused(Otlp { token, ..Otlp::new(address) }), OtlpError::Token));
    let token = Some(Token::File("/nowhere/token".into()));
    let error = refused(Otlp { token, ..Otlp::new(address) });
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
    #[cfg(not(feature = "layer-tls"))]
    {
        let error = refused(Otlp::new("https://localhost:4317"));
        assert!(error.to_string().contains("layer-tls"), "{error}");
    }
    let secret = Otlp { token: Some(Token::Text("secret".to_owned())), ..Otlp::new(address) };
    assert!(!format!("{secret:?}").contains("secret"));
}

#[test]
fn an_agent_needs_no_tokio() {
    let (server, _) = runtimes();
    let (address, calls) = serve(&server, |_| Answer::default());
    let settings = crate::layer::outbox::Settings::new(crate::layer::outbox::Policy::Memory(
        crate::layer::outbox::WhenFull::Gap,
    ));
    let to = Arc::new(receiver(&address));
    let outbox = crate::layer::outbox::Outbox::start(settings, |_| Vec::new(), to).unwrap();
    super::receiver::push(&outbox, 100);
    assert!(block_on(outbox.delivered(DEADLINE)).complete);
    assert!(block_on(outbox.shutdown(DEADLINE)).complete);
    assert_eq!(calls.lock().unwrap().len(), 3, "hello, a record, goodbye");
}
