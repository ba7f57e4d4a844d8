//! Groups over the cluster: ids are searched for many at once, and each hit is checked.
//!
//! ```text
//! "langsmith-run-abc123" ─► one search for it in every namespace ─► entries ─► their strong ids
//!                                       └───────────── one search for all of those ◄──┘
//! ```
//!
//! The closure asks for one id after the other. When it asks for one that was not searched for, all
//! ids that it will ask for are searched for with it, so that a story takes as many searches as it
//! has generations, not as many as it has ids.

use super::super::ids::{carries, entries_of, id_fields};
use super::super::search::Filter;
use super::super::transport::Transport;
use super::cluster::{Cluster, left, random};
use super::held::{Held, Read, keep_first_copies, read};
use super::pages::{Pages, Turn, by_arrival};
use crate::correlate::{Id, JoinRules, Key, KeyMaker, Member, Members, Namespace};
use crate::store::StoreError;
use crate::store::story::PRECISE;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

/// Ids in one search: each has up to a dozen spellings in three fields.
const IDS_AT_ONCE: usize = 500;

/// Hits of the first page of a search: more than a common trace has.
const FIRST_PAGE: usize = 1_000;

/// Entries that a search names so that they do not come again, at most: 70 KB of a request.
const MAX_EXCLUDED: usize = 2_000;

/// The entries of one tenant, found by their ids.
pub(super) struct ClusterMembers<'c, T: Transport> {
    cluster: &'c Cluster<T>,
    tenant: &'c str,
    rules: &'c JoinRules,
    deadline: Instant,
    /// Every entry that was found, by its number.
    pub(super) held: Held,
    carried: Vec<Carried>,
    /// Numbers of entries by the keys of the ids that they carry.
    by_key: HashMap<Key, Vec<usize>>,
    keys: KeyMaker,
    seen: HashSet<[u8; 16]>,
    /// Ids that were searched for, in canonical spelling.
    searched: HashSet<Id<'static>>,
    /// Ids that entries carry and that will be asked for.
    waiting: VecDeque<Id<'static>>,
    /// What the story is asked for by, in every namespace that it may be of.
    start: Vec<Id<'static>>,
    /// The same as it was written.
    written: &'c str,
    /// Whether a bound or the time was hit.
    pub(super) is_cut: bool,
}

/// What an entry carries.
struct Carried {
    member: Member,
    /// Of the ids that join nothing, those that the story is asked for by.
    weak: Vec<Id<'static>>,
}

impl Carried {
    fn has(&self, id: &Id<'_>) -> bool {
        self.member.ids.iter().chain(&self.weak).any(|own| own.is_same_as(id))
    }
}

/// What a story is asked for by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'c> {
    /// Whose entries.
    pub(super) tenant: &'c str,
    /// The id as it was written.
    pub(super) id: &'c str,
    /// What it names; anything when empty.
    pub(super) namespaces: &'c [Namespace],
}

impl<'c, T: Transport> ClusterMembers<'c, T> {
    /// Nothing is asked yet.
    pub(super) fn new(
        cluster: &'c Cluster<T>,
        asked: Asked<'c>,
        rules: &'c JoinRules,
        deadline: Instant,
    ) -> Self {
        let Asked { tenant, id, namespaces } = asked;
        let namespaces = if namespaces.is_empty() { Namespace::ALL } else { namespaces };
        let start =
            namespaces.iter().map(|namespace| Id::new(*namespace, id.to_owned()).canonical());
        Self {
            cluster,
            tenant,
            rules,
            deadline,
            held: Held::default(),
            carried: Vec::new(),
            by_key: HashMap::new(),
            // Keys live for one question only: nobody can choose ids that fall together.
            keys: KeyMaker::new(u128::from(random().unwrap_or_default()).to_le_bytes()),
            seen: HashSet::new(),
            searched: HashSet::new(),
            waiting: VecDeque::new(),
            start: start.collect(),
            written: id,
            is_cut: false,
        }
    }

    /// Searches for an id, and with it for all that are waiting.
    fn search_with(&mut self, id: &Id<'static>) -> Result<(), StoreError> {
        let mut ids = vec![id.clone()];
        if self.start.contains(id) {
            let is_precise = |id: &Id<'_>| PRECISE.contains(&id.namespace);
            let alike = self.start.iter().filter(|own| is_precise(own) == is_precise(id));
            ids.extend(alike.filter(|own| *own != id).cloned());
            if self.start.iter().any(|own| own.namespace == Namespace::Trace) {
                // A document may have just that spelling.
                ids.push(Id::new(Namespace::Trace, self.written.to_owned()));
            }
        }
        while ids.len() < IDS_AT_ONCE
            && let Some(next) = self.waiting.pop_front()
        {
            if !self.searched.contains(&next) && !ids.contains(&next) {
                ids.push(next);
            }
        }
        let mut seen = std::mem::take(&mut self.seen);
        let found = self.collect(Filter::and([carries(&ids), unlike(&seen)]), &mut seen);
        self.seen = seen;
        self.searched.extend(ids);
        found?.into_iter().for_each(|read| self.take(read));
        Ok(())
    }

