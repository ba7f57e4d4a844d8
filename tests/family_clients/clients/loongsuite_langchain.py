"""LangChain's agent, instrumented by LoongSuite, within an entry span of its GenAI utilities."""

import os

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
os.environ["LANGSMITH_TRACING"] = "false"

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from opentelemetry.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.langgraph import LangGraphInstrumentor
from opentelemetry.util.genai.extended_handler import ExtendedTelemetryHandler
from opentelemetry.util.genai.extended_types import EntryInvocation

import scenario as it

provider = it.provider()
LangChainInstrumentor().instrument(tracer_provider=provider)
LangGraphInstrumentor().instrument(tracer_provider=provider)
model = ChatOpenAI(model=it.MODEL, base_url=it.BASE_URL, api_key=it.KEY)
agent = create_agent(model, tools=[it.lookup_order, it.issue_refund], system_prompt=it.INSTRUCTIONS, name="refund-agent")
handler = ExtendedTelemetryHandler(tracer_provider=provider)
entry = handler.start_entry(EntryInvocation(session_id=it.SESSION, user_id=it.USER))
config = {"metadata": {"external_trace_id": it.EXTERNAL_ID}}
print(agent.invoke({"messages": [("user", it.QUESTION)]}, config)["messages"][-1].content)
handler.stop_entry(entry)
provider.shutdown()
