//! Sealed bytes and the leaf: which bytes stand beside an entry is part of what it proves.
//!
//! The ledger itself commits to them, whoever made them: the last commitment of an entry that has
//! sealed bytes is of the kind [`SEALED_KIND`], its value is SHA-256(sealed bytes), and its salt is
//! zeros. Without it who can write to a segment could destroy an original and mend the checksum.
//!
//! | beside the entry | in its leaf | what that is |
//! |---|---|---|
//! | bytes | their hash | [`SealedState::Bound`] |
//! | bytes | another hash | [`SealedState::Changed`] |
//! | none, and not pruned | a hash | [`SealedState::Missing`] |
//! | bytes | no hash | [`SealedState::Unbound`]: of a version before there was one |
//!
//! The hash is unsalted and public, so what is sealed must not be guessable: encrypted bytes are not.
//! An erasure destroys their key and leaves the bytes, so it changes nothing here.

use super::types::{Commitment, EntryRef};
use sha2::{Digest, Sha256};

/// Kind of the commitment to the sealed bytes. Part of the format; whoever appends entries makes no
/// commitment of this kind.
pub const SEALED_KIND: u8 = 255;

/// The sealed bytes of an entry, compared with what its leaf commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedState {
    /// There are none, and there were none; or retention took them with the body.
    Absent,
    /// They are those that the leaf commits to.
    Bound,
    /// The leaf commits to none: the entry is of a version that did not, or they were put there
    /// later. Nothing proves them.
    Unbound,
    /// The leaf commits to others.
    Changed,
    /// The leaf commits to some, and none are there.
    Missing,
}

/// What an entry with these sealed bytes commits to; `None` when there are none.
pub(super) fn commitment(sealed: &[u8]) -> Option<Commitment> {
    let value = (!sealed.is_empty()).then(|| Sha256::digest(sealed).into())?;
    Some(Commitment { kind: SEALED_KIND, value, salt: [0; 32] })
}

impl EntryRef<'_> {
    /// Whether the sealed bytes are those that were stored. It hashes them.
    ///
    /// ```
    /// use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, Options, SealedState};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let dir = tempfile::tempdir()?;
    /// let (ledger, _) = Ledger::open(dir.path(), Options::default())?;
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
    ///     sealed: b"encrypted",
    ///     body: b"{}",
    /// })?;
    /// ledger.append(batch).await?;
    /// let mut entry = ledger.reader().get(0)?.ok_or("not there")?;
    /// assert_eq!(entry.as_ref().sealed_state(), SealedState::Bound);
    /// entry.sealed.clear();
    /// assert_eq!(entry.as_ref().sealed_state(), SealedState::Missing);
    /// ledger.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sealed_state(&self) -> SealedState {
        if self.pruned {
            return SealedState::Absent;
        }
        let committed = self.commitments.iter().find(|it| it.kind == SEALED_KIND);
        match (committed, commitment(self.sealed)) {
            (None, None) => SealedState::Absent,
            (None, Some(_)) => SealedState::Unbound,
            (Some(_), None) => SealedState::Missing,
            (Some(stated), Some(found)) if stated.value == found.value => SealedState::Bound,
            (Some(_), Some(_)) => SealedState::Changed,
        }
    }
}
