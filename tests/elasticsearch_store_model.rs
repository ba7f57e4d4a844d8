//! The store over a cluster answers what its model answers: rollovers that leave copies, documents
//! that are no entries, several ledgers in one stream, pages of every size, points in time that end.

mod search_cluster;
mod store_support;
mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use search_cluster::Cluster;
use serde_json::{Value, json};
use spanledger::correlate::JoinRules;
use spanledger::elasticsearch::{
    Body, Client, ContentType, ElasticsearchStore, Method, Product, Request, StoreOptions,
    Transport,
};
use spanledger::entry::Kind;
use spanledger::store::projection::{Origin, write_document};
use spanledger::store::query::Query;
use spanledger::store::{
    AuditStore, Cursor, EntryView, Envelope, Hit, MemoryStore, Order, QueryRequest, StoreError,
    TraceRequest,
};
use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};
use store_support::*;
use support::search_node::{Engine, SearchNode};
use support::server::binary;
use tokio::runtime::Runtime;

const ORDERS: [Order; 3] = [Order::Newest, Order::Ledger, Order::Story];

/// What happens between questions.
#[derive(Debug, Clone)]
enum Step {
    /// Entries; one in eight repeats an earlier one.
    Append(Vec<[u8; 10]>),
    RollOver,
    /// What the correlator writes beside entries.
    Link(u8),
    /// An exporter sends what it sent before.
    SendAgain(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any::<[u8; 10]>(), 1..14).prop_map(Step::Append),
        2 => Just(Step::RollOver),
        1 => any::<u8>().prop_map(Step::Link),
        2 => any::<u8>().prop_map(Step::SendAgain),
    ]
}

/// What exporters and the cluster do.
enum Event {
    Create(String, String),
    RollOver,
}

/// A cluster that several ledgers are exported to, and the model of what it answers.
struct Fixture<T: Transport> {
    store: ElasticsearchStore<T>,
    /// What the cluster is to be told.
    events: Vec<Event>,
    memory: MemoryStore,
    runtime: Runtime,
    draws: Vec<[u8; 10]>,
    sent: Vec<(String, String)>,
    origins: Vec<String>,
    /// Entries by ledger so far.
    lengths: Vec<u64>,
    /// Place in ledger order of each entry.
    places: HashMap<[u8; 16], (String, u64)>,
    arrived: u64,
}

impl<T: Transport> Fixture<T> {
    fn new(transport: T, origins: usize) -> Self {
        let few = StoreOptions { max_hits: 7, max_points_in_time: 2, ..StoreOptions::default() };
        Self::with(transport, origins, few)
    }

