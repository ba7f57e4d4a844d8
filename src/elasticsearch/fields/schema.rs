//! The leaves of the entry's JSON Schema.

use super::Type;
use crate::entry::Entry;
use serde_json::Value;

/// How deep objects of an entry lie in each other at most: `audit.decision.outcome` is 3. Bounds
/// the walk should a type ever contain itself.
const MAX_DEPTH: usize = 8;

/// A value of the entry that is no object of ours.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) many: bool,
    pub(super) meaning: String,
    pub(super) object_meaning: String,
}

/// Every leaf, in the order of the schema.
pub(super) fn leaves() -> Vec<Leaf> {
    let schema = Entry::json_schema();
    let root = schema.as_value();
    let mut walk = Walk { root, leaves: Vec::new() };
    walk.object(root, "", "", false, 0);
    walk.leaves
}

struct Walk<'s> {
    root: &'s Value,
    leaves: Vec<Leaf>,
}

impl<'s> Walk<'s> {
    fn object(&mut self, schema: &'s Value, path: &str, meaning: &str, many: bool, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if depth >= MAX_DEPTH {
            return;
        }
        for (key, property) in properties {
            let dot = if path.is_empty() { "" } else { "." };
            let name = format!("{path}{dot}{key}");
            let (inner, is_list) = self.resolve(property);
            let said = [property, inner].into_iter().find_map(description).unwrap_or_default();
            let many = many || is_list;
            if inner.get("properties").is_some() {
                self.object(inner, &name, &said, many, depth.saturating_add(1));
            } else {
                let kind = kind(inner);
                let object_meaning = meaning.to_owned();
                self.leaves.push(Leaf { name, kind, many, meaning: said, object_meaning });
            }
        }
    }

    /// What a property is behind references, lists and "or null", and whether there was a list.
    fn resolve(&self, property: &'s Value) -> (&'s Value, bool) {
        let (mut schema, mut is_list) = (property, false);
        // Each turn removes one layer; the schema has three at most.
        for _ in 0..MAX_DEPTH {
            let reference = schema.get("$ref").and_then(Value::as_str);
            let target = reference
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            let either = schema.get("anyOf").and_then(Value::as_array).and_then(|choices| {
                choices.iter().find(|choice| choice.get("type") != Some(&"null".into()))
            });
            let items = schema.get("items");
            is_list |= items.is_some();
            match target.or(either).or(items) {
                Some(inner) => schema = inner,
                None => break,
            }
        }
        (schema, is_list)
    }
}

fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The type of a leaf, as far as the schema tells.
fn kind(schema: &Value) -> Type {
    let is_word = schema.get("enum").is_some() || schema.get("oneOf").is_some();
    let named = match schema.get("type") {
        Some(Value::Array(either)) => {
            either.iter().filter_map(Value::as_str).find(|name| *name != "null")
        }
        Some(Value::String(name)) => Some(name.as_str()),
        _ => None,
    };
    match named {
        Some("string") => Type::Keyword,
        Some("integer") => Type::Long,
        Some("number") => Type::Double,
        Some("boolean") => Type::Boolean,
        // Our own objects have properties; one without is a source's.
        Some("object") => Type::Flattened,
        _ if is_word => Type::Keyword,
        // Any JSON: nothing else takes it without failing a document.
        _ => Type::Shown,
    }
}
