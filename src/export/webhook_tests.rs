//! Alerts against a webhook that answers as a test wants.

use super::*;
use crate::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
use axum::http::StatusCode as Status;
use axum::response::IntoResponse as _;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::runtime::Runtime;

/// A ledger, a webhook and the alert that brings entries of the one to the other.
struct Fixture {
    ledger: Ledger,
    sink: WebhookSink,
    posted: Arc<Mutex<Vec<String>>>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

type Answer = (u16, Option<&'static str>);

impl Fixture {
    /// The webhook gives these answers, then 200.
    fn new(answers: &[Answer]) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = Options { window: 4, reserve_bytes: 0, ..Options::default() };
        let (ledger, _) = Ledger::open(&folder.path().join("ledger"), options).unwrap();
        let posted = Arc::<Mutex<Vec<String>>>::default();
        let address = runtime.block_on(webhook(answers, Arc::clone(&posted)));
        let alert = Alert {
            name: "blocked".to_owned(),
            query: Query::parse("decision:block").unwrap(),
            url: WebhookUrl::new(&format!("http://{address}/hook")).unwrap(),
            shape: Shape::Slack,
        };
        let sink = WebhookSink::new(alert, runtime.handle().clone()).unwrap();
        Self { ledger, sink, posted, runtime, _folder: folder }
    }

    /// Puts an entry on record that was received so long ago.
    fn append(&self, number: u8, age: Duration) {
        let body = format!(
            r#"{{"audit":{{"kind":"decision","actor":{{"id":"agent-{number}"}},"decision":{{"outcome":"block"}}}}}}"#
        );
        let age = u64::try_from(age.as_nanos()).unwrap();
        let mut batch = Batch::new();
        batch
            .push(&NewEntry {
                id: EntryId([number; 16]),
                tenant: "acme",
                tenant_pseudonym: [0; 16],
                retention_class: 0,
                received_ns: Clock::system().now_ns - age,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: body.as_bytes(),
            })
            .unwrap();
        self.runtime.block_on(self.ledger.append(batch)).unwrap();
    }

    /// Brings everything, as the consumer does after each error.
    fn apply(&mut self) -> Result<(), SinkError> {
        let chunk = self.ledger.reader().scan_once(0).next_chunk(1 << 20).unwrap().unwrap();
        self.sink.apply(&chunk)
    }

    fn posts(&self) -> Vec<String> {
        self.posted.lock().unwrap().clone()
    }

    /// Told, not told, failures.
    fn counts(&self) -> [u64; 3] {
        let status = &self.sink.status;
        [&status.told, &status.not_told, &status.failures].map(|n| n.load(Ordering::Relaxed))
    }
}

async fn webhook(answers: &[Answer], posted: Arc<Mutex<Vec<String>>>) -> std::net::SocketAddr {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let hook = move |body: String| async move {
        posted.lock().unwrap().push(body);
        let (status, after) = answers.lock().unwrap().pop_front().unwrap_or((200, None));
        let after = after.map(|after| [("retry-after", after)]);
        (Status::from_u16(status).unwrap(), after.map(axum::response::AppendHeaders), ())
            .into_response()
    };
    let app = axum::Router::new().route("/hook", axum::routing::post(hook));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

#[test]
fn an_alert_waits_for_a_webhook_that_is_away_however_often_it_is_refused() {
    let away = [500, 503, 429, 401, 302, 502, 504, 408].map(|status| (status, None));
    let mut fixture = Fixture::new(&away);
    fixture.append(1, Duration::ZERO);
    for (status, _) in away {
        let error = fixture.apply().unwrap_err().to_string();
        assert!(error.contains(&status.to_string()) && !error.contains("hook/"), "{error}");
    }
    fixture.apply().unwrap();
    assert_eq!(fixture.counts(), [1, 0, 8]);
    assert_eq!(fixture.posts().len(), 9);
}

#[test]
fn what_a_webhook_will_never_take_is_given_up_at_once() {
    for status in [400, 404, 410, 413] {
        let mut fixture = Fixture::new(&[(status, None)]);
        fixture.append(1, Duration::ZERO);
        fixture.apply().unwrap();
        assert_eq!((fixture.counts(), fixture.posts().len()), ([0, 1, 1], 1), "{status}");
    }
}

#[test]
fn an_entry_that_waited_for_an_hour_is_given_up_once_and_a_newer_one_is_not() {
    let mut fixture = Fixture::new(&[(503, None), (503, None)]);
    fixture.append(1, GIVE_UP_AFTER);
    fixture.append(2, GIVE_UP_AFTER / 2);
    fixture.apply().unwrap_err();
    assert_eq!(fixture.counts(), [0, 1, 1]);
    fixture.apply().unwrap_err();
    assert_eq!(fixture.counts(), [0, 1, 2], "counted twice");
    fixture.apply().unwrap();
    assert_eq!(fixture.counts(), [1, 1, 2]);
    let posts = fixture.posts();
    assert!(posts[0].contains("agent-1"), "what is late is tried once");
    assert!(posts[2].contains("agent-2") && !posts[2].contains("agent-1"), "{}", posts[2]);
}

#[test]
fn all_that_is_late_is_given_up_together_and_the_consumer_goes_on() {
    let mut fixture = Fixture::new(&[(503, None)]);
    fixture.append(1, GIVE_UP_AFTER * 2);
    fixture.append(2, GIVE_UP_AFTER);
    fixture.apply().unwrap();
    assert_eq!(fixture.counts(), [0, 2, 1]);
}

#[test]
fn a_webhook_is_asked_again_when_it_says_and_not_later_than_the_limit() {
    let mut fixture = Fixture::new(&[(429, Some("1"))]);
    fixture.append(1, Duration::ZERO);
    fixture.apply().unwrap_err();
    let since = Instant::now();
    fixture.apply().unwrap();
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    for (said, meant) in [
        ("86400", Some(MAX_RETRY_AFTER)),
        ("7", Some(Duration::from_secs(7))),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
    ] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]);
        assert_eq!(retry_after(&headers), meant, "{said}");
    }
}
