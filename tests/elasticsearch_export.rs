//! What is in the ledger is in Elasticsearch, once, whatever happens in between: the built binary,
//! a real node, and a proxy that cuts connections, refuses and answers nonsense.

mod support;

use serde_json::{Value, json};
use spanledger::elasticsearch::Method;
use std::path::Path;
use std::process::Command;
use support::export::{
    SETTLED, SPANS, everything_once, held_up, ledger_entries, post, put, roll_over, send, setup,
    setup_with,
};
use support::fault_proxy::{Fault, FaultProxy};
use support::numbers::Numbers;
use support::search_node::{Engine, SearchNode};
use support::server::{Server, binary, look_until, wait_until};

/// Rounds of faults and kills; a release is measured with 30 (`SPANLEDGER_EXPORT_ROUNDS=30`).
fn rounds() -> u64 {
    std::env::var("SPANLEDGER_EXPORT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// A node without security that is set up, and a server with an empty ledger that exports to it.
async fn node_and_server(data: &Path) -> (SearchNode, Server) {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let server = Server::start_with(data, &["--elasticsearch", node.url()]).await;
    (node, server)
}

/// What the proxy does to bulk requests, in an order that looks random.
const FAULTS: [Fault; 9] = [
    Fault::CutAfter,
    Fault::Status(429),
    Fault::None,
    Fault::CutSending,
    Fault::CutBefore,
    Fault::Status(503),
    Fault::CutRequest,
    Fault::CutHalfway,
    Fault::Status(502),
];

/// Changes settings of the stream's indices.
async fn change_settings(node: &SearchNode, settings: Value) {
    put(&node.client(), "/spanledger-default/_settings", &settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_in_the_cluster_finds_the_story_by_its_external_id() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;
    let query = json!({"query": {"term": {"trace_id": "external-3"}}, "size": 100});
    let answer = post(&node.client(), "/spanledger-*/_search", &query).await;
    let hits = answer["hits"]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 10, "{answer}");
    let shown = server.get("/api/v1/traces/external-3").await;
    for hit in hits {
        let same = shown["entries"].as_array().unwrap().iter().any(|e| *e == hit["_source"]);
        assert!(same, "the document is what the API shows: {}", hit["_source"]);
    }
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_refusals_rollovers_and_kills_lose_nothing_and_double_nothing() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let data = tempfile::tempdir().unwrap();
    let proxy = FaultProxy::start(node.url(), |bulk| Numbers::new(bulk).one_of(&FAULTS)).await;
    let url = proxy.url();
    let mut server = Server::start_with(data.path(), &["--elasticsearch", &url]).await;
    let all_happened = || FAULTS.iter().all(|fault| proxy.times(*fault) > 0);
    let mut round = 0;
    while round < rounds() || !all_happened() {
        assert!(round < rounds() + 100, "{} bulk requests do not meet all faults", proxy.bulks());
        let bulks = proxy.bulks();
        for request in 0..4 {
            send(&server, (round * 5 + request) * SPANS).await;
        }
        wait_until("a bulk of this round is on its way", || proxy.bulks() > bulks).await;
        if round % 2 == 1 {
            roll_over(&node.client()).await;
        }
        if round % 3 == 2 {
            // The node has done what the exporter will never hear of; then it rolls over.
            proxy.hold_replies();
            let held = proxy.held();
            send(&server, (round * 5 + 4) * SPANS).await;
            wait_until("a reply is held", || proxy.held() > held).await;
            roll_over(&node.client()).await;
            server.kill();
            proxy.release_replies();
            server.restart().await;
        }
        round += 1;
    }
    assert!(proxy.held() > 0, "no kill with a bulk in flight in {round} rounds");
    everything_once(&server, &node.client()).await;
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_delays_the_export_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let (mut node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;
    node.stop();
    for request in 1..5 {
        send(&server, request * SPANS).await;
    }
    assert_eq!(ledger_entries(&server).await.len() as u64, 5 * SPANS, "evidence is still taken");
    assert_eq!(server.status("/readyz").await, 200, "intake is ready during an outage");
    node.start_again();
    everything_once(&server, &node.client()).await;
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_kept_with_its_reason_and_delivered_after_a_fix() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;
    let pipeline = async |name| change_settings(&node, json!({"index.final_pipeline": name})).await;
    // Somebody names a pipeline that does not exist: the cluster refuses every document for good.
    pipeline("not-there").await;
    send(&server, SPANS).await;
    let refused = look_until(SETTLED, async || {
        let letters = server.get("/api/v1/dead-letters?limit=1000").await;
        (letters["open"].as_u64() == Some(SPANS)).then_some(letters)
    })
    .await;
    let refused = refused.expect("what is refused becomes dead letters");
    let first = &refused["dead_letters"][0];
    assert_eq!(first["status"], 400, "{first}");
    assert!(!first["error_type"].as_str().unwrap().is_empty(), "{first}");

    let letters = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("dead-letters").args(arguments).arg("--data").arg(data.path());
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, text) = letters(&["list"]);
    assert_eq!(code, Some(0));
    assert!(text.ends_with(&format!("{SPANS} of {SPANS} shown\n")), "{text}");
    let sequence = first["sequence"].to_string();
    let (code, text) = letters(&["show", &sequence]);
    assert_eq!(code, Some(0));
    assert!(text.contains("external-"), "the entry is shown from the ledger: {text}");
    let (code, text) = letters(&["replay", &sequence]);
    assert_eq!((code, text.as_str()), (Some(1), "0 delivered, 1 refused again, 0 unknown\n"));

    pipeline("_none").await;
    let (code, text) = letters(&["replay", "--all"]);
    let expected = format!("{SPANS} delivered, 0 refused again, 0 unknown\n");
    assert_eq!((code, text), (Some(0), expected));
    everything_once(&server, &node.client()).await;
    assert_eq!(server.get("/api/v1/dead-letters").await["open"], 0);
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_locked_out_holds_the_export_up_until_it_is_let_in_again() {
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("superuser"), node.password().unwrap()).unwrap();
    std::fs::write(path("exporter"), "geheim-geheim").unwrap();
    let (url, ca) = (node.url(), node.ca().unwrap().display().to_string());
    let who = ["--user", node.user().unwrap(), "--password-file", &path("superuser")];
    let what = ["--roles", "--exporter-reads", "--url", url, "--ca-file", &ca];
    setup_with(&[&what[..], &who].concat());
    let user = "/_security/user/exporter";
    let body = json!({"password": "geheim-geheim", "roles": ["spanledger-exporter"]});
    post(&node.client(), user, &body).await;
    let config = format!(
        "elasticsearch:\n  urls: [\"{url}\"]\n  ca: \"{ca}\"\n  username: exporter\n  password: {{file: \"{}\"}}\n",
        path("exporter")
    );
    std::fs::write(path("config.yaml"), config).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--config", &path("config.yaml")]).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;

    let switch = async |how: &str| {
        let (status, answer) = node.ask(Method::Put, &format!("{user}/{how}"), None).await;
        assert_eq!(status, 200, "{answer}");
    };
    switch("_disable").await;
    send(&server, SPANS).await;
    held_up(&server).await;
    switch("_enable").await;
    everything_once(&server, &node.client()).await;
    assert_eq!(server.get("/api/v1/dead-letters").await["open"], 0);

    // A replay looks first what is there, which this user may.
    let pipeline = async |name| change_settings(&node, json!({"index.final_pipeline": name})).await;
    pipeline("not-there").await;
    send(&server, 2 * SPANS).await;
    let refused = look_until(SETTLED, async || {
        let letters = server.get("/api/v1/dead-letters").await;
        (letters["open"].as_u64() == Some(SPANS)).then_some(())
    });
    refused.await.expect("what is refused becomes dead letters");
    pipeline("_none").await;
    let mut replay = Command::new(binary());
    replay.args(["dead-letters", "replay", "--all", "--data"]).arg(data.path());
    let done = replay.output().unwrap();
    let expected = format!("{SPANS} delivered, 0 refused again, 0 unknown\n");
    assert_eq!(String::from_utf8(done.stdout).unwrap(), expected);
    everything_once(&server, &node.client()).await;
    assert!(!server.stderr().contains("geheim"), "no secret in a log");
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_index_holds_the_export_up_and_nothing_becomes_a_dead_letter() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;
    let block = async |on: Value| change_settings(&node, json!({"index.blocks.write": on})).await;
    // What a disk at its watermark does to every index.
    block(json!(true)).await;
    send(&server, SPANS).await;
    held_up(&server).await;
    block(Value::Null).await;
    everything_once(&server, &node.client()).await;
    assert_eq!(server.get("/api/v1/dead-letters").await["open"], 0);
    server.terminate().await;
}

/// What `verify --elasticsearch` finds, and its exit code.
fn copy_checked(data: &Path, url: &str) -> (Value, i32) {
    let data = data.to_str().unwrap();
    let output = Command::new(binary())
        .args(["verify", "--json", "--data", data, "--elasticsearch", url])
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_somebody_changed_added_or_removed_is_found_by_comparing_with_the_ledger() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node.client()).await;
    let (report, code) = copy_checked(data.path(), node.url());
    assert_eq!((&report["verdict"], code), (&json!("ok"), 0), "{report:#}");
    assert_eq!(report["same"], SPANS);

    // An insider edits a searchable field of one, deletes another, and adds one that never was.
    let all = post(
        &node.client(),
        "/spanledger-default/_search",
        &json!({"size": 3, "sort": ["event.sequence"], "query": {"match_all": {}}}),
    )
    .await;
    let hit = |at: usize| {
        let hit = &all["hits"]["hits"][at];
        let id = hit["_id"].as_str().unwrap().to_owned();
        (hit["_index"].as_str().unwrap().to_owned(), id, hit["_source"].clone())
    };
    let ((index, changed, _), (_, removed, _), (_, _, third)) = (hit(0), hit(1), hit(2));
    let edit = json!({"doc": {"event": {"action": "something.else"}}});
    post(&node.client(), &format!("/{index}/_update/{changed}"), &edit).await;
    let gone = format!("/{index}/_doc/{removed}");
    let (status, answer) = node.ask(Method::Delete, &gone, None).await;
    assert_eq!(status, 200, "{answer}");
    let mut added = third;
    added["event"]["sequence"] = json!(100_000);
    added["event"]["id"] = json!("ab".repeat(16));
    let path = format!("/spanledger-default/_create/{}", "ab".repeat(16));
    put(&node.client(), &path, &added).await;

    let (report, code) = copy_checked(data.path(), node.url());
    assert_eq!((&report["verdict"], code), (&json!("compromised"), 3), "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let told = |code: &str| {
        findings
            .iter()
            .find(|it| it["code"] == code)
            .unwrap_or_else(|| panic!("{code}: {report:#}"))
    };
    assert_eq!(findings.len(), 3, "{report:#}");
    assert!(told("field_mismatch")["message"].as_str().unwrap().ends_with("event.action"));
    assert!(told("field_mismatch")["file"].as_str().unwrap().ends_with(&changed));
    assert_eq!(told("missing_document")["sequence"], 1);
    assert_eq!(told("extra_document")["sequence"], 100_000);
    server.terminate().await;
}
