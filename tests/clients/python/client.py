"""Exports one agent run with the published OpenTelemetry SDK for Python.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 python client.py grpc

Variants: grpc, grpc-gzip, http, http-gzip. Prints one JSON line with what the receiver
acknowledged, and leaves with 1 when any export failed: the SDK alone would only log it.
"""

import json
import os
import sys
import uuid

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags


class AcknowledgedSpans(SpanExporter):
    """Passes spans to the real exporter and remembers which were acknowledged."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.spans = []
        self.failed = 0

    def export(self, spans):
        result = self.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.spans += spans
        else:
            self.failed += 1
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30000):
        return self.exporter.force_flush(timeout_millis)


class AcknowledgedLogs(LogRecordExporter):
    """The same for log records."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.count = 0
        self.failed = 0

    def export(self, batch):
        result = self.exporter.export(batch)
        if result is LogRecordExportResult.SUCCESS:
            self.count += len(batch)
        else:
            self.failed += 1
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30000):
        return self.exporter.force_flush(timeout_millis)


def exporters(variant):
    protocol, _, compression = variant.partition("-")
    if compression:
        os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    elif protocol == "http":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    else:
        sys.exit(f"unknown variant {variant}: use grpc, grpc-gzip, http or http-gzip")
    return OTLPSpanExporter(), OTLPLogExporter()


def agent_run(tracer, logger, external_id):
    """invoke_agent > chat > execute_tool; the root alone has the external id and ends last."""
    earlier = SpanContext(
        trace_id=0x0AF7651916CD43DD8448EB211C80319C,
        span_id=0xB7AD6B7169203331,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    with tracer.start_as_current_span(
        "invoke_agent Zahlungs-Agent ✓",
        kind=SpanKind.INTERNAL,
        links=[Link(earlier, {"link.reason": "resumed after approval"})],
        attributes={
            "external.trace_id": external_id,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "Zahlungs-Agent",
            "gen_ai.agent.id": "agent-7",
            "gen_ai.conversation.id": "conversation-of-the-clients",
            "user.id": "käthe@example.com",
        },
    ):
        with tracer.start_as_current_span(
            "chat gpt-4.1",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4.1",
                "gen_ai.request.temperature": 0.25,
                "gen_ai.response.finish_reasons": ["tool_calls"],
                "gen_ai.usage.input_tokens": 1234,
                "gen_ai.usage.output_tokens": 56,
            },
        ):
            with tracer.start_as_current_span(
                "execute_tool issue_refund",
                kind=SpanKind.INTERNAL,
                record_exception=False,
                set_status_on_exception=False,
                attributes={
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "issue_refund",
                    "gen_ai.tool.call.id": "call_1",
                    "test.string": "日本語 — 🧾 \u0000 \"quoted\" \\ end",
                    "test.empty": "",
                    "test.bool": True,
                    "test.int": 9_007_199_254_740_993,
                    "test.int.min": -(2**63),
                    "test.double": 0.1,
                    "test.double.negative_zero": -0.0,
                    "test.nan": float("nan"),
                    "test.infinity": float("inf"),
                    "test.strings": ["a", "ß", ""],
                    "test.bools": [True, False],
                    "test.ints": [1, 2, 2**53 + 1],
                    "test.doubles": [1.5, -2.25],
                    "test.bytes": b"\x00\xff\xfe",
                    "test.map": {"nested": {"deep": ["x", 1, None]}},
                },
            ) as tool:
                try:
                    raise PermissionError("Erstattung über 500 € braucht eine Freigabe")
                except PermissionError as error:
                    tool.record_exception(error)
                    tool.set_status(Status(StatusCode.ERROR, str(error)))
                logger.emit(
                    severity_number=SeverityNumber.WARN,
                    severity_text="WARN",
                    body={"text": "refund held — wartet", "amount": 740.5, "raw": b"\x01\x02"},
                    attributes={"refund.id": "r-1", "refund.parts": [1, 2]},
                    event_name="refund.held",
                )


def main():
    variant = sys.argv[1]
    span_exporter, log_exporter = exporters(variant)
    spans, logs = AcknowledgedSpans(span_exporter), AcknowledgedLogs(log_exporter)

    resource = Resource.create({"service.name": "client-python"})
    tracing, logging = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    tracing.add_span_processor(BatchSpanProcessor(spans))
    logging.add_log_record_processor(BatchLogRecordProcessor(logs))

    external_id = f"langsmith-run-{uuid.uuid4().hex[:12]}"
    agent_run(
        tracing.get_tracer("client", "1.0"), logging.get_logger("client", "1.0"), external_id
    )

    flushed = tracing.force_flush() and logging.force_flush()
    tracing.shutdown()
    logging.shutdown()
    if not flushed or spans.failed or logs.failed or not spans.spans or not logs.count:
        sys.exit(
            f"not acknowledged: flushed={flushed}, {spans.failed} span exports and "
            f"{logs.failed} log exports failed"
        )
    print(
        json.dumps(
            {
                "external_id": external_id,
                "spans": [
                    {
                        "trace_id": format(span.context.trace_id, "032x"),
                        "span_id": format(span.context.span_id, "016x"),
                        "name": span.name,
                    }
                    for span in spans.spans
                ],
                "logs": logs.count,
            }
        )
    )


if __name__ == "__main__":
    main()
