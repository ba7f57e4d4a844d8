"""Microsoft Agent Framework: its telemetry is built in. ENABLE_SENSITIVE_DATA chooses payloads."""

import asyncio
import os

os.environ["ENABLE_INSTRUMENTATION"] = "true"
os.environ.setdefault("ENABLE_SENSITIVE_DATA", "true")

import agent_framework.observability as observability
from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient

import scenario as it

provider = it.provider()
for enable in ("enable_instrumentation", "enable_sensitive_data"):
    if hasattr(observability, enable):
        getattr(observability, enable)()


async def main():
    client = OpenAIChatCompletionClient(model=it.MODEL, api_key=it.KEY, base_url=it.BASE_URL)
    agent = Agent(client=client, name="refund-agent", instructions=it.INSTRUCTIONS, tools=[it.lookup_order, it.issue_refund])
    with it.root():
        print(await agent.run(it.QUESTION))


asyncio.run(main())
provider.shutdown()
