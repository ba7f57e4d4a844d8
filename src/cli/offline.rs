//! The data folder without its server: ledger and index opened for reading, under the server's own
//! router.

use super::client::SourceError;
use super::letters::LettersOnDisk;
use crate::api::{Api, Health, HostCheck, Metrics, SealedPayloads, router};
use crate::evidence::Prover;
use crate::intake::Opener;
use crate::ledger::{OpenError, PublicLog, Reader};
use crate::pipeline::{index_dir, ledger_dir, ledger_name, log_dir};
use crate::protect::{Keys, KeysError};
use crate::store::StoreError;
use crate::store::embedded::{EmbeddedStore, IndexOptions};
use axum::Router;
use std::path::Path;
use std::sync::Arc;

/// Why the data folder cannot be read without its server.
#[derive(Debug, thiserror::Error)]
enum OfflineError {
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error(transparent)]
    Index(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// What answers from the data folder while no server runs on it; `None` when there is no ledger.
/// Nothing is written and no lock is taken; where there is no usable index the ledger is read.
///
/// # Errors
/// [`SourceError::Offline`] when there is a ledger and it cannot be read.
pub fn offline(data: &Path) -> Result<Option<Router>, SourceError> {
    offline_with_keys(data, None)
}

/// [`offline`], which opens sealed payloads with the keys in that folder.
///
/// # Errors
/// As for [`offline`], and when there are no keys.
pub fn offline_with_keys(data: &Path, keys: Option<&Path>) -> Result<Option<Router>, SourceError> {
    let opened = open(data).and_then(|(store, prover, reader)| {
        let keys = keys.map(Keys::open).transpose()?;
        let opener = keys.map(Opener::new);
        Ok((store, prover, opener.map(|opener| SealedPayloads { reader, opener })))
    });
    match opened {
        Ok((store, prover, payloads)) => {
            let metrics: Metrics = Arc::new(String::new);
            let api = Api::new(Arc::new(store), Arc::new(Health::starting(&[])), metrics);
            let api = api.with_dead_letters(LettersOnDisk::of(data)).with_prover(prover);
            let api = api.with_payloads(payloads);
            Ok(Some(router(api, HostCheck::Any)))
        }
        Err(OfflineError::Ledger(OpenError::Absent { .. })) => Ok(None),
        Err(error) => Err(SourceError::Offline { data: data.to_owned(), source: Box::new(error) }),
    }
}

fn open(data: &Path) -> Result<(EmbeddedStore, Prover, Reader), OfflineError> {
    let reader = Reader::open(&ledger_dir(data))?;
    let origin = ledger_name(reader.origin());
    let log = PublicLog::open(&log_dir(data));
    let prover = Prover::new(reader.clone(), log, origin.clone());
    let options = IndexOptions { origin, ..IndexOptions::default() };
    let store = EmbeddedStore::open_read_only(&index_dir(data), reader.clone(), options)?;
    Ok((store, prover, reader))
}
