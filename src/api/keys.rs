//! `/api/v1/keys`: credentials are made, listed, rotated and revoked by an operator.

use super::caller::Caller;
use super::key::{CreateKey, Key, KeyMade, KeysAnswer, RotateKey};
use super::problem::Problem;
use super::service::{Api, json};
use crate::access::{BookError, Credential, Credentials, NewCredential, Principal, Token};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The answer of a [`Keyring`].
pub type Keeping<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyringError>> + Send + 'a>>;

/// What changes the credentials. When a call returns, the change is durable, on record as what
/// `by` did, and in effect.
pub trait Keyring: Send + Sync {
    /// Makes a credential; gives its token when it is a key. `knows_first` is for
    /// [`Book::check_first`](crate::access::Book::check_first).
    ///
    /// # Errors
    /// [`KeyringError`].
    fn create(
        &self,
        new: NewCredential,
        knows_first: bool,
        by: Principal,
    ) -> Keeping<'_, (Credential, Option<Token>)>;

    /// Makes another key in the place of one, which goes on for `grace`.
    ///
    /// # Errors
    /// [`KeyringError`].
    fn rotate(
        &self,
        id: String,
        grace: Duration,
        by: Principal,
    ) -> Keeping<'_, (Credential, Token)>;

    /// Refuses a credential from now on.
    ///
    /// # Errors
    /// [`KeyringError`].
    fn revoke(&self, id: String, by: Principal) -> Keeping<'_, Credential>;
}

/// Why credentials were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The book refuses it, or cannot be changed.
    #[error(transparent)]
    Book(#[from] BookError),
    /// It cannot be put on record now: why, and what to do. Shown to the operator.
    #[error("{0}")]
    NotRecorded(String),
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Book(BookError::First) => Self::first_key(),
            KeyringError::NotRecorded(why) => Self::keys(why),
            KeyringError::Book(error @ BookError::Invalid(_)) => {
                Self::parameter(format!("{error}."))
            }
            KeyringError::Book(BookError::Unknown(_)) => no_such_key(),
            // These name paths of the server.
            KeyringError::Book(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the credentials cannot be changed");
                Self::keys("The server's log says why. Nothing was changed.")
            }
        }
    }
}

/// All credentials, with when each was used last. Never a secret, nor a hash of one.
#[utoipa::path(get, path = "/api/v1/keys", tag = "access",
    responses((status = 200, description = "All credentials", body = KeysAnswer)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let known = api.credentials.as_ref().and_then(Credentials::list).unwrap_or_default();
    let keys = known.iter().map(|(credential, used)| Key::of(credential, *used, now)).collect();
    json(&KeysAnswer { keys })
}

/// Makes a credential. The secret is in this answer only.
#[utoipa::path(post, path = "/api/v1/keys", tag = "access", request_body = CreateKey,
    responses(
        (status = 200, description = "It is made, on record, and in effect", body = KeyMade),
        (status = 400, description = "There can be no such credential", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It would be the first one, and nobody said that this is meant", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Credentials cannot be changed now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<CreateKey>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = body.map_err(|error| Problem::parameter(error.body_text()))?;
    let now = Timestamp::now();
    let knows_first = asked.first;
    let new = asked.read(now).map_err(|why| Problem::parameter(format!("{why}.")))?;
    let made = keyring(&api)?.create(new, knows_first, caller.principal().clone()).await;
    let (credential, token) = made.map_err(Problem::from)?;
    json(&KeyMade::of(&credential, token.as_ref(), now))
}

/// Makes another key in the place of one, which goes on for a while. The secret is in this answer
/// only. The body may be left out.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "access", request_body = RotateKey,
    params(("id" = String, Path, description = "Public id of the key")),
    responses(
        (status = 200, description = "It is made, on record, and in effect", body = KeyMade),
        (status = 400, description = "This key cannot be rotated", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Credentials cannot be changed now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| no_such_key())?;
    let asked: RotateKey = match &body[..] {
        [] => RotateKey::default(),
        // Whatever it is called: a `grace` that is passed over would leave a key alive.
        body => serde_json::from_slice(body).map_err(|error| {
            Problem::parameter(format!("The body is not what this path takes: {error}."))
        })?,
    };
    let grace = asked.read().map_err(|why| Problem::parameter(format!("{why}.")))?;
    let made = keyring(&api)?.rotate(id, grace, caller.principal().clone()).await;
    let (credential, token) = made.map_err(Problem::from)?;
    json(&KeyMade::of(&credential, Some(&token), Timestamp::now()))
}

/// Refuses a credential from now on, for good. One that is revoked already stays as it is.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", tag = "access",
    params(("id" = String, Path, description = "Public id of the key")),
    responses(
        (status = 200, description = "It is revoked, on record, and refused", body = Key),
        (status = 404, description = "There is no such key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Credentials cannot be changed now", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| no_such_key())?;
    let revoked = keyring(&api)?.revoke(id, caller.principal().clone()).await;
    json(&Key::of(&revoked.map_err(Problem::from)?, None, Timestamp::now()))
}

fn no_such_key() -> Problem {
    Problem::not_found("There is no such key; GET /api/v1/keys lists those that there are.")
}

fn keyring(api: &Api) -> Result<Arc<dyn Keyring>, Problem> {
    api.keyring.clone().ok_or_else(|| {
        Problem::not_found(
            "Keys are not made here; on the server's machine `spanledger keys` does.",
        )
    })
}
