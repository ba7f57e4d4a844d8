//! Which records are about one action.
//!
//! | joins | when |
//! |---|---|
//! | decision id, approval id | they are equal |
//! | call of a tool | the model gave it one id in one trace |
//! | action key | equal in one run, workflow, job or trace |
//! | step | equal id or name in one of these, and neither names a key or a tool |
//! | tool | equal name in one of these, and neither names a key |
//! | job | equal id, and neither names a key or a tool, nor a step where the job has several |
//! | span | a decision within the span that was executed, or around it |
//!
//! An answer that names none of these joins the latest question of its run or trace that it may mean,
//! and a call of a tool that names no key the latest decision about that tool that nothing followed.
//! A run that was resumed under another trace is asked for as the run that it goes on with.

use super::approval::ApprovalStatus;
use super::beat::{Execution, Verdict, answers, decides, executes, takes_part};
use super::pause::{self, Resumed};
use super::read::Record;
use crate::correlate::{Id, PauseKind};
use std::collections::{HashMap, HashSet};

/// Sets of records, by their place in the list.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut at: usize) -> usize {
        while let Some(&parent) = self.0.get(at).filter(|parent| **parent != at) {
            // Path halving: each look makes the next one shorter.
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.0.get_mut(at) {
                *slot = above;
            }
            at = above;
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The earlier record stands for the set, so the order of joins does not matter.
        if let Some(slot) = self.0.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
    }
}

/// One action: its records in their order, and those within which it was decided.
#[derive(Debug)]
pub(super) struct Linked<'r> {
    /// Its records.
    pub(super) records: Vec<&'r Record>,
    /// Whether a decision was made within the execution, by the execution's entry.
    pub(super) decided_within: Vec<bool>,
}

/// Records of one action each, in the order of their first ones. `records` are in order.
pub(super) fn linked(records: &[Record]) -> Vec<Linked<'_>> {
    let part: Vec<&Record> = records.iter().filter(|record| takes_part(record)).collect();
    let mut sets = Sets((0..part.len()).collect());
    join_by_keys(&part, &mut sets);
    let within = join_by_spans(&part, &mut sets);
    let resumed = Resumed::of(records);
    join_loose_calls(&part, &resumed, &mut sets);
    join_loose_answers(&part, &resumed, &mut sets);
    let mut found: Vec<Linked<'_>> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (at, record) in part.iter().enumerate() {
        let place = *places.entry(sets.root(at)).or_insert_with(|| {
            found.push(Linked { records: Vec::new(), decided_within: Vec::new() });
            found.len().saturating_sub(1)
        });
        if let Some(linked) = found.get_mut(place) {
            linked.records.push(record);
            linked.decided_within.push(within.get(at).copied().unwrap_or(false));
        }
    }
    found
}

/// What two records of one action have in common.
type Key<'r> = (&'static str, &'r str, &'r str, &'r str);

fn join_by_keys<'r>(records: &[&'r Record], sets: &mut Sets) {
    let mut first: HashMap<Key<'r>, usize> = HashMap::new();
    let several = jobs_of_several_steps(records);
    for (at, record) in records.iter().enumerate() {
        for key in keys(record, &several) {
            let joined = *first.entry(key).or_insert(at);
            sets.join(joined, at);
        }
    }
}

/// Where an action happened: a key, a step or a tool means the same thing within one of these.
pub(super) fn scopes(record: &Record) -> impl Iterator<Item = (&'static str, &str)> {
    let audit = &record.doc.audit;
    let trace = record.trace_id().map(|id| ("trace", id));
    let inner = record.doc.trace.id.as_deref().map(|id| ("trace", id));
    [
        audit.run.id.as_deref().map(|id| ("run", id)),
        audit.workflow.id.as_deref().map(|id| ("workflow", id)),
        audit.job.id.as_deref().map(|id| ("job", id)),
        trace,
        inner.filter(|_| trace != inner),
    ]
    .into_iter()
    .flatten()
}

/// Jobs that have several steps: each of those is an action of its own.
fn jobs_of_several_steps<'r>(records: &[&'r Record]) -> HashSet<&'r str> {
    let mut known: HashMap<&str, &str> = HashMap::new();
    let steps = records.iter().filter_map(|record| {
        let audit = &record.doc.audit;
        Some((audit.job.id.as_deref()?, audit.step.id.as_deref()?))
    });
    steps
        .filter(|(job, step)| *known.entry(job).or_insert(step) != *step)
        .map(|(job, _)| job)
        .collect()
}

