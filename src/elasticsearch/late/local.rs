//! Groups as this collector alone knows them, for a key that may not read: of its own ledger.

use super::LateError;
use super::gather::Plan;
use super::memory::{Known, Memory};
use super::seed::{Seed, forms};
use crate::access::Tenant;
use crate::correlate::{Id, JoinRules, Namespace};
use crate::store::facets::Facets;
use crate::store::{AuditStore, TraceRequest};
use std::collections::BTreeSet;

/// The group of an entry, when it is one that was not seen like this before. Of a story with more
/// than a page of entries, the spellings of the ids are those of the first page.
pub(super) fn group_of(
    at: usize,
    seed: &Seed,
    store: Option<&dyn AuditStore>,
    memory: &mut Memory,
    rules: &JoinRules,
) -> Result<Option<Plan>, LateError> {
    let ids = seed.ids(rules);
    let mut group = Known {
        ids: ids.clone(),
        forms: seed.forms.iter().cloned().collect(),
        events_ns: Some((seed.member.event_ns, seed.member.event_ns)),
        ..Known::default()
    };
    let (mut is_new, mut least) = (false, seed.forms.len());
    for id in &ids {
        match memory.known(&seed.tenant, id) {
            Some(known) => {
                is_new |= !group.forms.is_subset(&known.forms);
                least = least.min(known.forms.len());
                add(&mut group, &known.ids, &known.forms, known.events_ns);
            }
            None => is_new = true,
        }
    }
    if !is_new {
        return Ok(None);
    }
    // The entries of a group that grew, or the new one, lack something.
    let mut differs = least != group.forms.len();
    let mut truncated = false;
    if let (Some(store), Some(first), Ok(tenant)) = (store, ids.first(), Tenant::new(&seed.tenant))
    {
        let told = store.trace(&TraceRequest::new(tenant, first.text.as_ref()))?;
        truncated = told.truncated;
        let each: Vec<BTreeSet<String>> = told
            .entries
            .iter()
            .map(|hit| {
                let own: BTreeSet<String> = forms(&hit.document, rules).into_iter().collect();
                let member = Facets::from_body(&hit.document).member(0, hit.id, hit.event_ns);
                let joining: Vec<Id<'static>> =
                    member.ids.iter().filter(|id| rules.joins(id)).map(Id::canonical).collect();
                add(&mut group, &joining, &own, Some((hit.event_ns, hit.event_ns)));
                own
            })
            .collect();
        let traces =
            told.trace_ids.iter().filter(|id| rules.joins(&Id::new(Namespace::Trace, id.as_str())));
        group.forms.extend(traces.cloned());
        differs |= each.iter().any(|own| own.len() != group.forms.len());
    }
    let trace = |id: &&Id<'_>| id.namespace == Namespace::Trace;
    Ok(Some(Plan {
        seeds: vec![at],
        trace_ids: group.ids.iter().filter(trace).map(|id| id.text.to_string()).collect(),
        search: differs,
        truncated,
        group,
        ..Plan::default()
    }))
}

fn add(
    group: &mut Known,
    ids: &[Id<'static>],
    forms: &BTreeSet<String>,
    events_ns: Option<(u64, u64)>,
) {
    for id in ids {
        if !group.ids.contains(id) {
            group.ids.push(id.clone());
        }
    }
    group.forms.extend(forms.iter().cloned());
    if let (Some((from, to)), Some((first, last))) = (events_ns, group.events_ns) {
        group.events_ns = Some((first.min(from), last.max(to)));
    }
}
