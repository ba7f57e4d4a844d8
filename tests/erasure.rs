//! Payloads of mode `full` are readable nowhere but for an auditor who asks for them, and after an
//! erasure for nobody. Against the built binary and a real node.
#![cfg(feature = "server")]

mod support;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use serde_json::{Value, json};
use spanledger::access::Role;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use support::export::{post, setup};
use support::files::each_file;
use support::requests::{START_NS, request, span, text};
use support::search_node::{Engine, SearchNode};
use support::server::{DEADLINE, Server, binary, look_until};

const CONFIG: &str = "audit:\n  payloads: { mode: full }\n";

/// One word in each payload, so that an index would have it as one word, too.
fn canary(number: usize) -> String {
    format!("kanarie{number}q7x")
}

/// Canaries that [`send_all`] sends.
const CANARIES: usize = 16;

/// A payload with that canary in it.
fn prompt(number: usize) -> String {
    format!("please refund my order, the word is {} and no other", canary(number))
}

async fn send(server: &Server, address: &str, path: &str, content_type: &str, body: Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = client.post(format!("http://{address}{path}")).header("content-type", content_type);
    let answer = sent.body(body).send().await.unwrap();
    let status = answer.status();
    let said = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status}: {said}\n{}", server.stderr());
}

/// Every receiver gets a payload in each place where its sources put one.
async fn send_all(server: &Server) {
    let places = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "input.value",
        "llm.output_messages.0.message.content",
        "gen_ai.prompt.0.content",
    ];
    let of_alice =
        |place: &str, number| vec![text(place, &prompt(number)), text("user.id", "alice")];
    let spans = places.iter().enumerate().map(|(n, place)| span(n as u64, of_alice(place, n)));
    let address = format!("http://{}", server.grpc());
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    client.export(request(spans.collect())).await.unwrap();

    let body = AnyValue { value: Some(any_value::Value::StringValue(prompt(8))) };
    let record = LogRecord {
        time_unix_nano: START_NS,
        body: Some(body),
        event_name: "gen_ai.user.message".to_owned(),
        attributes: vec![text("user.id", "alice")],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let logs = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    send(server, server.http(), "/v1/logs", "application/x-protobuf", logs).await;

    let run = json!({
        "id": "00000000-0000-7000-8000-000000000001", "name": "chat", "run_type": "llm",
        "start_time": "2026-11-21T08:00:00Z", "end_time": "2026-11-21T08:00:01Z",
        "inputs": { "messages": [{ "role": "user", "content": prompt(9) }] },
        "outputs": { "text": prompt(10) },
    });
    let tool = json!({
        "tool_name": "issue_refund", "input": { "note": prompt(11) },
        "output": { "note": prompt(12) }, "success": true,
    });
    let call = json!({
        "context_id": "ctx-1", "client_id": "support", "provider": "openai",
        "model": "gpt-4o-mini", "query": prompt(13), "response_summary": prompt(14),
    });
    let decision = json!([{
        "decision_id": "00000000-0000-7000-8000-000000000002", "path": "refund/allow",
        "timestamp": "2026-11-21T08:00:00Z", "input": { "note": prompt(15) }, "result": true,
    }]);
    for (address, path, body) in [
        (server.http(), "/runs", run),
        (server.api(), "/api/v1/audit/tool-call", tool),
        (server.api(), "/api/audit/llm-call", call),
        (server.http(), "/logs", decision),
    ] {
        send(server, address, path, "application/json", body.to_string().into()).await;
    }
}

fn assert_clean(what: &str, bytes: &[u8]) {
    if let Some(at) = memchr::memmem::find(&bytes.to_ascii_lowercase(), b"kanarie") {
        let around = &bytes[at.saturating_sub(160)..(at + 60).min(bytes.len())];
        panic!("a payload is in {what}: …{}…", String::from_utf8_lossy(around));
    }
}

