//! The checks of attempts: what was done against what was decided, approved and bound.

use super::approval::{self, ApprovalStatus};
use super::attempt::Attempt;
use super::beat::{Beat, Execution, Verdict, What};
use super::finding::{Code, Finding, Severity};
use super::link::scopes;
use super::overruled;
use super::read::{Audit, Record};
use std::collections::{BTreeMap, HashSet};

/// A run, workflow, job or trace.
type Scope<'r> = (&'static str, &'r str);

/// What decisions and executions there are in each run: whether something is missing depends on it.
#[derive(Default)]
struct Habits<'r> {
    /// Where tools are decided about.
    decided_tools: HashSet<Scope<'r>>,
    /// Where steps have gates.
    decided_steps: HashSet<Scope<'r>>,
    /// Where anything is decided.
    decided: HashSet<Scope<'r>>,
    /// Where executions of a kind are reported.
    reported: HashSet<(Scope<'r>, Execution)>,
}

impl<'r> Habits<'r> {
    fn of(attempts: &[Attempt<'r>]) -> Self {
        let mut habits = Self::default();
        for attempt in attempts {
            let ran_tool = attempt.executions().any(|(_, kind)| kind == Execution::Tool);
            for (beat, _) in attempt.decisions() {
                let doc = &beat.record.doc;
                let about_tool = ran_tool
                    || doc.gen_ai.tool.name.is_some()
                    || doc.audit.decision.stage.as_deref() == Some("tool");
                for scope in scopes(beat.record) {
                    habits.decided.insert(scope);
                    if about_tool {
                        habits.decided_tools.insert(scope);
                    }
                    if doc.audit.kind == "workflow_step_gate" {
                        habits.decided_steps.insert(scope);
                    }
                }
            }
            for (beat, kind) in attempt.executions() {
                habits.reported.extend(scopes(beat.record).map(|scope| (scope, kind)));
            }
        }
        habits
    }

    /// Whether an execution of that kind should have a decision.
    fn expects_decision(&self, record: &Record, kind: Execution) -> bool {
        let place = match kind {
            Execution::PostExec => return true,
            Execution::Model => return false,
            Execution::Tool => &self.decided_tools,
            Execution::Step => &self.decided_steps,
            Execution::Job => &self.decided,
        };
        scopes(record).any(|scope| place.contains(&scope))
    }

    /// Whether what became of an allowed action would be reported.
    fn expects_outcome(&self, record: &Record) -> bool {
        let audit = &record.doc.audit;
        if audit.decision.phase.as_deref() == Some("pre_exec") && audit.action.key.is_some() {
            return true;
        }
        let kind = if audit.kind == "workflow_step_gate" {
            Execution::Step
        } else if record.doc.gen_ai.tool.name.is_some() {
            Execution::Tool
        } else {
            return false;
        };
        scopes(record).any(|scope| self.reported.contains(&(scope, kind)))
    }
}

/// What does not fit together in these attempts.
pub(super) fn findings(records: &[Record], attempts: &[Attempt<'_>]) -> Vec<Finding> {
    let habits = Habits::of(attempts);
    let mut found = Vec::new();
    for attempt in attempts {
        executions(attempt, &habits, &mut found);
        decisions(attempt, &habits, &mut found);
        answers(attempt, &mut found);
        overruled::approvals(attempt, &mut found);
        overruled::decisions(attempt, &mut found);
        bindings(attempt, &mut found);
    }
    repeated(attempts, &mut found);
    found.extend(records.iter().filter(|r| r.doc.audit.kind == "gap").map(|gap| {
        let why = gap.doc.event.reason.as_deref().or(gap.doc.message.as_deref());
        let words =
            format!("Evidence is missing: {}.", why.unwrap_or("the entry does not say why"));
        Finding::new(Code::EvidenceGap, words, [gap])
    }));
    found
}

/// What the attempt is about, for a sentence.
pub(super) fn subject(attempt: &Attempt<'_>) -> String {
    let named = attempt.first(|record| {
        let doc = &record.doc;
        let names = [
            &doc.gen_ai.tool.name,
            &doc.audit.action.key,
            &doc.audit.step.name,
            &doc.audit.step.id,
            &doc.audit.job.id,
            &doc.event.action,
        ];
        names.into_iter().find_map(Clone::clone)
    });
    named.unwrap_or_else(|| "An action".to_owned())
}

/// `: rule, reason` of a decision.
fn why(record: &Record) -> String {
    let audit = &record.doc.audit;
    let rule = audit.policy.rule_id.as_ref().or(audit.policy.id.first());
    let parts: Vec<&str> =
        [rule, audit.decision.reason.as_ref()].into_iter().flatten().map(String::as_str).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(": ")) }
}

