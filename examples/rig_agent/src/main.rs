//! An agent of the framework [rig](https://rig.rs), audited by one line.
//!
//! ```text
//! spanledger serve                                              # one terminal
//! cargo run --manifest-path examples/rig_agent/Cargo.toml       # another
//! spanledger search 'trace_id:refund-run-…'
//! ```
//!
//! The agent is written as rig's own examples are: nothing in `agent`, `Refund` and `FakeModel`
//! knows of spanledger. rig describes what it does in spans with `gen_ai.*` fields, and those
//! become entries: each model call with its messages and tokens, each tool call with its arguments
//! and result. The model is a fake one that asks for the tool and then answers, so that no key and
//! no network is needed. `OTEL_EXPORTER_OTLP_ENDPOINT` names another receiver than
//! `http://127.0.0.1:4317`.

mod fake_model;

use fake_model::FakeModel;
use rig_agent::AgentBuilder;
use rig_agent::core::tool::PortableTool;
use rig_agent::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let layer = spanledger::layer(endpoint())?;
    let handle = layer.handle();
    // The one line. Beside other layers it is one more `.with(layer)`.
    tracing_subscriber::registry().with(layer).init();

    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = format!("refund-run-{seconds}-{}", std::process::id());
    // What calls the agent carries the orchestrator's id; everything below is found by it.
    let answer = agent().instrument(info_span!("refund_request", trace_id = run)).await?;

    let delivery = handle.shutdown(Duration::from_secs(10)).await;
    println!("the agent says: {answer}");
    println!("delivered: {}, complete: {}", delivery.stats.delivered, delivery.complete);
    println!("look at it with:\n\n    spanledger search 'trace_id:{run}'\n");
    Ok(())
}

fn endpoint() -> String {
    let set = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|set| !set.is_empty());
    set.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned())
}

/// An agent as rig's documentation shows one.
async fn agent() -> Result<String, PromptError> {
    let agent = AgentBuilder::new(FakeModel::default())
        .name("refund-agent")
        .preamble("You refund customers.")
        .tool(Refund)
        // rig keeps messages out of its spans unless it is asked for them.
        .record_content_telemetry(true)
        .default_max_turns(4)
        .build();
    agent.prompt("Order 4711 arrived broken. I want my 40 € back.").await
}

/// The tool.
struct Refund;

impl PortableTool for Refund {
    const NAME: &'static str = "issue_refund";
    type Args = Value;
    type Output = Value;
    type Error = Infallible;

    fn description(&self) -> String {
        "Refunds an order.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {"order": {"type": "string"}, "euro": {"type": "number"}},
            "required": ["order", "euro"],
        })
    }

    async fn call(&self, arguments: Value) -> Result<Value, Infallible> {
        Ok(json!({"refunded": arguments["euro"], "order": arguments["order"]}))
    }
}
