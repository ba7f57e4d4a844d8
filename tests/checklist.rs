//! The checklist of what evidence must answer, line by line, against the built binary over real
//! sockets: OTLP in, questions out. A name begins with the line that it holds. Here: what ran and what
//! was decided about it; `checklist_journal.rs` has the runtime's journal, changes, and joins.

mod support;

use serde_json::{Value, json};
use support::governed::{codes, list, one, search, send, told};
use support::stories::{
    and, decision_record, job_ended, log, policy_changes, refund_chain, span, spectra_run,
};

#[tokio::test]
async fn s0_1_each_kind_of_activity_is_an_entry_with_what_it_has_to_say() {
    let server = told(&[&spectra_run()]).await;
    let model = one(&server, "run_id:run-7 AND kind:llm_call").await;
    assert_eq!(model["gen_ai"]["provider"]["name"], "openai");
    assert_eq!(model["gen_ai"]["response"]["model"], "gpt-4.1-2025-04-14");
    let response = list(&model["audit"], "payload").iter().find(|p| p["kind"] == "response");
    assert_eq!(response.unwrap()["hash"].as_str().unwrap().len(), 64, "{model}");
    let tool = one(&server, "run_id:run-7 AND kind:tool_call").await;
    assert_eq!(tool["gen_ai"]["tool"]["name"], "lookup_order");
    assert_eq!(tool["event"]["duration"], 5_000_000);
    assert_eq!(list(&tool["audit"], "payload").len(), 2, "arguments and result");
    let handoff = one(&server, "run_id:run-7 AND kind:handoff").await;
    assert_eq!(
        handoff["audit"]["handoff"],
        json!({"source": "triage", "target": "refund-agent", "intent": "issue the refund"})
    );
    let pause = one(&server, "run_id:run-7 AND kind:interrupt").await;
    assert_eq!(pause["audit"]["interrupt"]["responder"], "ops-lead");
}

#[tokio::test]
async fn s0_3_entries_are_found_by_tenant_user_workflow_run_event_type_and_time() {
    let server = told(&[&spectra_run(), &refund_chain()]).await;
    for (query, count) in [
        ("tenant_id:acme", 6),
        ("user_id:u-77", 11),
        ("workflow_id:wf-7", 6),
        ("run_id:run_981", 5),
        ("event_type:branch", 1),
        ("run_id:run-7 AND @timestamp:[2026-04-01T14:10:34Z TO 2026-04-01T14:10:35.9Z]", 2),
    ] {
        assert_eq!(search(&server, query).await.len(), count, "{query}");
    }
}

#[tokio::test]
async fn s0_5_each_of_the_five_questions_is_one_query() {
    let server = told(&[&spectra_run()]).await;
    // Why did this workflow take this branch?
    let branch = one(&server, "workflow_id:wf-7 AND kind:branch").await;
    assert_eq!(branch["audit"]["branch"]["condition"], "total > 500");
    assert_eq!(branch["audit"]["branch"]["selected_edge"], "needs_approval");
    // Which tool result influenced the outcome?
    let tool = one(&server, "run_id:run-7 AND kind:tool_call").await;
    let result = list(&tool["audit"], "payload").iter().find(|p| p["kind"] == "result");
    assert_eq!(result.unwrap()["text"], r#"{"total":4900}"#);
    // Which model was used for this response?
    let model = one(&server, "run_id:run-7 AND kind:llm_call").await;
    assert_eq!(model["gen_ai"]["response"]["model"], "gpt-4.1-2025-04-14");
    // Who approved or rejected this interrupt?
    let pause = one(&server, "run_id:run-7 AND kind:(interrupt OR approval)").await;
    assert_eq!(pause["audit"]["interrupt"]["responder"], "ops-lead");
    assert_eq!(pause["audit"]["interrupt"]["response"], "approved");
    // Which tenant and user initiated the run?
    let run = one(&server, "run_id:run-7 AND kind:workflow_run").await;
    assert_eq!(run["audit"]["claims"]["tenant_id"], "acme");
    assert_eq!(run["user"]["id"], "u-77");
}

#[tokio::test]
async fn s1_1_the_decision_record_comes_back_with_its_own_names() {
    let server = told(&[&decision_record()]).await;
    let answer = server.get("/api/v1/jobs/job-123/decisions").await;
    let decision = &list(&answer, "decisions")[0];
    let wanted = json!({
        "run_id": "run-01",
        "workflow_step_id": "approve-change",
        "job_id": "job-123",
        "trace_id": "trace-456",
        "decision": "REQUIRE_APPROVAL",
        "policy_rule_id": "prod-write-needs-approval",
        "policy_reason": "Production writes need manager approval",
        "policy_snapshot": "cfg:system:policy#sha256:7f3d...9c2b",
        "job_hash": "b3b5...8f1a",
        "approval_required": true,
        "resolution": "approved",
        "resolved_by": "manager-2",
        "resolved_comment": "ticket INC-123",
        "context_ptr": "ctx:job-123",
        "result_ptr": "res:job-123",
    });
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(decision[name], *value, "{name}");
    }
    assert_eq!(decision["output_safety"]["decision"], "ALLOW");
    assert_eq!(decision["output_safety"]["rule_id"], "out-safe-1");
    assert!(decision["timestamp"].as_str().unwrap().starts_with("2026-04-01T14:10:33"));
    let path = format!("/api/v1/entries/{}", decision["event_id"].as_str().unwrap());
    let entry = server.get(&path).await;
    assert_eq!(entry["event"]["sequence"], decision["sequence"]);
}

