//! The checklist of what evidence must answer, line by line, against the built binary over real
//! sockets: OTLP in, questions out. A name begins with the line that it holds.

mod support;

use serde_json::{Value, json};
use support::server::{DEADLINE, Server, look_until};
use support::stories::{
    Told, and, blocked_pipeline, decision_record, job_ended, journal, log, policy_changes,
    refund_chain, request, span, spectra_run,
};
use tempfile::TempDir;

/// A server with a data folder of its own.
struct Running {
    server: Server,
    _data: TempDir,
}

impl std::ops::Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

async fn start_with(arguments: &[&str]) -> Running {
    let data = TempDir::new().unwrap();
    let server = Server::start_with(data.path(), arguments).await;
    Running { server, _data: data }
}

/// A server that was sent these stories.
async fn told(stories: &[&[Told]]) -> Running {
    let running = start_with(&[]).await;
    for story in stories {
        send(&running, "governed-agent", story).await;
    }
    running
}

/// Flat names are understood where the scope says that these are audit records.
async fn send(server: &Server, service: &str, records: &[Told]) {
    let (path, body) = request(service, "audit", records);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", server.http());
    let answer = client.post(url).json(&body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!((status.as_u16(), text.as_str()), (200, "{}"), "full success");
}

/// The entries that answer a question, in the order of the story.
async fn search(server: &Server, query: &str) -> Vec<Value> {
    let query: String =
        query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let answer = server.get(&format!("/api/v1/entries?order=story&q={query}")).await;
    answer["entries"].as_array().unwrap().clone()
}

async fn one(server: &Server, query: &str) -> Value {
    let found = search(server, query).await;
    assert_eq!(found.len(), 1, "{query}: {found:#?}");
    found[0].clone()
}

fn codes(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn list<'v>(answer: &'v Value, name: &str) -> &'v Vec<Value> {
    answer[name].as_array().unwrap_or_else(|| panic!("{name} in {answer}"))
}

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

#[tokio::test]
async fn s2_1_the_minimum_fields_are_kept_and_more() {
    let server = told(&[&refund_chain()[..1]]).await;
    let entry = one(&server, "run_id:run_981").await;
    let audit = &entry["audit"];
    for (path, value) in [
        ("/audit/run/id", "run_981"),
        ("/audit/step/id", "7"),
        ("/audit/decision/outcome", "require_approval"),
        ("/audit/decision/raw", "approval_required"),
        ("/audit/decision/reason", "write_needs_approval"),
        ("/audit/decision/phase", "pre_exec"),
        ("/audit/action/key", "refund.create:1042"),
        ("/audit/action/scope", "tenant"),
        ("/audit/action/args_hash", "sha256:9f86d0"),
        ("/audit/policy/layer", "tenant"),
        ("/audit/claims/tenant_id", "t_42"),
        ("/audit/actor/id", "support-agent"),
        ("/event/action", "refund.create"),
    ] {
        assert_eq!(entry.pointer(path), Some(&json!(value)), "{path} in {audit}");
    }
}

#[tokio::test]
async fn s2_2_before_and_after_are_one_action_and_allow_is_recorded_like_stop() {
    let server = told(&[&refund_chain()]).await;
    let story = server.get("/api/v1/traces/run_981").await;
    let [done, stopped] = &list(&story, "actions")[..] else { panic!("{story:#}") };
    assert_eq!((&done["state"], &stopped["state"]), (&json!("executed"), &json!("blocked")));
    assert_eq!(done["phases"], json!(["pre_exec", "post_exec"]));
    assert_eq!((&done["outcome"], &done["result"]), (&json!("success"), &json!("ok")));
    assert_eq!(done["decision"]["reason"], "approved");
    assert_eq!(stopped["decision"]["reason"], "rate_limited_tenant");
    assert_eq!(codes(&story), [] as [&str; 0]);
}

