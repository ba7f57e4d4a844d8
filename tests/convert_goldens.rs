//! What captured requests of real systems become, entry for entry.
//!
//! Each request under `tests/payloads/convert` has one file under `tests/snapshots` with its
//! entries in the order in which their records were sent. Long texts are cut there, so that a
//! person can read them; that nothing is lost on the way is for the other tests to say.
//! Beside the goldens, the important fields of each family have tests with names.

#[path = "support/prost_records.rs"]
mod prost_records;

#[path = "support/documented_requests.rs"]
mod documented_requests;

#[path = "convert_goldens/captured.rs"]
mod captured;

#[path = "convert_goldens/columns.rs"]
mod columns;

#[path = "convert_goldens/lessons.rs"]
mod lessons;

#[path = "convert_goldens/said.rs"]
mod said;

use serde_json::{Value as JsonValue, json};
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::receiver::otlp::{self, Format, Signal};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};
use std::path::{Path, PathBuf};

/// Converts what it is given and keeps the bodies.
struct Converter<'m> {
    mappings: &'m Mappings,
    resource: ResourceContext,
    scope: ScopeContext,
    bodies: Vec<JsonValue>,
}

impl<'m> Converter<'m> {
    fn new(mappings: &'m Mappings) -> Self {
        Self {
            mappings,
            resource: mappings.resource(&Resource::default()),
            scope: mappings.scope(&Scope::default()),
            bodies: Vec::new(),
        }
    }
}

impl Sink for Converter<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = self.mappings.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = self.mappings.scope(scope);
    }

    fn record(&mut self, record: Record<'_, '_>) {
        let converted = self.mappings.convert(&self.resource, &self.scope, record);
        for entry in std::iter::once(&converted.entry).chain(&converted.further) {
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            self.bodies.push(serde_json::from_slice(&body).unwrap());
        }
    }

    fn refuse(&mut self, why: Refusal) {
        panic!("a captured request has a record that is refused: {why}");
    }
}

fn payloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/convert")
}

/// The entries of a captured request. Prost reads protobuf; JSON with its hexadecimal ids only the
/// receiver reads.
fn entries(request: &str) -> Vec<JsonValue> {
    if is_json(request) {
        return received(request);
    }
    let mappings = Mappings::builtin().unwrap();
    let mut converter = Converter::new(&mappings);
    prost_records::replay(&payloads().join(request), &mut converter);
    converter.bodies
}

/// The same by way of the receiver's decoder.
fn received(request: &str) -> Vec<JsonValue> {
    let mappings = Mappings::builtin().unwrap();
    let mut converter = Converter::new(&mappings);
    let signal = if request.contains(".traces.") { Signal::Traces } else { Signal::Logs };
    let format = if is_json(request) { Format::Json } else { Format::Protobuf };
    for message in prost_records::messages(&payloads().join(request)) {
        otlp::decode(signal, format, &message, &mut converter).unwrap();
    }
    converter.bodies
}

fn is_json(request: &str) -> bool {
    request.ends_with(".http-json.bin")
}

/// Every captured request, as its path below the folder of payloads.
fn requests() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![payloads()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bin") {
                let name = path.strip_prefix(payloads()).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Cuts long texts, so that a person can read the file.
fn readable(value: &mut JsonValue) {
    /// Longest text that is shown whole, in characters.
    const SHOWN: usize = 120;
    match value {
        JsonValue::String(text) if text.chars().count() > SHOWN => {
            let shown: String = text.chars().take(SHOWN).collect();
            *text = format!("{shown}… ({} bytes)", text.len());
        }
        JsonValue::Array(items) => items.iter_mut().for_each(readable),
        JsonValue::Object(fields) => {
            // The resource is the same for every entry of a request: the first one shows it.
            fields.values_mut().for_each(readable);
        }
        _ => {}
    }
}

#[test]
fn captured_requests_become_these_entries() {
    for request in requests() {
        let mut bodies = JsonValue::Array(entries(&request));
        readable(&mut bodies);
        snapshot(&request.trim_end_matches(".bin").replace('/', "__"), &bodies);
    }
}

fn snapshot(name: &str, bodies: &JsonValue) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_json_snapshot!(name, bodies));
}

