//! The leaf record: the small public form of an entry, which the tree is made of.
//!
//! ```text
//!  0         1    17                33               41            49                57
//!  ├ version ┼ id ┼ tenant pseudonym┼ tenant sequence┼ received ns ┼ mapping version ┤
//!  57                58       59          91               92
//!  ├ retention class ┼ flags ─┼ body hash ┼ commitments: n ┼ n × (kind 1, value 32) ┤
//! ```
//!
//! Integers are little-endian; bit 0 of the flags is the conflict mark. Body, tenant name, salts
//! and source key are not in it: the record may be shown to people who may not see those. The last
//! commitment of an entry with sealed bytes is to these ([`sealed`](super::sealed)); the meaning of all
//! others belongs to who made them (docs/log.md lists them).

use super::bytes::{field, put, u64_at};
use super::merkle;
use super::types::{Commitments, EntryId, EntryRef, Hash};

/// Version of the record's layout, its first byte.
pub const LEAF_VERSION: u8 = 1;

/// The fields of a leaf record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'a> {
    pub(super) id: [u8; 16],
    pub(super) tenant_pseudonym: [u8; 16],
    pub(super) tenant_sequence: u64,
    pub(super) received_ns: u64,
    pub(super) mapping_version: [u8; 8],
    pub(super) retention_class: u8,
    pub(super) conflict: bool,
    pub(super) body_hash: Hash,
    pub(super) commitments: Commitments<'a>,
}

/// Bytes of a record before its commitments.
const FIXED_LEN: usize = 92;

impl Leaf<'_> {
    fn fixed(&self) -> [u8; FIXED_LEN] {
        let mut out = [0; FIXED_LEN];
        put(&mut out, 0, &[LEAF_VERSION]);
        put(&mut out, 1, &self.id);
        put(&mut out, 17, &self.tenant_pseudonym);
        put(&mut out, 33, &self.tenant_sequence.to_le_bytes());
        put(&mut out, 41, &self.received_ns.to_le_bytes());
        put(&mut out, 49, &self.mapping_version);
        put(&mut out, 57, &[self.retention_class, u8::from(self.conflict)]);
        put(&mut out, 59, &self.body_hash);
        put(&mut out, 91, &[u8::try_from(self.commitments.len()).unwrap_or(u8::MAX)]);
        out
    }

    /// Appends the record to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fixed());
        for commitment in self.commitments.iter() {
            out.push(commitment.kind);
            out.extend_from_slice(&commitment.value);
        }
    }

    /// The hash that goes into the tree.
    pub(super) fn hash(&self) -> Hash {
        let fixed = self.fixed();
        if self.commitments.is_empty() {
            return merkle::leaf_hash(&fixed);
        }
        let mut record = Vec::with_capacity(256);
        self.write(&mut record);
        merkle::leaf_hash(&record)
    }
}

impl<'a> EntryRef<'a> {
    pub(super) fn leaf(&self) -> Leaf<'a> {
        Leaf {
            id: self.id.0,
            tenant_pseudonym: self.tenant_pseudonym,
            tenant_sequence: self.tenant_sequence,
            received_ns: self.received_ns,
            mapping_version: self.mapping_version,
            retention_class: self.retention_class,
            conflict: self.conflict,
            body_hash: self.body_hash,
            commitments: self.commitments,
        }
    }

    /// The leaf record: what an auditor hashes (RFC 6962, `SHA-256(0x00 ‖ record)`) to get
    /// [`EntryRef::leaf_hash`].
    pub fn leaf_record(&self) -> Vec<u8> {
        let mut record = Vec::new();
        self.leaf().write(&mut record);
        record
    }
}

/// A leaf record, read: what a bundle or a receipt says of an entry and the tree proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRecord {
    /// Name of the entry.
    pub id: EntryId,
    /// Stands for the tenant.
    pub tenant_pseudonym: [u8; 16],
    /// Position among the entries of its tenant, counted from 0.
    pub tenant_sequence: u64,
    /// When it was received, in nanoseconds since 1970.
    pub received_ns: u64,
    /// Version of the mappings that made the body.
    pub mapping_version: [u8; 8],
    /// How long the body is kept.
    pub retention_class: u8,
    /// Whether an earlier entry of the same span said something else.
    pub conflict: bool,
    /// SHA-256 of the body.
    pub body_hash: Hash,
    /// Kind and value of each commitment; [`SEALED_KIND`](super::SEALED_KIND) is the ledger's own.
    pub commitments: Vec<(u8, Hash)>,
}

/// Bytes of a commitment in the record: kind and value.
const SHOWN_LEN: usize = 33;

impl LeafRecord {
    /// Reads a record. `None` when the bytes are not one of this version, to the last of them.
    pub fn read(record: &[u8]) -> Option<Self> {
        let [version, ..] = *record else { return None };
        let [retention_class, flags] = field(record, 57)?;
        let [count] = field(record, 91)?;
        let shown = record.get(FIXED_LEN..)?;
        let whole = usize::from(count).checked_mul(SHOWN_LEN)? == shown.len();
        if version != LEAF_VERSION || flags > 1 || !whole {
            return None;
        }
        let commitments = shown.chunks_exact(SHOWN_LEN);
        Some(Self {
            id: EntryId(field(record, 1)?),
            tenant_pseudonym: field(record, 17)?,
            tenant_sequence: u64_at(record, 33)?,
            received_ns: u64_at(record, 41)?,
            mapping_version: field(record, 49)?,
            retention_class,
            conflict: flags == 1,
            body_hash: field(record, 59)?,
            commitments: commitments
                .map(|it| Some((*it.first()?, field(it, 1)?)))
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_layout_that_is_drawn_above() {
        let mut commitment = vec![7];
        commitment.extend([8; 32]);
        commitment.extend([0xEE; 32]);
        let leaf = Leaf {
            id: [1; 16],
            tenant_pseudonym: [2; 16],
            tenant_sequence: 3,
            received_ns: 4,
            mapping_version: [5; 8],
            retention_class: 6,
            conflict: true,
            body_hash: [9; 32],
            commitments: Commitments(&commitment),
        };
        let mut record = Vec::new();
        leaf.write(&mut record);
        assert_eq!(record.len(), 92 + 33);
        assert_eq!((record[0], record[1], record[17], record[33], record[41]), (1, 1, 2, 3, 4));
        assert_eq!((record[49], record[57], record[58], record[59]), (5, 6, 1, 9));
        assert_eq!((record[91], record[92], record[93]), (1, 7, 8));
        assert!(!record.contains(&0xEE), "the salt is not in the leaf");

        let read = LeafRecord::read(&record).unwrap();
        assert_eq!((read.id, read.tenant_sequence, read.received_ns), (EntryId([1; 16]), 3, 4));
        assert_eq!((read.retention_class, read.conflict, read.body_hash), (6, true, [9; 32]));
        assert_eq!(read.commitments, [(7, [8; 32])]);
        assert_eq!(LeafRecord::read(&record[..record.len() - 1]), None, "cut");
        record.push(0);
        assert_eq!(LeafRecord::read(&record), None, "something behind it");
    }
}
