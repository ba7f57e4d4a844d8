//! Errors as RFC 9457 problem details: `application/problem+json`.

use crate::access::Denied;
use crate::intake::IntakeError;
use crate::receiver::axonflow::{InvalidId, Operation, Unanswered};
use crate::store::StoreError;
use crate::store::query::ParseError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use utoipa::ToSchema;

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How a credential is asked for. Source: RFC 6750, section 3.
const CHALLENGE: &str = "Bearer realm=\"spanledger\"";

/// Seconds after which a caller that was sent away may come back.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Kind of the problem that an answer was given and is not on record.
const ANSWER_NOT_RECORDED: &str = "answer-not-recorded";

/// What went wrong and what to do about it.
///
/// Source: RFC 9457 "Problem Details for HTTP APIs", section 3.
///
/// ```
/// use spanledger::api::Problem;
/// let problem = Problem::query("a value is missing after `decision:`", Some(9));
/// assert_eq!((problem.status, problem.position), (400, Some(9)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:spanledger:problem:invalid-query`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do, in this case.
    pub detail: String,
    /// Where in the query, in characters from its start, the first being 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub position: Option<usize>,
}

impl Problem {
    fn new(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:spanledger:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            position: None,
        }
    }

    /// The query is not in the query language.
    pub fn query(detail: impl Into<String>, position: Option<usize>) -> Self {
        let problem = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-query",
            "The query cannot be understood",
            detail,
        );
        Self { position, ..problem }
    }

    /// A parameter is unknown or has a value that it cannot have.
    pub fn parameter(detail: impl Into<String>) -> Self {
        let title = "A parameter cannot be used";
        Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", title, detail)
    }

    /// Nothing has that id, or there is no such path.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
    }

    /// The path takes another method.
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This path takes another method",
            "The `Allow` header names the methods; /api/v1/openapi.json describes every path.",
        )
    }

    /// The request's credential is not accepted, or not for this.
    pub fn denied(denied: Denied) -> Self {
        let (name, title) = match denied {
            Denied::Missing => ("credential-missing", "A credential is needed"),
            Denied::Unknown => ("credential-unknown", "The credential is not known"),
            Denied::Expired => ("credential-expired", "The credential is expired"),
            Denied::Revoked => ("credential-revoked", "The credential is revoked"),
            Denied::Forbidden { .. } => ("forbidden", "The credential is for something else"),
            Denied::TooFast => ("too-many-requests", "Too many requests"),
        };
        let status = StatusCode::from_u16(denied.http_status()).unwrap_or(StatusCode::FORBIDDEN);
        Self::new(status, name, title, denied.to_string())
    }

    /// Who reads every tenant's evidence has to say whose.
    pub fn tenant_needed() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "tenant-needed",
            "The tenant is not named",
            "This credential reads every tenant's evidence, one tenant at a time: add \
             `?tenant=NAME`, or `tenant_id:NAME AND …` to a query. GET /api/v1/tenants lists them.",
        )
    }

    /// A page of another site had a browser send the request.
    pub fn other_site() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "other-site",
            "The request comes from a page of another site",
            "Send it from a program, or from a page of this server.",
        )
    }

    /// The request names a host that this server is not.
    pub fn host(detail: impl Into<String>) -> Self {
        let title = "The request was meant for another host";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", title, detail)
    }

    /// Too many questions at once.
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many questions at once",
            "Ask again after the seconds that `Retry-After` says.",
        )
    }

    /// The store cannot answer for now. `why` holds nothing of a question or an entry.
    pub fn unavailable(why: &str) -> Self {
        let detail = format!(
            "{why}. Ask again after the seconds that `Retry-After` says. What is acknowledged is \
             in the ledger and will be shown."
        );
        let title = "The store cannot answer now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", title, detail)
    }

    /// A bundle of evidence cannot be written now.
    pub fn no_bundle(detail: impl Into<String>) -> Self {
        let title = "There is no room for a bundle of evidence";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-room", title, detail)
    }

    /// What is exported to cannot be used now, or what could not be exported cannot be read.
    pub fn export(detail: impl Into<String>) -> Self {
        let title = "The export cannot do that now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "export-unavailable", title, detail)
    }

    /// The first key would shut the door, and nobody said that this is meant.
    pub fn first_key() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "first-key",
            "This would be the first key",
            "From the first key on every request needs one: agents that send without a key are \
             refused, and so is reading. Make the operator's first, or set `first` to true.",
        )
    }

    /// The credentials cannot be changed now.
    pub fn keys(detail: impl Into<String>) -> Self {
        let title = "The keys cannot be changed now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable", title, detail)
    }

    /// The body of a request does not come, or is too large.
    pub fn body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-body", "The body cannot be read", detail)
    }

    /// The body is larger than an entry may be.
    pub fn too_large(detail: impl Into<String>) -> Self {
        let title = "The body is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, detail)
    }

    /// This server takes no evidence: it only answers questions.
    pub fn nothing_taken() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing-taken",
            "No evidence is taken here",
            "This server only answers questions. Send to one that `spanledger serve` started.",
        )
    }

    /// What was reported is not on record, so it is not acknowledged.
    pub fn not_recorded(why: &str) -> Self {
        let detail = format!("{why}. Send it again after the seconds that `Retry-After` says.");
        let title = "It could not be put on record";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-recorded", title, detail)
    }

    /// The system has no random numbers, so nothing new can have an id.
    pub fn no_random() -> Self {
        Self::not_recorded("The system has no random numbers for a new id")
    }

    /// A decision is asked for, and nobody is configured who makes one.
    pub fn nobody_decides() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "nobody-decides",
            "Nobody here decides",
            "spanledger records decisions and never makes one. Name the engine that decides in the \
             configuration (axonflow: upstream: url), and this call is forwarded to it and recorded \
             with its answer.",
        )
    }

    /// The engine that decides is another tenant's.
    pub fn decides_for_another() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "nobody-decides",
            "Nobody here decides for this tenant",
            "The upstream knows this server as one client, so it is asked for one tenant only, and \
             this is another one. Name this one in the configuration (axonflow: upstream: tenant), \
             or run a server of its own with an identity of its own at the upstream.",
        )
    }

    /// The engine that decides was asked, or could not be, and there is no answer.
    pub fn upstream(why: &Unanswered) -> Self {
        let (status, advice) = match why {
            Unanswered::Busy(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Nothing was asked; ask again after the seconds that `Retry-After` says, or raise \
                 axonflow.upstream.in_flight.",
            ),
            Unanswered::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "Nothing was asked; check axonflow.upstream.url and whether it runs.",
            ),
            Unanswered::Timeout(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                "It may have decided; look there before asking again.",
            ),
            Unanswered::TooLarge(_) | Unanswered::Unusable(_) => {
                (StatusCode::BAD_GATEWAY, "It may have decided; look there before asking again.")
            }
        };
        let title = "The upstream gave no answer";
        Self::new(status, "upstream", title, format!("{}. {advice}", capitalised(&why.to_string())))
    }

    /// Whether it says that the engine that decides gave no answer.
    pub(super) fn is_of_upstream(&self) -> bool {
        self.kind == "urn:spanledger:problem:upstream"
    }

    /// The engine answered, and the answer is not on record, so it is not released.
    pub fn decided_and_not_recorded(operation: Operation, why: &IntakeError) -> Self {
        let what = if operation.asks_for_a_decision() { "decided" } else { "took this call" };
        let detail = format!(
            "The upstream {what}, and its answer is not released because it could not be put on \
             record: {why}. Look there before asking again."
        );
        let title = "The upstream's answer could not be put on record";
        let status = match why {
            IntakeError::TooLarge { .. } => StatusCode::BAD_GATEWAY,
            IntakeError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, ANSWER_NOT_RECORDED, title, detail)
    }

    /// A workflow has ended in another way already.
    pub fn workflow_ended(status: &str, wanted: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "workflow-ended",
            "The workflow has ended",
            format!("It is {status} and cannot become {wanted}. Begin a new one."),
        )
    }

    /// Sealed payloads that nobody can open any more.
    pub fn erased(detail: impl Into<String>) -> Self {
        let title = "The payloads were erased";
        Self::new(StatusCode::GONE, "payloads-erased", title, detail)
    }

    /// Sealed payloads whose time is over.
    pub fn pruned() -> Self {
        Self::new(
            StatusCode::GONE,
            "payloads-pruned",
            "The payloads are not kept any more",
            "They were kept as long as the entry's retention class says.",
        )
    }

    /// Sealed payloads that should open and do not.
    pub fn not_opened() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "payloads-not-opened",
            "The payloads cannot be opened",
            "Their key is missing or damaged, or they are not what the entry commits to. The \
             server's log says which.",
        )
    }

    /// An erasure that is not done, or not to its end.
    pub fn not_erased(why: &str) -> Self {
        let detail = format!("{}. The server's log says why.", capitalised(why));
        let title = "The erasure is not completed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-erased", title, detail)
    }

    /// The answer took too long.
    pub fn timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "The answer took too long",
            "Ask for less: a shorter time range, a smaller `limit`, or one more `field:value`.",
        )
    }

    /// The store could not answer. What it said stays in the server's log: it may name paths.
    pub fn store() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "store-failed",
            "The store could not answer",
            "The server's log says why; the ledger itself can be checked with `spanledger verify`.",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Request(what) => Self::parameter(what),
            StoreError::Cursor(what) => Self::parameter(what.to_string()),
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store cannot answer now");
                Self::unavailable(&why)
            }
            StoreError::Damaged { .. } | StoreError::Io { .. } => {
                let cause = error.source().map(ToString::to_string);
                tracing::error!(%error, cause, "the store could not answer");
                Self::store()
            }
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::denied(denied)
    }
}

