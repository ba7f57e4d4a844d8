//! Rounds of everything at once: a secure cluster of three nodes, a proxy in front of each, and in
//! each round some faults of the network and one event, drawn by a seed.
//!
//! `SPANLEDGER_CLUSTER_ROUNDS=30` makes it long, `SPANLEDGER_CLUSTER_SEED` another one.

use crate::keys::KeyFile;
use crate::refusals::stricter;
use crate::support::export::{
    Configured, SETTLED, SPANS, configured, everything_once, held_up, put, roll_over, send,
    send_request,
};
use crate::support::fault_proxy::{Fault, FaultProxy, Weather};
use crate::support::numbers::Numbers;
use crate::support::requests::{request, span, text};
use crate::support::search_cluster::SearchCluster;
use crate::support::search_node::Engine;
use crate::support::server::look_until;
use serde_json::{Value, json};
use std::sync::Arc;

/// Everything that a network does to a bulk.
const FAULTS: [Fault; 9] = [
    Fault::CutSending,
    Fault::CutBefore,
    Fault::CutRequest,
    Fault::CutAfter,
    Fault::CutHalfway,
    Fault::Status(429),
    Fault::Status(503),
    Fault::Status(502),
    Fault::None,
];

/// What happens in a round besides.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    CollectorKilled,
    NodeKilled,
    MasterKilled,
    Rollover,
    ReadOnly,
    KeyRevoked,
    BadDocument,
}

const EVENTS: [Event; 8] = [
    Event::Nothing,
    Event::CollectorKilled,
    Event::NodeKilled,
    Event::MasterKilled,
    Event::Rollover,
    Event::ReadOnly,
    Event::KeyRevoked,
    Event::BadDocument,
];

/// With the right to refresh, a look whether documents arrived takes no ten seconds.
const PRIVILEGES: [&str; 3] = ["create_doc", "read", "maintenance"];

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

struct Scene {
    cluster: SearchCluster,
    proxies: Vec<FaultProxy>,
    weather: Arc<Weather>,
    key: KeyFile,
    server: Configured,
    numbers: Numbers,
    /// Serial number of the next span.
    next: u64,
    /// Entries that the cluster refuses for good.
    bad: usize,
}

impl Scene {
    async fn new(seed: u64) -> Self {
        let cluster = SearchCluster::start(Engine::SecureElasticsearch).await;
        let key = KeyFile::new(&cluster.nodes()[0], &PRIVILEGES).await;
        let client = cluster.client();
        put(&client, "/_index_template/stricter", &stricter()).await;
        roll_over(&client).await;
        let weather = Arc::new(Weather::default());
        let mut proxies = Vec::new();
        for node in cluster.nodes() {
            let sky = weather.clone();
            let plan = move |_| sky.next();
            proxies.push(FaultProxy::start_trusting(node.url(), node.ca(), plan).await);
        }
        let urls: Vec<String> = proxies.iter().map(FaultProxy::url).collect();
        let server = configured(&urls, &format!("bulk_documents: 40, {}", key.setting())).await;
        let numbers = Numbers::new(seed);
        Self { cluster, proxies, weather, key, server, numbers, next: 0, bad: 0 }
    }

    fn faults(&self) -> u64 {
        self.proxies.iter().map(FaultProxy::faults).sum()
    }

    fn bulks(&self) -> u64 {
        self.proxies.iter().map(FaultProxy::bulks).sum()
    }

    async fn send(&mut self, requests: u64) {
        for _ in 0..requests {
            send(&self.server, self.next).await;
            self.next += SPANS;
        }
    }

    /// Sends entries into these faults, the first of which disturbs a bulk.
    async fn send_into(&mut self, faults: Vec<Fault>) {
        let before = self.faults();
        self.weather.set(faults);
        self.send(1).await;
        let felt = look_until(SETTLED, async || (self.faults() > before).then_some(())).await;
        assert!(felt.is_some(), "no bulk was disturbed:\n{}", self.server.stderr());
    }

    async fn round(&mut self, number: u64) {
        // One disturbance at least, and now and then a bulk gets through.
        let mut faults = vec![Fault::CutAfter, Fault::None];
        faults.extend((0..4).map(|_| self.numbers.one_of(&FAULTS)));
        // Every event comes up in as many rounds as there are; the seed says which is the first.
        let event = EVENTS[usize::try_from(number).unwrap() % EVENTS.len()];
        println!("round {number}: {event:?} in {faults:?}");
        self.send_into(faults).await;
        self.happen(event).await;
        self.send(2).await;
        self.weather.set(Vec::new());
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::CollectorKilled => {
                self.kill_the_collector_at_random().await;
                self.kill_the_collector_at_random().await;
            }
            Event::NodeKilled => {
                let at = usize::try_from(self.numbers.below(3)).unwrap();
                self.lose(at).await;
            }
            Event::MasterKilled => {
                let at = self.cluster.master().await;
                self.lose(at).await;
            }
            Event::Rollover => roll_over(&self.cluster.client()).await,
            Event::ReadOnly => {
                self.block(json!(true)).await;
                self.send(1).await;
                held_up(&self.server).await;
                self.block(Value::Null).await;
            }
            Event::KeyRevoked => {
                self.key.revoke().await;
                self.send(1).await;
                held_up(&self.server).await;
                self.key.renew(&PRIVILEGES).await;
            }
            Event::BadDocument => {
                let spans = self.next..self.next + 1_000;
                let user = |serial| if serial % 1_000 == 637 { "guest" } else { "17" };
                let spans =
                    spans.map(|serial| span(serial, vec![text("enduser.id", user(serial))]));
                send_request(&self.server, request(spans.collect())).await;
                self.next += 1_000;
                self.bad += 1;
            }
        }
    }

    async fn kill_the_collector_at_random(&mut self) {
        let end = self.bulks() + self.numbers.below(4);
        self.send(2).await;
        let sent = look_until(SETTLED, async || (self.bulks() >= end).then_some(())).await;
        assert!(sent.is_some(), "no bulks are sent:\n{}", self.server.stderr());
        self.server.server.restart().await;
    }

    async fn lose(&mut self, at: usize) {
        self.cluster.kill(at);
        self.send(2).await;
        self.cluster.start_again(at);
        self.cluster.healed().await;
    }

    async fn block(&self, on: Value) {
        let settings = json!({"index.blocks.write": on});
        put(&self.cluster.client(), "/spanledger-default/_settings", &settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_entries_are_documents_and_dead_letters_and_no_document_is_there_twice() {
    let (rounds, seed) =
        (setting("SPANLEDGER_CLUSTER_ROUNDS", 3), setting("SPANLEDGER_CLUSTER_SEED", 1));
    println!("SPANLEDGER_CLUSTER_ROUNDS={rounds} SPANLEDGER_CLUSTER_SEED={seed}");
    let mut scene = Scene::new(seed).await;
    let first = scene.numbers.below(EVENTS.len() as u64);
    for number in 0..rounds {
        scene.round(first + number).await;
        if number % 5 == 4 {
            // Not only at the end: it says in which rounds something went wrong.
            everything_once(&scene.server, &scene.cluster.client()).await;
        }
    }
    let settled = everything_once(&scene.server, &scene.cluster.client()).await;
    assert_eq!(settled.letters.len(), scene.bad, "what is refused, and nothing else");
    println!(
        "{rounds} rounds: {} entries, {} documents, {} dead letters, {} bulks disturbed",
        settled.documents.len() + settled.letters.len(),
        settled.documents.len(),
        settled.letters.len(),
        scene.faults()
    );
    scene.server.server.terminate().await;
}
