//! AxonFlow's published client for Python, unmodified: what it reports is recorded, what it asks
//! is forwarded and recorded or refused, and what it reads back is what was recorded.
#![cfg(feature = "server")]

#[path = "support/deciding_upstream.rs"]
mod deciding_upstream;
mod support;

use deciding_upstream::DecidingUpstream;
use serde_json::{Value, json};
use std::fs;
use support::clients::{command, is_skipped};
use support::server::Server;

/// What a run of the client printed.
struct Run {
    trace_id: String,
    workflow_id: String,
    calls: Value,
}

impl Run {
    /// What a call returned.
    fn returned(&self, call: &str) -> &Value {
        let result = &self.calls[call];
        assert!(result.get("returned").is_some(), "{call}: {result}");
        &result["returned"]
    }

    /// The class of what a call raised, and its words.
    fn raised(&self, call: &str) -> (&str, &str) {
        let result = &self.calls[call];
        let text = |name: &str| result[name].as_str().unwrap_or_else(|| panic!("{call}: {result}"));
        (text("raised"), text("message"))
    }

    /// What the workflow's entries are, in the order of its story.
    async fn story(&self, server: &Server) -> Vec<Value> {
        let story = server.get(&format!("/api/v1/traces/{}", self.workflow_id)).await;
        story["entries"].as_array().unwrap().clone()
    }
}

async fn run(server: &Server, name: &str, environment: &[(&str, &str)]) -> Run {
    let mut client = command("axonflow");
    client
        .arg(name)
        .env("AXONFLOW_AGENT_URL", format!("http://{}", server.api()))
        .env("AXONFLOW_TELEMETRY", "off")
        .envs(environment.iter().copied());
    // The upstream of the test answers on this very thread meanwhile.
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}\n{}", server.stderr());
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let line: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    Run {
        trace_id: text("trace_id"),
        workflow_id: text("workflow_id"),
        calls: line["calls"].clone(),
    }
}

fn client_is_skipped() -> bool {
    let skipped = is_skipped("axonflow");
    if skipped {
        println!("axonflow: skipped, SPANLEDGER_SKIP_CLIENTS names it");
    }
    skipped
}

/// A server that asks this upstream, in a folder.
async fn with_upstream(folder: &tempfile::TempDir, upstream: &DecidingUpstream) -> Server {
    let config = folder.path().join("config.yaml");
    let text =
        format!("axonflow:\n  upstream:\n    url: {}\n    pass_credentials: true\n", upstream.url);
    fs::write(&config, text).unwrap();
    let data = folder.path().join("data");
    Server::start_with(&data, &["--config", config.to_str().unwrap()]).await
}

