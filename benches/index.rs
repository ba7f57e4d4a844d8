//! What the index costs for each entry: a model call of 2.3 KB, as converted and protected.
//!
//! The index writes on two threads, its consumer's and tantivy's, so wall-clock time hides half of
//! it: `index_entries` prints the CPU time of the whole process for each entry as well.

use divan::counter::{BytesCount, ItemsCount};
use spanledger::correlate::KeyMaker;
use spanledger::entry::{Entry, Json, Kind, Outcome, Payload, PayloadKind, format_ns};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options, Reader};
use spanledger::store::embedded::IndexOptions;
use spanledger::store::facets::Facets;
use spanledger::store::query::{Clock, Compiled, Query};
use spanledger::store::{AuditStore, EmbeddedStore, EntryView, QueryRequest};
use std::sync::OnceLock;

/// Two commits and more than one run.
const ENTRIES: u64 = 100_000;

/// Words of prompts: text repeats itself, but not as much as one sentence does.
const WORDS: &str = "customer asked whether refund order shipped late carrier damaged package \
    policy allows partial credit account balance manager approval threshold invoice total region \
    delivery estimate replacement warranty supplier contract email address confirm payment method \
    card declined retry gateway timeout latency report summary quarterly revenue forecast analyst \
    notebook query table schema migration deploy rollback incident severity owner runbook step";

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Random enough: a generator that gives the same each time.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn sentence(n: u64, words: u64) -> String {
    let list: Vec<&str> = WORDS.split_whitespace().collect();
    (0..words)
        .map(|at| match mixed(n ^ (at << 32)) {
            rare if rare.is_multiple_of(40) => format!("{:x} ", rare >> 40),
            word => {
                format!("{} ", list[usize::try_from(word % list.len() as u64).expect("an index")])
            }
        })
        .collect()
}

fn body(n: u64) -> Vec<u8> {
    let trace = format!("{:016x}{:016x}", mixed(n / 12), mixed(n / 12 + 1));
    let low = mixed(n / 12 + 1);
    let mut entry = Entry::new(Kind::LlmCall);
    entry.timestamp = format_ns(1_795_241_529_000_000_000 + n * 1_000_000).into();
    for form in [trace.clone(), format!("{low:016x}"), low.to_string()] {
        entry.add_trace_id(form.into());
    }
    entry.message = Some("chat gpt-5-mini".into());
    entry.event.action = Some("chat".into());
    entry.event.outcome = Some("success".into());
    entry.event.dataset = Some("otlp.span".into());
    entry.event.duration = Some(mixed(n) % 4_000_000_000);
    entry.event.end = Some(format_ns(1_795_241_530_000_000_000 + n * 1_000_000).into());
    entry.audit.mapping = Some("otel_genai".into());
    entry.audit.run.id = Some(format!("run-{:x}", mixed(n / 12)).into());
    entry.audit.session.id = Some(format!("session-{:x}", n / 300).into());
    if n.is_multiple_of(4) {
        entry.audit.decision.outcome = Some(Outcome::Allow);
        entry.audit.decision.reason = Some("within the spend limit of the region".into());
        entry.audit.policy.id = Some(vec!["spend-limit".into(), "pii".into()]);
    }
    entry.audit.payload = [(PayloadKind::Prompt, 42), (PayloadKind::Response, 38)]
        .map(|(kind, words)| Payload {
            kind,
            source: "gen_ai.input.messages".into(),
            text: Some(format!(r#"[{{"role":"user","content":"{}"}}]"#, sentence(n, words)).into()),
            hash: Some(format!("{:016x}{:016x}", mixed(n), mixed(n + 7)).repeat(2).into()),
            bytes: 300,
        })
        .into();
    entry.trace.id = Some(trace.into());
    entry.span.id = Some(format!("{:016x}", mixed(n + 99)).into());
    entry.span.parent_id = Some(format!("{:016x}", mixed(n + 98)).into());
    entry.span.name = Some("chat gpt-5-mini".into());
    entry.span.kind = Some("client".into());
    entry.user.id = Some(format!("user-{}@example.com", n % 500).into());
    entry.service.name = Some("order-desk".into());
    entry.service.version = Some("1.4.2".into());
    entry.gen_ai.operation.name = Some("chat".into());
    entry.gen_ai.provider.name = Some("openai".into());
    entry.gen_ai.request.model = Some("gpt-5-mini".into());
    entry.gen_ai.response.model = Some("gpt-5-mini-2026-08".into());
    entry.gen_ai.response.id = Some(format!("chatcmpl-{:x}", mixed(n + 3)).into());
    entry.gen_ai.usage.input_tokens = Some(812);
    entry.gen_ai.usage.output_tokens = Some(164);
    entry.gen_ai.agent.name = Some("refund-agent".into());
    entry.attributes.push("server.address".into(), Json::Text("api.openai.com".into()));
    entry.attributes.push("gen_ai.request.temperature".into(), Json::Double(0.2));
    entry.attributes.push("langgraph.node".into(), Json::Text("decide".into()));
    for (key, value) in [
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", "python"),
        ("host.name", "worker-17.eu-central-1"),
        ("k8s.pod.name", "order-desk-5f7c9d-x2x9z"),
    ] {
        entry.resource.push(key.into(), Json::Text(value.into()));
    }
    entry.scope.name = Some("opentelemetry.instrumentation.openai_v2".into());
    let mut body = Vec::new();
    entry.write(&mut body).expect("an entry is JSON");
    body
}

/// A ledger with entries, made once.
fn reader() -> Reader {
    static LEDGER: OnceLock<(tempfile::TempDir, Ledger)> = OnceLock::new();
    let (_, ledger) = LEDGER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let (ledger, _) = Ledger::open(dir.path(), options).expect("a ledger");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for from in (0..ENTRIES).step_by(1000) {
            let mut batch = Batch::new();
            for n in from..from + 1000 {
                let entry = NewEntry {
                    id: EntryId((u128::from(mixed(n)) << 64 | u128::from(n)).to_be_bytes()),
                    tenant: "default",
                    tenant_pseudonym: [0; 16],
                    retention_class: 0,
                    received_ns: 1_795_241_529_000_000_000 + n,
                    mapping_version: [0; 8],
                    source_key: None,
                    commitments: &[],
                    sealed: &[],
                    body: &body(n),
                };
                batch.push(&entry).expect("the entry fits");
            }
            runtime.block_on(ledger.append(batch)).expect("it is durable");
        }
        (dir, ledger)
    });
    ledger.reader()
}

