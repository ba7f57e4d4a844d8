//! A ledger in a temporary folder, the embedded store over it, and its model.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use proptest::prelude::*;
use spanledger::access::Tenant;
use spanledger::correlate::{JoinRules, Namespace};
use spanledger::entry::{Entry, Fields, Json, Kind, Outcome, Payload, format_ns};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options, Reader};
use spanledger::store::embedded::IndexOptions;
use spanledger::store::query::{Bound, Query, Value};
use spanledger::store::{
    AuditStore, EmbeddedStore, EntryView, Hit, MemoryStore, Order, QueryRequest, TraceRequest,
    TraceStory,
};
use std::path::PathBuf;
use tempfile::TempDir;

pub const ORIGIN: &str = "test/ledger";

/// Small enough that a few entries make runs, merges, commits and segments.
pub fn options() -> IndexOptions {
    IndexOptions {
        origin: ORIGIN.to_owned(),
        run_entries: 8,
        block_entries: 4,
        commit_entries: 12,
        idle_commit_entries: 1,
        duplicate_window: 4,
        ..IndexOptions::default()
    }
}

pub struct Fixture {
    pub dir: TempDir,
    pub runtime: tokio::runtime::Runtime,
    pub ledger: Ledger,
    pub memory: MemoryStore,
    store: Option<EmbeddedStore>,
    fed: u64,
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let options = Options { window: 4, reserve_bytes: 0, ..Options::default() };
        let (ledger, _) = Ledger::open(&dir.path().join("ledger"), options).unwrap();
        let memory = MemoryStore::new(ORIGIN, JoinRules::default());
        let mut fixture = Self { dir, runtime, ledger, memory, store: None, fed: 0 };
        fixture.reopen();
        fixture
    }

    pub fn reader(&self) -> Reader {
        self.ledger.reader()
    }

    pub fn index_dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    pub fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().unwrap()
    }

    /// Appends bodies, and tells the model.
    pub fn append(&mut self, entries: &[Given]) {
        let mut batch = Batch::new();
        for entry in entries {
            let body = entry.body();
            batch
                .push(&NewEntry {
                    id: EntryId(entry.id),
                    tenant: entry.tenant,
                    tenant_pseudonym: [0; 16],
                    retention_class: 0,
                    received_ns: entry.received_ns,
                    mapping_version: [0; 8],
                    source_key: None,
                    commitments: &[],
                    sealed: &[],
                    body: &body,
                })
                .unwrap();
        }
        self.runtime.block_on(self.ledger.append(batch)).unwrap();
        let mut scan = self.reader().scan(self.fed);
        while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
            let views: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
            self.memory.write(&views).unwrap();
        }
        self.fed = scan.position();
    }

    /// Lets the index take at most `most` entries.
    pub fn index(&self, most: usize) {
        let mut scan = self.reader().scan(self.store().position().unwrap());
        let status = self.store().status();
        let mut left =
            most + usize::try_from(status.ids.min(status.added_tags) - scan.position()).unwrap();
        while left > 0 {
            let Some(chunk) = scan.next_chunk(64 * 1024).unwrap() else { break };
            let views: Vec<EntryView<'_>> =
                chunk.entries().map(EntryView::from).take(left).collect();
            left -= views.len();
            self.store().write(&views).unwrap();
        }
    }

    pub fn index_all(&self) {
        self.index(usize::MAX / 2);
    }

    /// Ends the index without a word, as a crash does, and opens it again.
    pub fn reopen(&mut self) {
        self.store = None;
        self.store =
            Some(EmbeddedStore::open(&self.index_dir(), self.reader(), options()).unwrap());
    }

    /// Does something to the index while it is closed.
    pub fn while_closed(&mut self, act: impl FnOnce(PathBuf)) {
        self.store = None;
        act(self.index_dir());
        self.reopen();
    }

    /// All hits of a question in the embedded store, page by page.
    pub fn ask(&self, tenant: &str, text: &str, order: Order) -> Vec<Hit> {
        let query = Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        all_pages(self.store(), tenant, &query, order, 3)
    }

    /// The bodies' numbers of all hits, oldest first.
    pub fn numbers(&self, text: &str) -> Vec<u64> {
        self.ask("acme", text, Order::Ledger).iter().map(|hit| hit.sequence).collect()
    }

    pub fn story(&self, id: &str) -> TraceStory {
        story(self.store(), "acme", id)
    }

    /// Sequence numbers of a story, in its order.
    pub fn story_numbers(&self, id: &str) -> Vec<u64> {
        self.story(id).entries.iter().map(|hit| hit.sequence).collect()
    }
}

