//! What captured requests of real systems mean: actions where something was done, decisions where
//! something was decided, and no alarm where nobody governs.

#[path = "support/prost_records.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod prost_records;

use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::receiver::otlp::{self, Format, Signal};
use spanledger::span::{Record as Sent, Refusal, Resource, Scope, Sink};
use spanledger::store::projection::{Origin, write_document};
use spanledger::store::{EntryView, Envelope};
use spanledger::story::{Code, Record, Severity, Study};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

struct Converter<'m> {
    mappings: &'m Mappings,
    resource: ResourceContext,
    scope: ScopeContext,
    bodies: Vec<Vec<u8>>,
}

impl Sink for Converter<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = self.mappings.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = self.mappings.scope(scope);
    }

    fn record(&mut self, record: Sent<'_, '_>) {
        let converted = self.mappings.convert(&self.resource, &self.scope, record);
        for entry in std::iter::once(&converted.entry).chain(&converted.further) {
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            self.bodies.push(body);
        }
    }

    fn refuse(&mut self, why: Refusal) {
        panic!("a captured request has a record that is refused: {why}");
    }
}

/// The records of a captured request, as a story reads them.
fn records(mappings: &Mappings, path: &Path) -> Vec<Record> {
    let mut converter = Converter {
        mappings,
        resource: mappings.resource(&Resource::default()),
        scope: mappings.scope(&Scope::default()),
        bodies: Vec::new(),
    };
    let name = path.to_str().unwrap();
    let signal = if name.contains(".traces.") { Signal::Traces } else { Signal::Logs };
    let format = if name.contains("http-json") { Format::Json } else { Format::Protobuf };
    for message in prost_records::messages(path) {
        otlp::decode(signal, format, &message, &mut converter).unwrap();
    }
    (0..).zip(&converter.bodies).map(|(sequence, body)| record(sequence, body)).collect()
}

fn record(sequence: u64, body: &[u8]) -> Record {
    let envelope = Envelope {
        sequence,
        id: u128::from(sequence).to_be_bytes(),
        tenant: "default",
        received_ns: 1_795_241_529_000_000_000,
        conflict: false,
        leaf_hash: [7; 32],
    };
    let view = EntryView::new(envelope, body);
    let mut document = Vec::new();
    write_document(&view, Origin { name: "test" }, &mut document);
    Record::read(&document, view.event_ns()).expect("a projected entry is read")
}

fn requests(folder: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bin") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The captured agents call tools and models, and some are interrupted; only few are governed.
#[test]
fn captured_traces_of_ungoverned_agents_raise_no_alarm_and_their_tools_are_actions() {
    let mappings = Mappings::builtin().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/convert");
    let mut actions = 0;
    for path in requests(folder) {
        let study = Study::of(records(&mappings, &path));
        actions += study.actions.len();
        // Some of those that are governed stop something and name no policy, which is true of them.
        let alarms: Vec<_> = study
            .findings
            .iter()
            .filter(|found| found.severity != Severity::Note)
            .filter(|found| found.code != Code::DecisionWithoutPolicy)
            .collect();
        assert!(alarms.is_empty(), "{}: {alarms:#?}", path.display());
    }
    assert!(actions > 20, "{actions}");
}

/// A thousand entries that all claim to be one action: studied in a moment, whatever they say.
#[test]
fn a_story_that_is_all_one_action_is_studied_in_a_moment() {
    let bodies = (0..1_000_u64).map(|n| {
        let second = n % 60;
        let (kind, rest) = match n % 4 {
            0 => ("decision", r#","decision":{"outcome":"require_approval","phase":"pre_exec"}"#),
            1 => ("approval", r#","approval":{"status":"pending"}"#),
            2 => ("decision", r#","decision":{"outcome":"allow","phase":"post_exec"}"#),
            _ => ("tool_call", ""),
        };
        format!(
            r#"{{"schema_version":1,"@timestamp":"2026-11-21T08:00:{second:02}Z","event":{{}},"audit":{{"kind":"{kind}","run":{{"id":"r"}},"action":{{"key":"k","args_hash":"{n}"}}{rest}}},"trace":{{"id":"t"}},"gen_ai":{{"tool":{{"name":"x"}}}}}}"#
        )
    });
    let records: Vec<Record> = (0..).zip(bodies).map(|(n, b)| record(n, b.as_bytes())).collect();
    let began = Instant::now();
    let study = Study::of(records);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(study.findings.len() <= spanledger::story::MAX_FINDINGS);
    assert!(!study.actions.is_empty());
}
