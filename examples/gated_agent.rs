//! An agent that decides, puts the decision on record, and only then acts: with the tracing layer
//! alone, no OpenTelemetry beside it.
//!
//! ```text
//! spanledger serve                   # one terminal
//! cargo run --example gated_agent    # another; it prints the id to search for
//! spanledger search 'trace_id:refund-run-…'
//! spanledger trace refund-run-…
//! ```
//!
//! The agent is asked to refund three orders. The policy allows the small one, wants a human for
//! the large one, and blocks a second refund of the same order. `OTEL_EXPORTER_OTLP_ENDPOINT` names
//! another receiver than `http://127.0.0.1:4317`. While the receiver is away nothing is refunded:
//! without a receipt there is no [`Cleared`] to act with.

use spanledger::layer::{
    Approval, ApprovalStatus, Cleared, Decision, Held, Outcome, audited, gate,
};
use spanledger::{audit_span, decision};
use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// From this amount on, a human has to agree. Euro.
const APPROVAL_FROM: u32 = 500;

/// How long the end waits for the receiver; what is not delivered then stays in the spool.
const LAST_DELIVERY: Duration = Duration::from_secs(10);

/// What the agent wants to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
struct Refund {
    order: &'static str,
    euro: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let layer = spanledger::layer(endpoint())?;
    let handle = layer.handle();
    tracing_subscriber::registry().with(layer).init();

    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = format!("refund-run-{seconds}-{}", std::process::id());
    // Everything below this span is found by the id that it carries.
    let span = audit_span!(
        "invoke_agent",
        trace_id = run,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "refund-agent",
        user_id = "customer-4711",
    );
    agent().instrument(span).await;

    let delivery = handle.shutdown(LAST_DELIVERY).await;
    let (stats, kept) = (delivery.stats, if delivery.kept { "kept in the spool" } else { "none" });
    println!("delivered: {}, complete: {}, waiting: {kept}", stats.delivered, delivery.complete);
    if let Some(error) = stats.last_error {
        println!("the last error was: {error}");
    }
    println!("look at it with:\n\n    spanledger search 'trace_id:{run}'\n");
    Ok(())
}

fn endpoint() -> String {
    let set = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|set| !set.is_empty());
    set.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned())
}

/// One run of the agent.
async fn agent() {
    let mut done = HashSet::new();
    let wanted = [("4711", 40), ("4712", 740), ("4711", 40)];
    for (order, euro) in wanted {
        let refund = Refund { order, euro };
        let cleared = decide(refund.clone(), &done).await;
        match cleared {
            Ok(cleared) => match send(cleared).await {
                Ok(id) => {
                    println!("refunded {euro} € for order {order}: {id}");
                    done.insert(refund);
                }
                Err(error) => println!("order {order} is not refunded: {error}"),
            },
            Err(held) => {
                // Said without waiting; the decision itself is on record already.
                decision!("block", reason = held.to_string(), action = "refund.create");
                println!("order {order} is not refunded: {held}");
            }
        }
    }
}

/// The policy. What comes out can be acted on only if its decision is on record and allows it.
async fn decide(refund: Refund, done: &HashSet<Refund>) -> Result<Cleared<Refund>, Held<Refund>> {
    let (outcome, rule, reason) = if done.contains(&refund) {
        (Outcome::Block, "once", "it was refunded before".to_owned())
    } else if refund.euro < APPROVAL_FROM {
        (Outcome::Allow, "small-amounts", "below the limit".to_owned())
    } else {
        let reason = format!("{} € is not below {APPROVAL_FROM} €", refund.euro);
        (Outcome::RequireApproval, "large-amounts", reason)
    };
    let id = format!("decision-{}", refund.order);
    let decision = Decision::new(outcome)
        .id(id.clone())
        .reason(reason)
        .phase("pre_exec")
        .policy_id("refunds")
        .policy_version("7")
        .rule_id(rule)
        .action("refund.create")
        .tool("issue_refund")
        .arguments(&refund);
    match gate(refund).decide(decision).await {
        Err(held) if held.needs_approval() => held.answered(ask_somebody(id)).await,
        decided => decided,
    }
}

/// A person's answer: here always yes, elsewhere from a ticket, a chat, a form.
fn ask_somebody(decision: String) -> Approval {
    Approval::new(ApprovalStatus::Approved)
        .id("approval-1")
        .decision_id(decision)
        .resolved_by("ops-lead@example.com")
        .comment("agreed with the customer")
}

/// The tool. Nobody can call it with a refund that was not cleared.
async fn send(cleared: Cleared<Refund>) -> Result<String, std::io::Error> {
    let receipt = cleared.receipt();
    let refund = cleared.act();
    let work = async { Ok(format!("refund-{}-{}", refund.order, receipt.sequence)) };
    audited("issue_refund", &refund, work).await
}
