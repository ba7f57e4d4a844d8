//! `GET /api/v1/entries`: search, and one entry by its id.

use super::answer::{EntriesAnswer, EntriesOrder, EntriesParams};
use super::limits::{MAX_QUERY_BYTES, MAX_WAIT_SECONDS, WAIT_STEP};
use super::problem::Problem;
use super::service::{Api, Params, cursor_text, json, page_size};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use std::time::Duration;
use tokio::time::Instant;

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
    Params(params): Params<EntriesParams>,
) -> Result<Response, Problem> {
    let wait = wait(&params)?;
    if let Some(query) = params.q.as_ref().filter(|query| query.len() > MAX_QUERY_BYTES) {
        let bytes = query.len();
        let detail = format!("The query has {bytes} bytes, the limit is {MAX_QUERY_BYTES}.");
        return Err(Problem::query(detail, None));
    }
    let Some(wait) = wait else {
        return json(&api.ask(move |api| page(api, &params)).await?);
    };
    let _waiting = api.waiting.clone().try_acquire_owned().map_err(|_| Problem::busy())?;
    let until = Instant::now().checked_add(wait).ok_or_else(Problem::store)?;
    loop {
        let asked = params.clone();
        let answer = api.ask(move |api| page(api, &asked)).await?;
        if !answer.entries.is_empty() || Instant::now() >= until {
            return json(&answer);
        }
        tokio::time::sleep(WAIT_STEP).await;
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

fn page(api: &Api, params: &EntriesParams) -> Result<EntriesAnswer, Problem> {
    let limit = page_size(params.limit)?;
    let cursor = cursor_text(params.cursor.as_deref())?;
    let _ = (api.tenant(), limit, cursor);
    Err(Problem::store())
}

/// One entry by its id.
#[utoipa::path(get, path = "/api/v1/entries/{id}", tag = "evidence",
    params(("id" = String, Path, description = "`event.id` of the entry, 32 hexadecimal digits")),
    responses(
        (status = 200, description = "The projected entry", body = Object),
        (status = 400, description = "Not an entry's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No entry has that id", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn entry(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = id.ok().and_then(|Path(id)| entry_id(&id)).ok_or_else(|| {
        Problem::parameter(
            "An entry's id has 32 hexadecimal digits; other ids go to /api/v1/traces/{id}.",
        )
    })?;
    let _ = (api, id);
    Err(Problem::store())
}

fn entry_id(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(number.to_be_bytes())
}
