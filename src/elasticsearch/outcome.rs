//! What became of each entry of a bulk request: pure functions from a reply to outcomes.
//!
//! | reply | outcome |
//! |---|---|
//! | item 2xx in the data stream | delivered |
//! | item 2xx with `failure_store: used`, or in a `.fs-` index | **not** delivered: dead letter |
//! | item 409 version conflict | delivered earlier |
//! | item 429 | again, slower |
//! | item 5xx, 408 | in doubt: looked up, then again |
//! | item 403 by a block | again, when the block is gone |
//! | item 401, 403 otherwise | again, when the key is right |
//! | item 404, or a 400 that is about the index | again, when setup has run |
//! | other item 4xx | dead letter |
//! | request 429 | again, slower |
//! | request 5xx, 408, or a 2xx that is not one outcome per item | in doubt |
//! | request 400 of the cluster | halved, down to the entry |
//! | request 413 | halved; a single entry: dead letter |
//! | request 401, 403, 404, anything else | again, when somebody has done something |

use super::reason::{safe_reason, safe_type};
use super::transport::{Reply, SendError};
use crate::export::chain;
use serde::Deserialize;
use std::borrow::Cow;

/// What keeps entries from being delivered. In order: of several, the last is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Problem {
    /// The cluster is busy (429).
    Busy,
    /// No connection, no reply, or a server error.
    Unavailable,
    /// An index is read-only: a full disk, or somebody's block.
    Blocked,
    /// The whole request is refused, for a reason that is not in the documents.
    Refused,
    /// The data stream or its template is missing.
    SetupMissing,
    /// The key is not valid or may not write.
    Unauthorized,
    /// It is not the cluster that has the earlier entries.
    OtherCluster,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the data stream, by this request.
    Created,
    /// It was there already.
    AlreadyThere,
    /// It is to be sent again. `in_doubt`: it may be there all the same.
    Retry {
        /// Why.
        problem: Problem,
        /// Whether it may have been written.
        in_doubt: bool,
    },
    /// It is never taken as it is.
    Rejected(Rejection),
}

/// Why an entry is not taken. Nothing in it quotes the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status of the item.
    pub status: u16,
    /// Type of the error: `document_parsing_exception`.
    pub error_type: String,
    /// What of the reason may be shown.
    pub reason: String,
}

impl Rejection {
    pub(super) fn new(status: u16, error_type: &str, reason: &str) -> Self {
        Self { status, error_type: error_type.to_owned(), reason: reason.to_owned() }
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// One outcome for each item, in order.
    Items(Vec<Outcome>),
    /// Nothing of it was written; later again.
    Later(Problem, String),
    /// Nothing is known of it: look its entries up, then send again.
    InDoubt(String),
    /// The cluster does not take the request (400): halve it to find the entry it does not like.
    Halve(Rejection),
    /// Too large (413): halve it.
    TooLarge,
    /// The cluster does not know the parameter `require_data_stream`.
    UnknownParameter,
}

#[derive(Deserialize)]
struct BulkReply<'a> {
    #[serde(borrow)]
    items: Vec<ItemReply<'a>>,
}

#[derive(Deserialize)]
struct ItemReply<'a> {
    #[serde(borrow)]
    create: Create<'a>,
}

#[derive(Deserialize)]
struct Create<'a> {
    status: u16,
    #[serde(borrow, default, rename = "_index")]
    index: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    failure_store: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<ErrorReply<'a>>,
}

#[derive(Deserialize)]
struct ErrorReply<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caused_by: Option<CausedBy<'a>>,
}

#[derive(Deserialize)]
struct CausedBy<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    error: ErrorReply<'a>,
}

/// Types of errors with a 4xx status that are about the index or the cluster: another document
/// would fare the same, so the entry is never a dead letter for them.
const NOT_THE_DOCUMENT: &[(&str, Problem)] = &[
    ("cluster_block_exception", Problem::Blocked),
    ("index_closed_exception", Problem::Blocked),
    ("es_rejected_execution_exception", Problem::Busy),
    ("rejected_execution_exception", Problem::Busy),
    ("circuit_breaking_exception", Problem::Busy),
    ("index_not_found_exception", Problem::SetupMissing),
    ("validation_exception", Problem::SetupMissing),
    ("invalid_index_name_exception", Problem::SetupMissing),
    ("index_template_missing_exception", Problem::SetupMissing),
    ("security_exception", Problem::Unauthorized),
];

/// What a request without a reply means.
pub(super) fn of_send_error(error: &SendError) -> Answer {
    let said = said_of_send_error(error);
    match error {
        SendError::NotSent { .. } => Answer::Later(Problem::Unavailable, said),
        SendError::NoReply { .. } => Answer::InDoubt(said),
    }
}

