//! `spanledger import` against the built binary.
#![cfg(feature = "server")]

mod support;

use serde_json::{Value, json};
use spanledger::access::Role;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::keys::{create, new};
use support::server::{DEADLINE, Server, binary, look_until};
use tempfile::TempDir;

/// Runs the command against a server; the folder is where its files are.
async fn import(server: &Server, arguments: &[&str]) -> Output {
    import_to(&format!("http://{}", server.http()), arguments).await
}

async fn import_to(endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .arg("import")
        .args(arguments)
        .args(["--endpoint", endpoint])
        .env_remove("SPANLEDGER_KEY");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn opa_lines(count: usize) -> String {
    let line = |n: usize| {
        let event = json!({
            "decision_id": format!("d-{n}"), "labels": { "id": "opa-1" }, "path": "a/b",
            "result": n.is_multiple_of(2), "timestamp": "2026-11-21T06:20:39.5Z",
        });
        format!("{event}\n")
    };
    (0..count).map(line).collect()
}

/// The entries that a question finds, once there are as many as expected.
async fn found(server: &Server, question: &str, expected: usize) -> Vec<Value> {
    let path = format!("/api/v1/entries?limit=1000&q={question}");
    let look = async || {
        let entries = server.get(&path).await["entries"].as_array().cloned().unwrap();
        (entries.len() >= expected).then_some(entries)
    };
    look_until(DEADLINE, look).await.unwrap_or_else(|| panic!("{question}: not {expected}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn what_is_imported_twice_packed_or_not_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let lines = opa_lines(2_500);
    let plain = file(&folder, "a.jsonl", lines.as_bytes());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let gzip = file(&folder, "b.jsonl.gz", &gzip.finish().unwrap());
    let zstd = file(&folder, "c.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap());
    let output = import(&server, &[path(&plain), path(&gzip), path(&zstd), "--json"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let results: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["done"] == true)
        .collect();
    assert_eq!(results.len(), 3);
    for result in &results {
        assert_eq!(
            (&result["lines"], &result["accepted"], &result["refused"]),
            (&json!(2_500), &json!(2_500), &json!(0),)
        );
    }
    assert_eq!(server.metric("spanledger_intake_duplicates_total").await, 5_000);
    assert_eq!(found(&server, "decision_id:d-2499", 1).await.len(), 1);
    server.terminate().await;
}

#[tokio::test]
async fn lines_that_are_refused_are_listed_with_number_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let mut lines: Vec<String> = opa_lines(300).lines().map(str::to_owned).collect();
    lines[9] = "{\"cut\":".to_owned();
    lines[99] = "42".to_owned();
    // Good for a lax reader of keys, and no JSON all the same.
    lines[199] = r#"{"decision_id":"d","labels":{"a":"\x"}}"#.to_owned();
    let input = file(&folder, "a.jsonl", lines.join("\n").as_bytes());
    let output = import(&server, &[path(&input)]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let summary = said(&output);
    assert!(summary.contains("300 lines, 297 records on record, 3 lines refused"), "{summary}");
    let rejected = std::fs::read_to_string(folder.path().join("a.jsonl.rejected.jsonl")).unwrap();
    let rejected: Vec<Value> =
        rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = rejected.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [10, 100, 200]);
    assert!(rejected.iter().all(|it| !it["reason"].as_str().unwrap().is_empty()));
    server.terminate().await;
}

#[tokio::test]
async fn every_format_is_told_by_its_first_line_and_goes_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let id = "01a1fcd1-6e76-7070-ae0b-750de641418e";
    let span = json!({ "traceId": id.replace('-', ""), "spanId": "00f067aa0ba902b7", "name": "from a file",
                       "startTimeUnixNano": "1795241529000000000" });
    let log = json!({ "body": { "stringValue": "a log from a file" }, "timeUnixNano": "1795241529000000000" });
    for (name, lines, question) in [
        (
            "otlp.jsonl",
            format!(
                "{}\n{}\n",
                json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }),
                json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [log] }] }] }),
            ),
            "message:%22from%20a%20file%22",
        ),
        (
            "cerbos.jsonl",
            json!({ "callId": "c-1", "checkResources": { "outputs": [{ "actions": { "x": { "effect": "EFFECT_DENY" } } }] } })
                .to_string(),
            "decision_id:%22c-1/0%22",
        ),
        ("cordum.jsonl", json!({ "id": "job-9", "state": "DONE", "topic": "t" }).to_string(), "job_id:job-9"),
        ("runs.jsonl", json!({ "id": id, "run_type": "llm", "start_time": "2026-11-21T06:35:46Z" }).to_string(), &format!("run_id:{id}")),
        ("journal.jsonl", json!({ "run_id": "run_981", "decision": "stop" }).to_string(), "run_id:run_981"),
    ] {
        let input = file(&folder, name, lines.as_bytes());
        let output = import(&server, &[path(&input)]).await;
        assert!(output.status.success(), "{name}: {}", said(&output));
        assert!(!found(&server, question, 1).await.is_empty(), "{name}");
    }
    let unknown = file(&folder, "unknown.jsonl", b"{\"hello\":1}\n");
    let output = import(&server, &[path(&unknown)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--format"), "{}", said(&output));
    server.terminate().await;
}

#[tokio::test]
async fn an_import_says_where_it_stopped_and_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (_, writer) = create(&data, new(Role::Writer, "acme"));
    let server = Server::start(&data).await;
    let input = file(&folder, "a.jsonl", opa_lines(10).as_bytes());
    let output = import(&server, &[path(&input), "--from", "4"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("--from 4") && text.contains("SPANLEDGER_KEY"), "{text}");
    let key = folder.path().join("key");
    std::fs::write(&key, writer.reveal()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = import(&server, &[path(&input), "--from", "4", "--key-file", path(&key)]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("7 lines, 7 records"), "{}", said(&output));
    server.terminate().await;
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_when_it_says() {
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let busy_once = move |lines: String| async move {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            let message = axum::Json(json!({ "message": "no room" }));
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], message)
                .into_response();
        }
        axum::Json(json!({ "accepted": lines.lines().count() })).into_response()
    };
    let router = axum::Router::new().route("/logs", axum::routing::post(busy_once));
    let endpoint = served(router).await;
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "a.jsonl", opa_lines(5).as_bytes());
    let output = import_to(&endpoint, &[path(&input)]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("5 lines, 5 records"), "{}", said(&output));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Another program on a port of its own.