#[tokio::test]
async fn s1_2_the_five_queries_are_served_and_one_call_joins_them() {
    let server = told(&[&policy_changes(), &decision_record(), &job_ended()]).await;
    let job = server.get("/api/v1/jobs/job-123").await;
    assert_eq!(job["state"], "SUCCEEDED", "the latest of two records");
    assert_eq!(job["result_ptr"], "res:job-123", "which the latest does not name");
    assert_eq!(job["output_safety"]["decision"], "ALLOW");
    assert_eq!((&job["trace_id"], &job["run_id"]), (&json!("trace-456"), &json!("run-01")));
    assert_ne!(job["from"]["state"], job["from"]["result_ptr"], "each says where it comes from");
    let decisions = server.get("/api/v1/jobs/job-123/decisions").await;
    assert_eq!(list(&decisions, "decisions").len(), 1);
    let pending = server.get("/api/v1/approvals?include_resolved=false").await;
    assert!(list(&pending, "items").is_empty(), "{pending}");
    let timeline = server.get("/api/v1/workflow-runs/run-01/timeline?limit=200").await;
    let types: Vec<_> = list(&timeline, "items").iter().map(|item| &item["type"]).collect();
    assert_eq!(types, ["step_waiting", "span"]);
    let policy = server.get("/api/v1/policy/audit").await;
    assert_eq!(list(&policy, "items").len(), 2);

    let case = server.get("/api/v1/jobs/job-123/evidence").await;
    assert_eq!(case["job"]["state"], "SUCCEEDED");
    assert_eq!(case["decisions"], decisions["decisions"]);
    assert_eq!(case["timeline"], timeline["items"]);
    assert_eq!(case["approvals"][0]["resolved_by"], "manager-2");
    let changes = list(&case, "policy_changes");
    assert_eq!(changes.len(), 2, "what made and ended the snapshot: {case}");
    assert_eq!(case["studied"], json!({"entries": 2, "of": 2, "complete": true}));
    let by_run = server.get("/api/v1/workflow-runs/run-01/evidence").await;
    for part in ["job", "decisions", "approvals", "timeline", "policy_changes", "findings"] {
        assert_eq!(by_run[part], case[part], "{part}");
    }
    for unknown in [
        "jobs/none",
        "jobs/none/decisions",
        "jobs/none/evidence",
        "workflow-runs/none/timeline",
        "workflow-runs/none/evidence",
    ] {
        assert_eq!(server.status(&format!("/api/v1/{unknown}")).await, 404, "{unknown}");
    }
}

#[tokio::test]
async fn s1_3_pending_approvals_are_the_default_and_resolved_ones_stay_queryable() {
    let ask = |number: u8, approval: &str, more: Value| {
        let base = json!({"spanledger.decision.outcome": "require_approval",
            "spanledger.policy.rule_id": "prod-write", "spanledger.run_id": format!("run-{approval}"),
            "spanledger.approval.id": approval, "spanledger.job_hash": "h"});
        span(number, 1, "policy.evaluate", and(base, more))
    };
    let answer = log(
        0,
        9_000,
        "approval.resolved",
        json!({"spanledger.approval.id": "a-2",
        "spanledger.approval.status": "rejected", "spanledger.approval.resolved_by": "manager-2"}),
    );
    let by_job = log(
        0,
        9_001,
        "approval.resolved",
        json!({"spanledger.job_id": "j-3",
        "spanledger.job_hash": "h", "spanledger.approval.status": "approved",
        "spanledger.approval.resolved_by": "manager-3"}),
    );
    let server = told(&[
        &[ask(1, "a-1", json!({}))],
        &[ask(2, "a-2", json!({}))],
        &[ask(3, "a-3", json!({"spanledger.job_id": "j-3"}))],
        &[answer],
        &[by_job],
        &refund_chain()[..1],
    ])
    .await;
    let ids = |answer: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let items = list(answer, "items").iter();
        items.map(|item| (text(&item["approval_id"]), text(&item["approval_status"]))).collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let pending = server.get("/api/v1/approvals").await;
    assert_eq!(ids(&pending), [pair("-", "pending"), pair("a-1", "pending")]);
    let all = server.get("/api/v1/approvals?include_resolved=true").await;
    let wanted = [
        pair("-", "pending"),
        pair("a-3", "approved"),
        pair("a-2", "rejected"),
        pair("a-1", "pending"),
    ];
    assert_eq!(ids(&all), wanted);
    assert_eq!(all["items"][2]["resolved_by"], "manager-2");
    assert!(all["items"][0]["decision_summary"].as_str().unwrap().contains("write_needs_approval"));
    // Page by page, while more comes.
    let mut seen = Vec::new();
    let mut path = "/api/v1/approvals?include_resolved=true&limit=1".to_owned();
    for round in 0..20 {
        let page = server.get(&path).await;
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/approvals?include_resolved=true&limit=1&cursor={cursor}");
        if round == 0 {
            send(&server, "governed-agent", &[ask(7, "a-7", json!({}))]).await;
        }
    }
    assert_eq!(seen, wanted, "each that was there once, and no other");
    // The journal's own chain resolves the question that it asked.
    send(&server, "governed-agent", &refund_chain()[1..]).await;
    let pending = server.get("/api/v1/approvals").await;
    assert_eq!(ids(&pending), [pair("a-7", "pending"), pair("a-1", "pending")]);
}

