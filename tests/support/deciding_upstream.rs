//! An engine that decides by a table, as AxonFlow's API answers: for tests of what is forwarded.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What a step of that name is decided to be, and why.
const DECISIONS: [(&str, &str, &str); 5] = [
    ("issue_refund", "require_approval", "refund > 50"),
    ("tools/issue_refund", "require_approval", "refund > 50"),
    ("drop_table", "block", "tables are not dropped"),
    ("tools/drop_table", "block", "tables are not dropped"),
    ("transform-with-gpt4", "block", "GPT-4 not allowed in production workflows"),
];

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A running engine.
pub struct DecidingUpstream {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl DecidingUpstream {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(asked): State<Arc<Mutex<Vec<Asked>>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = parts.uri.path().to_owned();
    asked.lock().unwrap().push(Asked {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.clone(),
    });
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').skip(2).collect();
    match segments[..] {
        ["workflows"] => created(&body),
        ["workflows", id, "steps", step, "gate"] => gate(id, step, &body),
        ["workflows", _, "steps", _, "complete"] => StatusCode::NO_CONTENT.into_response(),
        ["workflows", id, "steps", step, end @ ("approve" | "reject")] => {
            let status = if end == "approve" { "approved" } else { "rejected" };
            ok(&json!({"workflow_id": id, "step_id": step, "status": status}))
        }
        ["workflows", id, "checkpoints"] => ok(&json!({"workflow_id": id, "checkpoints": [{
            "id": 1, "workflow_id": id, "step_id": "s1", "step_index": 0,
            "checkpoint_type": "step_gate", "gate_decision": "allow",
            "created_at": "2026-11-21T06:00:01Z",
        }]})),
        ["workflows", id, "checkpoints", .., "resume"] => ok(&json!({
            "workflow_id": id, "resumed_from_checkpoint": "1", "resumed_from_index": 0,
            "new_decision": "allow", "resume_count": 1, "message": "goes on",
        })),
        ["workflows", "wf-unknown-there", _] => {
            (StatusCode::NOT_FOUND, axum::Json(json!({"error": "workflow not found"})))
                .into_response()
        }
        ["workflows", id, end] => ok(&json!({"workflow_id": id, "status": ended(end)})),
        ["pre-check"] => ok(&json!({
            "context_id": "ctx-1", "approved": true, "policies": ["pol_pii"],
            "decision_id": "dec-ctx-1", "expires_at": "2030-01-01T00:00:00Z",
        })),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn ended(word: &str) -> &'static str {
    match word {
        "complete" => "completed",
        "abort" => "aborted",
        "fail" => "failed",
        _ => "in_progress",
    }
}

fn created(body: &Value) -> Response {
    let name = body["workflow_name"].as_str().unwrap();
    let answer = json!({
        "workflow_id": format!("wf-upstream-{name}"),
        "workflow_name": name,
        "status": "in_progress",
        "started_at": "2026-11-21T06:00:00.123456789Z",
        "trace_id": body["trace_id"],
    });
    (StatusCode::CREATED, axum::Json(answer)).into_response()
}

fn gate(id: &str, step: &str, body: &Value) -> Response {
    if body["idempotency_key"] == "MISMATCH" {
        let error = json!({"error": {
            "code": "IDEMPOTENCY_KEY_MISMATCH", "message": "idempotency_key differs",
            "details": {"workflow_id": id, "step_id": step,
                "expected_idempotency_key": "a", "received_idempotency_key": "MISMATCH"},
        }});
        return (StatusCode::CONFLICT, axum::Json(error)).into_response();
    }
    let name = body["step_name"].as_str().unwrap_or_default();
    match name {
        "hangs" => return Response::new(axum::body::Body::from_stream(silence())),
        "redirects" => return axum::response::Redirect::temporary("/elsewhere").into_response(),
        "floods" => return "x".repeat(64 * 1024).into_response(),
        "mumbles" => return "[]".into_response(),
        _ => {}
    }
    let found = DECISIONS.iter().find(|(step, ..)| *step == name);
    let (_, decision, reason) = found.copied().unwrap_or(("", "allow", ""));
    let policies = ["pol_a", "pol_b", "pol_c"].map(|policy| {
        json!({"policy_id": policy, "policy_name": format!("Policy {policy}"),
            "action": if policy == "pol_b" { decision } else { "allow" }, "reason": reason})
    });
    let matched: Vec<_> = policies.iter().filter(|_| decision != "allow").skip(1).take(1).collect();
    let ids: Vec<_> = matched.iter().map(|policy| &policy["policy_id"]).collect();
    let answer = json!({
        "decision": decision, "step_id": step, "decision_id": format!("dec_{id}_{step}"),
        "reason": (!reason.is_empty()).then_some(reason), "policy_ids": ids,
        "policies_evaluated": policies, "policies_matched": matched, "cached": false,
        "approval_url": (decision == "require_approval").then_some("http://127.0.0.1/approve"),
        "decision_source": "fresh",
    });
    ([("x-axonflow-version", "9.11.0"), ("set-cookie", "a=b")], axum::Json(answer)).into_response()
}

/// A body that never comes.
fn silence() -> impl tokio_stream::Stream<Item = Result<bytes::Bytes, Infallible>> + Send {
    tokio_stream::pending()
}

fn ok(answer: &Value) -> Response {
    axum::Json(answer).into_response()
}
