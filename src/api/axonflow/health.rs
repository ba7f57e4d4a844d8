//! `GET /health`: what AxonFlow's clients ask before anything else.

use super::super::problem::Problem;
use super::super::service::{Api, json};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether calls are taken.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlatformHealth {
    /// `healthy` when evidence is taken, else `unhealthy`.
    pub status: String,
    /// Who answers: `spanledger`.
    pub service: String,
    /// Its version.
    pub version: String,
    /// Capabilities of AxonFlow's platform: none of those that clients look for.
    pub capabilities: Vec<String>,
}

/// Whether calls are taken, as AxonFlow's clients ask.
#[utoipa::path(get, path = "/health", tag = "axonflow", responses(
    (status = 200, description = "Evidence is taken", body = PlatformHealth),
    (status = 503, description = "It is not; /readyz says why", body = PlatformHealth)))]
pub(in crate::api) async fn health(State(api): State<Api>) -> Result<Response, Problem> {
    let ready = api.health.readiness().ready;
    let mut response = json(&PlatformHealth {
        status: if ready { "healthy" } else { "unhealthy" }.to_owned(),
        service: "spanledger".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Vec::new(),
    })?;
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
