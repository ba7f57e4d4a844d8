//! Sentences about stories: which findings there are, and where there are none.

mod attempts;

use super::read::tests::record;
use super::{Code, Record, Severity, Study};
use proptest::prelude::*;
use serde_json::{Value, json};

fn study(records: &[Record]) -> Study {
    Study::of(records.to_vec())
}

fn codes(study: &Study) -> Vec<Code> {
    study.findings.iter().map(|finding| finding.code).collect()
}

/// An event of a runtime's journal about one action.
fn journal(second: u64, phase: &str, outcome: &str, more: Value) -> Record {
    let kind = if outcome.starts_with("approval_") { "approval" } else { "decision" };
    let canonical = if kind == "approval" { "allow" } else { outcome };
    let mut audit = json!({
        "kind": kind, "run": {"id": "run_981"}, "step": {"id": "7"},
        "action": {"key": "refund.create:1042", "scope": "tenant", "args_hash": "sha256:9f86d0"},
        "decision": {"outcome": canonical, "raw": outcome, "phase": phase},
        "policy": {"layer": "tenant"}, "actor": {"id": "support-agent"},
    });
    if kind == "approval" {
        audit["approval"] = json!({"resolved_by": "manager-2"});
    }
    if phase == "post_exec" {
        audit["step"]["result"] = "ok".into();
    }
    let mut all = json!({"event": {"action": "refund.create"}, "trace": {"id": "t"}});
    if let Value::Object(more) = more {
        for (key, value) in more {
            all[key] = value;
        }
    }
    record(second, audit, all)
}

fn refund_chain() -> Vec<Record> {
    vec![
        journal(1, "pre_exec", "require_approval", json!({})),
        journal(2, "pre_exec", "approval_granted", json!({})),
        journal(3, "pre_exec", "allow", json!({})),
        journal(
            4,
            "post_exec",
            "allow",
            json!({"event": {"action": "refund.create", "outcome": "success"}}),
        ),
        journal(5, "pre_exec", "block", json!({})),
    ]
}

#[test]
fn the_chain_of_an_approval_is_one_action_and_what_was_stopped_later_another() {
    let study = study(&refund_chain());
    assert_eq!(codes(&study), [], "{:#?}", study.findings);
    let chains: Vec<Vec<(&str, &str)>> = study
        .actions
        .iter()
        .map(|action| action.chain.iter().map(|s| (s.step.as_str(), s.outcome.as_str())).collect())
        .collect();
    assert_eq!(
        chains,
        [
            vec![
                ("decision", "require_approval"),
                ("approval", "approved"),
                ("decision", "allow"),
                ("result", "success")
            ],
            vec![("decision", "block")],
        ]
    );
    let [first, second] = &study.actions[..] else { panic!("two attempts") };
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(first.phases, ["pre_exec", "post_exec"]);
    assert_eq!(first.result.as_deref(), Some("ok"));
    assert_eq!(first.approval.as_ref().unwrap().resolved_by.as_deref(), Some("manager-2"));
    assert_eq!(study.approvals.len(), 1);
}

#[test]
fn what_ran_after_a_stop_is_critical() {
    let mut chain = refund_chain();
    chain.push(journal(6, "post_exec", "allow", json!({})));
    let study = study(&chain);
    assert_eq!(codes(&study), [Code::ExecutionAfterStop, Code::ActionRepeated]);
    assert_eq!(study.findings[0].severity, Severity::Critical);
    let on: Vec<u64> = study.findings[0].entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(on, [5, 6]);
}

#[test]
fn what_ran_without_the_approval_that_it_needed_is_critical() {
    let records = [
        journal(1, "pre_exec", "require_approval", json!({})),
        journal(2, "post_exec", "allow", json!({})),
    ];
    assert_eq!(codes(&study(&records)), [Code::ExecutionWithoutApproval]);
}

#[test]
fn an_action_that_went_on_without_a_recorded_answer_is_told() {
    let chain = refund_chain();
    let without = [chain[0].clone(), chain[2].clone(), chain[3].clone()];
    assert_eq!(codes(&study(&without)), [Code::ApprovalNotRecorded]);
}

