//! Which values of a body queries need, as a table.

use super::fields::Field;
use crate::correlate::Namespace;

/// Where in a body the reader is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Root,
    Event,
    Audit,
    Actor,
    Target,
    Record,
    Decision,
    Policy,
    Approval,
    Workflow,
    Run,
    Step,
    Job,
    Session,
    External,
    ActionPart,
    Safety,
    Handoff,
    Interrupt,
    Guardrail,
    Rejection,
    Payload,
    Trace,
    Span,
    Log,
    User,
    Service,
    Error,
    GenAi,
    Operation,
    Provider,
    Request,
    Response,
    Agent,
    Tool,
    ToolCall,
    Conversation,
    SpanEvent,
}

/// What is done with the value of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Take {
    Enter(Node),
    Field(Field),
    Id(Namespace),
    IdAndField(Namespace, Field),
    Text,
    Timestamp,
    Parent,
    Skip,
}

/// The table: which values of a body queries need.
#[allow(clippy::too_many_lines, clippy::match_same_arms, reason = "a table")]
pub(super) fn take(node: Node, key: &str) -> Take {
    use Field as F;
    use Namespace as N;
    use Take::{Enter, Id, IdAndField, Skip, Text};
    let field = Take::Field;
    match (node, key) {
        (Node::Root, "@timestamp") => Take::Timestamp,
        (Node::Root, "trace_id") => Id(N::Trace),
        (Node::Root, "message") => field(F::Message),
        (Node::Root, "event") => Enter(Node::Event),
        (Node::Root, "audit") => Enter(Node::Audit),
        (Node::Root, "trace") => Enter(Node::Trace),
        (Node::Root, "span") => Enter(Node::Span),
        (Node::Root, "log") => Enter(Node::Log),
        (Node::Root, "user") => Enter(Node::User),
        (Node::Root, "service") => Enter(Node::Service),
        (Node::Root, "gen_ai") => Enter(Node::GenAi),
        (Node::Root, "error") => Enter(Node::Error),
        (Node::Root, "events") => Enter(Node::SpanEvent),
        (Node::Root, "attributes" | "body") => Text,

        (Node::Event, "action") => field(F::Action),
        (Node::Event, "outcome") => field(F::EventOutcome),
        (Node::Event, "reason") => field(F::EventReason),
        (Node::Event, "dataset") => field(F::Dataset),

        (Node::Audit, "kind") => field(F::Kind),
        (Node::Audit, "mapping") => field(F::Mapping),
        (Node::Audit, "request_type") => field(F::RequestType),
        (Node::Audit, "flags") => field(F::Flags),
        (Node::Audit, "actor") => Enter(Node::Actor),
        (Node::Audit, "target") => Enter(Node::Target),
        (Node::Audit, "record") => Enter(Node::Record),
        (Node::Audit, "decision") => Enter(Node::Decision),
        (Node::Audit, "policy") => Enter(Node::Policy),
        (Node::Audit, "approval") => Enter(Node::Approval),
        (Node::Audit, "workflow") => Enter(Node::Workflow),
        (Node::Audit, "run") => Enter(Node::Run),
        (Node::Audit, "step") => Enter(Node::Step),
        (Node::Audit, "job") => Enter(Node::Job),
        (Node::Audit, "session") => Enter(Node::Session),
        (Node::Audit, "external") => Enter(Node::External),
        (Node::Audit, "action") => Enter(Node::ActionPart),
        (Node::Audit, "output_safety") => Enter(Node::Safety),
        (Node::Audit, "handoff") => Enter(Node::Handoff),
        (Node::Audit, "interrupt") => Enter(Node::Interrupt),
        (Node::Audit, "guardrail") => Enter(Node::Guardrail),
        (Node::Audit, "rejection") => Enter(Node::Rejection),
        (Node::Audit, "payload") => Enter(Node::Payload),
        (Node::Audit, "branch" | "change" | "claims") => Text,

        (Node::Actor, "id") => Id(N::Actor),
        (Node::Actor, "type") => field(F::ActorType),
        (Node::Actor, "source") => field(F::ActorSource),
        (Node::Target, "id") => Text,
        (Node::Target, "type") => field(F::TargetType),
        (Node::Record, "id") => Id(N::Record),

        (Node::Decision, "id") => Id(N::Decision),
        (Node::Decision, "outcome") => field(F::Outcome),
        (Node::Decision, "raw") => field(F::OutcomeRaw),
        (Node::Decision, "reason") => field(F::Reason),
        (Node::Decision, "phase") => field(F::Phase),
        (Node::Decision, "source") => field(F::DecisionSource),
        (Node::Decision, "stage") => field(F::Stage),
        (Node::Decision, "enforcement") => field(F::Enforcement),

        (Node::Policy, "id") => field(F::PolicyId),
        (Node::Policy, "name") => field(F::PolicyName),
        (Node::Policy, "rule_id") => field(F::PolicyRule),
        (Node::Policy, "layer") => field(F::PolicyLayer),
        (Node::Policy, "snapshot") => field(F::PolicySnapshot),
        (Node::Policy, "version") => field(F::PolicyVersion),
        (Node::Policy, "evaluated" | "matched" | "snapshot_before" | "snapshot_after") => Text,

        (Node::Approval, "id") => Id(N::Approval),
        (Node::Approval, "status") => field(F::ApprovalStatus),
        (Node::Approval, "resolution") => field(F::ApprovalResolution),
        (Node::Approval, "resolved_by") => field(F::ResolvedBy),
        (Node::Approval, "comment") => field(F::ApprovalComment),
        (Node::Approval, "url") => Text,

        (Node::Workflow, "id") => Id(N::Workflow),
        (Node::Workflow, "name") => field(F::WorkflowName),
        (Node::Workflow, "source") => field(F::WorkflowSource),
        (Node::Workflow, "status") => field(F::WorkflowStatus),
        (Node::Run, "id") => Id(N::Run),
        (Node::Run, "name") => field(F::RunName),
        (Node::Step, "id") => Id(N::Step),
        (Node::Step, "name") => field(F::StepName),
        (Node::Step, "type") => field(F::StepType),
        (Node::Step, "result") => field(F::StepResult),
        (Node::Job, "id") => Id(N::Job),
        (Node::Job, "state") => field(F::JobState),
        (Node::Job, "hash" | "context_ptr" | "result_ptr") => Text,
        (Node::Session, "id") => Id(N::Session),
        (Node::Session, "thread_id") => Id(N::Thread),
        (Node::External, "trace_id") => Id(N::Trace),
        (Node::ActionPart, "scope") => field(F::ActionScope),
        (Node::ActionPart, "key" | "args_hash") => Text,
        (Node::Safety, "decision") => field(F::SafetyOutcome),
        (Node::Safety, "rule_id") => field(F::SafetyRule),
        (Node::Safety, "reason") => field(F::SafetyReason),
        (Node::Safety, "raw") => Text,
        (Node::Handoff, "source") => field(F::HandoffSource),
        (Node::Handoff, "target") => field(F::HandoffTarget),
        (Node::Handoff, "intent") => field(F::HandoffIntent),
        (Node::Interrupt, "reason") => field(F::InterruptReason),
        (Node::Interrupt, "responder") => field(F::InterruptResponder),
        (Node::Interrupt, "response") => field(F::InterruptResponse),
        (Node::Guardrail, "name") => field(F::GuardrailName),
        (Node::Guardrail, "status") => field(F::GuardrailStatus),
        (Node::Rejection, "reason") => field(F::RejectionReason),
        (Node::Rejection, "endpoint" | "hash") => Text,
        (Node::Payload, "text" | "hash") => Text,

        (Node::Trace, "id") => Id(N::Trace),
        (Node::Span, "id") => Id(N::Span),
        (Node::Span, "parent_id") => Take::Parent,
        (Node::Span, "name") => field(F::SpanName),
        (Node::Span, "status") => field(F::SpanStatus),
        (Node::Span, "status_message") => field(F::SpanStatusMessage),
        (Node::Log, "level") => field(F::LogLevel),
        (Node::Log, "event_name") => field(F::LogEvent),
        (Node::User, "id" | "email") => Id(N::User),
        (Node::User, "name") => IdAndField(N::User, F::UserName),
        (Node::Service, "name") => field(F::Service),
        (Node::Service, "environment") => field(F::Environment),
        (Node::Error, "type") => field(F::ErrorType),
        (Node::Error, "message") => field(F::ErrorMessage),

        (Node::GenAi, "operation") => Enter(Node::Operation),
        (Node::GenAi, "provider") => Enter(Node::Provider),
        (Node::GenAi, "request") => Enter(Node::Request),
        (Node::GenAi, "response") => Enter(Node::Response),
        (Node::GenAi, "agent") => Enter(Node::Agent),
        (Node::GenAi, "tool") => Enter(Node::Tool),
        (Node::GenAi, "conversation") => Enter(Node::Conversation),
        (Node::Operation, "name") => field(F::Operation),
        (Node::Provider, "name") => field(F::Provider),
        (Node::Request, "model") => field(F::RequestModel),
        (Node::Response, "model") => field(F::ResponseModel),
        (Node::Response, "finish_reasons") => field(F::FinishReasons),
        (Node::Response, "id") => Text,
        (Node::Agent, "id") => field(F::AgentId),
        (Node::Agent, "name") => field(F::AgentName),
        (Node::Agent, "version") => field(F::AgentVersion),
        (Node::Tool, "name") => field(F::Tool),
        (Node::Tool, "type") => field(F::ToolType),
        (Node::Tool, "call") => Enter(Node::ToolCall),
        (Node::ToolCall, "id") => Id(N::ToolCall),
        (Node::Conversation, "id") => Id(N::Conversation),

        (Node::SpanEvent, "name" | "attributes") => Text,
        _ => Skip,
    }
}

