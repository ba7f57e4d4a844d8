//! Calls that are answered here: what they report is recorded, and nothing is decided.

use super::super::problem::Problem;
use super::super::service::Api;
use super::no_such_workflow;
use super::state::{Status, WorkflowState};
use super::take::{About, Taken, recorded, still_may};
use super::workflows::load_with_end;
use crate::entry::format_ns;
use crate::intake::{IntakeError, RefusedRequest, Whose};
use crate::receiver::axonflow::{Answered, Digest, Operation, new_id};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Records a call and answers it.
///
/// # Errors
/// [`Problem`].
pub(super) async fn answer(taken: &Taken<'_>) -> Result<Response, Problem> {
    match taken.call.operation {
        Operation::CreateWorkflow => create(taken).await,
        Operation::CompleteStep => complete_step(taken).await,
        Operation::CompleteWorkflow => end(taken, Status::Completed).await,
        Operation::AbortWorkflow => end(taken, Status::Aborted).await,
        Operation::FailWorkflow => end(taken, Status::Failed).await,
        Operation::ToolCall => tool_call(taken).await,
        Operation::LlmCall => {
            put_on_record(taken, &About::default()).await?;
            recorded(StatusCode::OK, &json!({"success": true, "audit_id": taken.id}))
        }
        // What asks for a decision never comes here.
        _ => Err(Problem::nobody_decides()),
    }
}

async fn create(taken: &Taken<'_>) -> Result<Response, Problem> {
    let id = new_id("wf", taken.at_ns).map_err(|_| Problem::no_random())?;
    let mut known = taken.begun(id);
    // The client's own default.
    known.source.get_or_insert_with(|| "external".to_owned());
    let about = About { workflow: Some(known.clone()), ..About::default() };
    put_on_record(taken, &about).await?;
    let answer = json!({
        "workflow_id": known.id,
        "workflow_name": known.name,
        "source": super::answer::source_word(known.source.as_deref()),
        "status": Status::InProgress.as_str(),
        "started_at": format_ns(taken.at_ns),
        "trace_id": known.trace_id,
        "audit_id": taken.id,
    });
    taken.calls.remember(&taken.api.load, taken.sender.tenants.own(), known);
    recorded(StatusCode::CREATED, &answer)
}

/// A step that was never gated here is recorded too: what happened is evidence.
async fn complete_step(taken: &Taken<'_>) -> Result<Response, Problem> {
    let (id, step) = (workflow(taken), taken.call.step.as_deref());
    // Two reports at once are one after the other: the second one sees the first.
    let _turn = taken.calls.turn(taken.sender.tenants.own(), id).await;
    still_may(taken)?;
    let about = taken.about(id, step).await?;
    if about.workflow.is_none() {
        return Err(no_such_workflow());
    }
    let key = taken.request.get("idempotency_key").and_then(Value::as_str);
    let before = about.completion_keys.as_ref().and_then(|keys| keys.first());
    if let (Some(key), Some(before)) = (key, before) {
        if Digest::of(key.as_bytes()).sha256 != before.hash {
            let why = "the step was completed with another idempotency key".to_owned();
            let refused = RefusedRequest::new(taken.call.operation.path(), 409, why, None);
            taken.calls.intake.reject(Whose::Tenant(taken.sender.tenants.own()), refused);
            return Ok(other_key(id, step.unwrap_or_default(), &before.kept, key));
        }
        // The same report again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    put_on_record(taken, &about).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The refusal that AxonFlow's clients know by its code.
fn other_key(workflow: &str, step: &str, expected: &str, received: &str) -> Response {
    let answer = json!({"error": {
        "code": "IDEMPOTENCY_KEY_MISMATCH",
        "message": "this step was completed with another idempotency key",
        "details": {
            "workflow_id": workflow,
            "step_id": step,
            "expected_idempotency_key": expected,
            "received_idempotency_key": received,
        },
    }});
    (StatusCode::CONFLICT, axum::Json(answer)).into_response()
}

/// A workflow ends once. The same end again is answered as the first time; another one is refused.
async fn end(taken: &Taken<'_>, end: Status) -> Result<Response, Problem> {
    let id = workflow(taken);
    let tenant = taken.sender.tenants.own().clone();
    // Two ends at once are one after the other: the second one sees the first.
    let _turn = taken.calls.turn(&tenant, id).await;
    still_may(taken)?;
    let owned = id.to_owned();
    let load = move |api: &Api| load_with_end(api, &tenant, &owned);
    let state = taken.api.ask(taken.caller, load).await?;
    let state = state.ok_or_else(no_such_workflow)?;
    match state.status {
        Status::InProgress => {
            let about = About {
                total_steps: Some(state.executed()),
                workflow: Some(state.known.clone()),
                ..About::default()
            };
            put_on_record(taken, &about).await?;
            let at = format_ns(taken.at_ns);
            ended(&state, end, Some(&at))
        }
        status if status == end => ended(&state, status, state.ended.as_deref()),
        status => Err(Problem::workflow_ended(status.as_str(), end.as_str())),
    }
}

fn ended(state: &WorkflowState, status: Status, at: Option<&str>) -> Result<Response, Problem> {
    let answer = json!({
        "workflow_id": state.known.id,
        "status": status.as_str(),
        "completed_at": at,
        "total_steps": state.executed(),
    });
    recorded(StatusCode::OK, &answer)
}

async fn tool_call(taken: &Taken<'_>) -> Result<Response, Problem> {
    let about = match taken.request.get("workflow_id").and_then(Value::as_str) {
        // A tool call outside of any workflow is what this call is for; one of a workflow that
        // nobody heard of is recorded with the id that it says.
        Some(id) if !id.is_empty() => taken.about(id, None).await?,
        _ => About::default(),
    };
    put_on_record(taken, &about).await?;
    let answer = json!({
        "audit_id": taken.id,
        "status": "recorded",
        "timestamp": format_ns(taken.at_ns),
    });
    recorded(StatusCode::CREATED, &answer)
}

async fn put_on_record(taken: &Taken<'_>, about: &About) -> Result<(), Problem> {
    taken.record(Answered::Here, about).await.map_err(|error| match error {
        IntakeError::TooLarge { reason } => Problem::too_large(reason),
        IntakeError::Unavailable { reason, .. } => Problem::not_recorded(&reason),
    })
}

fn workflow<'a>(taken: &Taken<'a>) -> &'a str {
    taken.call.workflow.as_deref().unwrap_or_default()
}
