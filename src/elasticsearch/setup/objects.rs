//! The objects that are wanted, for one product and version: pure, nothing is asked here.

use super::lifecycle::{self, Means, days, insert};
use super::mark::Mark;
use super::{Class, SetupError, SetupOptions, roles};
use crate::elasticsearch::checkpoints::CHECKPOINT_STREAM;
use crate::elasticsearch::{Flavor, Method, Product, fields};
use serde_json::{Value, json};

/// Priority of our index templates: above what Elasticsearch and its integrations install (100
/// and 200), below what a person puts on top.
const PRIORITY: u32 = 500;

/// Component template with the mapping.
pub(super) const MAPPINGS: &str = "spanledger-mappings";

/// Component template with the index settings.
const SETTINGS: &str = "spanledger-settings";

/// Index template of the first class and of all classes that setup does not know.
const TEMPLATE: &str = "spanledger";

/// What an object is; it decides how it is read and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Component,
    Template,
    Stream,
    Ilm,
    Ism,
    Role,
    SearchRole,
    ApiKey,
}

impl Kind {
    /// As a person calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Component => "component template",
            Kind::Template => "index template",
            Kind::Stream => "data stream",
            Kind::Ilm => "ILM policy",
            Kind::Ism => "ISM policy",
            Kind::Role | Kind::SearchRole => "role",
            Kind::ApiKey => "API key",
        }
    }
}

/// An object that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Path that says whether it is there.
    pub(super) read: String,
    pub(super) method: Method,
    /// Path that makes or replaces it.
    pub(super) write: String,
    /// For a data stream the mark of what its indices are made of.
    pub(super) mark: Mark,
    pub(super) body: Option<Value>,
}

/// What is wanted, in the order in which it has to be made.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) objects: Vec<Object>,
    pub(super) means: Means,
    /// Policies of earlier runs that would go on deleting.
    pub(super) unwanted: Vec<Object>,
    /// Retention of the data streams, by name, where the stream itself carries it.
    pub(super) retention: Vec<(String, String)>,
    /// Whether streams have a failure store; `None` where the cluster knows none.
    pub(super) failure_store: Option<bool>,
}

pub(super) fn wanted(flavor: &Flavor, options: &SetupOptions) -> Result<Wanted, SetupError> {
    let means = Means::of(flavor, options.lifecycle);
    let settings = settings(flavor, options)?;
    let mut mappings = fields::mappings(flavor.product);
    // Of both, so that an index knows by its mapping alone whether it is made as wanted.
    let made_of = Mark::of(&json!([mappings, settings]));
    insert(&mut mappings, "_meta", made_of.json());

    let mut objects: Vec<Object> = Vec::new();
    for (class, name) in templates(options) {
        objects.extend(lifecycle::policy(means, class, options, &name));
    }
    let component = |name: &str, template: Value| {
        object(Kind::Component, name, "/_component_template", json!({ "template": template }))
    };
    objects.push(component(MAPPINGS, json!({ "mappings": mappings })));
    objects.push(component(SETTINGS, json!({ "settings": settings })));
    for (class, name) in templates(options) {
        let body = template(flavor, options, means, class, &name)?;
        objects.push(object(Kind::Template, &name, "/_index_template", body));
    }
    for class in &options.classes {
        objects.push(stream(class.stream(), made_of.clone()));
    }
    if options.checkpoints {
        objects.extend(checkpoints(flavor, options));
    }
    objects.extend(roles::wanted(flavor, options)?);
    let retention = match means {
        Means::DataStream => {
            options.classes.iter().map(|c| (c.stream(), days(c.retention_days))).collect()
        }
        _ => Vec::new(),
    };
    let failure_store = has_failure_store(flavor).then_some(options.failure_store);
    let unwanted = match (means, flavor.product) {
        (Means::Nothing, Product::OpenSearch) => {
            let names = options.classes.iter().map(Class::stream);
            let names = std::iter::once(TEMPLATE.to_owned()).chain(names);
            names.map(|name| lifecycle::ism_object(name, None)).collect()
        }
        _ => Vec::new(),
    };
    Ok(Wanted { objects, means, unwanted, retention, failure_store })
}

/// A data stream, and the mark of what its indices are made of.
fn stream(name: String, mark: Mark) -> Object {
    let path = format!("/_data_stream/{name}");
    let (kind, method) = (Kind::Stream, Method::Put);
    Object { kind, read: path.clone(), method, write: path, name, mark, body: None }
}

