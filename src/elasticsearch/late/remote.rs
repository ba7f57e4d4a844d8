//! The documents of a real cluster. Asked from the correlator's own thread, which waits for each
//! reply; every wait ends when the correlator is to end.

use super::LateError;
use super::documents::{Ask, Documents, Fetched, Found, Lack, Place, Rights, Written};
use super::link::Link;
use super::replies::{self, ID_FIELDS, of_documents, of_links};
use super::seed::forms;
use crate::correlate::{Id, JoinRules};
use crate::elasticsearch::bulk::DEFAULT_BULK_TIMEOUT;
use crate::elasticsearch::document::data_stream;
use crate::elasticsearch::ids::{carries, entries_of};
use crate::elasticsearch::lookup::{read_refreshed, refresh};
use crate::elasticsearch::search::{
    Filter, FoundDoc, STREAMS, Scope, SearchRequest, Sort, Source, search,
};
use crate::elasticsearch::{Body, ContentType, Method, Reply, Request, Transport};
use crate::export::ConsumerStatus;
use crate::store::facets::Facets;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Ids of one search.
pub const IDS_AT_ONCE: usize = 1_000;

/// Documents of one page.
const PAGE: usize = 1_000;

/// Clauses of one search for documents that lack ids. OpenSearch takes 1,024.
const MAX_CLAUSES: usize = 512;

/// Clauses of a group beside those of its ids.
const CLAUSES_BESIDE: usize = 24;

/// How often a wait looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A cluster.
#[derive(Debug)]
pub(super) struct Remote<T> {
    transport: T,
    runtime: Handle,
    stop: Option<Arc<ConsumerStatus>>,
    rules: JoinRules,
    /// How long a refresh takes to come by itself.
    refresh_wait: Duration,
    timeout: Duration,
    /// Whether the cluster knows `require_data_stream`.
    is_guarded: bool,
}

impl<T: Transport> Remote<T> {
    pub(super) fn new(
        transport: T,
        runtime: Handle,
        rules: JoinRules,
        timeout: Duration,
        refresh_wait: Duration,
    ) -> Self {
        Self { transport, runtime, stop: None, rules, refresh_wait, timeout, is_guarded: true }
    }

    /// Waits for something, unless the correlator is to end first.
    fn wait<F: Future>(&self, what: F) -> Result<F::Output, LateError> {
        let stop = self.stop.clone();
        let stopping = async move {
            let mut looks = tokio::time::interval(LOOK_UP);
            loop {
                looks.tick().await;
                if stop.as_ref().is_some_and(|status| status.is_stopping()) {
                    return;
                }
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stopping => Err(LateError::Stopping),
                output = what => Ok(output),
            }
        })
    }

    fn send(&self, request: Request) -> Result<Reply, LateError> {
        self.wait(self.transport.send(request))?
            .map_err(|error| LateError::NoReply(error.to_string()))
    }

    fn post(&self, path: &str, query: Vec<(&'static str, String)>, body: &Value) -> Request {
        Request {
            method: Method::Post,
            path: path.to_owned(),
            query,
            body: Some(Body {
                bytes: body.to_string().into(),
                content_type: ContentType::Json,
                gzip: false,
            }),
            timeout: self.timeout,
        }
    }

    /// Every document of a filter, up to a limit; whether there were more.
    fn pages(
        &self,
        filter: &Filter,
        limit: usize,
        visit: &mut dyn FnMut(Found),
    ) -> Result<bool, LateError> {
        let sort = |field| Sort { field, kind: "keyword", descending: false };
        let mut request = SearchRequest {
            scope: Scope::Streams,
            filter: filter.clone(),
            // The index too: a copy of an entry in another index is a document of its own.
            sort: vec![sort("event.id"), sort("_index")],
            search_after: None,
            size: PAGE,
            source: Source::Fields(ID_FIELDS.to_vec()),
            versions: false,
            timeout: self.timeout,
        };
        let mut left = limit;
        loop {
            let found = self.wait(search(&self.transport, &request))??;
            if found.timed_out {
                return Err(LateError::Slow);
            }
            let (count, last) = (found.docs.len(), found.docs.last().map(|doc| doc.sort.clone()));
            for document in found.docs {
                if left == 0 {
                    return Ok(true);
                }
                if let Some(found) = read(&document, &self.rules) {
                    left = left.saturating_sub(1);
                    visit(found);
                }
            }
            if count < PAGE || last.is_none() {
                return Ok(false);
            }
            request.search_after = last;
        }
    }
}