fn keys<'r>(record: &'r Record, several: &HashSet<&str>) -> Vec<Key<'r>> {
    let doc = &record.doc;
    let audit = &doc.audit;
    let mut keys: Vec<Key<'_>> = Vec::new();
    let ids = [("decision", &audit.decision.id), ("approval", &audit.approval.id)];
    keys.extend(ids.into_iter().filter_map(|(name, id)| Some((name, "", "", id.as_deref()?))));
    if let (Some(trace), Some(call)) = (&doc.trace.id, &doc.gen_ai.tool.call.id) {
        keys.push(("call", "", trace, call));
    }
    let key = audit.action.key.as_deref();
    let tool = doc.gen_ai.tool.name.as_deref();
    let is_gate = audit.kind.starts_with("workflow_step");
    // A model may name the tools that it was offered, and a step may use several.
    let by_tool = tool.filter(|_| !matches!(audit.kind.as_str(), "llm_call" | "retrieval"));
    let by_step = key.is_none() && (is_gate || by_tool.is_none()) && !is_model(record);
    for (scope, id) in scopes(record) {
        keys.extend(key.map(|key| ("key", scope, id, key)));
        keys.extend(by_tool.filter(|_| key.is_none()).map(|tool| ("tool", scope, id, tool)));
        if by_step {
            keys.extend(audit.step.id.as_deref().map(|step| ("step", scope, id, step)));
            keys.extend(audit.step.name.as_deref().map(|step| ("step name", scope, id, step)));
        }
    }
    let of_job = |job: &&str| {
        let own_step = audit.step.id.is_some() && several.contains(job);
        key.is_none() && by_tool.is_none() && !own_step
    };
    keys.extend(audit.job.id.as_deref().filter(of_job).map(|job| ("job", "", "", job)));
    keys
}

fn is_model(record: &Record) -> bool {
    matches!(record.doc.audit.kind.as_str(), "llm_call" | "retrieval")
}

/// Joins decisions and executions that are within each other's spans; for each record whether
/// something was decided within it.
fn join_by_spans(records: &[&Record], sets: &mut Sets) -> Vec<bool> {
    let mut executed: HashMap<(&str, &str), usize> = HashMap::new();
    let mut decided: HashMap<(&str, &str), usize> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let Some(span) = record.own_span() else { continue };
        if executes(record).is_some() {
            executed.insert(span, at);
        } else {
            decided.insert(span, at);
        }
    }
    let mut within = vec![false; records.len()];
    for (at, record) in records.iter().enumerate() {
        let Some(outer) = record.outer_span() else { continue };
        let around =
            if executes(record).is_some() { decided.get(&outer) } else { executed.get(&outer) };
        let Some(&around) = around else { continue };
        sets.join(at, around);
        if let Some(slot) = within.get_mut(around).filter(|_| executes(record).is_none()) {
            *slot = true;
        }
    }
    within
}

/// Joins calls of tools, which instrumentation reports without a key, to decisions that have one.
fn join_loose_calls(records: &[&Record], resumed: &Resumed<'_>, sets: &mut Sets) {
    let mut decided: HashMap<usize, bool> = HashMap::new();
    let mut executed: HashMap<usize, bool> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let root = sets.root(at);
        *decided.entry(root).or_default() |= decides(record).is_some();
        *executed.entry(root).or_default() |= executes(record) == Some(Execution::Tool);
    }
    for (at, call) in records.iter().enumerate() {
        let root = sets.root(at);
        let is_call =
            executes(call) == Some(Execution::Tool) && call.doc.audit.action.key.is_none();
        if !is_call || decided.get(&root) == Some(&true) {
            continue;
        }
        let tool = &call.doc.gen_ai.tool.name;
        let interrupted: Vec<_> = resumed.interrupted(call).collect();
        let found = (0..records.len()).rev().find(|other| {
            let Some(decision) = records.get(*other) else { return false };
            let verdict = decides(decision);
            verdict.is_some()
                && decision.event_ns <= call.end_ns
                && tool.is_some()
                && decision.doc.gen_ai.tool.name == *tool
                && (share_scope(decision, call)
                    || (verdict == Some(Verdict::Ask) && names(decision, &interrupted)))
                && executed.get(&sets.root(*other)) != Some(&true)
        });
        if let Some(found) = found {
            sets.join(at, found);
            let joined = sets.root(at);
            decided.insert(joined, true);
            executed.insert(joined, true);
        }
    }
}

