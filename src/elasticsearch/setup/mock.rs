//! A cluster in memory that refuses what it does not know: paths, parameters, keys, values.
//!
//! Written from the published interfaces of both products; it stands in for what the nodes of our
//! tests lack: ILM, ISM, data stream lifecycles, roles of OpenSearch, and other versions.

use super::super::{Method, Product, Reply, Request, SendError, Transport};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone)]
pub(super) struct Mock {
    product: Product,
    number: &'static str,
    /// Whether it has the ISM plugin.
    pub(super) ism: bool,
    /// How many requests it cannot reply to before it can.
    pub(super) busy: Arc<AtomicUsize>,
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    /// What changed something: method and path.
    pub(super) changes: Arc<Mutex<Vec<String>>>,
}

type Checked = Result<(), String>;

impl Mock {
    pub(super) fn new(product: Product, number: &'static str) -> Self {
        let (objects, changes, busy) = (Arc::default(), Arc::default(), Arc::default());
        Self { product, number, ism: true, busy, objects, changes }
    }

    /// What is stored at a path.
    pub(super) fn at(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    pub(super) fn put(&self, path: &str, value: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), value);
    }

    fn since(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.number.split('.').map(|part| part.parse::<u32>().unwrap());
        let version = (parts.next().unwrap(), parts.next().unwrap());
        self.product == Product::Elasticsearch && version >= (major, minor)
    }

    fn has_failure_store(&self) -> bool {
        self.since(9, 1) || (self.since(8, 19) && !self.since(9, 0))
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let path = request.path.as_str();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let body = request.body.as_ref().map(|body| serde_json::from_slice(&body.bytes).unwrap());
        let no_handler = (
            400,
            json!({"error": format!("no handler found for uri [{path}] and method [{:?}]", request.method)}),
        );
        let elastic = self.product == Product::Elasticsearch;
        let checked = match (request.method, parts.as_slice()) {
            (Method::Get, [""]) => return (200, self.root()),
            (Method::Get, ["_component_template" | "_index_template", _]) => {
                return self.template(path);
            }
            (Method::Put, ["_component_template", _]) => self.component(body.as_ref()),
            (Method::Put, ["_index_template", _]) => self.index_template(body.as_ref()),
            (Method::Get, ["_data_stream", name]) => return self.stream(name),
            (Method::Put, ["_data_stream", name]) => {
                self.grow(name);
                body.as_ref().map_or(Ok(()), |_| Err("a body where none is taken".to_owned()))
            }
            (Method::Put, ["_data_stream", name, "_lifecycle"]) if self.since(8, 14) => {
                let body = body.clone().unwrap();
                let stream = format!("/_data_stream/{name}");
                let mut value = self.at(&stream).expect("the stream is there");
                value["lifecycle"] =
                    json!({"data_retention": body["data_retention"], "enabled": true});
                self.put(&stream, value);
                keys(&body, &["data_retention", "enabled"])
            }
            (Method::Put, ["_data_stream", name, "_options"]) if self.has_failure_store() => {
                let body = body.clone().unwrap();
                let stream = format!("/_data_stream/{name}");
                let mut value = self.at(&stream).expect("the stream is there");
                value["failure_store"] = body["failure_store"].clone();
                self.put(&stream, value);
                keys(&body, &["failure_store"])
                    .and_then(|()| keys(&body["failure_store"], &["enabled"]))
            }
            (Method::Get, [name, "_mapping"]) => return self.mapping(name),
            (Method::Post, [name, "_rollover"]) => {
                self.grow(name);
                body.as_ref().map_or(Ok(()), |_| Err("unexpected body".to_owned()))
            }
            (Method::Get, ["_ilm", "policy", name]) if elastic => return self.named(path, name),
            (Method::Put, ["_ilm", "policy", _]) if elastic => ilm(body.as_ref().unwrap()),
            (Method::Get, ["_plugins", "_ism", "policies", name]) if !elastic && self.ism => {
                return match self.at(path) {
                    Some(value) => (
                        200,
                        json!({"_id": name, "_version": 1, "_seq_no": 4, "_primary_term": 2, "policy": value["policy"]}),
                    ),
                    None => (404, json!({"error": {"reason": "Policy not found"}, "status": 404})),
                };
            }
            (Method::Put, ["_plugins", "_ism", "policies", _]) if !elastic && self.ism => {
                let numbered = [("if_seq_no", "4".to_owned()), ("if_primary_term", "2".to_owned())];
                let wanted: &[_] = if self.at(path).is_some() { &numbered } else { &[] };
                if request.query != wanted {
                    return (409, json!({"error": {"reason": "version conflict"}}));
                }
                ism(body.as_ref().unwrap())
            }
            (Method::Get, ["_security", "role", name]) if elastic => return self.named(path, name),
            (Method::Put, ["_security", "role", _]) if elastic => role(body.as_ref().unwrap()),
            (Method::Get, ["_plugins", "_security", "api", "roles", name]) if !elastic => {
                return self.named(path, name);
            }
            (Method::Put, ["_plugins", "_security", "api", "roles", _]) if !elastic => {
                search_role(body.as_ref().unwrap())
            }
            _ if self.ends(request.method, &parts) => Ok(()),
            _ => return no_handler,
        };
        let parameters = match parts.as_slice() {
            ["_plugins", "_ism", ..] => &["if_seq_no", "if_primary_term"][..],
            _ => &[],
        };
        let unknown = request.query.iter().find(|(name, _)| !parameters.contains(name));
        let checked = match unknown {
            Some((name, _)) => Err(format!("request contains unrecognized parameter: [{name}]")),
            None => checked,
        };
        if let Err(reason) = checked {
            return (400, json!({"error": {"reason": reason}, "status": 400}));
        }
        self.changes.lock().unwrap().push(format!("{:?} {path}", request.method));
        if let Some(body) =
            body.filter(|_| !path.ends_with("/_lifecycle") && !path.ends_with("/_options"))
        {
            self.put(path, body);
        }
        (200, json!({"acknowledged": true}))
    }

    /// Whether it is a request that ends a lifecycle; then it is done.
    fn ends(&self, method: Method, parts: &[&str]) -> bool {
        let elastic = self.product == Product::Elasticsearch;
        match (method, parts) {
            (Method::Delete, ["_data_stream", name, "_lifecycle"]) if self.since(8, 14) => {
                self.change_stream(name, |stream| stream["lifecycle"] = Value::Null);
            }
            (Method::Post, [name, "_ilm", "remove"]) if elastic => {
                self.change_stream(name, |stream| {
                    for index in stream["indices"].as_array_mut().unwrap() {
                        index.as_object_mut().unwrap().remove("ilm_policy");
                    }
                });
            }
            (Method::Delete, ["_plugins", "_ism", "policies", _]) if !elastic && self.ism => {
                self.objects.lock().unwrap().remove(&format!("/{}", parts.join("/")));
            }
            (Method::Post, ["_plugins", "_ism", "remove", "spanledger-*"]) => {
                return !elastic && self.ism;
            }
            _ => return false,
        }
        true
    }

    fn change_stream(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = format!("/_data_stream/{name}");
        let mut stream = self.at(&path).expect("the stream is there");
        change(&mut stream);
        self.put(&path, stream);
    }

    fn root(&self) -> Value {
        match self.product {
            Product::Elasticsearch => {
                json!({"version": {"number": self.number}, "tagline": "You Know, for Search"})
            }
            Product::OpenSearch => json!({
                "version": {"number": self.number, "distribution": "opensearch"},
                "tagline": "The OpenSearch Project: https://opensearch.org/",
            }),
        }
    }

    fn named(&self, path: &str, name: &str) -> (u16, Value) {
        match self.at(path) {
            Some(value) => (200, json!({ name: value })),
            None => (404, json!({})),
        }
    }

    fn template(&self, path: &str) -> (u16, Value) {
        let Some(value) = self.at(path) else { return (404, json!({"error": {"reason": "none"}})) };
        let (all, one) = if path.starts_with("/_component") {
            ("component_templates", "component_template")
        } else {
            ("index_templates", "index_template")
        };
        (200, json!({ all: [{"name": "x", one: value}] }))
    }

    /// Makes the stream, or its next index, of the templates as they are now.
    fn grow(&self, name: &str) {
        let path = format!("/_data_stream/{name}");
        let own = self.at(&format!("/_index_template/{name}"));
        let template = own.or_else(|| self.at("/_index_template/spanledger")).expect("a template");
        let component = || self.at("/_component_template/spanledger-mappings").expect("a mapping");
        let own = template.pointer("/template/mappings").cloned();
        let mappings = own.unwrap_or_else(|| component()["template"]["mappings"].clone());
        let mut stream = self.at(&path).unwrap_or_else(|| {
            json!({
                "name": name, "indices": [], "template": "spanledger", "status": "GREEN",
                "lifecycle": template["template"]["lifecycle"],
                "failure_store": template["template"]["data_stream_options"]["failure_store"],
            })
        });
        let indices = stream["indices"].as_array_mut().unwrap();
        let index = format!(".ds-{name}-{:06}", indices.len() + 1);
        let mut made = json!({"index_name": index, "index_uuid": "u"});
        // Shown when the index has one.
        if let Some(policy) = template.pointer("/template/settings/index/lifecycle/name") {
            made["ilm_policy"] = policy.clone();
        }
        indices.push(made);
        self.put(&path, stream);
        self.put(&index, json!({"mappings": mappings}));
    }

    fn stream(&self, name: &str) -> (u16, Value) {
        match self.at(&format!("/_data_stream/{name}")) {
            Some(stream) => (200, json!({"data_streams": [stream]})),
            None => (404, json!({"error": {"reason": "no such index"}, "status": 404})),
        }
    }

    fn mapping(&self, name: &str) -> (u16, Value) {
        let (_, stream) = self.stream(name);
        let indices = stream["data_streams"][0]["indices"].as_array().unwrap().iter();
        let names = indices.map(|index| index["index_name"].as_str().unwrap().to_owned());
        let mappings: Map<_, _> =
            names.map(|name| (name.clone(), self.at(&name).unwrap())).collect();
        (200, Value::Object(mappings))
    }

    fn component(&self, body: Option<&Value>) -> Checked {
        let body = body.unwrap();
        keys(body, &["template", "version", "_meta"])?;
        keys(&body["template"], &["mappings", "settings"])?;
        self.settings(&body["template"])
    }

    fn settings(&self, template: &Value) -> Checked {
        let Some(index) = template.pointer("/settings/index") else { return Ok(()) };
        let mut known = vec!["mapping"];
        if self.product == Product::Elasticsearch {
            known.push("lifecycle");
        }
        if self.since(8, 17) {
            known.extend(["mode", "sort"]);
        }
        keys(index, &known)
    }

    fn index_template(&self, body: Option<&Value>) -> Checked {
        let body = body.unwrap();
        keys(
            body,
            &[
                "index_patterns",
                "data_stream",
                "composed_of",
                "priority",
                "template",
                "version",
                "_meta",
            ],
        )?;
        let mut known = vec!["mappings", "settings"];
        if self.since(8, 11) {
            known.push("lifecycle");
        }
        if self.has_failure_store() {
            known.push("data_stream_options");
        }
        keys(&body["template"], &known)?;
        for name in body["composed_of"].as_array().unwrap() {
            let path = format!("/_component_template/{}", name.as_str().unwrap());
            self.at(&path).ok_or_else(|| format!("component template {name} does not exist"))?;
        }
        if let Some(name) = body.pointer("/template/settings/index/lifecycle/name") {
            let path = format!("/_ilm/policy/{}", name.as_str().unwrap());
            self.at(&path).ok_or_else(|| format!("policy {name} does not exist"))?;
        }
        Ok(())
    }
}

