//! A ledger within the agent's process: no server, no socket.

#[path = "../examples/embedded_agent.rs"]
#[allow(dead_code, reason = "its main is called in a process of its own")]
mod embedded_agent;
mod support;

use serde_json::Value;
use spanledger::access::Tenant;
use spanledger::layer::{
    AuditLayer, Decision, Embedded, EmbeddedError, Handle, LayerError, Outcome, Receipt,
};
use spanledger::record;
use spanledger::store::TraceRequest;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use support::export::{documents, setup};
use support::search_node::{Engine, SearchNode};
use tracing::{Instrument as _, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Longer than anything here takes.
const WITHIN: Duration = Duration::from_mins(1);

const TENANT: &str = "acme";

fn layer(data: &Path) -> Result<AuditLayer, LayerError> {
    let ledger = Embedded::new(data).tenant(TENANT);
    AuditLayer::builder().service_name("refund-agent").embedded(ledger)
}

/// A run of an agent: spans, an event, and a decision with a receipt.
async fn run(id: &str) -> Receipt {
    let span = info_span!(target: "audit", "invoke_agent", trace_id = id);
    async {
        info_span!(target: "audit", "chat", gen_ai.request.model = "gpt").in_scope(|| ());
        info!(target: "audit", "looked at the order");
        record(Decision::new(Outcome::Block).reason("over the limit")).await.unwrap()
    }
    .instrument(span)
    .await
}

/// [`run`] under a subscriber with that layer, without a runtime of the agent.
fn run_under(layer: AuditLayer, id: &str) -> (Handle, Receipt) {
    let handle = layer.handle();
    let subscriber = tracing_subscriber::registry().with(layer);
    let receipt = tracing::subscriber::with_default(subscriber, || block_on(run(id)));
    (handle, receipt)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The documents of a story, as the process itself sees them.
fn story(handle: &Handle, id: &str) -> Vec<Value> {
    let request = TraceRequest::new(Tenant::new(TENANT).unwrap(), id);
    let story = handle.store().unwrap().trace(&request).unwrap();
    story.entries.iter().map(|hit| serde_json::from_slice(&hit.document).unwrap()).collect()
}

fn spanledger(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanledger"));
    command.args(arguments).arg("--data").arg(data).output().unwrap()
}

/// What `spanledger search` finds in a data folder of which it sees nothing but the files.
fn searched(data: &Path, query: &str) -> Vec<Value> {
    let done =
        spanledger(data, &["search", query, "--json", "--limit", "1000", "--tenant", TENANT]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    answer["entries"].as_array().unwrap().clone()
}

fn verified(data: &Path) {
    let done = spanledger(data, &["verify"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn a_run_is_found_by_its_external_id_in_its_own_process_beside_it_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, receipt) = run_under(layer(folder.path()).unwrap(), "run-1");
    assert!(block_on(handle.delivered(WITHIN)).complete);
    let entries = story(&handle, "run-1");
    assert_eq!(entries.len(), 4, "{entries:#?}");
    let decision = entries.iter().find(|it| it["event"]["sequence"] == receipt.sequence).unwrap();
    assert_eq!(decision["event"]["hash"], hex(&receipt.leaf_hash));
    assert_eq!(decision["audit"]["decision"]["outcome"], "block", "{decision:#?}");
    let ledger = handle.ledger().unwrap();
    assert_eq!((ledger.tenant().name(), ledger.troubles()), (TENANT, Vec::new()));

    assert_eq!(searched(folder.path(), "trace_id:run-1").len(), 4, "while the agent runs");
    let delivery = block_on(handle.shutdown(WITHIN));
    assert!(delivery.complete && delivery.stats.last_error.is_none(), "{delivery:?}");
    assert_eq!(searched(folder.path(), "trace_id:run-1").len(), 4, "afterwards");
    verified(folder.path());
}

/// What the API of a ledger within a process answers.
async fn asked(handle: &Handle, path: &str) -> (u16, Value) {
    let address = handle.ledger().unwrap().api().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

#[test]
fn a_person_on_the_machine_can_look_at_the_agents_entries_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let here = "127.0.0.1:0".parse().unwrap();
    let ledger = Embedded::new(folder.path()).tenant(TENANT).listen_api(here);
    let (handle, receipt) = run_under(AuditLayer::builder().embedded(ledger).unwrap(), "run-1");
    assert!(block_on(handle.delivered(WITHIN)).complete);
    let address = handle.ledger().unwrap().api().unwrap();
    let story = block_on(asked(&handle, &format!("/api/v1/traces/run-1?tenant={TENANT}"))).1;
    assert_eq!(story["total"], 4, "{story:#}");
    let blocked =
        block_on(asked(&handle, &format!("/api/v1/entries?q=decision:block&tenant={TENANT}")));
    assert_eq!(blocked.1["entries"][0]["event"]["sequence"], receipt.sequence);
    assert_eq!(block_on(asked(&handle, "/readyz")).0, 200);
    // It only answers, and only to its own names.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/api/v1/audit/tool-call");
    let sent = block_on(client.post(url).body(r#"{"tool_name":"t"}"#).send()).unwrap();
    assert_eq!(sent.status(), 503);
    let url = format!("http://{address}/api/v1/entries");
    let fooled = block_on(client.get(url).header("host", "evil.example").send()).unwrap();
    assert_eq!(fooled.status(), 421);
    assert!(block_on(handle.shutdown(WITHIN)).complete);
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens after the end");
    // The folder is free.
    assert!(layer(folder.path()).unwrap().handle().shutdown_blocking(WITHIN).complete);
}

#[test]
fn an_embedded_api_is_for_this_machine_and_for_nobody_once_there_are_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let listen = |address: &str| {
        let ledger = Embedded::new(folder.path()).listen_api(address.parse().unwrap());
        AuditLayer::builder().embedded(ledger)
    };
    let refused = listen("0.0.0.0:0").unwrap_err().to_string();
    assert!(refused.contains("127.0.0.1") && refused.contains("spanledger serve"), "{refused}");
    let open = listen("127.0.0.1:0").unwrap().handle();
    let address = open.ledger().unwrap().api().unwrap();
    let arguments = ["keys", "create", "--role", "operator", "--name", "a"];
    let made = spanledger(folder.path(), &arguments);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    block_on(async {
        let shut = support::server::look_until(WITHIN, async || {
            std::net::TcpStream::connect(address).is_err().then_some(())
        });
        shut.await.expect("the door is shut");
    });
    assert!(open.shutdown_blocking(WITHIN).complete);
    drop(open);
    let refused = listen("127.0.0.1:0").unwrap_err().to_string();
    assert!(refused.contains("has credentials"), "{refused}");
    assert!(layer(folder.path()).is_ok(), "without an API it is as before");
}

#[test]
fn the_folder_is_free_after_a_shutdown_and_a_second_shutdown_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, _) = run_under(layer(folder.path()).unwrap(), "run-1");
    let first = handle.shutdown_blocking(WITHIN);
    assert_eq!(handle.shutdown_blocking(WITHIN), first);
    assert!(handle.store().is_none(), "it would keep the folder");
    let (next, receipt) = run_under(layer(folder.path()).unwrap(), "run-2");
    assert!(receipt.sequence > 4);
    assert_eq!(story(&next, "run-1").len(), 4);
}

#[test]
fn dropping_everything_ends_the_ledger_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let id = format!("run-{round}");
        let (handle, _) = run_under(layer(folder.path()).unwrap(), &id);
        drop(handle);
        assert_eq!(searched(folder.path(), &format!("trace_id:{id}")).len(), 4);
    }
    verified(folder.path());
}

#[test]
fn a_folder_that_is_in_use_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, _) = run_under(layer(folder.path()).unwrap(), "run-1");
    let second = layer(folder.path()).unwrap_err();
    assert!(matches!(second, LayerError::Embedded(EmbeddedError::Taken { .. })), "{second:?}");
    let text = second.to_string();
    let place = folder.path().display().to_string();
    assert!(text.contains(&place) && text.contains("a folder of its own"), "{text}");
    let server = spanledger(folder.path(), &["serve"]);
    let text = String::from_utf8_lossy(&server.stderr);
    assert!(!server.status.success() && text.contains("another spanledger runs on"), "{text}");
}

