//! `GET /api/v1/workflows…`: workflows and what waits for a person, as entries tell them.

use super::super::caller::Caller;
use super::super::limits::MAX_QUERY_BYTES;
use super::super::problem::Problem;
use super::super::service::{Api, Params};
use super::answer::{
    PendingAnswer, PendingApproval, WorkflowAnswer, WorkflowsAnswer, gate_word, scoped, step_type,
};
use super::found::{Finding, all, any, has, newest};
use super::state::{Status, WorkflowState};
use super::{MAX_LISTED_ENTRIES, MAX_WORKFLOW_ENTRIES};
use crate::access::Tenant;
use crate::entry::Outcome;
use crate::store::query::Query;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use std::collections::HashMap;
use utoipa::IntoParams;

/// Workflows on a page when nobody says how many, as AxonFlow's clients expect.
const DEFAULT_WORKFLOWS: u32 = 50;

/// Most workflows on a page.
const MAX_WORKFLOWS: u32 = 100;

/// Most workflows of one trace: each is looked up.
const MAX_WORKFLOWS_OF_A_TRACE: usize = 200;

/// Approvals on a page when nobody says how many.
const DEFAULT_PENDING: u32 = 20;

/// What ends a workflow.
const ENDS: [(&str, &str); 3] =
    [("kind", "workflow_completed"), ("kind", "workflow_aborted"), ("kind", "workflow_failed")];

/// Which workflows.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct WorkflowsParams {
    /// `in_progress`, `completed`, `aborted` or `failed`.
    status: Option<String>,
    /// Orchestrator, as it was written: `langgraph`, ….
    source: Option<String>,
    /// The orchestrator's own trace id, in any spelling.
    #[param(example = "langsmith-run-abc123")]
    trace_id: Option<String>,
    /// Workflows on this page, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Workflows that are passed over, from the newest.
    offset: Option<usize>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    tenant: Option<String>,
}

/// Which approvals.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct PendingParams {
    /// Approvals on this page, 1 to 100; 20 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    tenant: Option<String>,
}

/// Whose evidence.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct OneParams {
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub(super) tenant: Option<String>,
}

/// Workflows, the newest first.
///
/// Each is what its entries say, whether a client of AxonFlow's reported it, an upstream decided
/// about it, or spans told of it.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "axonflow", params(WorkflowsParams),
    responses(
        (status = 200, description = "A page of workflows", body = WorkflowsAnswer),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<WorkflowsParams>,
) -> Result<Response, Problem> {
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let limit = page(params.limit, DEFAULT_WORKFLOWS)?;
    let offset = params.offset.unwrap_or(0);
    let status = params.status.as_deref().map(status).transpose()?;
    if params.trace_id.as_ref().is_some_and(|id| id.len() > MAX_QUERY_BYTES) {
        return Err(Problem::parameter("`trace_id` is longer than an id can be."));
    }
    let (source, trace_id) = (params.source, params.trace_id);
    let answer = api
        .ask(&caller, move |api| {
            let (mut found, is_whole) = find(api, &tenant, trace_id.as_deref())?;
            found.retain(|workflow| {
                status.is_none_or(|status| workflow.status == status)
                    && source.as_deref().is_none_or(|it| is_of_source(workflow, it))
            });
            let total = found.len();
            let mut page: Vec<_> = found.into_iter().skip(offset).take(limit).collect();
            if !is_whole && trace_id.is_none() {
                // Of the oldest one that was looked at the beginning may be missing.
                page = whole(api, &tenant, page)?.0;
            }
            let workflows = page.iter().map(WorkflowAnswer::of).collect();
            Ok(WorkflowsAnswer { workflows, total, limit, offset, truncated: !is_whole })
        })
        .await?;
    scoped(&answer)
}

fn is_of_source(workflow: &WorkflowState, source: &str) -> bool {
    let own = workflow.known.source.as_deref();
    own.is_some_and(|own| own.eq_ignore_ascii_case(source))
        || super::answer::source_word(own) == source
}

