//! What proves entries: receipts, bundles of evidence, inclusion and consistency of the log.

use super::answer::TenantParams;
use super::caller::Caller;
use super::entries::{entry_id, no_such_entry};
use super::limits::{QUERY_BUDGET, SETTLE_TIME, WAIT_STEP};
use super::outgoing::OnDisk;
use super::own_entries::acts_for;
use super::problem::Problem;
use super::responses::Asked;
use super::service::{Api, Params, json};
use super::told::id_in_path;
use crate::access::{Right, Tenant};
use crate::evidence::{MAX_ENTRIES, Proof, ProveError, Prover, Story, hex};
use crate::ledger::TreeHead;
use crate::store::query::Query;
use crate::store::{Hit, Pruned, QueryRequest, TraceRequest};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

/// Seconds after which a receipt that is not there yet may be.
const RETRY_AFTER: &str = "1";

/// What an entry is proved by.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReceiptAnswer {
    /// `proved`, or `pending` while no signed checkpoint covers the entry: the next one will.
    pub state: String,
    /// Leaf record, its hash, salts, and the inclusion proof when it is proved.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub proof: Proof,
    /// The signed checkpoint (C2SP tlog-checkpoint) whose tree the inclusion proof leads to.
    pub checkpoint: Option<String>,
}

/// A path from a leaf to the root of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InclusionAnswer {
    /// Index of the leaf, which is the sequence of the entry.
    pub index: u64,
    /// Hash of the leaf, hexadecimal.
    pub leaf_hash: String,
    /// Size of the tree.
    pub size: u64,
    /// Its root, hexadecimal.
    pub root: String,
    /// Hashes from the leaf up (RFC 6962, section 2.1.1), hexadecimal.
    pub proof: Vec<String>,
    /// The signed checkpoint (C2SP tlog-checkpoint) of that tree, where it is the last one.
    pub checkpoint: Option<String>,
}

/// What shows that a tree is the beginning of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsistencyAnswer {
    /// Size of the older tree.
    pub old: u64,
    /// Its root, hexadecimal.
    pub old_root: String,
    /// Size of the newer tree.
    pub new: u64,
    /// Its root, hexadecimal.
    pub new_root: String,
    /// Hashes (RFC 6962, section 2.1.2), hexadecimal.
    pub proof: Vec<String>,
    /// The signed checkpoint (C2SP tlog-checkpoint) of the newer tree, where it is the last one.
    pub checkpoint: Option<String>,
}

/// Parameters of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvidenceParams {
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
    /// Whether the bundle also has the exact originals that mode `full` sealed, with the salts that
    /// check them. Whoever gets the file can read them.
    #[serde(default)]
    pub payloads: bool,
}

/// Parameters of an inclusion proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionParams {
    /// Sequence of the entry.
    pub index: u64,
    /// Size of the tree; that of the last checkpoint when absent.
    pub size: Option<u64>,
}

/// Parameters of a consistency proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyParams {
    /// Size of the older tree.
    pub old: u64,
    /// Size of the newer tree; that of the last checkpoint when absent.
    pub new: Option<u64>,
}

