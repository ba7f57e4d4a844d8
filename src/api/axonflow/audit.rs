//! `POST /api/v1/audit/search` and `GET /api/v1/audit/tenant/{id}`: entries as AxonFlow's audit
//! log shows them.

use super::super::caller::Caller;
use super::super::limits::MAX_QUERY_BYTES;
use super::super::problem::Problem;
use super::super::service::{Api, Params};
use super::answer::{decision_word, scoped, with_scope};
use super::body::Incoming;
use super::found::{Brief, Finding, Found, all, any, newest};
use super::workflows::OneParams;
use super::{COUNTED_ENTRIES, MAX_LISTED_ENTRIES};
use crate::access::Tenant;
use crate::entry::Outcome;
use crate::store::query::{Bound, Query, Value as Wanted};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

/// Entries of a search when nobody says how many, as AxonFlow's clients expect.
const DEFAULT_FOUND: u32 = 100;

/// Entries of a tenant's page when nobody says how many.
const DEFAULT_OF_TENANT: u32 = 50;

/// Most entries of a page.
const MAX_FOUND: u32 = 1_000;

/// What to look for. All that is given has to hold.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSearch {
    /// The orchestrator's own trace id, in any spelling.
    #[schema(example = "langsmith-run-abc123")]
    pub trace_id: Option<String>,
    /// Workflow.
    pub workflow_id: Option<String>,
    /// Operation or kind: `workflow_step_gate`, `tool_call_audit`, `llm_call`, ….
    pub request_type: Option<String>,
    /// Decision in any word for it (`blocked`, `allow`), else `event.action`.
    pub action: Option<String>,
    /// Decision.
    pub decision_id: Option<String>,
    /// Id, name or rule of a policy that decided.
    pub policy_name: Option<String>,
    /// A word anywhere in an entry.
    pub override_id: Option<String>,
    /// Address of the person.
    pub user_email: Option<String>,
    /// Client, as it calls itself.
    pub client_id: Option<String>,
    /// Not before, RFC 3339; without an offset in UTC.
    pub start_time: Option<String>,
    /// Not after, RFC 3339; without an offset in UTC.
    pub end_time: Option<String>,
    /// Entries on this page, 1 to 1000; 100 when absent.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Entries that are passed over, from the newest.
    pub offset: Option<usize>,
}

/// Which page of a tenant's entries.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct OfTenantParams {
    /// Entries on this page, 1 to 1000; 50 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Entries that are passed over, from the newest.
    offset: Option<usize>,
}

/// A page of the audit log, the newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditAnswer {
    /// Entries as AxonFlow's clients read them.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Value>,
    /// How many there are in all, as far as they were counted.
    pub total: usize,
    /// Most on this page.
    pub limit: usize,
    /// How many were passed over.
    pub offset: usize,
    /// Whether there are more than `total`.
    pub total_is_lower_bound: bool,
}

