//! The beats of one action in order, cut where a new attempt begins.
//!
//! ```text
//! require_approval ─ approved ─ allow ─ executed │ block │ allow ─ executed
//! └──────────────── attempt 1 ──────────────────┘ └─ 2 ─┘ └────── 3 ──────┘
//! ```

use super::approval::ApprovalStatus;
use super::beat::{Beat, Execution, Verdict, What, beats, executes};
use super::link::{Linked, linked};
use super::read::Record;
use std::collections::BTreeSet;

/// One attempt at an action.
#[derive(Debug, Default)]
pub(super) struct Attempt<'r> {
    /// Its beats, by time.
    pub(super) beats: Vec<Beat<'r>>,
    /// Which attempt at this action it is, from 1.
    pub(super) number: usize,
    /// Whether something was decided within the execution: then it began before its decision.
    pub(super) decided_within: bool,
    /// The refusal after which it began, of the attempt before.
    pub(super) refused: Option<(Beat<'r>, ApprovalStatus)>,
}

impl<'r> Attempt<'r> {
    /// Each of its records, once, by time.
    pub(super) fn records(&self) -> impl Iterator<Item = &'r Record> {
        let same = |a: &Record, b: &Record| std::ptr::eq(a, b);
        let beats = self.beats.iter().enumerate();
        let first = beats.filter(move |(at, beat)| {
            !self.beats.iter().take(*at).any(|other| same(other.record, beat.record))
        });
        first.map(|(_, beat)| beat.record)
    }

    /// Its decisions.
    pub(super) fn decisions(&self) -> impl DoubleEndedIterator<Item = (&Beat<'r>, Verdict)> {
        self.beats.iter().filter_map(|beat| match beat.what {
            What::Decision(verdict) => Some((beat, verdict)),
            _ => None,
        })
    }

    /// The answers of people, those that are waited for included.
    pub(super) fn answers(&self) -> impl DoubleEndedIterator<Item = (&Beat<'r>, ApprovalStatus)> {
        self.beats.iter().filter_map(|beat| match beat.what {
            What::Approval(status) => Some((beat, status)),
            _ => None,
        })
    }

    /// What was done.
    pub(super) fn executions(&self) -> impl DoubleEndedIterator<Item = (&Beat<'r>, Execution)> {
        self.beats.iter().filter_map(|beat| match beat.what {
            What::Execution(kind) => Some((beat, kind)),
            _ => None,
        })
    }

    /// The first value that a record of it gives.
    pub(super) fn first<T>(&self, value: impl Fn(&'r Record) -> Option<T>) -> Option<T> {
        self.records().find_map(value)
    }

    fn is_over(&self) -> bool {
        let blocked = self.decisions().next_back().is_some_and(|(_, v)| v == Verdict::Block);
        self.executions().next().is_some() || (blocked && !self.is_answered())
    }

    fn is_answered(&self) -> bool {
        self.answers().any(|(_, status)| status == ApprovalStatus::Approved)
    }

    /// The last answer, when it was no or came to nothing.
    fn refusal(&self) -> Option<(Beat<'r>, ApprovalStatus)> {
        let answer = self.answers().rev().find(|(_, status)| *status != ApprovalStatus::Pending);
        answer.filter(|(_, status)| status.refuses()).map(|(beat, status)| (*beat, status))
    }

    /// How many executions were allowed, at least one: what only asked or stopped allows none, and
    /// of several questions at once each has its own answer.
    fn allowed(&self) -> usize {
        let allowed = self.decisions().filter(|(_, v)| *v == Verdict::Allow).count();
        let approved = self.answers().filter(|(_, status)| *status == ApprovalStatus::Approved);
        let questions: BTreeSet<&str> =
            approved.filter_map(|(beat, _)| beat.record.doc.audit.approval.id.as_deref()).collect();
        allowed.max(questions.len()).max(1)
    }

    /// Whether the beat belongs to a further attempt.
    fn is_followed_by(&self, beat: &Beat<'_>) -> bool {
        match beat.what {
            What::Approval(_) => false,
            What::Decision(_) if self.decisions().any(|(other, _)| repeats(beat, other)) => false,
            What::Decision(_) if self.decisions().next().is_none() => {
                // Written down while it ran: the decision belongs to what was running.
                self.executions().next().is_some()
                    && self.executions().all(|(execution, _)| {
                        execution.record.end_ns < beat.at
                            && !is_about(beat.record, execution.record)
                    })
            }
            // What is stopped after a refusal was not tried again.
            What::Decision(verdict) if verdict != Verdict::Block && self.refusal().is_some() => {
                true
            }
            What::Decision(_) => self.is_over(),
            What::Execution(kind) => {
                let allowed = self.allowed();
                let done = self.executions().filter(|(_, other)| *other == kind);
                let mut done = done.filter(|(other, _)| !is_one_call(other.record, beat.record));
                done.nth(allowed.saturating_sub(1)).is_some()
            }
        }
    }
}

