//! Answers in the shapes that AxonFlow's clients read. Their types are strict: an absent text is
//! `""` where they refuse null, and a word outside of their vocabulary stands beside the nearest
//! one of it, as it was written.

use super::super::problem::Problem;
use super::super::service::json;
use super::state::{StepState, WorkflowState};
use crate::entry::Outcome;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Says whose entries an answer is about: `tenant`, or `none` when the caller may see none.
pub(super) const READ_SCOPE: HeaderName = HeaderName::from_static("x-axonflow-read-scope");

/// An answer about a tenant's entries.
pub(super) fn scoped(answer: &impl Serialize) -> Result<Response, Problem> {
    with_scope(answer, "tenant")
}

/// An answer, and whose entries it is about.
pub(super) fn with_scope(
    answer: &impl Serialize,
    scope: &'static str,
) -> Result<Response, Problem> {
    let mut response = json(answer)?;
    response.headers_mut().insert(READ_SCOPE, HeaderValue::from_static(scope));
    Ok(response)
}

/// A workflow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkflowAnswer {
    /// Id.
    pub workflow_id: String,
    /// Name; empty when no entry says it.
    pub workflow_name: String,
    /// `langgraph`, `langchain`, `crewai` or `external`.
    pub source: String,
    /// The orchestrator as it was written, when that is none of those.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_reported: Option<String>,
    /// `in_progress`, `completed`, `aborted` or `failed`.
    pub status: String,
    /// When its first entry happened, RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Place of the newest step among `steps`.
    pub current_step_index: usize,
    /// Steps that entries tell of.
    pub total_steps: usize,
    /// The orchestrator's own trace id.
    pub trace_id: Option<String>,
    /// What was said when it began.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
    /// Steps with a recorded decision.
    pub steps: Vec<StepAnswer>,
    /// Steps that were heard of and about which no decision is recorded: nobody asked, or nobody
    /// said so here.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps_without_decision: Vec<UngatedStep>,
}

/// A step about which something was decided.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct StepAnswer {
    /// Id.
    pub step_id: String,
    /// Its place.
    pub step_index: usize,
    /// Name; empty when no entry says it.
    pub step_name: String,
    /// `llm_call`, `tool_call`, `connector_call` or `human_task`.
    pub step_type: String,
    /// The decision: `allow`, `block` or `require_approval`.
    pub decision: String,
    /// The decision in the words of whoever decided.
    pub decision_reported: String,
    /// Why; empty when nobody said.
    pub decision_reason: String,
    /// `pending`, `approved`, `rejected`, or empty.
    pub approval_status: String,
    /// Who approved or rejected it.
    pub approved_by: Option<String>,
    /// When it was decided, RFC 3339.
    pub gate_checked_at: String,
    /// When its end was reported.
    pub completed_at: Option<String>,
}

/// A step about which no decision is recorded.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct UngatedStep {
    /// Id.
    pub step_id: String,
    /// Name; empty when no entry says it.
    pub step_name: String,
    /// When its end was reported.
    pub completed_at: Option<String>,
}

impl WorkflowAnswer {
    pub(super) fn of(state: &WorkflowState) -> Self {
        let known = &state.known;
        let source = source_word(known.source.as_deref());
        let steps: Vec<StepAnswer> =
            state.steps.iter().filter_map(StepAnswer::of).zip(0..).map(StepAnswer::at).collect();
        let ungated = state.steps.iter().filter(|step| step.decided.is_none());
        Self {
            workflow_id: known.id.clone(),
            workflow_name: known.name.clone().unwrap_or_default(),
            source: source.to_owned(),
            source_reported: known.source.clone().filter(|own| own != source),
            status: state.status.as_str().to_owned(),
            started_at: state.started.clone(),
            completed_at: state.ended.clone(),
            current_step_index: steps.len().saturating_sub(1),
            total_steps: state.steps.len(),
            trace_id: known.trace_id.clone(),
            metadata: state.metadata.clone(),
            steps,
            steps_without_decision: ungated.map(UngatedStep::of).collect(),
        }
    }
}

