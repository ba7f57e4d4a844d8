//! Checkpoints of the public log in a cluster: a data stream of their own, in which documents are only
//! created.
//!
//! ```text
//! signed checkpoint ─► PUT spanledger.checkpoints/_create/<random id> ─► 201, or 409: it is there already
//! verify            ◄─ all of them, the smallest tree first
//! ```
//!
//! The stream's name is none of `spanledger-*`: keys and roles for entries say nothing of it, and the key
//! that writes it may do nothing else. `create` never writes over what is there. The id is random, so that
//! nobody can be there before with something else under it, and stays while one checkpoint is offered, so
//! that a reply that was lost makes no second document.

use super::outcome::said_of_send_error;
use super::search::{Filter, FoundDoc, Scope, SearchError, SearchRequest, Sort, Source, search};
use super::transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::store::projection::write_hex;
use serde_json::{Value, json};
use std::time::Duration;

/// The data stream.
pub const CHECKPOINT_STREAM: &str = "spanledger.checkpoints";

/// Field with the size of the tree.
const SIZE: &str = "size";

/// Field with the signed note.
const NOTE: &str = "checkpoint";

/// Time for a reply.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a search.
const SEARCH_TIMEOUT: Duration = Duration::from_mins(1);

/// Documents that are read at once: some hundred bytes each, unless somebody put others there.
const PAGE: usize = 1_000;

/// Why a checkpoint is not kept. It is offered again.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is no reply.
    #[error("{}", said_of_send_error(.0))]
    Send(SendError),
    /// Nobody has set the data stream up.
    #[error(
        "there is no data stream {CHECKPOINT_STREAM}: run `spanledger setup elasticsearch --checkpoints`"
    )]
    NoStream,
    /// The cluster does not know who we are.
    #[error("the cluster does not accept the credentials (401); renew them in the configuration")]
    Unauthorized,
    /// The credentials may not do it.
    #[error(
        "the credentials may not create documents in {CHECKPOINT_STREAM} (403); they need the role \
         spanledger-checkpoints"
    )]
    Forbidden,
    /// It answered something else.
    #[error("the cluster answered {0}")]
    Refused(u16),
    /// The system gave no random bytes for an id.
    #[error("the system gave no random bytes")]
    Random,
}

/// Keeps checkpoints in a cluster.
#[derive(Debug)]
pub struct CheckpointStream<T> {
    cluster: T,
    /// Whether the data stream was there at the last look.
    is_there: bool,
    /// What may or may not have arrived, and its id.
    offered: Option<(Vec<u8>, String)>,
}

impl<T: Transport> CheckpointStream<T> {
    /// Nothing is sent yet.
    pub fn new(cluster: T) -> Self {
        Self { cluster, is_there: false, offered: None }
    }

    /// Creates the document of a checkpoint; `time` is now, as documents write times.
    ///
    /// # Errors
    /// [`KeepError`]. Offered again, it is there once.
    pub async fn keep(&mut self, signed: &SignedCheckpoint, time: &str) -> Result<(), KeepError> {
        if !self.is_there {
            self.look().await?;
            self.is_there = true;
        }
        let id = match self.offered.take() {
            Some((note, id)) if note == signed.note => id,
            _ => random_id()?,
        };
        self.offered = Some((signed.note.clone(), id.clone()));
        let document = json!({
            "@timestamp": time,
            "origin": signed.checkpoint.origin,
            SIZE: signed.checkpoint.head.size,
            NOTE: String::from_utf8_lossy(&signed.note),
        });
        let path = format!("/{CHECKPOINT_STREAM}/_create/{id}");
        let reply = self.send(Method::Put, path, Some(document.to_string())).await?;
        match reply.status {
            // There already: an earlier attempt arrived, and its reply did not.
            200 | 201 | 409 => {
                self.offered = None;
                Ok(())
            }
            401 => Err(KeepError::Unauthorized),
            403 => Err(KeepError::Forbidden),
            status => {
                // It may have been deleted: without its template a plain index would be made.
                self.is_there = false;
                Err(if status == 404 { KeepError::NoStream } else { KeepError::Refused(status) })
            }
        }
    }

