//! `GET /api/v1/approvals`: who waits for whom, and who answered.
//!
//! ```text
//! page of entries that ask or answer ─► all entries of the same approvals, decisions, jobs, actions
//!    └─► study ─► one item for each approval, at the first of its entries
//! ```
//!
//! An approval stands where the ledger has its first entry: what comes later changes its status and
//! never its place, so pages are stable while entries are appended. Where several approvals have their
//! first entry in common, the one whose id was named first stands there, and each other one at the
//! next of its own entries.

use super::caller::Caller;
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, page_size, read_cursor};
use super::told::{answer, is, records, request};
use crate::access::Tenant;
use crate::correlate::PauseKind;
use crate::entry::Outcome;
use crate::store::query::Query;
use crate::store::{Order, QueryRequest};
use crate::story::{Approval, ApprovalStatus, EntryRef, Record, Resumed, Study, pause_kind};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};
use utoipa::{IntoParams, ToSchema};

/// Entries that are looked at in one step: a question with the ids of so many stays small.
const STEP: usize = 50;

/// Most entries about the approvals of one step that are looked at; the answer says when there were
/// more. An approval has a handful.
const MAX_RELATED: usize = 2_000;

/// Most further approvals and decisions, named by what was found, whose answers are looked for in one
/// step; the answer says when there were more.
const MAX_IDS: usize = 200;

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
        Asked))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ApprovalParams>,
) -> Result<Response, Problem> {
    let tenant = params.tenant.clone();
    let page = move |api: &Api, tenant: &Tenant| page(api, tenant, &params);
    answer(&api, &caller, tenant.as_deref(), page).await
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
    let mut standing = placed(records);
    Ok((places.iter().filter_map(|id| standing.remove(id)).collect(), truncated))
}

/// Each approval by the entry at which it stands: no two at one.
fn placed(records: Vec<Record>) -> HashMap<String, Approval> {
    // A page is made of what `asks_or_answers` finds: at any other entry nothing would be shown.
    let listed: BTreeMap<EntryRef, Option<String>> = records
        .iter()
        .filter(|record| asks_or_is_answer(record))
        .map(|record| (record.entry.clone(), record.doc.audit.approval.id.clone()))
        .collect();
    let mut approvals: Vec<(u64, Vec<EntryRef>, Approval)> = Vec::new();
    for approval in Study::of(records).approvals {
        let mut entries: Vec<EntryRef> =
            approval.entries.iter().filter(|entry| listed.contains_key(*entry)).cloned().collect();
        entries.sort_by_key(|entry| entry.sequence);
        let named = |entry: &&EntryRef| listed.get(*entry) == Some(&approval.approval_id);
        let first_named = entries.iter().find(named).map_or(u64::MAX, |entry| entry.sequence);
        approvals.push((first_named, entries, approval));
    }
    approvals.sort_by_key(|(first_named, ..)| *first_named);
    let mut placed: HashMap<String, Approval> = HashMap::new();
    for (_, entries, approval) in approvals {
        if let Some(free) = entries.into_iter().find(|entry| !placed.contains_key(&entry.id)) {
            placed.insert(free.id, approval);
        }
    }
    placed
}

/// What [`asks_or_answers`] finds.
fn asks_or_is_answer(record: &Record) -> bool {
    let audit = &record.doc.audit;
    record.outcome() == Some(Outcome::RequireApproval)
        || audit.kind == "approval"
        || audit.approval.status.is_some()
}

/// Everything that may ask or answer about the same, and whether there is more.
pub(super) fn related(
    api: &Api,
    tenant: &Tenant,
    entries: &[Record],
) -> Result<(Vec<Record>, bool), Problem> {
    let (mut found, mut truncated) = find(api, tenant, &about(entries))?;
    // The answer may name only the thread: then it is that of the run that was interrupted.
    let (paused, cut) = pauses(api, tenant, entries.iter().chain(&found))?;
    truncated |= cut;
    let (asked, cut) = find(api, tenant, &interrupted(entries, &paused))?;
    truncated |= cut;
    found.extend(paused.into_iter().chain(asked));
    // An answer may name only the approval's id, which stands in an entry that was just found.
    let said = found.iter().filter(|record| asks_or_is_answer(record));
    let mut new: BTreeSet<Wanted<'_>> = ids(said).difference(&ids(entries)).cloned().collect();
    truncated |= new.len() > MAX_IDS;
    while new.len() > MAX_IDS {
        new.pop_last();
    }
    let (more, cut) = find(api, tenant, &new)?;
    found.extend(more);
    Ok((found, truncated | cut))
}

