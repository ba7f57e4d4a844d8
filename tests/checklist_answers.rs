//! The checklist's questions about approvals, jobs and runs, where answers come late, under other ids,
//! or share their ids with something else: over a store in memory.
#![allow(clippy::needless_pass_by_value, reason = "values are written where they are given")]
#![cfg(feature = "server")]

mod api_support;
mod support;

use api_support::{app, fill, get, memory};
use axum::http::StatusCode;
use serde_json::{Value, json};
use spanledger::convert::Mappings;
use spanledger::span::{Attribute, Record, Span};
use support::converted::with;

/// A body at that second, with these audit fields and these beside them.
fn said(second: u32, audit: Value, more: Value) -> String {
    let mut body = json!({"schema_version": 1,
        "@timestamp": format!("2026-11-21T08:00:{second:02}.000000000Z"),
        "event": {"action": "step"}, "audit": audit});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn asks(second: u32, audit: Value, more: Value) -> String {
    let mut all = json!({"kind": "decision", "policy": {"rule_id": "prod-write"},
        "decision": {"outcome": "require_approval", "raw": "REQUIRE_APPROVAL"}});
    all.as_object_mut().unwrap().extend(audit.as_object().unwrap().clone());
    said(second, all, more)
}

fn approves(second: u32, audit: Value, more: Value) -> String {
    let mut all = json!({"kind": "approval"});
    all.as_object_mut().unwrap().extend(audit.as_object().unwrap().clone());
    all["approval"]["status"] = "approved".into();
    all["approval"]["resolved_by"] = "lead".into();
    said(second, all, more)
}

/// What is asked of these entries.
async fn answer(bodies: &[String], path: &str) -> Value {
    let store = memory();
    fill(&*store, bodies);
    let answer = get(&app(store), path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

/// The approvals of an answer: their ids and what became of them.
fn statuses(answer: &Value) -> Vec<(&str, &str)> {
    let items = answer["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let id = item["approval_id"].as_str().unwrap_or("-");
            (id, item["approval_status"].as_str().unwrap())
        })
        .collect()
}

const ALL: &str = "/api/v1/approvals?include_resolved=true";
const PENDING: &str = "/api/v1/approvals";

#[tokio::test]
async fn s1_3_of_two_approvals_of_one_gate_the_one_that_waits_is_listed() {
    let of = |audit: Value| {
        let mut all = json!({"run": {"id": "r"}, "action": {"key": "k"}});
        all.as_object_mut().unwrap().extend(audit.as_object().unwrap().clone());
        all
    };
    let gate = asks(1, of(json!({})), json!({}));
    let waits = |second, id: &str| {
        let approval = json!({"approval": {"id": id, "status": "pending"}, "kind": "approval"});
        said(second, of(approval), json!({}))
    };
    let answered = approves(4, of(json!({"approval": {"id": "a-2"}})), json!({}));
    for bodies in [
        vec![gate.clone(), waits(2, "a-1"), waits(3, "a-2"), answered.clone()],
        vec![gate.clone(), waits(2, "a-1"), answered.clone()],
    ] {
        let pending = answer(&bodies, PENDING).await;
        assert_eq!(statuses(&pending), [("a-1", "pending")], "{pending:#}");
        let all = answer(&bodies, ALL).await;
        assert_eq!(statuses(&all), [("a-2", "approved"), ("a-1", "pending")]);
        let first = answer(&bodies, "/api/v1/approvals?include_resolved=true&limit=1").await;
        assert_eq!(
            statuses(&first),
            [("a-2", "approved")],
            "a page holds as many as were asked for"
        );
    }
}

#[tokio::test]
async fn s1_3_an_answer_that_shares_only_the_orchestrators_trace_is_found() {
    let under = |otel: &str| json!({"trace": {"id": otel.repeat(32)}, "trace_id": [otel.repeat(32), "ext-1"]});
    let external = json!({"external": {"trace_id": ["ext-1"]}});
    let bodies = [
        asks(1, external.clone(), under("a")),
        approves(9, json!({"external": {"trace_id": ["ext-1"]}, "approval": {}}), under("b")),
    ];
    assert_eq!(statuses(&answer(&bodies, PENDING).await), []);
    assert_eq!(statuses(&answer(&bodies, ALL).await), [("-", "approved")]);
}

#[tokio::test]
async fn s1_3_an_answer_that_names_the_run_and_not_the_action_is_found() {
    let bodies = [
        asks(1, json!({"run": {"id": "r"}, "action": {"key": "k"}}), json!({})),
        approves(9, json!({"run": {"id": "r"}, "approval": {}}), json!({})),
    ];
    assert_eq!(statuses(&answer(&bodies, PENDING).await), []);
    assert_eq!(statuses(&answer(&bodies, ALL).await), [("-", "approved")]);
}

#[tokio::test]
async fn s1_3_a_resume_that_names_only_the_thread_answers_what_the_interrupted_run_asked() {
    let run = |letter: &str| json!({"trace": {"id": letter.repeat(32)}});
    let thread = |kind: &str, interrupt: Value| {
        json!({"kind": kind,
        "session": {"thread_id": "thread-1"}, "interrupt": interrupt})
    };
    let pauses = |second, letter| said(second, thread("interrupt", json!({})), run(letter));
    let resumes = |second, letter, word: &str| {
        let mut audit = thread("workflow_run", json!({"response": word, "responder": "ops-lead"}));
        audit["approval"] = json!({"status": word, "resolution": word, "resolved_by": "ops-lead"});
        said(second, audit, run(letter))
    };
    let question = |second, letter| {
        asks(second, json!({}), {
            let mut more = run(letter);
            more["gen_ai"] = json!({"tool": {"name": "refund"}});
            more
        })
    };
    let bodies = [
        question(1, "a"),
        pauses(2, "a"),
        // Another run of the same conversation waits, too; its question is not meant.
        question(3, "b"),
        pauses(4, "b"),
        resumes(5, "c", "rejected"),
        resumes(6, "d", "approved"),
    ];
    assert_eq!(statuses(&answer(&bodies, PENDING).await), []);
    let all = answer(&bodies, ALL).await;
    assert_eq!(statuses(&all), [("-", "rejected"), ("-", "approved")], "{all:#}");
    assert_eq!(all["items"][0]["trace_id"], "b".repeat(32));
    assert_eq!(all["items"][0]["resolved_by"], "ops-lead");
    assert_eq!(all["items"][0]["policy_rule_id"], "prod-write");
    let one_by_one = answer(&bodies, "/api/v1/approvals?include_resolved=true&limit=1").await;
    assert_eq!(statuses(&one_by_one), [("-", "rejected")], "no resume is an approval of its own");
    // Until it is answered a question of the thread waits, and a further resume answers nothing.
    assert_eq!(statuses(&answer(&bodies[..5], PENDING).await), [("-", "pending")]);
    let further = [
        question(1, "a"),
        pauses(2, "a"),
        resumes(3, "b", "rejected"),
        resumes(4, "c", "approved"),
    ];
    let story = answer(&further, &format!("/api/v1/traces/{}", "a".repeat(32))).await;
    assert_eq!(story["approvals"].as_array().unwrap().len(), 1, "{story:#}");
    assert_eq!(story["approvals"][0]["approval_status"], "rejected");
    // What ran after all is what the question was about.
    let call = said(
        7,
        json!({"kind": "tool_call"}),
        json!({"trace": {"id": "b".repeat(32)}, "gen_ai": {"tool": {"name": "refund"}}}),
    );
    let ran = [&further[..3], &[call]].concat();
    let story = answer(&ran, &format!("/api/v1/traces/{}", "a".repeat(32))).await;
    assert_eq!(story["findings"][0]["code"], "execution_after_rejection", "{story:#}");
}

#[tokio::test]
async fn s1_3_a_listed_approval_has_its_decision_and_that_it_was_required() {
    let all = answer(&[asks(1, json!({"run": {"id": "r"}}), json!({}))], PENDING).await;
    assert_eq!(all["items"][0]["decision"], "REQUIRE_APPROVAL");
    assert_eq!(all["items"][0]["approval_required"], true);
}

#[tokio::test]
async fn s1_2_a_job_is_approved_by_an_answer_that_names_only_the_approval_or_the_run() {
    let asked = json!({"job": {"id": "j"}, "run": {"id": "r"}, "approval": {"id": "a"}});
    let of_run = json!({"run": {"id": "r"}, "approval": {}});
    for named in [json!({"approval": {"id": "a"}}), of_run] {
        let bodies = [asks(1, asked.clone(), json!({})), approves(9, named, json!({}))];
        let job = answer(&bodies, "/api/v1/jobs/j").await;
        let found = (&job["approval_status"], &job["resolved_by"], &job["approval_required"]);
        assert_eq!(found, (&json!("approved"), &json!("lead"), &json!(true)), "{job:#}");
        let evidence = answer(&bodies, "/api/v1/jobs/j/evidence").await;
        assert_eq!(evidence["approvals"][0]["approval_status"], job["approval_status"]);
        assert_eq!(evidence["job"], job);
    }
    // What became of another job's question says nothing of this one.
    let other = json!({"job": {"id": "other"}, "run": {"id": "r"}, "action": {"key": "k"}});
    let own = json!({"job": {"id": "j"}, "run": {"id": "r"}, "decision": {"outcome": "allow"}});
    let own = said(1, own, json!({}));
    let bodies = [own, asks(2, other, json!({}))];
    let job = answer(&bodies, "/api/v1/jobs/j").await;
    assert_eq!((&job["approval_required"], &job["approval_status"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn s1_2_evidence_of_a_job_or_run_has_nothing_of_what_only_shares_its_number() {
    let named = |second, field: &str| {
        let mut audit = json!({"kind": "span"});
        audit[field] = json!({"id": "42"});
        said(second, audit, json!({}))
    };
    let mut of_call = json!({"gen_ai": {"tool": {"name": "t", "call": {"id": "42"}}}});
    of_call["event"] = json!({"action": "tool.call"});
    let bodies = [
        named(1, "job"),
        named(2, "run"),
        named(3, "workflow"),
        named(4, "decision"),
        said(5, json!({"kind": "tool_call"}), of_call),
    ];
    let places = |answer: &Value, list: &str, place: &str| -> Vec<u64> {
        answer[list].as_array().unwrap().iter().map(|item| item[place].as_u64().unwrap()).collect()
    };
    let job = answer(&bodies, "/api/v1/jobs/42/evidence").await;
    assert_eq!(places(&job, "timeline", "sequence"), [0]);
    for path in ["/api/v1/workflow-runs/42", "/api/v1/workflow-runs/42/evidence"] {
        let run = answer(&bodies, path).await;
        assert_eq!(places(&run, "timeline", "sequence"), [1, 2], "{path}");
    }
    let timeline = answer(&bodies, "/api/v1/workflow-runs/42/timeline").await;
    assert_eq!(places(&timeline, "items", "sequence"), [1, 2]);
    let story = answer(&bodies, "/api/v1/traces/42").await;
    assert_eq!(story["total"], 5, "whoever asks for any kind of id gets all: {story:#}");
}

#[tokio::test]
async fn s1_2_a_change_of_policy_is_found_behind_a_hundred_decisions_under_one_snapshot() {
    let decided = |second, snapshot: &str| {
        let audit = json!({"kind": "decision", "run": {"id": "r"},
            "decision": {"outcome": "allow"}, "policy": {"snapshot": snapshot}});
        said(second, audit, json!({}))
    };
    let change = json!({"kind": "policy_change", "policy": {"snapshot_after": "cfg:new"}});
    let mut bodies: Vec<String> = (0..110).map(|_| decided(1, "cfg:old")).collect();
    bodies.extend([decided(2, "cfg:new"), said(0, change, json!({}))]);
    let case = answer(&bodies, "/api/v1/workflow-runs/r").await;
    assert_eq!(case["policy_changes"].as_array().unwrap().len(), 1);
    assert_eq!(case["more_policy_changes"], false);
    let bodies: Vec<String> = (0..101).map(|n| decided(1, &format!("cfg:{n}"))).collect();
    let case = answer(&bodies, "/api/v1/workflow-runs/r").await;
    assert_eq!(case["more_policy_changes"], true);
}

#[test]
fn an_input_that_happens_to_be_called_resume_is_no_answer_of_a_human() {
    let mappings = Mappings::builtin().unwrap();
    let entry = |input: &str, kind: &str, sort: (&str, &str), parent: u8, value: &str| {
        let attribute = |name: &str, text: &str| {
            Attribute::new(name.to_owned(), spanledger::span::Value::Text(text.to_owned().into()))
        };
        let span = Span {
            trace_id: [7; 16],
            span_id: [7; 8],
            parent_span_id: [parent; 8],
            name: "x".into(),
            start_ns: 1,
            end_ns: 2,
            attributes: vec![
                attribute("langsmith.run.id", "r"),
                attribute(sort.0, kind),
                attribute(sort.1, "x"),
                attribute(input, value),
            ],
            ..Span::default()
        };
        with(&mappings, |sink| sink.record(Record::Span(&span))).bodies.remove(0)
    };
    // Traceloop names the run that is resumed, and wraps its input.
    let workflow = |kind, value: &str| {
        let sort = ("traceloop.span.kind", "traceloop.entity.name");
        let input = format!(r#"{{"inputs":{value},"tags":[]}}"#);
        entry("traceloop.entity.input", kind, sort, 9, &input)
    };
    for (kind, value) in [
        ("workflow", r#"{"resume":"Jane Doe, born 1980-02-29"}"#),
        ("workflow", r#"{"resume":{"pages":2}}"#),
        ("task", r#"{"resume":{"approved":true,"by":"lead"}}"#),
    ] {
        let audit = &workflow(kind, value)["audit"];
        assert!(audit["interrupt"].is_null() && audit["approval"].is_null(), "{value}: {audit:#}");
    }
    let resumed = workflow("workflow", r#"{"resume":{"approved":false,"by":"lead"}}"#);
    assert_eq!(resumed["audit"]["interrupt"]["response"], "rejected");
    assert_eq!(resumed["audit"]["approval"]["resolved_by"], "lead");
    let families = [
        ("langsmith.run.inputs", "tool", ("langsmith.run.run_type", "langsmith.run.name")),
        ("gen_ai.prompt", "tool", ("langsmith.span.kind", "langsmith.trace.name")),
        ("input.value", "TOOL", ("openinference.span.kind", "tool.name")),
    ];
    for (input, kind, sort) in families {
        let cv = r#"{"resume":"Jane Doe, born 1980-02-29"}"#;
        for parent in [0, 9] {
            let body = entry(input, kind, sort, parent, cv);
            let audit = &body["audit"];
            assert!(audit["interrupt"].is_null() && audit["approval"].is_null(), "{body:#}");
            assert!(audit["payload"].to_string().contains("Jane Doe"), "{input}: payload only");
        }
        let child = entry(input, kind, sort, 9, r#"{"resume":{"approved":true,"by":"lead"}}"#);
        assert!(child["audit"]["interrupt"].is_null(), "{input}: only a root is resumed");
        for (value, word) in [
            (r#"{"resume":{"approved":true,"by":"lead"}}"#, "approved"),
            (r#"{"resume":{"decision":"reject"}}"#, "rejected"),
            (r#"{"resume":false}"#, "rejected"),
        ] {
            let root = entry(input, kind, sort, 0, value);
            assert_eq!(root["audit"]["interrupt"]["response"], word, "{input} {value}: {root:#}");
        }
    }
}
