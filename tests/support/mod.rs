//! What the integration tests share.
//!
//! | file | holds |
//! |---|---|
//! | `fault_proxy.rs` | a proxy that does to bulk requests what networks do |
//! | `requests.rs` | OTLP requests with ids that a test can count |
//! | `search_node.rs` | [`search_node::SearchNode`]: a real search engine on a free port |
//! | `server.rs` | [`server::Server`]: the built binary, started on free ports |

// Each test binary uses its own part of this module.
#![allow(dead_code, unreachable_pub)]

pub mod fault_proxy;
pub mod requests;
pub mod search_node;
pub mod server;
