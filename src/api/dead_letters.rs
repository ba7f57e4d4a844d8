//! Dead letters: entries that the cluster did not take, sending them again, and giving them up.
//!
//! They are the operator's, who runs the export: a page lists those of every tenant, and these
//! routes are for that role alone, not for whoever may read the evidence of one tenant.

use super::caller::Caller;
use super::limits::{DEFAULT_LETTERS, MAX_DROP_REASON_BYTES, MAX_LETTERS, REPLAY_TIME};
use super::problem::Problem;
use super::service::{Api, Params, json};
use crate::elasticsearch::DeadLetter;
use crate::entry::format_ns;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// An entry that the cluster did not take. Its document is in the ledger, by its sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Letter {
    /// Its place in the ledger.
    pub sequence: u64,
    /// Its id, as `/api/v1/entries/{id}` takes it.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it should be.
    pub data_stream: String,
    /// HTTP status with which it was refused.
    pub status: u16,
    /// The cluster's name for the error.
    pub error_type: String,
    /// What of the cluster's reason quotes nothing of the document. May be empty.
    pub reason: String,
    /// When it was refused first, RFC 3339.
    pub first_attempt: String,
    /// When it was refused last, RFC 3339.
    pub last_attempt: String,
    /// How often it was refused.
    pub attempts: u32,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            sequence: letter.sequence,
            id: letter.id,
            tenant: letter.tenant,
            data_stream: letter.data_stream,
            status: letter.status,
            error_type: letter.error_type,
            reason: letter.reason,
            first_attempt: format_ns(letter.first_attempt_ns),
            last_attempt: format_ns(letter.last_attempt_ns),
            attempts: letter.attempts,
        }
    }
}

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LettersAnswer {
    /// In the order of the ledger.
    pub dead_letters: Vec<Letter>,
    /// How many there are in all.
    pub open: u64,
    /// `from` of the next page; absent at the end.
    pub next: Option<u64>,
}

/// What was done with the letters of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayAnswer {
    /// Their documents are in the cluster now.
    pub delivered: u64,
    /// They were refused again.
    pub refused: u64,
    /// There is no such dead letter.
    pub unknown: u64,
    /// They were not reached within a minute, and are dead letters still: replay them again. When
    /// nothing else was done either, `/readyz` says what the export waits for.
    #[serde(default)]
    pub left: u64,
}

/// Which dead letters are given up, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropRequest {
    /// Sequences of the entries, at most 1000 in one call.
    pub sequences: Vec<u64>,
    /// Why their entries may stay out of the cluster, at most 500 bytes. It is kept.
    pub reason: String,
}

/// What became of the letters that were given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropAnswer {
    /// They are no dead letters any more; their entries are in the ledger only.
    pub dropped: u64,
    /// There is no such dead letter.
    pub unknown: u64,
}

/// Which dead letters are sent again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Sequences of the entries, at most 1000 in one call.
    pub sequences: Vec<u64>,
}

/// Which page.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LettersParams {
    /// Smallest sequence that is listed.
    #[serde(default)]
    from: u64,
    /// Letters on a page, at most 1000; 100 when absent.
    limit: Option<u32>,
}

/// The answer of [`DeadLetterBox::replay`].
pub type Replaying<'a> = Pin<Box<dyn Future<Output = Result<ReplayAnswer, String>> + Send + 'a>>;

/// The answer of [`DeadLetterBox::drop_letters`].
pub type Dropping<'a> = Pin<Box<dyn Future<Output = Result<DropAnswer, String>> + Send + 'a>>;

/// Where dead letters are. An error is a sentence for the operator.
pub trait DeadLetterBox: Send + Sync {
    /// The open ones from that sequence on, at most `limit`, and how many are open in all.
    ///
    /// # Errors
    /// When they cannot be read.
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String>;

    /// Sends entries again and waits until the cluster has answered for each, at most that long;
    /// then says what is left.
    /// `by` is put on record first.
    fn replay(&self, sequences: Vec<u64>, within: Duration, by: String) -> Replaying<'_>;

    /// Gives letters up for that reason, durably; `by` is put on record first. An error says that
    /// none of them is given up.
    fn drop_letters(&self, sequences: Vec<u64>, reason: String, by: String) -> Dropping<'_>;
}

/// Entries that the cluster did not take, and why.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "export", params(LettersParams),
    responses(
        (status = 200, description = "A page of dead letters", body = LettersAnswer),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is exported", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    Params(params): Params<LettersParams>,
) -> Result<Response, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LETTERS);
    if !(1..=MAX_LETTERS).contains(&limit) {
        let detail = format!("`limit` is 1 to {MAX_LETTERS}, not {limit}.");
        return Err(Problem::parameter(detail));
    }
    let limit = usize::try_from(limit).map_err(|_| Problem::store())?;
    let letters = letters(&api)?;
    let listed = tokio::task::spawn_blocking(move || letters.list(params.from, limit));
    let (dead_letters, open) =
        listed.await.map_err(|_| Problem::store())?.map_err(Problem::export)?;
    let next = (dead_letters.len() == limit)
        .then(|| dead_letters.last().map(|last| last.sequence.saturating_add(1)))
        .flatten();
    json(&LettersAnswer { dead_letters, open, next })
}

/// Sends dead letters again, after what they were refused for is put right. Takes at most a minute;
/// what is left then is told, and can be sent by another call.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay", tag = "export",
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "What became of each", body = ReplayAnswer),
        (status = 400, description = "The body is not what it should be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is exported", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The letters cannot be read or written now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replay(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<ReplayRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body.map_err(|error| Problem::parameter(error.body_text()))?;
    check_count(&request.sequences)?;
    let replayed =
        letters(&api)?.replay(request.sequences, REPLAY_TIME, caller.principal().actor()).await;
    json(&replayed.map_err(Problem::export)?)
}

/// Gives dead letters up: their entries stay in the ledger and do not go to the cluster. Who did
/// so, when, and the reason are kept with the dead letters.
#[utoipa::path(post, path = "/api/v1/dead-letters/drop", tag = "export",
    request_body = DropRequest,
    responses(
        (status = 200, description = "How many were given up", body = DropAnswer),
        (status = 400, description = "The body is not what it should be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is exported", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The letters cannot be written now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn drop_letters(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<DropRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body.map_err(|error| Problem::parameter(error.body_text()))?;
    check_count(&request.sequences)?;
    let reason = request.reason.trim().to_owned();
    let plain = !reason.is_empty() && !reason.chars().any(char::is_control);
    if !plain || reason.len() > MAX_DROP_REASON_BYTES {
        let detail = format!(
            "`reason` says why these entries may stay out of the cluster, on one line of at most \
             {MAX_DROP_REASON_BYTES} bytes."
        );
        return Err(Problem::parameter(detail));
    }
    let by = caller.principal().actor();
    let dropped = letters(&api)?.drop_letters(request.sequences, reason, by).await;
    json(&dropped.map_err(Problem::export)?)
}

fn check_count(sequences: &[u64]) -> Result<(), Problem> {
    let count = sequences.len();
    if u32::try_from(count).is_ok_and(|count| (1..=MAX_LETTERS).contains(&count)) {
        return Ok(());
    }
    let detail = format!("`sequences` has 1 to {MAX_LETTERS} numbers, not {count}.");
    Err(Problem::parameter(detail))
}

fn letters(api: &Api) -> Result<Arc<dyn DeadLetterBox>, Problem> {
    api.dead_letters.clone().ok_or_else(|| {
        Problem::not_found(
            "Nothing is exported: `spanledger serve --elasticsearch URL` starts that.",
        )
    })
}