/// What proves an entry.
///
/// Leaf record and leaf hash are there as soon as the entry is durable, the inclusion proof when a
/// signed checkpoint covers it: until then the status is 202. Of others the answer says how many
/// entries there are, and nothing else.
#[utoipa::path(get, path = "/api/v1/entries/{id}/receipt", tag = "evidence",
    params(("id" = String, Path, description = "`event.id` of the entry, 32 hexadecimal digits"),
        TenantParams),
    responses(
        (status = 200, description = "The entry is proved", body = ReceiptAnswer),
        (status = 202, description = "No checkpoint covers it yet", body = ReceiptAnswer),
        (status = 404, description = "No entry of this ledger has that id", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn receipt(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<TenantParams>,
) -> Result<Response, Problem> {
    let id = entry_id(id)?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    let answer = api.ask(&caller, move |api| receipt_of(api, id, &tenant)).await?;
    let is_proved = answer.checkpoint.is_some();
    let mut response = json(&answer)?;
    if !is_proved {
        *response.status_mut() = StatusCode::ACCEPTED;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    Ok(response)
}

fn receipt_of(api: &Api, id: [u8; 16], tenant: &Tenant) -> Result<ReceiptAnswer, Problem> {
    let prover = prover(api)?;
    let query = Query::term("event.id", &hex(&id));
    let one = QueryRequest::new(tenant.clone(), query);
    let page = api.store.query(&QueryRequest { limit: 1, budget: QUERY_BUDGET, ..one })?;
    let hit = page.hits.first().ok_or_else(no_such_entry)?;
    let item = prover.item(hit.sequence, hit.id, tenant)?;
    let mut item = item.ok_or_else(|| {
        Problem::not_found("The entry is in another ledger, whose server has its proof.")
    })?;
    let signed = prover.checkpoint()?;
    let signed = signed.filter(|it| item.proof.sequence < it.checkpoint.head.size);
    if let Some(signed) = &signed {
        prover.prove(&mut item, &signed.checkpoint.head)?;
    }
    Ok(ReceiptAnswer {
        state: if signed.is_some() { "proved" } else { "pending" }.to_owned(),
        proof: item.proof,
        checkpoint: signed.map(|it| String::from_utf8_lossy(&it.note).into_owned()),
    })
}

/// A bundle of evidence: everything that belongs to one id, with its proofs.
///
/// One ZIP file that is checked offline with `spanledger verify --bundle` or
/// `examples/verify_bundle.py`: entries, proofs, the signed checkpoint, a report to read. The answer
/// waits some seconds for a checkpoint that covers what is durable now.
#[utoipa::path(get, path = "/api/v1/evidence/{id}", tag = "evidence",
    params(("id" = String, Path, description = "Any form of any id, percent-encoded",
        example = "langsmith-run-abc123"), EvidenceParams),
    responses(
        (status = 200, description = "The bundle", content_type = "application/zip", body = Vec<u8>),
        (status = 404, description = "Nothing carries the id", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The story is too large for one bundle", body = Problem, content_type = "application/problem+json"),
        Asked))]
pub(super) async fn evidence(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Params(params): Params<EvidenceParams>,
) -> Result<Response, Problem> {
    let id = id_in_path(id)?;
    let tenant = caller.scope(params.tenant.as_deref(), None)?;
    // Counted before anything of it is made, until the last byte is on its way. The thread that makes it
    // has the place: who hangs up, or waits too long, does not end that thread.
    let place = api.make_bundle(&caller).await?;
    settle(&api, &caller).await?;
    let made = api.ask(&caller, move |api| {
        let (file, length) = bundle(api, &id, &tenant, params.payloads)?;
        Ok((file, length, place))
    });
    let (file, length, place) = made.await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"evidence.zip\""),
    ];
    // The body comes later, when it is on its way out: its length has to be said here.
    let of_body = [(header::CONTENT_LENGTH, HeaderValue::from(length))];
    let mut response = (headers, of_body).into_response();
    response.extensions_mut().insert(OnDisk::new(file, length, place));
    Ok(response)
}

/// Waits for a checkpoint that covers what is durable now. Without one the bundle says so.
async fn settle(api: &Api, caller: &Caller) -> Result<(), Problem> {
    let watermark = prover(api)?.watermark();
    let _waiting = api.wait(caller)?;
    let until = Instant::now().checked_add(SETTLE_TIME).ok_or_else(Problem::store)?;
    loop {
        let settled = move |api: &Api| Ok(prover(api)?.is_settled(watermark)?);
        if api.ask(caller, settled).await? || Instant::now() >= until || api.health.is_stopping() {
            return caller.still_may(api, Right::Read);
        }
        sleep(WAIT_STEP).await;
    }
}

fn bundle(api: &Api, id: &str, tenant: &Tenant, payloads: bool) -> Result<(File, u64), Problem> {
    let mut prover = prover(api)?.clone();
    if payloads {
        let sealed = api.payloads.as_ref().ok_or_else(without_keys)?;
        prover = prover.with_originals(sealed.opener.clone());
    }
    let request = TraceRequest::new(tenant.clone(), id);
    let told = api.store.trace(&TraceRequest {
        limit: MAX_ENTRIES,
        budget: QUERY_BUDGET,
        documents: false,
        ..request
    })?;
    if told.entries.is_empty() && told.pruned.is_empty() {
        return Err(Problem::not_found(
            "No entry carries this id. What was acknowledged a moment ago is shown a moment later.",
        ));
    }
    let mut truncated = told.truncated || told.next_cursor.is_some();
    let mut entries = with_pruned(&told.entries, &told.pruned);
    truncated |= entries.len() > MAX_ENTRIES;
    entries.truncate(MAX_ENTRIES);
    // A cluster may still show what the ledger has no body of any more.
    let any_pruned = !told.pruned.is_empty() || api.store.followed().is_some();
    let acts = acts_for(api, &entries, any_pruned)?;
    let story = Story { entries, acts, trace_ids: told.trace_ids, truncated };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let mut spool = prover.spool()?;
    prover.bundle(id, tenant, &story, now_ns, &mut spool)?;
    Ok(spool.into_file().map_err(ProveError::Write)?)
}

