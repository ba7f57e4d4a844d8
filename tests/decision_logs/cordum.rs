//! Cordum: jobs, decisions, approvals, timeline, changes of the policy; and flat audit lines.

use crate::converted;
use crate::support::converted::text;
use serde_json::{Value, json};
use spanledger::receiver::decision_logs::Source;

fn cordum(request: &Value) -> Vec<Value> {
    converted(Source::Cordum, request.to_string().as_bytes()).bodies
}

fn said<const N: usize>(body: &Value, pointers: [&'static str; N]) -> [String; N] {
    pointers.map(|pointer| text(body, pointer).to_owned())
}

#[test]
fn a_job_has_its_state_pointers_and_output_safety() {
    let body = &cordum(&json!({
        "id": "job-123",
        "state": "SUCCEEDED",
        "trace_id": "trace-456",
        "context_ptr": "ctx:job-123",
        "result_ptr": "res:job-123",
        "topic": "job.deploy",
        "tenant": "acme",
        "actor_id": "agent-7",
        "workflow_id": "wf-1",
        "run_id": "run-01",
        "step_id": "approve-change",
        "safety_decision": "REQUIRE_HUMAN",
        "safety_rule_id": "prod-write-needs-approval",
        "safety_snapshot": "cfg:7f3d",
        "safety_job_hash": "b3b5",
        "output_safety": { "decision": "QUARANTINE", "rule_id": "out-1", "reason": "PII", "findings": [{ "n": 1 }] },
        "updated_at": "2026-04-01T14:10:32Z",
    }))[0];
    assert_eq!(
        said(
            body,
            [
                "/audit/kind",
                "/audit/job/id",
                "/audit/job/state",
                "/audit/job/hash",
                "/audit/job/context_ptr",
                "/audit/job/result_ptr",
                "/audit/run/id",
                "/audit/workflow/id",
                "/audit/step/id",
                "/audit/step/type",
                "/audit/output_safety/decision",
                "/audit/output_safety/rule_id",
                "/audit/decision/outcome",
                "/audit/policy/rule_id",
                "/audit/policy/snapshot",
                "/audit/actor/id",
                "/audit/claims/tenant_id",
                "/@timestamp",
            ]
        ),
        [
            "step",
            "job-123",
            "SUCCEEDED",
            "b3b5",
            "ctx:job-123",
            "res:job-123",
            "run-01",
            "wf-1",
            "approve-change",
            "job.deploy",
            "quarantine",
            "out-1",
            "require_approval",
            "prod-write-needs-approval",
            "cfg:7f3d",
            "agent-7",
            "acme",
            "2026-04-01T14:10:32.000000000Z",
        ]
    );
    assert_eq!(body["audit"].get("action"), None, "a topic is a class of jobs and no key of one");
    assert_eq!(body["audit"]["external"]["trace_id"], json!(["trace-456"]));
    assert_eq!(body["attributes"]["cordum.output_safety"]["findings"], json!([{ "n": 1 }]));
}

#[test]
fn decisions_of_a_job_take_its_id_from_what_stands_around_them() {
    let decision = json!({
        "decision": "ALLOW_WITH_CONSTRAINTS",
        "reason": "within limits",
        "rule_id": "r-1",
        "policy_snapshot": "s1",
        "constraints": { "max": 50 },
        "approval_required": false,
        "job_hash": "h1",
        "checked_at": 1_775_052_632,
    });
    let bodies = cordum(&json!({ "job_id": "job-1", "next_cursor": "9", "decisions": [decision] }));
    assert_eq!(
        said(
            &bodies[0],
            [
                "/audit/kind",
                "/audit/job/id",
                "/audit/job/hash",
                "/audit/decision/outcome",
                "/audit/decision/reason",
                "/audit/policy/rule_id",
                "/audit/policy/snapshot",
                "/@timestamp",
            ]
        ),
        [
            "decision",
            "job-1",
            "h1",
            "allow_with_constraints",
            "within limits",
            "r-1",
            "s1",
            "2026-04-01T14:10:32.000000000Z",
        ]
    );
    assert_eq!(bodies[0]["audit"]["approval"]["required"], false);
    assert_eq!(bodies[0]["attributes"]["cordum.constraints"]["max"], 50);
    let next_page = json!({ "job_id": "job-1", "next_cursor": "10", "decisions": [decision] });
    assert_eq!(cordum(&next_page), bodies, "nothing of a page enters its records");
}

#[test]
fn approvals_pending_and_resolved_name_job_hash_snapshot_and_person() {
    let approval = |status: &str| {
        json!({
            "job": { "id": "job-1", "trace_id": "t-1", "state": "APPROVAL", "topic": "job.deploy" },
            "decision": "REQUIRE_APPROVAL",
            "policy_snapshot": "s1",
            "policy_rule_id": "r-1",
            "policy_reason": "production",
            "job_hash": "h1",
            "approval_required": true,
            "approval_ref": "ap-1",
            "approval_status": status,
            "workflow_run_id": "run-01",
            "workflow_step_id": "step-1",
            "context_ptr": "ctx:1",
        })
    };
    let mut resolved = approval("approved");
    resolved["resolved_by"] = "manager-2".into();
    resolved["resolution"] = "approved".into();
    resolved["resolved_comment"] = "ticket INC-123".into();
    resolved["resolved_at"] = "2026-04-01T14:12:00Z".into();
    let bodies = cordum(&json!({ "items": [approval("pending"), resolved], "next_cursor": null }));
    for (body, status) in bodies.iter().zip(["pending", "approved"]) {
        assert_eq!(
            said(
                body,
                [
                    "/audit/kind",
                    "/audit/job/id",
                    "/audit/job/hash",
                    "/audit/policy/snapshot",
                    "/audit/policy/rule_id",
                    "/audit/approval/id",
                    "/audit/approval/status",
                    "/audit/run/id",
                    "/audit/step/id",
                    "/event/action",
                ]
            ),
            [
                "approval",
                "job-1",
                "h1",
                "s1",
                "r-1",
                "ap-1",
                status,
                "run-01",
                "step-1",
                "job.deploy"
            ]
        );
        assert_eq!(body["audit"]["external"]["trace_id"], json!(["t-1"]));
        assert_eq!(body["audit"]["approval"]["required"], true);
    }
    assert_eq!(
        said(
            &bodies[1],
            [
                "/audit/approval/resolved_by",
                "/audit/approval/resolution",
                "/audit/approval/comment",
                "/audit/approval/resolved_at",
                "/audit/actor/id",
            ]
        ),
        ["manager-2", "approved", "ticket INC-123", "2026-04-01T14:12:00Z", "manager-2"]
    );
}

#[test]
fn the_timeline_of_a_run_is_its_steps_in_their_words() {
    let event = |kind: &str| {
        json!({
            "time": "2026-04-01T14:10:32Z", "type": kind, "run_id": "run-01", "workflow_id": "wf-1",
            "step_id": "s1", "job_id": "job-1", "status": "done", "message": "as planned",
        })
    };
    let words = [
        "step_dispatched",
        "step_waiting",
        "step_approved",
        "step_rejected",
        "step_completed",
        "step_output_invalid",
        "run_status",
    ];
    let bodies = cordum(&Value::Array(words.iter().map(|word| event(word)).collect()));
    for (body, word) in bodies.iter().zip(words) {
        assert_eq!(
            said(body, ["/event/action", "/audit/run/id", "/audit/job/id", "/message"]),
            [word, "run-01", "job-1", "as planned"]
        );
    }
    assert_eq!(text(&bodies[0], "/audit/kind"), "step");
    assert_eq!(
        said(&bodies[6], ["/audit/kind", "/audit/workflow/status"]),
        ["workflow_run", "done"]
    );
}

#[test]
fn publishing_and_rolling_back_a_policy_has_actor_and_both_snapshots() {
    let bodies = cordum(&json!({ "items": [
        {
            "id": "pa-1", "action": "publish", "actor_id": "alice", "role": "admin",
            "bundle_ids": ["b1", "b2"], "message": "tighten", "snapshot_before": "s1",
            "snapshot_after": "s2", "created_at": "2026-04-01T10:00:00Z",
        },
        { "id": "pa-2", "action": "rollback", "actor_id": "bob", "snapshot_before": "s2", "snapshot_after": "s1" },
    ] }));
    for (body, (action, actor, before, after)) in bodies
        .iter()
        .zip([("policy.publish", "alice", "s1", "s2"), ("policy.rollback", "bob", "s2", "s1")])
    {
        assert_eq!(
            said(
                body,
                [
                    "/audit/kind",
                    "/event/action",
                    "/audit/actor/id",
                    "/audit/policy/snapshot_before",
                    "/audit/policy/snapshot_after",
                ]
            ),
            ["policy_change", action, actor, before, after]
        );
        assert_eq!(body["audit"].get("job"), None, "its id is not a job's");
    }
    assert_eq!(bodies[0]["audit"]["policy"]["id"], json!(["b1", "b2"]));
}

#[test]
fn flat_lines_of_a_runtime_journal_are_entries_too() {
    let line = |phase: &str| {
        json!({
            "run_id": "run_981", "step_id": "3", "tenant_id": "t_42", "action": "crm.search",
            "action_key": "k1", "scope": "tenant", "decision": "stop", "reason": "rate_limited_tenant",
            "phase": phase, "timestamp": "2026-04-01T14:10:32Z",
        })
    };
    let lines = format!("{}\n{}\n", line("pre_exec"), line("post_exec"));
    let bodies = converted(Source::Entries, lines.as_bytes()).bodies;
    for (body, phase) in bodies.iter().zip(["pre_exec", "post_exec"]) {
        assert_eq!(
            said(
                body,
                [
                    "/audit/kind",
                    "/audit/run/id",
                    "/audit/decision/outcome",
                    "/audit/decision/reason",
                    "/audit/decision/phase",
                    "/audit/action/key",
                    "/audit/claims/tenant_id",
                    "/event/action",
                ]
            ),
            [
                "decision",
                "run_981",
                "block",
                "rate_limited_tenant",
                phase,
                "k1",
                "t_42",
                "crm.search"
            ]
        );
    }
}
