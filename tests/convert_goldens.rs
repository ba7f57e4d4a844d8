//! What captured requests of real systems become, entry for entry.
//!
//! Each request under `tests/payloads/convert` has one file under `tests/snapshots` with its
//! entries in the order in which their records were sent. Long texts are cut there, so that a
//! person can read them; that nothing is lost on the way is for the other tests to say.
//! Beside the goldens, the important fields of each family have tests with names.

#[path = "support/prost_records.rs"]
mod prost_records;

use serde_json::{Value as JsonValue, json};
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
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

/// The entries of a captured request.
fn entries(request: &str) -> Vec<JsonValue> {
    let mappings = Mappings::builtin().unwrap();
    let mut converter = Converter::new(&mappings);
    prost_records::replay(&payloads().join(request), &mut converter);
    converter.bodies
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
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("snapshots");
        let name = request.trim_end_matches(".bin").replace('/', "__");
        settings.bind(|| insta::assert_json_snapshot!(name, bodies));
    }
}

#[test]
fn every_request_has_entries() {
    assert!(requests().len() > 30, "the payloads are there");
    assert_eq!(
        json!(entries("otel-go/http-gzip/001.traces.http-protobuf.bin")).as_array().unwrap().len(),
        5
    );
}
