//! Which ids belong together, and the groups that they join.
//!
//! | file | holds |
//! |---|---|
//! | `id.rs` | [`Namespace`], [`Id`]: which ids join and which only filter, and when two spellings are one id |
//! | `key.rs` | [`KeyMaker`]: the 64-bit key under which an index lists an id |
//! | `rules.rs` | [`JoinRules`]: careless ids that join nothing, and bounds |
//! | `group.rs` | [`close`]: everything that an id joins, directly or through others |
//! | `pause.rs` | [`pair`]: which resumed run answers which interrupt |
//! | `order.rs` | [`story_order`]: event time, then ancestry, then id |
//!
//! An instance id joins: whoever carries the same run id belongs to the same run. A name never
//! joins: it joins every run ever made. Groups are closed when somebody asks, from what the index
//! lists, so the order of arrival does not matter and nothing is ever rewritten.
//!
//! ```text
//!  span A ── trace 4bf9… ──┐
//!  span B ── trace 4bf9… ──┴─ run 7 ──┐
//!  approval ── run 7 ─────────────────┴─ approval 12 ── span C (another trace, days later)
//! ```

mod group;
mod id;
mod key;
mod order;
mod pause;
mod rules;

pub(crate) use group::keep_first;
pub use group::{Group, Member, Members, close};
pub(crate) use id::TraceReading;
pub use id::{Id, Namespace, same_id};
pub use key::{Key, KeyMaker};
pub use order::story_order;
pub use pause::{Pause, PauseKind, pair};
pub use rules::{JoinRules, MAX_JOINING_CHARS};
