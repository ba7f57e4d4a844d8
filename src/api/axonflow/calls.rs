//! The routes of the calls that write or ask for a decision.

use super::super::caller::Caller;
use super::super::problem::Problem;
use super::super::responses::{Decided, Recorded};
use super::super::service::Api;
use super::body::Incoming;
use super::take::take;
use crate::receiver::axonflow::{Call, Operation};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

/// The path of a call about a workflow, and of one about a part of it.
type OneId = Result<Path<String>, PathRejection>;
type TwoIds = Result<Path<(String, String)>, PathRejection>;

fn about_workflow(operation: Operation, id: OneId) -> Result<Call, Problem> {
    let Path(id) = id.map_err(|_| Problem::parameter("The id is not percent-encoded UTF-8."))?;
    Ok(Call::about(operation, id, None, None)?)
}

fn about_step(operation: Operation, ids: TwoIds) -> Result<Call, Problem> {
    let Path((id, step)) =
        ids.map_err(|_| Problem::parameter("The ids are not percent-encoded UTF-8."))?;
    Ok(Call::about(operation, id, Some(step), None)?)
}

fn about_checkpoint(ids: TwoIds) -> Result<Call, Problem> {
    let Path((id, checkpoint)) =
        ids.map_err(|_| Problem::parameter("The ids are not percent-encoded UTF-8."))?;
    Ok(Call::about(Operation::ResumeCheckpoint, id, None, Some(checkpoint))?)
}

/// A workflow begins.
///
/// The workflow's id is made here, or by the upstream where there is one; every later call names it.
#[utoipa::path(post, path = "/api/v1/workflows", tag = "axonflow",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 201, description = "Begun and on record", body = Object),
        (status = 400, description = "The body cannot be used", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn create(
    State(api): State<Api>,
    caller: Caller,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, Call::of(Operation::CreateWorkflow), incoming).await
}

/// May this step run?
///
/// Asked of the configured upstream and recorded with its answer. Nothing is decided here.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/steps/{step_id}/gate", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"),
        ("step_id" = String, Path, description = "Id of the step")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn gate(
    State(api): State<Api>,
    caller: Caller,
    ids: TwoIds,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_step(Operation::StepGate, ids)?, incoming).await
}

/// A step has run.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/steps/{step_id}/complete", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"),
        ("step_id" = String, Path, description = "Id of the step")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 204, description = "On record"),
        (status = 404, description = "No workflow has that id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was completed with another idempotency key", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn complete_step(
    State(api): State<Api>,
    caller: Caller,
    ids: TwoIds,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_step(Operation::CompleteStep, ids)?, incoming).await
}

/// A person lets a step run.
///
/// Asked of the configured upstream and recorded with its answer.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/steps/{step_id}/approve", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"),
        ("step_id" = String, Path, description = "Id of the step")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn approve(
    State(api): State<Api>,
    caller: Caller,
    ids: TwoIds,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_step(Operation::ApproveStep, ids)?, incoming).await
}

/// A person does not let a step run.
///
/// Asked of the configured upstream and recorded with its answer.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/steps/{step_id}/reject", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"),
        ("step_id" = String, Path, description = "Id of the step")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn reject(
    State(api): State<Api>,
    caller: Caller,
    ids: TwoIds,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_step(Operation::RejectStep, ids)?, incoming).await
}

/// A workflow has ended as it should.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/complete", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "On record", body = Object),
        (status = 404, description = "No workflow has that id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn complete(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::CompleteWorkflow, id)?, incoming).await
}

/// A workflow was ended.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/abort", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "On record", body = Object),
        (status = 404, description = "No workflow has that id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn abort(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::AbortWorkflow, id)?, incoming).await
}

/// A workflow has failed.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/fail", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "On record", body = Object),
        (status = 404, description = "No workflow has that id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn fail(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::FailWorkflow, id)?, incoming).await
}

/// May this workflow go on?
///
/// Asked of the configured upstream and recorded with its answer.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/resume", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn resume(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::ResumeWorkflow, id)?, incoming).await
}

/// May this workflow go on from its last checkpoint?
///
/// Asked of the configured upstream and recorded with its answer.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/checkpoints/resume", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn resume_last(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::ResumeLastCheckpoint, id)?, incoming).await
}

/// May this workflow go on from there?
///
/// Asked of the configured upstream and recorded with its answer.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/checkpoints/{checkpoint_id}/resume", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow"),
        ("checkpoint_id" = String, Path, description = "Id of the checkpoint")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn resume_from(
    State(api): State<Api>,
    caller: Caller,
    ids: TwoIds,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_checkpoint(ids)?, incoming).await
}

/// A tool was called.
///
/// Sent again after a time-out it is another entry: the clients send no key by which one could tell.
#[utoipa::path(post, path = "/api/v1/audit/tool-call", tag = "axonflow",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 201, description = "On record", body = Object),
        (status = 400, description = "The body cannot be used", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn tool_call(
    State(api): State<Api>,
    caller: Caller,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, Call::of(Operation::ToolCall), incoming).await
}

/// A model was called.
///
/// Sent again after a time-out it is another entry, as a tool call is.
#[utoipa::path(post, path = "/api/audit/llm-call", tag = "axonflow",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "On record", body = Object),
        (status = 400, description = "The body cannot be used", body = Problem, content_type = "application/problem+json"),
        Recorded))]
pub(in crate::api) async fn llm_call(
    State(api): State<Api>,
    caller: Caller,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, Call::of(Operation::LlmCall), incoming).await
}

/// May this prompt be sent?
///
/// Asked of the configured upstream and recorded with its answer. Nothing is decided here.
#[utoipa::path(post, path = "/api/policy/pre-check", tag = "axonflow",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The upstream's answer, on record", body = Object),
        Decided))]
pub(in crate::api) async fn pre_check(
    State(api): State<Api>,
    caller: Caller,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, Call::of(Operation::PreCheck), incoming).await
}

/// Where could this workflow go on?
///
/// Asked of the configured upstream, which alone knows. Nothing is recorded: nothing is decided.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/checkpoints", tag = "axonflow",
    params(("id" = String, Path, description = "Id of the workflow")),
    responses(
        (status = 200, description = "The upstream's answer", body = Object),
        (status = 501, description = "No upstream is configured", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The upstream cannot be reached, or its answer not be used", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The upstream did not answer in time", body = Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn checkpoints(
    State(api): State<Api>,
    caller: Caller,
    id: OneId,
    incoming: Incoming,
) -> Result<Response, Problem> {
    take(&api, &caller, about_workflow(Operation::ListCheckpoints, id)?, incoming).await
}
