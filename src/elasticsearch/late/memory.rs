//! The groups that are settled: all documents of ours that belong to one have its ids.
//!
//! What is not remembered is searched for again, so forgetting costs a search and nothing else.
//! Documents of other collectors are searched for in any case: they may have come meanwhile.

use crate::correlate::{Id, Key, KeyMaker, Member};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// Most ids that are remembered, of all groups together. An id costs about 200 bytes with its
/// spellings: 50 MB. That is the traces of an hour at 70 new ones a second.
pub const MAX_REMEMBERED_IDS: usize = 1 << 18;

/// A group that is settled.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its ids that join, one spelling each.
    pub(super) ids: Vec<Id<'static>>,
    /// Its trace ids in every spelling that its bodies have.
    pub(super) forms: BTreeSet<String>,
    /// Its entries that stopped or resumed a run: they are paired with those that come.
    pub(super) pausing: Vec<Member>,
    /// From the first to the last of its events, nanoseconds since 1970.
    pub(super) events_ns: Option<(u64, u64)>,
}

/// Settled groups, the least recently used one forgotten first.
#[derive(Debug)]
pub(super) struct Memory {
    keys: KeyMaker,
    by_key: HashMap<Key, u64>,
    groups: HashMap<u64, Kept>,
    /// Groups by when they were used last.
    order: BTreeMap<u64, u64>,
    clock: u64,
    ids: usize,
    max_ids: usize,
}

#[derive(Debug)]
struct Kept {
    group: Arc<Known>,
    keys: Vec<Key>,
    used: u64,
}

impl Memory {
    pub(super) fn new(max_ids: usize) -> Self {
        // The standard library's seed is random: nobody can make ids fall together.
        let half = |n: u8| RandomState::new().hash_one(n).to_le_bytes();
        let mut secret = [0; 16];
        secret.iter_mut().zip(half(0).into_iter().chain(half(1))).for_each(|(to, from)| *to = from);
        Self {
            keys: KeyMaker::new(secret),
            by_key: HashMap::new(),
            groups: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            ids: 0,
            max_ids,
        }
    }

    /// The keys under which an id is listed: two spellings of one have a key in common.
    pub(super) fn keys(&self, tenant: &str, id: &Id<'_>) -> Vec<Key> {
        self.keys.keys(tenant, id).collect()
    }

    /// The settled group of an id.
    pub(super) fn known(&mut self, tenant: &str, id: &Id<'_>) -> Option<Arc<Known>> {
        let number = self.keys.keys(tenant, id).find_map(|key| self.by_key.get(&key).copied())?;
        let kept = self.groups.get_mut(&number)?;
        if !kept.group.ids.iter().any(|known| known.is_same_as(id)) {
            return None;
        }
        self.clock = self.clock.saturating_add(1);
        self.order.remove(&kept.used);
        kept.used = self.clock;
        self.order.insert(kept.used, number);
        Some(kept.group.clone())
    }

    /// Remembers a group in the place of those that it is made of.
    pub(super) fn settle(&mut self, tenant: &str, group: Known) {
        let mut keys: Vec<Key> =
            group.ids.iter().flat_map(|id| self.keys.keys(tenant, id)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            if let Some(before) = self.by_key.get(key).copied() {
                self.forget(before);
            }
        }
        self.clock = self.clock.saturating_add(1);
        let number = self.clock;
        self.ids = self.ids.saturating_add(group.ids.len());
        self.by_key.extend(keys.iter().map(|key| (*key, number)));
        self.order.insert(number, number);
        self.groups.insert(number, Kept { group: Arc::new(group), keys, used: number });
        while self.ids > self.max_ids {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            self.forget(*oldest);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(kept) = self.groups.remove(&number) else { return };
        self.order.remove(&kept.used);
        self.ids = self.ids.saturating_sub(kept.group.ids.len());
        for key in kept.keys {
            if self.by_key.get(&key) == Some(&number) {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Namespace;

    fn id(text: &str) -> Id<'static> {
        Id::new(Namespace::Trace, text.to_owned())
    }

    fn group(ids: &[&str]) -> Known {
        Known { ids: ids.iter().map(|text| id(text)).collect(), ..Known::default() }
    }

    #[test]
    fn a_group_is_known_by_each_of_its_ids_in_any_spelling_and_to_its_tenant_only() {
        let mut memory = Memory::new(100);
        memory.settle("a", group(&["4bf92f3577b34da6a3ce929d0e0e4736", "x"]));
        assert!(memory.known("a", &id("x")).is_some());
        assert!(memory.known("a", &id("11803532876627986230")).is_some());
        assert!(memory.known("b", &id("x")).is_none());
        assert!(memory.known("a", &id("ffffffffffffffffa3ce929d0e0e4736")).is_none());
    }

    #[test]
    fn a_larger_group_takes_the_place_of_those_it_joins() {
        let mut memory = Memory::new(100);
        memory.settle("a", group(&["x"]));
        memory.settle("a", group(&["y"]));
        memory.settle("a", group(&["x", "y", "z"]));
        assert_eq!(memory.known("a", &id("x")).unwrap().ids.len(), 3);
        assert_eq!((memory.groups.len(), memory.ids, memory.order.len()), (1, 3, 1));
    }

    #[test]
    fn the_group_that_was_not_used_for_longest_is_forgotten_whole() {
        let mut memory = Memory::new(4);
        memory.settle("a", group(&["a1", "a2"]));
        memory.settle("a", group(&["b1", "b2"]));
        assert!(memory.known("a", &id("a1")).is_some());
        memory.settle("a", group(&["c1"]));
        assert!(memory.known("a", &id("b1")).is_none() && memory.known("a", &id("b2")).is_none());
        assert!(memory.known("a", &id("a2")).is_some());
        assert_eq!((memory.ids, memory.by_key.len()), (3, 3));
    }
}
