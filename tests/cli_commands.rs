//! `search`, `trace`, `tail`, `verify` against a real server and against a data folder.

mod api_support;

use api_support::{Given, app, body, fill, id_of, memory, write};
use clap::Parser as _;
use spanledger::api::HostCheck;
use spanledger::cli::{
    Cli, Command, CommandError, ConnectArgs, Endpoints, Exit, Source, SourceArgs, Style,
    ledger_dir, offline, search, tail, trace, verify,
};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

fn refund() -> [String; 4] {
    let otel = "4bf92f3577b34da6a3ce929d0e0e4736";
    [
        body(2, &[otel], r#""kind":"tool_call","step":{"name":"lookup_order"}"#),
        body(1, &[otel, "langsmith-run-abc123"], r#""kind":"agent_run""#),
        body(
            3,
            &[otel],
            r#""kind":"decision","decision":{"outcome":"block","reason":"too much"},"policy":{"id":["refund-limit"]}"#,
        ),
        body(4, &["other"], r#""kind":"log""#),
    ]
}

/// A server with these entries on a free port, for as long as the test runs.
async fn server(store: Arc<spanledger::store::MemoryStore>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = api_support::app_for(store, HostCheck::for_listener(address));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn parsed(line: &[&str]) -> Command {
    Cli::try_parse_from([&["spanledger"], line].concat()).unwrap().command
}

/// What a command writes, and how it ended.
async fn run(source: &Source, line: &[&str]) -> (Result<Exit, CommandError>, String) {
    let mut out = Vec::new();
    let style = Style::plain(100);
    let result = match parsed(line) {
        Command::Search(args) => search(&args, source, style, &mut out).await,
        Command::Trace(args) => trace(&args, source, style, &mut out).await,
        other => panic!("{other:?} is not tested here"),
    };
    (result, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_person_reads_a_table_and_a_timeline() {
    let store = memory();
    fill(&*store, &refund());
    let source = Source::http(&server(store).await.to_string()).unwrap();
    let (end, table) = run(&source, &["search", "kind:*", "--limit", "3"]).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    insta::assert_snapshot!("table", table);
    let (end, timeline) = run(&source, &["trace", "langsmith-run-abc123"]).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    insta::assert_snapshot!("timeline", timeline);
}

#[tokio::test]
async fn a_program_reads_what_the_api_answers_unchanged() {
    let store = memory();
    fill(&*store, &refund());
    let address = server(store.clone()).await;
    let source = Source::http(&address.to_string()).unwrap();
    let app = app(store);
    for (line, path) in [
        (
            vec!["search", "decision:block", "--json"],
            "/api/v1/entries?q=decision:block&limit=100&order=newest",
        ),
        (
            vec!["trace", "langsmith-run-abc123", "--json", "--limit", "1"],
            "/api/v1/traces/langsmith-run-abc123?limit=1&order=story",
        ),
    ] {
        let (end, text) = run(&source, &line).await;
        assert_eq!(end.unwrap(), Exit::Fine);
        assert_eq!(text, api_support::get(&app, path).await.text + "\n");
    }
}

#[tokio::test]
async fn a_long_story_is_drawn_whole() {
    let store = memory();
    let many: Vec<String> =
        (0..2_300_u32).map(|i| body(i % 60, &["t-1"], r#""kind":"span""#)).collect();
    fill(&*store, &many);
    let source = Source::http(&server(store).await.to_string()).unwrap();
    let (_, timeline) = run(&source, &["trace", "t-1"]).await;
    assert!(timeline.contains("2300 entries"), "{}", &timeline[..300]);
    assert_eq!(timeline.lines().filter(|line| line.contains("· span")).count(), 2_300);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_next_step() {
    let source = Source::http(&server(memory()).await.to_string()).unwrap();
    for (line, said) in [
        (vec!["search", "decision:("], "At character"),
        (vec!["search", "polcy:x"], "did you mean"),
        (vec!["search", "x", "--cursor", "y"], "next_cursor"),
        (vec!["trace", "nobody"], "spanledger search"),
    ] {
        let (end, text) = run(&source, &line).await;
        let error = spanledger::cli::error_line(&end.unwrap_err());
        assert!(error.contains(said) && text.is_empty(), "{line:?}: {error}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Source::http(&free.to_string()).unwrap();
    let error = run(&nobody, &["trace", "x"]).await.0.unwrap_err();
    assert!(error.to_string().contains("spanledger serve"), "{error}");
}

/// Takes what `tail` writes; each flush says how many lines are there.
#[derive(Clone, Default)]
struct Screen {
    text: Arc<Mutex<Vec<u8>>>,
    flushed: Arc<Notify>,
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    async fn shows(&self, lines: usize) {
        while self.text().lines().count() < lines {
            self.flushed.notified().await;
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed.notify_one();
        Ok(())
    }
}

#[tokio::test]
async fn tail_prints_a_line_an_entry_and_ends_well() {
    let store = memory();
    fill(&*store, &refund());
    let source = Source::http(&server(store.clone()).await.to_string()).unwrap();
    let Command::Tail(args) = parsed(&["tail", "--from-start", "--json", "kind:*"]) else {
        panic!("not tail")
    };
    let screen = Screen::default();
    let stop = async {
        screen.shows(4).await;
        let body = body(9, &["late"], r#""kind":"span""#);
        write(&*store, &[Given { sequence: 4, tenant: "default", body }]);
        screen.shows(5).await;
    };
    let mut out = screen.clone();
    let end = tail(&args, &source, Style::plain(100), &mut out, stop).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    let text = screen.text();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|entry| entry["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, (0..5).map(id_of).collect::<Vec<_>>());
}

#[tokio::test]
async fn tail_without_a_server_says_that_nothing_can_come() {
    let Command::Tail(args) = parsed(&["tail"]) else { panic!("not tail") };
    let source = Source::Offline(app(memory()));
    let never = std::future::pending();
    let end = tail(&args, &source, Style::plain(80), &mut Vec::new(), never).await;
    assert!(matches!(end, Err(CommandError::NothingToFollow)));
}

/// A data folder with a ledger that holds these bodies.
async fn ledger(data: &Path, bodies: &[String]) {
    let dir = ledger_dir(data);
    std::fs::create_dir_all(&dir).unwrap();
    let (ledger, _) = Ledger::open(&dir, Options::default()).unwrap();
    let mut batch = Batch::new();
    for (sequence, body) in (0..).zip(bodies) {
        batch
            .push(&NewEntry {
                id: EntryId((sequence + 1_u128).to_be_bytes()),
                tenant: "default",
                tenant_pseudonym: [1; 16],
                retention_class: 0,
                received_ns: 1_795_241_529_000_000_000,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: body.as_bytes(),
            })
            .unwrap();
    }
    ledger.append(batch).await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn without_a_server_the_data_folder_answers() {
    let data = tempfile::tempdir().unwrap();
    let args =
        SourceArgs { data: data.path().to_owned(), api: None, connect: ConnectArgs::default() };
    assert!(Source::open(&args, offline).await.is_err(), "there is nothing yet");

    ledger(data.path(), &refund()).await;
    let source = Source::open(&args, offline).await.unwrap();
    assert!(matches!(source, Source::Offline(_)));
    let (end, text) = run(&source, &["trace", "langsmith-run-abc123"]).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    assert!(text.contains("✗ BLOCKED") && text.contains("3 entries"), "{text}");

    let (_, text) = run(&source, &["search", "kind:log", "--tenant", "default"]).await;
    assert!(text.contains("1 shown"), "{text}");
    let (_, text) = run(&source, &["search", "kind:log", "--tenant", "acme"]).await;
    assert_eq!(text, "nothing found\n");

    let address = server(memory()).await;
    Endpoints { grpc: address, http: address, api: address, pid: 1, tls: false }
        .write(data.path())
        .unwrap();
    let source = Source::open(&args, offline).await.unwrap();
    assert!(matches!(source, Source::Http { .. }), "a server that answers comes first");
}

fn verified(data: &Path, more: &[&str]) -> (Result<Exit, CommandError>, String) {
    let line = [&["verify", "--data", data.to_str().unwrap()], more].concat();
    let Command::Verify(args) = parsed(&line) else { panic!("not verify") };
    let mut out = Vec::new();
    (verify(&args, &mut out), String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn verify_tells_an_intact_ledger_from_a_changed_one() {
    let data = tempfile::tempdir().unwrap();
    let (none, _) = verified(data.path(), &[]);
    assert!(matches!(none, Err(CommandError::Verify(_))));

    ledger(data.path(), &refund()).await;
    let (end, text) = verified(data.path(), &[]);
    assert_eq!(end.unwrap(), Exit::Fine);
    let kept = text.lines().find_map(|line| line.split_once("--expect ")).unwrap().1.to_owned();
    assert_eq!(verified(data.path(), &["--expect", &kept]).0.unwrap(), Exit::Fine);
    let (end, json) = verified(data.path(), &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (end.unwrap(), &report["verdict"], &report["size"]),
        (Exit::Fine, &"partial".into(), &4.into()),
        "nothing of it is signed"
    );
    assert_eq!(report["findings"][0]["code"], "unsigned");
    assert_eq!(verified(data.path(), &["--strict"]).0.unwrap(), Exit::Tampered);
    let other = format!("4:{}", "00".repeat(32));
    assert_eq!(verified(data.path(), &["--expect", &other]).0.unwrap(), Exit::Tampered);

    let segment = std::fs::read_dir(ledger_dir(data.path()))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|window| window == b"too much").unwrap();
    bytes[at..at + 8].copy_from_slice(b"too nice");
    std::fs::write(&segment, bytes).unwrap();
    let (end, text) = verified(data.path(), &[]);
    assert_eq!(end.unwrap(), Exit::Tampered);
    assert!(text.starts_with("COMPROMISED"), "{text}");
}
