//! An axum service whose handler decides, calls a tool and leaves evidence of both.
//!
//! ```text
//! spanledger serve                                  # one terminal
//! cargo run --example axum_service --features layer-tower      # another
//!
//! # A third: the caller's id of the run goes along in a header …
//! curl -i http://127.0.0.1:8080/refunds -H 'spanledger-trace-id: refund-run-1' \
//!     -H 'content-type: application/json' -d '{"order":"4711","amount":120}'
//! # … and one that the gate refuses.
//! curl -i http://127.0.0.1:8080/refunds -H 'spanledger-trace-id: refund-run-1' \
//!     -H 'content-type: application/json' -d '{"order":"4712","amount":7400}'
//!
//! spanledger search 'trace_id:refund-run-1'
//! spanledger search 'decision:block'
//! ```
//!
//! A `traceparent` header joins the trace of the caller, too. `OTEL_EXPORTER_OTLP_ENDPOINT` sends
//! the evidence elsewhere than to `http://127.0.0.1:4317`, `--port` listens elsewhere than on 8080.
//! Ctrl-C ends the service, which then tells what the receiver acknowledged.

use axum::extract::MatchedPath;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use spanledger::layer::context::Extract;
use spanledger::layer::{Cleared, Decision, Outcome, Why, audited, gate};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tracing::Span;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is refunded without asking anybody. Euro.
const REFUND_UP_TO: f64 = 500.0;

/// Banks are not fast.
const BANK_TAKES: Duration = Duration::from_millis(20);

/// How long the end waits for the receiver.
const END_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, Serialize)]
struct Refund {
    order: String,
    amount: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT");
    let endpoint = endpoint.as_deref().unwrap_or("http://127.0.0.1:4317");
    let layer = spanledger::layer(endpoint)?;
    let handle = layer.handle();
    tracing_subscriber::registry().with(layer).init();

    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port()?))).await?;
    println!("listening on http://{}, evidence goes to {endpoint}", listener.local_addr()?);
    axum::serve(listener, router()).with_graceful_shutdown(interrupted()).await?;

    let delivery = handle.shutdown(END_WITHIN).await;
    match (delivery.complete, delivery.kept) {
        (true, _) => println!("everything was acknowledged"),
        (false, true) => println!("not everything was acknowledged; the next start sends the rest"),
        (false, false) => println!("not everything was acknowledged, and some of it is lost"),
    }
    Ok(())
}

fn router() -> Router {
    let extract = Extract::new()
        // Probes are no evidence.
        .only(|request| request.uri.path() != "/healthz")
        .named(|request| {
            let route = request.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            format!("{} {route}", request.method)
        });
    Router::new()
        .route("/refunds", post(refund))
        .route("/healthz", get(async || "ok"))
        .layer(extract)
}

/// Decides, has the decision on record, and acts. Everything in it is below the request's span, and
/// so under the caller's id.
async fn refund(Json(refund): Json<Refund>) -> (StatusCode, String) {
    Span::current().record("agent_name", "refund-service");
    let decision = if refund.amount > REFUND_UP_TO {
        Decision::new(Outcome::Block).reason(format!("more than {REFUND_UP_TO} €"))
    } else {
        Decision::new(Outcome::Allow)
    };
    match gate(refund).decide(decision.action("refund").policy_id("refund-limit")).await {
        Ok(refund) => pay(refund).await,
        Err(held) => match held.why() {
            // Without evidence nothing is done: the receiver is away, so try again later.
            Why::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, format!("{held}\n")),
            _ => (StatusCode::FORBIDDEN, format!("{held}\n")),
        },
    }
}

/// Only a refund whose decision is on record comes here.
async fn pay(refund: Cleared<Refund>) -> (StatusCode, String) {
    let receipt = refund.receipt();
    let refund = refund.act();
    match audited("pay", &refund, bank(&refund)).await {
        Ok(payment) => (StatusCode::OK, format!("{payment}, on record as {}\n", receipt.sequence)),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

/// The tool. A real one asks the bank here, with `spanledger::layer::context::Inject` on its client
/// if the bank's side is ours as well.
async fn bank(refund: &Refund) -> Result<String, std::num::ParseIntError> {
    let order: u32 = refund.order.parse()?;
    tokio::time::sleep(BANK_TAKES).await;
    Ok(format!("payment-{order}"))
}

/// `--port 8080`
fn port() -> Result<u16, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(8080),
        (Some("--port"), Some(port)) => Ok(port.parse()?),
        _ => Err("usage: axum_service [--port PORT]".into()),
    }
}

async fn interrupted() {
    // Without signals nothing would end it: then at once is better than never.
    let _ = tokio::signal::ctrl_c().await;
}