    fn with(transport: T, origins: usize, options: StoreOptions) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let store = ElasticsearchStore::new(transport, runtime.handle().clone(), options);
        let origins = [ORIGIN, "other/ledger"].into_iter().take(origins);
        Self {
            store,
            events: Vec::new(),
            memory: MemoryStore::new(ORIGIN, JoinRules::default()),
            runtime,
            draws: Vec::new(),
            sent: Vec::new(),
            lengths: vec![0; origins.len()],
            origins: origins.map(str::to_owned).collect(),
            places: HashMap::new(),
            arrived: 0,
        }
    }

    fn append(&mut self, draw: [u8; 10]) {
        let number = self.draws.len();
        let given = if draw[9].is_multiple_of(8) && number > 0 {
            let earlier = usize::from(draw[8]) % number;
            drawn(earlier as u64, self.draws[earlier])
        } else {
            self.draws.push(draw);
            drawn(number as u64, draw)
        };
        self.arrive(&given, usize::from(draw[6]) % self.origins.len(), draw[0].is_multiple_of(7));
    }

    /// An entry is received by the collector of a ledger.
    fn arrive(&mut self, given: &Given, ledger: usize, conflict: bool) {
        let body = given.body();
        let sequence = self.lengths[ledger];
        self.lengths[ledger] += 1;
        // What arrives again arrives later.
        let received_ns = 5_000_000_000 + self.arrived;
        let envelope = |sequence| Envelope {
            sequence,
            id: given.id,
            tenant: given.tenant,
            received_ns,
            conflict,
            leaf_hash: [7; 32],
        };
        // The model has one ledger: its order is that of arrival.
        let model = EntryView::new(envelope(self.arrived), &body);
        self.memory.write(&[model]).unwrap();
        self.arrived += 1;
        let mut document = Vec::new();
        let origin = Origin { name: &self.origins[ledger] };
        let view = EntryView::new(envelope(sequence), &body);
        write_document(&view, origin, &mut document);
        let item = (view.id_text(), String::from_utf8(document).unwrap());
        self.events.push(Event::Create(item.0.clone(), item.1.clone()));
        self.sent.push(item);
        self.places.entry(given.id).or_insert_with(|| (self.origins[ledger].clone(), sequence));
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append(draws) => draws.into_iter().for_each(|draw| self.append(draw)),
            Step::RollOver => self.events.push(Event::RollOver),
            Step::Link(n) => {
                let id = format!("{n:032x}");
                let trace = TRACES[usize::from(n) % TRACES.len()];
                let mut link = json!({
                    "@timestamp": "2026-11-21T08:00:00.000000000Z", "trace_id": [trace],
                    "organization": {"id": "acme"}, "audit": {"kind": "link"},
                    "event": {"id": id, "ingested": "2026-11-21T08:00:00.000000000Z", "sequence": 0},
                });
                // A document without an origin has no place in any order.
                link["audit"]["ledger"] = json!({"origin": ORIGIN});
                self.events.push(Event::Create(id, link.to_string()));
            }
            Step::SendAgain(by) => {
                if !self.sent.is_empty() {
                    let (id, text) = self.sent[usize::from(by) % self.sent.len()].clone();
                    self.events.push(Event::Create(id, text));
                }
            }
        }
    }

    /// What the model answers, in the order of several ledgers.
    fn expected(&self, name: &str, query: &Query, order: Order) -> Vec<Hit> {
        let mut hits = all_pages(&self.memory, name, query, order, 1000);
        if order == Order::Ledger {
            hits.sort_by_key(|hit| self.places[&hit.id].clone());
        }
        hits
    }

    fn check(&self, query: &Query, limit: usize) -> Result<(), TestCaseError> {
        for name in ["acme", "other"] {
            for order in ORDERS {
                // Each page in story order collects all of them.
                let limit = if order == Order::Story { limit.max(20) } else { limit };
                let ours = all_pages(&self.store, name, query, order, limit);
                let model = self.expected(name, query, order);
                prop_assert_eq!(ids(&ours), ids(&model), "{} {:?} {}", query, order, name);
                if self.origins.len() == 1 {
                    prop_assert_eq!(ours, model, "byte for byte");
                }
            }
        }
        Ok(())
    }

    fn check_story(&self, id: &str, paged: bool) -> Result<(), TestCaseError> {
        for name in ["acme", "other"] {
            let (ours, model) = (story(&self.store, name, id), story(&self.memory, name, id));
            prop_assert_eq!(ids(&ours.entries), ids(&model.entries), "{} {}", id, name);
            prop_assert_eq!(&ours.trace_ids, &model.trace_ids);
            prop_assert_eq!(ours.total, model.total);
            for kinds in KINDS {
                let ours = story_of(&self.store, name, id, kinds);
                let model = story_of(&self.memory, name, id, kinds);
                prop_assert_eq!(ids(&ours.entries), ids(&model.entries), "{} {:?}", id, kinds);
            }
            // Each page closes the group again.
            for order in ORDERS.into_iter().filter(|_| paged) {
                let mut request =
                    TraceRequest { order, limit: 8, ..TraceRequest::new(tenant(name), id) };
                let mut paged = Vec::new();
                loop {
                    let page = self.store.trace(&request).unwrap();
                    paged.extend(page.entries);
                    let Some(cursor) = page.next_cursor else { break };
                    request.cursor = Some(cursor.to_string().parse().unwrap());
                }
                let whole =
                    TraceRequest { order, cursor: None, ..TraceRequest::new(tenant(name), id) };
                let mut model = self.memory.trace(&whole).unwrap().entries;
                if order == Order::Ledger {
                    model.sort_by_key(|hit| self.places[&hit.id].clone());
                }
                prop_assert_eq!(ids(&paged), ids(&model), "{} {:?}", id, order);
            }
        }
        Ok(())
    }
}

fn ids(hits: &[Hit]) -> Vec<[u8; 16]> {
    hits.iter().map(|hit| hit.id).collect()
}

/// Whether a question asks for what the model numbers otherwise.
fn asks_for_sequence(query: &Query) -> bool {
    query.to_string().contains("sequence")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_over_a_cluster_answers_what_the_model_answers(
        steps in prop::collection::vec(step(), 2..8),
        queries in prop::collection::vec(query(), 8),
        product in prop::sample::select(vec![Product::Elasticsearch, Product::OpenSearch]),
        origins in 1..=2_usize,
        short_lived: bool,
    ) {
        let cluster = Cluster::new(product);
        let mut fixture = Fixture::new(cluster.clone(), origins);
        if short_lived {
            cluster.forget_points_in_time();
        }
        for step in steps {
            fixture.apply(step);
        }
        fill(&cluster, &mut fixture);
        for (at, query) in queries.iter().enumerate() {
            if origins == 1 || !asks_for_sequence(query) {
                fixture.check(query, [3, 8, 1000][at % 3])?;
            }
        }
        for (at, id) in TRACES.iter().chain(IDS).enumerate() {
            fixture.check_story(id, at % 4 == 0)?;
        }
    }
}

