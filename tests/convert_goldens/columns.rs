//! Names of attributes, old and new, and the field that each of them fills.

use super::*;
use documented_requests::{span, text};
use spanledger::span::Value;

/// One name: what stands beside it, the name with its value, the field, what is there then.
type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, Value<'c>, &'c str, JsonValue);

/// The entry of a span named `x` with these attributes.
pub(super) fn one<'a>(attributes: Vec<(&'a str, Value<'a>)>) -> JsonValue {
    named("x", attributes)
}

/// The entry of a root span with these attributes.
pub(super) fn named<'a>(name: &'a str, attributes: Vec<(&'a str, Value<'a>)>) -> JsonValue {
    documented(|sink| sink.record(Record::Span(&span(0, name, attributes)))).remove(0)
}

fn check(cases: &[Case<'_>]) {
    for (beside, name, value, field, wanted) in cases {
        let mut attributes: Vec<_> =
            beside.iter().map(|(name, value)| (*name, text(value))).collect();
        attributes.push((*name, value.clone()));
        let entry = one(attributes);
        assert_eq!(entry.pointer(field), Some(wanted), "{name}: {entry:#}");
    }
}

/// A payload of a kind among those of the entry, as `(kind, text)`.
fn has_payload(entry: &JsonValue, kind: &str, wanted: &str) -> bool {
    let parts = entry["audit"]["payload"].as_array();
    parts.iter().flat_map(|p| p.iter()).any(|part| part["kind"] == kind && part["text"] == wanted)
}

const GENAI: &[(&str, &str)] = &[("gen_ai.operation.name", "chat")];
const OPENINFERENCE: &[(&str, &str)] = &[("openinference.span.kind", "LLM")];
const TRACELOOP: &[(&str, &str)] = &[("traceloop.workflow.name", "w")];
const VERCEL: &[(&str, &str)] = &[("ai.operationId", "ai.generateText.doGenerate")];
const LANGFUSE: &[(&str, &str)] = &[("langfuse.observation.type", "generation")];
const FRAMEWORK: &[(&str, &str)] = &[("executor.id", "check")];
const GOVERNANCE: &[(&str, &str)] = &[("agt.agent.id", "refund-agent")];

#[test]
fn what_kind_of_thing_it_is_has_a_word_in_every_family() {
    let kind = "/audit/kind";
    check(&[
        (&[], "gen_ai.operation.name", text("chat"), kind, json!("llm_call")),
        (&[], "gen_ai.operation.name", text("rerank"), kind, json!("retrieval")),
        (&[], "gen_ai.operation.name", text("agent_step"), kind, json!("step")),
        (&[], "openinference.span.kind", text("RERANKER"), kind, json!("retrieval")),
        (&[], "openinference.span.kind", text("GUARDRAIL"), kind, json!("step")),
        (&[], "traceloop.span.kind", text("agent"), kind, json!("agent_run")),
        (TRACELOOP, "llm.request.type", text("chat"), kind, json!("llm_call")),
        (&[], "langsmith.span.kind", text("retriever"), kind, json!("retrieval")),
        (&[], "ai.operationId", text("ai.streamObject.doStream"), kind, json!("llm_call")),
        (&[], "ai.operationId", text("ai.embedMany"), kind, json!("step")),
        (&[], "ai.operationId", text("ai.rerank.doRerank"), kind, json!("retrieval")),
        (&[], "langfuse.observation.type", text("retriever"), kind, json!("retrieval")),
        (&[], "langfuse.observation.type", text("span"), kind, json!("span")),
        (&[], "gen_ai.guardrail.status", text("PASSED"), kind, json!("decision")),
        (&[], "gen_ai.handoff.to_agent", text("refunds"), kind, json!("handoff")),
        (&[], "edge_group.type", text("SwitchCaseEdgeGroup"), kind, json!("branch")),
        (GOVERNANCE, "agt.approval.outcome", text("approved"), kind, json!("approval")),
    ]);
}

#[test]
fn provider_and_model_are_found_under_old_and_new_names() {
    let (provider, asked, answered) =
        ("/gen_ai/provider/name", "/gen_ai/request/model", "/gen_ai/response/model");
    check(&[
        (GENAI, "gen_ai.system", text("openai"), provider, json!("openai")),
        (OPENINFERENCE, "llm.system", text("openai"), provider, json!("openai")),
        (VERCEL, "ai.model.provider", text("openai.chat"), provider, json!("openai.chat")),
        (TRACELOOP, "llm.request.model", text("gpt-4"), asked, json!("gpt-4")),
        (TRACELOOP, "llm.response.model", text("gpt-4-0613"), answered, json!("gpt-4-0613")),
        (OPENINFERENCE, "llm.model_name", text("gpt-4-0613"), answered, json!("gpt-4-0613")),
        (OPENINFERENCE, "llm.request.model_name", text("gpt-4"), asked, json!("gpt-4")),
        (
            OPENINFERENCE,
            "llm.response.model_name",
            text("gpt-4-0613"),
            answered,
            json!("gpt-4-0613"),
        ),
        (
            OPENINFERENCE,
            "llm.invocation_parameters",
            text(r#"{"model":"gpt-4"}"#),
            asked,
            json!("gpt-4"),
        ),
        (VERCEL, "ai.model.id", text("gpt-4"), asked, json!("gpt-4")),
        (LANGFUSE, "langfuse.observation.model.name", text("gpt-4"), answered, json!("gpt-4")),
    ]);
}

#[test]
fn tokens_and_costs_are_found_under_old_and_new_names() {
    let (input, output, total) =
        ("/gen_ai/usage/input_tokens", "/gen_ai/usage/output_tokens", "/gen_ai/usage/total_tokens");
    let (read, made, thought, cost) = (
        "/gen_ai/usage/cache_read_input_tokens",
        "/gen_ai/usage/cache_creation_input_tokens",
        "/gen_ai/usage/reasoning_tokens",
        "/gen_ai/usage/cost",
    );
    let (seven, details) =
        (Value::Int(7), r#"{"input":5,"output":2,"total":7,"input_cached_tokens":3}"#);
    check(&[
        (GENAI, "gen_ai.usage.prompt_tokens", seven.clone(), input, json!(7)),
        (GENAI, "gen_ai.usage.completion_tokens", seven.clone(), output, json!(7)),
        (GENAI, "gen_ai.usage.cache_read.input_tokens", seven.clone(), read, json!(7)),
        (GENAI, "gen_ai.usage.cache_creation.input_tokens", seven.clone(), made, json!(7)),
        (GENAI, "gen_ai.usage.reasoning.output_tokens", seven.clone(), thought, json!(7)),
        (GENAI, "gen_ai.usage.input_token_details", text(r#"{"cache_read":7}"#), read, json!(7)),
        (TRACELOOP, "llm.usage.total_tokens", seven.clone(), total, json!(7)),
        (TRACELOOP, "gen_ai.usage.total_tokens", text("7"), total, json!(7)),
        (
            OPENINFERENCE,
            "llm.token_count.prompt_details.cache_write",
            seven.clone(),
            made,
            json!(7),
        ),
        (
            OPENINFERENCE,
            "llm.token_count.completion_details.reasoning",
            seven.clone(),
            thought,
            json!(7),
        ),
        (OPENINFERENCE, "llm.cost.total", Value::Double(0.25), cost, json!(0.25)),
        (VERCEL, "ai.usage.promptTokens", seven.clone(), input, json!(7)),
        (VERCEL, "ai.usage.completionTokens", seven.clone(), output, json!(7)),
        (VERCEL, "ai.usage.tokens", seven.clone(), input, json!(7)),
        (VERCEL, "ai.usage.inputTokenDetails.cacheWriteTokens", seven, made, json!(7)),
        (LANGFUSE, "langfuse.observation.usage_details", text(details), input, json!(5)),
        (LANGFUSE, "langfuse.observation.usage_details", text(details), read, json!(3)),
        (
            LANGFUSE,
            "langfuse.observation.cost_details",
            text(r#"{"total":0.25}"#),
            cost,
            json!(0.25),
        ),
    ]);
}

#[test]
fn sessions_users_agents_runs_and_workflows_are_found_under_old_and_new_names() {
    let (session, user, agent) = ("/audit/session/id", "/user/id", "/gen_ai/agent/name");
    let (run, workflow) = ("/audit/run/id", "/audit/workflow/name");
    check(&[
        (GENAI, "gen_ai.conversation.id", text("conv-1"), session, json!("conv-1")),
        (GENAI, "enduser.id", text("u-77"), user, json!("u-77")),
        (GENAI, "user_id", text("u-77"), user, json!("u-77")),
        (TRACELOOP, "gen_ai.user", text("u-77"), user, json!("u-77")),
        (TRACELOOP, "llm.user", text("u-77"), user, json!("u-77")),
        (TRACELOOP, "traceloop.association.properties.session_id", text("s"), session, json!("s")),
        (&[], "traceloop.workflow.name", text("refund"), workflow, json!("refund")),
        (OPENINFERENCE, "metadata", text(r#"{"user_id":"u-77"}"#), user, json!("u-77")),
        (&[], "langsmith.trace.session_id", text("s"), session, json!("s")),
        (&[], "langsmith.metadata.user_id", text("u-77"), user, json!("u-77")),
        (VERCEL, "ai.telemetry.metadata.sessionId", text("s"), session, json!("s")),
        (VERCEL, "ai.settings.context.userId", text("u-77"), user, json!("u-77")),
        (VERCEL, "ai.telemetry.functionId", text("refund"), workflow, json!("refund")),
        (VERCEL, "ai.telemetry.functionId", text("refund"), agent, json!("refund")),
        (LANGFUSE, "langfuse.trace.metadata.user_id", text("\"u-77\""), user, json!("u-77")),
        (&[], "gcp.vertex.agent.session_id", text("s"), session, json!("s")),
        (&[], "gcp.vertex.agent.invocation_id", text("e-1"), run, json!("e-1")),
        (GENAI, "gen_ai.agent.call.id", text("r-1"), run, json!("r-1")),
        (FRAMEWORK, "workflow.name", text("refund"), workflow, json!("refund")),
        (&[], "mcp.session.id", text("s"), session, json!("s")),
    ]);
}

#[test]
fn prompts_answers_arguments_and_results_are_payload_under_every_name() {
    let tool = &[("openinference.span.kind", "TOOL")];
    for (beside, name, kind) in [
        (GENAI, "gen_ai.input.messages", "prompt"),
        (GENAI, "gen_ai.prompt.0.content", "prompt"),
        (GENAI, "gen_ai.prompt.1.tool_calls.0.arguments", "prompt"),
        (GENAI, "gen_ai.completion.0.content", "response"),
        (GENAI, "gen_ai.completion.0.tool_calls.0.arguments", "response"),
        (GENAI, "gen_ai.completion.0.reasoning_content", "reasoning"),
        (GENAI, "llm.prompts.0.content", "prompt"),
        (GENAI, "llm.completions.0.content", "response"),
        (GENAI, "gen_ai.tool.call.arguments", "arguments"),
        (GENAI, "gen_ai.tool.call.result", "result"),
        (GENAI, "gen_ai.retrieval.documents", "result"),
        (GENAI, "mcp.request.argument", "arguments"),
        (OPENINFERENCE, "llm.prompts", "prompt"),
        (OPENINFERENCE, "llm.prompts.0.prompt.text", "prompt"),
        (OPENINFERENCE, "llm.choices.0.completion.text", "response"),
        (OPENINFERENCE, "llm.input_messages.0.message.content", "prompt"),
        (OPENINFERENCE, "llm.input_messages.0.message.contents.1.message_content.text", "prompt"),
        (
            OPENINFERENCE,
            "llm.input_messages.0.message.contents.0.message_content.image.image.url",
            "prompt",
        ),
        (
            OPENINFERENCE,
            "llm.input_messages.0.message.contents.2.message_content.audio.audio.transcript",
            "prompt",
        ),
        (OPENINFERENCE, "llm.input_messages.1.message.function_call_arguments_json", "prompt"),
        (
            OPENINFERENCE,
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments",
            "response",
        ),
        (
            OPENINFERENCE,
            "llm.output_messages.0.message.contents.0.message_content.data",
            "response",
        ),
        (tool, "input.value", "arguments"),
        (tool, "output.value", "result"),
        (VERCEL, "ai.prompt.messages", "prompt"),
        (VERCEL, "ai.response.text", "response"),
        (VERCEL, "ai.result.text", "response"),
        (VERCEL, "ai.response.reasoning", "reasoning"),
        (VERCEL, "ai.toolCall.args", "arguments"),
        (VERCEL, "ai.toolCall.result", "result"),
        (LANGFUSE, "langfuse.observation.input", "prompt"),
        (LANGFUSE, "langfuse.observation.output", "response"),
        (GENAI, "gcp.vertex.agent.llm_request", "prompt"),
        (GENAI, "gcp.vertex.agent.tool_call_args", "arguments"),
        (TRACELOOP, "traceloop.entity.input", "input"),
        (GENAI, "final_result", "output"),
    ] {
        let mut attributes: Vec<_> = beside.iter().map(|(k, v)| (*k, text(v))).collect();
        attributes.push((name, text("what was said")));
        let entry = one(attributes);
        assert!(has_payload(&entry, kind, "what was said"), "{name}: {entry:#}");
        assert!(entry["attributes"][name].is_null(), "{name} is kept once");
    }
}

#[test]
fn who_speaks_and_which_tool_is_called_stay_readable_beside_the_payload() {
    for name in [
        "llm.input_messages.0.message.role",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.name",
        "llm.input_messages.2.message.tool_call_id",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id",
        "gen_ai.prompt.0.role",
    ] {
        let entry = one(vec![("openinference.span.kind", text("LLM")), (name, text("word"))]);
        assert_eq!(entry["attributes"][name], "word", "{name}");
    }
}

#[test]
fn a_tool_an_agent_and_a_workflow_are_named_by_their_span_where_nothing_else_names_them() {
    let tool = named("execute_tool issue_refund", vec![]);
    assert_eq!(tool["gen_ai"]["tool"]["name"], "issue_refund");
    let old = named("agent_run [refund_agent]", vec![("gcp.vertex.agent.event_id", text("e"))]);
    assert_eq!(old["audit"]["kind"], "agent_run");
    assert_eq!(old["gen_ai"]["agent"]["name"], "refund_agent");
    let named_twice = named("execute_tool x", vec![("gen_ai.tool.name", text("issue_refund"))]);
    assert_eq!(named_twice["gen_ai"]["tool"]["name"], "issue_refund", "an attribute knows better");
    let handoff = documented(|sink| {
        sink.scope(&Scope {
            name: "openinference.instrumentation.openai_agents".into(),
            ..Scope::default()
        });
        let attributes = vec![("openinference.span.kind", text("TOOL"))];
        sink.record(Record::Span(&span(1, "handoff to refunds", attributes)));
    });
    assert_eq!(handoff[0]["audit"]["kind"], "handoff");
    assert_eq!(handoff[0]["audit"]["handoff"]["target"], "refunds");
}

#[test]
fn the_definition_of_a_workflow_is_a_name_and_joins_no_runs() {
    let run =
        named("workflow.run", vec![("workflow.id", text("def-1")), ("executor.id", text("x"))]);
    assert!(run["audit"]["workflow"]["id"].is_null(), "every run of it has the same");
    assert_eq!(run["audit"]["workflow"]["name"], "def-1");
}
