//! Runs that waited for a person and were resumed under another trace.
//!
//! A resume that names nothing but the thread answers the interrupt that [`pair`] finds for it: with
//! that a question of the interrupted run, and nothing else of the thread.

use super::link::scopes;
use super::read::Record;
use crate::correlate::{Id, Namespace, Pause, PauseKind, pair};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A run, workflow, job or trace.
type Scope<'r> = (&'static str, &'r str);

/// Which interrupted run each resumed one answers.
#[derive(Debug, Default)]
pub(crate) struct Resumed<'r> {
    /// The interrupted run by the resumed one.
    interrupted: HashMap<Id<'static>, Id<'static>>,
    /// What names an interrupted run.
    named: HashMap<Id<'static>, BTreeSet<Scope<'r>>>,
}

impl<'r> Resumed<'r> {
    /// The pairs of runs among these records. Their order does not matter.
    pub(crate) fn of(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut threads: BTreeMap<&str, Vec<Pause>> = BTreeMap::new();
        let mut named: HashMap<Id<'static>, BTreeSet<Scope<'r>>> = HashMap::new();
        for record in records {
            let thread = record.doc.audit.session.thread_id.as_deref();
            let (Some(thread), Some(kind), Some(run)) = (thread, kind(record), run(record)) else {
                continue;
            };
            if kind == PauseKind::Interrupt {
                named.entry(run.clone()).or_default().extend(scopes(record));
            }
            let id = u128::from_str_radix(&record.entry.id, 16).unwrap_or_default();
            let (event_ns, entry) = (record.event_ns, id.to_be_bytes());
            threads.entry(thread).or_default().push(Pause { kind, event_ns, entry, run });
        }
        let pairs = threads.values().flat_map(|pauses| pair(pauses));
        let interrupted = pairs.map(|(interrupted, resumed)| (resumed, interrupted)).collect();
        Self { interrupted, named }
    }

    /// What names the run whose interrupt was answered by the run of this record.
    pub(crate) fn interrupted(&self, resumed: &Record) -> impl Iterator<Item = Scope<'r>> {
        let run = run(resumed).and_then(|run| self.interrupted.get(&run));
        run.and_then(|run| self.named.get(run)).into_iter().flatten().copied()
    }
}

/// What a record did to its thread. Question and answer in one record leave nothing to be paired.
pub(crate) fn kind(record: &Record) -> Option<PauseKind> {
    let audit = &record.doc.audit;
    let interrupt = &audit.interrupt;
    let answered = interrupt.response.is_some() || interrupt.responder.is_some();
    match (interrupt.reason.is_some(), answered) {
        (true, true) => None,
        (false, true) => Some(PauseKind::Resume),
        (true, false) => Some(PauseKind::Interrupt),
        (false, false) => (audit.kind == "interrupt").then_some(PauseKind::Interrupt),
    }
}

/// The id that stands for the run of a record.
pub(super) fn run(record: &Record) -> Option<Id<'static>> {
    let trace = record.doc.trace.id.as_deref().or_else(|| record.trace_id());
    let trace = trace.map(|id| Id::new(Namespace::Trace, id));
    let run = || Some(Id::new(Namespace::Run, record.doc.audit.run.id.as_deref()?));
    trace.or_else(run).map(|id| id.canonical())
}
