//! What each family's real requests mean, field by field.
//!
//! `tests/families/expected.json` says for captured requests what a person reads out of them: for a
//! span, by its name, the fields of its entry and words of its payloads. The requests come from
//! `tests/family_clients`; their entries as a whole are in the golden files of `convert_goldens`.

use serde::Deserialize;
use serde_json::Value;
use spanledger::access::Tenant;
use spanledger::convert::Mappings;
use spanledger::intake::Preview;
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::receiver::otlp::decode;
use spanledger::receiver::{Kept, Limits, kept};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is expected of the entries of one captured request.
#[derive(Debug, Deserialize)]
struct Captured {
    /// Path below `tests/payloads/convert`.
    request: String,
    /// Name in `audit.mapping` of the entries of its own spans.
    family: String,
    /// Fields that every entry has.
    #[serde(default)]
    all: BTreeMap<String, Value>,
    spans: Vec<Expected>,
}

/// What is expected of the first span of a name, or of the one with that number.
#[derive(Debug, Deserialize)]
struct Expected {
    span: String,
    #[serde(default)]
    nth: usize,
    /// By path. `null` where nothing may be.
    fields: BTreeMap<String, Value>,
    /// By kind: words that must stand in one of the payloads of that kind.
    #[serde(default)]
    payloads: BTreeMap<String, String>,
}

fn payloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/convert")
}

fn expected() -> Vec<Captured> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families/expected.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The entries of a captured request, as they would be stored.
fn entries(request: &str) -> Vec<Value> {
    stored(std::fs::read(payloads().join(request)).unwrap())
}

/// The entries of a request, as they would be stored.
fn stored(request: Vec<u8>) -> Vec<Value> {
    let mappings = Mappings::builtin().unwrap();
    let protector = Protector::new(&Settings::default(), Keys::from_root(&[7; 32])).unwrap();
    let mut entries = Vec::new();
    for Kept { signal, format, message } in kept(request, None, &Limits::default()).unwrap() {
        let mut preview = Preview::new(&mappings, &protector, &Tenant::default(), |it| {
            entries.push(serde_json::from_slice(&it.body).unwrap());
        });
        decode(signal, format, &message, &mut preview).unwrap();
        assert_eq!(preview.finish().unwrap(), [], "no record is refused");
    }
    entries
}

/// The value at a path, nested or spelled out. What is not there is null.
fn at<'e>(entry: &'e Value, path: &str) -> &'e Value {
    path.split('.').fold(entry, |value, part| &value[part])
}

fn has_payload(entry: &Value, kind: &str, words: &str) -> bool {
    let parts = entry["audit"]["payload"].as_array();
    let mut parts = parts.into_iter().flatten().filter(|part| part["kind"] == kind);
    parts.any(|part| part["text"].as_str().is_some_and(|text| text.contains(words)))
}

/// What is wrong with an entry, a line a field.
fn wrong(entry: &Value, expected: &Expected, all: &BTreeMap<String, Value>) -> Vec<String> {
    let fields = expected.fields.iter().chain(all.iter());
    let fields = fields.filter(|(path, value)| at(entry, path) != *value);
    let payloads =
        expected.payloads.iter().filter(|(kind, words)| !has_payload(entry, kind, words));
    let fields = fields.map(|(path, value)| format!("{path}: {} and not {value}", at(entry, path)));
    let payloads = payloads.map(|(kind, words)| {
        format!("no payload {kind} with {words:?} in {}", entry["audit"]["payload"])
    });
    let wrong = fields.chain(payloads);
    wrong.map(|what| format!("  {}: {what}", expected.span)).collect()
}

