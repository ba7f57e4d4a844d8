//! What is different between the engines: names, as a table.

use super::Source;
use crate::span::{Attribute, Resource, Scope, Value};

/// How an engine writes its log.
#[derive(Debug)]
pub(super) struct Form {
    /// The word for it in paths.
    pub(super) name: &'static str,
    /// Stands in front of each member's name in the attributes.
    pub(super) prefix: &'static str,
    /// Name of the event.
    pub(super) event: &'static str,
    /// `service.name`; empty when the source is no program of its own.
    service: &'static str,
    /// Name of the scope.
    scope: &'static str,
    /// Members that say when it happened; the first that can be read.
    pub(super) times: &'static [&'static str],
    /// Members of an envelope that hold the records.
    pub(super) lists: &'static [&'static str],
    /// Members of an envelope that are true of each of its records.
    pub(super) around: &'static [&'static str],
    /// Where a W3C `traceparent` may stand, when there is no trace id.
    pub(super) traceparents: &'static [&'static [&'static str]],
    /// What a record is said to be that has none of some members.
    pub(super) absent: Option<Absent>,
}

/// A record without any of these members gets a member that says so: it is a statement, too.
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) members: &'static [&'static str],
    pub(super) name: &'static str,
}

/// OPA: "Decision Logs", section "Decision Log Service API". An event without a result and without
/// an error is of a rule that is not defined.
const OPA: Form = Form {
    name: "opa",
    prefix: "opa.",
    event: "opa.decision",
    service: "opa",
    scope: "",
    times: &["timestamp"],
    lists: &[],
    around: &[],
    traceparents: &[&["request_context", "http", "headers", "traceparent"]],
    absent: Some(Absent { members: &["result", "error"], name: "undefined" }),
};

/// Cerbos: `cerbos.audit.v1.DecisionLogEntry` in protobuf's JSON, as its file and Kafka backends
/// write it.
const CERBOS: Form = Form {
    name: "cerbos",
    prefix: "cerbos.",
    event: "cerbos.decision",
    service: "cerbos",
    scope: "",
    times: &["timestamp"],
    lists: &[],
    around: &[],
    traceparents: &[&["metadata", "traceparent"]],
    absent: None,
};

/// Cordum: what its API answers and its webhook posts.
const CORDUM: Form = Form {
    name: "cordum",
    prefix: "cordum.",
    event: "cordum",
    service: "cordum",
    scope: "",
    times: &["timestamp", "time", "resolved_at", "checked_at", "updated_at", "created_at"],
    lists: &["events", "items", "decisions", "approvals", "timeline", "jobs", "audit"],
    around: &["job_id", "run_id", "workflow_run_id", "workflow_id", "trace_id", "tenant"],
    traceparents: &[],
    absent: None,
};

/// Audit lines with the flat names of `config/mappings/audit_target.yaml`.
const ENTRIES: Form = Form {
    name: "entries",
    prefix: "",
    event: "audit",
    service: "",
    scope: "audit",
    times: &["timestamp", "@timestamp", "time"],
    lists: &["entries", "events", "items"],
    around: &["run_id", "workflow_id", "job_id", "trace_id", "tenant_id"],
    traceparents: &[&["traceparent"]],
    absent: None,
};

impl Source {
    pub(super) const fn form(self) -> &'static Form {
        match self {
            Self::Opa => &OPA,
            Self::Cerbos => &CERBOS,
            Self::Cordum => &CORDUM,
            Self::Entries => &ENTRIES,
        }
    }
}

impl Form {
    pub(super) fn resource(&self) -> Resource<'static> {
        let mut resource = Resource::default();
        if !self.service.is_empty() {
            let name = Attribute::new("service.name", Value::Text(self.service.into()));
            resource.attributes.push(name);
        }
        resource
    }

    pub(super) fn scope(&self) -> Scope<'static> {
        Scope { name: self.scope.into(), ..Scope::default() }
    }
}
