//! The fields of an entry that a mapping can fill, by the path that a mapping writes.
//!
//! This is all that the code knows about fields; names of attributes stand in the mappings.

use crate::entry::{
    Change, Decision, Entry, External, Flag, Json, Outcome, OutputSafety, Redaction,
};
use std::borrow::Cow;

/// A value on its way into a field, decoded to the field's shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decoded<'r> {
    Text(Cow<'r, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Words(Vec<Cow<'r, str>>),
    Json(Json<'r>),
    /// The canonical outcome, if the word has one, and the word.
    Outcome(Option<Outcome>, Cow<'r, str>),
    Changes(Vec<Change<'r>>),
    Redactions(Vec<Redaction<'r>>),
}

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Int,
    Float,
    Bool,
    Words,
    Json,
    Outcome,
    /// An id under which a person might search: many per entry, at most 255 characters.
    Id,
    Changes,
    /// What was removed before it came here.
    Redactions,
}

/// A place in an entry that takes a decoded value.
trait Slot<'r> {
    fn put(&mut self, value: Decoded<'r>);
    fn is_set(&self) -> bool;
}

macro_rules! slots {
    ($($type:ty: $variant:ident,)*) => {
        $(impl<'r> Slot<'r> for Option<$type> {
            fn put(&mut self, value: Decoded<'r>) {
                if let Decoded::$variant(value) = value {
                    *self = Some(value);
                }
            }
            fn is_set(&self) -> bool {
                self.is_some()
            }
        })*
    };
}

slots! {
    Cow<'r, str>: Text,
    i64: Int,
    f64: Float,
    bool: Bool,
    Vec<Cow<'r, str>>: Words,
    Json<'r>: Json,
}

impl<'r> Slot<'r> for Decision<'r> {
    fn put(&mut self, value: Decoded<'r>) {
        if let Decoded::Outcome(outcome, raw) = value {
            self.outcome = outcome;
            self.raw = Some(raw);
        }
    }
    fn is_set(&self) -> bool {
        self.raw.is_some()
    }
}

impl<'r> Slot<'r> for OutputSafety<'r> {
    fn put(&mut self, value: Decoded<'r>) {
        if let Decoded::Outcome(outcome, raw) = value {
            self.decision = outcome;
            self.raw = Some(raw);
        }
    }
    fn is_set(&self) -> bool {
        self.raw.is_some()
    }
}

impl<'r> Slot<'r> for External<'r> {
    fn put(&mut self, value: Decoded<'r>) {
        if let Decoded::Text(id) = value {
            let ids = self.trace_id.get_or_insert_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    fn is_set(&self) -> bool {
        false
    }
}

impl<'r> Slot<'r> for Vec<Change<'r>> {
    fn put(&mut self, value: Decoded<'r>) {
        if let Decoded::Changes(changes) = value {
            self.extend(changes);
        }
    }
    fn is_set(&self) -> bool {
        false
    }
}

impl<'r> Slot<'r> for Vec<Redaction<'r>> {
    fn put(&mut self, value: Decoded<'r>) {
        if let Decoded::Redactions(removed) = value {
            self.extend(removed);
        }
    }
    fn is_set(&self) -> bool {
        false
    }
}

