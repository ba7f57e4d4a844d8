//! The OTLP/JSON reader: it never fails over JSON that serde_json reads unless something is of
//! another type than it should be, and never takes text that is no JSON, but for what it says.
#![no_main]

#[path = "../../tests/receiver_decode/calls.rs"]
mod calls;

use calls::{Call, decoded};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use spanledger::receiver::otlp::{Format, Signal, measure};

/// What our reader says of text that is no JSON.
const NO_JSON: &[&str] = &[
    "comma before the end",
    "no comma between two items, or no end",
    "no colon after a key",
    "string without an end",
    "escape that does not exist",
    "escape without four hex digits",
    "word that JSON does not have",
    "something after the end of the request",
];

fuzz_target!(|request: &[u8]| {
    let text = std::str::from_utf8(request).ok();
    let json = text.map(serde_json::from_str::<IgnoredAny>);
    for signal in [Signal::Traces, Signal::Logs] {
        let ours = decoded(signal, Format::Json, request);
        let shape = measure(signal, Format::Json, request);
        match ours {
            Ok(calls) => {
                let of_a_record = |call: &&Call| matches!(call, Call::Record(_) | Call::Refuse(_));
                assert_eq!(shape.records, calls.iter().filter(of_a_record).count());
                if let Some(Err(error)) = &json {
                    assert!(is_let_through(&error.to_string()), "accepted, but: {error}");
                }
            }
            Err(error) => {
                let is_json = matches!(json, Some(Ok(_)));
                assert!(!is_json || !NO_JSON.contains(&error.what), "it is JSON, but: {error}");
            }
        }
    }
});

/// What serde_json refuses and our reader takes on purpose: control characters in strings, halves
/// of surrogate pairs, and more brackets than 128.
fn is_let_through(error: &str) -> bool {
    ["control character", "surrogate", "lone leading", "unexpected end of hex", "recursion limit"]
        .iter()
        .any(|part| error.contains(part))
}
