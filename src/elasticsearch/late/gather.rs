//! Groups of many entries at once: what is asked of the cluster level by level, and closed from
//! what it said.
//!
//! ```text
//! seeds ─► their ids ─► search ─► documents ─► ids not asked for yet ─► search ─► … ─► close
//!              └─ in memory: its group, and documents of other collectors only
//! ```

use super::LateError;
use super::documents::{Ask, Documents, Found, Place};
use super::memory::{Known, Memory};
use super::seed::Seed;
use super::splice::MAX_LATE_IDS;
use crate::correlate::{Group, Id, JoinRules, Key, Member, Members, close};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Most documents that are looked at together, about 1 KB of memory each. With more, the entries
/// are taken in two halves; a group that alone has more is closed over so many, and counted.
pub const MAX_FOUND: usize = 20_000;

/// Most ids that are searched for together, for each entry that starts. Bounds the levels in the
/// same way.
const ASKED_FOR_EACH: usize = 64;

/// What all rounds of a correlator have in common.
#[derive(Debug)]
pub(super) struct Base<'a> {
    pub(super) tenant: &'a str,
    /// Name of our own ledger.
    pub(super) origin: &'a str,
    pub(super) rules: &'a JoinRules,
}

/// A group, and which documents of it lack ids.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Positions of our entries that are in it.
    pub(super) seeds: Vec<usize>,
    pub(super) group: Known,
    /// One spelling of each trace id.
    pub(super) trace_ids: Vec<String>,
    /// Documents that were found to lack ids.
    pub(super) places: BTreeSet<Place>,
    /// Whether there may be others.
    pub(super) search: bool,
    pub(super) truncated: bool,
}

impl Plan {
    /// Whether all is as it should be.
    pub(super) fn is_settled(&self) -> bool {
        self.places.is_empty() && !self.search
    }
}

/// An entry of the groups.
#[derive(Debug)]
struct Slot {
    member: Member,
    forms: BTreeSet<String>,
    /// Its documents, each with the ids that it was given.
    documents: Vec<(Place, Vec<String>, bool)>,
    /// Position of our entry.
    seed: Option<usize>,
    /// What it stands for, when it is no entry but a settled group.
    known: Option<Arc<Known>>,
}

/// What is known of some groups of one tenant.
pub(super) struct Gather<'a, D> {
    base: Base<'a>,
    documents: &'a mut D,
    memory: &'a mut Memory,
    slots: Vec<Slot>,
    by_key: HashMap<Key, Vec<usize>>,
    by_entry: HashMap<[u8; 16], usize>,
    asked: HashSet<Id<'static>>,
    paused: HashMap<String, Vec<Member>>,
    found: usize,
    seeds: usize,
    /// Whether a bound was hit.
    pub(super) is_cut: bool,
}

impl<'a, D: Documents> Gather<'a, D> {
    /// Begins with entries of our own.
    pub(super) fn new(
        base: Base<'a>,
        documents: &'a mut D,
        memory: &'a mut Memory,
        seeds: &[Seed],
    ) -> Self {
        let mut gather = Self {
            base,
            documents,
            memory,
            slots: Vec::new(),
            by_key: HashMap::new(),
            by_entry: HashMap::new(),
            asked: HashSet::new(),
            paused: HashMap::new(),
            found: 0,
            seeds: seeds.len(),
            is_cut: false,
        };
        for (at, seed) in seeds.iter().enumerate() {
            let forms = seed.forms.iter().cloned().collect();
            gather.add(seed.member.clone(), forms, Some(at), None);
        }
        gather
    }

    /// Asks the cluster, level by level, and closes the groups.
    ///
    /// # Errors
    /// [`LateError`] when the cluster did not say everything.
    pub(super) fn plans(mut self, seeds: &[Seed]) -> Result<(Vec<Plan>, bool), LateError> {
        let rules = self.base.rules;
        let start: BTreeSet<Id<'static>> = seeds.iter().flat_map(|seed| seed.ids(rules)).collect();
        let mut level: Vec<Id<'static>> = start.into_iter().collect();
        let most = rules.max_traces.max(self.seeds.saturating_mul(ASKED_FOR_EACH));
        while !level.is_empty() && !self.is_cut {
            self.is_cut = self.asked.len() > most;
            level = self.ask(&level)?;
        }
        if self.is_cut && self.seeds > 1 {
            return Ok((Vec::new(), true));
        }
        let (mut plans, mut covered) = (Vec::new(), HashSet::new());
        for (at, seed) in seeds.iter().enumerate() {
            if !covered.contains(&at) {
                let group = close(&seed.ids(rules), &mut self, rules)?;
                let mut plan = self.plan(&group);
                plan.truncated |= self.is_cut;
                covered.extend(plan.seeds.iter().copied());
                plans.push(plan);
            }
        }
        Ok((plans, false))
    }

