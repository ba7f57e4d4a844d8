//! Open Policy Agent: captured requests of version 1.22, and what its documentation adds.

use crate::support::converted::{payload, text, with};
use crate::{converted, plain, sent};
use serde_json::{Value, json};
use spanledger::convert::Mappings;
use spanledger::receiver::decision_logs::{Source, decode};
use spanledger::receiver::otlp::{self, Format, Signal};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn opa(event: &Value) -> Value {
    converted(Source::Opa, json!([event]).to_string().as_bytes()).bodies.remove(0)
}

fn result(result: &Value) -> Value {
    opa(&json!({ "decision_id": "d", "path": "a/b", "result": result }))["audit"]["decision"].take()
}

#[test]
fn captured_decisions_keep_verdict_rule_and_trace() {
    for capture in ["opa/http.001.json.gz", "opa/grpc.001.json.gz"] {
        let bodies = converted(Source::Opa, &plain(capture)).bodies;
        assert_eq!(bodies.len(), 10, "{capture}");
        for body in &bodies {
            assert_eq!(text(body, "/audit/kind"), "decision");
            assert_eq!(text(body, "/event/dataset"), "opa.decision");
            assert_eq!(text(body, "/audit/mapping"), "opa");
            assert!(!text(body, "/audit/decision/id").is_empty());
            assert!(!text(body, "/audit/policy/rule_id").is_empty(), "{body}");
            assert!(body["audit"]["decision"]["latency_ms"].is_number());
            assert_eq!(text(body, "/service/version"), "1.22.0");
            assert!(text(body, "/@timestamp").starts_with("2026-11-21T06:"), "{body}");
        }
        let said = |at: usize| {
            (
                text(&bodies[at], "/audit/policy/rule_id"),
                text(&bodies[at], "/audit/decision/outcome"),
            )
        };
        assert_eq!(said(0), ("agent/tools/decision", "allow"));
        assert_eq!(said(1), ("agent/tools/decision", "block"), "`allow` goes before `action`");
        assert_eq!(said(3), ("agent/tools/allow", "allow"));
        assert_eq!(said(5), ("agent/tools/boom", "error"));
        assert_eq!(text(&bodies[5], "/error/type"), "eval_builtin_error");
        assert_eq!(text(&bodies[5], "/event/outcome"), "failure");
        assert_eq!(text(&bodies[1], "/audit/decision/reason"), "refund 59.9 exceeds limit 50");
        assert_eq!(text(&bodies[1], "/gen_ai/tool/name"), "issue_refund");
        assert_eq!(bodies[1]["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
        assert!(payload(&bodies[1], "arguments").contains("\"order_id\":\"1042\""));
        assert_eq!(text(&bodies[0], "/trace/id"), TRACE);
        assert_eq!(bodies[1]["attributes"]["opa.result"]["action"], "require_approval");
    }
}

#[test]
fn what_opa_erased_or_masked_is_told_apart_from_what_was_never_there() {
    let body = &converted(Source::Opa, &plain("opa/http.001.json.gz")).bodies[1];
    let of_source = |rule: &str| {
        let all = body["audit"]["redactions"].as_array().unwrap();
        let place = all.iter().find(|it| it["rule"] == rule).map(|it| it["place"].clone());
        place.unwrap_or_default()
    };
    assert_eq!(of_source("source.erased"), "/input/args/card_number");
    assert_eq!(of_source("source.masked"), "/input/user/email");
    assert_eq!(body["attributes"]["opa.erased"], json!(["/input/args/card_number"]));
}

#[test]
fn an_undefined_result_is_a_decision_that_says_so() {
    let body = &converted(Source::Opa, &plain("opa/http.001.json.gz")).bodies[4];
    assert_eq!(text(body, "/audit/policy/rule_id"), "agent/tools/undefined_rule");
    assert_eq!(text(body, "/audit/decision/raw"), "undefined");
    assert_eq!(body["audit"]["decision"].get("outcome"), None, "nothing is invented");
    assert_eq!(body["audit"]["flags"], json!(["unknown_outcome"]));
}

#[test]
fn a_result_is_read_by_the_documented_order() {
    for (sent, outcome, raw) in [
        (json!(true), "allow", "true"),
        (json!(false), "block", "false"),
        (json!("deny"), "block", "deny"),
        (json!({ "allow": true, "action": "deny" }), "allow", "true"),
        (json!({ "action": "deny", "allowed": true }), "allow", "true"),
        (
            json!({ "effect": "deny", "decision": "require_approval" }),
            "require_approval",
            "require_approval",
        ),
        (json!({ "allow": "soon", "outcome": "throttle" }), "throttle", "throttle"),
    ] {
        let decision = result(&sent);
        assert_eq!(
            (text(&decision, "/outcome"), text(&decision, "/raw")),
            (outcome, raw),
            "{sent}"
        );
    }
    assert_eq!(result(&json!({ "tier": "gold" })), json!({ "id": "d" }), "nothing is invented");
}

#[test]
fn a_file_of_ones_own_says_what_the_results_of_a_path_mean() {
    let folder = tempfile::tempdir().unwrap();
    let mine = "\
name: my_payments
rank: 70
only_when_detected: true
detect:
  - {attribute: opa.path, is: payments/*}
owns: [opa.result]
fields:
  - {from: opa.result, to: audit.decision.reason, as: json_text}
nested:
  - from: opa.result
    fields:
      - {from: verdict, to: audit.decision.outcome}
";
    std::fs::write(folder.path().join("my_payments.yaml"), mine).unwrap();
    let mappings = Mappings::load(folder.path()).unwrap();
    let of = |path: &str| {
        let event = json!([{ "path": path, "result": { "verdict": "review" } }]).to_string();
        let decoded =
            with(&mappings, |mut sink| decode(Source::Opa, event.as_bytes(), &mut sink).unwrap());
        text(&decoded.bodies[0], "/audit/decision/outcome").to_owned()
    };
    assert_eq!(of("payments/transfer"), "require_approval");
    assert_eq!(of("other/path"), "");
}

#[test]
fn without_tracing_the_callers_traceparent_joins() {
    for part in ["001", "002", "003"] {
        let request = plain(&format!("opa/notrace_chunked.{part}.json.gz"));
        for body in converted(Source::Opa, &request).bodies {
            let has_header = body["attributes"].get("opa.request_context").is_some();
            assert_eq!(text(&body, "/trace/id") == TRACE, has_header, "{body}");
        }
    }
}

#[test]
fn bundles_caller_and_everything_else_is_kept() {
    let body = opa(&json!({
        "decision_id": "d1",
        "bundles": { "authz": { "revision": "v7" } },
        "path": "a/b",
        "requested_by": "10.0.0.9:5123",
        "result": true,
        "req_id": 12_345_678_901_234_567_890_u64,
        "nd_builtin_cache": { "time.now_ns": { "[]": "1" } },
        "timestamp": "2026-11-21T06:20:39.5Z",
    }));
    assert_eq!(text(&body, "/audit/policy/snapshot"), "v7");
    assert_eq!(text(&body, "/audit/actor/id"), "10.0.0.9:5123");
    assert_eq!(text(&body, "/audit/actor/source"), "asserted");
    assert_eq!(text(&body, "/@timestamp"), "2026-11-21T06:20:39.500000000Z");
    assert_eq!(body["attributes"]["opa.req_id"], "12345678901234567890", "no digit is lost");
    assert_eq!(body["attributes"]["opa.nd_builtin_cache"]["time.now_ns"]["[]"], "1");
}

#[test]
fn the_spans_of_opa_name_the_same_decisions() {
    let mappings = Mappings::builtin().unwrap();
    let request = sent("opa/http.002.traces.bin");
    let spans = with(&mappings, |mut sink| {
        otlp::decode(Signal::Traces, Format::Protobuf, &request, &mut sink).unwrap();
    });
    let decisions = converted(Source::Opa, &plain("opa/http.001.json.gz")).bodies;
    let ids = |bodies: &[Value]| -> std::collections::BTreeSet<String> {
        let ids = bodies.iter().map(|body| text(body, "/audit/decision/id").to_owned());
        ids.filter(|id| !id.is_empty()).collect()
    };
    let (of_spans, of_log) = (ids(&spans.bodies), ids(&decisions));
    // OPA was told not to log one of them.
    assert!(of_log.len() == 10 && of_log.is_subset(&of_spans), "{of_log:?} {of_spans:?}");
    assert!(spans.bodies.iter().all(|body| text(body, "/audit/kind") != "decision"));
}
