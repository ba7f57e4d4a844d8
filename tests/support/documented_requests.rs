//! Requests that no published package sends yet, written from the documents that describe them.
#![allow(unreachable_pub, reason = "a module of test binaries")]

use spanledger::span::{Attribute, Event, LogRecord, Record, Resource, Scope, Sink, Span, Value};

/// 2026-04-01T14:10:32Z, the time of the example of a decision record.
const START_NS: u64 = 1_775_052_632_000_000_000;

pub fn text(value: &str) -> Value<'_> {
    Value::Text(value.into())
}

fn list<'a>(words: &[&'a str]) -> Value<'a> {
    Value::List(words.iter().map(|word| text(word)).collect())
}

pub fn attributes<'a>(pairs: Vec<(&'a str, Value<'a>)>) -> Vec<Attribute<'a>> {
    pairs.into_iter().map(|(key, value)| Attribute::new(key, value)).collect()
}

/// The `nth` span of a trace, one second after the one before.
pub fn span<'a>(nth: u8, name: &'a str, pairs: Vec<(&'a str, Value<'a>)>) -> Span<'a> {
    let start_ns = START_NS + u64::from(nth) * 1_000_000_000;
    Span {
        trace_id: [0x4b; 16],
        span_id: [nth + 1; 8],
        parent_span_id: if nth == 0 { [0; 8] } else { [1; 8] },
        name: name.into(),
        start_ns,
        end_ns: start_ns + 5_000_000,
        attributes: attributes(pairs),
        ..Span::default()
    }
}

