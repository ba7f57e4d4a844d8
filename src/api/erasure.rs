//! `POST /api/v1/erasures`: the sealed payloads of one subject are made unreadable for good.

use super::caller::Caller;
use super::problem::Problem;
use super::service::{Api, json};
use crate::access::Tenant;
use crate::entry::format_ns;
use crate::intake::{ErasureError, ErasureRequest};
use crate::protect::{ErasureOrder, OrderedBy};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Whose evidence it is in.
    pub tenant: String,
    /// The person's id as it was sent, in the field that `audit.subject` names. Absent: payloads
    /// of the tenant that belong to no person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// Who orders it. With a credential the credential is who did it, and this is a claim beside it.
    pub actor: String,
    /// Why, on one line that does not name the person: it stays on record.
    #[schema(example = "request 17 of 2026")]
    pub reason: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseAnswer {
    /// Whose evidence it is in.
    pub tenant: String,
    /// Stands for the person in the entry about it.
    pub subject: String,
    /// Ids of the keys that were destroyed. None when nothing was ever sealed for the person, or
    /// all of it was erased before.
    pub keys: Vec<String>,
    /// When it was ordered, RFC 3339.
    pub at: String,
}

impl EraseAnswer {
    /// What became of an order that was carried out.
    pub fn of(order: &ErasureOrder) -> Self {
        Self {
            tenant: order.tenant.name().to_owned(),
            subject: order.subject.to_string(),
            keys: order.keys.iter().map(ToString::to_string).collect(),
            at: format_ns(order.at_ns),
        }
    }
}

impl EraseRequest {
    /// The order, as it is given now.
    ///
    /// # Errors
    /// A sentence that says what cannot be.
    pub fn read(
        self,
        actor: String,
        authenticated: bool,
        now: Timestamp,
    ) -> Result<ErasureRequest, String> {
        let Self { tenant, subject, actor: name, reason } = self;
        Ok(ErasureRequest {
            tenant: Tenant::new(&tenant).map_err(|error| error.to_string())?,
            subject,
            at_ns: u64::try_from(now.as_nanosecond()).unwrap_or(0),
            by: OrderedBy { actor, authenticated, name },
            reason,
        })
    }
}

/// Destroys the keys of a subject's sealed payloads, for good. Its entries stay, and the ledger
/// verifies as before; docs/erasure.md says what this does not reach.
#[utoipa::path(post, path = "/api/v1/erasures", tag = "access",
    request_body = EraseRequest,
    responses(
        (status = 200, description = "It is on record and done", body = EraseAnswer),
        (status = 400, description = "The body is not what it should be", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is sealed here", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The keys or the ledger cannot be written now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn erase(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<EraseRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body.map_err(|error| Problem::parameter(error.body_text()))?;
    let by = caller.principal();
    let request = request.read(by.actor(), by.credential().is_some(), Timestamp::now());
    let request = request.map_err(|why| Problem::parameter(format!("`tenant`: {why}.")))?;
    let intake = api.erasures.clone().ok_or_else(|| {
        Problem::not_found(
            "This API only answers questions. What an agent's own ledger sealed is erased with \
             `spanledger erase --data DIR` while the agent is stopped.",
        )
    })?;
    // Beside the request: a caller that hangs up does not leave it half done.
    let erased = tokio::spawn(async move { intake.erase(request).await });
    let erased = erased.await.map_err(|_| Problem::store())?;
    json(&EraseAnswer::of(&erased.map_err(|error| not_erased(&error))?))
}

fn not_erased(error: &ErasureError) -> Problem {
    match error {
        ErasureError::Invalid(_) | ErasureError::NamesSubject(_) => {
            Problem::parameter(format!("{error}."))
        }
        ErasureError::Keys(_) | ErasureError::Record(_) => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "an erasure is not completed");
            Problem::not_erased(&error.to_string())
        }
    }
}