#[tokio::test]
async fn s1_4_publish_and_rollback_are_entries_with_actor_and_snapshots() {
    let server = told(&[&policy_changes()]).await;
    let answer = server.get("/api/v1/policy/audit").await;
    let [rollback, publish] = &list(&answer, "items")[..] else { panic!("{answer}") };
    assert_eq!((&publish["action"], &rollback["action"]), (&json!("publish"), &json!("rollback")));
    assert_eq!(publish["actor_id"], "alice");
    assert_eq!(publish["snapshot_before"], "cfg:old");
    assert_eq!(publish["snapshot_after"], rollback["snapshot_before"]);
    let first = server.get("/api/v1/policy/audit?limit=1").await;
    assert_eq!(first["items"][0], *rollback);
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = server.get(&format!("/api/v1/policy/audit?limit=1&cursor={cursor}")).await;
    assert_eq!(next["items"][0], *publish);
}

#[tokio::test]
async fn s1_5_an_approval_of_another_job_or_under_another_policy_is_a_finding() {
    let base = json!({"spanledger.job_id": "job-9", "spanledger.policy.rule_id": "prod-write"});
    let asked = span(
        0x61,
        1,
        "policy.evaluate",
        and(
            base.clone(),
            json!({
        "spanledger.decision.outcome": "require_approval", "spanledger.job_hash": "sha256:aaaa",
        "spanledger.policy.snapshot": "cfg#1"}),
        ),
    );
    let answer = log(
        0,
        5,
        "approval",
        and(
            base,
            json!({
        "spanledger.approval.status": "approved", "spanledger.approval.resolved_by": "manager-2",
        "spanledger.job_hash": "sha256:bbbb", "spanledger.policy.snapshot": "cfg#2"}),
        ),
    );
    let server = told(&[&[asked], &[answer]]).await;
    let case = server.get("/api/v1/jobs/job-9/evidence").await;
    assert_eq!(codes(&case), ["approval_job_hash_mismatch", "approval_policy_snapshot_mismatch"]);
    let finding = &case["findings"][0];
    assert_eq!(finding["severity"], "critical");
    assert_eq!(list(finding, "entries").len(), 2, "both sides are named: {finding}");
}

#[tokio::test]
async fn s1_6_missing_joins_between_action_policy_and_approval_are_findings() {
    let scope = |more| and(json!({"spanledger.run_id": "run-6"}), more);
    let server = told(&[&[
        span(0x62, 1, "agent", scope(json!({}))),
        span(
            0x62,
            2,
            "policy",
            scope(json!({"spanledger.decision.outcome": "allow",
            "spanledger.policy.rule_id": "reads", "gen_ai.tool.name": "lookup"})),
        ),
        span(
            0x62,
            3,
            "lookup",
            scope(json!({"spanledger.kind": "tool_call", "gen_ai.tool.name": "lookup"})),
        ),
        span(
            0x62,
            4,
            "pay",
            scope(json!({"spanledger.kind": "tool_call", "gen_ai.tool.name": "pay"})),
        ),
        span(
            0x62,
            5,
            "policy",
            scope(json!({"spanledger.decision.outcome": "deny",
            "gen_ai.tool.name": "export"})),
        ),
        span(
            0x62,
            6,
            "approval",
            scope(json!({"spanledger.approval.id": "lost",
            "spanledger.approval.status": "approved", "spanledger.approval.resolved_by": "lead"})),
        ),
    ]])
    .await;
    let story = server.get("/api/v1/traces/run-6").await;
    let found = codes(&story);
    for code in ["action_without_decision", "decision_without_policy", "approval_without_decision"]
    {
        assert!(found.contains(&code), "{code} in {found:?}");
    }
    assert_eq!(found.len(), 3, "{story:#}");
    let plain = told(&[&[span(
        0x63,
        1,
        "tool",
        json!({"gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "pay"}),
    )]])
    .await;
    assert!(codes(&plain.get(&format!("/api/v1/traces/{}", "63".repeat(16))).await).is_empty());
}
