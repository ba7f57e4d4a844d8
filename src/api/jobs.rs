//! `GET /api/v1/jobs/{id}`: the state of a job, its decisions, and everything joined to it.

use super::TenantParams;
use super::approvals;
use super::caller::Caller;
use super::case::{Case, case};
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, page_size, read_cursor};
use super::told::{IdInPath, PageParams, answer_about, exists, is, records, request, unknown};
use crate::access::Tenant;
use crate::correlate::Namespace;
use crate::entry::Outcome;
use crate::store::query::Query;
use crate::store::{Order, QueryRequest};
use crate::story::{
    ApprovalStatus, DecisionRecord, EntryRef, MAX_STUDIED, OutputSafety, Record, Study,
};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Most questions about a job whose answers are looked for, the latest: one that was asked more often
/// has been answered each time but the last.
const MAX_ASKED: usize = 50;

/// A job: of each field the latest value by time of the event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// The job.
    pub id: String,
    /// Whose evidence it is.
    pub tenant: String,
    /// Its execution state, as the source wrote it last.
    pub state: Option<String>,
    /// The orchestrator's trace id as it came, else OpenTelemetry's.
    pub trace_id: Option<String>,
    /// The run.
    pub run_id: Option<String>,
    /// The workflow.
    pub workflow_id: Option<String>,
    /// The step.
    pub workflow_step_id: Option<String>,
    /// Hash of the exact request.
    pub job_hash: Option<String>,
    /// Pointer to the context.
    pub context_ptr: Option<String>,
    /// Pointer to the result.
    pub result_ptr: Option<String>,
    /// What became of the output.
    pub output_safety: Option<OutputSafety>,
    /// The last decision, as the source wrote it.
    pub decision: Option<String>,
    /// Rule that decided.
    pub policy_rule_id: Option<String>,
    /// Why.
    pub policy_reason: Option<String>,
    /// Snapshot of the policy.
    pub policy_snapshot: Option<String>,
    /// Whether a person had to say so first.
    pub approval_required: bool,
    /// What became of that; absent when nobody was asked.
    pub approval_status: Option<ApprovalStatus>,
    /// Who answered.
    pub resolved_by: Option<String>,
    /// With which words.
    pub resolved_comment: Option<String>,
    /// The agent or service.
    pub actor_id: Option<String>,
    /// The human on whose behalf.
    pub user_id: Option<String>,
    /// Time of the latest entry.
    pub updated_at: Option<String>,
    /// For each field the `event.id` of the entry that it comes from.
    pub from: BTreeMap<String, String>,
    /// The entries of the job by time of the event, the latest 1000.
    pub entries: Vec<EntryRef>,
    /// Whether there are more entries than these.
    pub truncated: bool,
}

/// Decisions about a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobDecisions {
    /// The job.
    pub job_id: String,
    /// Whose evidence it is.
    pub tenant: String,
    /// Decisions and answers, as in the ledger: the oldest first.
    pub decisions: Vec<DecisionRecord>,
    /// Ask with it for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// State of a job, its pointers and what became of its output.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "governance",
    params(("id" = String, Path, description = "The job, percent-encoded", example = "job-123"), TenantParams),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 404, description = "No entry names the job", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn job(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    let state = |api: &Api, tenant: &Tenant, id: &str| {
        state(api, tenant, id)?.ok_or_else(|| unknown("job"))
    };
    answer_about(&api, &caller, id, params.tenant.as_deref(), state).await
}

