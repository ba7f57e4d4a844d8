//! What happens at the bounds: too many questions, slow ones, a store that fails, following.

mod api_support;

use api_support::{Given, app, app_within, body, fill, get, memory, write};
use axum::Router;
use axum::http::StatusCode;
use spanledger::access::Tenant;
use spanledger::api::{Api, Bounds, Health, HostCheck, Metrics, router};
use spanledger::evidence::Prover;
use spanledger::ledger::{Ledger, Options, PublicLog, Reader};
use spanledger::store::{
    AuditStore, EntryView, Hit, MemoryStore, Page, QueryRequest, StoreError, TraceRequest,
    TraceStory,
};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A store that answers only when it is let go, or never well.
struct Moody {
    mood: Mutex<Mood>,
}

/// What a store says that may answer later.
const BUSY: &str = "the cluster is busy";

enum Mood {
    /// Answers when the sender is dropped or says so.
    Waits(mpsc::Receiver<()>),
    /// Finds an entry, and has no time for anything else.
    Late,
    Panics,
    Unavailable,
    Damaged,
}

impl AuditStore for Moody {
    fn write(&self, _: &[EntryView<'_>]) -> Result<(), StoreError> {
        Ok(())
    }

    fn query(&self, _: &QueryRequest) -> Result<Page, StoreError> {
        match &*self.mood.lock().unwrap() {
            Mood::Waits(go) => {
                let _ = go.recv();
                Ok(Page::default())
            }
            Mood::Late => Ok(Page { timed_out: true, ..Page::default() }),
            Mood::Panics => panic!("as this test wants it"),
            Mood::Unavailable => Err(StoreError::Unavailable(BUSY.into())),
            Mood::Damaged => {
                Err(StoreError::Damaged { context: "/secret/path".into(), source: None })
            }
        }
    }

    fn trace(&self, _: &TraceRequest) -> Result<TraceStory, StoreError> {
        let page = self
            .query(&QueryRequest::new(Tenant::default(), spanledger::store::query::Query::All))?;
        let hit = Hit { sequence: 0, id: [1; 16], event_ns: 1, document: Vec::new() };
        let entries = if page.timed_out { vec![hit] } else { Vec::new() };
        Ok(TraceStory { entries, ..TraceStory::default() })
    }
}

fn moody(mood: Mood) -> Arc<Moody> {
    Arc::new(Moody { mood: Mutex::new(mood) })
}

#[tokio::test]
async fn a_question_too_many_is_sent_away_and_told_when_to_come_back() {
    let (go, waits) = mpsc::channel();
    let bounds = Bounds { concurrent: 1, queue: Duration::from_millis(1), ..Bounds::default() };
    let app = app_within(moody(Mood::Waits(waits)), bounds);
    let first = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/api/v1/entries").await.status }
    });
    // The second may come first: then the first is the one that is sent away.
    let second = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/api/v1/traces/x").await.status }
    });
    let mut both = (first, second);
    let (away, other) = tokio::select! {
        status = &mut both.0 => (status.unwrap(), both.1),
        status = &mut both.1 => (status.unwrap(), both.0),
    };
    assert_eq!(away, StatusCode::SERVICE_UNAVAILABLE);
    drop(go);
    assert_eq!(other.await.unwrap(), StatusCode::OK);
    assert_eq!(get(&app, "/api/v1/entries").await.status, StatusCode::OK, "the turn came back");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up_and_its_thread_keeps_its_turn() {
    let (go, waits) = mpsc::channel();
    let bounds = Bounds {
        concurrent: 1,
        queue: Duration::from_millis(1),
        answer: Duration::from_millis(1),
        ..Bounds::default()
    };
    let app = app_within(moody(Mood::Waits(waits)), bounds);
    let slow = get(&app, "/api/v1/entries").await;
    assert_eq!(slow.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(slow.json()["detail"].as_str().unwrap().contains("limit"));
    let next = get(&app, "/api/v1/entries").await;
    assert_eq!(next.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(next.headers["retry-after"], "1");
    drop(go);
}

/// An API over that store that proves by an empty ledger in the folder.
async fn proving(dir: &Path, store: Arc<Moody>, bounds: Bounds) -> Router {
    let (ledger, _) = Ledger::open(&dir.join("ledger"), Options::default()).unwrap();
    ledger.close().await.unwrap();
    let reader = Reader::open(&dir.join("ledger")).unwrap();
    let prover = Prover::new(reader, PublicLog::open(&dir.join("log")), "spanledger/test");
    let hosts = HostCheck::for_listener("127.0.0.1:4380".parse().unwrap());
    let metrics: Metrics = Arc::new(String::new);
    let api = Api::new(store, Arc::new(Health::starting(&[])), metrics);
    router(api.with_prover(prover).within(bounds), hosts)
}

#[tokio::test]
async fn a_bundle_without_the_entries_by_which_keys_handed_over_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let app = proving(dir.path(), moody(Mood::Late), Bounds::default()).await;
    let answer = get(&app, "/api/v1/evidence/x").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert!(answer.text.contains("handed over"), "{}", answer.text);
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_bundle_that_nobody_waits_for_any_more_keeps_its_place_until_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (go, waits) = mpsc::channel();
    let bounds = Bounds {
        queue: Duration::from_millis(50),
        answer: Duration::from_secs(2),
        ..Bounds::default()
    };
    let app = proving(dir.path(), moody(Mood::Waits(waits)), bounds).await;
    // As many as are made at once.
    let ask = || get(&app, "/api/v1/evidence/x");
    let (one, two, three, four) = tokio::join!(ask(), ask(), ask(), ask());
    for answer in [one, two, three, four] {
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.text);
    }
    let next = get(&app, "/api/v1/evidence/x").await;
    assert_eq!(next.status, StatusCode::SERVICE_UNAVAILABLE, "all are being made: {}", next.text);
    drop(go);
}

