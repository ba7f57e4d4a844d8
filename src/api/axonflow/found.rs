//! Entries as these answers read them: what is needed of each, newest or oldest first.

use super::super::limits::QUERY_BUDGET;
use super::super::problem::Problem;
use super::super::service::Api;
use crate::access::Tenant;
use crate::store::query::Query;
use crate::store::{AuditStore, Cursor, Hit, QueryRequest};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Instant;

/// Entries that are read at once: each comes with its whole document, and few of it is kept.
const PAGE: usize = 100;

/// Documents that are read for one answer, bytes. Beyond it the answer says that it is not whole.
const MAX_READ_BYTES: usize = 32 * 1024 * 1024;

/// What was found of a question.
pub(super) struct Finding {
    /// In the order of their events, the oldest first.
    pub(super) entries: Vec<Found>,
    /// Whether these are all.
    pub(super) is_whole: bool,
}

/// An entry.
pub(super) struct Found {
    /// Time of the event, nanoseconds since 1970.
    pub(super) event_ns: u64,
    /// Its place in the ledger.
    pub(super) sequence: u64,
    /// What it says.
    pub(super) brief: Brief,
}

macro_rules! briefs {
    ($($(#[$of:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$of])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name { $($(#[$meta])* pub(super) $field: $type,)* })*
    };
}

briefs! {
    /// What is read of an entry's document; all else of it is passed over.
    Brief {
        #[serde(rename = "@timestamp")]
        timestamp: String,
        trace_id: Vec<String>,
        message: Option<String>,
        event: Event,
        audit: Audit,
        organization: Id,
        user: User,
        gen_ai: GenAi,
        error: Error,
        attributes: Attributes,
    }
    Event { id: String, outcome: Option<String>, reason: Option<String>, duration: Option<u64>, }
    Audit {
        kind: String,
        request_type: Option<String>,
        decision: Decision,
        policy: Policy,
        approval: Approval,
        workflow: Workflow,
        step: Step,
        external: External,
        claims: Claims,
    }
    Decision {
        id: Option<String>,
        outcome: Option<String>,
        raw: Option<String>,
        reason: Option<String>,
        latency_ms: Option<f64>,
    }
    Policy {
        id: Vec<String>,
        name: Option<String>,
        rule_id: Option<String>,
        evaluated: Option<Value>,
        matched: Option<Value>,
    }
    Approval {
        id: Option<String>,
        status: Option<String>,
        resolution: Option<String>,
        resolved_by: Option<String>,
        resolved_at: Option<String>,
    }
    Workflow {
        id: Option<String>,
        name: Option<String>,
        source: Option<String>,
        status: Option<String>,
        total_steps: Option<i64>,
    }
    Step {
        id: Option<String>,
        name: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    External { trace_id: Vec<String>, }
    Claims { client_id: Option<String>, }
    Id { id: Option<String>, }
    User { id: Option<String>, name: Option<String>, email: Option<String>, }
    GenAi { provider: Name, request: Model, response: Model, tool: Tool, usage: Usage, }
    Name { name: Option<String>, }
    Model { model: Option<String>, }
    Tool {
        name: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    Usage {
        #[serde(rename = "input_tokens")]
        input: Option<i64>,
        #[serde(rename = "output_tokens")]
        output: Option<i64>,
        #[serde(rename = "total_tokens")]
        total: Option<i64>,
    }
    Error { message: Option<String>, }
    /// Attributes that no field of an entry takes, as the calls of this API have them. Anybody
    /// may have written them: of whatever type they are, the entry is read.
    Attributes {
        #[serde(rename = "axonflow.request.metadata")]
        metadata: Option<Value>,
        #[serde(rename = "axonflow.request.idempotency_key")]
        idempotency_key: Option<Value>,
        #[serde(rename = "axonflow.idempotency_hash")]
        idempotency_hash: Option<Value>,
        #[serde(rename = "axonflow.request.duration_ms")]
        duration_ms: Option<Value>,
        #[serde(rename = "axonflow.request.latency_ms")]
        latency_ms: Option<Value>,
    }
}

/// The newest entries that answer a question, at most so many. A store that is behind the ledger
/// of this process is not asked alone: what was acknowledged a moment ago is among them.
pub(super) fn newest(
    api: &Api,
    tenant: &Tenant,
    query: &Query,
    most: usize,
) -> Result<Finding, Problem> {
    let started = Instant::now();
    let store: &dyn AuditStore = &*api.store;
    let mut finding = Finding { entries: Vec::new(), is_whole: true };
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let mut bytes = 0_usize;
    for store in std::iter::once(store).chain(store.followed()) {
        let mut cursor: Option<Cursor> = None;
        let mut left = most;
        while left > 0 && bytes < MAX_READ_BYTES {
            let page = store.query(&QueryRequest {
                limit: left.min(PAGE),
                cursor: cursor.take(),
                budget: QUERY_BUDGET.saturating_sub(started.elapsed()),
                ..QueryRequest::new(tenant.clone(), query.clone())
            })?;
            left = left.saturating_sub(page.hits.len());
            let read = page.hits.iter().map(|hit| hit.document.len());
            bytes = read.fold(bytes, usize::saturating_add);
            let new = page.hits.into_iter().filter(|hit| seen.insert(hit.id));
            finding.entries.extend(new.filter_map(found));
            cursor = page.next_cursor;
            if cursor.is_none() || page.timed_out {
                break;
            }
        }
        finding.is_whole &= cursor.is_none();
    }
    finding.entries.sort_by_key(|found| (found.event_ns, found.sequence));
    Ok(finding)
}

fn found(hit: Hit) -> Option<Found> {
    let Hit { sequence, event_ns, document, .. } = hit;
    let Ok(brief) = serde_json::from_slice(&document) else {
        // The parser's words would repeat what stands in it. What cannot be read here is shown by
        // /api/v1/entries, and `verify` looks at it.
        tracing::error!(sequence, "an entry cannot be read");
        return None;
    };
    Some(Found { event_ns, sequence, brief })
}

/// All of them.
pub(super) fn all(parts: impl IntoIterator<Item = Query>) -> Query {
    let mut parts: Vec<Query> = parts.into_iter().collect();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => Query::All,
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            Query::And(parts)
        }
    }
}

/// The field has a value.
pub(super) fn has(field: &str) -> Query {
    Query::Exists { field: field.to_owned() }
}

/// One of these values of a field, or of one of several fields.
pub(super) fn any(pairs: &[(&str, &str)]) -> Query {
    Query::Or(pairs.iter().map(|(field, value)| Query::term(field, value)).collect())
}
