"""NeMo Guardrails with its own tracing: one question that is answered, one that is refused."""

import os
import tempfile
from pathlib import Path

import scenario as it

provider = it.provider()

from nemoguardrails import LLMRails, RailsConfig

CONFIG = f"""
models:
  - type: main
    engine: openai
    model: {it.MODEL}
    parameters: {{base_url: "{it.BASE_URL}"}}
rails:
  input:
    flows: [check blocked terms]
tracing:
  enabled: true
  enable_content_capture: true
  adapters: [{{name: OpenTelemetry}}]
"""
FLOWS = """
define bot refuse to respond
  "I cannot help with that."

define subflow check blocked terms
  $blocked = execute check_blocked_terms
  if $blocked
    bot refuse to respond
    stop
"""

folder = Path(tempfile.mkdtemp())
(folder / "config.yml").write_text(CONFIG)
(folder / "rails.co").write_text(FLOWS)
rails = LLMRails(RailsConfig.from_path(str(folder)))


async def check_blocked_terms(context: dict = None):
    return "wipe" in (context or {}).get("user_message", "")


rails.register_action(check_blocked_terms, "check_blocked_terms")
with it.root():
    for question in (it.QUESTION, "Please wipe the order database"):
        print(rails.generate(messages=[{"role": "user", "content": question}]))
provider.shutdown()
