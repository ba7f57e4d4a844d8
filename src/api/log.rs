//! `/log/…`: the public log, as programs for such logs read it (c2sp.org/tlog-tiles).
//!
//! It shows how many entries there are of all tenants together, when each came and under which
//! pseudonym, so it is for whoever reads every tenant's evidence.

use super::caller::Caller;
use super::problem::Problem;
use super::service::Api;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::{PublicLog, PublicLogError, Tile, key_lines};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// For what changes with the next checkpoint: kept, and asked about each time.
const CHANGES: &str = "private, no-cache";

/// For a partial tile, which a full one replaces: kept for a minute.
const PASSES: &str = "private, max-age=60";

/// For a full tile: kept for a year, as it never changes.
const STAYS: &str = "private, max-age=31536000, immutable";

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// The last signed checkpoint, as a signed note (c2sp.org/tlog-checkpoint).
#[utoipa::path(get, path = "/log/checkpoint", tag = "log", responses(
    (status = 200, description = "The checkpoint", content_type = "text/plain", body = String),
    (status = 304, description = "The one that the caller has"),
    (status = 404, description = "Nothing is signed yet", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn checkpoint(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = |log: &PublicLog| Ok(log.checkpoint()?.map(|SignedCheckpoint { note, .. }| note));
    answer(&api, &caller, &headers, (TEXT, CHANGES), read).await
}

/// The verifier keys of all that signed checkpoints of this log, one a line, the newest last.
#[utoipa::path(get, path = "/log/keys", tag = "log", responses(
    (status = 200, description = "The keys", content_type = "text/plain", body = String),
    (status = 304, description = "Those that the caller has"),
    (status = 404, description = "Nothing is signed yet", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn keys(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = |log: &PublicLog| {
        let lines = key_lines(&log.keys()?);
        Ok(Some(lines.into_bytes()).filter(|lines| !lines.is_empty()))
    };
    answer(&api, &caller, &headers, (TEXT, CHANGES), read).await
}

/// A tile of hashes (`<L>/<N>[.p/<W>]`) or a bundle of leaf records (`entries/<N>[.p/<W>]`), as
/// c2sp.org/tlog-tiles names them.
#[utoipa::path(get, path = "/log/tile/{path}", tag = "log",
    params(("path" = String, Path, description = "`0/x001/234`, `entries/000.p/17`")),
    responses(
        (status = 200, description = "The tile", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "The one that the caller has"),
        (status = 404, description = "There is no such tile", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn tile(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tile = Tile::parse(&format!("tile/{path}"));
    let keep = if tile.is_some_and(|tile| tile.is_full()) { STAYS } else { PASSES };
    let read = move |log: &PublicLog| tile.map_or(Ok(None), |tile| log.tile(&tile));
    answer(&api, &caller, &headers, (BYTES, keep), read).await
}

async fn answer(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    (kind, keep): (&'static str, &'static str),
    read: impl FnOnce(&PublicLog) -> Result<Option<Vec<u8>>, PublicLogError> + Send + 'static,
) -> Result<Response, Problem> {
    caller.demand_all_tenants()?;
    let found = api.ask(caller, move |api| {
        let Some(log) = &api.log else { return Ok(None) };
        read(log).map_err(|error| {
            tracing::error!(error = %crate::export::chain(&error), "the public log cannot be read");
            Problem::store()
        })
    });
    let Some(bytes) = found.await? else {
        let detail = "The public log does not have this. /log/checkpoint says how large it is.";
        return Err(Problem::not_found(detail));
    };
    let tag = tag(&bytes);
    let kept = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| has(known, &tag));
    let head = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep), (header::ETAG, &tag)];
    Ok(if kept {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, bytes).into_response()
    })
}

/// Names contents: the same bytes, the same name.
fn tag(bytes: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(bytes).iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether `If-None-Match` names it. Source: RFC 9110, section 13.1.2.
fn has(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    let weak = |one: &str| one.trim().trim_start_matches("W/") == tag;
    known.trim() == "*" || known.split(',').any(weak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_has_the_bytes_is_not_sent_them_again() {
        let tag = tag(b"tile");
        assert_eq!(tag.len(), 34);
        for (known, same) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"x\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
        ] {
            assert_eq!(has(&known.parse().unwrap(), &tag), same, "{known}");
        }
    }
}
