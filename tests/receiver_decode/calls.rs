//! What a sink is given, in a form that can be compared.

use spanledger::receiver::otlp::{DecodeError, Format, Signal, decode};
use spanledger::span::{
    Record, Refusal, Resource, Scope, Sink, canonical_record, canonical_resource, canonical_scope,
};

/// One call of a sink, with the canonical bytes of what it was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Resource(Vec<u8>),
    Scope(Vec<u8>),
    Record(Vec<u8>),
    Refuse(Refusal),
}

#[derive(Default)]
pub(crate) struct Calls(pub(crate) Vec<Call>);

impl Sink for Calls {
    fn resource(&mut self, resource: &Resource<'_>) {
        let mut bytes = Vec::new();
        canonical_resource(resource, &mut bytes);
        self.0.push(Call::Resource(bytes));
    }
    fn scope(&mut self, scope: &Scope<'_>) {
        let mut bytes = Vec::new();
        canonical_scope(scope, &mut bytes);
        self.0.push(Call::Scope(bytes));
    }
    fn record(&mut self, record: Record<'_, '_>) {
        let mut bytes = Vec::new();
        canonical_record(record, &mut bytes);
        self.0.push(Call::Record(bytes));
    }
    fn refuse(&mut self, why: Refusal) {
        self.0.push(Call::Refuse(why));
    }
}

pub(crate) fn decoded(
    signal: Signal,
    format: Format,
    request: &[u8],
) -> Result<Vec<Call>, DecodeError> {
    let mut calls = Calls::default();
    decode(signal, format, request, &mut calls)?;
    Ok(calls.0)
}
