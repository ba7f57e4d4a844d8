//! What AxonFlow's calls are refused is on record and counted, and large calls hold nobody up: against
//! the built binary.

mod support;

use serde_json::{Value, json};
use spanledger::access::{Role, Token};
use support::keys::{create, new};
use support::server::{DEADLINE, Server, look_until};
use tempfile::TempDir;

const TOOL_CALL: &str = "/api/v1/audit/tool-call";

async fn post(server: &Server, path: &str, key: Option<&Token>, body: Vec<u8>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{}{path}", server.api())).body(body);
    let request = match key {
        Some(key) => request.bearer_auth(key.reveal()),
        None => request,
    };
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The rejections of a tenant, once there are so many.
async fn rejections(server: &Server, auditor: &Token, tenant: &str, count: usize) -> Vec<Value> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/entries?q=kind:rejection&tenant={tenant}", server.api());
    let found = look_until(DEADLINE, async || {
        let answer = client.get(&url).bearer_auth(auditor.reveal()).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let entries = answer["entries"].as_array().unwrap().clone();
        (entries.len() >= count).then_some(entries)
    });
    found.await.unwrap_or_else(|| panic!("{count} rejections of {tenant}"))
}

#[tokio::test]
async fn who_may_not_write_is_on_record_at_axonflows_calls_as_at_every_receiver() {
    let data = TempDir::new().unwrap();
    let (_, reader) = create(data.path(), new(Role::Auditor, "acme"));
    let (_, auditor) = create(data.path(), new(Role::GlobalAuditor, ""));
    let server = Server::start_with(data.path(), &[]).await;
    let call = || json!({"tool_name": "refund"}).to_string().into_bytes();
    assert_eq!(post(&server, TOOL_CALL, None, call()).await.0, 401);
    assert_eq!(post(&server, TOOL_CALL, Some(&Token::new().unwrap()), call()).await.0, 401);
    assert_eq!(post(&server, "/api/v1/workflows", Some(&reader), call()).await.0, 403);
    // Who only asks leaves no entry.
    let client = reqwest::Client::new();
    let asked = client.get(format!("http://{}/api/v1/workflows", server.api())).send().await;
    assert_eq!(asked.unwrap().status(), 401);

    let strangers = rejections(&server, &auditor, "_spanledger", 2).await;
    assert_eq!(strangers.len(), 2, "{strangers:#?}");
    for entry in &strangers {
        assert_eq!(entry["audit"]["rejection"]["endpoint"], TOOL_CALL, "{entry:#}");
        assert_eq!(entry["audit"]["rejection"]["status"], 401);
    }
    let own = rejections(&server, &auditor, "acme", 1).await;
    assert_eq!(own[0]["audit"]["rejection"]["endpoint"], "/api/v1/workflows");
    assert_eq!(own[0]["audit"]["rejection"]["status"], 403);
    server.terminate().await;
}

#[tokio::test]
async fn a_stranger_cannot_fill_the_ledger_through_axonflows_calls() {
    let data = TempDir::new().unwrap();
    let (_, auditor) = create(data.path(), new(Role::GlobalAuditor, ""));
    let server = Server::start_with(data.path(), &[]).await;
    for _ in 0..100 {
        assert_eq!(post(&server, TOOL_CALL, None, b"{}".to_vec()).await.0, 401);
    }
    let found = rejections(&server, &auditor, "_spanledger", 32).await;
    assert!(found.len() < 60, "{} entries for 100 knocks", found.len());
    server.terminate().await;
}

#[tokio::test]
async fn each_limit_of_axonflows_calls_is_counted_and_a_large_call_is_recorded() {
    let data = TempDir::new().unwrap();
    let server = Server::start_with(data.path(), &[]).await;
    let hits = async |limit: &str| {
        server.metric(&format!("spanledger_limit_hits_total{{limit=\"{limit}\"}}")).await
    };
    let with = |input: &str| json!({"tool_name": "t", "input": {"a": input}}).to_string();
    // Above what is read where it was received.
    let large = with(&"x".repeat(3 * 1024 * 1024));
    let (status, said) = post(&server, TOOL_CALL, None, large.into_bytes()).await;
    assert_eq!(status, 201, "{said}");
    assert_eq!(hits("max_evidence_bytes").await, 0);
    let too_large = with(&"x".repeat(9 * 1024 * 1024));
    // Its size is told in front of it, so it is refused before it is sent: the client may see only that.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let _ = client.post(format!("http://{}{TOOL_CALL}", server.api())).body(too_large).send().await;
    assert_eq!(hits("max_evidence_bytes").await, 1);
    let values = format!(r#"{{"tool_name":"t","input":[{}0]}}"#, "0,".repeat(200_001));
    assert_eq!(post(&server, TOOL_CALL, None, values.into_bytes()).await.0, 413);
    assert_eq!(hits("axonflow_max_values").await, 1);
    for never in ["api_body_timeout", "axonflow_max_forwarded_bytes", "axonflow_upstream_timeout"] {
        assert_eq!(hits(never).await, 0, "{never}");
    }
    server.terminate().await;
}