/// What was done, against the last word before it.
fn executions(attempt: &Attempt<'_>, habits: &Habits<'_>, found: &mut Vec<Finding>) {
    for (at, beat) in attempt.beats.iter().enumerate() {
        let What::Execution(kind) = beat.what else { continue };
        let before = attempt.beats.get(..at).unwrap_or_default();
        let decision = before.iter().rev().find_map(|before| match before.what {
            What::Decision(verdict) => Some((before, verdict)),
            _ => None,
        });
        let Some((decision, verdict)) = decision else {
            let undecided = attempt.decisions().next().is_none();
            if undecided && habits.expects_decision(beat.record, kind) {
                let words = format!(
                    "{} was executed, and no decision is about it, although others of its run are decided.",
                    subject(attempt)
                );
                found.push(Finding::new(Code::ActionWithoutDecision, words, [beat.record]));
            }
            continue;
        };
        if beat.failed()
            || (attempt.decided_within && !beat.succeeded() && kind != Execution::PostExec)
        {
            // Refused from within it, or nobody says that it got anywhere.
            if verdict != Verdict::Allow {
                continue;
            }
        }
        found.extend(against_last_word(attempt, before, beat, decision, verdict));
    }
}

fn against_last_word(
    attempt: &Attempt<'_>,
    before: &[Beat<'_>],
    done: &Beat<'_>,
    decision: &Beat<'_>,
    verdict: Verdict,
) -> Option<Finding> {
    let subject = subject(attempt);
    let why = why(decision.record);
    let answer = before.iter().rev().find_map(|beat| match beat.what {
        What::Approval(status) if status != ApprovalStatus::Pending => Some((beat, status)),
        _ => None,
    });
    let approved = answer.is_some_and(|(_, status)| status == ApprovalStatus::Approved);
    if let Some((beat, status)) = answer.filter(|_| !approved)
        && beat.at >= decision.at
    {
        let words =
            format!("{subject} was executed although its approval was {}.", status.as_str());
        let on = [decision.record, beat.record, done.record];
        return Some(Finding::new(Code::ExecutionAfterRejection, words, on));
    }
    let on = [decision.record, done.record];
    // Of several calls of one tool at once one may be allowed and another stopped, or wait.
    let keyed = decision.record.doc.audit.action.key.is_some();
    let allowed = before.iter().any(|b| b.what == What::Decision(Verdict::Allow));
    // An approval lifts no stop that came after it.
    let lifted = answer.is_some_and(|(beat, _)| approved && beat.at >= decision.at);
    match verdict {
        Verdict::Block if !lifted && (keyed || !allowed) => {
            let words = format!("{subject} was executed after it had been stopped{why}.");
            Some(watched(Finding::new(Code::ExecutionAfterStop, words, on), decision.record))
        }
        Verdict::Ask if !approved && (keyed || !allowed) => {
            let words = format!(
                "{subject} was executed, it needed an approval{why}, and no entry says that anybody gave it."
            );
            Some(watched(Finding::new(Code::ExecutionWithoutApproval, words, on), decision.record))
        }
        Verdict::Error => {
            let words =
                format!("{subject} was executed although its decision could not be made{why}.");
            Some(Finding::new(Code::ExecutionAfterFailedDecision, words, on))
        }
        _ => None,
    }
}

/// A policy that only watches stops nothing: what is done then is no breach.
fn watched(finding: Finding, decision: &Record) -> Finding {
    let only_watches =
        ["warn", "log", "monitor", "audit", "shadow", "dry_run", "none", "not_enforced"];
    let enforcement = decision.doc.audit.decision.enforcement.as_deref().unwrap_or_default();
    let enforcement = enforcement.to_ascii_lowercase().replace(['-', ' '], "_");
    if !only_watches.contains(&enforcement.as_str()) {
        return finding;
    }
    let message = format!("{} The policy was not enforced: {enforcement}.", finding.message);
    Finding { severity: Severity::Note, message, ..finding }
}

/// Whether a decision says which policy made it. A guardrail with a name is one.
fn names_policy(audit: &Audit) -> bool {
    let policy = &audit.policy;
    let named = [&policy.name, &policy.rule_id, &policy.layer, &policy.snapshot, &policy.version];
    !policy.id.is_empty()
        || audit.guardrail.name.is_some()
        || named.into_iter().any(Option::is_some)
        || policy.evaluated.is_some()
        || policy.matched.is_some()
}

fn decisions(attempt: &Attempt<'_>, habits: &Habits<'_>, found: &mut Vec<Finding>) {
    for (beat, verdict) in attempt.decisions() {
        let record = beat.record;
        match verdict {
            Verdict::Unknown => {
                let raw = record.doc.audit.decision.raw.as_deref().unwrap_or("nothing");
                let words = format!("A decision says {raw:?}, which is no word of the vocabulary.");
                found.push(Finding::new(Code::DecisionNotUnderstood, words, [record]));
            }
            Verdict::Block | Verdict::Ask if !names_policy(&record.doc.audit) => {
                let words = format!("The decision about {} names no policy.", subject(attempt));
                found.push(Finding::new(Code::DecisionWithoutPolicy, words, [record]));
            }
            _ => {}
        }
    }
    let last = attempt.decisions().next_back();
    let open = last.filter(|(beat, verdict)| {
        *verdict == Verdict::Allow
            && attempt.executions().next().is_none()
            && habits.expects_outcome(beat.record)
    });
    found.extend(open.map(|(beat, _)| {
        let words =
            format!("{} was allowed, and no entry says what became of it.", subject(attempt));
        Finding::new(Code::DecisionWithoutOutcome, words, [beat.record])
    }));
}

fn answers(attempt: &Attempt<'_>, found: &mut Vec<Finding>) {
    let asked: Vec<&Record> = attempt.decisions().map(|(beat, _)| beat.record).collect();
    for (beat, status) in attempt.answers() {
        let record = beat.record;
        // Whoever resumes a run that paused answers its interrupt, and no policy asked.
        let interrupt = &record.doc.audit.interrupt;
        let resumes = interrupt.responder.is_some() || interrupt.response.is_some();
        if asked.is_empty() && !resumes {
            let words = format!("An approval of {} joins no decision.", subject(attempt));
            found.push(Finding::new(Code::ApprovalWithoutDecision, words, [record]));
        }
        let by = record.doc.audit.approval.resolved_by.as_deref();
        let by_a_person = matches!(status, ApprovalStatus::Approved | ApprovalStatus::Rejected);
        if by.is_none() && by_a_person {
            let words =
                format!("{} was {}, and no entry says by whom.", subject(attempt), status.as_str());
            found.push(Finding::new(Code::ApprovalWithoutApprover, words, [record]));
        }
        let requester = by.filter(|_| status == ApprovalStatus::Approved).and_then(|by| {
            let same =
                |name: &Option<String>| name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(by));
            asked.iter().find(|asked| {
                let doc = &asked.doc;
                let names = [&doc.user.id, &doc.user.email, &doc.user.name, &doc.audit.actor.id];
                names.into_iter().any(same)
            })
        });
        if let (Some(asked), Some(by)) = (requester, by) {
            let words = format!("{by} asked for {} and approved it.", subject(attempt));
            found.push(Finding::new(Code::ApprovedByRequester, words, [asked, record]));
        }
    }
    for unanswered in approval::of(attempt) {
        if unanswered.approval_status == ApprovalStatus::Decided {
            let words = format!(
                "{} needed an approval and went on later, and no entry says who gave it.",
                subject(attempt)
            );
            let on = attempt.records().filter(|record| unanswered.entries.contains(&record.entry));
            let executed = attempt.executions().next().is_some();
            let allowed = attempt.decisions().any(|(_, v)| v == Verdict::Allow);
            // What was executed without any further decision is told as that.
            if allowed || !executed {
                found.push(Finding::new(Code::ApprovalNotRecorded, words, on));
            }
        }
    }
}

