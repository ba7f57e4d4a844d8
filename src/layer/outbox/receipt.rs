//! What is answered to who waits until a record is durable.

use std::time::Duration;

/// What a receiver says when a record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place in the receiver's ledger.
    pub sequence: u64,
    /// The hash of the entry's leaf in the ledger's Merkle tree.
    pub leaf_hash: [u8; 32],
}

/// Why there is no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The time passed. The record waits like any other, and may still be delivered.
    #[error(
        "no receipt within {within:?} (last: {last}): the record is kept and sent again; do not act on it"
    )]
    Deadline {
        /// The time that was allowed.
        within: Duration,
        /// How the last try ended.
        last: String,
    },
    /// The receiver will never take this record.
    #[error("the receiver refused the record: {reason}")]
    Refused {
        /// What the receiver said.
        reason: String,
    },
    /// The record is acknowledged, by a receiver that gives no receipts.
    #[error("the record is delivered, but the receiver gives no receipts: is it spanledger?")]
    NoReceipt,
    /// The outbox has said goodbye.
    #[error("the outbox is closed: nothing is recorded any more")]
    Closed,
}
