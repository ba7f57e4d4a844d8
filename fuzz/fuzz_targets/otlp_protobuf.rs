//! The walk over the protobuf wire format: what prost decodes is decoded to the same records, and
//! what prost refuses for its structure is refused. Written as JSON it is the same records again.
#![no_main]

#[path = "../../tests/receiver_decode/calls.rs"]
mod calls;
#[path = "../../tests/receiver_decode/oracle.rs"]
mod oracle;
#[path = "../../tests/receiver_decode/spelled.rs"]
mod spelled;

use calls::{Call, decoded};
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use oracle::expected;
use prost::Message;
use spanledger::receiver::otlp::{Format, Signal, measure};

fuzz_target!(|request: &[u8]| {
    for signal in [Signal::Traces, Signal::Logs] {
        let ours = decoded(signal, Format::Protobuf, request);
        let shape = measure(signal, Format::Protobuf, request);
        if let Ok(calls) = &ours {
            let of_a_record = |call: &&Call| matches!(call, Call::Record(_) | Call::Refuse(_));
            assert_eq!(shape.records, calls.iter().filter(of_a_record).count());
        }
        match expected(signal, request) {
            Ok(expected) => {
                assert_eq!(ours, Ok(expected));
                assert_eq!(
                    decoded(signal, Format::Json, as_json(signal, request).as_bytes()),
                    ours
                );
            }
            // Text that is not UTF-8 is repaired here.
            Err(error) if error.to_string().contains("UTF-8") => {}
            Err(error) => assert!(ours.is_err(), "prost: {error}, ours: {ours:?}"),
        }
    }
});

fn as_json(signal: Signal, request: &[u8]) -> String {
    let json = match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(request).map(|it| spelled::traces(&it)),
        Signal::Logs => ExportLogsServiceRequest::decode(request).map(|it| spelled::logs(&it)),
    };
    json.expect("it was decoded before").to_string()
}
