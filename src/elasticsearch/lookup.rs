//! Which of some entries are in their data stream already, in whatever backing index.
//!
//! Asked when a request may or may not have been carried out, and for what may have been sent
//! before a restart. `create` alone keeps an entry from being there twice only within the write
//! index: after a rollover it would be created again.
//!
//! A search does not see what was written since the last refresh, so the stream is refreshed
//! first. A key that may read but not refresh waits as long as a refresh takes to come by itself.
//! A key that may not read cannot ask at all: then at most one duplicate comes of an entry in
//! doubt, when a rollover came between, with the same `event.id`.

use super::deliver::{Held, Shared};
use super::document::data_stream;
use super::outcome::Problem;
use super::status::add;
use super::transport::{Body, ContentType, Method, Reply, Request, Transport};
use crate::ledger::EntryId;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Ids of one search. With [`MAX_HITS`] that leaves room for ten copies of each.
const IDS_AT_ONCE: usize = 1_000;

/// Most hits that a search gives: `index.max_result_window`.
const MAX_HITS: usize = 10_000;

/// What a lookup says.
pub(super) enum Found {
    /// These are there, the others are not.
    There(HashSet<EntryId>),
    /// The key may not read.
    Unreadable,
}

/// What one request of a lookup says.
enum Said<T> {
    Yes(T),
    NoStream,
    Forbidden,
    /// Something that may be otherwise later.
    Failed(Problem),
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Refreshed {
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct SearchReply<'a> {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow, default)]
    hits: Hits<'a>,
}

#[derive(Deserialize, Default)]
struct Hits<'a> {
    #[serde(borrow, default)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
}

/// Asks until there is an answer.
pub(super) async fn look_up<T: Transport>(
    shared: &Shared<T>,
    entries: impl Iterator<Item = (u8, EntryId)>,
    held: &mut Held,
) -> Found {
    let mut by_class: BTreeMap<u8, Vec<EntryId>> = BTreeMap::new();
    for (class, id) in entries {
        by_class.entry(class).or_default().push(id);
    }
    let mut there = HashSet::new();
    for (class, ids) in by_class {
        let stream = data_stream(class);
        let refreshed = match until_said(shared, refresh(&stream), read_refreshed, held).await {
            Said::Yes(()) => true,
            Said::NoStream => continue,
            Said::Forbidden | Said::Failed(_) => false,
        };
        if !refreshed {
            // Whether it may read at all, and to wake a shard that nobody searched for long.
            let probe = search(&stream, ids.get(..1).unwrap_or_default());
            match until_said(shared, probe, read_found, held).await {
                Said::NoStream => continue,
                Said::Forbidden => return Found::Unreadable,
                Said::Yes(_) | Said::Failed(_) => {}
            }
            tokio::time::sleep(shared.options.refresh_wait).await;
        }
        for ids in ids.chunks(IDS_AT_ONCE) {
            match until_said(shared, search(&stream, ids), read_found, held).await {
                Said::Yes(found) => there.extend(found),
                Said::NoStream => {}
                Said::Forbidden | Said::Failed(_) => return Found::Unreadable,
            }
        }
    }
    Found::There(there)
}

/// Sends a request again until its answer is one that lasts.
async fn until_said<T: Transport, A>(
    shared: &Shared<T>,
    request: Request,
    read: fn(&[u8]) -> Option<A>,
    held: &mut Held,
) -> Said<A> {
    loop {
        let ticket = shared.gate.enter().await;
        add(&shared.status.lookups, 1);
        let (said, retry_after, text) = match shared.transport.send(request.clone()).await {
            Ok(reply) => {
                let text = format!("the cluster answered a lookup with {}", reply.status);
                (of_reply(&reply, read), reply.retry_after, text)
            }
            Err(error) => (Said::Failed(Problem::Unavailable), None, error.to_string()),
        };
        match said {
            Said::Failed(problem) => {
                ticket.failed(problem, retry_after);
                held.set(problem, &text);
            }
            said => {
                ticket.answered(false);
                return said;
            }
        }
    }
}

fn of_reply<A>(reply: &Reply, read: fn(&[u8]) -> Option<A>) -> Said<A> {
    match reply.status {
        200 => read(&reply.body).map_or(Said::Failed(Problem::Unavailable), Said::Yes),
        // A proxy answers 404 too, but not with this: then nothing is known.
        404 if is_index_missing(&reply.body) => Said::NoStream,
        403 => Said::Forbidden,
        401 => Said::Failed(Problem::Unauthorized),
        429 => Said::Failed(Problem::Busy),
        400..500 => Said::Failed(Problem::Refused),
        _ => Said::Failed(Problem::Unavailable),
    }
}

fn is_index_missing(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Missing<'a> {
        #[serde(borrow)]
        error: Kind<'a>,
    }
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let missing = serde_json::from_slice::<Missing<'_>>(body);
    missing.is_ok_and(|missing| missing.error.kind == "index_not_found_exception")
}

pub(super) fn refresh(stream: &str) -> Request {
    Request {
        method: Method::Post,
        path: format!("/{stream}/_refresh"),
        query: vec![("filter_path", "_shards.failed".to_owned())],
        body: None,
        timeout: super::bulk::DEFAULT_BULK_TIMEOUT,
    }
}

pub(super) fn read_refreshed(body: &[u8]) -> Option<()> {
    let refreshed = serde_json::from_slice::<Refreshed>(body).ok()?;
    (refreshed.shards.failed == 0).then_some(())
}

fn search(stream: &str, ids: &[EntryId]) -> Request {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let body = serde_json::json!({
        "size": MAX_HITS,
        "_source": false,
        "track_total_hits": false,
        "sort": ["_doc"],
        "query": { "ids": { "values": ids } },
    });
    let query = vec![
        ("filter_path", "timed_out,_shards.failed,hits.hits._id".to_owned()),
        // Half an answer would be read as "not there".
        ("allow_partial_search_results", "false".to_owned()),
    ];
    let bytes = Bytes::from(body.to_string());
    Request {
        method: Method::Post,
        path: format!("/{stream}/_search"),
        query,
        body: Some(Body { bytes, content_type: ContentType::Json, gzip: false }),
        timeout: super::bulk::DEFAULT_BULK_TIMEOUT,
    }
}

fn read_found(body: &[u8]) -> Option<Vec<EntryId>> {
    let reply = serde_json::from_slice::<SearchReply<'_>>(body).ok()?;
    let whole = !reply.timed_out && reply.shards.failed == 0;
    // Documents with other ids are not ours; none is found by a search for ours.
    whole.then(|| reply.hits.hits.iter().filter_map(|hit| hit.id.parse().ok()).collect())
}
