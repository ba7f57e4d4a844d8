//! The data folder without its server: ledger and index opened for reading, under the server's own
//! router.

use super::client::SourceError;
use super::export::LettersOnDisk;
use super::verify::ledger_dir;
use crate::api::{Api, Health, HostCheck, Metrics, router};
use crate::ledger::{OpenError, Reader};
use crate::store::StoreError;
use crate::store::embedded::{EmbeddedStore, IndexOptions};
use axum::Router;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of the embedded index within the data folder.
const INDEX_FOLDER: &str = "index";

/// Why the data folder cannot be read without its server.
#[derive(Debug, thiserror::Error)]
enum OfflineError {
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error(transparent)]
    Index(#[from] StoreError),
}

/// Where the embedded index of a data folder lies.
///
/// ```
/// let index = spanledger::cli::index_dir("data".as_ref());
/// assert_eq!(index, std::path::Path::new("data/index"));
/// ```
pub fn index_dir(data: &Path) -> PathBuf {
    data.join(INDEX_FOLDER)
}

/// The name under which entries say which ledger they come from.
///
/// ```
/// assert_eq!(spanledger::cli::ledger_name([0xab; 16]), format!("spanledger/{}", "ab".repeat(16)));
/// ```
pub fn ledger_name(origin: [u8; 16]) -> String {
    origin.iter().fold("spanledger/".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// What answers from the data folder while no server runs on it; `None` when there is no ledger.
/// Nothing is written and no lock is taken; where there is no usable index the ledger is read.
///
/// # Errors
/// [`SourceError::Offline`] when there is a ledger and it cannot be read.
pub fn offline(data: &Path) -> Result<Option<Router>, SourceError> {
    match open(data) {
        Ok(store) => {
            let metrics: Metrics = Arc::new(String::new);
            let api = Api::new(Arc::new(store), Arc::new(Health::starting(&[])), metrics);
            let api = api.with_dead_letters(LettersOnDisk::of(data));
            Ok(Some(router(api, HostCheck::Any)))
        }
        Err(OfflineError::Ledger(OpenError::Absent { .. })) => Ok(None),
        Err(error) => Err(SourceError::Offline { data: data.to_owned(), source: Box::new(error) }),
    }
}

fn open(data: &Path) -> Result<EmbeddedStore, OfflineError> {
    let reader = Reader::open(&ledger_dir(data))?;
    let origin = ledger_name(reader.origin());
    let options = IndexOptions { origin, ..IndexOptions::default() };
    let store = EmbeddedStore::open_read_only(&index_dir(data), reader, options)?;
    Ok(store)
}
