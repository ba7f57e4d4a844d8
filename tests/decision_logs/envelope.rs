//! Objects around records: what is an envelope, and what only has a member that is called so.

use crate::converted;
use crate::support::converted::text;
use serde_json::{Value, json};
use spanledger::receiver::decision_logs::{Source, measure};

fn entries(request: &Value) -> Vec<Value> {
    converted(Source::Entries, request.to_string().as_bytes()).bodies
}

#[test]
fn a_decision_with_a_member_that_is_called_items_is_a_decision() {
    for list in ["items", "events", "entries"] {
        let bodies = entries(&json!({
            "run_id": "r1", "decision": "block", "reason": "fraud", "action": "order.create", list: [],
        }));
        assert_eq!(bodies.len(), 1, "{list}");
        assert_eq!(text(&bodies[0], "/audit/run/id"), "r1");
        assert_eq!(text(&bodies[0], "/audit/decision/outcome"), "block");
        assert_eq!(text(&bodies[0], "/audit/decision/reason"), "fraud");
    }
    let job = json!({ "job_id": "j", "decision": "DENY", "jobs": [{ "n": 7 }] });
    let bodies = converted(Source::Cordum, job.to_string().as_bytes()).bodies;
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies[0]["attributes"]["cordum.jobs"], json!([{ "n": 7 }]), "and keeps the list");
}

#[test]
fn what_an_envelope_says_of_its_page_is_no_record() {
    let line = json!({ "decision": "stop", "reason": "limit" });
    let page = json!({
        "run_id": "r1", "tenant_id": null, "items": [line], "events": null, "next_cursor": "9", "cursor": null,
        "total": 1, "count": 1, "has_more": false, "limit": 10, "offset": 0, "page": 1,
        "has_next": false, "page_size": 100, "total_count": 1, "truncated": false,
    });
    let bodies = entries(&page);
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies, entries(&json!({ "run_id": "r1", "items": [line] })), "nothing of it stays");
    assert_eq!(text(&bodies[0], "/audit/run/id"), "r1");
    assert_eq!(
        entries(&json!({ "run_id": "r1", "items": [], "total": 0 })).len(),
        0,
        "an empty page"
    );
}

#[test]
fn nothing_that_an_envelope_cannot_repeat_is_lost() {
    let line = json!({ "decision": "stop" });
    let numbered = entries(&json!({ "run_id": 7, "items": [line, line] }));
    assert_eq!(numbered.len(), 2);
    assert_eq!(text(&numbered[0], "/audit/run/id"), "7");
    for unusual in [json!("x".repeat(256)), json!(["r1", "r2"]), json!({ "id": "r1" })] {
        let bodies = entries(&json!({ "run_id": unusual, "items": [line, line] }));
        assert_eq!(bodies.len(), 1, "{unusual}");
        assert!(bodies[0].to_string().contains(&unusual.to_string()), "{unusual}");
    }
    let total = entries(&json!({ "items": [line, line], "total": { "decision": "block" } }));
    assert_eq!(total.len(), 1, "an object under the name of a page's number");
}

#[test]
fn an_envelope_that_names_two_runs_is_one_record_that_names_both() {
    let request = br#"{"run_id":"r1","items":[{"decision":"stop"},{}],"run_id":"r2"}"#;
    let bodies = converted(Source::Entries, request).bodies;
    assert_eq!(bodies.len(), 1);
    let flags = bodies[0]["audit"]["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("duplicate_attribute")), "{flags:?}");
    let body = bodies[0].to_string();
    assert!(body.contains("r1") && body.contains("r2"), "{body}");
}

/// 44,000 ids around 175,000 records: 7,700,000,000 additions, if each record adds them up.
#[test]
fn ids_around_records_are_not_added_up_again_for_each_record() {
    let around = r#""job_id":"","#.repeat(44_000);
    let request = format!(r#"{{{around}"items":[{}{{}}]}}"#, "{},".repeat(175_000));
    assert_eq!(measure(Source::Cordum, request.as_bytes()).records, 1);
    let shape = measure(Source::Cordum, br#"{"job_id":"12345","items":[{},{}]}"#);
    assert_eq!((shape.records, shape.bytes), (2, 2 * (2 + "job_id12345".len())));
}
