//! Decision logs and LangSmith's runs: no bytes make a decoder panic, every record was counted before
//! it was made, what serde_json reads is taken, and an entry of it is one JSON document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::receiver::decision_logs::{self, Source};
use spanledger::receiver::langsmith::{self, Runs};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};
use std::sync::LazyLock;

static MAPPINGS: LazyLock<Mappings> = LazyLock::new(|| Mappings::builtin().unwrap());

/// Converts each record and counts.
struct Converter {
    resource: ResourceContext,
    scope: ScopeContext,
    records: usize,
}

impl Default for Converter {
    fn default() -> Self {
        let resource = MAPPINGS.resource(&Resource::default());
        let scope = MAPPINGS.scope(&Scope::default());
        Self { resource, scope, records: 0 }
    }
}

impl Sink for Converter {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = MAPPINGS.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = MAPPINGS.scope(scope);
    }

    fn record(&mut self, record: Record<'_, '_>) {
        self.records += 1;
        let converted = MAPPINGS.convert(&self.resource, &self.scope, record);
        let mut body = Vec::new();
        converted.entry.write(&mut body).unwrap();
        serde_json::from_slice::<IgnoredAny>(&body).unwrap();
    }

    fn refuse(&mut self, _: Refusal) {
        self.records += 1;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((which, request)) = input.split_first() else { return };
    let mut sink = Converter::default();
    let which = usize::from(*which) % 8;
    if let Some(source) = Source::ALL.get(which).copied() {
        let decoded = decision_logs::decode(source, request, &mut sink);
        let shape = decision_logs::measure(source, request);
        match decoded {
            // An entry of Cerbos is counted by all its outputs, also those that stand there twice.
            Ok(()) if source == Source::Cerbos => assert!(shape.records >= sink.records),
            Ok(()) => assert_eq!(shape.records, sink.records),
            Err(error) => {
                let read = serde_json::from_slice::<IgnoredAny>(request);
                assert!(read.is_err(), "it is JSON, but: {error}");
            }
        }
    } else {
        let runs = match which {
            4 => Runs::Multipart("b".to_owned()),
            5 => Runs::Batch,
            6 => Runs::Post,
            _ => Runs::Patch("01a1fcd1-6e76-7070-ae0b-750de641418e".to_owned()),
        };
        if langsmith::decode(&runs, request, &mut sink).is_ok() {
            assert_eq!(langsmith::measure(&runs, request).records, sink.records);
        }
    }
});
