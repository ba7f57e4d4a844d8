//! A cluster in memory that answers searches as the real ones do, and refuses what they refuse:
//! unknown parameters, keys, kinds of query and fields, values of another type, windows that are
//! too large, points in time that are over.
//!
//! What it knows of fields is the mapping that setup installs.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use serde_json::{Value, json};
use spanledger::elasticsearch::fields::mappings;
use spanledger::elasticsearch::{Method, Product, Reply, Request, SendError, Transport};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Answer = Result<Value, (u16, &'static str, String)>;

/// Documents that were searched at one moment.
type Docs = Arc<Vec<Arc<Doc>>>;

type Fields = Arc<BTreeMap<String, Value>>;

#[derive(Debug, Clone)]
struct Doc {
    index: usize,
    id: String,
    text: String,
    /// Indexed values by field.
    values: BTreeMap<String, Vec<String>>,
    /// Fields with a value that is too long for the index.
    ignored: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    docs: Docs,
    indices: usize,
    points: BTreeMap<String, Docs>,
    opened: usize,
    closed: usize,
    searches: usize,
    /// Answered to every request, when set.
    always: Option<u16>,
    /// Points in time end after so many searches in them, when set.
    short_lived: bool,
}

#[derive(Debug, Clone)]
pub struct Cluster {
    product: Product,
    /// The definition of each field.
    fields: Fields,
    state: Arc<Mutex<State>>,
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, (u16, &'static str, String)> {
    Err((400, "parsing_exception", reason.into()))
}

impl Cluster {
    pub fn new(product: Product) -> Self {
        let state = State { indices: 1, ..State::default() };
        let mut fields = BTreeMap::new();
        flatten(&mappings(product)["properties"], "", &mut fields);
        Self { product, fields: Arc::new(fields), state: Arc::new(Mutex::new(state)) }
    }

    /// Creates a document: nothing where the write index has it already.
    pub fn create(&self, id: &str, text: &str) {
        let mut state = self.state.lock().unwrap();
        let index = state.indices;
        if state.docs.iter().any(|doc| doc.index == index && doc.id == id) {
            return;
        }
        let doc = Doc::new(&self.fields, index, id, text);
        Arc::make_mut(&mut state.docs).push(Arc::new(doc));
    }

    /// From now on another index is written to.
    pub fn roll_over(&self) {
        self.state.lock().unwrap().indices += 1;
    }

    /// Every request is answered with that status.
    pub fn answer_always(&self, status: Option<u16>) {
        self.state.lock().unwrap().always = status;
    }

    /// All points in time are over, and those to come are after their first search.
    pub fn forget_points_in_time(&self) {
        let mut state = self.state.lock().unwrap();
        state.points.clear();
        state.short_lived = true;
    }

    /// Searches carried out.
    pub fn searches(&self) -> usize {
        self.state.lock().unwrap().searches
    }

    /// Points in time that are open.
    pub fn open_points_in_time(&self) -> usize {
        self.state.lock().unwrap().points.len()
    }

    fn answer(&self, request: &Request) -> Answer {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let body = request.body.as_ref().map(|body| serde_json::from_slice(&body.bytes).unwrap());
        let elastic = self.product == Product::Elasticsearch;
        let parameters =
            |known: &[&str]| match request.query.iter().find(|(name, _)| !known.contains(name)) {
                Some((name, _)) => refuse(format!("unrecognized parameter [{name}]")),
                None => Ok(()),
            };
        let searched = ["allow_partial_search_results", "filter_path", "ignore_unavailable"];
        match (request.method, parts.as_slice()) {
            (Method::Post, ["spanledger-*", "_search"]) => {
                parameters(&searched)?;
                let docs = Arc::clone(&self.state.lock().unwrap().docs);
                self.search(&body.unwrap(), &docs, None)
            }
            (Method::Post, ["_search"]) => {
                parameters(&searched[..2])?;
                let body = body.unwrap();
                let Some(id) = body["pit"]["id"].as_str() else {
                    return refuse("a search in all indices");
                };
                let mut state = self.state.lock().unwrap();
                let docs = if state.short_lived {
                    state.points.remove(id)
                } else {
                    state.points.get(id).cloned()
                };
                drop(state);
                let gone = (404, "search_context_missing_exception", "gone".to_owned());
                self.search(&body, &docs.ok_or(gone)?, Some(id))
            }
            (Method::Post, ["spanledger-*", "_pit"]) if elastic => {
                parameters(&["keep_alive"])?;
                Ok(json!({ "id": self.open() }))
            }
            (Method::Post, ["spanledger-*", "_search", "point_in_time"]) if !elastic => {
                parameters(&["keep_alive"])?;
                Ok(json!({ "pit_id": self.open() }))
            }
            (Method::Delete, ["_pit"]) if elastic => {
                self.close(body.unwrap()["id"].as_str().unwrap());
                Ok(json!({}))
            }
            (Method::Delete, ["_search", "point_in_time"]) if !elastic => {
                self.close(body.unwrap()["pit_id"][0].as_str().unwrap());
                Ok(json!({}))
            }
            _ => Err((400, "no_handler", request.path.clone())),
        }
    }

    fn open(&self) -> String {
        let mut state = self.state.lock().unwrap();
        state.opened += 1;
        let id = format!("point-{}", state.opened);
        let docs = Arc::clone(&state.docs);
        state.points.insert(id.clone(), docs);
        id
    }

    fn close(&self, id: &str) {
        let mut state = self.state.lock().unwrap();
        state.closed += usize::from(state.points.remove(id).is_some());
    }

    fn search(&self, body: &Value, docs: &[Arc<Doc>], pit: Option<&str>) -> Answer {
        keys(
            body,
            &[
                "size",
                "query",
                "track_total_hits",
                "timeout",
                "_source",
                "sort",
                "search_after",
                "seq_no_primary_term",
                "pit",
            ],
        )?;
        if let Some(pit) = body.get("pit") {
            keys(pit, &["id", "keep_alive"])?;
        }
        let size = body["size"].as_u64().unwrap();
        if size > 10_000 {
            return refuse("Result window is too large");
        }
        let query = Query { fields: &self.fields };
        let mut found = Vec::new();
        for doc in docs {
            if query.matches(&body["query"], doc)? {
                found.push(doc);
            }
        }
        let sorts = body.get("sort").map(|sort| query.sorts(sort)).transpose()?.unwrap_or_default();
        let mut found: Vec<(Vec<Value>, &Arc<Doc>)> =
            found.into_iter().map(|doc| (query.sort_values(&sorts, doc), doc)).collect();
        found.sort_by(|(a, _), (b, _)| compare(a, b, &sorts));
        if let Some(after) = body.get("search_after") {
            let after = after.as_array().unwrap();
            if after.len() != sorts.len() || sorts.is_empty() {
                return refuse(format!("search_after has {} value(s)", after.len()));
            }
            found.retain(|(values, _)| compare(values, after, &sorts).is_gt());
        }
        self.state.lock().unwrap().searches += 1;
        let hits: Vec<String> = found
            .into_iter()
            .take(usize::try_from(size).unwrap())
            .map(|(sort, doc)| {
                let (index, id, sort) = (doc.index, &doc.id, Value::from(sort));
                let source = match &body["_source"] {
                    Value::Bool(false) => String::new(),
                    _ => format!(r#","_source":{}"#, doc.text),
                };
                format!(r#"{{"_index":".ds-{index}","_id":"{id}","sort":{sort}{source}}}"#)
            })
            .collect();
        let pit = pit.map(|pit| format!(r#""pit_id":"{pit}","#)).unwrap_or_default();
        let total = self.state.lock().unwrap().indices;
        // Documents stand in it byte for byte.
        let text = format!(
            r#"{{{pit}"timed_out":false,"_shards":{{"total":{total},"failed":0}},"hits":{{"hits":[{}]}}}}"#,
            hits.join(",")
        );
        Err((200, "", text))
    }
}

impl Transport for Cluster {
    async fn send(&self, request: Request) -> Result<Reply, SendError> {
        let always = self.state.lock().unwrap().always;
        let (status, text) = match (always, self.answer(&request)) {
            (Some(status), _) => (status, json!({"error": {"type": "x"}}).to_string()),
            (None, Ok(value)) => (200, value.to_string()),
            (None, Err((200, _, text))) => (200, text),
            (None, Err((status, kind, reason))) => {
                // Nothing that the store asks may be refused but what a test makes so.
                assert_ne!(kind, "parsing_exception", "{reason}: {request:?}");
                let cause = json!([{"type": kind, "reason": reason}]);
                (status, json!({"error": {"type": kind, "root_cause": cause}}).to_string())
            }
        };
        Ok(Reply { status, body: text.into(), retry_after: None })
    }
}

type Checked<T> = Result<T, (u16, &'static str, String)>;

fn keys(value: &Value, known: &[&str]) -> Checked<()> {
    let Some(map) = value.as_object() else { return refuse(format!("not an object: {value}")) };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => refuse(format!("unknown key [{key}]")),
        None => Ok(()),
    }
}

/// The one member of an object.
fn only(value: &Value) -> Checked<(&str, &Value)> {
    let mut members = value.as_object().into_iter().flatten();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => refuse(format!("one key is expected: {value}")),
    }
}

struct Sort {
    field: String,
    descending: bool,
}

fn compare(a: &[Value], b: &[Value], sorts: &[Sort]) -> Ordering {
    for ((a, b), sort) in a.iter().zip(b).zip(sorts) {
        let order = match (a, b) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            _ => a.as_i64().unwrap().cmp(&b.as_i64().unwrap()),
        };
        let order = if sort.descending { order.reverse() } else { order };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

struct Query<'m> {
    fields: &'m BTreeMap<String, Value>,
}

impl Query<'_> {
    /// The field itself, behind an alias, and its definition.
    fn field<'f>(&'f self, name: &'f str) -> Checked<(&'f str, &'f Value)> {
        match self.fields.get(name) {
            None => refuse(format!("no field [{name}]")),
            Some(alias) if alias["type"] == "alias" => self.field(alias["path"].as_str().unwrap()),
            Some(definition) => Ok((name, definition)),
        }
    }

    fn values<'d>(&self, name: &str, doc: &'d Doc) -> &'d [String] {
        let (name, _) = self.field(name).unwrap();
        doc.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn matches(&self, query: &Value, doc: &Doc) -> Checked<bool> {
        let (kind, body) = only(query)?;
        let keyword = |name: &str| -> Checked<()> {
            let (_, definition) = self.field(name)?;
            match definition["type"].as_str() {
                Some("keyword") => Ok(()),
                other => refuse(format!("{kind} on [{name}] of type {other:?}")),
            }
        };
        match kind {
            "match_all" => keys(body, &[]).map(|()| true),
            "match_none" => keys(body, &[]).map(|()| false),
            "bool" => self.all(body, doc),
            "ids" => {
                keys(body, &["values"])?;
                Ok(body["values"].as_array().unwrap().iter().any(|id| *id == doc.id.as_str()))
            }
            "exists" => {
                keys(body, &["field"])?;
                let name = body["field"].as_str().unwrap();
                self.field(name)?;
                Ok(!self.values(name, doc).is_empty())
            }
            "term" => {
                let (name, inner) = only(body)?;
                keys(inner, &["value"])?;
                let wanted = inner["value"].as_str().unwrap();
                if name == "_ignored" {
                    self.field(wanted)?;
                    return Ok(doc.ignored.iter().any(|field| field == wanted));
                }
                if self.field(name)?.1["type"] != "boolean" {
                    keyword(name)?;
                }
                Ok(self.values(name, doc).iter().any(|value| value == wanted))
            }
            "terms" => {
                let (name, wanted) = only(body)?;
                keyword(name)?;
                let wanted = wanted.as_array().unwrap();
                if wanted.len() > 65_536 {
                    return refuse("too many terms");
                }
                Ok(self.values(name, doc).iter().any(|v| wanted.iter().any(|w| w == v.as_str())))
            }
            "prefix" => {
                let (name, inner) = only(body)?;
                keys(inner, &["value"])?;
                keyword(name)?;
                let start = inner["value"].as_str().unwrap();
                Ok(self.values(name, doc).iter().any(|value| value.starts_with(start)))
            }
            "wildcard" => {
                let (name, inner) = only(body)?;
                keys(inner, &["value", "case_insensitive"])?;
                keyword(name)?;
                let pattern: Vec<char> = inner["value"].as_str().unwrap().chars().collect();
                let matched = |v: &String| wild(&pattern, &v.chars().collect::<Vec<_>>());
                Ok(self.values(name, doc).iter().any(matched))
            }
            "range" => self.range(body, doc),
            _ => refuse(format!("unknown query [{kind}]")),
        }
    }

    fn all(&self, body: &Value, doc: &Doc) -> Checked<bool> {
        keys(body, &["filter", "should", "must_not", "minimum_should_match"])?;
        let each = |name: &str| -> Checked<Vec<bool>> {
            let parts = body[name].as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().map(|part| self.matches(part, doc)).collect()
        };
        let any = body.get("should").is_none() || each("should")?.into_iter().any(|yes| yes);
        Ok(any
            && each("filter")?.into_iter().all(|yes| yes)
            && !each("must_not")?.into_iter().any(|yes| yes))
    }

    fn range(&self, body: &Value, doc: &Doc) -> Checked<bool> {
        let (name, bounds) = only(body)?;
        keys(bounds, &["gte", "lte", "format"])?;
        let (_, definition) = self.field(name)?;
        let read = |value: &Value| match (definition["type"].as_str(), value) {
            (Some("date_nanos"), Value::String(text)) => Ok(nanoseconds(text)),
            (Some("long"), Value::Number(number)) if bounds.get("format").is_none() => {
                Ok(number.as_i64().expect("a long"))
            }
            (kind, value) => refuse(format!("range over {kind:?} with {value}")),
        };
        let (first, last) = (read(&bounds["gte"])?, read(&bounds["lte"])?);
        let number = |text: &String| match definition["type"].as_str() {
            Some("long") => text.parse().unwrap(),
            _ => nanoseconds(text),
        };
        Ok(self.values(name, doc).iter().map(number).any(|n| (first..=last).contains(&n)))
    }

    fn sorts(&self, sort: &Value) -> Checked<Vec<Sort>> {
        let mut all = Vec::new();
        for one in sort.as_array().unwrap() {
            let (field, how) = only(one)?;
            keys(how, &["order", "unmapped_type"])?;
            let (_, definition) = self.field(field)?;
            assert_eq!(how["unmapped_type"], definition["type"]);
            all.push(Sort { field: field.to_owned(), descending: how["order"] == "desc" });
        }
        Ok(all)
    }

    fn sort_values(&self, sorts: &[Sort], doc: &Doc) -> Vec<Value> {
        let value = |sort: &Sort| {
            let text = self.values(&sort.field, doc).first().unwrap();
            match self.field(&sort.field).unwrap().1["type"].as_str() {
                Some("long") => text.parse::<i64>().unwrap().into(),
                Some("date_nanos") => nanoseconds(text).into(),
                _ => text.clone().into(),
            }
        };
        sorts.iter().map(value).collect()
    }
}

fn nanoseconds(text: &str) -> i64 {
    let time: jiff::Timestamp = text.parse().unwrap();
    i64::try_from(time.as_nanosecond()).expect("a time that date_nanos holds")
}

/// Values at a path, as text; arrays stand for their elements.
fn texts(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, path, out)),
        Value::Object(map) if !path.is_empty() => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(inner) = map.get(name) {
                texts(inner, rest, out);
            }
        }
        Value::String(text) if path.is_empty() => out.push(text.clone()),
        Value::Number(number) if path.is_empty() => out.push(number.to_string()),
        Value::Bool(truth) if path.is_empty() => out.push(truth.to_string()),
        _ => {}
    }
}

