"""An agent run seen through OpenTelemetry. README.md beside this file says how to run it."""

import uuid

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "weather-agent"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("weather-agent")

# The id that your orchestrator knows the run by. On the root span is enough.
run_id = f"langsmith-run-{uuid.uuid4().hex[:12]}"

with tracer.start_as_current_span("invoke_agent weather-agent") as root:
    root.set_attribute("external.trace_id", run_id)
    root.set_attribute("gen_ai.operation.name", "invoke_agent")
    root.set_attribute("gen_ai.agent.name", "weather-agent")
    with tracer.start_as_current_span("chat gpt-4.1") as chat:
        chat.set_attribute("gen_ai.operation.name", "chat")
        chat.set_attribute("gen_ai.request.model", "gpt-4.1")
        chat.set_attribute("gen_ai.usage.input_tokens", 120)
    with tracer.start_as_current_span("execute_tool get_weather") as tool:
        tool.set_attribute("gen_ai.operation.name", "execute_tool")
        tool.set_attribute("gen_ai.tool.name", "get_weather")
        tool.set_attribute("gen_ai.tool.call.arguments", '{"city": "Zürich"}')

provider.shutdown()
print(f"sent; look at it with:\n\n    spanledger search 'trace_id:{run_id}'\n")
