//! The way of a gRPC body: frame, decompression, measure, decoding.
//!
//! The first byte stands for the header `grpc-encoding`, the rest is the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spanledger::fuzzing::{Inflated, inflate, unframe};
use spanledger::receiver::otlp::{Format, Signal, decode, measure};
use spanledger::receiver::{Budget, Limits};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};

const ENCODINGS: [&[u8]; 5] = [b"", b"gzip", b"zstd", b"deflate", b"br"];

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let declared = ENCODINGS[usize::from(*first) % ENCODINGS.len()];
    let body = Bytes::copy_from_slice(body);
    let Some((message, is_compressed)) = unframe(&body, declared) else { return };
    let [flag, length @ ..] = *body.first_chunk::<5>().expect("a message has a prefix");
    assert_eq!(message.len(), u32::from_be_bytes(length) as usize);
    assert_eq!(message, body.slice(5..), "it is the whole body");
    assert_eq!(is_compressed, flag == 1);

    let limits = Limits {
        max_request_bytes: 128 * 1024,
        inflate_free_bytes: 128 * 1024,
        ..Limits::default()
    };
    let budget = Budget::new(16 * 1024 * 1024, 16 * 1024 * 1024);
    let encoding = if is_compressed { declared } else { b"" };
    let Some(Inflated::Whole(plain)) = inflate(message, encoding, &limits, &budget) else { return };
    for signal in [Signal::Traces, Signal::Logs] {
        let shape = measure(signal, Format::Protobuf, &plain);
        let mut counted = Counted::default();
        if decode(signal, Format::Protobuf, &plain, &mut counted).is_ok() {
            assert_eq!(shape.records, counted.records);
        }
    }
});

#[derive(Default)]
struct Counted {
    records: usize,
}

impl Sink for Counted {
    fn resource(&mut self, _: &Resource<'_>) {}
    fn scope(&mut self, _: &Scope<'_>) {}
    fn record(&mut self, _: Record<'_, '_>) {
        self.records += 1;
    }
    fn refuse(&mut self, _: Refusal) {
        self.records += 1;
    }
}
