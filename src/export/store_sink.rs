//! Any store as a sink.

use super::{Sink, SinkError};
use crate::ledger::Chunk;
use crate::store::{AuditStore, EntryView};
use std::sync::Arc;

/// Brings entries to a store: the one that comes with the ledger, or a user's own.
#[derive(Debug)]
pub struct StoreSink<S: ?Sized> {
    name: String,
    store: Arc<S>,
}

impl<S: AuditStore + ?Sized> StoreSink<S> {
    /// A sink of that name.
    pub fn new(name: &str, store: Arc<S>) -> Self {
        Self { name: name.to_owned(), store }
    }
}

impl<S: AuditStore + ?Sized> Sink for StoreSink<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn position(&mut self) -> Option<u64> {
        self.store.position()
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        let entries: Vec<EntryView<'_>> = chunk.entries().map(EntryView::from).collect();
        Ok(self.store.write(&entries)?)
    }

    fn settled(&mut self) -> Option<u64> {
        self.store.position()
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        Ok(self.store.flush()?)
    }
}
