//! The two decoders against prost, and against what SDKs really send.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[path = "receiver_decode/calls.rs"]
mod calls;
#[path = "receiver_decode/oracle.rs"]
mod oracle;
#[path = "receiver_decode/spelled.rs"]
mod spelled;
#[path = "receiver_decode/strategies.rs"]
mod strategies;

#[path = "receiver_decode/json.rs"]
mod json;
#[path = "receiver_decode/payloads.rs"]
mod payloads;
#[path = "receiver_decode/protobuf.rs"]
mod protobuf;