    /// Whether the data stream is there. Where only its template is, it is made.
    async fn look(&self) -> Result<(), KeepError> {
        let path = format!("/_data_stream/{CHECKPOINT_STREAM}");
        let there = self.send(Method::Get, path.clone(), None).await?;
        match there.status {
            // A key that may only create documents cannot see it; what it creates then says more.
            200 | 403 => Ok(()),
            401 => Err(KeepError::Unauthorized),
            404 => match self.send(Method::Put, path, None).await?.status {
                200 => Ok(()),
                400 | 403 | 404 => Err(KeepError::NoStream),
                status => Err(KeepError::Refused(status)),
            },
            status => Err(KeepError::Refused(status)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Option<String>,
    ) -> Result<Reply, KeepError> {
        let body = body.map(|text| Body {
            bytes: text.into(),
            content_type: ContentType::Json,
            gzip: false,
        });
        let request = Request { method, path, query: Vec::new(), body, timeout: TIMEOUT };
        self.cluster.send(request).await.map_err(KeepError::Send)
    }
}

fn random_id() -> Result<String, KeepError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| KeepError::Random)?;
    let mut id = Vec::with_capacity(32);
    write_hex(&bytes, &mut id);
    Ok(String::from_utf8(id).unwrap_or_default())
}

/// Shows each document that is kept: its id, and the note in it, if there is one. Those of the
/// smallest trees come first.
///
/// # Errors
/// [`SearchError`]; also when the cluster shows the same again and again. A data stream that is not there
/// has no documents.
pub async fn read_checkpoints<T: Transport>(
    cluster: &T,
    see: &mut (dyn FnMut(&str, Option<&str>) + Send),
) -> Result<(), SearchError> {
    let sort = |field, kind| Sort { field, kind, descending: false };
    let mut request = SearchRequest {
        scope: Scope::Stream(CHECKPOINT_STREAM),
        filter: Filter::Exists("@timestamp"),
        sort: vec![sort(SIZE, "long"), sort("@timestamp", "date_nanos")],
        search_after: None,
        size: PAGE,
        source: Source::Fields(vec![NOTE]),
        versions: false,
        timeout: SEARCH_TIMEOUT,
    };
    loop {
        let found = search(cluster, &request).await?;
        for document in &found.docs {
            show(document, see);
        }
        match found.docs.last() {
            Some(last) if found.docs.len() >= PAGE => {
                // Documents have to come after those of the page before: else it never ends.
                let before = request.search_after.as_deref();
                if before.is_some_and(|before| !comes_after(&last.sort, before)) {
                    let kind = "it shows the same page again".to_owned();
                    return Err(SearchError::Failed { status: 200, kind });
                }
                request.search_after = Some(last.sort.clone());
            }
            _ => return Ok(()),
        }
    }
}

/// Whether a document of that place comes after one of the other, smallest tree first.
fn comes_after(place: &[Value], other: &[Value]) -> bool {
    // As they are ordered there: what has no value comes last.
    let rank = |value: &Value| match value {
        Value::Number(number) => (0, number.as_i128().unwrap_or(i128::MAX), String::new()),
        Value::String(text) => (1, 0, text.clone()),
        _ => (2, 0, String::new()),
    };
    place.iter().map(rank).gt(other.iter().map(rank))
}

