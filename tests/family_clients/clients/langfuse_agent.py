"""Langfuse's SDK: its decorators, its client of OpenAI, and each of its types of observation."""

import os

os.environ["LANGFUSE_BASE_URL"] = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
os.environ["LANGFUSE_PUBLIC_KEY"], os.environ["LANGFUSE_SECRET_KEY"] = "pk-lf-lab", "sk-lf-lab"

import json

from langfuse import get_client, observe, propagate_attributes
from langfuse.openai import OpenAI

import scenario as it

langfuse = get_client()
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("lookup_order", "issue_refund")
]
RUN = {"lookup_order": observe(as_type="tool")(it.lookup_order), "issue_refund": observe(as_type="tool")(it.issue_refund)}


@observe(as_type="guardrail")
def refund_limit(amount: float):
    langfuse.update_current_span(level="WARNING", status_message="refund above 50 EUR")
    return {"allowed": False, "reason": "refund above 50 EUR"}


@observe(as_type="retriever")
def policies(question: str):
    return [{"id": "refund-policy-v3", "text": "Refunds above 50 EUR need a human."}]


@observe(as_type="agent", name="refund-agent")
def agent(question: str) -> str:
    messages = [{"role": "system", "content": it.INSTRUCTIONS}, {"role": "user", "content": question}]
    policies(question)
    while True:
        answer = OpenAI().chat.completions.create(model=it.MODEL, messages=messages, tools=TOOLS).choices[0].message
        if not answer.tool_calls:
            return answer.content
        messages.append(answer.model_dump(exclude_none=True))
        for call in answer.tool_calls:
            arguments = json.loads(call.function.arguments)
            if call.function.name == "issue_refund":
                refund_limit(arguments["amount"])
            result = RUN[call.function.name](**arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


ids = {"external_trace_id": it.EXTERNAL_ID, "tenant_id": "acme"}
with langfuse.start_as_current_observation(as_type="chain", name="POST /refund"):
    with propagate_attributes(user_id=it.USER, session_id=it.SESSION, metadata=ids, version="1.4.2", tags=["refund"]):
        print(agent(it.QUESTION))
        with langfuse.start_as_current_observation(as_type="embedding", name="embed", model="text-embedding-3-small") as embed:
            embed.update(input="order 1042", usage_details={"input": 5})
        with langfuse.start_as_current_observation(as_type="evaluator", name="helpfulness") as judged:
            judged.update(output={"score": 0.9})
        langfuse.create_event(name="refund.issued", metadata={"order_id": "1042"})
        with langfuse.start_as_current_observation(as_type="tool", name="notify_customer") as failed:
            failed.update(level="ERROR", status_message="mail server refused")
langfuse.flush()
