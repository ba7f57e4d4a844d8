//! Everything at once that hostile clients do, beside one that behaves: its acknowledgements go
//! on, nothing of it is lost, and the memory of the process stays bounded.
//!
//! `SPANLEDGER_ABUSE_SECONDS=3600 cargo test --test abuse -- --nocapture` goes on for an hour.

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use spanledger::access::{Role, Token};
use spanledger::ledger::Reader;
use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::keys::{create, new};
use support::requests::{numbered, request, span_id_hex};
use support::server::Server;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What the process may hold of its own with default settings.
const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;

/// Longest time between two acknowledgements of the client that behaves. Two cores do all of this
/// and the clients too.
const LONGEST_GAP: Duration = Duration::from_secs(15);

/// Spans in a request of the client that behaves.
const SPANS: u64 = 20;

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What all of them share.
struct Scene {
    otlp: String,
    grpc: String,
    api: String,
    hostile: Token,
    stop: AtomicBool,
    attacks: AtomicU64,
}

impl Scene {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn attacked(&self) {
        self.attacks.fetch_add(1, Ordering::Relaxed);
    }

    async fn post(&self, body: Vec<u8>, encoding: &str, token: Option<&Token>) {
        let mut request = client()
            .post(format!("http://{}/v1/traces", self.otlp))
            .header("content-type", "application/x-protobuf")
            .body(body);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        // Whatever becomes of it.
        let _ = request.send().await;
        self.attacked();
    }
}

/// Bodies that are small on the wire and large in memory, under a valid key.
async fn bombs(scene: Arc<Scene>) {
    let empty = request(vec![Span::default(); 200_000]).encode_to_vec();
    let zeros = gzip(&vec![0; 64 << 20]);
    let packed = gzip(&empty);
    while scene.goes_on() {
        scene.post(empty.clone(), "", Some(&scene.hostile)).await;
        scene.post(packed.clone(), "gzip", Some(&scene.hostile)).await;
        scene.post(zeros.clone(), "gzip", Some(&scene.hostile)).await;
    }
}

/// Requests without a key, as fast as they go.
async fn strangers(scene: Arc<Scene>) {
    let body = numbered(1, 1).encode_to_vec();
    let client = client();
    while scene.goes_on() {
        let request = client
            .post(format!("http://{}/v1/traces", scene.otlp))
            .header("content-type", "application/x-protobuf")
            .header("authorization", "Basic Y29tbXVuaXR5Og==")
            .body(body.clone());
        let _ = request.send().await;
        scene.attacked();
    }
}

/// Connections that say nothing, or a byte now and then, or more headers than anybody reads.
async fn sockets(scene: Arc<Scene>) {
    while scene.goes_on() {
        let mut held = Vec::new();
        for number in 0..60 {
            let address = if number % 2 == 0 { &scene.otlp } else { &scene.grpc };
            let Ok(Ok(mut stream)) =
                timeout(Duration::from_secs(5), TcpStream::connect(address)).await
            else {
                continue;
            };
            let sent: &[u8] = match number % 4 {
                0 => b"",
                1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                2 => b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000000\r\n\r\n",
                _ => b"POST /v1/traces HTTP/1.1\r\nx-a: ",
            };
            let _ = stream.write_all(sent).await;
            held.push(stream);
            scene.attacked();
        }
        for stream in &mut held {
            let _ =
                timeout(Duration::from_millis(100), stream.write_all(&vec![b'a'; 32_768])).await;
        }
    }
}

/// HTTP/2 streams that are opened and reset.
async fn resets(scene: Arc<Scene>) {
    while scene.goes_on() {
        let address = format!("http://{}", scene.grpc);
        let Ok(mut client) = TraceServiceClient::connect(address).await else { continue };
        for _ in 0..200 {
            // A call that is dropped resets its stream.
            let _ = timeout(Duration::from_micros(300), client.export(numbered(1, 5))).await;
            scene.attacked();
        }
    }
}

/// Questions that cost much, and answers that nobody reads.
async fn questions(scene: Arc<Scene>, auditor: Token) {
    let query = format!("/api/v1/entries?limit=1000&q={}", "(a*%20OR%20b*)%20AND%20".repeat(40));
    while scene.goes_on() {
        let asked = client()
            .get(format!("http://{}{query}c*", scene.api))
            .header("authorization", format!("Bearer {}", auditor.reveal()))
            .send();
        let _ = asked.await;
        if let Ok(mut stream) = TcpStream::connect(&scene.api).await {
            let request = format!(
                "GET /api/v1/entries?limit=1000 HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
                scene.api,
                auditor.reveal()
            );
            let _ = stream.write_all(request.as_bytes()).await;
            let mut some = [0; 100];
            let _ = timeout(Duration::from_secs(2), stream.read(&mut some)).await;
        }
        scene.attacked();
    }
}