#[test]
fn an_allowed_action_without_a_result_is_told_and_a_result_without_a_decision_too() {
    let chain = refund_chain();
    assert_eq!(codes(&study(&chain[..3])), [Code::DecisionWithoutOutcome]);
    assert_eq!(codes(&study(&chain[3..4])), [Code::ActionWithoutDecision]);
}

#[allow(clippy::needless_pass_by_value, reason = "reads as the JSON that it is")]
fn job(second: u64, audit: Value) -> Record {
    let mut all = json!({"run": {"id": "run-01"}, "job": {"id": "job-123", "hash": "b3b5"},
        "policy": {"rule_id": "prod-write", "snapshot": "cfg#7f3d"}});
    for (key, value) in audit.as_object().unwrap() {
        if let Some(object) = all[key].as_object_mut() {
            object.extend(value.as_object().unwrap().clone());
        } else {
            all[key] = value.clone();
        }
    }
    record(second, all, json!({"trace": {"id": "t"}}))
}

#[test]
fn an_approval_of_another_job_or_policy_is_critical() {
    let asked = job(1, json!({"kind": "decision", "decision": {"outcome": "require_approval"}}));
    let answer = |more: Value| {
        let mut audit = json!({"kind": "approval",
            "approval": {"status": "approved", "resolved_by": "manager-2"}});
        for (key, value) in more.as_object().unwrap() {
            audit[key] = value.clone();
        }
        job(2, audit)
    };
    assert_eq!(codes(&study(&[asked.clone(), answer(json!({}))])), []);
    let other_hash = answer(json!({"job": {"hash": "ffff"}}));
    assert_eq!(codes(&study(&[asked.clone(), other_hash])), [Code::ApprovalJobHashMismatch]);
    let other_policy = answer(json!({"policy": {"snapshot": "cfg#0000"}}));
    let found = study(&[asked, other_policy]);
    assert_eq!(codes(&found), [Code::ApprovalPolicySnapshotMismatch]);
    assert!(found.findings[0].message.contains("cfg#0000"), "{}", found.findings[0].message);
}

#[test]
fn whoever_asks_and_answers_is_noted() {
    let asked = record(
        1,
        json!({"kind": "decision", "job": {"id": "j"}, "policy": {"rule_id": "p"},
        "decision": {"outcome": "require_approval"}}),
        json!({"user": {"id": "maria"}}),
    );
    let answer = record(
        2,
        json!({"kind": "approval", "job": {"id": "j"},
        "approval": {"resolution": "approved", "resolved_by": "Maria"}}),
        json!({}),
    );
    let study = study(&[asked, answer]);
    assert_eq!(codes(&study), [Code::ApprovedByRequester]);
    assert_eq!(study.findings[0].severity, Severity::Note);
}

fn tool(second: u64, name: &str, span: &str) -> Record {
    record(
        second,
        json!({"kind": "tool_call"}),
        json!({
            "trace": {"id": "t"}, "span": {"id": span, "parent_id": "root"},
            "gen_ai": {"tool": {"name": name}},
        }),
    )
}

fn tool_decision(second: u64, name: &str, outcome: &str) -> Record {
    record(
        second,
        json!({"kind": "decision", "policy": {"id": ["p"]}, "decision": {"outcome": outcome}}),
        json!({
            "trace": {"id": "t"}, "span": {"id": format!("d{second}"), "parent_id": "root"},
            "gen_ai": {"tool": {"name": name}},
        }),
    )
}

#[test]
fn a_plain_trace_without_decisions_raises_no_alarm() {
    let records = [tool(1, "search", "a"), tool(2, "search", "b"), tool(3, "pay", "c")];
    let study = study(&records);
    assert_eq!(codes(&study), []);
    assert_eq!(study.actions.len(), 3);
}

#[test]
fn an_undecided_tool_call_is_told_only_where_others_are_decided() {
    let records =
        [tool_decision(1, "search", "allow"), tool(2, "search", "a"), tool(3, "pay", "b")];
    let study = study(&records);
    assert_eq!(codes(&study), [Code::ActionWithoutDecision]);
    assert!(study.findings[0].message.starts_with("pay"), "{}", study.findings[0].message);
}

