//! Sinks of checkpoints as a running server uses them: a cluster that only takes more, a webhook that
//! fails; and what is said of them, and of the upkeep of old segments, while something is in the way.
#![cfg(feature = "server")]

mod support;

use axum::Router;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use spanledger::elasticsearch::{Auth, Client, Connection, Method, Secret};
use spanledger::ledger::PublicLog;
use spanledger::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use spanledger::pipeline::log_dir;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use support::export::setup_with;
use support::files::copy_folder;
use support::requests::numbered;
use support::search_node::{Engine, SearchNode, ask};
use support::server::{DEADLINE, Server, binary, look_until};

const STREAM: &str = "spanledger.checkpoints";

/// Sends spans, and gives the number of entries when a signed checkpoint covers them.
async fn send(server: &Server, data: &Path, first: u64, count: u64) -> u64 {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(numbered(first, count)).await.unwrap();
    let size = server.metric("spanledger_ledger_entries").await;
    let log = PublicLog::open(&log_dir(data));
    let covered = look_until(DEADLINE, async || {
        let signed = log.checkpoint().unwrap()?;
        (signed.checkpoint.head.size >= size).then_some(())
    });
    covered.await.expect("it is signed whatever becomes of it elsewhere");
    size
}

/// Waits until `/readyz`, which stays 200, says that of a part; of nothing, that all is well.
async fn told(server: &Server, part: &str, what: &str) {
    let looked = look_until(DEADLINE, async || {
        let readiness = server.get("/readyz").await;
        assert_eq!(readiness["ready"], true);
        let held_up = readiness["held_up"].as_array().unwrap();
        let mut all = held_up.iter().filter_map(Value::as_str);
        let said = all.find_map(|said| said.strip_prefix(&format!("{part}: ")));
        said.map_or(what.is_empty(), |said| !what.is_empty() && said.contains(what)).then_some(())
    });
    let looked = looked.await;
    let now = server.get("/readyz").await;
    assert!(looked.is_some(), "{what:?} is not said of {part}: {now}\n{}", server.stderr());
}

/// Waits until a sink has a checkpoint of that many entries.
async fn taken(server: &Server, sink: &str, size: u64) {
    let series = format!("spanledger_public_log_sink_entries{{sink=\"{sink}\"}}");
    let taken = look_until(DEADLINE, async || (server.metric(&series).await >= size).then_some(()));
    taken.await.unwrap_or_else(|| panic!("{sink} has no checkpoint of {size} entries"));
    let series = format!("spanledger_public_log_sink_held_up{{sink=\"{sink}\"}}");
    assert_eq!(server.metric(&series).await, 0);
}

