//! The table of fields as a mapping of the index.

use super::{Field, Product, Type, all, types};
use serde_json::{Map, Value, json};

/// Longest value of a keyword that is indexed, UTF-16 units.
///
/// Lucene refuses a term of more than 32,766 bytes, and with it the document; a unit has three
/// bytes at most. This is the largest bound that can never be refused. A longer value is kept and
/// shown; Elasticsearch names its field in the document's `_ignored`, so that `_ignored : *` finds
/// it, and an id of more than 255 characters has `audit.flags : id_too_long` on both products.
pub const LONGEST_KEYWORD: u32 = 10_922;

/// Longest value within a free object that is indexed, UTF-16 units. Less than
/// [`LONGEST_KEYWORD`], because the term holds the key too: 8,191 units leave 8,193 bytes for it.
/// Elasticsearch only; `flat_object` has no such bound.
pub const LONGEST_FREE_VALUE: u32 = 8_191;

/// How deep free objects may be nested. The default of 20 would refuse the document; 1,000 is
/// where the JSON reader of the cluster stops.
const FREE_DEPTH: u32 = 1_000;

/// The mapping of the index: `{"dynamic": false, "properties": …}`.
pub fn mappings(product: Product) -> Value {
    let mut properties = Map::new();
    for field in all() {
        let path: Vec<&str> = field.name.split('.').collect();
        place(&mut properties, &path, definition(&field, product));
    }
    json!({ "dynamic": false, "properties": properties })
}

fn definition(field: &Field, product: Product) -> Value {
    let name = field.kind.name(product);
    let mut definition = match field.kind {
        Type::Keyword => json!({ "type": name, "ignore_above": LONGEST_KEYWORD }),
        Type::Folded => {
            json!({ "type": name, "ignore_above": LONGEST_KEYWORD, "normalizer": "lowercase" })
        }
        // Scores are not asked for: stories are in order of time.
        Type::Text => json!({ "type": name, "norms": false }),
        Type::Flattened if product == Product::Elasticsearch => json!({
            "type": name, "ignore_above": LONGEST_FREE_VALUE, "depth_limit": FREE_DEPTH,
        }),
        // OpenSearch takes no parameters for a free object.
        Type::Flattened | Type::Date | Type::Long | Type::Double | Type::Boolean => {
            json!({ "type": name })
        }
        Type::Shown => json!({ "type": name, "enabled": false }),
        Type::Alias(path) => json!({ "type": name, "path": path }),
    };
    if let (Some(other), Some(map)) = (types::copied_to(&field.name), definition.as_object_mut()) {
        map.insert("copy_to".to_owned(), other.into());
    }
    definition
}

/// Puts a definition at its path, making the objects on the way.
fn place(properties: &mut Map<String, Value>, path: &[&str], definition: Value) {
    match path {
        [] => {}
        [name] => {
            properties.insert((*name).to_owned(), definition);
        }
        [object, rest @ ..] => {
            let object = properties
                .entry(*object)
                .or_insert_with(|| json!({ "properties": {} }))
                .get_mut("properties");
            if let Some(Value::Object(inner)) = object {
                place(inner, rest, definition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'m>(mappings: &'m Value, path: &str) -> &'m Value {
        path.split('.').fold(mappings, |inner, name| &inner["properties"][name])
    }

    #[test]
    fn every_field_has_its_definition_at_its_path_on_both_products() {
        for product in [Product::Elasticsearch, Product::OpenSearch] {
            let mappings = mappings(product);
            for field in all() {
                let definition = at(&mappings, &field.name);
                assert_eq!(definition["type"], field.kind.name(product), "{}", field.name);
                assert!(definition.get("properties").is_none(), "{}", field.name);
            }
        }
    }

    #[test]
    fn what_is_unknown_is_kept_and_not_searched() {
        assert_eq!(mappings(Product::Elasticsearch)["dynamic"], false);
        let text = mappings(Product::Elasticsearch).to_string();
        assert!(!text.contains("ignore_malformed"), "a value would be dropped without a word");
    }

    #[test]
    fn no_keyword_can_be_longer_than_a_term_of_lucene() {
        const TERM_BYTES: u32 = 32_766;
        const UNIT_BYTES: u32 = 3;
        const { assert!(LONGEST_KEYWORD * UNIT_BYTES <= TERM_BYTES) };
        const { assert!(LONGEST_FREE_VALUE * UNIT_BYTES < TERM_BYTES) };
        let mappings = mappings(Product::OpenSearch);
        for field in all() {
            if matches!(field.kind, Type::Keyword | Type::Folded) {
                assert_eq!(at(&mappings, &field.name)["ignore_above"], LONGEST_KEYWORD);
            }
        }
    }

    #[test]
    fn opensearch_gets_no_parameter_that_it_refuses() {
        let mappings = mappings(Product::OpenSearch);
        assert_eq!(*at(&mappings, "attributes"), json!({ "type": "flat_object" }));
    }

    #[test]
    fn ids_are_aliases_and_names_of_several_fields_are_copies() {
        let mappings = mappings(Product::Elasticsearch);
        assert_eq!(*at(&mappings, "run_id"), json!({"type": "alias", "path": "audit.run.id"}));
        assert_eq!(at(&mappings, "gen_ai.response.model")["copy_to"], "model");
        assert_eq!(at(&mappings, "model")["normalizer"], "lowercase");
        assert_eq!(at(&mappings, "audit.rejection.reason")["copy_to"], "reason");
        assert_eq!(at(&mappings, "reason")["type"], "text");
    }

    #[test]
    fn ids_that_came_late_are_found_where_the_others_are() {
        let mappings = mappings(Product::OpenSearch);
        assert_eq!(at(&mappings, "audit.correlation.trace_id")["copy_to"], "trace_id");
        assert_eq!(at(&mappings, "trace_id")["type"], "keyword");
    }
}
