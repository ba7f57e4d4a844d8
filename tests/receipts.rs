//! Receipts: what a client that asks is told of its records is what the API shows, over gRPC and
//! HTTP, from the built binary.
#![cfg(feature = "server")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message as _;
use serde_json::Value;
use spanledger::receiver::MAX_RECEIPTS;
use support::requests::{START_NS, request, span, span_id_hex, text};
use support::server::{DEADLINE, Server, look_until};
use tempfile::TempDir;

const HEADER: &str = "spanledger-receipt";

/// In the receipt of a record that was refused.
const REFUSED: (u64, [u8; 32]) = (u64::MAX, [0; 32]);

/// Sequence and leaf hash of each record.
type Receipts = Vec<(u64, [u8; 32])>;

async fn start() -> (TempDir, Server) {
    let data = TempDir::new().unwrap();
    let server = Server::start(data.path()).await;
    (data, server)
}

fn parsed(header: &str) -> Receipts {
    let bytes = STANDARD_NO_PAD.decode(header).unwrap();
    let (receipts, rest) = bytes.as_chunks::<40>();
    assert!(rest.is_empty());
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    receipts.iter().map(|it| (number(&it[..8]), it[8..].try_into().unwrap())).collect()
}

/// Exports over gRPC; asks for receipts with that value, if any. Gives the number of refused spans
/// and the receipts.
async fn grpc(
    server: &Server,
    spans: &ExportTraceServiceRequest,
    ask: Option<&'static str>,
) -> (i64, Option<Receipts>) {
    let address = format!("http://{}", server.grpc());
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    let mut call = tonic::Request::new(spans.clone());
    if let Some(ask) = ask {
        call.metadata_mut().insert(HEADER, ask.parse().unwrap());
    }
    let answer = client.export(call).await.unwrap();
    let receipts = answer.metadata().get(HEADER).map(|header| parsed(header.to_str().unwrap()));
    let refused = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
    (refused, receipts)
}

