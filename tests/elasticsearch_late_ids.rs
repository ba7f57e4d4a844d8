//! Documents that were exported before an id of their story was known are found by it afterwards:
//! the built binary, one and two of them, and a real node.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use spanledger::elasticsearch::{Client, Method, Request, Transport as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::requests::{START_NS, request, text};
use support::search_node::{Engine, SearchNode};
use support::server::{Server, binary, look_until};

/// Longest time until documents have the ids of their story.
const SETTLED: Duration = Duration::from_mins(1);

fn setup(node: &SearchNode, more: &[&str]) {
    let mut command = Command::new(binary());
    command.args(["setup", "elasticsearch", "--url", node.url()]).args(more);
    if let (Some(ca), Some(user), Some(password)) = (node.ca(), node.user(), node.password()) {
        command.arg("--ca-file").arg(ca).args(["--user", user]);
        command.env("SPANLEDGER_ELASTICSEARCH_PASSWORD", password);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn number(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The trace id of a number, as bytes and as people write it.
fn trace(number: u64) -> Vec<u8> {
    [0xc0ff_ee00_0000_0000_u64.to_be_bytes(), (0xaaaa_0000_0000_0000 + number).to_be_bytes()]
        .concat()
}

fn trace_text(number: u64) -> String {
    format!("{:032x}", u128::from_be_bytes(trace(number).try_into().unwrap()))
}

/// A span of a trace, with numbers that a reader of JSON would write in another way.
fn span(of: u64, serial: u64, mut attributes: Vec<KeyValue>) -> Span {
    attributes.push(number("large", any_value::Value::IntValue(9_007_199_254_740_993)));
    attributes.push(number("minus", any_value::Value::DoubleValue(-0.0)));
    Span {
        trace_id: trace(of),
        span_id: (serial + 1).to_be_bytes().to_vec(),
        name: "chat".to_owned(),
        kind: 3,
        start_time_unix_nano: START_NS + serial,
        end_time_unix_nano: START_NS + serial + 1_000,
        attributes,
        ..Span::default()
    }
}

fn external(id: &str) -> Vec<KeyValue> {
    vec![text("external.trace_id", id)]
}

async fn send(server: &Server, spans: Vec<Span>) {
    let url = format!("http://{}", server.grpc());
    TraceServiceClient::connect(url).await.unwrap().export(request(spans)).await.unwrap();
}

async fn search(node: &SearchNode, query: Value) -> Vec<Value> {
    let (status, answer) = node.ask(Method::Post, "/spanledger-*/_refresh", None).await;
    assert_eq!(status, 200, "{answer}");
    let body = json!({"query": query, "size": 1000, "sort": ["_index", "event.id"]});
    let (status, answer) = node.ask(Method::Post, "/spanledger-*/_search", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["hits"]["hits"].as_array().unwrap().clone()
}

/// Documents of entries that the query of Kibana finds.
async fn found_by(node: &SearchNode, id: &str) -> Vec<Value> {
    let link = json!({"term": {"audit.kind": "link"}});
    search(node, json!({"bool": {"filter": [{"term": {"trace_id": id}}], "must_not": [link]}}))
        .await
}

/// Waits until so many documents are found by an id, and no more.
async fn finds(node: &SearchNode, servers: &[&Server], id: &str, count: usize) -> Vec<Value> {
    let found = look_until(SETTLED, async || {
        let hits = found_by(node, id).await;
        (hits.len() == count).then_some(hits)
    });
    if let Some(hits) = found.await {
        return hits;
    }
    let mut said = String::new();
    for server in servers {
        said.push_str(&server.stderr());
        said.push_str(&server.get("/readyz").await.to_string());
    }
    let hits = found_by(node, id).await;
    panic!("{id} finds {} of {count}: {hits:#?}\n{said}", hits.len());
}

/// The document as the node keeps it, byte for byte.
async fn raw(node: &SearchNode, hit: &Value) -> String {
    let client = Client::new(&node.connection()).unwrap();
    let path =
        format!("/{}/_source/{}", hit["_index"].as_str().unwrap(), hit["_id"].as_str().unwrap());
    let timeout = Duration::from_mins(1);
    let request = Request { method: Method::Get, path, query: vec![], body: None, timeout };
    String::from_utf8(client.send(request).await.unwrap().body.to_vec()).unwrap()
}

/// A document without the ids that it was given.
fn without_late_ids(document: &str) -> String {
    let Some((before, rest)) = document.split_once(r#""correlation":{"#) else {
        return document.to_owned();
    };
    let (_, after) = rest.split_once("},").unwrap_or_else(|| panic!("{document}"));
    format!("{before}{after}")
}

async fn metric(server: &Server, name: &str) -> f64 {
    let text = reqwest::get(format!("http://{}/metrics", server.api())).await.unwrap();
    let text = text.text().await.unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

async fn children_first_then_the_root(engine: Engine) {
    let node = SearchNode::start(engine);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    send(&server, (0..20).map(|serial| span(1, serial, vec![])).collect()).await;
    send(&server, vec![span(2, 100, vec![])]).await;
    let before = finds(&node, &[&server], &trace_text(1), 20).await;
    let mut kept = Vec::new();
    for hit in &before {
        kept.push(raw(&node, hit).await);
    }
    assert!(kept.iter().all(|text| text.contains("9007199254740993") && text.contains("-0.0")));
    send(&server, vec![span(1, 50, external("langsmith-run-abc123"))]).await;
    finds(&node, &[&server], "langsmith-run-abc123", 21).await;
    for (hit, kept) in before.iter().zip(&kept) {
        assert_eq!(without_late_ids(&raw(&node, hit).await), *kept, "the record stays as it is");
    }
    // What Discover shows as the field. The option `fields` of OpenSearch 3.8 leaves out a field that
    // others are copied to where those are absent; Dashboards reads the source and doc values.
    let shown_by = if engine.is_opensearch() { "docvalue_fields" } else { "fields" };
    let body = json!({
        "query": {"term": {"trace_id": "langsmith-run-abc123"}}, "size": 100, shown_by: ["trace_id"],
    });
    let (_, answer) = node.ask(Method::Post, "/spanledger-*/_search", Some(body)).await;
    assert_eq!(answer["hits"]["hits"].as_array().unwrap().len(), 21);
    for hit in answer["hits"]["hits"].as_array().unwrap() {
        let shown = hit["fields"]["trace_id"].as_array().unwrap_or_else(|| panic!("{hit}"));
        let wanted = [json!("langsmith-run-abc123"), json!(trace_text(1))];
        assert!(wanted.iter().all(|id| shown.contains(id)), "{hit}");
    }
    assert_eq!(found_by(&node, &trace_text(2)).await.len(), 1);
    assert!(
        (metric(&server, "spanledger_elasticsearch_late_documents_total{outcome=\"updated\"}")
            .await
            - 20.0)
            .abs()
            < 0.1
    );
    // Later children find the story as it is by now.
    send(&server, vec![span(1, 60, vec![])]).await;
    finds(&node, &[&server], "langsmith-run-abc123", 22).await;
    assert!(search(&node, json!({"term": {"audit.kind": "link"}})).await.is_empty());
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_came_before_their_root_are_found_by_its_external_id() {
    children_first_then_the_root(Engine::Elasticsearch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_came_before_their_root_are_found_by_its_external_id_in_opensearch() {
    children_first_then_the_root(Engine::OpenSearch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_came_before_their_root_are_found_in_the_versions_before() {
    children_first_then_the_root(Engine::Elasticsearch8).await;
    children_first_then_the_root(Engine::OpenSearch2).await;
}

/// Two servers with one id key, as collectors of one cluster have it.
async fn two_servers(node: &SearchNode, one: &Path, other: &Path) -> (Server, Server) {
    let first = Server::start_with(one, &["--elasticsearch", node.url()]).await;
    let keys = other.join("keys");
    let copied = Command::new("cp").arg("-a").arg(one.join("keys")).arg(&keys).status().unwrap();
    assert!(copied.success());
    let second = Server::start_with(other, &["--elasticsearch", node.url()]).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_collectors_that_each_saw_half_of_a_story_join_it_in_either_order_and_at_once() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = two_servers(&node, one.path(), other.path()).await;
    let both = [&first, &second];
    // The half with the external id last.
    send(&first, (0..5).map(|serial| span(1, serial, vec![])).collect()).await;
    finds(&node, &both, &trace_text(1), 5).await;
    send(&second, vec![span(1, 10, external("story-1"))]).await;
    finds(&node, &both, "story-1", 6).await;
    // And first; then more of the first collector, which knows the trace already.
    send(&second, vec![span(2, 20, external("story-2"))]).await;
    finds(&node, &both, "story-2", 1).await;
    send(&first, vec![span(2, 21, vec![]), span(1, 22, vec![])]).await;
    finds(&node, &both, "story-2", 2).await;
    finds(&node, &both, "story-1", 7).await;
    // At once, a chain over both: trace 10, run a, trace 11, run b, and so on.
    let link = |run: u64| vec![text("spanledger.run_id", &format!("run-{run}"))];
    for round in 0..3_u64 {
        let base = 100 * (round + 1);
        let halves: Vec<(Vec<Span>, Vec<Span>)> = (0..4)
            .map(|n| {
                let (of, next) = (base + n, base + n + 1);
                let mine = vec![
                    span(of, 1000 * base + 10 * n, link(of)),
                    span(of, 1000 * base + 10 * n + 1, vec![]),
                ];
                let theirs = vec![span(next, 1000 * base + 10 * n + 2, link(of))];
                if n % 2 == 0 { (mine, theirs) } else { (theirs, mine) }
            })
            .collect();
        let (mine, theirs): (Vec<_>, Vec<_>) = halves.into_iter().unzip();
        tokio::join!(
            send(&first, mine.into_iter().flatten().collect()),
            send(&second, theirs.into_iter().flatten().collect()),
        );
        for n in 0..=4 {
            finds(&node, &both, &trace_text(base + n), 12).await;
        }
    }
    first.terminate().await;
    second.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_resumes_under_another_trace_is_one_story_with_the_one_that_paused() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    let paused = vec![
        text("spanledger.thread_id", "thread-1"),
        text("spanledger.interrupt.reason", "may I pay?"),
        text("external.trace_id", "paused-1"),
    ];
    send(&server, vec![span(1, 1, paused), span(1, 2, vec![])]).await;
    finds(&node, &[&server], "paused-1", 2).await;
    let resumed = vec![
        text("spanledger.thread_id", "thread-1"),
        text("spanledger.interrupt.response", "yes"),
    ];
    send(&server, vec![span(2, 10, resumed), span(2, 11, vec![])]).await;
    finds(&node, &[&server], "paused-1", 4).await;
    finds(&node, &[&server], &trace_text(2), 4).await;
    // An approval joins as well, whoever answers it.
    send(&server, vec![span(3, 20, vec![text("spanledger.approval.id", "approval-7")])]).await;
    send(&server, vec![span(2, 21, vec![text("spanledger.approval.id", "approval-7")])]).await;
    finds(&node, &[&server], &trace_text(3), 6).await;
    finds(&node, &[&server], "paused-1", 6).await;
    server.terminate().await;
}

/// Stories that are joined while the server is killed.
const STORIES: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_it_joins_stories_joins_the_rest_after_its_restart() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    let children =
        |from: u64| -> Vec<Span> { (0..STORIES).map(|n| span(n + 1, from + n, vec![])).collect() };
    send(&server, children(0)).await;
    finds(&node, &[&server], &trace_text(1), 1).await;
    send(&server, children(1_000)).await;
    let roots = (0..STORIES).map(|n| span(n + 1, 2_000 + n, external(&format!("story-{}", n + 1))));
    send(&server, roots.collect()).await;
    // As soon as the first has its id.
    let given = json!({"exists": {"field": "audit.correlation.trace_id"}});
    let seen = look_until(SETTLED, async || {
        (!search(&node, given.clone()).await.is_empty()).then_some(())
    });
    seen.await.expect("some documents are given ids");
    server.restart().await;
    for n in 1..=STORIES {
        finds(&node, &[&server], &format!("story-{n}"), 3).await;
    }
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_an_older_index_get_ids_and_one_that_is_read_only_gets_a_link() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    send(&server, vec![span(1, 1, vec![]), span(2, 2, vec![])]).await;
    let older = finds(&node, &[&server], &trace_text(1), 1).await[0]["_index"].clone();
    let rollover = node.ask(Method::Post, "/spanledger-default/_rollover", Some(json!({}))).await;
    assert_eq!(rollover.0, 200, "{}", rollover.1);
    send(&server, vec![span(1, 3, external("story-1"))]).await;
    let hits = finds(&node, &[&server], "story-1", 2).await;
    assert_ne!(hits[0]["_index"], hits[1]["_index"], "one in each index");

    let settings = format!("/{}/_settings", older.as_str().unwrap());
    let block = json!({"index.blocks.write": true});
    assert_eq!(node.ask(Method::Put, &settings, Some(block)).await.0, 200);
    send(&server, vec![span(2, 4, external("story-2"))]).await;
    let link = look_until(SETTLED, async || {
        search(&node, json!({"term": {"audit.kind": "link"}})).await.pop()
    });
    let link = link.await.unwrap_or_else(|| panic!("no link: {}", server.stderr()));
    let ids = link["_source"]["trace_id"].as_array().unwrap();
    assert!(ids.contains(&json!("story-2")) && ids.contains(&json!(trace_text(2))), "{link}");
    let path = link["_source"]["audit"]["link"]["kibana"].as_str().unwrap();
    assert!(path.starts_with("/app/discover#/?_g=(time:(from:'2026-11-21T07:59:"), "{path}");
    assert!(path.contains("trace_id:%22story-2%22") && path.contains(&trace_text(2)), "{path}");
    // What can be changed is, and nothing is held up.
    finds(&node, &[&server], "story-2", 1).await;
    assert_eq!(server.get("/readyz").await["held_up"], json!([]));
    server.terminate().await;
}

/// A configuration whose exporter, and correlator, have the key in a file.
fn config(folder: &Path, node: &SearchNode, exporter: &str, correlator: Option<&str>) -> String {
    let key = |name: &str| folder.join(name).display().to_string();
    let own = correlator.map_or(String::new(), |name| {
        format!("  correlator:\n    api_key: {{file: \"{}\"}}\n", key(name))
    });
    let text = format!(
        "elasticsearch:\n  urls: [\"{}\"]\n  ca: \"{}\"\n  api_key: {{file: \"{}\"}}\n{own}",
        node.url(),
        node.ca().unwrap().display(),
        key(exporter),
    );
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_only_create_makes_links_and_the_correlators_own_key_gives_ids() {
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    setup(
        &node,
        &["--exporter-key-file", &path("exporter"), "--correlator-key-file", &path("correlator")],
    );
    let data = tempfile::tempdir().unwrap();
    let create_only = config(folder.path(), &node, "exporter", None);
    let server = Server::start_with(data.path(), &["--config", &create_only]).await;
    send(&server, vec![span(1, 1, vec![])]).await;
    finds(&node, &[&server], &trace_text(1), 1).await;
    send(&server, vec![span(1, 2, external("story-1"))]).await;
    let links = look_until(SETTLED, async || {
        let links = search(&node, json!({"term": {"audit.kind": "link"}})).await;
        (links.len() == 1).then_some(links)
    });
    let links = links.await.unwrap_or_else(|| panic!("no link: {}", server.stderr()));
    let ids = links[0]["_source"]["trace_id"].as_array().unwrap();
    assert!(ids.contains(&json!("story-1")) && ids.contains(&json!(trace_text(1))), "{links:?}");
    // The export goes on, nothing waits, and nothing is given to documents.
    send(&server, vec![span(3, 3, vec![])]).await;
    finds(&node, &[&server], &trace_text(3), 1).await;
    assert_eq!(found_by(&node, "story-1").await.len(), 1);
    assert_eq!(server.get("/readyz").await["held_up"], json!([]));
    assert!((metric(&server, "spanledger_elasticsearch_late_reduced").await - 1.0).abs() < 0.1);
    server.terminate().await;

    let own_key = config(folder.path(), &node, "exporter", Some("correlator"));
    let server = Server::start_with(data.path(), &["--config", &own_key]).await;
    send(&server, vec![span(1, 4, vec![])]).await;
    finds(&node, &[&server], "story-1", 3).await;
    assert!(metric(&server, "spanledger_elasticsearch_late_reduced").await.abs() < 0.1);
    for secret in ["exporter", "correlator"] {
        let secret = std::fs::read_to_string(path(secret)).unwrap();
        assert!(!server.stderr().contains(secret.trim()), "no secret in a log");
    }
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_replayed_joins_its_story() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    send(&server, vec![span(1, 1, external("story-1"))]).await;
    finds(&node, &[&server], "story-1", 1).await;
    let pipeline = async |name: &str| {
        let body = json!({"index.final_pipeline": name});
        let reply = node.ask(Method::Put, "/spanledger-default/_settings", Some(body)).await;
        assert_eq!(reply.0, 200, "{}", reply.1);
    };
    pipeline("not-there").await;
    send(&server, vec![span(1, 2, vec![])]).await;
    let refused = look_until(SETTLED, async || {
        let letters = server.get("/api/v1/dead-letters").await;
        (letters["open"] == 1).then_some(())
    });
    refused.await.expect("it becomes a dead letter");
    // The correlator passes it: what comes later has its ids.
    pipeline("_none").await;
    send(&server, vec![span(1, 3, vec![])]).await;
    finds(&node, &[&server], "story-1", 2).await;
    let done = Command::new(binary())
        .args(["dead-letters", "replay", "--all", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    finds(&node, &[&server], "story-1", 3).await;
    server.terminate().await;
}

/// From the acknowledgement of the joining span until a search finds the whole story. A number for
/// the documentation is measured with `SPANLEDGER_CONVERGENCE_RUNS=20 … -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_is_whole_within_seconds_of_its_joining_span() {
    let runs = std::env::var("SPANLEDGER_CONVERGENCE_RUNS").ok().and_then(|n| n.parse().ok());
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(&node, &[]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--elasticsearch", node.url()]).await;
    let mut took = Vec::new();
    for run in 0..runs.unwrap_or(2_u64) {
        let of = run + 1;
        send(&server, (0..50).map(|n| span(of, 100 * of + n, vec![])).collect()).await;
        finds(&node, &[&server], &trace_text(of), 50).await;
        send(&server, vec![span(of, 100 * of + 99, external(&format!("story-{of}")))]).await;
        let since = Instant::now();
        finds(&node, &[&server], &format!("story-{of}"), 51).await;
        took.push(since.elapsed());
    }
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("convergence of {} stories: median {median:?}, longest {longest:?}", took.len());
    let name = "spanledger_elasticsearch_late_convergence_seconds";
    let (sum, count) = (
        metric(&server, &format!("{name}_sum")).await,
        metric(&server, &format!("{name}_count")).await,
    );
    println!("as the server counts it: mean {:.2} s of {count}", sum / count);
    assert!(count >= 1.0 && longest < SETTLED);
    server.terminate().await;
}
