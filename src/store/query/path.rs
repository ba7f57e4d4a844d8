//! The values at a dotted path of a body.

use serde_json::{Map, Value};

/// Gives each leaf at `path` to `visit` until one answers `true`, and says whether one did.
///
/// A key of the body may have dots of its own (`attributes` is flat), so each way to read the path
/// is tried. An array stands for its elements. `null` is no value. `bare` says that the path may
/// also be the bare name of an attribute, of the record or of the resource.
pub(super) fn any_leaf(
    body: &Value,
    path: &str,
    bare: bool,
    visit: &mut dyn FnMut(&Value) -> bool,
) -> bool {
    let Value::Object(root) = body else { return false };
    any_in(root, path, visit)
        || bare
            && ["attributes", "resource"].iter().any(|flat| match root.get(*flat) {
                Some(Value::Object(fields)) => any_in(fields, path, visit),
                _ => false,
            })
}

fn any_in(map: &Map<String, Value>, path: &str, visit: &mut dyn FnMut(&Value) -> bool) -> bool {
    let whole = map.get(path).is_some_and(|value| any_below(value, None, visit));
    whole
        || path.match_indices('.').any(|(dot, _)| {
            let (key, rest) = (path.get(..dot), path.get(dot.saturating_add(1)..));
            key.and_then(|key| map.get(key)).is_some_and(|value| any_below(value, rest, visit))
        })
}

/// Leaves of a value at what remains of the path.
fn any_below(value: &Value, rest: Option<&str>, visit: &mut dyn FnMut(&Value) -> bool) -> bool {
    match (value, rest) {
        (Value::Null, _) => false,
        (Value::Array(items), rest) => items.iter().any(|item| any_below(item, rest, visit)),
        (Value::Object(map), Some(rest)) => any_in(map, rest, visit),
        // A path to an object asks for whatever is in it; stack traces have to be named.
        (Value::Object(map), None) => map
            .iter()
            .filter(|(key, _)| !key.ends_with("stacktrace"))
            .any(|(_, value)| any_below(value, None, visit)),
        (leaf, None) => visit(leaf),
        (_, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn leaves(body: &Value, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        any_leaf(body, path, true, &mut |leaf| {
            found.push(leaf.clone());
            false
        });
        found
    }

    #[test]
    fn keys_with_dots_arrays_and_objects_are_walked() {
        let body = json!({
            "attributes": {"a.b": {"c": 1}, "a": {"b.c": 2}},
            "events": [{"name": "x"}, {"name": "y"}],
            "none": null,
        });
        assert_eq!(leaves(&body, "attributes.a.b.c"), [json!(2), json!(1)]);
        assert_eq!(leaves(&body, "events.name"), [json!("x"), json!("y")]);
        assert_eq!(leaves(&body, "attributes"), [json!(1), json!(2)]);
        assert!(leaves(&body, "none").is_empty() && leaves(&body, "events.name.x").is_empty());
    }

    #[test]
    fn the_bare_name_of_an_attribute_is_a_path() {
        let body = json!({"attributes": {"order.id": "A"}, "resource": {"host.name": "h"}});
        assert_eq!(leaves(&body, "order.id"), [json!("A")]);
        assert_eq!(leaves(&body, "host.name"), [json!("h")]);
    }
}
