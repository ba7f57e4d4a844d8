//! An attempt as it is shown: what was done or tried, with its decision, approval and outcome.

use super::approval::{self, Approval, ApprovalStatus};
use super::attempt::Attempt;
use super::beat::{Beat, Verdict, What};
use super::read::{EntryRef, Record};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How far an action got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// It was done.
    Executed,
    /// It was done and failed.
    Failed,
    /// A policy stopped it.
    Blocked,
    /// A person said no, or nobody answered in time.
    Rejected,
    /// It waits for a person.
    Waiting,
    /// It may be done, and no entry says that it was.
    Allowed,
    /// No entry says.
    #[default]
    Unknown,
}

/// One of the things that happened to an action, in their order: `require_approval`, `approved`,
/// `allow`, `success`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainStep {
    /// `decision`, `approval` or `result`.
    pub step: String,
    /// The canonical word.
    pub outcome: String,
    /// The word as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
    /// Who answered, where it is an answer and the entry says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<String>,
    /// The entry that says so.
    pub entry: EntryRef,
}

/// The last word of a policy about an action.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// The canonical outcome.
    pub decision: String,
    /// As the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Identifier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision_id: Option<String>,
    /// Policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policy_ids: Vec<String>,
    /// Rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_rule_id: Option<String>,
    /// Layer of the policy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_layer: Option<String>,
    /// Snapshot of the policy.
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
    /// How sure the decider was, as reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<f64>)]
    pub confidence: Option<Value>,
    /// Attestation, as reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attestation: Option<String>,
    /// What was done about it, where the source tells that apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub enforcement: Option<String>,
    /// The entry that says so.
    pub entry: EntryRef,
}

/// What was done or tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// How far it got.
    pub state: ActionState,
    /// The verb: `refund.create`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    /// Its stable key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action_key: Option<String>,
    /// Which attempt at it this is, from 1.
    pub attempt: usize,
    /// `user`, `tenant` or `global`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_id: Option<String>,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step_id: Option<String>,
    /// Name of the step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step_name: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<String>,
    /// Hash of the exact request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_hash: Option<String>,
    /// Hash of the arguments, as the source computed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub args_hash: Option<String>,
    /// The agent or service that did it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// The human on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// The phases that were recorded: `pre_exec`, `post_exec`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub phases: Vec<String>,
    /// The last word of a policy before it was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Decided>,
    /// The person's answer, where one was needed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval: Option<Approval>,
    /// What came of it: `success`, `failure` or `unknown`; absent when it was not done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// The result as the source wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
    /// What became of the output.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_safety: Option<super::OutputSafety>,
    /// Everything that happened to it, in order.
    pub chain: Vec<ChainStep>,
    /// The entries that it stands on, in order.
    pub entries: Vec<EntryRef>,
}

impl Action {
    /// The attempt as it is shown.
    pub(super) fn of(attempt: &Attempt<'_>) -> Self {
        let text = |value: fn(&Record) -> &Option<String>| attempt.first(|r| value(r).clone());
        let mut phases: Vec<String> = Vec::new();
        for phase in attempt.records().filter_map(|r| r.doc.audit.decision.phase.clone()) {
            if !phases.contains(&phase) {
                phases.push(phase);
            }
        }
        let executed = attempt.executions().next_back().map(|(beat, _)| beat);
        Self {
            state: state(attempt),
            action: decided_first(attempt, |r| r.doc.event.action.clone()),
            action_key: text(|r| &r.doc.audit.action.key),
            attempt: attempt.number,
            scope: text(|r| &r.doc.audit.action.scope),
            tool: text(|r| &r.doc.gen_ai.tool.name),
            run_id: text(|r| &r.doc.audit.run.id),
            workflow_id: text(|r| &r.doc.audit.workflow.id),
            step_id: text(|r| &r.doc.audit.step.id),
            step_name: text(|r| &r.doc.audit.step.name),
            job_id: text(|r| &r.doc.audit.job.id),
            job_hash: text(|r| &r.doc.audit.job.hash),
            args_hash: text(|r| &r.doc.audit.action.args_hash),
            actor: attempt.first(approval::agent),
            user_id: text(|r| &r.doc.user.id),
            phases,
            decision: attempt.decisions().next_back().map(|(beat, _)| decided(beat.record)),
            approval: approval::of(attempt).pop(),
            outcome: executed.map(|beat| outcome(beat).to_owned()),
            result: attempt.records().filter_map(|r| r.doc.audit.step.result.clone()).last(),
            output_safety: attempt.first(|r| super::OutputSafety::of(&r.doc)),
            chain: attempt.beats.iter().map(step).collect(),
            entries: attempt.records().map(|r| r.entry.clone()).collect(),
        }
    }
}

