//! `GET /api/v1/approvals`: who waits for whom, and who answered.
//!
//! ```text
//! page of entries that ask or answer ─► all entries of the same approvals, decisions, jobs, actions
//!    └─► study ─► one item for each approval, at the first of its entries
//! ```
//!
//! An approval stands where the ledger has its first entry: what comes later changes its status and
//! never its place, so pages are stable while entries are appended.

use super::caller::Caller;
use super::problem::Problem;
use super::service::{Api, Params, json, page_size, read_cursor};
use super::told::{is, records, request, tenant_of};
use crate::access::Tenant;
use crate::store::query::Query;
use crate::store::{Order, QueryRequest};
use crate::story::{Approval, ApprovalStatus, Record, Study};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};
use utoipa::{IntoParams, ToSchema};

/// Entries that are looked at in one step: a question with the ids of so many stays small.
const STEP: usize = 50;

/// Most entries about the approvals of one step that are looked at; the answer says when there were
/// more. An approval has a handful.
const MAX_RELATED: usize = 2_000;

/// How long approvals that are resolved are passed over to fill a page; then it ends early.
const FILL_TIME: Duration = Duration::from_secs(5);

/// Parameters of the list of approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApprovalParams {
    /// Whether those that were answered are listed, too; without it only pending ones are.
    pub include_resolved: Option<bool>,
    /// Most approvals on this page, 1 to 1000; 100 when absent. A page may have fewer and go on.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
}

/// A page of approvals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approvals {
    /// Whose evidence it is.
    pub tenant: String,
    /// The latest first, by their first entry in the ledger.
    pub items: Vec<Approval>,
    /// Ask with it for the next page; absent on the last.
    pub next_cursor: Option<String>,
    /// Whether more entries are about these approvals than are looked at: one that is shown as pending
    /// may have been answered.
    pub truncated: bool,
}

/// Approvals that wait for an answer, or all.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "governance", params(ApprovalParams),
    responses(
        (status = 200, description = "A page of approvals", body = Approvals),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many questions at once", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The answer took too long", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ApprovalParams>,
) -> Result<Response, Problem> {
    let tenant = tenant_of(&caller, params.tenant.as_deref())?;
    json(&api.ask(&caller, move |api| page(api, &tenant, &params)).await?)
}

/// What every approval is first found by.
fn asks_or_answers() -> Query {
    Query::Or(vec![
        is("decision", "require_approval"),
        is("kind", "approval"),
        Query::Exists { field: "approval_status".to_owned() },
    ])
}

fn page(api: &Api, tenant: &Tenant, params: &ApprovalParams) -> Result<Approvals, Problem> {
    let limit = page_size(params.limit)?;
    let all = params.include_resolved.unwrap_or(false);
    let mut cursor = read_cursor(params.cursor.as_deref())?;
    let began = Instant::now();
    let mut items: Vec<Approval> = Vec::new();
    let mut truncated = false;
    loop {
        let missing = limit.saturating_sub(items.len());
        // Each entry makes one item at most, so that a step never has more than fit.
        let step = request(tenant, asks_or_answers(), Order::Newest, missing.min(STEP));
        let step = api.store.query(&QueryRequest { cursor, ..step })?;
        let (found, cut) = first_of_each(api, tenant, records(&step.hits))?;
        truncated |= cut;
        let wanted =
            |approval: &Approval| all || approval.approval_status == ApprovalStatus::Pending;
        items.extend(found.into_iter().filter(wanted));
        cursor = step.next_cursor;
        if cursor.is_none() || items.len() >= limit || began.elapsed() >= FILL_TIME {
            break;
        }
    }
    Ok(Approvals {
        tenant: tenant.name().to_owned(),
        items,
        next_cursor: cursor.map(|cursor| cursor.to_string()),
        truncated,
    })
}

/// The approvals whose first entry is among these, in their order, and whether there is more about
/// them than was looked at.
fn first_of_each(
    api: &Api,
    tenant: &Tenant,
    entries: Vec<Record>,
) -> Result<(Vec<Approval>, bool), Problem> {
    if entries.is_empty() {
        return Ok((Vec::new(), false));
    }
    let (related, truncated) = related(api, tenant, &entries)?;
    let places: Vec<String> = entries.iter().map(|record| record.entry.id.clone()).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut records: Vec<Record> = Vec::new();
    for record in entries.into_iter().chain(related) {
        if seen.insert(record.entry.id.clone()) {
            records.push(record);
        }
    }
    let mut firsts: HashMap<String, Approval> = HashMap::new();
    for approval in Study::of(records).approvals {
        let first = approval.entries.iter().min_by_key(|entry| entry.sequence);
        if let Some(id) = first.map(|entry| entry.id.clone()) {
            firsts.insert(id, approval);
        }
    }
    Ok((places.iter().filter_map(|id| firsts.remove(id)).collect(), truncated))
}

/// Everything that may ask or answer about the same.
fn related(api: &Api, tenant: &Tenant, entries: &[Record]) -> Result<(Vec<Record>, bool), Problem> {
    let mut any: BTreeSet<(Vec<(&str, &str)>, bool)> = BTreeSet::new();
    for record in entries {
        let audit = &record.doc.audit;
        let ids = [
            ("approval_id", &audit.approval.id),
            ("decision_id", &audit.decision.id),
            ("job_id", &audit.job.id),
        ];
        any.extend(
            ids.iter().filter_map(|(name, id)| Some((vec![(*name, id.as_deref()?)], false))),
        );
        let places = [
            ("run_id", &audit.run.id),
            ("workflow_id", &audit.workflow.id),
            ("trace_id", &record.doc.trace.id),
        ];
        for (name, id) in places {
            let Some(id) = id.as_deref() else { continue };
            match audit.action.key.as_deref() {
                Some(key) => any.insert((vec![(name, id), ("audit.action.key", key)], false)),
                // Without a key an action is known by its step or tool: what was said in its run.
                None => any.insert((vec![(name, id)], true)),
            };
        }
    }
    let one = |(terms, only_said): (Vec<(&str, &str)>, bool)| {
        let mut parts: Vec<Query> = terms.iter().map(|(name, value)| is(name, value)).collect();
        if only_said {
            parts.push(super::jobs::any_decision());
        }
        Query::And(parts)
    };
    if any.is_empty() {
        return Ok((Vec::new(), false));
    }
    let query = Query::Or(any.into_iter().map(one).collect());
    let page = api.store.query(&request(tenant, query, Order::Newest, MAX_RELATED))?;
    Ok((records(&page.hits), page.next_cursor.is_some()))
}
