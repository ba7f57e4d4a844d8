//! OTLP over gRPC: tonic's client, and raw calls for what no client sends.

use super::setup::{
    Answer, Running, connect_http2, gzip, post, read, send, span, start, traces, whole,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use spanledger::receiver::Limits;
use tonic::Code;
use tonic::codec::CompressionEncoding;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

async fn traces_client(running: &Running) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(format!("http://{}", running.grpc)).await.unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

async fn call(running: &Running, path: &str, encoding: &str, body: Vec<u8>) -> Answer {
    let headers =
        [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-encoding", encoding)];
    let request = post(&format!("http://{}{path}", running.grpc), &headers, whole(body));
    read(connect_http2(running.grpc).await.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn tonics_client_exports_traces_plain_and_compressed() {
    let running = start(Limits::default()).await;
    let plain = traces_client(&running).await;
    for mut client in [
        plain.clone(),
        plain.clone().send_compressed(CompressionEncoding::Gzip),
        plain.clone().send_compressed(CompressionEncoding::Zstd),
    ] {
        let response = client.export(traces(vec![span("a")])).await.unwrap().into_inner();
        assert_eq!(response.partial_success, None);
    }
    let mut client = plain;
    let mut bad = span("bad");
    bad.span_id = vec![0; 8];
    let response = client.export(traces(vec![bad, span("good")])).await.unwrap().into_inner();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 1);
    assert_eq!(client.export(traces(vec![])).await.unwrap().into_inner().partial_success, None);
}

#[tokio::test]
async fn tonics_client_exports_logs() {
    let running = start(Limits::default()).await;
    let endpoint = format!("http://{}", running.grpc);
    let mut client = LogsServiceClient::connect(endpoint).await.unwrap();
    let no_ids = LogRecord::default();
    let bad = LogRecord { trace_id: vec![1; 15], ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![no_ids, bad], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let request = ExportLogsServiceRequest { resource_logs };
    let response = client.export(request).await.unwrap().into_inner();
    assert_eq!(response.partial_success.unwrap().rejected_log_records, 1);
}

#[tokio::test]
async fn a_message_over_the_limit_must_not_be_sent_again() {
    let running = start(Limits { max_request_bytes: 10_000, ..Limits::default() }).await;
    let client = traces_client(&running).await;
    let request = traces(vec![span(&"x".repeat(20_000))]);
    for mut client in [client.clone(), client.send_compressed(CompressionEncoding::Gzip)] {
        let status = client.export(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.details(), b"", "RetryInfo would ask for a retry");
    }
}

#[tokio::test]
async fn each_refusal_has_its_code_in_an_answer_of_headers_only() {
    let running = start(Limits::default()).await;
    let good = traces(vec![span("a")]).encode_to_vec();
    let twice = [framed(0, &good), framed(0, &good)].concat();
    let cut = framed(0, &good)[..20].to_vec();
    let metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    for (expected, path, encoding, body) in [
        (Code::Ok, EXPORT, "identity", framed(0, &good)),
        (Code::Ok, EXPORT, "gzip", framed(1, &gzip(&good))),
        (Code::Ok, EXPORT, "gzip", framed(0, &good)),
        (Code::InvalidArgument, EXPORT, "identity", framed(0, &good[..good.len() - 1])),
        (Code::InvalidArgument, EXPORT, "identity", framed(1, &gzip(&good))),
        (Code::InvalidArgument, EXPORT, "gzip", framed(1, &good)),
        (Code::InvalidArgument, EXPORT, "identity", cut),
        (Code::Unimplemented, EXPORT, "identity", twice),
        (Code::Unimplemented, EXPORT, "identity", vec![]),
        (Code::Unimplemented, EXPORT, "br", framed(1, &good)),
        (Code::Unimplemented, metrics, "identity", framed(0, &good)),
        (Code::Unimplemented, "/a.B/C", "identity", framed(0, &good)),
    ] {
        let answer = call(&running, path, encoding, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert_eq!(
            answer.header("grpc-status"),
            (expected as i32).to_string(),
            "{path} {encoding}"
        );
        assert!(answer.header("grpc-accept-encoding").contains("zstd"));
        if expected != Code::Ok {
            assert!(answer.headers.contains_key("grpc-message"), "{path} {encoding}");
            assert!(answer.body.is_empty() && answer.trailers.is_empty());
        }
    }
}

#[tokio::test]
async fn the_wrong_protocol_is_told_where_it_belongs() {
    let running = start(Limits::default()).await;
    let answer = send(running.grpc, post("/v1/traces", &[super::setup::PROTOBUF], whole(""))).await;
    assert_eq!(answer.status, 415);
    assert!(String::from_utf8(answer.body.to_vec()).unwrap().contains("4318"));
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_pretend_to_be_a_grpc_client() {
    let running = start(Limits::default()).await;
    let grpc = [("content-type", "application/grpc")];
    let request = post(EXPORT, &grpc, whole(framed(0, &traces(vec![span("a")]).encode_to_vec())));
    let answer = send(running.grpc, request).await;
    assert_eq!(answer.status, 415, "HTTP/1.1 is not gRPC");
    assert_eq!(
        running.receiver.metrics().requests_refused.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}
