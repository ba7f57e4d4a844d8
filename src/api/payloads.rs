//! `GET /api/v1/entries/{id}/payloads`: what mode `full` sealed beside an entry, for its auditors.

use super::caller::Caller;
use super::entries::{entry_id, find_entry};
use super::problem::Problem;
use super::service::{Api, Params, json};
use crate::entry::{PayloadKind, format_ns};
use crate::intake::{OpenedPayload, Opener};
use crate::ledger::Reader;
use crate::protect::SealError;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use utoipa::{IntoParams, ToSchema};

/// What opens payloads: the ledger that holds them, and the keys.
#[derive(Debug, Clone)]
pub struct SealedPayloads {
    /// Reads the ledger.
    pub reader: Reader,
    /// Opens what it reads.
    pub opener: Opener,
}

/// Parameters of the payloads of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PayloadsParams {
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
    /// The text after redaction when absent; `original` is the exact text, secrets included.
    pub form: Option<PayloadForm>,
}

/// Which of the two sealed forms of a text is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadForm {
    /// The text after redaction.
    #[default]
    Redacted,
    /// The exact text.
    Original,
}

/// The payloads of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadsAnswer {
    /// The entry.
    pub id: String,
    /// Which form of them it is.
    pub form: PayloadForm,
    /// In the order in which they were taken out of the entry. None when nothing is sealed beside
    /// it: its modes are others, or it had no payload.
    pub payloads: Vec<ShownPayload>,
}

/// A payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownPayload {
    /// What it is; absent for a text that was taken out because it holds a payload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, example = "prompt")]
    pub kind: Option<PayloadKind>,
    /// Where it stood in the entry.
    #[schema(example = "audit.payload[0]")]
    pub place: String,
    /// The text.
    pub text: String,
    /// Whether redaction would change the exact text.
    pub differs: bool,
    /// HMAC-SHA256 of the exact text under the tenant's key, hexadecimal: what the entry has in
    /// its place.
    pub hash: String,
    /// Its salt, hexadecimal: HMAC-SHA256 with it of the exact text is the text's mark in the list that
    /// the leaf commits to (docs/log.md). Absent in entries of before there was such a list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub salt: Option<String>,
    /// Whether the ledger proves that this is what was sent.
    pub proven: bool,
}

/// The payloads that are sealed beside an entry: those of mode `full`.
///
/// They are opened for this answer and kept nowhere. What was erased is not opened any more.
#[utoipa::path(get, path = "/api/v1/entries/{id}/payloads", tag = "evidence",
    params(("id" = String, Path, description = "`event.id` of the entry, 32 hexadecimal digits"),
        PayloadsParams),
    responses(
        (status = 200, description = "The payloads", body = PayloadsAnswer),
        (status = 400, description = "Not an entry's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No entry has that id, or its payloads are in another ledger", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The payloads were erased, or pruned", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The payloads cannot be opened; the server's log says why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn payloads(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<PayloadsParams>,
) -> Result<Response, Problem> {
    let id = entry_id(id)?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let form = params.form.unwrap_or_default();
    let opened = api
        .ask(&caller, move |api| {
            let found = find_entry(api, tenant, id)?;
            let sealed = api.payloads.as_ref().ok_or_else(not_shown)?;
            let stored = sealed.reader.get(found.sequence).map_err(|error| {
                tracing::error!(%error, "an entry could not be read for its payloads");
                Problem::store()
            })?;
            // The number may be that of another ledger's entry: several write to one cluster.
            let stored = stored.filter(|stored| stored.id.0 == id).ok_or_else(elsewhere)?;
            sealed.opener.open(&stored.as_ref()).map_err(not_opened)
        })
        .await?;
    let payloads = opened.into_iter().map(|payload| shown(payload, form)).collect();
    json(&PayloadsAnswer { id: hex(&id), form, payloads })
}

fn elsewhere() -> Problem {
    Problem::not_found(
        "What is sealed beside this entry is not on this server: ask the one that took it.",
    )
}

fn not_shown() -> Problem {
    Problem::not_found(
        "This API opens no sealed payloads: `spanledger serve` does, and that of an agent's own ledger \
         when it was made with `Embedded::show_payloads`.",
    )
}

fn not_opened(error: SealError) -> Problem {
    match error {
        SealError::Erased { key, at_ns, by } => Problem::erased(format!(
            "Ordered at {} by {by}; the key {key} was destroyed. The entry of kind erasure says why.",
            format_ns(at_ns)
        )),
        SealError::Pruned => Problem::pruned(),
        error => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "sealed payloads could not be opened");
            Problem::not_opened()
        }
    }
}

fn shown(payload: OpenedPayload, form: PayloadForm) -> ShownPayload {
    let OpenedPayload { kind, place, original, redacted, keyed_hash, salt, proven } = payload;
    let differs = redacted.is_some();
    let text = match (form, redacted) {
        (PayloadForm::Redacted, Some(redacted)) => redacted,
        _ => original,
    };
    let (hash, salt) = (hex(&keyed_hash), salt.map(|salt| hex(&salt)));
    ShownPayload { kind, place, text, differs, hash, salt, proven }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
