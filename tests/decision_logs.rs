//! Decision logs as engines send them: what each of them becomes, and what the receiver answers.
#![cfg(feature = "server")]

#[path = "decision_logs/cerbos.rs"]
mod cerbos;
#[path = "decision_logs/cordum.rs"]
mod cordum;
#[path = "decision_logs/envelope.rs"]
mod envelope;
#[path = "decision_logs/full.rs"]
mod full;
#[path = "decision_logs/opa.rs"]
mod opa;
#[path = "decision_logs/wire.rs"]
mod wire;

mod support;

use spanledger::convert::Mappings;
use spanledger::receiver::decision_logs::{Source, decode, measure};
use std::io::Read as _;
use std::path::Path;
use support::converted::{Converted, with};

/// What a request becomes with the mappings that are compiled in.
fn converted(source: Source, request: &[u8]) -> Converted {
    let mappings = Mappings::builtin().unwrap();
    let converted = with(&mappings, |mut sink| decode(source, request, &mut sink).unwrap());
    let records = converted.bodies.len() + converted.refused.len();
    let counted = measure(source, request).records;
    // Whether inputs of an entry of Cerbos have no output is not looked up to count it.
    let enough = counted == records || (source == Source::Cerbos && counted > records);
    assert!(enough, "memory is asked for each record: {counted} of {records}");
    converted
}

/// A request under `tests/payloads`, as it was sent.
fn sent(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(name)).unwrap()
}

/// The same, decompressed.
fn plain(name: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*sent(name)).read_to_end(&mut plain).unwrap();
    plain
}
