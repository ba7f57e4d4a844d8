//! Sets of record numbers, held as ranges: what was seen, what is lost, what is missing.

use std::ops::RangeInclusive;

/// A set of numbers. Small where numbers come nearly in order, as ours do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Disjoint, in order, with at least one number between two of them.
    ranges: Vec<(u64, u64)>,
}

impl Numbers {
    /// Adds one number.
    pub(super) fn insert(&mut self, number: u64) {
        // Nearly always the next one.
        if let Some((_, last)) = self.ranges.last_mut()
            && last.checked_add(1) == Some(number)
        {
            *last = number;
            return;
        }
        self.insert_range(number, number);
    }

    /// Adds a range.
    pub(super) fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // All ranges that touch the new one become one with it.
        let before = self.ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
        let after = self.ranges.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = self.ranges.get(before..after.max(before)).unwrap_or_default();
        let first = touched.first().map_or(first, |(start, _)| first.min(*start));
        let last = touched.last().map_or(last, |(_, end)| last.max(*end));
        self.ranges.splice(before..after.max(before), [(first, last)]);
    }

    /// Adds all of another set.
    pub(super) fn extend(&mut self, other: &Self) {
        for (first, last) in other.ranges() {
            self.insert_range(first, last);
        }
    }

    /// The ranges in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether no number is in the set.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The highest number, 0 when there is none.
    pub(super) fn highest(&self) -> u64 {
        self.ranges.last().map_or(0, |(_, last)| *last)
    }

    /// The numbers of that range that are not in the set.
    pub(super) fn missing(&self, within: RangeInclusive<u64>) -> Self {
        let mut missing = Self::default();
        let mut next = *within.start();
        for (first, last) in self.ranges() {
            if first > *within.end() {
                break;
            }
            if let Some(end) = first.checked_sub(1).filter(|end| *end >= next) {
                missing.ranges.push((next, end));
            }
            let Some(after) = last.checked_add(1) else { return missing };
            next = next.max(after);
        }
        if next <= *within.end() {
            missing.ranges.push((next, *within.end()));
        }
        missing
    }

    /// The numbers that are not in the other set.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (first, last) in self.ranges() {
            left.ranges.extend(other.missing(first..=last).ranges);
        }
        left
    }

    /// Joins the nearest ranges until at most that many are left: the set then holds numbers that
    /// were not added.
    pub(super) fn blur(&mut self, most: usize) {
        while self.ranges.len() > most.max(1) {
            let pairs = self.ranges.iter().zip(self.ranges.iter().skip(1));
            let distances = pairs.map(|((_, end), (start, _))| start.saturating_sub(*end));
            let Some((at, _)) = distances.enumerate().min_by_key(|(_, distance)| *distance) else {
                return;
            };
            let (_, end) = self.ranges.remove(at.saturating_add(1));
            if let Some((_, last)) = self.ranges.get_mut(at) {
                *last = end;
            }
        }
    }

    /// As bytes of a frame: first and last of each range.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.ranges()
            .flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()])
            .flatten()
            .collect()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; bytes behind whole ranges are left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = Self::default();
        for pair in bytes.chunks_exact(16) {
            let first = super::frame::field(pair, 0).map(u64::from_le_bytes);
            let last = super::frame::field(pair, 8).map(u64::from_le_bytes);
            if let (Some(first), Some(last)) = (first, last) {
                numbers.insert_range(first, last);
            }
        }
        numbers
    }
}

impl FromIterator<(u64, u64)> for Numbers {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(ranges: T) -> Self {
        let mut numbers = Self::default();
        ranges.into_iter().for_each(|(first, last)| numbers.insert_range(first, last));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(numbers: &Numbers) -> BTreeSet<u64> {
        numbers.ranges().flat_map(|(first, last)| first..=last).collect()
    }

    proptest! {
        #[test]
        fn ranges_say_the_same_as_a_set(
            added in prop::collection::vec((0_u64..60, 0_u64..6), 0..40),
            others in prop::collection::vec(0_u64..70, 0..20),
        ) {
            let mut numbers = Numbers::default();
            let mut set = BTreeSet::new();
            for (first, more) in added {
                numbers.insert_range(first, first + more);
                set.extend(first..=first + more);
            }
            let mut other = Numbers::default();
            for number in others {
                other.insert(number);
            }
            prop_assert_eq!(&all(&numbers), &set);
            prop_assert_eq!(all(&numbers.missing(5..=50)), (5..=50).filter(|n| !set.contains(n)).collect());
            let without = &set - &all(&other);
            prop_assert_eq!(all(&numbers.without(&other)), without);
            prop_assert_eq!(&Numbers::from_bytes(&numbers.to_bytes()), &numbers);
            let apart = numbers.ranges.windows(2).all(|two| two[0].1 + 1 < two[1].0);
            prop_assert!(apart);
            numbers.blur(3);
            prop_assert!(numbers.len() <= 3 && all(&numbers).is_superset(&set));
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut numbers = Numbers::default();
        numbers.insert(u64::MAX);
        numbers.insert(0);
        assert_eq!(all(&numbers.missing(0..=3)), BTreeSet::from([1, 2, 3]));
        assert_eq!(numbers.missing(u64::MAX..=u64::MAX), Numbers::default());
    }
}
