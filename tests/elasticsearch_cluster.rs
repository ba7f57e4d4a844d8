//! The exporter against real nodes that do what clusters do on a bad day: nodes that die, a disk
//! that is full, a node that is busy, a mapping that somebody changed, a key that is revoked.
//!
//! Every time: the set of entries in the ledger is the set of documents and of dead letters, and a
//! document is there once unless the key may not look.
//!
//! | file | holds |
//! |---|---|
//! | `nodes.rs` | three nodes as one cluster, which lose one another |
//! | `refusals.rs` | a full disk, a busy node, documents that a stricter mapping refuses |
//! | `keys.rs` | keys: revoked, replaced, without the right to look |
//! | `rounds.rs` | all of it at once, in rounds drawn by a seed |

mod support;

#[path = "elasticsearch_cluster/keys.rs"]
mod keys;
#[path = "elasticsearch_cluster/nodes.rs"]
mod nodes;
#[path = "elasticsearch_cluster/refusals.rs"]
mod refusals;
#[path = "elasticsearch_cluster/rounds.rs"]
mod rounds;