/// Every field of a mapping by its path.
fn flatten(properties: &Value, prefix: &str, out: &mut BTreeMap<String, Value>) {
    for (name, definition) in properties.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        match definition.get("properties") {
            Some(inner) => flatten(inner, &format!("{path}."), out),
            None => _ = out.insert(path, definition.clone()),
        }
    }
}

impl Doc {
    fn new(fields: &BTreeMap<String, Value>, index: usize, id: &str, text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap();
        let mut doc = Self {
            index,
            id: id.to_owned(),
            text: text.to_owned(),
            values: BTreeMap::new(),
            ignored: Vec::new(),
        };
        for (path, definition) in fields {
            let mut found = Vec::new();
            texts(&value, path, &mut found);
            let copied = definition["copy_to"].as_str();
            for name in [Some(path.as_str()), copied].into_iter().flatten() {
                doc.index_values(name, &fields[name], &found);
            }
        }
        doc
    }

    fn index_values(&mut self, name: &str, definition: &Value, found: &[String]) {
        let most = definition["ignore_above"].as_u64().unwrap_or(u64::MAX);
        for text in found {
            if text.encode_utf16().count() as u64 > most {
                self.ignored.push(name.to_owned());
                continue;
            }
            // One character becomes one.
            let lower = |c: char| c.to_lowercase().next().unwrap();
            let text = if definition["normalizer"] == "lowercase" {
                text.chars().map(lower).collect()
            } else {
                text.clone()
            };
            self.values.entry(name.to_owned()).or_default().push(text);
        }
    }
}

/// Whether a text is of a pattern, in any case of ASCII letters.
fn wild(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| wild(rest, &text[skip..])),
        ['?', rest @ ..] => !text.is_empty() && wild(rest, &text[1..]),
        ['\\', c, rest @ ..] | [c, rest @ ..] => {
            text.first().is_some_and(|t| t.eq_ignore_ascii_case(c)) && wild(rest, &text[1..])
        }
    }
}
