// Exports one agent run with the published OpenTelemetry SDK for JavaScript.
//
//     OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 node client.mjs json
//
// Variants: json, json-gzip, proto, grpc. Prints one JSON line with what the receiver
// acknowledged, and leaves with 1 when any export failed: the SDK alone would only log it.

import { randomUUID } from "node:crypto";
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const PACKAGES = {
  json: ["@opentelemetry/exporter-trace-otlp-http", "@opentelemetry/exporter-logs-otlp-http"],
  proto: ["@opentelemetry/exporter-trace-otlp-proto", "@opentelemetry/exporter-logs-otlp-proto"],
  grpc: ["@opentelemetry/exporter-trace-otlp-grpc", "@opentelemetry/exporter-logs-otlp-grpc"],
};

// Passes a batch to the real exporter and remembers what was acknowledged.
class Acknowledged {
  constructor(exporter) {
    this.exporter = exporter;
    this.records = [];
    this.errors = [];
  }

  export(batch, done) {
    this.exporter.export(batch, (result) => {
      if (result.code === 0) this.records.push(...batch);
      else this.errors.push(result.error ?? new Error("export failed without a reason"));
      done(result);
    });
  }

  shutdown() {
    return this.exporter.shutdown();
  }

  forceFlush() {
    return this.exporter.forceFlush?.() ?? Promise.resolve();
  }
}

// invoke_agent > chat > execute_tool; the root alone has the external id and ends last.
function agentRun(tracer, logger, externalId) {
  const earlier = {
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    isRemote: true,
    traceFlags: TraceFlags.SAMPLED,
  };
  const root = tracer.startSpan(
    "invoke_agent Zahlungs-Agent ✓",
    {
      kind: SpanKind.INTERNAL,
      links: [{ context: earlier, attributes: { "link.reason": "resumed after approval" } }],
      attributes: {
        "external.trace_id": externalId,
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "Zahlungs-Agent",
        "gen_ai.agent.id": "agent-7",
        "gen_ai.conversation.id": "conversation-of-the-clients",
        "user.id": "käthe@example.com",
      },
    },
    ROOT_CONTEXT,
  );
  const inRoot = trace.setSpan(ROOT_CONTEXT, root);
  const chat = tracer.startSpan(
    "chat gpt-4.1",
    {
      kind: SpanKind.CLIENT,
      attributes: {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.temperature": 0.25,
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.usage.input_tokens": 1234,
        "gen_ai.usage.output_tokens": 56,
      },
    },
    inRoot,
  );
  const inChat = trace.setSpan(inRoot, chat);
  const tool = tracer.startSpan(
    "execute_tool issue_refund",
    {
      kind: SpanKind.INTERNAL,
      attributes: {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "issue_refund",
        "gen_ai.tool.call.id": "call_1",
        "test.string": '日本語 — 🧾 \u0000 "quoted" \\ end',
        "test.empty": "",
        "test.bool": true,
        "test.int": Number.MAX_SAFE_INTEGER,
        "test.double": 0.1,
        // OTLP/JSON from this SDK says these in its own way: an integer out of range, null, null,
        // and half a pair as an escape. They are to be accepted, not to be equal to protobuf's.
        "test.json_loses.large": 1e21,
        "test.json_loses.nan": NaN,
        "test.json_loses.infinity": Infinity,
        "test.json_loses.lone_surrogate": "half \ud83e of a pair",
        "test.strings": ["a", "ß", "", null],
        "test.bools": [true, false],
        "test.ints": [1, 2, -3],
        "test.doubles": [1.5, -2.25],
      },
    },
    inChat,
  );
  const refused = new Error("Erstattung über 500 € braucht eine Freigabe");
  refused.stack = `${refused}\n    at issueRefund (tools.js:7:3)`;
  tool.recordException(refused);
  tool.setStatus({ code: SpanStatusCode.ERROR, message: refused.message });
  logger.emit({
    context: trace.setSpan(inChat, tool),
    eventName: "refund.held",
    severityNumber: SeverityNumber.WARN,
    severityText: "WARN",
    body: { text: "refund held — wartet", amount: 740.5, raw: new Uint8Array([1, 2]) },
    attributes: { "refund.id": "r-1", "refund.parts": [1, 2], "refund.by": { name: "ops", level: null } },
  });
  tool.end();
  chat.end();
  root.end();
}

const variant = process.argv[2] ?? "";
const [protocol, compression] = variant.split("-");
if (!(protocol in PACKAGES)) {
  console.error(`unknown variant ${variant}: use json, json-gzip, proto or grpc`);
  process.exit(2);
}
if (compression) process.env.OTEL_EXPORTER_OTLP_COMPRESSION = compression;
const [{ OTLPTraceExporter }, { OTLPLogExporter }] = await Promise.all(PACKAGES[protocol].map((name) => import(name)));
const spans = new Acknowledged(new OTLPTraceExporter());
const logs = new Acknowledged(new OTLPLogExporter());

const resource = resourceFromAttributes({ "service.name": "client-js" });
const tracing = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spans)] });
const logging = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: logs })] });

const externalId = `langsmith-run-${randomUUID().slice(-12)}`;
agentRun(tracing.getTracer("client", "1.0"), logging.getLogger("client", "1.0"), externalId);

try {
  await Promise.all([tracing.forceFlush(), logging.forceFlush()]);
  await Promise.all([tracing.shutdown(), logging.shutdown()]);
} catch (error) {
  spans.errors.push(error);
}
const errors = [...spans.errors, ...logs.errors];
if (errors.length > 0 || spans.records.length === 0 || logs.records.length === 0) {
  console.error("not acknowledged:", ...errors);
  process.exit(1);
}
console.log(
  JSON.stringify({
    external_id: externalId,
    spans: spans.records.map((span) => ({
      trace_id: span.spanContext().traceId,
      span_id: span.spanContext().spanId,
      name: span.name,
    })),
    logs: logs.records.length,
  }),
);