/// Searches the audit log.
///
/// Everything that is more than a plain span or a line of a log is in it, whoever sent it. The
/// workflow's id stands in `request_id`; what an operation says of itself is in `details`.
#[utoipa::path(post, path = "/api/v1/audit/search", tag = "axonflow", params(OneParams),
    request_body(content = AuditSearch, content_type = "application/json"),
    responses(
        (status = 200, description = "A page of entries", body = AuditAnswer),
        (status = 400, description = "The search cannot be used", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn search(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<OneParams>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let wanted: AuditSearch = incoming.json()?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let limit = page(wanted.limit, DEFAULT_FOUND)?;
    let offset = offset(wanted.offset)?;
    let query = question(&wanted)?;
    scoped(&api.ask(&caller, move |api| entries(api, &tenant, &query, limit, offset)).await?)
}

/// The audit log of a tenant: the caller's own. Of any other there is nothing, as of one that
/// does not exist.
#[utoipa::path(get, path = "/api/v1/audit/tenant/{id}", tag = "axonflow",
    params(("id" = String, Path, description = "Name of the tenant"), OfTenantParams),
    responses(
        (status = 200, description = "A page of entries", body = AuditAnswer),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn of_tenant(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<OfTenantParams>,
) -> Result<Response, Problem> {
    // What cannot be a tenant's name is a tenant that does not exist.
    let named = id.ok().and_then(|Path(id)| caller.scope(Some(&id), None).ok());
    let tenant = named.unwrap_or_else(Tenant::nobody);
    let limit = page(params.limit, DEFAULT_OF_TENANT)?;
    let offset = offset(params.offset)?;
    let scope = if tenant == Tenant::nobody() { "none" } else { "tenant" };
    let query = log_only([]);
    let answer = api.ask(&caller, move |api| entries(api, &tenant, &query, limit, offset)).await?;
    with_scope(&answer, scope)
}

fn page(limit: Option<u32>, usual: u32) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(usual);
    if limit == 0 || limit > MAX_FOUND {
        let detail = format!("`limit` is 1 to {MAX_FOUND}, not {limit}; page with `offset`.");
        return Err(Problem::parameter(detail));
    }
    usize::try_from(limit).map_err(|_| Problem::store())
}

fn offset(offset: Option<usize>) -> Result<usize, Problem> {
    let offset = offset.unwrap_or(0);
    if offset > MAX_LISTED_ENTRIES {
        return Err(Problem::parameter(format!(
            "`offset` is at most {MAX_LISTED_ENTRIES}: ask for a shorter time with `end_time`, or \
             page with the cursor of /api/v1/entries."
        )));
    }
    Ok(offset)
}

/// What is more than a plain span or a line of a log, and all of these. Requests that were refused
/// are none of it: nothing of them was taken.
fn log_only(parts: impl IntoIterator<Item = Query>) -> Query {
    let plain = any(&[("kind", "span"), ("kind", "log"), ("kind", "rejection")]);
    all(parts.into_iter().chain([Query::Not(Box::new(plain))]))
}

fn question(wanted: &AuditSearch) -> Result<Query, Problem> {
    let AuditSearch { trace_id, workflow_id, decision_id, user_email, client_id, .. } = wanted;
    let terms = [
        ("trace_id", trace_id),
        ("workflow_id", workflow_id),
        ("decision_id", decision_id),
        ("user.email", user_email),
        ("audit.claims.client_id", client_id),
    ];
    let mut parts = Vec::new();
    for (field, value) in terms {
        if let Some(value) = given(field, value.as_deref())? {
            parts.push(Query::term(field, value));
        }
    }
    if let Some(word) = given("request_type", wanted.request_type.as_deref())? {
        parts.push(any(&[("request_type", word), ("kind", word)]));
    }
    if let Some(word) = given("action", wanted.action.as_deref())? {
        parts.push(match Outcome::from_word(word) {
            Some(_) => Query::term("decision", word),
            None => any(&[("action", word), ("request_type", word)]),
        });
    }
    if let Some(name) = given("policy_name", wanted.policy_name.as_deref())? {
        parts.push(any(&[("policy", name), ("audit.policy.matched.policy_name", name)]));
    }
    if let Some(text) = given("override_id", wanted.override_id.as_deref())? {
        let value = Wanted { text: text.to_owned(), prefix: false };
        parts.push(Query::Term { field: None, value });
    }
    let lower = bound("start_time", wanted.start_time.as_deref())?;
    let upper = bound("end_time", wanted.end_time.as_deref())?;
    if lower.is_some() || upper.is_some() {
        parts.push(Query::Range { field: "@timestamp".to_owned(), lower, upper });
    }
    Ok(log_only(parts))
}

/// What is not empty: clients send an empty text for what nobody asked for.
fn given<'v>(name: &str, value: Option<&'v str>) -> Result<Option<&'v str>, Problem> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) if value.len() > MAX_QUERY_BYTES => {
            Err(Problem::parameter(format!("`{name}` has more than {MAX_QUERY_BYTES} bytes.")))
        }
        value => Ok(value),
    }
}

/// One end of a stretch of time.
pub(super) fn bound(name: &str, value: Option<&str>) -> Result<Option<Bound>, Problem> {
    let Some(text) = value.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.parse::<Timestamp>().is_err() && text.parse::<DateTime>().is_err() {
        return Err(Problem::parameter(format!(
            "`{name}` is a time such as 2026-11-21T08:00:00Z, not {text:?}."
        )));
    }
    Ok(Some(Bound { value: text.to_owned(), inclusive: true }))
}

fn entries(
    api: &Api,
    tenant: &Tenant,
    query: &Query,
    limit: usize,
    offset: usize,
) -> Result<AuditAnswer, Problem> {
    let wanted = offset.saturating_add(limit).saturating_add(1).max(COUNTED_ENTRIES);
    let Finding { entries, is_whole } = newest(api, tenant, query, wanted)?;
    let total = entries.len();
    let page = entries.iter().rev().skip(offset).take(limit);
    Ok(AuditAnswer {
        entries: page.map(|found| entry(found, tenant)).collect(),
        total,
        limit,
        offset,
        total_is_lower_bound: !is_whole,
    })
}

