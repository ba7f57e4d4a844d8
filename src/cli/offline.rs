//! The data folder without its server: the ledger read into a store, under the server's own router.

use super::client::SourceError;
use super::verify::ledger_dir;
use crate::api::{Api, Health, HostCheck, Metrics, router};
use crate::correlate::JoinRules;
use crate::ledger::{EntryRef, OpenError, ReadError, Reader};
use crate::store::{AuditStore, EntryView, Envelope, MemoryStore, StoreError};
use axum::Router;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Bodies that are read into memory, bytes. A larger ledger is asked through its server, which has
/// an index.
const MAX_LEDGER_BYTES: usize = 1_024 * 1_024 * 1_024;

/// Bytes of the ledger that are read at once.
const CHUNK_BYTES: usize = 4 * 1_024 * 1_024;

/// Why the data folder cannot be read without its server.
#[derive(Debug, thiserror::Error)]
enum OfflineError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("its ledger cannot be read")]
    Read(#[from] ReadError),
    #[error("its entries cannot be indexed")]
    Store(#[from] StoreError),
    #[error(
        "its ledger has more than {MAX_LEDGER_BYTES} bytes; start its server, which has an index, \
         with `spanledger serve --data DIR`"
    )]
    TooLarge,
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
/// Nothing is written and no lock is taken.
///
/// # Errors
/// [`SourceError::Offline`] when there is a ledger and it cannot be read.
pub fn offline(data: &Path) -> Result<Option<Router>, SourceError> {
    match open(data) {
        Ok(router) => Ok(Some(router)),
        Err(OfflineError::Open(OpenError::Absent { .. })) => Ok(None),
        Err(error) => Err(SourceError::Offline { data: data.to_owned(), source: Box::new(error) }),
    }
}

fn open(data: &Path) -> Result<Router, OfflineError> {
    let reader = Reader::open(&ledger_dir(data))?;
    let store = MemoryStore::new(&ledger_name(reader.origin()), JoinRules::default());
    let mut scan = reader.scan(0);
    let mut bytes = 0_usize;
    while let Some(chunk) = scan.next_chunk(CHUNK_BYTES)? {
        bytes = bytes.saturating_add(chunk.bytes());
        if bytes > MAX_LEDGER_BYTES {
            return Err(OfflineError::TooLarge);
        }
        let entries: Vec<EntryRef<'_>> = chunk.entries().collect();
        let views: Vec<EntryView<'_>> = entries.iter().map(view).collect();
        store.write(&views)?;
    }
    let metrics: Metrics = Arc::new(String::new);
    let api = Api::new(Arc::new(store), Arc::new(Health::starting(&[])), metrics);
    Ok(router(api, HostCheck::Any))
}

fn view<'a>(entry: &EntryRef<'a>) -> EntryView<'a> {
    let envelope = Envelope {
        sequence: entry.sequence,
        id: entry.id.0,
        tenant: entry.tenant,
        received_ns: entry.received_ns,
        conflict: entry.conflict,
        leaf_hash: entry.leaf_hash,
    };
    EntryView::new(envelope, entry.body)
}
