//! The mapping against real nodes: every document is taken, and the saved searches find theirs.
#![allow(missing_docs)]

mod support;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use spanledger::cli::demo::{EXTERNAL_ID, Export, scenario};
use spanledger::elasticsearch::fields::LONGEST_KEYWORD;
use spanledger::elasticsearch::setup::{SetupOptions, plan};
use spanledger::elasticsearch::{Client, Method};
use spanledger::store::projection::{Origin, write_document};
use spanledger::store::{EntryView, Envelope};
use std::time::SystemTime;
use support::search_node::{Engine, SearchNode, ask};
use support::server::{DEADLINE, Server, look_until};

const STREAM: &str = "spanledger-default";

/// More than a term of Lucene holds.
const TOO_LONG: usize = 40_000;

/// A name with the document that the exporter would send for this body.
fn document(name: &str, body: &[u8]) -> (String, Value) {
    let envelope = Envelope {
        sequence: 7,
        id: [0xab; 16],
        tenant: "acme",
        received_ns: 1_795_241_529_767_677_952,
        conflict: false,
        leaf_hash: [0x11; 32],
    };
    let mut out = Vec::new();
    write_document(&EntryView::new(envelope, body), Origin { name: "example" }, &mut out);
    (name.to_owned(), serde_json::from_slice(&out).unwrap())
}

/// A body with these parts of its `audit` object and these beside it.
fn body(audit: Value, beside: Value) -> Vec<u8> {
    let mut body = json!({
        "schema_version": 1, "@timestamp": "2026-11-21T06:12:09.767677952Z",
        "event": {}, "audit": {"kind": "span"},
    });
    let merge = |into: &mut Value, from: Value| {
        let Value::Object(from) = from else { panic!("parts are objects") };
        into.as_object_mut().unwrap().extend(from);
    };
    merge(&mut body["audit"], audit);
    merge(&mut body, beside);
    body.to_string().into_bytes()
}

/// Documents that would fail with a careless mapping.
fn nasty() -> Vec<(String, Value)> {
    let long = "x".repeat(TOO_LONG);
    // Three bytes in one UTF-16 unit is the worst case; the last value fits to the byte.
    let wide = "€".repeat(TOO_LONG);
    let fits = "€".repeat(LONGEST_KEYWORD as usize);
    let prose = "many words of prose ".repeat(TOO_LONG);
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "k": inner }));
    let free = [
        json!(1),
        json!(-0.5),
        json!(true),
        json!(null),
        json!("text"),
        json!([]),
        json!({}),
        json!([1, "a", {"b": [null]}]),
        json!({"a": {"b": 1}}),
        json!(u64::MAX),
        json!("NaN"),
        json!(1e308),
        deep,
    ];
    let mut documents: Vec<(String, Value)> = free
        .iter()
        .enumerate()
        .map(|(at, free)| {
            let audit = json!({
                "policy": {"matched": free, "evaluated": free},
                "change": [{"path": "rules[0]", "before": free, "after": free}],
            });
            let beside = json!({
                "attributes": {"x": free, "x.y": free, "": free, "a..b": free, ".": free},
                "resource": {"x": free},
                "scope": {"name": "n", "attributes": {"x": free}},
                "events": [
                    {"name": "e", "@timestamp": "2026-11-21T06:12:09.767677952Z", "attributes": {"x": free}},
                    {"name": "f", "raw_time": u64::MAX},
                ],
                "links": [{"trace_id": "aa", "span_id": "bb", "attributes": {"x": free}}],
                "body": free,
            });
            document(&format!("free-{at}"), &body(audit, beside))
        })
        .collect();
    for (name, audit, beside) in [
        (
            "long-ids",
            json!({"run": {"id": long}, "job": {"id": wide}, "actor": {"id": long}, "step": {"id": fits},
                "policy": {"id": [long, "short-policy"], "name": wide}, "flags": ["id_too_long"],
                "decision": {"raw": wide, "reason": prose, "id": long}}),
            json!({"trace_id": [long, wide, "short-id"], "user": {"id": wide, "name": long}}),
        ),
        (
            "long-texts",
            json!({"payload": [
                    {"kind": "prompt", "source": "s", "text": prose, "hash": "h", "bytes": 1},
                    {"kind": "result", "source": "s", "text": long, "bytes": 1}],
                "invalid_text": [{"place": "p", "base64": "QUJD".repeat(TOO_LONG)}]}),
            json!({"message": long, "error": {"message": prose}, "body": prose}),
        ),
        (
            "numbers",
            json!({"time": {"start": u64::MAX, "end": 1, "observed": 0},
                "rejection": {"bytes": u64::MAX, "status": 413, "reason": "too large", "records": 2}}),
            json!({"event": {"duration": i64::MAX, "end": "2262-04-11T23:47:16.854775807Z"}}),
        ),
        (
            "later-version",
            json!({"new_part": {"x": [1, {"y": 2}]}}),
            json!({"new_field": {"x": [1, {"y": "text"}]}}),
        ),
        ("policy-change", json!({"kind": "policy_change"}), json!({})),
        ("rejection", json!({"kind": "rejection"}), json!({})),
    ] {
        documents.push(document(name, &body(audit, beside)));
    }
    documents.push(document("unreadable", prose.as_bytes()));
    documents
}

