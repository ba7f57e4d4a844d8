//! Where records go from the layer: the outbox, or a test's memory.

use super::outbox::{Outbox, Receipt, ReceiptError, Signal, Stats};
use crate::layer::testing::Kept;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See the module.
#[derive(Clone)]
pub(super) enum Out {
    Outbox(Outbox),
    Test(Arc<Kept>),
}

impl Out {
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Outbox(outbox) => outbox.number(),
            Self::Test(kept) => kept.number(),
        }
    }

    pub(super) fn push(&self, signal: Signal, number: u64, record: &[u8]) {
        match self {
            Self::Outbox(outbox) => outbox.push(signal, number, record),
            Self::Test(kept) => kept.push(signal, number, record),
        }
    }

    pub(super) async fn confirm(
        &self,
        signal: Signal,
        number: u64,
        record: Vec<u8>,
        within: Duration,
    ) -> Result<Receipt, ReceiptError> {
        match self {
            Self::Outbox(outbox) => outbox.confirm(signal, number, record, within).await,
            Self::Test(kept) => Ok(kept.confirm(signal, number, &record)),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        match self {
            Self::Outbox(outbox) => outbox.stats(),
            Self::Test(kept) => Stats { taken: kept.taken(), ..Stats::default() },
        }
    }
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Outbox(_) => "Outbox",
            Self::Test(_) => "Test",
        })
    }
}

/// Numbers of a sink that keeps none itself.
#[derive(Debug, Default)]
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub(super) fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
