"""Strands Agents: its telemetry is built in. OTEL_SEMCONV_STABILITY_OPT_IN chooses the convention."""

from strands import Agent, tool
from strands.models.openai import OpenAIModel

import scenario as it

provider = it.provider()
model = OpenAIModel(client_args={"api_key": it.KEY, "base_url": it.BASE_URL}, model_id=it.MODEL)
agent = Agent(
    name="refund-agent", model=model, system_prompt=it.INSTRUCTIONS, callback_handler=None,
    tools=[tool(it.lookup_order), tool(it.issue_refund)],
    trace_attributes={"session.id": it.SESSION, "user.id": it.USER, "external_trace_id": it.EXTERNAL_ID},
)
print(agent(it.QUESTION))
provider.shutdown()
