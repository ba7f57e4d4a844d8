"""CrewAI, instrumented by OpenInference, with its instrumentation of the OpenAI client beside it."""

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"
os.environ["CREWAI_TRACING_ENABLED"] = "false"

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from openinference.instrumentation import using_attributes
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor

import scenario as it

provider = it.provider()
CrewAIInstrumentor().instrument(tracer_provider=provider)
OpenAIInstrumentor().instrument(tracer_provider=provider)
model = LLM(model=f"openai/{it.MODEL}", base_url=it.BASE_URL, api_key=it.KEY)
agent = Agent(
    role="Refund agent", goal="Refund orders", backstory=it.INSTRUCTIONS, llm=model,
    tools=[tool("lookup_order")(it.lookup_order), tool("issue_refund")(it.issue_refund)],
)
task = Task(description=it.QUESTION, expected_output="A confirmation", agent=agent)
crew = Crew(name="refund-crew", agents=[agent], tasks=[task])
with using_attributes(session_id=it.SESSION, user_id=it.USER, metadata={"external_trace_id": it.EXTERNAL_ID}):
    print(crew.kickoff())
provider.shutdown()
