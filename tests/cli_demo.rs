//! The demo against a whole server: OTLP in over real sockets, the ledger, the index, the API.

use spanledger::api::{Api, Health, HostCheck, Metrics, router};
use spanledger::cli::demo::{Server as DemoServer, demo, play};
use spanledger::cli::{
    DemoArgs, Endpoints, Exit, ServeArgs, Source, SourceArgs, Style, index_dir, ledger_dir, offline,
};
use spanledger::convert::Mappings;
use spanledger::export::{Consumer, ConsumerOptions, StoreSink};
use spanledger::intake::Intake;
use spanledger::ledger::{Ledger, Options};
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::receiver::{Limits, Receiver, Server as Listener};
use spanledger::store::embedded::{EmbeddedStore, IndexOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A server as `serve` makes it, without its configuration.
struct Whole {
    endpoints: Endpoints,
    ledger: Ledger,
    consumer: Option<Consumer>,
    stop: Option<oneshot::Sender<()>>,
    grpc: tokio::task::JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("the server of this test: {0}")]
struct Failed(String);

impl Whole {
    async fn start(data: &Path) -> Self {
        let dir = ledger_dir(data);
        std::fs::create_dir_all(&dir).unwrap();
        let (ledger, _) = Ledger::open(&dir, Options::default()).unwrap();
        let store = EmbeddedStore::open(&index_dir(data), ledger.reader(), IndexOptions::default());
        let store = Arc::new(store.unwrap());
        let sink = StoreSink::new("index", store.clone());
        let options = ConsumerOptions::new(data.join("cursors"));
        let consumer = Consumer::start(ledger.reader(), sink, options).unwrap();

        let keys = Keys::open_or_create(&data.join("keys")).unwrap();
        let protector = Protector::new(&Settings::default(), keys);
        let intake = Intake::new(Mappings::builtin().unwrap(), protector, ledger.clone());
        let receiver = Receiver::new(intake, Limits::default());
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let metrics = receiver.metrics().clone();
        let listener = Listener::bind(free, Limits::default(), metrics).await.unwrap();
        let grpc = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listener.serve(receiver.grpc(), async {
            let _ = stopped.await;
        }));

        let listener = tokio::net::TcpListener::bind(free).await.unwrap();
        let api = listener.local_addr().unwrap();
        let metrics: Metrics = Arc::new(String::new);
        let health = Arc::new(Health::starting(&[]));
        let app = router(Api::new(store, health, metrics), HostCheck::for_listener(api));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let endpoints = Endpoints { grpc, http: grpc, api, pid: std::process::id() };
        let (consumer, stop) = (Some(consumer), Some(stop));
        Self { endpoints, ledger, consumer, stop, grpc: serving }
    }

    async fn end(mut self) {
        drop(self.stop.take());
        self.grpc.await.unwrap();
        self.ledger.close().await.unwrap();
        let consumer = self.consumer.take().unwrap();
        let stop = move || consumer.stop(Duration::from_secs(10));
        tokio::task::spawn_blocking(stop).await.unwrap();
    }
}

impl DemoServer for Whole {
    type Error = Failed;

    fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    async fn stop(self) -> Result<(), Failed> {
        self.end().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_the_whole_run_by_the_id_that_one_span_carried() {
    let mut out = Vec::new();
    let start = async |args: ServeArgs| Ok(Whole::start(&args.data.unwrap()).await);
    let args = DemoArgs { exit: true };
    let never = std::future::pending();
    let end = demo(&args, start, never, Style::plain(110), &mut out).await;
    let text = String::from_utf8(out).unwrap();
    assert_eq!(end.unwrap(), Exit::Fine, "{text}");
    insta::assert_snapshot!(same_every_time(&text));
}

/// The text without what differs from run to run.
fn same_every_time(text: &str) -> String {
    let moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}";
    let until = format!(r"{moment} to (\d{{4}}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{{3}}");
    [
        (r"\b[0-9a-f]{32}\b", "[trace id]"),
        (r"\b(refund-run|apr|dec)-[0-9a-f]+", "$1-[id]"),
        (r"127\.0\.0\.1:\d+", "[address]"),
        (&until, "[time] to [time]"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (pattern, instead)| {
        regex::Regex::new(pattern).unwrap().replace_all(&text, *instead).into_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_demo_left_is_found_without_its_server_too() {
    let data = tempfile::tempdir().unwrap();
    let server = Whole::start(data.path()).await;
    let mut out = Vec::new();
    let played = play(&server.endpoints, true, Style::plain(110), &mut out).await;
    assert_eq!(played.unwrap(), Exit::Fine, "{}", String::from_utf8_lossy(&out));
    let path = ["api", "v1", "traces", "langsmith-run-abc123"];
    let online = Source::http(&server.endpoints.api.to_string()).unwrap();
    let online = online.get(&path, &[]).await.unwrap();
    server.end().await;

    let args = SourceArgs { data: data.path().to_owned(), api: None };
    let source = Source::open(&args, offline).await.unwrap();
    assert_eq!(source.get(&path, &[]).await.unwrap(), online, "the same bytes");
}
