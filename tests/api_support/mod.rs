//! An API over a store in memory, asked without sockets.
#![allow(dead_code, reason = "each test file uses its part of it")]

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use spanledger::api::{Api, Bounds, Health, HostCheck, router};
use spanledger::correlate::JoinRules;
use spanledger::store::{AuditStore, EntryView, Envelope, MemoryStore};
use std::sync::Arc;
use tower::ServiceExt as _;

/// An entry for a store: its place, whose it is, and its body.
pub(crate) struct Given<'a> {
    pub(crate) sequence: u64,
    pub(crate) tenant: &'a str,
    pub(crate) body: String,
}

pub(crate) fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("ledger.example", JoinRules::default()))
}

/// The id of the entry at that place.
pub(crate) fn id_of(sequence: u64) -> String {
    format!("{:032x}", u128::from(sequence) + 1)
}

pub(crate) fn write(store: &dyn AuditStore, given: &[Given<'_>]) {
    let views: Vec<EntryView<'_>> = given
        .iter()
        .map(|entry| {
            let envelope = Envelope {
                sequence: entry.sequence,
                id: (u128::from(entry.sequence) + 1).to_be_bytes(),
                tenant: entry.tenant,
                received_ns: 1_795_241_529_000_000_000 + entry.sequence,
                conflict: false,
                leaf_hash: [7; 32],
            };
            EntryView::new(envelope, entry.body.as_bytes())
        })
        .collect();
    store.write(&views).unwrap();
}

/// A body at that second after eight o'clock, with these trace ids and audit fields.
pub(crate) fn body(second: u32, trace_ids: &[&str], audit: &str) -> String {
    let ids = serde_json::to_string(trace_ids).unwrap();
    format!(
        r#"{{"schema_version":1,"@timestamp":"2026-11-21T08:00:{second:02}.000000000Z","trace_id":{ids},"event":{{"action":"step"}},"audit":{{{audit}}}}}"#
    )
}

/// Entries of the default tenant from 0 on.
pub(crate) fn fill(store: &dyn AuditStore, bodies: &[String]) {
    for (sequence, body) in (0..).zip(bodies) {
        write(store, &[Given { sequence, tenant: "default", body: body.clone() }]);
    }
}

pub(crate) fn app(store: Arc<dyn AuditStore>) -> Router {
    app_within(store, Bounds::default())
}

pub(crate) fn app_within(store: Arc<dyn AuditStore>, bounds: Bounds) -> Router {
    let hosts = HostCheck::for_listener("127.0.0.1:4380".parse().unwrap());
    router(api(store).within(bounds), hosts)
}

pub(crate) fn app_for(store: Arc<dyn AuditStore>, hosts: HostCheck) -> Router {
    router(api(store), hosts)
}

fn api(store: Arc<dyn AuditStore>) -> Api {
    let metrics: spanledger::api::Metrics = Arc::new(|| "# EOF\n".to_owned());
    Api::new(store, Arc::new(Health::starting(&[])), metrics)
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        let entries = self.json()["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["event"]["sequence"].as_u64().unwrap()).collect()
    }

    pub(crate) fn cursor(&self) -> Option<String> {
        self.json()["next_cursor"].as_str().map(str::to_owned)
    }
}

pub(crate) async fn ask(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    let request = Request::get(path).header("host", "127.0.0.1:4380").body(Body::empty());
    ask(app, request.unwrap()).await
}
