//! `audit.*`: decision, policy, approval and what holds them together.

use super::part::part;
use super::{
    Action, Branch, Change, Claims, External, Flag, Guardrail, Handoff, Interrupt, InvalidText,
    Job, Json, Kind, Outcome, OutputSafety, Payload, RawTime, Redaction, Rejection, Run, Session,
    Step, Workflow,
};
#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// `audit.*`: what makes it evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct Audit<'a> {
    /// What the entry is a record of.
    pub kind: Kind,
    /// Source family whose mapping made this entry, `spanledger`, `openinference`, …; absent for a
    /// record that no mapping recognised.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mapping: Option<Cow<'a, str>>,
    /// The operation type of a governed workflow, as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_type: Option<Cow<'a, str>>,
    /// Who did it: the agent or the person, as opposed to `user`, on whose behalf.
    #[serde(skip_serializing_if = "Actor::is_empty", default)]
    pub actor: Actor<'a>,
    /// What it was done to.
    #[serde(skip_serializing_if = "Target::is_empty", default)]
    pub target: Target<'a>,
    /// The producer's record id of the OpenTelemetry audit draft.
    #[serde(skip_serializing_if = "RecordPart::is_empty", default)]
    pub record: RecordPart<'a>,
    /// What was decided.
    #[serde(skip_serializing_if = "Decision::is_empty", default)]
    pub decision: Decision<'a>,
    /// Under which policy.
    #[serde(skip_serializing_if = "Policy::is_empty", default)]
    pub policy: Policy<'a>,
    /// With whose approval.
    #[serde(skip_serializing_if = "Approval::is_empty", default)]
    pub approval: Approval<'a>,
    /// In which workflow.
    #[serde(skip_serializing_if = "Workflow::is_empty", default)]
    pub workflow: Workflow<'a>,
    /// In which run.
    #[serde(skip_serializing_if = "Run::is_empty", default)]
    pub run: Run<'a>,
    /// At which step.
    #[serde(skip_serializing_if = "Step::is_empty", default)]
    pub step: Step<'a>,
    /// As which job.
    #[serde(skip_serializing_if = "Job::is_empty", default)]
    pub job: Job<'a>,
    /// In which session: filters, never joins.
    #[serde(skip_serializing_if = "Session::is_empty", default)]
    pub session: Session<'a>,
    /// The orchestrator's own trace ids, verbatim.
    #[serde(skip_serializing_if = "External::is_empty", default)]
    pub external: External<'a>,
    /// Which action, for deduplication and scope.
    #[serde(skip_serializing_if = "Action::is_empty", default)]
    pub action: Action<'a>,
    /// What became of the output.
    #[serde(skip_serializing_if = "OutputSafety::is_empty", default)]
    pub output_safety: OutputSafety<'a>,
    /// A hand-over between agents.
    #[serde(skip_serializing_if = "Handoff::is_empty", default)]
    pub handoff: Handoff<'a>,
    /// A pause for a human.
    #[serde(skip_serializing_if = "Interrupt::is_empty", default)]
    pub interrupt: Interrupt<'a>,
    /// A branch taken.
    #[serde(skip_serializing_if = "Branch::is_empty", default)]
    pub branch: Branch<'a>,
    /// A guardrail's own words, where it gave a verdict of its own.
    #[serde(skip_serializing_if = "Guardrail::is_empty", default)]
    pub guardrail: Guardrail<'a>,
    /// Changes, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub change: Vec<Change<'a>>,
    /// Prompts, responses, arguments, results: protected text and its keyed hash.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub payload: Vec<Payload<'a>>,
    /// What a payload claims about tenant and client. A claim is not a credential.
    #[serde(skip_serializing_if = "Claims::is_empty", default)]
    pub claims: Claims<'a>,
    /// A request that was refused.
    #[serde(skip_serializing_if = "Rejection::is_empty", default)]
    pub rejection: Rejection<'a>,
    /// Times as sent, where they were not usable as they were.
    #[serde(skip_serializing_if = "RawTime::is_empty", default)]
    pub time: RawTime<'a>,
    /// What a reader should know about this entry.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flags: Vec<Flag>,
    /// What protection removed, and where.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub redactions: Vec<Redaction<'a>>,
    /// Text that was not UTF-8: where, and the bytes as they came.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub invalid_text: Vec<InvalidText<'a>>,
}

part! {
    /// Who did it.
    Actor {
        /// Identifier: a person or an agent.
        id: Cow<'a, str>,
        /// `user`, `agent`, `service`, `system`.
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        /// `asserted` when taken from a payload, `authenticated` when from a credential.
        source: Cow<'a, str>,
    }
}

part! {
    /// What it was done to.
    Target {
        /// Identifier.
        id: Cow<'a, str>,
        /// Type.
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
    }
}

part! {
    /// The audit draft's record.
    RecordPart {
        /// `audit.record.id`.
        id: Cow<'a, str>,
    }
}

part! {
    /// What was decided: the verdict. Enforcement and effect are other things.
    Decision {
        /// Identifier of the decision; joins.
        id: Cow<'a, str>,
        /// The canonical outcome.
        outcome: Outcome,
        /// The outcome as the source wrote it.
        raw: Cow<'a, str>,
        /// Why.
        reason: Cow<'a, str>,
        /// `pre_exec` or `post_exec`.
        phase: Cow<'a, str>,
        /// Who or what decided: an engine, a gateway, a person.
        source: Cow<'a, str>,
        /// Where in the pipeline: `llm`, `tool`, `agent`.
        stage: Cow<'a, str>,
        /// How sure the decider was, as reported.
        confidence: f64,
        /// Attestation, as reported.
        attestation: Cow<'a, str>,
        /// How long the decision took, milliseconds.
        latency_ms: f64,
        /// What was done about it, where the source tells that apart from the verdict.
        enforcement: Cow<'a, str>,
    }
}

part! {
    /// Under which policy.
    Policy {
        /// Identifiers of the policies that decided.
        id: Vec<Cow<'a, str>>,
        /// Name.
        name: Cow<'a, str>,
        /// Rule that decided.
        rule_id: Cow<'a, str>,
        /// Layer of the policy: `tenant`, `global`, ….
        layer: Cow<'a, str>,
        /// Opaque snapshot of the policy under which the decision was made.
        snapshot: Cow<'a, str>,
        /// Version.
        version: Cow<'a, str>,
        /// Every policy that was evaluated, matched or not.
        evaluated: Json<'a>,
        /// The policies that matched.
        matched: Json<'a>,
        /// Snapshot before a publish or rollback.
        snapshot_before: Cow<'a, str>,
        /// Snapshot after a publish or rollback.
        snapshot_after: Cow<'a, str>,
    }
}

part! {
    /// With whose approval.
    Approval {
        /// Identifier; joins.
        id: Cow<'a, str>,
        /// `pending`, `approved`, `rejected`, `expired`, `invalidated`.
        status: Cow<'a, str>,
        /// Whether an approval is required.
        required: bool,
        /// How it was resolved.
        resolution: Cow<'a, str>,
        /// By whom.
        resolved_by: Cow<'a, str>,
        /// When, as the source wrote it.
        resolved_at: Cow<'a, str>,
        /// With which words.
        comment: Cow<'a, str>,
        /// Where a person can resolve it.
        url: Cow<'a, str>,
    }
}
