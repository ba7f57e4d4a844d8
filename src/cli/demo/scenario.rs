//! The run that the demo plays: a refund agent, as a LangGraph application would report it.
//!
//! ```text
//! first trace      refund-agent run ── model ── lookup_order (allowed) ── model
//!                    └─ issue_refund $4,900 ── approval required by refund-limit ── interrupt
//! 12 minutes later ops-lead approves
//! second trace     refund-agent resumes ── allowed ── issue_refund runs
//!                    └─ export_customer_list ── blocked by no-bulk-export
//! ```
//!
//! What makes it hard, and real: the id `langsmith-run-abc123` is on the first trace's root span
//! alone, and a root span ends, and is exported, after its children. The second trace does not
//! know that id at all; it shares the run and the approval with the first. The gateway's
//! `axonflow.decision` comes from another service and knows nothing but the first trace.

use super::otlp::{Export, any, attrs, logs, traces};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use sha2::{Digest as _, Sha256};

/// The id that a person knows: the orchestrator's.
pub const EXTERNAL_ID: &str = "langsmith-run-abc123";

/// Milliseconds from the start of the first trace to the approval.
const APPROVED_AT_MS: u64 = 12 * 60 * 1_000;

/// How long before now the run began, milliseconds: everything is over when it is exported.
const BEGAN_MS_AGO: u64 = 13 * 60 * 1_000;

const NS_PER_MS: u64 = 1_000_000;

const AGENT: &str = "refund-agent";
const AGENT_VERSION: &str = "1.4.2";
const INSTRUMENTATION: &str = "langgraph";
const SNAPSHOT: &str = "sha256:9c2e41d0f7";
const JOB_HASH: &str = "sha256:77aa0f31c5";
const REFUND_ARGUMENTS: &str = r#"{"order_id":"1042","amount":4900,"currency":"USD"}"#;

/// The requests of the run in the order in which its exporters send them, and its ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What is sent.
    pub exports: Vec<Export>,
    /// Trace of the run until it paused, 32 hexadecimal digits.
    pub first_trace: String,
    /// Trace of the approval and of the resumed run.
    pub resumed_trace: String,
    /// The run, the same in both.
    pub run_id: String,
    /// The approval, the same in both.
    pub approval_id: String,
    /// Spans and log records in all requests.
    pub records: usize,
}

/// One trace on its way into messages.
struct Trace {
    id: [u8; 16],
    start_ns: u64,
    run_id: String,
}

impl Trace {
    fn span_id(&self, number: u8) -> Vec<u8> {
        digest(&[&self.id, &[number]]).get(..8).unwrap_or_default().to_vec()
    }

    fn at(&self, ms: u64) -> u64 {
        self.start_ns.saturating_add(ms.saturating_mul(NS_PER_MS))
    }

    /// A span with its number, its parent's number (0 for none) and its times in milliseconds.
    fn span(
        &self,
        (number, parent): (u8, u8),
        name: &str,
        (start, end): (u64, u64),
        attributes: Vec<KeyValue>,
    ) -> Span {
        Span {
            trace_id: self.id.to_vec(),
            span_id: self.span_id(number),
            parent_span_id: if parent == 0 { Vec::new() } else { self.span_id(parent) },
            flags: 0x101,
            name: name.to_owned(),
            kind: 1,
            start_time_unix_nano: self.at(start),
            end_time_unix_nano: self.at(end),
            attributes,
            status: Some(Status { code: StatusCode::Unset.into(), message: String::new() }),
            ..Span::default()
        }
    }
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn trace(now_ns: u64, name: &str, start_ns: u64, run_id: &str) -> Trace {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest(&[name.as_bytes(), &now_ns.to_le_bytes()])) {
        *to = from;
    }
    Trace { id, start_ns, run_id: run_id.to_owned() }
}

