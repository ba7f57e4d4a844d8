//! Secrets in AxonFlow's calls, and in the answers of an engine that repeats all that it is told.

use super::{CANARIES, assert_clean};
use crate::support::server::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Calls of one secret that are recorded.
pub(crate) const RECORDED: usize = 10;

/// Starts an engine whose answers say what they were told; `/reject` it refuses.
pub(crate) async fn engine() -> String {
    let answer = async |Path(path): Path<String>, body: Bytes| {
        let said = String::from_utf8_lossy(&body).into_owned();
        let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let secret = told["reason"].as_str().unwrap_or(&said).to_owned();
        let status = if path.ends_with("/reject") { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let answer = json!({
            "workflow_id": "wf-canary", "step_id": "s", "decision": "block", "status": secret,
            "reason": secret, "policies_matched": [{"policy_name": secret}], "policy_ids": [id_of(&secret)],
            "approval_url": format!("https://engine.example/?t={secret}"), "error": secret,
            "retry_context": {"prior_output": told}, "approved_data": told,
        });
        (status, axum::Json(answer)).into_response()
    };
    let router = Router::new().route("/{*path}", axum::routing::post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// What stands in an id or a name. A number is left alone there: most ids are numbers.
fn id_of(secret: &str) -> &str {
    if secret.starts_with("card ") { "x" } else { secret }
}

/// Every call with the secret wherever a client can put a text.
fn calls(serial: usize, secret: &str) -> [(String, Value); RECORDED + 1] {
    let name = id_of(secret);
    let inside = json!({ "text": secret, "list": [secret], secret.to_owned(): { "deep": secret } });
    let of = |call: &str| format!("/api/v1/workflows/wf-{serial}/{call}");
    let gate = json!({ "step_name": name, "step_type": "tool_call", "step_input": inside, "reason": secret,
        "tool_context": { "tool_name": name, "tool_type": name, "tool_input": inside },
        "idempotency_key": secret, "model": name, "provider": name, "metadata": inside });
    [
        (
            "/api/v1/workflows".to_owned(),
            json!({ "workflow_name": name, "source": name,
            "trace_id": format!("canary-{serial}"), "metadata": inside, "reason": secret }),
        ),
        (of("steps/s/gate"), gate),
        (of("steps/s/complete"), json!({ "output": inside, "metadata": inside, "reason": secret })),
        (of("steps/s/approve"), json!({ "comment": secret, "reason": secret })),
        (of("resume"), json!({ "reason": secret, "note": inside })),
        (of("fail"), json!({ "reason": secret })),
        (
            "/api/v1/audit/tool-call".to_owned(),
            json!({ "tool_name": name, "caller_name": name,
            "tool_type": name, "input": inside, "output": inside, "error_message": secret,
            "policies_applied": [name], "success": false, "user_id": name }),
        ),
        (
            "/api/audit/llm-call".to_owned(),
            json!({ "context_id": format!("ctx-{serial}"),
            "client_id": name, "response_summary": secret, "provider": name, "model": name,
            "metadata": inside }),
        ),
        (
            "/api/policy/pre-check".to_owned(),
            json!({ "user_token": secret, "client_id": name,
            "query": secret, "data_sources": [name], "context": inside, "reason": secret }),
        ),
        (of("abort"), json!({ "reason": secret, "more": inside })),
        // The engine says no, in words of its own.
        (of("steps/s/reject"), json!({ "reason": secret })),
    ]
}

async fn post(server: &Server, path: &str, secret: &str, body: Vec<u8>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let shown = secret.replace(['\n', '\r'], " ");
    let request = client
        .post(format!("http://{}{path}", server.api()))
        .header("content-type", "application/json")
        .header("x-user-token", &shown)
        .header("x-axonflow-client", &shown)
        .basic_auth("acme", Some(&shown));
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Sends every secret through every call.
pub(crate) async fn send(server: &Server) {
    for (number, (secret, _)) in CANARIES.iter().enumerate() {
        for (path, body) in calls(number, secret) {
            let (status, said) = post(server, &path, secret, body.to_string().into()).await;
            let refused = path.ends_with("/reject");
            assert_eq!((200..300).contains(&status), !refused, "{path}: {status} {said}");
        }
    }
}

/// Calls that are refused here, with the secret where the reason might quote it.
pub(crate) async fn refused(server: &Server) {
    for (secret, _) in CANARIES {
        for (path, body) in [
            ("/api/v1/audit/tool-call", json!({ "tool_name": { "x": secret } }).to_string()),
            ("/api/v1/audit/tool-call", format!("{{{}", json!(secret))),
            ("/api/v1/audit/tool-call", json!(secret).to_string()),
            ("/api/v1/workflows", json!({ "source": secret }).to_string()),
            ("/api/v1/workflows", json!({ "workflow_name": secret.repeat(20) }).to_string()),
            ("/api/v1/workflows/%0A/fail", json!({ "reason": secret }).to_string()),
        ] {
            let (status, said) = post(server, path, secret, body.into()).await;
            assert!((400..500).contains(&status), "{path}: {status} {said}");
            assert_clean("an error", said.as_bytes());
        }
    }
}
