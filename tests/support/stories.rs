//! OTLP requests in JSON that tell the stories of the documents: a decision record, a runtime's
//! journal, a blocked pipeline, a run of Spectra, policies that change.

use serde_json::{Map, Value, json};

/// 2026-04-01T14:10:32Z, the time of the example of a decision record.
pub const START_NS: u64 = 1_775_052_632_000_000_000;

/// A span or log record before it is written down as OTLP.
#[derive(Debug, Clone)]
pub struct Told {
    /// Name of the span, or of the event of a log record.
    pub name: String,
    /// Trace and span: numbers that become ids; log records may have no trace.
    pub trace: u8,
    /// Number of the span.
    pub span: u8,
    /// Number of the parent; 0 for none.
    pub parent: u8,
    /// Seconds after the start of the story.
    pub second: u64,
    /// What it says.
    pub attributes: Value,
    /// A log record, with this body.
    pub body: Option<Value>,
}

/// A span in the trace of that number.
pub fn span(trace: u8, number: u8, name: &str, attributes: Value) -> Told {
    Told {
        name: name.to_owned(),
        trace,
        span: number,
        parent: u8::from(number != 1),
        second: u64::from(number),
        attributes,
        body: None,
    }
}

/// A log record.
pub fn log(trace: u8, second: u64, name: &str, attributes: Value) -> Told {
    let body = Some(json!(name));
    Told { name: name.to_owned(), trace, span: 0, parent: 0, second, attributes, body }
}

/// Attributes of one joined to those of another.
pub fn and(mut a: Value, b: Value) -> Value {
    let (Value::Object(into), Value::Object(more)) = (&mut a, b) else { panic!("attributes") };
    into.extend(more);
    a
}

fn any(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Array(items) => {
            json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}})
        }
        Value::Object(map) => json!({"kvlistValue": {"values": pairs(map)}}),
        Value::Null => json!({}),
    }
}

fn pairs(map: &Map<String, Value>) -> Vec<Value> {
    map.iter().map(|(key, value)| json!({"key": key, "value": any(value)})).collect()
}

/// A request of records of one service and scope, as OTLP/JSON, and the path that it is posted to.
pub fn request(service: &str, scope: &str, records: &[Told]) -> (&'static str, Value) {
    let resource =
        json!({"attributes": pairs(json!({"service.name": service}).as_object().unwrap())});
    let time = |told: &Told| START_NS + told.second * 1_000_000_000;
    let common = |told: &Told| {
        let mut record = json!({"attributes": pairs(told.attributes.as_object().unwrap())});
        if told.trace > 0 {
            record["traceId"] = format!("{:02x}", told.trace).repeat(16).into();
        }
        record
    };
    if records[0].body.is_some() {
        let written = records.iter().map(|told| {
            let mut record = common(told);
            record["timeUnixNano"] = time(told).to_string().into();
            record["eventName"] = told.name.clone().into();
            record["body"] = any(told.body.as_ref().unwrap());
            record
        });
        let records: Vec<Value> = written.collect();
        let scoped = json!([{"scope": {"name": scope}, "logRecords": records}]);
        return (
            "/v1/logs",
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": scoped}]}),
        );
    }
    let written = records.iter().map(|told| {
        let mut record = common(told);
        record["spanId"] = format!("{:02x}", told.span).repeat(8).into();
        if told.parent > 0 {
            record["parentSpanId"] = format!("{:02x}", told.parent).repeat(8).into();
        }
        record["name"] = told.name.clone().into();
        record["startTimeUnixNano"] = time(told).to_string().into();
        record["endTimeUnixNano"] = (time(told) + 5_000_000).to_string().into();
        record
    });
    let spans: Vec<Value> = written.collect();
    let scoped = json!([{"scope": {"name": scope}, "spans": spans}]);
    ("/v1/traces", json!({"resourceSpans": [{"resource": resource, "scopeSpans": scoped}]}))
}

/// The decision record of "AI agent audit trail".
pub fn decision_record() -> Vec<Told> {
    vec![span(
        0x4b,
        1,
        "policy.evaluate",
        json!({
            "spanledger.run_id": "run-01",
            "spanledger.workflow_step_id": "approve-change",
            "spanledger.job_id": "job-123",
            "spanledger.external.trace_id": "trace-456",
            "spanledger.decision.outcome": "REQUIRE_APPROVAL",
            "spanledger.policy.rule_id": "prod-write-needs-approval",
            "spanledger.decision.reason": "Production writes need manager approval",
            "spanledger.policy.snapshot": "cfg:system:policy#sha256:7f3d...9c2b",
            "spanledger.job_hash": "b3b5...8f1a",
            "spanledger.approval.required": true,
            "spanledger.approval.resolution": "approved",
            "spanledger.approval.resolved_by": "manager-2",
            "spanledger.approval.comment": "ticket INC-123",
            "spanledger.context_ptr": "ctx:job-123",
            "spanledger.result_ptr": "res:job-123",
            "spanledger.output_safety.decision": "ALLOW",
            "spanledger.output_safety.rule_id": "out-safe-1",
        }),
    )]
}

/// The job of that record when it had ended.
pub fn job_ended() -> Vec<Told> {
    let ended = json!({"spanledger.job_id": "job-123", "spanledger.job_state": "SUCCEEDED",
        "spanledger.run_id": "run-01", "spanledger.step_id": "approve-change"});
    vec![Told { second: 60, ..span(0x4c, 1, "job.finished", ended) }]
}