/// The run as it would have been a quarter of an hour before `now_ns`. The same moment gives the
/// same bytes.
pub fn scenario(now_ns: u64) -> Scenario {
    let seed = hex(digest(&[b"run", &now_ns.to_le_bytes()]).get(..4).unwrap_or_default());
    let run_id = format!("refund-run-{seed}");
    let approval_id = format!("apr-{seed}");
    let begin = now_ns.saturating_sub(BEGAN_MS_AGO.saturating_mul(NS_PER_MS));
    let first = trace(now_ns, "first", begin, &run_id);
    let resumed = trace(now_ns, "resumed", first.at(APPROVED_AT_MS), &run_id);

    let children = first_children(&first, &approval_id);
    let resumed_spans = resumed_spans(&resumed, &approval_id);
    let records = [children.len(), resumed_spans.len(), 3]
        .iter()
        .fold(0_usize, |sum, count| sum.saturating_add(*count));
    let exports = vec![
        traces(AGENT, AGENT_VERSION, INSTRUMENTATION, children),
        traces("axonflow-gateway", "9.5.0", "axonflow", vec![gateway_decision(&first)]),
        traces(AGENT, AGENT_VERSION, INSTRUMENTATION, vec![first_root(&first)]),
        logs("approval-desk", "2.0.1", "approvals", vec![approval(&resumed, &approval_id)]),
        traces(AGENT, AGENT_VERSION, INSTRUMENTATION, resumed_spans),
    ];
    Scenario {
        exports,
        first_trace: hex(&first.id),
        resumed_trace: hex(&resumed.id),
        run_id,
        approval_id,
        records,
    }
}

/// Everything of the first trace but its root.
fn first_children(trace: &Trace, approval_id: &str) -> Vec<Span> {
    vec![
        trace.span((2, 1), "chat gpt-4.1", (60, 1_310), attrs! {
            "gen_ai.operation.name" => "chat",
            "gen_ai.provider.name" => "openai",
            "gen_ai.request.model" => "gpt-4.1",
            "gen_ai.response.model" => "gpt-4.1-2025-04-14",
            "gen_ai.usage.input_tokens" => 812,
            "gen_ai.usage.output_tokens" => 31,
            "gen_ai.input.messages" => r#"[{"role":"user","parts":[{"type":"text","content":"Please refund order 1042, it arrived broken."}]}]"#,
            "gen_ai.output.messages" => r#"[{"role":"assistant","parts":[{"type":"tool_call","name":"lookup_order","arguments":{"order_id":"1042"}}],"finish_reason":"tool_calls"}]"#,
        }),
        policy_decision(trace, (3, 4), (1_362, 1_366), &Verdict {
            outcome: "allow",
            action: "order.read",
            tool: "lookup_order",
            policy: "tool-allowlist",
            rule: "tool-allowlist/read-only",
            reason: "reading an order of the customer who asks is allowed",
            step: "lookup",
        }, None),
        trace.span((4, 1), "execute_tool lookup_order", (1_360, 1_492), attrs! {
            "gen_ai.operation.name" => "execute_tool",
            "gen_ai.tool.name" => "lookup_order",
            "gen_ai.tool.type" => "function",
            "gen_ai.tool.call.id" => "call_1",
            "gen_ai.tool.call.arguments" => r#"{"order_id":"1042"}"#,
            "gen_ai.tool.call.result" => r#"{"order_id":"1042","total":4900,"status":"delivered"}"#,
        }),
        trace.span((5, 1), "chat gpt-4.1", (1_520, 2_804), attrs! {
            "gen_ai.operation.name" => "chat",
            "gen_ai.provider.name" => "openai",
            "gen_ai.request.model" => "gpt-4.1",
            "gen_ai.response.model" => "gpt-4.1-2025-04-14",
            "gen_ai.usage.input_tokens" => 901,
            "gen_ai.usage.output_tokens" => 42,
        }),
        policy_decision(trace, (6, 1), (2_820, 2_829), &Verdict {
            outcome: "require_approval",
            action: "refund.create",
            tool: "issue_refund",
            policy: "refund-limit",
            rule: "refund-limit/over-500",
            reason: "a refund of $4,900 exceeds the agent's limit of $500",
            step: "refund",
        }, Some((approval_id, "pending"))),
        trace.span((7, 1), "step.execute approve_refund", (2_840, 2_861), attrs! {
            "spectra.step.type" => "interrupt",
            "spectra.node.id" => "approve_refund",
            "spectra.interrupt.reason" => "waiting for approval of the refund",
            "spanledger.run_id" => &trace.run_id,
        }),
    ]
}