#[tokio::test]
async fn a_store_that_fails_says_nothing_about_the_machine() {
    for (mood, status) in [
        (Mood::Panics, StatusCode::INTERNAL_SERVER_ERROR),
        (Mood::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (Mood::Damaged, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let app = app(moody(mood));
        for path in ["/api/v1/entries", "/api/v1/traces/x"] {
            let answer = get(&app, path).await;
            assert_eq!(answer.status, status, "{}", answer.text);
            let is_told = answer.text.contains(BUSY);
            assert_eq!(is_told, status == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
            for secret in ["secret", "test wants"] {
                assert!(!answer.text.contains(secret), "{}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn a_follower_sees_what_comes_after_it_began_and_nothing_twice() {
    let store = memory();
    fill(&*store, &[body(1, &["old"], r#""kind":"span""#)]);
    let app = app(store.clone());
    let begin = get(&app, "/api/v1/entries?order=ledger&cursor=end").await;
    assert_eq!(begin.sequences(), Vec::<u64>::new());
    let mut cursor = begin.cursor().unwrap();
    for sequence in 1..4 {
        let new = body(2, &["new"], r#""kind":"span""#);
        write(&*store, &[Given { sequence, tenant: "default", body: new }]);
        let path = format!("/api/v1/entries?order=ledger&wait=30&cursor={cursor}");
        let page = get(&app, &path).await;
        assert_eq!(page.sequences(), [sequence]);
        cursor = page.cursor().unwrap();
    }
}

/// A store in which an entry appears after it was looked at for the first time.
struct Grows {
    inner: Arc<MemoryStore>,
    next: Mutex<Option<u64>>,
}

impl AuditStore for Grows {
    fn write(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError> {
        self.inner.write(entries)
    }

    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        let page = self.inner.query(request);
        if let Some(sequence) = self.next.lock().unwrap().take() {
            let body = body(2, &["new"], r#""kind":"span""#);
            write(&*self.inner, &[Given { sequence, tenant: "default", body }]);
        }
        page
    }

    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        self.inner.trace(request)
    }
}

#[tokio::test]
async fn a_waiting_follower_is_answered_when_an_entry_comes() {
    for there in [0_u64, 3] {
        let store = memory();
        let old: Vec<String> = (0..there).map(|_| body(1, &["x"], r#""kind":"span""#)).collect();
        fill(&*store, &old);
        let next = Mutex::new(Some(there));
        let app = app(Arc::new(Grows { inner: store, next }));
        let page = get(&app, "/api/v1/entries?order=ledger&cursor=end&wait=30").await;
        assert_eq!(page.sequences(), [there], "behind {there}");
    }
}

#[tokio::test]
async fn pages_end_for_who_does_not_follow() {
    let store = memory();
    let many: Vec<String> = (0..5).map(|_| body(1, &["x"], r#""kind":"span""#)).collect();
    fill(&*store, &many);
    let app = app(store);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&app, &format!("/api/v1/entries?order=ledger&limit=2{cursor}")).await;
        seen.extend(page.sequences());
        match page.cursor() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_follower_of_few_moves_past_the_many() {
    let store = memory();
    let many: Vec<String> = (0..40).map(|_| body(1, &["x"], r#""kind":"span""#)).collect();
    fill(&*store, &many);
    let app = app(store);
    let page = get(&app, "/api/v1/entries?order=ledger&wait=0&q=kind:decision").await;
    assert_eq!((page.sequences(), page.cursor().as_deref()), (vec![], Some("l39")));
}

#[tokio::test]
async fn a_follower_of_an_empty_ledger_sees_its_first_entry() {
    let store = memory();
    let app = app(store.clone());
    let begin = get(&app, "/api/v1/entries?order=ledger&cursor=end").await;
    assert_eq!(begin.cursor().as_deref(), Some("start"), "{}", begin.text);
    fill(&*store, &[body(1, &["first"], r#""kind":"span""#)]);
    let page = get(&app, "/api/v1/entries?order=ledger&cursor=start&wait=30").await;
    assert_eq!(page.sequences(), [0]);
}

#[tokio::test]
async fn health_and_readiness_are_different_questions() {
    let health = Arc::new(Health::starting(&["ledger"]));
    let metrics: Metrics = Arc::new(|| "spanledger_entries_total 7\n# EOF\n".to_owned());
    let app = router(Api::new(memory(), health.clone(), metrics), HostCheck::Any);
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    let starting = get(&app, "/readyz").await;
    assert_eq!(starting.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(starting.json()["reasons"][0], "ledger: starting");
    health.ready("ledger");
    assert_eq!(get(&app, "/readyz").await.status, StatusCode::OK);
    health.dead("the writer stopped");
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let metrics = get(&app, "/metrics").await;
    assert!(metrics.text.starts_with("spanledger_entries_total 7"));
    let kind = metrics.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"));
}
