//! The OpenAPI document, made of the handlers' own descriptions.

use super::answer::{EntriesAnswer, TraceAnswer};
use super::dead_letters::{DropAnswer, LettersAnswer, ReplayAnswer};
use super::health::Readiness;
use super::problem::Problem;
use super::service::json;
use super::{dead_letters, entries, probes, traces};
use axum::response::Response;
use utoipa::OpenApi;

/// The API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "spanledger",
        description = "Evidence about AI agents: what ran, what was decided under which policy, who approved it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        traces::trace,
        entries::search,
        entries::entry,
        dead_letters::list,
        dead_letters::replay,
        dead_letters::drop_letters,
        openapi,
        probes::front_page,
        probes::healthz,
        probes::readyz,
        probes::metrics
    ),
    components(schemas(
        TraceAnswer,
        EntriesAnswer,
        LettersAnswer,
        ReplayAnswer,
        DropAnswer,
        Problem,
        Readiness
    )),
    tags(
        (name = "evidence", description = "Entries of the ledger"),
        (name = "export", description = "What was not delivered to Elasticsearch"),
        (name = "process", description = "The process that serves them")
    )
)]
pub(super) struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "process",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi() -> Result<Response, Problem> {
    json(&Document::openapi())
}
