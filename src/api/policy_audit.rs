//! `GET /api/v1/policy/audit`: what was published and rolled back, and by whom.

use super::caller::Caller;
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, page_size, read_cursor};
use super::told::{PageParams, answer, is, records, request};
use crate::access::Tenant;
use crate::store::{Order, QueryRequest};
use crate::story::Record;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A policy that was published or rolled back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyChange {
    /// `event.id` of the entry: with it a proof can be asked for.
    pub id: String,
    /// Place of the entry in the ledger.
    pub sequence: u64,
    /// `publish`, `rollback`, or the action as the source wrote it.
    pub action: Option<String>,
    /// Who did it.
    pub actor_id: Option<String>,
    /// `user`, `agent`, `service`, as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor_type: Option<String>,
    /// `asserted` when a payload says who, `authenticated` when a credential does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor_source: Option<String>,
    /// The policies or bundles.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub bundle_ids: Vec<String>,
    /// The entry in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Snapshot before.
    pub snapshot_before: Option<String>,
    /// Snapshot after.
    pub snapshot_after: Option<String>,
    /// What changed, field by field, where the source says it: `path`, `before`, `after`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schema(value_type = Vec<Object>)]
    pub changes: Vec<Value>,
    /// When, RFC 3339.
    pub created_at: Option<String>,
}

/// Policies that were published and rolled back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyAudit {
    /// Whose evidence it is.
    pub tenant: String,
    /// The latest in the ledger first.
    pub items: Vec<PolicyChange>,
    /// Ask with it for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// Policies that were published and rolled back, with actor and snapshots.
#[utoipa::path(get, path = "/api/v1/policy/audit", tag = "governance", params(PageParams),
    responses(
        (status = 200, description = "A page of changes", body = PolicyAudit),
        Asked))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let tenant = params.tenant.clone();
    let page = move |api: &Api, tenant: &Tenant| page(api, tenant, &params);
    answer(&api, &caller, tenant.as_deref(), page).await
}

fn page(api: &Api, tenant: &Tenant, params: &PageParams) -> Result<PolicyAudit, Problem> {
    let limit = page_size(params.limit)?;
    let cursor = read_cursor(params.cursor.as_deref())?;
    let page = request(tenant, is("kind", "policy_change"), Order::Newest, limit);
    let page = api.store.query(&QueryRequest { cursor, ..page })?;
    Ok(PolicyAudit {
        tenant: tenant.name().to_owned(),
        items: records(&page.hits).iter().map(change).collect(),
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
    })
}

/// An entry as a change of policy.
pub(super) fn change(record: &Record) -> PolicyChange {
    let doc = &record.doc;
    let audit = &doc.audit;
    let action = doc.event.action.as_deref();
    PolicyChange {
        id: record.entry.id.clone(),
        sequence: record.entry.sequence,
        action: action.map(|action| action.strip_prefix("policy.").unwrap_or(action).to_owned()),
        actor_id: audit.actor.id.clone().or_else(|| doc.user.id.clone()),
        actor_type: audit.actor.kind.clone(),
        actor_source: audit.actor.source.clone(),
        bundle_ids: audit.policy.id.clone(),
        message: doc.message.clone(),
        reason: doc.event.reason.clone().or_else(|| audit.decision.reason.clone()),
        snapshot_before: audit.policy.snapshot_before.clone(),
        snapshot_after: audit.policy.snapshot_after.clone(),
        changes: audit.change.clone(),
        created_at: doc.timestamp.clone(),
    }
}
