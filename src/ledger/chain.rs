//! What follows from the entries before: the next sequence numbers and the tree.
//!
//! The writer, recovery and `verify` advance the same state: entry by entry, and group by group.
//! A group that fails, or that was never finished, is taken back.

use super::frame::Seal;
use super::merkle::Frontier;
use super::types::{EntryRef, Hash, TreeHead};
use std::collections::HashMap;

/// The state of a log after some number of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    tree: Frontier,
    /// Next sequence number of each tenant, by pseudonym. As many as there are credentials.
    tenants: HashMap<[u8; 16], u64>,
    /// The tree where the open group began.
    mark: Frontier,
    /// Pseudonym of each entry of the open group.
    group: Vec<[u8; 16]>,
}

/// What about an entry or a seal does not follow from what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// An entry is missing, repeated or moved.
    #[error("sequence {found} stands where {expected} belongs")]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// An entry of a tenant is missing, repeated or moved.
    #[error("tenant sequence {found} stands where {expected} belongs")]
    TenantSequence {
        /// The number that comes next.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// The envelope was changed after the leaf was hashed.
    #[error("the leaf hash is not that of the envelope")]
    Leaf,
    /// The body was changed after it was hashed.
    #[error("the body hash is not that of the body")]
    Body,
    /// The sealed bytes were changed after they were hashed.
    #[error("the sealed bytes are not those that the leaf commits to")]
    Sealed,
    /// The sealed bytes were taken out, and the entry was not pruned.
    #[error("the sealed bytes that the leaf commits to are not there")]
    SealedMissing,
    /// The tree has another size or root than the group's trailer says.
    #[error(
        "the trailer of the group has another tree ({stated:?}) than its entries make ({computed:?})"
    )]
    Tree {
        /// The tree that the trailer states.
        stated: TreeHead,
        /// The tree that follows from the entries.
        computed: TreeHead,
    },
    /// The trailer is not the one of the group that it ends.
    #[error("the trailer describes another group than the one before it")]
    Group,
}

impl Chain {
    /// The state after the entries of that tree.
    pub(super) fn new(tree: Frontier, tenants: HashMap<[u8; 16], u64>) -> Self {
        Self { mark: tree.clone(), tree, tenants, group: Vec::new() }
    }

    /// Sequence number of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.tree.size()
    }

    /// Sequence number of the first entry of the open group.
    pub(super) fn group_first(&self) -> u64 {
        self.mark.size()
    }

    /// Next sequence number of a tenant.
    pub(super) fn next_of(&self, pseudonym: &[u8; 16]) -> u64 {
        self.tenants.get(pseudonym).copied().unwrap_or(0)
    }

    /// The tree, the open group included.
    pub(super) fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// The tree where the open group began: what counts.
    pub(super) fn committed(&self) -> &Frontier {
        &self.mark
    }

    /// Next sequence number of each tenant.
    pub(super) fn tenants(&self) -> &HashMap<[u8; 16], u64> {
        &self.tenants
    }

    /// The state without the open group.
    pub(super) fn committed_state(&self) -> Self {
        let mut state = self.clone();
        state.roll_back();
        state
    }

    /// Adds an entry to the open group.
    pub(super) fn push(&mut self, pseudonym: [u8; 16], leaf: Hash) {
        let next = self.tenants.entry(pseudonym).or_default();
        *next = next.saturating_add(1);
        self.group.push(pseudonym);
        self.tree.push(leaf);
    }

    /// Ends the group: its entries count.
    pub(super) fn commit(&mut self) {
        self.group.clear();
        self.mark = self.tree.clone();
    }

    /// Takes the open group back.
    pub(super) fn roll_back(&mut self) {
        for pseudonym in self.group.drain(..) {
            if let Some(next) = self.tenants.get_mut(&pseudonym) {
                *next = next.saturating_sub(1);
            }
        }
        self.tenants.retain(|_, next| *next > 0);
        self.tree = self.mark.clone();
    }

    /// Checks that an entry is the next one, without its body, and adds it.
    pub(super) fn check_entry(&mut self, entry: &EntryRef<'_>) -> Result<(), Mismatch> {
        let (expected, found) = (self.next(), entry.sequence);
        if found != expected {
            return Err(Mismatch::Sequence { expected, found });
        }
        let (expected, found) = (self.next_of(&entry.tenant_pseudonym), entry.tenant_sequence);
        if found != expected {
            return Err(Mismatch::TenantSequence { expected, found });
        }
        if entry.leaf().hash() != entry.leaf_hash {
            return Err(Mismatch::Leaf);
        }
        self.push(entry.tenant_pseudonym, entry.leaf_hash);
        Ok(())
    }

    /// Checks that a seal ends the open group, whose entries take `bytes`, and ends it.
    pub(super) fn check_seal(&mut self, seal: &Seal, bytes: u64) -> Result<(), Mismatch> {
        let empty = self.group.is_empty();
        if seal.first != self.group_first() || seal.bytes != bytes || seal.close != empty {
            return Err(Mismatch::Group);
        }
        let (stated, computed) = (seal.head, self.tree.head());
        if stated != computed {
            return Err(Mismatch::Tree { stated, computed });
        }
        self.commit();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_taken_back_leaves_no_trace() {
        let mut chain = Chain::default();
        chain.push([1; 16], [1; 32]);
        chain.commit();
        let before = chain.clone();
        chain.push([1; 16], [2; 32]);
        chain.push([2; 16], [3; 32]);
        assert_eq!((chain.next(), chain.next_of(&[1; 16]), chain.next_of(&[2; 16])), (3, 2, 1));
        chain.roll_back();
        assert_eq!(chain, before);
    }
}
