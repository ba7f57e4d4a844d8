//! Cerbos: an entry is several decisions.

use crate::converted;
use crate::support::converted::{payload, text};
use serde_json::{Value, json};
use spanledger::receiver::decision_logs::{Source, measure};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An entry as the file backend writes it: two resources, three decisions.
fn entry() -> Value {
    let input = |request: &str, id: &str, actions: Value| {
        json!({
            "requestId": request,
            "principal": { "id": "u-77", "roles": ["agent"], "attr": { "limit": 50 } },
            "resource": { "kind": "refund", "id": id, "attr": { "amount": 59.9 } },
            "actions": actions,
        })
    };
    json!({
        "log.logger": "cerbos.audit",
        "log.kind": "decision",
        "callId": "01HYCALL",
        "timestamp": "2026-11-21T06:20:39.512Z",
        "peer": { "address": "10.0.0.9:41000", "userAgent": "grpc-go" },
        "metadata": { "traceparent": { "values": [TRACEPARENT] } },
        "checkResources": {
            "inputs": [input("r", "a", json!(["view", "issue"])), input("r", "b", json!(["issue"]))],
            // In another order than the inputs, and actions in no order at all.
            "outputs": [
                {
                    "requestId": "r",
                    "resourceId": "b",
                    "actions": { "issue": { "effect": "EFFECT_DENY", "policy": "resource.refund.v2" } },
                },
                {
                    "requestId": "r",
                    "resourceId": "a",
                    "actions": {
                        "view": { "effect": "EFFECT_ALLOW", "policy": "resource.refund.v1" },
                        "issue": { "effect": "EFFECT_DENY", "policy": "resource.refund.v1", "scope": "acme" },
                    },
                },
            ],
        },
        "auditTrail": { "effectivePolicies": { "resource.refund.v1": {}, "resource.refund.v2": {} } },
    })
}

