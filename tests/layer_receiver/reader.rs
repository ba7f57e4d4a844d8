//! An agent's layer, and what a reader of the API sees of it.

use crate::support::server::{DEADLINE, Server, look_until};
use serde_json::Value;
use spanledger::layer::{
    AuditLayer, Builder, Handle, Otlp, Policy, Receipt, Settings, SpoolSettings,
};
use std::path::Path;
use std::time::Duration;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

/// The id that the orchestrator of these runs wrote.
pub(crate) const RUN: &str = "langsmith-run-abc123";

/// A layer for a receiver, and this thread's subscriber with it.
pub(crate) fn agent(builder: Builder, receiver: Otlp) -> (Handle, DefaultGuard) {
    let layer = builder.service_name("refund-agent").otlp(receiver).unwrap();
    let handle = layer.handle();
    let subscriber = tracing_subscriber::registry().with(layer);
    (handle, tracing::subscriber::set_default(subscriber))
}

/// A builder whose spool is that folder, with short waits.
pub(crate) fn spooled(folder: &Path) -> Builder {
    let spool = Policy::Spool(SpoolSettings::new(folder));
    let settings = Settings {
        retry_first: Duration::from_millis(20),
        retry_most: Duration::from_millis(200),
        ..Settings::new(spool)
    };
    AuditLayer::builder().settings(settings)
}

pub(crate) fn over_grpc(server: &Server) -> Otlp {
    Otlp::new(format!("http://{}", server.grpc()))
}

/// All entries of an id, in the order of the ledger, once there are that many.
pub(crate) async fn entries(server: &Server, query: &str, many: usize) -> Vec<Value> {
    let mut last = Value::Null;
    let path = format!("/api/v1/entries?order=ledger&limit=1000&q={query}");
    let found = look_until(DEADLINE, async || {
        last = server.get(&path).await;
        let entries = last["entries"].as_array()?;
        (entries.len() >= many).then(|| entries.clone())
    });
    found.await.unwrap_or_else(|| panic!("{many} entries of {query}: {last:#}"))
}

/// The only entry of a kind whose message, or else whose action, is that.
pub(crate) fn one<'e>(entries: &'e [Value], kind: &str, what: &str) -> &'e Value {
    let said = |entry: &Value| match &entry["message"] {
        Value::Null => entry["event"]["action"] == what,
        message => message == what,
    };
    let mut found = entries.iter().filter(|it| it["audit"]["kind"] == kind && said(it));
    match (found.next(), found.next()) {
        (Some(one), None) => one,
        other => panic!("one {kind} {what:?}, not {other:#?} of {entries:#?}"),
    }
}

/// Everything in `expected` is in `entry`; `entry` may have more.
pub(crate) fn assert_has(entry: &Value, expected: &Value) {
    fn missing(path: &str, entry: &Value, expected: &Value, out: &mut Vec<String>) {
        match expected {
            Value::Object(members) => {
                for (key, value) in members {
                    missing(&format!("{path}.{key}"), &entry[key], value, out);
                }
            }
            _ if entry != expected => out.push(format!("{path} is {entry}, not {expected}")),
            _ => {}
        }
    }
    let mut differs = Vec::new();
    missing("", entry, expected, &mut differs);
    assert!(differs.is_empty(), "{differs:#?} in {entry:#}");
}

/// Payload of a kind.
pub(crate) fn payload<'e>(entry: &'e Value, kind: &str) -> &'e Value {
    let all = entry["audit"]["payload"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|it| it["kind"] == kind);
    &found.unwrap_or_else(|| panic!("no {kind} in {entry:#}"))["text"]
}

pub(crate) fn hex(receipt: Receipt) -> String {
    receipt.leaf_hash.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
