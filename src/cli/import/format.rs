//! What a line is, where it is sent, and how lines are put together.

use super::args::ImportFormat;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;

/// Members by which the first line of a file tells its format: all of one list have to be there.
/// The first that applies is taken.
const SIGNS: &[(ImportFormat, &[&str])] = &[
    (ImportFormat::OtlpJson, &["resourceSpans"]),
    (ImportFormat::OtlpJson, &["resourceLogs"]),
    (ImportFormat::Opa, &["decision_id", "labels"]),
    (ImportFormat::Opa, &["decision_id", "path"]),
    (ImportFormat::Cerbos, &["callId"]),
    (ImportFormat::Langsmith, &["run_type", "start_time"]),
    (ImportFormat::Cordum, &["approval_status"]),
    (ImportFormat::Cordum, &["snapshot_before", "snapshot_after"]),
    (ImportFormat::Cordum, &["rule_id", "policy_snapshot", "checked_at"]),
    (ImportFormat::Cordum, &["id", "state", "topic"]),
    (ImportFormat::Cordum, &["type", "run_id", "time"]),
    (ImportFormat::Entries, &["decision", "run_id"]),
    (ImportFormat::Entries, &["action", "run_id"]),
    (ImportFormat::Entries, &["decision", "timestamp"]),
    (ImportFormat::Entries, &["request_type", "workflow_id"]),
];

/// The names of a line's members, of the first one's when the line is a list. Values are passed over
/// and not judged: the server takes text that a strict reader does not.
#[derive(Debug, Default)]
pub(super) struct Members(HashSet<String>);

impl Members {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no JSON, or neither an object nor a list of them.
    pub(super) fn of(line: &[u8]) -> serde_json::Result<Self> {
        if line.first() != Some(&b'[') {
            return serde_json::from_slice(line);
        }
        let list: Vec<Self> = serde_json::from_slice(line)?;
        Ok(list.into_iter().next().unwrap_or_default())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    members.0.insert(name);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// The format that a line is of.
pub(super) fn detect(line: &Members) -> Option<ImportFormat> {
    let has = |name: &&str| line.has(name);
    SIGNS.iter().find(|(_, names)| names.iter().all(has)).map(|(format, _)| *format)
}

/// Where a line is sent, and how it may be put together with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    /// What stands in front of, between and behind lines; nothing when each is a request.
    together: Option<[&'static str; 3]>,
}

/// Where a line of a format goes; nothing for a line that is none of it.
pub(super) fn destination(format: ImportFormat, line: &Members) -> Option<Destination> {
    const JSON: &str = "application/json";
    let lines = |path| Destination {
        path,
        content_type: "application/x-ndjson",
        together: Some(["", "\n", "\n"]),
    };
    let whole = |path| Destination { path, content_type: JSON, together: None };
    match format {
        ImportFormat::Auto => destination(detect(line)?, line),
        ImportFormat::OtlpJson if line.has("resourceSpans") => Some(whole("/v1/traces")),
        ImportFormat::OtlpJson if line.has("resourceLogs") => Some(whole("/v1/logs")),
        ImportFormat::OtlpJson => None,
        ImportFormat::Entries => Some(lines("/logs/entries")),
        ImportFormat::Opa => Some(lines("/logs")),
        ImportFormat::Cerbos => Some(lines("/logs/cerbos")),
        ImportFormat::Cordum => Some(lines("/logs/cordum")),
        ImportFormat::Langsmith => Some(Destination {
            path: "/runs/batch",
            content_type: JSON,
            together: Some(["{\"post\":[", ",", "]}"]),
        }),
    }
}

impl Destination {
    /// Whether lines may share a request.
    pub(super) fn takes_many(self) -> bool {
        self.together.is_some()
    }

    /// Whether the answer is OTLP's, which says nothing when all was taken.
    pub(super) fn is_otlp(self) -> bool {
        self.path.starts_with("/v1/")
    }

    /// The body of a request with these lines.
    pub(super) fn body<'l>(self, lines: impl Iterator<Item = &'l [u8]>) -> Vec<u8> {
        let [before, between, behind] = self.together.unwrap_or_default();
        let mut body = before.as_bytes().to_vec();
        for (number, line) in lines.enumerate() {
            if number > 0 {
                body.extend_from_slice(between.as_bytes());
            }
            body.extend_from_slice(line);
        }
        body.extend_from_slice(behind.as_bytes());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_tells_its_format_by_its_members() {
        for (line, format) in [
            (json!({ "resourceSpans": [] }), Some(ImportFormat::OtlpJson)),
            (json!({ "decision_id": "d", "labels": {} }), Some(ImportFormat::Opa)),
            (json!({ "callId": "c" }), Some(ImportFormat::Cerbos)),
            (json!({ "id": "j", "state": "DONE", "topic": "t" }), Some(ImportFormat::Cordum)),
            (json!({ "run_type": "llm", "start_time": "" }), Some(ImportFormat::Langsmith)),
            (json!({ "run_id": "r", "decision": "stop" }), Some(ImportFormat::Entries)),
            (json!({ "hello": 1 }), None),
            (json!([{ "callId": "c" }]), Some(ImportFormat::Cerbos)),
            (json!([]), None),
        ] {
            let members = Members::of(line.to_string().as_bytes()).unwrap();
            assert_eq!(detect(&members), format, "{line}");
        }
        assert!(Members::of(b"[1]").is_err());
        assert!(Members::of(br#"{"a":"\ud83d"}"#).is_ok(), "half of a pair is for the server");
    }

    #[test]
    fn runs_are_put_together_as_a_batch() {
        let to = destination(ImportFormat::Langsmith, &Members::of(b"{}").unwrap()).unwrap();
        let body = to.body([&b"{}"[..], b"{\"a\":1}"].into_iter());
        assert_eq!(body, br#"{"post":[{},{"a":1}]}"#);
    }
}