/// The data stream of checkpoints and its template. No lifecycle: they are never deleted.
fn checkpoints(flavor: &Flavor, options: &SetupOptions) -> [Object; 2] {
    let mut mappings = json!({
        // What somebody puts beside these fields is kept, and makes no field of its own.
        "dynamic": false,
        "properties": {
            "@timestamp": {"type": "date_nanos"},
            "origin": {"type": "keyword"},
            "size": {"type": "long"},
            // Read, and never searched.
            "checkpoint": {"type": "keyword", "index": false, "doc_values": false},
        },
    });
    let made_of = Mark::of(&mappings);
    insert(&mut mappings, "_meta", made_of.json());
    let mut template = json!({
        "mappings": mappings,
        "settings": {"index": {"mapping": {"ignore_malformed": false}}},
    });
    if has_failure_store(flavor) {
        let enabled = options.failure_store;
        let store = json!({"failure_store": {"enabled": enabled}});
        insert(&mut template, "data_stream_options", store);
    }
    let body = json!({
        "index_patterns": [CHECKPOINT_STREAM],
        "data_stream": {},
        "composed_of": [],
        "priority": PRIORITY,
        "template": template,
    });
    [
        object(Kind::Template, CHECKPOINT_STREAM, "/_index_template", body),
        stream(CHECKPOINT_STREAM.to_owned(), made_of),
    ]
}

/// A template or component template with its mark.
fn object(kind: Kind, name: &str, folder: &str, mut body: Value) -> Object {
    let mark = Mark::of(&body);
    insert(&mut body, "version", mark.version.into());
    insert(&mut body, "_meta", mark.json());
    let path = format!("{folder}/{name}");
    Object {
        kind,
        name: name.to_owned(),
        read: path.clone(),
        method: Method::Put,
        write: path,
        mark,
        body: Some(body),
    }
}

/// The classes that have a template of their own, and its name: the first one, whose template
/// serves all names, and those that are kept longer or shorter.
fn templates(options: &SetupOptions) -> Vec<(&Class, String)> {
    let first = options.classes.first();
    let others = options.classes.iter().skip(1);
    let differ = others
        .filter(|class| first.is_some_and(|first| first.retention_days != class.retention_days));
    first
        .map(|class| (class, TEMPLATE.to_owned()))
        .into_iter()
        .chain(differ.map(|class| (class, class.stream())))
        .collect()
}

fn template(
    flavor: &Flavor,
    options: &SetupOptions,
    means: Means,
    class: &Class,
    name: &str,
) -> Result<Value, SetupError> {
    let is_general = name == TEMPLATE;
    let pattern = if is_general { "spanledger-*".to_owned() } else { class.stream() };
    let mut own = json!({});
    match means {
        Means::DataStream => {
            insert(&mut own, "lifecycle", json!({"data_retention": days(class.retention_days)}));
        }
        Means::Ilm => {
            insert(&mut own, "settings", json!({"index": {"lifecycle": {"name": name}}}));
        }
        Means::Ism | Means::Nothing => {}
    }
    if has_failure_store(flavor) {
        let enabled = options.failure_store;
        insert(&mut own, "data_stream_options", json!({"failure_store": {"enabled": enabled}}));
    } else if options.failure_store {
        return Err(SetupError::NeedsVersion { what: "a failure store", since: "8.19 or 9.1" });
    }
    Ok(json!({
        "index_patterns": [pattern],
        "data_stream": {},
        "composed_of": [MAPPINGS, SETTINGS],
        "priority": PRIORITY.saturating_add(if is_general { 0 } else { 10 }),
        "template": own,
    }))
}

fn has_failure_store(flavor: &Flavor) -> bool {
    flavor.is_elasticsearch_since(9, 1)
        || (flavor.is_elasticsearch_since(8, 19) && !flavor.is_elasticsearch_since(9, 0))
}

fn settings(flavor: &Flavor, options: &SetupOptions) -> Result<Value, SetupError> {
    // What is said here of mappings guards what a search can find: a value that cannot be indexed
    // is refused, and becomes a dead letter, where the default of others would drop it silently.
    let mut mapping = json!({"ignore_malformed": false});
    let mut index = json!({});
    if options.logsdb {
        if flavor.product != Product::Elasticsearch || !flavor.is_elasticsearch_since(8, 17) {
            return Err(SetupError::NeedsVersion { what: "logsdb", since: "8.17" });
        }
        // Documents are evidence: they come back in the order and spelling in which they came.
        insert(&mut mapping, "source", json!({"mode": "stored"}));
        insert(&mut index, "mode", json!("logsdb"));
        // Ours, as the default needs a host name that no document has.
        insert(&mut index, "sort", json!({"field": ["@timestamp"], "order": ["desc"]}));
    }
    insert(&mut index, "mapping", mapping);
    Ok(json!({ "index": index }))
}