/// The change whose parts are attributes of their own. It stands first, in front of those of a
/// list; `taken` says of a change whether it has the part already, and then it is not ours.
fn own_change<'e, 'r>(
    entry: &'e mut Entry<'r>,
    taken: impl Fn(&Change<'r>) -> bool,
) -> Option<&'e mut Change<'r>> {
    if entry.audit.change.first().is_none_or(taken) {
        entry.audit.change.insert(0, Change::default());
    }
    entry.audit.change.first_mut()
}

macro_rules! targets {
    ($($variant:ident $shape:ident $path:literal $($field:ident).+;)*) => {
        /// A field of an entry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(super) enum Target {
            $($variant,)*
            /// A form of a trace id that is searched for and is no orchestrator's own id.
            TraceForm,
            ChangePath,
            ChangeBefore,
            ChangeAfter,
        }

        impl Target {
            /// Every field, as a mapping writes it.
            pub(super) const PATHS: &'static [(&'static str, Target)] = &[
                $(($path, Target::$variant),)*
                ("trace_id", Target::TraceForm),
                ("audit.change.path", Target::ChangePath),
                ("audit.change.before", Target::ChangeBefore),
                ("audit.change.after", Target::ChangeAfter),
            ];

            /// What the field takes.
            pub(super) const fn shape(self) -> Shape {
                match self {
                    $(Target::$variant => Shape::$shape,)*
                    Target::TraceForm => Shape::Id,
                    Target::ChangePath => Shape::Text,
                    Target::ChangeBefore | Target::ChangeAfter => Shape::Json,
                }
            }

            /// Whether the field has a value. A field that takes many never has its last one.
            pub(super) fn is_set(self, entry: &Entry<'_>) -> bool {
                match self {
                    $(Target::$variant => entry.$($field).+.is_set(),)*
                    Target::TraceForm => false,
                    Target::ChangePath => entry.audit.change.iter().any(|c| !c.path.is_empty()),
                    Target::ChangeBefore => entry.audit.change.iter().any(|c| c.before.is_some()),
                    Target::ChangeAfter => entry.audit.change.iter().any(|c| c.after.is_some()),
                }
            }

            /// Gives the field its value. A value of another shape is not taken; the decoder of
            /// a rule has the shape of its field.
            pub(super) fn put<'r>(self, entry: &mut Entry<'r>, value: Decoded<'r>) {
                match (self, value) {
                    $((Target::$variant, value) => entry.$($field).+.put(value),)*
                    (Target::TraceForm, Decoded::Text(id)) => entry.add_trace_id(id),
                    (Target::ChangePath, Decoded::Text(path)) => {
                        if let Some(change) = own_change(entry, |c| !c.path.is_empty()) {
                            change.path = path;
                        }
                    }
                    (Target::ChangeBefore, Decoded::Json(value)) => {
                        if let Some(change) = own_change(entry, |c| c.before.is_some()) {
                            change.before = Some(value);
                        }
                    }
                    (Target::ChangeAfter, Decoded::Json(value)) => {
                        if let Some(change) = own_change(entry, |c| c.after.is_some()) {
                            change.after = Some(value);
                        }
                    }
                    _ => {}
                }
            }
        }
    };
}

