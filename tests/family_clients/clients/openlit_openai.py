"""OpenLIT's instrumentation of the OpenAI client."""

import json

import openlit
from openai import OpenAI

import scenario as it

openlit.init(application_name="refund-service", environment="lab", disable_metrics=True)
client = OpenAI(base_url=it.BASE_URL, api_key=it.KEY)
schema = {"type": "object", "properties": {"order_id": {"type": "string"}, "amount": {"type": "number"}}}
tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("lookup_order", "issue_refund")]
messages = [{"role": "system", "content": it.INSTRUCTIONS}, {"role": "user", "content": it.QUESTION}]
with it.root():
    while True:
        message = client.chat.completions.create(model=it.MODEL, messages=messages, tools=tools, user=it.USER).choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            result = getattr(it, call.function.name)(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
it.trace.get_tracer_provider().force_flush()
