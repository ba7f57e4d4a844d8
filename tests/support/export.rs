//! Whether what is in the ledger is in the cluster: entries, documents and dead letters, counted.
//!
//! ```text
//! set of entries = set of documents + set of dead letters, and no document twice
//! ```

use super::requests::numbered;
use super::search_node::{ask, try_ask};
use super::server::{Server, binary, look_until};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use spanledger::elasticsearch::{Client, Method};
use spanledger::export::CursorFile;
use spanledger::ledger::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Spans in one request.
pub const SPANS: u64 = 50;

/// Longest time for an export to reach the end after the faults are over. The exporter itself
/// waits up to half a minute between two attempts.
pub const SETTLED: Duration = Duration::from_mins(5);

/// Time between two requests of a [`Load`]: a few hundred spans in a second, which leaves a small
/// machine time for the nodes.
const PACE: Duration = Duration::from_millis(200);

/// Documents of one page.
const PAGE: usize = 1_000;

/// Runs `spanledger setup elasticsearch` against a cluster without security.
pub fn setup(url: &str) {
    setup_with(&["--url", url]);
}

/// The same with these arguments.
pub fn setup_with(arguments: &[&str]) {
    let done = Command::new(binary()).args(["setup", "elasticsearch"]).args(arguments).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A server with an empty ledger and a configuration of its own.
pub struct Configured {
    /// The server.
    pub server: Server,
    /// Its data and its configuration, which go with it.
    _folder: TempDir,
}

impl std::ops::Deref for Configured {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A server that exports to these hosts; `more` are further settings of `elasticsearch:`, with
/// commas between them.
pub async fn configured(urls: &[String], more: &str) -> Configured {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let comma = if more.is_empty() { "" } else { ", " };
    let urls = serde_json::to_string(urls).unwrap();
    std::fs::write(&config, format!("elasticsearch: {{urls: {urls}{comma}{more}}}\n")).unwrap();
    let config = config.display().to_string();
    let server = Server::start_with(&folder.path().join("data"), &["--config", &config]).await;
    Configured { server, _folder: folder }
}

/// Requests, one after the other, until it is stopped.
pub struct Load {
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins with the span with that serial number.
    pub fn start(server: &Server, first: u64) -> Self {
        let sent = Arc::<AtomicU64>::default();
        let (counter, address) = (sent.clone(), format!("http://{}", server.grpc()));
        let task = tokio::spawn(async move {
            let mut client = TraceServiceClient::connect(address).await.unwrap();
            let mut pace = tokio::time::interval(PACE);
            loop {
                pace.tick().await;
                let number = counter.load(Ordering::Relaxed);
                client.export(numbered(first + number * SPANS, SPANS)).await.unwrap();
                counter.store(number + 1, Ordering::Release);
            }
        });
        Self { sent, task }
    }

    /// Waits until some more requests were acknowledged.
    pub async fn goes_on(&self) {
        let before = self.sent.load(Ordering::Acquire);
        let on = look_until(SETTLED, async || {
            (self.sent.load(Ordering::Acquire) >= before + 20).then_some(())
        });
        assert!(on.await.is_some(), "evidence is taken whatever happens to the cluster");
    }

    /// Ends it. What was on its way may or may not be in the ledger.
    pub async fn stop(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.unwrap_err().is_cancelled(), "a request was not acknowledged");
    }
}

/// Sends a request; it is acknowledged.
pub async fn send_request(server: &Server, request: ExportTraceServiceRequest) {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(request).await.unwrap();
}

/// Sends [`SPANS`] spans with serial numbers from `first`.
pub async fn send(server: &Server, first: u64) {
    send_request(server, numbered(first, SPANS)).await;
}

/// Asks a cluster that takes it; its JSON.
pub async fn post(client: &Client, path: &str, body: &Value) -> Value {
    let (status, answer) = ask(client, Method::Post, path, Some(body.clone())).await;
    assert!(status < 300, "POST {path}: {status} {answer}");
    answer
}

/// Changes something in a cluster that takes it.
pub async fn put(client: &Client, path: &str, body: &Value) {
    let (status, answer) = ask(client, Method::Put, path, Some(body.clone())).await;
    assert!(status < 300, "PUT {path}: {status} {answer}");
}

/// Begins a new backing index.
pub async fn roll_over(client: &Client) {
    post(client, "/spanledger-default/_rollover", &json!({})).await;
}

/// Waits until `/readyz` says that the export is held up, and by what; checks that intake is not.
pub async fn held_up(server: &Server) -> String {
    let said = look_until(SETTLED, async || {
        let ready = server.get("/readyz").await;
        assert_eq!(ready["ready"], true, "evidence is still taken: {ready}");
        let said = ready["held_up"].as_array().unwrap().iter().map(|said| said.as_str().unwrap());
        // What follows the export may be held up too.
        said.map(str::to_owned).find(|said| said.starts_with("elasticsearch: "))
    });
    said.await.expect("/readyz says that the export is held up")
}

/// Every entry of the ledger by id, with its sequence.
pub async fn ledger_entries(server: &Server) -> BTreeMap<String, u64> {
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

/// The open dead letters.
pub async fn dead_letters(server: &Server) -> Vec<Value> {
    let page = server.get("/api/v1/dead-letters?limit=1000").await;
    let letters = page["dead_letters"].as_array().unwrap().clone();
    assert_eq!(page["open"], letters.len(), "more dead letters than a test can count");
    letters
}

/// How often each entry is among the documents; `None` when not every shard answers now.
async fn documents_now(client: &Client) -> Option<BTreeMap<String, u64>> {
    whole(client, "/spanledger-*/_refresh", None).await?;
    let mut found = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let mut query = json!({
            "size": PAGE, "_source": ["event.id"],
            "sort": [{"event.sequence": "asc"}, {"event.id": "asc"}],
        });
        if !after.is_null() {
            query["search_after"] = after.clone();
        }
        let answer = whole(client, "/spanledger-*/_search", Some(query)).await?;
        let hits = answer["hits"]["hits"].as_array().unwrap();
        for hit in hits {
            let id = hit["_source"]["event"]["id"].as_str().unwrap().to_owned();
            *found.entry(id).or_default() += 1;
        }
        match hits.last() {
            Some(last) => after = last["sort"].clone(),
            None => return Some(found),
        }
    }
}

/// The answer of a cluster when every shard took part in it.
async fn whole(client: &Client, path: &str, body: Option<Value>) -> Option<Value> {
    let (status, answer) = try_ask(client, Method::Post, path, body).await.ok()?;
    (status == 200 && answer["_shards"]["failed"] == 0).then_some(answer)
}

/// How often each entry is among the documents of all streams.
pub async fn documents(client: &Client) -> BTreeMap<String, u64> {
    let found = look_until(SETTLED, async || documents_now(client).await).await;
    found.expect("the cluster answers")
}

/// Up to where everything is delivered or a dead letter, as the export durably says.
fn cursor(server: &Server) -> Option<u64> {
    let origin = Reader::open(&server.data().join("ledger")).ok()?.origin();
    CursorFile::new(&server.data().join("cursors"), "elasticsearch", origin).read()
}

/// What there is when everything has settled.
#[derive(Debug)]
pub struct Settled {
    /// Ids of the documents, and how often each is there.
    pub documents: BTreeMap<String, u64>,
    /// Ids of the open dead letters.
    pub letters: BTreeSet<String>,
}

impl Settled {
    /// Documents that are there beside the first of their id.
    pub fn duplicates(&self) -> u64 {
        self.documents.values().map(|times| times - 1).sum()
    }
}

/// Waits until every entry of the ledger is a document or a dead letter and nothing is on its way,
/// and checks that there is nothing else. How often a document may be there is up to the test.
pub async fn settled(server: &Server, client: &Client) -> Settled {
    let entries = ledger_entries(server).await;
    let end = entries.values().max().map_or(0, |last| last + 1);
    // The export's own word that it is done with them: until then it may send what is there again.
    let arrived = look_until(SETTLED, async || (cursor(server) >= Some(end)).then_some(())).await;
    let documents = documents(client).await;
    let letters = dead_letters(server).await;
    let letters: BTreeSet<String> =
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
    let there = |id: &String| documents.contains_key(id) || letters.contains(id);
    let missing: Vec<_> = entries.iter().filter(|(id, _)| !there(id)).collect();
    let some = missing.get(..missing.len().min(9));
    assert!(missing.is_empty(), "{} not exported: {some:?}\n{}", missing.len(), server.stderr());
    assert!(arrived.is_some(), "the export does not say that it is done:\n{}", server.stderr());
    let foreign: Vec<_> = documents.keys().filter(|id| !entries.contains_key(*id)).collect();
    assert!(foreign.is_empty(), "documents of no entry: {foreign:?}");
    let both: Vec<_> = letters.iter().filter(|id| documents.contains_key(*id)).collect();
    assert!(both.is_empty(), "delivered and a dead letter: {both:?}");
    Settled { documents, letters }
}

/// Waits until every entry of the ledger is a document or a dead letter, and checks that no
/// document is there twice.
pub async fn everything_once(server: &Server, client: &Client) -> Settled {
    let settled = settled(server, client).await;
    let twice: Vec<_> = settled.documents.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} are there twice: {twice:?}", twice.len());
    settled
}
