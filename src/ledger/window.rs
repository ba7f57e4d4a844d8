//! The window of duplicates: which of the last entries has which id and source key.
//!
//! ```text
//! ring    │ id, source key, leaf hash │ × capacity     place of an entry: sequence mod capacity
//! ids     hash of an id  ─► place                      all that is found is checked in the ring
//! sources hash of a key  ─► place of the last entry with that key
//! staged  what the open group adds: in force for the group itself, in the ring when it counts
//! ```
//!
//! 64 bytes and two table places for each entry: 88 MB for the default of 2^20, whatever the ids.

use super::types::Hash;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// What identifies an entry in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: [u8; 16],
    /// Zeros when the entry has none.
    pub(super) source: [u8; 16],
    pub(super) leaf: Hash,
}

/// Stands for the absence of a source key.
pub(super) const NO_SOURCE: [u8; 16] = [0; 16];

/// What the window knows of an entry that is about to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there already.
    Before { sequence: u64, leaf: Hash },
    /// It is new; another entry may have its source key.
    New { conflict: bool },
}

/// The last entries, by id and source key.
pub(super) struct Window {
    capacity: usize,
    /// Sequence of the next entry, staged ones not counted.
    next: u64,
    ring: Vec<Key>,
    ids: HashTable<u32>,
    sources: HashTable<u32>,
    staged: Vec<Key>,
    staged_ids: HashTable<u32>,
    staged_sources: HashTable<u32>,
    /// Seeded at random: keys come from outside, and must not be made to collide.
    hasher: RandomState,
}

