"""Calls the API with AxonFlow's published client for Python, as its users do.

    AXONFLOW_AGENT_URL=http://127.0.0.1:4380 python client.py record

Runs: record (every call that works without an upstream), decide (every call, with one), pipeline
(the example of five entries), langgraph (the adapter for LangGraph), ask (what asks for a decision,
each of which has to be refused). Prints one JSON line: what each call returned or raised, by its name.
AXONFLOW_CLIENT_SECRET is the key that writes, READER_SECRET the one that reads where they differ.
"""

import asyncio
import dataclasses
import json
import os
import sys
import uuid
from datetime import datetime, timedelta, timezone

from axonflow import AxonFlow
from axonflow.adapters.langgraph import AxonFlowLangGraphAdapter
from axonflow.decisions import ListDecisionsOptions
from axonflow.types import (
    AuditQueryOptions,
    AuditSearchRequest,
    AuditToolCallRequest,
    TokenUsage,
)
from axonflow.workflow import (
    CreateWorkflowRequest,
    ListWorkflowsOptions,
    MarkStepCompletedRequest,
    StepGateRequest,
    StepType,
    ToolContext,
    WorkflowSource,
    WorkflowStatus,
)

RESULTS = {}


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


async def call(name, awaitable):
    """Awaits a call, and notes what it returned or raised."""
    assert name not in RESULTS, name
    try:
        value = await awaitable
    except Exception as error:  # noqa: BLE001: whatever the client raises is the result
        RESULTS[name] = {"raised": type(error).__name__, "message": str(error)}
        return None
    RESULTS[name] = {"returned": plain(value)}
    return value


def create(name, trace_id=None, source=WorkflowSource.LANGGRAPH, metadata=None):
    return CreateWorkflowRequest(
        workflow_name=name, source=source, trace_id=trace_id, metadata=metadata or {}
    )


async def reads(client, workflow_id, trace_id):
    """Every call that reads."""
    await call("get", client.get_workflow(workflow_id))
    await call("get unknown", client.get_workflow("wf-nope"))
    await call("list", client.list_workflows())
    options = ListWorkflowsOptions(
        status=WorkflowStatus.COMPLETED, source=WorkflowSource.LANGGRAPH, trace_id=trace_id, limit=10
    )
    await call("list by trace", client.list_workflows(options))
    await call("list by other trace", client.list_workflows(ListWorkflowsOptions(trace_id="no-such")))
    await call("search", client.search_audit_logs(AuditSearchRequest(limit=100)))
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc)
    await call(
        "search in time",
        client.search_audit_logs(
            AuditSearchRequest(start_time=now - hour, end_time=datetime.now() + hour * 24, limit=1)
        ),
    )
    await call(
        "search blocked",
        client.search_audit_logs(AuditSearchRequest(action="blocked", client_id="acme", limit=10)),
    )
    await call(
        "search nothing",
        client.search_audit_logs(AuditSearchRequest(user_email="nobody@acme.example", offset=2)),
    )
    await call("tenant", client.get_audit_logs_by_tenant("default", AuditQueryOptions(limit=5)))
    await call("other tenant", client.get_audit_logs_by_tenant("rival"))
    await call("decisions", client.list_decisions())
    await call("decisions blocked", client.list_decisions(ListDecisionsOptions(decision="blocked")))
    await call("explain unknown", client.explain_decision("dec/no such"))
    await call("pending", client.get_pending_approvals(limit=10))
    await call("health", client.health_check())
    await call("health detailed", client.health_check_detailed())


async def report(client, context_id, trace_id, workflow_id):
    """The calls that report what was done."""
    await call(
        "tool call",
        client.audit_tool_call(
            AuditToolCallRequest(
                tool_name="lookup_order",
                caller_name="refund-agent",
                input={"order_id": "1042"},
                output={"status": "delivered", "total": 59.9},
                workflow_id=workflow_id,
                step_id="s1",
                user_id="u-77",
                duration_ms=45,
                policies_applied=["pol_a"],
                success=True,
            )
        ),
    )
    await call(
        "failed tool call",
        client.audit_tool_call(
            AuditToolCallRequest(tool_name="issue_refund", success=False, error_message="declined")
        ),
    )
    usage = TokenUsage(prompt_tokens=112, completion_tokens=17, total_tokens=129)
    await call(
        "llm call",
        client.audit_llm_call(
            context_id, "calls lookup_order", "openai", "gpt-4o-mini", usage, 250, {"trace_id": trace_id}
        ),
    )