fn show(document: &FoundDoc, see: &mut dyn FnMut(&str, Option<&str>)) {
    let source = document.source.as_ref().map(|source| source.get());
    let source: Value = source.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    see(&document.id, source.get(NOTE).and_then(serde_json::Value::as_str));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::TreeHead;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    /// Answers with these in turn, and remembers what was asked. 0 is no reply.
    #[derive(Clone, Default)]
    struct Scripted {
        replies: Arc<Mutex<VecDeque<u16>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Scripted {
        fn answering(replies: &[u16]) -> Self {
            let this = Self::default();
            this.replies.lock().unwrap().extend(replies);
            this
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    impl Transport for Scripted {
        async fn send(&self, request: Request) -> Result<Reply, SendError> {
            self.asked.lock().unwrap().push(format!("{:?} {}", request.method, request.path));
            let status = self.replies.lock().unwrap().pop_front().unwrap();
            if status == 0 {
                let host = "http://es".to_owned();
                return Err(SendError::NoReply { host, source: "cut".into() });
            }
            Ok(Reply { status, body: "{}".into(), retry_after: None })
        }
    }

    fn checkpoint(size: u64) -> SignedCheckpoint {
        let head = TreeHead { size, root: [1; 32] };
        let key = LogKey::generate("spanledger/0").unwrap();
        let checkpoint = Checkpoint { origin: "spanledger/0".to_owned(), head };
        SignedCheckpoint::sign(&checkpoint, &[&key]).unwrap()
    }

    const NOW: &str = "2026-01-01T00:00:00.000000000Z";

    #[tokio::test]
    async fn what_may_have_arrived_is_offered_again_under_its_id_and_the_next_under_another() {
        let cluster = Scripted::answering(&[200, 0, 409, 201]);
        let mut stream = CheckpointStream::new(cluster.clone());
        let (one, two) = (checkpoint(1), checkpoint(2));
        let lost = stream.keep(&one, NOW).await.unwrap_err();
        assert!(lost.to_string().contains("http://es"), "{lost}");
        stream.keep(&one, NOW).await.unwrap();
        stream.keep(&two, NOW).await.unwrap();
        let asked = cluster.asked();
        assert_eq!(asked[0], "Get /_data_stream/spanledger.checkpoints");
        assert_eq!(asked[1], asked[2], "the same id");
        assert_ne!(asked[2], asked[3]);
        assert!(asked[1].starts_with("Put /spanledger.checkpoints/_create/"), "{asked:?}");
    }

    #[tokio::test]
    async fn no_plain_index_is_made_where_nobody_set_a_data_stream_up() {
        let cluster = Scripted::answering(&[404, 400, 404, 200, 201]);
        let mut stream = CheckpointStream::new(cluster.clone());
        let missing = stream.keep(&checkpoint(1), NOW).await.unwrap_err();
        assert!(missing.to_string().contains("--checkpoints"), "{missing}");
        assert!(!cluster.asked().iter().any(|asked| asked.contains("_create")));
        // Once the template is there, the stream is made by asking for it.
        stream.keep(&checkpoint(1), NOW).await.unwrap();
        assert!(cluster.asked()[2].contains("_create"));
    }

    /// Shows the same full pages again and again: those whose last documents have these places.
    #[derive(Clone)]
    struct Endless(Arc<Mutex<Vec<Value>>>);

    impl Transport for Endless {
        async fn send(&self, _: Request) -> Result<Reply, SendError> {
            let mut places = self.0.lock().unwrap();
            let place = places.remove(0);
            places.push(place.clone());
            let hit = json!({"_index": "i", "_id": "x", "sort": place, "_source": {NOTE: "n"}});
            let body = json!({
                "timed_out": false,
                "_shards": {"total": 1, "successful": 1, "failed": 0},
                "hits": {"hits": vec![hit; PAGE]},
            });
            Ok(Reply { status: 200, body: body.to_string().into(), retry_after: None })
        }
    }

    #[tokio::test]
    async fn a_cluster_that_shows_the_same_documents_for_ever_is_asked_no_more() {
        for places in [
            vec![json!([7, 1])],
            vec![json!([7, 1]), json!([7, 2])],
            vec![json!([7, "b"]), json!([7, "a"])],
            vec![json!([7, null])],
        ] {
            let pages = places.len();
            let mut seen = 0;
            let cluster = Endless(Arc::new(Mutex::new(places)));
            let mut see = |_: &str, _: Option<&str>| {
                seen += 1;
                assert!(seen <= (pages + 1) * PAGE, "it is asked for ever");
            };
            let error = read_checkpoints(&cluster, &mut see).await.unwrap_err().to_string();
            assert!(error.contains("same page"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_key_that_may_not_write_is_told_so() {
        for (status, told) in [(401, "credentials"), (403, "spanledger-checkpoints"), (503, "503")]
        {
            let mut stream = CheckpointStream::new(Scripted::answering(&[403, status]));
            let error = stream.keep(&checkpoint(1), NOW).await.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
