//! Peers that are slow, greedy or broken; each is bounded, and none disturbs another.

use super::setup::{
    PROTOBUF, connect_http2, open_body, post, read, send, span, start, traces, whole,
};
use bytes::Bytes;
use http::Request;
use prost::Message;
use spanledger::receiver::{LimitHit, Limits};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1024 * 1024;
const SHORT: Duration = Duration::from_millis(50);

fn good() -> Bytes {
    traces(vec![span("a")]).encode_to_vec().into()
}

#[tokio::test]
async fn a_bomb_is_refused_within_the_memory_that_is_its_due() {
    let bomb = zstd::encode_all(&vec![0; 200 * MIB][..], 1).unwrap();
    assert!(bomb.len() < 50_000);
    for (max_inflate_ratio, hit, most) in
        [(200, LimitHit::InflateRatio, 32 * MIB), (usize::MAX, LimitHit::RequestBytes, 80 * MIB)]
    {
        let running = start(Limits { max_inflate_ratio, ..Limits::default() }).await;
        let headers = [PROTOBUF, ("content-encoding", "zstd")];
        let answer = send(running.http, post("/v1/traces", &headers, whole(bomb.clone()))).await;
        assert_eq!(answer.status, 413);
        assert_eq!(running.receiver.metrics().hits(hit), 1);
        let budget = running.receiver.budget();
        assert!(budget.peak() < most, "{}", budget.peak());
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test]
async fn two_megabytes_of_empty_spans_are_refused_before_they_are_decoded() {
    let running = start(Limits::default()).await;
    // resource_spans { scope_spans { spans {} spans {} … } }
    let spans = [0x12, 0].repeat(MIB);
    let mut scope = vec![0x12];
    prost::encoding::encode_varint(spans.len() as u64, &mut scope);
    scope.extend(spans);
    let mut request = vec![0x0a];
    prost::encoding::encode_varint(scope.len() as u64, &mut request);
    request.extend(scope);
    let answer = send(running.http, post("/v1/traces", &[PROTOBUF], whole(request))).await;
    assert_eq!(answer.status, 413);
    assert!(running.receiver.budget().peak() < 8 * MIB);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up_and_may_come_again() {
    let running = start(Limits { body_timeout: SHORT, ..Limits::default() }).await;
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let answer = send(running.http, post("/v1/traces", &[PROTOBUF], body)).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(running.receiver.metrics().hits(LimitHit::BodyTimeout), 1);
    assert_eq!(running.receiver.budget().used(), 0);
    drop(sender);
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_word_is_closed() {
    let running = start(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    for words in ["", "P", "PRI * HT", "POST /v1/traces HTTP/1.1\r\nhost: "] {
        let mut stream = TcpStream::connect(running.http).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Either an end or a reset: both mean closed.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{words}");
    }
    assert_eq!(running.receiver.metrics().hits(LimitHit::HeaderTimeout), 3);
}

#[tokio::test]
async fn two_requests_are_in_flight_on_one_connection() {
    let running = start(Limits::default()).await;
    let mut client = connect_http2(running.http).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let slow = tokio::spawn(client.send_request(post(&uri, &[PROTOBUF], body)));
    let quick = client.send_request(post(&uri, &[PROTOBUF], whole(good()))).await.unwrap();
    assert_eq!(read(quick).await.status, 200);
    sender.send(good().slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(read(slow.await.unwrap().unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_request_that_finds_no_memory_is_told_to_come_again_and_then_succeeds() {
    let limits = Limits { memory_bytes: 900_000, ..Limits::default() };
    let running = start(limits).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let mut client = connect_http2(running.http).await;
    let large = Bytes::from(traces(vec![span(&"x".repeat(100_000))]).encode_to_vec());
    assert!(large.len() > 100_000);

    // Six that are not complete hold most of the memory.
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let (sender, body) = open_body();
        sender.send(large.slice(..large.len() - 1)).await.unwrap();
        let answer = tokio::spawn(client.send_request(post(&uri, &[PROTOBUF], body)));
        waiting.push((sender, answer));
    }
    while running.receiver.budget().used() < 600_000 {
        tokio::task::yield_now().await;
    }
    let refused = send(running.http, post("/v1/traces", &[PROTOBUF], whole(large.clone()))).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert!(running.receiver.metrics().hits(LimitHit::Memory) > 0);

    // Over gRPC the same is UNAVAILABLE with RetryInfo.
    let framed = [&[0, 0, 1, 0x86, 0xb0][..], &large].concat();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let request = post(&format!("http://{}{export}", running.grpc), &headers, whole(framed));
    let answer = connect_http2(running.grpc).await.send_request(request).await.unwrap();
    let answer = read(answer).await;
    assert_eq!(answer.header("grpc-status"), "14");
    assert!(!answer.header("grpc-status-details-bin").is_empty());

    drop(waiting);
    while running.receiver.budget().used() > 0 {
        tokio::task::yield_now().await;
    }
    let accepted = send(running.http, post("/v1/traces", &[PROTOBUF], whole(large))).await;
    assert_eq!(accepted.status, 200);
}

#[tokio::test]
async fn a_request_that_never_could_have_memory_must_not_come_again() {
    let running = start(Limits { memory_bytes: 150_000, ..Limits::default() }).await;
    let large = traces(vec![span(&"x".repeat(100_000))]).encode_to_vec();
    let answer = send(running.http, post("/v1/traces", &[PROTOBUF], whole(large))).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_length_that_is_announced_allocates_nothing() {
    let running = start(Limits { body_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                content-length: 60000000\r\n\r\nab";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 503"));
    assert!(running.receiver.budget().peak() < 1000);
}

#[tokio::test]
async fn messages_nested_without_end_are_refused() {
    let running = start(Limits::default()).await;
    // An array in an array in an array …
    let mut value: Vec<u8> = Vec::new();
    for tag in [0x0a, 0x2a].repeat(5_000) {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(value.len() as u64, &mut outer);
        outer.extend(value);
        value = outer;
    }
    for tag in [0x12, 0x4a, 0x12, 0x12, 0x0a] {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(value.len() as u64, &mut outer);
        outer.extend(value);
        value = outer;
    }
    let answer = send(running.http, post("/v1/traces", &[PROTOBUF], whole(value))).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_shutdown_lets_a_request_in_flight_finish_and_takes_no_other() {
    let running = start(Limits::default()).await;
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let address = running.http;
    let slow = tokio::spawn(send(address, post("/v1/traces", &[PROTOBUF], body)));
    while running.receiver.budget().used() == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.0.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    sender.send(good().slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(slow.await.unwrap().status, 200);
    running.served.0.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_cuts_off_who_does_not_finish() {
    let running = start(Limits { shutdown_timeout: SHORT, ..Limits::default() }).await;
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let mut client = connect_http2(running.http).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let request: Request<_> = post(&uri, &[PROTOBUF], body);
    let slow = tokio::spawn(client.send_request(request));
    while running.receiver.budget().used() == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.0.send(()).unwrap();
    running.served.0.await.unwrap();
    assert!(slow.await.unwrap().is_err());
    drop(sender);
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_ends() {
    let running = start(Limits { max_connections: 1, ..Limits::default() }).await;
    let first = TcpStream::connect(running.http).await.unwrap();
    while running.receiver.metrics().connections.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn(send(running.http, post("/v1/traces", &[PROTOBUF], whole(good()))));
    while running.receiver.metrics().hits(LimitHit::Connections) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn an_old_connection_is_closed_after_its_requests() {
    let running = start(Limits { connection_age: SHORT, ..Limits::default() }).await;
    let mut client = connect_http2(running.http).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let slow = tokio::spawn(client.send_request(post(&uri, &[PROTOBUF], body)));
    while running.receiver.metrics().hits(LimitHit::ConnectionAge) == 0 {
        tokio::task::yield_now().await;
    }
    sender.send(good().slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(read(slow.await.unwrap().unwrap()).await.status, 200);
    while !client.is_closed() {
        tokio::task::yield_now().await;
    }
}

/// A connection that has said that it speaks HTTP/2, and says nothing more whatever it is told.
async fn mute(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // An empty SETTINGS frame follows the preface.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // The server's settings: it has been taken for HTTP/2.
    stream.read_exact(&mut [0; 9]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_an_idle_one_and_of_no_other() {
    let limits = Limits { max_connections: 3, idle_after: Duration::ZERO, ..Limits::default() };
    let running = start(limits).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let request = |body| post(&uri, &[PROTOBUF], body);
    // One with a body that is half there, one that has done something, and one that is silent.
    let mut busy = connect_http2(running.http).await;
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let half = tokio::spawn(busy.send_request(request(body)));
    while running.receiver.budget().used() == 0 {
        tokio::task::yield_now().await;
    }
    let mut silent = mute(running.http).await;
    let mut active = connect_http2(running.http).await;
    let answer = active.send_request(request(whole(good()))).await.unwrap();
    assert_eq!(read(answer).await.status, 200);

    let mut rest = Vec::new();
    let fourth = send(running.http, post("/v1/traces", &[PROTOBUF], whole(good())));
    let (fourth, _) = tokio::join!(fourth, silent.read_to_end(&mut rest));
    assert_eq!(fourth.status, 200);
    let metrics = running.receiver.metrics();
    assert!(metrics.hits(LimitHit::Connections) >= 1);
    assert!(metrics.connections_evicted.load(std::sync::atomic::Ordering::Relaxed) >= 1);
    assert!(!busy.is_closed() && !half.is_finished());
    sender.send(good().slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(read(half.await.unwrap().unwrap()).await.status, 200, "nobody cut it off");
}

#[tokio::test]
async fn whoever_was_active_a_moment_ago_keeps_its_place() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let running = start(limits).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let mut first = connect_http2(running.http).await;
    let ask = async |sender: &mut super::setup::Http2| {
        let request = post(&uri, &[PROTOBUF], whole(good()));
        read(sender.send_request(request).await.unwrap()).await.status
    };
    assert_eq!(ask(&mut first).await, 200);
    let second = tokio::spawn(send(running.http, post("/v1/traces", &[PROTOBUF], whole(good()))));
    while running.receiver.metrics().hits(LimitHit::Connections) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&mut first).await, 200);
    assert!(!second.is_finished());
    let metrics = running.receiver.metrics();
    assert_eq!(metrics.connections_evicted.load(std::sync::atomic::Ordering::Relaxed), 0);
    drop(first);
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_too_many_of_an_address_is_refused_as_one_that_may_come_again() {
    let running = start(Limits { max_streams_per_address: 1, ..Limits::default() }).await;
    let uri = format!("http://{}/v1/traces", running.http);
    let mut first = connect_http2(running.http).await;
    let (sender, body) = open_body();
    sender.send(good().slice(..10)).await.unwrap();
    let half = tokio::spawn(first.send_request(post(&uri, &[PROTOBUF], body)));
    while running.receiver.budget().used() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = connect_http2(running.http).await;
    let refused = second.send_request(post(&uri, &[PROTOBUF], whole(good()))).await.unwrap_err();
    assert!(format!("{refused:?}").contains("REFUSED_STREAM"), "{refused:?}");
    assert_eq!(running.receiver.metrics().hits(LimitHit::StreamsPerAddress), 1);
    sender.send(good().slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(read(half.await.unwrap().unwrap()).await.status, 200);
    let again = second.send_request(post(&uri, &[PROTOBUF], whole(good()))).await.unwrap();
    assert_eq!(read(again).await.status, 200, "on the same connection");
}