#[test]
fn what_cannot_be_run_on_is_said_when_the_layer_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "ledgr: {}\n").unwrap();
    let made = |ledger| AuditLayer::builder().embedded(ledger).unwrap_err().to_string();
    let data = folder.path().join("data");
    let unknown = made(Embedded::new(&data).config_file(&config));
    assert!(unknown.contains("did you mean \"ledger\"?"), "{unknown}");
    let tenant = made(Embedded::new(&data).tenant("a/b"));
    assert!(tenant.contains("tenant"), "{tenant}");
    assert!(!data.exists(), "nothing was made");
    std::fs::write(&data, "a file").unwrap();
    let file = made(Embedded::new(&data));
    assert!(file.contains(&data.display().to_string()), "{file}");
}

#[test]
fn a_request_that_is_too_large_is_taken_in_parts_and_a_record_that_is_too_large_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "receiver: {max_request: 64KiB, memory: 64MiB}\n").unwrap();
    let ledger = Embedded::new(folder.path().join("data")).tenant(TENANT).config_file(&config);
    let layer = AuditLayer::builder().embedded(ledger).unwrap();
    let handle = layer.handle();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _run = info_span!(target: "audit", "run", trace_id = "run-1").entered();
        for number in 0..40 {
            let text = "x".repeat(10_000);
            info!(target: "audit", number, text, "one of many");
        }
        for number in 0..20 {
            info!(target: "audit", number, a = "x".repeat(30_000), b = "x".repeat(50_000), "large");
        }
    });
    let delivery = block_on(handle.delivered(WITHIN));
    assert!(delivery.complete, "{delivery:?}");
    assert_eq!(delivery.stats.refused, 20, "{delivery:?}");
    assert_eq!(story(&handle, "run-1").len(), 1 + 40);
    block_on(handle.shutdown(WITHIN));
    let told = searched(&folder.path().join("data"), "larger");
    assert!(!told.is_empty(), "gap entries say why");
    verified(&folder.path().join("data"));
}

