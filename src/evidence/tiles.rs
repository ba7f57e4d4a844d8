//! The public log's tiles against the ledger, in the pass that checks the ledger.
//!
//! Tiles are made from the ledger and can be made again; an auditor reads them and not the ledger,
//! so each byte of them has to be what the ledger makes. 256 hashes of each level are in memory.

use super::verdict::{Code, Findings, Place};
use crate::ledger::proof::root_of;
use crate::ledger::{Hash, Kind, PublicLog, PublicLogError, TILE_WIDTH, Tile};
use std::io;

/// Hashes and records of the tile that is being filled at one level.
#[derive(Debug, Default)]
struct Level {
    index: u64,
    hashes: Vec<Hash>,
}

/// Compares tiles with what the ledger makes.
#[derive(Debug)]
pub(super) struct Tiles<'l> {
    log: &'l PublicLog,
    /// Entries that the last checkpoint covers: tiles of these have to be there.
    covered: u64,
    /// The next entry; `None` when one was missing, so that nothing can be compared any more.
    next: Option<u64>,
    levels: Vec<Level>,
    /// The bundle of records that is being filled: bytes, and where each record ends.
    records: Vec<u8>,
    ends: Vec<usize>,
    /// Tiles with more than the ledger had when it was read.
    pub(super) wider: Vec<Tile>,
    /// Why no more is compared, if a file could not be read.
    pub(super) failed: Option<PublicLogError>,
}

impl<'l> Tiles<'l> {
    pub(super) fn new(log: &'l PublicLog, covered: u64) -> Self {
        let (levels, records, ends) = (Vec::new(), Vec::new(), Vec::new());
        let (next, wider, failed) = (Some(0), Vec::new(), None);
        Self { log, covered, next, levels, records, ends, wider, failed }
    }

    /// The next entry of the ledger.
    pub(super) fn push(
        &mut self,
        sequence: u64,
        record: &[u8],
        leaf: Hash,
        findings: &mut Findings,
    ) {
        if self.failed.is_some() || self.next != Some(sequence) {
            self.next = None;
            return;
        }
        self.next = sequence.checked_add(1);
        self.records.extend(u16::try_from(record.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.records.extend_from_slice(record);
        self.ends.push(self.records.len());
        self.add(0, leaf, findings);
    }

    fn add(&mut self, level: usize, hash: Hash, findings: &mut Findings) {
        if self.levels.len() <= level {
            self.levels.push(Level::default());
        }
        let Some(filling) = self.levels.get_mut(level) else { return };
        filling.hashes.push(hash);
        if filling.hashes.len() < usize::from(TILE_WIDTH) {
            return;
        }
        let full = Level { index: filling.index, hashes: std::mem::take(&mut filling.hashes) };
        filling.index = filling.index.saturating_add(1);
        let root = root_of(&full.hashes);
        self.compare_level(level, &full, findings);
        self.add(level.saturating_add(1), root, findings);
    }

    /// What is left when the ledger ends.
    pub(super) fn finish(&mut self, findings: &mut Findings) {
        if self.next.is_none() {
            return;
        }
        for (level, rest) in std::mem::take(&mut self.levels).iter().enumerate() {
            self.compare_level(level, rest, findings);
        }
    }

    /// Tells of the tiles that have more than that many entries make.
    pub(super) fn beyond(&self, entries: u64, findings: &mut Findings) {
        for tile in &self.wider {
            let level = if let Kind::Hashes(level) = tile.kind { u32::from(level) } else { 0 };
            let hashes = tile.index.saturating_mul(u64::from(TILE_WIDTH));
            let hashes = hashes.saturating_add(u64::from(tile.width));
            let made = entries.checked_shr(level.saturating_mul(8)).unwrap_or(0);
            if hashes > made {
                let text = "the tile has entries that the ledger has not";
                findings.add(Code::Rollback, Place::file(tile.to_string()), text);
            }
        }
    }

    fn compare_level(&mut self, level: usize, made: &Level, findings: &mut Findings) {
        let Ok(number) = u8::try_from(level) else { return };
        let bytes = made.hashes.as_flattened();
        let end = |width: usize| width.checked_mul(size_of::<Hash>());
        let mut result = self.compare(Kind::Hashes(number), made, bytes, &end, findings);
        if level == 0 && result.is_ok() {
            let (records, ends) =
                (std::mem::take(&mut self.records), std::mem::take(&mut self.ends));
            let end = |width: usize| ends.get(width.checked_sub(1)?).copied();
            result = self.compare(Kind::Entries, made, &records, &end, findings);
        }
        if let Err(error) = result {
            self.failed = Some(error);
        }
    }

    /// Compares each file of one place with the beginning of what the ledger makes there.
    fn compare(
        &mut self,
        kind: Kind,
        made: &Level,
        bytes: &[u8],
        end: &dyn Fn(usize) -> Option<usize>,
        findings: &mut Findings,
    ) -> Result<(), PublicLogError> {
        let width = made.hashes.len();
        let full = Tile::full(kind, made.index);
        // How much of this tile the checkpoint covers: all, a part, nothing.
        let level = if let Kind::Hashes(level) = kind { u32::from(level) } else { 0 };
        let covered = self.covered.checked_shr(level.saturating_mul(8)).unwrap_or(0);
        let from = made.index.saturating_mul(u64::from(TILE_WIDTH));
        let needed = covered.saturating_sub(from).min(u64::from(TILE_WIDTH));
        let needed = u16::try_from(needed).unwrap_or(TILE_WIDTH);
        let mut widths = self.widths(&full)?;
        widths.push(TILE_WIDTH);
        let mut is_there = false;
        for found in widths {
            let tile = Tile { width: found, ..full };
            let place = || Place::file(tile.to_string());
            let found = match self.log.tile(&tile) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(PublicLogError::Damaged { .. }) => {
                    findings.add(Code::HashMismatch, place(), "the tile is not one");
                    continue;
                }
                Err(error) => return Err(error),
            };
            is_there |= tile.width >= needed;
            if usize::from(tile.width) > width {
                self.wider.push(tile);
            } else if end(usize::from(tile.width)).and_then(|end| bytes.get(..end))
                != Some(&found[..])
            {
                findings.add(Code::HashMismatch, place(), "the tile is not what the ledger makes");
            }
        }
        if needed > 0 && !is_there {
            let tile = Tile { width: needed, ..full };
            findings.add(Code::Missing, Place::file(tile.to_string()), "the tile is not there");
        }
        Ok(())
    }

    /// Widths of the partial tiles at a place.
    fn widths(&self, full: &Tile) -> Result<Vec<u16>, PublicLogError> {
        let path = self.log.dir().join(format!("{full}.p"));
        let names = match path.read_dir() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(PublicLogError::Io { path, source }),
        };
        let names = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
        let mut widths: Vec<u16> = names.filter_map(|name| name.parse().ok()).collect();
        widths.retain(|width| (1..TILE_WIDTH).contains(width));
        Ok(widths)
    }
}
