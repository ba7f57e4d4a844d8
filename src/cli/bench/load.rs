//! The load: OTLP requests of `GenAI` spans, every id fresh, over real gRPC connections.

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// Spans of one agent run: the agent, then tools and model calls in turn.
const SPANS_PER_TRACE: u64 = 10;

/// How much to send, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Spans in all.
    pub(super) spans: u64,
    /// Spans in one request.
    pub(super) spans_per_request: u64,
    /// Connections.
    pub(super) connections: usize,
    /// Requests in flight on each connection.
    pub(super) in_flight: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// Spans that were acknowledged.
    pub(super) spans: u64,
    /// Bytes of the requests before compression.
    pub(super) bytes: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Time to the answer of each request, sorted.
    pub(super) latencies: Vec<Duration>,
}

impl Sent {
    /// The latency below which so much of the requests lie, 0.0 to 1.0.
    pub(super) fn percentile(&self, share: f64) -> Duration {
        percentile(&self.latencies, share)
    }
}

/// The value below which so much of a sorted list lies.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

/// Sends the load to a receiver and waits for every answer.
pub(super) async fn send(endpoint: &str, load: Load, seed: u64) -> Result<Sent> {
    let requests = load.spans.div_ceil(load.spans_per_request.max(1));
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..load.connections {
        let channel = Channel::from_shared(format!("http://{endpoint}"))?
            .tcp_nodelay(true)
            .connect()
            .await
            .with_context(|| format!("no receiver answers at {endpoint}"))?;
        for _ in 0..load.in_flight {
            let client = TraceServiceClient::new(channel.clone());
            workers.spawn(work(client, Arc::clone(&next), requests, load, seed));
        }
    }
    let mut sent = Sent::default();
    while let Some(worker) = workers.join_next().await {
        let part = worker.context("a sender ended early")??;
        sent.spans = sent.spans.saturating_add(part.spans);
        sent.bytes = sent.bytes.saturating_add(part.bytes);
        sent.latencies.extend(part.latencies);
    }
    sent.elapsed = start.elapsed();
    sent.latencies.sort_unstable();
    Ok(sent)
}

async fn work(
    mut client: TraceServiceClient<Channel>,
    next: Arc<AtomicU64>,
    requests: u64,
    load: Load,
    seed: u64,
) -> Result<Sent> {
    let mut sent = Sent::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            return Ok(sent);
        }
        let request = request(seed, number, load.spans_per_request);
        sent.bytes = sent.bytes.saturating_add(prost::Message::encoded_len(&request) as u64);
        let start = Instant::now();
        let answer = client.export(request).await.context("a request was not acknowledged")?;
        sent.latencies.push(start.elapsed());
        if let Some(partial) = answer.into_inner().partial_success {
            anyhow::ensure!(
                partial.rejected_spans == 0,
                "spans were refused: {}",
                partial.error_message
            );
        }
        sent.spans = sent.spans.saturating_add(load.spans_per_request);
    }
}