/// Why there is no reply, and what to do when that is a certificate. Names the host, without
/// credentials, and nothing of the request.
pub(super) fn said_of_send_error(error: &SendError) -> String {
    let said = chain(error);
    if said.contains("certificate") {
        format!("{said}; check the authority in elasticsearch.ca and the name in the address")
    } else {
        said
    }
}

/// What the reply to a bulk of `sent` items means.
pub(super) fn of_reply(reply: &Reply, sent: usize) -> Answer {
    let status = reply.status;
    if status == 200 {
        return match serde_json::from_slice::<BulkReply<'_>>(&reply.body) {
            Ok(bulk) if bulk.items.len() == sent => {
                Answer::Items(bulk.items.iter().map(|item| of_item(&item.create)).collect())
            }
            Ok(bulk) => Answer::InDoubt(format!(
                "the reply has {} outcomes for {sent} documents",
                bulk.items.len()
            )),
            Err(_) => Answer::InDoubt("the reply is not that of a bulk request".to_owned()),
        };
    }
    let failure = serde_json::from_slice::<Failure<'_>>(&reply.body).ok();
    let error = failure.as_ref().map(|failure| &failure.error);
    let kind = error.and_then(|error| error.kind.as_deref()).map_or("unknown", safe_type);
    let said = || format!("the cluster answered {status} {kind}");
    match (status, not_the_document(kind)) {
        (413, _) => Answer::TooLarge,
        // Refused before anything was done, whatever stands in the text.
        (429, _) => Answer::Later(Problem::Busy, said()),
        (400 | 403 | 404, Some(problem)) => Answer::Later(problem, said()),
        (401 | 403, _) => Answer::Later(Problem::Unauthorized, said()),
        (400, _) => match error {
            Some(error) if names_our_parameter(error) => Answer::UnknownParameter,
            Some(error) => Answer::Halve(rejection(status, error)),
            // Not the cluster's: a proxy in between.
            None => Answer::Later(Problem::Refused, said()),
        },
        (200..300 | 408 | 500.., _) => Answer::InDoubt(said()),
        _ => Answer::Later(Problem::Refused, said()),
    }
}

fn names_our_parameter(error: &ErrorReply<'_>) -> bool {
    let reason = error.reason.as_deref().unwrap_or_default();
    reason.contains("unrecognized parameter") && reason.contains("[require_data_stream]")
}

pub(super) fn not_the_document(kind: &str) -> Option<Problem> {
    NOT_THE_DOCUMENT.iter().find(|(name, _)| *name == kind).map(|(_, problem)| *problem)
}

fn rejection(status: u16, error: &ErrorReply<'_>) -> Rejection {
    let cause = error.caused_by.as_ref().and_then(|cause| cause.kind.as_deref());
    let reason = safe_reason(error.reason.as_deref().unwrap_or_default(), cause);
    Rejection::new(status, error.kind.as_deref().map_or("unknown", safe_type), &reason)
}