/// The workflows that an id leads to, or all: the newest first, and whether these are all.
fn find(
    api: &Api,
    tenant: &Tenant,
    trace_id: Option<&str>,
) -> Result<(Vec<WorkflowState>, bool), Problem> {
    let of_trace = trace_id.map(|id| Query::term("trace_id", id));
    let query = all(of_trace.into_iter().chain([has("workflow_id")]));
    let Finding { entries, mut is_whole } = newest(api, tenant, &query, MAX_LISTED_ENTRIES)?;
    let mut by_id: HashMap<&str, Vec<_>> = HashMap::new();
    for found in &entries {
        if let Some(id) = found.brief.audit.workflow.id.as_deref() {
            by_id.entry(id).or_default().push(found);
        }
    }
    let states = by_id.into_iter().filter_map(|(id, own)| WorkflowState::of(id, own));
    let mut workflows: Vec<WorkflowState> = states.collect();
    workflows.sort_by(|a, b| (b.started_ns, &b.known.id).cmp(&(a.started_ns, &a.known.id)));
    if trace_id.is_some() {
        // Only some entries of a workflow need carry the trace id.
        is_whole &= workflows.len() <= MAX_WORKFLOWS_OF_A_TRACE;
        workflows.truncate(MAX_WORKFLOWS_OF_A_TRACE);
        let (whole, are_whole) = whole(api, tenant, workflows)?;
        workflows = whole;
        is_whole &= are_whole;
    }
    Ok((workflows, is_whole))
}

/// The same workflows with all of their entries, and whether these were all of them.
fn whole(
    api: &Api,
    tenant: &Tenant,
    workflows: Vec<WorkflowState>,
) -> Result<(Vec<WorkflowState>, bool), Problem> {
    let mut are_whole = true;
    let mut all = Vec::with_capacity(workflows.len());
    for workflow in workflows {
        let (state, is_whole) = load(api, tenant, &workflow.known.id)?;
        are_whole &= is_whole;
        all.push(state.unwrap_or(workflow));
    }
    Ok((all, are_whole))
}

/// One workflow as its entries tell it, and whether these were all of them.
pub(super) fn load(
    api: &Api,
    tenant: &Tenant,
    id: &str,
) -> Result<(Option<WorkflowState>, bool), Problem> {
    let query = Query::term("workflow_id", id);
    let Finding { entries, is_whole } = newest(api, tenant, &query, MAX_WORKFLOW_ENTRIES)?;
    Ok((WorkflowState::of(id, &entries), is_whole))
}

/// What was found, unless the store broke off before it found anything: then nobody can say that
/// there is nothing.
pub(super) fn present(
    found: Option<WorkflowState>,
    is_whole: bool,
) -> Result<Option<WorkflowState>, Problem> {
    if found.is_none() && !is_whole { Err(Problem::busy()) } else { Ok(found) }
}

/// One workflow, with its end however many entries came after it.
pub(super) fn load_with_end(
    api: &Api,
    tenant: &Tenant,
    id: &str,
) -> Result<Option<WorkflowState>, Problem> {
    let (state, is_whole) = load(api, tenant, id)?;
    let Some(mut state) = present(state, is_whole)? else { return Ok(None) };
    if state.status == Status::InProgress && !is_whole {
        let query = all([Query::term("workflow_id", id), any(&ENDS)]);
        let found = newest(api, tenant, &query, MAX_WORKFLOW_ENTRIES)?;
        let end = WorkflowState::of(id, &found.entries);
        if let Some(end) = present(end, found.is_whole)? {
            (state.status, state.ended) = (end.status, end.ended);
        }
    }
    Ok(Some(state))
}

/// A step of a workflow as its entries tell it, with what is known of the workflow.
pub(super) fn load_step(
    api: &Api,
    tenant: &Tenant,
    id: &str,
    step: &str,
) -> Result<Option<WorkflowState>, Problem> {
    let query = all([Query::term("workflow_id", id), Query::term("step_id", step)]);
    let found = newest(api, tenant, &query, MAX_WORKFLOW_ENTRIES)?;
    present(WorkflowState::of(id, &found.entries), found.is_whole)
}