/// The root span of the first trace: the only record that carries the orchestrator's id.
fn first_root(trace: &Trace) -> Span {
    trace.span(
        (1, 0),
        "invoke_agent refund-agent",
        (0, 2_900),
        attrs! {
            "gen_ai.operation.name" => "invoke_agent",
            "gen_ai.agent.name" => AGENT,
            "gen_ai.agent.version" => AGENT_VERSION,
            "gen_ai.conversation.id" => "thread-1042",
            "external.trace_id" => EXTERNAL_ID,
            "spanledger.run_id" => &trace.run_id,
            "user.id" => "maria.keller",
        },
    )
}

/// What a gateway in front of the model says, in its own words and under its own service.
fn gateway_decision(trace: &Trace) -> Span {
    trace.span(
        (8, 2),
        "axonflow.decision",
        (64, 67),
        attrs! {
            "decision.id" => &format!("dec-{}", hex(&trace.span_id(8))),
            "decision.stage" => "llm",
            "decision.verdict" => "allow",
            "decision.origin" => "gateway",
            "decision.policy_ids" => ["pii-guard"].as_slice(),
            "decision.latency_ms" => 3.1,
            "decision.reasons" => "no personal data beyond the order",
            "org.id" => "acme",
            "tenant.id" => "acme-support",
        },
    )
}

/// A person's answer, as the approval desk logs it: under a trace that never heard of the first.
fn approval(trace: &Trace, approval_id: &str) -> LogRecord {
    let at = trace.at(0);
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(any("approval granted")),
        event_name: "approval.granted".to_owned(),
        trace_id: trace.id.to_vec(),
        span_id: trace.span_id(1),
        attributes: attrs! {
            "spanledger.approval.id" => &approval_id.to_owned(),
            "spanledger.approval.status" => "approved",
            "spanledger.approval.resolution" => "approved",
            "spanledger.approval.resolved_by" => "ops-lead",
            "spanledger.approval.comment" => "photo checked, the item is broken",
            "spanledger.action" => "refund.create",
            "spanledger.job_hash" => JOB_HASH,
            "spanledger.policy.snapshot" => SNAPSHOT,
            "spanledger.run_id" => &trace.run_id,
        },
        ..LogRecord::default()
    }
}

/// The run after the approval: the refund happens, and a second attempt at something is stopped.
fn resumed_spans(trace: &Trace, approval_id: &str) -> Vec<Span> {
    vec![
        policy_decision(
            trace,
            (2, 3),
            (212, 217),
            &Verdict {
                outcome: "allow",
                action: "refund.create",
                tool: "issue_refund",
                policy: "refund-limit",
                rule: "refund-limit/approved",
                reason: "approved by ops-lead",
                step: "refund",
            },
            Some((approval_id, "approved")),
        ),
        trace.span(
            (3, 1),
            "execute_tool issue_refund",
            (210, 934),
            attrs! {
                "gen_ai.operation.name" => "execute_tool",
                "gen_ai.tool.name" => "issue_refund",
                "gen_ai.tool.type" => "function",
                "gen_ai.tool.call.id" => "call_2",
                "gen_ai.tool.call.arguments" => REFUND_ARGUMENTS,
                "gen_ai.tool.call.result" => r#"{"refund_id":"rf-88","status":"issued"}"#,
                "spanledger.run_id" => &trace.run_id,
            },
        ),
        policy_decision(
            trace,
            (4, 1),
            (1_020, 1_025),
            &Verdict {
                outcome: "block",
                action: "customers.export",
                tool: "export_customer_list",
                policy: "no-bulk-export",
                rule: "no-bulk-export/always",
                reason: "an agent never exports the customer list",
                step: "export",
            },
            None,
        ),
        trace.span(
            (5, 1),
            "chat gpt-4.1",
            (1_060, 1_890),
            attrs! {
                "gen_ai.operation.name" => "chat",
                "gen_ai.provider.name" => "openai",
                "gen_ai.request.model" => "gpt-4.1",
                "gen_ai.response.model" => "gpt-4.1-2025-04-14",
                "gen_ai.usage.input_tokens" => 988,
                "gen_ai.usage.output_tokens" => 57,
            },
        ),
        trace.span(
            (1, 0),
            "invoke_agent refund-agent",
            (150, 1_910),
            attrs! {
                "gen_ai.operation.name" => "invoke_agent",
                "gen_ai.agent.name" => AGENT,
                "gen_ai.agent.version" => AGENT_VERSION,
                "gen_ai.conversation.id" => "thread-1042",
                "spanledger.run_id" => &trace.run_id,
                "user.id" => "maria.keller",
            },
        ),
    ]
}

