//! A store that answers from the cluster: for collectors without an index of their own, and for
//! many collectors that export to one cluster.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`ElasticsearchStore`]: query, trace |
//! | `narrow.rs` | a question → a filter that lets through all answers, and perhaps more |
//! | `question.rs` | candidates page by page, a look at each, until a page is full |
//! | `members.rs` | groups: ids searched for many at once |
//! | `held.rs` | entries that were found; copies of one entry; their documents |
//! | `pages.rs` | hits of one search, in one point in time |
//! | `cluster.rs` | requests that are counted and in time; points in time kept for the next page |
//! | `status.rs` | [`StoreStatus`]: plain numbers |
//!
//! ```text
//! question ─► narrow ─► search, a point in time ─► document ─► body ─► the evaluator ─► hit
//!                              ▲ tenant, and no documents that are no entries, in every request
//! ```
//!
//! A question never becomes a query of the cluster: that only proposes. So an answer here is what
//! every other store answers, as far as the exporter has come and the cluster has refreshed.
//!
//! # Order
//!
//! Sequence numbers of several ledgers collide, so an entry is known by its id. The newest are
//! those received last; ledger order is ledger by ledger. Both are orders of what never changes of
//! an entry, and a page begins behind the last hit of the one before: entries that arrive in
//! between move none of the others. They can arrive in front of that place, though, when one
//! collector exports later than another: whoever waits for new entries follows a ledger instead
//! ([`AuditStore::followed`]).

mod cluster;
mod held;
mod members;
mod narrow;
mod pages;
mod question;
mod status;

pub use status::{FAILURES, StoreStatus};

use super::client::Client;
use super::transport::Transport;
use crate::correlate::{JoinRules, Member};
use crate::store::story::{group_of, page_of};
use crate::store::{
    AuditStore, Cursor, CursorError, EntryView, MAX_PAGE, Order, Page, Place, QueryRequest,
    StoreError, TraceRequest, TraceStory, deadline,
};
use cluster::Cluster;
use members::{Asked, ClusterMembers};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a point in time waits for the next page: time for a person to read one. Each keeps
/// segments on the cluster that it would have merged away.
pub const KEEP_ALIVE: Duration = Duration::from_mins(2);

/// Most points in time that wait for a next page. OpenSearch has 300 a node for everybody; one
/// that is closed for another changes no answer.
pub const MAX_POINTS_IN_TIME: usize = 64;

/// Most hits of one request: with bodies of a few kilobytes a reply of some megabytes.
pub const MAX_HITS_AT_ONCE: usize = 2_000;

/// Settings of the store; the default is right for a server.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// What joins.
    pub rules: JoinRules,
    /// See [`KEEP_ALIVE`].
    pub keep_alive: Duration,
    /// See [`MAX_POINTS_IN_TIME`].
    pub max_points_in_time: usize,
    /// See [`MAX_HITS_AT_ONCE`].
    pub max_hits: usize,
    /// Most hits that are put in story order.
    pub max_sorted: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            rules: JoinRules::default(),
            keep_alive: KEEP_ALIVE,
            max_points_in_time: MAX_POINTS_IN_TIME,
            max_hits: MAX_HITS_AT_ONCE,
            max_sorted: 10_000,
        }
    }
}

/// Answers from the data streams that exporters write.
///
/// Its calls block. They are made on threads that may wait (`tokio::task::spawn_blocking`), while
/// the runtime that it was made with runs.
pub struct ElasticsearchStore<T: Transport = Client> {
    cluster: Cluster<T>,
    followed: Option<Box<dyn AuditStore>>,
}

impl<T: Transport> std::fmt::Debug for ElasticsearchStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = &self.cluster.options;
        f.debug_struct("ElasticsearchStore").field("options", options).finish_non_exhaustive()
    }
}

impl<T: Transport> ElasticsearchStore<T> {
    /// A store over a cluster. Nothing is sent.
    pub fn new(transport: T, runtime: Handle, options: StoreOptions) -> Self {
        Self { cluster: Cluster::new(transport, runtime, options), followed: None }
    }

    /// The same store, with what callers that wait for new entries follow.
    #[must_use]
    pub fn following(self, ledger: Box<dyn AuditStore>) -> Self {
        Self { followed: Some(ledger), ..self }
    }

    /// Its numbers.
    pub fn status(&self) -> Arc<StoreStatus> {
        Arc::clone(&self.cluster.status)
    }
}

impl<T: Transport> AuditStore for ElasticsearchStore<T> {
    /// The exporter writes.
    fn write(&self, _: &[EntryView<'_>]) -> Result<(), StoreError> {
        Ok(())
    }

    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        question::answer(&self.cluster, request, deadline(request.budget))
    }

    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        let (tenant, deadline) = (request.tenant.name(), deadline(request.budget));
        let rules = &self.cluster.options.rules;
        let (id, namespaces) = (&request.id, request.namespaces);
        let asked = Asked { tenant, id, namespaces };
        let mut members = ClusterMembers::new(&self.cluster, asked, rules, deadline);
        let mut group = group_of(id, namespaces, &mut members, rules)?;
        let truncated = group.truncated || members.is_cut;
        let held = &members.held;
        let (page, next_cursor) = match request.order {
            Order::Story => {
                let cursor = request.cursor.as_ref();
                page_of(&mut group.members, Order::Story, cursor, request.limit)?
            }
            Order::Newest | Order::Ledger => {
                let place = |member: &Member| held.place(member.sequence).cloned();
                page_by_place(&mut group.members, request, &place)?
            }
        };
        let numbers = page.iter().map(|member| member.sequence);
        let entries = held.hits(&self.cluster, tenant, numbers, deadline)?;
        Ok(TraceStory {
            trace_ids: group.trace_ids,
            total: group.members.len(),
            entries,
            next_cursor,
            truncated,
            // What the cluster still has is among the entries, with a body or without.
            pruned: Vec::new(),
        })
    }

    fn followed(&self) -> Option<&dyn AuditStore> {
        self.followed.as_deref()
    }
}

/// A page of members by their places.
fn page_by_place<'m>(
    members: &'m mut [Member],
    request: &TraceRequest,
    place: &dyn Fn(&Member) -> Option<Place>,
) -> Result<(&'m [Member], Option<Cursor>), StoreError> {
    let newest = request.order == Order::Newest;
    let key = |place: Option<Place>| {
        // In ledger order the time of arrival says nothing.
        place.map(|p| if newest { p } else { Place { received_ns: 0, ..p } })
    };
    members.sort_by_cached_key(|member| key(place(member)));
    if newest {
        members.reverse();
    }
    let start = match &request.cursor {
        None => 0,
        Some(Cursor::Shared { place: last, newest: own, .. }) if *own == newest => {
            let last = key(Some(last.clone()));
            members.partition_point(|member| {
                let own = key(place(member));
                if newest { own >= last } else { own <= last }
            })
        }
        Some(_) => return Err(CursorError::OtherOrder.into()),
    };
    let end = start.saturating_add(request.limit.clamp(1, MAX_PAGE)).min(members.len());
    let page = members.get(start..end).unwrap_or_default();
    let last = page.last().filter(|_| end < members.len()).and_then(place);
    let next = last.map(|place| Cursor::Shared { place, newest, handle: 0 });
    Ok((page, next))
}
