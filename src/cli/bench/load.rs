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

/// Spans of one agent run.
const SPANS_PER_TRACE: u64 = 5;

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

/// A span of an agent run: the agent, a model call, a decision about a tool call, that call, and a
/// decision about the answer; 22 attributes and 1.5 KB on average, as instrumented agents send.
fn span(seed: u64, serial: u64) -> Span {
    let trace = serial.wrapping_div(SPANS_PER_TRACE);
    let place = serial.wrapping_rem(SPANS_PER_TRACE);
    let mut trace_id = seed.to_be_bytes().to_vec();
    trace_id.extend_from_slice(&trace.wrapping_add(1).to_be_bytes());
    let id = |serial: u64| seed.wrapping_add(serial).wrapping_add(1).to_be_bytes().to_vec();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let (name, own) = match place {
        0 => ("invoke_agent refund-agent", agent(serial)),
        1 => ("chat gpt-4.1", model(serial)),
        2 => ("decide refund_payment", decision(serial, "pre_exec")),
        3 => ("execute_tool refund_payment", tool(serial)),
        _ => ("decide answer", decision(serial, "post_exec")),
    };
    let mut attributes = vec![
        text("external.trace_id", &format!("langsmith-run-{seed:x}-{trace}")),
        text("external.system", "langsmith"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.conversation.id", &format!("conversation-{trace}")),
        text("gen_ai.agent.name", "refund-agent"),
        text("gen_ai.agent.id", "asst_9f8b6c4x2x7k5d41c0aa"),
        text("enduser.id", &format!("user-{}", trace.wrapping_rem(1000))),
        text("session.id", &format!("session-{seed:x}-{trace:016x}")),
    ];
    attributes.extend(own);
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

fn agent(serial: u64) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.request.model", "gpt-4.1"),
        number("gen_ai.usage.input_tokens", 1204),
        number("gen_ai.usage.output_tokens", 188),
        text("gen_ai.agent.description", &prose(serial, 120)),
        text("gen_ai.output.type", "text"),
        text("spanledger.run_id", &format!("run-{serial}")),
        number("agent.steps", 3),
        text("agent.goal", &prose(serial, 420)),
        text("agent.version", "2.14.3"),
    ]
}

fn model(serial: u64) -> Vec<KeyValue> {
    let input = prose(serial, 430);
    let input = format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{input}"}}]}}]"#);
    let output = format!(
        r#"[{{"role":"assistant","parts":[{{"type":"tool_call","id":"call_{serial:016x}","name":"refund_payment"}}]}}]"#
    );
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.request.model", "gpt-4.1"),
        text("gen_ai.response.model", "gpt-4.1-2026-08-01"),
        text("gen_ai.response.id", &format!("resp_{serial:024x}")),
        double("gen_ai.request.temperature", 0.2),
        number("gen_ai.request.max_tokens", 2048),
        number("gen_ai.usage.input_tokens", 612),
        number("gen_ai.usage.output_tokens", 44),
        number("gen_ai.usage.cache_read.input_tokens", 128),
        text("server.address", "api.example.com"),
        number("server.port", 443),
        text("gen_ai.input.messages", &input),
        text("gen_ai.output.messages", &output),
    ]
}

fn tool(serial: u64) -> Vec<KeyValue> {
    let memo = prose(serial, 160);
    let arguments =
        format!(r#"{{"order_id":"{serial}","amount":{},"memo":"{memo}"}}"#, serial % 900);
    let detail = prose(serial.wrapping_add(7), 240);
    vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "refund_payment"),
        text("gen_ai.tool.type", "function"),
        text("gen_ai.tool.call.id", &format!("call_{serial:016x}")),
        text("gen_ai.tool.description", &prose(serial.wrapping_add(3), 100)),
        text("gen_ai.tool.call.arguments", &arguments),
        text("gen_ai.tool.call.result", &format!(r#"{{"status":"ok","detail":"{detail}"}}"#)),
        number("http.response.status_code", 200),
        text("url.full", "https://payments.internal.example/v2/refunds"),
    ]
}

fn decision(serial: u64, phase: &str) -> Vec<KeyValue> {
    let outcome = if serial.is_multiple_of(7) { "block" } else { "allow" };
    let limit = prose(serial.wrapping_add(11), 180);
    vec![
        text("spanledger.decision.outcome", outcome),
        text("spanledger.decision.id", &format!("decision-{serial:032x}")),
        text("spanledger.decision.phase", phase),
        text("spanledger.decision.reason", &prose(serial, 260)),
        text("spanledger.policy.id", "policy/spend-limit"),
        text("spanledger.policy.rule_id", "spend-limit/gold"),
        text("spanledger.policy.version", "2026-10-02"),
        text("spanledger.policy.snapshot", &format!("sha256:{:064x}", serial % 5)),
        text("spanledger.action", "order.refund"),
        text("spanledger.scope", "user"),
        text("decision.input.digest", &format!("sha256:{serial:064x}")),
        double("decision.risk.score", 0.31),
        number("decision.latency_us", 1278),
        text("decision.subject", "refund_payment"),
        text("decision.evidence", &format!(r#"{{"limit":500,"requested":460,"note":"{limit}"}}"#)),
        text("app.region", "eu-central-1"),
    ]
}

/// Words of a refund, in another order for each number.
fn prose(serial: u64, bytes: usize) -> String {
    const WORDS: [&str; 32] = [
        "the", "customer", "asked", "about", "an", "order", "and", "agent", "looked", "up",
        "terms", "before", "it", "answered", "with", "summary", "of", "limits", "excess",
        "renewal", "date", "payment", "schedule", "parcel", "report", "repair", "estimate", "next",
        "steps", "for", "approval", "reviewer",
    ];
    let mut text = String::with_capacity(bytes.saturating_add(16));
    // A linear congruential generator: cheap, and the same words for the same number.
    let mut state = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 59).unwrap_or_default();
        text.push_str(WORDS.get(at).copied().unwrap_or("refund"));
        text.push(' ');
    }
    text
}

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
