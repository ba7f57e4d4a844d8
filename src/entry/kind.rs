//! What an entry is a record of.

#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What an entry is a record of. A record that no mapping recognises is a [`Kind::Span`]
        /// or a [`Kind::Log`] and is kept like every other.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "server", derive(JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The word that stands in the entry.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $word,)* }
            }
        }
    };
}

kinds! {
    /// A call of a language model (chat, completion, embedding).
    LlmCall = "llm_call",
    /// A call of a tool, function or MCP server.
    ToolCall = "tool_call",
    /// A look-up in a vector store or another source of context.
    Retrieval = "retrieval",
    /// A run of one agent.
    AgentRun = "agent_run",
    /// A run of a workflow, chain or graph.
    WorkflowRun = "workflow_run",
    /// A step, node or task of a workflow.
    Step = "step",
    /// A branch taken: condition, selected edge, result.
    Branch = "branch",
    /// Work given from one agent to another.
    Handoff = "handoff",
    /// A pause for a human.
    Interrupt = "interrupt",
    /// What a policy said about an action.
    Decision = "decision",
    /// What a person said about an action.
    Approval = "approval",
    /// A policy published or rolled back.
    PolicyChange = "policy_change",
    /// A change of something else, field by field.
    Change = "change",
    /// Who somebody is.
    Identity = "identity",
    /// Something that an operator of spanledger did.
    OperatorAction = "operator_action",
    /// A governed workflow was created.
    WorkflowCreated = "workflow_created",
    /// A gate in front of a step of a governed workflow.
    WorkflowStepGate = "workflow_step_gate",
    /// A step of a governed workflow was completed.
    WorkflowStepCompleted = "workflow_step_completed",
    /// A governed workflow was completed.
    WorkflowCompleted = "workflow_completed",
    /// A governed workflow was aborted.
    WorkflowAborted = "workflow_aborted",
    /// A governed workflow failed.
    WorkflowFailed = "workflow_failed",
    /// A request that spanledger refused.
    Rejection = "rejection",
    /// Evidence that is known to be missing.
    Gap = "gap",
    /// Bodies removed after their retention.
    Prune = "prune",
    /// Payloads made unreadable at somebody's request.
    Erasure = "erasure",
    /// The ledger was shortened by an operator.
    Repair = "repair",
    /// A signed checkpoint was published.
    CheckpointPublished = "checkpoint_published",
    /// A log record that no mapping recognises.
    Log = "log",
    /// A span that no mapping recognises.
    #[default]
    Span = "span",
}

impl std::str::FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_in_the_entry_and_the_word_of_the_code_are_one() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }
}
