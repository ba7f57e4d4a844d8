//! Sequence numbers as ranges: candidates come in blocks, and neighbours are read in one go.

use std::ops::Range;

/// Ranges of sequence numbers: in order, none of them empty, and no two that touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The ranges in which these are: any order, any overlap.
    pub(super) fn from_unsorted(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.into_iter().collect()
    }

    /// Appends a range that starts no earlier than the last one does.
    pub(super) fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    /// What is in both.
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        let mut both = Self::default();
        let mut rest = many.0.as_slice();
        for range in &few.0 {
            let at = rest.partition_point(|other| other.end <= range.start);
            rest = rest.get(at..).unwrap_or_default();
            for other in rest.iter().take_while(|other| other.start < range.end) {
                both.push(range.start.max(other.start)..range.end.min(other.end));
            }
        }
        both
    }

    /// What is in one of them at least.
    pub(super) fn union(self, other: Self) -> Self {
        if self.0.is_empty() {
            return other;
        }
        let mut all = self.0;
        all.extend(other.0);
        Self::from_unsorted(all)
    }

    /// How many sequence numbers there are.
    pub(super) fn len(&self) -> u64 {
        let lengths = self.0.iter().map(|range| range.end.saturating_sub(range.start));
        lengths.fold(0, u64::saturating_add)
    }

    /// Whether a sequence number is among them.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        let at = self.0.partition_point(|range| range.end <= sequence);
        self.0.get(at).is_some_and(|range| range.start <= sequence)
    }

    /// The ranges, in order.
    pub(super) fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }
}

impl FromIterator<Range<u64>> for Ranges {
    /// From ranges in the order of their starts.
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut all = Self::default();
        for range in ranges {
            all.push(range);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0..60_u64, 0..9_u64), 0..12)
            .prop_map(|drawn| drawn.into_iter().map(|(at, len)| at..at + len).collect())
    }

    fn set(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    fn check(ours: &Ranges, model: &BTreeSet<u64>) -> Result<(), TestCaseError> {
        prop_assert_eq!(&set(ours.as_slice()), model);
        prop_assert_eq!(ours.len(), model.len() as u64);
        prop_assert!(ours.as_slice().iter().all(|range| !range.is_empty()));
        prop_assert!(ours.as_slice().windows(2).all(|two| two[0].end < two[1].start));
        for sequence in 0..70 {
            prop_assert_eq!(ours.contains(sequence), model.contains(&sequence));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_numbers(a in ranges(), b in ranges()) {
            let (sets, ours) = ((set(&a), set(&b)), (a.clone(), b.clone()));
            let ours = (Ranges::from_unsorted(ours.0), Ranges::from_unsorted(ours.1));
            check(&ours.0, &sets.0)?;
            check(&ours.0.intersect(&ours.1), &sets.0.intersection(&sets.1).copied().collect())?;
            check(&ours.0.union(ours.1), &sets.0.union(&sets.1).copied().collect())?;
        }
    }
}