/// The entries of the demo, as the API shows them.
async fn demo() -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let scenario = scenario(u64::try_from(now.as_nanos()).unwrap());
    let grpc = format!("http://{}", server.grpc());
    for export in scenario.exports {
        match export {
            Export::Traces(request) => {
                let mut client = TraceServiceClient::connect(grpc.clone()).await.unwrap();
                client.export(request).await.unwrap();
            }
            Export::Logs(request) => {
                let mut client = LogsServiceClient::connect(grpc.clone()).await.unwrap();
                client.export(request).await.unwrap();
            }
        }
    }
    let complete = async || {
        let page = server.get("/api/v1/entries?q=*&limit=100").await;
        let entries = page["entries"].as_array().unwrap().clone();
        (entries.len() == scenario.records).then_some(entries)
    };
    let entries = look_until(DEADLINE, complete).await.unwrap();
    server.terminate().await;
    entries
}

async fn create(client: &Client, id: &str, document: Value) -> (u16, Value) {
    ask(client, Method::Put, &format!("/{STREAM}/_create/{id}?refresh=true"), Some(document)).await
}

/// Ids of what a query in KQL finds, where KQL and the engine's query strings are the same but for
/// the case of their operators.
async fn found(client: &Client, kql: &str) -> Vec<String> {
    let text = [" and ", " or ", "not "]
        .into_iter()
        .fold(kql.replace(" : ", ":"), |text, word| text.replace(word, &word.to_uppercase()));
    let query = json!({
        "size": 1000, "_source": false, "sort": [{"@timestamp": "asc"}],
        "query": {"query_string": {"query": text}},
    });
    let path = format!("/{STREAM}/_search");
    let (status, reply) = ask(client, Method::Post, &path, Some(query)).await;
    assert_eq!(status, 200, "{kql}: {reply}");
    let hits = reply["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect()
}

async fn takes_and_finds_every_document(node: &SearchNode) {
    let client = node.client();
    plan(&client, &SetupOptions::default()).await.unwrap().apply(&client).await.unwrap();

    let demo = demo().await;
    for entry in &demo {
        let id = entry["event"]["id"].as_str().unwrap();
        let (status, reply) = create(&client, id, entry.clone()).await;
        assert_eq!(status, 201, "{reply}");
    }
    // Before anything of ours is added: what the demo's run has.
    for (kql, count) in [
        (r#"trace_id : "langsmith-run-abc123""#, 1),
        ("audit.decision.outcome : (block or quarantine)", 1),
        ("audit.approval.status : pending or audit.decision.outcome : require_approval", 1),
        ("audit.approval.status : (approved or rejected or expired or invalidated)", 2),
        ("audit.kind : policy_change", 0),
        (
            "audit.kind : (rejection or gap or repair) or audit.ledger.conflict : true or audit.flags : *",
            0,
        ),
        ("decision : BLOCK", 1),
        ("policy : refund-limit", 2),
        ("reason : exceeds", 1),
        ("tool : ISSUE_REFUND and decision : require_approval", 1),
        ("tenant_id : default", demo.len()),
        ("gen_ai.usage.input_tokens : * and not gen_ai.usage.repeated : true", 3),
    ] {
        assert_eq!(found(&client, kql).await.len(), count, "{kql}");
    }
    assert_eq!(EXTERNAL_ID, "langsmith-run-abc123");

    let nasty = nasty();
    for (name, document) in &nasty {
        let (status, reply) = create(&client, name, document.clone()).await;
        assert_eq!(status, 201, "{name}: {reply}");
    }
    assert_eq!(found(&client, "*").await.len(), demo.len() + nasty.len());
    let fits = format!("step_id : \"{}\"", "€".repeat(LONGEST_KEYWORD as usize));
    for (kql, name) in [
        (r#"trace_id : "short-id""#, "long-ids"),
        ("policy : short-policy", "long-ids"),
        (fits.as_str(), "long-ids"),
        ("audit.flags : id_too_long", "long-ids"),
        ("audit.decision.reason : prose", "long-ids"),
        ("audit.payload.text : prose", "long-texts"),
        ("error.message : \"words of prose\"", "long-texts"),
        ("attributes.x : text", "free-4"),
        ("scope.attributes.x : text", "free-4"),
        ("events.attributes.x : text", "free-4"),
        ("links.attributes.x : text", "free-4"),
        ("audit.time.start : 18446744073709551615", "numbers"),
        ("reason : \"too large\"", "numbers"),
        ("audit.kind : policy_change", "policy-change"),
        ("kind : REJECTION", "rejection"),
        ("audit.ledger.unreadable_body : prose", "unreadable"),
    ] {
        let shown: String = kql.chars().take(60).collect();
        assert_eq!(found(&client, kql).await, [name], "{shown}");
    }
}

/// Two entries a nanosecond apart, sent in the wrong order.
async fn keeps_nanoseconds_in_order_and_ranges(node: &SearchNode) {
    let client = node.client();
    for (id, digit) in [("second", 2), ("first", 1), ("third", 3)] {
        let time = format!("2026-01-01T00:00:00.00000000{digit}Z");
        let (status, reply) =
            create(&client, id, json!({ "@timestamp": time, "message": "nanosecond" })).await;
        assert_eq!(status, 201, "{reply}");
    }
    assert_eq!(found(&client, "message : nanosecond").await, ["first", "second", "third"]);
    let from =
        r#"@timestamp:["2026-01-01T00:00:00.000000002Z" TO "2026-01-01T00:00:00.000000003Z"}"#;
    assert_eq!(found(&client, from).await, ["second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elasticsearch_takes_every_document_and_the_saved_searches_find_theirs() {
    elasticsearch_takes_every_document(Engine::Elasticsearch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elasticsearch_8_takes_every_document_and_the_saved_searches_find_theirs() {
    elasticsearch_takes_every_document(Engine::Elasticsearch8).await;
}

async fn elasticsearch_takes_every_document(engine: Engine) {
    let node = SearchNode::start(engine);
    takes_and_finds_every_document(&node).await;
    keeps_nanoseconds_in_order_and_ranges(&node).await;

    // What is too long to be searched is named.
    let client = node.client();
    assert_eq!(found(&client, "_ignored : *").await, ["long-ids"]);
    // The two things that are refused, as docs/fields.md says.
    for name in ["k".repeat(TOO_LONG), "nul\0".to_owned()] {
        let mut document = json!({ "@timestamp": "2026-01-01T00:00:00Z", "attributes": {} });
        document["attributes"][name.as_str()] = 1.into();
        let (status, reply) = create(&client, "refused", document).await;
        assert_eq!(status, 400, "{reply}");
    }
    let long =
        json!({ "@timestamp": "2026-01-01T00:00:00Z", "attributes": {"x": "v".repeat(TOO_LONG)} });
    assert_eq!(create(&client, "long-attribute", long).await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensearch_takes_every_document_and_the_saved_searches_find_theirs() {
    opensearch_takes_every_document(Engine::OpenSearch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensearch_2_takes_every_document_and_the_saved_searches_find_theirs() {
    opensearch_takes_every_document(Engine::OpenSearch2).await;
}

async fn opensearch_takes_every_document(engine: Engine) {
    let node = SearchNode::start(engine);
    takes_and_finds_every_document(&node).await;
    keeps_nanoseconds_in_order_and_ranges(&node).await;

    // What is refused, as docs/fields.md says.
    let long =
        json!({ "@timestamp": "2026-01-01T00:00:00Z", "attributes": {"x": "v".repeat(TOO_LONG)} });
    let (status, reply) = create(&node.client(), "long-attribute", long).await;
    assert_eq!(status, 400, "{reply}");
}