impl From<InvalidId> for Problem {
    fn from(error: InvalidId) -> Self {
        Self::parameter(format!("{}.", capitalised(&error.to_string())))
    }
}

/// A sentence of ours, with the letter that sentences begin with.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        let place = error.position.saturating_add(1);
        Self::query(format!("At character {place}: {}", error.problem), Some(error.position))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Serialising five plain fields cannot fail; if it ever does, the status still speaks.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // What was decided must not be asked again without looking.
        let may_retry = !self.kind.ends_with(ANSWER_NOT_RECORDED);
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS if may_retry => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Right, Role};

    #[test]
    fn a_problem_is_problem_json_and_says_what_to_do() {
        let response = Problem::busy().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn who_is_not_accepted_is_asked_for_a_credential_and_who_is_too_fast_to_wait() {
        let response = Problem::denied(Denied::Revoked).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"spanledger\"");
        let response = Problem::denied(Denied::TooFast).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn the_documents_are_these() {
        let all = [
            Problem::query("a value is missing after `decision:`", Some(9)),
            Problem::parameter("`limit` is 1 to 1000, not 0"),
            Problem::not_found("No entry has the id x."),
            Problem::method(),
            Problem::host("evil.example is not a name of this server."),
            Problem::busy(),
            Problem::unavailable("Elasticsearch: the cluster is busy (429)"),
            Problem::timeout(),
            Problem::store(),
            Problem::denied(Denied::Missing),
            Problem::denied(Denied::Unknown),
            Problem::denied(Denied::Expired),
            Problem::denied(Denied::Revoked),
            Problem::denied(Denied::Forbidden { right: Right::Read, role: Role::Writer }),
            Problem::denied(Denied::TooFast),
            Problem::tenant_needed(),
            Problem::other_site(),
            Problem::first_key(),
            Problem::keys("The server's log says why."),
            Problem::too_large("An entry has at most 16 MiB."),
            Problem::nothing_taken(),
            Problem::not_recorded("The disk is full"),
            Problem::nobody_decides(),
            Problem::upstream(&Unanswered::Unreachable),
            Problem::upstream(&Unanswered::Timeout(std::time::Duration::from_secs(45))),
            Problem::workflow_ended("aborted", "completed"),
            Problem::erased("Ordered at 2026-11-21T08:00:00Z by ada."),
            Problem::pruned(),
            Problem::not_opened(),
            Problem::not_erased("the keys cannot be destroyed now"),
        ];
        insta::assert_json_snapshot!(all);
    }
}