async fn served(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    endpoint
}

#[tokio::test]
async fn an_answer_that_is_no_acknowledgement_counts_for_nothing_and_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let otlp = file(&folder, "otlp.jsonl", b"{\"resourceSpans\":[]}\n");
    let opa = file(&folder, "opa.jsonl", opa_lines(3).as_bytes());
    for (input, answer) in [
        (&opa, "<html>Welcome to nginx!</html>"),
        (&opa, "{}"),
        (&opa, "{\"accepted\":\"yes\"}"),
        (&opa, ""),
        (&otlp, "<html>Welcome to nginx!</html>"),
        (&otlp, "{\"status\":\"ok\"}"),
        (&otlp, "[]"),
        (&otlp, ""),
    ] {
        let router = axum::Router::new().fallback(move || async move { answer });
        let output = import_to(&served(router).await, &[path(input)]).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{answer}: {text}");
        assert!(text.contains("no acknowledgement") && text.contains("--endpoint"), "{text}");
        assert!(text.contains(": 0 lines, 0 records on record"), "{answer}: {text}");
        assert!(!answer.contains("nginx") || text.contains("Welcome to nginx"), "{text}");
    }
}

#[tokio::test]
async fn what_stands_before_the_end_of_a_cut_file_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(opa_lines(300).as_bytes()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    // Without its trailer, and without the last line's end.
    bytes.truncate(bytes.len() - 20);
    let input = file(&folder, "a.jsonl.gz", &bytes);
    let output = import(&server, &[path(&input)]).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("299 lines, 299 records"), "{text}");
    assert!(text.contains("go on with --from 300"), "{text}");
    assert!(text.contains("cannot be read at line 300"), "{text}");
    assert_eq!(found(&server, "decision_id:d-298", 1).await.len(), 1);
    server.terminate().await;
}

#[tokio::test]
async fn an_import_that_goes_on_adds_to_the_refused_lines_and_follows_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let lines = format!("42\n{}43\n", opa_lines(2));
    let input = file(&folder, "a.jsonl", lines.as_bytes());
    let rejected = folder.path().join("a.jsonl.rejected.jsonl");
    let numbers = || -> Vec<Value> {
        let text = std::fs::read_to_string(&rejected).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].take())
            .collect()
    };
    let opa = |from| ["--format", "opa", "--from", from];
    for (from, listed) in [("1", vec![1, 4]), ("4", vec![1, 4, 4]), ("1", vec![1, 4])] {
        let output = import(&server, &[&[path(&input)][..], &opa(from)[..]].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(numbers(), listed, "from {from}");
    }
    let precious = file(&folder, "precious", b"keep me");
    for from in ["1", "2"] {
        std::fs::remove_file(&rejected).unwrap();
        std::os::unix::fs::symlink(&precious, &rejected).unwrap();
        let output = import(&server, &[&[path(&input)][..], &opa(from)[..]].concat()).await;
        assert!(said(&output).contains("the first is line"), "{}", said(&output));
        assert_eq!(std::fs::read(&precious).unwrap(), b"keep me");
    }
    server.terminate().await;
}
