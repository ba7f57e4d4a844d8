//! What records become, without a server: mappings over what a decoder gives.

use serde_json::Value;
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};

/// The bodies of entries in the order of their records, and why records were refused.
#[derive(Debug, Default)]
pub struct Converted {
    pub bodies: Vec<Value>,
    pub refused: Vec<Refusal>,
}

struct Converter<'m> {
    mappings: &'m Mappings,
    resource: ResourceContext,
    scope: ScopeContext,
    converted: Converted,
}

/// Converts what `decode` gives to the sink, with these mappings.
pub fn with(mappings: &Mappings, decode: impl FnOnce(&mut dyn DynSink)) -> Converted {
    let mut converter = Converter {
        mappings,
        resource: mappings.resource(&Resource::default()),
        scope: mappings.scope(&Scope::default()),
        converted: Converted::default(),
    };
    decode(&mut converter);
    converter.converted
}

/// A sink behind a reference, so that a test can give a closure.
pub trait DynSink {
    fn resource(&mut self, resource: &Resource<'_>);
    fn scope(&mut self, scope: &Scope<'_>);
    fn record(&mut self, record: Record<'_, '_>);
    fn refuse(&mut self, why: Refusal);
}

impl Sink for &mut dyn DynSink {
    fn resource(&mut self, resource: &Resource<'_>) {
        (**self).resource(resource);
    }
    fn scope(&mut self, scope: &Scope<'_>) {
        (**self).scope(scope);
    }
    fn record(&mut self, record: Record<'_, '_>) {
        (**self).record(record);
    }
    fn refuse(&mut self, why: Refusal) {
        (**self).refuse(why);
    }
}

impl DynSink for Converter<'_> {
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
            self.converted.bodies.push(serde_json::from_slice(&body).unwrap());
        }
    }

    fn refuse(&mut self, why: Refusal) {
        self.converted.refused.push(why);
    }
}

/// The text at a JSON pointer; empty when there is none.
pub fn text<'v>(body: &'v Value, pointer: &str) -> &'v str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The payload of a kind.
pub fn payload(body: &Value, kind: &str) -> String {
    let payloads = body["audit"]["payload"].as_array().cloned().unwrap_or_default();
    let found = payloads.into_iter().find(|payload| payload["kind"] == kind);
    found.map(|payload| text(&payload, "/text").to_owned()).unwrap_or_default()
}