/// The same over HTTP, without the number.
async fn http(
    server: &Server,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
    ask: Option<&str>,
) -> (Option<Receipts>, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", server.http());
    let mut request = client.post(url).header("content-type", content_type).body(body);
    if let Some(ask) = ask {
        request = request.header(HEADER, ask);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = answer.headers().get(HEADER).map(|header| parsed(header.to_str().unwrap()));
    (header, answer.bytes().await.unwrap().to_vec())
}

async fn http_spans(server: &Server, spans: &ExportTraceServiceRequest) -> Option<Receipts> {
    let body = spans.encode_to_vec();
    http(server, "/v1/traces", "application/x-protobuf", body, Some("1")).await.0
}

/// Spans that are told apart by nothing but their serial number.
fn spans(serials: impl IntoIterator<Item = u64>) -> ExportTraceServiceRequest {
    let attributes = || vec![text("external.trace_id", "receipts-1042")];
    request(serials.into_iter().map(|serial| span(serial, attributes())).collect())
}

/// What the API shows of the entries of these spans, once it shows all: sequence and leaf hash of
/// each that is a record of its own, in the order of the serial numbers.
async fn shown(server: &Server, serials: impl IntoIterator<Item = u64>) -> Receipts {
    let mut all = Receipts::new();
    for serial in serials {
        let look = async || {
            let query = format!("span.id:{}", span_id_hex(serial));
            let found = server.get(&format!("/api/v1/entries?q={query}")).await;
            let entries = found["entries"].as_array()?;
            let own = entries.iter().find(|it| it["event"]["dataset"] != "otlp.span_event")?;
            Some(own["event"]["id"].as_str()?.to_owned())
        };
        let id = look_until(DEADLINE, look).await.expect("the entry is found");
        all.push(place(&server.get(&format!("/api/v1/entries/{id}")).await));
    }
    all
}

fn place(entry: &Value) -> (u64, [u8; 32]) {
    let hash = entry["event"]["hash"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap();
    (entry["event"]["sequence"].as_u64().unwrap(), std::array::from_fn(byte))
}

#[tokio::test]
async fn a_client_that_asks_gets_the_sequence_and_leaf_hash_that_the_api_shows() {
    let (_data, server) = start().await;
    let (refused, receipts) = grpc(&server, &spans(0..3), Some("1")).await;
    let over_grpc = receipts.expect("receipts in the initial metadata");
    assert_eq!(refused, 0);
    let over_http = http_spans(&server, &spans([4, 3])).await.expect("receipts in the header");
    assert_eq!(over_grpc, shown(&server, 0..3).await);
    assert_eq!(over_http, shown(&server, [4, 3]).await, "in the order in which they were sent");
    assert_eq!(over_http[0].0 + 1, over_http[1].0);
    server.terminate().await;
}

#[tokio::test]
async fn what_is_sent_again_has_the_receipt_of_its_original() {
    let (_data, server) = start().await;
    let first = http_spans(&server, &spans(0..3)).await.unwrap();
    // One that is new between two that are not: their sequences do not follow each other.
    let (_, again) = grpc(&server, &spans([2, 7, 0]), Some("1")).await;
    let again = again.unwrap();
    assert_eq!((again[0], again[2]), (first[2], first[0]));
    assert_eq!(again[1], shown(&server, [7]).await[0]);
    assert_eq!(http_spans(&server, &spans([0, 1, 2])).await.unwrap(), first);
    // Twice in one request.
    let twice = http_spans(&server, &spans([9, 9])).await.unwrap();
    assert_eq!(twice[0], twice[1]);
    server.terminate().await;
}

#[tokio::test]
async fn a_refused_record_keeps_its_place_among_the_receipts() {
    let (_data, server) = start().await;
    let bad = |serial| Span { trace_id: vec![1; 15], ..span(serial, Vec::new()) };
    let mixed = request(vec![bad(0), span(1, Vec::new()), bad(2), span(3, Vec::new())]);
    let (refused, receipts) = grpc(&server, &mixed, Some("1")).await;
    assert_eq!(refused, 2);
    let good = shown(&server, [1, 3]).await;
    let expected = vec![REFUSED, good[0], REFUSED, good[1]];
    assert_eq!(receipts.as_ref(), Some(&expected));
    assert_eq!(http_spans(&server, &mixed).await.as_ref(), Some(&expected));
    // Nothing but refused ones is a success, too.
    assert_eq!(http_spans(&server, &request(vec![bad(4)])).await, Some(vec![REFUSED]));
    assert_eq!(http_spans(&server, &request(Vec::new())).await, None, "no record, no receipt");
    server.terminate().await;
}

#[tokio::test]
async fn a_record_that_becomes_several_entries_has_the_receipt_of_the_record_itself() {
    let (_data, server) = start().await;
    let decided = Event {
        time_unix_nano: START_NS,
        name: "spanledger.decision".to_owned(),
        attributes: vec![text("spanledger.decision.outcome", "deny")],
        ..Event::default()
    };
    let mut with_decision = span(0, Vec::new());
    with_decision.events = vec![decided.clone(), Event { time_unix_nano: 0, ..decided }];
    let sent = request(vec![with_decision, span(1, Vec::new())]);
    let (_, receipts) = grpc(&server, &sent, Some("1")).await;
    let receipts = receipts.unwrap();
    assert_eq!(receipts, shown(&server, 0..2).await);
    assert_eq!(receipts[1].0, receipts[0].0 + 3, "two decisions stand between them");
    server.terminate().await;
}

#[tokio::test]
async fn log_records_and_json_have_receipts_too() {
    let (_data, server) = start().await;
    let logs = |name: &str| {
        let record = LogRecord { event_name: name.to_owned(), ..LogRecord::default() };
        let log_records = vec![LogRecord { time_unix_nano: START_NS, ..record }];
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }
    };
    let body = logs("a").encode_to_vec();
    let (over_http, _) = http(&server, "/v1/logs", "application/x-protobuf", body, Some("1")).await;
    let mut client = LogsServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    let mut call = tonic::Request::new(logs("a"));
    call.metadata_mut().insert(HEADER, "1".parse().unwrap());
    let answer = client.export(call).await.unwrap();
    let over_grpc = parsed(answer.metadata().get(HEADER).unwrap().to_str().unwrap());
    assert_eq!(over_http.as_ref(), Some(&over_grpc));
    assert_eq!(over_grpc.len(), 1);

    let id = "0af7651916cd43dd8448eb211c80319c";
    let good = format!(r#"{{"traceId":"{id}","spanId":"{}"}}"#, span_id_hex(5));
    let bad = r#"{"traceId":"00","spanId":"00"}"#;
    let json =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{bad},{good}]}}]}}]}}"#).into();
    let (receipts, _) = http(&server, "/v1/traces", "application/json", json, Some("1")).await;
    assert_eq!(receipts, Some(vec![REFUSED, shown(&server, [5]).await[0]]));
    server.terminate().await;
}

#[tokio::test]
async fn beyond_the_limit_and_for_who_does_not_ask_the_answer_is_the_same_without_receipts() {
    let (_data, server) = start().await;
    let most = MAX_RECEIPTS as u64;
    assert_eq!(http_spans(&server, &spans(0..most)).await.unwrap().len(), MAX_RECEIPTS);
    assert_eq!(grpc(&server, &spans(0..most), Some("1")).await.1.unwrap().len(), MAX_RECEIPTS);
    let hits = "spanledger_limit_hits_total{limit=\"max_receipts\"}";
    assert_eq!(server.metric(hits).await, 0);

    let more = spans(0..=most);
    assert_eq!(grpc(&server, &more, Some("1")).await, (0, None));
    let protobuf = "application/x-protobuf";
    let body = || more.encode_to_vec();
    assert_eq!(http(&server, "/v1/traces", protobuf, body(), Some("1")).await, (None, vec![]));
    assert_eq!(server.metric(hits).await, 2);

    for ask in [None, Some("0"), Some("yes")] {
        assert_eq!(grpc(&server, &spans(0..3), ask).await, (0, None), "{ask:?}");
        let body = spans(0..3).encode_to_vec();
        assert_eq!(http(&server, "/v1/traces", protobuf, body, ask).await, (None, vec![]));
    }
    server.terminate().await;
}
