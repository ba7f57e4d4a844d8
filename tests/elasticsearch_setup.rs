//! Setup against real nodes: run twice, upgraded, refused, and with no more rights than needed.
#![allow(missing_docs)]

mod support;

use clap::{Args as _, FromArgMatches as _};
use serde_json::{Value, json};
use spanledger::cli::setup::{ElasticsearchArgs, setup};
use spanledger::elasticsearch::setup::{Applied, Reason, SetupError, SetupOptions, plan};
use spanledger::elasticsearch::{
    Auth, Client, ClientCertificate, FlavorError, Method, Product, Request, Secret, SendError,
    Transport as _,
};
use std::time::Duration;
use support::search_node::{Engine, SearchNode, ask};

const STREAM: &str = "spanledger-default";

async fn set_up(node: &SearchNode, options: &SetupOptions) -> Applied {
    let client = node.client();
    plan(&client, options).await.unwrap().apply(&client).await.unwrap()
}

async fn create(client: &Client, id: &str, attributes: Value) -> (u16, Value) {
    let path = format!("/{STREAM}/_create/{id}?refresh=true");
    let document = json!({
        "@timestamp": "2026-11-21T10:00:00.123456789Z",
        "trace_id": ["langsmith-run-abc123", format!("other-{id}")],
        "attributes": attributes,
    });
    ask(client, Method::Put, &path, Some(document)).await
}

