//! A cluster in memory that answers as the measured one does, refuses what it refuses, and fails
//! as often as it is told.

#![allow(unreachable_pub, reason = "a module of a test binary")]

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use spanledger::elasticsearch::{ContentType, Method, Reply, Request, SendError, Transport};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the cluster does with requests and items.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Out of 256: bulks whose reply is lost after they were carried out, and before.
    pub lost_after: u8,
    pub lost_before: u8,
    /// No connection, 429, 503, and replies that are HTML or too short, for whole requests.
    pub refused: u8,
    pub too_many: u8,
    pub unavailable: u8,
    pub garbled: u8,
    /// Out of 256: items that are answered 429 and 503.
    pub item_429: u8,
    pub item_503: u8,
    /// Out of 256: bulks after which the stream rolls over.
    pub rollover: u8,
    /// Every request is answered with that status, and nothing is done.
    pub always: Option<u16>,
    /// Whether sending a request panics: a defect of ours.
    pub panics: bool,
    /// Bulk bodies above are answered with 413.
    pub max_body: Option<usize>,
    /// Bulk bodies above are answered with 429, as a node does with what is beyond its memory for
    /// indexing.
    pub pressure: Option<usize>,
    /// Whether there is no template.
    pub no_template: bool,
    /// Whether the write index is read-only.
    pub block: bool,
    /// Whether reading is blocked, for whatever key.
    pub read_block: bool,
    /// What the key may not do.
    pub no_read: bool,
    pub no_refresh: bool,
    pub no_monitor: bool,
    /// Whether it is OpenSearch, which does not know `require_data_stream`.
    pub opensearch: bool,
    /// Messages of documents that are rejected, by an item of 400, by the failure store, and by a
    /// 400 for the whole request.
    pub bad: bool,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    /// Backing indices by stream, the last is written to.
    streams: BTreeMap<String, Vec<HashMap<String, Doc>>>,
    failure_store: usize,
    asked: usize,
    bulks: usize,
    in_flight: usize,
    most_in_flight: usize,
    largest_body: usize,
    most_items: usize,
    seed: u64,
    /// Stands for its `cluster_uuid`.
    number: u64,
    /// Which exporter is alive: see [`Cluster::cut_off`].
    life: u64,
    gzip: usize,
    rollovers: usize,
}

#[derive(Debug)]
struct Doc {
    visible: bool,
    source: Value,
}

#[derive(Debug, Clone)]
pub struct Cluster(Arc<Mutex<State>>, u64);

impl Cluster {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { seed: seed | 1, ..State::default() })), 0)
    }

    /// The cluster for the next exporter. What the last one sends from now on neither arrives nor
    /// is answered, as if it had been killed.
    pub fn cut_off(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.life += 1;
        self.1 = state.life;
    }

    pub fn set(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    /// Every document: stream, id, and its sequence.
    pub fn documents(&self) -> Vec<(String, String, u64)> {
        let state = self.0.lock().unwrap();
        let mut all = Vec::new();
        for (stream, indices) in &state.streams {
            for (id, doc) in indices.iter().flatten() {
                let sequence = doc.source["event"]["sequence"].as_u64().unwrap();
                all.push((stream.clone(), id.clone(), sequence));
            }
        }
        all
    }

    pub fn sequences(&self) -> HashSet<u64> {
        self.documents().into_iter().map(|(_, _, sequence)| sequence).collect()
    }

    pub fn roll_over(&self) {
        self.0.lock().unwrap().roll_over();
    }

    /// Another cluster, empty, at the same address.
    pub fn replace(&self) {
        let mut state = self.0.lock().unwrap();
        state.streams.clear();
        state.number += 1;
    }

    /// Requests of any kind, answered or not.
    pub fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    pub fn bulks(&self) -> usize {
        self.0.lock().unwrap().bulks
    }

    pub fn rollovers(&self) -> usize {
        self.0.lock().unwrap().rollovers
    }

    pub fn in_failure_store(&self) -> usize {
        self.0.lock().unwrap().failure_store
    }

    /// Most requests at once, most bytes and items of one.
    pub fn most(&self) -> (usize, usize, usize) {
        let state = self.0.lock().unwrap();
        (state.most_in_flight, state.largest_body, state.most_items)
    }

    pub fn compressed_bulks(&self) -> usize {
        self.0.lock().unwrap().gzip
    }
}

