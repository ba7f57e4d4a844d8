//! Paths on which clients of other services send: Langfuse's OTLP path and LangSmith's native runs,
//! as they were captured and as the published LangSmith client uses them.
#![cfg(feature = "server")]

mod support;

use serde::Deserialize;
use serde_json::{Value, json};
use spanledger::access::Role;
use spanledger::convert::Mappings;
use spanledger::receiver::langsmith::{Runs, decode, measure};
use std::path::Path;
use support::clients::{command, is_skipped};
use support::converted::{Converted, payload, text, with};
use support::keys::{create, new};
use support::server::{DEADLINE, Server, look_until};

fn sent(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(name)).unwrap()
}

fn converted(runs: &Runs, request: &[u8]) -> Converted {
    let mappings = Mappings::builtin().unwrap();
    let converted = with(&mappings, |mut sink| decode(runs, request, &mut sink).unwrap());
    let records = converted.bodies.len() + converted.refused.len();
    assert_eq!(measure(runs, request).records, records, "memory is asked for each record");
    converted
}

fn captured() -> Vec<Value> {
    let boundary = Runs::Multipart("776615ab86db40468cfac4f67f4c14a5".to_owned());
    converted(&boundary, &sent("langsmith/runs.multipart")).bodies
}

async fn post(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> (u16, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("http://{}{path}", server.http()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// The entries of an id, once there are as many as expected.
async fn story(server: &Server, id: &str, expected: usize) -> Vec<Value> {
    let path = format!("/api/v1/traces/{id}");
    let look = async || {
        let entries = server.get(&path).await["entries"].as_array().cloned().unwrap_or_default();
        (entries.len() >= expected).then_some(entries)
    };
    look_until(DEADLINE, look).await.unwrap_or_else(|| panic!("{id}: {}", server.stderr()))
}

#[test]
fn captured_runs_of_langsmith_are_a_tree_of_spans_with_their_payloads() {
    let bodies = captured();
    assert!(bodies.len() > 10, "{}", bodies.len());
    for body in &bodies {
        assert_eq!(text(body, "/audit/mapping"), "langsmith_runs");
        assert_eq!(text(body, "/trace/id").len(), 32);
        assert!(!text(body, "/audit/run/id").is_empty());
        assert!(!text(body, "/@timestamp").is_empty(), "{body}");
        assert_eq!(body["attributes"]["langsmith.run.session_name"], "refund-proj");
    }
    let named = |name: &str| bodies.iter().find(|body| text(body, "/span/name") == name).unwrap();
    let root = named("refund-run");
    assert_eq!(text(root, "/audit/kind"), "workflow_run");
    assert_eq!(root["span"].get("parent_id"), None);
    assert!(root["event"]["duration"].as_u64().unwrap() > 0);
    let run = text(root, "/audit/run/id");
    assert_eq!(text(root, "/trace/id"), run.replace('-', ""), "the root's id is the trace's");
    assert!(root["trace_id"].as_array().unwrap().contains(&json!(run)));
    let model = named("ChatOpenAI");
    assert_eq!(text(model, "/audit/kind"), "llm_call");
    assert_eq!(text(model, "/gen_ai/provider/name"), "openai");
    assert!(text(model, "/gen_ai/request/model").starts_with("gpt-4o-mini"), "{model}");
    assert!(payload(model, "prompt").contains("refund order 1042"));
    assert!(payload(model, "response").contains("lookup_order"));
    let tool = named("issue_refund");
    assert_eq!(text(tool, "/audit/kind"), "tool_call");
    assert_eq!(text(tool, "/gen_ai/tool/name"), "issue_refund");
    assert!(payload(tool, "arguments").contains("1042"));
    let parents = bodies.iter().filter(|body| body["span"]["parent_id"].is_string());
    let spans: Vec<_> = bodies.iter().map(|body| &body["span"]["id"]).collect();
    for child in parents.filter(|body| text(body, "/trace/id") == text(root, "/trace/id")) {
        assert!(spans.contains(&&child["span"]["parent_id"]), "{child}");
    }
}

#[test]
fn a_run_and_what_is_patched_later_are_two_records_of_one_span() {
    let id = "01a1fcd1-6e76-7070-ae0b-750de641418e";
    let request = json!({
        "post": [{ "id": id, "name": "chat", "run_type": "llm", "start_time": "2026-11-21T06:35:46.166704",
                   "inputs": { "q": "why" }, "outputs": null }],
        "patch": [{ "id": id, "trace_id": id, "run_type": "llm", "end_time": "2026-11-21T06:35:47+00:00",
                    "outputs": { "a": "because" }, "error": "ValueError('x')" }],
    });
    let bodies = converted(&Runs::Batch, request.to_string().as_bytes()).bodies;
    let said =
        |pointer: &str| -> Vec<_> { bodies.iter().map(|body| text(body, pointer)).collect() };
    assert_eq!(said("/audit/run/id"), [id, id]);
    assert_eq!(said("/span/id"), ["ae0b750de641418e"; 2]);
    assert_eq!(said("/trace/id"), [id.replace('-', ""), id.replace('-', "")]);
    assert_eq!(said("/audit/kind"), ["llm_call"; 2]);
    assert_eq!(said("/event/dataset"), ["otlp.span", "langsmith.run"]);
    assert_eq!(
        said("/@timestamp"),
        ["2026-11-21T06:35:46.166704000Z", "2026-11-21T06:35:47.000000000Z"]
    );
    assert_eq!(
        (payload(&bodies[0], "prompt"), payload(&bodies[1], "response")),
        (r#"{"q":"why"}"#.to_owned(), r#"{"a":"because"}"#.to_owned(),)
    );
    assert_eq!(text(&bodies[1], "/error/message"), "ValueError('x')");
}

#[test]
fn feedback_and_attachments_are_kept_and_files_only_by_their_hash() {
    let id = "01a1fcd1-6e76-7070-ae0b-750de641418e";
    let part = |name: &str, content: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: application/json\r\n\r\n{content}\r\n"
        )
    };
    let form = [
        part(&format!("attachment.{id}.scan.png"), "not really"),
        part(&format!("post.{id}"), &format!(r#"{{"id":"{id}","name":"x","run_type":"chain"}}"#)),
        part(&format!("post.{id}.inputs"), "{ broken"),
        part(
            &format!("feedback.{id}"),
            &format!(r#"{{"trace_id":"{id}","key":"correct","score":1}}"#),
        ),
        "--b--\r\n".to_owned(),
    ]
    .concat();
    let bodies = converted(&Runs::Multipart("b".to_owned()), form.as_bytes()).bodies;
    let files = &bodies[0]["attributes"]["langsmith.run.attachments"];
    assert_eq!(files[0]["name"], "scan.png");
    assert_eq!(files[0]["bytes"], 10);
    assert_eq!(text(&files[0], "/sha256").len(), 64);
    assert_eq!(payload(&bodies[0], "input"), "{ broken", "what is no JSON is kept as it came");
    assert_eq!(text(&bodies[1], "/event/action"), "correct");
    assert_eq!(text(&bodies[1], "/audit/run/id"), id);
}

#[tokio::test]
async fn langfuses_path_takes_its_sdks_request_with_our_key_as_its_secret_key() {
    let data = tempfile::tempdir().unwrap();
    let (_, writer) = create(data.path(), new(Role::Writer, "acme"));
    let (_, auditor) = create(data.path(), new(Role::Auditor, "acme"));
    let mut server = Server::start(data.path()).await;
    server.show(auditor.reveal());
    let path = "/api/public/otel/v1/traces";
    let request = || sent("langfuse/python-sdk/001.traces.http-protobuf.bin");
    let of = |secret: &str| {
        use base64::Engine as _;
        let pair = format!("pk-lf-any:{secret}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    for (secret, status) in [("sk-lf-fake", 401), (writer.reveal(), 200)] {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "gzip"),
            ("authorization", &*of(secret)),
            ("x-langfuse-ingestion-version", "4"),
        ];
        assert_eq!(post(&server, path, &headers, request()).await.0, status);
    }
    let spans = look_until(DEADLINE, async || {
        let entries = server.get("/api/v1/entries?limit=100").await["entries"].take();
        let spans =
            entries.as_array()?.iter().filter(|it| text(it, "/event/dataset") == "otlp.span");
        Some(spans.count()).filter(|count| *count > 0)
    });
    assert!(spans.await.is_some(), "{}", server.stderr());
    server.terminate().await;
}

#[tokio::test]
async fn a_client_of_langsmith_is_told_that_it_may_send_forms() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let info = reqwest::get(format!("http://{}/info", server.http())).await.unwrap();
    let info: Value = serde_json::from_slice(&info.bytes().await.unwrap()).unwrap();
    assert_eq!(info["batch_ingest_config"]["use_multipart_endpoint"], true);
    assert_eq!(info["batch_ingest_config"]["size_limit"], 100);
    let form = "multipart/form-data; boundary=776615ab86db40468cfac4f67f4c14a5";
    let request = || sent("langsmith/runs.multipart");
    let (status, answer) =
        post(&server, "/runs/multipart", &[("content-type", form)], request()).await;
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
    let runs = captured().len();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!({ "accepted": runs }));
    let root = "01a1fcd1-6e76-7070-ae0b-750de641418e";
    assert!(
        story(&server, root, 5).await.iter().any(|entry| text(entry, "/span/name") == "refund-run")
    );
    for (status, path, headers) in [
        (415, "/runs/multipart", vec![("content-type", form), ("origin", "http://evil.example")]),
        (415, "/runs/multipart", vec![("content-type", "application/json")]),
        (400, "/runs/multipart", vec![("content-type", "multipart/form-data; boundary=x")]),
        (400, "/runs/batch", vec![("content-type", "application/json")]),
    ] {
        assert_eq!(post(&server, path, &headers, request()).await.0, status, "{path} {headers:?}");
    }
    server.terminate().await;
}

/// What the LangSmith client prints.
#[derive(Debug, Deserialize)]
struct Uploaded {
    trace_id: String,
    external_id: String,
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    id: String,
    name: String,
    #[serde(rename = "run_type")]
    kind: String,
}

#[tokio::test]
async fn what_the_langsmith_client_uploads_is_found_by_run_trace_and_external_id() {
    if is_skipped("langsmith") {
        println!("langsmith: skipped, SPANLEDGER_SKIP_CLIENTS names it");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let (_, writer) = create(data.path(), new(Role::Writer, "acme"));
    let (_, auditor) = create(data.path(), new(Role::Auditor, "acme"));
    let mut server = Server::start(data.path()).await;
    server.show(auditor.reveal());
    for variant in ["multipart", "batch", "plain"] {
        let output = command("langsmith")
            .arg(variant)
            .env("LANGSMITH_ENDPOINT", format!("http://{}", server.http()))
            .env("LANGSMITH_API_KEY", writer.reveal())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variant}: {stderr}\n{}", server.stderr());
        let uploaded: Uploaded = serde_json::from_slice(&output.stdout).unwrap();
        for run in &uploaded.runs {
            let entries = story(&server, &run.id, 1).await;
            let of_run = |entry: &&Value| text(entry, "/audit/run/id") == run.id;
            let first = entries.iter().find(of_run).unwrap_or_else(|| panic!("{run:?}"));
            assert_eq!(text(first, "/span/name"), run.name, "{variant}");
            let kind = match &*run.kind {
                "llm" => "llm_call",
                "tool" => "tool_call",
                _ => "workflow_run",
            };
            assert_eq!(text(first, "/audit/kind"), kind, "{variant}");
        }
        let by_trace = story(&server, &uploaded.trace_id, uploaded.runs.len().min(2)).await;
        assert!(by_trace.iter().any(|entry| text(entry, "/user/id") == "u-77"), "{variant}");
        let by_external = story(&server, &uploaded.external_id, 1).await;
        let all = format!("{by_external:?}");
        assert!(all.contains("740,50 €") && all.contains("refunded ✓"), "{variant}: {all}");
    }
    assert_eq!(server.metric("spanledger_ledger_conflicts_total").await, 0);
    server.terminate().await;
}
