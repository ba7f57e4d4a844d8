//! Objects with OpenTelemetry `gen_ai.*` names: model, agent, tool, usage.

use super::part::part;
#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// OpenTelemetry `gen_ai.*`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct GenAi<'a> {
    /// The operation: `chat`, `execute_tool`, `invoke_agent`, as the source wrote it.
    #[serde(rename = "operation", skip_serializing_if = "OperationPart::is_empty", default)]
    pub operation: OperationPart<'a>,
    /// Who runs the model.
    #[serde(skip_serializing_if = "ProviderPart::is_empty", default)]
    pub provider: ProviderPart<'a>,
    /// What was asked of the model.
    #[serde(skip_serializing_if = "ModelRequest::is_empty", default)]
    pub request: ModelRequest<'a>,
    /// What the model answered with.
    #[serde(skip_serializing_if = "ModelResponse::is_empty", default)]
    pub response: ModelResponse<'a>,
    /// Tokens and cost.
    #[serde(skip_serializing_if = "Usage::is_empty", default)]
    pub usage: Usage<'a>,
    /// The agent.
    #[serde(skip_serializing_if = "AgentPart::is_empty", default)]
    pub agent: AgentPart<'a>,
    /// The tool.
    #[serde(skip_serializing_if = "ToolPart::is_empty", default)]
    pub tool: ToolPart<'a>,
    /// The conversation.
    #[serde(skip_serializing_if = "ConversationPart::is_empty", default)]
    pub conversation: ConversationPart<'a>,
}

impl GenAi<'_> {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.operation.is_empty()
            && self.provider.is_empty()
            && self.request.is_empty()
            && self.response.is_empty()
            && self.usage.is_empty()
            && self.agent.is_empty()
            && self.tool.is_empty()
            && self.conversation.is_empty()
    }
}

part! {
    /// `gen_ai.operation.*`.
    OperationPart {
        /// Name of the operation.
        name: Cow<'a, str>,
    }
}

part! {
    /// `gen_ai.provider.*`.
    ProviderPart {
        /// `openai`, `anthropic`, … as the source wrote it.
        name: Cow<'a, str>,
    }
}

part! {
    /// `gen_ai.request.*`.
    ModelRequest {
        /// The model that was asked for.
        model: Cow<'a, str>,
    }
}

part! {
    /// `gen_ai.response.*`.
    ModelResponse {
        /// The model that answered.
        model: Cow<'a, str>,
        /// Identifier that the provider gave to the answer.
        id: Cow<'a, str>,
        /// Why the model stopped, one word for each choice.
        finish_reasons: Vec<Cow<'a, str>>,
    }
}

part! {
    /// `gen_ai.usage.*`: tokens and cost as reported.
    Usage {
        /// Tokens in.
        input_tokens: i64,
        /// Tokens out.
        output_tokens: i64,
        /// Tokens in and out, where only the sum was reported or the source reports it too.
        total_tokens: i64,
        /// Tokens in that came from a cache.
        cache_read_input_tokens: i64,
        /// Tokens in that were written to a cache.
        cache_creation_input_tokens: i64,
        /// Tokens out that were spent on reasoning.
        reasoning_tokens: i64,
        /// Cost as reported, in the source's currency.
        cost: f64,
        /// True when the same tokens are reported by an inner span too: do not add them up.
        repeated: bool,
    }
}

part! {
    /// `gen_ai.agent.*`.
    AgentPart {
        /// Identifier.
        id: Cow<'a, str>,
        /// Name.
        name: Cow<'a, str>,
        /// Version: so that versions of an agent can be compared.
        version: Cow<'a, str>,
    }
}

/// `gen_ai.tool.*`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct ToolPart<'a> {
    /// Name of the tool.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<Cow<'a, str>>,
    /// `function`, `mcp`, … as the source wrote it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Cow<'a, str>>,
    /// The call.
    #[serde(skip_serializing_if = "ToolCallPart::is_empty", default)]
    pub call: ToolCallPart<'a>,
}

impl ToolPart<'_> {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.kind.is_none() && self.call.is_empty()
    }
}

part! {
    /// `gen_ai.tool.call.*`. Arguments and result are payloads: see [`Payload`](super::Payload).
    ToolCallPart {
        /// Identifier that the model gave to the call.
        id: Cow<'a, str>,
    }
}

part! {
    /// `gen_ai.conversation.*`: filters, never joins.
    ConversationPart {
        /// Identifier.
        id: Cow<'a, str>,
    }
}
