"""Agno, instrumented by OpenInference."""

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from openinference.instrumentation.agno import AgnoInstrumentor

import scenario as it

provider = it.provider()
AgnoInstrumentor().instrument(tracer_provider=provider)
agent = Agent(
    name="refund-agent", model=OpenAIChat(id=it.MODEL, base_url=it.BASE_URL, api_key=it.KEY),
    tools=[it.lookup_order, it.issue_refund], instructions=it.INSTRUCTIONS, telemetry=False,
)
with it.root():
    print(agent.run(it.QUESTION, session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}).content)
provider.shutdown()
