//! What an agent did is what a reader sees, field by field.

use crate::reader::{RUN, agent, assert_has, entries, hex, one, over_grpc, payload, spooled};
use crate::support::server::{DEADLINE, Server};
use serde_json::{Value, json};
use spanledger::layer::{
    Approval, ApprovalStatus, Change, Decision, Handoff, Interrupt, ModelCall, Outcome, Receipt,
    ToolCall, Why, audited, gate,
};
use spanledger::{audit_span, decision, record};
use tempfile::TempDir;
use tracing::{Instrument as _, info, info_span};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_did_is_what_a_reader_sees_field_by_field() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let (handle, _guard) = agent(spooled(&folder.path().join("spool")), over_grpc(&server));
    let root = info_span!(
        "invoke_agent",
        trace_id = RUN,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "refund-agent",
        tenant = "acme",
        run_id = "run-7",
        user_id = "customer-4711",
    );
    let (asked, approved) = refund().instrument(root).await;
    let delivery = handle.shutdown(DEADLINE).await;
    assert!(delivery.complete, "{delivery:?}");

    let all = entries(&server, &format!("trace_id:{RUN}"), 14).await;
    assert_eq!(all.len(), 14, "{all:#?}");
    let run = one(&all, "agent_run", "invoke_agent");
    let root = &run["span"]["id"];
    for entry in &all {
        assert_has(
            entry,
            &json!({
                "trace": {"id": run["trace"]["id"]},
                "service": {"name": "refund-agent", "instance_id": handle.instance()},
                "user": {"id": "customer-4711"},
                "audit": {
                    "external": {"trace_id": [RUN]},
                    "run": {"id": "run-7"},
                    "claims": {"tenant_id": "acme"},
                },
            }),
        );
    }

    let call = one(&all, "llm_call", "chat gpt-4.1");
    assert_has(
        call,
        &json!({
            "span": {"parent_id": root, "name": "chat gpt-4.1", "kind": "client"},
            "gen_ai": {
                "provider": {"name": "openai"},
                "request": {"model": "gpt-4.1"},
                "usage": {"input_tokens": 1234, "output_tokens": 56},
            },
        }),
    );
    assert_eq!(*payload(call, "prompt"), r#"[{"role":"user","content":"refund me"}]"#);
    let said = one(&all, "log", "the model asks for the tool");
    assert_has(
        said,
        &json!({"span": {"id": call["span"]["id"]}, "audit": {"step": {"id": "ask"}}}),
    );

    the_decision_is_on_record_as_its_receipt_says(&all, root, (asked, approved));
    the_tool_calls_are_there(&all, root);
    what_was_recorded_by_itself_is_there(&all, root);
}

/// What the agent of this test does; the receipts of its decision and its approval.
async fn refund() -> (Receipt, Receipt) {
    info_span!(
        "chat",
        otel.name = "chat gpt-4.1",
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = "gpt-4.1",
        gen_ai.usage.input_tokens = 1234,
        gen_ai.usage.output_tokens = 56_u64,
        gen_ai.input.messages = r#"[{"role":"user","content":"refund me"}]"#
    )
    .in_scope(|| info!(target: "audit", step_id = "ask", "the model asks for the tool"));
    let span = audit_span!("policy.gate", step_id = "gate");
    let inside = async {
        let wanted = Decision::new(Outcome::RequireApproval)
            .id("decision-1")
            .reason("more than 500 €")
            .phase("pre_exec")
            .source("refund-agent")
            .confidence(0.9)
            .policy_id("refunds")
            .rule_id("large-amounts")
            .policy_version("7")
            .policies_evaluated(vec!["refunds".to_owned(), "limits".to_owned()])
            .action("refund.create")
            .action_key("refund-740")
            .scope("user")
            .actor("refund-agent")
            .tool("issue_refund")
            .arguments(&json!({"amount": 740}));
        let held = gate(740).decide(wanted).await.unwrap_err();
        assert!(held.needs_approval(), "{held}");
        let Why::Decided(_, receipt) = *held.why() else { panic!("{held}") };
        let answer = Approval::new(ApprovalStatus::Approved)
            .id("approval-1")
            .decision_id("decision-1")
            .resolved_by("ops-lead@example.com")
            .resolved_at("2026-11-21T08:00:00Z")
            .comment("agreed with the customer");
        let cleared = held.answered(answer).await.unwrap();
        let approved = cleared.receipt();
        let amount = cleared.act();
        let arguments = json!({"amount": amount, "currency": "EUR"});
        let refund = async { Ok::<_, std::io::Error>(json!({"refund": "r-1"})) };
        audited("issue_refund", &arguments, refund).await.unwrap();
        (receipt, approved)
    };
    let receipts = inside.instrument(span.clone()).await;
    span.record("decision", "allow");
    span.record("approved_by", "ops-lead@example.com");
    drop(span);
    let mail = async { Err::<(), _>("no route") };
    audited("send_mail", &json!({"to": "customer"}), mail).await.unwrap_err();
    decision!(
        "block",
        reason = "a second refund",
        policy_id = "refunds",
        rule_id = "once",
        action = "refund.create",
        tool = "issue_refund"
    );
    record(Handoff::new("refund-agent", "billing").intent("book it").context(&json!({"r": 1})))
        .await
        .unwrap();
    record(
        Interrupt::new("needs a receipt")
            .thread_id("t-1")
            .responder("eve")
            .response(&json!({"yes": true})),
    )
    .await
    .unwrap();
    record(
        Change::between(
            "policy refunds",
            &json!({"limit": 500, "teams": ["a"]}),
            &json!({"limit": 900, "teams": ["a", "b"]}),
        )
        .actor("eve")
        .action("policy.edit"),
    )
    .await
    .unwrap();
    record(ToolCall::new("lookup").id("call-1").arguments(&json!({"q": 1})).result(&json!([7])))
        .await
        .unwrap();
    record(
        ModelCall::new("chat", "gpt-4.1")
            .provider("openai")
            .input_tokens(7)
            .output_tokens(8)
            .prompt(&"hello")
            .response(&"hi"),
    )
    .await
    .unwrap();
    receipts
}

