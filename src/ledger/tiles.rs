//! Tiles: the files that the public log is made of, their names and what is in them.
//!
//! ```text
//! tile/0/000           hashes of leaves 0 to 255                     256 × 32 bytes
//! tile/0/001.p/44      hashes of leaves 256 to 299, of a tree of 300  44 × 32 bytes
//! tile/1/000.p/1       roots of the full tiles of level 0, in order    1 × 32 bytes
//! tile/0/x001/234      the tile 1234 of level 0
//! tile/entries/000     the leaf records 0 to 255: each its length (2 bytes, big-endian), itself
//! ```
//!
//! A hash of level `l` is the root of `256^l` leaves. A tile that is not full is named by its
//! width too, and stays until the full one is there. Source: c2sp.org/tlog-tiles.

use super::types::Hash;
use std::fmt;

/// Hashes in a full tile, records in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Binary levels of the tree that one level of tiles covers.
const TILE_HEIGHT: u8 = 8;

/// Highest level of tiles that a tree of 64-bit size has.
pub(super) const MAX_TILE_LEVEL: u8 = 7;

/// Bytes of a hash.
const HASH_LEN: usize = 32;

/// Longest bundle of records: 256 of them with 255 commitments each.
pub(super) const MAX_TILE_BYTES: u64 = 256 * (2 + 92 + 255 * 33);

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes of that level; level 0 has those of the leaves.
    Hashes(u8),
    /// Leaf records.
    Entries,
}

/// A tile, by its place and width. As text it is its path, `tile/…`.
///
/// ```
/// use spanledger::ledger::{Kind, Tile};
/// let tile = Tile { kind: Kind::Hashes(1), index: 1_234_067, width: 17 };
/// assert_eq!(tile.to_string(), "tile/1/x001/x234/067.p/17");
/// assert_eq!(Tile::parse("tile/1/x001/x234/067.p/17"), Some(tile));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: Kind,
    /// Which of its kind, counted from 0.
    pub index: u64,
    /// Hashes or records in it: 1 to 256, which is full.
    pub width: u16,
}

impl Tile {
    /// The tile as it is when it is full.
    pub fn full(kind: Kind, index: u64) -> Self {
        Self { kind, index, width: TILE_WIDTH }
    }

    /// Whether nothing more can be added.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Reads a path; `None` when it is written in any other way than [`Tile`] writes it, so one
    /// that leads out of the log is none.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(
                number(level).filter(|l| *l <= MAX_TILE_LEVEL.into())?.try_into().ok()?,
            ),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, number(width).filter(|w| (1..256).contains(w))?),
            None => (rest, TILE_WIDTH),
        };
        let mut number = 0_u64;
        for part in index.split('/') {
            let digits = part.strip_prefix('x').unwrap_or(part);
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            number = number.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { kind, index: number, width };
        // One tile has one name: leading groups of zeros and misplaced `x` are another.
        (tile.to_string() == path).then_some(tile)
    }

    /// The folder of the partial tiles at this place.
    pub(super) fn partials(&self) -> String {
        format!("{}.p", Self::full(self.kind, self.index))
    }

    /// The hash tile of that level at which the `2^level` leaves from `index << level` on are, and
    /// the first of their hashes and how many there are; `None` beyond 64 bits.
    pub(super) fn of_subtree(level: u8, index: u64) -> Option<(Kind, u64, u16, u16)> {
        let tile_level = level.checked_div(TILE_HEIGHT)?;
        let within = u32::from(level.checked_rem(TILE_HEIGHT)?);
        // The tree has 64-bit size: the first leaf has a 64-bit number.
        let leaf_bits = u32::from(level);
        index.checked_mul(1_u64.checked_shl(leaf_bits)?)?;
        let first = index.checked_shl(within)?;
        let at = u16::try_from(first & 0xFF).ok()?;
        Some((Kind::Hashes(tile_level), first >> TILE_HEIGHT, at, 1 << within))
    }
}

/// A number in the only way to write it.
fn number(text: &str) -> Option<u16> {
    super::checkpoint::decimal(text)?.try_into().ok()
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        loop {
            groups.push(rest.checked_rem(1000).unwrap_or(0));
            rest = rest.checked_div(1000).unwrap_or(0);
            if rest == 0 {
                break;
            }
        }
        for (left, group) in groups.iter().enumerate().rev() {
            if left > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// The hashes in a tile's bytes.
pub(super) fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks_exact(HASH_LEN).filter_map(|hash| hash.try_into().ok()).collect()
}

/// Bytes of a hash tile of that width.
pub(super) fn hashes_len(width: u16) -> usize {
    usize::from(width).saturating_mul(HASH_LEN)
}

/// The records of a bundle, if it is whole.
pub(super) fn records(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (record, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        records.push(record);
        bytes = rest;
    }
    bytes.is_empty().then_some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tile_is_named_as_other_logs_name_it() {
        let tile = |kind, index, width| Tile { kind, index, width }.to_string();
        assert_eq!(tile(Kind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(tile(Kind::Hashes(2), 999, 1), "tile/2/999.p/1");
        assert_eq!(tile(Kind::Entries, 1000, 256), "tile/entries/x001/000");
        assert_eq!(tile(Kind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
    }

    #[test]
    fn every_other_spelling_is_no_tile() {
        for path in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/8/000",
            "tile/-1/000",
            "tile/0/x000/001",
            "tile/0/001/x001",
            "tile/0/001/001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/1/2",
            "tile/0/000.p",
            "tile/0/+01",
            "tile/entries/../000",
            "tile/0/../../keys",
            "tile/entries/000.p/../1",
            "/tile/0/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/data/000",
            "tile/0/000 ",
        ] {
            assert_eq!(Tile::parse(path), None, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back_as_the_tile_that_it_names(
            level in 0_u8..=7, index in any::<u64>(), width in 1_u16..=256, entries in any::<bool>(),
        ) {
            let kind = if entries { Kind::Entries } else { Kind::Hashes(level) };
            let tile = Tile { kind, index, width };
            prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
        }
    }

    #[test]
    fn a_subtree_lies_within_one_tile() {
        assert_eq!(Tile::of_subtree(0, 300), Some((Kind::Hashes(0), 1, 44, 1)));
        assert_eq!(Tile::of_subtree(7, 3), Some((Kind::Hashes(0), 1, 128, 128)));
        assert_eq!(Tile::of_subtree(8, 5), Some((Kind::Hashes(1), 0, 5, 1)));
        assert_eq!(Tile::of_subtree(63, 1), Some((Kind::Hashes(7), 0, 128, 128)));
        assert_eq!(Tile::of_subtree(63, 2), None);
        assert_eq!(Tile::of_subtree(64, 0), None);
    }

    #[test]
    fn a_bundle_that_ends_early_is_not_read() {
        assert_eq!(records(&[0, 1, 7, 0, 0]), Some(vec![&[7][..], &[]]));
        assert_eq!(records(&[0, 2, 7]), None);
        assert_eq!(records(&[0]), None);
    }
}
