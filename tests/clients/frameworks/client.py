"""Exports a run of an unmodified agent framework, instrumented by its published instrumentation.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 python client.py langgraph

Variants: langgraph, openai-agents; over gRPC. The model is a local one that plays a script, so
nothing leaves the machine. The span around the run carries the external id and ends last; all
others are the framework's own. Prints and leaves as ../python/client.py does.
"""

import json
import os
import sys
import uuid

# Before the frameworks are imported: they have telemetry and tracing services of their own.
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["OPENAI_API_KEY"] = "unused"

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

QUESTION = "Please refund order 1042 — 740,50 €"
ANSWER = "Order 1042 is refunded ✓"


class AcknowledgedSpans(SpanExporter):
    """Passes spans to the real exporter and remembers which were acknowledged."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.spans = []
        self.failed = 0

    def export(self, spans):
        result = self.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.spans += spans
        else:
            self.failed += 1
        return result

    def shutdown(self):
        self.exporter.shutdown()


def issue_refund(order: int) -> str:
    """Refund an order."""
    return f"refunded order {order}"


def langgraph(provider):
    from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)
    call = {"name": "issue_refund", "args": {"order": 1042}, "id": "call_1"}
    model = FakeMessagesListChatModel(
        responses=[AIMessage("", tool_calls=[call]), AIMessage(ANSWER)]
    )
    graph = StateGraph(MessagesState)
    graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([issue_refund]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "agent")
    return graph.compile().invoke({"messages": [("user", QUESTION)]})["messages"][-1].content


def openai_agents(provider):
    from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    class Script(Model):
        """Asks for the tool, then answers."""

        def __init__(self):
            text = ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
            self.outputs = [
                ResponseFunctionToolCall(
                    name="issue_refund",
                    arguments='{"order": 1042}',
                    call_id="call_1",
                    type="function_call",
                ),
                ResponseOutputMessage(
                    id="message_1",
                    content=[text],
                    role="assistant",
                    status="completed",
                    type="message",
                ),
            ]

        async def get_response(self, *arguments, **named):
            usage = Usage(requests=1, input_tokens=120, output_tokens=12, total_tokens=132)
            return ModelResponse(output=[self.outputs.pop(0)], usage=usage, response_id=None)

        def stream_response(self, *arguments, **named):
            raise NotImplementedError

    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    agent = Agent(name="refund-agent", model=Script(), tools=[function_tool(issue_refund)])
    return Runner.run_sync(agent, QUESTION).final_output


def main():
    frameworks = {"langgraph": langgraph, "openai-agents": openai_agents}
    framework = frameworks.get(sys.argv[1])
    if framework is None:
        sys.exit(f"unknown variant {sys.argv[1]}: use {' or '.join(frameworks)}")

    spans = AcknowledgedSpans(OTLPSpanExporter())
    provider = TracerProvider(resource=Resource.create({"service.name": "client-frameworks"}))
    provider.add_span_processor(BatchSpanProcessor(spans))
    external_id = f"langsmith-run-{uuid.uuid4().hex[:12]}"
    with provider.get_tracer("orchestrator").start_as_current_span(
        "orchestrate", attributes={"external.trace_id": external_id}
    ):
        answer = framework(provider)
    if answer != ANSWER:
        sys.exit(f"the agent answered {answer!r}")

    flushed = provider.force_flush()
    provider.shutdown()
    if not flushed or spans.failed or len(spans.spans) < 5:
        sys.exit(
            f"not acknowledged: flushed={flushed}, {spans.failed} exports failed, "
            f"{len(spans.spans)} spans"
        )
    print(
        json.dumps(
            {
                "external_id": external_id,
                "spans": [
                    {
                        "trace_id": format(span.context.trace_id, "032x"),
                        "span_id": format(span.context.span_id, "016x"),
                        "name": span.name,
                    }
                    for span in spans.spans
                ],
                "logs": 0,
            }
        )
    )


if __name__ == "__main__":
    main()