    /// Searches for ids; gives those that came up and were not asked for yet.
    fn ask(&mut self, ids: &[Id<'static>]) -> Result<Vec<Id<'static>>, LateError> {
        let before = self.slots.len();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            if !self.asked.insert(id.clone()) {
                continue;
            }
            match self.memory.known(self.base.tenant, id) {
                Some(group) => {
                    self.add_known(&group);
                    known.push(id.clone());
                }
                None => unknown.push(id.clone()),
            }
        }
        self.search(&unknown, None)?;
        self.search(&known, Some(self.base.origin))?;
        let rules = self.base.rules;
        let new = self.slots.get(before..).unwrap_or_default().iter();
        let joined: BTreeSet<Id<'static>> = new
            .flat_map(|slot| &slot.member.ids)
            .filter(|id| rules.joins(id))
            .map(Id::canonical)
            .filter(|id| !self.asked.contains(id))
            .collect();
        Ok(joined.into_iter().collect())
    }

    fn search(&mut self, ids: &[Id<'static>], except: Option<&str>) -> Result<(), LateError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        let ask = Ask {
            tenant: self.base.tenant,
            ids,
            except_origin: except,
            pauses_only: false,
            limit: MAX_FOUND.saturating_sub(self.found),
        };
        self.is_cut |= self.documents.find(&ask, &mut |document| found.push(document))?;
        self.found = self.found.saturating_add(found.len());
        for document in found {
            self.add_found(document);
        }
        Ok(())
    }

    fn add_found(&mut self, found: Found) {
        let document = (found.place, found.late, found.truncated);
        if let Some(at) = self.by_entry.get(&found.member.entry) {
            // One of ours, one that another id found already, or a second copy.
            if let Some(slot) = self.slots.get_mut(*at)
                && !slot.documents.iter().any(|(place, ..)| *place == document.0)
            {
                slot.documents.push(document);
            }
            return;
        }
        let at = self.add(found.member, found.forms.into_iter().collect(), None, None);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.documents.push(document);
        }
    }

    /// A settled group stands there as one entry that has all its ids, and with those of its
    /// entries that are still to be paired.
    fn add_known(&mut self, group: &Arc<Known>) {
        let is_there = |slot: &Slot| slot.known.as_ref().is_some_and(|g| Arc::ptr_eq(g, group));
        if group.ids.first().is_none_or(|id| self.carriers(id).any(is_there)) {
            return;
        }
        // No entry has this id: those of entries are digests.
        let number = u128::MAX.saturating_sub(self.slots.len() as u128);
        let member = Member {
            entry: number.to_be_bytes(),
            event_ns: group.events_ns.map_or(0, |(from, _)| from),
            ids: group.ids.clone(),
            ..Member::default()
        };
        self.add(member, group.forms.clone(), None, Some(group.clone()));
        for pausing in &group.pausing {
            if !self.by_entry.contains_key(&pausing.entry) {
                self.add(pausing.clone(), BTreeSet::new(), None, Some(group.clone()));
            }
        }
    }

    fn add(
        &mut self,
        mut member: Member,
        forms: BTreeSet<String>,
        seed: Option<usize>,
        known: Option<Arc<Known>>,
    ) -> usize {
        let at = self.slots.len();
        // Sequences of other ledgers would collide with ours: here it is the place in this list.
        member.sequence = at as u64;
        for id in &member.ids {
            for key in self.memory.keys(self.base.tenant, id) {
                self.by_key.entry(key).or_default().push(at);
            }
        }
        self.by_entry.entry(member.entry).or_insert(at);
        self.slots.push(Slot { member, forms, documents: Vec::new(), seed, known });
        at
    }

