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
