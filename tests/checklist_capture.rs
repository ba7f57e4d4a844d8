//! The checklist's lines about capture and about stores, against the built binary.
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test file uses its part of it")]
#[path = "layer_receiver/reader.rs"]
mod reader;
mod support;

use reader::{RUN, agent, entries, over_grpc, spooled};
use serde_json::Value;
use spanledger::access::Tenant;
use spanledger::correlate::JoinRules;
use spanledger::ledger::Reader;
use spanledger::store::query::{Clock, Query, matches};
use spanledger::store::{
    AuditStore, EntryView, Envelope, Hit, MemoryStore, Order, Page, QueryRequest, StoreError,
    TraceRequest, TraceStory,
};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use support::governed::send;
use support::search_node::{Engine, SearchNode};
use support::server::{DEADLINE, Server, binary, look_until};
use support::stories::{decision_record, policy_changes, refund_chain, spectra_run};
use tempfile::TempDir;

/// A store as a user may bring one: a list, and the question asked of each entry.
#[derive(Default)]
struct Shelf(Mutex<Vec<Kept>>);

struct Kept {
    tenant: String,
    sequence: u64,
    id: [u8; 16],
    event_ns: u64,
    body: Vec<u8>,
}

impl Kept {
    fn hit(&self) -> Hit {
        let (sequence, id, event_ns) = (self.sequence, self.id, self.event_ns);
        Hit { sequence, id, event_ns, document: self.body.clone() }
    }

    fn answers(&self, query: &Query) -> bool {
        let envelope = Envelope {
            sequence: self.sequence,
            id: self.id,
            tenant: &self.tenant,
            received_ns: 0,
            conflict: false,
            leaf_hash: [0; 32],
        };
        matches(query, &EntryView::new(envelope, &self.body), Clock::system())
    }
}

impl AuditStore for Shelf {
    fn write(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError> {
        let mut all = self.0.lock().unwrap();
        for entry in entries {
            let envelope = &entry.envelope;
            if all.iter().all(|kept| kept.id != envelope.id) {
                all.push(Kept {
                    tenant: envelope.tenant.to_owned(),
                    sequence: envelope.sequence,
                    id: envelope.id,
                    event_ns: entry.event_ns(),
                    body: entry.body.to_vec(),
                });
            }
        }
        Ok(())
    }

    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        let all = self.0.lock().unwrap();
        let own = all.iter().filter(|kept| kept.tenant == request.tenant.name());
        let hits = own.filter(|kept| kept.answers(&request.query)).map(Kept::hit).collect();
        Ok(Page { hits, ..Page::default() })
    }

    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        let query = Query::term("trace_id", &request.id);
        let page = self.query(&QueryRequest::new(request.tenant.clone(), query))?;
        Ok(TraceStory { total: page.hits.len(), entries: page.hits, ..TraceStory::default() })
    }
}

/// Brings everything that is in a ledger to a store.
fn bring(data: &Path, store: &dyn AuditStore) {
    let reader = Reader::open(&data.join("ledger")).unwrap();
    let mut scan = reader.scan(0);
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        let entries: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
        store.write(&entries).unwrap();
        store.write(&entries).unwrap();
    }
    store.flush().unwrap();
}

