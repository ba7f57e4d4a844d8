//! The RFC 6962 Merkle tree as an incremental frontier.
//!
//! ```text
//! size 6 = 110₂        frontier: one hash for each 1 bit
//!        ┌───┴───┐
//!      ┌─┴─┐   ┌─┴─┐   ┌───┐         [ hash of leaves 0..4 , hash of leaves 4..6 ]
//!      0   1   2   3   4   5
//! leaf = SHA-256(0x00 ‖ record)       node = SHA-256(0x01 ‖ left ‖ right)
//! ```
//!
//! It remembers at most 64 hashes whatever the size, appends in amortised constant time, and
//! gives the root of all that was appended. Source: RFC 6962, section 2.1.

use super::types::{Hash, TreeHead};
use sha2::{Digest, Sha256};

/// Hash of a leaf record.
pub fn leaf_hash(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(record).finalize().into()
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of the tree: all that is needed to append and to tell the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the largest first: one for each 1 bit of `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of that many leaves with those subtree roots, the largest first. `None` when
    /// their number does not fit the size.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (u32::try_from(peaks.len()) == Ok(size.count_ones())).then_some(Self { size, peaks })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf, given as its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        let mut level = self.size;
        while level & 1 == 1 {
            // A 1 bit of the size has a peak.
            let Some(left) = self.peaks.pop() else { break };
            node = node_hash(&left, &node);
            level >>= 1;
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// Root of everything appended so far.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return Sha256::digest([]).into() };
        peaks.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;
    use tlog_tiles::{Hash as TileHash, HashReader};

    struct Stored(Vec<TileHash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<TileHash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|i| self.0[usize::try_from(*i).unwrap()]).collect())
        }
    }

    #[test]
    fn the_empty_tree_has_the_hash_of_nothing() {
        let root = super::super::bytes::Hex(&Frontier::default().root()).to_string();
        assert_eq!(root, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn the_root_is_the_one_of_two_other_implementations_at_every_size() {
        let mut ours = Frontier::default();
        let mut ct = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut tiles = Stored(Vec::new());
        for n in 0..300_u64 {
            let record = n.to_le_bytes().to_vec();
            tiles.0.extend(tlog_tiles::stored_hashes(n, &record, &tiles).unwrap());
            ours.push(leaf_hash(&record));
            ct.push(record);
            assert_eq!(ours.root()[..], ct.root().as_bytes()[..], "size {}", n + 1);
            assert_eq!(ours.root(), tlog_tiles::tree_hash(n + 1, &tiles).unwrap().0);
            assert_eq!(ours.peaks().len(), ours.size().count_ones() as usize);
        }
    }

    proptest! {
        #[test]
        fn a_frontier_taken_apart_goes_on_as_if_nothing_had_happened(
            before in 0_u64..200,
            after in 0_u64..200,
        ) {
            let mut whole = Frontier::default();
            (0..before).for_each(|n| whole.push(leaf_hash(&n.to_le_bytes())));
            let mut again =
                Frontier::from_parts(whole.size(), whole.peaks().to_vec()).expect("parts fit");
            for n in 0..after {
                whole.push(leaf_hash(&n.to_be_bytes()));
                again.push(leaf_hash(&n.to_be_bytes()));
            }
            prop_assert_eq!(whole.head(), again.head());
        }
    }

    #[test]
    fn peaks_that_do_not_fit_the_size_are_refused() {
        assert_eq!(Frontier::from_parts(2, vec![[0; 32]; 2]), None);
        assert_eq!(Frontier::from_parts(1, vec![]), None);
    }
}
