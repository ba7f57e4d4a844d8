//! The ledger: an append-only log on disk that cannot be changed without being found out.
//!
//! | file | holds |
//! |---|---|
//! | `types.rs` | what goes in and comes out: [`NewEntry`], [`EntryRef`], [`Receipt`], [`TreeHead`] |
//! | `batch.rs` | [`Batch`]: entries laid out as frames by the request's own task |
//! | `handle.rs` | [`Ledger`]: open, append, status, close |
//! | `reader.rs`, `view.rs` | [`Reader`] and [`Scan`], and what writer and readers share |
//! | `verify.rs`, `verify_report.rs` | [`verify`]: everything computed again from the bytes on disk; what it found |
//! | `writer.rs`, `group.rs`, `queue.rs` | the one writer, what it writes at once, what waits for it |
//! | `window.rs` | duplicates and conflicts among the last entries |
//! | `recover.rs`, `survey.rs` | opening: what is there, what is torn, where to go on |
//! | `frame.rs`, `leaf.rs`, `segment.rs`, `sidecar.rs` | the bytes on disk |
//! | `leaves.rs` | the leaves written last, in memory |
//! | `sealed.rs` | what the leaf says of sealed bytes |
//! | `merkle.rs`, `chain.rs` | the tree, and what follows from the entries before |
//! | `proof.rs` | proofs that an entry is in a tree, and that a tree continues another |
//! | `checkpoint.rs`, `note.rs` | what the log signs and with which keys |
//! | `tiles.rs`, `public.rs` | the public form of the log, [`PublicLog`] |
//! | `signed.rs` | what was signed holds, or the ledger is not opened |
//! | `tile_writer.rs` | [`TileWriter`], which makes the tiles as the tree grows |
//! | `source.rs`, `packed.rs`, `rewrite.rs` | segments as plain and as packed files; from one to the other |
//! | `retention.rs` | bodies whose time is over |
//! | `repair.rs` | what can be kept of a damaged ledger |
//! | `walk.rs`, `reserve.rs`, `bytes.rs` | reading frame by frame; small tools |
//! | `storage.rs`, `direct.rs`, `files.rs` | the disk; large groups past the system's memory; files of the public log |
//! | `options.rs`, `status.rs`, `error.rs` | settings, numbers, errors |
//!
//! # Files
//!
//! ```text
//! 00000000000000000000.segment   entries from number 0 on          lock      held by the writer
//! 00000000000000000000.index     its sidecar, when it is sealed    reserve   room for the end
//! 00000000000000026214.segment   entries from number 26214 on      *.torn    cut off after a crash
//! ```
//!
//! A sealed segment may stand in a `….packed` file instead, compressed block by block: `packed.rs`.
//!
//! # A segment
//!
//! ```text
//! ├ header ┼ entry … entry ┼ seal ┼ entry … entry ┼ seal ┼ close ┼ …        (header: `segment.rs`)
//!          └──── a group ────────┘
//! ```
//!
//! A group is what one `fdatasync` made durable. Its entries count when its seal is there. The
//! next group is begun when this one is durable, so damage with anything of a later group behind
//! it is never a crash. The last group alone can be damaged by one, even if its seal is there:
//! power loss writes pages in any order. Opening cuts it off, keeps its bytes in a file, and says
//! which entries went and whether they can have been acknowledged: [`Torn`].
//!
//! # A frame
//!
//! All integers are little-endian. `crc` covers everything from the kind to the end of the head;
//! `body crc` covers the sealed bytes and the body, `body hash` (SHA-256) the body alone. Fields marked `w` are the writer's, the
//! others are filled in by the request's task.
//!
//! ```text
//!   0       4      8      9         10      12       16
//!   ├ magic ┼ crc w┼ kind ┼ version ┼ flags ┼ length ┤         kind 1 entry, 2 seal, 3 close
//!  16            24                  32            64         68         72          104
//!   ├ sequence w ┼ tenant sequence w ┼ leaf hash w ┼ body crc ┼ body len ┼ body hash ┤
//! 104    120                136          152           160               168
//!   ├ id ┼ tenant pseudonym ┼ source key ┼ received ns ┼ mapping version ┤
//! 168               169          170               171        172         176
//!   ├ retention class ┼ tenant: t ┼ commitments: n ┼ reserved ┼ sealed: s ┤
//! 176        +t                                    +65n          +s
//!   ├ tenant ┼ n × (kind 1, value 32, salt 32) ────┼ sealed ─────┼ body ┤
//!
//! seal and close, from 16 on (the tree is that after the group):
//!  16              24          32     64            72        80
//!   ├ first of group ┼ tree size ┼ root ┼ group bytes ┼ time ns ┤
//! ```
//!
//! Flags: bit 0 the conflict mark (`w`), bit 1 whether there is a source key, bit 2 that the
//! entry was pruned: sealed bytes, body and salts are zeros, and the rest is as it was written. The
//! sealed bytes belong to whoever made them; the ledger looks at none of them, and the last of an entry's
//! commitments is its own, to these bytes: `sealed.rs`.
//!
//! # The tree
//!
//! Each entry has a small leaf record (`leaf.rs`), each leaf an RFC 6962 hash, and each seal the
//! root of all leaves so far. Who keeps a size and a root can tell later whether anything before
//! was changed, dropped or moved: [`verify_against`].

