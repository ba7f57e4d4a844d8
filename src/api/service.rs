//! What the routes share: the state, one question's turn and time, headers, the Host check.

use super::axonflow::AxonflowCalls;
use super::caller::Caller;
use super::dead_letters::DeadLetterBox;
use super::health::Health;
use super::host::HostCheck;
use super::keys::Keyring;
use super::limits::{
    DEFAULT_PAGE, MAX_BUNDLES, MAX_CONCURRENT_QUERIES, MAX_CURSOR_BYTES, MAX_PAGE, MAX_WAITING,
    QUEUE_TIMEOUT, REQUEST_TIMEOUT,
};
use super::load::{Limit, Load};
use super::outgoing::Outgoing;
use super::payloads::SealedPayloads;
use super::problem::Problem;
use super::shares::{Full, Shares, Taken};
use crate::access::Credentials;
use crate::evidence::Prover;
use crate::intake::Intake;
use crate::ledger::PublicLog;
use crate::store::{AuditStore, Cursor, Hit};
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Sent with every answer. Nothing of it may be framed, guessed at, kept or read by another site.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Numbers about the process in the OpenMetrics text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the routes answer from. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// What answers about entries.
    pub(super) store: Arc<dyn AuditStore>,
    /// Whether the process lives and takes evidence.
    pub(super) health: Arc<Health>,
    /// What `/metrics` says.
    pub(super) metrics: Metrics,
    /// What could not be exported; absent when nothing is.
    pub(super) dead_letters: Option<Arc<dyn DeadLetterBox>>,
    /// Who may ask for what; absent while everybody is local.
    pub(super) credentials: Option<Credentials>,
    /// What changes the credentials; absent where nothing does.
    pub(super) keyring: Option<Arc<dyn Keyring>>,
    /// What takes the calls of AxonFlow's clients; absent where nothing is taken.
    pub(super) axonflow: Option<Arc<AxonflowCalls>>,
    /// What opens sealed payloads; absent where there are none.
    pub(super) payloads: Option<SealedPayloads>,
    /// What erases them; absent where nothing does.
    pub(super) erasures: Option<Intake>,
    /// What proves entries; absent where there is no ledger.
    pub(super) prover: Option<Prover>,
    /// The public log; absent where none is published.
    pub(super) log: Option<PublicLog>,
    /// What is refused for its load, counted.
    pub(super) load: Arc<Load>,
    /// Questions that may be worked on at once.
    turns: Shares,
    /// Callers that may follow the ledger at once.
    waiting: Shares,
    /// Bundles that may be made and read at once.
    bundles: Shares,
    bounds: Bounds,
}

/// How many questions at once, and how long each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Questions that are worked on at once.
    pub concurrent: usize,
    /// How long a question waits for its turn.
    pub queue: Duration,
    /// How long its answer may take.
    pub answer: Duration,
    /// Callers that may follow the ledger at once.
    pub waiting: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            concurrent: MAX_CONCURRENT_QUERIES,
            queue: QUEUE_TIMEOUT,
            answer: REQUEST_TIMEOUT,
            waiting: MAX_WAITING,
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Api {
    /// An API over these parts.
    pub fn new(store: Arc<dyn AuditStore>, health: Arc<Health>, metrics: Metrics) -> Self {
        let bounds = Bounds::default();
        Self {
            store,
            health,
            metrics,
            dead_letters: None,
            credentials: None,
            keyring: None,
            axonflow: None,
            payloads: None,
            erasures: None,
            log: None,
            prover: None,
            load: Arc::default(),
            turns: Shares::new(bounds.concurrent),
            waiting: Shares::new(bounds.waiting),
            bundles: Shares::new(MAX_BUNDLES),
            bounds,
        }
    }

    /// The same API with other bounds.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self {
            turns: Shares::new(bounds.concurrent),
            waiting: Shares::new(bounds.waiting),
            bounds,
            ..self
        }
    }

    /// The same API with the dead letters of an export.
    #[must_use]
    pub fn with_dead_letters(self, letters: Option<Arc<dyn DeadLetterBox>>) -> Self {
        Self { dead_letters: letters, ..self }
    }

    /// The same API for those who have one of these credentials. Without them everybody is local
    /// and may do everything.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// The same API with what changes its credentials.
    #[must_use]
    pub fn with_keyring(self, keyring: Arc<dyn Keyring>) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// The same API, which takes the calls of AxonFlow's clients.
    #[must_use]
    pub fn with_axonflow(self, calls: impl Into<Arc<AxonflowCalls>>) -> Self {
        Self { axonflow: Some(calls.into()), ..self }
    }

    /// The same API with what opens sealed payloads.
    #[must_use]
    pub fn with_payloads(self, payloads: Option<SealedPayloads>) -> Self {
        Self { payloads, ..self }
    }

    /// The same API, which erases through that intake.
    #[must_use]
    pub fn with_erasures(self, intake: Intake) -> Self {
        Self { erasures: Some(intake), ..self }
    }

    /// The same API, which proves entries.
    #[must_use]
    pub fn with_prover(self, prover: Prover) -> Self {
        Self { prover: Some(prover), ..self }
    }

    /// The same API with a public log.
    #[must_use]
    pub fn with_log(self, log: PublicLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// The same API that counts there what it refuses.
    #[must_use]
    pub fn with_load(self, load: Arc<Load>) -> Self {
        Self { load, ..self }
    }

    /// Leave to follow the ledger.
    pub(super) fn wait(&self, caller: &Caller) -> Result<Taken, Problem> {
        self.waiting.try_take(caller.owner(), 1).map_err(|full| self.busy(full))
    }

    /// Leave to have a bundle made: a place that is taken until it was read.
    pub(super) async fn make_bundle(&self, caller: &Caller) -> Result<Taken, Problem> {
        self.bundles.take(caller.owner(), self.bounds.queue).await.map_err(|_| {
            self.load.hit(Limit::Bundles);
            Problem::busy()
        })
    }

    fn busy(&self, full: Full) -> Problem {
        self.load.no_place(full);
        Problem::busy()
    }

    /// Works on one question on a thread of its own, when it is its turn.
    ///
    /// # Errors
    /// [`Problem::busy`] when no turn came, [`Problem::timeout`] when the work took too long, and
    /// what the work says.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Api) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turns.take(caller.owner(), self.bounds.queue).await;
        let turn = turn.map_err(|full| self.busy(full))?;
        let api = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            // The thread cannot be stopped: its turn ends with it, not with the caller's patience.
            let _turn = turn;
            work(&api)
        });
        match tokio::time::timeout(self.bounds.answer, work).await {
            Err(_) => Err(Problem::timeout()),
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::error!(%error, "a question could not be worked on to its end");
                Err(Problem::store())
            }
        }
    }
}

