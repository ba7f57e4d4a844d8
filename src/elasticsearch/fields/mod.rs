//! Every field of an exported document: its type in the index, and what it means.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`all`], the one table; [`Type`] |
//! | `schema.rs` | the leaves of the entry's JSON Schema with their docstrings |
//! | `types.rs` | what the schema cannot know: prose, times, ECS names, short names, fields of the envelope and of `late` |
//! | `mapping.rs` | [`mappings`]: the table as a mapping of the index |
//! | `markdown.rs` | [`markdown`]: the table as `docs/fields.md` |
//!
//! ```text
//! Entry (docstrings) ─► JSON Schema ─► leaves ─┐
//! envelope, short names, exceptions ───────────┴─► all() ─► mappings(product)
//!                                                       └─► docs/fields.md
//! ```
//!
//! A field that is added to the entry is in the mapping and in the documentation by itself. The
//! root is `dynamic: false`: what is not in the table is kept in `_source` and not searched, so no
//! source can add fields to the index, and no value of another type can fail a document.

mod mapping;
mod markdown;
mod schema;
mod types;

pub use mapping::{LONGEST_FREE_VALUE, LONGEST_KEYWORD, mappings};
pub use markdown::markdown;
pub use types::{SHORT_NAMES, ShortName};

use super::Product;
use std::borrow::Cow;

/// How the values of a field are indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// As a whole, case and all: ids, names, words of a vocabulary.
    Keyword,
    /// As a whole, in lower case: the short names, which compare as `spanledger search` does.
    Folded,
    /// Word by word: prose.
    Text,
    /// A time with nanoseconds.
    Date,
    /// A signed 64-bit integer.
    Long,
    /// A 64-bit float.
    Double,
    /// A truth value.
    Boolean,
    /// An object of free fields, each found under its own name as a whole.
    Flattened,
    /// Kept and shown, not searched: any JSON.
    Shown,
    /// Another name of a field.
    Alias(&'static str),
}

impl Type {
    /// The word for it in documentation and mapping.
    pub const fn name(self, product: Product) -> &'static str {
        match (self, product) {
            (Type::Keyword | Type::Folded, _) => "keyword",
            (Type::Text, _) => "text",
            (Type::Date, _) => "date_nanos",
            (Type::Long, _) => "long",
            (Type::Double, _) => "double",
            (Type::Boolean, _) => "boolean",
            (Type::Flattened, Product::Elasticsearch) => "flattened",
            (Type::Flattened, Product::OpenSearch) => "flat_object",
            (Type::Shown, _) => "object",
            (Type::Alias(_), _) => "alias",
        }
    }

    /// Whether a query can ask for a value.
    pub const fn is_searchable(self) -> bool {
        !matches!(self, Type::Shown)
    }

    /// Whether values can be counted, sorted and charted on both products.
    pub const fn is_aggregatable(self) -> bool {
        !matches!(self, Type::Shown | Type::Text | Type::Flattened)
    }
}

/// A field of an exported document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its dotted path.
    pub name: String,
    /// How it is indexed.
    pub kind: Type,
    /// Whether a document can have several values, or stands in an array of objects.
    pub many: bool,
    /// Whether the Elastic Common Schema has a field of this name.
    pub ecs: bool,
    /// What it means.
    pub meaning: Cow<'static, str>,
    /// What the object means that it is in; empty at the root.
    pub object_meaning: String,
}

impl Field {
    /// Path of the object that it is in; empty at the root.
    pub fn object(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(object, _)| object)
    }
}

