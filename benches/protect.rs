//! What protection costs beside the encoding that would be done anyway: `cargo bench --bench protect`.

use divan::Bencher;
use divan::counter::ItemsCount;
use spanledger::access::Tenant;
use spanledger::entry::{Entry, Json, Kind, Payload, PayloadKind};
use spanledger::ledger::{Batch, Commitment, EntryId, NewEntry};
use spanledger::protect::{FreshKeys, Keys, PayloadMode, PayloadSettings, Protector, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// A chat span of an agent: 2.3 KB of JSON, a prompt and a response of a few sentences.
fn entry() -> Entry<'static> {
    let mut entry =
        Entry { timestamp: "2026-11-21T06:12:09.767677952Z".into(), ..Entry::new(Kind::LlmCall) };
    entry.add_trace_id("4bf92f3577b34da6a3ce929d0e0e4736".into());
    entry.add_trace_id("langsmith-run-abc123".into());
    entry.message = Some("chat gpt-4o-mini".into());
    entry.trace.id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    entry.span.id = Some("00f067aa0ba902b7".into());
    entry.span.parent_id = Some("53995c3f42cd8ad8".into());
    entry.span.name = Some("chat gpt-4o-mini".into());
    entry.user.id = Some("user-4711".into());
    entry.service.name = Some("refund-agent".into());
    entry.gen_ai.request.model = Some("gpt-4o-mini".into());
    entry.gen_ai.response.model = Some("gpt-4o-mini-2024-07-18".into());
    entry.gen_ai.usage.input_tokens = Some(181);
    entry.gen_ai.usage.output_tokens = Some(24);
    entry.audit.session.id = Some("550e8400-e29b-41d4-a716-446655440000".into());
    let prompt = r#"[{"role":"system","content":"You are a careful refund agent. Look the order up before you refund anything."},{"role":"user","content":"Please refund order 1042, the lamp arrived broken and I would like my money back."}]"#;
    let response = r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"call_9f8e","name":"lookup_order","arguments":{"order_id":"1042"}}],"finish_reason":"tool_calls"}]"#;
    for (kind, source, text) in [
        (PayloadKind::Prompt, "gen_ai.input.messages", prompt),
        (PayloadKind::Response, "gen_ai.output.messages", response),
    ] {
        let bytes = text.len() as u64;
        let payload = Payload {
            kind,
            source: source.into(),
            text: Some(text.into()),
            bytes,
            ..Payload::default()
        };
        entry.audit.payload.push(payload);
    }
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("server.address", "api.openai.com"),
        ("url.full", "https://api.openai.com/v1/chat/completions"),
        ("gen_ai.openai.response.service_tier", "default"),
        ("gen_ai.response.finish_reasons", "[\"tool_calls\"]"),
        ("traceloop.association.properties.thread_id", "thread-7f3c"),
        ("langgraph_checkpoint_ns", "agent:5f2b6c1e-6f3c-4d6b-9f63-3f8a2a0e1d11"),
        ("tag.tags", "refund, lab, seq:step:1"),
    ] {
        entry.attributes.push(name.into(), Json::Text(value.into()));
    }
    entry.attributes.push("gen_ai.request.temperature".into(), Json::Double(0.2));
    entry.attributes.push("gen_ai.request.max_tokens".into(), Json::Int(256));
    for (name, value) in [
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.45.0"),
        ("service.instance.id", "6f1c8a52-6a56-4a1a-8a3b-6d6e0a9f9c11"),
        ("deployment.environment.name", "production"),
        ("host.name", "agent-host"),
    ] {
        entry.resource.push(name.into(), Json::Text(value.into()));
    }
    entry.scope.name = Some("opentelemetry.instrumentation.openai_v2".into());
    entry.scope.version = Some("2.4b0".into());
    entry
}

fn protector(settings: &Settings) -> Protector {
    Protector::new(settings, Keys::from_root(&[7; 32])).expect("settings are legal")
}

fn bench_write(bencher: Bencher<'_, '_>, settings: &Settings) {
    let (protector, tenant, template) = (protector(settings), Tenant::default(), entry());
    let mut body = Vec::with_capacity(16 * 1024);
    bencher.counter(ItemsCount::new(1_u64)).with_inputs(|| template.clone()).bench_local_values(
        |mut entry| {
            body.clear();
            let commitments = protector.tenant(&tenant).write(&mut entry, &mut body);
            (commitments, entry)
        },
    );
}

/// The encoding alone, for comparison.
#[divan::bench(sample_size = 100)]
fn encode_only(bencher: Bencher<'_, '_>) {
    let mut template = entry();
    for payload in &mut template.audit.payload {
        payload.hash = Some("0".repeat(64).into());
    }
    let mut body = Vec::with_capacity(16 * 1024);
    bencher.counter(ItemsCount::new(1_u64)).with_inputs(|| template.clone()).bench_local_values(
        |entry| {
            body.clear();
            let done = entry.write(&mut body);
            (done.is_ok(), entry)
        },
    );
}

