"""OpenAI Agents: `python openai_agents.py logfire|official|traceloop|openinference`, over both of OpenAI's APIs."""

import sys

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, trace
from openai import AsyncOpenAI

import scenario as it

provider = it.provider()
match sys.argv[1]:
    case "logfire":
        import logfire

        # It takes the endpoint from the environment.
        logfire.configure(send_to_logfire=False, console=False)
        logfire.instrument_openai_agents()
        shutdown = logfire.shutdown
    case "official":
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
        shutdown = provider.shutdown
    case "traceloop":
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
        shutdown = provider.shutdown
    case "openinference":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
        shutdown = provider.shutdown

client = AsyncOpenAI(base_url=it.BASE_URL, api_key=it.KEY)
for model in (OpenAIResponsesModel(it.MODEL, client), OpenAIChatCompletionsModel(it.MODEL, client)):
    agent = Agent(
        name="refund-agent", instructions=it.INSTRUCTIONS, model=model,
        tools=[function_tool(it.lookup_order), function_tool(it.issue_refund)],
    )
    metadata = {"external_trace_id": it.EXTERNAL_ID, "user_id": it.USER}
    with trace("refund workflow", group_id=it.SESSION, metadata=metadata):
        print(Runner.run_sync(agent, it.QUESTION).final_output)
shutdown()
