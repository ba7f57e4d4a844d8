//! The checklist of what evidence must answer, line by line, against the built binary over real
//! sockets: the runtime's journal, alerts, changes, transcripts, joins, and the examples of docs/api.md.
//! A name begins with the line that it holds.

mod support;

use serde_json::{Value, json};
use support::governed::{codes, list, one, search, send, start_with, told};
use support::server::{DEADLINE, look_until, wait_until};
use support::stories::{
    Told, blocked_pipeline, decision_record, job_ended, journal, log, policy_changes, refund_chain,
    request, span, spectra_run,
};
use tempfile::TempDir;

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
    let sequence = entry["event"]["sequence"].as_u64().unwrap();
    let log = spanledger::ledger::PublicLog::open(&running.data().join("log"));
    let signed = || log.checkpoint().unwrap().is_some_and(|it| it.checkpoint.head.size > sequence);
    wait_until("a signed checkpoint covers the entry", signed).await;
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
            // Down for a while, then up again.
            if failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 6 {
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
        "🔔 support-agent decision=stop, reason=rate_limited_tenant, tenant=default, claims_tenant=t_42, run_id=run_981"
    );
    let counted = look_until(DEADLINE, async || {
        (running.metric("spanledger_alerts_told_total").await == 1).then_some(())
    });
    assert!(counted.await.is_some());
    assert_eq!(running.metric("spanledger_alert_failures_total").await, 6);
    assert_eq!(running.metric("spanledger_alerts_not_told_total").await, 0);
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