impl Transport for Mock {
    async fn send(&self, request: Request) -> Result<Reply, SendError> {
        let less = |busy: usize| busy.checked_sub(1);
        let busy = self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        let (status, value) = if busy { (503, json!({})) } else { self.answer(&request) };
        Ok(Reply { status, body: value.to_string().into(), retry_after: None })
    }
}

fn keys(value: &Value, known: &[&str]) -> Checked {
    let map = value.as_object().ok_or_else(|| format!("not an object: {value}"))?;
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key [{key}], known are {known:?}")),
        None => Ok(()),
    }
}

fn in_days(value: &Value) -> Result<u32, String> {
    let text = value.as_str().unwrap_or_default();
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    days.or((text == "0ms").then_some(0)).ok_or_else(|| format!("not a time in days: {value}"))
}

fn ilm(body: &Value) -> Checked {
    keys(body, &["policy"])?;
    keys(&body["policy"], &["phases", "_meta"])?;
    let phases = &body["policy"]["phases"];
    keys(phases, &["hot", "warm", "cold", "delete"])?;
    let mut last = None;
    for name in ["hot", "warm", "cold", "delete"] {
        let Some(phase) = phases.get(name) else { continue };
        keys(phase, &["min_age", "actions"])?;
        let age = in_days(&phase["min_age"])?;
        if last.is_some_and(|last| age < last) {
            return Err(format!("phase {name} begins before the one in front of it"));
        }
        last = Some(age);
        let actions = &phase["actions"];
        keys(
            actions,
            match name {
                "hot" => &["rollover", "set_priority"],
                "warm" => &["forcemerge", "set_priority"],
                "cold" => &["set_priority"],
                _ => &["delete"],
            },
        )?;
        for (action, known) in [
            ("rollover", &["max_age", "max_primary_shard_size"][..]),
            ("set_priority", &["priority"]),
            ("forcemerge", &["max_num_segments"]),
            ("delete", &[]),
        ] {
            actions.get(action).map_or(Ok(()), |action| keys(action, known))?;
        }
    }
    Ok(())
}

