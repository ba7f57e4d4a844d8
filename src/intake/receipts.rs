//! Where each record of a request stands in the ledger, for a client that asked.

use crate::ledger::Appended;

/// What an answer can say of each record of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Receipts {
    /// Nobody asked.
    #[default]
    Unasked,
    /// The request has more records than receipts were asked for.
    TooMany,
    /// One for each record in the order in which they were sent. A record that became several
    /// entries has the one of the record itself, one that was on record already has its
    /// original's, and one that was refused has none.
    Each(Vec<Option<Appended>>),
}

/// Where in a batch the entry of each record stands.
#[derive(Debug, Default)]
pub(super) enum Places {
    #[default]
    Unasked,
    TooMany,
    Each {
        most: usize,
        /// None for a record that was refused.
        places: Vec<Option<usize>>,
    },
}

impl Places {
    /// Keeps the places of that many records.
    pub(super) fn up_to(most: usize) -> Self {
        Self::Each { most, places: Vec::new() }
    }

    /// Notes the place of the next record.
    pub(super) fn note(&mut self, place: Option<usize>) {
        match self {
            Self::Each { most, places } if places.len() < *most => places.push(place),
            Self::Each { .. } => *self = Self::TooMany,
            Self::Unasked | Self::TooMany => {}
        }
    }

    /// What became of the entries of the batch, as receipts of the records.
    pub(super) fn receipts(self, entries: &[Appended]) -> Receipts {
        match self {
            Self::Unasked => Receipts::Unasked,
            Self::TooMany => Receipts::TooMany,
            Self::Each { places, .. } => {
                let entry = |place: Option<usize>| entries.get(place?).copied();
                Receipts::Each(places.into_iter().map(entry).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64) -> Appended {
        Appended { sequence, leaf_hash: [7; 32], duplicate: false }
    }

    #[test]
    fn a_record_has_the_receipt_of_its_own_entry_and_a_refused_one_has_none() {
        let mut places = Places::up_to(3);
        for place in [Some(0), None, Some(2)] {
            places.note(place);
        }
        let receipts = places.receipts(&[entry(9), entry(10), entry(4)]);
        assert_eq!(receipts, Receipts::Each(vec![Some(entry(9)), None, Some(entry(4))]));
    }

    #[test]
    fn more_records_than_were_asked_for_have_no_receipts_and_unasked_costs_nothing() {
        let mut places = Places::up_to(1);
        places.note(Some(0));
        places.note(Some(1));
        places.note(None);
        assert_eq!(places.receipts(&[entry(0), entry(1)]), Receipts::TooMany);
        let mut places = Places::default();
        places.note(Some(0));
        assert_eq!(places.receipts(&[entry(0)]), Receipts::Unasked);
    }
}
