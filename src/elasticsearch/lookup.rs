//! Which of some entries are in their data stream already, in whatever backing index.
//!
//! Asked when a request may or may not have been carried out, and for what may have been sent
//! before a restart. `create` alone keeps an entry from being there twice only within the write
//! index: after a rollover it would be created again.
//!
//! A search does not see what was written since the last refresh, so the stream is refreshed
//! first. A key that may read but not refresh waits as long as a refresh takes to come by itself.
//! A key that may not read a stream cannot ask at all: then at most one duplicate comes of an entry
//! in doubt, when a rollover came between, with the same `event.id`. Only what the cluster says
//! about the key counts as that: a block is 403 too, and is waited for.

use super::deliver::{Held, Shared};
use super::document::data_stream;
use super::outcome::{Problem, not_the_document, said_of_send_error};
use super::status::add;
use super::transport::{Body, ContentType, Method, Reply, Request, Transport};
use crate::ledger::EntryId;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// Ids of one search. With [`MAX_HITS`] that leaves room for ten copies of each.
const IDS_AT_ONCE: usize = 1_000;

/// Most hits that a search gives: `index.max_result_window`.
const MAX_HITS: usize = 10_000;

/// What a lookup says.
#[derive(Default)]
pub(super) struct Found {
    /// These are there; the others of readable classes are not.
    pub(super) there: HashSet<EntryId>,
    /// Classes whose stream the key may not read.
    pub(super) unreadable: BTreeSet<u8>,
}

/// What one request of a lookup says that lasts.
#[derive(Debug, PartialEq, Eq)]
enum Said<T> {
    Yes(T),
    NoStream,
    Forbidden,
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
    let mut found = Found::default();
    for (class, ids) in by_class {
        if look_up_class(shared, class, &ids, held, &mut found.there).await.is_err() {
            found.unreadable.insert(class);
        }
    }
    found
}

/// The key may not read the stream.
struct Unreadable;

/// Adds to `there` what is there of one class.
async fn look_up_class<T: Transport>(
    shared: &Shared<T>,
    class: u8,
    ids: &[EntryId],
    held: &mut Held,
    there: &mut HashSet<EntryId>,
) -> Result<(), Unreadable> {
    let (stream, timeout) = (data_stream(class), shared.options.timeout);
    match until_said(shared, refresh(&stream, timeout), read_refreshed, held).await {
        Said::Yes(()) => {}
        Said::NoStream => return Ok(()),
        Said::Forbidden => {
            // Whether it may read at all, and to wake a shard that nobody searched for long.
            let probe = search(&stream, ids.get(..1).unwrap_or_default(), timeout);
            match until_said(shared, probe, read_found, held).await {
                Said::NoStream => return Ok(()),
                Said::Forbidden => return Err(Unreadable),
                Said::Yes(_) => {}
            }
            tokio::time::sleep(shared.options.refresh_wait).await;
        }
    }
    for ids in ids.chunks(IDS_AT_ONCE) {
        match until_said(shared, search(&stream, ids, timeout), read_found, held).await {
            Said::Yes(found) => there.extend(found),
            Said::NoStream => {}
            Said::Forbidden => return Err(Unreadable),
        }
    }
    Ok(())
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
            Err(error) => {
                shared.identity.doubt();
                (Err(Problem::Unavailable), None, said_of_send_error(&error))
            }
        };
        match said {
            Err(problem) => {
                ticket.failed(problem, retry_after);
                held.set(problem, &text);
            }
            Ok(said) => {
                ticket.answered(false);
                return said;
            }
        }
    }
}

/// What a reply says, or what may be otherwise later.
fn of_reply<A>(reply: &Reply, read: fn(&[u8]) -> Option<A>) -> Result<Said<A>, Problem> {
    let kind = error_type(&reply.body);
    match (reply.status, kind.as_deref()) {
        (200, _) => read(&reply.body).map(Said::Yes).ok_or(Problem::Unavailable),
        // A proxy answers 404 and 403 too, but not with these: then nothing is known.
        (404, Some("index_not_found_exception")) => Ok(Said::NoStream),
        (403, Some("security_exception")) => Ok(Said::Forbidden),
        (429, _) => Err(Problem::Busy),
        (status @ 400..500, kind) => Err(kind.and_then(not_the_document).unwrap_or(match status {
            401 | 403 => Problem::Unauthorized,
            _ => Problem::Refused,
        })),
        _ => Err(Problem::Unavailable),
    }
}

/// The type of the error in a reply, when the reply is the cluster's.
fn error_type(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Failure<'a> {
        #[serde(borrow)]
        error: Kind<'a>,
    }
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<Failure<'_>>(body).ok().map(|failure| failure.error.kind)
}

pub(super) fn refresh(stream: &str, timeout: Duration) -> Request {
    Request {
        method: Method::Post,
        path: format!("/{stream}/_refresh"),
        query: vec![("filter_path", "_shards.failed".to_owned())],
        body: None,
        timeout,
    }
}

pub(super) fn read_refreshed(body: &[u8]) -> Option<()> {
    let refreshed = serde_json::from_slice::<Refreshed>(body).ok()?;
    (refreshed.shards.failed == 0).then_some(())
}

fn search(stream: &str, ids: &[EntryId], timeout: Duration) -> Request {
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
        timeout,
    }
}

fn read_found(body: &[u8]) -> Option<Vec<EntryId>> {
    let reply = serde_json::from_slice::<SearchReply<'_>>(body).ok()?;
    let whole = !reply.timed_out && reply.shards.failed == 0;
    // Documents with other ids are not ours; none is found by a search for ours.
    whole.then(|| reply.hits.hits.iter().filter_map(|hit| hit.id.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Result<Said<Vec<EntryId>>, Problem> {
        of_reply(&Reply { status, body: body.to_owned().into(), retry_after: None }, read_found)
    }

    fn error(status: u16, kind: &str) -> Result<Said<Vec<EntryId>>, Problem> {
        said(status, &format!(r#"{{"error":{{"type":"{kind}"}}}}"#))
    }

    #[test]
    fn only_what_the_cluster_says_about_the_key_means_that_it_may_not_read() {
        assert_eq!(error(403, "security_exception"), Ok(Said::Forbidden));
        assert_eq!(error(403, "cluster_block_exception"), Err(Problem::Blocked));
        assert_eq!(error(400, "index_closed_exception"), Err(Problem::Blocked));
        assert_eq!(error(404, "index_not_found_exception"), Ok(Said::NoStream));
        assert_eq!(said(403, "<html>no</html>"), Err(Problem::Unauthorized));
        assert_eq!(said(404, "<html>no</html>"), Err(Problem::Refused));
        assert_eq!(error(401, "security_exception"), Err(Problem::Unauthorized));
        assert_eq!(error(429, "circuit_breaking_exception"), Err(Problem::Busy));
        assert_eq!(said(502, "<html>"), Err(Problem::Unavailable));
    }

    #[test]
    fn half_an_answer_is_none() {
        let whole = r#"{"timed_out":false,"_shards":{"failed":0}}"#;
        assert_eq!(said(200, whole), Ok(Said::Yes(vec![])));
        for half in [
            whole.replace("false", "true"),
            whole.replace('0', "1"),
            whole.replace("timed_out", "other"),
        ] {
            assert_eq!(said(200, &half), Err(Problem::Unavailable), "{half}");
        }
    }
}