/// Operations of these entries, in their order.
fn operations(entries: &[Value]) -> Vec<&str> {
    let operation = |entry: &Value| -> Option<String> {
        Some(entry["audit"]["request_type"].as_str()?.to_owned())
    };
    assert!(entries.iter().all(|entry| operation(entry).is_some()), "{entries:#?}");
    entries.iter().map(|entry| entry["audit"]["request_type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn s3_4_what_the_client_reports_is_recorded_and_read_back_by_it() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let run = run(&server, "record", &[("USER_TOKEN", "e30.eyJzdWIiOiJ1LTc3In0.c2ln")]).await;

    let made = run.returned("create");
    assert_eq!((&made["status"], &made["trace_id"]), (&json!("in_progress"), &json!(run.trace_id)));
    for call in [
        "step completed",
        "step completed again",
        "step completed bare",
        "complete",
        "complete again",
        "abort",
        "abort again",
        "fail",
    ] {
        assert_eq!(run.returned(call), &Value::Null, "{call}");
    }
    assert_eq!(run.raised("step completed otherwise").0, "IdempotencyKeyMismatchError");
    for call in ["abort what is complete", "complete what is aborted"] {
        let (class, words) = run.raised(call);
        assert!(class == "AxonFlowError" && words.contains("409"), "{call}: {class} {words}");
    }
    for call in ["step of nothing", "fail unknown", "get unknown", "explain unknown"] {
        let (class, words) = run.raised(call);
        assert!(words.contains("404"), "{call}: {class} {words}");
    }
    let audit = run.returned("tool call");
    assert_eq!(audit["status"], "recorded");
    let path = format!("/api/v1/entries?q=id:{}", audit["audit_id"].as_str().unwrap());
    let found = server.get(&path).await;
    let entry = &found["entries"][0];
    assert_eq!(entry["gen_ai"]["tool"]["name"], "lookup_order");
    assert_eq!(entry["audit"]["workflow"]["name"], "refund-agent");
    assert_eq!(entry["audit"]["external"]["trace_id"], json!([run.trace_id]));
    assert_eq!(run.returned("llm call")["success"], true);

    let read = run.returned("get");
    assert_eq!(
        (&read["status"], &read["workflow_name"]),
        (&json!("completed"), &json!("refund-agent"))
    );
    assert_eq!(read["metadata"], json!({"order_id": "1042"}));
    assert_eq!(read["steps"], json!([]), "nobody decided about a step");
    assert_eq!(run.returned("list")["total"], 3);
    let of_trace = run.returned("list by trace");
    assert_eq!(
        (&of_trace["total"], &of_trace["workflows"][0]["workflow_id"]),
        (&json!(1), &json!(run.workflow_id))
    );
    assert_eq!(run.returned("list by other trace")["workflows"], json!([]));
    let searched = run.returned("search");
    assert_eq!(
        (&searched["total"], searched["entries"].as_array().unwrap().len()),
        (&json!(11), 11)
    );
    assert_eq!(run.returned("search in time")["entries"].as_array().unwrap().len(), 1);
    assert_eq!(run.returned("search blocked")["entries"], json!([]));
    assert_eq!(run.returned("search nothing")["entries"], json!([]));
    assert_eq!(run.returned("tenant")["entries"].as_array().unwrap().len(), 5);
    assert_eq!(run.returned("other tenant")["entries"], json!([]));
    assert_eq!(
        run.returned("decisions"),
        &json!([]),
        "nothing was decided, so nothing is invented"
    );
    assert_eq!(run.returned("health"), true);
    assert_eq!(run.returned("health detailed")["service"], "spanledger");
    server.terminate().await;
}

#[tokio::test]
async fn s3_2_every_entry_of_a_workflow_says_whose_it_is_and_where_it_belongs() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let run = run(&server, "record", &[("USER_TOKEN", "e30.eyJzdWIiOiJ1LTc3In0.c2ln")]).await;
    let path = format!("/api/v1/entries?q=workflow_id:{}&order=oldest", run.workflow_id);
    let entries = server.get(&path).await["entries"].as_array().unwrap().clone();
    let wanted = [
        "workflow_created",
        "workflow_step_completed",
        "workflow_step_completed",
        "tool_call_audit",
        "workflow_completed",
    ];
    assert_eq!(operations(&entries), wanted);
    for entry in &entries {
        let audit = &entry["audit"];
        assert_eq!(audit["workflow"]["id"], json!(run.workflow_id), "{entry}");
        assert_eq!(audit["workflow"]["name"], "refund-agent", "{entry}");
        assert_eq!(audit["workflow"]["source"], "langgraph", "{entry}");
        assert_eq!(audit["external"]["trace_id"], json!([run.trace_id]), "{entry}");
        assert_eq!(audit["claims"]["client_id"], "acme", "{entry}");
        assert_eq!(entry["user"]["id"], "u-77", "{entry}");
        assert_eq!(entry["organization"]["id"], "default", "{entry}");
        assert!(!entry.to_string().contains("e30."), "the token is on record: {entry}");
    }
    assert_eq!(entries[1]["audit"]["step"]["id"], "s1");
    assert_eq!(entries[1]["gen_ai"]["usage"]["input_tokens"], 112);
    assert_eq!(entries[4]["audit"]["workflow"]["total_steps"], 2);
    server.terminate().await;
}

#[tokio::test]
async fn without_an_upstream_every_call_that_asks_for_a_decision_is_refused_with_the_remedy() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let run = run(&server, "ask", &[]).await;
    for call in [
        "gate",
        "approve",
        "reject",
        "resume",
        "checkpoints",
        "resume from last",
        "resume from",
        "pre-check",
    ] {
        let (class, words) = run.raised(call);
        assert!(
            words.contains("501") && words.contains("axonflow: upstream"),
            "{call}: {class} {words}"
        );
    }
    assert_eq!(run.returned("get")["steps"], json!([]), "no decision is on record");
    server.terminate().await;
}

#[tokio::test]
async fn with_an_upstream_every_call_works_and_what_was_decided_is_on_record() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let upstream = DecidingUpstream::start().await;
    let server = with_upstream(&folder, &upstream).await;
    let run = run(&server, "decide", &[]).await;
    assert_eq!(run.workflow_id, "wf-upstream-refund-agent", "both know it by one id");
    assert_eq!(run.returned("gate")["decision"], "allow");
    assert_eq!(run.returned("gate refund")["decision"], "require_approval");
    assert_eq!(run.returned("gate blocked")["decision"], "block");
    assert_eq!(run.raised("gate mismatch").0, "IdempotencyKeyMismatchError");
    assert_eq!(run.returned("approve")["status"], "approved");
    assert_eq!(run.returned("reject")["status"], "rejected");
    assert_eq!(run.returned("checkpoints")["checkpoints"][0]["id"], 1);
    for call in ["resume from last", "resume from"] {
        assert_eq!(run.returned(call)["new_decision"], "allow", "{call}");
    }
    assert_eq!(run.returned("pre-check")["approved"], true);
    let before = run.returned("pending before");
    assert_eq!(
        (&before["pending_approvals"][0]["step_id"], &before["count"]),
        (&json!("s2"), &json!(1))
    );
    assert_eq!(run.returned("pending")["count"], 0);

    let read = run.returned("get");
    assert_eq!(read["status"], "completed");
    let steps: Vec<_> = read["steps"].as_array().unwrap().iter().collect();
    let decided: Vec<_> = steps.iter().map(|step| (&step["step_id"], &step["decision"])).collect();
    let (s1, s2, s3) = (json!("s1"), json!("s2"), json!("s3"));
    let (allow, ask, block) = (json!("allow"), json!("require_approval"), json!("block"));
    assert_eq!(decided, [(&s1, &allow), (&s2, &ask), (&s3, &block)]);
    assert_eq!(
        (&steps[1]["approval_status"], &steps[2]["approval_status"]),
        (&json!("approved"), &json!("rejected"))
    );
    assert_eq!(steps[0]["step_type"], "llm_call");

    let explained = run.returned("explain");
    assert_eq!(
        (&explained["decision"], &explained["reason"]),
        (&json!("needs_approval"), &json!("refund > 50"))
    );
    assert_eq!(explained["policy_matches"][0]["policy_id"], "pol_b");
    assert_eq!(
        run.returned("decisions").as_array().unwrap().len(),
        4,
        "three gates and a pre-check"
    );
    assert_eq!(run.returned("decisions blocked").as_array().unwrap().len(), 1);
    let blocked = run.returned("search blocked")["entries"].as_array().unwrap().clone();
    assert!(blocked.iter().any(|entry| entry["policy_decision"] == "blocked"), "{blocked:?}");

    let passed: Vec<_> = upstream.asked().into_iter().map(|asked| asked.headers).collect();
    assert!(passed.iter().all(|headers| headers.contains_key("authorization")), "as configured");
    server.terminate().await;
}