fn bulk(body: String, guarded: bool) -> Request {
    let mut query = vec![("filter_path", replies::BULK_FILTER.to_owned())];
    if guarded {
        query.push(("require_data_stream", "true".to_owned()));
    }
    let body = Body { bytes: body.into(), content_type: ContentType::NdJson, gzip: false };
    Request {
        method: Method::Post,
        path: "/_bulk".to_owned(),
        query,
        body: Some(body),
        timeout: DEFAULT_BULK_TIMEOUT,
    }
}

/// Which documents stopped or resumed a run.
fn pauses() -> Filter {
    Filter::or([
        Filter::Exists("audit.interrupt.reason"),
        Filter::Exists("audit.interrupt.response"),
        Filter::Exists("audit.interrupt.responder"),
        Filter::Term("audit.kind", "interrupt".to_owned()),
    ])
}

/// What a search says of a document. `None`: it is none of ours.
fn read(document: &FoundDoc, rules: &JoinRules) -> Option<Found> {
    let source = document.source.as_ref()?.get();
    let said: replies::Said = serde_json::from_str(source).ok()?;
    let entry = u128::from_str_radix(&said.event.id, 16).ok()?.to_be_bytes();
    let given = said.audit.correlation.unwrap_or_default();
    Some(Found {
        member: Facets::from_body(source.as_bytes()).member(0, entry, 0),
        forms: forms(source.as_bytes(), rules),
        late: given.trace_id,
        truncated: given.truncated,
        place: Place { index: document.index.clone(), id: document.id.clone() },
    })
}

impl<T: Transport> Documents for Remote<T> {
    fn begin(&mut self, status: &Arc<ConsumerStatus>) {
        self.stop = Some(status.clone());
    }

    fn rights(&mut self) -> Result<Rights, LateError> {
        let asked = json!({"index": [{"names": [STREAMS], "privileges": ["read", "index"]}]});
        let request = self.post("/_security/user/_has_privileges", Vec::new(), &asked);
        replies::of_rights(&self.send(request)?)
    }

    fn refresh(&mut self, classes: &[u8]) -> Result<(), LateError> {
        for class in classes {
            let stream = data_stream(*class);
            let reply = self.send(refresh(&stream, self.timeout))?;
            match reply.status {
                200 if read_refreshed(&reply.body).is_some() => continue,
                // No stream: everything of this class is a dead letter.
                404 => continue,
                403 => {}
                _ => return Err(replies::failure(&reply)),
            }
            // Also wakes a shard that nobody searched for long.
            let probe = entries_of("");
            self.pages(&probe, 1, &mut |_| {})?;
            self.wait(async { tokio::time::sleep(self.refresh_wait).await })?;
            // One wait is enough for all.
            return Ok(());
        }
        Ok(())
    }