/// Parameters of the query string; an unknown or impossible one is a problem document.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|rejection| {
            Problem::parameter(format!(
                "{}. /api/v1/openapi.json lists the parameters.",
                rejection.body_text().trim_end_matches('.')
            ))
        })
    }
}

/// The number of entries on a page.
pub(super) fn page_size(limit: Option<u32>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 || limit > MAX_PAGE {
        let detail = format!("`limit` is 1 to {MAX_PAGE}, not {limit}; page with `cursor`.");
        return Err(Problem::parameter(detail));
    }
    usize::try_from(limit).map_err(|_| Problem::store())
}

/// Where the page before ended.
pub(super) fn read_cursor(cursor: Option<&str>) -> Result<Option<Cursor>, Problem> {
    let refuse = || {
        let detail = "`cursor` is not one of ours: pass `next_cursor` of the page before as it is.";
        Problem::parameter(detail)
    };
    match cursor {
        None => Ok(None),
        Some(text) if text.len() > MAX_CURSOR_BYTES => Err(refuse()),
        Some(text) => text.parse().map(Some).map_err(|_| refuse()),
    }
}

/// Documents as they are shown, byte for byte.
pub(super) fn documents(hits: Vec<Hit>) -> Vec<Box<RawValue>> {
    hits.into_iter().filter_map(document).collect()
}

/// A document as it is shown. One that is not JSON must not hide the others: it is shown as its
/// place in the ledger, where `verify` can look at it.
pub(super) fn document(hit: Hit) -> Option<Box<RawValue>> {
    let Hit { sequence, id, document, .. } = hit;
    let document =
        String::from_utf8(document).ok().and_then(|text| RawValue::from_string(text).ok());
    document.or_else(|| {
        tracing::error!(sequence, "a projected entry is not JSON");
        let id = u128::from_be_bytes(id);
        let place = format!(
            r#"{{"event":{{"id":"{id:032x}","sequence":{sequence}}},"audit":{{"ledger":{{"unreadable_body":true}}}}}}"#
        );
        RawValue::from_string(place).ok()
    })
}

/// JSON with the bytes as `serde_json` writes them; raw entries stay as they are.
pub(super) fn json(answer: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::store()
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Refuses requests for other hosts, and puts [`SECURITY_HEADERS`] on every answer.
pub(super) async fn guard(
    State((hosts, credentials, outgoing)): State<(Arc<HostCheck>, Option<Credentials>, Outgoing)>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let mut response = match hosts.check(&request, credentials.as_ref()) {
        Ok(()) => outgoing.count(next.run(request).await).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in SECURITY_HEADERS {
        let value = HeaderValue::from_static(value);
        if name == header::CACHE_CONTROL {
            // What may be kept says so itself.
            response.headers_mut().entry(name).or_insert(value);
        } else {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