/// Everything that the process shows or writes without being asked for payloads.
async fn assert_nothing_readable(server: &Server, node: &SearchNode) {
    assert!(each_file(server.data(), &assert_clean) > 5);
    let shown = server.get("/api/v1/entries?limit=1000").await;
    assert_clean("the API", shown.to_string().as_bytes());
    for number in 0..CANARIES {
        let hits = server.get(&format!("/api/v1/entries?q={}", canary(number))).await;
        assert_eq!(hits["entries"], json!([]), "the index finds {}", canary(number));
    }
    let query = json!({ "query": { "match_all": {} }, "size": 1000, "track_total_hits": true });
    let exported = look_until(DEADLINE, async || {
        let entries = server.metric("spanledger_ledger_entries").await;
        let found = post(&node.client(), "/spanledger-*/_search", &query).await;
        (found["hits"]["total"]["value"].as_u64()? == entries).then_some(found)
    });
    let exported = exported.await.expect("every entry is exported");
    assert_clean("Elasticsearch", exported.to_string().as_bytes());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("http://{}/metrics", server.api())).send().await.unwrap();
    assert_clean("metrics", &metrics.bytes().await.unwrap());
    assert_clean("the log", server.stderr().as_bytes());
    assert_clean("the output", server.stdout().as_bytes());
}

/// Ids of the entries that were sent, and the subject that each one names.
async fn entries(server: &Server) -> Vec<(String, Option<String>)> {
    let shown = server.get("/api/v1/entries?limit=1000").await;
    let entries = shown["entries"].as_array().unwrap().iter();
    entries
        .filter(|entry| entry["audit"]["kind"] != "erasure")
        .map(|entry| {
            let id = entry["event"]["id"].as_str().unwrap().to_owned();
            (id, entry["user"]["id"].as_str().map(ToOwned::to_owned))
        })
        .collect()
}

/// Exact texts of all that opens.
async fn opened(server: &Server) -> String {
    let mut texts = String::new();
    for (id, _) in entries(server).await {
        let path = format!("/api/v1/entries/{id}/payloads?form=original");
        let answer = server.get(&path).await;
        for payload in answer["payloads"].as_array().unwrap() {
            assert_eq!(payload["proven"], true, "{payload}");
            texts.push_str(payload["text"].as_str().unwrap());
        }
    }
    texts
}

fn erase(data: &Path, config: &Path, whom: &[&str]) -> Output {
    let output = Command::new(binary())
        .args(["erase", "--tenant", "default", "--actor", "ada", "--reason", "request 17"])
        .args(whom)
        .arg("--data")
        .arg(data)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_readable_for_their_auditor_alone_and_after_erasure_for_nobody() {
    let data = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), CONFIG).unwrap();
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let arguments = ["--config", config.path().to_str().unwrap(), "--elasticsearch", node.url()];
    let mut server = Server::start_with(data.path(), &arguments).await;
    send_all(&server).await;
    let wanted = 13;
    let all =
        look_until(DEADLINE, async || Some(entries(&server).await).filter(|it| it.len() >= wanted));
    let all = all.await.expect("every entry is found");
    let texts = opened(&server).await;
    for number in 0..CANARIES {
        assert!(texts.contains(&prompt(number)), "{} opens: {texts}", canary(number));
    }
    assert_nothing_readable(&server, &node).await;

    // A running server is asked, and forgets the key at once.
    let subjects: BTreeSet<_> = all.iter().filter_map(|(_, subject)| subject.clone()).collect();
    assert!(subjects.contains("alice"), "{subjects:?}");
    for subject in &subjects {
        let output = erase(data.path(), config.path(), &["--subject", subject]);
        assert!(said(&output).contains("destroyed 1 key(s)"), "{}", said(&output));
    }
    for (id, subject) in &all {
        let status = server.status(&format!("/api/v1/entries/{id}/payloads")).await;
        assert_eq!(status, if subject.is_some() { 410 } else { 200 }, "{id} {subject:?}");
    }

    // Without a server the data folder is opened.
    server.kill();
    let output = erase(data.path(), config.path(), &["--no-subject", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["keys"].as_array().unwrap().len(), 1, "{answer}");
    server.restart().await;
    for (id, _) in &all {
        let status = server.status(&format!("/api/v1/entries/{id}/payloads")).await;
        assert_eq!(status, 410, "{id}");
    }
    let erasures = look_until(DEADLINE, async || {
        let found = server.get("/api/v1/entries?q=kind:erasure").await;
        let found = found["entries"].as_array().unwrap().clone();
        (found.len() == subjects.len() + 1).then_some(found)
    });
    let erasures = erasures.await.expect("each erasure is on record");
    for erasure in &erasures {
        assert_eq!(erasure["event"]["reason"], "request 17");
        assert!(!erasure.to_string().contains("alice"), "{erasure}");
    }
    assert_nothing_readable(&server, &node).await;
    assert_eq!(server.metric("spanledger_subject_keys_cached").await, 0);
    server.terminate().await;
    let verified = Command::new(binary()).arg("verify").arg("--data").arg(data.path()).output();
    let verified = verified.unwrap();
    assert!(
        verified.status.success(),
        "{}{}",
        said(&verified),
        String::from_utf8_lossy(&verified.stderr)
    );
    assert!(each_file(data.path(), &assert_clean) > 5);
}