impl StepAnswer {
    fn of(step: &StepState) -> Option<Self> {
        let decided = step.decided.as_ref()?;
        let waits = decided.outcome == Some(Outcome::RequireApproval);
        Some(Self {
            step_id: step.id.clone(),
            step_index: 0,
            step_name: step.name.clone().unwrap_or_default(),
            step_type: step_type(step.kind.as_deref()).to_owned(),
            decision: gate_word(decided.outcome).to_owned(),
            decision_reported: decided.raw.clone(),
            decision_reason: decided.reason.clone().unwrap_or_default(),
            approval_status: approval_word(step.approval_status.as_deref(), waits).to_owned(),
            approved_by: step.approved_by.clone(),
            gate_checked_at: decided.at.clone(),
            completed_at: step.completed.clone(),
        })
    }

    fn at((step, index): (Self, usize)) -> Self {
        Self { step_index: index, ..step }
    }
}

impl UngatedStep {
    fn of(step: &StepState) -> Self {
        Self {
            step_id: step.id.clone(),
            step_name: step.name.clone().unwrap_or_default(),
            completed_at: step.completed.clone(),
        }
    }
}

/// The nearest of the sources that clients know.
pub(super) fn source_word(source: Option<&str>) -> &'static str {
    match source.unwrap_or_default().to_ascii_lowercase().as_str() {
        "langgraph" => "langgraph",
        "langchain" => "langchain",
        "crewai" => "crewai",
        _ => "external",
    }
}

/// The nearest of the types of steps that clients know.
pub(super) fn step_type(kind: Option<&str>) -> &'static str {
    match kind.unwrap_or_default().to_ascii_lowercase().as_str() {
        "llm_call" | "llm" => "llm_call",
        "connector_call" => "connector_call",
        "human_task" | "interrupt" | "approval" => "human_task",
        _ => "tool_call",
    }
}

/// The nearest of the three decisions that clients know. What is not known, and what may not
/// happen as it was asked, is a block to whoever asks.
pub(super) fn gate_word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Allow | Outcome::AllowWithConstraints | Outcome::Redact | Outcome::Warn) => {
            "allow"
        }
        Some(Outcome::RequireApproval) => "require_approval",
        Some(Outcome::Block | Outcome::Quarantine | Outcome::Throttle | Outcome::Error) | None => {
            "block"
        }
    }
}

/// A decision in the words of AxonFlow's audit log; empty where nothing was decided.
pub(super) fn decision_word(raw: Option<&str>) -> &str {
    let Some(raw) = raw else { return "" };
    match Outcome::from_word(raw) {
        Some(Outcome::Allow) => "allowed",
        Some(Outcome::Block) => "blocked",
        Some(Outcome::Redact) => "redacted",
        Some(Outcome::RequireApproval) => "needs_approval",
        Some(outcome) => outcome.as_str(),
        None => raw,
    }
}

fn approval_word(status: Option<&str>, waits: bool) -> &'static str {
    match status.and_then(Outcome::from_word) {
        Some(Outcome::Allow) => "approved",
        Some(Outcome::Block) => "rejected",
        _ if waits => "pending",
        _ => "",
    }
}

/// A page of workflows.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkflowsAnswer {
    /// The newest first.
    pub workflows: Vec<WorkflowAnswer>,
    /// How many there are in all.
    pub total: usize,
    /// Most on this page.
    pub limit: usize,
    /// How many were passed over.
    pub offset: usize,
    /// Whether there are more entries than are looked at for one answer, so that workflows may
    /// be missing: ask with `trace_id`.
    pub truncated: bool,
}

/// Steps that wait for a person.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PendingAnswer {
    /// The longest waiting first.
    pub pending_approvals: Vec<PendingApproval>,
    /// How many wait in all.
    pub count: usize,
    /// Whether there are more entries than are looked at for one answer.
    pub truncated: bool,
}

/// A step that waits for a person.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PendingApproval {
    /// Of which workflow.
    pub workflow_id: String,
    /// Its name; empty when no entry says it.
    pub workflow_name: String,
    /// Which step.
    pub step_id: String,
    /// Its name; empty when no entry says it.
    pub step_name: String,
    /// `llm_call`, `tool_call`, `connector_call` or `human_task`.
    pub step_type: String,
    /// `require_approval`.
    pub decision: String,
    /// Why; empty when nobody said.
    pub decision_reason: String,
    /// `pending`.
    pub approval_status: String,
    /// Since when, RFC 3339.
    pub created_at: String,
}
