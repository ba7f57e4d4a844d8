//! Entries on their way to the writer, laid out as frames by the request's own task.

use super::frame::{self, MAX_BODY_BYTES, MAX_COMMITMENTS, MAX_SEALED_BYTES, MAX_TENANT_BYTES};
use super::sealed::SEALED_KIND;
use super::types::NewEntry;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Most bytes of a batch. A batch is written as a whole, in one group.
pub const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// Why an entry cannot be in a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body is too long.
    #[error("the body has {bytes} bytes, at most {MAX_BODY_BYTES} can be stored: send less of it")]
    BodyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The sealed bytes are too many.
    #[error(
        "{bytes} sealed bytes are too many, at most {MAX_SEALED_BYTES} can be stored: send less of the payload"
    )]
    SealedTooLong {
        /// Their number.
        bytes: usize,
    },
    /// The tenant's name is empty or too long.
    #[error("a tenant's name has 1 to {MAX_TENANT_BYTES} bytes, this one has {bytes}")]
    Tenant {
        /// Its length.
        bytes: usize,
    },
    /// There are too many commitments.
    #[error(
        "an entry has at most {MAX_COMMITMENTS} commitments, the one to its sealed bytes included; this one \
         has {count}"
    )]
    Commitments {
        /// Their number.
        count: usize,
    },
    /// A commitment is of the kind that the ledger keeps for its own.
    #[error("commitments of the kind {SEALED_KIND} are the ledger's own: give yours another kind")]
    ReservedKind,
    /// The batch is full: append it and start another.
    #[error("the batch has no room for another {bytes} bytes: append it and start another")]
    Full {
        /// Bytes that the entry needs.
        bytes: usize,
    },
}

/// Entries that are appended together: all of them become durable, or none is acknowledged.
///
/// Pushing does the expensive work (hashing the body, its checksum) where it can be done in
/// parallel, so that the writer only numbers and copies.
///
/// ```
/// use spanledger::ledger::{Batch, EntryId, NewEntry};
/// let mut batch = Batch::new();
/// batch.push(&NewEntry {
///     id: EntryId([1; 16]),
///     tenant: "default",
///     tenant_pseudonym: [2; 16],
///     retention_class: 0,
///     received_ns: 1_700_000_000_000_000_000,
///     mapping_version: *b"v1------",
///     source_key: None,
///     commitments: &[],
///     sealed: &[],
///     body: b"{}",
/// })?;
/// assert_eq!(batch.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for that many bytes of frames, as far as a batch can hold them.
    pub fn reserve(&mut self, bytes: usize) {
        let wanted = self.bytes.len().saturating_add(bytes).min(MAX_BATCH_BYTES);
        if wanted <= self.bytes.capacity() {
            return;
        }
        if self.bytes.is_empty() {
            // Growing would move what is not there. Rounded, so that it suits the next one too.
            const STEP: usize = 64 * 1024;
            let rounded = wanted.checked_next_multiple_of(STEP).unwrap_or(wanted);
            self.bytes = Vec::with_capacity(rounded);
        } else {
            self.bytes.reserve(wanted.saturating_sub(self.bytes.len()));
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`BatchError`] when a limit is exceeded; the batch is then as it was.
    pub fn push(&mut self, entry: &NewEntry<'_>) -> Result<(), BatchError> {
        let bytes = entry.body.len();
        if bytes > MAX_BODY_BYTES {
            return Err(BatchError::BodyTooLong { bytes });
        }
        if entry.sealed.len() > MAX_SEALED_BYTES {
            return Err(BatchError::SealedTooLong { bytes: entry.sealed.len() });
        }
        if entry.tenant.is_empty() || entry.tenant.len() > MAX_TENANT_BYTES {
            return Err(BatchError::Tenant { bytes: entry.tenant.len() });
        }
        let count = frame::commitments_of(entry);
        if count > MAX_COMMITMENTS {
            return Err(BatchError::Commitments { count });
        }
        if entry.commitments.iter().any(|it| it.kind == SEALED_KIND) {
            return Err(BatchError::ReservedKind);
        }
        let frame = frame::length_of(entry);
        if self.bytes.len().saturating_add(frame) > MAX_BATCH_BYTES {
            return Err(BatchError::Full { bytes: frame });
        }
        frame::lay_out(entry, &mut self.bytes);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of its frames: what it will take in the ledger and takes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where each frame stands, in order.
    pub(super) fn places(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| start..*end)
    }

    /// A frame, for the writer to give it its place in the ledger.
    pub(super) fn frame_mut(&mut self, place: &Range<usize>) -> Option<&mut [u8]> {
        self.bytes.get_mut(place.clone())
    }

    /// The bytes of some frames that follow each other.
    pub(super) fn run(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }
}

/// Memory of batches that were written, for the next ones: fresh memory costs more than to fill it.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Batch>>);

impl Spares {
    /// Most batches that are kept: as many as are usually on their way at once.
    const MAX: usize = 16;
    /// A batch larger than this is not kept, in bytes.
    const MAX_BYTES: usize = 1024 * 1024;

    /// An empty batch, with the memory of an earlier one if there is any.
    pub(super) fn take(&self) -> Batch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps the memory of a batch that is done with.
    pub(super) fn keep(&self, mut batch: Batch) {
        if batch.bytes.capacity() > Self::MAX_BYTES {
            return;
        }
        batch.bytes.clear();
        batch.ends.clear();
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < Self::MAX {
            spares.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Commitment;
    use crate::ledger::tests::entry;

    #[test]
    fn what_exceeds_a_limit_is_refused_and_leaves_the_batch_as_it_was() {
        let mut batch = Batch::new();
        batch.push(&entry(1, b"x")).unwrap();
        let bytes = batch.bytes();
        let long = vec![0; MAX_BODY_BYTES + 1];
        let refused = batch.push(&entry(2, &long));
        assert_eq!(refused, Err(BatchError::BodyTooLong { bytes: MAX_BODY_BYTES + 1 }));
        let long = vec![0; MAX_SEALED_BYTES + 1];
        let refused = batch.push(&NewEntry { sealed: &long, ..entry(2, b"x") });
        assert_eq!(refused, Err(BatchError::SealedTooLong { bytes: MAX_SEALED_BYTES + 1 }));
        for tenant in ["", &"x".repeat(65)] {
            let refused = batch.push(&NewEntry { tenant, ..entry(2, b"x") });
            assert_eq!(refused, Err(BatchError::Tenant { bytes: tenant.len() }));
        }
        let commitment = Commitment { kind: 1, value: [1; 32], salt: [2; 32] };
        let most = vec![commitment; MAX_COMMITMENTS];
        let refused = batch.push(&NewEntry { commitments: &most, sealed: b"s", ..entry(2, b"x") });
        assert_eq!(refused, Err(BatchError::Commitments { count: MAX_COMMITMENTS + 1 }));
        let own = [Commitment { kind: SEALED_KIND, ..commitment }];
        let refused = batch.push(&NewEntry { commitments: &own, ..entry(2, b"x") });
        assert_eq!(refused, Err(BatchError::ReservedKind));
        assert_eq!((batch.len(), batch.bytes()), (1, bytes));
    }

    #[test]
    fn a_batch_never_grows_beyond_its_limit() {
        let body = vec![0; MAX_BODY_BYTES];
        let mut batch = Batch::new();
        let refused = (0..10).find_map(|n| batch.push(&entry(n, &body)).err());
        assert!(matches!(refused, Some(BatchError::Full { .. })), "{refused:?}");
        assert!(batch.bytes() <= MAX_BATCH_BYTES && batch.len() == 3, "{}", batch.len());
    }
}
