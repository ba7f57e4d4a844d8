"""smolagents, instrumented by OpenInference."""

from openinference.instrumentation import using_attributes
from openinference.instrumentation.smolagents import SmolagentsInstrumentor
from smolagents import OpenAIServerModel, ToolCallingAgent, tool

import scenario as it

provider = it.provider()
SmolagentsInstrumentor().instrument(tracer_provider=provider)


@tool
def lookup_order(order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: Number of the order.
    """
    return it.lookup_order(order_id)


@tool
def issue_refund(order_id: str, amount: float) -> str:
    """Refund an order.

    Args:
        order_id: Number of the order.
        amount: Amount in EUR.
    """
    return it.issue_refund(order_id, amount)


model = OpenAIServerModel(it.MODEL, api_base=it.BASE_URL, api_key=it.KEY)
agent = ToolCallingAgent(name="refund_agent", description="Refunds orders.", tools=[lookup_order, issue_refund], model=model, max_steps=3)
with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
    print(agent.run(it.QUESTION))
provider.shutdown()
