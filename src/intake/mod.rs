//! The one way in: convert, protect, encode, append, and answer when it is durable.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Intake`]: what every receiver calls |
//! | `acts.rs` | entries about what was done to the ledger itself |
//! | `classes.rs` | [`Classes`]: how long which entries are kept |
//! | `draft.rs` | [`Draft`]: the records of one request on their way to becoming entries |
//! | `opener.rs` | [`Opener`]: sealed payloads, opened and compared with what the ledger says of them |
//! | `erasure.rs` | [`Intake::erase`]: a subject's payloads made unreadable for good, on record |
//! | `identity.rs` | the digest of a record, from which its entry's id is made |
//! | `own.rs` | entries about what was done to spanledger itself |
//! | `preview.rs` | [`Preview`]: what would be stored, shown instead |
//! | `receipts.rs` | [`Receipts`]: what a client may keep of its records, when it asked |
//! | `rejection.rs` | entries about requests that were refused, rate-limited |
//!
//! A receiver asks for a [`Draft`], decodes into it (each record becomes bytes at once, on the
//! request's task), and commits it. [`Intake::commit`] returns when the ledger has fsynced every
//! entry of the draft: the reply that follows it is the acknowledgement.

mod acts;
mod classes;
mod draft;
mod erasure;
mod identity;
mod opener;
mod own;
mod preview;
mod receipts;
mod rejection;

pub use acts::{Fact, LedgerAct};
pub use classes::{ClassRule, Classes, DEFAULT_CLASS, PERMANENT_CLASS};
pub use draft::Draft;
pub use erasure::{ErasureError, ErasureRequest, MAX_REASON_BYTES, MAX_SUBJECT_BYTES};
pub use opener::{OpenedPayload, Opener};
pub use own::{OperatorAction, UNKNOWN_ACTOR};
pub use preview::{Preview, Previewed};
pub use receipts::Receipts;
pub use rejection::{RefusedRequest, Whose};

use crate::access::Tenants;
use crate::convert::Mappings;
use crate::ledger::{AppendError, Ledger};
use crate::protect::{FreshKeys, ProtectError, Protector};
use crate::span::Refusal;
use draft::Finished;
use rejection::Rejections;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a client is told to wait before it sends a request again that could not be taken now.
/// Long enough for a full queue to drain, short enough that an SDK still has the batch.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The one way in. Cheap to clone; every receiver has one.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mappings: Mappings,
    protector: Protector,
    ledger: Ledger,
    classes: Classes,
    rejections: Rejections,
    counts: Counts,
}

/// What intake did since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries that are durable and new.
    pub appended: AtomicU64,
    /// Records that were durable already and were sent again.
    pub duplicates: AtomicU64,
    /// Records that will never be accepted.
    pub refused: AtomicU64,
    /// Requests that were refused as a whole.
    pub rejected_requests: AtomicU64,
    /// Rejections that got no entry of their own because of the rate limit.
    pub rejections_withheld: AtomicU64,
}

/// What became of a draft that is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that are durable, those that were durable before included.
    pub accepted: u64,
    /// Records that will never be accepted: the client must not send them again.
    pub refused: u64,
    /// Why the first of those was refused.
    pub why: Option<Refusal>,
    /// Where each record stands in the ledger, when [`Draft::keep_receipts`] was called.
    pub receipts: Receipts,
}

/// Why a draft is not durable. Nothing of it was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Not now: the client should send the same request again.
    #[error("{reason}")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What is in the way, for the client and its operator.
        reason: String,
    },
    /// Never: its entries are larger than the ledger takes at once.
    #[error("{reason}")]
    TooLarge {
        /// What is wrong with it.
        reason: String,
    },
}

impl Intake {
    /// An intake into that ledger. Must be called inside a tokio runtime: rejection entries are
    /// written by a task of their own.
    pub fn new(mappings: Mappings, protector: Protector, ledger: Ledger) -> Self {
        Self::keeping(mappings, protector, ledger, Classes::default())
    }

    /// The same, with entries of those retention classes.
    pub fn keeping(
        mappings: Mappings,
        protector: Protector,
        ledger: Ledger,
        classes: Classes,
    ) -> Self {
        let (rejections, work) = Rejections::new();
        let intake = Self(Arc::new(Inner {
            mappings,
            protector,
            ledger,
            classes,
            rejections,
            counts: Counts::default(),
        }));
        rejection::spawn(&intake, work);
        intake
    }

    /// A draft for one request whose records are of these tenants.
    pub fn draft(&self, tenants: &Tenants) -> Draft {
        Draft::new(self.clone(), tenants.clone(), now_ns())
    }

    /// Makes a draft durable. This is the only place from which a success can come: when it
    /// returns `Ok`, an fsync covers every entry of the draft.
    ///
    /// # Errors
    /// [`IntakeError`]; nothing of the draft was acknowledged then, and a part of it may still
    /// become durable, which is harmless: sent again, it is the same entries.
    pub async fn commit(&self, draft: Draft) -> Result<Accepted, IntakeError> {
        let counts = &self.0.counts;
        let Finished { batch, fresh, records, refused, why, places } = draft.finish()?;
        counts.refused.fetch_add(refused, Ordering::Relaxed);
        if batch.is_empty() {
            return Ok(Accepted { accepted: 0, refused, why, receipts: places.receipts(&[]) });
        }
        self.keep_keys(fresh).await?;
        let receipt = self.0.ledger.append(batch).await.map_err(|error| unavailable(&error))?;
        let duplicates = receipt.entries.iter().filter(|entry| entry.duplicate).count() as u64;
        let appended = (receipt.entries.len() as u64).saturating_sub(duplicates);
        counts.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        counts.appended.fetch_add(appended, Ordering::Relaxed);
        Ok(Accepted {
            accepted: records,
            refused,
            why,
            receipts: places.receipts(&receipt.entries),
        })
    }

    /// Makes keys durable.
    ///
    /// IMPORTANT: before what is sealed with them is appended, because what is appended may be
    /// acknowledged, and is worth nothing without its key.
    async fn keep_keys(&self, fresh: FreshKeys) -> Result<(), IntakeError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let keys = self.0.protector.keys().clone();
        let kept = tokio::task::spawn_blocking(move || keys.subjects().make_durable(&fresh)).await;
        match kept {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(draft::not_now(&ProtectError::Key(error))),
            Err(_) => Err(unavailable(&AppendError::Closed)),
        }
    }

    /// What protects entries.
    pub fn protector(&self) -> &Protector {
        &self.0.protector
    }

    /// Puts on record that a request was refused. Never blocks and never fails: beyond the rate
    /// limit the next entry says how many it stands for.
    pub fn reject(&self, from: Whose<'_>, refused: RefusedRequest) {
        self.0.counts.rejected_requests.fetch_add(1, Ordering::Relaxed);
        if !self.0.rejections.offer(from, refused) {
            self.0.counts.rejections_withheld.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it did since the start.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }
}

fn unavailable(error: &AppendError) -> IntakeError {
    match error {
        AppendError::TooLarge { .. } => IntakeError::TooLarge { reason: error.to_string() },
        // Also a ledger that stopped for good: the batch is sound, and another process (or this one
        // after somebody looked at its disk) will take it. The client must keep it.
        _ => IntakeError::Unavailable { retry_after: RETRY_AFTER, reason: error.to_string() },
    }
}

/// Nanoseconds since 1970 by this machine's clock.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
