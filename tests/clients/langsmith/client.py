"""Uploads a run with the unmodified LangSmith client, without OpenTelemetry.

    LANGSMITH_ENDPOINT=http://127.0.0.1:4318 LANGSMITH_API_KEY=slk_… python client.py multipart

Variants: multipart (what the client does by itself), batch (`POST /runs/batch`), plain (`POST /runs`,
then `PATCH /runs/ID`, a request each). Prints one JSON line with the runs that were uploaded; leaves
with 1 when the client says that anything failed, which it only logs.
"""

import datetime
import json
import logging
import os
import sys
import uuid

os.environ["LANGSMITH_TRACING"] = "true"
os.environ["LANGSMITH_PROJECT"] = "refunds"

from langsmith import Client, get_current_run_tree, traceable  # noqa: E402

QUESTION = "Please refund order 1042 — 740,50 €"
ANSWER = "Order 1042 is refunded ✓"

failures = []


class Failures(logging.Handler):
    def emit(self, record):
        failures.append(record.getMessage())


logging.getLogger("langsmith").addHandler(Failures(logging.WARNING))


def by_decorator(client, external_id):
    """A chain with a model call and a tool that fails, traced as programs are."""
    runs = []

    def note():
        run = get_current_run_tree()
        runs.append({"id": str(run.id), "name": run.name, "run_type": run.run_type})
        return run

    @traceable(run_type="llm", name="chat", client=client, metadata={"ls_provider": "openai", "ls_model_name": "gpt-4o-mini"})
    def chat(messages):
        note()
        return {"role": "assistant", "content": ANSWER, "usage_metadata": {"input_tokens": 112, "output_tokens": 17, "total_tokens": 129}}

    @traceable(run_type="tool", name="issue_refund", client=client)
    def issue_refund(order):
        note()
        raise ValueError(f"order {order} is too old")

    @traceable(run_type="chain", name="refund-run", client=client)
    def refund(question):
        root = note()
        chat([{"role": "user", "content": question}])
        try:
            issue_refund(1042)
        except ValueError:
            pass
        return root.trace_id

    trace_id = refund(QUESTION, langsmith_extra={"metadata": {"external_trace_id": external_id, "user_id": "u-77"}})
    client.flush()
    return str(trace_id), runs


def in_a_batch(client, external_id):
    """A run that is posted, and patched in the same request."""
    now = datetime.datetime.now(datetime.timezone.utc)
    run_id = uuid.uuid4()
    order = now.strftime("%Y%m%dT%H%M%S%fZ") + str(run_id)
    same = {"id": run_id, "trace_id": run_id, "dotted_order": order}
    create = {
        **same,
        "name": "chat",
        "run_type": "llm",
        "inputs": {"question": QUESTION},
        "start_time": now,
        "session_name": "refunds",
        "extra": {"metadata": {"external_trace_id": external_id, "user_id": "u-77"}},
    }
    other = {**create, "id": uuid.uuid4(), "name": "later"}
    other["trace_id"] = other["id"]
    other["dotted_order"] = now.strftime("%Y%m%dT%H%M%S%fZ") + str(other["id"])
    client.batch_ingest_runs(create=[create, other])
    client.batch_ingest_runs(update=[{**same, "run_type": "llm", "outputs": {"answer": ANSWER}, "end_time": now}])
    return str(run_id), [
        {"id": str(run_id), "name": "chat", "run_type": "llm"},
        {"id": str(other["id"]), "name": "later", "run_type": "llm"},
    ]


def main(variant):
    external_id = f"ext-{uuid.uuid4()}"
    client = Client(auto_batch_tracing=variant != "plain")
    upload = in_a_batch if variant == "batch" else by_decorator
    trace_id, runs = upload(client, external_id)
    client.flush()
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 1
    print(json.dumps({"trace_id": trace_id, "external_id": external_id, "runs": runs}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