/// The example of the tracing guide: a pipeline of three steps whose second one is blocked.
#[tokio::test]
async fn s3_5_the_five_entries_of_the_data_pipeline_come_out_in_order() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let upstream = DecidingUpstream::start().await;
    let server = with_upstream(&folder, &upstream).await;
    let run = run(&server, "pipeline", &[]).await;
    let story = run.story(&server).await;
    let wanted = [
        "workflow_created",
        "workflow_step_gate",
        "workflow_step_completed",
        "workflow_step_gate",
        "workflow_aborted",
    ];
    assert_eq!(operations(&story), wanted);
    let of_trace = server.get(&format!("/api/v1/traces/{}", run.trace_id)).await;
    assert_eq!(of_trace["entries"], json!(story), "one story by either id");

    // The newest first, as AxonFlow's audit log has them.
    let found = run.returned("search")["entries"].as_array().unwrap();
    let found: Vec<_> = found.iter().rev().map(|entry| &entry["request_type"]).collect();
    assert_eq!(found, wanted.map(|word| json!(word)).iter().collect::<Vec<_>>());
    let [created, gate, completed, blocked, aborted] = &story[..] else { panic!("{story:#?}") };
    let (created, completed) = (&created["audit"], &completed["audit"]);
    assert_eq!(
        (&created["workflow"]["name"], &created["workflow"]["source"]),
        (&json!("data-pipeline"), &json!("langgraph"))
    );
    assert_eq!(created["external"]["trace_id"], json!([run.trace_id]));
    let policies =
        |entry: &Value, which: &str| entry["audit"]["policy"][which].as_array().map(Vec::len);
    assert_eq!(
        gate["audit"]["step"],
        json!({"id": "step-1-extract-data", "name": "extract-data", "type": "connector_call"})
    );
    assert_eq!(gate["audit"]["decision"]["outcome"], "allow");
    assert_eq!((policies(gate, "evaluated"), policies(gate, "matched").unwrap_or(0)), (Some(3), 0));
    assert_eq!(
        (&completed["step"]["name"], &completed["step"]["id"]),
        (&json!("extract-data"), &json!("step-1-extract-data"))
    );
    assert_eq!(
        (&blocked["audit"]["step"]["name"], &blocked["gen_ai"]["request"]["model"]),
        (&json!("transform-with-gpt4"), &json!("gpt-4"))
    );
    assert_eq!((policies(blocked, "evaluated"), policies(blocked, "matched")), (Some(3), Some(1)));
    assert_eq!(blocked["audit"]["decision"]["raw"], "block");
    let reason = "Step transform-with-gpt4 blocked: GPT-4 not allowed in production workflows";
    assert_eq!(aborted["event"]["reason"], reason);
    server.terminate().await;
}

#[tokio::test]
async fn the_adapter_for_langgraph_runs_a_whole_graph() {
    if client_is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let upstream = DecidingUpstream::start().await;
    let server = with_upstream(&folder, &upstream).await;
    let run = run(&server, "langgraph", &[]).await;
    assert_eq!((run.returned("gate"), run.returned("tool gate")), (&json!(true), &json!(true)));
    assert_eq!(run.raised("blocked tool").0, "WorkflowBlockedError");
    assert_eq!(run.raised("waiting tool").0, "WorkflowApprovalRequiredError");
    assert_eq!(run.returned("approved"), true, "who waits for an approval sees it");
    let read = run.returned("get");
    assert_eq!(
        (&read["status"], read["steps"].as_array().unwrap().len()),
        (&json!("completed"), 4)
    );
    let tools = run
        .story(&server)
        .await
        .into_iter()
        .filter(|entry| entry["gen_ai"]["tool"]["name"] == "drop_table");
    assert_eq!(tools.count(), 1, "the tool that was blocked is named");
    server.terminate().await;
}
