//! Why there is no pipeline, or why its end was not clean.

use crate::elasticsearch::SettingsError;
use crate::ledger::{CloseError, OpenError, PublicLogError};
use crate::protect::{KeysError, ProtectorError, SubjectKeyError};
use crate::store::StoreError;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no pipeline, or why its end was not clean.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The data folder cannot be made.
    #[error("the data folder {} cannot be made or made private; check its owner, or name another with --data DIR", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are no keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Payloads cannot be sealed.
    #[error(transparent)]
    SubjectKeys(#[from] SubjectKeyError),
    /// Protection cannot be set up.
    #[error(transparent)]
    Protector(#[from] ProtectorError),
    /// Another process runs on the data.
    #[error(
        "another spanledger runs on {}; stop it, or give this one a folder of its own with --data DIR",
        path.display()
    )]
    Taken {
        /// The data folder.
        path: PathBuf,
        /// What the ledger said.
        source: OpenError,
    },
    /// What was signed last cannot be read, so nobody knows what the ledger must have.
    #[error(
        "the last checkpoint cannot be read, so it is not known what was signed; restore the file, \
         which auditors, witnesses and sinks have too"
    )]
    Signed(#[from] PublicLogError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(OpenError),
    /// The index cannot be opened.
    #[error("the index cannot be opened; it can be deleted, it is built again from the ledger")]
    Index(#[from] StoreError),
    /// The system gives no thread.
    #[error("a consumer cannot be started")]
    Consumer(#[source] std::io::Error),
    /// The cluster cannot be asked with these settings.
    #[error(transparent)]
    Elasticsearch(SettingsError),
    /// The end was not clean.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The ledger did not end in time.
    #[error("the ledger did not write what it had within {0:?}; what was acknowledged is durable")]
    Late(Duration),
}
