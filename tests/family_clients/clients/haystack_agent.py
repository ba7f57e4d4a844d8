"""Haystack, instrumented by OpenInference."""

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from openinference.instrumentation import using_attributes
from openinference.instrumentation.haystack import HaystackInstrumentor

import scenario as it

provider = it.provider()
HaystackInstrumentor().instrument(tracer_provider=provider)
model = OpenAIChatGenerator(api_key=Secret.from_token(it.KEY), model=it.MODEL, api_base_url=it.BASE_URL)
tools = [create_tool_from_function(tool) for tool in (it.lookup_order, it.issue_refund)]
agent = Agent(chat_generator=model, tools=tools, system_prompt=it.INSTRUCTIONS)
agent.warm_up()
with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
    print(agent.run(messages=[ChatMessage.from_user(it.QUESTION)])["messages"][-1].text)
provider.shutdown()
