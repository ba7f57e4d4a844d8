//! Ways into a nested value: `metadata.external_trace_id`, `generations.0.0.generation_info`.
//!
//! A part is the name of a member, or the number of an item. JSON that stands as text inside of
//! JSON is read on the way: SDKs encode twice and three times.

use crate::entry::Json;

/// The parts of a path as a mapping writes it.
pub(super) fn parts(path: &str) -> Vec<Box<str>> {
    path.split('.').map(Into::into).collect()
}

/// The value at the end of a path.
pub(super) fn at<'r>(value: &Json<'r>, path: &[Box<str>]) -> Option<Json<'r>> {
    let Some((part, rest)) = path.split_first() else { return Some(value.clone()) };
    match value {
        Json::Map(fields) => at(fields.get(part)?, rest),
        Json::List(items) => at(items.get(part.parse::<usize>().ok()?)?, rest),
        text @ Json::Text(_) => at(&structured(text.clone())?, path),
        _ => None,
    }
}

/// A map or a list, also one that stands as JSON text; `None` for anything else.
pub(super) fn structured(value: Json<'_>) -> Option<Json<'_>> {
    match value {
        Json::Map(_) | Json::List(_) => Some(value),
        Json::Text(text) => {
            let first = text.trim_start().as_bytes().first()?;
            let opens = matches!(first, b'{' | b'[');
            let inner: Json<'static> = serde_json::from_str(opens.then_some(&*text)?).ok()?;
            Some(inner)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Option<Json<'static>> {
        at(&structured(Json::Text(text.to_owned().into()))?, &parts(path))
    }

    #[test]
    fn a_path_leads_through_maps_lists_and_json_in_json() {
        let text = r#"{"a":[{"b":"{\"c\":[1,\"deep\"]}"}]}"#;
        assert_eq!(found("a.0.b.c.1", text), Some(Json::from("deep")));
        assert_eq!(found("a.1.b", text), None);
        assert_eq!(found("a.b", text), None, "a list has no names");
        assert_eq!(found("a", "not json"), None);
    }
}
