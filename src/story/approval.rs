//! Who was asked, who answered, and what the answer was bound to.

use super::attempt::Attempt;
use super::beat::{Beat, Verdict, What};
use super::read::{EntryRef, Record};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of a question to a person.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Nobody has answered.
    #[default]
    Pending,
    /// A person said yes.
    Approved,
    /// A person said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// What was asked about changed.
    Invalidated,
    /// The action was decided or executed later, and no entry says who answered.
    Decided,
}

impl ApprovalStatus {
    /// What a record says of an approval, in whatever words and fields.
    pub(super) fn of(record: &Record) -> Self {
        let audit = &record.doc.audit;
        let approval = &audit.approval;
        let of_its_own = (audit.kind == "approval").then_some(&audit.decision);
        let said = [
            approval.resolution.as_ref(),
            approval.status.as_ref(),
            of_its_own.and_then(|decision| decision.raw.as_ref()),
            of_its_own.and_then(|decision| decision.outcome.as_ref()),
        ];
        said.into_iter().flatten().find_map(|word| Self::from_word(word)).unwrap_or_default()
    }

    fn from_word(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        Some(match word.as_str() {
            "approved" | "approve" | "granted" | "grant" | "approval_granted" | "allow"
            | "allowed" | "accept" | "accepted" | "true" | "yes" => Self::Approved,
            "rejected" | "reject" | "denied" | "deny" | "approval_denied" | "approval_rejected"
            | "block" | "blocked" | "refused" | "false" | "no" => Self::Rejected,
            "expired" | "timeout" | "timed_out" => Self::Expired,
            "invalidated" | "cancelled" | "canceled" => Self::Invalidated,
            "pending" | "waiting" | "requested" | "require_approval" | "open" => Self::Pending,
            _ => return None,
        })
    }

    /// Whether it is an answer after which nothing may be done.
    pub(super) const fn refuses(self) -> bool {
        matches!(self, Self::Rejected | Self::Expired | Self::Invalidated)
    }

    /// The word that stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::Decided => "decided",
        }
    }
}

/// A question to a person and its answer, with the flat names of a decision record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Identifier of the approval, where the source gives one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval_id: Option<String>,
    /// What became of it.
    pub approval_status: ApprovalStatus,
    /// Whether a person had to be asked: always.
    pub approval_required: bool,
    /// The decision that asked, as its source wrote it, else its outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<String>,
    /// The answer as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolution: Option<String>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_by: Option<String>,
    /// With which words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_comment: Option<String>,
    /// When, as the source wrote it, else the time of the entry that has the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_at: Option<String>,
    /// When it was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_at: Option<String>,
    /// The agent or service that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_by: Option<String>,
    /// The human on whose behalf it asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// Where a person can answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval_url: Option<String>,
    /// The decision that asked, in a line: outcome, rule, reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision_summary: Option<String>,
    /// Identifier of the decision that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision_id: Option<String>,
    /// Rule that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_rule_id: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_reason: Option<String>,
    /// Snapshot of the policy that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_snapshot: Option<String>,
    /// Hash of the request that was asked about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_hash: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_id: Option<String>,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_step_id: Option<String>,
    /// The orchestrator's trace id, else OpenTelemetry's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// What was to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    /// Its stable key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action_key: Option<String>,
    /// Pointer to the context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_ptr: Option<String>,
    /// The entries that it stands on: those that asked, those that answered.
    pub entries: Vec<EntryRef>,
}

