// Mastra with its OpenTelemetry exporter.
import { createOpenAI } from "@ai-sdk/openai";
import { Agent } from "@mastra/core/agent";
import { Mastra } from "@mastra/core/mastra";
import { createTool } from "@mastra/core/tools";
import { Observability } from "@mastra/observability";
import { OtelExporter } from "@mastra/otel-exporter";
import { z } from "zod";

const model = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const order = z.object({ order_id: z.string() });
const lookup = createTool({
  id: "lookup_order", description: "Look an order up.", inputSchema: order,
  execute: async (order) => ({ order_id: order.order_id, total: 59.9 }),
});
const refund = createTool({
  id: "issue_refund", description: "Refund an order.", inputSchema: order.extend({ amount: z.number() }),
  execute: async (order) => ({ order_id: order.order_id, refunded: order.amount }),
});
const agent = new Agent({
  id: "refund-agent", name: "refund-agent", instructions: "You refund orders.", model: model.chat(process.env.LAB_MODEL),
  tools: { lookup_order: lookup, issue_refund: refund },
});
const endpoint = `${process.env.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces`;
const exporter = new OtelExporter({ provider: { custom: { endpoint, protocol: "http/protobuf" } }, timeout: 10000 });
const mastra = new Mastra({
  agents: { agent },
  observability: new Observability({ configs: { otel: { serviceName: "refund-service", exporters: [exporter] } } }),
});
const metadata = { userId: "u-77", sessionId: "sess-1", external_trace_id: "ext-7f3a-1042" };
const answer = await mastra.getAgent("agent").generate("Please refund order 1042", {
  tracingOptions: { metadata }, maxSteps: 5,
});
console.log(answer.text);
await new Promise((resolve) => setTimeout(resolve, 6000));
await exporter.shutdown?.();
process.exit(0);
