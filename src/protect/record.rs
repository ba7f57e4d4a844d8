//! What protection removed: the list that goes into `audit.redactions`.

use crate::entry::Redaction;
use std::borrow::Cow;

/// Most places that are told apart in one entry; what comes after counts as [`FURTHER`].
const MAX_PLACES: usize = 256;

/// Stands for all places beyond [`MAX_PLACES`].
const FURTHER: &str = "(further places)";

/// Longest place, bytes: a name may be as long as a source likes.
const MAX_PLACE_BYTES: usize = 256;

/// Redactions of one entry.
#[derive(Debug, Default)]
pub(super) struct Record {
    redactions: Vec<Redaction<'static>>,
}

impl Record {
    /// One more redaction by that rule at that place.
    pub(super) fn add(&mut self, rule: &str, place: &str) {
        let full = self.redactions.len() >= MAX_PLACES;
        let end = place.floor_char_boundary(MAX_PLACE_BYTES);
        let place = if full { FURTHER } else { place.get(..end).unwrap_or(place) };
        if let Some(there) =
            self.redactions.iter_mut().rev().find(|r| r.rule == rule && r.place == place)
        {
            there.count = there.count.saturating_add(1);
            return;
        }
        self.redactions.push(Redaction {
            rule: Cow::Owned(rule.to_owned()),
            place: Cow::Owned(place.to_owned()),
            count: 1,
        });
    }

    /// Whether nothing was removed.
    pub(super) fn is_empty(&self) -> bool {
        self.redactions.is_empty()
    }

    /// The list.
    pub(super) fn into_redactions(self) -> Vec<Redaction<'static>> {
        self.redactions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rule_at_the_same_place_is_counted() {
        let mut record = Record::default();
        record.add("jwt", "body");
        record.add("jwt", "message");
        record.add("jwt", "body");
        let list = record.into_redactions();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].place.as_ref(), list[0].count), ("body", 2));
    }

    #[test]
    fn the_list_and_its_places_are_bounded_and_nothing_goes_uncounted() {
        let mut record = Record::default();
        for n in 0..1_000 {
            record.add("jwt", &format!("{n}{}", "ä".repeat(1_000)));
        }
        let list = record.into_redactions();
        assert_eq!(list.len(), MAX_PLACES + 1);
        assert_eq!(list.iter().map(|r| r.count).sum::<u32>(), 1_000);
        assert!(list.iter().all(|r| r.place.len() <= MAX_PLACE_BYTES));
    }
}