/// The approvals of an attempt: one for each id, or one where there are no ids.
pub(super) fn of(attempt: &Attempt<'_>) -> Vec<Approval> {
    let mut ids: Vec<Option<&str>> = Vec::new();
    for beat in attempt.beats.iter().filter(|beat| concerns_a_person(beat)) {
        let id = beat.record.doc.audit.approval.id.as_deref();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    // What has no id is about the one that is there.
    if ids.iter().any(Option::is_some) {
        ids.retain(Option::is_some);
    }
    ids.into_iter().map(|id| approval(attempt, id)).collect()
}

/// Whether the beat asked a person, or is an answer.
fn concerns_a_person(beat: &Beat<'_>) -> bool {
    matches!(beat.what, What::Approval(_) | What::Decision(Verdict::Ask))
}

fn approval(attempt: &Attempt<'_>, id: Option<&str>) -> Approval {
    let own: Vec<&Beat<'_>> = attempt
        .beats
        .iter()
        .filter(|beat| concerns_a_person(beat))
        .filter(|beat| {
            let given = beat.record.doc.audit.approval.id.as_deref();
            given.is_none() || id.is_none() || given == id
        })
        .collect();
    let answer = own.iter().rev().find_map(|beat| match beat.what {
        What::Approval(status) if status != ApprovalStatus::Pending => Some((*beat, status)),
        _ => None,
    });
    let asked = own.iter().copied().find(|beat| matches!(beat.what, What::Decision(_)));
    let first = |value: &dyn Fn(&Record) -> Option<String>| {
        asked.into_iter().chain(own.iter().copied()).find_map(|beat| value(beat.record))
    };
    let of_answer = |value: &dyn Fn(&Record) -> Option<String>| value(answer?.0.record);
    let mut entries: Vec<EntryRef> = Vec::new();
    for beat in &own {
        if !entries.contains(&beat.record.entry) {
            entries.push(beat.record.entry.clone());
        }
    }
    Approval {
        approval_id: id.map(str::to_owned),
        approval_status: answer.map_or_else(|| unanswered(attempt), |(_, status)| status),
        decision: asked.and_then(|beat| {
            let decision = &beat.record.doc.audit.decision;
            decision.raw.clone().or_else(|| decision.outcome.clone())
        }),
        approval_required: true,
        resolution: of_answer(&|r| {
            let audit = &r.doc.audit;
            audit.approval.resolution.clone().or_else(|| audit.decision.raw.clone())
        }),
        resolved_by: of_answer(&|r| r.doc.audit.approval.resolved_by.clone()),
        resolved_comment: of_answer(&|r| r.doc.audit.approval.comment.clone()),
        resolved_at: of_answer(&|r| {
            r.doc.audit.approval.resolved_at.clone().or_else(|| r.doc.timestamp.clone())
        }),
        requested_at: asked.and_then(|beat| beat.record.doc.timestamp.clone()),
        requested_by: asked.and_then(|beat| agent(beat.record)),
        user_id: first(&|r| r.doc.user.id.clone()),
        approval_url: first(&|r| r.doc.audit.approval.url.clone()),
        decision_summary: asked.map(|beat| summary(beat.record)),
        decision_id: first(&|r| r.doc.audit.decision.id.clone()),
        policy_rule_id: first(&|r| r.doc.audit.policy.rule_id.clone()),
        policy_reason: asked.and_then(|beat| beat.record.doc.audit.decision.reason.clone()),
        policy_snapshot: first(&|r| r.doc.audit.policy.snapshot.clone()),
        job_hash: first(&|r| r.doc.audit.job.hash.clone()),
        job_id: first(&|r| r.doc.audit.job.id.clone()),
        run_id: first(&|r| r.doc.audit.run.id.clone()),
        workflow_id: first(&|r| r.doc.audit.workflow.id.clone()),
        workflow_step_id: first(&|r| r.doc.audit.step.id.clone()),
        trace_id: first(&|r| r.trace_id().map(str::to_owned)),
        action: first(&|r| r.doc.event.action.clone()),
        action_key: first(&|r| r.doc.audit.action.key.clone()),
        context_ptr: first(&|r| r.doc.audit.job.context_ptr.clone()),
        entries,
    }
}

/// The status of what no entry answers: whoever went on did not wait.
fn unanswered(attempt: &Attempt<'_>) -> ApprovalStatus {
    let (mut asked, mut other_allowed) = (false, false);
    for beat in &attempt.beats {
        match beat.what {
            What::Decision(Verdict::Ask) => asked = true,
            // Without a key it may be another call of the tool: what is done then may be that one.
            What::Decision(Verdict::Allow) if !asked => {
                other_allowed = beat.record.doc.audit.action.key.is_none();
            }
            What::Execution(_) if other_allowed => {}
            What::Decision(_) | What::Execution(_) if asked => {
                return ApprovalStatus::Decided;
            }
            _ => {}
        }
    }
    ApprovalStatus::Pending
}

/// Who asked: the actor, else the agent, else the service.
pub(super) fn agent(record: &Record) -> Option<String> {
    let doc = &record.doc;
    let named = doc.audit.actor.id.as_ref().or(doc.gen_ai.agent.name.as_ref());
    named.or(doc.gen_ai.agent.id.as_ref()).or(doc.service.name.as_ref()).cloned()
}

fn summary(record: &Record) -> String {
    let audit = &record.doc.audit;
    let parts = [
        audit.decision.raw.as_ref().or(audit.decision.outcome.as_ref()),
        audit.policy.rule_id.as_ref().or(audit.policy.name.as_ref()),
        audit.decision.reason.as_ref(),
    ];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Study;
    use crate::story::read::tests::record;
    use serde_json::json;

    #[test]
    fn every_engines_word_for_an_answer_is_understood() {
        for (approval, status) in [
            (json!({"status": "pending"}), ApprovalStatus::Pending),
            (json!({"resolution": "APPROVED"}), ApprovalStatus::Approved),
            (json!({"status": "rejected", "resolved_by": "x"}), ApprovalStatus::Rejected),
            (json!({"status": "expired"}), ApprovalStatus::Expired),
            (json!({"status": "invalidated"}), ApprovalStatus::Invalidated),
            (json!({"resolved_by": "somebody"}), ApprovalStatus::Pending),
        ] {
            let one = record(1, json!({"kind": "approval", "approval": approval}), json!({}));
            assert_eq!(ApprovalStatus::of(&one), status, "{approval}");
        }
    }

    #[test]
    fn two_approvals_of_one_action_are_two() {
        let ask = |second, id: &str| {
            record(
                second,
                json!({"kind": "decision", "run": {"id": "r"}, "action": {"key": "k"},
                "decision": {"outcome": "require_approval"}, "approval": {"id": id}}),
                json!({}),
            )
        };
        let answer = record(
            3,
            json!({"kind": "approval", "run": {"id": "r"}, "action": {"key": "k"},
            "approval": {"id": "a-2", "status": "approved", "resolved_by": "lead"}}),
            json!({}),
        );
        let study = Study::of(vec![ask(1, "a-1"), ask(2, "a-2"), answer]);
        let statuses: Vec<_> = study
            .approvals
            .iter()
            .map(|a| (a.approval_id.as_deref().unwrap(), a.approval_status))
            .collect();
        assert_eq!(statuses, [("a-1", ApprovalStatus::Pending), ("a-2", ApprovalStatus::Approved)]);
    }

    #[test]
    fn what_went_on_without_an_answer_is_not_pending_and_not_approved() {
        let journal = |second, outcome: &str| {
            record(
                second,
                json!({"kind": "decision", "run": {"id": "r"}, "action": {"key": "k"},
                "decision": {"outcome": outcome, "phase": "pre_exec"}}),
                json!({}),
            )
        };
        let study = Study::of(vec![journal(1, "require_approval"), journal(2, "allow")]);
        assert_eq!(study.approvals[0].approval_status, ApprovalStatus::Decided);
        assert_eq!(study.approvals[0].resolved_by, None);
    }
}