/// One workflow with its steps.
#[utoipa::path(get, path = "/api/v1/workflows/{id}", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"), OneParams),
    responses(
        (status = 200, description = "The workflow", body = WorkflowAnswer),
        (status = 404, description = "No entry has that workflow id", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<OneParams>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::parameter("The id is not percent-encoded UTF-8."))?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let (state, is_whole) = api.ask(&caller, move |api| load(api, &tenant, &id)).await?;
    let state = present(state, is_whole)?.ok_or_else(super::no_such_workflow)?;
    scoped(&WorkflowAnswer::of(&state))
}

/// Steps that wait for a person, the longest waiting first.
///
/// A step waits from a recorded decision that asks for an approval until an approval, a rejection
/// or another decision about it is recorded, or its workflow ends.
#[utoipa::path(get, path = "/api/v1/workflows/approvals/pending", tag = "axonflow",
    params(PendingParams),
    responses((status = 200, description = "What waits", body = PendingAnswer)))]
pub(in crate::api) async fn pending(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<PendingParams>,
) -> Result<Response, Problem> {
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let limit = page(params.limit, DEFAULT_PENDING)?;
    let answer = api.ask(&caller, move |api| waiting(api, &tenant, limit)).await?;
    scoped(&answer)
}

fn waiting(api: &Api, tenant: &Tenant, limit: usize) -> Result<PendingAnswer, Problem> {
    let about = any(&[
        ("kind", "approval"),
        ("kind", "workflow_step_gate"),
        ("kind", "decision"),
        ENDS[0],
        ENDS[1],
        ENDS[2],
    ]);
    let query = all([has("workflow_id"), about]);
    let Finding { entries, is_whole } = newest(api, tenant, &query, MAX_LISTED_ENTRIES)?;
    let mut waiting: Vec<PendingApproval> = Vec::new();
    for found in &entries {
        let (brief, audit) = (&found.brief, &found.brief.audit);
        let Some(workflow) = audit.workflow.id.as_deref() else { continue };
        let step = audit.step.id.as_deref();
        let ends = ENDS.iter().any(|(_, kind)| *kind == audit.kind);
        let (decision, approval) = (&audit.decision, &audit.approval);
        let is_decided = [&decision.raw, &approval.status, &approval.resolution];
        if !ends && is_decided.iter().all(|said| said.is_none()) {
            // A call that failed or was refused: the step waits as before.
            continue;
        }
        // What is decided about a step, or the end of its workflow, ends its wait.
        waiting.retain(|it| {
            it.workflow_id != workflow || !(ends || step == Some(it.step_id.as_str()))
        });
        let outcome = audit.decision.raw.as_deref().and_then(Outcome::from_word);
        if outcome == Some(Outcome::RequireApproval)
            && audit.kind != "approval"
            && let Some(step) = step
        {
            waiting.push(PendingApproval {
                workflow_id: workflow.to_owned(),
                workflow_name: audit.workflow.name.clone().unwrap_or_default(),
                step_id: step.to_owned(),
                step_name: audit.step.name.clone().unwrap_or_default(),
                step_type: step_type(audit.step.kind.as_deref()).to_owned(),
                decision: gate_word(outcome).to_owned(),
                decision_reason: audit.decision.reason.clone().unwrap_or_default(),
                approval_status: "pending".to_owned(),
                created_at: brief.timestamp.clone(),
            });
        }
    }
    let count = waiting.len();
    waiting.truncate(limit);
    Ok(PendingAnswer { pending_approvals: waiting, count, truncated: !is_whole })
}

fn page(limit: Option<u32>, usual: u32) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(usual);
    if limit == 0 || limit > MAX_WORKFLOWS {
        let detail = format!("`limit` is 1 to {MAX_WORKFLOWS}, not {limit}; page with `offset`.");
        return Err(Problem::parameter(detail));
    }
    usize::try_from(limit).map_err(|_| Problem::store())
}

fn status(word: &str) -> Result<Status, Problem> {
    let all = [Status::InProgress, Status::Completed, Status::Aborted, Status::Failed];
    all.into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| Problem::parameter("`status` is in_progress, completed, aborted or failed."))
}
