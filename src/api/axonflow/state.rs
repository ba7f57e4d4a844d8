//! A workflow as its entries tell it: begun, its steps, its end. Nothing of it is kept; it is
//! read from the ledger's entries each time, whoever sent them.

use super::found::{Brief, Found};
use crate::entry::Outcome;
use crate::receiver::axonflow::{Digest, Known};
use serde_json::Value;

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    InProgress,
    Completed,
    Aborted,
    Failed,
}

impl Status {
    /// The word of AxonFlow's API.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    /// The end that an entry tells: by its kind, or by the status that its source wrote.
    fn of(brief: &Brief) -> Option<Self> {
        match brief.audit.kind.as_str() {
            "workflow_completed" => return Some(Self::Completed),
            "workflow_aborted" => return Some(Self::Aborted),
            "workflow_failed" => return Some(Self::Failed),
            _ => {}
        }
        match brief.audit.workflow.status.as_deref()?.to_ascii_lowercase().as_str() {
            "completed" | "succeeded" | "success" => Some(Self::Completed),
            "aborted" | "cancelled" | "canceled" => Some(Self::Aborted),
            "failed" | "error" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// A workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct WorkflowState {
    pub(super) known: Known,
    pub(super) status: Status,
    /// Of its first entry, RFC 3339.
    pub(super) started: String,
    pub(super) started_ns: u64,
    pub(super) ended: Option<String>,
    pub(super) metadata: Option<Value>,
    /// Trace of the first span.
    span_trace: Option<String>,
    /// In the order in which they were first heard of.
    pub(super) steps: Vec<StepState>,
}

/// A step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepState {
    /// Its id, else its name.
    pub(super) id: String,
    /// The id that a source gave it.
    said_id: Option<String>,
    pub(super) name: Option<String>,
    /// Its type as the source wrote it, else what kind of entry told of it.
    pub(super) kind: Option<String>,
    /// What was decided last.
    pub(super) decided: Option<Decided>,
    pub(super) approval_status: Option<String>,
    pub(super) approved_by: Option<String>,
    pub(super) completed: Option<String>,
    /// Keys with which its completion was reported.
    pub(super) completion_keys: Vec<CompletionKey>,
}

/// A key with which a completion was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CompletionKey {
    /// SHA-256 of the key as it was sent.
    pub(super) hash: String,
    /// The key as the entry has it: a part of it may be masked.
    pub(super) kept: String,
}

impl CompletionKey {
    fn of(brief: &Brief) -> Option<Self> {
        let attributes = &brief.attributes;
        let kept = attributes.idempotency_key.as_ref()?.as_str()?.to_owned();
        let hash = attributes.idempotency_hash.as_ref().and_then(Value::as_str);
        let hash = hash.map_or_else(|| Digest::of(kept.as_bytes()).sha256, str::to_owned);
        Some(Self { hash, kept })
    }
}

/// A decision about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) outcome: Option<Outcome>,
    /// The word of whoever decided.
    pub(super) raw: String,
    pub(super) reason: Option<String>,
    pub(super) at: String,
}

impl WorkflowState {
    /// The workflow of that id as these entries tell it, the oldest first; `None` when none does.
    pub(super) fn of<'f>(id: &str, entries: impl IntoIterator<Item = &'f Found>) -> Option<Self> {
        let own = |found: &&Found| found.brief.audit.workflow.id.as_deref() == Some(id);
        let mut state: Option<Self> = None;
        for found in entries.into_iter().filter(own) {
            let brief = &found.brief;
            let state = state.get_or_insert_with(|| Self {
                known: Known { id: id.to_owned(), ..Known::default() },
                started: brief.timestamp.clone(),
                started_ns: found.event_ns,
                ..Self::default()
            });
            state.hear(brief);
        }
        let mut state = state?;
        // Where nobody said an orchestrator's id, the trace of its spans leads there as well.
        let state_trace = std::mem::take(&mut state.span_trace);
        state.known.trace_id = state.known.trace_id.or(state_trace);
        Some(state)
    }

    fn hear(&mut self, brief: &Brief) {
        let (known, audit) = (&mut self.known, &brief.audit);
        keep_first(&mut known.name, audit.workflow.name.as_deref());
        keep_first(&mut known.source, audit.workflow.source.as_deref());
        keep_first(&mut known.trace_id, audit.external.trace_id.first().map(String::as_str));
        keep_first(&mut self.span_trace, brief.trace_id.first().map(String::as_str));
        keep_first(&mut known.client_id, audit.claims.client_id.as_deref());
        if known.user_id.is_none() && known.user_email.is_none() {
            known.user_id.clone_from(&brief.user.id);
            known.user_email.clone_from(&brief.user.email);
        }
        if audit.kind == "workflow_created" && self.metadata.is_none() {
            self.metadata = brief.attributes.metadata.clone().filter(Value::is_object);
        }
        // What ended stays ended: the first end counts, a later one is a finding of others.
        if self.status == Status::InProgress
            && let Some(end) = Status::of(brief)
        {
            self.status = end;
            self.ended = Some(brief.timestamp.clone());
        }
        self.hear_step(brief);
    }

    /// Some sources name a step in one entry and give its id in another: then the name tells that
    /// it is the same one. A step without an id is known by its name.
    fn hear_step(&mut self, brief: &Brief) {
        let (id, name) = (brief.audit.step.id.as_deref(), brief.audit.step.name.as_deref());
        let Some(called) = id.or(name) else { return };
        let is_it = |step: &StepState| match (&step.said_id, id) {
            (Some(own), Some(id)) => own == id,
            _ => name.is_some() && step.name.as_deref() == name,
        };
        if let Some(step) = self.steps.iter_mut().find(|step| is_it(step)) {
            if let (None, Some(id)) = (&step.said_id, id) {
                step.said_id = Some(id.to_owned());
                id.clone_into(&mut step.id);
            }
            return step.hear(brief);
        }
        let said_id = id.map(str::to_owned);
        let mut step = StepState { id: called.to_owned(), said_id, ..StepState::default() };
        step.hear(brief);
        self.steps.push(step);
    }

    /// Steps that were executed.
    pub(super) fn executed(&self) -> u64 {
        self.steps.iter().filter(|step| step.completed.is_some()).count() as u64
    }
}

impl StepState {
    fn hear(&mut self, brief: &Brief) {
        let audit = &brief.audit;
        keep_first(&mut self.name, audit.step.name.as_deref());
        let by_kind = matches!(audit.kind.as_str(), "llm_call" | "tool_call" | "interrupt");
        let kind = audit.step.kind.as_deref().or_else(|| by_kind.then_some(audit.kind.as_str()));
        keep_first(&mut self.kind, kind);
        if audit.kind == "approval" {
            let words = [&audit.approval.status, &audit.approval.resolution, &audit.decision.raw];
            if let Some(word) = words.into_iter().flatten().next() {
                self.approval_status = Some(word.clone());
                self.approved_by.clone_from(&audit.approval.resolved_by);
            }
        } else if let Some(raw) = &audit.decision.raw {
            self.decided = Some(Decided {
                outcome: Outcome::from_word(raw),
                raw: raw.clone(),
                reason: audit.decision.reason.clone(),
                at: brief.timestamp.clone(),
            });
        }
        if audit.kind == "workflow_step_completed" {
            self.completed.get_or_insert_with(|| brief.timestamp.clone());
            self.completion_keys.extend(CompletionKey::of(brief));
        }
    }
}

fn keep_first(slot: &mut Option<String>, said: Option<&str>) {
    if slot.is_none() {
        *slot = said.map(str::to_owned);
    }
}
