//! What replies of a cluster mean to the correlator: pure functions.

use super::LateError;
use super::documents::{Fetched, Place, Rights, Written};
use crate::elasticsearch::Reply;
use crate::elasticsearch::reason::safe_type;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// Fields of a document that say to which group it belongs and what it was given.
pub(super) const ID_FIELDS: &[&str] = &[
    "@timestamp",
    "event.id",
    "event.dataset",
    "trace_id",
    "trace.id",
    "span.id",
    "span.parent_id",
    "audit.kind",
    "audit.correlation",
    "audit.external.trace_id",
    "audit.workflow.id",
    "audit.run.id",
    "audit.job.id",
    "audit.decision.id",
    "audit.approval.id",
    "audit.session.thread_id",
    "audit.interrupt",
];

/// What of a bulk reply is read.
pub(super) const BULK_FILTER: &str =
    "items.*.status,items.*.error.type,items.*.failure_store,error,status";

/// What is read of [`ID_FIELDS`] beside what `Facets` reads.
#[derive(Deserialize)]
pub(super) struct Said {
    pub(super) event: SaidEvent,
    #[serde(default)]
    pub(super) audit: SaidAudit,
}

#[derive(Deserialize)]
pub(super) struct SaidEvent {
    pub(super) id: String,
}

#[derive(Deserialize, Default)]
pub(super) struct SaidAudit {
    #[serde(default)]
    pub(super) correlation: Option<SaidLate>,
}

#[derive(Deserialize, Default)]
pub(super) struct SaidLate {
    #[serde(default)]
    pub(super) trace_id: Vec<String>,
    #[serde(default)]
    pub(super) truncated: bool,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    error: FailureKind<'a>,
}

#[derive(Deserialize)]
struct FailureKind<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
}

/// The type of the error of a reply.
fn kind(reply: &Reply) -> String {
    let failure = serde_json::from_slice::<Failure<'_>>(&reply.body).ok();
    failure
        .map_or_else(|| "unknown".to_owned(), |failure| safe_type(&failure.error.kind).to_owned())
}

/// What a reply that says no means for the whole round.
pub(super) fn failure(reply: &Reply) -> LateError {
    let (status, kind) = (reply.status, kind(reply));
    match status {
        401 | 403 if kind != "cluster_block_exception" => LateError::Unauthorized { status },
        429 => LateError::Busy,
        _ => LateError::Refused { status, kind },
    }
}

/// What the key may do. A cluster without security, and OpenSearch, do not say: then it may, until
/// a request is refused.
pub(super) fn of_rights(reply: &Reply) -> Result<Rights, LateError> {
    #[derive(Deserialize)]
    struct Said {
        index: HashMap<String, Granted>,
    }
    #[derive(Deserialize)]
    struct Granted {
        read: bool,
        index: bool,
    }
    match reply.status {
        200 => {
            let said: Said =
                serde_json::from_slice(&reply.body).map_err(|_| LateError::Unreadable)?;
            let granted = |of: fn(&Granted) -> bool| said.index.values().all(of);
            Ok(Rights { read: granted(|g| g.read), index: granted(|g| g.index) })
        }
        401 => Err(LateError::Unauthorized { status: 401 }),
        429 | 502..=504 => Err(failure(reply)),
        _ => Ok(Rights { read: true, index: true }),
    }
}

/// The documents of a `_mget`; those that are gone are left out.
pub(super) fn of_documents(reply: &Reply) -> Result<Vec<Fetched>, LateError> {
    #[derive(Deserialize)]
    struct Said {
        docs: Vec<Doc>,
    }
    #[derive(Deserialize)]
    struct Doc {
        #[serde(rename = "_index")]
        index: String,
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_seq_no", default)]
        seq_no: Option<u64>,
        #[serde(rename = "_primary_term", default)]
        primary_term: Option<u64>,
        #[serde(rename = "_source", default)]
        source: Option<Box<RawValue>>,
    }
    if reply.status != 200 {
        return Err(failure(reply));
    }
    let said: Said = serde_json::from_slice(&reply.body).map_err(|_| LateError::Unreadable)?;
    let whole = |doc: Doc| {
        Some(Fetched {
            place: Place { index: doc.index, id: doc.id },
            seq_no: doc.seq_no?,
            primary_term: doc.primary_term?,
            source: doc.source?.get().to_owned(),
        })
    };
    Ok(said.docs.into_iter().filter_map(whole).collect())
}

#[derive(Deserialize)]
struct Bulk {
    items: Vec<HashMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    failure_store: Option<String>,
    #[serde(default)]
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(default, rename = "type")]
    kind: String,
}

fn items(reply: &Reply, sent: usize) -> Result<Vec<Item>, LateError> {
    if reply.status != 200 {
        return Err(failure(reply));
    }
    let bulk: Bulk = serde_json::from_slice(&reply.body).map_err(|_| LateError::Unreadable)?;
    let items: Vec<Item> = bulk.items.into_iter().flat_map(HashMap::into_values).collect();
    if items.len() == sent { Ok(items) } else { Err(LateError::Unreadable) }
}

impl Item {
    fn kind(&self) -> &str {
        self.error.as_ref().map_or("unknown", |error| safe_type(&error.kind))
    }