    fn find(&mut self, ask: &Ask<'_>, visit: &mut dyn FnMut(Found)) -> Result<bool, LateError> {
        let mut left = ask.limit;
        for ids in ask.ids.chunks(IDS_AT_ONCE) {
            let mut filter = vec![entries_of(ask.tenant), carries(ids)];
            if let Some(origin) = ask.except_origin {
                filter.push(Filter::not(Filter::Term("audit.ledger.origin", origin.to_owned())));
            }
            if ask.pauses_only {
                filter.push(pauses());
            }
            let more = self.pages(&Filter::and(filter), left, &mut |found| {
                left = left.saturating_sub(1);
                visit(found);
            })?;
            if more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lacking(
        &mut self,
        tenant: &str,
        groups: &[Lack<'_>],
        visit: &mut dyn FnMut(usize, Place),
    ) -> Result<(), LateError> {
        let mut of_id: HashMap<&Id<'static>, usize> = HashMap::new();
        for (at, group) in groups.iter().enumerate() {
            of_id.extend(group.ids.iter().map(|id| (id, at)));
        }
        let group_of = |ids: &[Id<'static>]| {
            let exact = ids.iter().find_map(|id| of_id.get(&id.canonical()).copied());
            // The half of an id stands for the whole.
            exact.or_else(|| {
                groups.iter().position(|group| {
                    group.ids.iter().any(|known| ids.iter().any(|id| id.is_same_as(known)))
                })
            })
        };
        let mut send = |parts: Vec<Filter>| {
            let filter = Filter::and([entries_of(tenant), Filter::or(parts)]);
            self.pages(&filter, usize::MAX, &mut |found| {
                if let Some(group) = group_of(&found.member.ids) {
                    visit(group, found.place);
                }
            })
        };
        let (mut parts, mut clauses) = (Vec::new(), 0_usize);
        for group in groups {
            for ids in group.ids.chunks(IDS_AT_ONCE) {
                let more =
                    group.forms.len().min(super::MAX_LATE_IDS).saturating_add(CLAUSES_BESIDE);
                if clauses.saturating_add(more) > MAX_CLAUSES && !parts.is_empty() {
                    send(std::mem::take(&mut parts))?;
                    clauses = 0;
                }
                clauses = clauses.saturating_add(more);
                parts.push(lacks(ids, group.forms));
            }
        }
        if !parts.is_empty() {
            send(parts)?;
        }
        Ok(())
    }

    fn fetch(&mut self, places: &[Place]) -> Result<Vec<Fetched>, LateError> {
        let docs: Vec<Value> =
            places.iter().map(|place| json!({"_index": place.index, "_id": place.id})).collect();
        // No filter: a reply that is filtered is written anew, and with it the numbers in it.
        let request = self.post("/_mget", Vec::new(), &json!({ "docs": docs }));
        of_documents(&self.send(request)?)
    }

    fn write(&mut self, documents: &[Fetched]) -> Result<Vec<Written>, LateError> {
        let mut body = String::new();
        for document in documents {
            let action = json!({"index": {
                "_index": document.place.index,
                "_id": document.place.id,
                "if_seq_no": document.seq_no,
                "if_primary_term": document.primary_term,
            }});
            body.push_str(&action.to_string());
            body.push('\n');
            body.push_str(&document.source);
            body.push('\n');
        }
        let reply = self.send(bulk(body, false))?;
        replies::of_writes(&reply, documents.len())
    }

    fn link(&mut self, links: &[Link]) -> Result<usize, LateError> {
        let mut body = String::new();
        for link in links {
            let action = json!({"create": {"_index": link.stream, "_id": link.id}});
            body.push_str(&action.to_string());
            body.push('\n');
            body.push_str(&link.document);
            body.push('\n');
        }
        let mut reply = self.send(bulk(body.clone(), self.is_guarded))?;
        if self.is_guarded && replies::names_the_guard(&reply) {
            self.is_guarded = false;
            reply = self.send(bulk(body, false))?;
        }
        of_links(&reply, links.len())
    }
}

/// Documents with one of the ids and without one of the forms.
fn lacks(ids: &[Id<'static>], forms: &[String]) -> Filter {
    let has_all = if forms.len() > super::MAX_LATE_IDS {
        // Those that were given as many as they may have.
        Filter::Term("audit.correlation.truncated", "true".to_owned())
    } else {
        Filter::and(forms.iter().map(|form| Filter::Term("trace_id", form.clone())))
    };
    Filter::and([carries(ids), Filter::not(has_all)])
}
