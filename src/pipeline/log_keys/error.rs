//! Why there is no key to sign with.

use crate::ledger::checkpoint::{CheckpointError, KeyError};
use crate::ledger::{PublicLogError, TreeHead};
use crate::protect::KeysError;
use std::io;
use std::path::PathBuf;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum LogKeyError {
    /// The folder of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{} cannot be used; restore it from where you keep keys", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The key is that of another log.
    #[error(
        "{} is the key of the log {found}, and this ledger is {expected}: each ledger has a key of \
         its own, so give this one a folder of keys of its own with `keys:`",
        path.display()
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The log that the key is of.
        found: String,
        /// The log that is to be signed.
        expected: String,
    },
    /// There was a key, for there is a checkpoint, and it is gone.
    #[error(
        "{} is gone, and checkpoints of this log were signed with it: restore it from where you keep \
         keys. With another key nobody could tell this log from a false one",
        path.display()
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another key signed last.
    #[error(
        "the last checkpoint was not signed with {} but by {signers}: is an older copy of the folder \
         of keys in place? Restore the newest one; nothing is signed with a key that was retired",
        path.display()
    )]
    Retired {
        /// The key.
        path: PathBuf,
        /// Who signed.
        signers: String,
        /// What is wrong with the signatures.
        source: Option<CheckpointError>,
    },
    /// What was signed last cannot be read.
    #[error(transparent)]
    Signed(#[from] PublicLogError),
    /// Something else of that size was signed, or something larger.
    #[error(
        "this key signed {signed}, as {} says, and now the log has {now}: it is not signed again",
        path.display()
    )]
    Contradiction {
        /// Where that stands.
        path: PathBuf,
        /// What was signed.
        signed: TreeHead,
        /// What was to be signed.
        now: TreeHead,
    },
    /// It cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Another rotation was asked for and is not done yet.
    #[error(
        "{} is there already: a rotation was asked for and is done when spanledger runs; start it, \
         or remove the file to take it back",
        path.display()
    )]
    Asked {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to rotate.
    #[error("there is no {}: start spanledger once, which makes the log's key", path.display())]
    None {
        /// Where it should be.
        path: PathBuf,
    },
}