#[test]
fn entries_are_in_the_cluster_when_the_agent_has_said_goodbye() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let folder = tempfile::tempdir().unwrap();
    let ledger = Embedded::new(folder.path()).tenant(TENANT).elasticsearch(node.url());
    let (handle, _) = run_under(AuditLayer::builder().embedded(ledger).unwrap(), "run-1");
    let delivery = handle.shutdown_blocking(WITHIN);
    assert!(delivery.complete && delivery.stats.last_error.is_none(), "{delivery:?}");
    let ledger = searched(folder.path(), "*");
    let id = |entry: &Value| (entry["event"]["id"].as_str().unwrap().to_owned(), 1);
    assert_eq!(ledger.len(), 6, "hello, the run, goodbye");
    assert_eq!(block_on(documents(&node.client())), ledger.iter().map(id).collect());
}

/// Tells the test binary that it is another process, and which.
const CHILD: &str = "SPANLEDGER_TEST_EMBEDDED_CHILD";

fn child(what: &str, data: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_other_process", "--exact", "--nocapture"])
        .env(CHILD, what)
        .env("SPANLEDGER_DATA", data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Prints what is said on threads that are not the agent's own.
struct Ears;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Ears {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("");
        if !["main", "the_other_process"].contains(&name) {
            println!("heard {} from {name}", event.metadata().target());
        }
    }
}

/// What tests run in a process of its own.
#[test]
fn the_other_process() -> Result<(), Box<dyn Error>> {
    let Ok(what) = std::env::var(CHILD) else { return Ok(()) };
    let data = std::env::var("SPANLEDGER_DATA")?;
    match what.as_str() {
        "example" => embedded_agent::main(),
        "deaf" => {
            let ledger = Embedded::new(data).tenant(TENANT).elasticsearch("http://127.0.0.1:9");
            let layer = AuditLayer::builder().capture(|_| true).embedded(ledger)?;
            let handle = layer.handle();
            tracing_subscriber::registry().with(layer).with(Ears).init();
            block_on(async { record(Decision::new(Outcome::Allow)).await })?;
            // The export has failed and said so, to nobody.
            while handle.ledger().is_none_or(|ledger| ledger.troubles().is_empty()) {
                std::thread::yield_now();
            }
            handle.shutdown_blocking(WITHIN);
            Ok(())
        }
        _ => {
            let layer = layer(Path::new(&data))?;
            tracing_subscriber::registry().with(layer).init();
            for number in 0.. {
                let receipt = block_on(run(&format!("run-{number}")));
                println!("receipt {} {}", receipt.sequence, hex(&receipt.leaf_hash));
            }
            Ok(())
        }
    }
}

#[test]
fn what_has_a_receipt_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = child("killed", folder.path());
    let lines = BufReader::new(agent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let receipt = |line: String| {
        let (_, receipt) = line.split_once("receipt ")?;
        let (sequence, hash) = receipt.split_once(' ')?;
        Some((sequence.parse::<u64>().unwrap(), hash.to_owned()))
    };
    let receipts: Vec<_> = lines.filter_map(receipt).take(20).collect();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(receipts.len(), 20);
    let found = searched(folder.path(), "decision:block");
    for (sequence, hash) in receipts {
        let entry = found.iter().find(|it| it["event"]["sequence"] == sequence).unwrap();
        assert_eq!(entry["event"]["hash"], hash);
    }
    // The lock is gone with the process.
    let (handle, _) = run_under(layer(folder.path()).unwrap(), "afterwards");
    assert!(handle.shutdown_blocking(WITHIN).complete);
    verified(folder.path());
}

#[test]
fn the_example_needs_no_second_process() {
    let folder = tempfile::tempdir().unwrap();
    let done = child("example", folder.path()).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}");
    let (_, query) = text.split_once("spanledger search '").unwrap();
    let (query, _) = query.split_once('\'').unwrap();
    let found = spanledger(folder.path(), &["search", query, "--json", "--limit", "100"]);
    let found = String::from_utf8(found.stdout).unwrap();
    let answer: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(answer["count"], 4, "run, decision, approval, tool: {found}");
    for part in ["require_approval", "ops-lead@example.com", "issue_refund", "large-amounts"] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    verified(folder.path());
}

#[test]
fn what_the_pipeline_says_of_itself_never_becomes_entries() {
    let folder = tempfile::tempdir().unwrap();
    let done = child("deaf", folder.path()).wait_with_output().unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(!text.contains("heard"), "{text}");
    let found = searched(folder.path(), "*");
    assert_eq!(found.len(), 3, "hello, the decision, goodbye: {found:#?}");
}
