//! What decoding costs: our walk against prost, on 100 spans as `GenAI` instrumentations send them.
//!
//! `cargo bench --bench decode`. Items are spans, so the output has spans per second.
#![allow(missing_docs)]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use spanledger::receiver::otlp::{Format, Signal, decode, measure};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};

const SPANS: usize = 100;

fn main() {
    divan::main();
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Any::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    pair(key, Any::IntValue(value))
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// About 1,500 bytes and 22 attributes.
fn span(number: u8) -> Span {
    let messages = format!(
        r#"[{{"role":"user","parts":[{{"type":"text","content":"Please refund order {number}. {}"}}]}}]"#,
        "It arrived broken and I would like my money back. ".repeat(8)
    );
    let mut attributes = vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        text("gen_ai.response.id", format!("chatcmpl-{number:032}")),
        text("gen_ai.input.messages", messages),
        text("gen_ai.conversation.id", "sess-1"),
        text("gen_ai.agent.name", "refund-agent"),
        text("server.address", "api.openai.com"),
        int("server.port", 443),
        int("gen_ai.usage.input_tokens", 812),
        int("gen_ai.usage.output_tokens", 64),
        int("gen_ai.request.max_tokens", 1024),
        pair("gen_ai.request.temperature", Any::DoubleValue(0.2)),
    ];
    attributes.extend((0..8).map(|n| text(&format!("app.attribute.{n}"), "some value")));
    Span {
        trace_id: vec![number.max(1); 16],
        span_id: vec![number.max(1); 8],
        parent_span_id: vec![9; 8],
        flags: 0x101,
        name: "chat gpt-4o-mini".to_owned(),
        kind: 3,
        start_time_unix_nano: 1_763_712_000_000_000_000,
        end_time_unix_nano: 1_763_712_001_000_000_000,
        attributes,
        status: Some(Status::default()),
        ..Span::default()
    }
}

fn request() -> Vec<u8> {
    let spans = (0..SPANS).map(|n| span(u8::try_from(n).unwrap_or(u8::MAX))).collect();
    let scope =
        InstrumentationScope { name: "openai".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let attributes = vec![
        text("service.name", "refunds"),
        text("service.version", "1.4.2"),
        text("telemetry.sdk.language", "python"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.45.2"),
        text("host.name", "agent-host"),
        int("process.pid", 4242),
        text("deployment.environment.name", "production"),
    ];
    let resource = Some(ProtoResource { attributes, ..ProtoResource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Looks at each record and keeps nothing.
#[derive(Default)]
struct Count(usize);

impl Sink for Count {
    fn resource(&mut self, resource: &Resource<'_>) {
        black_box(resource);
    }
    fn scope(&mut self, scope: &Scope<'_>) {
        black_box(scope);
    }
    fn record(&mut self, record: Record<'_, '_>) {
        black_box(record);
        self.0 += 1;
    }
    fn refuse(&mut self, why: Refusal) {
        black_box(why);
    }
}

#[divan::bench]
fn walk(bencher: Bencher) {
    let request = request();
    bencher.counter(ItemsCount::new(SPANS)).bench(|| {
        let mut sink = Count::default();
        decode(Signal::Traces, Format::Protobuf, black_box(&request), &mut sink).map(|()| sink.0)
    });
}

#[divan::bench]
fn prost(bencher: Bencher) {
    let request = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| ExportTraceServiceRequest::decode(black_box(&request[..])));
}

/// Counting elements, which comes before each decoding.
#[divan::bench]
fn count(bencher: Bencher) {
    let request = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| measure(Signal::Traces, Format::Protobuf, black_box(&request)).estimate());
}
