//! `GET /api/v1/workflow-runs/{id}`, and `…/timeline`: what happened in a run, entry for entry.

use super::TenantParams;
use super::answer::{StoryOrder, TraceParams};
use super::caller::Caller;
use super::case::{Case, case};
use super::limits::QUERY_BUDGET;
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, page_size, read_cursor};
use super::told::{IdInPath, answer_about, exists, is, records, unknown};
use crate::access::Tenant;
use crate::correlate::Namespace;
use crate::entry::Outcome;
use crate::store::query::Query;
use crate::store::{Order, TraceRequest};
use crate::story::{OutputSafety, Record};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the id of a run may name: a run is known as such, as a workflow, or only as the trace of its
/// spans.
const RUN: &[Namespace] = &[Namespace::Run, Namespace::Workflow, Namespace::Trace];

/// Something that happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineItem {
    /// `event.id` of the entry: with it a proof can be asked for.
    pub event_id: String,
    /// Place of the entry in the ledger.
    pub sequence: u64,
    /// When, RFC 3339.
    pub time: Option<String>,
    /// `run_status`, `step_waiting`, `step_approved`, `step_rejected`, `step_completed`,
    /// `step_output_invalid`, else the kind of the entry.
    #[serde(rename = "type")]
    pub what: String,
    /// What the entry is a record of.
    pub kind: String,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_id: Option<String>,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step_id: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<String>,
    /// Outcome of a decision, state of a job, status of a workflow, or what came of the event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    /// Pointer to the result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result_ptr: Option<String>,
    /// The entry in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The verb.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The tool or the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// The agent, the service, or the person who answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor_id: Option<String>,
    /// The human on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
}

/// What happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    /// The run or workflow that was asked for.
    pub run_id: String,
    /// Whose evidence it is.
    pub tenant: String,
    /// Everything that belongs to the run, those entries included that name it only through others.
    pub items: Vec<TimelineItem>,
    /// Entries of the run.
    pub total: usize,
    /// Ask with it for the next page; absent on the last.
    pub next_cursor: Option<String>,
    /// Whether a bound on the size of a story left something out.
    pub truncated: bool,
    /// Order of the items.
    pub order: StoryOrder,
}

