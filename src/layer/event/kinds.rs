//! Builders whose methods are the names of attributes that `config/mappings` knows.

use super::{AuditEvent, AuditValue};
use crate::entry::Outcome;
use serde::Serialize;

/// A builder around an [`AuditEvent`]: each method sets one attribute.
macro_rules! builder {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$doc:meta])* $method:ident: $type:ty => $key:literal,)*
        }
        json { $($(#[$json_doc:meta])* $json_method:ident => $json_key:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        #[must_use = "it is on record when it was given to `record` and that was awaited"]
        pub struct $name(AuditEvent);

        impl $name {
            $(
                $(#[$doc])*
                ///
                #[doc = concat!("The attribute `", $key, "`.")]
                pub fn $method(self, value: impl Into<$type>) -> Self {
                    let value: $type = value.into();
                    self.with($key, value)
                }
            )*
            $(
                $(#[$json_doc])*
                ///
                #[doc = concat!("The attribute `", $json_key, "`, as JSON.")]
                pub fn $json_method(self, value: &impl Serialize) -> Self {
                    Self(self.0.with_json($json_key, value))
                }
            )*

            /// Any other attribute.
            pub fn with(self, key: &'static str, value: impl Into<AuditValue>) -> Self {
                Self(self.0.with(key, value))
            }

            /// A sentence for people.
            pub fn saying(self, body: impl Into<String>) -> Self {
                Self(self.0.saying(body))
            }
        }

        impl From<$name> for AuditEvent {
            fn from(built: $name) -> Self {
                built.0
            }
        }
    };
}

builder! {
    /// What a policy or a gate decided.
    Decision {
        /// The decision's own id, by which an approval answers it.
        id: String => "spanledger.decision.id",
        /// Why.
        reason: String => "spanledger.decision.reason",
        /// Before or after the action: `pre_exec`, `post_exec`.
        phase: String => "spanledger.decision.phase",
        /// What decided: an engine's name.
        source: String => "spanledger.decision.source",
        /// How sure it is, 0 to 1.
        confidence: f64 => "spanledger.decision.confidence",
        /// The policy.
        policy_id: String => "spanledger.policy.id",
        /// The rule of it that matched.
        rule_id: String => "spanledger.policy.rule_id",
        /// The layer of policies: organisation, team, user.
        policy_layer: String => "spanledger.policy.layer",
        /// The policy's version.
        policy_version: String => "spanledger.policy.version",
        /// What the policy was at that moment: a hash or revision.
        policy_snapshot: String => "spanledger.policy.snapshot",
        /// All policies that were looked at.
        policies_evaluated: Vec<String> => "spanledger.policy.evaluated",
        /// Those that matched.
        policies_matched: Vec<String> => "spanledger.policy.matched",
        /// What is to be done.
        action: String => "spanledger.action",
        /// What makes the action the same one when it is tried again.
        action_key: String => "spanledger.action_key",
        /// For whom the decision counts: user, tenant, global.
        scope: String => "spanledger.scope",
        /// Who or what wants to act.
        actor: String => "spanledger.actor",
        /// The tool that is to be called.
        tool: String => "spanledger.tool_name",
        /// The step of the run.
        step_id: String => "spanledger.step_id",
    }
    json {
        /// The arguments of the action.
        arguments => "spanledger.args",
    }
}

impl Decision {
    /// A decision with that outcome.
    pub fn new(outcome: Outcome) -> Self {
        let event = AuditEvent::new("spanledger.decision");
        Self(event.with("spanledger.kind", "decision")).outcome(outcome)
    }

    /// What was decided.
    pub fn outcome(self, outcome: Outcome) -> Self {
        self.with("spanledger.decision.outcome", outcome.as_str())
    }

    /// The outcome that was set last.
    pub(in crate::layer) fn decided(&self) -> Option<Outcome> {
        let (_, value) =
            self.0.attributes.iter().find(|(key, _)| key == "spanledger.decision.outcome")?;
        match value {
            AuditValue::Text(word) => Outcome::from_word(word),
            _ => None,
        }
    }
}

/// How far an approval is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApprovalStatus {
    /// Somebody is asked.
    Pending,
    /// They agreed.
    Approved,
    /// They did not.
    Rejected,
    /// Nobody answered in time.
    Expired,
}

impl ApprovalStatus {
    /// The word that stands in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

builder! {
    /// What a person answered, or is asked.
    Approval {
        /// The approval's own id.
        id: String => "spanledger.approval.id",
        /// The decision that asked for it.
        decision_id: String => "spanledger.decision.id",
        /// Who answered.
        resolved_by: String => "spanledger.approval.resolved_by",
        /// When, as RFC 3339 text.
        resolved_at: String => "spanledger.approval.resolved_at",
        /// What they said.
        comment: String => "spanledger.approval.comment",
        /// Where they are asked.
        url: String => "spanledger.approval.url",
        /// What they are asked about.
        action: String => "spanledger.action",
    }
    json {}
}

impl Approval {
    /// An approval that is that far.
    pub fn new(status: ApprovalStatus) -> Self {
        let event = AuditEvent::new("spanledger.approval");
        let event = event.with("spanledger.kind", "approval");
        Self(event.with("spanledger.approval.status", status.as_str()))
    }

    /// How far it is.
    pub(in crate::layer) fn status(&self) -> Option<ApprovalStatus> {
        use ApprovalStatus::{Approved, Expired, Pending, Rejected};
        let (_, value) =
            self.0.attributes.iter().find(|(key, _)| key == "spanledger.approval.status")?;
        let all = [Pending, Approved, Rejected, Expired];
        all.into_iter().find(|status| *value == AuditValue::from(status.as_str()))
    }
}

builder! {
    /// A call of a tool. A call that takes time is better a span: see
    /// [`audited`](crate::layer::audited).
    ToolCall {
        /// The call's id, as the model gave it.
        id: String => "gen_ai.tool.call.id",
        /// What kind of tool: function, extension, datastore.
        tool_type: String => "gen_ai.tool.type",
        /// The type of the error, if it failed.
        error: String => "error.type",
    }
    json {
        /// What it was called with.
        arguments => "gen_ai.tool.call.arguments",
        /// What it answered.
        result => "gen_ai.tool.call.result",
    }
}

impl ToolCall {
    /// A call of that tool.
    pub fn new(tool: impl Into<String>) -> Self {
        let event = AuditEvent::new("spanledger.tool_call");
        let event = event.with("gen_ai.operation.name", "execute_tool");
        Self(event.with("gen_ai.tool.name", tool.into()))
    }
}

builder! {
    /// A call of a model.
    ModelCall {
        /// Who runs it.
        provider: String => "gen_ai.provider.name",
        /// The model that answered, if it is another than the one that was asked.
        response_model: String => "gen_ai.response.model",
        /// Id of the answer.
        response_id: String => "gen_ai.response.id",
        /// Tokens that went in.
        input_tokens: i64 => "gen_ai.usage.input_tokens",
        /// Tokens that came out.
        output_tokens: i64 => "gen_ai.usage.output_tokens",
        /// The type of the error, if it failed.
        error: String => "error.type",
    }
    json {
        /// What it was asked.
        prompt => "gen_ai.input.messages",
        /// What it answered.
        response => "gen_ai.output.messages",
    }
}

impl ModelCall {
    /// A call of that model: `chat`, `embeddings` and so on.
    pub fn new(operation: impl Into<String>, model: impl Into<String>) -> Self {
        let event = AuditEvent::new("spanledger.model_call");
        let event = event.with("gen_ai.operation.name", operation.into());
        Self(event.with("gen_ai.request.model", model.into()))
    }
}

builder! {
    /// One agent gives the work to another.
    Handoff {
        /// What for.
        intent: String => "spanledger.handoff.intent",
    }
    json {
        /// What the other is given.
        context => "spanledger.handoff.context",
    }
}

impl Handoff {
    /// From one agent to another.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        let event = AuditEvent::new("spanledger.handoff").with("spanledger.kind", "handoff");
        let event = event.with("spanledger.handoff.source", source.into());
        Self(event.with("spanledger.handoff.target", target.into()))
    }
}

builder! {
    /// The run waits for somebody, or goes on with their answer.
    Interrupt {
        /// The thread of the conversation: what joins the answer to the question.
        thread_id: String => "spanledger.thread_id",
        /// Who answered.
        responder: String => "spanledger.interrupt.responder",
    }
    json {
        /// What they answered.
        response => "spanledger.interrupt.response",
    }
}

impl Interrupt {
    /// Waiting, for that reason.
    pub fn new(reason: impl Into<String>) -> Self {
        let event = AuditEvent::new("spanledger.interrupt").with("spanledger.kind", "interrupt");
        Self(event.with("spanledger.interrupt.reason", reason.into()))
    }
}
