//! A store that keeps a list: for tests, for small programs, and as the model of every other.

use super::projection::{Origin, write_document};
use super::query::{Clock, Compiled};
use super::story::{group_of, page_of};
use super::{
    AuditStore, EntryView, Envelope, Hit, Page, QueryRequest, StoreError, TraceRequest, TraceStory,
};
use crate::correlate::{Id, JoinRules, Member, Members, Namespace};
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{PoisonError, RwLock};

/// A store that keeps its entries in memory and looks at each of them for every question.
#[derive(Debug, Default)]
pub struct MemoryStore {
    origin: String,
    rules: JoinRules,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// In the order of the ledger.
    entries: Vec<Entry>,
    /// (tenant, id) of all entries.
    ids: HashSet<(String, [u8; 16])>,
}

#[derive(Debug)]
struct Entry {
    tenant: String,
    sequence: u64,
    id: [u8; 16],
    received_ns: u64,
    conflict: bool,
    leaf_hash: [u8; 32],
    body: Vec<u8>,
    member: Member,
    ids: Vec<Id<'static>>,
}

impl Entry {
    fn new(view: &EntryView<'_>) -> Self {
        let envelope = &view.envelope;
        let mut ids: Vec<Id<'static>> =
            view.facets().ids.iter().map(|id| id.clone().into_owned()).collect();
        ids.push(Id::new(Namespace::Entry, view.id_text()));
        Self {
            tenant: envelope.tenant.to_owned(),
            sequence: envelope.sequence,
            id: envelope.id,
            received_ns: envelope.received_ns,
            conflict: envelope.conflict,
            leaf_hash: envelope.leaf_hash,
            body: view.body.to_vec(),
            member: view.member(),
            ids,
        }
    }

    fn view(&self) -> EntryView<'_> {
        let envelope = Envelope {
            sequence: self.sequence,
            id: self.id,
            tenant: &self.tenant,
            received_ns: self.received_ns,
            conflict: self.conflict,
            leaf_hash: self.leaf_hash,
        };
        EntryView::new(envelope, &self.body)
    }

    fn hit(&self, origin: &str) -> Hit {
        hit(&self.view(), origin)
    }
}

/// An entry as it is answered.
pub(super) fn hit(view: &EntryView<'_>, origin: &str) -> Hit {
    const ENVELOPE_BYTES: usize = 384;
    let mut document = Vec::with_capacity(view.body.len().saturating_add(ENVELOPE_BYTES));
    write_document(view, Origin { name: origin }, &mut document);
    Hit {
        sequence: view.envelope.sequence,
        id: view.envelope.id,
        event_ns: view.event_ns(),
        document,
    }
}

impl MemoryStore {
    /// An empty store. `origin` is the name of the ledger that its entries come from.
    pub fn new(origin: &str, rules: JoinRules) -> Self {
        Self { origin: origin.to_owned(), rules, kept: RwLock::default() }
    }
}

impl AuditStore for MemoryStore {
    fn write(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for view in entries {
            let key = (view.envelope.tenant.to_owned(), view.envelope.id);
            if kept.ids.insert(key) {
                kept.entries.push(Entry::new(view));
            }
        }
        Ok(())
    }

    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        let compiled = Compiled::new(&request.query, Clock::system());
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept.entries.iter().filter(|entry| {
            entry.tenant == request.tenant.name() && compiled.matches(&entry.view())
        });
        let mut members: Vec<Member> = found.map(|entry| entry.member.clone()).collect();
        let (page, next_cursor) =
            page_of(&mut members, request.order, request.cursor.as_ref(), request.limit)?;
        let hits = page.iter().filter_map(|m| Some(kept.at(m.sequence)?.hit(&self.origin)));
        Ok(Page { hits: hits.collect(), next_cursor, ..Page::default() })
    }

    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let mut listed = Listed { kept: &kept, tenant: request.tenant.name() };
        let Ok(mut group) = group_of(&request.id, request.namespaces, &mut listed, &self.rules);
        let (page, next_cursor) =
            page_of(&mut group.members, request.order, request.cursor.as_ref(), request.limit)?;
        let entries: Vec<Hit> =
            page.iter().filter_map(|m| Some(kept.at(m.sequence)?.hit(&self.origin))).collect();
        Ok(TraceStory {
            total: group.members.len(),
            trace_ids: group.trace_ids,
            entries,
            next_cursor,
            truncated: group.truncated,
            // What it was given it keeps.
            pruned: Vec::new(),
        })
    }
}

impl Kept {
    fn at(&self, sequence: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.sequence == sequence)
    }
}

/// The entries of one tenant, looked at one by one.
struct Listed<'k> {
    kept: &'k Kept,
    tenant: &'k str,
}

impl Listed<'_> {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.kept.entries.iter().filter(|entry| entry.tenant == self.tenant)
    }
}

impl Members for Listed<'_> {
    type Error = Infallible;

    fn find(
        &mut self,
        id: &Id<'_>,
        known: &HashSet<u64>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), Infallible> {
        for entry in self.entries().filter(|entry| !known.contains(&entry.sequence)) {
            if entry.ids.iter().any(|own| own.is_same_as(id)) {
                visit(entry.member.clone());
            }
        }
        Ok(())
    }

    fn paused_in(
        &mut self,
        thread: &Id<'_>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), Infallible> {
        for entry in self.entries() {
            if entry.member.pause.as_ref().is_some_and(|(own, _)| own.is_same_as(thread)) {
                visit(entry.member.clone());
            }
        }
        Ok(())
    }
}