#[test]
fn the_receivers_decoder_leads_to_the_same_entries_as_prost() {
    for request in requests().iter().filter(|request| !is_json(request)) {
        assert_eq!(received(request), entries(request), "{request}");
    }
}

#[test]
fn a_request_in_json_becomes_the_entries_of_the_same_request_in_protobuf() {
    let names = |entries: &[JsonValue]| -> Vec<_> {
        let told = |e: &JsonValue| (e["message"].clone(), e["audit"]["kind"].clone());
        entries.iter().map(told).collect()
    };
    let json = entries("otel-js/json/001.traces.http-json.bin");
    assert!(!json.is_empty());
    assert_eq!(names(&json), names(&entries("otel-js/proto/001.traces.http-protobuf.bin")));
    assert_eq!(names(&json), names(&entries("otel-js/json-gzip/001.traces.http-json.bin")));
}

#[test]
fn an_external_id_is_found_under_a_prefix_that_no_mapping_knows() {
    let entry = columns::one(vec![
        ("my.metadata.external_trace_id", documented_requests::text("ext-7f3a-1042")),
        ("my.metadata.userId", documented_requests::text("u-77")),
    ]);
    assert_eq!(entry["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
    assert!(entry["trace_id"].as_array().unwrap().contains(&json!("ext-7f3a-1042")));
    assert_eq!(entry["attributes"]["my.metadata.userId"], "u-77", "kept as sent");
}

#[test]
fn every_request_has_entries() {
    assert!(requests().len() > 30, "the payloads are there");
    assert_eq!(
        json!(entries("otel-go/http-gzip/001.traces.http-protobuf.bin")).as_array().unwrap().len(),
        5
    );
}

/// The entries of a request that have this kind and message.
fn of_kind<'e>(entries: &'e [JsonValue], kind: &str, message: &str) -> Vec<&'e JsonValue> {
    let wanted = |entry: &&JsonValue| entry["audit"]["kind"] == kind && entry["message"] == message;
    entries.iter().filter(wanted).collect()
}

/// The text of the first payload of that kind.
fn payload<'e>(entry: &'e JsonValue, kind: &str) -> &'e str {
    let parts = entry["audit"]["payload"].as_array().unwrap();
    parts.iter().find(|part| part["kind"] == kind).unwrap()["text"].as_str().unwrap()
}

/// The entries of a request that is written in `documented_requests.rs`.
fn documented(send: impl FnOnce(&mut dyn Sink)) -> Vec<JsonValue> {
    let mappings = Mappings::builtin().unwrap();
    let mut converter = Converter::new(&mappings);
    send(&mut converter);
    converter.bodies
}

#[test]
fn documented_requests_become_these_entries() {
    for (name, mut bodies) in [
        ("axonflow_decisions", documented(documented_requests::axonflow_decisions)),
        ("blocked_pipeline", documented(documented_requests::blocked_pipeline)),
        ("decision_record", documented(documented_requests::decision_record)),
        ("runtime_journal", documented(documented_requests::runtime_journal)),
        ("spectra_run", documented(documented_requests::spectra_run)),
        ("decisions_on_a_span", documented(documented_requests::decisions_on_a_span)),
        ("changes", documented(documented_requests::changes)),
    ] {
        bodies.iter_mut().for_each(readable);
        snapshot(&format!("documents__{name}"), &JsonValue::Array(bodies));
    }
}

#[test]
fn a_blocked_axonflow_decision_names_its_policies() {
    let entries = documented(documented_requests::axonflow_decisions);
    let blocked = &entries[1]["audit"];
    assert_eq!(blocked["kind"], "decision");
    assert_eq!(blocked["mapping"], "axonflow");
    assert_eq!(blocked["decision"]["outcome"], "block");
    assert_eq!(blocked["decision"]["raw"], "deny");
    assert_eq!(blocked["decision"]["stage"], "tool");
    assert_eq!(blocked["decision"]["source"], "gw-eu-1");
    assert_eq!(blocked["policy"]["id"], json!(["pol-pii", "pol-egress"]));
    assert_eq!(
        blocked["claims"],
        json!({"tenant_id": "acme-prod", "organization_id": "acme"}),
        "a claim, not the tenant of the credential"
    );
    let outcomes: Vec<_> =
        entries.iter().map(|entry| &entry["audit"]["decision"]["outcome"]).collect();
    assert_eq!(outcomes, ["allow", "block", "require_approval", "error"]);
}