    fn is_for_now(&self) -> bool {
        matches!(self.status, 401 | 408 | 429 | 500..)
    }

    fn failure(&self) -> LateError {
        match self.status {
            401 | 403 if self.kind() == "security_exception" => {
                LateError::Unauthorized { status: self.status }
            }
            429 if self.kind() != "cluster_block_exception" => LateError::Busy,
            403 | 429 => LateError::Blocked,
            status => LateError::Refused { status, kind: self.kind().to_owned() },
        }
    }
}

/// What became of changed documents. An index that is read-only for good says 403; one whose disk
/// is full says 429, and is written to later.
pub(super) fn of_writes(reply: &Reply, sent: usize) -> Result<Vec<Written>, LateError> {
    let outcomes = items(reply, sent)?.into_iter().map(|item| match item.status {
        200..300 => Ok(Written::Done),
        404 | 409 => Ok(Written::Conflict),
        _ if item.is_for_now() => Err(item.failure()),
        _ => Ok(Written::Unwritable),
    });
    outcomes.collect()
}

/// How many links were not there yet. One that is refused for itself is left: it would be again.
pub(super) fn of_links(reply: &Reply, sent: usize) -> Result<usize, LateError> {
    let mut created = 0_usize;
    for item in items(reply, sent)? {
        match item.status {
            200..300 if item.failure_store.is_none() => created = created.saturating_add(1),
            409 => {}
            403 => return Err(item.failure()),
            _ if item.is_for_now() => return Err(item.failure()),
            status => {
                tracing::warn!(status, error = item.kind(), "the cluster refuses a link document");
            }
        }
    }
    Ok(created)
}

/// Whether the cluster does not know the parameter that keeps it from making a plain index.
pub(super) fn names_the_guard(reply: &Reply) -> bool {
    reply.status == 400 && memchr::memmem::find(&reply.body, b"[require_data_stream]").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.to_owned().into(), retry_after: None }
    }

    fn written(status: u16, kind: &str) -> Result<Vec<Written>, LateError> {
        let body = format!(
            r#"{{"items":[{{"index":{{"status":{status},"error":{{"type":"{kind}"}}}}}}]}}"#
        );
        of_writes(&reply(200, &body), 1)
    }

    #[test]
    fn a_change_is_done_made_again_or_given_up_as_the_cluster_says() {
        assert_eq!(written(200, "").unwrap(), [Written::Done]);
        let conflict = "version_conflict_engine_exception";
        assert_eq!(written(409, conflict).unwrap(), [Written::Conflict]);
        assert_eq!(written(404, "index_not_found_exception").unwrap(), [Written::Conflict]);
        assert_eq!(written(403, "cluster_block_exception").unwrap(), [Written::Unwritable]);
        assert_eq!(written(400, "document_parsing_exception").unwrap(), [Written::Unwritable]);
        assert!(matches!(written(429, "cluster_block_exception"), Err(LateError::Blocked)));
        assert!(matches!(written(429, "es_rejected_execution_exception"), Err(LateError::Busy)));
        assert!(matches!(written(503, "x"), Err(LateError::Refused { status: 503, .. })));
        assert!(matches!(of_writes(&reply(200, r#"{"items":[]}"#), 1), Err(LateError::Unreadable)));
    }

    #[test]
    fn who_may_not_read_or_change_is_told_and_a_cluster_that_does_not_say_is_tried() {
        let said =
            r#"{"has_all_requested":false,"index":{"spanledger-*":{"read":true,"index":false}}}"#;
        let rights = of_rights(&reply(200, said)).unwrap();
        assert_eq!((rights.read, rights.index), (true, false));
        for status in [400, 404, 405, 500] {
            let rights = of_rights(&reply(status, "")).unwrap();
            assert!(rights.read && rights.index, "{status}");
        }
        assert!(of_rights(&reply(401, "")).is_err() && of_rights(&reply(503, "")).is_err());
    }

    #[test]
    fn documents_come_byte_for_byte_and_what_is_gone_is_left_out() {
        let body = r#"{"docs":[{"_index":"i","_id":"a","_seq_no":3,"_primary_term":1,"found":true,"_source":{"n": 1.10}},{"_index":"i","_id":"b","found":false},{"_index":"i","_id":"c","error":{"type":"x"}}]}"#;
        let fetched = of_documents(&reply(200, body)).unwrap();
        assert_eq!(fetched.len(), 1);
        assert_eq!((fetched[0].seq_no, fetched[0].source.as_str()), (3, r#"{"n": 1.10}"#));
    }

    #[test]
    fn a_link_that_is_there_is_fine_and_one_that_may_not_be_made_holds_up() {
        let links = |status: u16, kind: &str| {
            let body = format!(
                r#"{{"items":[{{"create":{{"status":{status},"error":{{"type":"{kind}"}}}}}}]}}"#
            );
            of_links(&reply(200, &body), 1)
        };
        assert_eq!(links(201, "").unwrap(), 1);
        assert_eq!(links(409, "version_conflict_engine_exception").unwrap(), 0);
        assert_eq!(links(400, "document_parsing_exception").unwrap(), 0);
        assert!(matches!(links(403, "security_exception"), Err(LateError::Unauthorized { .. })));
        assert!(matches!(links(403, "cluster_block_exception"), Err(LateError::Blocked)));
    }
}