pub fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

/// The story of an id that names one of these.
pub fn story_of(
    store: &dyn AuditStore,
    name: &str,
    id: &str,
    namespaces: &'static [Namespace],
) -> TraceStory {
    store.trace(&TraceRequest { namespaces, ..TraceRequest::new(tenant(name), id) }).unwrap()
}

/// Kinds of ids that a story may be asked for by.
pub const KINDS: [&[Namespace]; 3] = [
    &[Namespace::Job],
    &[Namespace::Run, Namespace::Workflow, Namespace::Trace],
    &[Namespace::User],
];

pub fn story(store: &dyn AuditStore, name: &str, id: &str) -> TraceStory {
    store.trace(&TraceRequest::new(tenant(name), id)).unwrap()
}

pub fn all_pages(
    store: &dyn AuditStore,
    name: &str,
    query: &Query,
    order: Order,
    limit: usize,
) -> Vec<Hit> {
    let mut request =
        QueryRequest { order, limit, ..QueryRequest::new(tenant(name), query.clone()) };
    let mut hits = Vec::new();
    loop {
        let page = store.query(&request).unwrap();
        assert!(page.hits.len() <= limit && !page.timed_out && !page.truncated);
        hits.extend(page.hits);
        match page.next_cursor {
            Some(cursor) => {
                // A cursor is text on its way to the next page.
                request.cursor = Some(cursor.to_string().parse().unwrap());
            }
            None => return hits,
        }
    }
}

/// An entry as a test gives it.
#[derive(Debug, Clone)]
pub struct Given {
    pub id: [u8; 16],
    pub tenant: &'static str,
    pub received_ns: u64,
    pub entry: Entry<'static>,
}

impl Given {
    /// An entry of tenant acme that happened at `time` milliseconds.
    pub fn new(number: u64, kind: Kind, time: u64) -> Self {
        let mut entry = Entry::new(kind);
        entry.timestamp = format_ns(time * 1_000_000).into();
        entry.event.dataset = Some("otlp.span".into());
        let id = (u128::from(number) | 0xabcd << 100).to_be_bytes();
        Self { id, tenant: "acme", received_ns: 5_000_000_000 + number, entry }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Entry<'static>)) -> Self {
        change(&mut self.entry);
        self
    }

    pub fn trace(self, id: &str) -> Self {
        let id = id.to_owned();
        self.with(|entry| entry.add_trace_id(id.into()))
    }

    pub fn run(self, id: &str) -> Self {
        let id = id.to_owned();
        self.with(|entry| entry.audit.run.id = Some(id.into()))
    }

    pub fn of(mut self, tenant: &'static str) -> Self {
        self.tenant = tenant;
        self
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.entry.write(&mut body).unwrap();
        body
    }
}

/// Words and ids of which random entries and questions are made.
pub const WORDS: &[&str] =
    &["refund", "Refund", "spend limit", "order-4711x", "a1b2c3d4", "Größe", "5", "true"];
pub const TRACES: &[&str] = &[
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "a3ce929d0e0e4736",
    "11803532876627986230",
    "langsmith-run-abc123",
    "test",
    "00000000000000000000000000000007",
    "4bf92f3577b34da6a3ce929d0e0e4737",
];
pub const IDS: &[&str] = &["1", "2", "run-long-name", "unknown", "Größe 7"];
pub const OUTCOMES: &[Outcome] = &[Outcome::Allow, Outcome::Block, Outcome::RequireApproval];

