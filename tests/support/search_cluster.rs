//! Three real nodes that are one cluster, for as long as a test runs.
//!
//! ```text
//! SearchCluster::start ─► three search-node start at once ─► they find one another ─► green
//! ```

use super::search_node::{Engine, SearchNode, free_port, try_ask};
use super::server::look_until;
use serde_json::Value;
use spanledger::elasticsearch::{Client, Connection, Hosts, Method};
use std::io::Write as _;
use std::time::Duration;
use tempfile::NamedTempFile;

/// Fewest nodes of which one can be lost and the others still agree on a master.
const NODES: usize = 3;

/// Memory of a node's heap. Three of them, and what the machine does besides, on a small machine.
const HEAP: &str = "384m";

/// Longest time for a cluster to have every copy of its documents again.
const HEALED: Duration = Duration::from_mins(3);

/// A cluster. Dropping it stops its nodes.
pub struct SearchCluster {
    nodes: Vec<SearchNode>,
    /// The authorities of all nodes in one file, where they have certificates.
    authorities: NamedTempFile,
}

impl SearchCluster {
    /// Starts the nodes and returns when they are one cluster.
    pub async fn start(engine: Engine) -> Self {
        let starting = tokio::task::spawn_blocking(move || Self::start_nodes(engine));
        let nodes = starting.await.unwrap();
        let mut authorities = NamedTempFile::new().unwrap();
        for ca in nodes.iter().filter_map(SearchNode::ca) {
            authorities.write_all(&std::fs::read(ca).unwrap()).unwrap();
        }
        let cluster = Self { nodes, authorities };
        cluster.healed().await;
        cluster
    }

    /// None of them replies before most are there, so they start at once.
    fn start_nodes(engine: Engine) -> Vec<SearchNode> {
        let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let names: Vec<String> = (0..NODES).map(name).collect();
        let start = |at: usize| {
            let settings = [
                format!("node.name={}", names[at]),
                "discovery.type=multi-node".to_owned(),
                format!("cluster.initial_master_nodes={}", names.join(",")),
                format!("discovery.seed_hosts={}", hosts.join(",")),
            ];
            let mut arguments: Vec<String> =
                settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect();
            arguments.extend(["--heap", HEAP, "--transport-port"].map(str::to_owned));
            arguments.push(ports[at].to_string());
            SearchNode::start_as(engine, arguments)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..NODES).map(|at| scope.spawn(move || start(at))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// The nodes.
    pub fn nodes(&self) -> &[SearchNode] {
        &self.nodes
    }

    /// The addresses of the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }

    /// A client of all nodes, which passes over those that are gone.
    pub fn client(&self) -> Client {
        let hosts = Hosts::Urls(self.urls());
        let short = Duration::from_secs(2);
        let connection = Connection { hosts, connect_timeout: short, ..self.nodes[0].connection() };
        Client::new(&connection).unwrap()
    }

    /// `kill -9` of one node.
    pub fn kill(&self, at: usize) {
        self.nodes[at].kill();
    }

    /// Starts a node again that was killed, on its port and data.
    pub fn start_again(&mut self, at: usize) {
        self.nodes[at].start_again();
    }

    /// Which node is the master.
    pub async fn master(&self) -> usize {
        let client = self.client();
        let found = look_until(HEALED, async || {
            let (status, answer) =
                try_ask(&client, Method::Get, "/_nodes/_master", None).await.ok()?;
            let node = answer["nodes"].as_object()?.values().next()?["name"].as_str()?.to_owned();
            (status == 200).then(|| (0..NODES).find(|at| name(*at) == node))?
        });
        found.await.expect("the cluster has a master")
    }

    /// Which node has the copy of the write index that documents are written to first.
    pub async fn holder_of_the_write_index(&self) -> usize {
        let client = self.client();
        let path = "/spanledger-default/_search_shards";
        let found = look_until(HEALED, async || {
            let (_, answer) = try_ask(&client, Method::Get, path, None).await.ok()?;
            let mut shards = answer["shards"].as_array()?.last()?.as_array()?.iter();
            let primary = shards.find(|shard| shard["primary"] == true)?["node"].as_str()?;
            let node = answer["nodes"][primary]["name"].as_str()?;
            (0..NODES).find(|at| name(*at) == node)
        });
        found.await.expect("some node has the write index")
    }

    /// Waits until every node is there and every document on as many of them as it should be.
    pub async fn healed(&self) {
        let client = self.client();
        let mut last = Value::Null;
        let healed = look_until(HEALED, async || {
            let (_, health) = try_ask(&client, Method::Get, "/_cluster/health", None).await.ok()?;
            let is_whole = health["number_of_nodes"] == NODES && health["status"] == "green";
            last = health;
            is_whole.then_some(())
        })
        .await;
        assert!(healed.is_some(), "not healed after {HEALED:?}: {last}");
    }
}

fn name(at: usize) -> String {
    format!("node-{at}")
}
