//! `/`, `/healthz`, `/readyz`, `/metrics`: for people who look around, orchestrators, scrapers.

use super::caller::Caller;
use super::health::Readiness;
use super::service::{Api, json};
use crate::access::Right;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What prometheus-client writes. Source: OpenMetrics 1.0, "Overall Structure".
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a person sees who opens the address in a browser.
const FRONT_PAGE: &str = "\
spanledger is running here.

There is no page to click on yet. What answers:

  GET /api/v1/traces/{id}       everything that belongs to one id, as a story
  GET /api/v1/entries?q=QUERY   entries that match, newest first
  GET /api/v1/entries/{id}      one entry
  GET /api/v1/entries/{id}/receipt   what proves it
  GET /api/v1/evidence/{id}     all of it in one file that others can check
  GET /api/v1/workflows         workflows, and with ?trace_id= those of one trace
  POST /api/v1/audit/search     the same entries as AxonFlow's audit log has them
  GET /api/v1/whoami            who a credential is, and what it may do
  GET /api/v1/tenants           whose evidence it may read
  GET /api/v1/keys              the credentials, for an operator
  GET /log/checkpoint           the public log, for a global auditor
  GET /api/v1/openapi.json      the description of all this for programs
  GET /healthz /readyz /metrics

In a terminal:

  spanledger trace langsmith-run-abc123
  spanledger search 'decision:block'
  spanledger tail
";

/// What is where.
#[utoipa::path(get, path = "/", tag = "process",
    responses((status = 200, description = "What is where", content_type = "text/plain", body = String)))]
pub(super) async fn front_page() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], FRONT_PAGE).into_response()
}

/// Whether the process lives. When not, restart it.
#[utoipa::path(get, path = "/healthz", tag = "process", responses(
    (status = 200, description = "It lives", content_type = "text/plain", body = String),
    (status = 503, description = "Only a restart helps", content_type = "text/plain", body = String)))]
pub(super) async fn healthz(State(api): State<Api>, caller: Option<Extension<Caller>>) -> Response {
    if api.health.is_live() {
        (StatusCode::OK, "ok\n").into_response()
    } else if !may_see_reasons(caller) {
        (StatusCode::SERVICE_UNAVAILABLE, "only a restart helps\n").into_response()
    } else {
        let reasons = api.health.readiness().reasons.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response()
    }
}

/// Reasons name hosts, tenants and paths: they are for whoever runs the installation.
fn may_see_reasons(caller: Option<Extension<Caller>>) -> bool {
    caller.is_some_and(|Extension(caller)| caller.may(Right::Metrics))
}

/// Whether evidence is taken, and why not. The reasons are for a credential that may read metrics,
/// and for everybody before there is any credential.
#[utoipa::path(get, path = "/readyz", tag = "process", responses(
    (status = 200, description = "Evidence is taken", body = Readiness),
    (status = 503, description = "It is not, for these reasons", body = Readiness)))]
pub(super) async fn readyz(State(api): State<Api>, caller: Option<Extension<Caller>>) -> Response {
    let mut readiness = api.health.readiness();
    let ready = readiness.ready;
    if !may_see_reasons(caller) {
        readiness = Readiness { ready, reasons: Vec::new(), held_up: Vec::new() };
    }
    let mut response = json(&readiness).into_response();
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Numbers about the process, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "process", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    // How old what waits is stands in the ledger, on the disk.
    match tokio::task::spawn_blocking(move || (api.metrics)()).await {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
