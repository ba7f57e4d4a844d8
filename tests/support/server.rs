//! The built binary as a test sees it: started on free ports, asked over real sockets, killed.
//!
//! ```text
//! Server::start(data) ─► DATA/endpoints.json of this process ─► GET /readyz is 200 ─► ready
//! ```
//!
//! Every wait is for the thing itself and ends at a deadline: see [`look_until`].

use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

/// How long anything may take that a test waits for. Far beyond what is ever needed, because two
/// busy cores share their time with other tests.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Waits for something that happens outside the test. Panics, naming it, at [`DEADLINE`].
pub async fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let seen = look_until(DEADLINE, async || happened().then_some(())).await;
    assert!(seen.is_some(), "waited {DEADLINE:?} in vain until {what}");
}

/// Looks again and again until `look` sees something. `None` when the deadline has passed.
pub async fn look_until<T>(
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let mut looks = tokio::time::interval(POLL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + deadline;
    loop {
        looks.tick().await;
        if let Some(seen) = look().await {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
    }
}

/// What the server writes to `DATA/endpoints.json`.
#[derive(Debug, Default, Deserialize)]
struct Endpoints {
    grpc: String,
    http: String,
    api: String,
    pid: u32,
}

/// A running server. Dropping it kills the process; the data stays the test's.
pub struct Server {
    data: PathBuf,
    /// Holds `stdout.log` and `stderr.log`.
    logs: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    endpoints: Endpoints,
    /// `http` or `https`.
    scheme: &'static str,
    client: reqwest::Client,
    key: Option<String>,
}

impl Server {
    /// Starts a server on a data directory with nothing configured, and returns when it is ready.
    pub async fn start(data: &Path) -> Self {
        Self::start_with(data, &[]).await
    }

    /// The same with further arguments for `serve`.
    pub async fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::start_as("http", reqwest::Client::builder(), data, arguments).await
    }

    /// The same over TLS, asked by a client that trusts the server.
    pub async fn start_with_tls(
        client: reqwest::ClientBuilder,
        data: &Path,
        arguments: &[&str],
    ) -> Self {
        Self::start_as("https", client, data, arguments).await
    }

    async fn start_as(
        scheme: &'static str,
        client: reqwest::ClientBuilder,
        data: &Path,
        arguments: &[&str],
    ) -> Self {
        let mut server = Self {
            data: data.to_owned(),
            logs: TempDir::with_prefix("spanledger-test-logs-").unwrap(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            child: None,
            endpoints: Endpoints::default(),
            key: None,
            scheme,
            // No connection is kept: one that the server closes for being idle must not be met.
            client: client.no_proxy().pool_max_idle_per_host(0).timeout(DEADLINE).build().unwrap(),
        };
        server.spawn().await;
        server
    }

    /// Asks the API with that key from now on.
    pub fn show(&mut self, key: &str) {
        self.key = Some(key.to_owned());
    }

    /// Starts again on the same data, after a [`kill`](Self::kill) when it still runs.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn().await;
    }

    /// `kill -9`, and waits for the process to be gone: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM: the server drains and must leave with 0.
    pub async fn terminate(mut self) {
        let mut child = self.child.take().expect("the server runs");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let left = look_until(DEADLINE, async || child.try_wait().unwrap()).await;
        if left.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        match left {
            Some(status) => assert!(status.success(), "left with {status}:\n{}", self.stderr()),
            None => panic!("still running {DEADLINE:?} after SIGTERM:\n{}", self.stderr()),
        }
    }

    /// `127.0.0.1:PORT` of OTLP over gRPC.
    pub fn grpc(&self) -> &str {
        &self.endpoints.grpc
    }

    /// `127.0.0.1:PORT` of OTLP over HTTP.
    pub fn http(&self) -> &str {
        &self.endpoints.http
    }

    /// `127.0.0.1:PORT` of the API.
    pub fn api(&self) -> &str {
        &self.endpoints.api
    }

    /// Process id, for looking at it from outside.
    pub fn pid(&self) -> u32 {
        self.endpoints.pid
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that it wrote to standard error since its first start.
    pub fn stderr(&self) -> String {
        read_lossy(&self.logs.path().join("stderr.log"))
    }

    /// Everything that it wrote to standard output since its first start.
    pub fn stdout(&self) -> String {
        read_lossy(&self.logs.path().join("stdout.log"))
    }

    /// Bytes of memory that the process holds of its own, files that it maps not counted.
    pub fn anonymous_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// JSON of a path of the API. Panics with what the server said when the status is not 200.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        let answer = answer.unwrap_or_else(|error| self.no_answer(path, &error));
        let status = answer.status();
        let text = answer.text().await.unwrap_or_else(|error| self.no_answer(path, &error));
        assert_eq!(status, 200, "GET {path}: {text}\n{}", self.stderr());
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("GET {path} is not JSON ({error}): {text}"))
    }

    /// The number of a series of `/metrics`, by its whole name with labels; 0 when it is not there:
    /// a counter with labels is not before it counted.
    pub async fn metric(&self, series: &str) -> u64 {
        let answer = self.ask("/metrics").await;
        let answer = answer.unwrap_or_else(|error| self.no_answer("/metrics", &error));
        let text = answer.text().await.unwrap_or_else(|error| self.no_answer("/metrics", &error));
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let mut values = lines.filter(|(name, _)| *name == series).map(|(_, value)| value);
        values.next().map_or(0, |value| value.parse().unwrap())
    }

    /// The status with which the API answers to a path.
    pub async fn status(&self, path: &str) -> u16 {
        let answer = self.ask(path).await;
        answer.unwrap_or_else(|error| self.no_answer(path, &error)).status().as_u16()
    }

    async fn ask(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        let request = self.client.get(format!("{}://{}{path}", self.scheme, self.api()));
        match &self.key {
            Some(key) => request.bearer_auth(key).send().await,
            None => request.send().await,
        }
    }

    fn no_answer(&self, path: &str, error: &reqwest::Error) -> ! {
        panic!("GET {path} got no answer ({error:?}); the server said:\n{}", self.stderr())
    }

    /// Starts the process and waits until it says that it is ready.
    async fn spawn(&mut self) {
        let mut child = Command::new(binary())
            .args(["serve", "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
            .args(["--listen-api", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(self.log("stdout.log"))
            .stderr(self.log("stderr.log"))
            .spawn()
            .unwrap();
        let pid = child.id();
        let ready = look_until(DEADLINE, async || match child.try_wait().unwrap() {
            Some(status) => Some(Err(format!("left with {status}"))),
            None => self.ready(pid).await.map(Ok),
        })
        .await;
        self.child = Some(child);
        match ready.unwrap_or_else(|| Err(format!("not ready after {DEADLINE:?}"))) {
            Ok(endpoints) => self.endpoints = endpoints,
            Err(why) => panic!("the server {why}; it said:\n{}", self.stderr()),
        }
    }

    /// Where the process listens, once it says so and that it is ready.
    async fn ready(&self, pid: u32) -> Option<Endpoints> {
        let text = fs::read(self.data.join("endpoints.json")).ok()?;
        let endpoints: Endpoints = serde_json::from_slice(&text).ok()?;
        if endpoints.pid != pid {
            return None; // the file of a process before this one
        }
        let url = format!("{}://{}/readyz", self.scheme, endpoints.api);
        let answer = self.client.get(url).send().await.ok()?;
        answer.status().is_success().then_some(endpoints)
    }

    fn log(&self, name: &str) -> File {
        let path = self.logs.path().join(name);
        File::options().create(true).append(true).open(path).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binary that cargo built for this test, or the one that `SPANLEDGER_TEST_BINARY` names: a
/// release build, say.
pub fn binary() -> PathBuf {
    std::env::var_os("SPANLEDGER_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_spanledger").into(), PathBuf::from)
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
