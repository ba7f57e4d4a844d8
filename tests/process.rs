//! The process as its users meet it: start, stop, configuration, the demo, verification.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use std::path::Path;
use std::process::{Command, Output};
use support::requests::{numbered, request, span, text};
use support::server::Server;

fn spanledger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spanledger"))
        .args(arguments)
        .env_remove("SPANLEDGER_DATA")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn send(
    server: &Server,
    request: opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest,
) {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    let answer = client.export(request).await.expect("acknowledged").into_inner();
    assert_eq!(answer.partial_success, None, "full success leaves partial_success unset");
}

#[test]
fn the_demo_finds_the_blocked_step_and_the_approval_by_the_orchestrators_id() {
    let output = spanledger(&["demo", "--exit"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}\n{}", stderr(&output));
    for expected in ["langsmith-run-abc123", "BLOCKED", "ops-lead", "refund-limit"] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/config/spanledger.yaml");
    let data_text = data.to_str().unwrap();
    let good =
        spanledger(&["serve", "--config", documented, "--check-config", "--data", data_text]);
    assert!(good.status.success(), "{}", stderr(&good));
    assert!(!data.exists(), "checking creates nothing");

    let bad_file = directory.path().join("bad.yaml");
    std::fs::write(&bad_file, "listen:\n  grcp: 127.0.0.1:4317\n").unwrap();
    let bad = spanledger(&["serve", "--config", bad_file.to_str().unwrap(), "--check-config"]);
    assert_eq!(bad.status.code(), Some(2), "a configuration that cannot be is a usage error");
    let text = stderr(&bad);
    assert!(text.contains("bad.yaml:2:3") && text.contains("\"grpc\""), "{text}");
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let output = spanledger(&["serve", "--data", data, "--listen-http", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("127.0.0.1"), "{}", stderr(&output));
}

/// Nobody listens there.
const NO_CLUSTER: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn an_export_that_cannot_be_started_is_shown_and_evidence_is_taken_all_the_same() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("dead-letters");
    std::fs::create_dir(&folder).unwrap();
    let log = folder.join("letters.log");
    std::fs::write(&log, "this was a letter\n").unwrap();
    let crc = crc_fast::crc32_iscsi(b"00000000000000000018");
    let note = format!("{crc:08x} 00000000000000000018\n");
    std::fs::write(folder.join("letters.length"), note).unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", NO_CLUSTER]).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready["ready"], true);
    let held_up = ready["held_up"].as_array().unwrap();
    assert_eq!(held_up.len(), 1, "{ready}");
    for part in ["elasticsearch: ", "damaged at byte 0", "cursors/elasticsearch.cursor"] {
        assert!(held_up[0].as_str().unwrap().contains(part), "{ready}");
    }
    send(&server, request(vec![span(1, vec![text("external.trace_id", "x")])])).await;
    assert_eq!(server.status("/api/v1/dead-letters").await, 503);
    assert!(server.stderr().contains("damaged at byte 0"));
    assert_eq!(std::fs::read(&log).unwrap(), b"this was a letter\n", "the bytes are left alone");
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let data = directory.path().to_str().unwrap();
    let any = "127.0.0.1:0";
    let output = spanledger(&[
        "serve",
        "--data",
        data,
        "--listen-grpc",
        any,
        "--listen-http",
        any,
        "--listen-api",
        any,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another"), "{}", stderr(&output));
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_orderly_and_the_next_start_answers_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    send(&server, numbered(0, 30)).await;
    let before = server.get("/api/v1/traces/external-1").await;
    assert_eq!(before["entries"].as_array().unwrap().len(), 10);
    server.terminate().await;
    assert!(!directory.path().join("endpoints.json").exists(), "nobody listens any more");

    // Without a server the command line reads the data itself.
    let data = directory.path().to_str().unwrap();
    let offline = spanledger(&["trace", "external-1", "--json", "--data", data]);
    assert!(offline.status.success(), "{}", stderr(&offline));
    let offline: serde_json::Value = serde_json::from_str(&stdout(&offline)).unwrap();
    assert_eq!(offline["entries"], before["entries"]);

    let server = Server::start(directory.path()).await;
    assert_eq!(server.get("/api/v1/traces/external-1").await["entries"], before["entries"]);
    send(&server, numbered(0, 30)).await;
    let all = server.get("/api/v1/entries?q=kind:llm_call&limit=1000").await;
    assert_eq!(
        all["entries"].as_array().unwrap().len(),
        30,
        "a resend after a restart adds nothing"
    );
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_comes_last_finds_what_came_first_also_across_traces_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    // Trace 1: a child without any id, then the root with run id and external id.
    send(&server, request(vec![span(0, vec![])])).await;
    // Trace 2, days later: the approval under another trace, joined by the run only.
    let approval = vec![
        text("spanledger.run_id", "run-77"),
        text("spanledger.approval.id", "approval-9"),
        text("spanledger.approval.status", "approved"),
        text("spanledger.approval.resolved_by", "ops-lead"),
    ];
    send(&server, request(vec![span(10, approval)])).await;
    server.terminate().await;

    let server = Server::start(directory.path()).await;
    let root =
        vec![text("external.trace_id", "langsmith-run-z"), text("spanledger.run_id", "run-77")];
    send(&server, request(vec![span(1, root)])).await;
    for id in ["langsmith-run-z", "run-77", "approval-9", "abababababababab0000000000000001"] {
        let story = server.get(&format!("/api/v1/traces/{id}")).await;
        assert_eq!(story["entries"].as_array().unwrap().len(), 3, "{id}: {story:#}");
    }
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_is_found_by_verify_with_its_own_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    send(&server, numbered(0, 10)).await;
    server.terminate().await;
    let data = directory.path().to_str().unwrap();
    assert_eq!(spanledger(&["verify", "--data", data]).status.code(), Some(0));

    let segment = first_segment(&directory.path().join("ledger"));
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|bytes| bytes == b"parcel").unwrap();
    bytes[at] = b'P';
    std::fs::write(&segment, bytes).unwrap();
    let output = spanledger(&["verify", "--data", data]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(stdout(&output).contains(name), "it says where: {}", stdout(&output));
}

fn first_segment(ledger: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = walk(ledger)
        .into_iter()
        .filter(|path| std::fs::read(path).unwrap().windows(6).any(|bytes| bytes == b"parcel"))
        .collect();
    files.sort();
    files.into_iter().next().expect("a segment with bodies")
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_web_cannot_write_under_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let post = async |host: String| {
        let answer = reqwest::Client::new()
            .post(format!("http://{}/v1/traces", server.http()))
            .header("host", host)
            .header("content-type", "application/json")
            .body("{}")
            .send();
        answer.await.unwrap().status().as_u16()
    };
    assert_eq!(post("evil.example".to_owned()).await, 421);
    assert_eq!(post("localhost:14318".to_owned()).await, 200, "through a tunnel");
    assert_eq!(post(server.http().to_owned()).await, 200);
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_does_not_hold_up_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let url = format!("http://{}/api/v1/entries?order=ledger&cursor=end&wait=30", server.api());
    let follower = tokio::spawn(async move { reqwest::get(url).await.unwrap().status().as_u16() });
    // The follower is there when the server has accepted its connection.
    let metrics = format!("http://{}/metrics", server.api());
    let accepted = async || {
        let text = reqwest::get(&metrics).await.ok()?.text().await.ok()?;
        let name = "spanledger_receiver_connections_total ";
        let number: u64 = text.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()?;
        (number > 2).then_some(())
    };
    support::server::look_until(support::server::DEADLINE, accepted).await.unwrap();
    let since = std::time::Instant::now();
    server.terminate().await;
    assert_eq!(follower.await.unwrap(), 200);
    assert!(since.elapsed() < std::time::Duration::from_secs(9), "it waited for its deadline");
}
