//! Questions answered from a real node: the built binary without an index of its own.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use spanledger::cli::demo::play;
use spanledger::cli::{Endpoints, Exit, Style};
use spanledger::elasticsearch::Method;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::requests::numbered;
use support::search_node::{Engine, SearchNode};
use support::server::{Server, binary, look_until};

/// Longest time from acknowledgement until an entry is found: export, refresh, a busy machine.
const FOUND: Duration = Duration::from_mins(2);

fn setup(url: &str) {
    let done = Command::new(binary()).args(["setup", "elasticsearch", "--url", url]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A server that exports to the node and asks it.
async fn server_without_index(folder: &Path, node: &SearchNode) -> Server {
    let config = folder.join("spanledger.yaml");
    let text = format!("index:\n  enabled: false\nelasticsearch:\n  urls: [\"{}\"]\n", node.url());
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    Server::start_with(&folder.join("data"), &["--config", &config]).await
}

async fn send(server: &Server, first: u64, count: u64) {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(numbered(first, count)).await.unwrap();
}

fn ids(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["event"]["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until that many entries are found.
async fn until_found(server: &Server, count: usize) {
    let found = look_until(FOUND, async || {
        let page = server.get("/api/v1/entries?limit=1000").await;
        (ids(&page).len() >= count).then_some(())
    });
    assert!(found.await.is_some(), "{count} entries in the cluster:\n{}", server.stderr());
}

/// What the command line says: status and standard output.
fn cli(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    let done = command.args(arguments).arg("--data").arg(data).output().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

/// What a person asks after the demo.
const QUESTIONS: &[&[&str]] = &[
    &["trace", "langsmith-run-abc123", "--json"],
    &["trace", "langsmith-run-abc123"],
    &["trace", "nobody", "--json"],
    &["search", "trace_id:langsmith-run-abc123", "--json"],
    &["search", "decision:block", "--json"],
    &["search", "decision:BLOCK* AND NOT tool:nothing", "--json"],
    &["search", "tool:issue_refund", "--json"],
    &["search", "tool:Issue*", "--json"],
    &["search", "refund", "--json"],
    &["search", "approval_id:*", "--json"],
    &["search", "kind:(decision or approval)", "--json"],
    &["search", "policy:* AND time > now-1d", "--json"],
    &["search", "reason:refund", "--json"],
    &["search", "sequence < 3", "--json"],
    &["search", "audit.ledger.origin:*", "--json"],
    &["search", "", "--limit", "1000", "--json"],
    &["search", "", "--order", "story", "--limit", "1000", "--json"],
    &["search", "", "--order", "oldest", "--limit", "1000", "--json"],
];

async fn the_demo_is_found(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let node = SearchNode::start(engine);
    setup(node.url());
    let server = server_without_index(folder.path(), &node).await;
    assert!(ids(&server.get("/api/v1/entries").await).is_empty(), "no stream is no entry");

    let endpoints = Endpoints::read(server.data()).unwrap().unwrap();
    let mut out = Vec::new();
    let played = play(&endpoints, true, Style::plain(110), &mut out).await;
    assert_eq!(played.unwrap(), Exit::Fine, "{}", String::from_utf8_lossy(&out));

    // Who follows sees what is durable at once, cluster or not.
    let followed = server.get("/api/v1/entries?order=ledger&cursor=start&limit=1000").await;
    let count = ids(&followed).len();
    assert!(count > 10, "{followed}");
    until_found(&server, count).await;
    let newest: BTreeSet<String> =
        ids(&server.get("/api/v1/entries?limit=1000").await).into_iter().collect();
    assert_eq!(newest, ids(&followed).into_iter().collect());
    let one = ids(&followed).remove(0);
    assert_eq!(server.get(&format!("/api/v1/entries/{one}")).await["event"]["id"], one.as_str());
    let metrics = reqwest::get(format!("http://{}/metrics", server.api())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("spanledger_elasticsearch_search_seconds_count"), "{metrics}");

    let data = server.data().to_owned();
    let answers: Vec<_> = QUESTIONS.iter().map(|question| cli(&data, question)).collect();
    server.terminate().await;
    // Without a server the ledger itself is read.
    for (question, answer) in QUESTIONS.iter().zip(answers) {
        assert_eq!(answer, cli(&data, question), "{question:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_answers_every_question_as_the_ledger_does() {
    the_demo_is_found(Engine::Elasticsearch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_answers_every_question_as_the_ledger_does() {
    the_demo_is_found(Engine::OpenSearch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_versions_before_answer_every_question_as_the_ledger_does() {
    the_demo_is_found(Engine::Elasticsearch8).await;
    the_demo_is_found(Engine::OpenSearch2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_while_entries_arrive_and_the_node_forgets_its_points_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let server = server_without_index(folder.path(), &node).await;
    send(&server, 0, 100).await;
    until_found(&server, 100).await;
    let before = ids(&server.get("/api/v1/entries?limit=1000").await);

    let mut page = server.get("/api/v1/entries?limit=30").await;
    let mut seen = ids(&page);
    for round in 1.. {
        let Some(cursor) = page["next_cursor"].as_str().map(str::to_owned) else { break };
        assert!(cursor.len() < 200, "the cluster's own id stays here: {cursor}");
        send(&server, 1_000 * round, 10).await;
        if round == 2 {
            // With the process all points in time are gone.
            node.stop();
            let problem = unavailable(&server, "/api/v1/entries?q=kind:span").await;
            assert!(problem.contains("check that it runs"), "{problem}");
            assert!(!problem.contains("127.0.0.1"), "where it is, is for the log: {problem}");
            unavailable(&server, "/api/v1/traces/langsmith-run-abc123").await;
            let followed = "/api/v1/entries?order=ledger&cursor=start&limit=1";
            assert_eq!(ids(&server.get(followed).await).len(), 1, "the ledger is here");
            node.start_again();
            let back = look_until(FOUND, async || {
                (server.status("/api/v1/entries").await == 200).then_some(())
            });
            back.await.expect("the node answers again");
        }
        page = server.get(&format!("/api/v1/entries?limit=30&cursor={cursor}")).await;
        seen.extend(ids(&page));
    }
    assert_eq!(seen, before, "each entry of the first moment once, in order, and no other");
    server.terminate().await;
}

/// The detail of a 503.
async fn unavailable(server: &Server, path: &str) -> String {
    let answer = reqwest::get(format!("http://{}{path}", server.api())).await.unwrap();
    assert_eq!(answer.status(), 503, "{path}");
    assert!(answer.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:spanledger:problem:store-unavailable");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_its_own_may_search_where_the_exporters_key_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let (user, password) = (node.user().unwrap(), node.password().unwrap());
    let ca = node.ca().unwrap().display().to_string();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let password = write("password", password);
    let key = folder.path().join("exporter.key").display().to_string();
    let done = Command::new(binary())
        .args(["setup", "elasticsearch", "--url", node.url(), "--ca-file", &ca, "--user", user])
        .args(["--password-file", &password, "--exporter-key-file", &key, "--roles"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let url = node.url();
    let exporter = format!(
        "index:\n  enabled: false\nelasticsearch:\n  urls: [\"{url}\"]\n  ca: {ca}\n  api_key: {{file: {key}}}\n"
    );
    let body = json!({"password": "auditor-password", "roles": ["spanledger-auditor"]});
    let (status, said) = node.ask(Method::Put, "/_security/user/auditor", Some(body)).await;
    assert_eq!(status, 200, "{said}");
    let secret = write("auditor", "auditor-password\n");
    let reader = format!("  reader:\n    username: auditor\n    password: {{file: {secret}}}\n");

    let data = folder.path().join("data");
    let config = write("exporter.yaml", &exporter);
    let server = Server::start_with(&data, &["--config", &config]).await;
    send(&server, 0, 20).await;
    let problem = unavailable(&server, "/api/v1/entries").await;
    assert!(problem.contains("403") && problem.contains("spanledger-auditor"), "{problem}");
    server.terminate().await;

    let config = write("reader.yaml", &format!("{exporter}{reader}"));
    let server = Server::start_with(&data, &["--config", &config]).await;
    until_found(&server, 20).await;
    let page = server.get("/api/v1/entries?limit=7").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = server.get(&format!("/api/v1/entries?limit=7&cursor={cursor}")).await;
    assert_eq!(ids(&next).len(), 7, "the role may open points in time");
    server.terminate().await;
}