fn the_decision_is_on_record_as_its_receipt_says(
    all: &[Value],
    root: &Value,
    (asked, approved): (Receipt, Receipt),
) {
    let span = one(all, "decision", "policy.gate");
    assert_has(
        span,
        &json!({
            "span": {"parent_id": root},
            "audit": {
                "decision": {"outcome": "allow"},
                "approval": {"resolved_by": "ops-lead@example.com"},
                "step": {"id": "gate"},
            },
        }),
    );
    let place = |receipt: Receipt| json!({"sequence": receipt.sequence, "hash": hex(receipt)});
    let decisions = all.iter().filter(|it| it["audit"]["decision"]["id"] == "decision-1");
    let decision = decisions.clone().find(|it| it["audit"]["kind"] == "decision").unwrap();
    assert_has(
        decision,
        &json!({
            "event": place(asked),
            "span": {"id": span["span"]["id"]},
            "audit": {
                "decision": {
                    "outcome": "require_approval", "reason": "more than 500 €",
                    "phase": "pre_exec", "source": "refund-agent", "confidence": 0.9,
                },
                "policy": {
                    "id": ["refunds"], "rule_id": "large-amounts", "version": "7",
                    "evaluated": ["refunds", "limits"],
                },
                "action": {"key": "refund-740", "scope": "user"},
                "actor": {"id": "refund-agent"},
                "step": {"id": "gate"},
            },
            "gen_ai": {"tool": {"name": "issue_refund"}},
        }),
    );
    assert_eq!(decision["event"]["action"], "refund.create");
    assert_eq!(*payload(decision, "arguments"), r#"{"amount":740}"#);
    let approval = one(all, "approval", "human.approval");
    assert_has(
        approval,
        &json!({
            "event": place(approved),
            "audit": {
                "decision": {"id": "decision-1"},
                "approval": {
                    "id": "approval-1", "status": "approved",
                    "resolved_by": "ops-lead@example.com",
                    "resolved_at": "2026-11-21T08:00:00Z", "comment": "agreed with the customer",
                },
                "actor": {"id": "ops-lead@example.com", "type": "user"},
            },
        }),
    );
    let blocked = all.iter().find(|it| it["audit"]["decision"]["outcome"] == "block").unwrap();
    assert_has(
        blocked,
        &json!({
            "span": {"id": root},
            "event": {"action": "refund.create"},
            "audit": {
                "kind": "decision",
                "decision": {"reason": "a second refund"},
                "policy": {"id": ["refunds"], "rule_id": "once"},
            },
            "gen_ai": {"tool": {"name": "issue_refund"}},
        }),
    );
}

fn the_tool_calls_are_there(all: &[Value], root: &Value) {
    let gate = one(all, "decision", "policy.gate");
    let sent = one(all, "tool_call", "execute_tool issue_refund");
    assert_has(
        sent,
        &json!({
            "event": {"outcome": "success"},
            "span": {"parent_id": gate["span"]["id"], "status": "ok"},
            "gen_ai": {"tool": {"name": "issue_refund"}},
            "audit": {"actor": {"id": "refund-agent", "type": "agent"}, "step": {"id": "gate"}},
        }),
    );
    assert_eq!(*payload(sent, "arguments"), r#"{"amount":740,"currency":"EUR"}"#);
    assert_eq!(*payload(sent, "result"), r#"{"refund":"r-1"}"#);
    let failed = one(all, "tool_call", "execute_tool send_mail");
    assert_has(
        failed,
        &json!({
            "event": {"outcome": "failure"},
            "span": {"parent_id": root, "status": "error"},
            "error": {"message": "no route", "type": "&str"},
        }),
    );
}

fn what_was_recorded_by_itself_is_there(all: &[Value], root: &Value) {
    let handoff = one(all, "handoff", "agent.handoff");
    assert_has(
        handoff,
        &json!({
            "span": {"id": root},
            "audit": {"handoff": {
                "source": "refund-agent", "target": "billing", "intent": "book it",
            }},
        }),
    );
    assert_eq!(*payload(handoff, "input"), r#"{"r":1}"#);
    assert_has(
        one(all, "interrupt", "human.interrupt"),
        &json!({"audit": {
            "interrupt": {
                "reason": "needs a receipt", "responder": "eve", "response": r#"{"yes":true}"#,
            },
            "session": {"thread_id": "t-1"},
        }}),
    );
    assert_has(
        one(all, "change", "policy.edit"),
        &json!({"audit": {
            "actor": {"id": "eve"},
            "target": {"id": "policy refunds"},
            "change": [
                {"path": "limit", "before": 500, "after": 900},
                {"path": "teams[1]", "after": "b"},
            ],
        }}),
    );
    let lookup = one(all, "tool_call", "tool.call");
    assert_has(lookup, &json!({"gen_ai": {"tool": {"name": "lookup", "call": {"id": "call-1"}}}}));
    assert_eq!(*payload(lookup, "result"), "[7]");
    let call = one(all, "llm_call", "llm.call");
    assert_has(call, &json!({"gen_ai": {"usage": {"input_tokens": 7, "output_tokens": 8}}}));
    assert_eq!(
        (payload(call, "prompt"), payload(call, "response")),
        (&json!("hello"), &json!("hi"))
    );
}
