//! Reading a projected entry by field path, whoever wrote it.
//!
//! A projection splices the envelope in front of the body, so one field may stand nested
//! (`{"event":{"action":…}}`) and another under its whole path (`{"event.sequence":…}`). Both are
//! found. Reading is tolerant: an entry of a newer version must still be shown.

use super::display::clean;
use crate::entry::parse_ns;
use serde_json::{Map, Value};

/// Deepest nesting that a path is looked up in.
const MAX_DEPTH: usize = 8;

/// A projected entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doc<'a>(&'a Value);

impl<'a> Doc<'a> {
    /// The entry in that value.
    pub(super) fn new(value: &'a Value) -> Self {
        Self(value)
    }

    /// The value of a field, nested or spelled out.
    pub(super) fn value(self, path: &str) -> Option<&'a Value> {
        lookup(self.0.as_object()?, path, MAX_DEPTH)
    }

    /// A text as it is, not yet harmless: for comparing, not for showing.
    pub(super) fn raw(self, path: &str) -> Option<&'a str> {
        self.value(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// A text, number or boolean, made harmless for a terminal; of a list its items with commas.
    pub(super) fn text(self, path: &str) -> Option<String> {
        let text = plain(self.value(path)?)?;
        (!text.is_empty()).then_some(text)
    }

    /// The first of these fields that says something.
    pub(super) fn first(self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// A whole number.
    pub(super) fn number(self, path: &str) -> Option<u64> {
        self.value(path)?.as_u64()
    }

    /// Time of the event, nanoseconds since 1970.
    pub(super) fn time(self) -> Option<u64> {
        self.raw("@timestamp").and_then(time_ns)
    }

    /// What the entry is a record of.
    pub(super) fn kind(self) -> &'a str {
        self.raw("audit.kind").unwrap_or("span")
    }

    /// Every id under which it can be found.
    pub(super) fn trace_ids(self) -> Vec<String> {
        match self.value("trace_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(plain).collect(),
            Some(id) => plain(id).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn lookup<'a>(object: &'a Map<String, Value>, path: &str, depth: usize) -> Option<&'a Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    let depth = depth.checked_sub(1)?;
    path.match_indices('.').find_map(|(at, _)| {
        let (head, tail) = path.split_at_checked(at)?;
        lookup(object.get(head)?.as_object()?, tail.strip_prefix('.')?, depth)
    })
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(clean(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(items) => Some(items.iter().filter_map(plain).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Object(_) => None,
    }
}

/// RFC 3339 in any precision to nanoseconds since 1970.
pub(super) fn time_ns(text: &str) -> Option<u64> {
    parse_ns(text).or_else(|| {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_found_nested_spelled_out_and_half_and_half() {
        for doc in [
            json!({"audit": {"decision": {"outcome": "block"}}}),
            json!({"audit.decision.outcome": "block"}),
            json!({"audit": {"decision.outcome": "block"}}),
            json!({"audit": {"other": 1}, "audit.decision": {"outcome": "block"}}),
        ] {
            assert_eq!(Doc::new(&doc).raw("audit.decision.outcome"), Some("block"), "{doc}");
        }
    }

    #[test]
    fn what_is_not_text_is_not_invented() {
        let doc = json!({"event": {"action": null, "reason": ""}, "list": ["a", 1]});
        assert_eq!(Doc::new(&doc).text("event.action"), None);
        assert_eq!(Doc::new(&doc).text("event.reason"), None);
        assert_eq!(Doc::new(&doc).text("list").as_deref(), Some("a, 1"));
    }

    #[test]
    fn a_time_of_any_precision_is_read() {
        assert_eq!(time_ns("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(time_ns("1970-01-01T00:00:00.000000007Z"), Some(7));
        assert_eq!(time_ns("soon"), None);
    }
}