/// Bulks and rollovers of a real node; then everything can be found.
async fn deliver(node: &SearchNode, client: &Client, events: &mut Vec<Event>) {
    let mut bulk = String::new();
    for event in events.drain(..).chain([Event::RollOver]) {
        match event {
            Event::Create(id, text) => {
                let action = json!({"create": {"_index": "spanledger-default", "_id": id}});
                bulk.extend([action.to_string().as_str(), "\n", text.as_str(), "\n"]);
            }
            Event::RollOver => {
                if !bulk.is_empty() {
                    let bytes = std::mem::take(&mut bulk).into();
                    let body = Body { bytes, content_type: ContentType::NdJson, gzip: false };
                    let request = Request {
                        method: Method::Post,
                        path: "/_bulk".to_owned(),
                        query: vec![("refresh", "true".to_owned())],
                        body: Some(body),
                        timeout: Duration::from_mins(1),
                    };
                    let reply = client.send(request).await.unwrap();
                    let said: Value = serde_json::from_slice(&reply.body).unwrap();
                    for item in said["items"].as_array().unwrap() {
                        let status = item["create"]["status"].as_u64().unwrap();
                        assert!(status == 201 || status == 409, "{item}");
                    }
                }
                let rolled = node.ask(Method::Post, "/spanledger-default/_rollover", None).await;
                assert_eq!(rolled.0, 200, "{rolled:?}");
            }
        }
    }
}

/// The same steps and questions at every run.
fn runner() -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    TestRunner::new_with_rng(ProptestConfig::default(), rng)
}

fn a_real_node_answers_what_the_model_answers(engine: Engine) {
    let node = SearchNode::start(engine);
    let args = ["setup", "elasticsearch", "--url", node.url()];
    assert!(Command::new(binary()).args(args).output().unwrap().status.success());
    let mut runner = runner();
    let client = node.client();
    let mut fixture = Fixture::new(client.clone(), 2);
    let mut sample = |count: usize| -> Vec<Step> {
        prop::collection::vec(step(), count).new_tree(&mut runner).unwrap().current()
    };
    for step in sample(24) {
        fixture.apply(step);
    }
    let mut events = std::mem::take(&mut fixture.events);
    fixture.runtime.block_on(deliver(&node, &client, &mut events));
    let mut runner = self::runner();
    let questions = prop::collection::vec(query(), 60).new_tree(&mut runner).unwrap().current();
    for query in questions.iter().filter(|query| !asks_for_sequence(query)) {
        fixture.check(query, 40).unwrap();
    }
    for (at, id) in TRACES.iter().chain(IDS).enumerate() {
        fixture.check_story(id, at == 0).unwrap();
    }
}

#[test]
fn elasticsearch_answers_what_the_model_answers() {
    a_real_node_answers_what_the_model_answers(Engine::Elasticsearch);
}

#[test]
fn opensearch_answers_what_the_model_answers() {
    a_real_node_answers_what_the_model_answers(Engine::OpenSearch);
}

#[test]
fn elasticsearch_8_answers_what_the_model_answers() {
    a_real_node_answers_what_the_model_answers(Engine::Elasticsearch8);
}

#[test]
fn opensearch_2_answers_what_the_model_answers() {
    a_real_node_answers_what_the_model_answers(Engine::OpenSearch2);
}

/// A cluster with the entries of these draws, and a store over it.
fn cluster_of(count: u8) -> (Cluster, Fixture<Cluster>) {
    let cluster = Cluster::new(Product::Elasticsearch);
    let mut fixture = Fixture::new(cluster.clone(), 1);
    fixture.apply(Step::Append((0..count).map(|n| [n, n, n, n, n, n, n, 1, n, 1]).collect()));
    fill(&cluster, &mut fixture);
    (cluster, fixture)
}

fn fill(cluster: &Cluster, fixture: &mut Fixture<Cluster>) {
    for event in fixture.events.drain(..) {
        match event {
            Event::Create(id, text) => cluster.create(&id, &text),
            Event::RollOver => cluster.roll_over(),
        }
    }
}

fn everything(limit: usize) -> QueryRequest {
    QueryRequest { limit, ..QueryRequest::new(tenant("acme"), Query::All) }
}