/// What the index knows of the values at a dotted path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// They are a field's.
    Field(Field),
    /// They are ids.
    Id(Namespace),
    /// Their words are searched with all other text.
    Text,
    /// Nothing: an entry has to be read to know.
    None,
}

/// What the index knows of the values at a dotted path of the body.
pub(crate) fn coverage(path: &str) -> Coverage {
    let mut node = Node::Root;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        match take(node, segment) {
            Take::Enter(inner) => node = inner,
            Take::Text if path.contains("stacktrace") => return Coverage::None,
            Take::Text => return Coverage::Text,
            Take::Field(field) if segments.peek().is_none() => return Coverage::Field(field),
            Take::Id(namespace) | Take::IdAndField(namespace, _) if segments.peek().is_none() => {
                return Coverage::Id(namespace);
            }
            _ => return Coverage::None,
        }
    }
    Coverage::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_every_field_leads_to_it() {
        for field in Field::ALL.iter().filter(|f| **f != Field::UserName) {
            assert_eq!(coverage(field.path()), Coverage::Field(*field), "{}", field.path());
        }
        assert_eq!(coverage("audit.run.id"), Coverage::Id(Namespace::Run));
        assert_eq!(coverage("attributes.a.b"), Coverage::Text);
        assert_eq!(coverage("resource.host.name"), Coverage::None);
        assert_eq!(coverage(""), Coverage::None);
    }
}
