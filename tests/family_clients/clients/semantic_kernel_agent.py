"""Semantic Kernel: its telemetry is built in and marked experimental."""

import asyncio
import os

os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"
os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE"] = "true"

from openai import AsyncOpenAI
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

import scenario as it

provider = it.provider()


class Orders:
    @kernel_function(description="Look an order up.")
    def lookup_order(self, order_id: str) -> str:
        return it.lookup_order(order_id)

    @kernel_function(description="Refund an order.")
    def issue_refund(self, order_id: str, amount: float) -> str:
        return it.issue_refund(order_id, amount)


async def main():
    client = AsyncOpenAI(base_url=it.BASE_URL, api_key=it.KEY)
    service = OpenAIChatCompletion(ai_model_id=it.MODEL, async_client=client)
    agent = ChatCompletionAgent(service=service, name="refund_agent", instructions=it.INSTRUCTIONS, plugins=[Orders()])
    with it.root():
        print(await agent.get_response(messages=it.QUESTION))


asyncio.run(main())
provider.shutdown()