    /// The entries that carry an id.
    fn carriers<'s>(&'s self, id: &'s Id<'_>) -> impl Iterator<Item = &'s Slot> {
        let mut at: Vec<usize> = self
            .memory
            .keys(self.base.tenant, id)
            .iter()
            .filter_map(|key| self.by_key.get(key))
            .flatten()
            .copied()
            .collect();
        at.sort_unstable();
        at.dedup();
        at.into_iter()
            .filter_map(|at| self.slots.get(at))
            .filter(move |slot| slot.member.ids.iter().any(|own| own.is_same_as(id)))
    }

    fn plan(&self, group: &Group) -> Plan {
        let rules = self.base.rules;
        let place = |member: &Member| usize::try_from(member.sequence).unwrap_or(usize::MAX);
        let slots: Vec<&Slot> =
            group.members.iter().filter_map(|member| self.slots.get(place(member))).collect();
        let forms: BTreeSet<String> = slots.iter().flat_map(|slot| &slot.forms).cloned().collect();
        let ids: BTreeSet<Id<'static>> = slots
            .iter()
            .flat_map(|slot| &slot.member.ids)
            .filter(|id| rules.joins(id))
            .map(Id::canonical)
            .collect();
        let grown = |known: &Known| known.forms != forms;
        let lacks = |slot: &Slot| forms.iter().any(|form| !slot.forms.contains(form));
        // Those of a settled group, and entries of ours whose document was not among the found.
        let search = slots.iter().any(|slot| match &slot.known {
            Some(known) => grown(known),
            None => slot.documents.is_empty() && lacks(slot),
        });
        let places = slots.iter().flat_map(|slot| {
            let lacks = |given: &[String], truncated: bool| {
                let is_full = truncated && given.len() >= MAX_LATE_IDS;
                let has = |form: &String| slot.forms.contains(form) || given.contains(form);
                !is_full && !forms.iter().all(has)
            };
            let lacking = slot.documents.iter().filter(move |(_, given, t)| lacks(given, *t));
            lacking.map(|(place, ..)| place.clone())
        });
        let entries = || slots.iter().filter(|slot| slot.known.is_none());
        let settled = slots.iter().filter_map(|slot| slot.known.as_ref()?.events_ns);
        let events = || entries().map(|slot| (slot.member.event_ns, slot.member.event_ns));
        let all = || events().chain(settled.clone());
        let events_ns = all().map(|(from, _)| from).min().zip(all().map(|(_, to)| to).max());
        Plan {
            seeds: slots.iter().filter_map(|slot| slot.seed).collect(),
            places: places.collect(),
            search,
            trace_ids: group.trace_ids.clone(),
            truncated: group.truncated,
            group: Known {
                ids: ids.into_iter().collect(),
                pausing: slots
                    .iter()
                    .filter(|slot| slot.member.pause.is_some())
                    .map(|slot| slot.member.clone())
                    .collect(),
                forms,
                events_ns,
            },
        }
    }
}

impl<D: Documents> Members for Gather<'_, D> {
    type Error = LateError;

    fn find(
        &mut self,
        id: &Id<'_>,
        known: &HashSet<u64>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), LateError> {
        let id = id.canonical();
        if !self.asked.contains(&id) {
            self.ask(std::slice::from_ref(&id))?;
        }
        let new = self.carriers(&id).filter(|slot| !known.contains(&slot.member.sequence));
        new.for_each(|slot| visit(slot.member.clone()));
        Ok(())
    }

    fn paused_in(
        &mut self,
        thread: &Id<'_>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), LateError> {
        let text = thread.text.to_string();
        if !self.paused.contains_key(&text) {
            let mut paused = Vec::new();
            let ask = Ask {
                tenant: self.base.tenant,
                ids: &[thread.canonical()],
                except_origin: None,
                pauses_only: true,
                limit: MAX_FOUND,
            };
            self.is_cut |= self.documents.find(&ask, &mut |found| paused.push(found.member))?;
            self.paused.insert(text.clone(), paused);
        }
        let found = self.paused.get(&text).into_iter().flatten();
        let here =
            self.slots.iter().map(|slot| &slot.member).filter(|member| {
                member.pause.as_ref().is_some_and(|(own, _)| own.is_same_as(thread))
            });
        let mut seen = HashSet::new();
        for member in found.chain(here).filter(|member| seen.insert(member.entry)) {
            visit(member.clone());
        }
        Ok(())
    }
}