async def record(client, trace_id):
    made = await call("create", client.create_workflow(create("refund-agent", trace_id, metadata={"order_id": "1042"})))
    workflow = made.workflow_id
    done = MarkStepCompletedRequest(
        output={"tool": "lookup_order"}, metadata={"m": 1}, tokens_in=112, tokens_out=17,
        cost_usd=0.0001, idempotency_key="refund:1042",
    )
    await call("step completed", client.mark_step_completed(workflow, "s1", done))
    await call("step completed again", client.mark_step_completed(workflow, "s1", done))
    other = MarkStepCompletedRequest(idempotency_key="other")
    await call("step completed otherwise", client.mark_step_completed(workflow, "s1", other))
    await call("step completed bare", client.mark_step_completed(workflow, "s2"))
    await call("step of nothing", client.mark_step_completed("wf-nope", "s1"))
    await report(client, "ctx-1", trace_id, workflow)
    await call("complete", client.complete_workflow(workflow))
    await call("complete again", client.complete_workflow(workflow))
    await call("abort what is complete", client.abort_workflow(workflow, "too late"))
    aborted = await call("create second", client.create_workflow(create("w2", trace_id, WorkflowSource.EXTERNAL)))
    await call("abort", client.abort_workflow(aborted.workflow_id, "user cancelled"))
    await call("abort again", client.abort_workflow(aborted.workflow_id))
    await call("complete what is aborted", client.complete_workflow(aborted.workflow_id))
    failed = await call("create third", client.create_workflow(create("w3", None, WorkflowSource.CREWAI)))
    await call("fail", client.fail_workflow(failed.workflow_id, "gateway down"))
    await call("fail unknown", client.fail_workflow("wf-nope"))
    return workflow


async def ask(client, trace_id):
    """What asks for a decision, of a workflow that exists."""
    made = await call("create asked", client.create_workflow(create("asked", trace_id)))
    workflow = made.workflow_id
    gate = StepGateRequest(step_name="plan", step_type=StepType.LLM_CALL, model="gpt-4o-mini", provider="openai")
    await call("gate", client.step_gate(workflow, "s1", gate))
    await call("approve", client.approve_step(workflow, "s1", "fine"))
    await call("reject", client.reject_step(workflow, "s1", "unsafe"))
    await call("resume", client.resume_workflow(workflow))
    await call("checkpoints", client.get_checkpoints(workflow))
    await call("resume from last", client.resume_from_last_checkpoint(workflow))
    await call("resume from", client.resume_from_checkpoint(workflow, 1))
    await call("pre-check", client.pre_check("user-jwt", "refund order 1042", context={"trace_id": trace_id}))
    return workflow


