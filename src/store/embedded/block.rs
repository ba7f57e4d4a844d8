//! The tags of a block of entries, each once: they become one document of the dictionary.
//!
//! Nearly every tag and word of an entry stands on the entries beside it too. So the first thing
//! that is done with one is to look whether the block has it.

use super::dictionary::TagDocument;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher as _, Hasher as _};

/// Places of a set in the beginning, and most that it keeps for the next block: what a text of a
/// book needs is given back after it. Powers of two.
const FIRST_PLACES: usize = 1 << 11;
const KEPT_PLACES: usize = 1 << 15;

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Sequence of the first entry.
    pub(super) first: u64,
    /// Sequence after the last entry that is in it.
    pub(super) end: u64,
    /// Times of the events, nanoseconds since 1970.
    times: Option<(u64, u64)>,
    tags: Vec<u8>,
    /// Hashes of the tags.
    seen: Hashes,
    /// Memory that is used again for each entry.
    pub(super) buffer: String,
}

/// The tenant of an entry, as tags begin with it.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) prefix: [u8; 4],
    hashes: FixedState,
}

impl Scope {
    /// `seed` is a secret of the index and the tenant: nobody who chooses words can make two of
    /// them look like one.
    pub(super) fn new(prefix: [u8; 4], seed: u64) -> Self {
        Self { prefix, hashes: FixedState::with_seed(seed) }
    }

    /// A number that stands for a tag.
    pub(super) fn hash(&self, code: u8, value: &[u8]) -> u64 {
        // An odd number with its bits spread: the golden ratio.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut hasher = self.hashes.build_hasher();
        hasher.write(value);
        hasher.finish() ^ u64::from(code).wrapping_mul(SPREAD)
    }
}

impl Block {
    /// Begins an empty block.
    pub(super) fn begin(&mut self, first: u64) {
        (self.first, self.end, self.times) = (first, first, None);
        self.tags.clear();
        self.seen.clear();
    }

    /// Notes that all tags of the next entry are in the block.
    pub(super) fn note_entry(&mut self, event_ns: u64) {
        let (earliest, latest) = self.times.unwrap_or((event_ns, event_ns));
        self.times = Some((earliest.min(event_ns), latest.max(event_ns)));
        self.end = self.end.saturating_add(1);
    }

    /// Whether the block has a tag, or another spelling of it.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.seen.has(hash)
    }

    /// Notes that the block has a tag; whether it is new.
    pub(super) fn note(&mut self, hash: u64) -> bool {
        self.seen.insert(hash)
    }

    /// Adds a tag, unless the block has it.
    pub(super) fn add(&mut self, scope: &Scope, code: u8, value: &[u8]) {
        if self.note(scope.hash(code, value)) {
            self.push(scope, code, value);
        }
    }

    /// Adds a tag.
    pub(super) fn push(&mut self, scope: &Scope, code: u8, value: &[u8]) {
        const HEAD: usize = 5;
        let Ok(length) = u8::try_from(value.len().saturating_add(HEAD)) else { return };
        self.tags.push(length);
        self.tags.extend_from_slice(&scope.prefix);
        self.tags.push(code);
        self.tags.extend_from_slice(value);
    }

    /// The full block as a document, and begins the next one.
    pub(super) fn take(&mut self) -> TagDocument {
        let length = self.end.saturating_sub(self.first);
        let (earliest, latest) = self.times.unwrap_or_default();
        // The next block has about as many tags.
        let room = Vec::with_capacity(self.tags.len());
        let document = TagDocument {
            number: self.first.checked_div(length).unwrap_or(0),
            earliest,
            latest,
            tags: std::mem::replace(&mut self.tags, room),
        };
        self.begin(self.end);
        document
    }
}

/// A set of hashes: each is looked for from the place that its low bits say, onwards. It does less
/// than `HashSet` and is asked for every word of every entry.
#[derive(Debug, Default)]
struct Hashes {
    /// Zero is a free place. A power of two of them, or none, and never full.
    places: Vec<u64>,
    count: usize,
}

impl Hashes {
    fn clear(&mut self) {
        if self.places.len() > KEPT_PLACES {
            self.places = Vec::new();
        }
        self.places.fill(0);
        self.count = 0;
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        let hash = hash.max(1);
        self.places.get(self.find(hash)) == Some(&hash)
    }

    /// Puts a hash in; whether it is new.
    fn insert(&mut self, hash: u64) -> bool {
        let hash = hash.max(1);
        // At most half is taken, so that a look ends soon.
        if self.count.saturating_mul(2) >= self.places.len() {
            self.grow();
        }
        let at = self.find(hash);
        match self.places.get_mut(at) {
            Some(place) if *place == 0 => {
                *place = hash;
                self.count = self.count.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Where a hash is, or would be.
    #[inline]
    fn find(&self, hash: u64) -> usize {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask;
        while let Some(place) = self.places.get(at)
            && *place != 0
            && *place != hash
        {
            at = at.wrapping_add(1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let length = self.places.len().saturating_mul(2).max(FIRST_PLACES);
        let old = std::mem::replace(&mut self.places, vec![0; length]);
        for hash in old.into_iter().filter(|hash| *hash != 0) {
            let at = self.find(hash);
            if let Some(place) = self.places.get_mut(at) {
                *place = hash;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_set_of_hashes_is_a_set(
            rounds in prop::collection::vec(prop::collection::vec(0..4_000_u64, 0..5_000), 1..4),
            spread in prop_oneof![Just(1_u64), Just(3), Just(0x9E37_79B9_7F4A_7C15)],
        ) {
            let mut ours = Hashes::default();
            for round in rounds {
                let mut model = HashSet::new();
                ours.clear();
                for n in round {
                    // Zero and one are one hash here.
                    let hash = (n + 1).wrapping_mul(spread);
                    prop_assert_eq!(ours.has(hash), model.contains(&hash));
                    prop_assert_eq!(ours.insert(hash), model.insert(hash));
                    prop_assert!(ours.has(hash));
                }
                prop_assert_eq!(ours.count, model.len());
            }
        }
    }
}