/// The verdict over the copy in the cluster, and the exit code.
fn verify_copy(data: &Path, url: &str, config: &str) -> (Value, i32) {
    let mut verify = Command::new(binary());
    verify.args(["verify", "--json", "--config", config, "--elasticsearch", url, "--data"]);
    let output = verify.arg(data).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_checkpoints_that_its_key_cannot_take_back_and_that_find_a_rollback() {
    let node = SearchNode::start(Engine::SecureElasticsearch);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    std::fs::write(path("superuser"), node.password().unwrap()).unwrap();
    let (url, ca) = (node.url(), node.ca().unwrap().display().to_string());
    let who = ["--user", node.user().unwrap(), "--password-file", &path("superuser")];
    let setup = |more: &[&str]| {
        setup_with(&[&["--url", url, "--ca-file", &ca], &who[..], more].concat());
    };
    setup(&[]);
    // The key is there before the stream: as it is when somebody forgot the setup of it.
    let made = json!({"name": "early", "role_descriptors": {"w": {
        "cluster": ["monitor"], "indices": [{"names": [STREAM], "privileges": ["create_doc"]}]}}});
    let (status, made) = node.ask(Method::Post, "/_security/api_key", Some(made)).await;
    assert_eq!(status, 200, "{made}");
    std::fs::write(path("sink.key"), made["encoded"].as_str().unwrap()).unwrap();
    let config = format!(
        "elasticsearch:\n  urls: [\"{url}\"]\n  ca: \"{ca}\"\n  username: {}\n  password: {{file: \"{}\"}}\n\
         public_log:\n  sinks:\n    - elasticsearch: {{api_key: {{file: \"{}\"}}}}\n      every: 1s\n",
        node.user().unwrap(),
        path("superuser"),
        path("sink.key"),
    );
    std::fs::write(path("config.yaml"), config).unwrap();
    let mut server = Server::start_with(&data, &["--config", &path("config.yaml")]).await;
    send(&server, &data, 0, 10).await;
    told(&server, "checkpoint_sinks", "elasticsearch: ").await;
    assert!(server.metric("spanledger_public_log_sink_failures_total").await > 0);
    // The key that setup makes is in effect without a restart.
    setup(&["--checkpoints", "--roles", "--checkpoints-key-file", &path("made.key")]);
    std::fs::copy(path("made.key"), path("sink.key")).unwrap();
    let size = send(&server, &data, 10, 10).await;
    taken(&server, "elasticsearch", size).await;
    told(&server, "checkpoint_sinks", "").await;

    let everything = async || {
        let (status, answer) = node.ask(Method::Post, &format!("/{STREAM}/_refresh"), None).await;
        assert_eq!(status, 200, "{answer}");
        let query = json!({"size": 1000, "sort": ["size"]});
        let (_, found) = node.ask(Method::Post, &format!("/{STREAM}/_search"), Some(query)).await;
        found["hits"]["hits"].as_array().unwrap().clone()
    };
    let kept = everything().await;
    let key = std::fs::read_to_string(data.join("keys/log.pub")).unwrap();
    let key = VerifierKey::parse(&key).unwrap();
    for document in &kept {
        let source = &document["_source"];
        let signed = source["checkpoint"].as_str().unwrap().as_bytes();
        let signed = SignedCheckpoint::parse(signed).unwrap();
        signed.verify(std::slice::from_ref(&key)).unwrap();
        assert_eq!(source["size"], signed.checkpoint.head.size);
        assert_eq!(source["origin"], key.name());
    }
    let last = kept.last().unwrap();
    assert_eq!(last["_source"]["size"], size);

    // Whoever has the key of the sink can take nothing back, and read nothing.
    let secret = std::fs::read_to_string(path("made.key")).unwrap();
    let auth = Auth::ApiKey(Secret::new(&secret));
    let thief = Client::new(&Connection { auth, ..node.connection() }).unwrap();
    let (index, id) = (last["_index"].as_str().unwrap(), last["_id"].as_str().unwrap());
    let document = || Some(json!({"@timestamp": "2026-01-01T00:00:00Z", "size": 1}));
    for (method, path, body) in [
        (Method::Delete, format!("/{index}/_doc/{id}"), None),
        (Method::Put, format!("/{index}/_doc/{id}"), document()),
        (Method::Put, format!("/{STREAM}/_doc/{id}"), document()),
        (Method::Post, format!("/{index}/_update/{id}"), Some(json!({"doc": {"size": 1}}))),
        (Method::Post, format!("/{STREAM}/_search"), None),
        (Method::Delete, format!("/_data_stream/{STREAM}"), None),
        (Method::Put, format!("/spanledger-default/_create/{id}"), document()),
        (Method::Put, format!("/{STREAM}/_create/{id}"), document()),
    ] {
        let (status, answer) = ask(&thief, method, &path, body).await;
        // The cluster itself refuses to write over what is in a stream, whoever asks.
        let refused = if path.contains("_create") && path.contains(STREAM) { 409 } else { 403 };
        let refused = status == refused || (status == 400 && path.contains("_doc"));
        assert!(refused, "{method:?} {path}: {status} {answer}");
    }
    let after = everything().await;
    assert!(kept.iter().all(|document| after.contains(document)), "{kept:#?} {after:#?}");

    // A ledger that is rolled back as a whole, with its log and keys, is found by what lies there.
    let config = path("config.yaml");
    let exported = look_until(DEADLINE, async || {
        (server.metric("spanledger_consumer_lag_entries{consumer=\"elasticsearch\"}").await == 0)
            .then_some(())
    });
    exported.await.expect("the export is at the end");
    let (report, code) = verify_copy(&data, url, &config);
    assert_eq!((&report["verdict"], code), (&json!("ok"), 0), "{report:#}");
    assert!(report["checkpoints"].as_u64().unwrap() >= 1, "{report:#}");
    server.kill();
    copy_folder(&data, &backup);
    server.restart().await;
    let size = send(&server, &data, 20, 10).await;
    taken(&server, "elasticsearch", size).await;
    server.terminate().await;
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&backup, &data);
    everything().await;
    let (report, code) = verify_copy(&data, url, &config);
    assert_eq!((&report["verdict"], code), (&json!("compromised"), 3), "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let rollback = findings.iter().find(|it| it["code"] == "rollback").expect("it is named");
    assert!(rollback["file"].as_str().unwrap().starts_with(STREAM), "{rollback}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_hangs_holds_up_nothing_else_and_gets_the_newest_when_it_is_back() {
    let (hangs, given) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Vec<u64>>>::default());
    let asked = Arc::<AtomicU64>::default();
    let (state, noted, counted) = (Arc::clone(&hangs), Arc::clone(&given), Arc::clone(&asked));
    let hook = move |body: String| {
        counted.fetch_add(1, Ordering::Relaxed);
        let hangs = state.load(Ordering::Relaxed);
        if !hangs {
            let line: Value = serde_json::from_str(&body).unwrap();
            noted.lock().unwrap().push(line["size"].as_u64().unwrap());
        }
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/geheim", post(hook));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let data = folder.path().join("data");
    std::fs::write(path("url"), format!("http://{address}/geheim\n")).unwrap();
    let config = format!(
        "public_log:\n  sinks:\n    - {{webhook: {{file: \"{}\"}}, every: 1s}}\n    - {{file: \"{}\", every: 1s}}\n",
        path("url"),
        path("kept.jsonl"),
    );
    std::fs::write(path("config.yaml"), config).unwrap();
    let server = Server::start_with(&data, &["--config", &path("config.yaml")]).await;
    let size = send(&server, &data, 0, 10).await;
    // The other sink has it long before the first request to the webhook is given up.
    let file = format!("file {}", path("kept.jsonl"));
    taken(&server, &file, size).await;
    told(&server, "checkpoint_sinks", "webhook: ").await;
    let size = send(&server, &data, 10, 10).await;
    hangs.store(false, Ordering::Relaxed);
    taken(&server, "webhook", size).await;
    told(&server, "checkpoint_sinks", "").await;
    assert!(given.lock().unwrap().is_sorted());
    // At the end it gets the last one; one that hangs is not waited for longer than is allowed.
    send(&server, &data, 20, 10).await;
    let stderr = server.stderr();
    assert!(!stderr.contains("geheim"), "the address is a secret: {stderr}");
    server.terminate().await;
    let last = PublicLog::open(&log_dir(&data)).checkpoint().unwrap().unwrap().checkpoint.head.size;
    assert_eq!(given.lock().unwrap().last(), Some(&last));
    assert!(asked.load(Ordering::Relaxed) < 60, "asked without a pause");

    // What the file has finds a log that was rolled back.
    let verify = |file: &str| {
        let mut verify = Command::new(binary());
        verify.args(["verify", "--checkpoint", file, "--data"]).arg(&data);
        let output = verify.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = verify(&path("kept.jsonl"));
    assert_eq!(code, 0, "{text}");
    std::fs::copy(path("kept.jsonl"), path("later.jsonl")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let fresh = Server::start(other.path()).await;
    send(&fresh, other.path(), 0, 3).await;
    fresh.terminate().await;
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(other.path(), &data);
    let (code, text) = verify(&path("later.jsonl"));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("later.jsonl:1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_on_a_mount_that_hangs_is_told_and_the_server_ends_all_the_same() {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A full pipe that nobody reads: writes to it wait for ever.
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let mut pipe = options.open(path("pipe")).unwrap();
    for length in [4096, 1] {
        while pipe.write(&vec![b'x'; length]).is_ok() {}
    }
    let pipe_path = path("pipe").display().to_string();
    let config = format!("public_log: {{sinks: [{{file: '{pipe_path}', every: 1s}}]}}\n");
    std::fs::write(path("config.yaml"), config).unwrap();
    let config = path("config.yaml").display().to_string();
    let server = Server::start_with(&path("data"), &["--config", &config]).await;
    send(&server, &path("data"), 0, 10).await;
    told(&server, "checkpoint_sinks", "does not take a line").await;
    send(&server, &path("data"), 10, 10).await;
    // Fails when the process is still there after a minute.
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_that_cannot_do_its_work_is_told_and_evidence_is_taken_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("config.yaml"));
    std::fs::write(&config, "ledger: {compress_after: 100ms}\nretention: {every: 1s}\n").unwrap();
    let server = Server::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    send(&server, &data, 0, 10).await;
    told(&server, "upkeep", "").await;
    assert_eq!(server.metric("spanledger_ledger_upkeep_held_up").await, 0);
    let holds = data.join("holds.json");
    std::fs::write(&holds, "these are no holds").unwrap();
    told(&server, "upkeep", "holds cannot be read").await;
    assert_eq!(server.metric("spanledger_ledger_upkeep_held_up").await, 1);
    assert!(server.metric("spanledger_ledger_upkeep_failures_total").await > 0);
    send(&server, &data, 10, 10).await;
    std::fs::remove_file(&holds).unwrap();
    told(&server, "upkeep", "").await;
    assert_eq!(server.metric("spanledger_ledger_upkeep_held_up").await, 0);
    server.terminate().await;
}
