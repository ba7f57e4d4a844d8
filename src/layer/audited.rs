//! Around a tool's function: its arguments, result, duration and error as one span.

use super::event::json;
use serde::Serialize;
use std::fmt::Display;
use std::future::Future;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Attribute of a tool call that was given up before it ended.
pub const CANCELLED: &str = "spanledger.cancelled";

/// Runs a tool's function inside a span of its own, which becomes an entry: the tool, what it was
/// called with, what it answered or how it failed, from when to when. Credentials in arguments and
/// results are replaced before they leave memory, and what the receiver keeps of payloads is its
/// setting. A call that is dropped before it ends is an entry too, and says so.
///
/// What runs inside is below that span: its own calls are its children.
///
/// ```
/// use spanledger::layer::audited;
/// # async fn agent() -> Result<(), std::io::Error> {
/// let balance: u32 = audited("get_balance", &("account-7", "EUR"), async {
///     Ok::<_, std::io::Error>(740)
/// })
/// .await?;
/// # let _ = balance;
/// # Ok(()) }
/// ```
///
/// # Errors
/// What `work` fails with.
pub async fn audited<T, E, F>(tool: &str, arguments: &impl Serialize, work: F) -> Result<T, E>
where
    T: Serialize,
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let span = tracing::info_span!(
        target: "audit",
        "execute_tool",
        otel.name = format!("execute_tool {tool}"),
        otel.status_code = Empty,
        otel.status_description = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        gen_ai.tool.call.arguments = json(arguments),
        gen_ai.tool.call.result = Empty,
        error.type = Empty,
        spanledger.cancelled = Empty,
    );
    let mut unended = Unended(Some(span.clone()));
    let result = work.instrument(span.clone()).await;
    unended.0 = None;
    match &result {
        Ok(value) => {
            span.record("gen_ai.tool.call.result", json(value).as_str());
            span.record("otel.status_code", "ok");
        }
        Err(error) => {
            span.record("error.type", std::any::type_name::<E>());
            span.record("otel.status_code", "error");
            span.record("otel.status_description", error.to_string().as_str());
        }
    }
    result
}

/// Marks the span of a call that is dropped.
struct Unended(Option<Span>);

impl Drop for Unended {
    fn drop(&mut self) {
        if let Some(span) = &self.0 {
            span.record(CANCELLED, true);
        }
    }
}