#[tokio::test]
async fn s2_3_the_chain_of_an_approval_is_four_entries_of_one_action() {
    let server = told(&[&refund_chain()[..4]]).await;
    let story = server.get("/api/v1/traces/run_981").await;
    let action = &list(&story, "actions")[0];
    let chain: Vec<(&str, &str)> = list(action, "chain")
        .iter()
        .map(|step| (step["raw"].as_str().unwrap_or("-"), step["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        chain,
        [
            ("approval_required", "require_approval"),
            ("approval_granted", "approved"),
            ("allow", "allow"),
            ("ok", "success")
        ]
    );
    assert_eq!(list(action, "entries").len(), 4);
    assert_eq!(action["approval"]["resolved_by"], "manager-2");
}

#[tokio::test]
async fn s2_4_what_is_sent_again_is_one_entry_and_a_key_that_ran_twice_is_noted() {
    let server = told(&[&refund_chain(), &refund_chain()]).await;
    assert_eq!(search(&server, "run_id:run_981").await.len(), 5, "a resend is the same entry");
    let again = [
        journal(6, "pre_exec", "allow", json!({})),
        journal(7, "post_exec", "allow", json!({"result": "ok"})),
    ];
    send(&server, "governed-agent", &again).await;
    let story = server.get("/api/v1/traces/run_981").await;
    let attempts: Vec<_> =
        list(&story, "actions").iter().map(|action| &action["attempt"]).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(codes(&story), ["action_repeated"]);
}

#[tokio::test]
async fn s2_5_the_words_of_the_configuration_are_taken_and_the_truth_is_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("audit.yaml");
    let words = "audit:\n  sink: append_only\n  retention_days: 180\n  redact_fields: [\"email\", \"phone\", \"card_number\"]\n  hash_args: true\n  sign_events: true\n";
    std::fs::write(&file, words).unwrap();
    let running = start_with(&["--config", file.to_str().unwrap()]).await;
    let args = journal(
        1,
        "pre_exec",
        "allow",
        json!({"email": "a@example.com", "args": "{\"order\":1042}"}),
    );
    send(&running, "governed-agent", &[args]).await;
    let entry = one(&running, "run_id:run_981").await;
    let text = entry.to_string();
    assert!(!text.contains("a@example.com") && !text.contains("1042}"), "{text}");
    let log = running.stderr();
    assert!(log.contains("184 days"), "180 days are too few for six months: {log}");
    assert!(log.contains("sign_events") && log.contains("not signed"), "{log}");
}

#[tokio::test]
async fn s2_6_an_alert_reaches_a_webhook_that_was_down_and_keeps_nobody_waiting() {
    use axum::Router;
    use axum::routing::post;
    let (posted, mut received) = tokio::sync::mpsc::unbounded_channel();
    let failures = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hook = move |body: String| {
        let (posted, failures) = (posted.clone(), failures.clone());
        async move {
            // Down twice, then up again.
            if failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 {
                return axum::http::StatusCode::SERVICE_UNAVAILABLE;
            }
            posted.send(body).unwrap();
            axum::http::StatusCode::OK
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/hook", post(hook));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, format!("http://{address}/hook\n")).unwrap();
    let file = folder.path().join("alerts.yaml");
    let words = format!(
        "alerts:\n  - {{name: blocked, query: 'decision:block', url: {{file: {}}}, format: slack}}\n",
        secret.display()
    );
    std::fs::write(&file, words).unwrap();
    let running = start_with(&["--config", file.to_str().unwrap()]).await;
    send(&running, "support-agent", &refund_chain()).await;
    let body = tokio::time::timeout(DEADLINE, received.recv()).await.unwrap().unwrap();
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        message["text"],
        "🔔 support-agent decision=stop, reason=rate_limited_tenant, tenant=t_42, run_id=run_981"
    );
    let counted = look_until(DEADLINE, async || {
        (running.metric("spanledger_alerts_told_total").await == 1).then_some(())
    });
    assert!(counted.await.is_some());
    assert_eq!(running.metric("spanledger_alert_failures_total").await, 2);
    let log = running.stderr();
    assert!(!log.contains("/hook"), "the address is a secret: {log}");
}

#[tokio::test]
async fn s2_7_audit_is_apart_from_debug_and_found_by_run_tenant_and_reason() {
    let debug = log(0, 1, "debug", json!({"level": "debug", "message": "retrying rate_limited"}));
    let server = told(&[&refund_chain(), &policy_changes()]).await;
    let (path, body) = request("governed-agent", "internal.retry", &[debug]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = client.post(format!("http://{}{path}", server.http())).json(&body).send().await;
    assert_eq!(sent.unwrap().status(), 200);
    for (query, count) in [
        ("run_id:run_981", 5),
        ("tenant_id:t_42", 5),
        ("reason:rate_limited_tenant", 1),
        ("kind:log", 1),
        ("kind:(decision OR approval) AND actor:support-agent", 5),
    ] {
        assert_eq!(search(&server, query).await.len(), count, "{query}");
    }
    for change in search(&server, "kind:(policy_change OR change)").await {
        assert!(change["audit"]["actor"]["id"].is_string(), "{change}");
    }
}

#[tokio::test]
async fn s4_1_a_change_says_path_before_after_actor_and_time() {
    let server = told(&[&policy_changes()]).await;
    let change = one(&server, "kind:change").await;
    assert_eq!(
        change["audit"]["change"],
        json!([{"path": "rules[1].conditions[0].value", "before": "enterprise", "after": "pro"}])
    );
    assert_eq!(change["audit"]["actor"]["id"], "bob");
    assert_eq!(change["audit"]["target"]["id"], "flag:bot-management");
    assert!(change["@timestamp"].as_str().unwrap().starts_with("2026-04-01T14:10:35"));
}

#[tokio::test]
async fn s4_4_the_human_and_the_agent_are_both_on_entry_and_action() {
    let server = told(&[&refund_chain()]).await;
    for entry in search(&server, "run_id:run_981").await {
        assert_eq!(entry["user"]["id"], "u-77");
        assert_eq!(entry["audit"]["actor"]["id"], "support-agent");
        assert_eq!(entry["audit"]["actor"]["source"], "asserted", "a payload says so");
    }
    let story = server.get("/api/v1/traces/run_981").await;
    assert_eq!(story["actions"][0]["user_id"], "u-77");
    assert_eq!(story["actions"][0]["actor"], "support-agent");
}

#[tokio::test]
async fn s4_6_a_transcript_is_replayed_in_order_with_tokens_and_the_version_of_the_agent() {
    let server = told(&[&spectra_run()]).await;
    let story = server.get("/api/v1/traces/run-7").await;
    let kinds: Vec<_> = list(&story, "entries").iter().map(|e| &e["audit"]["kind"]).collect();
    assert_eq!(kinds, ["workflow_run", "llm_call", "tool_call", "branch", "interrupt", "handoff"]);
    let model = &story["entries"][1];
    assert_eq!(model["gen_ai"]["agent"]["version"], "1.4.2");
    let parts: Vec<_> = list(&model["audit"], "payload").iter().map(|p| &p["kind"]).collect();
    assert_eq!(parts, ["prompt", "response"]);
    let usage = &list(&story, "usage")[0];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(812), &json!(31)));
    assert_eq!(search(&server, "gen_ai.agent.version:1.4.2").await.len(), 1);
}

#[tokio::test]
async fn joins_a_run_an_approval_days_later_and_decisions_of_other_systems() {
    let days = 3 * 24 * 3_600;
    let server = told(&[
        // The orchestrator: only its root knows the id that a person types.
        &[span(
            0x71,
            1,
            "agent",
            json!({"external.trace_id": "langsmith-run-abc123",
            "spanledger.run_id": "run-join"}),
        )],
        // A policy engine that logs the W3C trace and nothing else.
        &[log(
            0x71,
            2,
            "decision",
            json!({"spanledger.decision.outcome": "require_approval",
            "spanledger.decision.id": "opa-1", "spanledger.approval.id": "apr-1",
            "spanledger.policy.rule_id": "refunds"}),
        )],
        // A person's answer days later, and what ran after it under a new trace.
        &[log(
            0,
            days,
            "approval",
            json!({"spanledger.approval.id": "apr-1",
            "spanledger.approval.status": "approved", "spanledger.approval.resolved_by": "lead"}),
        )],
        &[Told {
            second: days + 5,
            ..span(
                0x72,
                1,
                "resumed",
                json!({"spanledger.run_id": "run-join",
            "spanledger.job_id": "job-join"}),
            )
        }],
        // A system that knows only the job.
        &[log(
            0,
            days + 9,
            "siem",
            json!({"spanledger.job_id": "job-join",
            "spanledger.decision.outcome": "allow", "spanledger.policy.rule_id": "siem-1"}),
        )],
    ])
    .await;
    for id in ["langsmith-run-abc123", "run-join", "job-join", "opa-1", "apr-1"] {
        let story = server.get(&format!("/api/v1/traces/{id}")).await;
        assert_eq!(story["total"], 5, "{id}: {story:#}");
        assert_eq!(story["approvals"][0]["approval_status"], "approved", "{id}");
    }
    // One freeform id, many workflows.
    let workflows = [0x73_u8, 0x74].map(|trace| {
        span(
            trace,
            1,
            "workflow_created",
            json!({"workflow_id": format!("wf-{trace}"),
            "trace_id": "one-to-many", "request_type": "workflow_created"}),
        )
    });
    send(&server, "governance", &workflows).await;
    let story = server.get("/api/v1/traces/one-to-many").await;
    assert_eq!(story["total"], 2, "{story:#}");
}

/// Every `GET` in docs/api.md is asked of a server that was told the stories which the page names.
#[tokio::test]
async fn each_example_of_the_documentation_of_the_api_is_answered() {
    let stories = [
        decision_record(),
        job_ended(),
        refund_chain(),
        spectra_run(),
        policy_changes(),
        blocked_pipeline(),
    ];
    let server = told(&stories.each_ref().map(Vec::as_slice)).await;
    let page = include_str!("../docs/api.md");
    let examples: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("GET ")).collect();
    assert!(examples.len() > 12, "{examples:?}");
    for path in examples {
        let path = path.replace(' ', "%20").replace('"', "%22");
        let answer = server.get(&path).await;
        assert!(answer.is_object(), "{path}");
        let filled = ["items", "entries", "decisions", "actions", "id"];
        let says = filled.iter().any(|name| match &answer[*name] {
            Value::Array(items) => !items.is_empty(),
            Value::String(_) => true,
            _ => false,
        });
        assert!(says || path.contains("approvals?include_resolved=false"), "{path}: {answer}");
    }
}
