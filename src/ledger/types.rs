//! What goes in and what comes out: entries, commitments, receipts.

use super::bytes::{Hex, field};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Name of an entry: the same record sent again has the same one. Shown as 32 hex digits.
///
/// ```
/// use spanledger::ledger::EntryId;
/// let id: EntryId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(id.0[1], 1);
/// assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub [u8; 16]);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

/// A text that is not 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry id has 32 hex digits")]
pub struct InvalidEntryId;

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| plain);
        number.map(|n| Self(n.to_be_bytes())).ok_or(InvalidEntryId)
    }
}

/// A salted hash of a protected payload. Kind and value stand in the leaf, so that the payload
/// can be proved later; the salt is stored beside them and never published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// What was committed to: the meaning belongs to whoever makes the commitment.
    pub kind: u8,
    /// The hash.
    pub value: Hash,
    /// The salt that went into it.
    pub salt: [u8; 32],
}

/// Bytes of a stored commitment: kind, value, salt.
pub(super) const COMMITMENT_LEN: usize = 65;

/// Where in it the salt starts.
pub(super) const SALT: usize = 33;

/// The commitments of an entry, read where they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commitments<'a>(pub(super) &'a [u8]);

impl<'a> Commitments<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.0.len().checked_div(COMMITMENT_LEN).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they were given.
    pub fn iter(self) -> impl Iterator<Item = Commitment> + 'a {
        self.0.chunks_exact(COMMITMENT_LEN).filter_map(|bytes| {
            Some(Commitment {
                kind: *bytes.first()?,
                value: field(bytes, 1)?,
                salt: field(bytes, SALT)?,
            })
        })
    }
}

/// What intake hands over for one entry.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Name of the entry; another entry of that name is a duplicate.
    pub id: EntryId,
    /// Name of the tenant, 1 to 64 bytes. Stored, and not in the leaf.
    pub tenant: &'a str,
    /// Stands for the tenant in the leaf, which others may see. Must be unique to the tenant: the
    /// numbers of a tenant's entries are counted by it. [`verify`](super::verify()) reports one
    /// that stands for two tenants.
    pub tenant_pseudonym: [u8; 16],
    /// How long the body is kept: the meaning belongs to the configuration.
    pub retention_class: u8,
    /// When it was received, in nanoseconds since 1970.
    pub received_ns: u64,
    /// Version of the mappings that made the body.
    pub mapping_version: [u8; 8],
    /// Hash of (tenant, trace id, span id): the same key with another id is marked as a conflict.
    pub source_key: Option<[u8; 16]>,
    /// Salted hashes of protected payloads, at most 254 and none of the kind
    /// [`SEALED_KIND`](super::SEALED_KIND).
    pub commitments: &'a [Commitment],
    /// Bytes kept beside the body and outside of the leaf, such as encrypted originals. The ledger
    /// commits to them with their SHA-256, which is public: they must not be guessable. Empty for most
    /// entries.
    pub sealed: &'a [u8],
    /// What was recorded. The ledger stores these bytes and looks at none of them.
    pub body: &'a [u8],
}

/// An entry borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Position in the ledger, counted from 0 and without gaps; also the index of its leaf.
    pub sequence: u64,
    /// Position among the entries of its tenant, counted from 0 and without gaps.
    pub tenant_sequence: u64,
    /// Name of the entry.
    pub id: EntryId,
    /// Name of the tenant.
    pub tenant: &'a str,
    /// Stands for the tenant in the leaf.
    pub tenant_pseudonym: [u8; 16],
    /// How long the body is kept.
    pub retention_class: u8,
    /// When it was received, in nanoseconds since 1970.
    pub received_ns: u64,
    /// Version of the mappings that made the body.
    pub mapping_version: [u8; 8],
    /// Hash of (tenant, trace id, span id), if the source has them.
    pub source_key: Option<[u8; 16]>,
    /// Whether an earlier entry in the window had the same source key and another id.
    pub conflict: bool,
    /// Salted hashes of protected payloads, and the ledger's own commitment to sealed bytes.
    pub commitments: Commitments<'a>,
    /// SHA-256 of the body.
    pub body_hash: Hash,
    /// RFC 6962 hash of the leaf record.
    pub leaf_hash: Hash,
    /// Whether body, sealed bytes and salts were taken out because the time for which they are kept
    /// was over. They are empty and zero then; everything else is as it was written.
    pub pruned: bool,
    /// Bytes kept beside the body and outside of the leaf.
    pub sealed: &'a [u8],
    /// What was recorded; empty when it was pruned.
    pub body: &'a [u8],
}