#[test]
fn the_fields_of_captured_families_are_what_a_person_reads_out_of_them() {
    let mut problems = Vec::new();
    for Captured { request, family, mut all, spans } in expected() {
        let entries = entries(&request);
        let (mut total, mut right) = (0, 0);
        all.entry("audit.mapping".into()).or_insert_with(|| family.clone().into());
        for expected in &spans {
            let mut named = entries.iter().filter(|entry| entry["span"]["name"] == *expected.span);
            let found = named.nth(expected.nth);
            let found = found.unwrap_or_else(|| panic!("{request}: no span {:?}", expected.span));
            let wrong = wrong(found, expected, &all);
            let fields = expected.fields.len() + expected.payloads.len() + all.len();
            total += fields;
            right += fields - wrong.len();
            problems.extend(wrong.into_iter().map(|what| format!("{request}{what}")));
        }
        println!("{request}: {} entries, {right} of {total} fields right", entries.len());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_attribute_of_a_captured_span_is_kept_somewhere() {
    for Captured { request, .. } in expected() {
        let bytes = std::fs::read(payloads().join(&request)).unwrap();
        let sent = spans(&bytes);
        let entries = entries(&request);
        for (id, keys) in sent {
            let entry = entries.iter().find(|entry| entry["span"]["id"] == id.as_str()).unwrap();
            let text = entry.to_string();
            for (key, value) in keys {
                let there = !entry["attributes"][&key].is_null() || text.contains(&value);
                assert!(there, "{request} {id}: {key} is lost");
            }
        }
    }
}

/// Each span of a request: its id and its attributes as they look in JSON.
fn spans(request: &[u8]) -> Vec<(String, Vec<(String, String)>)> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;
    let request = ExportTraceServiceRequest::decode(request).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    let attribute = |it: opentelemetry_proto::tonic::common::v1::KeyValue| {
        use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
        let value = match it.value.and_then(|value| value.value)? {
            Any::StringValue(text) => serde_json::to_string(&text).unwrap(),
            Any::IntValue(int) => int.to_string(),
            Any::BoolValue(truth) => truth.to_string(),
            Any::DoubleValue(double) => double.to_string(),
            _ => return None,
        };
        Some((it.key, value))
    };
    let id = |id: &[u8]| {
        id.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let spans = spans.map(|span| {
        (id(&span.span_id), span.attributes.into_iter().filter_map(attribute).collect())
    });
    spans.collect()
}

/// A run of Spectra with everything that its audit trail names.
fn spectra_run() -> String {
    let request = r#"{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"Spectra.Kernel"},"spans":[
        SPANS]}]}]}"#;
    let common = [
        ("spectra.workflow.id", "refunds"),
        ("spectra.workflow.name", "Refunds"),
        ("spectra.run.id", "run-7"),
        ("spectra.tenant.id", "acme"),
        ("spectra.user.id", "u-77"),
    ];
    let span = |number: usize, name: &str, own: &[(&str, &str)]| {
        let attribute = |(key, value): &(&str, &str)| {
            let value = serde_json::json!({ "stringValue": value });
            serde_json::json!({ "key": key, "value": value })
        };
        let attributes: Vec<_> = common.iter().chain(own).map(attribute).collect();
        serde_json::json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "spanId": format!("{:016x}", number + 1),
            "name": name,
            "startTimeUnixNano": "1790000000000000000",
            "endTimeUnixNano": "1790000000250000000",
            "attributes": attributes,
        })
        .to_string()
    };
    let spans = [
        span(0, "workflow.run", &[("spectra.workflow.total_nodes", "5")]),
        span(
            1,
            "step.execute",
            &[
                ("spectra.step.type", "agent"),
                ("spectra.llm.provider", "openai"),
                ("spectra.llm.model", "gpt-4o-mini"),
                ("spectra.llm.prompt", "Please refund order 1042"),
                ("spectra.llm.response", "I look it up."),
            ],
        ),
        span(
            2,
            "tool.execute",
            &[
                ("spectra.tool.name", "issue_refund"),
                ("spectra.tool.arguments", r#"{"order_id":"1042"}"#),
                ("spectra.tool.result", r#"{"refunded":59.9}"#),
                ("spectra.tool.circuit_state", "Closed"),
            ],
        ),
        span(
            3,
            "step.execute",
            &[
                ("spectra.step.type", "branch"),
                ("spectra.branch.condition", "amount > 50"),
                ("spectra.branch.selected_edge", "needs_approval"),
                ("spectra.branch.result", "true"),
            ],
        ),
        span(
            4,
            "step.execute",
            &[
                ("spectra.step.type", "handoff"),
                ("spectra.handoff.source", "triage"),
                ("spectra.handoff.target", "refund-agent"),
                ("spectra.handoff.intent", "issue the refund"),
                ("spectra.handoff.context", r#"{"order":"1042"}"#),
            ],
        ),
        span(
            5,
            "step.execute",
            &[
                ("spectra.node.id", "approve"),
                ("spectra.step.type", "agent"),
                ("spectra.step.status", "interrupted"),
                ("spectra.interrupt.reason", "Approval required"),
                ("spectra.interrupt.responder", "ops-lead"),
                ("spectra.interrupt.response", r#"{"approved":true}"#),
            ],
        ),
        span(6, "mcp.tool_call", &[("mcp.tool.name", "lookup_order")]),
    ];
    request.replace("SPANS", &spans.join(","))
}

#[test]
fn s0_1_spectra_tells_calls_branches_hand_overs_interrupts_and_who_it_was_for() {
    let entries = stored(spectra_run().into_bytes());
    let kinds: Vec<_> = entries.iter().map(|it| at(it, "audit.kind").as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["workflow_run", "llm_call", "tool_call", "branch", "handoff", "interrupt", "tool_call"]
    );
    for entry in &entries {
        assert_eq!(entry["audit"]["mapping"], "spectra");
        assert_eq!(entry["audit"]["workflow"]["id"], "refunds");
        assert_eq!(entry["audit"]["run"]["id"], "run-7");
        assert_eq!(entry["audit"]["claims"]["tenant_id"], "acme");
        assert_eq!(entry["user"]["id"], "u-77");
    }
    let [run, call, tool, branch, handoff, interrupt, mcp] = &entries[..] else { panic!() };
    assert_eq!(run["audit"]["workflow"]["total_steps"], 5);
    assert_eq!(call["gen_ai"]["provider"]["name"], "openai");
    assert_eq!(call["gen_ai"]["request"]["model"], "gpt-4o-mini");
    assert!(has_payload(call, "prompt", "order 1042") && has_payload(call, "response", "look"));
    assert!(call["audit"]["payload"][1]["hash"].is_string(), "the response's hash");
    assert_eq!(tool["gen_ai"]["tool"]["name"], "issue_refund");
    assert_eq!(tool["event"]["duration"], 250_000_000);
    assert!(has_payload(tool, "arguments", "1042") && has_payload(tool, "result", "59.9"));
    assert_eq!(branch["audit"]["branch"]["selected_edge"], "needs_approval");
    assert_eq!(branch["audit"]["branch"]["condition"], "amount > 50");
    assert_eq!(branch["audit"]["branch"]["result"], "true");
    assert_eq!(handoff["audit"]["handoff"]["source"], "triage");
    assert_eq!(handoff["audit"]["handoff"]["target"], "refund-agent");
    assert_eq!(handoff["audit"]["handoff"]["intent"], "issue the refund");
    assert!(has_payload(handoff, "input", "1042"));
    assert_eq!(interrupt["audit"]["interrupt"]["reason"], "Approval required");
    assert_eq!(interrupt["audit"]["interrupt"]["responder"], "ops-lead");
    assert_eq!(interrupt["audit"]["interrupt"]["response"], r#"{"approved":true}"#);
    assert_eq!(interrupt["audit"]["step"]["id"], "approve");
    assert_eq!(mcp["gen_ai"]["tool"]["name"], "lookup_order");
}
