//! `examples/axum_service.rs` as its reader tries it: into a receiver, found by the external id.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use support::server::{DEADLINE, Server, look_until};

/// The example, which ends with the test.
struct Service {
    process: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

/// Cargo builds examples beside the binaries that it builds for tests.
fn example() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_spanledger")).parent().unwrap();
    let example = built.join("examples/axum_service");
    assert!(example.is_file(), "first: cargo build --all-features --examples");
    example
}

impl Service {
    fn start(folder: &Path, receiver: &str) -> Self {
        let mut process = Command::new(example())
            .args(["--port", "0"])
            .current_dir(folder)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{receiver}"))
            .env_remove("SPANLEDGER_KEY")
            .env_remove("SPANLEDGER_KEY_FILE")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").and_then(|line| line.split(',').next());
        Self { url: url.unwrap_or_else(|| panic!("{line}")).to_owned(), process, stdout }
    }

    async fn refund(&self, refund: &Value) -> (u16, String) {
        let request = reqwest::Client::new().post(format!("{}/refunds", self.url)).json(refund);
        let answer = request.header("spanledger-trace-id", "refund-run-1").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Ctrl-C; what it says then.
    fn interrupt(mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        assert!(self.process.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_axum_service_acts_on_what_is_on_record_and_is_found_by_the_callers_id() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Server::start(data.path()).await;
    let service = Service::start(folder.path(), server.grpc());
    let (status, text) = service.refund(&json!({"order": "4711", "amount": 120})).await;
    assert_eq!((status, text.contains("payment-4711, on record as")), (200, true), "{text}");
    let (status, text) = service.refund(&json!({"order": "4712", "amount": 7400})).await;
    assert_eq!((status, text.contains("block")), (403, true), "{text}");

    // Two spans of requests, two decisions, and the tool's span of the one that was allowed.
    assert_eq!(outcomes(&server, 5).await, ["allow", "block"]);

    server.kill();
    let (status, text) = service.refund(&json!({"order": "4713", "amount": 120})).await;
    assert_eq!((status, text.contains("not known to be on record")), (503, true), "{text}");
    assert!(service.interrupt().contains("the next start sends the rest"));

    server.restart().await;
    let service = Service::start(folder.path(), server.grpc());
    assert_eq!(outcomes(&server, 7).await, ["allow", "allow", "block"]);
    assert!(service.interrupt().contains("everything was acknowledged"));
    server.terminate().await;
}

/// The decisions of the run, once it has that many entries.
async fn outcomes(server: &Server, entries: usize) -> Vec<String> {
    let found = look_until(DEADLINE, async || {
        let found = server.get("/api/v1/traces/refund-run-1").await;
        (found["entries"].as_array()?.len() == entries).then_some(found)
    });
    let found = found.await.expect("all entries arrive");
    let outcome = |entry: &Value| entry["audit"]["decision"]["outcome"].as_str().map(str::to_owned);
    let mut outcomes: Vec<_> =
        found["entries"].as_array().unwrap().iter().filter_map(outcome).collect();
    outcomes.sort();
    outcomes
}
