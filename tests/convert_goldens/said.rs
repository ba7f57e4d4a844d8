//! What each captured record says, field by field.
//!
//! The tables under `said/` were not made by this program: they were read from the readable decode
//! of each request, family by family, by what the family's own documentation calls what. A golden
//! file that is stable and wrong differs from them.

use super::*;

/// The columns of the tables, and where an entry has them. Payloads stand for the first of their
/// kind: what a tool was given, not what an instrumentation wrapped around it.
const COLUMNS: &[(&str, &str)] = &[
    ("name", "/message"),
    ("kind", "/audit/kind"),
    ("provider", "/gen_ai/provider/name"),
    ("request", "/gen_ai/request/model"),
    ("response", "/gen_ai/response/model"),
    ("tool", "/gen_ai/tool/name"),
    ("call", "/gen_ai/tool/call/id"),
    ("agent", "/gen_ai/agent/name"),
    ("agent_id", "/gen_ai/agent/id"),
    ("session", "/audit/session/id"),
    ("thread", "/audit/session/thread_id"),
    ("user", "/user/id"),
    ("run", "/audit/run/id"),
    ("in", "/gen_ai/usage/input_tokens"),
    ("out", "/gen_ai/usage/output_tokens"),
    ("repeated", "/gen_ai/usage/repeated"),
    ("external", "/audit/external/trace_id/0"),
    ("decision", "/audit/decision/raw"),
    ("outcome", "/event/outcome"),
];

/// An entry as a row of such a table.
fn row(entry: &JsonValue) -> JsonValue {
    let mut row = serde_json::Map::new();
    for (column, path) in COLUMNS {
        if let Some(value) = entry.pointer(path) {
            row.insert((*column).to_owned(), value.clone());
        }
    }
    for (column, kind) in [("args", "arguments"), ("result", "result")] {
        let parts = entry["audit"]["payload"].as_array();
        if let Some(part) = parts.iter().flat_map(|p| p.iter()).find(|part| part["kind"] == kind) {
            row.insert(column.to_owned(), part["text"].clone());
        }
    }
    JsonValue::Object(row)
}

#[test]
fn every_captured_record_says_what_its_source_said() {
    let mut tables = 0;
    for request in requests() {
        let name = request.trim_end_matches(".bin").replace('/', "__");
        let path = format!("tests/convert_goldens/said/{name}.json");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let said: Vec<JsonValue> = serde_json::from_str(&text).unwrap();
        let entries = entries(&request);
        assert_eq!(entries.len(), said.len(), "{request}");
        for (nth, (entry, said)) in entries.iter().zip(&said).enumerate() {
            assert_eq!(&row(entry), said, "{request}: record {nth}");
        }
        tables += 1;
    }
    assert_eq!(tables, std::fs::read_dir("tests/convert_goldens/said").unwrap().count());
}

#[test]
fn every_family_of_the_captured_requests_has_its_tables() {
    let tables = std::fs::read_dir("tests/convert_goldens/said").unwrap();
    let tables: Vec<_> = tables.map(|t| t.unwrap().file_name().into_string().unwrap()).collect();
    for family in [
        "agent-framework",
        "google-adk",
        "langfuse",
        "langgraph-langsmith",
        "langgraph-openinference",
        "langgraph-traceloop",
        "ms-agent-governance-toolkit",
        "openai-agents",
        "openai-v2",
        "pydantic-ai",
        "vercel-ai-sdk",
    ] {
        assert!(tables.iter().any(|table| table.starts_with(family)), "{family}");
    }
}
