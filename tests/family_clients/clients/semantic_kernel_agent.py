"""Microsoft Semantic Kernel: its telemetry is built in, behind two switches."""

import asyncio
import os

os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"
os.environ.setdefault("SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE", "true")

import logging

from openai import AsyncOpenAI
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

import scenario as it

provider = it.provider()
# What models were told and said goes to one of its loggers.
logs = LoggerProvider(resource=provider.resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
set_logger_provider(logs)
handler = LoggingHandler(logger_provider=logs)
said = logging.getLogger("semantic_kernel.utils.telemetry")
said.addHandler(handler)
said.setLevel(logging.INFO)


class Orders:
    """The tools, as a plugin."""

    @kernel_function(name="lookup_order", description="Look an order up.")
    def lookup_order(self, order_id: str) -> str:
        return it.lookup_order(order_id)

    @kernel_function(name="issue_refund", description="Refund an order.")
    def issue_refund(self, order_id: str, amount: float) -> str:
        return it.issue_refund(order_id, amount)


async def main():
    service = OpenAIChatCompletion(
        ai_model_id=it.MODEL, async_client=AsyncOpenAI(api_key=it.KEY, base_url=it.BASE_URL)
    )
    agent = ChatCompletionAgent(
        service=service, name="refund-agent", instructions=it.INSTRUCTIONS, plugins=[Orders()]
    )
    with it.root():
        print((await agent.get_response(messages=it.QUESTION)).content)


asyncio.run(main())
provider.shutdown()
logs.shutdown()
