//! Secrets that are sent through every receiver, in every place where a value can stand, are found
//! nowhere afterwards: not in any file of the data folder, not in the index, not in Elasticsearch,
//! not in logs, metrics, answers or errors. Against the built binary and a real node.

#[path = "canaries/axonflow.rs"]
mod axonflow;
mod support;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use serde_json::{Value, json};
use std::fs;
use support::export::{post, setup};
use support::files::each_file;
use support::requests::text;
use support::search_node::{Engine, SearchNode};
use support::server::{DEADLINE, Server, look_until};

/// Secrets, none of them real, and for each the part that must not be found afterwards.
const CANARIES: &[(&str, &str)] = &[
    ("AKIAQ7ZK2MXW4T9VB3LP", "Q7ZK2MXW4T9"),
    ("sk-proj-aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA", "gH7jK9mN1p"),
    ("ghp_cD4eF6hJ8kL1nP3qR5sT7uV9wX2yZ4aBcD4e", "hJ8kL1nP3q"),
    ("slk_0123456789abcdef_Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0FeDcBa98765432", "Yw8Vu7Ts6R"),
    ("Authorization: Bearer canarytoken-7f3c9e1d5b2a", "7f3c9e1d5b2a"),
    ("postgres://app:swordfish42x@db.internal/app", "swordfish42x"),
    (r#"{"password":"correcthorse77"}"#, "correcthorse77"),
    ("card 4012-8888-8888-1881 please", "8888-1881"),
    ("card 4012 8888 8888 1881 please", "8888 1881"),
    (r#"{"customer_email":"canary.person@victim.example"}"#, "canary.person"),
];

const CONFIG: &str = "audit:\n  redact_fields: [customer_email, card_number]\n";

fn string(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

/// Attributes with the secret as a text, within a list, within a map, and as the value of fields
/// that mappings make something of.
fn attributes(secret: &str) -> Vec<KeyValue> {
    let list = any_value::Value::ArrayValue(ArrayValue { values: vec![string(secret)] });
    let map = any_value::Value::KvlistValue(KeyValueList { values: vec![text("deep", secret)] });
    let of = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let mut all = vec![of("lab.list", list), of("lab.map", map)];
    for name in [
        "lab.plain",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.system_instructions",
        "input.value",
        "output.value",
        "llm.input_messages.0.message.content",
        "gen_ai.prompt.0.content",
        "decision.reasons",
        "spanledger.reason",
        "exception.message",
        "db.statement",
        "url.full",
        "user.id",
        "session.id",
    ] {
        // A number is left alone in an id: most ids are numbers.
        let is_id = matches!(name, "user.id" | "session.id");
        if !(is_id && secret.starts_with("card ")) {
            all.push(text(name, secret));
        }
    }
    all.push(text("customer_email", "canary.person@victim.example"));
    all
}

fn resource(secret: &str) -> Resource {
    let mut attributes = attributes(secret);
    // It names the actor.
    attributes.push(text("service.name", if secret.starts_with("card ") { "lab" } else { secret }));
    Resource { attributes, ..Resource::default() }
}

fn scope(secret: &str) -> InstrumentationScope {
    InstrumentationScope {
        name: secret.to_owned(),
        version: secret.to_owned(),
        attributes: attributes(secret),
        ..InstrumentationScope::default()
    }
}

fn traces(serial: u8, secret: &str) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![serial + 1; 16],
        span_id: vec![serial + 1; 8],
        name: secret.to_owned(),
        trace_state: format!("a={secret}"),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_001_000_000_000,
        attributes: attributes(secret),
        events: vec![Event {
            name: secret.to_owned(),
            attributes: attributes(secret),
            time_unix_nano: 1_700_000_000_500_000_000,
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: vec![9; 16],
            span_id: vec![9; 8],
            trace_state: format!("a={secret}"),
            attributes: attributes(secret),
            ..Link::default()
        }],
        status: Some(Status { message: secret.to_owned(), code: 2 }),
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(secret)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope(secret)),
                spans: vec![span],
                schema_url: format!("https://x.example/{secret}"),
            }],
            schema_url: format!("https://x.example/{secret}"),
        }],
    }
}