#[test]
fn openinference_decision_names_are_not_taken_for_axonflows() {
    let entries = documented(|sink| {
        let attributes = vec![
            ("openinference.span.kind", documented_requests::text("LLM")),
            ("decision.id", documented_requests::text("model-decision")),
        ];
        let span = documented_requests::span(0, "decide", attributes);
        sink.record(Record::Span(&span));
    });
    assert!(entries[0]["audit"]["decision"].is_null());
    assert_eq!(entries[0]["attributes"]["decision.id"], "model-decision");
}

#[test]
fn the_five_operations_of_a_blocked_pipeline_come_out_in_order() {
    let entries = documented(documented_requests::blocked_pipeline);
    let operations: Vec<_> = entries.iter().map(|entry| &entry["audit"]["request_type"]).collect();
    assert_eq!(
        operations,
        [
            "workflow_created",
            "workflow_step_gate",
            "workflow_step_completed",
            "workflow_step_gate",
            "workflow_aborted"
        ]
    );
    for entry in &entries {
        assert_eq!(entry["audit"]["kind"], entry["audit"]["request_type"]);
        assert_eq!(entry["audit"]["workflow"]["id"], "wf-1");
        assert_eq!(entry["audit"]["workflow"]["name"], "data-pipeline");
        assert_eq!(entry["audit"]["claims"]["client_id"], "client-1");
        assert_eq!(entry["user"]["id"], "u-77");
    }
    assert_eq!(entries[0]["audit"]["workflow"]["source"], "langgraph");
    assert_eq!(entries[0]["audit"]["external"]["trace_id"], json!(["ls-run-789"]));
    let gate = &entries[3];
    assert_eq!(gate["audit"]["decision"]["outcome"], "block");
    assert_eq!(gate["audit"]["step"]["name"], "transform-with-gpt4");
    assert_eq!(gate["audit"]["step"]["type"], "llm_call");
    assert_eq!(gate["gen_ai"]["request"]["model"], "gpt-4");
    assert_eq!(gate["audit"]["policy"], json!({"evaluated": 3, "matched": 1}));
    assert!(entries[4]["event"]["reason"].as_str().unwrap().contains("blocked"));
    assert!(entries[4]["audit"]["decision"].is_null(), "an end is no decision");
}

#[test]
fn the_decision_record_arrives_with_every_field() {
    let audit = &documented(documented_requests::decision_record)[0]["audit"];
    assert_eq!(audit["kind"], "decision");
    assert_eq!(audit["run"]["id"], "run-01");
    assert_eq!(audit["step"]["id"], "approve-change");
    assert_eq!(audit["job"]["id"], "job-123");
    assert_eq!(audit["job"]["hash"], "b3b5...8f1a");
    assert_eq!(audit["job"]["context_ptr"], "ctx:job-123");
    assert_eq!(audit["job"]["result_ptr"], "res:job-123");
    assert_eq!(audit["external"]["trace_id"], json!(["trace-456"]));
    assert_eq!(audit["decision"]["outcome"], "require_approval");
    assert_eq!(audit["decision"]["raw"], "REQUIRE_APPROVAL");
    assert_eq!(audit["decision"]["reason"], "Production writes need manager approval");
    assert_eq!(audit["policy"]["rule_id"], "prod-write-needs-approval");
    assert_eq!(audit["policy"]["snapshot"], "cfg:system:policy#sha256:7f3d...9c2b");
    assert_eq!(
        audit["approval"],
        json!({
            "required": true,
            "resolution": "approved",
            "resolved_by": "manager-2",
            "comment": "ticket INC-123"
        })
    );
    assert_eq!(audit["output_safety"]["decision"], "allow");
    assert_eq!(audit["output_safety"]["rule_id"], "out-safe-1");
}