/// Decisions about a job: what was said, under which rule and snapshot, who approved.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/decisions", tag = "governance",
    params(("id" = String, Path, description = "The job, percent-encoded", example = "job-123"), PageParams),
    responses(
        (status = 200, description = "A page of decisions", body = JobDecisions),
        (status = 404, description = "No entry names the job", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn decisions(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let tenant = params.tenant.clone();
    let decided = move |api: &Api, tenant: &Tenant, id: &str| decided(api, tenant, id, &params);
    answer_about(&api, &caller, id, tenant.as_deref(), decided).await
}

/// Everything about a job in one answer: its state, decisions, approvals, timeline, the changes of the
/// policies that decided, and what does not fit together.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/evidence", tag = "governance",
    params(("id" = String, Path, description = "The job, percent-encoded", example = "job-123"), TenantParams),
    responses(
        (status = 200, description = "The five queries of an audit, joined", body = Case),
        (status = 404, description = "No entry names the job", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn evidence(
    State(api): State<Api>,
    caller: Caller,
    id: IdInPath,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    let joined = |api: &Api, tenant: &Tenant, id: &str| {
        let job = state(api, tenant, id)?.ok_or_else(|| unknown("job"))?;
        case(api, tenant, id, &[Namespace::Job], Some(job))?.ok_or_else(|| unknown("job"))
    };
    answer_about(&api, &caller, id, params.tenant.as_deref(), joined).await
}

/// The state of a job; `None` when no entry names it.
pub(super) fn state(api: &Api, tenant: &Tenant, id: &str) -> Result<Option<Job>, Problem> {
    let page = api.store.query(&request(tenant, is("job_id", id), Order::Newest, MAX_STUDIED))?;
    let mut records = records(&page.hits);
    if records.is_empty() {
        return Ok(None);
    }
    records.sort_by(|a, b| (a.event_ns, &a.entry.id).cmp(&(b.event_ns, &b.entry.id)));
    let truncated = page.next_cursor.is_some();
    let mut job = latest(id, tenant, &records);
    job.truncated = truncated | answered(api, tenant, &mut job, records)?;
    Ok(Some(job))
}

/// Adds what became of the last question about the job. Whoever answers may name only the approval, or
/// the run. Returns whether there is more about it than was looked at.
fn answered(
    api: &Api,
    tenant: &Tenant,
    job: &mut Job,
    mut records: Vec<Record>,
) -> Result<bool, Problem> {
    let asks = |record: &&Record| {
        record.outcome() == Some(Outcome::RequireApproval)
            || record.doc.audit.kind == "approval"
            || record.doc.audit.approval.id.is_some()
    };
    let asked: Vec<Record> = records.iter().rev().filter(asks).take(MAX_ASKED).cloned().collect();
    let (related, cut) = approvals::related(api, tenant, &asked)?;
    let own: BTreeSet<String> = records.iter().map(|record| record.entry.id.clone()).collect();
    records.extend(related.into_iter().filter(|record| !own.contains(&record.entry.id)));
    let mut approvals = Study::of(records).approvals;
    approvals.retain(|approval| approval.entries.iter().any(|entry| own.contains(&entry.id)));
    if let Some(approval) = approvals.pop() {
        job.approval_required = true;
        job.approval_status = Some(approval.approval_status);
        job.resolved_by = approval.resolved_by;
        job.resolved_comment = approval.resolved_comment;
    }
    Ok(cut)
}

/// Of each field the latest value.
fn latest(id: &str, tenant: &Tenant, records: &[Record]) -> Job {
    let mut from = BTreeMap::new();
    let mut last = |field: &str, value: &dyn Fn(&Record) -> Option<String>| {
        let found = records.iter().rev().find_map(|record| Some((value(record)?, record)));
        found.map(|(value, record)| {
            from.insert(field.to_owned(), record.entry.id.clone());
            value
        })
    };
    let job = Job {
        id: id.to_owned(),
        tenant: tenant.name().to_owned(),
        state: last("state", &|r| r.doc.audit.job.state.clone()),
        trace_id: records
            .iter()
            .rev()
            .find_map(|r| r.doc.audit.external.trace_id.first().cloned())
            .or_else(|| last("trace_id", &|r| r.doc.trace.id.clone())),
        run_id: last("run_id", &|r| r.doc.audit.run.id.clone()),
        workflow_id: last("workflow_id", &|r| r.doc.audit.workflow.id.clone()),
        workflow_step_id: last("workflow_step_id", &|r| r.doc.audit.step.id.clone()),
        job_hash: last("job_hash", &|r| r.doc.audit.job.hash.clone()),
        context_ptr: last("context_ptr", &|r| r.doc.audit.job.context_ptr.clone()),
        result_ptr: last("result_ptr", &|r| r.doc.audit.job.result_ptr.clone()),
        decision: last("decision", &|r| {
            let decision = &r.doc.audit.decision;
            decision.raw.clone().or_else(|| decision.outcome.clone())
        }),
        policy_rule_id: last("policy_rule_id", &|r| r.doc.audit.policy.rule_id.clone()),
        policy_reason: last("policy_reason", &|r| r.doc.audit.decision.reason.clone()),
        policy_snapshot: last("policy_snapshot", &|r| r.doc.audit.policy.snapshot.clone()),
        actor_id: last("actor_id", &|r| r.doc.audit.actor.id.clone()),
        user_id: last("user_id", &|r| r.doc.user.id.clone()),
        updated_at: last("updated_at", &|r| r.doc.timestamp.clone()),
        output_safety: records.iter().rev().find_map(|r| OutputSafety::of(&r.doc)),
        entries: records.iter().map(|r| r.entry.clone()).collect(),
        ..Job::default()
    };
    let safety = records.iter().rev().find(|r| OutputSafety::of(&r.doc).is_some());
    from.extend(safety.map(|record| ("output_safety".to_owned(), record.entry.id.clone())));
    let approval_required = records.iter().any(|r| r.doc.audit.approval.required == Some(true));
    Job { approval_required, from, ..job }
}

/// What a decision or an answer is found by.
pub(super) fn any_decision() -> Query {
    let decided = Query::Exists { field: "decision".to_owned() };
    let kinds = ["decision", "approval", "workflow_step_gate"].map(|kind| is("kind", kind));
    Query::Or([decided].into_iter().chain(kinds).collect())
}

fn decided(
    api: &Api,
    tenant: &Tenant,
    id: &str,
    params: &PageParams,
) -> Result<JobDecisions, Problem> {
    let limit = page_size(params.limit)?;
    let cursor = read_cursor(params.cursor.as_deref())?;
    let is_first = cursor.is_none();
    let query = Query::And(vec![is("job_id", id), any_decision()]);
    let page = request(tenant, query, Order::Ledger, limit);
    let page = api.store.query(&QueryRequest { cursor, ..page })?;
    if page.hits.is_empty() && is_first && !exists(api, tenant, is("job_id", id))? {
        return Err(unknown("job"));
    }
    Ok(JobDecisions {
        job_id: id.to_owned(),
        tenant: tenant.name().to_owned(),
        decisions: records(&page.hits).iter().map(DecisionRecord::of).collect(),
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
    })
}
