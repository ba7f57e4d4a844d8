//! What the published OpenTelemetry SDKs acknowledge is in the ledger, once, whatever the protocol
//! and compression.
//!
//! `scripts/prepare-clients` builds the programs of `tests/clients/`. Each exports an agent run
//! with no setting but the endpoint, and prints which spans the server acknowledged; here they are
//! looked up by the one id that only the root span carries.
#![cfg(feature = "server")]

mod support;

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::clients::{command, is_skipped};
use support::server::{DEADLINE, Server, look_until};

/// Attributes that the JSON encoding of an SDK cannot carry as protobuf does.
const JSON_LOSES: &str = "test.json_loses.";

/// What a client prints: the spans and log records that the server acknowledged.
#[derive(Debug, Deserialize)]
struct Acknowledged {
    external_id: String,
    spans: Vec<Span>,
    logs: usize,
}

/// One run of a client, and what the server has of it.
struct Run {
    /// Client and variant.
    who: String,
    sent: Acknowledged,
    entries: Vec<Value>,
}

impl Run {
    /// The entries that the server made of spans (`otlp.span`) or log records (`otlp.log`).
    fn of_dataset<'a>(&'a self, dataset: &'a str) -> impl Iterator<Item = &'a Value> {
        self.entries.iter().filter(move |entry| text(entry, "/event/dataset") == dataset)
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    trace_id: String,
    #[serde(rename = "span_id")]
    id: String,
    name: String,
}

#[tokio::test]
async fn what_the_python_sdk_exports_is_found_by_the_external_id() {
    check("python", &["grpc", "grpc-gzip", "http", "http-gzip"]).await;
}

#[tokio::test]
async fn what_the_javascript_sdk_exports_is_found_by_the_external_id() {
    check("js", &["proto", "grpc", "json", "json-gzip"]).await;
}

#[tokio::test]
async fn what_the_go_sdk_exports_is_found_by_the_external_id() {
    check("go", &["grpc", "grpc-gzip", "http", "http-gzip"]).await;
}

#[tokio::test]
async fn what_the_java_sdk_exports_is_found_by_the_external_id() {
    check("java", &["grpc", "grpc-gzip", "http-protobuf", "http-protobuf-gzip"]).await;
}

#[tokio::test]
async fn what_agent_frameworks_export_is_found_by_the_id_of_the_span_around_them() {
    for run in runs_of("frameworks", &["langgraph", "openai-agents"]).await {
        let tools = run.of_dataset("otlp.span").filter(|entry| {
            text(entry, "/audit/kind") == "tool_call" && text(entry, "/span/name") == "issue_refund"
        });
        assert_eq!(tools.count(), 1, "{}: the tool call was not recognised as one", run.who);
    }
}

/// The SDKs by themselves: every variant is stored once, and all of them say the same.
async fn check(client: &str, variants: &[&str]) {
    let runs = runs_of(client, variants).await;
    for run in &runs {
        assert_text_survived(run);
        assert_eq!(said(run), said(&runs[0]), "{} differs from {}", run.who, runs[0].who);
    }
}

/// Runs each variant of a client against one server, and compares what is stored with what was
/// acknowledged. No run when the client is to be skipped.
async fn runs_of(client: &str, variants: &[&str]) -> Vec<Run> {
    if is_skipped(client) {
        println!("{client}: skipped, SPANLEDGER_SKIP_CLIENTS names it");
        return Vec::new();
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data")).await;
    let sent: Vec<_> = variants.iter().map(|variant| export(client, variant, &server)).collect();
    let mut runs = Vec::new();
    for (variant, sent) in variants.iter().zip(sent) {
        let entries = entries_of(&server, &sent).await;
        let run = Run { who: format!("{client} {variant}"), sent, entries };
        assert_stored_once(&run);
        runs.push(run);
    }
    server.terminate().await;
    runs
}

/// Every acknowledged span is exactly one entry with its name, and so is the log record.
fn assert_stored_once(run: &Run) {
    let Run { who, sent, .. } = run;
    let mut stored: Vec<_> = run
        .of_dataset("otlp.span")
        .map(|entry| Span {
            trace_id: text(entry, "/trace/id"),
            id: text(entry, "/span/id"),
            name: text(entry, "/span/name"),
        })
        .collect();
    let mut spans: Vec<_> = sent.spans.iter().collect();
    stored.sort();
    spans.sort();
    assert_eq!(stored.iter().collect::<Vec<_>>(), spans, "{who}: spans");

    assert_eq!(run.of_dataset("otlp.log").count(), sent.logs, "{who}: log records");
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    for log in run.of_dataset("otlp.log") {
        assert!(ids.contains(&text(log, "/span/id")), "{who}: the record lost its span: {log}");
    }
}

/// Text that is not ASCII, has a NUL and quotes, is shown as it was sent.
fn assert_text_survived(run: &Run) {
    let tool = run
        .of_dataset("otlp.span")
        .find(|entry| text(entry, "/span/name") == "execute_tool issue_refund")
        .expect("the tool's span");
    let shown = &tool["attributes"]["test.string"];
    assert_eq!(shown, "日本語 — 🧾 \0 \"quoted\" \\ end", "{}: {tool}", run.who);
}

/// The entries of a run by its external id, once there are as many as were acknowledged: the
/// ledger has them already, the index follows.
async fn entries_of(server: &Server, sent: &Acknowledged) -> Vec<Value> {
    let path = format!("/api/v1/traces/{}", sent.external_id);
    let expected = sent.spans.len() + sent.logs;
    let look = async || match server.get(&path).await["entries"].take() {
        Value::Array(entries) => entries,
        other => panic!("{path}: entries is not an array but {other}"),
    };
    let is_record = |entry: &&Value| text(entry, "/event/dataset") != "otlp.span_event";
    let is_enough = |entries: &Vec<Value>| entries.iter().filter(is_record).count() >= expected;
    let enough = async || Some(look().await).filter(is_enough);
    if let Some(entries) = look_until(DEADLINE, enough).await {
        return entries;
    }
    let found = serde_json::to_string_pretty(&look().await).unwrap();
    panic!("{path}: {expected} records acknowledged, found {found}\n{}", server.stderr())
}

fn text(entry: &Value, pointer: &str) -> String {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What was said, without what differs from run to run: ids and times. Two variants of one client
/// say the same.
fn said(run: &Run) -> BTreeSet<String> {
    run.entries
        .iter()
        .map(|entry| {
            let mut said = json!({
                "kind": entry["audit"]["kind"],
                "outcome": entry["event"]["outcome"],
                "span": [entry["span"]["name"], entry["span"]["kind"], entry["span"]["status"]],
                "message": entry["message"],
                "log": entry["log"],
                "user": entry["user"],
                "gen_ai": entry["gen_ai"],
                "error": entry["error"],
                "attributes": entry["attributes"],
                "body": entry["body"],
                "links": entry["links"],
                "events": entry["events"],
            });
            for event in said["events"].as_array_mut().into_iter().flatten() {
                event.as_object_mut().map(|event| event.remove("@timestamp"));
            }
            forget_what_json_loses(&mut said);
            said.to_string().replace(&run.sent.external_id, "EXTERNAL")
        })
        .collect()
}

/// Removes the attributes whose name says that JSON cannot carry them, flattened or nested.
fn forget_what_json_loses(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|name, _| !name.starts_with(JSON_LOSES) && name != "json_loses");
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(forget_what_json_loses),
        Value::Array(items) => items.iter_mut().for_each(forget_what_json_loses),
        _ => {}
    }
}

/// Runs a client against the server. It fails when the client says that not everything was
/// acknowledged.
fn export(client: &str, variant: &str, server: &Server) -> Acknowledged {
    let is_grpc = client == "frameworks" || variant.starts_with("grpc");
    let address = if is_grpc { server.grpc() } else { server.http() };
    let output = command(client)
        .arg(variant)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        .output()
        .unwrap_or_else(|error| panic!("{client} cannot be started: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{client} {variant}: {}\n{stderr}\nthe server said:\n{}",
        output.status,
        server.stderr()
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{client} {variant} printed no result ({error}): {:?}\n{stderr}", output.stdout)
    })
}
