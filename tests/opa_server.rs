//! A real Open Policy Agent, configured as its documentation says, sends its decisions by itself.
#![cfg(feature = "server")]

mod support;

use serde_json::{Value, json};
use spanledger::access::Role;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use support::clients::{command, is_skipped};
use support::converted::{payload, text};
use support::keys::{create, new};
use support::server::{DEADLINE, Server, look_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A running OPA. Dropping it kills the process.
struct Opa {
    child: Child,
    address: String,
}

impl Opa {
    fn start(config: &Path, key: &str) -> Self {
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/opa/policy.rego");
        let mut child = command("opa")
            .arg(config)
            .arg(policy)
            // For its spans: the configuration knows credentials of services only.
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={key}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "OPA did not start: {:?}", child.wait());
        Self { child, address: address.trim().to_owned() }
    }

    /// Asks for a decision in that trace, and gives its id.
    async fn decide(&self, rule: &str, input: Value) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .post(format!("http://{}/v1/data/agent/tools/{rule}", self.address))
            .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
            .json(&json!({ "input": input }))
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        text(&answer, "/decision_id").to_owned()
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// OPA's own configuration: the decision log to us, its spans too.
fn config(server: &Server, key: &str) -> String {
    format!(
        "\
services:
  spanledger:
    url: http://{http}
    credentials:
      bearer:
        token: {key}
decision_logs:
  service: spanledger
  reporting:
    min_delay_seconds: 1
    max_delay_seconds: 2
  request_context:
    http:
      headers: [traceparent]
distributed_tracing:
  type: http
  address: {http}
",
        http = server.http(),
    )
}

#[tokio::test]
async fn decisions_of_a_real_opa_are_found_by_the_trace_of_who_asked() {
    if is_skipped("opa") {
        println!("opa: skipped, SPANLEDGER_SKIP_CLIENTS names it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (_, writer) = create(&data, new(Role::Writer, "acme"));
    let (_, auditor) = create(&data, new(Role::Auditor, "acme"));
    let mut server = Server::start(&data).await;
    server.show(auditor.reveal());
    let file = folder.path().join("opa.yaml");
    std::fs::write(&file, config(&server, writer.reveal())).unwrap();
    let opa = Opa::start(&file, writer.reveal());
    let allowed = opa.decide("allow", json!({ "tool": "lookup_order" })).await;
    let args = json!({ "amount": 59.9 });
    let denied = opa.decide("decision", json!({ "tool": "issue_refund", "args": args })).await;

    let path = format!("/api/v1/traces/{TRACE}");
    let decisions = look_until(DEADLINE, async || {
        let entries = server.get(&path).await["entries"].as_array().cloned()?;
        let decisions =
            entries.into_iter().filter(|entry| text(entry, "/audit/kind") == "decision");
        let decisions: Vec<Value> = decisions.collect();
        (decisions.len() >= 2).then_some(decisions)
    });
    let decisions = decisions.await.unwrap_or_else(|| panic!("{}", server.stderr()));
    let of = |id: &str| {
        let found = decisions.iter().find(|entry| text(entry, "/audit/decision/id") == id);
        found.unwrap_or_else(|| panic!("{id} is not among {decisions:?}"))
    };
    assert_eq!(decisions.len(), 2);
    assert_eq!(text(of(&allowed), "/audit/decision/outcome"), "allow");
    assert_eq!(text(of(&denied), "/audit/decision/outcome"), "block");
    assert_eq!(text(of(&denied), "/audit/decision/reason"), "refund exceeds limit");
    assert_eq!(text(of(&denied), "/audit/policy/rule_id"), "agent/tools/decision");
    assert_eq!(text(of(&denied), "/message"), "agent/tools/decision");
    assert!(payload(of(&denied), "arguments").contains("issue_refund"));

    // Its own span of the same decision is found by the decision's id.
    let path = format!("/api/v1/traces/{denied}");
    let span = look_until(DEADLINE, async || {
        let entries = server.get(&path).await["entries"].as_array().cloned()?;
        entries.into_iter().find(|entry| text(entry, "/event/dataset") == "otlp.span")
    });
    assert!(span.await.is_some(), "{}", server.stderr());
    server.terminate().await;
}
