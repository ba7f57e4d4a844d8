//! How long documents stay: data stream lifecycle and ILM of Elasticsearch, ISM of OpenSearch.
//!
//! Retention counts from the rollover of an index, so a document stays at least that long and at
//! most one rollover longer.

use super::mark::Mark;
use super::objects::{Kind, Object};
use super::{Class, SetupError, SetupOptions};
use crate::elasticsearch::{Flavor, Method, Product};
use serde_json::{Value, json};

/// Age at which an index is rolled over, days, and so the longest that a document outstays its
/// retention. Data stream lifecycles decide that themselves.
const ROLLOVER_DAYS: u32 = 30;

/// Size of a shard at which an index is rolled over: what Elasticsearch advises at most.
const ROLLOVER_SHARD_SIZE: &str = "50gb";

/// How documents come to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// They are deleted after their class's retention.
    Delete,
    /// They move to cheaper nodes before that.
    Tiers(Tiers),
    /// Somebody else cares for that; nothing of ours deletes anything.
    None,
}

/// When documents move to cheaper nodes, days after the rollover of their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiers {
    /// To warm nodes.
    pub warm_days: Option<u32>,
    /// To cold nodes; OpenSearch has none.
    pub cold_days: Option<u32>,
}

impl Lifecycle {
    pub(super) fn check(self, classes: &[Class]) -> Result<(), SetupError> {
        let Lifecycle::Tiers(tiers) = self else { return Ok(()) };
        let wrong = |class: &&Class| {
            let mut days = vec![0];
            days.extend(tiers.warm_days);
            days.extend(tiers.cold_days);
            days.push(class.retention_days);
            !days.is_sorted_by(|earlier, later| earlier < later)
        };
        match classes.iter().find(wrong) {
            Some(class) => Err(SetupError::Tiers { class: class.name.clone() }),
            None => Ok(()),
        }
    }
}

/// What carries a lifecycle out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The `lifecycle` of a data stream.
    DataStream,
    /// An ILM policy, named in the index settings.
    Ilm,
    /// An ISM policy, which finds the indices by their names.
    Ism,
    /// Nothing of ours.
    Nothing,
}

impl Means {
    pub(super) fn of(flavor: &Flavor, lifecycle: Lifecycle) -> Self {
        match (flavor.product, lifecycle) {
            (_, Lifecycle::None) => Means::Nothing,
            (Product::OpenSearch, _) => Means::Ism,
            (Product::Elasticsearch, Lifecycle::Delete) if flavor.is_elasticsearch_since(8, 14) => {
                Means::DataStream
            }
            (Product::Elasticsearch, _) => Means::Ilm,
        }
    }
}

/// The retention as the clusters spell it.
pub(super) fn days(days: u32) -> String {
    format!("{days}d")
}

/// The policy of a class, if its lifecycle needs one.
pub(super) fn policy(
    means: Means,
    class: &Class,
    options: &SetupOptions,
    template: &str,
) -> Option<Object> {
    let tiers = match options.lifecycle {
        Lifecycle::Tiers(tiers) => tiers,
        _ => Tiers { warm_days: None, cold_days: None },
    };
    match means {
        Means::Ilm => {
            let mut policy = json!({"phases": ilm_phases(class.retention_days, tiers)});
            let mark = Mark::of(&policy);
            insert(&mut policy, "_meta", mark.json());
            let path = format!("/_ilm/policy/{template}");
            let body = Some(json!({ "policy": policy }));
            Some(object(Kind::Ilm, template.to_owned(), path, body))
        }
        Means::Ism => {
            Some(ism_object(template.to_owned(), Some(ism_policy(class, tiers, options))))
        }
        Means::DataStream | Means::Nothing => None,
    }
}

/// An ISM policy of ours; without a body one that is to go.
pub(super) fn ism_object(name: String, body: Option<Value>) -> Object {
    let path = format!("/_plugins/_ism/policies/{name}");
    object(Kind::Ism, name, path, body)
}

fn object(kind: Kind, name: String, path: String, body: Option<Value>) -> Object {
    let mark = mark_of(kind, body.as_ref().unwrap_or(&Value::Null));
    Object { kind, name, read: path.clone(), method: Method::Put, write: path, mark, body }
}

/// The mark in the body of a policy.
fn mark_of(kind: Kind, body: &Value) -> Mark {
    let unmarked = || Mark::of(body);
    match kind {
        Kind::Ism => body
            .pointer("/policy/description")
            .and_then(Value::as_str)
            .and_then(Mark::read_sentence)
            .unwrap_or_else(unmarked),
        _ => body.pointer("/policy/_meta").and_then(Mark::read).unwrap_or_else(unmarked),
    }
}

pub(super) fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}

fn ilm_phases(retention_days: u32, tiers: Tiers) -> Value {
    let rollover = json!({
        "max_age": days(ROLLOVER_DAYS),
        "max_primary_shard_size": ROLLOVER_SHARD_SIZE,
    });
    let mut phases = json!({
        "hot": {"min_age": "0ms", "actions": {"rollover": rollover, "set_priority": {"priority": 100}}},
    });
    if let Some(after) = tiers.warm_days {
        // Moving to the nodes of the tier is what a phase does without being told.
        let actions =
            json!({"forcemerge": {"max_num_segments": 1}, "set_priority": {"priority": 50}});
        insert(&mut phases, "warm", json!({"min_age": days(after), "actions": actions}));
    }
    if let Some(after) = tiers.cold_days {
        let actions = json!({"set_priority": {"priority": 0}});
        insert(&mut phases, "cold", json!({"min_age": days(after), "actions": actions}));
    }
    let delete = json!({"min_age": days(retention_days), "actions": {"delete": {}}});
    insert(&mut phases, "delete", delete);
    phases
}

fn ism_policy(class: &Class, tiers: Tiers, options: &SetupOptions) -> Value {
    let after = |state: &str, age: u32| json!([{"state_name": state, "conditions": {"min_rollover_age": days(age)}}]);
    let rollover = json!({
        "min_index_age": days(ROLLOVER_DAYS),
        "min_primary_shard_size": ROLLOVER_SHARD_SIZE,
    });
    let next = match tiers.warm_days {
        Some(warm) => after("warm", warm),
        None => after("delete", class.retention_days),
    };
    let mut states =
        vec![json!({"name": "hot", "actions": [{"rollover": rollover}], "transitions": next})];
    if tiers.warm_days.is_some() {
        states.push(json!({
            "name": "warm",
            "actions": [
                {"force_merge": {"max_num_segments": 1}},
                {"index_priority": {"priority": 50}},
            ],
            "transitions": after("delete", class.retention_days),
        }));
    }
    states.push(json!({"name": "delete", "actions": [{"delete": {}}], "transitions": []}));
    // ISM goes by the name of the stream for its backing indices. The first class is the one of
    // all names, and gives way to the others.
    let is_first = options.classes.first().is_some_and(|first| first.name == class.name);
    let (pattern, priority) =
        if is_first { ("spanledger-*".to_owned(), 100) } else { (class.stream(), 110) };
    let mut policy = json!({
        "default_state": "hot",
        "states": states,
        "ism_template": [{"index_patterns": [pattern], "priority": priority}],
    });
    let mark = Mark::of(&policy);
    insert(&mut policy, "description", mark.sentence("Keeps and deletes audit entries").into());
    json!({ "policy": policy })
}