/// What became of the client that behaves.
struct Good {
    acknowledged: HashSet<String>,
    longest_gap: Duration,
    refused: u64,
}

async fn good(scene: Arc<Scene>, token: Token) -> Good {
    let client = client();
    let (mut acknowledged, mut refused) = (HashSet::new(), 0);
    let (mut last, mut longest_gap) = (Instant::now(), Duration::ZERO);
    let mut serial = 0;
    while scene.goes_on() {
        let answer = client
            .post(format!("http://{}/v1/traces", scene.otlp))
            .header("content-type", "application/x-protobuf")
            .header("authorization", format!("Bearer {}", token.reveal()))
            .body(numbered(serial, SPANS).encode_to_vec())
            .send()
            .await;
        longest_gap = longest_gap.max(last.elapsed());
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200) => {
                acknowledged.extend((serial..serial + SPANS).map(span_id_hex));
                serial += SPANS;
                last = Instant::now();
            }
            // As an SDK does: the same again.
            Ok(503) | Err(_) => refused += 1,
            Ok(status) => panic!("the client that behaves is answered {status}"),
        }
    }
    Good { acknowledged, longest_gap, refused }
}

fn spans_of(data: &Path, tenant: &str) -> HashSet<String> {
    let reader = Reader::open(&data.join("ledger")).unwrap();
    let mut scan = reader.scan(0);
    let mut all = HashSet::new();
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        for entry in chunk.entries().filter(|entry| entry.tenant == tenant) {
            let body: serde_json::Value = serde_json::from_slice(entry.body).unwrap();
            all.extend(body["span"]["id"].as_str().map(str::to_owned));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_that_behaves_goes_on_beside_all_that_do_not() {
    let seconds =
        std::env::var("SPANLEDGER_ABUSE_SECONDS").map_or(20, |text| text.parse().unwrap());
    let data = TempDir::new().unwrap();
    let good_key = create(data.path(), new(Role::Writer, "good")).1;
    let hostile = create(data.path(), new(Role::Writer, "hostile")).1;
    let auditor = create(data.path(), new(Role::Auditor, "hostile")).1;
    let mut server = Server::start(data.path()).await;
    let scene = Arc::new(Scene {
        otlp: server.http().to_owned(),
        grpc: server.grpc().to_owned(),
        api: server.api().to_owned(),
        hostile,
        stop: AtomicBool::new(false),
        attacks: AtomicU64::new(0),
    });
    let mut attackers = JoinSet::new();
    attackers.spawn(bombs(Arc::clone(&scene)));
    attackers.spawn(bombs(Arc::clone(&scene)));
    attackers.spawn(strangers(Arc::clone(&scene)));
    attackers.spawn(sockets(Arc::clone(&scene)));
    attackers.spawn(sockets(Arc::clone(&scene)));
    attackers.spawn(resets(Arc::clone(&scene)));
    attackers.spawn(questions(Arc::clone(&scene), auditor));
    let good = tokio::spawn(good(Arc::clone(&scene), good_key));

    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut most = 0;
    while Instant::now() < end {
        looks.tick().await;
        most = most.max(server.anonymous_memory());
    }
    scene.stop.store(true, Ordering::Relaxed);
    let good = good.await.unwrap();
    attackers.shutdown().await;
    println!(
        "{seconds} s: {} attacks, {} spans acknowledged, {} times sent again, longest gap {:?}, \
         at most {} MiB",
        scene.attacks.load(Ordering::Relaxed),
        good.acknowledged.len(),
        good.refused,
        good.longest_gap,
        most >> 20,
    );
    assert!(most < MEMORY_LIMIT, "{} MiB", most >> 20);
    assert!(good.longest_gap < LONGEST_GAP, "{:?}", good.longest_gap);
    assert!(!good.acknowledged.is_empty());
    server.kill();
    let kept = spans_of(data.path(), "good");
    let lost = good.acknowledged.difference(&kept).count();
    assert_eq!(lost, 0, "acknowledged and not in the ledger");
}