fn ask(store: &dyn AuditStore, query: &str) -> Vec<String> {
    let query = Query::parse(query).unwrap();
    let request = QueryRequest::new(Tenant::default(), query);
    let page = store.query(&QueryRequest { limit: 1_000, order: Order::Ledger, ..request });
    let hits = page.unwrap().hits;
    sorted(hits.iter().map(|hit| format!("{:032x}", u128::from_be_bytes(hit.id))).collect())
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

async fn ask_binary(server: &Server, query: &str) -> Vec<String> {
    let query = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let answer = server.get(&format!("/api/v1/entries?limit=1000&q={query}")).await;
    let entries = answer["entries"].as_array().unwrap().iter();
    sorted(entries.map(|entry| entry["event"]["id"].as_str().unwrap().to_owned()).collect())
}

/// Questions of each sort that the five documents ask.
const QUESTIONS: [&str; 8] = [
    "",
    "user_id:u-77",
    "run_id:run_981 AND kind:decision",
    "decision:block OR decision:require_approval",
    "event_type:branch",
    "@timestamp:[2026-04-01T14:10:34Z TO 2026-04-01T14:10:35.9Z]",
    "reason:approval NOT kind:approval",
    "trace_id:trace-456",
];

#[tokio::test(flavor = "multi_thread")]
async fn s0_2_memory_ledger_elasticsearch_and_a_users_own_store_answer_alike() {
    let folder = TempDir::new().unwrap();
    let node = SearchNode::start(Engine::Elasticsearch);
    let done =
        Command::new(binary()).args(["setup", "elasticsearch", "--url", node.url()]).output();
    assert!(done.unwrap().status.success());
    let arguments = ["--elasticsearch", node.url()];
    let embedded = Server::start_with(&folder.path().join("data"), &arguments).await;
    for story in [spectra_run(), refund_chain(), decision_record(), policy_changes()] {
        send(&embedded, "governed-agent", &story).await;
    }
    let all = ask_binary(&embedded, "").await;
    assert!(all.len() >= 15, "{}", all.len());

    // Another server that has nothing but the cluster to answer from.
    let config = folder.path().join("spanledger.yaml");
    let text = format!("index:\n  enabled: false\nelasticsearch:\n  urls: [\"{}\"]\n", node.url());
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let cluster = Server::start_with(&folder.path().join("reader"), &["--config", &config]).await;
    let arrived = look_until(DEADLINE, async || {
        (ask_binary(&cluster, "").await.len() == all.len()).then_some(())
    });
    arrived.await.expect("every entry is in the cluster");

    let memory = MemoryStore::new("ledger.example", JoinRules::default());
    let own = Shelf::default();
    bring(embedded.data(), &memory);
    bring(embedded.data(), &own);
    for question in QUESTIONS {
        let wanted = ask(&memory, question);
        assert!(!wanted.is_empty(), "{question}");
        assert_eq!(ask_binary(&embedded, question).await, wanted, "embedded: {question}");
        assert_eq!(ask_binary(&cluster, question).await, wanted, "Elasticsearch: {question}");
        assert_eq!(ask(&own, question), wanted, "a user's own: {question}");
    }
    embedded.terminate().await;
    cluster.terminate().await;
}

/// The kinds of these entries with what each is about, in order.
fn told(entries: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let about = |entry: &Value| {
        let tool = text(&entry["gen_ai"]["tool"]["name"]);
        if tool.is_empty() { text(&entry["gen_ai"]["request"]["model"]) } else { tool }
    };
    entries.iter().map(|entry| (text(&entry["audit"]["kind"]), about(entry))).collect()
}

/// Somebody's agent: its spans are its own, and it has never heard of audit.
mod somebodys_agent {
    use tracing::{Instrument as _, info_span};

    pub(crate) async fn run(thread: &str) {
        let run = info_span!(
            "invoke_agent refunds",
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = "refunds",
            trace_id = thread
        );
        let steps = async {
            model().await;
            tool().await;
        };
        steps.instrument(run).await;
    }

    async fn model() {
        let call = info_span!(
            "chat gpt-4.1",
            gen_ai.operation.name = "chat",
            gen_ai.request.model = "gpt-4.1"
        );
        async {}.instrument(call).await;
    }

    async fn tool() {
        let call = info_span!(
            "execute_tool lookup_order",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = "lookup_order"
        );
        async {}.instrument(call).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_4_each_step_is_captured_though_none_was_instrumented_by_hand() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    // The receiver: what an unmodified framework's instrumentation sent.
    let sent = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/payloads/convert/langgraph-openinference/main/001.traces.http-protobuf.bin");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf");
    let answer = request.body(std::fs::read(sent).unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let framework = told(&entries(&server, "service.name:*", 20).await);
    for step in
        [("llm_call", "gpt-4o-mini"), ("tool_call", "lookup_order"), ("tool_call", "issue_refund")]
    {
        let step = (step.0.to_owned(), step.1.to_owned());
        assert!(framework.contains(&step), "{step:?} in {framework:?}");
    }
    for kind in ["workflow_run", "step", "interrupt"] {
        assert!(framework.iter().any(|(it, _)| it == kind), "{kind} in {framework:?}");
    }
    // The layer: one line where the subscriber is made.
    let (handle, _guard) = agent(spooled(&folder.path().join("spool")), over_grpc(&server));
    somebodys_agent::run(RUN).await;
    assert!(handle.shutdown(DEADLINE).await.complete);
    let own = told(&entries(&server, &format!("trace_id:{RUN}"), 3).await);
    let wanted = [("llm_call", "gpt-4.1"), ("tool_call", "lookup_order"), ("agent_run", "")];
    assert_eq!(own, wanted.map(|(kind, about)| (kind.to_owned(), about.to_owned())));
    server.terminate().await;
}