/// What a decision calls it, else what anything calls it: a span is called `tool.call`.
fn decided_first(
    attempt: &Attempt<'_>,
    value: impl Fn(&Record) -> Option<String>,
) -> Option<String> {
    let decided = attempt.decisions().map(|(beat, _)| beat.record);
    let specific = |name: &String| name != "policy.decision";
    let own = decided.filter_map(&value).find(specific);
    own.or_else(|| attempt.records().filter_map(&value).last())
}

fn state(attempt: &Attempt<'_>) -> ActionState {
    if let Some((beat, _)) = attempt.executions().next_back() {
        return if beat.failed() { ActionState::Failed } else { ActionState::Executed };
    }
    let answer = attempt.answers().rev().find(|(_, status)| *status != ApprovalStatus::Pending);
    let refused = answer.is_some_and(|(_, status)| {
        !matches!(status, ApprovalStatus::Approved | ApprovalStatus::Decided)
    });
    let verdict = attempt.decisions().next_back().map_or(Verdict::Unknown, |(_, verdict)| verdict);
    match (verdict, answer) {
        (Verdict::Block, _) => ActionState::Blocked,
        (_, Some(_)) if refused => ActionState::Rejected,
        (Verdict::Allow, _) | (Verdict::Ask | Verdict::Unknown, Some(_)) => ActionState::Allowed,
        (Verdict::Ask, None) => ActionState::Waiting,
        (Verdict::Error | Verdict::Unknown, _) => ActionState::Unknown,
    }
}

fn outcome(beat: &Beat<'_>) -> &'static str {
    match (beat.failed(), beat.succeeded()) {
        (true, _) => "failure",
        (_, true) => "success",
        _ => "unknown",
    }
}

fn step(beat: &Beat<'_>) -> ChainStep {
    let doc = &beat.record.doc;
    let decision = &doc.audit.decision;
    let (step, outcome, raw) = match beat.what {
        What::Decision(_) => {
            let word = decision.outcome.clone().unwrap_or_else(|| "unknown".to_owned());
            ("decision", word, decision.raw.clone())
        }
        What::Approval(status) => {
            let approval = &doc.audit.approval;
            let said = approval.resolution.as_ref().or(approval.status.as_ref());
            ("approval", status.as_str().to_owned(), said.or(decision.raw.as_ref()).cloned())
        }
        What::Execution(_) => ("result", outcome(beat).to_owned(), doc.audit.step.result.clone()),
    };
    ChainStep {
        step: step.to_owned(),
        outcome,
        raw,
        resolved_by: (step == "approval").then(|| doc.audit.approval.resolved_by.clone()).flatten(),
        timestamp: doc.timestamp.clone(),
        entry: beat.record.entry.clone(),
    }
}

fn decided(record: &Record) -> Decided {
    let audit = &record.doc.audit;
    let (decision, policy) = (&audit.decision, &audit.policy);
    Decided {
        decision: decision.outcome.clone().unwrap_or_else(|| "unknown".to_owned()),
        raw: decision.raw.clone(),
        reason: decision.reason.clone(),
        decision_id: decision.id.clone(),
        policy_ids: policy.id.clone(),
        policy_rule_id: policy.rule_id.clone(),
        policy_layer: policy.layer.clone(),
        policy_snapshot: policy.snapshot.clone(),
        policies_evaluated: policy.evaluated.clone(),
        policies_matched: policy.matched.clone(),
        confidence: decision.confidence.clone(),
        attestation: decision.attestation.clone(),
        enforcement: decision.enforcement.clone(),
        entry: record.entry.clone(),
    }
}
