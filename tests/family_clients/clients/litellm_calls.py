"""LiteLLM with its own OpenTelemetry callback."""

import litellm

import scenario as it

provider = it.provider()
litellm.callbacks = ["otel"]
with it.root():
    answer = litellm.completion(
        model=f"openai/{it.MODEL}", api_base=it.BASE_URL, api_key=it.KEY, user=it.USER,
        messages=[{"role": "system", "content": it.INSTRUCTIONS}, {"role": "user", "content": it.QUESTION}],
        tools=[{"type": "function", "function": {"name": "lookup_order", "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}}}}],
        metadata={"session_id": it.SESSION, "external_trace_id": it.EXTERNAL_ID},
    )
print(answer.choices[0].message)
import time

time.sleep(2)
provider.force_flush()