/// The owned twin of [`EntryRef`]; its fields are those of [`StoredEntry::as_ref`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// See [`EntryRef::sequence`].
    pub sequence: u64,
    /// See [`EntryRef::tenant_sequence`].
    pub tenant_sequence: u64,
    /// See [`EntryRef::id`].
    pub id: EntryId,
    /// See [`EntryRef::tenant`].
    pub tenant: String,
    /// See [`EntryRef::tenant_pseudonym`].
    pub tenant_pseudonym: [u8; 16],
    /// See [`EntryRef::retention_class`].
    pub retention_class: u8,
    /// See [`EntryRef::received_ns`].
    pub received_ns: u64,
    /// See [`EntryRef::mapping_version`].
    pub mapping_version: [u8; 8],
    /// See [`EntryRef::source_key`].
    pub source_key: Option<[u8; 16]>,
    /// See [`EntryRef::conflict`].
    pub conflict: bool,
    commitments: Vec<u8>,
    /// See [`EntryRef::body_hash`].
    pub body_hash: Hash,
    /// See [`EntryRef::leaf_hash`].
    pub leaf_hash: Hash,
    /// See [`EntryRef::pruned`].
    pub pruned: bool,
    /// See [`EntryRef::sealed`].
    pub sealed: Vec<u8>,
    /// See [`EntryRef::body`].
    pub body: Vec<u8>,
}

impl StoredEntry {
    /// The same entry, borrowed.
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef {
            sequence: self.sequence,
            tenant_sequence: self.tenant_sequence,
            id: self.id,
            tenant: &self.tenant,
            tenant_pseudonym: self.tenant_pseudonym,
            retention_class: self.retention_class,
            received_ns: self.received_ns,
            mapping_version: self.mapping_version,
            source_key: self.source_key,
            conflict: self.conflict,
            commitments: Commitments(&self.commitments),
            body_hash: self.body_hash,
            leaf_hash: self.leaf_hash,
            pruned: self.pruned,
            sealed: &self.sealed,
            body: &self.body,
        }
    }
}

impl EntryRef<'_> {
    /// The same entry, owned.
    pub fn to_stored(&self) -> StoredEntry {
        StoredEntry {
            sequence: self.sequence,
            tenant_sequence: self.tenant_sequence,
            id: self.id,
            tenant: self.tenant.to_owned(),
            tenant_pseudonym: self.tenant_pseudonym,
            retention_class: self.retention_class,
            received_ns: self.received_ns,
            mapping_version: self.mapping_version,
            source_key: self.source_key,
            conflict: self.conflict,
            commitments: self.commitments.0.to_vec(),
            body_hash: self.body_hash,
            leaf_hash: self.leaf_hash,
            pruned: self.pruned,
            sealed: self.sealed.to_vec(),
            body: self.body.to_vec(),
        }
    }
}

/// What is known of an appended entry once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position in the ledger; of a duplicate, that of its original.
    pub sequence: u64,
    /// Hash of its leaf; of a duplicate, that of its original.
    pub leaf_hash: Hash,
    /// Whether the entry was there already and nothing was written.
    pub duplicate: bool,
}

/// Proof that a batch is durable: one item for each entry, in the order of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// One for each entry, in the order of the batch.
    pub entries: Vec<Appended>,
}

/// Size and root of the tree: what a checkpoint says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 Merkle tree hash over their leaves.
    pub root: Hash,
}

impl fmt::Debug for TreeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHead({} {})", self.size, Hex(&self.root))
    }
}

impl fmt::Display for TreeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size {} root {}", self.size, Hex(&self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_nothing_else_is_an_id() {
        let id = EntryId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab", &"g".repeat(32), &"a".repeat(33), &format!("+{}", "a".repeat(31))] {
            assert_eq!(text.parse::<EntryId>(), Err(InvalidEntryId), "{text:?}");
        }
    }
}