targets! {
    Message Text "message" message;
    EventAction Text "event.action" event.action;
    EventOutcome Text "event.outcome" event.outcome;
    EventReason Text "event.reason" event.reason;
    UserId Text "user.id" user.id;
    UserName Text "user.name" user.name;
    UserEmail Text "user.email" user.email;
    ServiceName Text "service.name" service.name;
    ServiceVersion Text "service.version" service.version;
    ServiceNamespace Text "service.namespace" service.namespace;
    ServiceInstance Text "service.instance_id" service.instance_id;
    ServiceEnvironment Text "service.environment" service.environment;
    ErrorType Text "error.type" error.kind;
    ErrorMessage Text "error.message" error.message;
    Operation Text "gen_ai.operation.name" gen_ai.operation.name;
    Provider Text "gen_ai.provider.name" gen_ai.provider.name;
    RequestModel Text "gen_ai.request.model" gen_ai.request.model;
    ResponseModel Text "gen_ai.response.model" gen_ai.response.model;
    ResponseId Text "gen_ai.response.id" gen_ai.response.id;
    FinishReasons Words "gen_ai.response.finish_reasons" gen_ai.response.finish_reasons;
    InputTokens Int "gen_ai.usage.input_tokens" gen_ai.usage.input_tokens;
    OutputTokens Int "gen_ai.usage.output_tokens" gen_ai.usage.output_tokens;
    TotalTokens Int "gen_ai.usage.total_tokens" gen_ai.usage.total_tokens;
    CacheRead Int "gen_ai.usage.cache_read_input_tokens" gen_ai.usage.cache_read_input_tokens;
    CacheCreation Int "gen_ai.usage.cache_creation_input_tokens"
        gen_ai.usage.cache_creation_input_tokens;
    ReasoningTokens Int "gen_ai.usage.reasoning_tokens" gen_ai.usage.reasoning_tokens;
    Cost Float "gen_ai.usage.cost" gen_ai.usage.cost;
    UsageRepeated Bool "gen_ai.usage.repeated" gen_ai.usage.repeated;
    AgentId Text "gen_ai.agent.id" gen_ai.agent.id;
    AgentName Text "gen_ai.agent.name" gen_ai.agent.name;
    AgentVersion Text "gen_ai.agent.version" gen_ai.agent.version;
    ToolName Text "gen_ai.tool.name" gen_ai.tool.name;
    ToolType Text "gen_ai.tool.type" gen_ai.tool.kind;
    ToolCallId Text "gen_ai.tool.call.id" gen_ai.tool.call.id;
    Conversation Text "gen_ai.conversation.id" gen_ai.conversation.id;
    RequestType Text "audit.request_type" audit.request_type;
    ActorId Text "audit.actor.id" audit.actor.id;
    ActorType Text "audit.actor.type" audit.actor.kind;
    ObjectId Text "audit.target.id" audit.target.id;
    ObjectType Text "audit.target.type" audit.target.kind;
    RecordId Text "audit.record.id" audit.record.id;
    DecisionId Text "audit.decision.id" audit.decision.id;
    DecisionOutcome Outcome "audit.decision.outcome" audit.decision;
    DecisionReason Text "audit.decision.reason" audit.decision.reason;
    DecisionPhase Text "audit.decision.phase" audit.decision.phase;
    DecisionSource Text "audit.decision.source" audit.decision.source;
    DecisionStage Text "audit.decision.stage" audit.decision.stage;
    DecisionConfidence Float "audit.decision.confidence" audit.decision.confidence;
    DecisionAttestation Text "audit.decision.attestation" audit.decision.attestation;
    DecisionLatency Float "audit.decision.latency_ms" audit.decision.latency_ms;
    DecisionEnforcement Text "audit.decision.enforcement" audit.decision.enforcement;
    PolicyId Words "audit.policy.id" audit.policy.id;
    PolicyName Text "audit.policy.name" audit.policy.name;
    PolicyRule Text "audit.policy.rule_id" audit.policy.rule_id;
    PolicyLayer Text "audit.policy.layer" audit.policy.layer;
    PolicySnapshot Text "audit.policy.snapshot" audit.policy.snapshot;
    PolicyVersion Text "audit.policy.version" audit.policy.version;
    PolicyEvaluated Json "audit.policy.evaluated" audit.policy.evaluated;
    PolicyMatched Json "audit.policy.matched" audit.policy.matched;
    SnapshotBefore Text "audit.policy.snapshot_before" audit.policy.snapshot_before;
    SnapshotAfter Text "audit.policy.snapshot_after" audit.policy.snapshot_after;
    ApprovalId Text "audit.approval.id" audit.approval.id;
    ApprovalStatus Text "audit.approval.status" audit.approval.status;
    ApprovalRequired Bool "audit.approval.required" audit.approval.required;
    ApprovalResolution Text "audit.approval.resolution" audit.approval.resolution;
    ApprovalBy Text "audit.approval.resolved_by" audit.approval.resolved_by;
    ApprovalAt Text "audit.approval.resolved_at" audit.approval.resolved_at;
    ApprovalComment Text "audit.approval.comment" audit.approval.comment;
    ApprovalUrl Text "audit.approval.url" audit.approval.url;
    WorkflowId Text "audit.workflow.id" audit.workflow.id;
    WorkflowName Text "audit.workflow.name" audit.workflow.name;
    WorkflowSource Text "audit.workflow.source" audit.workflow.source;
    WorkflowStatus Text "audit.workflow.status" audit.workflow.status;
    WorkflowSteps Int "audit.workflow.total_steps" audit.workflow.total_steps;
    RunId Text "audit.run.id" audit.run.id;
    RunName Text "audit.run.name" audit.run.name;
    StepId Text "audit.step.id" audit.step.id;
    StepName Text "audit.step.name" audit.step.name;
    StepType Text "audit.step.type" audit.step.kind;
    StepResult Text "audit.step.result" audit.step.result;
    JobId Text "audit.job.id" audit.job.id;
    JobHash Text "audit.job.hash" audit.job.hash;
    JobState Text "audit.job.state" audit.job.state;
    ContextPtr Text "audit.job.context_ptr" audit.job.context_ptr;
    ResultPtr Text "audit.job.result_ptr" audit.job.result_ptr;
    SessionId Text "audit.session.id" audit.session.id;
    ThreadId Text "audit.session.thread_id" audit.session.thread_id;
    External Id "audit.external.trace_id" audit.external;
    ActionKey Text "audit.action.key" audit.action.key;
    ActionScope Text "audit.action.scope" audit.action.scope;
    ArgsHash Text "audit.action.args_hash" audit.action.args_hash;
    SafetyOutcome Outcome "audit.output_safety.decision" audit.output_safety;
    SafetyRule Text "audit.output_safety.rule_id" audit.output_safety.rule_id;
    SafetyReason Text "audit.output_safety.reason" audit.output_safety.reason;
    HandoffFrom Text "audit.handoff.source" audit.handoff.source;
    HandoffTo Text "audit.handoff.target" audit.handoff.target;
    HandoffIntent Text "audit.handoff.intent" audit.handoff.intent;
    InterruptReason Text "audit.interrupt.reason" audit.interrupt.reason;
    InterruptResponder Text "audit.interrupt.responder" audit.interrupt.responder;
    InterruptResponse Text "audit.interrupt.response" audit.interrupt.response;
    BranchCondition Text "audit.branch.condition" audit.branch.condition;
    BranchEdge Text "audit.branch.selected_edge" audit.branch.selected_edge;
    BranchResult Text "audit.branch.result" audit.branch.result;
    GuardrailName Text "audit.guardrail.name" audit.guardrail.name;
    GuardrailStatus Text "audit.guardrail.status" audit.guardrail.status;
    GuardrailTriggered Bool "audit.guardrail.triggered" audit.guardrail.triggered;
    ChangeList Changes "audit.change" audit.change;
    RemovedBefore Redactions "audit.redactions" audit.redactions;
    ClaimTenant Text "audit.claims.tenant_id" audit.claims.tenant_id;
    ClaimClient Text "audit.claims.client_id" audit.claims.client_id;
    ClaimOrganization Text "audit.claims.organization_id" audit.claims.organization_id;
}

