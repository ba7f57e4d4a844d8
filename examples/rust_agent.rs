//! An agent whose policy gate decides before its tool runs, seen through OpenTelemetry.
//!
//! ```text
//! spanledger serve                  # one terminal
//! cargo run --example rust_agent    # another; it prints the id to search for
//! spanledger search 'trace_id:refund-run-…'
//! spanledger search 'decision:require_approval'
//! ```
//!
//! The agent wants to refund 740 €. The gate asks for a human, the human approves, the tool runs.
//! Nothing here is of spanledger but the names of attributes: any OTLP exporter will do.
//! `OTEL_EXPORTER_OTLP_ENDPOINT` sends it elsewhere than to `http://127.0.0.1:4317`.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{info, info_span};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// From this amount on, a human has to agree. Euro.
const APPROVAL_FROM: f64 = 500.0;

/// What the gate says about an action.
struct Verdict {
    outcome: &'static str,
    rule: &'static str,
    reason: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let resource = Resource::builder().with_service_name("refund-agent").build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("refund-agent"));
    // Without the filter the exporter would record, and send, the spans of its own connection.
    let own = Targets::new().with_target("rust_agent", tracing::Level::INFO);
    tracing_subscriber::registry().with(spans.with_filter(own)).init();

    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = format!("refund-run-{seconds}");
    agent(&run, 740.0);

    // An error here means that not everything was acknowledged: the receiver is away, or refused.
    provider.force_flush()?;
    provider.shutdown()?;
    println!("sent; look at it with:\n\n    spanledger search 'trace_id:{run}'\n");
    Ok(())
}

/// One run of the agent. The root span alone carries the orchestrator's id; everything below it is
/// found by that id too.
fn agent(run: &str, amount: f64) {
    let _run = info_span!(
        "invoke_agent",
        otel.name = "invoke_agent refund-agent",
        spanledger.external.trace_id = run,
        spanledger.run_id = run,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "refund-agent",
        user.id = "customer-4711",
    )
    .entered();

    info_span!(
        "chat",
        otel.name = "chat gpt-4.1",
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = "gpt-4.1",
        gen_ai.usage.input_tokens = 1234,
        gen_ai.usage.output_tokens = 56,
    )
    .in_scope(|| info!("the model asks for the tool issue_refund"));

    let verdict = gate(amount);
    if verdict.outcome == "require_approval" {
        approval(&verdict);
    }
    refund(amount);
}

/// The policy gate. It records what it said, under which rule and why, before anything is done.
fn gate(amount: f64) -> Verdict {
    let verdict = if amount < APPROVAL_FROM {
        Verdict { outcome: "allow", rule: "small-amounts", reason: "below the limit".into() }
    } else {
        let reason = format!("{amount} € is not below {APPROVAL_FROM} €");
        Verdict { outcome: "require_approval", rule: "large-amounts", reason }
    };
    info_span!(
        "policy.gate",
        spanledger.decision.id = "decision-1",
        spanledger.decision.outcome = verdict.outcome,
        spanledger.decision.reason = verdict.reason,
        spanledger.decision.phase = "pre",
        spanledger.decision.source = "refund-agent",
        spanledger.policy.id = "refunds",
        spanledger.policy.rule_id = verdict.rule,
        spanledger.policy.version = "7",
        spanledger.action = "refund.create",
        spanledger.step_id = "issue_refund",
    )
    .in_scope(|| ());
    verdict
}

/// The human's answer to the gate.
fn approval(asked: &Verdict) {
    info_span!(
        "approval",
        spanledger.decision.id = "decision-1",
        spanledger.approval.id = "approval-1",
        spanledger.approval.required = true,
        spanledger.approval.status = "approved",
        spanledger.approval.resolved_by = "ops-lead@example.com",
        spanledger.approval.comment = format!("agreed with the customer; {}", asked.reason),
        spanledger.step_id = "issue_refund",
    )
    .in_scope(|| ());
}

/// The tool, once it may run.
fn refund(amount: f64) {
    info_span!(
        "execute_tool",
        otel.name = "execute_tool issue_refund",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = "issue_refund",
        gen_ai.tool.call.arguments = format!("{{\"amount\":{amount},\"currency\":\"EUR\"}}"),
        spanledger.step_id = "issue_refund",
    )
    .in_scope(|| info!("refunded"));
}
