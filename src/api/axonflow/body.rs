//! What stands in a request: headers, query and a body that is a JSON object.

use super::super::limits::MAX_EVIDENCE_BYTES;
use super::super::load::{Limit, Load};
use super::super::problem::Problem;
use crate::receiver::axonflow::{Call, Object, Operation, elements};
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest text of a name or an id in a body, characters: longer ids join nothing.
pub(super) const MAX_TEXT_CHARS: usize = 255;

/// Most values in a body, counted by the brackets and commas that it has: a value of two bytes
/// takes a hundred and more once it is read.
pub(super) const MAX_ELEMENTS: usize = 200_000;

/// A request whose body is there.
#[derive(Debug)]
pub(in crate::api) struct Incoming {
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    pub(super) body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().map(str::to_owned);
        // The guard has read it already, within bounds of its own.
        let body = to_bytes(body, MAX_EVIDENCE_BYTES).await;
        let body = body.map_err(|_| Problem::body("It is too large or was cut off."))?;
        Ok(Self { headers: parts.headers, query, body })
    }
}

impl Incoming {
    /// The body as the type that a path takes.
    ///
    /// # Errors
    /// [`Problem`] that says where it is not.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // The parser's words name a place and a key, never a value of the body.
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.is_data() { error.to_string() } else { place(&error) };
            Problem::body(format!("{what}. /api/v1/openapi.json describes it."))
        })
    }

    /// The body as an object; none at all is an empty one.
    ///
    /// # Errors
    /// [`Problem`] for anything else.
    pub(super) fn object(&self, load: &Load) -> Result<Object, Problem> {
        if self.body.is_empty() {
            return Ok(Object::new());
        }
        if elements(&self.body) > MAX_ELEMENTS {
            load.hit(Limit::Values);
            let most = format!("It has at most {MAX_ELEMENTS} values.");
            return Err(Problem::too_large(most));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Problem::body("It is a JSON object, and this is another value.")),
            Err(error) => Err(Problem::body(format!("It is a JSON object: {}.", place(&error)))),
        }
    }
}

fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {} cannot be read", error.line(), error.column())
}

/// A text of a body.
///
/// # Errors
/// [`Problem`] for another value, and for one that is too long.
pub(super) fn text<'o>(object: &'o Object, name: &str) -> Result<Option<&'o str>, Problem> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().nth(MAX_TEXT_CHARS).is_some() => {
            Err(Problem::body(format!("`{name}` has at most {MAX_TEXT_CHARS} characters.")))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::body(format!("`{name}` is a text."))),
    }
}

/// A text that has to be there.
///
/// # Errors
/// [`Problem`] when it is not.
pub(super) fn needed<'o>(object: &'o Object, name: &str) -> Result<&'o str, Problem> {
    let given = text(object, name)?.filter(|text| !text.trim().is_empty());
    given.ok_or_else(|| Problem::body(format!("`{name}` is missing or empty: give a text.")))
}

/// What has to be in a body whoever answers it, so that its entry can be found.
///
/// # Errors
/// [`Problem`] for what is missing, or of another type.
pub(super) fn check(call: &Call, request: &Object) -> Result<(), Problem> {
    match call.operation {
        Operation::CreateWorkflow => {
            needed(request, "workflow_name")?;
            text(request, "source")?;
            text(request, "trace_id")?;
        }
        Operation::ToolCall => {
            needed(request, "tool_name")?;
            text(request, "workflow_id")?;
            text(request, "step_id")?;
            text(request, "user_id")?;
        }
        Operation::LlmCall => {
            needed(request, "context_id")?;
        }
        Operation::StepGate => {
            text(request, "step_name")?;
            text(request, "step_type")?;
            text(request, "idempotency_key")?;
        }
        Operation::CompleteStep => {
            text(request, "idempotency_key")?;
        }
        _ => {}
    }
    Ok(())
}