    /// Every entry of a search that was not met yet, as far as bounds and time reach.
    fn collect(
        &mut self,
        filter: Filter,
        seen: &mut HashSet<[u8; 16]>,
    ) -> Result<Vec<Read>, StoreError> {
        let filter = Filter::and([entries_of(self.tenant), filter]);
        let mut pages =
            Pages::new(self.cluster, filter, by_arrival(false), FIRST_PAGE, self.deadline);
        let mut all = Vec::new();
        loop {
            match pages.next()? {
                Turn::Docs(docs) => {
                    let docs = docs.into_iter();
                    let mut found: Vec<Read> =
                        docs.filter_map(|doc| read(self.cluster, self.tenant, doc)).collect();
                    let bounds = (pages.shards, self.deadline);
                    keep_first_copies(self.cluster, self.tenant, &mut found, seen, bounds)?;
                    all.append(&mut found);
                }
                Turn::End => break,
                Turn::OutOfTime => {
                    self.is_cut = true;
                    break;
                }
            }
            if self.held.len().saturating_add(all.len()) > self.rules.max_entries {
                self.is_cut = true;
                break;
            }
        }
        pages.close();
        Ok(all)
    }

    fn take(&mut self, read: Read) {
        let (weak, member) = {
            let view = read.document.view();
            let entry = Id::new(Namespace::Entry, view.id_text());
            let all = view.facets().ids.iter().chain([&entry]);
            let weak = all.filter(|id| {
                !id.namespace.is_strong() && self.start.iter().any(|own| own.is_same_as(id))
            });
            (weak.map(|id| id.clone().into_owned()).collect(), view.member())
        };
        let carried = Carried { member: self.held.put(read, member), weak };
        let number = self.carried.len();
        for id in carried.member.ids.iter().chain(&carried.weak) {
            for key in self.keys.keys(self.tenant, id) {
                self.by_key.entry(key).or_default().push(number);
            }
            if self.rules.joins(id) {
                self.waiting.push_back(id.canonical());
            }
        }
        self.carried.push(carried);
    }
}

/// Documents of other entries than these, where they are few enough to name: most entries of a
/// story carry several of its ids, and each would come once for each of them.
fn unlike(seen: &HashSet<[u8; 16]>) -> Filter {
    if seen.is_empty() || seen.len() > MAX_EXCLUDED {
        return Filter::All;
    }
    let id = |id: &[u8; 16]| format!("{:032x}", u128::from_be_bytes(*id));
    Filter::not(Filter::Ids(seen.iter().map(id).collect()))
}

impl<T: Transport> Members for ClusterMembers<'_, T> {
    type Error = StoreError;

    fn find(
        &mut self,
        id: &Id<'_>,
        known: &HashSet<u64>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), StoreError> {
        let asked = id.clone().into_owned();
        if !self.searched.contains(&asked) {
            self.search_with(&asked)?;
        }
        let keys = self.keys.keys(self.tenant, id);
        let mut numbers: Vec<usize> =
            keys.filter_map(|key| self.by_key.get(&key)).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let found = numbers.into_iter().filter_map(|number| self.carried.get(number));
        for carried in found.filter(|carried| !known.contains(&carried.member.sequence)) {
            if carried.has(id) {
                visit(carried.member.clone());
            }
        }
        Ok(())
    }

    fn paused_in(
        &mut self,
        thread: &Id<'_>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), StoreError> {
        let threads = id_fields(Namespace::Thread)
            .map(|field| Filter::Terms(field, vec![thread.text.to_string()]));
        let paused = Filter::or([
            Filter::Exists("audit.interrupt.reason"),
            Filter::Exists("audit.interrupt.response"),
            Filter::Exists("audit.interrupt.responder"),
            Filter::Term("audit.kind", "interrupt".to_owned()),
        ]);
        let filter = Filter::and([Filter::or(threads), paused]);
        for read in self.collect(filter, &mut HashSet::new())? {
            let member = read.document.view().member();
            if member.pause.as_ref().is_some_and(|(own, _)| own.is_same_as(thread)) {
                visit(member);
            }
        }
        Ok(())
    }

    fn out_of_time(&self) -> bool {
        self.is_cut || left(self.deadline).is_none()
    }
}