fn write_all(store: &EmbeddedStore, reader: &Reader) {
    let mut scan = reader.scan(0);
    while let Some(chunk) = scan.next_chunk(1024 * 1024).expect("the ledger can be read") {
        let views: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
        store.write(&views).expect("the index can be written");
    }
    store.flush().expect("the index can be written");
}

/// Reading a body: what every entry costs before anything is listed.
#[divan::bench]
fn read_facets(bencher: divan::Bencher<'_, '_>) {
    let body = body(4);
    bencher.counter(BytesCount::new(body.len())).bench_local(|| Facets::from_body(&body).ids.len());
}

/// The keys of all ids of an entry.
#[divan::bench]
fn make_keys(bencher: divan::Bencher<'_, '_>) {
    let body = body(4);
    let facets = Facets::from_body(&body);
    let keys = KeyMaker::new([7; 16]);
    bencher.bench_local(|| {
        facets.ids.iter().flat_map(|id| keys.keys("default", id)).map(|key| key.0).max()
    });
}

/// Everything, with and without words: runs, dictionary, commits, their fsyncs.
#[divan::bench(args = [true, false], sample_count = 3, sample_size = 1)]
fn index_entries(bencher: divan::Bencher<'_, '_>, words: bool) {
    let reader = reader();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let options = IndexOptions { words, ..IndexOptions::default() };
        let before = cpu_ns();
        let store = EmbeddedStore::open(dir.path(), reader.clone(), options).expect("an index");
        write_all(&store, &reader);
        let cpu = (cpu_ns() - before) / ENTRIES;
        let bytes = size(dir.path()) / ENTRIES;
        eprintln!("words {words}: {cpu} ns of CPU and {bytes} bytes for each entry");
    });
}

/// The newest 50 hits of what people ask.
#[divan::bench(args = [
    "run_id:run-7bd1a1e3d2d3a1", "kind:llm_call", "decision:allow and user:user-7@example.com",
    "refund carrier", "policy:spend* and not tool:*",
], sample_count = 20)]
fn newest_50(bencher: divan::Bencher<'_, '_>, text: &str) {
    static STORE: OnceLock<(tempfile::TempDir, EmbeddedStore)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(dir.path(), reader(), IndexOptions::default());
        let store = store.expect("an index");
        write_all(&store, &reader());
        (dir, store)
    });
    let query = Query::parse(text).expect("a question");
    let request = QueryRequest::new(spanledger::access::Tenant::default(), query);
    bencher.bench_local(|| store.query(&request).expect("an answer").hits.len());
}

/// What a look at one entry costs.
#[divan::bench(args = ["run_id:7", "refund", "attributes.server.address:x"])]
fn evaluate(bencher: divan::Bencher<'_, '_>, text: &str) {
    let query = Compiled::new(&Query::parse(text).expect("a question"), Clock::system());
    let entry = reader().get(4).expect("the ledger can be read").expect("it is there");
    bencher.bench_local(|| query.matches(&EntryView::from(entry.as_ref())));
}

/// CPU time of this process, all threads, nanoseconds.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let number = |part: i64| u64::try_from(part).expect("time has passed");
    number(time.tv_sec) * 1_000_000_000 + number(time.tv_nsec)
}

fn size(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("the folder is there").map(|file| file.expect("it"));
    files
        .map(|file| {
            let kind = file.metadata().expect("it is there");
            if kind.is_dir() { size(&file.path()) } else { kind.len() }
        })
        .sum()
}