/// Whether two executions are one: the model numbered them alike, or one is within the other.
fn is_one_call(a: &Record, b: &Record) -> bool {
    let call = |record: &Record| record.doc.gen_ai.tool.call.id.clone();
    let same_call = call(a).is_some() && call(a) == call(b);
    let within = |inner: &Record, outer: &Record| {
        outer.own_span().is_some() && inner.outer_span() == outer.own_span()
    };
    same_call || same_job(a, b) || within(a, b) || within(b, a)
}

/// Whether both are states of one job: each state is told, and the job runs once.
fn same_job(a: &Record, b: &Record) -> bool {
    let job = |record: &Record| {
        (executes(record) == Some(Execution::Job)).then(|| record.doc.audit.job.id.clone())?
    };
    job(a).is_some() && job(a) == job(b)
}

/// Whether a decision says itself which execution it is about: then clocks that differ change nothing.
fn is_about(decision: &Record, execution: &Record) -> bool {
    type Id = fn(&Record) -> Option<&str>;
    let ids: [Id; 2] =
        [|r| r.doc.gen_ai.tool.call.id.as_deref(), |r| r.doc.audit.decision.id.as_deref()];
    let within = execution.own_span().is_some_and(|own| decision.outer_span() == Some(own));
    within || ids.iter().any(|id| id(decision).is_some() && id(decision) == id(execution))
}

/// Whether a decision only repeats an earlier one: it has its id, or a further state of a job names it.
fn repeats(later: &Beat<'_>, earlier: &Beat<'_>) -> bool {
    let (later_audit, earlier_audit) = (&later.record.doc.audit, &earlier.record.doc.audit);
    let (job, known) = (&later_audit.job, &earlier_audit.job);
    let same_id =
        later_audit.decision.id.is_some() && later_audit.decision.id == earlier_audit.decision.id;
    let same_job = job.state.is_some() && job.id.is_some() && job.id == known.id;
    let same_hash = job.hash == known.hash || job.hash.is_none() || known.hash.is_none();
    later.what == earlier.what && (same_id || (same_job && same_hash))
}

/// Every attempt at every action, by time. `records` are in order.
pub(super) fn attempts(records: &[Record]) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = linked(records).iter().flat_map(cut).collect();
    attempts.sort_by_key(|attempt| {
        let first = attempt.beats.first();
        first.map(|beat| (beat.record.event_ns, beat.record.entry.id.clone()))
    });
    attempts
}

/// The attempts of one action.
fn cut<'r>(linked: &Linked<'r>) -> Vec<Attempt<'r>> {
    let within = linked.records.iter().zip(&linked.decided_within);
    let mut all: Vec<Beat<'r>> =
        within.flat_map(|(record, within)| beats(record, *within)).collect();
    all.sort_by(|a, b| (a.at, a.what, &a.record.entry.id).cmp(&(b.at, b.what, &b.record.entry.id)));
    let decided_within = linked.decided_within.contains(&true);
    let mut attempts: Vec<Attempt<'r>> = Vec::new();
    for beat in all {
        match attempts.last_mut().filter(|last| !last.is_followed_by(&beat)) {
            Some(last) => last.beats.push(beat),
            None => attempts.push(Attempt {
                beats: vec![beat],
                number: attempts.len().saturating_add(1),
                decided_within,
                refused: attempts.last().and_then(Attempt::refusal),
            }),
        }
    }
    // A call of a model that nobody decided about is no action of its own.
    attempts.retain(|attempt| {
        attempt.beats.iter().any(|beat| beat.what != What::Execution(Execution::Model))
    });
    attempts
}