/// What a policy engine said.
struct Verdict {
    outcome: &'static str,
    action: &'static str,
    tool: &'static str,
    policy: &'static str,
    rule: &'static str,
    reason: &'static str,
    step: &'static str,
}

fn policy_decision(
    trace: &Trace,
    place: (u8, u8),
    times: (u64, u64),
    verdict: &Verdict,
    approval: Option<(&str, &str)>,
) -> Span {
    let decision_id = format!("dec-{}", hex(&trace.span_id(place.0)));
    let mut span = trace.span(
        place,
        "policy.evaluate",
        times,
        attrs! {
            "spanledger.decision.id" => &decision_id,
            "spanledger.decision.outcome" => verdict.outcome,
            "spanledger.decision.reason" => verdict.reason,
            "spanledger.decision.phase" => "pre_exec",
            "spanledger.decision.source" => "policy-engine",
            "spanledger.policy.id" => verdict.policy,
            "spanledger.policy.rule_id" => verdict.rule,
            "spanledger.policy.snapshot" => SNAPSHOT,
            "spanledger.action" => verdict.action,
            "spanledger.step_id" => verdict.step,
            "spanledger.run_id" => &trace.run_id,
            "gen_ai.tool.name" => verdict.tool,
        },
    );
    if let Some((id, status)) = approval {
        span.attributes.extend(attrs! {
            "spanledger.approval.id" => &id.to_owned(),
            "spanledger.approval.status" => status,
            "spanledger.approval.required" => true,
            "spanledger.job_hash" => JOB_HASH,
        });
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    const NOW: u64 = 1_795_241_529_000_000_000;

    fn spans(scenario: &Scenario) -> Vec<Vec<Span>> {
        let of = |export: &Export| match export {
            Export::Traces(request) => request.resource_spans[0].scope_spans[0].spans.clone(),
            Export::Logs(_) => Vec::new(),
        };
        scenario.exports.iter().map(of).collect()
    }

    fn has(attributes: &[KeyValue], wanted: &str) -> bool {
        attributes.iter().any(|attribute| {
            matches!(&attribute.value.as_ref().unwrap().value,
                Some(Value::StringValue(text)) if text == wanted)
        })
    }

    #[test]
    fn only_the_first_root_carries_the_external_id_and_it_comes_after_its_children() {
        let requests = spans(&scenario(NOW));
        let carriers: Vec<(usize, bool)> = requests
            .iter()
            .enumerate()
            .flat_map(|(request, spans)| spans.iter().map(move |span| (request, span)))
            .filter(|(_, span)| has(&span.attributes, EXTERNAL_ID))
            .map(|(request, span)| (request, span.parent_span_id.is_empty()))
            .collect();
        assert_eq!(carriers, [(2, true)]);
        assert!(requests[0].len() > 3);
    }

    #[test]
    fn everything_happened_before_now_and_ends_after_it_began() {
        for span in spans(&scenario(NOW)).concat() {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            assert!(span.end_time_unix_nano < NOW, "{}", span.name);
        }
    }

    #[test]
    fn the_resumed_trace_shares_only_run_and_approval_with_the_first() {
        let scenario = scenario(NOW);
        assert_ne!(scenario.first_trace, scenario.resumed_trace);
        let requests = spans(&scenario);
        assert!(requests[4].iter().all(|span| hex(&span.trace_id) == scenario.resumed_trace));
        assert!(requests[4].iter().any(|span| has(&span.attributes, &scenario.run_id)));
        assert!(requests[0].iter().any(|span| has(&span.attributes, &scenario.approval_id)));
    }

    #[test]
    fn the_records_are_counted_and_their_ids_differ() {
        let scenario = scenario(NOW);
        let spans = spans(&scenario).concat();
        let ids: std::collections::HashSet<_> =
            spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
        assert_eq!(ids.len(), spans.len());
        assert_eq!(scenario.records, spans.len() + 1, "and one log record");
    }

    #[test]
    fn the_same_moment_gives_the_same_run_and_another_moment_another() {
        assert_eq!(scenario(NOW), scenario(NOW));
        assert_ne!(scenario(NOW).first_trace, scenario(NOW + 1).first_trace);
    }
}
