//! The node: one of `tests/search-node`, with nothing in it but ours.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A node. Dropping it stops the process.
pub(crate) struct Node {
    data: PathBuf,
    /// Process id.
    pub(crate) pid: u32,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

impl Node {
    /// Starts it, with a compiler for long runs.
    pub(crate) fn start(data: &Path, heap: &str) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let done = script()
            .args(["start", "--port", &port, "--heap", heap, "--data"])
            .arg(data)
            .env("SEARCH_NODE_JAVA_OPTS", "-XX:TieredStopAtLevel=4")
            .output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let client = reqwest::Client::builder().no_proxy().build()?;
        let said = String::from_utf8(done.stdout)?;
        let pid = said.lines().find_map(|line| line.strip_prefix("pid=")).context("its pid")?;
        let pid = pid.parse()?;
        Ok(Self { data: data.to_owned(), pid, url: format!("http://127.0.0.1:{port}"), client })
    }

    /// Drops every document.
    pub(crate) async fn empty(&self) -> Result<()> {
        let stream = format!("{}/_data_stream/spanledger-default", self.url);
        self.client.delete(&stream).send().await?.error_for_status()?;
        self.client.put(&stream).send().await?.error_for_status()?;
        Ok(())
    }

    /// How many documents there are.
    pub(crate) async fn count(&self) -> Result<u64> {
        self.client.post(format!("{}/spanledger-*/_refresh", self.url)).send().await?;
        let url = format!("{}/spanledger-*/_count", self.url);
        let answer: serde_json::Value = self.client.get(url).send().await?.json().await?;
        answer["count"].as_u64().context("a count")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = script().args(["stop", "--data"]).arg(&self.data).status();
    }
}

fn script() -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search-node/search-node");
    let mut command = Command::new("bash");
    command.arg(path);
    command
}
