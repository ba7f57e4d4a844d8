//! What a real node refuses for a time, and what it refuses for good.

use crate::support::export::{
    SETTLED, SPANS, configured, dead_letters, everything_once, held_up, post, put, roll_over, send,
    send_request, setup,
};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::requests::{request, span, text};
use crate::support::search_node::{Engine, SearchNode, ask};
use crate::support::server::{binary, look_until};
use serde_json::{Value, json};
use spanledger::elasticsearch::Method;
use std::process::Command;
use tokio::task::JoinSet;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_cluster_holds_the_export_up_until_there_is_room_again() {
    // However full this machine's own disk is, at first there is room.
    let watched = [
        "cluster.routing.allocation.disk.threshold_enabled=true",
        "cluster.routing.allocation.disk.watermark.low=3mb",
        "cluster.routing.allocation.disk.watermark.high=2mb",
        "cluster.routing.allocation.disk.watermark.flood_stage=1mb",
    ];
    let node = SearchNode::start_with(Engine::Elasticsearch, &watched);
    setup(node.url());
    let server = configured(&[node.url().to_owned()], "").await;
    let client = node.client();
    send(&server, 0).await;
    everything_once(&server, &client).await;
    // More free space than any disk has: to the node, the disk is full.
    let settings = json!({"persistent": {
        "cluster.routing.allocation.disk.watermark.low": "9000tb",
        "cluster.routing.allocation.disk.watermark.high": "8999tb",
        "cluster.routing.allocation.disk.watermark.flood_stage": "8998tb",
        "cluster.info.update.interval": "10s",
    }});
    put(&client, "/_cluster/settings", &settings).await;
    let blocked = look_until(SETTLED, async || {
        let (_, all) = node.ask(Method::Get, "/spanledger-default/_settings", None).await;
        let mut indices = all.as_object().unwrap().values();
        let block = "/settings/index/blocks/read_only_allow_delete";
        indices.any(|index| index.pointer(block).is_some()).then_some(())
    })
    .await;
    assert!(blocked.is_some(), "the node itself makes the index read-only");
    send(&server, SPANS).await;
    let why = held_up(&server).await;
    assert!(why.contains("an index is read-only") && why.contains("make room"), "{why}");
    assert_eq!(dead_letters(&server).await, Vec::<Value>::new());

    let settings = json!({"persistent": {"cluster.routing.allocation.disk.watermark.*": null}});
    put(&client, "/_cluster/settings", &settings).await;
    let settled = everything_once(&server, &client).await;
    assert!(settled.letters.is_empty());
    server.server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_too_busy_is_sent_less_at_once_and_gets_everything() {
    let small = [
        "thread_pool.write.size=1",
        "thread_pool.write.queue_size=1",
        "indexing_pressure.memory.limit=256kb",
    ];
    let node = SearchNode::start_with(Engine::Elasticsearch, &small);
    setup(node.url());
    let proxy = FaultProxy::start(node.url(), |_| Fault::None).await;
    let server = configured(&[proxy.url()], "bulk_size: 1MiB, in_flight: 8").await;
    let others = Crowd::start(&node);
    let mut sent = 0;
    let slower = look_until(SETTLED, async || {
        send(&server, sent * SPANS).await;
        sent += 1;
        let bytes = server.metric("spanledger_elasticsearch_batch_bytes").await;
        let (requests, items) = proxy.busy();
        (bytes < MIB && requests > 0 && items > 0).then_some(())
    })
    .await;
    let refused = proxy.busy();
    assert!(slower.is_some(), "(requests, bulks with documents) refused: {refused:?}");
    others.leave().await;
    let settled = everything_once(&server, &node.client()).await;
    assert!(settled.letters.is_empty(), "429 is no fault of a document");
    server.server.terminate().await;
}

/// Other programs that write into the node at the same time and mind no refusal.
struct Crowd(JoinSet<()>);

impl Crowd {
    fn start(node: &SearchNode) -> Self {
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let client = node.client();
            all.spawn(async move {
                loop {
                    let document = Some(json!({"text": "of somebody else"}));
                    ask(&client, Method::Post, "/others/_doc", document).await;
                }
            });
        }
        Self(all)
    }

    async fn leave(mut self) {
        self.0.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_document_in_a_thousand_is_a_dead_letter_and_delivered_after_the_fix() {
    let node = SearchNode::start(Engine::Elasticsearch);
    setup(node.url());
    let client = node.client();
    let server = configured(&[node.url().to_owned()], "").await;
    // The cluster's administrators know their users by number, and say so in a template of theirs.
    put(&client, "/_index_template/stricter", &stricter()).await;
    roll_over(&client).await;
    let spans = (0..1_000).map(|serial| {
        let user = if serial == 637 { "guest".to_owned() } else { serial.to_string() };
        span(serial, vec![text("enduser.id", &user)])
    });
    send_request(&server, request(spans.collect())).await;
    let settled = everything_once(&server, &client).await;
    assert_eq!((settled.documents.len(), settled.letters.len()), (999, 1));
    let letter = dead_letters(&server).await.remove(0);
    assert_eq!(letter["error_type"], "document_parsing_exception", "{letter}");
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.contains("user.id") && !reason.contains("guest"), "{reason}");

    let (status, answer) = ask(&client, Method::Delete, "/_index_template/stricter", None).await;
    assert_eq!(status, 200, "{answer}");
    roll_over(&client).await;
    let replay = ["dead-letters", "replay", "--all", "--data"];
    let done = Command::new(binary()).args(replay).arg(server.data()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(said, "1 delivered, 0 refused again, 0 unknown\n");
    let settled = everything_once(&server, &client).await;
    assert_eq!((settled.documents.len(), settled.letters.len()), (1_000, 0));
    let query = json!({"query": {"term": {"user.id": "guest"}}});
    let found = post(&client, "/spanledger-*/_search", &query).await;
    assert_eq!(found["hits"]["hits"].as_array().unwrap().len(), 1, "{found}");
    server.server.terminate().await;
}

/// Our template, and before it: `user.id` is a number.
pub(crate) fn stricter() -> Value {
    json!({
        "index_patterns": ["spanledger-*"],
        "data_stream": {},
        "priority": 1_000,
        "composed_of": ["spanledger-mappings", "spanledger-settings"],
        "template": {
            "mappings": {"properties": {"user": {"properties": {"id": {"type": "long"}}}}},
        },
    })
}
