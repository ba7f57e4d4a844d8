//! A real Elasticsearch or OpenSearch node on a free port, for as long as a test runs.
//!
//! ```text
//! SearchNode::start(Engine) ─► tests/search-node/search-node start ─► replies ─► test ─► drop: stop
//! ```
//!
//! The script keeps the jars in a cache that all nodes share. A node's data and its log lie in the
//! target folder and go with it; after a failed test they stay, and their place is printed.

use serde_json::Value;
use spanledger::elasticsearch::{
    Auth, Body, Client, Connection, ContentType, Method, Request, Secret, SendError, Transport as _,
};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How often another free port is tried when somebody was faster.
const PORT_ATTEMPTS: usize = 5;

/// How long a process may take to be gone after it was killed: its memory is given back first.
const GONE: Duration = Duration::from_secs(30);

/// Which engine, and how it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Elasticsearch 9 without security.
    Elasticsearch,
    /// Elasticsearch 8, which has no security here.
    Elasticsearch8,
    /// Elasticsearch 9 with TLS, users, roles and API keys.
    SecureElasticsearch,
    /// OpenSearch 3, which has no security here.
    OpenSearch,
    /// OpenSearch 2, which has no security here.
    OpenSearch2,
}

impl Engine {
    /// Whether it is a version of OpenSearch.
    pub fn is_opensearch(self) -> bool {
        matches!(self, Self::OpenSearch | Self::OpenSearch2)
    }
}

/// A node. Dropping it stops the process.
pub struct SearchNode {
    engine: Engine,
    /// Further arguments of the script.
    arguments: Vec<String>,
    /// `None` once it was left behind for a look at it.
    data: Option<TempDir>,
    port: u16,
    pid: u32,
    url: String,
    user: Option<String>,
    password: Option<String>,
    ca: Option<PathBuf>,
}

impl SearchNode {
    /// Starts a node and returns when it replies.
    pub fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[])
    }

    /// The same with settings of the engine, `name=value` each.
    pub fn start_with(engine: Engine, settings: &[&str]) -> Self {
        let settings =
            settings.iter().flat_map(|setting| ["--set".to_owned(), setting.to_string()]);
        Self::start_as(engine, settings.collect())
    }

    /// The same with arguments of `tests/search-node/search-node start`.
    pub fn start_as(engine: Engine, arguments: Vec<String>) -> Self {
        let data = TempDir::with_prefix_in("search-node-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut node = Self {
            engine,
            arguments,
            data: Some(data),
            port: 0,
            pid: 0,
            url: String::new(),
            user: None,
            password: None,
            ca: None,
        };
        for attempt in 1.. {
            node.port = free_port();
            match node.launch() {
                Ok(()) => break,
                Err(text) if text.contains("is in use") && attempt < PORT_ATTEMPTS => {}
                Err(text) => panic!("the node does not start:\n{text}"),
            }
        }
        node
    }

    /// `http://127.0.0.1:PORT`, with https when it is secure.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name of the superuser, when it is secure.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Password of the superuser, when it is secure.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// PEM file of the authority of its certificate, when it is secure.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Process id, for stopping it in a hard way.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Settings that connect to it, as superuser when it is secure.
    pub fn connection(&self) -> Connection {
        let mut connection = Connection::to(&self.url);
        connection.ca_file.clone_from(&self.ca);
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            let password = Secret::new(password);
            connection.auth = Auth::Basic { username: user.clone(), password };
        }
        connection
    }

    /// A client of [`connection`](Self::connection).
    pub fn client(&self) -> Client {
        Client::new(&self.connection()).unwrap()
    }

    /// Asks as [`client`](Self::client) does; status and JSON of the reply.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        ask(&self.client(), method, path, body).await
    }

    /// Stops the process; the data stay.
    pub fn stop(&mut self) {
        if let Some(data) = &self.data {
            let stopped = script().arg("stop").arg("--data").arg(data.path()).status().unwrap();
            assert!(stopped.success() || std::thread::panicking(), "the node does not stop");
        }
    }

    /// `kill -9`, and waits for the process to be gone: nothing is flushed, nobody is told.
    pub fn kill(&self) {
        let pid = Pid::from_raw(self.pid.try_into().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let end = Instant::now() + GONE;
        while !self.is_gone() {
            assert!(Instant::now() < end, "the node is there {GONE:?} after it was killed");
            std::thread::yield_now();
        }
    }

    /// Whether its process has ended, and its ports are free. One that nobody has waited for yet
    /// is a zombie, and has closed its files when the last of its threads has ended.
    fn is_gone(&self) -> bool {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
        state.is_none() || (state == Some('Z') && threads <= 1)
    }

    /// Starts again on the same port and data, after [`stop`](Self::stop) or a kill.
    pub fn start_again(&mut self) {
        self.launch().unwrap_or_else(|text| panic!("the node does not start again:\n{text}"));
    }

    fn launch(&mut self) -> Result<(), String> {
        let data = self.data.as_ref().map(|data| data.path().to_owned()).unwrap();
        let mut command = script();
        command.args(["start", "--port", &self.port.to_string(), "--data"]).arg(data);
        match self.engine {
            Engine::Elasticsearch => {}
            Engine::SecureElasticsearch => _ = command.arg("--secure"),
            Engine::Elasticsearch8 => _ = command.args(["--engine", "elasticsearch8"]),
            Engine::OpenSearch => _ = command.args(["--engine", "opensearch"]),
            Engine::OpenSearch2 => _ = command.args(["--engine", "opensearch2"]),
        }
        command.args(&self.arguments);
        let output = command.output().expect("bash is there");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        self.pid = value("pid").unwrap().parse().unwrap();
        self.url = value("url").unwrap();
        self.user = value("user");
        self.password = value("password");
        self.ca = value("ca").map(PathBuf::from);
        Ok(())
    }
}

impl Drop for SearchNode {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking()
            && let Some(data) = self.data.take()
        {
            eprintln!("data and log of the node are in {}", data.keep().display());
        }
    }
}

/// Asks a cluster; status and JSON of the reply.
pub async fn ask(client: &Client, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    try_ask(client, method, path, body).await.unwrap()
}

/// The same for a cluster of which a node may be gone.
pub async fn try_ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(u16, Value), SendError> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // Few parameters are ever asked for here, and their names must live for ever.
    let known = ["refresh", "op_type", "require_data_stream", "pretty", "name"];
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = known.into_iter().find(|known| *known == name).expect("a known parameter");
        (name, value.to_owned())
    });
    let request = Request {
        method,
        path: path.to_owned(),
        query: query.collect(),
        body: body.map(|body| Body {
            bytes: body.to_string().into(),
            content_type: ContentType::Json,
            gzip: false,
        }),
        timeout: Duration::from_mins(1),
    };
    let reply = client.send(request).await?;
    Ok((reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null)))
}

fn script() -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search-node/search-node");
    let mut command = Command::new("bash");
    command.arg(path);
    command
}

/// A port on which nobody listens now, and that the system gives to nobody by itself: a node that
/// is killed finds it free when it starts again.
pub fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let given_from: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let first = 20_000.min(given_from / 2);
    // Another one for each process and each call, so that tests do not try the same ones.
    let start = RandomState::new().hash_one(()) % u64::from(given_from - first);
    let start = first + u16::try_from(start).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (start..given_from).chain(first..start).find(is_free).expect("a free port")
}
