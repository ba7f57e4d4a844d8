//! Giving documents the ids that they lack, whoever else does the same.
//!
//! ```text
//! plans ─► which documents? ─► fetch ─► splice ─► write if unchanged ─► done
//!                                ▲                      │ changed meanwhile
//!                                └──────────────────────┘
//! ```

use super::LateError;
use super::documents::{Documents, Fetched, Lack, Place, Written};
use super::gather::Plan;
use super::splice::{Change, Spliced};
use super::status::LateStatus;
use crate::correlate::Id;
use crate::elasticsearch::status::add;
use std::collections::{BTreeMap, VecDeque};

/// Documents that are fetched together, at first. A reply that is too long is asked for in halves.
const FETCH: usize = 200;

/// Bytes of documents that are written together.
const WRITE_BYTES: usize = 5_000_000;

/// Documents that are written together.
const WRITE: usize = 500;

/// How often a document is read again because somebody else changed it. Collectors only ever add
/// ids, each at most once, so a few times is enough; then the round is made again.
const ATTEMPTS: u32 = 8;

/// What became of the documents of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) written: usize,
    /// Documents that cannot be changed where they lie.
    pub(super) unwritable: usize,
}

/// Brings documents up to date.
pub(super) struct Update<'a, D> {
    pub(super) tenant: &'a str,
    pub(super) documents: &'a mut D,
    pub(super) status: &'a LateStatus,
}

impl<D: Documents> Update<'_, D> {
    /// Gives the documents of all plans their ids; one outcome each.
    ///
    /// # Errors
    /// [`LateError`]. What was written until then stays, and is not written again.
    pub(super) fn apply(&mut self, plans: &[Plan]) -> Result<Vec<Outcome>, LateError> {
        let mut outcomes = vec![Outcome::default(); plans.len()];
        let mut left: VecDeque<(Place, usize)> = self.lacking(plans)?.into_iter().collect();
        let (mut attempts, mut at_once) = (0_u32, FETCH);
        while !left.is_empty() {
            let part: BTreeMap<Place, usize> = left.drain(..at_once.min(left.len())).collect();
            let places: Vec<Place> = part.keys().cloned().collect();
            let fetched = match self.documents.fetch(&places) {
                Err(LateError::NoReply(_)) if at_once > 1 => {
                    at_once = (at_once / 2).max(1);
                    left.extend(part);
                    continue;
                }
                fetched => fetched?,
            };
            let again = self.write(fetched, &part, plans, &mut outcomes)?;
            if !again.is_empty() {
                attempts = attempts.saturating_add(1);
                if attempts > ATTEMPTS.saturating_add(u32::try_from(left.len()).unwrap_or(0)) {
                    return Err(LateError::Contended);
                }
            }
            left.extend(again);
        }
        Ok(outcomes)
    }

    /// How many documents of each plan lack ids, for a key that may not change them.
    ///
    /// # Errors
    /// [`LateError`].
    pub(super) fn count_lacking(&mut self, plans: &[Plan]) -> Result<Vec<Outcome>, LateError> {
        let mut outcomes = vec![Outcome::default(); plans.len()];
        for plan in self.lacking(plans)?.into_values() {
            count(&mut outcomes, plan, |outcome| &mut outcome.unwritable);
        }
        Ok(outcomes)
    }

    /// Where the documents of the plans lie that lack ids.
    fn lacking(&mut self, plans: &[Plan]) -> Result<BTreeMap<Place, usize>, LateError> {
        let mut places = BTreeMap::new();
        for (at, plan) in plans.iter().enumerate() {
            places.extend(plan.places.iter().map(|place| (place.clone(), at)));
        }
        let searched: Vec<(usize, &[Id<'static>], Vec<String>)> = plans
            .iter()
            .enumerate()
            .filter(|(_, plan)| plan.search)
            .map(|(at, plan)| {
                (at, plan.group.ids.as_slice(), plan.group.forms.iter().cloned().collect())
            })
            .collect();
        let groups: Vec<Lack<'_>> =
            searched.iter().map(|(_, ids, forms)| Lack { ids, forms }).collect();
        if !groups.is_empty() {
            self.documents.lacking(self.tenant, &groups, &mut |group, place| {
                if let Some((plan, ..)) = searched.get(group) {
                    places.entry(place).or_insert(*plan);
                }
            })?;
        }
        Ok(places)
    }

    /// Writes what is to be changed; gives what has to be read again.
    fn write(
        &mut self,
        fetched: Vec<Fetched>,
        part: &BTreeMap<Place, usize>,
        plans: &[Plan],
        outcomes: &mut [Outcome],
    ) -> Result<Vec<(Place, usize)>, LateError> {
        let mut changed: Vec<(Fetched, usize, usize)> = Vec::new();
        for document in fetched {
            let Some(plan) = part.get(&document.place).copied() else { continue };
            let Some(forms) = plans.get(plan).map(|plan| &plan.group.forms) else { continue };
            let Some(spliced) = Spliced::read(&document.source) else {
                count(outcomes, plan, |outcome| &mut outcome.unwritable);
                continue;
            };
            // The search asked for the tenant; the document itself decides.
            if spliced.tenant != self.tenant {
                continue;
            }
            if let Change::Write { source, cut } = spliced.give(forms.iter().map(String::as_str)) {
                changed.push((Fetched { source, ..document }, plan, cut));
            }
        }
        let mut again = Vec::new();
        let mut rest = changed.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut bulk, mut of, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
            while let Some((document, ..)) = rest.peek() {
                let more = bytes.saturating_add(document.source.len());
                if !bulk.is_empty() && (more > WRITE_BYTES || bulk.len() >= WRITE) {
                    break;
                }
                bytes = more;
                if let Some((document, plan, cut)) = rest.next() {
                    bulk.push(document);
                    of.push((plan, cut));
                }
            }
            let written = self.documents.write(&bulk)?;
            for ((document, (plan, cut)), written) in bulk.into_iter().zip(of).zip(written) {
                match written {
                    Written::Done => {
                        add(&self.status.updated, 1);
                        add(&self.status.ids_cut, cut);
                        count(outcomes, plan, |outcome| &mut outcome.written);
                    }
                    Written::Conflict => {
                        add(&self.status.conflicts, 1);
                        again.push((document.place, plan));
                    }
                    Written::Unwritable => {
                        add(&self.status.unwritable, 1);
                        count(outcomes, plan, |outcome| &mut outcome.unwritable);
                    }
                }
            }
        }
        Ok(again)
    }
}

fn count(outcomes: &mut [Outcome], plan: usize, of: impl Fn(&mut Outcome) -> &mut usize) {
    if let Some(outcome) = outcomes.get_mut(plan) {
        let number = of(outcome);
        *number = number.saturating_add(1);
    }
}