/// An entry as AxonFlow's clients read it: texts and numbers that are absent are empty, because
/// the clients refuse null.
fn entry(found: &Found, tenant: &Tenant) -> Value {
    let brief = &found.brief;
    let (audit, gen_ai) = (&brief.audit, &brief.gen_ai);
    let workflow = audit.workflow.id.as_deref();
    let usage = &gen_ai.usage;
    let in_and_out = usage.input.unwrap_or(0).saturating_add(usage.output.unwrap_or(0));
    let tenant_id = brief.organization.id.as_deref().unwrap_or(tenant.name());
    let request_type = audit.request_type.as_deref().unwrap_or(&audit.kind);
    let decision = decision_word(audit.decision.raw.as_deref());
    let provider = gen_ai.provider.name.as_deref();
    let model = gen_ai.response.model.as_deref().or(gen_ai.request.model.as_deref());
    json!({
        "id": brief.event.id,
        "request_id": workflow.unwrap_or(&brief.event.id),
        "timestamp": brief.timestamp,
        "tenant_id": tenant_id,
        "client_id": text(audit.claims.client_id.as_ref()),
        "user_id": text(brief.user.id.as_ref()),
        "user_email": text(brief.user.email.as_ref()),
        "request_type": request_type,
        "policy_decision": decision,
        "policy_details": policy_details(brief),
        "provider": provider.unwrap_or_default(),
        "model": model.unwrap_or_default(),
        "tokens_used": usage.total.unwrap_or(in_and_out).max(0),
        "response_time_ms": response_time_ms(brief),
        "query_summary": text(brief.message.as_ref()),
        "success": brief.event.outcome.as_deref() != Some("failure"),
        "blocked": decision == "blocked",
        "workflow_id": workflow,
        "trace_id": audit.external.trace_id.first().or(brief.trace_id.first()),
        "trace_ids": brief.trace_id,
        "details": details(brief),
    })
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

fn response_time_ms(brief: &Brief) -> u64 {
    let of_span = brief.event.duration.map(|nanoseconds| nanoseconds / 1_000_000);
    let said = |value: &Option<Value>| value.as_ref().and_then(Value::as_u64);
    let attributes = &brief.attributes;
    let told = [said(&attributes.duration_ms), said(&attributes.latency_ms), of_span];
    told.into_iter().flatten().next().unwrap_or(0)
}

fn policy_details(brief: &Brief) -> Option<Value> {
    let (decision, policy) = (&brief.audit.decision, &brief.audit.policy);
    let mut details = Map::new();
    add(&mut details, "decision_id", decision.id.as_deref());
    add(&mut details, "decision", decision.raw.as_deref());
    add(&mut details, "reason", decision.reason.as_deref());
    add(&mut details, "policy_name", policy.name.as_deref());
    add(&mut details, "rule_id", policy.rule_id.as_deref());
    if !policy.id.is_empty() {
        details.insert("policy_ids".to_owned(), json!(policy.id));
    }
    for (name, list) in
        [("policies_evaluated", &policy.evaluated), ("policies_matched", &policy.matched)]
    {
        details.extend(list.clone().map(|list| (name.to_owned(), list)));
    }
    (!details.is_empty()).then_some(Value::Object(details))
}

/// What an operation says of itself, under the names of the tracing guide.
fn details(brief: &Brief) -> Value {
    let (audit, gen_ai) = (&brief.audit, &brief.gen_ai);
    let mut details = Map::new();
    for (name, value) in [
        ("workflow_name", &audit.workflow.name),
        ("source", &audit.workflow.source),
        ("step_id", &audit.step.id),
        ("step_name", &audit.step.name),
        ("step_type", &audit.step.kind),
        ("model", &gen_ai.request.model),
        ("provider", &gen_ai.provider.name),
        ("tool_name", &gen_ai.tool.name),
        ("tool_type", &gen_ai.tool.kind),
        ("decision", &audit.decision.raw),
        ("decision_reason", &audit.decision.reason),
        ("approval_status", &audit.approval.status),
        ("approved_by", &audit.approval.resolved_by),
        ("reason", &brief.event.reason),
        ("error_message", &brief.error.message),
    ] {
        add(&mut details, name, value.as_deref());
    }
    add(&mut details, "trace_id", audit.external.trace_id.first().map(String::as_str));
    let numbers = [
        ("policies_evaluated", audit.policy.evaluated.as_ref().and_then(count)),
        ("policies_matched", audit.policy.matched.as_ref().and_then(count)),
        ("total_steps", audit.workflow.total_steps),
    ];
    for (name, number) in numbers {
        details.extend(number.map(|number| (name.to_owned(), Value::from(number))));
    }
    Value::Object(details)
}

/// How many policies: a list of them, or the number itself.
fn count(policies: &Value) -> Option<i64> {
    match policies {
        Value::Array(list) => i64::try_from(list.len()).ok(),
        other => other.as_i64(),
    }
}

fn add(details: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    details.extend(value.map(|value| (name.to_owned(), Value::from(value))));
}
