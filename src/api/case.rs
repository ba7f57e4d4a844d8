//! The five queries of an audit, joined: state, decisions, approvals, timeline, changes of policy.

use super::jobs::{Job, state};
use super::policy_audit::{PolicyChange, change};
use super::problem::Problem;
use super::runs::{TimelineItem, item};
use super::service::Api;
use super::told::{Studied, Told, is, records, request, tell};
use crate::access::Tenant;
use crate::correlate::Namespace;
use crate::store::Order;
use crate::store::query::Query;
use crate::story::{Action, Approval, DecisionRecord, Finding, MAX_STUDIED, Record, Usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Most changes of policy in one answer, and most snapshots whose changes are looked for.
const MAX_CHANGES: usize = 100;

/// Everything about a job or a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Case {
    /// The id that was asked for.
    pub id: String,
    /// Whose evidence it is.
    pub tenant: String,
    /// Every trace id that leads to it.
    pub trace_ids: Vec<String>,
    /// The job; of a run the last one that it names.
    pub job: Option<Job>,
    /// Decisions and answers, by time.
    pub decisions: Vec<DecisionRecord>,
    /// Who was asked and who answered, pending and resolved.
    pub approvals: Vec<Approval>,
    /// What happened, by time.
    pub timeline: Vec<TimelineItem>,
    /// Publications and rollbacks that made or ended a snapshot under which something was decided, the
    /// first 100.
    pub policy_changes: Vec<PolicyChange>,
    /// Whether there are more than these, or more than 100 snapshots, of which the others were not
    /// looked for.
    pub more_policy_changes: bool,
    /// What was done or tried, each with its decision, approval and outcome.
    pub actions: Vec<Action>,
    /// What does not fit together, the most severe first.
    pub findings: Vec<Finding>,
    /// Findings beyond the bound that are only counted.
    pub more_findings: usize,
    /// Tokens by model, each call counted once.
    pub usage: Vec<Usage>,
    /// Over what all this was made.
    pub studied: Studied,
}

/// Everything that belongs to an id of one of these kinds; `None` when no entry carries it.
pub(super) fn case(
    api: &Api,
    tenant: &Tenant,
    id: &str,
    namespaces: &'static [Namespace],
    job: Option<Job>,
) -> Result<Option<Case>, Problem> {
    let Told { story, study, studied } =
        tell(api, tenant, (id, namespaces), Order::Story, MAX_STUDIED, None)?;
    if story.total == 0 {
        return Ok(None);
    }
    let records = records(&story.entries);
    let job = match job {
        Some(job) => Some(job),
        None => match records.iter().rev().find_map(|record| record.doc.audit.job.id.clone()) {
            Some(job) => state(api, tenant, &job)?,
            None => None,
        },
    };
    let (policy_changes, more_policy_changes) = policy_changes(api, tenant, &records)?;
    Ok(Some(Case {
        id: id.to_owned(),
        tenant: tenant.name().to_owned(),
        trace_ids: story.trace_ids,
        job,
        decisions: records.iter().filter(|r| is_decision(r)).map(DecisionRecord::of).collect(),
        approvals: study.approvals,
        timeline: records.iter().map(item).collect(),
        policy_changes,
        more_policy_changes,
        actions: study.actions,
        findings: study.findings,
        more_findings: study.more_findings,
        usage: study.usage,
        studied,
    }))
}

fn is_decision(record: &Record) -> bool {
    let audit = &record.doc.audit;
    let said = audit.decision.outcome.is_some() || audit.decision.raw.is_some();
    said || matches!(audit.kind.as_str(), "decision" | "approval" | "workflow_step_gate")
}

/// What made or ended one of the snapshots that these records name, and whether there is more.
fn policy_changes(
    api: &Api,
    tenant: &Tenant,
    records: &[Record],
) -> Result<(Vec<PolicyChange>, bool), Problem> {
    let given = records.iter().filter_map(|record| record.doc.audit.policy.snapshot.as_deref());
    let mut snapshots: BTreeSet<&str> = given.collect();
    if snapshots.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut more = snapshots.len() > MAX_CHANGES;
    snapshots = snapshots.into_iter().take(MAX_CHANGES).collect();
    let of = |snapshot: &&str| {
        ["audit.policy.snapshot_after", "audit.policy.snapshot_before"]
            .map(|path| is(path, snapshot))
    };
    let any = Query::Or(snapshots.iter().flat_map(of).collect());
    let query = Query::And(vec![is("kind", "policy_change"), any]);
    let page = api.store.query(&request(tenant, query, Order::Ledger, MAX_CHANGES))?;
    more |= page.next_cursor.is_some();
    let found = super::told::records(&page.hits);
    // Words next to each other find more than what is equal.
    let exact = found.iter().filter(|record| {
        let policy = &record.doc.audit.policy;
        let names = [&policy.snapshot_after, &policy.snapshot_before];
        names.into_iter().flatten().any(|name| snapshots.contains(name.as_str()))
    });
    Ok((exact.map(change).collect(), more))
}
