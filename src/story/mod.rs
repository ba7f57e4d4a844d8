//! What a story says: actions with their decisions, approvals, and what does not fit together.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Study`]: everything that is derived from the entries of a story |
//! | `read.rs` | [`Record`], [`Document`]: what is read of a projected entry |
//! | `beat.rs` | what a record tells of an action: a decision, an answer, an execution |
//! | `link.rs` | which records are about one action |
//! | `pause.rs` | which run answered the interrupt of another |
//! | `attempt.rs` | the beats of one action in order, cut where a new attempt begins |
//! | `action.rs` | [`Action`]: an attempt as it is shown |
//! | `approval.rs` | [`Approval`]: who was asked, who answered, what the answer was bound to |
//! | `finding.rs` | [`Finding`]: codes, severity, the entries it stands on |
//! | `check.rs`, `overruled.rs` | the checks of an attempt, and of what came after a refusal |
//! | `sources.rs` | the checks of what is missing: gaps, numbers of a source |
//! | `usage.rs` | [`Usage`]: tokens by model, counted once |
//! | `tests.rs`, `tests/` | sentences about stories |
//! | `flat.rs` | [`DecisionRecord`]: a decision with the flat names of a decision record |
//!
//! ```text
//! entries ─► records ─► linked by key, id, step, tool, span ─► attempts ─► actions, approvals
//!                                                                 └─────► findings
//! ```
//!
//! Nothing is decided here and nothing is written: the same entries give the same study, in whatever
//! order they arrived. Only what stands in the entries counts; what an entry does not say is left
//! open rather than guessed.

mod action;
mod approval;
mod attempt;
mod beat;
mod check;
mod finding;
mod flat;
mod link;
mod overruled;
mod pause;
mod read;
mod sources;
#[cfg(test)]
mod tests;
mod usage;

pub use action::{Action, ActionState, ChainStep, Decided};
pub use approval::{Approval, ApprovalStatus};
pub use finding::{Code, Finding, Severity};
pub use flat::{DecisionRecord, OutputSafety};
pub(crate) use pause::{Resumed, kind as pause_kind};
pub use read::{Document, EntryRef, Record};
pub use sources::{MAX_STREAMS, Stream, missing, streams};
pub use usage::Usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most entries of a story that are studied: some milliseconds of work. The answer says when there
/// were more.
pub const MAX_STUDIED: usize = 1_000;

/// Most findings of one study: beyond it nobody reads on, and `more_findings` counts the rest.
pub const MAX_FINDINGS: usize = 500;

/// Everything that is derived from the entries of a story.
///
/// ```
/// use spanledger::story::{Code, Record, Study};
/// let blocked = r#"{"@timestamp":"2026-11-21T08:00:00Z","event":{"id":"a","sequence":1},
///     "audit":{"kind":"decision","run":{"id":"r"},"action":{"key":"k"},"policy":{"rule_id":"p"},
///     "decision":{"outcome":"block","phase":"pre_exec"}}}"#;
/// let done = r#"{"@timestamp":"2026-11-21T08:00:01Z","event":{"id":"b","sequence":2},
///     "audit":{"kind":"decision","run":{"id":"r"},"action":{"key":"k"},
///     "decision":{"outcome":"allow","phase":"post_exec"}}}"#;
/// let records = [blocked, done].into_iter().zip(1..).filter_map(|(text, ns)| Record::read(text.as_bytes(), ns));
/// let study = Study::of(records.collect());
/// assert_eq!(study.actions.len(), 1);
/// assert_eq!(study.findings[0].code, Code::ExecutionAfterStop);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Study {
    /// What was done or tried, each with its decision, approval and outcome, by time.
    pub actions: Vec<Action>,
    /// Who was asked and who answered, by time.
    pub approvals: Vec<Approval>,
    /// What does not fit together, the most severe first.
    pub findings: Vec<Finding>,
    /// Findings beyond the bound that are only counted.
    pub more_findings: usize,
    /// Tokens by model, each call counted once.
    pub usage: Vec<Usage>,
}

impl Study {
    /// Studies these entries. Their order does not matter.
    pub fn of(mut records: Vec<Record>) -> Self {
        records.sort_by(|a, b| (a.event_ns, &a.entry.id).cmp(&(b.event_ns, &b.entry.id)));
        records.dedup_by(|a, b| a.entry.id == b.entry.id);
        let attempts = attempt::attempts(&records);
        let mut findings = check::findings(&records, &attempts);
        findings.extend(sources::findings(&records));
        finding::order(&mut findings, &records);
        let mut study = Self {
            actions: attempts.iter().map(Action::of).collect(),
            approvals: attempts.iter().flat_map(approval::of).collect(),
            usage: usage::totals(&records),
            ..Self::default()
        };
        study.add(findings);
        study
    }

    /// Adds findings that took more than these entries to find.
    pub fn add(&mut self, more: Vec<Finding>) {
        self.findings.extend(more);
        self.findings.sort_by_key(|finding| finding.severity);
        let beyond = self.findings.len().saturating_sub(MAX_FINDINGS);
        self.more_findings = self.more_findings.saturating_add(beyond);
        self.findings.truncate(MAX_FINDINGS);
    }
}