/// What stopped or resumed a run in the threads of these, and whether there is more.
fn pauses<'r>(
    api: &Api,
    tenant: &Tenant,
    entries: impl Iterator<Item = &'r Record>,
) -> Result<(Vec<Record>, bool), Problem> {
    let of_pause = entries.filter(|record| pause_kind(record).is_some());
    let mut threads: BTreeSet<&str> =
        of_pause.filter_map(|record| record.doc.audit.session.thread_id.as_deref()).collect();
    if threads.is_empty() {
        return Ok((Vec::new(), false));
    }
    let more = threads.len() > MAX_IDS;
    while threads.len() > MAX_IDS {
        threads.pop_last();
    }
    let any = threads.iter().map(|thread| is("thread_id", thread)).collect();
    let query = Query::And(vec![stops_or_resumes(), Query::Or(any)]);
    let page = api.store.query(&request(tenant, query, Order::Newest, MAX_RELATED))?;
    Ok((records(&page.hits), more || page.next_cursor.is_some()))
}

/// What stops a run that waits for a person, or resumes it.
fn stops_or_resumes() -> Query {
    let said = ["reason", "responder", "response"]
        .map(|name| Query::Exists { field: format!("audit.interrupt.{name}") });
    Query::Or([is("kind", "interrupt")].into_iter().chain(said).collect())
}

/// What was asked in the runs whose interrupts these entries answer.
fn interrupted<'r>(entries: &'r [Record], paused: &'r [Record]) -> BTreeSet<Wanted<'r>> {
    let resumed = Resumed::of(entries.iter().chain(paused));
    let answers = entries.iter().filter(|record| pause_kind(record) == Some(PauseKind::Resume));
    let places = answers.flat_map(|answer| resumed.interrupted(answer));
    let named = places.filter_map(|(scope, id)| {
        let name = match scope {
            "run" => "run_id",
            "workflow" => "workflow_id",
            "job" => "job_id",
            "trace" => "trace_id",
            _ => return None,
        };
        Some((vec![(name, id)], Of::Said))
    });
    named.collect()
}

/// Which entries of those that have all these values are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// All.
    All,
    /// Those that ask or answer, and those that stopped or resumed a run.
    Said,
    /// Those of them that name no action.
    SaidWithoutKey,
}

/// Fields with the values that are looked for, and which entries of those that have them.
type Wanted<'r> = (Vec<(&'static str, &'r str)>, Of);

/// Approvals and decisions that are named.
fn ids<'r>(entries: impl IntoIterator<Item = &'r Record>) -> BTreeSet<Wanted<'r>> {
    let named = entries.into_iter().flat_map(|record| {
        let audit = &record.doc.audit;
        [("approval_id", &audit.approval.id), ("decision_id", &audit.decision.id)]
    });
    named.filter_map(|(name, id)| Some((vec![(name, id.as_deref()?)], Of::All))).collect()
}

/// What an answer to one of these, or a question, may have in common with it.
fn about(entries: &[Record]) -> BTreeSet<Wanted<'_>> {
    let mut any = ids(entries);
    for record in entries {
        let audit = &record.doc.audit;
        any.extend(audit.job.id.as_deref().map(|id| (vec![("job_id", id)], Of::All)));
        let places = [
            ("run_id", audit.run.id.as_deref()),
            ("workflow_id", audit.workflow.id.as_deref()),
            // The answer may come days later in a trace of its own, under the orchestrator's id.
            ("trace_id", record.trace_id()),
            ("trace_id", record.doc.trace.id.as_deref()),
        ];
        for (name, id) in places {
            let Some(id) = id else { continue };
            // Without a key an action is known by its step or tool: what was said in its run.
            let said = match audit.action.key.as_deref() {
                Some(key) => {
                    any.insert((vec![(name, id), ("audit.action.key", key)], Of::All));
                    Of::SaidWithoutKey
                }
                None => Of::Said,
            };
            any.insert((vec![(name, id)], said));
        }
    }
    any
}

/// The latest entries that are wanted, and whether there are more.
fn find(
    api: &Api,
    tenant: &Tenant,
    any: &BTreeSet<Wanted<'_>>,
) -> Result<(Vec<Record>, bool), Problem> {
    if any.is_empty() {
        return Ok((Vec::new(), false));
    }
    let said =
        || Query::Or(vec![super::jobs::any_decision(), asks_or_answers(), stops_or_resumes()]);
    let keyless = || Query::Not(Box::new(Query::Exists { field: "audit.action.key".to_owned() }));
    let of = |of: Of, mut parts: Vec<Query>| {
        let wanted = any.iter().filter(|(_, own)| *own == of);
        let all = |terms: &[(&str, &str)]| {
            Query::And(terms.iter().map(|(name, value)| is(name, value)).collect())
        };
        let alike: Vec<Query> = wanted.map(|(terms, _)| all(terms)).collect();
        (!alike.is_empty()).then(|| {
            parts.push(Query::Or(alike));
            Query::And(parts)
        })
    };
    // What is the same for many stands once: clusters bound the parts of a question.
    let groups = [
        of(Of::All, Vec::new()),
        of(Of::Said, vec![said()]),
        of(Of::SaidWithoutKey, vec![said(), keyless()]),
    ];
    let query = Query::Or(groups.into_iter().flatten().collect());
    let page = api.store.query(&request(tenant, query, Order::Newest, MAX_RELATED))?;
    Ok((records(&page.hits), page.next_cursor.is_some()))
}
