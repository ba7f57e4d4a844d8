//! What a record tells of an action: a decision, an answer of a person, an execution.
//!
//! One record may tell several: a decision record that already names who approved, a tool call that
//! carries its own verdict. Within one record the decision comes first, then the answer, then what
//! was done.

use super::approval::ApprovalStatus;
use super::read::Record;
use crate::entry::Outcome;

/// Kinds of executions. One action may be reported as several of them, by its runtime and by its
/// instrumentation; those confirm each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Execution {
    /// A tool was called.
    Tool,
    /// A model was called, or something was looked up.
    Model,
    /// A step of a governed workflow was completed.
    Step,
    /// The runtime's own record behind an action.
    PostExec,
    /// A job that was dispatched.
    Job,
}

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A policy said this.
    Decision(Verdict),
    /// A person said this.
    Approval(ApprovalStatus),
    /// Something was done.
    Execution(Execution),
}

/// An outcome that can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It may happen, perhaps within limits or with parts removed.
    Allow,
    /// It may not happen, or not now.
    Block,
    /// A person has to say so first.
    Ask,
    /// The decision could not be made.
    Error,
    /// A word that nobody knows, or none.
    Unknown,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Allow | Outcome::AllowWithConstraints | Outcome::Redact | Outcome::Warn => {
                Self::Allow
            }
            Outcome::Block | Outcome::Quarantine | Outcome::Throttle => Self::Block,
            Outcome::RequireApproval => Self::Ask,
            Outcome::Error => Self::Error,
        }
    }
}

/// A moment of an action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat<'r> {
    /// What happened.
    pub(super) what: What,
    /// When, nanoseconds since 1970.
    pub(super) at: u64,
    /// Which record says so.
    pub(super) record: &'r Record,
}

impl Beat<'_> {
    /// Whether an execution says of itself that it failed.
    pub(super) fn failed(&self) -> bool {
        let doc = &self.record.doc;
        doc.event.outcome.as_deref() == Some("failure")
            || doc.span.status.as_deref() == Some("error")
            || doc.error.is_some()
            || doc.audit.job.state.as_deref().is_some_and(job_failed)
    }

    /// Whether an execution says of itself that it succeeded.
    pub(super) fn succeeded(&self) -> bool {
        self.record.doc.event.outcome.as_deref() == Some("success")
    }
}

/// Whether a job in that state did not get through.
fn job_failed(state: &str) -> bool {
    ["failed", "timeout", "denied", "cancelled", "canceled"]
        .iter()
        .any(|word| state.eq_ignore_ascii_case(word))
}

/// Whether the record is what a runtime writes behind an action.
fn is_post_exec(record: &Record) -> bool {
    record.doc.audit.decision.phase.as_deref() == Some("post_exec")
}

/// The verdict that the record is evidence of. What stands behind an action repeats the one before.
pub(super) fn decides(record: &Record) -> Option<Verdict> {
    let audit = &record.doc.audit;
    if is_post_exec(record) || audit.kind == "approval" {
        return None;
    }
    let verdict = record.outcome().map_or(Verdict::Unknown, Verdict::from);
    let says = audit.decision.outcome.is_some() || audit.decision.raw.is_some();
    (says || matches!(audit.kind.as_str(), "decision" | "workflow_step_gate")).then_some(verdict)
}

/// The answer of a person that the record is evidence of, or that one is waited for.
pub(super) fn answers(record: &Record) -> Option<ApprovalStatus> {
    let audit = &record.doc.audit;
    let approval = &audit.approval;
    let said = approval.resolution.is_some() || approval.resolved_by.is_some();
    (audit.kind == "approval" || said).then(|| ApprovalStatus::of(record))
}

/// The execution that the record is evidence of.
pub(super) fn executes(record: &Record) -> Option<Execution> {
    if is_post_exec(record) {
        return Some(Execution::PostExec);
    }
    match record.doc.audit.kind.as_str() {
        "tool_call" => Some(Execution::Tool),
        "llm_call" | "retrieval" => Some(Execution::Model),
        "workflow_step_completed" => Some(Execution::Step),
        _ => {
            let state = record.doc.audit.job.state.as_deref()?.to_ascii_lowercase();
            let ran = ["dispatched", "running", "succeeded", "completed", "failed", "timeout"];
            ran.contains(&state.as_str()).then_some(Execution::Job)
        }
    }
}

/// Whether the record is about an action at all.
pub(super) fn takes_part(record: &Record) -> bool {
    decides(record).is_some() || answers(record).is_some() || executes(record).is_some()
}

/// The beats of a record. An execution within which it was decided counts from its end.
pub(super) fn beats(record: &Record, decided_within: bool) -> impl Iterator<Item = Beat<'_>> {
    let at = |what| Some(Beat { what, at: record.event_ns, record });
    let execution = executes(record).map(|kind| Beat {
        what: What::Execution(kind),
        at: if decided_within { record.end_ns } else { record.event_ns },
        record,
    });
    let decision = decides(record).and_then(|verdict| at(What::Decision(verdict)));
    let answer = answers(record).and_then(|status| at(What::Approval(status)));
    decision.into_iter().chain(answer).chain(execution)
}