fn logs(serial: u8, secret: &str) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        severity_text: secret.to_owned(),
        body: Some(string(secret)),
        attributes: attributes(secret),
        trace_id: vec![serial + 1; 16],
        span_id: vec![serial + 101; 8],
        event_name: secret.to_owned(),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(secret)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope(secret)),
                log_records: vec![record],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// The same places once more, as OTLP/JSON.
fn json_traces(serial: usize, secret: &str) -> Value {
    let text = |key: &str| json!({ "key": key, "value": { "stringValue": secret } });
    let all = json!([
        text("lab.plain"),
        text("gen_ai.input.messages"),
        { "key": "lab.list", "value": { "arrayValue": { "values": [{ "stringValue": secret }] } } },
    ]);
    json!({ "resourceSpans": [{
        "resource": { "attributes": all },
        "scopeSpans": [{
            "scope": { "name": secret, "attributes": all },
            "spans": [{
                "traceId": format!("{:032x}", serial + 1_000), "spanId": format!("{:016x}", serial + 1_000),
                "name": secret, "startTimeUnixNano": "1700000000000000000",
                "attributes": all, "events": [{ "name": secret, "attributes": all }],
                "status": { "message": secret, "code": 2 },
            }],
        }],
    }] })
}

/// Where decision logs and runs have text, names of members included.
fn decision_logs(serial: usize, secret: &str) -> [(&'static str, Value); 5] {
    let id = format!("00000000-0000-7000-8000-{serial:012x}");
    // A number is left alone in an id: most ids are numbers.
    let name = if secret.starts_with("card ") { "x" } else { secret };
    let inside = json!({ "text": secret, "list": [secret], secret.to_owned(): { "deep": secret } });
    [
        (
            "/logs",
            json!([{ "decision_id": id, "path": name, "input": inside, "result": inside, "error": { "message": secret }, "labels": inside, "requested_by": name }]),
        ),
        (
            "/logs/cerbos",
            json!({ "callId": id, "metadata": inside, "checkResources": {
            "inputs": [{ "principal": { "id": "u", "attr": inside } }],
            "outputs": [{ "actions": { secret.to_owned(): { "effect": secret, "policy": name } } }] } }),
        ),
        (
            "/logs/cordum",
            json!({ "id": id, "state": secret, "message": secret, "labels": inside, "output_safety": { "reason": secret, "findings": [inside] } }),
        ),
        (
            "/logs/entries",
            json!({ "run_id": id, "decision": secret, "reason": secret, "args": inside }),
        ),
        (
            "/runs",
            json!({ "id": id, "name": secret, "run_type": "llm", "inputs": inside, "outputs": inside, "error": secret, "extra": { "metadata": inside }, "tags": [secret] }),
        ),
    ]
}

async fn send(server: &Server, path: &str, content_type: &str, body: Vec<u8>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("http://{}{path}", server.http()))
        .header("content-type", content_type)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned())
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for (canary, needle) in CANARIES {
        let found = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(120)..(at + 60).min(bytes.len())];
            panic!("{canary} is in {what}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

async fn send_all(server: &Server) {
    let grpc = format!("http://{}", server.grpc());
    let mut trace_client = TraceServiceClient::connect(grpc.clone()).await.unwrap();
    let mut log_client = LogsServiceClient::connect(grpc).await.unwrap();
    for (number, (secret, _)) in CANARIES.iter().enumerate() {
        let serial = u8::try_from(number).unwrap();
        trace_client.export(traces(serial, secret)).await.unwrap();
        log_client.export(logs(serial, secret)).await.unwrap();
        let other = serial + 40;
        for (path, kind, body) in [
            ("/v1/traces", "application/x-protobuf", traces(other, secret).encode_to_vec()),
            ("/v1/logs", "application/x-protobuf", logs(other, secret).encode_to_vec()),
            ("/v1/traces", "application/json", json_traces(number, secret).to_string().into()),
        ] {
            let (status, said) = send(server, path, kind, body).await;
            assert_eq!(status, 200, "{said}");
        }
        for (path, body) in decision_logs(number, secret) {
            let (status, said) =
                send(server, path, "application/json", body.to_string().into()).await;
            assert!(matches!(status, 200 | 202), "{path}: {said}");
        }
    }
}

/// Requests that are refused, with the secret where the reason might quote it.
async fn refused(server: &Server) {
    for (number, (secret, _)) in CANARIES.iter().enumerate() {
        let mut broken = traces(0, secret).encode_to_vec();
        broken.extend_from_slice(b"\xff\xff\xff\xff");
        let text = json_traces(number, secret).to_string();
        let unknown = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [
            { "traceId": secret, "spanId": secret, "name": 7, secret.to_owned(): secret }] }] }] });
        for (kind, body) in [
            ("application/x-protobuf", broken),
            ("application/json", text[..text.len() - 2].into()),
            ("application/json", unknown.to_string().into()),
            ("text/plain", text.clone().into()),
        ] {
            let (status, said) = send(server, "/v1/traces", kind, body).await;
            assert!((400..500).contains(&status), "{status}: {said}");
            assert_clean("an error", said.as_bytes());
        }
        for path in ["/v1/traces", "/v1/nowhere"] {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let shown = secret.replace(['\n', '\r'], " ");
            let request = client
                .post(format!("http://{}{path}", server.http()))
                .header("content-type", shown.as_str())
                .header("content-encoding", shown.as_str())
                .header("authorization", format!("Bearer {shown}"));
            let said = request.send().await.unwrap().bytes().await.unwrap();
            assert_clean("an error", &said);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_that_was_sent_is_found_anywhere_afterwards() {
    let data = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    let engine = axonflow::engine().await;
    fs::write(config.path(), format!("{CONFIG}axonflow:\n  upstream:\n    url: {engine}\n"))
        .unwrap();
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let arguments = ["--config", config.path().to_str().unwrap(), "--elasticsearch", node.url()];
    let server = Server::start_with(data.path(), &arguments).await;
    send_all(&server).await;
    refused(&server).await;
    axonflow::send(&server).await;
    axonflow::refused(&server).await;
    // Rejections are put on record behind the answers, so the ledger still grows.
    let query = json!({ "query": { "match_all": {} }, "size": 1000, "track_total_hits": true });
    let least = ((5 + axonflow::RECORDED) * CANARIES.len()) as u64;
    let found = look_until(DEADLINE, async || {
        let entries = server.metric("spanledger_ledger_entries").await;
        let found = post(&node.client(), "/spanledger-*/_search", &query).await;
        let total = found["hits"]["total"]["value"].as_u64()?;
        (total == entries && total > least).then_some(found)
    });
    let found = found.await.expect("every entry is exported");
    assert_clean("Elasticsearch", found.to_string().as_bytes());
    let shown = server.get("/api/v1/entries?limit=1000").await;
    assert!(shown["entries"].as_array().unwrap().len() as u64 > least);
    assert_clean("the API", shown.to_string().as_bytes());
    for (_, needle) in CANARIES {
        let query = format!("/api/v1/entries?q=%22{}%22", needle.replace(' ', "%20"));
        let hits = server.get(&query).await;
        assert_eq!(hits["entries"], json!([]), "the index finds {needle}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("http://{}/metrics", server.api())).send().await.unwrap();
    assert_clean("metrics", &metrics.bytes().await.unwrap());
    assert_clean("the log", server.stderr().as_bytes());
    assert_clean("the output", server.stdout().as_bytes());
    server.terminate().await;
    assert!(each_file(data.path(), &assert_clean) > 5);
}
