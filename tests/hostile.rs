//! Malformed and hostile requests: the right status, bounded memory, and still serving.

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use std::io::Write as _;
use support::requests::numbered;
use support::server::Server;

/// What the process may hold of its own with default settings.
const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;

struct Answer {
    status: u16,
    content_type: String,
}

async fn send(
    server: &Server,
    path: &str,
    content_type: &str,
    encoding: &str,
    body: Vec<u8>,
) -> Answer {
    let mut request = reqwest::Client::builder()
        .http1_only()
        .build()
        .unwrap()
        .post(format!("http://{}{path}", server.http()))
        .header("content-type", content_type);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    let answer = request.body(body).send().await.expect("an answer");
    let header = answer.headers().get("content-type").and_then(|v| v.to_str().ok());
    Answer { status: answer.status().as_u16(), content_type: header.unwrap_or_default().to_owned() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_bad_request_gets_its_status_and_the_server_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let good = numbered(0, 5).encode_to_vec();
    let deep = format!("{{\"resourceSpans\":{}", "[".repeat(100_000));
    let cases: Vec<(&str, &str, &str, &str, Vec<u8>, u16)> = vec![
        ("empty protobuf", "/v1/traces", PROTOBUF, "", Vec::new(), 200),
        ("empty JSON object", "/v1/traces", JSON, "", b"{}".to_vec(), 200),
        ("truncated protobuf", "/v1/traces", PROTOBUF, "", good[..good.len() - 3].to_vec(), 400),
        ("random bytes", "/v1/traces", PROTOBUF, "", vec![0xff; 1000], 400),
        ("not JSON", "/v1/traces", JSON, "", b"{\"resourceSpans\":".to_vec(), 400),
        ("deep JSON", "/v1/traces", JSON, "", deep.into_bytes(), 400),
        ("wrong type", "/v1/traces", "text/plain", "", good.clone(), 415),
        ("unknown encoding", "/v1/traces", PROTOBUF, "br", good.clone(), 415),
        ("gzip that is none", "/v1/traces", PROTOBUF, "gzip", good.clone(), 400),
        ("gzip bomb", "/v1/traces", PROTOBUF, "gzip", gzip(&vec![0; 200 << 20]), 413),
        ("no such path", "/v1/profiles", PROTOBUF, "", good.clone(), 404),
        ("good", "/v1/traces", PROTOBUF, "", good, 200),
    ];
    for (name, path, content_type, encoding, body, status) in cases {
        let answer = send(&server, path, content_type, encoding, body).await;
        assert_eq!(answer.status, status, "{name}");
        if status == 400 || status == 413 {
            assert_eq!(
                answer.content_type, content_type,
                "{name}: an error speaks as the request did"
            );
        }
    }
    assert!(server.anonymous_memory() < MEMORY_LIMIT);
    let rejected = server.get("/api/v1/entries?q=kind:rejection").await;
    assert!(!rejected["entries"].as_array().unwrap().is_empty(), "refused requests are on record");
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_of_two_megabytes_of_empty_spans_stay_within_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = std::sync::Arc::new(Server::start(directory.path()).await);
    // resource_spans { scope_spans { spans {} spans {} … } }: two bytes a span.
    let spans = [0x12_u8, 0x00].repeat(1_000_000);
    let wrap = |field: u8, inner: &[u8]| {
        let mut bytes = vec![field << 3 | 2];
        prost::encode_length_delimiter(inner.len(), &mut bytes).unwrap();
        bytes.extend_from_slice(inner);
        bytes
    };
    let body = wrap(1, &wrap(2, &spans));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (server, body) = (std::sync::Arc::clone(&server), body.clone());
        senders.spawn(async move {
            for _ in 0..125 {
                let answer = send(&server, "/v1/traces", PROTOBUF, "", body.clone()).await;
                assert!([200, 413, 503].contains(&answer.status), "{}", answer.status);
            }
        });
    }
    let mut most = 0;
    while let Some(done) = senders.join_next().await {
        done.unwrap();
        most = most.max(server.anonymous_memory());
    }
    assert!(most < MEMORY_LIMIT, "{most} bytes");
    let answer = send(&server, "/v1/traces", PROTOBUF, "", numbered(0, 5).encode_to_vec()).await;
    assert_eq!(answer.status, 200, "still serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_string_suppresses_nobodys_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let mut body = numbered(0, 3).encode_to_vec();
    let at = body.windows(10).position(|bytes| bytes == b"external-0").unwrap();
    body[at] = 0xff;
    assert_eq!(send(&server, "/v1/traces", PROTOBUF, "", body).await.status, 200);
    let story = server.get("/api/v1/traces/external-0").await;
    let entries = story["entries"].as_array().unwrap();
    assert_eq!(
        entries.len(),
        3,
        "the neighbours are found by their id, the repaired one by its trace"
    );
    assert!(entries.iter().any(|entry| entry["audit"]["flags"][0] == "invalid_utf8"));
    server.terminate().await;
}
