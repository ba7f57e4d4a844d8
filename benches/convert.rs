//! What it costs to convert a span: the captured spans of each family, and a plain GenAI span.
//!
//! `cargo bench --bench convert`; divan's `items` are spans.

use divan::Bencher;
use divan::counter::ItemsCount;
use spanledger::convert::Mappings;
use spanledger::span::{Attribute, Record, Resource, Scope, Span, Value};

fn main() {
    divan::main();
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// A model call as OpenTelemetry's instrumentations send it: 22 attributes, 8 on the resource.
fn gen_ai_span() -> Span<'static> {
    let mut attributes: Vec<Attribute<'static>> = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        ("gen_ai.response.id", "chatcmpl-0123456789"),
        ("gen_ai.agent.name", "refund-agent"),
        ("gen_ai.agent.id", "agent-7"),
        ("gen_ai.conversation.id", "conv-1042"),
        (
            "gen_ai.input.messages",
            r#"[{"role":"user","parts":[{"type":"text","content":"Please refund order 1042"}]}]"#,
        ),
        (
            "gen_ai.output.messages",
            r#"[{"role":"assistant","parts":[{"type":"text","content":"Done."}]}]"#,
        ),
        ("gen_ai.system_instructions", r#"[{"type":"text","content":"You are a refund agent."}]"#),
        ("user.id", "u-77"),
        ("session.id", "sess-1"),
        ("server.address", "api.example.com"),
        ("correlation.id", "ext-7f3a-1042"),
        ("app.region", "eu-west-1"),
        ("app.build", "2026.11.21"),
    ]
    .into_iter()
    .map(|(key, value)| Attribute::new(key, text(value)))
    .collect();
    for (key, value) in [
        ("gen_ai.usage.input_tokens", 112),
        ("gen_ai.usage.output_tokens", 17),
        ("gen_ai.request.max_tokens", 200),
        ("gen_ai.request.seed", 7),
        ("server.port", 443),
    ] {
        attributes.push(Attribute::new(key, Value::Int(value)));
    }
    Span {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes(),
        span_id: [1; 8],
        parent_span_id: [2; 8],
        name: "chat gpt-4o-mini".into(),
        kind: 3,
        start_ns: 1_795_241_529_767_677_952,
        end_ns: 1_795_241_529_796_640_000,
        attributes,
        ..Span::default()
    }
}

/// The same call as `OpenInference` sends it: flattened messages, ids inside JSON text.
fn openinference_span() -> Span<'static> {
    let mut span = gen_ai_span();
    span.attributes = [
        ("openinference.span.kind", "LLM"),
        ("llm.provider", "openai"),
        ("llm.system", "openai"),
        ("llm.model_name", "gpt-4o-mini-2024-07-18"),
        ("input.value", r#"{"messages":[[{"lc":1,"kwargs":{"content":"Please refund order 1042"}}]]}"#),
        ("input.mime_type", "application/json"),
        ("output.value", r#"{"generations":[[{"text":"Done."}]]}"#),
        ("output.mime_type", "application/json"),
        ("llm.input_messages.0.message.role", "system"),
        ("llm.input_messages.0.message.content", "You are a refund agent."),
        ("llm.input_messages.1.message.role", "user"),
        ("llm.input_messages.1.message.content", "Please refund order 1042"),
        ("llm.output_messages.0.message.role", "assistant"),
        ("llm.output_messages.0.message.content", "Done."),
        ("user.id", "u-77"),
        ("session.id", "sess-1"),
        ("metadata", r#"{"external_trace_id":"ext-7f3a-1042","n":null,"thread_id":"thread-1042","langgraph_node":"agent"}"#),
    ]
    .into_iter()
    .map(|(key, value)| Attribute::new(key, text(value)))
    .collect();
    span
}

fn resource() -> Resource<'static> {
    let attributes = [
        ("service.name", "refund-agent"),
        ("service.version", "1.0.0"),
        ("service.instance.id", "2bb0bc64-9bb6-4cf0-971b-bb17f71d5bf0"),
        ("deployment.environment.name", "lab"),
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.45.2"),
        ("host.name", "agent-host"),
    ];
    let attributes =
        attributes.into_iter().map(|(key, value)| Attribute::new(key, text(value))).collect();
    Resource { attributes, ..Resource::default() }
}

fn convert(bencher: Bencher<'_, '_>, span: &Span<'_>) {
    let mappings = Mappings::builtin().expect("the mappings that are compiled in are right");
    let resource = mappings.resource(&resource());
    let scope = mappings.scope(&Scope { name: "bench".into(), ..Scope::default() });
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let record = Record::Span(divan::black_box(span));
        divan::black_box(mappings.convert(&resource, &scope, record));
    });
}

#[divan::bench]
fn gen_ai(bencher: Bencher<'_, '_>) {
    convert(bencher, &gen_ai_span());
}

#[divan::bench]
fn openinference(bencher: Bencher<'_, '_>) {
    convert(bencher, &openinference_span());
}

#[divan::bench]
fn plain_span_without_attributes(bencher: Bencher<'_, '_>) {
    convert(bencher, &Span { attributes: Vec::new(), ..gen_ai_span() });
}

/// Writing the entry, to see the conversion beside what follows it.
#[divan::bench]
fn gen_ai_converted_and_written(bencher: Bencher<'_, '_>) {
    let mappings = Mappings::builtin().expect("the mappings that are compiled in are right");
    let resource = mappings.resource(&resource());
    let scope = mappings.scope(&Scope { name: "bench".into(), ..Scope::default() });
    let span = gen_ai_span();
    let mut body = Vec::with_capacity(8192);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        body.clear();
        let converted = mappings.convert(&resource, &scope, Record::Span(divan::black_box(&span)));
        converted.entry.write(&mut body).expect("an entry is always written");
        divan::black_box(&body);
    });
}

/// What is done once per resource.
#[divan::bench]
fn resource_context(bencher: Bencher<'_, '_>) {
    let mappings = Mappings::builtin().expect("the mappings that are compiled in are right");
    let resource = resource();
    bencher.bench_local(|| divan::black_box(mappings.resource(divan::black_box(&resource))));
}
