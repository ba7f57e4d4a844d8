//! What an attribute's name means: one look-up for each attribute of each record.
//!
//! ```text
//! name ─► its ends: first 8 bytes, last 8 bytes, length ─► table ─► compare the middle ─► rules
//!      └► patterns (by first byte, then prefix and rest) for names with a number inside
//! ```
//!
//! A record has twenty names, and between two of them pass kilobytes of other things. So the table
//! holds what nearly always decides beside its hash, and all texts stand behind one another: it
//! stays in the nearest memory of the processor, where texts of their own would not.

use super::table::{Glob, NameRules};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Rules of the names that share a prefix.
#[derive(Debug, Clone)]
struct Prefixed {
    prefix: Box<str>,
    /// The first bytes of the prefix, and which of them it has: nearly every name that does not
    /// begin with it is told apart here, without a call.
    start: (u128, u128),
    /// Those with something behind the `*`, or two of them.
    patterns: Vec<(Glob, u32)>,
    /// The rules of the bare `prefix*`, which answers last.
    open: Option<u32>,
}

impl Prefixed {
    fn new(prefix: &str) -> Self {
        let ones = vec![0xff; prefix.len()];
        let start = (first_bytes(prefix.as_bytes()), first_bytes(&ones));
        Self { prefix: prefix.into(), start, patterns: Vec::new(), open: None }
    }

    /// The rules of a name, of which `first` are the [`first_bytes`].
    fn get(&self, name: &str, first: u128) -> Option<u32> {
        if first & self.start.1 != self.start.0 {
            return None;
        }
        if self.prefix.len() > size_of::<u128>() && !name.starts_with(&*self.prefix) {
            return None;
        }
        if self.patterns.is_empty() {
            return self.open;
        }
        let rest = name.get(self.prefix.len()..)?;
        let found = self.patterns.iter().find(|(glob, _)| glob.matches_rest(rest));
        found.map(|(_, at)| *at).or(self.open)
    }
}

/// The first sixteen bytes as a number; zeros where there are none.
fn first_bytes(bytes: &[u8]) -> u128 {
    match bytes.first_chunk() {
        Some(first) => u128::from_le_bytes(*first),
        None => bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)),
    }
}

/// The place of patterns that begin with `*`: no name begins with this byte.
const NO_PREFIX: u8 = 0xff;

/// Bytes at each end of a name that stand in the table itself.
const END: usize = 8;

/// A name but for what lies between its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    first: u64,
    last: u64,
    length: usize,
}

impl Ends {
    fn of(name: &[u8]) -> Self {
        let length = name.len();
        if let (Some(first), Some(last)) = (name.first_chunk::<END>(), name.last_chunk::<END>()) {
            Self { first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last), length }
        } else {
            let first = name.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            Self { first, last: 0, length }
        }
    }
}

/// What lies between the ends of a name; empty for one of sixteen bytes or fewer.
fn middle(name: &[u8]) -> &[u8] {
    name.len().checked_sub(END).and_then(|end| name.get(END..end)).unwrap_or_default()
}

/// A known name.
#[derive(Debug, Clone, Copy)]
struct Known {
    ends: Ends,
    /// Where its text begins.
    text: usize,
    rules: u32,
}

/// Names that are known as a whole.
#[derive(Debug, Default)]
struct Exact {
    table: HashTable<Known>,
    text: String,
}

impl Exact {
    fn hash(ends: Ends) -> u64 {
        FixedState::default().hash_one(ends)
    }

    fn text(&self, known: &Known) -> &str {
        self.text.get(known.text..).and_then(|rest| rest.get(..known.ends.length)).unwrap_or("")
    }

    fn get(&self, name: &str) -> Option<u32> {
        let ends = Ends::of(name.as_bytes());
        let is_it = |known: &Known| {
            known.ends == ends
                && (ends.length <= 2 * END
                    || middle(self.text(known).as_bytes()) == middle(name.as_bytes()))
        };
        self.table.find(Self::hash(ends), is_it).map(|known| known.rules)
    }

    fn insert(&mut self, name: &str, rules: u32) {
        let ends = Ends::of(name.as_bytes());
        let known = Known { ends, text: self.text.len(), rules };
        self.text.push_str(name);
        self.table.insert_unique(Self::hash(ends), known, |known| Self::hash(known.ends));
    }
}

/// What every name of an attribute means.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: Exact,
    /// By the first byte of the prefix, 256 places.
    prefixed: Vec<Vec<Prefixed>>,
    rules: Vec<NameRules>,
}

