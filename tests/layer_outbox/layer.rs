//! The outbox as it is in `src`: private there, and what is tested here is how it gets on with the
//! built binary.
#![allow(dead_code, unreachable_pub, unused_imports)]

#[path = "../../src/layer/outbox/mod.rs"]
pub mod outbox;
