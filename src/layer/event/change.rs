//! What became different, field by field.

use super::{AuditEvent, AuditValue};
use serde::Serialize;
use serde_json::{Value as Json, json};

/// Changes of one thing. Values are compared by their JSON, and only what differs is recorded.
///
/// ```
/// use spanledger::layer::Change;
/// # use spanledger::layer::AuditEvent;
/// let before = serde_json::json!({"limit": 500, "teams": ["a"], "owner": "eve"});
/// let after = serde_json::json!({"limit": 900, "teams": ["a", "b"], "owner": "eve"});
/// let change = Change::between("policy refunds", &before, &after);
/// assert_eq!(change.paths(), ["limit", "teams[1]"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "it is on record when it was given to `record` and that was awaited"]
pub struct Change {
    target: String,
    changes: Vec<FieldChange>,
    attributes: Vec<(&'static str, AuditValue)>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldChange {
    path: String,
    /// Absent: it was not there.
    before: Option<Json>,
    after: Option<Json>,
}

/// Most fields of one change that are told each for itself; beyond it the whole is one change.
const MAX_FIELDS: usize = 1000;

impl Change {
    /// No change yet of that thing.
    pub fn of(target: impl Into<String>) -> Self {
        Self { target: target.into(), changes: Vec::new(), attributes: Vec::new() }
    }

    /// What differs between two values. What has no JSON counts as null.
    pub fn between(
        target: impl Into<String>,
        before: &impl Serialize,
        after: &impl Serialize,
    ) -> Self {
        let json = |value: Result<Json, _>| value.unwrap_or(Json::Null);
        let before = json(serde_json::to_value(before));
        let after = json(serde_json::to_value(after));
        let mut change = Self::of(target);
        diff(String::new(), Some(&before), Some(&after), &mut change.changes);
        if change.changes.len() > MAX_FIELDS {
            let (before, after) = (Some(before), Some(after));
            change.changes = vec![FieldChange { path: String::new(), before, after }];
        }
        change
    }

    /// One more field that changed.
    pub fn field(
        mut self,
        path: impl Into<String>,
        before: &impl Serialize,
        after: &impl Serialize,
    ) -> Self {
        let (before, after) = (serde_json::to_value(before).ok(), serde_json::to_value(after).ok());
        self.changes.push(FieldChange { path: path.into(), before, after });
        self
    }

    /// Who changed it.
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.with("spanledger.actor", actor.into())
    }

    /// What they did, such as `policy.publish`.
    pub fn action(self, action: impl Into<String>) -> Self {
        self.with("spanledger.action", action.into())
    }

    /// Any other attribute.
    pub fn with(mut self, key: &'static str, value: impl Into<AuditValue>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// Paths of the fields that changed.
    pub fn paths(&self) -> Vec<&str> {
        self.changes.iter().map(|change| change.path.as_str()).collect()
    }
}

impl From<Change> for AuditEvent {
    fn from(change: Change) -> Self {
        let list: Json = change
            .changes
            .into_iter()
            .map(|field| {
                let mut one = json!({ "path": field.path });
                if let Json::Object(members) = &mut one {
                    members.extend(field.before.map(|value| ("before".to_owned(), value)));
                    members.extend(field.after.map(|value| ("after".to_owned(), value)));
                }
                one
            })
            .collect();
        let event = Self::new("spanledger.change")
            .with("spanledger.kind", "change")
            .with("spanledger.change.target", change.target)
            .with("spanledger.changes", list.to_string());
        change.attributes.into_iter().fold(event, |event, (key, value)| event.with(key, value))
    }
}

fn diff(path: String, before: Option<&Json>, after: Option<&Json>, out: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                diff(path, old.get(key), new.get(key), out);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                diff(format!("{path}[{index}]"), old.get(index), new.get(index), out);
            }
        }
        _ => out.push(FieldChange { path, before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_became_different_is_told_and_nothing_else() {
        let before = json!({"a": {"b": 1, "c": [1, 2, 3]}, "gone": true, "same": {"x": 1}});
        let after = json!({"a": {"b": 2, "c": [1, 5]}, "same": {"x": 1}, "new": null});
        let change = Change::between("t", &before, &after);
        assert_eq!(change.paths(), ["a.b", "a.c[1]", "a.c[2]", "gone", "new"]);
        let last = &change.changes[4];
        assert_eq!((&last.before, &last.after), (&None, &Some(Json::Null)));
        assert!(Change::between("t", &before, &before).paths().is_empty());
    }

    #[test]
    fn a_change_of_very_much_is_one_change() {
        let many = |value: i32| -> Json {
            (0..2000).map(|n| (n.to_string(), Json::from(value))).collect()
        };
        assert_eq!(Change::between("t", &many(1), &many(2)).paths(), [""]);
    }
}
