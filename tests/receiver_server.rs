//! The receivers over real sockets: real clients, every status, and peers that mean no good.
#![allow(missing_docs)]

#[path = "receiver_server/setup.rs"]
mod setup;

#[path = "receiver_server/grpc.rs"]
mod grpc;
#[path = "receiver_server/hostile.rs"]
mod hostile;
#[path = "receiver_server/http.rs"]
mod http_;
