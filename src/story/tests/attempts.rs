//! Sentences about where one attempt ends and the next begins.

use super::*;

/// What a job said of itself at that second.
fn snapshot(second: u64, state: &str, decision: Option<&str>) -> Record {
    let mut audit = json!({"kind": "step", "job": {"state": state}});
    if let Some(outcome) = decision {
        audit["decision"] = json!({"outcome": outcome});
    }
    job(second, audit)
}

fn asked(second: u64) -> Record {
    job(second, json!({"kind": "decision", "decision": {"outcome": "require_approval"}}))
}

fn answered(second: u64, status: &str) -> Record {
    job(second, json!({"kind": "approval", "approval": {"status": status, "resolved_by": "lead"}}))
}

#[test]
fn every_state_of_a_job_is_one_execution() {
    let approved = [
        asked(1),
        answered(2, "approved"),
        snapshot(3, "RUNNING", Some("require_approval")),
        snapshot(4, "SUCCEEDED", Some("require_approval")),
    ];
    let study = study(&approved);
    assert_eq!(codes(&study), [], "{:#?}", study.findings);
    assert_eq!(study.actions.len(), 1);
    let allowed = [
        job(1, json!({"kind": "decision", "decision": {"outcome": "allow"}})),
        snapshot(2, "RUNNING", None),
        snapshot(3, "SUCCEEDED", None),
    ];
    assert_eq!(codes(&super::study(&allowed)), []);
}

#[test]
fn a_job_that_failed_after_a_refusal_was_not_executed() {
    for (answer, state) in [("rejected", "FAILED"), ("expired", "TIMEOUT"), ("rejected", "DENIED")]
    {
        for decision in [None, Some("require_approval")] {
            let records = [asked(1), answered(2, answer), snapshot(3, state, decision)];
            let study = study(&records);
            assert_eq!(codes(&study), [], "{state} {decision:?}");
            assert_eq!(study.actions.len(), 1, "{state} {decision:?}");
        }
    }
    let ran = [asked(1), answered(2, "rejected"), snapshot(3, "SUCCEEDED", None)];
    assert_eq!(codes(&study(&ran)), [Code::ExecutionAfterRejection]);
}

#[test]
fn a_stop_after_an_approval_is_the_last_word() {
    let chain = [
        journal(1, "pre_exec", "require_approval", json!({})),
        journal(2, "pre_exec", "approval_granted", json!({})),
        journal(3, "pre_exec", "block", json!({})),
        journal(4, "post_exec", "allow", json!({})),
    ];
    assert_eq!(codes(&study(&chain)), [Code::ExecutionAfterStop]);
}

#[test]
fn one_approval_allows_one_execution() {
    let mut chain = refund_chain();
    chain.truncate(4);
    chain.push(journal(5, "post_exec", "allow", json!({})));
    let found = study(&chain);
    assert_eq!(codes(&found), [Code::ActionWithoutDecision, Code::ActionRepeated]);
    assert_eq!(found.actions.len(), 2);
}

#[test]
fn two_approvals_of_one_tool_allow_two_calls() {
    let approval = |second, id: &str, audit: Value| {
        let mut all = json!({"approval": {"id": id}, "policy": {"id": ["p"]}});
        for (key, value) in audit.as_object().unwrap() {
            all[key] = value.clone();
        }
        record(second, all, json!({"trace": {"id": "t"}, "gen_ai": {"tool": {"name": "pay"}}}))
    };
    let ask = |second, id| {
        approval(
            second,
            id,
            json!({"kind": "decision", "decision": {"outcome": "require_approval"}}),
        )
    };
    let grant = |second, id: &str| {
        let granted = json!({"id": id, "status": "approved", "resolved_by": "lead"});
        approval(second, id, json!({"kind": "approval", "approval": granted}))
    };
    let records = [
        ask(1, "a-1"),
        ask(2, "a-2"),
        grant(3, "a-1"),
        grant(4, "a-2"),
        tool(5, "pay", "a"),
        tool(6, "pay", "b"),
    ];
    assert_eq!(codes(&study(&records)), []);
}
