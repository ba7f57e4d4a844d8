//! The order of a story: event time, then ancestry, then id.

use super::Member;
use std::collections::HashMap;

/// Sorts the entries of a story by event time; of those at one moment a span stands before its
/// descendants, and the entry's id decides the rest. Nothing in it depends on arrival.
pub fn story_order(members: &mut [Member]) {
    members.sort_unstable_by_key(|member| (member.event_ns, member.entry));
    for moment in members.chunk_by_mut(|a, b| a.event_ns == b.event_ns) {
        if moment.len() > 1 {
            order_moment(moment);
        }
    }
}

/// Sorts entries of one moment by how many of their ancestors happened at the same moment.
fn order_moment(moment: &mut [Member]) {
    let parents: HashMap<u64, Option<u64>> =
        moment.iter().filter_map(|m| Some((m.span?, m.parent))).collect();
    let depth = |member: &Member| {
        let mut next = member.parent;
        // A chain cannot be longer than the moment has spans: a cycle ends here too.
        let mut depth = 0_usize;
        while let Some(parent) = next.and_then(|span| parents.get(&span)) {
            depth = depth.saturating_add(1);
            if depth > parents.len() {
                break;
            }
            next = *parent;
        }
        depth
    };
    moment.sort_by_cached_key(|member| (depth(member), member.entry));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(event_ns: u64, entry: u8, span: Option<u64>, parent: Option<u64>) -> Member {
        Member { event_ns, entry: [entry; 16], span, parent, ..Member::default() }
    }

    fn entries(members: &[Member]) -> Vec<u8> {
        members.iter().map(|m| m.entry[0]).collect()
    }

    #[test]
    fn at_one_moment_a_span_stands_before_its_descendants() {
        let mut members = vec![
            member(5, 1, Some(30), Some(20)),
            member(5, 2, Some(20), Some(10)),
            member(5, 3, Some(10), None),
            member(5, 0, None, Some(30)),
            member(4, 9, Some(40), Some(30)),
        ];
        story_order(&mut members);
        assert_eq!(entries(&members), [9, 3, 2, 1, 0], "and an earlier one before all");
    }

    #[test]
    fn spans_that_claim_to_be_their_own_ancestors_are_ordered_all_the_same() {
        let mut members = vec![member(1, 2, Some(1), Some(2)), member(1, 1, Some(2), Some(1))];
        story_order(&mut members);
        assert_eq!(entries(&members), [1, 2]);
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            (mut a, mut b) in prop::collection::vec((0..4_u64, 0..6_u64, 0..6_u64), 0..20)
                .prop_map(|rows| rows.into_iter().enumerate().map(|(at, (ns, span, parent))| {
                    member(ns, u8::try_from(at).unwrap(), Some(span), Some(parent))
                }).collect::<Vec<_>>())
                // One span id stands for one span.
                .prop_map(|mut rows| {
                    let mut seen = std::collections::HashSet::new();
                    rows.retain(|m: &Member| seen.insert(m.span));
                    rows
                })
                .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
        ) {
            story_order(&mut a);
            story_order(&mut b);
            prop_assert_eq!(entries(&a), entries(&b));
        }
    }
}
