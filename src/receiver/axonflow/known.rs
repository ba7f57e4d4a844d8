//! Workflows that were looked up lately, so that a report about one needs no question to the store.

use super::{Known, MAX_ID_CHARS};
use crate::access::Tenant;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Workflows that are remembered, of all tenants together: about a KiB each. One that is
/// forgotten is looked up again, so this costs time and never evidence.
pub const MAX_KNOWN_WORKFLOWS: usize = 4_096;

/// What is remembered of workflows. It holds only what does not change: whether one has ended is
/// looked up each time.
#[derive(Debug, Default)]
pub struct KnownWorkflows(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<(Tenant, String), Known>,
    /// The longest remembered first.
    order: VecDeque<(Tenant, String)>,
}

impl KnownWorkflows {
    /// What is remembered of a tenant's workflow.
    pub fn get(&self, tenant: &Tenant, id: &str) -> Option<Known> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.known.get(&(tenant.clone(), id.to_owned())).cloned()
    }

    /// Remembers a tenant's workflow, and forgets the one that was remembered first when there
    /// are [`MAX_KNOWN_WORKFLOWS`]. Returns whether it forgot one.
    ///
    /// What is too long for this API's own calls comes from elsewhere: such an id is not
    /// remembered, and of other texts [`MAX_ID_CHARS`] characters are.
    pub fn put(&self, tenant: &Tenant, mut known: Known) -> bool {
        if known.id.chars().nth(MAX_ID_CHARS).is_some() {
            return false;
        }
        let Known { id: _, name, source, trace_id, client_id, user_id, user_email } = &mut known;
        for text in [name, source, trace_id, client_id, user_id, user_email] {
            cut(text);
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), known.id.clone());
        if kept.known.insert(key.clone(), known).is_none() {
            kept.order.push_back(key);
        }
        if kept.order.len() > MAX_KNOWN_WORKFLOWS
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.known.remove(&oldest);
            return true;
        }
        false
    }
}

/// Takes what is too long off a text, and the memory that it had.
fn cut(text: &mut Option<String>) {
    if let Some(long) = text
        && long.chars().nth(MAX_ID_CHARS).is_some()
    {
        *long = long.chars().take(MAX_ID_CHARS).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_its_tenants_and_only_so_many_are_remembered() {
        let known = KnownWorkflows::default();
        let (one, other) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        let of = |id: String| Known { id, ..Known::default() };
        known.put(&one, of("first".into()));
        assert_eq!(known.get(&one, "first"), Some(of("first".into())));
        assert_eq!(known.get(&other, "first"), None);
        for number in 0..MAX_KNOWN_WORKFLOWS {
            known.put(&other, of(number.to_string()));
        }
        assert_eq!(known.get(&one, "first"), None);
        assert!(known.get(&other, "0").is_some());
    }

    #[test]
    fn what_is_remembered_is_short_whatever_spans_told() {
        let known = KnownWorkflows::default();
        let tenant = Tenant::default();
        let (long, name) = ("ü".repeat(256), Some("ü".repeat(100_000)));
        known.put(&tenant, Known { id: long.clone(), ..Known::default() });
        assert_eq!(known.get(&tenant, &long), None);
        known.put(&tenant, Known { id: "wf".into(), name, ..Known::default() });
        assert_eq!(known.get(&tenant, "wf").unwrap().name, Some("ü".repeat(255)));
    }
}
