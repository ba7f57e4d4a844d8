//! The calls of AxonFlow's API that write or ask for a decision, and where each is sent.

use std::fmt::Write as _;

/// Longest id in a path, characters: what AxonFlow's own clients may send.
pub const MAX_ID_CHARS: usize = 255;

/// What a client does with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A workflow begins.
    CreateWorkflow,
    /// May this step run?
    StepGate,
    /// A step has run.
    CompleteStep,
    /// A workflow has ended as it should.
    CompleteWorkflow,
    /// A workflow was ended.
    AbortWorkflow,
    /// A workflow has failed.
    FailWorkflow,
    /// May this workflow go on?
    ResumeWorkflow,
    /// A person lets a step run.
    ApproveStep,
    /// A person does not let a step run.
    RejectStep,
    /// Where could this workflow go on? Asked of the upstream; nothing is recorded.
    ListCheckpoints,
    /// May this workflow go on from there?
    ResumeCheckpoint,
    /// May this workflow go on from its last checkpoint?
    ResumeLastCheckpoint,
    /// A tool was called.
    ToolCall,
    /// A model was called.
    LlmCall,
    /// May this prompt be sent?
    PreCheck,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 15] = [
        Self::CreateWorkflow,
        Self::StepGate,
        Self::CompleteStep,
        Self::CompleteWorkflow,
        Self::AbortWorkflow,
        Self::FailWorkflow,
        Self::ResumeWorkflow,
        Self::ApproveStep,
        Self::RejectStep,
        Self::ListCheckpoints,
        Self::ResumeCheckpoint,
        Self::ResumeLastCheckpoint,
        Self::ToolCall,
        Self::LlmCall,
        Self::PreCheck,
    ];

    /// Its name in entries: `audit.request_type`, and the event by which
    /// `config/mappings/axonflow_api.yaml` knows its kind.
    pub const fn request_type(self) -> &'static str {
        match self {
            Self::CreateWorkflow => "workflow_created",
            Self::StepGate => "workflow_step_gate",
            Self::CompleteStep => "workflow_step_completed",
            Self::CompleteWorkflow => "workflow_completed",
            Self::AbortWorkflow => "workflow_aborted",
            Self::FailWorkflow => "workflow_failed",
            Self::ResumeWorkflow => "workflow_resumed",
            Self::ApproveStep => "workflow_step_approved",
            Self::RejectStep => "workflow_step_rejected",
            Self::ListCheckpoints => "workflow_checkpoints",
            Self::ResumeCheckpoint | Self::ResumeLastCheckpoint => "workflow_checkpoint_resumed",
            Self::ToolCall => "tool_call_audit",
            Self::LlmCall => "llm_call_audit",
            Self::PreCheck => "policy_pre_check",
        }
    }

    /// Its path, with the names of its parts in braces.
    pub const fn path(self) -> &'static str {
        match self {
            Self::CreateWorkflow => "/api/v1/workflows",
            Self::StepGate => "/api/v1/workflows/{id}/steps/{step_id}/gate",
            Self::CompleteStep => "/api/v1/workflows/{id}/steps/{step_id}/complete",
            Self::CompleteWorkflow => "/api/v1/workflows/{id}/complete",
            Self::AbortWorkflow => "/api/v1/workflows/{id}/abort",
            Self::FailWorkflow => "/api/v1/workflows/{id}/fail",
            Self::ResumeWorkflow => "/api/v1/workflows/{id}/resume",
            Self::ApproveStep => "/api/v1/workflows/{id}/steps/{step_id}/approve",
            Self::RejectStep => "/api/v1/workflows/{id}/steps/{step_id}/reject",
            Self::ListCheckpoints => "/api/v1/workflows/{id}/checkpoints",
            Self::ResumeCheckpoint => "/api/v1/workflows/{id}/checkpoints/{checkpoint_id}/resume",
            Self::ResumeLastCheckpoint => "/api/v1/workflows/{id}/checkpoints/resume",
            Self::ToolCall => "/api/v1/audit/tool-call",
            Self::LlmCall => "/api/audit/llm-call",
            Self::PreCheck => "/api/policy/pre-check",
        }
    }

    /// Whether somebody has to decide something to answer it. Nobody here ever does.
    pub const fn asks_for_a_decision(self) -> bool {
        matches!(
            self,
            Self::StepGate
                | Self::ResumeWorkflow
                | Self::ApproveStep
                | Self::RejectStep
                | Self::ListCheckpoints
                | Self::ResumeCheckpoint
                | Self::ResumeLastCheckpoint
                | Self::PreCheck
        )
    }

    /// Whether it goes to the upstream where there is one: what asks for a decision, and what the
    /// upstream has to know to decide about the same workflows.
    pub const fn is_forwarded(self) -> bool {
        !matches!(self, Self::ToolCall | Self::LlmCall)
    }
}