fn ism(body: &Value) -> Checked {
    keys(body, &["policy"])?;
    let policy = &body["policy"];
    keys(policy, &["description", "default_state", "states", "ism_template"])?;
    let states = policy["states"].as_array().unwrap();
    let names: Vec<&Value> = states.iter().map(|state| &state["name"]).collect();
    if !names.contains(&&policy["default_state"]) {
        return Err("the default state does not exist".to_owned());
    }
    for state in states {
        keys(state, &["name", "actions", "transitions"])?;
        for action in state["actions"].as_array().unwrap() {
            keys(action, &["rollover", "force_merge", "index_priority", "delete"])?;
            for (name, known) in [
                ("rollover", &["min_index_age", "min_primary_shard_size"][..]),
                ("force_merge", &["max_num_segments"]),
                ("index_priority", &["priority"]),
                ("delete", &[]),
            ] {
                action.get(name).map_or(Ok(()), |inner| keys(inner, known))?;
            }
            if action.as_object().unwrap().len() != 1 {
                return Err("an action is one key".to_owned());
            }
        }
        for transition in state["transitions"].as_array().unwrap() {
            keys(transition, &["state_name", "conditions"])?;
            keys(&transition["conditions"], &["min_rollover_age"])?;
            in_days(&transition["conditions"]["min_rollover_age"])?;
            if !names.contains(&&transition["state_name"]) {
                return Err(format!("no state {}", transition["state_name"]));
            }
        }
    }
    for template in policy["ism_template"].as_array().unwrap() {
        keys(template, &["index_patterns", "priority"])?;
    }
    Ok(())
}