/// Joins an answer that has no decision to the latest question before it that may be meant.
fn join_loose_answers(records: &[&Record], resumed: &Resumed<'_>, sets: &mut Sets) {
    let decided =
        (0..records.len()).filter(|at| records.get(*at).is_some_and(|r| decides(r).is_some()));
    let mut decided: HashSet<usize> = decided.map(|at| sets.root(at)).collect();
    let mut answered = Answered::default();
    for (at, answer) in records.iter().enumerate() {
        let Some(status) = answers(answer) else { continue };
        let root = sets.root(at);
        if decides(answer).is_none() && !decided.contains(&root) {
            let before = records.get(..at).unwrap_or_default();
            let found = question_of(before, answer, resumed, sets, &answered);
            if let Some(question) = found {
                let other = sets.root(question);
                sets.join(at, question);
                let joined = sets.root(at);
                answered.merge([root, other], joined);
                decided.insert(joined);
            }
        }
        if status != ApprovalStatus::Pending {
            answered.note(sets.root(at), answer);
        }
    }
}

/// The latest of the records that asked what this one answers.
fn question_of(
    before: &[&Record],
    answer: &Record,
    resumed: &Resumed<'_>,
    sets: &mut Sets,
    answered: &Answered,
) -> Option<usize> {
    let asks = |asked: &Record| decides(asked) == Some(Verdict::Ask) && agree(asked, answer);
    let here = before.iter().rposition(|asked| asks(asked) && share_scope(asked, answer));
    if here.is_some() || pause::kind(answer) != Some(PauseKind::Resume) {
        return here;
    }
    let interrupted: Vec<_> = resumed.interrupted(answer).collect();
    let run = pause::run(answer);
    let mut earlier = before.iter().enumerate().rev();
    let (at, _) = earlier.find(|(at, asked)| {
        asks(asked)
            && names(asked, &interrupted)
            && !answered.elsewhere(sets.root(*at), run.as_ref())
    })?;
    Some(at)
}

/// The runs that have answered, by action: one resume may show on several of its spans.
#[derive(Debug, Default)]
struct Answered(HashMap<usize, HashSet<Option<Id<'static>>>>);

impl Answered {
    fn note(&mut self, action: usize, answer: &Record) {
        self.0.entry(action).or_default().insert(pause::run(answer));
    }

    /// Two actions are one from now on.
    fn merge(&mut self, both: [usize; 2], joined: usize) {
        let runs: Vec<_> = both.iter().filter_map(|it| self.0.remove(it)).flatten().collect();
        self.0.entry(joined).or_default().extend(runs);
    }

    /// Whether another run than this one has answered already.
    fn elsewhere(&self, action: usize, run: Option<&Id<'static>>) -> bool {
        let runs = self.0.get(&action);
        runs.is_some_and(|runs| runs.iter().any(|other| other.as_ref() != run))
    }
}

/// Whether a record is of a run, workflow, job or trace among these.
fn names(record: &Record, these: &[(&'static str, &str)]) -> bool {
    scopes(record).any(|own| these.contains(&own))
}

/// Whether both are of one run, workflow, job or trace.
fn share_scope(a: &Record, b: &Record) -> bool {
    scopes(a).any(|scope| scopes(b).any(|other| other == scope))
}

/// Whether an answer contradicts a question in nothing.
fn agree(asked: &Record, answer: &Record) -> bool {
    let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
    let (asked, answer) = (&asked.doc, &answer.doc);
    agree(&asked.audit.step.id, &answer.audit.step.id)
        && agree(&asked.audit.approval.id, &answer.audit.approval.id)
        && agree(&asked.audit.action.key, &answer.audit.action.key)
        && agree(&asked.gen_ai.tool.name, &answer.gen_ai.tool.name)
}
