//! Late ids: documents that were exported before an id of their group was known get it afterwards.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`LateError`], the name of the consumer |
//! | `sink.rs` | [`LateIdSink`]: the correlator as a consumer that follows the exporter |
//! | `round.rs` | one look at the cluster for many entries |
//! | `seed.rs` | what an entry of our own contributes |
//! | `gather.rs` | groups of many entries at once, searched level by level and closed |
//! | `memory.rs` | groups that are settled |
//! | `update.rs`, `splice.rs` | giving documents ids, whoever else does; the bytes of that |
//! | `link.rs`, `local.rs` | documents that join what cannot be changed; groups of our own ledger |
//! | `replays.rs` | [`Replays`]: what was delivered after it was passed |
//! | `documents.rs`, `remote.rs`, `replies.rs` | what is asked of a cluster; asking; what it means |
//! | `fuzzing.rs` | what `fuzz/` reaches |
//! | `status.rs` | [`LateStatus`]: plain numbers |
//!
//! ```text
//! ledger ─► exporter ─► documents
//!    └────► correlator, once they are delivered: refresh ─► search ─► close groups ─► update
//! ```
//!
//! - **Several collectors** each look after their own documents can be seen. Of two entries that
//!   join, the collector of the one that could be seen last sees both, and all that they join.
//! - Late ids only ever grow: a document is written only if nobody changed it since it was read,
//!   and what it was given before stays. So the order in which collectors write does not matter.
//! - What the record said stays byte for byte: late ids stand in `audit.correlation.trace_id`, and
//!   the index copies them to `trace_id`.
//! - A pairing of interrupt and resume that a later arrival shows to be another stays joined here;
//!   the ledger's own stories are closed when they are asked for.

mod documents;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod gather;
mod link;
mod local;
mod memory;
mod remote;
mod replays;
mod replies;
mod round;
mod seed;
mod sink;
mod splice;
mod status;
mod update;

pub use gather::MAX_FOUND;
pub use memory::MAX_REMEMBERED_IDS;
pub use remote::IDS_AT_ONCE;
pub use replays::Replays;
pub use sink::{Delivered, IDLE_AFTER, LateIdSink, LateOptions, MAX_PENDING, ROUND_EVERY};
pub use splice::MAX_LATE_IDS;
pub use status::LateStatus;

use super::search::SearchError;
use crate::store::StoreError;

/// Name of the consumer: in metrics, logs, `/readyz`, and as the name of its cursor file.
pub const NAME: &str = "elasticsearch-late-ids";

/// What keeps the correlator from going on. It is tried again; nothing in it quotes a document.
#[derive(Debug, thiserror::Error)]
pub enum LateError {
    /// It was told to end.
    #[error("the correlator ends; what is not done is done after the restart")]
    Stopping,
    /// There is no reply.
    #[error("{0}")]
    NoReply(String),
    /// A search failed.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The key is refused.
    #[error(
        "the cluster refuses the correlator's key ({status}): check elasticsearch.correlator, or give \
         it a key of the role spanledger-correlator"
    )]
    Unauthorized {
        /// HTTP status.
        status: u16,
    },
    /// The cluster has too much to do.
    #[error("the cluster is busy (429)")]
    Busy,
    /// A search took too long.
    #[error("the cluster did not search everything in time; look at its load")]
    Slow,
    /// The index that is written to is read-only.
    #[error("an index is read-only: make room on the cluster, or lift the block")]
    Blocked,
    /// Anything else that the cluster says.
    #[error("the cluster refuses a request of the correlator ({status}, {kind}); look at its log")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Type of the error.
        kind: String,
    },
    /// What replies is no cluster.
    #[error("the reply cannot be read; check that the address is the cluster's")]
    Unreadable,
    /// Others change the same documents all the time.
    #[error("others change the same documents at the same time; it is tried again")]
    Contended,
    /// The ledger cannot be read.
    #[error("an entry of the ledger cannot be read ({0}); verify it")]
    Ledger(String),
    /// Our own store or a file of ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}