fn host() -> String {
    "http://cluster.test:9200".to_owned()
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.to_owned().into(), retry_after: None }
}

fn failure(status: u16, kind: &str, reason: &str) -> Reply {
    reply(status, &json!({"error": {"type": kind, "reason": reason}, "status": status}).to_string())
}

enum Happened {
    Replied(Reply),
    Unreached,
    Lost,
}

impl Transport for Cluster {
    async fn send(&self, request: Request) -> Result<Reply, SendError> {
        {
            let mut state = self.0.lock().unwrap();
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
        }
        let place = Place(self.clone());
        tokio::task::yield_now().await;
        let panics = self.0.lock().unwrap().faults.panics;
        assert!(!panics, "told to");
        let sent = {
            let mut state = self.0.lock().unwrap();
            (state.life == self.1).then(|| state.answer(&request))
        };
        let Some(sent) = sent else {
            drop(place);
            return std::future::pending().await;
        };
        tokio::task::yield_now().await;
        drop(place);
        match sent {
            Happened::Replied(reply) => Ok(reply),
            Happened::Unreached => {
                Err(SendError::NotSent { host: host(), source: "refused".into() })
            }
            Happened::Lost => Err(SendError::NoReply { host: host(), source: "closed".into() }),
        }
    }
}

/// Given back also when the request is dropped half-way.
struct Place(Cluster);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().in_flight -= 1;
    }
}

impl State {
    fn chance(&mut self, of_256: u8) -> bool {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        ((self.seed >> 20) & 255) < u64::from(of_256)
    }

    fn answer(&mut self, request: &Request) -> Happened {
        assert!(request.timeout > Duration::ZERO);
        self.asked += 1;
        if let Some(status) = self.faults.always {
            return Happened::Replied(reply(status, "<html>no</html>"));
        }
        let faults = self.faults.clone();
        if self.chance(faults.refused) {
            return Happened::Unreached;
        }
        if self.chance(faults.lost_before) {
            return Happened::Lost;
        }
        if self.chance(faults.too_many) {
            let mut busy = failure(429, "circuit_breaking_exception", "busy");
            busy.retry_after = Some(Duration::from_millis(1));
            return Happened::Replied(busy);
        }
        if self.chance(faults.unavailable) {
            return Happened::Replied(reply(503, "<html>upstream</html>"));
        }
        let mut answer = self.route(request);
        if self.chance(faults.rollover) {
            self.roll_over();
        }
        if self.chance(faults.lost_after) {
            return Happened::Lost;
        }
        if self.chance(faults.garbled) {
            answer.body = answer.body.slice(..answer.body.len() / 2);
        }
        Happened::Replied(answer)
    }

    fn roll_over(&mut self) {
        self.rollovers += 1;
        for indices in self.streams.values_mut() {
            indices.push(HashMap::new());
        }
    }

    fn route(&mut self, request: &Request) -> Reply {
        let path: Vec<&str> = request.path.split('/').collect();
        match (request.method, path.as_slice()) {
            (Method::Get, ["", ""]) if self.faults.no_monitor => {
                failure(403, "security_exception", "action [cluster:monitor/main]")
            }
            (Method::Get, ["", ""]) => {
                reply(200, &json!({"cluster_uuid": format!("number-{}", self.number)}).to_string())
            }
            (Method::Post, ["", "_bulk"]) => self.bulk(request),
            (Method::Post, ["", stream, "_refresh"]) => self.refresh(stream),
            (Method::Post, ["", stream, "_search"]) => self.search(stream, request),
            (Method::Get, ["", "_data_stream", stream]) => {
                if self.streams.contains_key(*stream) {
                    reply(200, "{}")
                } else {
                    missing()
                }
            }
            (Method::Put, ["", "_data_stream", stream]) => {
                if self.faults.no_template {
                    return failure(400, "illegal_argument_exception", "no matching template");
                }
                self.streams.entry((*stream).to_owned()).or_insert_with(|| vec![HashMap::new()]);
                reply(200, "{}")
            }
            other => panic!("nobody asks that: {other:?}"),
        }
    }

