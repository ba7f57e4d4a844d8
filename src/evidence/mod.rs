//! Evidence for somebody who trusts nobody here: bundles, what proves entries, what is found.
//!
//! | file | holds |
//! |---|---|
//! | `verdict.rs` | [`Verdict`], [`Finding`]: what every verification says |
//! | `prover.rs` | [`Prover`]: entries, proofs and bundles out of ledger and public log |
//! | `make.rs` | [`Parts`] to a bundle |
//! | `bundle.rs` | [`check_bundle`] |
//! | `judge.rs`, `check.rs` | entries against a checkpoint, for both |
//! | `saved.rs` | [`SavedProof`]: a proof that somebody saved, checked |
//! | `acts.rs` | entries of ours that explain others: hand-overs of the log's key, what retention took out |
//! | `format.rs` | the names of the files, [`Manifest`], [`Proof`] |
//! | `report.rs`, `sections.rs`, `timeline.rs`, `report.css` | the page that a person reads |
//! | `instructions.txt` | what stands in the bundle for who has never heard of us |
//! | `originals.rs` | originals of mode `full` in a bundle, against the leaf |
//! | `zip.rs`, `spool.rs` | the file: a ZIP of one exact form; on disk while it grows |
//! | `folder.rs`, `tiles.rs`, `own.rs` | a data folder: ledger, public log, checkpoints against each other; what our own entries say |
//! | `gone.rs`, `unbound.rs` | bodies that are gone against what is on record about them; sealed bytes that no leaf commits to |
//! | `copy.rs`, `copy_strangers.rs` | the copy in Elasticsearch against the ledger; documents at no entry's place |
//!
//! ```text
//! story ─► Prover: entry ─ leaf record ─ inclusion proof ─► signed checkpoint ─► Parts ─► one file
//!                                                                                        │
//!                  offline, with the operator's key and nothing else:  check_bundle ◄────┘
//! ```

mod acts;
mod bundle;
mod check;
mod copy;
mod copy_strangers;
mod folder;
mod format;
mod gone;
mod judge;
mod make;
mod originals;
mod own;
mod prover;
mod report;
mod saved;
mod sections;
mod spool;
mod tiles;
mod timeline;
mod unbound;
mod verdict;
mod zip;

pub use acts::Handover;
pub use bundle::{Checked, check_bundle, check_bundle_file, read_bundle, redraw_report};
pub use check::{KeySource, Trust};
pub use copy::{Compared, Copy, CopyError};
pub use folder::{Folder, FolderError, FolderReport, Kept};
pub use format::{
    Brief, Covered, FORMAT, Item, MAX_ACTS, MAX_BODY_BYTES, MAX_ENTRIES, Manifest, Proof, hex,
    unhex,
};
pub use make::Parts;
pub use originals::is_about_originals;
pub use prover::{ProveError, Prover, Story, Tree};
pub use report::report;
pub use saved::{CheckedProof, MAX_PROOF_BYTES, NoProof, SavedProof, Shows};
pub use spool::Spool;
pub use verdict::{Code, Finding, Findings, MAX_FINDINGS, Place, Verdict};
pub use zip::{MAX_BUNDLE_BYTES, WriteError};