async def decide(client, trace_id):
    made = await call("create", client.create_workflow(create("refund-agent", trace_id, metadata={"order_id": "1042"})))
    workflow = made.workflow_id
    plan = StepGateRequest(
        step_name="plan", step_type=StepType.LLM_CALL, step_input={"prompt": "refund order 1042"},
        model="gpt-4o-mini", provider="openai",
    )
    await call("gate", client.step_gate(workflow, "s1", plan, include_prior_output=True))
    await call("step completed", client.mark_step_completed(workflow, "s1", MarkStepCompletedRequest(output={"tool": "lookup_order"})))
    refund = StepGateRequest(
        step_name="issue_refund", step_type=StepType.TOOL_CALL,
        tool_context=ToolContext(tool_name="issue_refund", tool_type="function", tool_input={"order_id": "1042", "amount": 59.9}),
    )
    await call("gate refund", client.step_gate(workflow, "s2", refund))
    await call("pending before", client.get_pending_approvals(limit=10))
    await call("approve", client.approve_step(workflow, "s2", "approved by ops lead"))
    drop = StepGateRequest(step_name="drop_table", step_type=StepType.TOOL_CALL)
    await call("gate blocked", client.step_gate(workflow, "s3", drop))
    await call("reject", client.reject_step(workflow, "s3", "unsafe"))
    await call("resume", client.resume_workflow(workflow))
    await call("checkpoints", client.get_checkpoints(workflow))
    await call("resume from last", client.resume_from_last_checkpoint(workflow))
    await call("resume from", client.resume_from_checkpoint(workflow, 1))
    mismatch = StepGateRequest(step_type=StepType.LLM_CALL, idempotency_key="MISMATCH")
    await call("gate mismatch", client.step_gate(workflow, "s1", mismatch))
    checked = await call("pre-check", client.pre_check("user-jwt", "refund order 1042", context={"trace_id": trace_id}))
    await report(client, checked.context_id, trace_id, workflow)
    await call("complete", client.complete_workflow(workflow))
    await call("explain", client.explain_decision(RESULTS["gate refund"]["returned"]["decision_id"]))
    return workflow


async def pipeline(client, trace_id):
    """The five entries of the tracing guide. The upstream decides by the names of the steps."""
    made = await call("create", client.create_workflow(create("data-pipeline", trace_id)))
    workflow = made.workflow_id
    extract = StepGateRequest(step_name="extract-data", step_type=StepType.CONNECTOR_CALL)
    await call("gate extract", client.step_gate(workflow, "step-1-extract-data", extract))
    await call("step completed", client.mark_step_completed(workflow, "step-1-extract-data"))
    transform = StepGateRequest(step_name="transform-with-gpt4", step_type=StepType.LLM_CALL, model="gpt-4")
    blocked = await call("gate transform", client.step_gate(workflow, "step-2-transform-with-gpt4", transform))
    await call("abort", client.abort_workflow(workflow, f"Step transform-with-gpt4 blocked: {blocked.reason}"))
    return workflow


async def langgraph(client, trace_id):
    adapter = AxonFlowLangGraphAdapter(client, "refund-graph")
    await call("start", adapter.start_workflow(metadata={"thread_id": "th-1042"}, trace_id=trace_id))
    await call("gate", adapter.check_gate("plan", StepType.LLM_CALL, model="gpt-4o-mini", provider="openai"))
    await call("completed", adapter.step_completed("plan", output={"tool": "lookup_order"}, tokens_in=112))
    await call("tool gate", adapter.check_tool_gate("lookup_order", "function", tool_input={"order_id": "1042"}))
    await call("tool completed", adapter.tool_completed("lookup_order", output={"status": "delivered"}))
    await call("blocked tool", adapter.check_tool_gate("drop_table", "function"))
    await call("waiting tool", adapter.check_tool_gate("issue_refund", "function"))
    waiting = "step-4-tools-issue_refund"
    await call("approve", client.approve_step(adapter.workflow_id, waiting, "ok"))
    await call("approved", adapter.wait_for_approval(waiting, poll_interval=0.1, timeout=30))
    await call("complete", adapter.complete_workflow())
    return adapter.workflow_id


async def main(run):
    trace_id = f"ls-run-{uuid.uuid4()}"
    secret = os.environ.get("AXONFLOW_CLIENT_SECRET", "secret")
    reader_secret = os.environ.get("READER_SECRET", secret)
    token = os.environ.get("USER_TOKEN")
    async with (
        AxonFlow(client_id="acme", client_secret=secret, user_token=token) as client,
        AxonFlow(client_id="acme", client_secret=reader_secret) as reader,
    ):
        runs = {"record": record, "ask": ask, "decide": decide, "pipeline": pipeline, "langgraph": langgraph}
        workflow = await runs[run](client, trace_id)
        await reads(reader, workflow, trace_id)
    print(json.dumps({"trace_id": trace_id, "workflow_id": workflow, "calls": RESULTS}))


asyncio.run(main(sys.argv[1]))