    fn refresh(&mut self, stream: &str) -> Reply {
        if self.faults.read_block {
            return failure(403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/7]");
        }
        if self.faults.no_refresh || self.faults.no_read {
            return failure(403, "security_exception", "action [indices:admin/refresh]");
        }
        let Some(indices) = self.streams.get_mut(stream) else { return missing() };
        indices.iter_mut().flat_map(HashMap::values_mut).for_each(|doc| doc.visible = true);
        reply(200, &json!({"_shards": {"failed": 0}}).to_string())
    }

    fn search(&mut self, stream: &str, request: &Request) -> Reply {
        if self.faults.no_read {
            return failure(403, "security_exception", "action [indices:data/read/search]");
        }
        assert!(request.query.contains(&("allow_partial_search_results", "false".to_owned())));
        let body: Value = serde_json::from_slice(&request.body.as_ref().unwrap().bytes).unwrap();
        let ids = body["query"]["ids"]["values"].as_array().unwrap();
        assert!(ids.len() <= 1_000 && body["size"].as_u64().unwrap() >= ids.len() as u64);
        let Some(indices) = self.streams.get_mut(stream) else { return missing() };
        let mut hits = Vec::new();
        for id in ids {
            let id = id.as_str().unwrap();
            for index in indices.iter() {
                if index.get(id).is_some_and(|doc| doc.visible) {
                    hits.push(json!({"_id": id}));
                }
            }
        }
        // Where nobody may refresh it happens by itself, behind a search.
        indices.iter_mut().flat_map(HashMap::values_mut).for_each(|doc| doc.visible = true);
        let mut found = json!({"timed_out": false, "_shards": {"failed": 0}});
        if !hits.is_empty() {
            // `filter_path` leaves out what is empty.
            found["hits"] = json!({"hits": hits});
        }
        reply(200, &found.to_string())
    }

    fn bulk(&mut self, request: &Request) -> Reply {
        let sent = request.body.as_ref().unwrap();
        assert_eq!(sent.content_type, ContentType::NdJson);
        let body = if sent.gzip {
            self.gzip += 1;
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&sent.bytes[..]).read_to_end(&mut body).unwrap();
            body
        } else {
            sent.bytes.to_vec()
        };
        if self.faults.max_body.is_some_and(|max| body.len() > max) {
            return reply(413, "<html>too large</html>");
        }
        if self.faults.pressure.is_some_and(|max| body.len() > max) {
            return reply(429, r#"{"error":{"type":"es_rejected_execution_exception"}}"#);
        }
        for (name, value) in &request.query {
            let known = match *name {
                "filter_path" => value.contains("items.*.status"),
                "require_data_stream" => !self.faults.opensearch && value == "true",
                _ => false,
            };
            if !known {
                let reason = format!("request [/_bulk] contains unrecognized parameter: [{name}]");
                return failure(400, "illegal_argument_exception", &reason);
            }
        }
        let guarded = request.query.iter().any(|(name, _)| *name == "require_data_stream");
        assert!(guarded || self.faults.opensearch, "a missing template would make an index");
        self.bulks += 1;
        let items = parse(&body);
        self.largest_body = self.largest_body.max(body.len());
        self.most_items = self.most_items.max(items.len());
        if self.faults.bad && items.iter().any(|item| item.2["message"] == "refuses the request") {
            return failure(400, "illegal_argument_exception", "the secret is refused");
        }
        if !guarded {
            let exists = |item: &(String, String, Value)| self.streams.contains_key(&item.0);
            assert!(items.iter().all(exists), "that would make a plain index");
        }
        let outcomes: Vec<Value> = items.into_iter().map(|item| self.create(item)).collect();
        let errors = outcomes.iter().any(|item| item["create"].get("error").is_some());
        reply(200, &json!({"errors": errors, "items": outcomes}).to_string())
    }