/// What happened in a run or workflow, by time of the event, or with `order=ledger` as the ledger holds it.
///
/// Nothing of a run is ever changed or removed: a page that was read once stays as it is.
#[utoipa::path(get, path = "/api/v1/workflow-runs/{id}/timeline", tag = "governance",
    params(("id" = String, Path, description = "A run, workflow or trace, percent-encoded",
        example = "run-01"), TraceParams),
    responses(
        (status = 200, description = "A page of the timeline", body = Timeline),
        (status = 404, description = "No entry names the run", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn timeline(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<TraceParams>,
) -> Result<Response, Problem> {
    let tenant = params.tenant.clone();
    let page = move |api: &Api, tenant: &Tenant, id: &str| page(api, tenant, id, &params);
    answer_about(&api, &caller, id, tenant.as_deref(), page).await
}

/// A run: everything about it in one answer, as its evidence has it.
#[utoipa::path(get, path = "/api/v1/workflow-runs/{id}", tag = "governance",
    params(("id" = String, Path, description = "A run, workflow or trace, percent-encoded",
        example = "run-01"), TenantParams),
    responses(
        (status = 200, description = "The queries of an audit, joined", body = Case),
        (status = 404, description = "No entry names the run", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    answer_about(&api, &caller, id, params.tenant.as_deref(), joined).await
}

/// Everything about a run in one answer: decisions, approvals, timeline, the changes of the policies
/// that decided, and what does not fit together.
#[utoipa::path(get, path = "/api/v1/workflow-runs/{id}/evidence", tag = "governance",
    params(("id" = String, Path, description = "A run, workflow or trace, percent-encoded",
        example = "run-01"), TenantParams),
    responses(
        (status = 200, description = "The queries of an audit, joined", body = Case),
        (status = 404, description = "No entry names the run", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn evidence(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    answer_about(&api, &caller, id, params.tenant.as_deref(), joined).await
}

fn joined(api: &Api, tenant: &Tenant, id: &str) -> Result<Case, Problem> {
    known(api, tenant, id)?;
    case(api, tenant, id, RUN, None)?.ok_or_else(|| unknown("run"))
}

/// Cheaper than a story that nobody has.
fn known(api: &Api, tenant: &Tenant, id: &str) -> Result<(), Problem> {
    let names = ["run_id", "workflow_id", "trace_id"];
    let query = Query::Or(names.map(|name| is(name, id)).into());
    if exists(api, tenant, query)? { Ok(()) } else { Err(unknown("run")) }
}

fn page(api: &Api, tenant: &Tenant, id: &str, params: &TraceParams) -> Result<Timeline, Problem> {
    let limit = page_size(params.limit)?;
    let cursor = read_cursor(params.cursor.as_deref())?;
    known(api, tenant, id)?;
    let order = params.order.unwrap_or_default();
    let story = api.store.trace(&TraceRequest {
        namespaces: RUN,
        order: match order {
            StoryOrder::Story => Order::Story,
            StoryOrder::Ledger => Order::Ledger,
        },
        limit,
        cursor,
        budget: QUERY_BUDGET,
        ..TraceRequest::new(tenant.clone(), id)
    })?;
    if story.total == 0 {
        return Err(unknown("run"));
    }
    Ok(Timeline {
        run_id: id.to_owned(),
        tenant: tenant.name().to_owned(),
        items: records(&story.entries).iter().map(item).collect(),
        total: story.total,
        next_cursor: story.next_cursor.map(|cursor| cursor.to_string()),
        truncated: story.truncated,
        order,
    })
}

/// An entry as an item of a timeline.
pub(super) fn item(record: &Record) -> TimelineItem {
    let doc = &record.doc;
    let audit = &doc.audit;
    let status = [
        &audit.approval.status,
        &audit.approval.resolution,
        &audit.decision.raw,
        &audit.decision.outcome,
        &audit.job.state,
        &audit.workflow.status,
        &audit.step.result,
        &doc.event.outcome,
    ];
    let reasons = [&audit.decision.reason, &audit.interrupt.reason, &doc.event.reason];
    let subjects = [&doc.gen_ai.tool.name, &doc.gen_ai.response.model, &doc.gen_ai.request.model];
    let actors =
        [&audit.approval.resolved_by, &audit.actor.id, &doc.gen_ai.agent.name, &doc.service.name];
    let first = |of: &[&Option<String>]| of.iter().find_map(|value| (*value).clone());
    TimelineItem {
        event_id: record.entry.id.clone(),
        sequence: record.entry.sequence,
        time: doc.timestamp.clone(),
        what: what(record).to_owned(),
        kind: audit.kind.clone(),
        run_id: audit.run.id.clone(),
        workflow_id: audit.workflow.id.clone(),
        step_id: audit.step.id.clone().or_else(|| audit.step.name.clone()),
        job_id: audit.job.id.clone(),
        status: first(&status),
        result_ptr: audit.job.result_ptr.clone(),
        message: doc.message.clone(),
        action: doc.event.action.clone(),
        reason: first(&reasons),
        subject: first(&subjects),
        actor_id: first(&actors),
        user_id: doc.user.id.clone(),
    }
}

fn what(record: &Record) -> &str {
    let audit = &record.doc.audit;
    let refused = OutputSafety::of(&record.doc).and_then(|safety| safety.outcome);
    if refused.is_some_and(|outcome| matches!(outcome.as_str(), "block" | "quarantine")) {
        return "step_output_invalid";
    }
    match audit.kind.as_str() {
        "workflow_created" | "workflow_completed" | "workflow_aborted" | "workflow_failed" => {
            "run_status"
        }
        "workflow_step_completed" => "step_completed",
        "approval" => {
            let said = audit.approval.resolution.as_ref().or(audit.approval.status.as_ref());
            let said = said.or(audit.decision.outcome.as_ref()).map(String::as_str);
            match said.and_then(Outcome::from_word) {
                Some(Outcome::Allow) => "step_approved",
                Some(Outcome::Block) => "step_rejected",
                _ => "step_waiting",
            }
        }
        _ if record.outcome() == Some(Outcome::RequireApproval) => "step_waiting",
        _ if audit.decision.phase.as_deref() == Some("post_exec") => "step_completed",
        kind => kind,
    }
}