#[test]
fn calls_of_one_tool_at_once_are_not_taken_for_each_other() {
    let records = [
        tool_decision(1, "search", "allow"),
        tool_decision(2, "search", "allow"),
        tool(3, "search", "a"),
        tool(4, "search", "b"),
    ];
    assert_eq!(codes(&study(&records)), []);
    let mixed = [
        tool_decision(1, "search", "allow"),
        tool_decision(2, "search", "block"),
        tool(3, "search", "a"),
    ];
    assert_eq!(codes(&study(&mixed)), []);
}

#[test]
fn a_call_without_a_key_belongs_to_one_of_the_decisions_that_have_one() {
    let keyed = |second, key: &str, outcome: &str| {
        let mut decision = tool_decision(second, "pay", outcome);
        decision.doc.audit.action.key = Some(key.to_owned());
        decision
    };
    let call = tool(3, "pay", "a");
    let both = [keyed(1, "pay:1", "allow"), keyed(2, "pay:2", "allow"), call.clone()];
    let found = study(&both);
    assert_eq!(found.actions.len(), 2, "{:#?}", found.actions);
    assert_eq!(codes(&found), [Code::DecisionWithoutOutcome], "one of them ran");
    let stopped = [keyed(1, "pay:1", "block"), call];
    assert_eq!(codes(&study(&stopped)), [Code::ExecutionAfterStop]);
}

#[test]
fn a_tool_that_was_refused_from_within_its_own_span_did_not_run() {
    let decision = record(
        2,
        json!({"kind": "decision", "policy": {"id": ["p"]},
        "decision": {"outcome": "block"}}),
        json!({
            "trace": {"id": "t"}, "span": {"id": "d", "parent_id": "a"},
        }),
    );
    assert_eq!(codes(&study(&[tool(1, "pay", "a"), decision.clone()])), []);
    let mut done = tool(1, "pay", "a");
    done.doc.event.outcome = Some("success".to_owned());
    done.end_ns = decision.end_ns + 1;
    assert_eq!(codes(&study(&[done, decision])), [Code::ExecutionAfterStop]);
}

#[test]
fn a_policy_that_only_watches_makes_a_note() {
    let mut decision = tool_decision(1, "pay", "block");
    decision.doc.audit.decision.enforcement = Some("dry-run".to_owned());
    let study = study(&[decision, tool(2, "pay", "a")]);
    assert_eq!(
        (study.findings[0].code, study.findings[0].severity),
        (Code::ExecutionAfterStop, Severity::Note)
    );
}

#[test]
fn a_gap_and_a_word_that_nobody_knows_are_told() {
    let gap = record(1, json!({"kind": "gap"}), json!({"event": {"reason": "spool full"}}));
    let odd = record(2, json!({"kind": "decision", "decision": {"raw": "perhaps"}}), json!({}));
    let study = study(&[gap, odd]);
    assert_eq!(codes(&study), [Code::EvidenceGap, Code::DecisionNotUnderstood]);
}

#[test]
fn a_stop_names_its_policy_or_its_guardrail() {
    let stop = |more: Value| {
        let mut audit = json!({"kind": "decision", "decision": {"outcome": "block"}});
        audit["guardrail"] = more;
        record(1, audit, json!({}))
    };
    assert_eq!(codes(&study(&[stop(json!({"name": "pii"}))])), []);
    assert_eq!(codes(&study(&[stop(json!({}))])), [Code::DecisionWithoutPolicy]);
}

proptest! {
    #[test]
    fn the_order_of_arrival_and_repetition_change_nothing(
        shuffled in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut all = refund_chain();
        all.extend([tool(6, "search", "a"), tool_decision(7, "pay", "block"), tool(8, "pay", "b")]);
        all.push(job(9, json!({"kind": "approval", "approval": {"status": "approved"}})));
        let turned: Vec<Record> = shuffled.iter().map(|at| all[*at].clone()).collect();
        prop_assert_eq!(study(&all), study(&turned));
    }
}
