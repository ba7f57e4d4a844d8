//! The demo against a whole server: OTLP in over real sockets, the ledger, the index, the API.

use spanledger::cli::demo::{demo, play};
use spanledger::cli::serve::{self, Running};
use spanledger::cli::{ConnectArgs, DemoArgs, Exit, ServeArgs, Source, SourceArgs, Style, offline};
use std::net::SocketAddr;
use std::path::Path;

/// The server that `serve` composes, on free ports.
async fn start(data: &Path) -> Running {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let args = ServeArgs {
        elasticsearch: Vec::new(),
        data: Some(data.to_owned()),
        config: None,
        check_config: false,
        listen_grpc: any,
        listen_http: any,
        listen_api: any,
    };
    let (config, mappings) = serve::configuration(&args).unwrap();
    serve::start(config, mappings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_the_whole_run_by_the_id_that_one_span_carried() {
    let mut out = Vec::new();
    let start = async |args: ServeArgs| Ok(start(&args.data.unwrap()).await);
    let args = DemoArgs { exit: true };
    let never = std::future::pending();
    let end = Box::pin(demo(&args, start, never, Style::plain(110), &mut out)).await;
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
    let server = start(data.path()).await;
    let mut out = Vec::new();
    let played = play(&server.endpoints(), true, Style::plain(110), &mut out).await;
    assert_eq!(played.unwrap(), Exit::Fine, "{}", String::from_utf8_lossy(&out));
    let path = ["api", "v1", "traces", "langsmith-run-abc123"];
    let online = Source::http(&server.endpoints().api.to_string()).unwrap();
    let online = online.get(&path, &[]).await.unwrap();
    server.stop().await.unwrap();

    let args =
        SourceArgs { data: data.path().to_owned(), api: None, connect: ConnectArgs::default() };
    let source = Source::open(&args, offline).await.unwrap();
    assert_eq!(source.get(&path, &[]).await.unwrap(), online, "the same bytes");
}
