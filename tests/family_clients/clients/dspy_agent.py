"""DSPy, instrumented by OpenInference. Its prompts have a form of their own, so the script is here."""

import dspy
from openinference.instrumentation import using_attributes
from openinference.instrumentation.dspy import DSPyInstrumentor

import scenario as it

provider = it.provider()
DSPyInstrumentor().instrument(tracer_provider=provider)
STEPS = [
    {"next_thought": "look it up", "next_tool_name": "lookup_order", "next_tool_args": {"order_id": "1042"}},
    {"next_thought": "refund it", "next_tool_name": "issue_refund", "next_tool_args": {"order_id": "1042", "amount": 59.9}},
    {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "it was refunded", "answer": "Order 1042 is refunded: 59.90 EUR."},
]
dspy.configure(lm=dspy.utils.DummyLM(STEPS))
agent = dspy.ReAct("question -> answer", tools=[it.lookup_order, it.issue_refund], max_iters=4)
with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
    print(agent(question=it.QUESTION))
provider.shutdown()
