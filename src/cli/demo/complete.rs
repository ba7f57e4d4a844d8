//! What the story of the demo must contain to be complete.

use super::scenario::Scenario;
use crate::cli::doc::Doc;
use serde_json::Value;

/// What is missing, in words; nothing when the story is complete.
pub fn missing(entries: &[Value], scenario: &Scenario) -> Vec<String> {
    let any = |wanted: &dyn Fn(Doc<'_>) -> bool| entries.iter().map(Doc::new).any(wanted);
    let outcome = |doc: Doc<'_>| doc.raw("audit.decision.outcome").map(str::to_owned);
    let decided = |word: &str, action: &str| {
        any(&|doc| outcome(doc).as_deref() == Some(word) && doc.raw("event.action") == Some(action))
    };
    let checks = [
        ("the refund that needed approval", decided("require_approval", "refund.create")),
        (
            "the approval by ops-lead",
            any(&|doc| {
                doc.kind() == "approval"
                    && doc.raw("audit.approval.resolved_by") == Some("ops-lead")
            }),
        ),
        ("the decision to allow the refund", decided("allow", "refund.create")),
        (
            "the refund itself",
            any(&|doc| {
                doc.kind() == "tool_call" && doc.raw("gen_ai.tool.name") == Some("issue_refund")
            }),
        ),
        ("the blocked export of customers", decided("block", "customers.export")),
        (
            "the resumed trace",
            any(&|doc| doc.raw("trace.id") == Some(scenario.resumed_trace.as_str())),
        ),
        (
            "the gateway's decision",
            any(&|doc| {
                doc.raw("service.name") == Some("axonflow-gateway") && outcome(doc).is_some()
            }),
        ),
    ];
    let mut missing: Vec<String> =
        checks.iter().filter(|(_, there)| !there).map(|(what, _)| (*what).to_owned()).collect();
    if entries.len() < scenario.records {
        let (there, sent) = (entries.len(), scenario.records);
        missing.push(format!("records: {there} of the {sent} that were sent are there"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::super::scenario::scenario;
    use super::*;
    use serde_json::json;

    fn complete(scenario: &Scenario) -> Vec<Value> {
        let decision = |word: &str, action: &str| {
            json!({"audit": {"kind": "decision", "decision": {"outcome": word}},
                "event": {"action": action}})
        };
        let mut entries = vec![
            decision("require_approval", "refund.create"),
            json!({"audit": {"kind": "approval", "approval": {"resolved_by": "ops-lead"}}}),
            decision("allow", "refund.create"),
            json!({"audit": {"kind": "tool_call"}, "gen_ai": {"tool": {"name": "issue_refund"}},
                "trace": {"id": scenario.resumed_trace}}),
            decision("block", "customers.export"),
            json!({"audit": {"decision": {"outcome": "allow"}},
                "service": {"name": "axonflow-gateway"}}),
        ];
        entries.resize(scenario.records, json!({}));
        entries
    }

    #[test]
    fn a_complete_story_misses_nothing_and_each_part_is_missed() {
        let scenario = scenario(1_795_241_529_000_000_000);
        let entries = complete(&scenario);
        assert_eq!(missing(&entries, &scenario), Vec::<String>::new());
        for part in 0..6 {
            let mut without = entries.clone();
            without[part] = json!({});
            assert!(!missing(&without, &scenario).is_empty(), "part {part}");
        }
        assert_eq!(missing(&[], &scenario).len(), 8);
    }
}
