//! The fields that an index knows, and where they stand in a body.

macro_rules! fields {
    ($($variant:ident = $code:literal, $path:literal, $class:ident;)*) => {
        /// A field that an index knows, by the path at which it stands in a body.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the path says what it is")]
        pub enum Field {
            $(#[doc = concat!("`", $path, "`")] $variant,)*
        }

        impl Field {
            /// Every field.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// The number that stands for it in an index on disk. Never reused.
            pub const fn code(self) -> u8 {
                match self { $(Field::$variant => $code,)* }
            }

            /// Its dotted path.
            pub const fn path(self) -> &'static str {
                match self { $(Field::$variant => $path,)* }
            }

            /// How its values are compared.
            pub const fn class(self) -> Class {
                match self { $(Field::$variant => Class::$class,)* }
            }
        }
    };
}

/// How the values of a field are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// As a whole, without regard to case.
    Keyword,
    /// As a decision: every word that means the same outcome is equal.
    Outcome,
    /// Word by word: a query finds its words next to each other anywhere in the text.
    Text,
}

fields! {
    Kind = 1, "audit.kind", Keyword;
    RequestType = 2, "audit.request_type", Keyword;
    Outcome = 3, "audit.decision.outcome", Outcome;
    OutcomeRaw = 4, "audit.decision.raw", Keyword;
    Reason = 5, "audit.decision.reason", Text;
    Phase = 6, "audit.decision.phase", Keyword;
    DecisionSource = 7, "audit.decision.source", Keyword;
    Stage = 8, "audit.decision.stage", Keyword;
    Enforcement = 9, "audit.decision.enforcement", Keyword;
    PolicyId = 10, "audit.policy.id", Keyword;
    PolicyName = 11, "audit.policy.name", Keyword;
    PolicyRule = 12, "audit.policy.rule_id", Keyword;
    PolicyLayer = 13, "audit.policy.layer", Keyword;
    PolicySnapshot = 14, "audit.policy.snapshot", Keyword;
    PolicyVersion = 15, "audit.policy.version", Keyword;
    ApprovalStatus = 16, "audit.approval.status", Keyword;
    ApprovalResolution = 17, "audit.approval.resolution", Keyword;
    ResolvedBy = 18, "audit.approval.resolved_by", Keyword;
    ApprovalComment = 19, "audit.approval.comment", Text;
    WorkflowName = 20, "audit.workflow.name", Keyword;
    WorkflowSource = 21, "audit.workflow.source", Keyword;
    WorkflowStatus = 22, "audit.workflow.status", Keyword;
    RunName = 23, "audit.run.name", Keyword;
    StepName = 24, "audit.step.name", Keyword;
    StepType = 25, "audit.step.type", Keyword;
    StepResult = 26, "audit.step.result", Text;
    JobState = 27, "audit.job.state", Keyword;
    ActorType = 28, "audit.actor.type", Keyword;
    ActorSource = 29, "audit.actor.source", Keyword;
    ActionScope = 30, "audit.action.scope", Keyword;
    SafetyOutcome = 31, "audit.output_safety.decision", Outcome;
    SafetyRule = 32, "audit.output_safety.rule_id", Keyword;
    SafetyReason = 33, "audit.output_safety.reason", Text;
    HandoffSource = 34, "audit.handoff.source", Keyword;
    HandoffTarget = 35, "audit.handoff.target", Keyword;
    HandoffIntent = 36, "audit.handoff.intent", Text;
    InterruptReason = 37, "audit.interrupt.reason", Text;
    InterruptResponder = 38, "audit.interrupt.responder", Keyword;
    InterruptResponse = 39, "audit.interrupt.response", Text;
    GuardrailName = 40, "audit.guardrail.name", Keyword;
    GuardrailStatus = 41, "audit.guardrail.status", Keyword;
    Mapping = 42, "audit.mapping", Keyword;
    Flags = 43, "audit.flags", Keyword;
    TargetType = 44, "audit.target.type", Keyword;
    RejectionReason = 45, "audit.rejection.reason", Text;
    Action = 60, "event.action", Keyword;
    EventOutcome = 61, "event.outcome", Keyword;
    EventReason = 62, "event.reason", Text;
    Dataset = 63, "event.dataset", Keyword;
    Message = 64, "message", Text;
    SpanName = 65, "span.name", Keyword;
    SpanStatus = 66, "span.status", Keyword;
    SpanStatusMessage = 67, "span.status_message", Text;
    LogLevel = 68, "log.level", Keyword;
    LogEvent = 69, "log.event_name", Keyword;
    Service = 70, "service.name", Keyword;
    Environment = 71, "service.environment", Keyword;
    ErrorType = 72, "error.type", Keyword;
    ErrorMessage = 73, "error.message", Text;
    UserName = 74, "user.name", Text;
    Operation = 80, "gen_ai.operation.name", Keyword;
    Provider = 81, "gen_ai.provider.name", Keyword;
    RequestModel = 82, "gen_ai.request.model", Keyword;
    ResponseModel = 83, "gen_ai.response.model", Keyword;
    AgentId = 84, "gen_ai.agent.id", Keyword;
    AgentName = 85, "gen_ai.agent.name", Keyword;
    AgentVersion = 86, "gen_ai.agent.version", Keyword;
    Tool = 87, "gen_ai.tool.name", Keyword;
    ToolType = 88, "gen_ai.tool.type", Keyword;
    FinishReasons = 89, "gen_ai.response.finish_reasons", Keyword;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_on_disk_are_unique() {
        let codes: HashSet<u8> = Field::ALL.iter().map(|f| f.code()).collect();
        assert_eq!(codes.len(), Field::ALL.len());
    }
}
