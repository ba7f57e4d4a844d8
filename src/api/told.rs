//! What the routes of governance share: ids in paths, entries as records, a story and its study.

use super::caller::Caller;
use super::limits::{MAX_ID_BYTES, QUERY_BUDGET, STREAM_BUDGET};
use super::problem::Problem;
use super::service::{Api, json};
use crate::access::Tenant;
use crate::correlate::Namespace;
use crate::store::query::Query;
use crate::store::{AuditStore, Cursor, Hit, Order, QueryRequest, TraceRequest, TraceStory};
use crate::story::{Finding, MAX_STUDIED, Record, Study, missing, streams};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Parameters of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Items on this page, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
}

/// Over what actions, approvals, findings and usage were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Studied {
    /// Entries that were looked at: none on a page behind the first.
    pub entries: usize,
    /// Entries of the story.
    pub of: usize,
    /// Whether these are all. Otherwise something that is said to be missing may be further on.
    pub complete: bool,
}

/// The id in a path.
pub(super) fn id_in_path(id: IdInPath) -> Result<String, Problem> {
    let Path(id) = id.map_err(|_| {
        Problem::parameter("The id is not percent-encoded UTF-8: encode each byte of it as %XX.")
    })?;
    if id.len() > MAX_ID_BYTES {
        let detail = format!("An id has at most {MAX_ID_BYTES} bytes; this one joins nothing.");
        return Err(Problem::parameter(detail));
    }
    Ok(id)
}

/// Nothing carries the id.
pub(super) fn unknown(what: &str) -> Problem {
    Problem::not_found(format!(
        "No entry names this {what}. Ids are compared as they are written; what was acknowledged a \
         moment ago is shown a moment later. GET /api/v1/traces/{{id}} takes any other kind of id."
    ))
}

/// Entries as records, in the order of the hits. One that cannot be read says nothing.
pub(super) fn records(hits: &[Hit]) -> Vec<Record> {
    hits.iter().filter_map(|hit| Record::read(&hit.document, hit.event_ns)).collect()
}

/// A field that has this value.
pub(super) fn is(field: &str, value: &str) -> Query {
    Query::term(field, value)
}

/// A question to the store in this order.
pub(super) fn request(tenant: &Tenant, query: Query, order: Order, limit: usize) -> QueryRequest {
    QueryRequest { order, limit, budget: QUERY_BUDGET, ..QueryRequest::new(tenant.clone(), query) }
}

/// Whether any entry answers.
pub(super) fn exists(api: &Api, tenant: &Tenant, query: Query) -> Result<bool, Problem> {
    let page = api.store.query(&request(tenant, query, Order::Newest, 1))?;
    Ok(!page.hits.is_empty())
}

/// A page of a story, and what the whole of it says.
pub(super) struct Told {
    pub(super) story: TraceStory,
    pub(super) study: Study,
    pub(super) studied: Studied,
}

/// The story of an id that names one of these, or anything when none is given. What it says is found out with the first page, over all of the story up to a
/// bound: part of a story would seem to miss what stands on the next page.
pub(super) fn tell(
    api: &Api,
    tenant: &Tenant,
    id: (&str, &'static [Namespace]),
    order: Order,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<Told, Problem> {
    let ask = |order, limit, cursor| {
        let (id, namespaces) = id;
        let request = TraceRequest::new(tenant.clone(), id);
        let budget = QUERY_BUDGET;
        api.store.trace(&TraceRequest { namespaces, order, limit, cursor, budget, ..request })
    };
    if cursor.is_some() {
        let story = ask(order, limit, cursor)?;
        let studied = Studied { entries: 0, of: story.total, complete: false };
        return Ok(Told { story, study: Study::default(), studied });
    }
    let in_story = order == Order::Story;
    let most = if in_story { limit.max(MAX_STUDIED) } else { limit };
    let mut story = ask(order, most, None)?;
    let read = if story.next_cursor.is_none() || in_story {
        records(&story.entries)
    } else {
        records(&ask(Order::Story, MAX_STUDIED, None)?.entries)
    };
    let entries = read.len();
    let complete = entries >= story.total && !story.truncated;
    let gaps = gaps(&*api.store, tenant, &read);
    let mut study = Study::of(read);
    study.add(gaps);
    if story.entries.len() > limit {
        story.entries.truncate(limit);
        let last = story.entries.last();
        story.next_cursor = last.map(|hit| Cursor::After { event_ns: hit.event_ns, id: hit.id });
    }
    let studied = Studied { entries, of: story.total, complete };
    Ok(Told { story, study, studied })
}

/// What is missing in the streams of numbers that sources gave to their records. A stream that is
/// too long to be read now is passed over: silence is no finding.
fn gaps(store: &dyn AuditStore, tenant: &Tenant, read: &[Record]) -> Vec<Finding> {
    let whole = |stream: &str| {
        let query = is("attributes.audit.sequence.stream_id", stream);
        let request = request(tenant, query, Order::Newest, MAX_STUDIED);
        let page = store.query(&QueryRequest { budget: STREAM_BUDGET, ..request }).ok()?;
        (page.next_cursor.is_none() && !page.timed_out).then(|| records(&page.hits))
    };
    streams(read).iter().filter_map(|stream| missing(stream, &whole(&stream.id)?)).collect()
}

/// Answers a question about the evidence of the tenant that is named, else of the caller's own.
pub(super) async fn answer<T: Serialize + Send + 'static>(
    api: &Api,
    caller: &Caller,
    tenant: Option<&str>,
    work: impl FnOnce(&Api, &Tenant) -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let tenant = caller.scope(tenant, None)?;
    json(&api.ask(caller, move |api| work(api, &tenant)).await?)
}

/// The id that a path has, as the router gives it.
pub(super) type IdInPath = Result<Path<String>, PathRejection>;

/// Answers a question about what the id in the path names.
pub(super) async fn answer_about<T: Serialize + Send + 'static>(
    api: &Api,
    caller: &Caller,
    id: IdInPath,
    tenant: Option<&str>,
    work: impl FnOnce(&Api, &Tenant, &str) -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let id = id_in_path(id)?;
    answer(api, caller, tenant, move |api, tenant| work(api, tenant, &id)).await
}
