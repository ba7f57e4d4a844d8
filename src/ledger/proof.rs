//! Proofs over the tree: that an entry is in it, and that a later tree only added to an earlier one.
//!
//! ```text
//! inclusion of leaf 2 in the tree of size 7        consistency of size 3 with size 7
//!             r                                                r
//!        ┌────┴────┐                                      ┌────┴────┐
//!      ┌─┴─┐    ┌──┴─┐                                  ┌─┴─┐    ┌──┴─┐
//!     [a]  ┌┐  [b]   6     proof: 3, a, [b 6]          [a]  ┌┐  [    ]    proof: 2, 3, a, [b 6]
//!         2 3  4 5                                         2 3
//! ```
//!
//! Both are made from roots of complete subtrees alone ([`Subtrees`]), which is what tiles hold.
//! Nothing here reads or writes. Sources: RFC 6962, section 2.1; RFC 9162, sections 2.1.3 and
//! 2.1.4.

use super::merkle::{Frontier, node_hash};
use super::types::{Hash, TreeHead};

/// Where the hashes of a tree come from.
pub trait Subtrees {
    /// Why one cannot be had.
    type Error;

    /// Root of the complete subtree of `2^level` leaves that starts at leaf `index << level`.
    ///
    /// # Errors
    /// When it cannot be read, or the tree does not have those leaves.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Hashes of leaves in memory, as a tree: for small ones, such as those of tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaves(pub Vec<Hash>);

impl Subtrees for Leaves {
    type Error = OutOfTree;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, OutOfTree> {
        let range = || {
            let count = 1_usize.checked_shl(level.into())?;
            let start = usize::try_from(index).ok()?.checked_mul(count)?;
            self.0.get(start..start.checked_add(count)?)
        };
        range().map(root_of).ok_or(OutOfTree)
    }
}

/// A subtree that the tree does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree does not have those leaves")]
pub struct OutOfTree;

/// Root of the tree over those leaf hashes.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError<E> {
    /// The entry is not in a tree of that size.
    #[error("entry {index} is not in a tree of {size} entries")]
    Index {
        /// The number of the entry.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The older tree is larger.
    #[error("a tree of {new} entries cannot follow one of {old}")]
    Order {
        /// The size of the older tree.
        old: u64,
        /// The size of the newer tree.
        new: u64,
    },
    /// A hash of the tree cannot be had.
    #[error(transparent)]
    Tree(E),
}

/// Proof that the leaf `index` is in the tree of that size: the hashes beside its way to the root,
/// the lowest first.
///
/// ```
/// use spanledger::ledger::proof::{Leaves, inclusion, root, verify_inclusion};
/// use spanledger::ledger::{TreeHead, merkle::leaf_hash};
/// let leaves = Leaves((0..7_u8).map(|n| leaf_hash(&[n])).collect());
/// let proof = inclusion(&leaves, 2, 7)?;
/// let head = TreeHead { size: 7, root: root(&leaves, 7)? };
/// verify_inclusion(&leaf_hash(&[2]), 2, &head, &proof)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ProofError`].
pub fn inclusion<S: Subtrees>(
    tree: &S,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError<S::Error>> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let mut proof = Vec::new();
    let (mut start, mut length) = (0, size);
    while length > 1 {
        let left = split(length);
        let middle = start_of(start, left);
        let right = length.saturating_sub(left);
        if index < middle {
            proof.push(range(tree, middle, right).map_err(ProofError::Tree)?);
            length = left;
        } else {
            proof.push(range(tree, start, left).map_err(ProofError::Tree)?);
            (start, length) = (middle, right);
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of size `new` begins with the tree of size `old`. Empty for equal sizes and
/// for `old` 0.
///
/// # Errors
/// [`ProofError`].
pub fn consistency<S: Subtrees>(
    tree: &S,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ProofError<S::Error>> {
    if old > new {
        return Err(ProofError::Order { old, new });
    }
    let mut proof = Vec::new();
    if old == 0 {
        return Ok(proof);
    }
    let (mut start, mut length) = (0, new);
    // `old` is the end of the older tree; the part from `start` on is looked at.
    while old != start_of(start, length) {
        let left = split(length);
        let middle = start_of(start, left);
        let right = length.saturating_sub(left);
        if old <= middle {
            proof.push(range(tree, middle, right).map_err(ProofError::Tree)?);
            length = left;
        } else {
            proof.push(range(tree, start, left).map_err(ProofError::Tree)?);
            (start, length) = (middle, right);
        }
    }
    // Who came here by the left edge alone is at the older tree itself, whose root is known.
    if start > 0 {
        proof.push(range(tree, start, length).map_err(ProofError::Tree)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root of the tree of that size.
///
/// # Errors
/// [`ProofError::Tree`].
pub fn root<S: Subtrees>(tree: &S, size: u64) -> Result<Hash, ProofError<S::Error>> {
    range(tree, 0, size).map_err(ProofError::Tree)
}

/// Root of the leaves from `start` on, where `start` is a multiple of the largest power of two that
/// is not above `length`: so complete subtrees make it up.
fn range<S: Subtrees>(tree: &S, start: u64, length: u64) -> Result<Hash, S::Error> {
    let mut peaks = Vec::new();
    let (mut at, mut left) = (start, length);
    while let Some(level) = left.checked_ilog2() {
        let count = 1_u64 << level;
        // At most 63.
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        peaks.push(tree.subtree(level, at >> level)?);
        at = at.saturating_add(count);
        left = left.saturating_sub(count);
    }
    let frontier = Frontier::from_parts(length, peaks).unwrap_or_default();
    Ok(frontier.root())
}

/// Largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    let below = length.saturating_sub(1);
    below.checked_ilog2().map_or(0, |level| 1 << level)
}

fn start_of(start: u64, length: u64) -> u64 {
    start.saturating_add(length)
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// The entry cannot be in a tree of that size.
    #[error("entry {index} is not in a tree of {size} entries")]
    Index {
        /// The number of the entry.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The older tree is larger.
    #[error("a tree of {new} entries cannot follow one of {old}")]
    Order {
        /// The size of the older tree.
        old: u64,
        /// The size of the newer tree.
        new: u64,
    },
    /// The proof has another length than such a proof has.
    #[error("the proof has {found} hashes, which is too few or too many")]
    Length {
        /// How many hashes it has.
        found: usize,
    },
    /// The hashes lead to another tree than the newer one, or the only one.
    #[error("the hashes of the proof do not lead to the root of the tree")]
    Root,
    /// The hashes lead to another tree than the older one.
    #[error("the hashes of the proof do not lead to the root of the older tree")]
    OldRoot,
}

/// Checks that the leaf with that hash is at that place of the tree.
///
/// # Errors
/// [`InvalidProof`]: nothing is proved.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    head: &TreeHead,
    proof: &[Hash],
) -> Result<(), InvalidProof> {
    if index >= head.size {
        return Err(InvalidProof::Index { index, size: head.size });
    }
    let length = InvalidProof::Length { found: proof.len() };
    let (mut node, mut last) = (index, head.size.saturating_sub(1));
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            // A node without a right sibling has the same hash on the levels above.
            while node & 1 == 0 && node > 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    if hash == head.root { Ok(()) } else { Err(InvalidProof::Root) }
}

/// Checks that the tree `new` begins with the tree `old`.
///
/// # Errors
/// [`InvalidProof`]: nothing is proved; two signed trees of one log then contradict each other, or
/// the proof is wrong.
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Hash],
) -> Result<(), InvalidProof> {
    let length = InvalidProof::Length { found: proof.len() };
    if old.size > new.size {
        return Err(InvalidProof::Order { old: old.size, new: new.size });
    }
    if old.size == 0 && old.root != Frontier::default().root() {
        return Err(InvalidProof::OldRoot);
    }
    if old.size == 0 || old.size == new.size {
        if !proof.is_empty() {
            return Err(length);
        }
        return if old.size == 0 || old.root == new.root {
            Ok(())
        } else {
            Err(InvalidProof::Root)
        };
    }
    let (mut node, mut last) = (old.size.saturating_sub(1), new.size.saturating_sub(1));
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // A tree of a power of two is a subtree of the newer one: it needs no hash of its own.
    let mut hashes = proof.iter();
    let start = if old.size.is_power_of_two() { Some(&old.root) } else { hashes.next() };
    let Some(start) = start else { return Err(length) };
    let (mut older, mut newer) = (*start, *start);
    for beside in hashes {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            older = node_hash(beside, &older);
            newer = node_hash(beside, &newer);
            while node & 1 == 0 && node > 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            newer = node_hash(&newer, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    if older != old.root {
        return Err(InvalidProof::OldRoot);
    }
    if newer == new.root { Ok(()) } else { Err(InvalidProof::Root) }
}

#[cfg(test)]
mod tests {
    use super::super::merkle::leaf_hash;
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use ct_merkle::{ConsistencyProof, InclusionProof};
    use proptest::prelude::*;
    use sha2::Sha256;

    fn leaves(size: u64) -> Leaves {
        Leaves((0..size).map(|n| leaf_hash(&n.to_le_bytes())).collect())
    }

    fn head(leaves: &Leaves, size: u64) -> TreeHead {
        TreeHead { size, root: root(leaves, size).unwrap() }
    }

    #[test]
    fn every_proof_at_every_size_holds_and_no_other_one_does() {
        let leaves = leaves(70);
        for size in 0..=70 {
            let head = head(&leaves, size);
            for index in 0..size {
                let proof = inclusion(&leaves, index, size).unwrap();
                let leaf = leaves.0[usize::try_from(index).unwrap()];
                verify_inclusion(&leaf, index, &head, &proof).unwrap();
                assert_ne!(verify_inclusion(&[9; 32], index, &head, &proof), Ok(()));
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(verify_inclusion(&leaf, other, &head, &proof), Ok(()));
                }
                let mut longer = proof.clone();
                longer.push([0; 32]);
                assert_ne!(verify_inclusion(&leaf, index, &head, &longer), Ok(()));
                if let Some((_, shorter)) = proof.split_last() {
                    assert_ne!(verify_inclusion(&leaf, index, &head, shorter), Ok(()));
                }
            }
            assert!(inclusion(&leaves, size, size).is_err());
        }
    }

    #[test]
    fn every_tree_is_proved_to_begin_with_every_smaller_one() {
        let leaves = leaves(70);
        for new in 0..=70 {
            for old in 0..=new {
                let (older, newer) = (head(&leaves, old), head(&leaves, new));
                let proof = consistency(&leaves, old, new).unwrap();
                verify_consistency(&older, &newer, &proof).unwrap();
                let lie = TreeHead { size: old, root: [7; 32] };
                assert_ne!(verify_consistency(&lie, &newer, &proof), Ok(()), "{old} {new}");
                let lie = TreeHead { size: new, root: [7; 32] };
                if old > 0 {
                    assert_ne!(verify_consistency(&older, &lie, &proof), Ok(()), "{old} {new}");
                }
                let mut longer = proof.clone();
                longer.push([0; 32]);
                assert_ne!(verify_consistency(&older, &newer, &longer), Ok(()), "{old} {new}");
                if let Some((_, shorter)) = proof.split_last() {
                    assert_ne!(verify_consistency(&older, &newer, shorter), Ok(()));
                }
            }
            assert!(consistency(&leaves, new + 1, new).is_err());
        }
    }

    #[test]
    fn sizes_at_the_end_of_the_numbers_are_refused_and_not_believed() {
        let end = TreeHead { size: u64::MAX, root: [1; 32] };
        assert!(verify_inclusion(&[1; 32], 0, &end, &[]).is_err());
        assert!(verify_inclusion(&[1; 32], u64::MAX, &end, &[]).is_err());
        assert!(verify_inclusion(&[1; 32], u64::MAX - 1, &end, &[[0; 32]; 70]).is_err());
        let one = TreeHead { size: 1, root: [1; 32] };
        assert!(verify_consistency(&one, &end, &[[0; 32]; 70]).is_err());
        assert!(verify_consistency(&end, &one, &[]).is_err());
        assert!(inclusion(&leaves(3), 0, u64::MAX).is_err());
    }

    fn ct_tree(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
        let mut tree = MemoryBackedTree::new();
        (0..size).for_each(|n: u64| tree.push(n.to_le_bytes().to_vec()));
        tree
    }

    #[test]
    fn another_implementation_makes_the_same_proofs_and_accepts_ours() {
        for size in [1, 2, 3, 7, 8, 255, 256, 257, 300] {
            let (ours, theirs) = (leaves(size), ct_tree(size));
            for index in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|i| *i < size) {
                let proof = inclusion(&ours, index, size).unwrap().concat();
                let expected = theirs.prove_inclusion(usize::try_from(index).unwrap());
                assert_eq!(proof, expected.as_bytes(), "leaf {index} of {size}");
                let proof = InclusionProof::<Sha256>::try_from_bytes(proof).unwrap();
                let record = index.to_le_bytes().to_vec();
                theirs.root().verify_inclusion(&record, index, &proof).unwrap();
            }
            for old in [1, size / 3, size / 2, size - 1].into_iter().filter(|o| *o > 0) {
                let proof = consistency(&ours, old, size).unwrap().concat();
                let added = usize::try_from(size - old).unwrap();
                assert_eq!(proof, theirs.prove_consistency(added).as_bytes(), "{old} to {size}");
                let proof = ConsistencyProof::<Sha256>::try_from_bytes(proof).unwrap();
                theirs.root().verify_consistency(&ct_tree(old).root(), &proof).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn a_proof_with_any_bit_flipped_proves_nothing(
            size in 2_u64..600,
            at in any::<prop::sample::Index>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(size);
            let index = at.index(usize::try_from(size).unwrap());
            let mut proof = inclusion(&leaves, index as u64, size).unwrap();
            let bit = bit.index(proof.len() * 256);
            proof[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let leaf = leaves.0[index];
            prop_assert_eq!(
                verify_inclusion(&leaf, index as u64, &head(&leaves, size), &proof),
                Err(InvalidProof::Root)
            );
        }

        #[test]
        fn a_tree_that_changed_anything_old_is_never_consistent(
            old in 1_u64..400,
            more in 0_u64..200,
            changed in any::<prop::sample::Index>(),
        ) {
            let before = leaves(old + more);
            let mut after = before.clone();
            after.0[changed.index(usize::try_from(old).unwrap())] = [0xAB; 32];
            let proof = consistency(&after, old, old + more).unwrap();
            let (older, newer) = (head(&before, old), head(&after, old + more));
            prop_assert_ne!(verify_consistency(&older, &newer, &proof), Ok(()));
        }
    }
}
