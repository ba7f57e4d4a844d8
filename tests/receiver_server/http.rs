//! OTLP over HTTP: each status, and what stands beside it.

use super::setup::{Answer, JSON, PROTOBUF, gzip, post, send, span, start, traces, whole};
use http::Method;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use spanledger::receiver::Limits;
use std::sync::atomic::Ordering;

const SPAN: &str = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}"#;

fn json(spans: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

async fn status(headers: &[(&str, &str)], path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let running = start(Limits::default()).await;
    send(running.http, post(path, headers, whole(body))).await
}

#[tokio::test]
async fn a_request_that_is_accepted_whole_is_answered_without_partial_success() {
    let running = start(Limits::default()).await;
    let body = traces(vec![span("a"), span("b")]).encode_to_vec();
    for (encoding, body) in [
        ("identity", body.clone()),
        ("gzip", gzip(&body)),
        ("zstd", zstd::encode_all(&body[..], 1).unwrap()),
    ] {
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        let answer = send(running.http, post("/v1/traces", &headers, whole(body))).await;
        assert_eq!(answer.status, 200, "{encoding}");
        assert_eq!(answer.header("content-type"), "application/x-protobuf");
        let response = ExportTraceServiceResponse::decode(answer.body).unwrap();
        assert_eq!(response.partial_success, None);
    }
    let answer = send(running.http, post("/v1/traces", &[JSON], whole(json(SPAN)))).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(running.receiver.metrics().spans_accepted.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn an_empty_request_succeeds() {
    for (content_type, body) in [(PROTOBUF, ""), (JSON, "{}")] {
        for path in ["/v1/traces", "/v1/logs"] {
            assert_eq!(status(&[content_type], path, body).await.status, 200);
        }
    }
}

#[tokio::test]
async fn records_that_never_will_be_accepted_are_counted_in_a_success() {
    let mut bad = span("bad");
    bad.trace_id.pop();
    let body = traces(vec![span("good"), bad]).encode_to_vec();
    let answer = status(&[PROTOBUF], "/v1/traces", body).await;
    assert_eq!(answer.status, 200);
    let partial = ExportTraceServiceResponse::decode(answer.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("trace id"), "{}", partial.error_message);

    let body = json(&format!(r#"{SPAN},{{"traceId":"00"}}"#));
    let answer = status(&[("content-type", "application/json; charset=utf-8")], "/v1/traces", body);
    let body: serde_json::Value = serde_json::from_slice(&answer.await.body).unwrap();
    assert_eq!(body["partialSuccess"]["rejectedSpans"], "1");
}

#[tokio::test]
async fn text_that_is_not_utf8_is_accepted() {
    let mut body = traces(vec![span("name??"), span("neighbour")]).encode_to_vec();
    for byte in &mut body {
        if *byte == b'?' {
            *byte = 0xff;
        }
    }
    let answer = status(&[PROTOBUF], "/v1/traces", body).await;
    assert_eq!(answer.status, 200);
    assert!(ExportTraceServiceResponse::decode(answer.body).unwrap().partial_success.is_none());
}

#[tokio::test]
async fn each_refusal_has_its_status_and_the_content_type_of_the_request() {
    let good = || traces(vec![span("a")]).encode_to_vec();
    let truncated = || good()[..good().len() - 1].to_vec();
    let encoded = |encoding| [PROTOBUF, ("content-encoding", encoding)];
    for (expected, headers, path, body) in [
        (400, &[PROTOBUF][..], "/v1/traces", truncated()),
        (400, &[JSON], "/v1/logs", b"{\"resourceLogs\":[".to_vec()),
        (400, &encoded("gzip"), "/v1/traces", good()),
        (400, &encoded("gzip"), "/v1/traces", gzip(&truncated())),
        (400, &encoded("zstd"), "/v1/traces", gzip(&good())),
        (404, &[PROTOBUF], "/v1/metrics", good()),
        (404, &[PROTOBUF], "/", good()),
        (415, &[("content-type", "text/plain")], "/v1/traces", good()),
        (415, &[], "/v1/traces", good()),
        (415, &encoded("br"), "/v1/traces", good()),
        (415, &encoded("gzip, gzip"), "/v1/traces", good()),
    ] {
        let answer = status(headers, path, body).await;
        assert_eq!(answer.status, expected, "{path} {headers:?}");
        let protobuf = headers.contains(&PROTOBUF);
        let content_type = if protobuf { PROTOBUF.1 } else { JSON.1 };
        assert_eq!(answer.header("content-type"), content_type, "{path} {headers:?}");
        let message = if protobuf {
            // google.rpc.Status: 1 code, 2 message.
            message_of(&answer.body)
        } else {
            let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            status["message"].as_str().unwrap().to_owned()
        };
        assert!(!message.is_empty(), "{path} {headers:?}");
        assert_eq!(answer.header("retry-after"), "", "never again");
        if expected == 415 {
            assert!(answer.header("accept-encoding").contains("gzip"));
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn message_of(body: &[u8]) -> String {
    let status = Status::decode(body).unwrap();
    assert!(status.code > 0);
    status.message
}

#[tokio::test]
async fn another_method_is_told_which_one_to_use() {
    let running = start(Limits::default()).await;
    let mut request = post("/v1/traces", &[], whole(""));
    *request.method_mut() = Method::GET;
    let answer = send(running.http, request).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_request_over_the_limit_is_too_large_however_it_is_sent() {
    let limits = Limits { max_request_bytes: 10_000, ..Limits::default() };
    let running = start(limits).await;
    let body = traces(vec![span(&"x".repeat(20_000))]).encode_to_vec();
    let compressed = gzip(&body);
    assert!(compressed.len() < 10_000);
    for (encoding, body) in [("identity", body), ("gzip", compressed)] {
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        let answer = send(running.http, post("/v1/traces", &headers, whole(body))).await;
        assert_eq!(answer.status, 413, "{encoding}");
    }
    assert_eq!(running.receiver.budget().used(), 0);
}

#[tokio::test]
async fn a_large_request_is_decoded_off_the_async_threads_and_accepted() {
    let running = start(Limits::default()).await;
    // Nothing in it repeats often enough for the ratio to count.
    let spans = (0..4_000).map(|n| span(&format!("{n:0>1000}"))).collect();
    let body = traces(spans).encode_to_vec();
    assert!(body.len() > 4_000_000);
    for (encoding, body) in [("identity", body.clone()), ("gzip", gzip(&body))] {
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        let answer = send(running.http, post("/v1/traces", &headers, whole(body))).await;
        assert_eq!(answer.status, 200, "{encoding}");
    }
    assert_eq!(running.receiver.metrics().spans_accepted.load(Ordering::Relaxed), 8_000);
    assert_eq!(running.receiver.budget().used(), 0);
}

#[tokio::test]
async fn the_accept_loop_serves_a_router_and_says_who_is_asking() {
    use axum::{Extension, Router, routing::get};
    use spanledger::receiver::{Peer, Server};
    let address = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(address, Limits::default(), std::sync::Arc::default()).await.unwrap();
    let address = server.address();
    let who = get(|Extension(peer): Extension<Peer>| async move { peer.0.ip().to_string() });
    tokio::spawn(server.serve(Router::new().route("/who", who), std::future::pending()));
    let mut request = post("/who", &[], whole(""));
    *request.method_mut() = Method::GET;
    assert_eq!(send(address, request).await.body, "127.0.0.1");
}
