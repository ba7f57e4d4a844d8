//! How long the story of an id takes in a large store: `store.trace` alone, its study, and both.
//!
//! ```text
//! SPANLEDGER_BENCH_ENTRIES=10000000 cargo bench --bench story
//! ```
//!
//! A store of that many entries (200,000 when nothing is said), a story of 200 among every 2,000;
//! each story is asked for once in an order that looks random, so that caches help as little as they
//! do in an incident. Prints the 50th and 99th percentile of one thread.

use spanledger::access::Tenant;
use spanledger::entry::{Entry, Json, Kind, Outcome, Payload, PayloadKind, format_ns};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
use spanledger::store::embedded::IndexOptions;
use spanledger::store::{AuditStore, EmbeddedStore, EntryView, TraceRequest};
use spanledger::story::{Record, Study};
use std::time::{Duration, Instant};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Entries of a story, and how many entries stand between two stories of this size.
const STORY: u64 = 200;
const BETWEEN: u64 = 2_000;

/// Stories that are asked for.
const ASKED: u64 = 500;

fn main() {
    let entries: u64 = std::env::var("SPANLEDGER_BENCH_ENTRIES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_000);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let began = Instant::now();
    let (ledger, store) = runtime.block_on(filled(folder.path(), entries));
    println!("{entries} entries written and indexed in {:.0?}", began.elapsed());
    let stories = entries / BETWEEN;
    let (mut traced, mut studied) = (Vec::new(), Vec::new());
    for ask in 0..ASKED.min(stories) {
        let number = mixed(ask) % stories;
        let began = Instant::now();
        let request = TraceRequest::new(Tenant::default(), format!("run-{number}"));
        let found = store.trace(&request).expect("a story");
        assert_eq!(found.total as u64, STORY, "run-{number}");
        traced.push(began.elapsed());
        let began = Instant::now();
        let records = found.entries.iter();
        let records = records.filter_map(|hit| Record::read(&hit.document, hit.event_ns));
        let study = Study::of(records.collect());
        assert_eq!(study.findings.len(), 0, "{:?}", study.findings.first());
        studied.push(began.elapsed());
    }
    let both: Vec<Duration> = traced.iter().zip(&studied).map(|(a, b)| *a + *b).collect();
    for (name, mut times) in [("trace", traced), ("study", studied), ("trace + study", both)] {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("{name:<14} p50 {:>9.2?}  p99 {:>9.2?}", at(50), at(99));
    }
    runtime.block_on(ledger.close()).expect("closed");
}

/// Random enough: a generator that gives the same each time.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// A ledger of that many entries and its index.
async fn filled(folder: &std::path::Path, entries: u64) -> (Ledger, EmbeddedStore) {
    let (ledger, _) =
        Ledger::open(&folder.join("ledger"), Options { reserve_bytes: 0, ..Options::default() })
            .expect("a ledger");
    let mut body = Vec::new();
    let mut next = 0;
    while next < entries {
        let mut batch = Batch::new();
        let end = (next + 5_000).min(entries);
        for n in next..end {
            body.clear();
            entry(n).write(&mut body).expect("an entry is JSON");
            let id = u128::from(mixed(n)) << 64 | u128::from(n);
            let entry = NewEntry {
                id: EntryId(id.to_be_bytes()),
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
            batch.push(&entry).expect("it fits");
        }
        ledger.append(batch).await.expect("appended");
        next = end;
    }
    let options = IndexOptions { words: false, ..IndexOptions::default() };
    let store =
        EmbeddedStore::open(&folder.join("index"), ledger.reader(), options).expect("index");
    let mut scan = ledger.reader().scan(0);
    while let Some(chunk) = scan.next_chunk(1 << 20).expect("read") {
        let views: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
        store.write(&views).expect("indexed");
    }
    store.flush().expect("committed");
    (ledger, store)
}

/// The entry with that number: within each stretch of 2,000 every tenth belongs to its story.
fn entry(n: u64) -> Entry<'static> {
    let (story, place) = (n / BETWEEN, n % BETWEEN);
    let step = place / (BETWEEN / STORY);
    let in_story = place.is_multiple_of(BETWEEN / STORY);
    let run = if in_story { format!("run-{story}") } else { format!("other-{n}") };
    let is_decision = in_story && step.is_multiple_of(2);
    let mut entry = Entry::new(if is_decision { Kind::Decision } else { Kind::ToolCall });
    entry.timestamp = format_ns(1_795_241_529_000_000_000 + n * 1_000_000).into();
    entry.message = Some("execute_tool lookup".into());
    entry.event.action = Some("order.read".into());
    entry.event.dataset = Some("otlp.span".into());
    entry.audit.run.id = Some(run.into());
    entry.audit.action.key = Some(format!("order.read:{}", step / 2).into());
    if is_decision {
        entry.audit.decision.outcome = Some(Outcome::Allow);
        entry.audit.decision.reason = Some("within the limit".into());
        entry.audit.policy.id = Some(vec!["limits".into()]);
    }
    entry.audit.payload = vec![Payload {
        kind: PayloadKind::Arguments,
        source: "gen_ai.tool.call.arguments".into(),
        text: Some(format!("{{\"order\":{n},\"note\":\"{}\"}}", "please look ".repeat(40)).into()),
        hash: Some(format!("{:016x}", mixed(n)).repeat(4).into()),
        bytes: 512,
    }];
    entry.trace.id = Some(format!("{:016x}{:016x}", mixed(story), mixed(story + 1)).into());
    if !in_story {
        entry.trace.id = Some(format!("{:016x}{:016x}", mixed(n + (1 << 40)), mixed(n)).into());
    }
    entry.span.id = Some(format!("{:016x}", mixed(n + 99)).into());
    entry.service.name = Some("order-desk".into());
    entry.gen_ai.tool.name = Some("lookup".into());
    entry.attributes.push("server.address".into(), Json::Text("api.example.com".into()));
    entry
}