impl Names {
    /// The rules of a name.
    pub(super) fn get(&self, name: &str) -> Option<&NameRules> {
        let at = match self.exact.get(name) {
            Some(at) => at,
            None => self.pattern(name)?,
        };
        self.rules.get(at as usize)
    }

    fn pattern(&self, name: &str) -> Option<u32> {
        let first = first_bytes(name.as_bytes());
        let of_first = |byte: u8| {
            let mut group = self.prefixed.get(usize::from(byte))?.iter();
            group.find_map(|prefixed| prefixed.get(name, first))
        };
        of_first(*name.as_bytes().first()?).or_else(|| of_first(NO_PREFIX))
    }

    /// The rules at a name or pattern, made if they are not there.
    pub(super) fn at(&mut self, name: &str) -> &mut NameRules {
        let next = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        let at = if name.contains('*') {
            self.pattern_at(name, next)
        } else {
            self.exact.get(name).unwrap_or_else(|| {
                self.exact.insert(name, next);
                next
            })
        };
        if at == next {
            self.rules.push(NameRules::default());
        }
        #[allow(clippy::indexing_slicing, reason = "found or just pushed")]
        &mut self.rules[at as usize]
    }

    fn pattern_at(&mut self, pattern: &str, next: u32) -> u32 {
        if self.prefixed.is_empty() {
            self.prefixed.resize_with(256, Vec::new);
        }
        let glob = Glob::new(pattern);
        let first = usize::from(glob.prefix().as_bytes().first().copied().unwrap_or(NO_PREFIX));
        let Some(group) = self.prefixed.get_mut(first) else { return next };
        let place = group.iter().position(|there| *there.prefix == *glob.prefix());
        let place = place.unwrap_or_else(|| {
            let prefixed = Prefixed::new(glob.prefix());
            // Longer prefixes first: the more exact one answers.
            let at = group.partition_point(|there| there.prefix.len() >= prefixed.prefix.len());
            group.insert(at, prefixed);
            at
        });
        let Some(prefixed) = group.get_mut(place) else { return next };
        if glob.ends_open() {
            return *prefixed.open.get_or_insert(next);
        }
        if let Some((_, at)) = prefixed.patterns.iter().find(|(there, _)| there.text() == pattern) {
            return *at;
        }
        prefixed.patterns.push((glob, next));
        next
    }

    /// Every exact name, with its rules.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&str, u32)> {
        self.exact.table.iter().map(|known| (self.exact.text(known), known.rules))
    }

    /// The rules at a position that [`Names::exact`] gave.
    pub(super) fn rules_mut(&mut self, at: u32) -> Option<&mut NameRules> {
        self.rules.get_mut(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn an_exact_name_answers_before_a_pattern_and_a_longer_prefix_before_a_shorter() {
        let mut names = Names::default();
        names.at("a.*").detects = 1;
        names.at("a.b.*").detects = 2;
        names.at("a.b.c").detects = 4;
        names.at("*.x").detects = 8;
        let families = |name: &str| names.get(name).map(|rules| rules.detects);
        assert_eq!(families("a.x"), Some(1));
        assert_eq!(families("a.b.x"), Some(2));
        assert_eq!(families("a.b.c"), Some(4));
        assert_eq!(families("b"), None);
        assert_eq!(families("b.x"), Some(8), "a star in front answers last");
    }

    proptest! {
        #[test]
        fn every_name_has_its_own_rules_and_no_other_name_has_any(
            // Few letters and many lengths: names that differ in the middle, or at one end only.
            known in prop::collection::hash_set("[ab]{0,3}(aaaaaaaa|bbbbbbbb)?[ab]{0,4}(aaaaaaaa|bbbbbbbb)?[ab]{0,2}", 1..40),
            asked in prop::collection::vec("[ab]{0,3}(aaaaaaaa|bbbbbbbb)?[ab]{0,4}(aaaaaaaa|bbbbbbbb)?[ab]{0,2}", 1..40),
        ) {
            let mut names = Names::default();
            let mut oracle = HashMap::new();
            for (number, name) in (1..).zip(&known) {
                names.at(name).detects = number;
                oracle.insert(name.clone(), number);
            }
            for name in known.iter().chain(&asked) {
                let found = names.get(name).map(|rules| rules.detects);
                prop_assert_eq!(found, oracle.get(name).copied(), "{}", name);
            }
            prop_assert_eq!(names.exact().count(), known.len());
        }
    }
}
