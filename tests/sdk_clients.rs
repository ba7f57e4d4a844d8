//! What the published OpenTelemetry SDKs acknowledge is in the ledger, once, whatever the protocol
//! and compression.
//!
//! `scripts/prepare-clients` builds the programs of `tests/clients/`. Each exports an agent run
//! with no setting but the endpoint, and prints which spans the server acknowledged; here they are
//! looked up by the one id that only the root span carries.
#![cfg(feature = "server")]

mod support;

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Runs each variant of a client against one server and compares what is stored with what was
/// acknowledged, and the variants with each other.
async fn check(client: &str, variants: &[&str]) {
    if is_skipped(client) {
        println!("{client}: skipped, SPANLEDGER_SKIP_CLIENTS names it");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data")).await;
    let runs: Vec<_> = variants.iter().map(|variant| run(client, variant, &server)).collect();
    let mut contents = Vec::new();
    for (variant, run) in variants.iter().zip(&runs) {
        let entries = entries_of(&server, run).await;
        assert_stored_once(&format!("{client} {variant}"), run, &entries);
        assert_text_survived(&format!("{client} {variant}"), &entries);
        contents.push(content(run, &entries));
    }
    for (variant, content) in variants.iter().zip(&contents) {
        assert_eq!(content, &contents[0], "{client}: {variant} differs from {}", variants[0]);
    }
}

/// Every acknowledged span is exactly one entry with its name, and so is the log record.
fn assert_stored_once(who: &str, run: &Acknowledged, entries: &[Value]) {
    let mut stored: Vec<_> = of_dataset(entries, "otlp.span")
        .map(|entry| Span {
            trace_id: text(entry, "/trace/id"),
            id: text(entry, "/span/id"),
            name: text(entry, "/span/name"),
        })
        .collect();
    let mut sent: Vec<_> = run.spans.iter().collect();
    stored.sort();
    sent.sort();
    assert_eq!(stored.iter().collect::<Vec<_>>(), sent, "{who}: spans");

    let logs: Vec<_> = of_dataset(entries, "otlp.log").collect();
    assert_eq!(logs.len(), run.logs, "{who}: log records");
    for log in logs {
        let spans: BTreeSet<_> = run.spans.iter().map(|span| &span.id).collect();
        let span_id = text(log, "/span/id");
        assert!(spans.contains(&span_id), "{who}: the log record lost its span: {log}");
    }
}

/// Text that is not ASCII, has a NUL and quotes, is shown as it was sent.
fn assert_text_survived(who: &str, entries: &[Value]) {
    let tool = of_dataset(entries, "otlp.span")
        .find(|entry| text(entry, "/span/name") == "execute_tool issue_refund")
        .expect("the tool's span");
    let shown = &tool["attributes"]["test.string"];
    assert_eq!(shown, "日本語 — 🧾 \0 \"quoted\" \\ end", "{who}: {tool}");
}

/// The entries of a run by its external id, once there are as many as were acknowledged: the
/// ledger has them already, the index follows.
async fn entries_of(server: &Server, run: &Acknowledged) -> Vec<Value> {
    let path = format!("/api/v1/traces/{}", run.external_id);
    let expected = run.spans.len() + run.logs;
    let look = async || match server.get(&path).await["entries"].take() {
        Value::Array(entries) => entries,
        other => panic!("{path}: entries is not an array but {other}"),
    };
    let enough = async || Some(look().await).filter(|entries| entries.len() >= expected);
    if let Some(entries) = look_until(DEADLINE, enough).await {
        return entries;
    }
    let found = serde_json::to_string_pretty(&look().await).unwrap();
    panic!("{path}: {expected} records acknowledged, found {found}\n{}", server.stderr())
}

fn of_dataset<'a>(entries: &'a [Value], dataset: &'a str) -> impl Iterator<Item = &'a Value> {
    entries.iter().filter(move |entry| text(entry, "/event/dataset") == dataset)
}

fn text(entry: &Value, pointer: &str) -> String {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What was said, without what differs from run to run: ids and times. Two variants of one client
/// say the same.
fn content(run: &Acknowledged, entries: &[Value]) -> BTreeSet<String> {
    const SAID: [&str; 8] =
        ["message", "log", "user", "gen_ai", "error", "attributes", "body", "links"];
    const OF_SPAN: [&str; 3] = ["name", "kind", "status"];
    let said = |entry: &Value| {
        let mut said = Map::new();
        for key in SAID {
            said.insert(key.to_owned(), entry[key].clone());
        }
        for key in OF_SPAN {
            said.insert(format!("span.{key}"), entry["span"][key].clone());
        }
        said.insert("kind".to_owned(), entry["audit"]["kind"].clone());
        said.insert("outcome".to_owned(), entry["event"]["outcome"].clone());
        let events = entry["events"].as_array().into_iter().flatten();
        let events = events
            .map(|event| Value::from(vec![event["name"].clone(), event["attributes"].clone()]));
        said.insert("events".to_owned(), events.collect());
        let mut said = Value::Object(said);
        forget_what_json_loses(&mut said);
        said.to_string().replace(&run.external_id, "EXTERNAL")
    };
    entries.iter().map(said).collect()
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
fn run(client: &str, variant: &str, server: &Server) -> Acknowledged {
    let address = if variant.starts_with("grpc") { server.grpc() } else { server.http() };
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

/// The command of a prepared client. A client that is not there fails the test and says what to do.
fn command(client: &str) -> Command {
    let home = prepared().join(client);
    let (program, script) = match client {
        "python" => (home.join("venv/bin/python"), Some(home.join("client.py"))),
        "js" => ("node".into(), Some(home.join("client.mjs"))),
        "go" => (home.join("client"), None),
        _ => ("java".into(), Some(home.join("client-java.jar"))),
    };
    let needed = script.as_ref().unwrap_or(&program);
    assert!(
        needed.exists() && home.join(".stamp").exists(),
        "the {client} client is not prepared ({} is missing): run `scripts/prepare-clients {client}`, \
         or leave it out with SPANLEDGER_SKIP_CLIENTS={client}",
        needed.display()
    );
    let mut command = Command::new(program);
    if client == "java" {
        command.arg("-jar");
    }
    command.args(script);
    command
}

/// `target/test-clients`, beside the profile's directory in which this test was built.
fn prepared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-clients")
}

fn is_skipped(client: &str) -> bool {
    let skipped = std::env::var("SPANLEDGER_SKIP_CLIENTS").unwrap_or_default();
    skipped.split(',').any(|name| name.trim() == client)
}