/// One request: spans of about 1.5 KB, with ids that no other request of the run has.
pub(super) fn request(seed: u64, number: u64, spans: u64) -> ExportTraceServiceRequest {
    let first = number.wrapping_mul(spans);
    let spans = (first..first.wrapping_add(spans)).map(|serial| span(seed, serial)).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "refund-agent"),
                    text("service.version", "2.14.3"),
                    text("service.namespace", "payments"),
                    text("service.instance.id", "refund-agent-7d9f8b6c4-x2x7k"),
                    text("deployment.environment.name", "production"),
                    text("telemetry.sdk.name", "opentelemetry"),
                    text("telemetry.sdk.language", "python"),
                    text("telemetry.sdk.version", "1.45.2"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "opentelemetry.instrumentation.genai".to_owned(),
                    version: "0.4".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(seed: u64, serial: u64) -> Span {
    let trace = serial.wrapping_div(SPANS_PER_TRACE);
    let place = serial.wrapping_rem(SPANS_PER_TRACE);
    let mut trace_id = seed.to_be_bytes().to_vec();
    trace_id.extend_from_slice(&trace.wrapping_add(1).to_be_bytes());
    let id = |serial: u64| seed.wrapping_add(serial).wrapping_add(1).to_be_bytes().to_vec();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let (name, mut attributes) = match place {
        0 => ("invoke_agent refund-agent", agent()),
        _ if place.is_multiple_of(2) => ("execute_tool lookup_order", tool(serial)),
        _ => ("chat gpt-4o-mini", model(serial)),
    };
    attributes.push(text("external.trace_id", &format!("bench-{seed:x}-{trace}")));
    attributes.push(text("gen_ai.conversation.id", &format!("conversation-{trace}")));
    attributes.push(text("user.id", &format!("u-{}", trace.wrapping_rem(1000))));
    Span {
        trace_id,
        span_id: id(serial),
        parent_span_id: if place == 0 { Vec::new() } else { id(serial.wrapping_sub(place)) },
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: end.saturating_sub(1_500_000_000),
        end_time_unix_nano: end,
        attributes,
        status: Some(Status { code: 1, message: String::new() }),
        flags: 0x101,
        ..Span::default()
    }
}

fn agent() -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.agent.name", "refund-agent"),
        text("gen_ai.agent.id", "agent-refund-eu-1"),
        text("gen_ai.agent.version", "2.14.3"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.input.messages", PROMPT),
        text("gen_ai.output.messages", ANSWER),
        number("gen_ai.usage.input_tokens", 1204),
        number("gen_ai.usage.output_tokens", 88),
        text("spanledger.run_id", "run-refund"),
        text("app.region", "eu-central-1"),
        text("app.tier", "gold"),
        number("app.retries", 0),
    ]
}

fn model(serial: u64) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        text("gen_ai.response.id", &format!("chatcmpl-{serial:016x}")),
        text("gen_ai.input.messages", PROMPT),
        text("gen_ai.output.messages", ANSWER),
        number("gen_ai.usage.input_tokens", 612),
        number("gen_ai.usage.output_tokens", 44),
        number("gen_ai.usage.cache_read.input_tokens", 128),
        double("gen_ai.request.temperature", 0.2),
        double("gen_ai.request.top_p", 0.95),
        number("gen_ai.request.max_tokens", 1024),
        text("gen_ai.agent.name", "refund-agent"),
        text("server.address", "api.example.com"),
        number("server.port", 443),
        text("app.region", "eu-central-1"),
        text("app.tier", "gold"),
    ]
}

fn tool(serial: u64) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "lookup_order"),
        text("gen_ai.tool.type", "function"),
        text("gen_ai.tool.call.id", &format!("call_{serial:016x}")),
        text("gen_ai.tool.call.arguments", ARGUMENTS),
        text("gen_ai.tool.call.result", RESULT),
        text("gen_ai.agent.name", "refund-agent"),
        text("spanledger.decision.outcome", "allow"),
        text("spanledger.decision.id", &format!("decision-{serial:016x}")),
        text("spanledger.decision.reason", "the amount is below the limit of the tier"),
        text("spanledger.decision.phase", "pre_exec"),
        text("spanledger.policy.id", "refund-limit"),
        text("spanledger.policy.rule_id", "refund-limit/gold"),
        text("spanledger.policy.snapshot", "cfg:system:policy#sha256:7f3d2b9c"),
        text("spanledger.action", "order.read"),
        text("spanledger.scope", "user"),
        text("app.region", "eu-central-1"),
        text("app.tier", "gold"),
    ]
}

const PROMPT: &str = r#"[{"role":"system","parts":[{"type":"text","content":"You are a refund agent. Look the order up before you refund anything, and explain each step in one sentence."}]},{"role":"user","parts":[{"type":"text","content":"Please refund order 1042, the parcel arrived broken and the customer has sent two photographs."}]}]"#;
const ANSWER: &str = r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"lookup_order","arguments":{"order_id":"1042"}}],"finish_reason":"tool_calls"}]"#;
const ARGUMENTS: &str = r#"{"order_id":"1042","include":["customer","items","payments"],"reason":"refund requested because the parcel arrived broken"}"#;
const RESULT: &str = r#"{"order_id":"1042","status":"delivered","total":59.9,"currency":"USD","customer":"c-88121","items":[{"sku":"MUG-07","qty":2,"price":19.95},{"sku":"TEA-11","qty":1,"price":20.0}]}"#;

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, any_value::Value::DoubleValue(value))
}