/// One call: what, and about what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub operation: Operation,
    /// To which workflow.
    pub workflow: Option<String>,
    /// To which step.
    pub step: Option<String>,
    /// From which checkpoint.
    pub checkpoint: Option<String>,
}

/// Why an id in a path cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` in the path has to be 1 to {MAX_ID_CHARS} characters, none of them a control character, and neither `.` nor `..`"
)]
pub struct InvalidId {
    name: &'static str,
}

impl Call {
    /// A call that is about no workflow.
    pub fn of(operation: Operation) -> Self {
        Self { operation, workflow: None, step: None, checkpoint: None }
    }

    /// A call about a workflow, and perhaps a step or a checkpoint of it.
    ///
    /// # Errors
    /// [`InvalidId`] for an id that would name another path at the upstream.
    pub fn about(
        operation: Operation,
        workflow: String,
        step: Option<String>,
        checkpoint: Option<String>,
    ) -> Result<Self, InvalidId> {
        check("id", &workflow)?;
        step.as_deref().map_or(Ok(()), |step| check("step_id", step))?;
        checkpoint.as_deref().map_or(Ok(()), |checkpoint| check("checkpoint_id", checkpoint))?;
        Ok(Self { operation, workflow: Some(workflow), step, checkpoint })
    }

    /// The parts of its path, as they were before they were percent-encoded.
    pub(super) fn segments(&self) -> impl Iterator<Item = &str> {
        self.operation.path().split('/').skip(1).map(|part| match part {
            "{id}" => self.workflow.as_deref().unwrap_or_default(),
            "{step_id}" => self.step.as_deref().unwrap_or_default(),
            "{checkpoint_id}" => self.checkpoint.as_deref().unwrap_or_default(),
            part => part,
        })
    }

    /// What happened, for people.
    pub(super) fn sentence(&self, workflow: Option<&str>, step: Option<&str>) -> String {
        let mut sentence = self.operation.request_type().to_owned();
        let names = [workflow.or(self.workflow.as_deref()), step.or(self.step.as_deref())];
        for name in names.into_iter().flatten() {
            // Writing to a string cannot fail.
            let _ = write!(sentence, " {name}");
        }
        sentence
    }
}

fn check(name: &'static str, id: &str) -> Result<(), InvalidId> {
    let is_long = id.chars().nth(MAX_ID_CHARS).is_some();
    let is_path = matches!(id, "" | "." | "..");
    if is_long || is_path || id.chars().any(char::is_control) {
        return Err(InvalidId { name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_would_name_another_path_is_refused() {
        let about = |id: &str| Call::about(Operation::StepGate, id.to_owned(), None, None);
        for id in ["", ".", "..", "a\nb", &"x".repeat(256)] {
            assert!(about(id).is_err(), "{id:?}");
        }
        for id in ["wf-1", "a/b", "…", "%2e%2e", &"ü".repeat(255)] {
            assert!(about(id).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn each_part_of_a_path_stands_in_its_place() {
        let call = Call::about(Operation::StepGate, "w/1".into(), Some("s 1".into()), None);
        let call = call.unwrap();
        let segments: Vec<&str> = call.segments().collect();
        assert_eq!(segments, ["api", "v1", "workflows", "w/1", "steps", "s 1", "gate"]);
    }

    #[test]
    fn what_asks_for_a_decision_is_forwarded() {
        for operation in Operation::ALL {
            assert!(operation.is_forwarded() || !operation.asks_for_a_decision(), "{operation:?}");
        }
    }
}