fn role(body: &Value) -> Checked {
    keys(body, &["cluster", "indices", "metadata"])?;
    let known = ["monitor", "manage_index_templates", "manage_ilm"];
    one_of(&body["cluster"], &known)?;
    for index in body["indices"].as_array().unwrap() {
        keys(index, &["names", "privileges"])?;
        let known = [
            "create_doc",
            "read",
            "maintenance",
            "index",
            "delete",
            "view_index_metadata",
            "manage",
        ];
        one_of(&index["privileges"], &known)?;
    }
    Ok(())
}

fn search_role(body: &Value) -> Checked {
    keys(body, &["description", "cluster_permissions", "index_permissions", "tenant_permissions"])?;
    let groups = ["read", "manage", "cluster_composite_ops_ro"];
    let actions = |value: &Value| {
        let all = value.as_array().unwrap().iter().map(|action| action.as_str().unwrap());
        let is_action =
            |action: &str| action.starts_with("indices:") || action.starts_with("cluster:");
        match all.into_iter().find(|action| !groups.contains(action) && !is_action(action)) {
            Some(action) => Err(format!("no action or group {action}")),
            None => Ok(()),
        }
    };
    actions(&body["cluster_permissions"])?;
    for index in body["index_permissions"].as_array().unwrap() {
        keys(index, &["index_patterns", "allowed_actions"])?;
        actions(&index["allowed_actions"])?;
    }
    Ok(())
}

fn one_of(value: &Value, known: &[&str]) -> Checked {
    let all = value.as_array().ok_or("not a list")?;
    match all.iter().find(|one| !one.as_str().is_some_and(|one| known.contains(&one))) {
        Some(one) => Err(format!("unknown privilege [{one}]")),
        None => Ok(()),
    }
}