/// The entries of a story with those that were pruned among them, where they were received: when their
/// events were nobody knows any more.
fn with_pruned(told: &[Hit], pruned: &[Pruned]) -> Vec<(u64, [u8; 16])> {
    let shown: HashSet<[u8; 16]> = told.iter().map(|hit| hit.id).collect();
    let mut pruned: Vec<&Pruned> = pruned.iter().filter(|it| !shown.contains(&it.id)).collect();
    // Of several frames of one entry the first counts.
    pruned.sort_by_key(|it| (it.id, it.sequence));
    pruned.dedup_by_key(|it| it.id);
    pruned.sort_by_key(|it| (it.received_ns, it.sequence));
    let mut left = pruned.into_iter().peekable();
    let mut all = Vec::with_capacity(told.len());
    for hit in told {
        while let Some(earlier) = left.next_if(|it| it.received_ns <= hit.event_ns) {
            all.push((earlier.sequence, earlier.id));
        }
        all.push((hit.sequence, hit.id));
    }
    all.extend(left.map(|it| (it.sequence, it.id)));
    all
}

/// The inclusion proof of an entry.
///
/// For who reads every tenant's evidence: it asks by the place in the log and not by an entry.
#[utoipa::path(get, path = "/api/v1/log/inclusion", tag = "evidence", params(InclusionParams),
    responses((status = 200, description = "The path to the root", body = InclusionAnswer), Asked))]
pub(super) async fn inclusion(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<InclusionParams>,
) -> Result<Response, Problem> {
    caller.demand_all_tenants()?;
    let InclusionParams { index, size } = params;
    let found = api.ask(&caller, move |api| Ok(prover(api)?.inclusion(index, size)?)).await?;
    let (tree, leaf, proof) = found;
    let TreeHead { size, root } = tree.head;
    let proof = proof.iter().map(|hash| hex(hash)).collect();
    let (leaf_hash, root, checkpoint) = (hex(&leaf), hex(&root), tree.note());
    json(&InclusionAnswer { index, leaf_hash, size, root, proof, checkpoint })
}

/// The proof that a tree is the beginning of another.
///
/// For who reads every tenant's evidence, and kept an earlier size and root.
#[utoipa::path(get, path = "/api/v1/log/consistency", tag = "evidence", params(ConsistencyParams),
    responses((status = 200, description = "What leads to both roots", body = ConsistencyAnswer), Asked))]
pub(super) async fn consistency(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ConsistencyParams>,
) -> Result<Response, Problem> {
    caller.demand_all_tenants()?;
    let ConsistencyParams { old, new } = params;
    let found = api.ask(&caller, move |api| Ok(prover(api)?.consistency(old, new)?)).await?;
    let (old, new, proof) = found;
    json(&ConsistencyAnswer {
        old: old.size,
        old_root: hex(&old.root),
        new: new.head.size,
        new_root: hex(&new.head.root),
        proof: proof.iter().map(|hash| hex(hash)).collect(),
        checkpoint: new.note(),
    })
}

fn without_keys() -> Problem {
    Problem::not_found(
        "There is no folder of keys here that opens payloads: ask a running server, or name the folder.",
    )
}

fn prover(api: &Api) -> Result<&Prover, Problem> {
    let none = || Problem::not_found("This server has no ledger of its own to prove anything by.");
    api.prover.as_ref().ok_or_else(none)
}

impl From<ProveError> for Problem {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::TooLarge | ProveError::TooMuch(_) => Self::too_large(error.to_string()),
            ProveError::Unsigned => Self::unavailable(&error.to_string()),
            ProveError::NoRoom | ProveError::Write(_) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "a bundle of evidence was not made");
                Self::no_bundle(error.to_string())
            }
            ProveError::Beyond { .. } | ProveError::Asked(_) => Self::parameter(error.to_string()),
            _ => {
                tracing::error!(%error, "something could not be proved");
                Self::store()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one_and_passes() {
        let problem = Problem::from(ProveError::NoRoom).into_response();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        let error = std::io::ErrorKind::StorageFull.into();
        let problem = Problem::from(ProveError::Write(error)).into_response();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
