//! `GET /api/v1/entries`: search, and one entry by its id.

use super::answer::{EntriesAnswer, EntriesOrder, EntriesParams, TenantParams};
use super::caller::Caller;
use super::limits::{MAX_QUERY_BYTES, MAX_WAIT_SECONDS, QUERY_BUDGET, WAIT_STEP};
use super::problem::Problem;
use super::service::{Api, Params, document, documents, json, page_size, read_cursor};
use crate::access::{Right, Tenant};
use crate::store::query::Query;
use crate::store::{AuditStore, Cursor, Hit, Order, QueryRequest};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use std::time::Duration;
use tokio::time::Instant;

/// The cursor that begins behind the newest entry.
const AT_THE_END: &str = "end";

/// The cursor that begins with the first entry: the end of an empty ledger.
const AT_THE_START: &str = "start";

/// Entries that match a query.
///
/// The query language is what a person types into Kibana: `field:value`, quotes, `AND OR NOT`,
/// parentheses, ranges, `*` at the end. With `order=ledger` and `wait` a caller follows the ledger
/// without asking in a loop.
#[utoipa::path(get, path = "/api/v1/entries", tag = "evidence", params(EntriesParams),
    responses(
        (status = 200, description = "A page of entries", body = EntriesAnswer),
        (status = 400, description = "The query or a parameter cannot be used; `position` says where", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many questions at once", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The answer took too long", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn search(
    State(api): State<Api>,
    caller: Caller,
    Params(mut params): Params<EntriesParams>,
) -> Result<Response, Problem> {
    let wait = wait(&params)?;
    if let Some(query) = params.q.as_ref().filter(|query| query.len() > MAX_QUERY_BYTES) {
        let bytes = query.len();
        let detail = format!("The query has {bytes} bytes, the limit is {MAX_QUERY_BYTES}.");
        return Err(Problem::query(detail, None));
    }
    let Some(wait) = wait else {
        let by = caller.clone();
        return json(&api.ask(&by, move |api| page(api, &caller, &params)).await?);
    };
    let _waiting = api.wait(&caller)?;
    let until = Instant::now().checked_add(wait).ok_or_else(Problem::store)?;
    loop {
        let (asked, by) = (params.clone(), caller.clone());
        let answer = api.ask(&caller, move |api| page(api, &by, &asked)).await?;
        if !answer.entries.is_empty() || Instant::now() >= until || api.health.is_stopping() {
            return json(&answer);
        }
        // `end` is where it was at the first look, and what did not match is not looked at twice.
        params.cursor = answer.next_cursor;
        tokio::time::sleep(WAIT_STEP).await;
        caller.still_may(&api, Right::Read)?;
    }
}

/// How long the caller waits for the ledger to go on.
fn wait(params: &EntriesParams) -> Result<Option<Duration>, Problem> {
    match params.wait {
        None => Ok(None),
        Some(_) if params.order != Some(EntriesOrder::Ledger) => Err(Problem::parameter(
            "`wait` goes with `order=ledger`: only there new entries come at the end.",
        )),
        Some(seconds) if seconds > MAX_WAIT_SECONDS => Err(Problem::parameter(format!(
            "`wait` is at most {MAX_WAIT_SECONDS} seconds, not {seconds}; ask again after it."
        ))),
        Some(seconds) => Ok(Some(Duration::from_secs(seconds.into()))),
    }
}

fn page(api: &Api, caller: &Caller, params: &EntriesParams) -> Result<EntriesAnswer, Problem> {
    let order = params.order.unwrap_or_default();
    let query = Query::parse(params.q.as_deref().unwrap_or_default())?;
    let tenant = caller.scope(params.tenant.as_deref(), Some(&query))?;
    let limit = page_size(params.limit)?;
    // Who follows is told where to go on behind the last entry; for others the pages end.
    let following = order == EntriesOrder::Ledger
        && (params.wait.is_some()
            || matches!(params.cursor.as_deref(), Some(AT_THE_END | AT_THE_START)));
    let asked: &dyn AuditStore = &*api.store;
    let store = if following { asked.followed().unwrap_or(asked) } else { asked };
    // Asked before the page: all up to here are in the page when the page is not full.
    let newest = if following { newest(&tenant, store)? } else { None };
    let cursor = match params.cursor.as_deref() {
        Some(AT_THE_END) if following => match newest {
            Some(newest) => Some(Cursor::Above(newest)),
            None => return Ok(nothing_yet(Some(AT_THE_START.to_owned()))),
        },
        Some(AT_THE_START) if following => None,
        other => read_cursor(other)?,
    };
    if let (Some(Cursor::Above(above)), true) = (&cursor, following)
        && newest.is_none_or(|newest| newest <= *above)
    {
        return Ok(nothing_yet(Some(Cursor::Above(*above).to_string())));
    }
    let page = store.query(&QueryRequest {
        tenant,
        query,
        order: match order {
            EntriesOrder::Newest => Order::Newest,
            EntriesOrder::Oldest | EntriesOrder::Ledger => Order::Ledger,
            EntriesOrder::Story => Order::Story,
        },
        limit,
        cursor,
        budget: QUERY_BUDGET,
    })?;
    let last = page.hits.last().map(|hit| hit.sequence);
    let behind = following.then(|| match last.max(newest) {
        Some(sequence) => Cursor::Above(sequence).to_string(),
        None => AT_THE_START.to_owned(),
    });
    let entries = documents(page.hits);
    Ok(EntriesAnswer {
        count: entries.len(),
        entries,
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()).or(behind),
        timed_out: page.timed_out,
        truncated: page.truncated,
        order,
    })
}

/// The answer to a follower who has seen everything.
fn nothing_yet(next_cursor: Option<String>) -> EntriesAnswer {
    EntriesAnswer { next_cursor, order: EntriesOrder::Ledger, ..EntriesAnswer::default() }
}

/// Sequence of the tenant's newest entry.
fn newest(tenant: &Tenant, store: &dyn AuditStore) -> Result<Option<u64>, Problem> {
    let all = QueryRequest::new(tenant.clone(), Query::All);
    let page = store.query(&QueryRequest { limit: 1, budget: QUERY_BUDGET, ..all })?;
    Ok(page.hits.first().map(|hit| hit.sequence))
}

/// One entry by its id.
#[utoipa::path(get, path = "/api/v1/entries/{id}", tag = "evidence",
    params(("id" = String, Path, description = "`event.id` of the entry, 32 hexadecimal digits"),
        TenantParams),
    responses(
        (status = 200, description = "The projected entry", body = Object),
        (status = 400, description = "Not an entry's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No entry has that id", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn entry(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    let id = entry_id(id)?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let found = api.ask(&caller, move |api| find_entry(api, tenant, id).map(document)).await?;
    found.map_or_else(|| Err(no_such_entry()), |document| json(&document))
}

/// The entry of a tenant that has that id.
pub(super) fn find_entry(api: &Api, tenant: Tenant, id: [u8; 16]) -> Result<Hit, Problem> {
    let text = format!("{:032x}", u128::from_be_bytes(id));
    let one = QueryRequest::new(tenant, Query::term("event.id", &text));
    let page = api.store.query(&QueryRequest { limit: 1, budget: QUERY_BUDGET, ..one })?;
    page.hits.into_iter().next().ok_or_else(no_such_entry)
}

pub(super) fn no_such_entry() -> Problem {
    Problem::not_found(
        "No entry has this id. What was acknowledged a moment ago is shown a moment later.",
    )
}

/// The id of an entry in a path.
pub(super) fn entry_id(id: Result<Path<String>, PathRejection>) -> Result<[u8; 16], Problem> {
    id.ok().and_then(|Path(id)| read_id(&id)).ok_or_else(|| {
        Problem::parameter(
            "An entry's id has 32 hexadecimal digits; other ids go to /api/v1/traces/{id}.",
        )
    })
}

fn read_id(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(number.to_be_bytes())
}
