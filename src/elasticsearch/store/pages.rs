//! Hits of one search, page by page: the first from the data streams as they are, all further ones
//! from one point in time.
//!
//! Hits are ordered by what never changes of an entry, and a page begins behind the last hit of
//! the one before. So entries that arrive in between are neither missed nor met twice, and a point
//! in time that is over can be replaced by another.

use super::super::search::{
    Filter, FoundDoc, MAX_HITS, Scope, SearchError, SearchRequest, Sort, Source,
};
use super::super::transport::Transport;
use super::cluster::{Cluster, left, unavailable};
use crate::store::{Place, StoreError};
use serde_json::Value;
use std::time::Instant;

/// By time of arrival, newest first or last.
pub(super) fn by_arrival(newest: bool) -> Vec<Sort> {
    let sort = |field, kind| Sort { field, kind, descending: newest };
    vec![
        sort("event.ingested", "date_nanos"),
        sort("audit.ledger.origin", "keyword"),
        sort("event.sequence", "long"),
    ]
}

/// Ledger by ledger, in their order.
pub(super) fn by_ledger() -> Vec<Sort> {
    let sort = |field, kind| Sort { field, kind, descending: false };
    vec![sort("audit.ledger.origin", "keyword"), sort("event.sequence", "long")]
}

/// The values of an order that stand for a place.
pub(super) fn values(place: &Place, sort: &[Sort]) -> Vec<Value> {
    let value = |sort: &Sort| match sort.field {
        "event.ingested" => place.received_ns.into(),
        "event.sequence" => place.sequence.into(),
        _ => place.origin.clone().into(),
    };
    sort.iter().map(value).collect()
}

/// What a turn gives.
pub(super) enum Turn {
    /// Hits, at least one.
    Docs(Vec<FoundDoc>),
    /// There are no more.
    End,
    /// The time is over.
    OutOfTime,
}

/// A search on its way.
pub(super) struct Pages<'c, T: Transport> {
    cluster: &'c Cluster<T>,
    filter: Filter,
    sort: Vec<Sort>,
    /// What comes back of each hit.
    pub(super) source: Source,
    /// The values of the last hit.
    pub(super) after: Option<Vec<Value>>,
    /// The point in time of the further pages.
    pub(super) pit: Option<String>,
    turns: usize,
    size: usize,
    deadline: Instant,
    is_done: bool,
    /// Backing indices that were searched.
    pub(super) shards: u64,
}

impl<'c, T: Transport> Pages<'c, T> {
    pub(super) fn new(
        cluster: &'c Cluster<T>,
        filter: Filter,
        sort: Vec<Sort>,
        first: usize,
        deadline: Instant,
    ) -> Self {
        let is_done = filter == Filter::None;
        let size = first.clamp(1, cluster.options.max_hits.clamp(1, MAX_HITS));
        let (source, after, pit) = (Source::All, None, None);
        Self {
            cluster,
            filter,
            sort,
            source,
            after,
            pit,
            turns: 0,
            size,
            deadline,
            is_done,
            shards: 0,
        }
    }

    /// The next hits.
    pub(super) fn next(&mut self) -> Result<Turn, StoreError> {
        if self.is_done {
            return Ok(Turn::End);
        }
        if (self.turns > 0 || self.after.is_some()) && self.pit.is_none() {
            self.pit = self.cluster.open().map_err(|error| unavailable(&error))?;
        }
        loop {
            let Some(timeout) = left(self.deadline) else { return Ok(Turn::OutOfTime) };
            let request = SearchRequest {
                scope: self.scope(),
                filter: self.filter.clone(),
                sort: self.sort.clone(),
                search_after: self.after.clone(),
                size: self.size,
                source: self.source.clone(),
                versions: false,
                timeout,
            };
            match self.cluster.search(&request) {
                // What it found until then is not the first of what there is.
                Ok(found) if found.timed_out => return Ok(Turn::OutOfTime),
                Ok(found) => {
                    self.shards = found.shards;
                    if found.pit_id.is_some() {
                        self.pit = found.pit_id;
                    }
                    return Ok(self.took(found.docs));
                }
                Err(SearchError::PointInTimeGone) => {
                    self.pit = self.cluster.open().map_err(|error| unavailable(&error))?;
                }
                Err(error) if is_timeout(&error) => return Ok(Turn::OutOfTime),
                // Large documents make a reply that is too long, and a connection may have been
                // closed while it was idle. A search can be sent again.
                Err(SearchError::Send(error)) if error.is_ambiguous() && self.size > 1 => {
                    self.size = self.size.div_ceil(4).min(self.size.saturating_sub(1));
                }
                Err(error) => return Err(unavailable(&error)),
            }
        }
    }

    fn scope(&self) -> Scope {
        self.pit.as_ref().map_or(Scope::Streams, |id| Scope::PointInTime {
            id: id.clone(),
            keep_alive: self.cluster.options.keep_alive,
        })
    }

    fn took(&mut self, docs: Vec<FoundDoc>) -> Turn {
        self.turns = self.turns.saturating_add(1);
        self.is_done = docs.len() < self.size;
        // Many hits are looked at for few answers: then more at once.
        let most = self.cluster.options.max_hits.clamp(1, MAX_HITS);
        self.size = self.size.saturating_mul(4).min(most);
        match docs.last() {
            Some(last) => {
                self.after = Some(last.sort.clone());
                Turn::Docs(docs)
            }
            None => Turn::End,
        }
    }

    /// Ends the search and closes its point in time.
    pub(super) fn close(self) {
        if let Some(id) = self.pit {
            self.cluster.close(id);
        }
    }
}

/// Whether the cluster says that the time was over, where half an answer is not allowed.
fn is_timeout(error: &SearchError) -> bool {
    match error {
        SearchError::Refused { kind, .. } | SearchError::Failed { kind, .. } => {
            matches!(kind.as_str(), "search_timeout_exception" | "time_exceeded_exception")
        }
        _ => false,
    }
}