    fn create(&mut self, (stream, id, source): (String, String, Value)) -> Value {
        let failed = |status: u16, kind: &str| {
            json!({"create": {"_index": stream, "status": status, "error": {
                "type": kind, "reason": format!("Preview of field's value: '{}'", source["message"])
            }}})
        };
        let faults = self.faults.clone();
        if faults.no_template && !self.streams.contains_key(&stream) {
            return failed(404, "index_not_found_exception");
        }
        if faults.block {
            return failed(403, "cluster_block_exception");
        }
        if self.chance(faults.item_429) {
            return failed(429, "es_rejected_execution_exception");
        }
        let written_all_the_same = self.chance(faults.item_503).then(|| self.chance(128));
        if written_all_the_same == Some(false) {
            return failed(503, "unavailable_shards_exception");
        }
        if faults.bad {
            match source["message"].as_str() {
                Some("bad document") => return failed(400, "document_parsing_exception"),
                Some("goes to the failure store") => {
                    self.failure_store += 1;
                    return json!({"create": {
                        "_index": format!(".fs-{stream}-1"), "failure_store": "used", "status": 201
                    }});
                }
                _ => {}
            }
        }
        let indices = self.streams.entry(stream.clone()).or_insert_with(|| vec![HashMap::new()]);
        let number = indices.len();
        let index = indices.last_mut().unwrap();
        if index.contains_key(&id) {
            return failed(409, "version_conflict_engine_exception");
        }
        let failed = failed(503, "internal_error");
        index.insert(id, Doc { visible: false, source });
        if written_all_the_same == Some(true) {
            return failed;
        }
        json!({"create": {"_index": format!(".ds-{stream}-{number:06}"), "status": 201}})
    }
}

fn missing() -> Reply {
    failure(404, "index_not_found_exception", "no such index")
}

/// Stream, id and document of each item of a body that is as the cluster wants it.
fn parse(body: &[u8]) -> Vec<(String, String, Value)> {
    let text = std::str::from_utf8(body).expect("a bulk is text");
    let lines = text.strip_suffix('\n').expect("a bulk ends with a newline");
    let lines: Vec<&str> = lines.split('\n').collect();
    assert_eq!(lines.len() % 2, 0, "an action and a document each");
    lines
        .chunks(2)
        .map(|item| {
            let action = strict(item[0]);
            let create = action["create"].as_object().expect("only create");
            assert_eq!((action.as_object().unwrap().len(), create.len()), (1, 2), "{}", item[0]);
            let id = create["_id"].as_str().unwrap();
            assert!(!id.is_empty() && id.len() <= 512);
            let source = strict(item[1]);
            assert!(source["@timestamp"].is_string(), "a data stream wants a time");
            assert_eq!(source["event"]["id"], id);
            (create["_index"].as_str().unwrap().to_owned(), id.to_owned(), source)
        })
        .collect()
}

fn strict(line: &str) -> Value {
    let value: Strict = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    value.0
}

/// JSON of which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Strict;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON without repeated keys")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
                let mut all = Vec::new();
                while let Some(Strict(value)) = seq.next_element()? {
                    all.push(value);
                }
                Ok(Strict(Value::Array(all)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut all = serde_json::Map::new();
                while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
                    let twice = all.insert(key.clone(), value).is_some();
                    assert!(!twice, "{key} stands twice");
                }
                Ok(Strict(Value::Object(all)))
            }
        }
        deserializer.deserialize_any(Values)
    }
}