fn send(sink: &mut dyn Sink, service: &str, scope: &str, spans: &[Span<'_>]) {
    sink.resource(&Resource {
        attributes: attributes(vec![("service.name", text(service))]),
        ..Resource::default()
    });
    sink.scope(&Scope { name: scope.into(), ..Scope::default() });
    for span in spans {
        sink.record(Record::Span(span));
    }
}

/// AxonFlow's decision spans: an allowed call, a blocked one and one that needs an approval.
pub fn axonflow_decisions(sink: &mut dyn Sink) {
    let decision = |nth, id, stage, verdict, policies: &[&'static str], reasons: &'static str| {
        let mut pairs = vec![
            ("decision.id", text(id)),
            ("decision.stage", text(stage)),
            ("decision.verdict", text(verdict)),
            ("decision.origin", text("gateway")),
            ("decision.policy_ids", list(policies)),
            ("decision.latency_ms", Value::Int(3)),
            ("org.id", text("acme")),
            ("tenant.id", text("acme-prod")),
            ("decision.gateway_id", text("gw-eu-1")),
            ("request.context.session_id", text("sess-1")),
            ("request.context.region", text("eu-west-1")),
        ];
        if !reasons.is_empty() {
            pairs.push(("decision.reasons", text(reasons)));
        }
        span(nth, "axonflow.decision", pairs)
    };
    let spans = [
        decision(0, "dec-1", "llm", "allow", &[], ""),
        decision(
            1,
            "dec-2",
            "tool",
            "deny",
            &["pol-pii", "pol-egress"],
            "PII in arguments; egress to an unknown host",
        ),
        decision(2, "dec-3", "agent", "needs_approval", &["pol-prod-write"], "production write"),
        decision(3, "dec-4", "llm", "error", &[], "policy engine timed out"),
    ];
    send(sink, "axonflow", "axonflow-gateway", &spans);
}

/// The complete example of "Tracing & Audit Logging": a pipeline whose second step is blocked.
pub fn blocked_pipeline(sink: &mut dyn Sink) {
    let common = |mut pairs: Vec<(&'static str, Value<'static>)>| {
        pairs.extend([
            ("workflow_id", text("wf-1")),
            ("workflow_name", text("data-pipeline")),
            ("tenant_id", text("acme-prod")),
            ("client_id", text("client-1")),
            ("user_id", text("u-77")),
        ]);
        pairs
    };
    let spans = [
        span(
            0,
            "workflow_created",
            common(vec![("source", text("langgraph")), ("trace_id", text("ls-run-789"))]),
        ),
        span(
            1,
            "workflow_step_gate",
            common(vec![
                ("step_name", text("extract-data")),
                ("step_type", text("connector_call")),
                ("decision", text("allow")),
                ("policies_evaluated", Value::Int(3)),
                ("policies_matched", Value::Int(0)),
            ]),
        ),
        span(
            2,
            "workflow_step_completed",
            common(vec![
                ("step_name", text("extract-data")),
                ("step_id", text("step-1-extract-data")),
            ]),
        ),
        span(
            3,
            "workflow_step_gate",
            common(vec![
                ("step_name", text("transform-with-gpt4")),
                ("step_type", text("llm_call")),
                ("model", text("gpt-4")),
                ("provider", text("openai")),
                ("decision", text("block")),
                ("reason", text("GPT-4 not allowed in production workflows")),
                ("policies_evaluated", Value::Int(3)),
                ("policies_matched", Value::Int(1)),
            ]),
        ),
        span(
            4,
            "workflow_aborted",
            common(vec![(
                "reason",
                text("Step transform-with-gpt4 blocked: GPT-4 not allowed in production workflows"),
            )]),
        ),
    ];
    send(sink, "governance", "wcp", &spans);
}

/// The decision record of "AI agent audit trail", as attributes with our prefix.
pub fn decision_record(sink: &mut dyn Sink) {
    let spans = [span(
        0,
        "policy.evaluate",
        vec![
            ("spanledger.run_id", text("run-01")),
            ("spanledger.workflow_step_id", text("approve-change")),
            ("spanledger.job_id", text("job-123")),
            ("spanledger.external.trace_id", text("trace-456")),
            ("spanledger.decision.outcome", text("REQUIRE_APPROVAL")),
            ("spanledger.policy.rule_id", text("prod-write-needs-approval")),
            ("spanledger.decision.reason", text("Production writes need manager approval")),
            ("spanledger.policy.snapshot", text("cfg:system:policy#sha256:7f3d...9c2b")),
            ("spanledger.job_hash", text("b3b5...8f1a")),
            ("spanledger.approval.required", Value::Bool(true)),
            ("spanledger.approval.resolution", text("approved")),
            ("spanledger.approval.resolved_by", text("manager-2")),
            ("spanledger.approval.comment", text("ticket INC-123")),
            ("spanledger.context_ptr", text("ctx:job-123")),
            ("spanledger.result_ptr", text("res:job-123")),
            ("spanledger.output_safety.decision", text("ALLOW")),
            ("spanledger.output_safety.rule_id", text("out-safe-1")),
        ],
    )];
    send(sink, "control-plane", "control-plane", &spans);
}

/// The journal of "Audit logs for agents": the chain of an approval, as flat fields of records
/// whose scope is `audit`.
pub fn runtime_journal(sink: &mut dyn Sink) {
    let step = |nth, phase, decision, mut more: Vec<(&'static str, Value<'static>)>| {
        let mut pairs = vec![
            ("run_id", text("run_981")),
            ("step_id", Value::Int(7)),
            ("tenant_id", text("t_42")),
            ("actor", text("support-agent")),
            ("action", text("refund.create")),
            ("action_key", text("refund.create:1042")),
            ("scope", text("tenant")),
            ("policy_layer", text("tenant")),
            ("phase", text(phase)),
            ("decision", text(decision)),
            ("args_hash", text("sha256:9f86d0")),
        ];
        pairs.append(&mut more);
        span(nth, "audit", pairs)
    };
    let spans = [
        step(0, "pre_exec", "approval_required", vec![("reason", text("write_needs_approval"))]),
        step(1, "pre_exec", "approval_granted", vec![("resolved_by", text("manager-2"))]),
        step(2, "pre_exec", "allow", vec![("reason", text("approved"))]),
        step(3, "post_exec", "allow", vec![("result", text("ok"))]),
        step(4, "pre_exec", "stop", vec![("reason", text("rate_limited_tenant"))]),
    ];
    send(sink, "support-agent", "audit", &spans);
}

/// Spectra's spans: a branch, an interrupt, a hand-over, a tool.
pub fn spectra_run(sink: &mut dyn Sink) {
    let step = |nth, name, mut more: Vec<(&'static str, Value<'static>)>| {
        let mut pairs = vec![
            ("spectra.workflow.id", text("wf-7")),
            ("spectra.run.id", text("run-7")),
            ("spectra.node.id", text("node-1")),
            ("spectra.tenant.id", text("acme")),
            ("spectra.user.id", text("u-77")),
        ];
        pairs.append(&mut more);
        span(nth, name, pairs)
    };
    let spans = [
        step(0, "workflow.run", vec![]),
        step(
            1,
            "step.execute",
            vec![
                ("spectra.step.type", text("branch")),
                ("spectra.branch.condition", text("amount > 50")),
                ("spectra.branch.selected_edge", text("needs_approval")),
                ("spectra.branch.result", Value::Bool(true)),
            ],
        ),
        step(
            2,
            "step.execute",
            vec![
                ("spectra.step.type", text("interrupt")),
                ("spectra.interrupt.reason", text("refund above 50 needs a human")),
                ("spanledger.interrupt.responder", text("ops-lead")),
                (
                    "spanledger.interrupt.response",
                    Value::Map(attributes(vec![("approved", Value::Bool(true))])),
                ),
            ],
        ),
        step(
            3,
            "step.execute",
            vec![
                ("spanledger.handoff.source", text("triage")),
                ("spanledger.handoff.target", text("refund-agent")),
                ("spanledger.handoff.intent", text("issue the refund")),
                ("spanledger.handoff.context", text(r#"{"order":"1042"}"#)),
            ],
        ),
        step(
            4,
            "tool.execute",
            vec![
                ("spectra.tool.name", text("issue_refund")),
                ("spanledger.args", Value::Map(attributes(vec![("order", Value::Int(1042))]))),
            ],
        ),
    ];
    send(sink, "spectra", "spectra", &spans);
}

/// A tool call of OpenInference whose decision and approval are events of the span.
pub fn decisions_on_a_span(sink: &mut dyn Sink) {
    let mut call = span(
        0,
        "issue_refund",
        vec![
            ("openinference.span.kind", text("TOOL")),
            ("tool.name", text("issue_refund")),
            ("input.value", text(r#"{"order_id":"1042"}"#)),
            ("metadata", text(r#"{"external_trace_id":"ext-7f3a-1042"}"#)),
            ("spanledger.decision.outcome", text("allow")),
            ("spanledger.policy.snapshot", text("cfg#1")),
        ],
    );
    let event = |offset, name: &'static str, pairs| Event {
        time_ns: START_NS + offset,
        name: name.into(),
        attributes: attributes(pairs),
        ..Event::default()
    };
    call.events = vec![
        event(
            1,
            "spanledger.decision",
            vec![
                ("spanledger.decision.id", text("dec-9")),
                ("spanledger.decision.outcome", text("needs_approval")),
                ("spanledger.policy.rule_id", text("refund-above-50")),
            ],
        ),
        event(2, "note", vec![("text", text("waiting"))]),
        event(
            3,
            "spanledger.approval",
            vec![
                ("spanledger.approval.id", text("apr-9")),
                ("spanledger.approval.status", text("approved")),
                ("spanledger.approval.resolved_by", text("ops-lead")),
            ],
        ),
    ];
    send(sink, "refund-agent", "openinference.instrumentation.langchain", &[call]);
}

/// Changes: one as attributes, one as the body of a log record of the audit draft, and a
/// published policy.
pub fn changes(sink: &mut dyn Sink) {
    let spans = [
        span(
            0,
            "flag.update",
            vec![
                ("spanledger.change.path", text("rules[1].conditions[0].value")),
                ("spanledger.change.before", text("enterprise")),
                ("spanledger.change.after", text("pro")),
                ("spanledger.change.target", text("flag:bot-management")),
                ("spanledger.actor.id", text("alice")),
                ("spanledger.actor.type", text("user")),
            ],
        ),
        span(
            1,
            "policy.publish",
            vec![
                ("spanledger.action", text("policy.publish")),
                ("spanledger.actor.id", text("bob")),
                ("spanledger.policy.snapshot_before", text("cfg#1")),
                ("spanledger.policy.snapshot_after", text("cfg#2")),
            ],
        ),
    ];
    send(sink, "flags", "flags", &spans);
    let change = attributes(vec![
        ("path", text("quota.limit")),
        ("before", Value::Int(10)),
        ("after", Value::Int(20)),
    ]);
    sink.record(Record::Log(&LogRecord {
        time_ns: START_NS,
        observed_ns: START_NS + 1,
        event_name: "config.change".into(),
        body: Some(Value::Map(attributes(vec![(
            "changes",
            Value::List(vec![Value::Map(change)]),
        )]))),
        attributes: attributes(vec![
            ("audit.record.id", text("5a7c1f3e-8f0b-4a52-9f3d-0c2b6f1d2e3f")),
            ("audit.actor.id", text("alice")),
            ("audit.actor.type", text("user")),
            ("audit.action", text("config.update")),
            ("audit.outcome", text("success")),
            ("audit.target.id", text("quota")),
            ("audit.target.type", text("config")),
            ("audit.sequence.number", Value::Int(42)),
            ("audit.sequence.stream_id", text("flags-1")),
        ]),
        ..LogRecord::default()
    }));
}
