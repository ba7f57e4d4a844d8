//! `GET /api/v1/traces/{id}`: everything that belongs to one id.

use super::answer::{StoryOrder, TraceAnswer, TraceParams};
use super::caller::Caller;
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, documents, json, page_size, read_cursor};
use super::told::{Told, id_in_path, tell};
use crate::store::Order;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

/// Everything that belongs to one id.
///
/// The id may be any form of any id: the orchestrator's trace id, OpenTelemetry's in hexadecimal,
/// a run, workflow, job, decision or approval. Slashes and percent-encoded characters are part of
/// it. An id that nothing carries has an empty story.
///
/// The first page also says what the story means: actions with their decisions, approvals, tokens,
/// and what does not fit together, all over the whole story up to 1000 entries (`studied`).
#[utoipa::path(get, path = "/api/v1/traces/{id}", tag = "evidence",
    params(("id" = String, Path, description = "Any form of any id, percent-encoded",
        example = "langsmith-run-abc123"), TraceParams),
    responses(
        (status = 200, description = "The story", body = TraceAnswer),
        Asked))]
pub(super) async fn trace(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    params: Params<TraceParams>,
) -> Result<Response, Problem> {
    let id = id_in_path(id)?;
    let Params(params) = params;
    let by = caller.clone();
    let answer = api.ask(&by, move |api| story(api, &caller, &id, &params)).await?;
    json(&answer)
}

fn story(
    api: &Api,
    caller: &Caller,
    id: &str,
    params: &TraceParams,
) -> Result<TraceAnswer, Problem> {
    let order = params.order.unwrap_or_default();
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let by = match order {
        StoryOrder::Story => Order::Story,
        StoryOrder::Ledger => Order::Ledger,
    };
    let cursor = read_cursor(params.cursor.as_deref())?;
    let Told { story, study, studied } =
        tell(api, &tenant, (id, &[]), by, page_size(params.limit)?, cursor)?;
    let entries = documents(story.entries);
    Ok(TraceAnswer {
        trace_ids: story.trace_ids,
        count: entries.len(),
        entries,
        total: story.total,
        next_cursor: story.next_cursor.map(|cursor| cursor.to_string()),
        truncated: story.truncated,
        order,
        actions: study.actions,
        approvals: study.approvals,
        findings: study.findings,
        more_findings: study.more_findings,
        usage: study.usage,
        studied,
    })
}
