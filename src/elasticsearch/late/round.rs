//! One look at the cluster: what entries of ours joined, and who has to be told.

use super::LateError;
use super::documents::{Documents, Rights};
use super::gather::{Base, Gather, Plan};
use super::link::Joined;
use super::local;
use super::memory::Memory;
use super::seed::Seed;
use super::status::LateStatus;
use super::update::{Outcome, Update};
use crate::correlate::JoinRules;
use crate::elasticsearch::status::add;
use crate::store::AuditStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long what the cluster said of the key's rights is believed, when it was less than all.
const RIGHTS_FOR: Duration = Duration::from_mins(1);

/// What gives documents their ids.
pub(super) struct Correlator<D> {
    pub(super) documents: D,
    pub(super) memory: Memory,
    pub(super) rules: JoinRules,
    /// Name of our own ledger.
    pub(super) origin: String,
    pub(super) status: Arc<LateStatus>,
    /// What knows the groups of our own ledger.
    pub(super) local: Option<Arc<dyn AuditStore>>,
    pub(super) rights: Option<(Rights, Instant)>,
}

impl<D: Documents> Correlator<D> {
    /// Brings the groups of these entries up to date. Their documents are delivered, or are dead
    /// letters.
    ///
    /// # Errors
    /// [`LateError`]. The same entries are given again then; what is done already is found done.
    pub(super) fn round(&mut self, seeds: &[Seed]) -> Result<(), LateError> {
        if seeds.is_empty() {
            return Ok(());
        }
        let rights = self.rights()?;
        add(&self.status.rounds, 1);
        let mut by_tenant: BTreeMap<&str, Vec<Seed>> = BTreeMap::new();
        for seed in seeds {
            by_tenant.entry(&seed.tenant).or_default().push(seed.clone());
        }
        if rights.read {
            // IMPORTANT: after our own documents are delivered and before the search. Of two
            // collectors that each wrote a part, the one that looks last sees both.
            let classes: BTreeSet<u8> = seeds.iter().map(|seed| seed.class).collect();
            self.documents.refresh(&classes.into_iter().collect::<Vec<_>>())?;
        }
        for (tenant, seeds) in by_tenant {
            if rights.read {
                self.searched(tenant, &seeds, rights)?;
            } else {
                self.local(tenant, &seeds)?;
            }
        }
        Ok(())
    }

    fn rights(&mut self) -> Result<Rights, LateError> {
        let all = |rights: Rights| rights.read && rights.index;
        if let Some((rights, at)) = self.rights
            && (all(rights) || at.elapsed() < RIGHTS_FOR)
        {
            return Ok(rights);
        }
        let rights = self.documents.rights()?;
        let reduced = !all(rights);
        if reduced != self.status.reduced.swap(reduced, Ordering::Relaxed) {
            if reduced {
                tracing::warn!(
                    read = rights.read,
                    index = rights.index,
                    "the key may not read and change documents: entries that join others get link \
                     documents; give elasticsearch.correlator a key of the role spanledger-correlator"
                );
            } else {
                tracing::info!("the key may read and change documents");
            }
        }
        self.rights = Some((rights, Instant::now()));
        Ok(rights)
    }

    /// With what the cluster has of all collectors.
    fn searched(&mut self, tenant: &str, seeds: &[Seed], rights: Rights) -> Result<(), LateError> {
        let base = Base { tenant, origin: &self.origin, rules: &self.rules };
        let gather = Gather::new(base, &mut self.documents, &mut self.memory, seeds);
        let (plans, is_too_much) = gather.plans(seeds)?;
        if is_too_much {
            let (first, second) = seeds.split_at_checked(seeds.len() / 2).unwrap_or((seeds, &[]));
            self.searched(tenant, first, rights)?;
            return self.searched(tenant, second, rights);
        }
        let (settled, open): (Vec<Plan>, Vec<Plan>) = plans.into_iter().partition(Plan::is_settled);
        let status = Arc::clone(&self.status);
        let mut update = Update { tenant, documents: &mut self.documents, status: &status };
        let outcomes =
            if rights.index { update.apply(&open)? } else { update.count_lacking(&open)? };
        self.links(tenant, seeds, &open, &outcomes)?;
        for (plan, outcome) in open.iter().zip(&outcomes) {
            if outcome.written > 0 {
                self.note_convergence(seeds, plan);
            }
        }
        for plan in settled.into_iter().chain(open) {
            add(&self.status.groups_truncated, usize::from(plan.truncated));
            self.memory.settle(tenant, plan.group);
        }
        Ok(())
    }

    /// With what our own ledger has.
    fn local(&mut self, tenant: &str, seeds: &[Seed]) -> Result<(), LateError> {
        let store = self.local.clone();
        for (at, seed) in seeds.iter().enumerate() {
            let plan = local::group_of(at, seed, store.as_deref(), &mut self.memory, &self.rules)?;
            let Some(plan) = plan else { continue };
            if plan.search {
                let outcome = Outcome { unwritable: 1, ..Outcome::default() };
                self.links(tenant, seeds, std::slice::from_ref(&plan), &[outcome])?;
            }
            add(&self.status.groups_truncated, usize::from(plan.truncated));
            self.memory.settle(tenant, plan.group);
        }
        Ok(())
    }

    /// Creates a link for each group that has documents which cannot be changed.
    fn links(
        &mut self,
        tenant: &str,
        seeds: &[Seed],
        plans: &[Plan],
        outcomes: &[Outcome],
    ) -> Result<(), LateError> {
        /// Links of one request, some 20 KB each at most.
        const AT_ONCE: usize = 200;
        let links: Vec<_> = plans
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.unwritable > 0)
            .filter_map(|(plan, _)| {
                let last = plan.seeds.iter().filter_map(|at| seeds.get(*at));
                let joining = last.max_by_key(|seed| seed.sequence)?;
                let at_ns = joining.member.event_ns;
                let joined = Joined {
                    tenant,
                    class: joining.class,
                    at_ns,
                    forms: &plan.group.forms,
                    trace_ids: &plan.trace_ids,
                    events_ns: plan.group.events_ns.unwrap_or((at_ns, at_ns)),
                };
                Some(joined.link())
            })
            .collect();
        for links in links.chunks(AT_ONCE) {
            let created = self.documents.link(links)?;
            add(&self.status.links, created);
        }
        Ok(())
    }

    fn note_convergence(&self, seeds: &[Seed], plan: &Plan) {
        let received = plan.seeds.iter().filter_map(|at| seeds.get(*at)).map(|s| s.received_ns);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(received) = received.min() {
            self.status.convergence.note(now.saturating_sub(Duration::from_nanos(received)));
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
