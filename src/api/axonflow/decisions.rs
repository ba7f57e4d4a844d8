//! `GET /api/v1/decisions…`: recorded decisions. They are read, never made.

use super::super::caller::Caller;
use super::super::limits::MAX_QUERY_BYTES;
use super::super::problem::Problem;
use super::super::service::{Api, Params};
use super::answer::{decision_word, scoped};
use super::audit::bound;
use super::found::{Found, all, has, newest};
use super::workflows::OneParams;
use crate::store::query::Query;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// Decisions of a page when nobody says how many.
const DEFAULT_DECISIONS: u32 = 100;

/// Most decisions of a page.
const MAX_DECISIONS: u32 = 1_000;

/// Which decisions.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DecisionsParams {
    /// Not before, RFC 3339.
    since: Option<String>,
    /// In any word for it: `blocked`, `allow`, ….
    decision: Option<String>,
    /// Id, name or rule of a policy that decided.
    policy_id: Option<String>,
    /// Name of the tool.
    tool_signature: Option<String>,
    /// Decisions on this page, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    tenant: Option<String>,
}

/// A page of decisions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct DecisionsAnswer {
    /// The newest first.
    pub decisions: Vec<DecisionSummary>,
}

/// A decision that has an id.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct DecisionSummary {
    /// Id.
    pub decision_id: String,
    /// When it was made, RFC 3339.
    pub timestamp: String,
    /// `allowed`, `blocked`, `redacted`, `needs_approval`, `error`, or another word.
    pub decision: String,
    /// In the words of whoever decided.
    pub decision_reported: String,
    /// First of the policies that decided; empty when nobody said.
    pub policy_id: String,
    /// Name of the tool; empty when it was about none.
    pub tool_signature: String,
    /// Of which workflow.
    pub workflow_id: Option<String>,
}

/// Recorded decisions, the newest first.
#[utoipa::path(get, path = "/api/v1/decisions", tag = "axonflow", params(DecisionsParams),
    responses(
        (status = 200, description = "A page of decisions", body = DecisionsAnswer),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn decisions(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<DecisionsParams>,
) -> Result<Response, Problem> {
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let limit = params.limit.unwrap_or(DEFAULT_DECISIONS);
    if limit == 0 || limit > MAX_DECISIONS {
        let detail = format!("`limit` is 1 to {MAX_DECISIONS}, not {limit}.");
        return Err(Problem::parameter(detail));
    }
    let limit = usize::try_from(limit).map_err(|_| Problem::store())?;
    let query = question(&params)?;
    let found = api.ask(&caller, move |api| newest(api, &tenant, &query, limit)).await?;
    let newest_first = found.entries.iter().rev();
    let decisions = newest_first.filter_map(summary).take(limit).collect();
    scoped(&DecisionsAnswer { decisions })
}

fn question(params: &DecisionsParams) -> Result<Query, Problem> {
    let mut parts = vec![has("decision_id"), has("decision")];
    for (name, field, value) in [
        ("decision", "decision", &params.decision),
        ("policy_id", "policy", &params.policy_id),
        ("tool_signature", "tool", &params.tool_signature),
    ] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
        if value.len() > MAX_QUERY_BYTES {
            return Err(Problem::parameter(format!(
                "`{name}` has more than {MAX_QUERY_BYTES} bytes."
            )));
        }
        parts.push(Query::term(field, value));
    }
    if let lower @ Some(_) = bound("since", params.since.as_deref())? {
        parts.push(Query::Range { field: "@timestamp".to_owned(), lower, upper: None });
    }
    Ok(all(parts))
}

fn summary(found: &Found) -> Option<DecisionSummary> {
    let (brief, audit) = (&found.brief, &found.brief.audit);
    Some(DecisionSummary {
        decision_id: audit.decision.id.clone()?,
        timestamp: brief.timestamp.clone(),
        decision: decision_word(audit.decision.raw.as_deref()).to_owned(),
        decision_reported: audit.decision.raw.clone()?,
        policy_id: audit.policy.id.first().cloned().unwrap_or_default(),
        tool_signature: brief.gen_ai.tool.name.clone().unwrap_or_default(),
        workflow_id: audit.workflow.id.clone(),
    })
}

/// Why a decision was made, as far as it is on record.
#[utoipa::path(get, path = "/api/v1/decisions/{id}/explain", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the decision, percent-encoded"), OneParams),
    responses(
        (status = 200, description = "The decision", body = Object),
        (status = 404, description = "No recorded decision has that id", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn explain(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<OneParams>,
) -> Result<Response, Problem> {
    /// Entries with one decision's id that are looked at: the decision, its approval, its repeats.
    const MOST: usize = 100;
    let Path(id) = id.map_err(|_| Problem::parameter("The id is not percent-encoded UTF-8."))?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let query = all([Query::term("decision_id", &id), has("decision")]);
    let found = api.ask(&caller, move |api| newest(api, &tenant, &query, MOST)).await?;
    let decision = found.entries.iter().find_map(explanation);
    let decision =
        decision.ok_or_else(|| Problem::not_found("No recorded decision has this id."))?;
    scoped(&decision)
}

fn explanation(found: &Found) -> Option<Value> {
    let (brief, audit) = (&found.brief, &found.brief.audit);
    let list = |policies: &Option<Value>| {
        policies.as_ref().and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut matches = list(&audit.policy.matched);
    matches.retain(|policy| policy.get("policy_id").is_some_and(Value::is_string));
    if matches.is_empty() {
        matches = audit.policy.id.iter().map(|id| json!({"policy_id": id})).collect();
    }
    Some(json!({
        "decision_id": audit.decision.id.as_deref()?,
        "timestamp": brief.timestamp,
        "decision": decision_word(audit.decision.raw.as_deref()),
        "decision_reported": audit.decision.raw.as_deref()?,
        "reason": audit.decision.reason.as_deref().unwrap_or_default(),
        "policy_matches": matches,
        "policies_evaluated": list(&audit.policy.evaluated),
        "tool_signature": brief.gen_ai.tool.name.as_deref().unwrap_or_default(),
        "override_available": false,
        "workflow_id": audit.workflow.id,
        "step_id": audit.step.id,
        "entry_id": brief.event.id,
    }))
}
