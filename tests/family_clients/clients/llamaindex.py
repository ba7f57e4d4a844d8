"""LlamaIndex, instrumented by OpenInference."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from openinference.instrumentation import using_attributes
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

import scenario as it

provider = it.provider()
LlamaIndexInstrumentor().instrument(tracer_provider=provider)
model = OpenAILike(
    model=it.MODEL, api_base=it.BASE_URL, api_key=it.KEY, is_chat_model=True, is_function_calling_model=True
)
agent = FunctionAgent(
    name="refund-agent", description="Refunds orders.", system_prompt=it.INSTRUCTIONS,
    tools=[it.lookup_order, it.issue_refund], llm=model, streaming=False,
)


async def main():
    with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
        print(await agent.run(it.QUESTION))


asyncio.run(main())
provider.shutdown()
