//! A page of hits: candidates from the cluster, a look at each, until the page is full.

use super::super::ids::entries_of;
use super::super::search::Filter;
use super::super::transport::Transport;
use super::cluster::Cluster;
use super::held::{Held, Read, keep_first_copies, read};
use super::narrow::narrow;
use super::pages::{Pages, Turn, by_arrival, by_ledger, values};
use crate::correlate::Member;
use crate::store::query::{Clock, Compiled};
use crate::store::story::page_of;
use crate::store::{
    Cursor, CursorError, Hit, MAX_PAGE, Order, Page, Place, QueryRequest, StoreError,
};
use std::collections::HashSet;
use std::time::Instant;

/// Candidates that are asked for at first, at least. More than a page of a person's search, since
/// some of them do not answer.
const FIRST_CANDIDATES: usize = 100;

/// Answers a question.
pub(super) fn answer<T: Transport>(
    cluster: &Cluster<T>,
    request: &QueryRequest,
    deadline: Instant,
) -> Result<Page, StoreError> {
    let question = Compiled::new(&request.query, Clock::system());
    let filter = Filter::and([entries_of(request.tenant.name()), narrow(&question)]);
    let asked = Asked { cluster, request, question, filter, deadline };
    match request.order {
        Order::Newest | Order::Ledger => asked.by_place(),
        Order::Story => asked.by_story(),
    }
}

struct Asked<'q, T: Transport> {
    cluster: &'q Cluster<T>,
    request: &'q QueryRequest,
    question: Compiled,
    filter: Filter,
    deadline: Instant,
}

impl<T: Transport> Asked<'_, T> {
    /// Hits in the order of the cluster.
    fn by_place(&self) -> Result<Page, StoreError> {
        let newest = self.request.order == Order::Newest;
        let sort = if newest { by_arrival(true) } else { by_ledger() };
        let limit = self.request.limit.clamp(1, MAX_PAGE);
        let (filter, first) = (self.filter.clone(), limit.max(FIRST_CANDIDATES));
        let mut pages = Pages::new(self.cluster, filter, sort.clone(), first, self.deadline);
        let mut last = None;
        match &self.request.cursor {
            None => {}
            Some(Cursor::Shared { place, newest: own, handle }) if *own == newest => {
                pages.after = Some(values(place, &sort));
                pages.pit = self.cluster.take(*handle, self.tenant());
                last = Some(place.clone());
            }
            Some(_) => return Err(CursorError::OtherOrder.into()),
        }
        let (mut hits, mut seen) = (Vec::new(), HashSet::new());
        let (mut timed_out, mut is_full) = (false, false);
        while !is_full && !timed_out {
            match pages.next()? {
                Turn::Docs(docs) => {
                    let (found, looked_at) = self.look(docs);
                    let found = self.first_copies(found, &mut seen, pages.shards)?;
                    is_full = take(&mut hits, &mut last, found, limit);
                    if !is_full {
                        last = looked_at.or(last);
                    }
                }
                Turn::End => break,
                Turn::OutOfTime => timed_out = true,
            }
        }
        let next_cursor = match last.filter(|_| is_full || timed_out) {
            None => {
                pages.close();
                None
            }
            Some(place) => {
                let handle = pages.pit.take().map_or(0, |id| self.cluster.keep(id, self.tenant()));
                Some(Cursor::Shared { place, newest, handle })
            }
        };
        Ok(Page { hits, next_cursor, timed_out, truncated: false })
    }

    /// Hits in story order: all are collected, sorted, and a page is cut.
    fn by_story(&self) -> Result<Page, StoreError> {
        let most = self.cluster.options.max_sorted;
        let mut pages = Pages::new(
            self.cluster,
            self.filter.clone(),
            by_arrival(true),
            most.saturating_add(1),
            self.deadline,
        );
        let (mut held, mut members) = (Held::default(), Vec::<Member>::new());
        let mut seen = HashSet::new();
        let (mut timed_out, mut truncated) = (false, false);
        loop {
            match pages.next()? {
                Turn::Docs(docs) => {
                    let (found, _) = self.look(docs);
                    let found = self.first_copies(found, &mut seen, pages.shards)?;
                    members.extend(found.into_iter().map(|read| {
                        let member = read.document.view().member();
                        held.put(read, member)
                    }));
                }
                Turn::End => break,
                Turn::OutOfTime => {
                    timed_out = true;
                    break;
                }
            }
            if members.len() > most {
                truncated = true;
                members.truncate(most);
                break;
            }
        }
        pages.close();
        let cursor = self.request.cursor.as_ref();
        let (page, next_cursor) = page_of(&mut members, Order::Story, cursor, self.request.limit)?;
        let numbers = page.iter().map(|member| member.sequence);
        let hits = held.hits(self.cluster, self.tenant(), numbers, self.deadline)?;
        Ok(Page { hits, next_cursor, timed_out, truncated: truncated || timed_out })
    }

    fn tenant(&self) -> &str {
        self.request.tenant.name()
    }

    /// Those that answer, and the place of the last that was looked at.
    fn look(&self, docs: Vec<super::super::search::FoundDoc>) -> (Vec<Read>, Option<Place>) {
        let mut last = None;
        let read = docs.into_iter().filter_map(|doc| read(self.cluster, self.tenant(), doc));
        let found = read
            .inspect(|read| last = Some(read.place.clone()))
            .filter(|read| self.question.matches(&read.document.view()))
            .collect();
        (found, last)
    }

    fn first_copies(
        &self,
        mut found: Vec<Read>,
        seen: &mut HashSet<[u8; 16]>,
        indices: u64,
    ) -> Result<Vec<Read>, StoreError> {
        let bounds = (indices, self.deadline);
        keep_first_copies(self.cluster, self.tenant(), &mut found, seen, bounds)?;
        Ok(found)
    }
}

/// Adds hits until there are as many as asked for, and says whether there are.
fn take(hits: &mut Vec<Hit>, last: &mut Option<Place>, found: Vec<Read>, limit: usize) -> bool {
    for read in found {
        *last = Some(read.place.clone());
        hits.push(read.into_hit());
        if hits.len() >= limit {
            return true;
        }
    }
    false
}
