//! Mode `hash`: no text of a payload stays; hashes and commitments tell what it was.

use serde_json::json;
use spanledger::access::Tenant;
use spanledger::entry::{Entry, Json, Kind, Payload, PayloadKind};
use spanledger::protect::{Commitment, Keys, PayloadMode, Protector, Settings, commitment_kind};

const TEXT: &str = "canary: please refund order 1042 to my card";

fn settings(mode: PayloadMode) -> Settings {
    let mut settings = Settings::default();
    settings.payloads.mode = mode;
    settings
}

fn protector(settings: &Settings) -> Protector {
    Protector::new(settings, Keys::from_root(&[7; 32])).unwrap()
}

fn payload(kind: PayloadKind, source: &'static str, text: &str) -> Payload<'static> {
    let text = Some(text.to_owned().into());
    Payload { kind, source: source.into(), text, hash: None, bytes: 0 }
}

fn write(protector: &Protector, tenant: &str, entry: &mut Entry<'_>) -> (String, Vec<Commitment>) {
    let mut body = Vec::new();
    let tenant = Tenant::new(tenant).unwrap();
    let commitments = protector.tenant(&tenant).write(entry, &mut body).unwrap().commitments;
    (String::from_utf8(body).unwrap(), commitments)
}

fn digest(hex: &str) -> [u8; 32] {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    std::array::from_fn(|n| byte(2 * n))
}

#[test]
fn equal_payloads_have_equal_hashes_and_another_tenant_has_others() {
    let protector = protector(&settings(PayloadMode::Redact));
    let hashes = |tenant| {
        let mut entry = Entry::new(Kind::LlmCall);
        entry.audit.payload.push(payload(PayloadKind::Prompt, "gen_ai.prompt", TEXT));
        entry.audit.payload.push(payload(PayloadKind::Input, "input.value", TEXT));
        let (body, _) = write(&protector, tenant, &mut entry);
        assert!(body.contains(TEXT), "mode redact keeps the text");
        let [one, two] = &entry.audit.payload[..] else { panic!() };
        assert_eq!(one.hash, two.hash);
        assert_eq!(one.bytes, TEXT.len() as u64);
        one.hash.clone().unwrap().into_owned()
    };
    assert_eq!(hashes("a"), hashes("a"));
    assert_ne!(hashes("a"), hashes("b"));
    assert_eq!(hashes("a").len(), 64);
}

#[test]
fn the_hash_is_that_of_the_text_before_redaction() {
    let protector = protector(&settings(PayloadMode::Redact));
    let original = "the key is AKIAIOSFODNN7EXAMPLE";
    let mut entry = Entry::new(Kind::ToolCall);
    entry.audit.payload.push(payload(PayloadKind::Result, "r", original));
    write(&protector, "a", &mut entry);
    let expected =
        protector.keys().tenant(&Tenant::new("a").unwrap()).payload_hash(original.as_bytes());
    assert_eq!(digest(entry.audit.payload[0].hash.as_ref().unwrap()), expected);
    assert_eq!(
        entry.audit.payload[0].text.as_deref(),
        Some("the key is [REDACTED:aws_access_key_id]")
    );
}

#[test]
fn a_commitment_opens_with_its_salt_and_no_other() {
    let protector = protector(&settings(PayloadMode::Hash));
    let mut entry = Entry::new(Kind::LlmCall);
    entry.audit.payload.push(payload(PayloadKind::Prompt, "p", TEXT));
    entry.audit.payload.push(payload(PayloadKind::Response, "r", TEXT));
    let (_, commitments) = write(&protector, "a", &mut entry);
    let hash = digest(entry.audit.payload[0].hash.as_ref().unwrap());
    assert_eq!(commitments.len(), 2);
    assert_eq!(commitments[0].kind, commitment_kind(PayloadKind::Prompt));
    assert_eq!(commitments[1].kind, commitment_kind(PayloadKind::Response));
    assert!(commitments.iter().all(|commitment| commitment.verify(&hash)));
    assert_ne!(commitments[0].value, commitments[1].value, "equal payloads, other salts");
    assert!(!commitments[0].verify(&[0; 32]));
    let swapped = Commitment { salt: commitments[1].salt, ..commitments[0] };
    assert!(!swapped.verify(&hash));
}

#[test]
fn no_text_of_a_payload_stays_anywhere() {
    let protector = protector(&settings(PayloadMode::Hash));
    let mut entry: Entry<'_> = serde_json::from_value(json!({
        "schema_version": 1,
        "event": { "reason": format!("asked: {TEXT}") },
        "message": TEXT,
        "log": { "event_name": "gen_ai.user.message" },
        "audit": {
            "kind": "llm_call",
            "interrupt": { "response": TEXT },
            "payload": [
                { "kind": "prompt", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "system", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "response", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "reasoning", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "arguments", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "result", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "input", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "output", "source": "a", "text": TEXT, "bytes": 0 },
            ],
            "invalid_text": [{ "place": "gen_ai.prompt", "base64": "Y2FuYXJ5OiBwbGVhc2UgcmVmdW5k/w==" }],
        },
        "attributes": {
            "gen_ai.input.messages": [{ "role": "user", "parts": [{ "content": "canary-short" }] }],
            "llm.input_messages.0.message.content": "canary-short",
            "gen_ai.tool.call.arguments": "{\"order\":\"canary-short\"}",
            "ai.toolCall.result": "canary-short",
            "input.value": "canary-short",
            "nested": { "tool_arguments": { "x": "canary-short" } },
            "copied": TEXT,
        },
        "events": [
            { "name": "gen_ai.content.prompt", "attributes": { "gen_ai.prompt": "canary-short" } },
            { "name": "gen_ai.choice", "attributes": { "index": 3, "message": "canary-short", "finish_reason": "stop" } },
            { "name": "exception", "attributes": { "exception.message": "no such order" } },
        ],
        "body": { "content": "canary-short", "role": "user" },
    }))
    .unwrap();
    let (body, commitments) = write(&protector, "a", &mut entry);
    assert!(!body.contains("canary") && !body.contains("Y2FuYXJ5"), "{body}");
    assert!(body.contains("no such order"), "exceptions stay: {body}");
    assert!(body.contains(r#""index":3"#) && body.contains(r#""finish_reason":"stop""#), "{body}");
    assert_eq!(entry.message.as_deref(), Some("gen_ai.user.message"));
    assert_eq!(commitments.len(), 8);
    assert!(entry.audit.payload.iter().all(|p| p.text.is_none() && p.bytes == TEXT.len() as u64));
    assert!(entry.audit.redactions.iter().any(|r| {
        r.rule == "payload_mode:hash"
            && r.place == "attributes.llm.input_messages.0.message.content"
    }));
    let same = protector.keys().tenant(&Tenant::new("a").unwrap()).payload_hash(b"canary-short");
    let shown = entry.attributes.get("input.value").and_then(Json::as_str).unwrap();
    assert_eq!(digest(&shown["[HASHED:".len()..]), same, "the keyed hash of what stood there");
}

#[test]
fn only_the_kinds_of_that_mode_and_tenant_lose_their_text() {
    let settings: Settings = serde_json::from_value(json!({
        "hash_args": true,
        "payloads": { "tenants": { "acme": { "kinds": { "prompt": "hash" } } } },
    }))
    .unwrap();
    let protector = protector(&settings.validate().unwrap().0);
    let texts = |tenant| {
        let mut entry = Entry::new(Kind::ToolCall);
        entry.audit.payload.push(payload(PayloadKind::Prompt, "p", "a prompt"));
        entry.audit.payload.push(payload(PayloadKind::Arguments, "a", "some arguments"));
        entry.audit.payload.push(payload(PayloadKind::Result, "r", "a result"));
        entry.attributes.push("gen_ai.tool.call.arguments".into(), "other arguments".into());
        entry.attributes.push("gen_ai.prompt".into(), "another prompt".into());
        write(&protector, tenant, &mut entry).0
    };
    let (acme, other) = (texts("acme"), texts("other"));
    for body in [&acme, &other] {
        assert!(!body.contains("arguments\"") || body.contains("\"kind\":\"arguments\""), "{body}");
        assert!(!body.contains("some arguments") && !body.contains("other arguments"), "{body}");
        assert!(body.contains("a result"), "{body}");
    }
    assert!(!acme.contains("a prompt") && !acme.contains("another prompt"), "{acme}");
    assert!(other.contains("a prompt") && other.contains("another prompt"), "{other}");
}

#[test]
fn an_id_that_equals_a_payload_keeps_joining() {
    let protector = protector(&settings(PayloadMode::Hash));
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let mut entry = Entry::new(Kind::ToolCall);
    entry.audit.payload.push(payload(PayloadKind::Result, "r", id));
    entry.audit.run.id = Some(id.into());
    entry.add_trace_id(id.into());
    entry.attributes.push("order.id".into(), id.into());
    entry.attributes.push("note".into(), id.into());
    write(&protector, "a", &mut entry);
    assert_eq!(entry.audit.run.id.as_deref(), Some(id));
    assert_eq!(entry.trace_id, [id]);
    assert_eq!(entry.attributes.get("order.id").and_then(Json::as_str), Some(id));
    assert!(entry.attributes.get("note").unwrap().as_str().unwrap().starts_with("[HASHED:"));
}

#[test]
fn a_transcript_of_hundreds_of_payloads_has_a_commitment_for_each_and_never_too_many() {
    use sha2::{Digest as _, Sha256};
    use spanledger::access::Tenant;
    use spanledger::entry::{Entry, Kind, Payload};
    use spanledger::protect::{Keys, Protector, Settings};

    let protector = Protector::new(&Settings::default(), Keys::from_root(&[7; 32])).unwrap();
    let (tenant, mut entry) = (Tenant::default(), Entry::new(Kind::LlmCall));
    for n in 0..300 {
        let text = Some(format!("message {n}").into());
        entry.audit.payload.push(Payload { text, ..Payload::default() });
    }
    let protected = protector.tenant(&tenant).write(&mut entry, &mut Vec::new()).unwrap();
    let commitments = protected.commitments;
    assert_eq!(commitments.len(), 65, "64 of their own and one that the others share");
    let keys = protector.keys().tenant(&tenant);
    let hash = |n: usize| keys.payload_hash(format!("message {n}").as_bytes());
    assert!(commitments[63].verify(&hash(63)));
    let shared: Vec<u8> = (64..300).flat_map(hash).collect();
    assert!(commitments[64].verify(&Sha256::digest(&shared).into()));
}
