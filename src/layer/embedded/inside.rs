//! The way of requests into the ledger of this process.

use crate::access::Tenant;
use crate::intake::Receipts;
use crate::layer::outbox::{Delivered, Destination, Receipt, SendError, Sending, Signal};
use crate::ledger::Appended;
use crate::receiver::{NotTaken, Receiver, otlp};
use bytes::Bytes;
use tokio::runtime;

/// The way of requests into the ledger.
pub(super) struct Inside {
    receiver: Receiver,
    tenant: Tenant,
    runtime: runtime::Handle,
}

impl Inside {
    pub(super) fn new(receiver: Receiver, tenant: Tenant, runtime: runtime::Handle) -> Self {
        Self { receiver, tenant, runtime }
    }
}

impl Destination for Inside {
    fn send(&self, signal: Signal, request: Bytes, receipts: bool) -> Sending<'_> {
        let (receiver, tenant) = (self.receiver.clone(), self.tenant.clone());
        let signal = match signal {
            Signal::Spans => otlp::Signal::Traces,
            Signal::Logs => otlp::Signal::Logs,
        };
        let taken = self
            .runtime
            .spawn(async move { receiver.take(tenant, signal, request, receipts).await });
        Box::pin(async move {
            match taken.await {
                Ok(Ok(accepted)) => Ok(Delivered {
                    refused: accepted.refused,
                    why: accepted.refusals(),
                    receipts: receipts_of(accepted.receipts),
                }),
                Ok(Err(error)) => Err(error.into()),
                Err(error) if error.is_panic() => {
                    Err(SendError::Broken { reason: "the ledger broke over it".to_owned() })
                }
                Err(_) => {
                    Err(SendError::Later { after: None, reason: "the ledger is closed".to_owned() })
                }
            }
        })
    }
}

/// As on the wire: one for each record, or none at all.
fn receipts_of(receipts: Receipts) -> Vec<Receipt> {
    let Receipts::Each(each) = receipts else { return Vec::new() };
    let receipt = |entry: Option<Appended>| match entry {
        Some(Appended { sequence, leaf_hash, .. }) => Receipt { sequence, leaf_hash },
        None => Receipt { sequence: u64::MAX, leaf_hash: [0; 32] },
    };
    each.into_iter().map(receipt).collect()
}

impl From<NotTaken> for SendError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Later { after, reason } => Self::Later { after: Some(after), reason },
            NotTaken::TooLarge { reason } => Self::TooLarge { reason },
            NotTaken::Broken { reason } => Self::Broken { reason },
            NotTaken::Never { reason } => Self::Never { reason },
        }
    }
}