#[tokio::test]
async fn who_may_open_payloads_may_not_erase_them_and_the_reverse() {
    let data = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), CONFIG).unwrap();
    let key = |role, tenant| support::keys::create(data.path(), support::keys::new(role, tenant)).1;
    let operator = key(Role::Operator, "default");
    let writer = key(Role::Writer, "default");
    let auditor = key(Role::Auditor, "default");
    let stranger = key(Role::Auditor, "rival");
    let arguments = ["--config", config.path().to_str().unwrap()];
    let mut server = Server::start_with(data.path(), &arguments).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let attributes =
        vec![text("input.value", "my key is AKIAIOSFODNN7EXAMPLE"), text("user.id", "alice")];
    let sent = client
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf")
        .bearer_auth(writer.reveal())
        .body(request(vec![span(0, attributes)]).encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    server.show(auditor.reveal());
    let id = look_until(DEADLINE, async || {
        let found = server.get("/api/v1/entries?q=user.id:alice").await;
        found["entries"][0]["event"]["id"].as_str().map(ToOwned::to_owned)
    });
    let path = format!("/api/v1/entries/{}/payloads", id.await.unwrap());
    let redacted = server.get(&path).await;
    assert_eq!(redacted["payloads"][0]["text"], "my key is [REDACTED:aws_access_key_id]");
    assert_eq!(redacted["payloads"][0]["differs"], true);
    let original = server.get(&format!("{path}?form=original")).await;
    assert_eq!(original["payloads"][0]["text"], "my key is AKIAIOSFODNN7EXAMPLE");
    assert_eq!(original["payloads"][0]["hash"], redacted["payloads"][0]["hash"]);

    let order = json!({
        "tenant": "default", "subject": "alice", "actor": "ada", "reason": "request 17",
    });
    let erase = async |key: &str| {
        let url = format!("http://{}/api/v1/erasures", server.api());
        let answer = client.post(url).bearer_auth(key).json(&order).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for key in [&auditor, &writer, &stranger] {
        assert_eq!(erase(key.reveal()).await.0, 403);
    }
    let (status, answer) = erase(operator.reveal()).await;
    assert_eq!((status, answer["keys"].as_array().unwrap().len()), (200, 1), "{answer}");
    assert_eq!(server.status(&path).await, 410);
    let found = look_until(DEADLINE, async || {
        let found = server.get("/api/v1/entries?q=kind:erasure").await;
        Some(found["entries"][0].clone()).filter(|found| !found.is_null())
    });
    let found = found.await.unwrap();
    assert_eq!(found["audit"]["actor"]["id"], format!("key:{}", operator.id()));
    assert_eq!(found["audit"]["actor"]["source"], "authenticated");
    assert_eq!(found["user"]["name"], "ada");
    for (who, status) in [(&stranger, 404), (&operator, 403), (&writer, 403)] {
        server.show(who.reveal());
        assert_eq!(server.status(&path).await, status);
    }
}