/// An entry whose fields follow from numbers: what a property test draws.
pub fn drawn(number: u64, draw: [u8; 10]) -> Given {
    let pick = |from: &[&'static str], by: u8| {
        from.get(usize::from(by % 16)).map(|text| (*text).to_owned())
    };
    let kinds = [Kind::Span, Kind::LlmCall, Kind::Decision, Kind::Approval, Kind::Interrupt];
    let [kind, time, trace, run, job, outcome, word, tenant, thread, other] = draw;
    let mut given =
        Given::new(number, kinds[usize::from(kind) % kinds.len()], 1000 + u64::from(time % 8));
    given.tenant = if tenant % 4 == 0 { "other" } else { "acme" };
    let entry = &mut given.entry;
    if time % 8 == 7 {
        entry.timestamp = "".into();
    }
    if let Some(trace) = pick(TRACES, trace) {
        if trace.len() == 32 {
            entry.trace.id = Some(trace.clone().into());
            let low = u64::from_str_radix(&trace[16..], 16).unwrap();
            entry.add_trace_id(low.to_string().into());
        }
        entry.add_trace_id(trace.into());
    }
    entry.audit.run.id = pick(IDS, run).map(Into::into);
    entry.audit.job.id = pick(IDS, job).map(Into::into);
    entry.audit.session.thread_id = pick(IDS, thread).map(Into::into);
    entry.audit.claims.tenant_id = pick(&["other", "Acme", "1"], other / 4).map(Into::into);
    entry.user.name = pick(WORDS, other).map(Into::into);
    entry.audit.decision.outcome = OUTCOMES.get(usize::from(outcome % 8)).copied();
    if outcome % 5 == 0 {
        entry.audit.interrupt.response = Some("yes".into());
    }
    if let Some(word) = pick(WORDS, word) {
        match word.len() % 4 {
            0 => entry.message = Some(word.into()),
            1 => entry.audit.decision.reason = Some(format!("because of {word}!").into()),
            2 => entry.attributes.push("note.text".into(), Json::Text(word.into())),
            _ => {
                entry.audit.payload =
                    vec![Payload { text: Some(format!("[{word}]").into()), ..Payload::default() }];
            }
        }
    }
    entry.gen_ai.tool.name = pick(&["search", "Search", "pay", "seal"], other).map(Into::into);
    entry.audit.policy.id = pick(&["p-1", "p-2"], word).map(|p| vec![p.into(), "P-3".into()]);
    entry.attributes.push("n".into(), Json::Int(i64::from(other % 4)));
    entry.attributes.push("flag".into(), Json::Bool(other % 2 == 0));
    entry.resource = Fields::default();
    entry.resource.push("host.name".into(), Json::Text(format!("web-{}", job % 2).into()));
    given
}

/// Questions of a property test, about what [`drawn`] entries have.
pub fn query() -> impl Strategy<Value = Query> {
    let words: Vec<String> = [WORDS, TRACES, IDS]
        .concat()
        .into_iter()
        .map(String::from)
        .chain(
            [
                "block",
                "DENY",
                "llm_call",
                "search",
                "p-3",
                "web-1",
                "1",
                "0",
                "false",
                "limit",
                "se",
                "lang",
                "a1b",
                "1970-01-01T00:00:01.003Z",
                "because",
                "acme",
                "other",
                "4bf9",
            ]
            .map(String::from),
        )
        .collect();
    let fields = prop::sample::select(vec![
        "run_id",
        "job_id",
        "trace_id",
        "decision",
        "reason",
        "tool",
        "policy",
        "kind",
        "user",
        "message",
        "thread",
        "id",
        "time",
        "tenant_id",
        "sequence",
        "attributes.note.text",
        "attributes.n",
        "attributes.flag",
        "note.text",
        "host.name",
        "resource.host.name",
        "audit.run.id",
        "trace.id",
        "audit.payload.text",
        "audit.policy.id",
        "audit.session.thread_id",
        "event.ingested",
    ])
    .prop_map(String::from);
    let text = prop::sample::select(words);
    let value = (text.clone(), prop::bool::weighted(0.25))
        .prop_map(|(text, prefix)| Value { text, prefix });
    let bound = prop::option::of(
        (text, any::<bool>()).prop_map(|(value, inclusive)| Bound { value, inclusive }),
    );
    let leaf = prop_oneof![
        1 => Just(Query::All),
        8 => (prop::option::of(fields.clone()), value).prop_map(|(field, value)| Query::Term { field, value }),
        2 => fields.clone().prop_map(|field| Query::Exists { field }),
        2 => (fields, bound.clone(), bound).prop_map(|(field, lower, upper)| Query::Range { field, lower, upper }),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::Or),
            inner.prop_map(|q| Query::Not(Box::new(q))),
        ]
    })
}
