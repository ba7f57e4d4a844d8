//! Requests as they are sent, and replies as clusters give them.

use super::*;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// Gives one reply and keeps what it was asked.
#[derive(Clone)]
struct Replies {
    status: u16,
    body: Arc<str>,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Replies {
    fn with(status: u16, body: &str) -> Self {
        Self { status, body: body.into(), asked: Arc::default() }
    }

    fn last(&self) -> Request {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }
}

impl Transport for Replies {
    async fn send(&self, request: Request) -> Result<Reply, SendError> {
        self.asked.lock().unwrap().push(request);
        let body = Bytes::copy_from_slice(self.body.as_bytes());
        Ok(Reply { status: self.status, body, retry_after: None })
    }
}

fn request() -> SearchRequest {
    SearchRequest {
        scope: Scope::Streams,
        filter: Filter::Term("organization.id", "acme".to_owned()),
        sort: Vec::new(),
        search_after: None,
        size: 10,
        source: Source::All,
        versions: false,
        timeout: Duration::from_secs(3),
    }
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body.as_ref().unwrap().bytes).unwrap()
}

const FOUND: &str = r#"{"took":3,"timed_out":false,"_shards":{"total":1,"failed":0},"hits":{"hits":[
    {"_index":".ds-spanledger-default-1","_id":"ab","_score":null,"_seq_no":4,"_primary_term":1,
     "_source":{"n":1.10,"big":9007199254740993},"sort":[1795241529767677952,"a",3,7]}]}}"#;

#[tokio::test]
async fn a_document_comes_back_byte_for_byte_with_what_an_update_needs() {
    let cluster = Replies::with(200, FOUND);
    let found = search(&cluster, &request()).await.unwrap();
    let [doc] = &found.docs[..] else { panic!("{found:?}") };
    assert_eq!(doc.source.as_ref().unwrap().get(), r#"{"n":1.10,"big":9007199254740993}"#);
    assert_eq!((doc.seq_no, doc.primary_term), (Some(4), Some(1)));
    assert_eq!(doc.sort[0], 1_795_241_529_767_677_952_u64);
    let sent = cluster.last();
    assert_eq!(sent.path, "/spanledger-*/_search");
    assert!(sent.query.contains(&("allow_partial_search_results", "false".to_owned())));
    // A filtered reply would be written anew by the cluster.
    assert!(!sent.query.iter().any(|(name, _)| *name == "filter_path"));
    assert_eq!(
        body(&sent),
        json!({
            "size": 10, "track_total_hits": false, "timeout": "3000ms", "_source": true,
            "query": {"bool": {"filter": [{"term": {"organization.id": {"value": "acme"}}}]}},
        })
    );
}

#[tokio::test]
async fn a_search_in_a_point_in_time_goes_on_after_the_values_of_its_own_order() {
    let cluster = Replies::with(200, FOUND);
    let keep_alive = Duration::from_mins(2);
    let asked = SearchRequest {
        scope: Scope::PointInTime { id: "p1".to_owned(), keep_alive },
        sort: vec![Sort { field: "event.sequence", kind: "long", descending: true }],
        search_after: Some(vec![json!(3), json!(7)]),
        source: Source::Fields(vec!["event.id"]),
        versions: true,
        ..request()
    };
    search(&cluster, &asked).await.unwrap();
    let sent = cluster.last();
    assert_eq!(sent.path, "/_search");
    assert!(sent.query.iter().any(|(name, _)| *name == "filter_path"));
    let body = body(&sent);
    assert_eq!(body["pit"], json!({"id": "p1", "keep_alive": "120000ms"}));
    assert_eq!(body["search_after"], json!([3]));
    let order = json!([{"event.sequence": {"order": "desc", "unmapped_type": "long"}}]);
    assert_eq!(body["sort"], order);
    assert_eq!(body["seq_no_primary_term"], true);
    assert_eq!(body["_source"], json!(["event.id"]));
}

#[tokio::test]
async fn a_missing_stream_is_an_empty_answer_and_half_an_answer_is_none() {
    let missing = r#"{"error":{"type":"index_not_found_exception","root_cause":[]},"status":404}"#;
    let found = search(&Replies::with(404, missing), &request()).await.unwrap();
    assert!(found.docs.is_empty() && found.shards == 0);
    let half = r#"{"timed_out":false,"_shards":{"total":2,"failed":1},"hits":{"hits":[]}}"#;
    let error = search(&Replies::with(200, half), &request()).await.unwrap_err();
    assert!(matches!(error, SearchError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_quotes_nothing() {
    let secret = r#"{"error":{"type":"Secret Text","root_cause":[{"type":"parsing_exception","reason":"Secret"}]}}"#;
    for (status, text, words) in [
        (401, secret, "credentials"),
        (403, secret, "privilege `read`"),
        (429, secret, "again"),
        (400, secret, "parsing_exception"),
        (503, secret, "health"),
        (404, "<html>Secret", "unknown"),
        (200, "<html>Secret", "address"),
    ] {
        let error = search(&Replies::with(status, text), &request()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(words) && !said.contains("Secret"), "{status}: {said}");
    }
    let gone = r#"{"error":{"type":"search_phase_execution_exception","root_cause":
        [{"type":"search_context_missing_exception"}]},"status":404}"#;
    let error = search(&Replies::with(404, gone), &request()).await.unwrap_err();
    assert!(matches!(error, SearchError::PointInTimeGone));
}

#[tokio::test]
async fn points_in_time_are_opened_and_closed_in_the_words_of_each_product() {
    let minute = Duration::from_mins(1);
    let cluster = Replies::with(200, r#"{"id":"p1"}"#);
    let id = open_pit(&cluster, Product::Elasticsearch, minute).await.unwrap();
    assert_eq!(id.as_deref(), Some("p1"));
    assert_eq!(cluster.last().path, "/spanledger-*/_pit");
    assert_eq!(cluster.last().query, [("keep_alive", "60000ms".to_owned())]);
    close_pit(&cluster, Product::Elasticsearch, "p1").await.unwrap();
    assert_eq!(body(&cluster.last()), json!({"id": "p1"}));

    let cluster = Replies::with(200, r#"{"pit_id":"p2"}"#);
    let id = open_pit(&cluster, Product::OpenSearch, minute).await.unwrap();
    assert_eq!(id.as_deref(), Some("p2"));
    assert_eq!(cluster.last().path, "/spanledger-*/_search/point_in_time");
    close_pit(&cluster, Product::OpenSearch, "p2").await.unwrap();
    assert_eq!(body(&cluster.last()), json!({"pit_id": ["p2"]}));

    // What OpenSearch says where no data stream is there.
    let none = r#"{"error":{"type":"illegal_argument_exception","reason":"invalid id: [null]"},"status":400}"#;
    let id = open_pit(&Replies::with(400, none), Product::OpenSearch, minute).await.unwrap();
    assert_eq!(id, None);
    close_pit(&Replies::with(404, "{}"), Product::OpenSearch, "p2").await.unwrap();
}