#[test]
fn flat_names_mean_the_same_when_the_scope_says_audit_and_nothing_otherwise() {
    let entries = documented(documented_requests::runtime_journal);
    let decisions: Vec<_> = entries
        .iter()
        .map(|entry| {
            let decision = &entry["audit"]["decision"];
            (decision["outcome"].as_str().unwrap(), entry["audit"]["kind"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        decisions,
        [
            ("require_approval", "decision"),
            ("allow", "approval"),
            ("allow", "decision"),
            ("allow", "decision"),
            ("block", "decision")
        ]
    );
    let stopped = &entries[4];
    assert_eq!(stopped["audit"]["decision"]["reason"], "rate_limited_tenant");
    assert_eq!(stopped["audit"]["step"]["id"], "7", "a number is an id too");
    assert_eq!(stopped["attributes"]["step_id"], 7, "and is kept as it was sent");
    assert_eq!(stopped["event"]["action"], "refund.create");
    assert_eq!(stopped["audit"]["action"]["key"], "refund.create:1042");
    assert_eq!(stopped["audit"]["actor"]["id"], "support-agent");
    assert_eq!(entries[3]["event"]["outcome"], "success", "the result of what was executed");

    let elsewhere = documented(|sink| {
        let attributes = vec![("decision", documented_requests::text("stop"))];
        sink.record(Record::Span(&documented_requests::span(0, "x", attributes)));
    });
    assert_eq!(elsewhere[0]["audit"]["kind"], "span");
    assert_eq!(elsewhere[0]["attributes"]["decision"], "stop");
}

#[test]
fn branch_interrupt_and_handover_of_spectra_are_told_apart() {
    let entries = documented(documented_requests::spectra_run);
    let kinds: Vec<_> = entries.iter().map(|entry| &entry["audit"]["kind"]).collect();
    assert_eq!(kinds, ["workflow_run", "branch", "interrupt", "handoff", "tool_call"]);
    assert_eq!(
        entries[1]["audit"]["branch"],
        json!({"condition": "amount > 50", "selected_edge": "needs_approval", "result": "true"})
    );
    assert_eq!(entries[2]["audit"]["interrupt"]["response"], r#"{"approved":true}"#);
    assert_eq!(entries[3]["audit"]["handoff"]["target"], "refund-agent");
    assert_eq!(payload(&entries[3], "input"), r#"{"order":"1042"}"#);
    assert_eq!(payload(&entries[4], "arguments"), r#"{"order":1042}"#);
    for entry in &entries {
        assert_eq!(entry["audit"]["run"]["id"], "run-7");
        assert_eq!(entry["audit"]["claims"]["tenant_id"], "acme");
        assert_eq!(entry["user"]["id"], "u-77");
    }
}

#[test]
fn a_decision_and_an_approval_on_a_span_are_entries_of_their_own() {
    let entries = documented(documented_requests::decisions_on_a_span);
    let kinds: Vec<_> = entries.iter().map(|entry| &entry["audit"]["kind"]).collect();
    assert_eq!(kinds, ["tool_call", "decision", "approval"]);
    assert_eq!(entries[0]["audit"]["decision"]["outcome"], "allow", "both families apply");
    assert_eq!(entries[0]["gen_ai"]["tool"]["name"], "issue_refund");
    assert_eq!(entries[1]["audit"]["decision"]["outcome"], "require_approval");
    assert_eq!(entries[1]["event"]["dataset"], "otlp.span_event");
    assert_eq!(entries[2]["audit"]["actor"]["id"], "ops-lead");
    assert_eq!(entries[2]["audit"]["actor"]["type"], "user");
    for entry in &entries {
        assert_eq!(entry["span"]["id"], entries[0]["span"]["id"]);
        assert_eq!(entry["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
    }
}

#[test]
fn a_change_says_path_before_and_after_wherever_it_stands() {
    let entries = documented(documented_requests::changes);
    assert_eq!(
        entries[0]["audit"]["change"],
        json!([{"path": "rules[1].conditions[0].value", "before": "enterprise", "after": "pro"}])
    );
    assert_eq!(entries[0]["audit"]["target"]["id"], "flag:bot-management");
    assert_eq!(entries[1]["audit"]["kind"], "policy_change");
    assert_eq!(entries[1]["audit"]["policy"]["snapshot_after"], "cfg#2");
    let log = &entries[2];
    assert_eq!(log["audit"]["change"], json!([{"path": "quota.limit", "before": 10, "after": 20}]));
    assert_eq!(log["audit"]["record"]["id"], "5a7c1f3e-8f0b-4a52-9f3d-0c2b6f1d2e3f");
    assert_eq!(log["event"]["action"], "config.update");
    assert_eq!(log["attributes"]["audit.sequence.number"], 42);
}
