//! A server that was told stories over its own sockets, and short ways to ask it.

use super::server::Server;
use super::stories::{Told, request};
use serde_json::Value;
use tempfile::TempDir;

/// A server with a data folder of its own.
pub struct Running {
    server: Server,
    _data: TempDir,
}

impl std::ops::Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A server with these further arguments.
pub async fn start_with(arguments: &[&str]) -> Running {
    let data = TempDir::new().unwrap();
    let server = Server::start_with(data.path(), arguments).await;
    Running { server, _data: data }
}

/// A server that was sent these stories.
pub async fn told(stories: &[&[Told]]) -> Running {
    let running = start_with(&[]).await;
    for story in stories {
        send(&running, "governed-agent", story).await;
    }
    running
}

/// Flat names are understood where the scope says that these are audit records.
pub async fn send(server: &Server, service: &str, records: &[Told]) {
    let (path, body) = request(service, "audit", records);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", server.http());
    let answer = client.post(url).json(&body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!((status.as_u16(), text.as_str()), (200, "{}"), "full success");
}

/// The entries that answer a question, in the order of the story.
pub async fn search(server: &Server, query: &str) -> Vec<Value> {
    let query: String =
        query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let answer = server.get(&format!("/api/v1/entries?order=story&q={query}")).await;
    answer["entries"].as_array().unwrap().clone()
}

/// The one entry that answers.
pub async fn one(server: &Server, query: &str) -> Value {
    let found = search(server, query).await;
    assert_eq!(found.len(), 1, "{query}: {found:#?}");
    found[0].clone()
}

/// The codes of the findings of an answer.
pub fn codes(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// A list of an answer.
pub fn list<'v>(answer: &'v Value, name: &str) -> &'v Vec<Value> {
    answer[name].as_array().unwrap_or_else(|| panic!("{name} in {answer}"))
}
