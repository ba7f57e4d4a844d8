//! What the integration tests share.
//!
//! | file | holds |
//! |---|---|
//! | `authority.rs` | certificates for a test: made, expired, revoked |
//! | `clients.rs` | the programs of `tests/clients/` |
//! | `collector.rs` | an OpenTelemetry Collector on free ports |
//! | `converted.rs` | what records become, without a server |
//! | `export.rs` | whether what is in the ledger is in the cluster, counted |
//! | `fault_proxy.rs` | a proxy that does to bulk requests what networks do |
//! | `files.rs` | each file below a folder, and a copy of all |
//! | `governed.rs` | a server that was told stories |
//! | `keys.rs` | credentials of a data folder |
//! | `numbers.rs` | numbers that look random and are the same for the same seed |
//! | `requests.rs` | OTLP requests with ids that a test can count |
//! | `search_cluster.rs` | [`search_cluster::SearchCluster`]: three of them as one cluster |
//! | `search_node.rs` | [`search_node::SearchNode`]: a real search engine on a free port |
//! | `small_disk.rs` | [`small_disk::SmallDisk`]: a disk that is soon full |
//! | `server.rs` | [`server::Server`]: the built binary, started on free ports |
//! | `stories.rs` | the stories of the documents, as OTLP in JSON |
//! | `witness.rs` | [`witness::Witness`]: a witness that we did not write |

// Each test binary uses its own part of this module.
#![allow(dead_code, unreachable_pub)]

pub mod authority;
pub mod clients;
pub mod collector;
pub mod converted;
pub mod export;
pub mod fault_proxy;
pub mod files;
pub mod governed;
pub mod keys;
pub mod numbers;
pub mod requests;
pub mod search_cluster;
pub mod search_node;
pub mod server;
pub mod small_disk;
pub mod stories;
pub mod witness;
