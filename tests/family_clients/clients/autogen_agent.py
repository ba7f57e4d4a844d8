"""AutoGen AgentChat, instrumented by OpenInference."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from openinference.instrumentation import using_attributes
from openinference.instrumentation.autogen_agentchat import AutogenAgentChatInstrumentor

import scenario as it

provider = it.provider()
AutogenAgentChatInstrumentor().instrument(tracer_provider=provider)
model = OpenAIChatCompletionClient(model=it.MODEL, base_url=it.BASE_URL, api_key=it.KEY)
agent = AssistantAgent(
    "refund_agent", model, tools=[it.lookup_order, it.issue_refund], system_message=it.INSTRUCTIONS,
    max_tool_iterations=3,
)


async def main():
    with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
        print(await agent.run(task=it.QUESTION))


asyncio.run(main())
provider.shutdown()