/// How many fields there are.
pub(super) const TARGETS: usize = Target::PATHS.len();

impl Target {
    /// The field at a path, or the nearest path that there is.
    pub(super) fn at(path: &str) -> Result<Self, Option<&'static str>> {
        let found = Self::PATHS.iter().find(|(known, _)| *known == path);
        found
            .map(|(_, target)| *target)
            .ok_or_else(|| super::error::nearest(path, Self::PATHS.iter().map(|(known, _)| *known)))
    }

    /// The path of the field.
    pub(super) fn path(self) -> &'static str {
        Self::PATHS.iter().find(|(_, target)| *target == self).map_or("", |(path, _)| path)
    }

    /// Whether the field is of `service`, which is the resource under another name.
    pub(super) const fn is_of_service(self) -> bool {
        matches!(
            self,
            Target::ServiceName
                | Target::ServiceVersion
                | Target::ServiceNamespace
                | Target::ServiceInstance
                | Target::ServiceEnvironment
        )
    }

    /// Whether the field takes many values, so that no two rules compete for it.
    pub(super) const fn takes_many(self) -> bool {
        matches!(self.shape(), Shape::Id | Shape::Changes | Shape::Redactions)
    }

    /// Puts a value, and marks an outcome that is not in the vocabulary.
    pub(super) fn put_noted<'r>(self, entry: &mut Entry<'r>, value: Decoded<'r>) {
        if matches!(value, Decoded::Outcome(None, _)) {
            entry.flag(Flag::UnknownOutcome);
        }
        self.put(entry, value);
    }
}
