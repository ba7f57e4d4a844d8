//! The checks of what came after a refusal: a person's yes, or a policy's, without a new question.

use super::approval::ApprovalStatus;
use super::attempt::Attempt;
use super::beat::{Beat, Verdict};
use super::check::subject;
use super::finding::{Code, Finding};
use super::read::Record;

/// An approval directly after a refusal of the same question. A new question begins a new attempt.
pub(super) fn approvals(attempt: &Attempt<'_>, found: &mut Vec<Finding>) {
    let given: Vec<_> =
        attempt.answers().filter(|(_, status)| *status != ApprovalStatus::Pending).collect();
    let id = |beat: &Beat<'_>| beat.record.doc.audit.approval.id.clone();
    for pair in given.windows(2) {
        let [(refusal, before), (approval, status)] = pair else { continue };
        let apart = id(refusal).is_some() && id(approval).is_some() && id(refusal) != id(approval);
        if !before.refuses() || *status != ApprovalStatus::Approved || apart {
            continue;
        }
        let words = format!(
            "{} was approved after its approval had been {}, and nobody had asked again.",
            subject(attempt),
            before.as_str()
        );
        found.push(Finding::new(
            Code::ApprovalAfterRejection,
            words,
            [refusal.record, approval.record],
        ));
    }
}

/// A policy's yes after a person had said no, or after nobody had answered in time. A changed request is
/// another one, and what only shares the tool may be.
pub(super) fn decisions(attempt: &Attempt<'_>, found: &mut Vec<Finding>) {
    let Some((refusal, status)) = attempt.refused else { return };
    // What was asked about changed: whoever decides now decides about something else.
    if status == ApprovalStatus::Invalidated {
        return;
    }
    let Some((allowed, Verdict::Allow)) = attempt.decisions().next() else { return };
    if !is_same_request(refusal.record, allowed.record) {
        return;
    }
    let words = format!(
        "{} was allowed after its approval had been {}, and nobody had asked again.",
        subject(attempt),
        status.as_str()
    );
    let on = [refusal.record, allowed.record];
    found.push(Finding::new(Code::AllowedAfterRejection, words, on));
}

fn is_same_request(a: &Record, b: &Record) -> bool {
    type Id = fn(&Record) -> Option<&str>;
    let ids: [Id; 5] = [
        |r| r.doc.audit.action.key.as_deref(),
        |r| r.doc.audit.job.id.as_deref(),
        |r| r.doc.audit.step.id.as_deref(),
        |r| r.doc.audit.approval.id.as_deref(),
        |r| r.doc.audit.decision.id.as_deref(),
    ];
    let hashes: [Id; 2] =
        [|r| r.doc.audit.job.hash.as_deref(), |r| r.doc.audit.action.args_hash.as_deref()];
    let both = |of: &Id| Some((of(a)?, of(b)?));
    let named = ids.iter().filter_map(both).any(|(a, b)| a == b);
    named && hashes.iter().filter_map(both).all(|(a, b)| a == b)
}