/// An answer is bound to a request and a policy: whatever differs is another one.
fn bindings(attempt: &Attempt<'_>, found: &mut Vec<Finding>) {
    type Bound = fn(&Record) -> Option<&str>;
    let bound: [(Code, &str, Bound); 3] = [
        (Code::ApprovalJobHashMismatch, "job hash", |r| r.doc.audit.job.hash.as_deref()),
        (Code::ApprovalPolicySnapshotMismatch, "policy snapshot", |r| {
            r.doc.audit.policy.snapshot.as_deref()
        }),
        (Code::ArgsHashMismatch, "hash of arguments", |r| r.doc.audit.action.args_hash.as_deref()),
    ];
    let approvals: Vec<&Record> = attempt
        .answers()
        .filter(|(_, status)| *status == ApprovalStatus::Approved)
        .map(|(beat, _)| beat.record)
        .collect();
    for (code, name, value) in bound {
        // Arguments are bound by the decision, too.
        let binding: Vec<&Record> = if code == Code::ArgsHashMismatch {
            attempt
                .decisions()
                .map(|(beat, _)| beat.record)
                .chain(approvals.iter().copied())
                .collect()
        } else {
            approvals.clone()
        };
        for (at, approval) in binding.iter().enumerate() {
            let Some(given) = value(approval) else { continue };
            let earlier = binding.get(..at).unwrap_or_default();
            if earlier.iter().any(|other| value(other) == Some(given)) {
                continue;
            }
            let other = attempt.records().find(|r| value(r).is_some_and(|found| found != given));
            let Some(other) = other else { continue };
            let words = format!(
                "{}: the {name} that was approved or decided is {given}, another entry has {}.",
                subject(attempt),
                value(other).unwrap_or_default()
            );
            found.push(Finding::new(code, words, [*approval, other]));
            break;
        }
    }
}

/// One action, by its key, that was done in several attempts.
fn repeated(attempts: &[Attempt<'_>], found: &mut Vec<Finding>) {
    let mut done: BTreeMap<(Scope<'_>, &str), Vec<&Record>> = BTreeMap::new();
    for attempt in attempts {
        let executed = attempt.executions().find(|(beat, _)| !beat.failed());
        let Some((beat, _)) = executed else { continue };
        let key = attempt.first(|record| record.doc.audit.action.key.as_deref());
        let scope = attempt.first(|record| scopes(record).next());
        if let (Some(key), Some(scope)) = (key, scope) {
            done.entry((scope, key)).or_default().push(beat.record);
        }
    }
    found.extend(done.into_iter().filter(|(_, records)| records.len() > 1).map(
        |((_, key), records)| {
            let words = format!("{key} was executed {} times in one run.", records.len());
            Finding::new(Code::ActionRepeated, words, records)
        },
    ));
}