impl Window {
    /// A window of that many entries (1 to 2^31), the next of which has the sequence `next`.
    pub(super) fn new(capacity: usize, next: u64) -> Self {
        Self {
            capacity: capacity.clamp(1, 1 << 31),
            next,
            ring: Vec::new(),
            ids: HashTable::new(),
            sources: HashTable::new(),
            staged: Vec::new(),
            staged_ids: HashTable::new(),
            staged_sources: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        let keys = self.ring.capacity().saturating_add(self.staged.capacity());
        let tables = [&self.ids, &self.sources, &self.staged_ids, &self.staged_sources];
        let tables = tables.iter().map(|table| table.allocation_size());
        tables.fold(keys.saturating_mul(size_of::<Key>()), usize::saturating_add)
    }

    /// Number of entries that it knows.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Looks an entry up that would be appended now.
    pub(super) fn look(&self, id: &[u8; 16], source: &[u8; 16]) -> Seen {
        let staged = self.staged.len() as u64;
        let sequence = self.next.saturating_add(staged);
        let oldest = sequence.saturating_sub(self.capacity as u64);
        let original = self.find_id(id).filter(|(at, _)| *at >= oldest);
        if let Some((sequence, leaf)) = original {
            return Seen::Before { sequence, leaf };
        }
        let other = *source != NO_SOURCE && self.find_source(source).is_some_and(|at| at >= oldest);
        Seen::New { conflict: other }
    }

    fn find_id(&self, id: &[u8; 16]) -> Option<(u64, Hash)> {
        let hash = self.hasher.hash_one(id);
        let same = |keys: &[Key], place: u32| keys.get(place as usize).is_some_and(|k| k.id == *id);
        if let Some(place) = self.staged_ids.find(hash, |place| same(&self.staged, *place)) {
            let key = self.staged.get(*place as usize)?;
            return Some((self.next.saturating_add(u64::from(*place)), key.leaf));
        }
        let place = *self.ids.find(hash, |place| same(&self.ring, *place))?;
        Some((self.sequence_at(place), self.ring.get(place as usize)?.leaf))
    }

    fn find_source(&self, source: &[u8; 16]) -> Option<u64> {
        let hash = self.hasher.hash_one(source);
        let same = |keys: &[Key], place: u32| {
            keys.get(place as usize).is_some_and(|k| k.source == *source)
        };
        if let Some(place) = self.staged_sources.find(hash, |place| same(&self.staged, *place)) {
            return Some(self.next.saturating_add(u64::from(*place)));
        }
        let place = self.sources.find(hash, |place| same(&self.ring, *place))?;
        Some(self.sequence_at(*place))
    }

    /// Sequence of the entry at that place of the ring: the newest with that remainder.
    fn sequence_at(&self, place: u32) -> u64 {
        let capacity = self.capacity as u64;
        let newest = self.next.saturating_sub(1);
        let newest_place = newest.checked_rem(capacity).unwrap_or(0);
        let age = newest_place.saturating_add(capacity).saturating_sub(u64::from(place));
        newest.saturating_sub(age.checked_rem(capacity).unwrap_or(0))
    }

    /// Adds an entry of the open group. [`Window::look`] has found it new.
    pub(super) fn stage(&mut self, key: Key) {
        let place = u32::try_from(self.staged.len()).unwrap_or(u32::MAX);
        self.staged.push(key);
        let (staged, hasher) = (&self.staged, &self.hasher);
        let at = |place: &u32| staged.get(*place as usize);
        insert(&mut self.staged_ids, hasher, &key.id, place, |p| at(p).map(|k| k.id));
        if key.source != NO_SOURCE {
            insert(&mut self.staged_sources, hasher, &key.source, place, |p| {
                at(p).map(|k| k.source)
            });
        }
    }

    /// The open group counts: its entries take the place of the oldest.
    pub(super) fn commit(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        for key in &staged {
            self.push(*key);
        }
        self.staged = staged;
        self.discard();
    }

    /// The open group failed: its entries were never there.
    pub(super) fn discard(&mut self) {
        self.staged.clear();
        self.staged_ids.clear();
        self.staged_sources.clear();
    }

    /// Adds an entry that counts, the next in order.
    pub(super) fn push(&mut self, key: Key) {
        if self.ring.is_empty() {
            self.reserve();
        }
        let place = self.next.checked_rem(self.capacity as u64).unwrap_or(0);
        let place = u32::try_from(place).unwrap_or(0);
        self.evict(place);
        match self.ring.get_mut(place as usize) {
            Some(slot) => *slot = key,
            // The ring is filled from wherever the log stands, so places may lie before.
            None => self.ring.resize(place as usize, VACANT),
        }
        if self.ring.len() == place as usize {
            self.ring.push(key);
        }
        let (ring, hasher) = (&self.ring, &self.hasher);
        let at = |place: &u32| ring.get(*place as usize);
        insert(&mut self.ids, hasher, &key.id, place, |p| at(p).map(|k| k.id));
        if key.source != NO_SOURCE {
            insert(&mut self.sources, hasher, &key.source, place, |p| at(p).map(|k| k.source));
        }
        self.next = self.next.saturating_add(1);
    }

    /// Takes all the memory at once that a full window needs; pages are used as it fills. Tables
    /// that grew with it would stop the writer for longer and longer to move everything.
    fn reserve(&mut self) {
        self.ring.reserve_exact(self.capacity);
        // Both are empty: there is nothing to hash anew.
        self.ids.reserve(self.capacity, |_| 0);
        self.sources.reserve(self.capacity, |_| 0);
    }

    fn evict(&mut self, place: u32) {
        let Some(old) = self.ring.get(place as usize).copied().filter(|key| *key != VACANT) else {
            return;
        };
        for (table, key) in [(&mut self.ids, &old.id), (&mut self.sources, &old.source)] {
            let hash = self.hasher.hash_one(key);
            if let Ok(found) = table.find_entry(hash, |p| *p == place) {
                found.remove();
            }
        }
    }
}

/// A place of the ring that no entry has had yet.
const VACANT: Key = Key { id: [0; 16], source: NO_SOURCE, leaf: [0; 32] };

/// Lets a key lead to a place, and no longer to the one before.
fn insert(
    table: &mut HashTable<u32>,
    hasher: &RandomState,
    key: &[u8; 16],
    place: u32,
    key_at: impl Fn(&u32) -> Option<[u8; 16]>,
) {
    let hash = hasher.hash_one(key);
    if let Some(found) = table.find_mut(hash, |p| key_at(p).as_ref() == Some(key)) {
        *found = place;
        return;
    }
    table.insert_unique(hash, place, |p| hasher.hash_one(key_at(p).unwrap_or_default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(u8, u8),
        Commit,
        Discard,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0_u8..24, 0_u8..6).prop_map(|(id, source)| Step::Append(id, source)),
            2 => Just(Step::Commit),
            1 => Just(Step::Discard),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// A list of everything that was appended, searched from the end: what the window means.
    #[derive(Default)]
    struct Model {
        all: Vec<(u8, u8)>,
        committed: usize,
    }

    impl Model {
        fn look(&self, capacity: usize, id: u8, source: u8) -> Seen {
            let oldest = self.all.len().saturating_sub(capacity);
            let window = self.all.iter().enumerate().skip(oldest);
            if let Some((at, _)) = window.clone().rfind(|(_, entry)| entry.0 == id) {
                return Seen::Before { sequence: at as u64, leaf: leaf(at) };
            }
            let conflict = source != 0 && window.clone().any(|(_, entry)| entry.1 == source);
            Seen::New { conflict }
        }
    }

    fn leaf(sequence: usize) -> Hash {
        [u8::try_from(sequence % 255).unwrap() + 1; 32]
    }

    proptest! {
        #[test]
        fn it_finds_exactly_what_a_list_of_the_last_entries_has(
            capacity in 1_usize..20,
            steps in steps(),
        ) {
            let mut window = Window::new(capacity, 0);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Append(id, source) => {
                        let seen = window.look(&[id; 16], &[source; 16]);
                        prop_assert_eq!(seen, model.look(capacity, id, source));
                        if let Seen::New { .. } = seen {
                            let leaf = leaf(model.all.len());
                            window.stage(Key { id: [id; 16], source: [source; 16], leaf });
                            model.all.push((id, source));
                        }
                    }
                    Step::Commit => {
                        window.commit();
                        model.committed = model.all.len();
                    }
                    Step::Discard => {
                        window.discard();
                        model.all.truncate(model.committed);
                    }
                }
            }
            prop_assert!(window.len() <= capacity);
        }

        #[test]
        fn a_window_filled_from_the_tail_of_a_log_is_the_one_that_was_there(
            capacity in 1_usize..20,
            total in 0_usize..60,
            probe in 0_u8..60,
        ) {
            let key = |n: usize| {
                let id = u8::try_from(n).unwrap() + 1;
                Key { id: [id; 16], source: [id % 7; 16], leaf: leaf(n) }
            };
            let mut whole = Window::new(capacity, 0);
            (0..total).for_each(|n| whole.push(key(n)));
            let start = total.saturating_sub(capacity + 3);
            let mut again = Window::new(capacity, start as u64);
            (start..total).for_each(|n| again.push(key(n)));
            let (id, source) = ([probe; 16], [probe % 7; 16]);
            prop_assert_eq!(whole.look(&id, &source), again.look(&id, &source));
        }
    }

    #[test]
    fn a_full_window_of_the_default_size_takes_less_than_100_megabytes() {
        let capacity = 1 << 20;
        let mut window = Window::new(capacity, 0);
        // Over the brim, so that the tables have seen removals too.
        for n in 0..(1_u64 << 20) + 1000 {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            window.push(Key { id, source: id, leaf: [0; 32] });
        }
        assert_eq!(window.len(), capacity);
        assert!(window.memory() < 100_000_000, "{}", window.memory());
    }
}
