//! An agent with a policy gate and an approval that needs no second process: its ledger is within
//! its own.
//!
//! ```text
//! cargo run --example embedded_agent --features ledger    # it prints the id to search for
//! spanledger search 'trace_id:refund-run-…'
//! spanledger verify
//! ```
//!
//! The agent wants to refund 740 €. Its policy asks for a human, the human approves, the tool runs:
//! each step acts only when the one before is durable. `SPANLEDGER_DATA` names another folder than
//! `spanledger-data`, for the agent as for the commands.

use serde::Serialize;
use spanledger::layer::{
    Approval, ApprovalStatus, AuditLayer, Cleared, Decision, Embedded, Outcome, audited, gate,
};
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// From this amount on, a human has to agree. Euro.
const APPROVAL_FROM: u32 = 500;

/// What the agent wants to do.
#[derive(Debug, Serialize)]
struct Refund {
    euro: u32,
    order: &'static str,
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::var("SPANLEDGER_DATA").unwrap_or_else(|_| "spanledger-data".to_owned());
    let layer = AuditLayer::builder().service_name("refund-agent").embedded(Embedded::new(data))?;
    let handle = layer.handle();
    tracing_subscriber::registry().with(layer).init();

    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = format!("refund-run-{seconds}");
    agent(&run).await?;

    let delivery = handle.shutdown(Duration::from_secs(10)).await;
    if !delivery.complete {
        return Err(format!("not everything is on record: {:?}", delivery.stats).into());
    }
    println!("on record; look at it with:\n\n    spanledger search 'trace_id:{run}'\n");
    Ok(())
}

/// One run of the agent. The root span alone carries the orchestrator's id; everything below it is
/// found by that id too.
async fn agent(run: &str) -> Result<(), Box<dyn Error>> {
    let span = info_span!(
        target: "audit",
        "invoke_agent",
        trace_id = run,
        run_id = run,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "refund-agent",
        user_id = "customer-4711",
    );
    async {
        let wanted = Refund { euro: 740, order: "order-815" };
        refund(allowed(wanted).await?).await
    }
    .instrument(span)
    .await
}

/// The policy, and the human if the policy asks for one. A refund comes out only when what allows
/// it is durable in the ledger.
async fn allowed(refund: Refund) -> Result<Cleared<Refund>, Box<dyn Error>> {
    let (outcome, rule) = if refund.euro < APPROVAL_FROM {
        (Outcome::Allow, "small-amounts")
    } else {
        (Outcome::RequireApproval, "large-amounts")
    };
    let decision = Decision::new(outcome)
        .id("decision-1")
        .action("refund.create")
        .policy_id("refunds")
        .rule_id(rule)
        .reason(format!("{} € with a limit of {APPROVAL_FROM} €", refund.euro))
        .arguments(&refund);
    let held = match gate(refund).decide(decision).await {
        Ok(cleared) => return Ok(cleared),
        Err(held) if held.needs_approval() => held,
        Err(held) => return Err(held.into()),
    };
    // Here a person would be asked, and it may take days.
    let answer = Approval::new(ApprovalStatus::Approved)
        .id("approval-1")
        .decision_id("decision-1")
        .resolved_by("ops-lead@example.com")
        .comment("agreed with the customer");
    let cleared = held.answered(answer).await?;
    println!("approved, on record as {}", cleared.receipt().sequence);
    Ok(cleared)
}

/// The tool. Nobody can call it with a refund that was not cleared.
async fn refund(cleared: Cleared<Refund>) -> Result<(), Box<dyn Error>> {
    let refund = cleared.act();
    let done = audited("issue_refund", &refund, async {
        Ok::<_, std::io::Error>(format!("{} € for {}", refund.euro, refund.order))
    });
    println!("refunded {}", done.await?);
    Ok(())
}
