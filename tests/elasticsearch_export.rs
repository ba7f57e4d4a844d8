//! What is in the ledger is in Elasticsearch, once, whatever happens in between: the built binary,
//! a real node, and a proxy that cuts connections, refuses and answers nonsense.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use rand_like::Numbers;
use serde_json::{Value, json};
use spanledger::elasticsearch::Method;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::fault_proxy::{Fault, FaultProxy};
use support::requests::numbered;
use support::search_node::{Engine, SearchNode};
use support::server::{Server, binary, look_until, wait_until};

/// Spans in one request.
const SPANS: u64 = 50;

/// Rounds of faults and kills; a release is measured with 30 (`SPANLEDGER_EXPORT_ROUNDS=30`).
fn rounds() -> u64 {
    std::env::var("SPANLEDGER_EXPORT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Longest time for an export to reach the end after the faults are over.
const SETTLED: Duration = Duration::from_mins(2);

fn setup(url: &str) {
    let done = Command::new(binary()).args(["setup", "elasticsearch", "--url", url]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn send(server: &Server, first: u64) {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(numbered(first, SPANS)).await.unwrap();
}

/// A node without security that is set up, and a server with an empty ledger that exports to it.
async fn node_and_server(data: &Path) -> (SearchNode, Server) {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let server = Server::start_with(data, &["--elasticsearch", node.url()]).await;
    (node, server)
}

/// Waits until `/readyz` says that the export is held up, and checks that intake is not.
async fn held_up(server: &Server) {
    let said = look_until(SETTLED, async || {
        let ready = server.get("/readyz").await;
        (!ready["held_up"].as_array().unwrap().is_empty()).then_some(ready)
    })
    .await;
    let said = said.expect("/readyz says that the export is held up");
    assert_eq!(said["ready"], true, "evidence is still taken: {said}");
}

/// What the proxy does to bulk requests, in an order that looks random.
const FAULTS: [Fault; 7] = [
    Fault::CutAfter,
    Fault::Status(429),
    Fault::None,
    Fault::CutBefore,
    Fault::Status(503),
    Fault::CutHalfway,
    Fault::Status(502),
];

async fn roll_over(node: &SearchNode) {
    post(node, "/spanledger-default/_rollover", &json!({})).await;
}

/// Changes settings of the stream's indices.
async fn change_settings(node: &SearchNode, settings: Value) {
    let path = "/spanledger-default/_settings";
    let (status, answer) = node.ask(Method::Put, path, Some(settings)).await;
    assert_eq!(status, 200, "{answer}");
}

/// Asks the node; its JSON.
async fn post(node: &SearchNode, path: &str, body: &Value) -> Value {
    let (status, answer) = node.ask(Method::Post, path, Some(body.clone())).await;
    assert!(status < 300, "POST {path}: {status} {answer}");
    answer
}

/// Every entry of the ledger by id, with its sequence.
async fn ledger_entries(server: &Server) -> BTreeMap<String, u64> {
    let mut entries = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/api/v1/entries?order=ledger&limit=500{cursor}")).await;
        for entry in page["entries"].as_array().unwrap() {
            let id = entry["event"]["id"].as_str().unwrap().to_owned();
            entries.insert(id, entry["event"]["sequence"].as_u64().unwrap());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
    }
}

/// How often each entry is among the documents of the stream.
async fn documents(node: &SearchNode) -> BTreeMap<String, u64> {
    let (status, answer) = node.ask(Method::Post, "/spanledger-*/_refresh", None).await;
    assert_eq!(status, 200, "{answer}");
    let mut found = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let mut query = json!({
            "size": 1000, "_source": ["event.id"],
            "sort": [{"event.sequence": "asc"}, {"event.id": "asc"}],
        });
        if !after.is_null() {
            query["search_after"] = after.clone();
        }
        let answer = post(node, "/spanledger-*/_search", &query).await;
        let hits = answer["hits"]["hits"].as_array().unwrap();
        for hit in hits {
            let id = hit["_source"]["event"]["id"].as_str().unwrap().to_owned();
            *found.entry(id).or_default() += 1;
        }
        match hits.last() {
            Some(last) => after = last["sort"].clone(),
            None => return found,
        }
    }
}

/// Waits until every entry of the ledger is a document, and checks that each is there once.
async fn everything_once(server: &Server, node: &SearchNode) {
    let entries = ledger_entries(server).await;
    let complete = look_until(SETTLED, async || {
        let found = documents(node).await;
        entries.keys().all(|id| found.contains_key(id)).then_some(found)
    })
    .await;
    let found = match complete {
        Some(found) => found,
        None => documents(node).await,
    };
    let missing: Vec<_> = entries.iter().filter(|(id, _)| !found.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} not exported: {missing:?}\n{}", missing.len(), server.stderr());
    let foreign: Vec<_> = found.keys().filter(|id| !entries.contains_key(*id)).collect();
    assert!(foreign.is_empty(), "documents of no entry: {foreign:?}");
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} are there twice: {twice:?}", twice.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_in_the_cluster_finds_the_story_by_its_external_id() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node).await;
    let query = json!({"query": {"term": {"trace_id": "external-3"}}, "size": 100});
    let answer = post(&node, "/spanledger-*/_search", &query).await;
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
    let proxy = FaultProxy::start(node.url(), |bulk| {
        FAULTS[usize::try_from(Numbers::at(bulk) % FAULTS.len() as u64).unwrap()]
    })
    .await;
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
            roll_over(&node).await;
        }
        if round % 3 == 2 {
            // The node has done what the exporter will never hear of; then it rolls over.
            proxy.hold_replies();
            let held = proxy.held();
            send(&server, (round * 5 + 4) * SPANS).await;
            wait_until("a reply is held", || proxy.held() > held).await;
            roll_over(&node).await;
            server.kill();
            proxy.release_replies();
            server.restart().await;
        }
        round += 1;
    }
    assert!(proxy.held() > 0, "no kill with a bulk in flight in {round} rounds");
    everything_once(&server, &node).await;
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_delays_the_export_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let (mut node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node).await;
    node.stop();
    for request in 1..5 {
        send(&server, request * SPANS).await;
    }
    assert_eq!(ledger_entries(&server).await.len() as u64, 5 * SPANS, "evidence is still taken");
    assert_eq!(server.status("/readyz").await, 200, "intake is ready during an outage");
    node.start_again();
    everything_once(&server, &node).await;
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_kept_with_its_reason_and_delivered_after_a_fix() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node).await;
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
    everything_once(&server, &node).await;
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
    let done = Command::new(binary())
        .args(["setup", "elasticsearch", "--roles", "--exporter-reads", "--url", url])
        .args(["--ca-file", &ca, "--user", node.user().unwrap()])
        .args(["--password-file", &path("superuser")])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let user = "/_security/user/exporter";
    let body = json!({"password": "geheim-geheim", "roles": ["spanledger-exporter"]});
    post(&node, user, &body).await;
    let config = format!(
        "elasticsearch:\n  urls: [\"{url}\"]\n  ca: \"{ca}\"\n  username: exporter\n  password: {{file: \"{}\"}}\n",
        path("exporter")
    );
    std::fs::write(path("config.yaml"), config).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--config", &path("config.yaml")]).await;
    send(&server, 0).await;
    everything_once(&server, &node).await;

    let switch = async |how: &str| {
        let (status, answer) = node.ask(Method::Put, &format!("{user}/{how}"), None).await;
        assert_eq!(status, 200, "{answer}");
    };
    switch("_disable").await;
    send(&server, SPANS).await;
    held_up(&server).await;
    switch("_enable").await;
    everything_once(&server, &node).await;
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
    everything_once(&server, &node).await;
    assert!(!server.stderr().contains("geheim"), "no secret in a log");
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_index_holds_the_export_up_and_nothing_becomes_a_dead_letter() {
    let data = tempfile::tempdir().unwrap();
    let (node, server) = node_and_server(data.path()).await;
    send(&server, 0).await;
    everything_once(&server, &node).await;
    let block = async |on: Value| change_settings(&node, json!({"index.blocks.write": on})).await;
    // What a disk at its watermark does to every index.
    block(json!(true)).await;
    send(&server, SPANS).await;
    held_up(&server).await;
    block(Value::Null).await;
    everything_once(&server, &node).await;
    assert_eq!(server.get("/api/v1/dead-letters").await["open"], 0);
    server.terminate().await;
}

/// Numbers that look random and are the same each time.
mod rand_like {
    pub(super) struct Numbers;

    impl Numbers {
        pub(super) fn at(place: u64) -> u64 {
            place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
        }
    }
}