#[test]
fn an_entry_is_a_decision_for_each_resource_and_action() {
    let bodies = converted(Source::Cerbos, entry().to_string().as_bytes()).bodies;
    let said: Vec<_> = bodies
        .iter()
        .map(|body| {
            [
                text(body, "/audit/decision/id"),
                text(body, "/audit/target/id"),
                text(body, "/event/action"),
                text(body, "/audit/decision/outcome"),
                text(body, "/audit/policy/rule_id"),
            ]
        })
        .collect();
    assert_eq!(
        said,
        [
            ["01HYCALL/0", "b", "issue", "block", "resource.refund.v2"],
            ["01HYCALL/1", "a", "issue", "block", "resource.refund.v1"],
            ["01HYCALL/2", "a", "view", "allow", "resource.refund.v1"],
        ]
    );
    for body in &bodies {
        assert_eq!(text(body, "/audit/kind"), "decision");
        assert_eq!(text(body, "/user/id"), "u-77");
        assert_eq!(text(body, "/audit/actor/id"), "u-77");
        assert_eq!(text(body, "/trace/id"), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(body["audit"]["external"]["trace_id"], json!(["01HYCALL"]), "finds all of them");
        assert_eq!(
            body["audit"]["policy"]["id"],
            json!(["resource.refund.v1", "resource.refund.v2"])
        );
        assert!(payload(body, "arguments").contains("\"limit\":50"));
        assert_eq!(body["attributes"]["cerbos.peer"]["userAgent"], "grpc-go");
    }
    assert_eq!(text(&bodies[1], "/audit/policy/layer"), "acme");
}

#[test]
fn what_a_call_asked_and_did_not_decide_is_kept_beside_what_it_decided() {
    let mut entry = entry();
    let outputs = entry["checkResources"]["outputs"].as_array_mut().unwrap();
    // Of the second input nothing is decided, and of a third nothing but its validation is said.
    outputs[0] = json!({ "requestId": "r", "resourceId": "c", "validationErrors": ["no schema"] });
    outputs.push(json!("neither"));
    let request = entry.to_string();
    let bodies = converted(Source::Cerbos, request.as_bytes()).bodies;
    let ids: Vec<_> = bodies.iter().map(|body| text(body, "/audit/decision/id")).collect();
    assert_eq!(ids, ["01HYCALL/0", "01HYCALL/1", ""]);
    let undecided = &bodies[2];
    assert_eq!(text(undecided, "/audit/kind"), "log", "it is no decision");
    assert_eq!(text(undecided, "/event/action"), "policy.undecided");
    assert_eq!(undecided["audit"]["external"]["trace_id"], json!(["01HYCALL"]));
    let asked = payload(undecided, "arguments");
    assert!(asked.contains(r#""id":"b""#) && !asked.contains(r#""id":"a""#), "{asked}");
    let said = payload(undecided, "output");
    assert!(said.contains("no schema") && said.contains("neither"), "{said}");
    assert_eq!(measure(Source::Cerbos, request.as_bytes()).records, 3);
}

#[test]
fn lines_and_lists_of_entries_are_the_same_records() {
    let (one, mut other) = (entry(), entry());
    other["callId"] = "01HZOTHER".into();
    let lines = format!("{one}\n{other}\n");
    let list = json!([one, other]).to_string();
    let of = |request: &str| converted(Source::Cerbos, request.as_bytes()).bodies;
    assert_eq!(of(&lines), of(&list));
    assert_eq!(of(&lines).len(), 6);
}

#[test]
fn entries_without_decisions_about_resources_are_kept_as_what_they_are() {
    let request = json!([
        { "callId": "1", "method": "/cerbos.svc.v1.CerbosService/CheckResources", "statusCode": 7 },
        {
            "callId": "2",
            "planResources": {
                "input": { "principal": { "id": "u" }, "resource": { "kind": "refund" }, "action": "list" },
                "output": { "filter": { "kind": "KIND_ALWAYS_DENIED" } },
            },
        },
        { "callId": "3", "checkResources": { "inputs": [{ "requestId": "r" }], "error": "no policy" } },
        // Before version 0.20.
        {
            "callId": "4",
            "inputs": [{ "requestId": "r", "resource": { "id": "a" } }],
            "outputs": [{ "requestId": "r", "resourceId": "a", "actions": { "x": { "effect": "EFFECT_ALLOW" } } }],
        },
    ]);
    let bodies = converted(Source::Cerbos, request.to_string().as_bytes()).bodies;
    let said =
        |pointer: &str| -> Vec<_> { bodies.iter().map(|body| text(body, pointer)).collect() };
    assert_eq!(said("/audit/kind"), ["log", "decision", "decision", "decision"]);
    assert_eq!(said("/audit/decision/raw"), ["", "KIND_ALWAYS_DENIED", "error", "EFFECT_ALLOW"]);
    assert_eq!(said("/error/message"), ["", "", "no policy", ""]);
    assert_eq!(said("/audit/target/id")[3], "a");
    assert_eq!(bodies[0]["audit"]["external"]["trace_id"], json!(["1"]));
}

#[test]
fn what_one_entry_repeats_is_counted_before_memory_is_asked_for() {
    let mut entry = entry();
    entry["metadata"]["long"] = "x".repeat(100_000).into();
    let actions: serde_json::Map<String, Value> =
        (0..200).map(|n| (n.to_string(), json!({ "effect": "EFFECT_DENY" }))).collect();
    entry["checkResources"]["outputs"][0]["actions"] = Value::Object(actions);
    let request = entry.to_string();
    let shape = measure(Source::Cerbos, request.as_bytes());
    assert_eq!(shape.records, 203, "one for inputs that may have no output");
    assert!(shape.bytes > 202 * 100_000, "{}", shape.bytes);
}

/// What is repeated in each of 200 records, wherever in the entry it stands.
#[test]
fn what_stands_where_it_is_not_expected_is_counted_as_often_as_it_is_repeated() {
    let long = "x".repeat(100_000);
    let actions: serde_json::Map<String, Value> =
        (0..200).map(|n| (n.to_string(), json!({ "effect": "EFFECT_DENY" }))).collect();
    let outputs = json!([{ "requestId": "r", "resourceId": "a", "actions": actions }]);
    let check = format!(r#""checkResources":{{"inputs":[],"outputs":{outputs}}}"#);
    for beside in [
        format!(r#""inputs":["{long}"]"#),
        format!(r#""outputs":["{long}"]"#),
        format!(r#""outputs":[{{"output":"{long}"}}]"#),
        format!(r#""checkResources":{{"inputs":["{long}"]}}"#),
        format!(r#""checkResources":["{long}"]"#),
        format!(r#""{long}":1"#),
    ] {
        let request = format!(r#"{{"callId":"c",{check},{beside}}}"#);
        let shape = measure(Source::Cerbos, request.as_bytes());
        assert_eq!(shape.records, 200);
        assert!(shape.bytes > 200 * 100_000, "{} for {:.20}", shape.bytes, beside);
        let bodies = converted(Source::Cerbos, request.as_bytes()).bodies;
        assert!(bodies.iter().all(|body| body.to_string().contains(&long)), "{beside:.20}");
    }
    // Of lists that stand twice in the method the first is read, and the second repeated.
    let request = format!(
        r#"{{"checkResources":{{"outputs":{outputs},"outputs":[{{"actions":{{"x":{{}}}},"n":"{long}"}}]}}}}"#
    );
    let shape = measure(Source::Cerbos, request.as_bytes());
    assert_eq!(shape.records, converted(Source::Cerbos, request.as_bytes()).bodies.len());
    assert!(shape.bytes > 200 * 100_000, "{}", shape.bytes);
}

#[test]
fn an_input_is_found_wherever_it_stands_among_thousands() {
    let ids = |n: usize| format!(r#""requestId":"r","resource":{{"id":"{n}"}}"#);
    let inputs: Vec<String> = (0..5_000).map(|n| format!("{{{}}}", ids(n))).collect();
    let outputs: Vec<String> = (0..5_000)
        .rev()
        .map(|n| format!(r#"{{"requestId":"r","resourceId":"{n}","actions":{{"x":{{}}}}}}"#))
        .collect();
    let request = format!(
        r#"{{"callId":"c","inputs":[{}],"outputs":[{}]}}"#,
        inputs.join(","),
        outputs.join(",")
    );
    let bodies = converted(Source::Cerbos, request.as_bytes()).bodies;
    assert_eq!(bodies.len(), 5_000);
    for (position, body) in bodies.iter().enumerate() {
        assert_eq!(text(body, "/audit/target/id"), (4_999 - position).to_string());
    }
}
