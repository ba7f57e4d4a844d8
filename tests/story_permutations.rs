//! The stories of the documents in every order of arrival: shuffled, sent twice, split over requests,
//! the same story comes out, but for sequence, received time and proofs.

mod api_support;
#[path = "support/stories.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod stories;

use api_support::{app, get, memory};
use proptest::prelude::*;
use serde_json::Value;
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
use spanledger::receiver::otlp::{self, Format, Signal};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};
use spanledger::store::embedded::IndexOptions;
use spanledger::store::{AuditStore, EmbeddedStore, EntryView, Envelope};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock};
use stories::{Told, blocked_pipeline, decision_record, job_ended, refund_chain};

static MAPPINGS: LazyLock<Mappings> = LazyLock::new(|| Mappings::builtin().unwrap());

/// Converts what a request has.
struct Converter {
    resource: ResourceContext,
    scope: ScopeContext,
    bodies: Vec<Vec<u8>>,
}

impl Sink for Converter {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = MAPPINGS.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = MAPPINGS.scope(scope);
    }

    fn record(&mut self, record: Record<'_, '_>) {
        let converted = MAPPINGS.convert(&self.resource, &self.scope, record);
        for entry in std::iter::once(&converted.entry).chain(&converted.further) {
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            self.bodies.push(body);
        }
    }

    fn refuse(&mut self, why: Refusal) {
        panic!("a record is refused: {why}");
    }
}

/// The bodies of the entries that a request becomes.
fn bodies(records: &[Told]) -> Vec<Vec<u8>> {
    let (path, request) = stories::request("governed-agent", "audit", records);
    let signal = if path == "/v1/logs" { Signal::Logs } else { Signal::Traces };
    let mut converter = Converter {
        resource: MAPPINGS.resource(&Resource::default()),
        scope: MAPPINGS.scope(&Scope::default()),
        bodies: Vec::new(),
    };
    otlp::decode(signal, Format::Json, request.to_string().as_bytes(), &mut converter).unwrap();
    converter.bodies
}

/// As in a ledger, an entry's id comes from what was sent, so that what is sent again is known.
fn id_of(body: &[u8]) -> [u8; 16] {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    u128::from(hasher.finish()).to_be_bytes()
}

/// What the API says of these stories after requests of records in this order.
fn told(requests: &[Vec<Told>]) -> Vec<Value> {
    let store = memory();
    let all = requests.iter().flat_map(|request| bodies(request));
    for (sequence, body) in (0..).zip(all) {
        let envelope = Envelope {
            sequence,
            id: id_of(&body),
            tenant: "default",
            received_ns: 1_795_241_529_000_000_000 + sequence,
            conflict: false,
            leaf_hash: [7; 32],
        };
        store.write(&[EntryView::new(envelope, &body)]).unwrap();
    }
    asked(store)
}

/// The answers of this store.
fn asked(store: Arc<dyn AuditStore>) -> Vec<Value> {
    let app = app(store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let paths = [
        "/api/v1/traces/run_981",
        "/api/v1/traces/ls-run-789",
        "/api/v1/traces/trace-456",
        "/api/v1/jobs/job-123",
        "/api/v1/jobs/job-123/evidence",
        "/api/v1/workflow-runs/wf-1/timeline",
        "/api/v1/approvals",
        "/api/v1/jobs/job-123/decisions",
    ];
    let answers = paths.map(|path| {
        let mut answer = runtime.block_on(get(&app, path)).json();
        unplaced(&mut answer);
        answer
    });
    answers.into()
}

/// Takes out what depends on arrival.
fn unplaced(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["sequence", "ingested", "hash", "ledger"] {
                map.remove(name);
            }
            map.values_mut().for_each(unplaced);
        }
        Value::Array(items) => items.iter_mut().for_each(unplaced),
        _ => {}
    }
}

fn all() -> Vec<Told> {
    [refund_chain(), blocked_pipeline(), decision_record(), job_ended()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_order_of_arrival_the_story_and_what_it_means_are_the_same(
        order in Just((0..all().len()).collect::<Vec<_>>()).prop_shuffle(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        cuts in prop::collection::vec(1..5_usize, 1..12),
    ) {
        static AS_SENT: LazyLock<Vec<Value>> = LazyLock::new(|| told(&[all()]));
        let records = all();
        let mut sent: Vec<Told> = order.iter().map(|at| records[*at].clone()).collect();
        sent.extend(again.iter().map(|at| at.get(&records).clone()));
        let mut requests = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !sent.is_empty() {
            let rest = sent.split_off((*cuts.next().unwrap()).min(sent.len()));
            requests.push(std::mem::replace(&mut sent, rest));
        }
        prop_assert_eq!(&told(&requests), &*AS_SENT);
    }
}

/// The same from the store that comes with the ledger.
#[test]
fn every_store_gives_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let (ledger, _) = Ledger::open(&folder.path().join("ledger"), options).unwrap();
    let mut batch = Batch::new();
    for (n, body) in (0..).zip(bodies(&all())) {
        let entry = NewEntry {
            id: EntryId(id_of(&body)),
            tenant: "default",
            tenant_pseudonym: [0; 16],
            retention_class: 0,
            received_ns: 1_795_241_529_000_000_000 + n,
            mapping_version: [0; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: &body,
        };
        batch.push(&entry).unwrap();
    }
    runtime.block_on(ledger.append(batch)).unwrap();
    let reader = ledger.reader();
    let index = folder.path().join("index");
    let store = EmbeddedStore::open(&index, reader.clone(), IndexOptions::default()).unwrap();
    let unindexed = asked(Arc::new(store));
    assert_eq!(unindexed, told(&[all()]), "read from the ledger");
    let store = EmbeddedStore::open(&index, reader.clone(), IndexOptions::default()).unwrap();
    let mut scan = reader.scan(0);
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        let views: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
        store.write(&views).unwrap();
    }
    store.flush().unwrap();
    assert_eq!(asked(Arc::new(store)), unindexed, "found by the index");
}

#[test]
fn the_stories_mean_what_the_documents_say() {
    let answers = told(&[all()]);
    let states = |answer: &Value| -> Vec<Value> {
        let actions = answer["actions"].as_array().unwrap();
        actions.iter().map(|action| action["state"].clone()).collect()
    };
    assert_eq!(states(&answers[0]), ["executed", "blocked"]);
    assert_eq!(states(&answers[1]), ["executed", "blocked"]);
    for answer in &answers[..3] {
        assert_eq!(answer["findings"], Value::Array(Vec::new()), "{answer:#}");
    }
    assert_eq!(answers[3]["approval_status"], "approved");
}
