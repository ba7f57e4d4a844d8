//! A model that needs no network: it asks for the tool, and then answers. It does what rig's
//! providers do, the span of a call included.

use rig_agent::completion::{
    AssistantContent, CompletionError, CompletionModel, CompletionRequest, CompletionResponse,
    Usage,
};
use rig_agent::core::message::{ToolCall, ToolFunction};
use rig_agent::core::streaming::StreamingCompletionResponse;
use rig_agent::core::telemetry::{CompletionOperation, CompletionSpanBuilder, SpanCombinator as _};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use tracing::Instrument as _;

const PROVIDER: &str = "fake";
const MODEL: &str = "fake-1";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FakeModel {
    calls: AtomicU32,
}

impl CompletionModel for FakeModel {
    async fn completion(
        &self,
        _request: CompletionRequest,
    ) -> Result<CompletionResponse, CompletionError> {
        let span = CompletionSpanBuilder::new(PROVIDER, MODEL, CompletionOperation::Chat).build();
        let answer = async {
            let choice = match self.calls.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    let arguments = json!({"order": "4711", "euro": 40});
                    let function = ToolFunction::new("issue_refund".to_owned(), arguments);
                    AssistantContent::ToolCall(ToolCall::from_wire("call-1", function))
                }
                _ => AssistantContent::text("40 € are on their way."),
            };
            let usage =
                Usage { input_tokens: 120, output_tokens: 12, total_tokens: 132, ..Usage::new() };
            tracing::Span::current().record_token_usage(&usage);
            CompletionResponse::new(vec![choice], usage, PROVIDER)
        };
        Ok(answer.instrument(span).await)
    }

    async fn stream(
        &self,
        _request: CompletionRequest,
    ) -> Result<StreamingCompletionResponse, CompletionError> {
        Err(CompletionError::ProviderError("the fake model does not stream".to_owned()))
    }
}