mod batch;
mod bytes;
mod chain;
pub mod checkpoint;
mod direct;
mod error;
mod files;
mod frame;
mod group;
mod handle;
mod leaf;
mod leaves;
pub mod merkle;
mod note;
mod options;
mod packed;
pub mod proof;
mod public;
mod queue;
mod reader;
mod recover;
mod repair;
mod reserve;
mod retention;
mod rewrite;
mod sealed;
mod segment;
mod sidecar;
mod signed;
mod source;
mod status;
mod storage;
mod survey;
mod tile_writer;
mod tiles;
mod types;
mod verify;
mod verify_report;
mod view;
mod walk;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchError, MAX_BATCH_BYTES};
pub use chain::Mismatch;
pub use error::{AppendError, CloseError, Damage, OpenError, ReadError};
pub(crate) use files::place;
pub use frame::{FrameError, MAX_BODY_BYTES, MAX_COMMITMENTS, MAX_SEALED_BYTES, MAX_TENANT_BYTES};
pub use handle::Ledger;
pub use leaf::{LEAF_VERSION, LeafRecord};
pub use leaves::Leaves;
#[cfg(test)]
pub(crate) use note::TestWitness;
pub use options::Options;
pub(crate) use public::key_lines;
pub use public::{
    CHECKPOINT_FILE, COSIGNED_FILE, KEYS_FILE, LATEST_COSIGNED_FILE, PublicLog, PublicLogError,
};
pub use reader::{Chunk, Reader, Scan};
pub use recover::{Recovery, Torn};
pub use repair::{Repair, RepairPlan, Shortened};
pub use retention::{Due, Expiry};
pub use rewrite::{GoOn, RewriteError, Rewritten, Upkeep};
pub use sealed::{SEALED_KIND, SealedState};
pub use segment::{FORMAT_VERSION, HeaderError};
pub(crate) use signed::origin_of;
pub use status::{Counters, Status};
pub use tile_writer::TileWriter;
pub use tiles::{Kind, TILE_WIDTH, Tile};
pub use types::{
    Appended, Commitment, Commitments, EntryId, EntryRef, Hash, InvalidEntryId, NewEntry, Receipt,
    StoredEntry, TreeHead,
};
pub use verify::{Observer, Pseudonyms, verify, verify_against, verify_observed};
pub use verify_report::{Problem, Progress, Tail, VerifyError, VerifyReport};

/// The time, in nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
