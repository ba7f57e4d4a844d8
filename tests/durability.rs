//! Nothing that was acknowledged is ever lost: kill −9, fsync between write and reply, a failing
//! fsync, a full disk. Against the built binary, real sockets and a real disk.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::requests::{numbered, span_id_hex};
use support::server::{DEADLINE, Server, look_until, wait_until};
use support::small_disk::SmallDisk;

/// Requests whose system calls are looked at.
const REQUESTS: u64 = 20;

/// Spans in one request of these tests.
const SPANS: u64 = 20;

/// kill −9 rounds; the release is measured with 50 (`SPANLEDGER_KILL_ROUNDS=50`).
fn kill_rounds() -> u64 {
    std::env::var("SPANLEDGER_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_nine_and_a_resend_adds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let mut acknowledged: BTreeSet<u64> = BTreeSet::new();
    for round in 0..kill_rounds() {
        let mut server = Server::start(directory.path()).await;
        // Different moments of the load: the first requests, the middle of a segment, a rotation.
        let enough = 3 + round * 7 % 60;
        acknowledged.extend(send_until_killed(&mut server, &next, enough).await);
    }

    let server = Server::start(directory.path()).await;
    let found = all_span_ids(&server).await;
    let lost: Vec<u64> = acknowledged
        .iter()
        .flat_map(|first| *first..*first + SPANS)
        .filter(|serial| !found.contains(&span_id_hex(*serial)))
        .collect();
    assert!(lost.is_empty(), "{} acknowledged spans are lost: {lost:?}", lost.len());

    // Everything that was ever sent, once more: what is there stays one entry each.
    for first in (0..next.load(Ordering::Relaxed)).step_by(usize::try_from(SPANS).unwrap()) {
        export(&server, first).await.expect("a resend is acknowledged");
    }
    let again = all_span_ids_in_order(&server).await;
    let distinct: BTreeSet<&String> = again.iter().collect();
    assert_eq!(again.len(), distinct.len(), "a resend made a second entry");
    assert_eq!(again.len() as u64, next.load(Ordering::Relaxed));
    server.terminate().await;
    assert_verifies(directory.path());
}

/// Sends from several tasks, kills the server when enough requests were acknowledged, and answers
/// the first serial number of each acknowledged request.
async fn send_until_killed(
    server: &mut Server,
    next: &Arc<AtomicU64>,
    enough: u64,
) -> BTreeSet<u64> {
    let count = Arc::new(AtomicU64::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (next, count) = (Arc::clone(next), Arc::clone(&count));
        let endpoint = format!("http://{}", server.grpc());
        senders.spawn(async move {
            let mut mine = BTreeSet::new();
            let Ok(mut client) = TraceServiceClient::connect(endpoint).await else { return mine };
            loop {
                let first = next.fetch_add(SPANS, Ordering::Relaxed);
                match client.export(numbered(first, SPANS)).await {
                    Ok(_) => mine.insert(first),
                    Err(_) => return mine,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    wait_until("enough requests are acknowledged", || count.load(Ordering::Relaxed) >= enough)
        .await;
    server.kill();
    senders.join_all().await.into_iter().flatten().collect()
}

async fn export(server: &Server, first: u64) -> Result<(), tonic::Status> {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.expect("connects");
    client.export(numbered(first, SPANS)).await.map(drop)
}

async fn all_span_ids(server: &Server) -> BTreeSet<String> {
    all_span_ids_in_order(server).await.into_iter().collect()
}

async fn all_span_ids_in_order(server: &Server) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("/api/v1/entries?q=kind:llm_call&order=ledger&limit=1000{cursor}"))
            .await;
        for entry in page["entries"].as_array().expect("entries") {
            ids.push(entry["span"]["id"].as_str().expect("a span id").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

fn assert_verifies(data: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_spanledger"))
        .args(["verify", "--data"])
        .arg(data)
        .output()
        .expect("verify runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What strace saw, as far as these tests look at it.
#[derive(Debug, PartialEq)]
enum Seen {
    Synced,
    Replied,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_succeeded_lies_before_each_reply() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("strace.txt");
    let server = Server::start(&directory.path().join("data")).await;
    let mut strace =
        attach(&server, &["-e", "trace=fdatasync,write,writev,sendto,sendmsg"], &trace).await;

    for n in 0..REQUESTS {
        let status = post(&server, numbered(n * SPANS, SPANS).encode_to_vec()).await;
        assert_eq!(status, 200);
    }
    server.terminate().await;
    strace.wait().expect("strace ends with the server");

    let seen = read_trace(&trace);
    let replies = seen.iter().filter(|seen| **seen == Seen::Replied).count() as u64;
    assert_eq!(replies, REQUESTS, "every reply was seen");
    let mut synced = false;
    for seen in seen {
        match seen {
            Seen::Synced => synced = true,
            Seen::Replied => {
                assert!(
                    synced,
                    "a reply without an fdatasync that returned 0 since the one before"
                );
                synced = false;
            }
        }
    }
}

/// The replies to OTLP requests and the successful syncs, in the order in which they finished.
fn read_trace(path: &Path) -> Vec<Seen> {
    let text = std::fs::read_to_string(path).expect("strace wrote its file");
    text.lines()
        .filter_map(|line| {
            let synced = line.contains("fdatasync") && line.trim_end().ends_with("= 0");
            let replied = line.contains("HTTP/1.1 200 OK") && line.contains("x-protobuf");
            match (synced, replied) {
                (true, _) => Some(Seen::Synced),
                (_, true) => Some(Seen::Replied),
                _ => None,
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_once_a_sync_has_failed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data).await;
    assert_eq!(post(&server, numbered(0, SPANS).encode_to_vec()).await, 200);

    let trace = directory.path().join("strace.txt");
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let mut strace = attach(&server, &inject, &trace).await;
    for n in 1..10 {
        let status = post(&server, numbered(n * SPANS, SPANS).encode_to_vec()).await;
        assert_eq!(status, 503, "request {n} must be told to come again");
    }
    let refused = async || (server.status("/readyz").await == 503).then_some(());
    assert!(look_until(DEADLINE, refused).await.is_some(), "a poisoned ledger is not ready");
    assert_eq!(server.status("/healthz").await, 200, "and still alive");
    let mut server = server;
    server.kill();
    strace.wait().expect("strace ends with the server");

    let server = Server::start(&data).await;
    assert_eq!(post(&server, numbered(1_000, SPANS).encode_to_vec()).await, 200);
    let found = all_span_ids(&server).await;
    for serial in (0..SPANS).chain(1_000..1_000 + SPANS) {
        assert!(found.contains(&span_id_hex(serial)), "span {serial} was acknowledged");
    }
    server.terminate().await;
    assert_verifies(&data);
}

/// Attaches strace to a running server and waits until it follows.
async fn attach(server: &Server, arguments: &[&str], output: &Path) -> std::process::Child {
    let log = output.with_extension("log");
    let child = Command::new("strace")
        .args(["-f", "-s", "256", "-p", &server.pid().to_string(), "-o"])
        .arg(output)
        .args(arguments)
        .stderr(Stdio::from(std::fs::File::create(&log).unwrap()))
        .spawn()
        .expect("strace starts; install it with: apt-get install strace");
    wait_until("strace follows the server", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("attached"))
    })
    .await;
    child
}

async fn post(server: &Server, body: Vec<u8>) -> u16 {
    reqwest::Client::builder()
        .http1_only()
        .build()
        .unwrap()
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf")
        .body(body)
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_answered_with_503_and_recovered_from_without_a_restart() {
    let disk = SmallDisk::new("64m");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0_u8; 24 * 1024 * 1024]).unwrap();
    let config = disk.path().join("small.yaml");
    std::fs::write(&config, "ledger: {segment: 4MiB, reserve: 4MiB}\n").unwrap();
    let data = disk.path().join("data");
    let config = config.to_str().unwrap();
    let server = Server::start_with(&data, &["--config", config]).await;

    let mut next = 0;
    let mut acknowledged = Vec::new();
    let full = loop {
        match post(&server, numbered(next, SPANS).encode_to_vec()).await {
            200 => acknowledged.push(next),
            status => break status,
        }
        next += SPANS;
        assert!(next < 1_000_000, "the disk never filled");
    };
    assert_eq!(full, 503, "a full disk passes: the client must keep its batch");
    assert_eq!(post(&server, numbered(next, SPANS).encode_to_vec()).await, 503);

    std::fs::remove_file(&ballast).unwrap();
    let since = Instant::now();
    while post(&server, numbered(next, SPANS).encode_to_vec()).await != 200 {
        assert!(since.elapsed() < Duration::from_secs(30), "it did not recover by itself");
        tokio::task::yield_now().await;
    }
    acknowledged.push(next);

    let found = all_span_ids(&server).await;
    for serial in acknowledged.iter().flat_map(|first| *first..*first + SPANS) {
        assert!(found.contains(&span_id_hex(serial)), "span {serial} was acknowledged");
    }
    server.terminate().await;
    assert_verifies(&data);
}
