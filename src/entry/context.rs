//! Where in an execution it happened: workflow, run, step, job, session, and what a step did.

use super::Outcome;
use super::part::part;
#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

part! {
    /// In which workflow.
    Workflow {
        /// Identifier of the instance; joins.
        id: Cow<'a, str>,
        /// Name of the definition; filters.
        name: Cow<'a, str>,
        /// Orchestrator: `langgraph`, `crewai`, ….
        source: Cow<'a, str>,
        /// Its status.
        status: Cow<'a, str>,
        /// Steps executed in all.
        total_steps: i64,
    }
}

part! {
    /// In which run.
    Run {
        /// Identifier; joins.
        id: Cow<'a, str>,
        /// Name; filters.
        name: Cow<'a, str>,
    }
}

part! {
    /// At which step.
    Step {
        /// Identifier within the run.
        id: Cow<'a, str>,
        /// Name.
        name: Cow<'a, str>,
        /// `llm_call`, `tool_call`, `branch`, `interrupt`, … as the source wrote it.
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        /// Result of the step, as the source wrote it.
        result: Cow<'a, str>,
    }
}

part! {
    /// As which job.
    Job {
        /// Identifier; joins.
        id: Cow<'a, str>,
        /// Hash of the exact request that was approved.
        hash: Cow<'a, str>,
        /// Execution state.
        state: Cow<'a, str>,
        /// Pointer to the context.
        context_ptr: Cow<'a, str>,
        /// Pointer to the result.
        result_ptr: Cow<'a, str>,
    }
}

part! {
    /// In which session.
    Session {
        /// Identifier of the session.
        id: Cow<'a, str>,
        /// Identifier of the thread: pairs a resume with its interrupt.
        thread_id: Cow<'a, str>,
    }
}

part! {
    /// The orchestrator's own ids.
    External {
        /// Trace ids, verbatim.
        trace_id: Vec<Cow<'a, str>>,
    }
}

part! {
    /// Which action.
    Action {
        /// Stable key for deduplication.
        key: Cow<'a, str>,
        /// `user`, `tenant` or `global`.
        scope: Cow<'a, str>,
        /// Hash of the arguments as the source computed it.
        args_hash: Cow<'a, str>,
    }
}

part! {
    /// What became of the output.
    OutputSafety {
        /// The canonical outcome.
        decision: Outcome,
        /// As the source wrote it.
        raw: Cow<'a, str>,
        /// Rule that decided.
        rule_id: Cow<'a, str>,
        /// Why.
        reason: Cow<'a, str>,
    }
}

part! {
    /// A hand-over.
    Handoff {
        /// From which agent.
        source: Cow<'a, str>,
        /// To which agent.
        target: Cow<'a, str>,
        /// What for.
        intent: Cow<'a, str>,
    }
}

part! {
    /// A pause for a human.
    Interrupt {
        /// Why.
        reason: Cow<'a, str>,
        /// Who answered.
        responder: Cow<'a, str>,
        /// What the answer was.
        response: Cow<'a, str>,
    }
}

part! {
    /// A branch taken.
    Branch {
        /// The condition that was evaluated.
        condition: Cow<'a, str>,
        /// The edge that was selected.
        selected_edge: Cow<'a, str>,
        /// The result of the condition.
        result: Cow<'a, str>,
    }
}

part! {
    /// A guardrail.
    Guardrail {
        /// Name.
        name: Cow<'a, str>,
        /// Verdict as the source wrote it.
        status: Cow<'a, str>,
        /// Whether it fired.
        triggered: bool,
    }
}