async fn search(client: &Client, trace_id: &str) -> (u16, Vec<Value>) {
    let query = json!({"query": {"term": {"trace_id": trace_id}}});
    let path = format!("/{STREAM}/_search");
    let (status, reply) = ask(client, Method::Post, &path, Some(query)).await;
    (status, reply.pointer("/hits/hits").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// What has to hold on every engine.
async fn is_set_up_once_and_finds_documents(node: &SearchNode) {
    let client = node.client();
    let options = SetupOptions::default();
    let first = plan(&client, &options).await.unwrap();
    assert!(first.steps.iter().all(|step| step.reason == Reason::Create), "{first:?}");
    let (status, _) = node.ask(Method::Get, &format!("/_data_stream/{STREAM}"), None).await;
    assert_eq!(status, 404, "planning changed something");

    assert!(first.apply(&client).await.unwrap().changed > 0);
    let second = plan(&client, &options).await.unwrap();
    assert_eq!(second.steps, []);
    assert_eq!(second.unchanged.len(), first.steps.len());

    // One key, three types: free attributes of different programs must not get in each other's way.
    for (id, attributes) in [
        ("a", json!({"x": "text"})),
        ("b", json!({"x": {"y": 1}})),
        ("c", json!({"x": [true, 2.5, "text"]})),
    ] {
        let (status, reply) = create(&client, id, attributes).await;
        assert_eq!(status, 201, "{reply}");
    }
    assert_eq!(create(&client, "a", json!({})).await.0, 409, "the same id twice");
    let (_, hits) = search(&client, "langsmith-run-abc123").await;
    assert_eq!(hits.len(), 3);
    let (_, hits) = search(&client, "other-b").await;
    assert_eq!(hits[0]["_source"]["attributes"], json!({"x": {"y": 1}}));
}

/// Gives the mapping's template another version of setup, and the stream an index made of it.
async fn made_by_version(node: &SearchNode, version: u64) {
    let path = "/_component_template/spanledger-mappings";
    let (_, reply) = node.ask(Method::Get, path, None).await;
    let mut template = reply["component_templates"][0]["component_template"].clone();
    template["_meta"]["version"] = version.into();
    template["template"]["mappings"]["_meta"]["version"] = version.into();
    // The engine adds its own times to what it shows, and takes them from nobody.
    template.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_date_millis"));
    let (status, reply) = node.ask(Method::Put, path, Some(template)).await;
    assert_eq!(status, 200, "{reply}");
    let (status, reply) = node.ask(Method::Post, &format!("/{STREAM}/_rollover"), None).await;
    assert_eq!(status, 200, "{reply}");
}

async fn is_upgraded_and_never_downgraded(node: &SearchNode, documents: usize) {
    let client = node.client();
    let options = SetupOptions::default();
    made_by_version(node, 0).await;
    let upgrade = plan(&client, &options).await.unwrap();
    let reasons: Vec<Reason> = upgrade.steps.iter().map(|step| step.reason).collect();
    assert_eq!(reasons, [Reason::Upgrade { from: 0 }, Reason::RollOver], "{upgrade:?}");
    upgrade.apply(&client).await.unwrap();
    assert_eq!(plan(&client, &options).await.unwrap().steps, []);
    let (_, hits) = search(&client, "langsmith-run-abc123").await;
    assert_eq!(hits.len(), documents, "those from before are found");

    made_by_version(node, 99).await;
    let error = plan(&client, &options).await.unwrap_err();
    assert!(matches!(error, SetupError::Newer { found: 99, .. }), "{error}");
}

async fn leaves_alone_what_is_not_ours(node: &SearchNode) {
    let client = node.client();
    let path = "/_index_template/spanledger";
    let theirs = json!({"index_patterns": ["spanledger-*"], "data_stream": {}});
    assert_eq!(node.ask(Method::Put, path, Some(theirs)).await.0, 200);
    let error = plan(&client, &SetupOptions::default()).await.unwrap_err();
    assert!(matches!(error, SetupError::Foreign { what: "index template", .. }), "{error}");

    assert_eq!(node.ask(Method::Delete, path, None).await.0, 200);

    // A stream made of another template is theirs too.
    let stream = format!("/_data_stream/{STREAM}");
    let other = json!({"index_patterns": ["spanledger-*"], "data_stream": {}, "priority": 1});
    assert_eq!(node.ask(Method::Put, "/_index_template/other", Some(other)).await.0, 200);
    assert_eq!(node.ask(Method::Put, &stream, None).await.0, 200);
    let error = plan(&client, &SetupOptions::default()).await.unwrap_err();
    assert!(matches!(error, SetupError::Foreign { what: "data stream", .. }), "{error}");
    assert_eq!(node.ask(Method::Delete, &stream, None).await.0, 200);
    assert_eq!(node.ask(Method::Delete, "/_index_template/other", None).await.0, 200);
}

/// What the command prints for these arguments.
async fn command(arguments: &[&str]) -> String {
    let command = ElasticsearchArgs::augment_args(clap::Command::new("elasticsearch"));
    let matches = command.get_matches_from([&["elasticsearch"], arguments].concat());
    let args = ElasticsearchArgs::from_arg_matches(&matches).unwrap();
    let mut out = Vec::new();
    setup(&args, None, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

async fn a_dry_run_prints_the_requests_and_sends_none(node: &SearchNode) {
    let text = command(&["--url", node.url(), "--dry-run"]).await;
    for line in ["PUT /_index_template/spanledger\n", "PUT /_data_stream/spanledger-default\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("# 4 to send, 0 as wanted; nothing was sent\n"), "{text}");
    let again = command(&["--url", node.url(), "--dry-run"]).await;
    assert_eq!(again, text);
}

#[tokio::test]
async fn elasticsearch_is_set_up_once_upgraded_and_searched() {
    elasticsearch_is_set_up(Engine::Elasticsearch).await;
}

#[tokio::test]
async fn elasticsearch_8_is_set_up_once_upgraded_and_searched() {
    elasticsearch_is_set_up(Engine::Elasticsearch8).await;
}

async fn elasticsearch_is_set_up(engine: Engine) {
    let node = SearchNode::start(engine);
    leaves_alone_what_is_not_ours(&node).await;
    a_dry_run_prints_the_requests_and_sends_none(&node).await;
    is_set_up_once_and_finds_documents(&node).await;
    let text = command(&["--url", node.url()]).await;
    assert!(text.ends_with("0 changed, 4 as wanted already\n"), "{text}");

    // Changed options are carried out; the order inside documents stays as it was sent.
    let logsdb = SetupOptions { logsdb: true, ..SetupOptions::default() };
    let changed = plan(&node.client(), &logsdb).await.unwrap();
    assert!(changed.steps.iter().any(|step| step.reason == Reason::RollOver), "{changed:?}");
    changed.apply(&node.client()).await.unwrap();
    assert_eq!(create(&node.client(), "d", json!({"z": 1, "a": [3, 1]})).await.0, 201);
    let (_, hits) = search(&node.client(), "other-d").await;
    assert_eq!(hits[0]["_source"]["attributes"].to_string(), r#"{"z":1,"a":[3,1]}"#);
    let index = hits[0]["_index"].as_str().unwrap();
    let (_, settings) = node.ask(Method::Get, &format!("/{index}/_settings"), None).await;
    assert_eq!(settings[index]["settings"]["index"]["mode"], "logsdb", "{settings}");
    let back = set_up(&node, &SetupOptions::default()).await;
    assert!(back.changed > 0);

    is_upgraded_and_never_downgraded(&node, 4).await;
}

#[tokio::test]
async fn opensearch_is_set_up_once_upgraded_and_searched() {
    opensearch_is_set_up(Engine::OpenSearch).await;
}

#[tokio::test]
async fn opensearch_2_is_set_up_once_upgraded_and_searched() {
    opensearch_is_set_up(Engine::OpenSearch2).await;
}

async fn opensearch_is_set_up(engine: Engine) {
    let node = SearchNode::start(engine);
    leaves_alone_what_is_not_ours(&node).await;
    is_set_up_once_and_finds_documents(&node).await;
    is_upgraded_and_never_downgraded(&node, 3).await;

    let options = SetupOptions { logsdb: true, ..SetupOptions::default() };
    let error = plan(&node.client(), &options).await.unwrap_err();
    assert!(matches!(error, SetupError::NeedsVersion { .. }), "{error}");
}

/// The node takes certificates of its own authority and drops connections that present others.
async fn presents_its_certificate(node: &SearchNode) {
    let folder = node.ca().unwrap().parent().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other"])
        .args(["-keyout", "other.key", "-out", "other.crt"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for (name, is_taken) in [("node", true), ("other", false)] {
        let mut connection = node.connection();
        connection.client_certificate = Some(ClientCertificate {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        });
        let client = Client::new(&connection).unwrap();
        let request = Request {
            method: Method::Get,
            path: "/_cluster/health".to_owned(),
            query: Vec::new(),
            body: None,
            timeout: Duration::from_mins(1),
        };
        let reply = client.send(request).await;
        assert_eq!(reply.is_ok(), is_taken, "{name}: {reply:?}");
    }
}

#[tokio::test]
async fn a_secure_cluster_gives_each_task_its_least_rights() {
    let node = SearchNode::start_with(
        Engine::SecureElasticsearch,
        &["xpack.security.http.ssl.client_authentication=optional"],
    );
    presents_its_certificate(&node).await;
    let options = SetupOptions { roles: true, exporter_key: true, ..SetupOptions::default() };

    // Without the authority of its certificate nothing is sent, with a wrong password all is said.
    let mut connection = node.connection();
    connection.ca_file = None;
    let error = plan(&Client::new(&connection).unwrap(), &options).await.unwrap_err();
    let unsent = matches!(&error, SetupError::Flavor(FlavorError::Send(SendError::NotSent { .. })));
    assert!(unsent, "{error:?}");
    let mut connection = node.connection();
    connection.auth =
        Auth::Basic { username: "elastic".to_owned(), password: Secret::new("geheim") };
    let error = plan(&Client::new(&connection).unwrap(), &options).await.unwrap_err();
    assert!(matches!(error, SetupError::Flavor(FlavorError::Unauthorized)), "{error:?}");
    assert!(!format!("{error:?}").contains("geheim"));

    let applied = set_up(&node, &options).await;
    let second = plan(&node.client(), &options).await.unwrap();
    assert_eq!(second.steps, []);

    let mut connection = node.connection();
    connection.auth = Auth::ApiKey(applied.keys[0].1.clone());
    let exporter = Client::new(&connection).unwrap();
    let flavor = spanledger::elasticsearch::Flavor::detect(&exporter).await.unwrap();
    assert_eq!(flavor.product, Product::Elasticsearch);
    let (status, reply) = create(&exporter, "a", json!({})).await;
    assert_eq!(status, 201, "{reply}");
    let index = reply["_index"].as_str().unwrap();
    let (document, update) = (format!("/{index}/_doc/a"), format!("/{index}/_update/a"));
    for (method, path, body) in [
        (Method::Delete, document.as_str(), None),
        (Method::Post, update.as_str(), Some(json!({"doc": {"trace_id": []}}))),
        (Method::Get, document.as_str(), None),
        (Method::Delete, "/_data_stream/spanledger-default", None),
        (Method::Put, "/elsewhere/_create/a", Some(json!({}))),
    ] {
        let (status, reply) = ask(&exporter, method, path, body).await;
        assert_eq!(status, 403, "{method:?} {path}: {reply}");
    }
    assert_eq!(search(&exporter, "other-a").await.0, 403);
    let error = plan(&exporter, &options).await.unwrap_err();
    assert!(matches!(error, SetupError::Forbidden { .. }), "{error}");

    // The other roles, each with a user of its own.
    for (role, may_read, may_delete) in [
        ("spanledger-auditor", true, false),
        ("spanledger-correlator", true, false),
        ("spanledger-eraser", true, true),
    ] {
        let user = json!({"password": "password-of-a-test", "roles": [role]});
        let (status, reply) = node.ask(Method::Put, "/_security/user/someone", Some(user)).await;
        assert_eq!(status, 200, "{reply}");
        let password = Secret::new("password-of-a-test");
        let mut connection = node.connection();
        connection.auth = Auth::Basic { username: "someone".to_owned(), password };
        let client = Client::new(&connection).unwrap();
        let (status, hits) = search(&client, "other-a").await;
        assert_eq!((status == 200 && hits.len() == 1), may_read, "{role} {status}");
        let (status, _) = ask(&client, Method::Delete, &document, None).await;
        assert_eq!(status == 200, may_delete, "{role} {status}");
        if role == "spanledger-correlator" {
            let update = json!({"doc": {"trace_id": ["late"]}});
            let path = format!("/{index}/_update/a?refresh=true");
            assert_eq!(ask(&client, Method::Post, &path, Some(update)).await.0, 200, "{role}");
            let restore = json!({"doc": {"trace_id": ["other-a"]}});
            assert_eq!(ask(&client, Method::Post, &path, Some(restore)).await.0, 200, "{role}");
        }
    }

    // An exporter that reads finds what it wrote a moment ago: it may refresh, and still not delete.
    let reads = SetupOptions { exporter_key: false, exporter_reads: true, ..options.clone() };
    assert_eq!(set_up(&node, &reads).await.changed, 1, "the role of the exporter");
    let user = json!({"password": "password-of-a-test", "roles": ["spanledger-exporter"]});
    assert_eq!(node.ask(Method::Put, "/_security/user/reads", Some(user)).await.0, 200);
    let mut connection = node.connection();
    let password = Secret::new("password-of-a-test");
    connection.auth = Auth::Basic { username: "reads".to_owned(), password };
    let reads = Client::new(&connection).unwrap();
    let path = format!("/{STREAM}/_create/late");
    let document = json!({"@timestamp": "2026-11-21T10:00:00Z", "trace_id": ["just-written"]});
    assert_eq!(ask(&reads, Method::Put, &path, Some(document)).await.0, 201);
    let path = format!("/{STREAM}/_refresh");
    assert_eq!(ask(&reads, Method::Post, &path, None).await.0, 200);
    let (status, hits) = search(&reads, "just-written").await;
    assert_eq!((status, hits.len()), (200, 1));
    let late = format!("/{index}/_doc/late");
    assert_eq!(ask(&reads, Method::Delete, &late, None).await.0, 403);

    // The administrator runs setup, but for roles and keys.
    let user = json!({"password": "password-of-a-test", "roles": ["spanledger-admin"]});
    assert_eq!(node.ask(Method::Put, "/_security/user/admin", Some(user)).await.0, 200);
    let mut connection = node.connection();
    let password = Secret::new("password-of-a-test");
    connection.auth = Auth::Basic { username: "admin".to_owned(), password };
    let admin = Client::new(&connection).unwrap();
    let wider = SetupOptions { failure_store: true, ..SetupOptions::default() };
    let steps = plan(&admin, &wider).await.unwrap();
    assert_eq!(steps.steps.len(), 1, "{steps:?}");
    steps.apply(&admin).await.unwrap();
    let error = plan(&admin, &options).await.unwrap_err();
    assert!(matches!(error, SetupError::Forbidden { .. }), "{error}");
}