fn of_item(item: &Create<'_>) -> Outcome {
    let in_failure_store = item.failure_store.as_deref() == Some("used")
        || item.index.as_deref().is_some_and(|index| index.starts_with(".fs-"));
    let kind =
        item.error.as_ref().and_then(|error| error.kind.as_deref()).map_or("unknown", safe_type);
    let again = |problem, in_doubt| Outcome::Retry { problem, in_doubt };
    match (item.status, not_the_document(kind)) {
        (200..300, _) if in_failure_store => Outcome::Rejected(Rejection::new(
            item.status,
            "failure_store",
            "rejected by the cluster, which put it into its failure store",
        )),
        (200..300, _) if item.error.is_none() => Outcome::Created,
        (409, _) if kind == "version_conflict_engine_exception" => Outcome::AlreadyThere,
        (429, Some(Problem::Blocked)) => again(Problem::Blocked, false),
        (429, _) => again(Problem::Busy, false),
        (400..500, Some(problem)) => again(problem, false),
        (401 | 403, _) => again(Problem::Unauthorized, false),
        (404, _) => again(Problem::SetupMissing, false),
        (400 | 402..=407 | 410..500, _) => match &item.error {
            Some(error) => Outcome::Rejected(rejection(item.status, error)),
            None => Outcome::Rejected(Rejection::new(item.status, "unknown", "")),
        },
        _ => again(Problem::Unavailable, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.to_owned().into(), retry_after: None }
    }

    fn item(json: &str) -> Outcome {
        let body = format!(r#"{{"errors":true,"items":[{{"create":{json}}}]}}"#);
        match of_reply(&reply(200, &body), 1) {
            Answer::Items(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn error(status: u16, kind: &str) -> String {
        format!(r#"{{"status":{status},"error":{{"type":"{kind}","reason":"the \"secret\""}}}}"#)
    }

    #[test]
    fn every_item_of_the_measured_table_has_its_outcome() {
        assert_eq!(item(r#"{"_index":".ds-spanledger-default-1","status":201}"#), Outcome::Created);
        for stored in [r#""failure_store":"used""#, r#""_index":".fs-spanledger-default-2""#] {
            let Outcome::Rejected(rejection) = item(&format!(r#"{{"status":201,{stored}}}"#))
            else {
                panic!("{stored} is not delivered");
            };
            assert_eq!(rejection.error_type, "failure_store");
        }
        let conflict = error(409, "version_conflict_engine_exception");
        assert_eq!(item(&conflict), Outcome::AlreadyThere);
        for (status, kind, problem, in_doubt) in [
            (429, "es_rejected_execution_exception", Problem::Busy, false),
            (429, "cluster_block_exception", Problem::Blocked, false),
            (403, "cluster_block_exception", Problem::Blocked, false),
            (403, "security_exception", Problem::Unauthorized, false),
            (404, "index_not_found_exception", Problem::SetupMissing, false),
            (400, "index_closed_exception", Problem::Blocked, false),
            (503, "unavailable_shards_exception", Problem::Unavailable, true),
            (409, "something_else", Problem::Unavailable, true),
        ] {
            let outcome = Outcome::Retry { problem, in_doubt };
            assert_eq!(item(&error(status, kind)), outcome, "{status} {kind}");
        }
        let Outcome::Rejected(rejection) = item(&error(400, "mapper_parsing_exception")) else {
            panic!("a bad document is a dead letter");
        };
        assert_eq!(rejection, Rejection::new(400, "mapper_parsing_exception", ""));
    }

    #[test]
    fn a_request_without_a_reply_says_why_and_what_to_do_about_a_certificate() {
        let host = || "https://es:9200".to_owned();
        let source = || "invalid peer certificate: UnknownIssuer".into();
        let Answer::Later(Problem::Unavailable, said) =
            of_send_error(&SendError::NotSent { host: host(), source: source() })
        else {
            panic!("nothing was written");
        };
        assert!(said.starts_with("cannot connect to https://es:9200: invalid peer"), "{said}");
        assert!(said.contains("elasticsearch.ca"), "{said}");
        let closed = SendError::NoReply { host: host(), source: "connection closed".into() };
        let expected = "no reply from https://es:9200: connection closed".to_owned();
        assert_eq!(of_send_error(&closed), Answer::InDoubt(expected));
    }

    #[test]
    fn a_reply_that_is_not_one_outcome_per_item_leaves_everything_in_doubt() {
        let one = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
        for body in [one, "<html>", "", "{}", &one[..30], r#"{"items":[{"index":{"status":201}}]}"#]
        {
            let answer = of_reply(&reply(200, body), 2);
            assert!(matches!(answer, Answer::InDoubt(_)), "{body}");
        }
    }

    #[test]
    fn a_status_of_the_request_is_never_the_fault_of_its_entries_unless_the_cluster_says_so() {
        let plain = r#"{"error":{"type":"illegal_argument_exception","reason":"x"},"status":400}"#;
        let unknown = r#"{"error":{"type":"illegal_argument_exception","reason":"request [/_bulk] contains unrecognized parameter: [require_data_stream]"}}"#;
        let block = r#"{"error":{"type":"cluster_block_exception"}}"#;
        let later = |status, body: &str| match of_reply(&reply(status, body), 1) {
            Answer::Later(problem, _) => problem,
            other => panic!("{status}: {other:?}"),
        };
        assert!(matches!(of_reply(&reply(400, plain), 1), Answer::Halve(_)));
        assert_eq!(of_reply(&reply(400, unknown), 1), Answer::UnknownParameter);
        assert_eq!(of_reply(&reply(413, "<html>"), 1), Answer::TooLarge);
        assert_eq!(later(400, "<html>Bad Request</html>"), Problem::Refused);
        assert_eq!(later(403, block), Problem::Blocked);
        assert_eq!(later(403, ""), Problem::Unauthorized);
        assert_eq!(later(401, ""), Problem::Unauthorized);
        assert_eq!(later(404, ""), Problem::Refused);
        assert_eq!(later(302, ""), Problem::Refused);
        assert_eq!(later(429, ""), Problem::Busy);
        for status in [408, 500, 502, 503, 504, 201] {
            assert!(matches!(of_reply(&reply(status, plain), 1), Answer::InDoubt(_)), "{status}");
        }
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic_or_counts_what_is_not_there(status: u16, body: Vec<u8>, sent in 0..4_usize) {
            let reply = Reply { status, body: body.into(), retry_after: None };
            if let Answer::Items(items) = of_reply(&reply, sent) {
                prop_assert_eq!(items.len(), sent);
            }
        }
    }
}