#[test]
fn points_in_time_that_wait_for_a_next_page_are_few_and_end_with_the_last_page() {
    let (cluster, fixture) = cluster_of(60);
    let first: Vec<_> = (0..5).map(|_| fixture.store.query(&everything(10)).unwrap()).collect();
    // The oldest are closed, and nobody waits for the replies.
    let since = Instant::now();
    while cluster.open_points_in_time() > 2 {
        assert!(since.elapsed() < Duration::from_mins(1), "bounded by the option");
        std::thread::yield_now();
    }
    assert!(fixture.store.status().evicted() >= 3);
    let all = all_pages(&fixture.memory, "acme", &Query::All, Order::Newest, 1000);
    for page in first {
        let mut request = everything(10);
        let mut hits = page.hits;
        request.cursor = page.next_cursor;
        while request.cursor.is_some() {
            let page = fixture.store.query(&request).unwrap();
            hits.extend(page.hits);
            request.cursor = page.next_cursor;
        }
        assert_eq!(ids(&hits), ids(&all), "whoever's was closed goes on all the same");
    }
}

#[test]
fn a_cursor_of_another_order_or_store_is_refused() {
    let (_, fixture) = cluster_of(30);
    let page = fixture.store.query(&everything(5)).unwrap();
    let cursor = page.next_cursor.unwrap();
    assert!(matches!(&cursor, Cursor::Shared { newest: true, .. }));
    let ledger = QueryRequest { order: Order::Ledger, cursor: Some(cursor), ..everything(5) };
    let embedded = QueryRequest { cursor: Some(Cursor::Below(3)), ..everything(5) };
    for request in [ledger.clone(), embedded] {
        assert!(matches!(fixture.store.query(&request), Err(StoreError::Cursor(_))));
    }
    assert!(matches!(fixture.memory.query(&ledger), Err(StoreError::Cursor(_))));
}

#[test]
fn a_question_without_time_says_so_and_goes_on_later() {
    let (_, fixture) = cluster_of(30);
    let none = QueryRequest { budget: Duration::ZERO, ..everything(5) };
    let page = fixture.store.query(&none).unwrap();
    assert!(page.timed_out && page.hits.is_empty());
    let first = fixture.store.query(&everything(5)).unwrap();
    let late = QueryRequest { cursor: first.next_cursor.clone(), ..none };
    let page = fixture.store.query(&late).unwrap();
    assert!(page.timed_out && page.hits.is_empty());
    let next = QueryRequest { cursor: page.next_cursor, ..everything(5) };
    let all = all_pages(&fixture.memory, "acme", &Query::All, Order::Newest, 1000);
    assert_eq!(ids(&fixture.store.query(&next).unwrap().hits), ids(&all)[5..10]);
    let story = TraceRequest { budget: Duration::ZERO, ..TraceRequest::new(tenant("acme"), "1") };
    assert!(fixture.store.trace(&story).unwrap().truncated);
}

#[test]
fn a_common_story_takes_three_searches() {
    let cluster = Cluster::new(Product::Elasticsearch);
    let mut fixture = Fixture::with(cluster.clone(), 1, StoreOptions::default());
    for number in 0..200 {
        let trace = format!("{:032x}", (u128::from(number % 2) + 7) << 70 | 0xa3ce_929d_0e0e_4736);
        let given = Given::new(number, Kind::Span, 1000 + number % 50).trace(&trace).run("run-1");
        let given = if number == 150 { given.trace("langsmith-1") } else { given };
        fixture.arrive(&given, 0, false);
    }
    fill(&cluster, &mut fixture);
    let before = cluster.searches();
    let found = story(&fixture.store, "acme", "langsmith-1");
    assert_eq!(cluster.searches() - before, 3);
    assert_eq!(found.total, 200);
    assert_eq!(ids(&found.entries), ids(&story(&fixture.memory, "acme", "langsmith-1").entries));
}

#[test]
fn what_the_cluster_refuses_is_unavailable_and_says_what_to_do() {
    let (cluster, fixture) = cluster_of(3);
    for (status, words) in [
        (401, "credentials"),
        (403, "privilege `read`"),
        (429, "again in a moment"),
        (503, "health"),
        (400, "refuses the search"),
    ] {
        cluster.answer_always(Some(status));
        let error = fixture.store.query(&everything(5)).unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(why) if why.contains(words)), "{error}");
        let error = fixture.store.trace(&TraceRequest::new(tenant("acme"), "1")).unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(_)), "{error}");
    }
    let failures: u64 = fixture.store.status().failures().iter().map(|(_, count)| count).sum();
    assert_eq!(failures, 10);
}
