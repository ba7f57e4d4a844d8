//! API keys of the exporter: revoked, replaced, and without the right to look.

use crate::support::export::{
    Configured, SETTLED, SPANS, configured, documents, everything_once, held_up, post, roll_over,
    send, settled, setup_with,
};
use crate::support::fault_proxy::{Fault, FaultProxy, Weather};
use crate::support::search_node::{Engine, SearchNode, ask};
use crate::support::server::look_until;
use serde_json::{Value, json};
use spanledger::elasticsearch::{Client, Method};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// The file that holds the exporter's key, and the key that it holds.
pub(crate) struct KeyFile {
    folder: TempDir,
    client: Client,
    id: String,
}

impl KeyFile {
    /// A cluster that is set up with these privileges of the exporter's key on its streams.
    pub(crate) async fn new(node: &SearchNode, privileges: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, node.password().unwrap()).unwrap();
        let ca = node.ca().unwrap().display().to_string();
        let password = password.display().to_string();
        let who = ["--user", node.user().unwrap(), "--password-file", &password];
        setup_with(&[&["--url", node.url(), "--ca-file", &ca], &who[..]].concat());
        let mut file = Self { folder, client: node.client(), id: String::new() };
        file.renew(privileges).await;
        file
    }

    /// Makes another key and puts it where the old one was.
    pub(crate) async fn renew(&mut self, privileges: &[&str]) {
        let role = json!({
            "cluster": ["monitor"],
            "indices": [{"names": ["spanledger-*"], "privileges": privileges}],
        });
        let body = json!({"name": "exporter", "role_descriptors": {"exporter": role}});
        let key = post(&self.client, "/_security/api_key", &body).await;
        key["id"].as_str().unwrap().clone_into(&mut self.id);
        std::fs::write(self.path(), key["encoded"].as_str().unwrap()).unwrap();
    }

    /// Makes the key worthless.
    pub(crate) async fn revoke(&self) {
        let body = json!({"ids": [self.id]});
        let path = "/_security/api_key";
        let (status, answer) = ask(&self.client, Method::Delete, path, Some(body)).await;
        assert_eq!((status, &answer["error_count"]), (200, &Value::from(0)), "{answer}");
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// As the configuration names it.
    pub(crate) fn setting(&self) -> String {
        format!(r#"api_key: {{file: "{}"}}"#, self.path().display())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_holds_the_export_up_until_its_file_holds_another() {
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let privileges = ["create_doc", "read"];
    let mut key = KeyFile::new(&node, &privileges).await;
    let ca = format!(r#"{}, ca: "{}""#, key.setting(), node.ca().unwrap().display());
    let server = configured(&[node.url().to_owned()], &ca).await;
    let client = node.client();
    send(&server, 0).await;
    everything_once(&server, &client).await;
    key.revoke().await;
    send(&server, SPANS).await;
    let why = held_up(&server).await;
    assert!(why.contains("the key is not valid"), "{why}");
    key.renew(&privileges).await;
    let settled = everything_once(&server, &client).await;
    assert!(settled.letters.is_empty());
    server.server.terminate().await;
}

/// The collector, and what is between it and the node.
struct Between {
    server: Configured,
    weather: Arc<Weather>,
    client: Client,
}

impl Between {
    /// Sends entries that arrive without an answer, and rolls the stream over before they are
    /// sent again; `crash`: the collector is killed before that.
    async fn lose_replies(&mut self, first: u64, crash: bool) {
        let before: u64 = documents(&self.client).await.values().sum();
        self.weather.set(vec![Fault::CutAfter]);
        send(&self.server, first).await;
        let arrived = look_until(SETTLED, async || {
            let now: u64 = documents(&self.client).await.values().sum();
            (now == before + SPANS).then_some(())
        });
        assert!(arrived.await.is_some(), "the documents arrive");
        self.weather.set(vec![Fault::Status(503)]);
        if crash {
            self.server.server.kill();
        }
        roll_over(&self.client).await;
        self.weather.set(Vec::new());
        if crash {
            self.server.server.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_before_a_rollover_costs_one_duplicate_without_reading_and_none_with_it() {
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let mut key = KeyFile::new(&node, &["create_doc"]).await;
    let weather = Arc::new(Weather::default());
    let sky = weather.clone();
    let proxy = FaultProxy::start_trusting(node.url(), node.ca(), move |_| sky.next()).await;
    let server = configured(&[proxy.url()], &key.setting()).await;
    let mut between = Between { server, weather, client: node.client() };

    between.lose_replies(0, false).await;
    let once = settled(&between.server, &between.client).await;
    assert_eq!(once.duplicates(), SPANS, "the stream cannot be asked, and was rolled over");
    let unresolved = r#"spanledger_elasticsearch_retries_total{reason="unresolved"}"#;
    assert!(between.server.metric(unresolved).await >= SPANS, "each is counted");

    between.lose_replies(SPANS, true).await;
    let killed = settled(&between.server, &between.client).await;
    assert!(killed.duplicates() <= 2 * SPANS, "{}", killed.duplicates());
    assert!(killed.documents.values().all(|times| *times <= 2), "one duplicate each at most");

    // A key that may read takes its place, in the same file; the old one is worth nothing.
    key.revoke().await;
    key.renew(&["create_doc", "read"]).await;
    for (round, crash) in [(2, false), (3, true)] {
        between.lose_replies(round * SPANS, crash).await;
        let reading = settled(&between.server, &between.client).await;
        assert_eq!(reading.duplicates(), killed.duplicates(), "nothing more is there twice");
        assert!(reading.letters.is_empty());
    }
    between.server.server.terminate().await;
}
