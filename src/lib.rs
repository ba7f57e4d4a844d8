//! spanledger turns the traces of AI agents into evidence.
//!
//! Data flows one way, and the folders are that picture (see `ARCHITECTURE.md`):
//!
//! ```text
//! receiver ─► intake (convert ─► protect) ─► ledger ══fsync══► acknowledgement
//!                                              └─► export ─► store ─► api
//! ```
//!
//! With `default-features = false` only [`span`] and [`entry`] are built: the neutral record that
//! every source makes, and the audit entry that it becomes.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod entry;
pub mod span;

#[cfg(feature = "server")]
pub mod access;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod convert;
#[cfg(feature = "server")]
pub mod correlate;
#[cfg(feature = "server")]
pub mod elasticsearch;
#[cfg(feature = "server")]
pub mod evidence;
#[cfg(feature = "server")]
pub mod export;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
pub mod intake;
#[cfg(feature = "layer")]
pub mod layer;
#[cfg(feature = "layer")]
pub use layer::{AuditSpan, layer, record, testing};
#[cfg(feature = "server")]
pub mod ledger;
#[cfg(feature = "server")]
pub mod pipeline;
#[cfg(any(feature = "server", feature = "layer"))]
pub mod protect;
#[cfg(feature = "server")]
pub mod receiver;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod story;
#[cfg(feature = "server")]
pub mod telemetry;