/// Every field, each once: the body's in the order of the schema, then what the projection and
/// `late` add, then the short names.
pub fn all() -> Vec<Field> {
    let leaves = schema::leaves();
    let meaning_of = |object: &str| {
        let within = leaves.iter().find(|leaf| {
            leaf.name
                .strip_prefix(object)
                .is_some_and(|rest| rest.strip_prefix('.').is_some_and(|name| !name.contains('.')))
        });
        within.map(|leaf| leaf.object_meaning.clone()).unwrap_or_default()
    };
    let added: Vec<Field> = types::ENVELOPE
        .iter()
        .chain(types::LATE)
        .map(|field| {
            let object = field.name.rsplit_once('.').map_or("", |(object, _)| object);
            Field {
                name: field.name.to_owned(),
                kind: field.kind,
                many: types::has_many(field.name),
                ecs: types::is_ecs(field.name),
                meaning: field.meaning.into(),
                object_meaning: match object {
                    "organization" => "The tenant.".to_owned(),
                    "audit.ledger" => "Where the entry is on record.".to_owned(),
                    "audit.correlation" => {
                        "What became known later; no part of the record.".to_owned()
                    }
                    "audit.link" => {
                        "In documents of the kind `link`, which are no entries: they join \
                        a group whose documents cannot be given its ids."
                            .to_owned()
                    }
                    _ => meaning_of(object),
                },
            }
        })
        .collect();
    let short = SHORT_NAMES.iter().map(|short| Field {
        name: short.name.to_owned(),
        kind: short.kind(),
        many: short.paths.len() > 1,
        ecs: false,
        meaning: short.meaning(),
        object_meaning: String::new(),
    });
    let mut fields: Vec<Field> = leaves
        .iter()
        .map(|leaf| Field {
            kind: types::exception(&leaf.name).unwrap_or(leaf.kind),
            name: leaf.name.clone(),
            many: leaf.many,
            ecs: types::is_ecs(&leaf.name),
            meaning: leaf.meaning.clone().into(),
            object_meaning: leaf.object_meaning.clone(),
        })
        .collect();
    fields.extend(added);
    fields.extend(short);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Json, Kind};
    use crate::store::projection::{Origin, write_document};
    use crate::store::{EntryView, Envelope};
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    fn by_name() -> BTreeMap<String, Field> {
        all().into_iter().map(|field| (field.name.clone(), field)).collect()
    }

    fn document(body: &[u8], conflict: bool) -> Value {
        let envelope = Envelope {
            sequence: 1,
            id: [1; 16],
            tenant: "acme",
            received_ns: 1,
            conflict,
            leaf_hash: [2; 32],
        };
        let mut out = Vec::new();
        write_document(&EntryView::new(envelope, body), Origin { name: "o" }, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn paths(value: &Value, prefix: &str, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(value, &format!("{prefix}{dot}{key}"), out);
            }),
            _ => {
                out.insert(prefix.to_owned());
            }
        }
    }

    #[test]
    fn no_field_stands_twice() {
        assert_eq!(by_name().len(), all().len());
    }

    #[test]
    fn every_leaf_of_the_schema_is_in_the_table_and_every_exception_is_a_leaf() {
        let leaves: BTreeSet<String> = schema::leaves().into_iter().map(|leaf| leaf.name).collect();
        let table: BTreeSet<String> = all().into_iter().map(|field| field.name).collect();
        assert!(leaves.is_subset(&table));
        let added: BTreeSet<String> = types::ENVELOPE
            .iter()
            .chain(types::LATE)
            .map(|field| field.name.to_owned())
            .chain(SHORT_NAMES.iter().map(|short| short.name.to_owned()))
            .collect();
        let unknown: Vec<&String> =
            table.iter().filter(|name| !leaves.contains(*name) && !added.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        for name in types::named() {
            assert!(table.contains(name), "{name} is no field of an entry any more");
        }
    }

    #[test]
    fn the_walk_over_the_schema_reaches_every_definition() {
        let schema = Entry::json_schema();
        let defined = schema.as_value()["$defs"].as_object().unwrap();
        let mut properties = 0;
        for definition in defined.values().chain([schema.as_value()]) {
            properties += definition["properties"].as_object().map_or(0, serde_json::Map::len);
        }
        // A definition that is used twice gives more leaves than properties, none gives fewer.
        let objects: BTreeSet<String> =
            schema::leaves().iter().flat_map(|leaf| parents(&leaf.name)).collect();
        assert_eq!(schema::leaves().len() + objects.len(), properties + twice(&schema));
    }

    /// Every object above a leaf.
    fn parents(name: &str) -> Vec<String> {
        name.match_indices('.').map(|(dot, _)| name[..dot].to_owned()).collect()
    }

    /// Properties of definitions beyond their first use. `Fields`, `Value` and words have none.
    fn twice(schema: &schemars::Schema) -> usize {
        let text = schema.as_value().to_string();
        let defined = schema.as_value()["$defs"].as_object().unwrap();
        defined
            .iter()
            .map(|(name, definition)| {
                let uses = text.matches(&format!("\"#/$defs/{name}\"")).count();
                let own = definition["properties"].as_object().map_or(0, serde_json::Map::len);
                uses.saturating_sub(1) * own
            })
            .sum()
    }

    #[test]
    fn what_the_projection_adds_is_in_the_table_and_nothing_else_is() {
        let bare = br#"{"schema_version":1,"event":{},"audit":{"kind":"span"}}"#;
        let mut shown = BTreeSet::new();
        paths(&document(bare, true), "", &mut shown);
        paths(&document(b"not json", false), "", &mut shown);
        for own in ["schema_version", "audit.kind", "@timestamp"] {
            shown.remove(own);
        }
        let told: BTreeSet<String> =
            types::ENVELOPE.iter().map(|field| field.name.to_owned()).collect();
        assert_eq!(shown, told);
    }

    #[test]
    fn every_value_of_a_full_document_has_a_field_or_lies_in_a_declared_free_object() {
        let mut entry = Entry::new(Kind::ToolCall);
        entry.attributes.push("a.b".into(), Json::Int(1));
        entry.body = Some(Json::Map(entry.attributes.clone()));
        entry.audit.policy.matched = Some(Json::List(vec![Json::Int(1)]));
        entry.audit.decision.reason = Some("why".into());
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        let mut shown = BTreeSet::new();
        paths(&document(&body, false), "", &mut shown);
        let table = by_name();
        for path in shown {
            let found = std::iter::once(path.clone())
                .chain(parents(&path))
                .find_map(|path| table.get(&path));
            assert!(found.is_some(), "{path}");
        }
    }

    #[test]
    fn every_field_says_what_it_means() {
        for field in all() {
            assert!(field.meaning.ends_with('.') && field.meaning.len() >= 4, "{field:?}");
        }
    }

    #[test]
    fn the_schema_says_free_only_where_values_are_shown_or_flattened() {
        let table = by_name();
        for (name, kind) in [
            ("attributes", Type::Flattened),
            ("resource", Type::Flattened),
            ("scope.attributes", Type::Flattened),
            ("events.attributes", Type::Flattened),
            ("links.attributes", Type::Flattened),
            ("body", Type::Shown),
            ("audit.policy.evaluated", Type::Shown),
            ("audit.policy.matched", Type::Shown),
            ("audit.change.before", Type::Shown),
            ("audit.change.after", Type::Shown),
        ] {
            assert_eq!(table[name].kind, kind, "{name}");
        }
    }
}