/// One keyed hash of each payload, for comparison: what no design can leave out.
#[divan::bench(sample_size = 100)]
fn payload_hashes_only(bencher: Bencher<'_, '_>) {
    let keys = Keys::from_root(&[7; 32]).tenant(&Tenant::default());
    let entry = entry();
    bencher.bench_local(|| {
        entry
            .audit
            .payload
            .iter()
            .filter_map(|payload| payload.text.as_ref())
            .map(|text| keys.payload_hash(text.as_bytes()))
            .fold(0, |sum, hash| sum ^ hash[0])
    });
}

/// An entry without anything to hide, with the settings of a fresh installation.
#[divan::bench(sample_size = 100)]
fn write(bencher: Bencher<'_, '_>) {
    bench_write(bencher, &Settings::default());
}

/// The same when fields are listed that the entry does not have.
#[divan::bench(sample_size = 100)]
fn write_with_listed_fields(bencher: Bencher<'_, '_>) {
    let redact_fields = ["email", "phone", "card_number"].map(str::to_owned).to_vec();
    bench_write(bencher, &Settings { redact_fields, ..Settings::default() });
}

/// The same without a search for credentials: keyed hashes and commitments only.
#[divan::bench(sample_size = 100)]
fn write_without_search(bencher: Bencher<'_, '_>) {
    bench_write(bencher, &Settings { redact_credentials: false, ..Settings::default() });
}

/// An entry with one credential: every string is looked at, and it is encoded twice.
#[divan::bench(sample_size = 100)]
fn write_with_a_credential(bencher: Bencher<'_, '_>) {
    let (protector, tenant, mut template) =
        (protector(&Settings::default()), Tenant::default(), entry());
    template.attributes.push("debug".into(), Json::Text("AKIAIOSFODNN7EXAMPLE".into()));
    let mut body = Vec::with_capacity(16 * 1024);
    bencher.with_inputs(|| template.clone()).bench_local_values(|mut entry| {
        body.clear();
        let commitments = protector.tenant(&tenant).write(&mut entry, &mut body);
        (commitments, entry)
    });
}

/// All that intake does to an entry once it is converted, up to its frame: what mode `full` adds to
/// mode `hash` is compressing and encrypting the payloads, the commitments to them, and more bytes.
fn bench_frame(bencher: Bencher<'_, '_>, mode: PayloadMode) {
    let folder = tempfile::tempdir().expect("a folder for keys");
    let keys = Keys::open_or_create(&folder.path().join("keys")).expect("keys can be made");
    let payloads = PayloadSettings { mode, ..PayloadSettings::default() };
    let settings = Settings { payloads, ..Settings::default() };
    let protector = Protector::new(&settings, keys).expect("settings are legal");
    let (tenant, template) = (Tenant::default(), entry());
    let (mut body, mut fresh) = (Vec::with_capacity(16 * 1024), FreshKeys::default());
    bencher.counter(ItemsCount::new(1_u64)).with_inputs(|| template.clone()).bench_local_values(
        |mut entry| {
            body.clear();
            let protector = protector.tenant(&tenant);
            let protected = protector.write(&mut entry, &mut body).expect("it can be written");
            let id = [9; 16];
            let sealed = protected.unsealed.as_ref().map(|texts| {
                protector.seal(&id, texts, &mut fresh).expect("the payloads can be sealed")
            });
            let commitments: Vec<_> = protected
                .commitments
                .iter()
                .map(|it| Commitment { kind: it.kind, value: it.value, salt: it.salt })
                .collect();
            let mut batch = Batch::new();
            let pushed = batch.push(&NewEntry {
                id: EntryId(id),
                tenant: tenant.name(),
                tenant_pseudonym: protector.keys().pseudonym(),
                retention_class: 0,
                received_ns: 1_795_241_529_000_000_000,
                mapping_version: *b"mapping1",
                source_key: None,
                commitments: &commitments,
                sealed: sealed.as_deref().unwrap_or_default(),
                body: &body,
            });
            (pushed, batch, entry)
        },
    );
}

/// An entry with its payloads in mode `redact`, up to its frame.
#[divan::bench(sample_size = 100)]
fn frame_in_mode_redact(bencher: Bencher<'_, '_>) {
    bench_frame(bencher, PayloadMode::Redact);
}

/// The same in mode `hash`.
#[divan::bench(sample_size = 100)]
fn frame_in_mode_hash(bencher: Bencher<'_, '_>) {
    bench_frame(bencher, PayloadMode::Hash);
}

/// The same in mode `full`: the difference to mode `hash` is what sealing costs a span.
#[divan::bench(sample_size = 100)]
fn frame_in_mode_full(bencher: Bencher<'_, '_>) {
    bench_frame(bencher, PayloadMode::Full);
}

/// The identity of an entry.
#[divan::bench(sample_size = 100)]
fn entry_id() -> [u8; 16] {
    thread_local! {
        static KEYS: std::sync::Arc<spanledger::protect::TenantKeys> =
            Keys::from_root(&[7; 32]).tenant(&Tenant::default());
    }
    KEYS.with(|keys| keys.entry_id(divan::black_box(&[9; 32])))
}
