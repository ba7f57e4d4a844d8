//! What the integration tests share.
//!
//! | file | holds |
//! |---|---|
//! | `requests.rs` | OTLP requests with ids that a test can count |
//! | `server.rs` | [`server::Server`]: the built binary, started on free ports |

// Each test binary uses its own part of this module.
#![allow(dead_code, unreachable_pub)]

pub mod requests;
pub mod server;
