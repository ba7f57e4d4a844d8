//! The protobuf walk decodes what prost decodes, and refuses what prost refuses but for text.

use super::calls::{Call, decoded};
use super::oracle::expected;
use super::strategies;
use proptest::prelude::*;
use prost::Message;
use spanledger::receiver::otlp::{Format, Signal};

/// Both decode to the same, or both refuse; but prost also refuses text that is not UTF-8.
fn agree(signal: Signal, request: &[u8]) -> Result<(), TestCaseError> {
    let ours = decoded(signal, Format::Protobuf, request);
    match expected(signal, request) {
        Ok(expected) => prop_assert_eq!(ours, Ok(expected)),
        Err(error) if error.to_string().contains("UTF-8") => {}
        Err(error) => prop_assert!(ours.is_err(), "prost: {}, ours: {:?}", error, ours),
    }
    Ok(())
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A request with one span of these fields and sound ids.
fn one_span(fields: &[u8]) -> Vec<u8> {
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), fields.to_vec()].concat();
    field(1, &field(2, &field(2, &span)))
}

proptest! {
    #[test]
    fn a_trace_request_decodes_as_prost_decodes_it(request in strategies::traces()) {
        agree(Signal::Traces, &request.encode_to_vec())?;
    }

    #[test]
    fn a_log_request_decodes_as_prost_decodes_it(request in strategies::logs()) {
        agree(Signal::Logs, &request.encode_to_vec())?;
    }

    #[test]
    fn a_request_cut_short_is_refused_when_prost_refuses_it(
        request in strategies::traces(),
        cut: prop::sample::Index,
    ) {
        let bytes = request.encode_to_vec();
        agree(Signal::Traces, &bytes[..cut.index(bytes.len() + 1)])?;
    }

    #[test]
    fn a_damaged_request_is_refused_when_prost_refuses_it(
        traces in strategies::traces(),
        logs in strategies::logs(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (signal, mut bytes) in
            [(Signal::Traces, traces.encode_to_vec()), (Signal::Logs, logs.encode_to_vec())]
        {
            for (position, byte) in &damage {
                if !bytes.is_empty() {
                    let position = position.index(bytes.len());
                    bytes[position] = *byte;
                }
            }
            agree(signal, &bytes)?;
        }
    }

    #[test]
    fn any_bytes_are_refused_when_prost_refuses_them(bytes: Vec<u8>) {
        agree(Signal::Traces, &bytes)?;
        agree(Signal::Logs, &one_span(&bytes))?;
        agree(Signal::Traces, &one_span(&bytes))?;
    }

    /// Fields of small numbers and all wire types: much of this is known, repeated and unknown.
    #[test]
    fn fields_in_any_order_and_number_are_merged_as_prost_merges_them(
        fields in prop::collection::vec((1..18_u8, 0..6_u8, prop::collection::vec(0..20_u8, 0..10)), 0..8)
    ) {
        let mut bytes = Vec::new();
        for (number, wire_type, content) in fields {
            match wire_type {
                0 => bytes.extend([number << 3, u8::try_from(content.len()).unwrap()]),
                1 => bytes.extend([vec![number << 3 | 1], vec![7; 8]].concat()),
                2 => bytes.extend(field(number & 15, &content)),
                3 => bytes.extend([vec![number << 3 | 3], content, vec![number << 3 | 4]].concat()),
                5 => bytes.extend([number << 3 | 5, 1, 2, 3, 4]),
                _ => bytes.extend(field(number & 15, &field(1, &content))),
            }
        }
        agree(Signal::Traces, &one_span(&bytes))?;
        agree(Signal::Logs, &field(1, &bytes))?;
        agree(Signal::Traces, &field(1, &field(2, &bytes)))?;
    }
}

#[test]
fn values_nest_as_deep_as_prost_lets_them_and_no_deeper() {
    let mut value = Vec::new();
    let mut accepted = 0;
    for levels in 1..60 {
        value = field(5, &field(1, &value));
        let request = one_span(&field(9, &field(2, &value)));
        agree(Signal::Traces, &request).unwrap();
        if decoded(Signal::Traces, Format::Protobuf, &request).is_ok() {
            accepted = levels;
        }
    }
    assert_eq!(accepted, 47);
}

#[test]
fn groups_nest_as_deep_as_prost_lets_them_and_no_deeper() {
    for levels in 80..110 {
        let groups = [[0x9b, 0x01].repeat(levels), [0x9c, 0x01].repeat(levels)].concat();
        agree(Signal::Traces, &groups).unwrap();
        agree(Signal::Traces, &one_span(&groups)).unwrap();
    }
}

#[test]
fn text_that_is_not_utf8_is_repaired_and_its_neighbours_stay() {
    let request = one_span(&field(5, b"a\xff"));
    assert!(expected(Signal::Traces, &request).is_err(), "prost refuses it");
    let bad = decoded(Signal::Traces, Format::Protobuf, &request).unwrap();
    let good = decoded(Signal::Traces, Format::Protobuf, &one_span(&field(5, b"a"))).unwrap();
    assert_eq!(bad.len(), good.len());
    assert_ne!(bad, good);
}

#[test]
fn a_resource_and_a_schema_url_behind_the_records_count_for_them() {
    let request = |first: &[Vec<u8>]| field(1, &first.concat());
    let span = field(2, &[field(1, &[1; 16]), field(2, &[2; 8])].concat());
    let resource = field(1, &field(1, &field(1, b"service.name")));
    let scopes = field(2, &[span.clone(), field(3, b"scope-url")].concat());
    let early = [resource.clone(), field(3, b"url"), scopes.clone()];
    let late = [scopes, field(3, b"url"), resource];
    let calls = |bytes: &[u8]| decoded(Signal::Traces, Format::Protobuf, bytes).unwrap();
    assert_eq!(calls(&request(&early)), calls(&request(&late)));
    assert!(matches!(
        calls(&request(&late))[..],
        [Call::Resource(_), Call::Scope(_), Call::Record(_)]
    ));
}
