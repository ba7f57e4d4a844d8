//! A decision with the flat names of a decision record.

use super::read::{Document, Record};
use crate::entry::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What became of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputSafety {
    /// As the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<String>,
    /// The canonical outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// Rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule_id: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl OutputSafety {
    /// What an entry says of its output, if it does.
    pub fn of(doc: &Document) -> Option<Self> {
        let safety = &doc.audit.output_safety;
        let found = Self {
            decision: safety.raw.clone().or_else(|| safety.decision.clone()),
            outcome: safety.decision.clone(),
            rule_id: safety.rule_id.clone(),
            reason: safety.reason.clone(),
        };
        (found != Self::default()).then_some(found)
    }
}

/// A decision, with the flat names of a decision record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionRecord {
    /// `event.id` of the entry: with it a proof can be asked for.
    pub event_id: String,
    /// Place of the entry in the ledger.
    pub sequence: u64,
    /// Time of the decision, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<String>,
    /// What the entry is a record of: `decision`, `approval`, `workflow_step_gate`, ….
    pub kind: String,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_id: Option<String>,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_step_id: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<String>,
    /// The orchestrator's trace id as it came, else OpenTelemetry's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// Identifier of the decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision_id: Option<String>,
    /// The decision as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<String>,
    /// The canonical outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// `pre_exec` or `post_exec`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<String>,
    /// Policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policy_ids: Vec<String>,
    /// Rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_rule_id: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_reason: Option<String>,
    /// Snapshot of the policy, opaque.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_snapshot: Option<String>,
    /// Policies that were evaluated, matched or not: names, or how many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Object>)]
    pub policies_evaluated: Option<Value>,
    /// Policies that matched: names, or how many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Object>)]
    pub policies_matched: Option<Value>,
    /// Hash of the exact request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_hash: Option<String>,
    /// Whether a person has to say so first.
    pub approval_required: bool,
    /// Identifier of the approval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval_ref: Option<String>,
    /// How the approval was resolved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolution: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_by: Option<String>,
    /// With which words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_comment: Option<String>,
    /// Pointer to the context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_ptr: Option<String>,
    /// Pointer to the result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result_ptr: Option<String>,
    /// What became of the output.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_safety: Option<OutputSafety>,
    /// The agent or service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor_id: Option<String>,
    /// The human on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// How sure the decider was, as reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<f64>)]
    pub confidence: Option<Value>,
    /// Attestation, as reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attestation: Option<String>,
}

impl DecisionRecord {
    /// The decision that an entry is a record of.
    pub fn of(record: &Record) -> Self {
        let doc = &record.doc;
        let audit = &doc.audit;
        let (decision, policy, approval) = (&audit.decision, &audit.policy, &audit.approval);
        let asks = record.outcome() == Some(Outcome::RequireApproval);
        Self {
            event_id: record.entry.id.clone(),
            sequence: record.entry.sequence,
            timestamp: doc.timestamp.clone(),
            kind: audit.kind.clone(),
            run_id: audit.run.id.clone(),
            workflow_id: audit.workflow.id.clone(),
            workflow_step_id: audit.step.id.clone().or_else(|| audit.step.name.clone()),
            job_id: audit.job.id.clone(),
            trace_id: record.trace_id().map(str::to_owned),
            decision_id: decision.id.clone(),
            decision: decision.raw.clone().or_else(|| decision.outcome.clone()),
            outcome: decision.outcome.clone(),
            phase: decision.phase.clone(),
            policy_ids: policy.id.clone(),
            policy_rule_id: policy.rule_id.clone(),
            policy_reason: decision.reason.clone(),
            policy_snapshot: policy.snapshot.clone(),
            policies_evaluated: policy.evaluated.clone(),
            policies_matched: policy.matched.clone(),
            job_hash: audit.job.hash.clone(),
            approval_required: approval.required.unwrap_or(asks),
            approval_ref: approval.id.clone(),
            resolution: approval.resolution.clone().or_else(|| approval.status.clone()),
            resolved_by: approval.resolved_by.clone(),
            resolved_comment: approval.comment.clone(),
            context_ptr: audit.job.context_ptr.clone(),
            result_ptr: audit.job.result_ptr.clone(),
            output_safety: OutputSafety::of(doc),
            actor_id: audit.actor.id.clone(),
            user_id: doc.user.id.clone(),
            confidence: decision.confidence.clone(),
            attestation: decision.attestation.clone(),
        }
    }
}
