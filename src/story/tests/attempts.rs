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
fn what_a_policy_allows_after_a_person_refused_it_is_told_unless_somebody_was_asked_again() {
    let allowed = |second, more: Value| {
        let mut audit = json!({"kind": "decision", "decision": {"outcome": "allow"}});
        for (key, value) in more.as_object().unwrap() {
            audit[key] = value.clone();
        }
        job(second, audit)
    };
    let plain = || json!({});
    let ran = |second| snapshot(second, "SUCCEEDED", None);
    for answer in ["rejected", "expired"] {
        let records = [asked(1), answered(2, answer), allowed(3, plain()), ran(4)];
        let found = study(&records);
        assert_eq!(codes(&found), [Code::AllowedAfterRejection], "{answer}");
        assert_eq!(found.findings[0].severity, Severity::Warning);
        let on: Vec<u64> = found.findings[0].entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(on, [2, 3]);
    }
    // Another request, a question of its own, or one that was taken back.
    let changed = json!({"job": {"hash": "another"}});
    let other = [asked(1), answered(2, "rejected"), allowed(3, changed)];
    assert!(!codes(&study(&other)).contains(&Code::AllowedAfterRejection));
    let again =
        [asked(1), answered(2, "rejected"), asked(3), answered(4, "approved"), allowed(5, plain())];
    assert_eq!(codes(&study(&again)), []);
    let changed = [asked(1), answered(2, "invalidated"), allowed(3, plain())];
    assert_eq!(codes(&study(&changed)), []);
    // Another call of the tool may be another request.
    let call = |second, outcome: &str| tool_decision(second, "pay", outcome);
    let mut no = call(2, "allow");
    no.doc.audit.kind = "approval".to_owned();
    no.doc.audit.approval.status = Some("rejected".to_owned());
    no.doc.audit.approval.resolved_by = Some("lead".to_owned());
    let calls = [call(1, "require_approval"), no, call(3, "allow")];
    assert!(!codes(&study(&calls)).contains(&Code::AllowedAfterRejection));
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
    let records = vec![
        ask(1, "a-1"),
        ask(2, "a-2"),
        grant(3, "a-1"),
        grant(4, "a-2"),
        tool(5, "pay", "a"),
        tool(6, "pay", "b"),
    ];
    assert_eq!(codes(&study(&records)), []);
}

fn hashed(mut record: Record, hash: &str) -> Record {
    record.doc.audit.job.hash = Some(hash.to_owned());
    record
}

#[test]
fn a_question_after_a_refusal_is_another_attempt() {
    for refusal in ["rejected", "invalidated", "expired"] {
        let records = [
            hashed(asked(1), "h1"),
            hashed(answered(2, refusal), "h1"),
            hashed(asked(3), "h2"),
            hashed(answered(4, "approved"), "h2"),
            hashed(snapshot(5, "SUCCEEDED", None), "h2"),
        ];
        let study = study(&records);
        assert_eq!(codes(&study), [], "{refusal}: {:#?}", study.findings);
        assert_eq!(study.actions.len(), 2, "{refusal}");
    }
}

#[test]
fn an_approval_of_what_was_refused_is_critical_unless_it_was_asked_again() {
    let by = |second, status: &str, who: &str| {
        let mut answer = answered(second, status);
        answer.doc.audit.approval.id = Some("a-1".to_owned());
        answer.doc.audit.approval.resolved_by = Some(who.to_owned());
        answer
    };
    let mut question = asked(1);
    question.doc.audit.approval.id = Some("a-1".to_owned());
    let records = [
        question,
        by(2, "rejected", "alice"),
        by(3, "approved", "bob"),
        snapshot(4, "SUCCEEDED", None),
    ];
    let found = study(&records);
    assert_eq!(codes(&found), [Code::ApprovalAfterRejection]);
    assert_eq!(found.findings[0].severity, Severity::Critical);
    let people: Vec<Option<&str>> =
        found.actions[0].chain.iter().map(|step| step.resolved_by.as_deref()).collect();
    assert_eq!(people, [None, Some("alice"), Some("bob"), None]);
    let other = [by(2, "rejected", "alice"), {
        let mut other = by(3, "approved", "bob");
        other.doc.audit.approval.id = Some("a-2".to_owned());
        other
    }];
    let found = study(&other);
    assert!(!codes(&found).contains(&Code::ApprovalAfterRejection), "{:#?}", found.findings);
}

#[test]
fn a_stop_after_a_refusal_belongs_to_it() {
    let block = job(3, json!({"kind": "decision", "decision": {"outcome": "block"}}));
    let study = study(&[asked(1), answered(2, "rejected"), block]);
    assert_eq!((codes(&study), study.actions.len()), (vec![], 1));
}

#[test]
fn an_allowed_call_beside_one_that_waits_is_no_alarm() {
    let records = [
        tool_decision(1, "pay", "allow"),
        tool_decision(2, "pay", "require_approval"),
        tool(3, "pay", "a"),
    ];
    assert_eq!(codes(&study(&records)), []);
    assert_eq!(
        codes(&study(&[tool_decision(2, "pay", "require_approval"), tool(3, "pay", "a")])),
        [Code::ExecutionWithoutApproval]
    );
}

#[test]
fn steps_of_one_job_are_actions_of_their_own() {
    let step = |second, id: &str, kind: &str, outcome: Option<&str>| {
        let mut audit = json!({"kind": kind, "step": {"id": id}});
        if let Some(outcome) = outcome {
            audit["decision"] = json!({"outcome": outcome});
        }
        job(second, audit)
    };
    let records = [
        step(1, "plan", "decision", Some("allow")),
        step(2, "approve-change", "decision", Some("require_approval")),
        step(3, "plan", "workflow_step_completed", None),
    ];
    let found = study(&records);
    assert_eq!(codes(&found), [], "{:#?}", found.findings);
    assert_eq!(found.actions.len(), 2);
    let one = [asked(1), step(2, "only", "workflow_step_completed", None)];
    assert_eq!(codes(&study(&one)), [Code::ExecutionWithoutApproval], "one step is its job");
}

#[test]
fn a_decision_from_within_a_call_belongs_to_it_although_its_clock_is_ahead() {
    let mut call = tool(1, "pay", "a");
    call.event_ns = 10_000_000_000;
    call.end_ns = 10_004_000_000;
    let mut decision = tool_decision(2, "pay", "allow");
    decision.event_ns = 10_005_000_000;
    decision.end_ns = decision.event_ns;
    let mut within = decision.clone();
    within.doc.span.parent_id = Some("a".to_owned());
    let found = study(&[call.clone(), within]);
    assert_eq!((codes(&found), found.actions.len()), (vec![], 1));
    call.doc.gen_ai.tool.call.id = Some("call-1".to_owned());
    decision.doc.gen_ai.tool.call.id = Some("call-1".to_owned());
    let found = study(&[call, decision]);
    assert_eq!((codes(&found), found.actions.len()), (vec![], 1));
}

#[test]
fn a_decision_that_is_told_again_with_its_id_begins_no_attempt() {
    let numbered = |second, kind: &str, approval: Value| {
        job(
            second,
            json!({"kind": kind, "approval": approval,
                "decision": {"id": "d-1", "outcome": "require_approval"}}),
        )
    };
    let records = [
        numbered(1, "decision", json!({})),
        numbered(2, "decision", json!({"status": "rejected", "resolved_by": "alice"})),
        numbered(3, "decision", json!({"status": "approved", "resolved_by": "bob"})),
    ];
    let found = study(&records);
    assert_eq!(codes(&found), [Code::ApprovalAfterRejection]);
    assert_eq!(found.actions.len(), 1);
}