/// One event of the runtime's journal: scope `audit`, flat names.
pub fn journal(number: u8, phase: &str, decision: &str, more: Value) -> Told {
    let base = json!({
        "run_id": "run_981", "step_id": 7, "tenant_id": "t_42", "user_id": "u-77",
        "actor": "support-agent", "action": "refund.create", "action_key": "refund.create:1042",
        "scope": "tenant", "policy_layer": "tenant", "phase": phase, "decision": decision,
        "args_hash": "sha256:9f86d0",
    });
    span(0x51, number, "audit", and(base, more))
}

/// A refund that needed an approval, happened, and was tried once more.
pub fn refund_chain() -> Vec<Told> {
    vec![
        journal(1, "pre_exec", "approval_required", json!({"reason": "write_needs_approval"})),
        journal(2, "pre_exec", "approval_granted", json!({"resolved_by": "manager-2"})),
        journal(3, "pre_exec", "allow", json!({"reason": "approved"})),
        journal(4, "post_exec", "allow", json!({"result": "ok"})),
        journal(5, "pre_exec", "stop", json!({"reason": "rate_limited_tenant"})),
    ]
}

/// The pipeline of "Tracing & audit logging": five entries, the second step is blocked.
pub fn blocked_pipeline() -> Vec<Told> {
    let common = json!({"workflow_id": "wf-1", "workflow_name": "data-pipeline",
        "tenant_id": "acme-prod", "client_id": "client-1", "user_id": "u-77"});
    let reason = "Step transform-with-gpt4 blocked: GPT-4 not allowed in production workflows";
    let operation = |number, name, more| span(0x52, number, name, and(common.clone(), more));
    vec![
        operation(1, "workflow_created", json!({"source": "langgraph", "trace_id": "ls-run-789"})),
        operation(
            2,
            "workflow_step_gate",
            json!({"step_name": "extract-data",
            "step_type": "connector_call", "decision": "allow",
            "policies_evaluated": 3, "policies_matched": 0}),
        ),
        operation(
            3,
            "workflow_step_completed",
            json!({"step_name": "extract-data",
            "step_id": "step-1-extract-data"}),
        ),
        operation(
            4,
            "workflow_step_gate",
            json!({"step_name": "transform-with-gpt4",
            "step_type": "llm_call", "model": "gpt-4", "provider": "openai", "decision": "block",
            "reason": "GPT-4 not allowed in production workflows",
            "policies_evaluated": 3, "policies_matched": 1}),
        ),
        operation(5, "workflow_aborted", json!({"reason": reason})),
    ]
}

/// A run of Spectra: a branch, a model, a tool, a pause for a human, a hand-over.
pub fn spectra_run() -> Vec<Told> {
    let common = json!({"spectra.workflow.id": "wf-7", "spectra.run.id": "run-7",
        "spectra.tenant.id": "acme", "spectra.user.id": "u-77"});
    let step = |number, name, more| span(0x53, number, name, and(common.clone(), more));
    vec![
        step(1, "workflow.run", json!({"spectra.workflow.name": "refunds"})),
        step(
            2,
            "chat gpt-4.1",
            json!({"gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1",
            "gen_ai.response.model": "gpt-4.1-2025-04-14", "gen_ai.agent.version": "1.4.2",
            "gen_ai.usage.input_tokens": 812, "gen_ai.usage.output_tokens": 31,
            "gen_ai.input.messages": "[{\"role\":\"user\",\"content\":\"refund order 1042\"}]",
            "gen_ai.output.messages": "[{\"role\":\"assistant\",\"content\":\"looking it up\"}]"}),
        ),
        step(
            3,
            "tool.execute",
            json!({"spectra.tool.name": "lookup_order",
            "spectra.tool.arguments": "{\"order\":1042}",
            "spectra.tool.result": "{\"total\":4900}"}),
        ),
        step(
            4,
            "step.execute",
            json!({"spectra.node.id": "decide", "spectra.step.type": "branch",
            "spectra.branch.condition": "total > 500",
            "spectra.branch.selected_edge": "needs_approval", "spectra.branch.result": true}),
        ),
        step(
            5,
            "step.execute",
            json!({"spectra.node.id": "ask", "spectra.step.type": "interrupt",
            "spectra.interrupt.reason": "refund above 500 needs a human",
            "spectra.interrupt.responder": "ops-lead",
            "spectra.interrupt.response": "approved"}),
        ),
        step(
            6,
            "step.execute",
            json!({"spectra.node.id": "hand", "spectra.step.type": "handoff",
            "spectra.handoff.source": "triage", "spectra.handoff.target": "refund-agent",
            "spectra.handoff.intent": "issue the refund",
            "spectra.handoff.context": "{\"order\":1042}"}),
        ),
    ]
}

/// A policy that was published and rolled back, and a setting that was changed.
pub fn policy_changes() -> Vec<Told> {
    let policy = |number, action, before, after| {
        span(
            0x54,
            number,
            action,
            json!({
        "spanledger.action": action, "spanledger.actor.id": "alice", "spanledger.actor.type": "user",
        "spanledger.policy.id": "prod-policy",
        "spanledger.policy.snapshot_before": before, "spanledger.policy.snapshot_after": after}),
        )
    };
    vec![
        policy(1, "policy.publish", "cfg:old", "cfg:system:policy#sha256:7f3d...9c2b"),
        policy(2, "policy.rollback", "cfg:system:policy#sha256:7f3d...9c2b", "cfg:old"),
        span(
            0x54,
            3,
            "flag.update",
            json!({
            "spanledger.change.path": "rules[1].conditions[0].value",
            "spanledger.change.before": "enterprise", "spanledger.change.after": "pro",
            "spanledger.change.target": "flag:bot-management",
            "spanledger.actor.id": "bob", "spanledger.actor.type": "user"}),
        ),
    ]
}
