//! Evidence for somebody who trusts nobody here: bundles, what proves entries, what is found.
//!
//! | file | holds |
//! |---|---|
//! | `verdict.rs` | [`Verdict`], [`Finding`]: what every verification says |
//! | `prover.rs` | [`Prover`]: entries, proofs and bundles out of ledger and public log |
//! | `bundle.rs` | [`Parts`] to a bundle, [`check_bundle`] |
//! | `check.rs` | entries against a checkpoint |
//! | `format.rs` | the names of the files, [`Manifest`], [`Proof`] |
//! | `report.rs`, `timeline.rs`, `report.css` | the page that a person reads |
//! | `instructions.txt` | what stands in the bundle for who has never heard of us |
//! | `zip.rs` | the file: a ZIP of one exact form |
//! | `folder.rs`, `tiles.rs`, `own.rs` | a data folder: ledger, public log, checkpoints against each other; what our own entries say |
//! | `gone.rs` | bodies that are gone against what is on record about them |
//! | `copy.rs`, `copy_strangers.rs` | the copy in Elasticsearch against the ledger; documents at no entry's place |
//!
//! ```text
//! story ─► Prover: entry ─ leaf record ─ inclusion proof ─► signed checkpoint ─► Parts ─► one file
//!                                                                                        │
//!                  offline, with the operator's key and nothing else:  check_bundle ◄────┘
//! ```

mod bundle;
mod check;
mod copy;
mod copy_strangers;
mod folder;
mod format;
mod gone;
mod own;
mod prover;
mod report;
mod tiles;
mod timeline;
mod verdict;
mod zip;

pub use bundle::{Checked, Parts, check_bundle};
pub use check::{KeySource, Trust};
pub use copy::{Compared, Copy, CopyError};
pub(crate) use folder::unsaid;
pub use folder::{Folder, FolderError, FolderReport, Kept};
pub use format::{Covered, FORMAT, Item, MAX_BODY_BYTES, MAX_ENTRIES, Manifest, Proof, hex, unhex};
pub(crate) use gone::Pruning;
pub use prover::{ProveError, Prover, Story};
pub use report::report;
pub use verdict::{Code, Finding, Findings, MAX_FINDINGS, Place, Verdict};
pub use zip::TooLarge;
