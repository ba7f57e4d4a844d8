//! Writing tiles: one leaf after the other, in memory of a fixed size.
//!
//! ```text
//! leaf ─► level 0 ┬ 256 hashes ─► tile/0/N ─► their root ─► level 1 ┬ 256 … ─► tile/1/N ─► …
//! record ─► bundle┘ 256 records ─► tile/entries/N                   │
//!                   at a checkpoint: what is begun ─► tile/…/N.p/W ─┘
//! ```
//!
//! Nothing that a checkpoint covers is ever written over with other bytes: a full tile is final,
//! and a partial one is named by its width. What has a name is durable, so a crash leaves no tile that
//! is not what it was to be; those that no checkpoint covers are written again.

use super::checkpoint::SignedCheckpoint;
use super::files::{Files, place_with, temporary};
use super::merkle::Frontier;
use super::proof::root_of;
use super::public::{PublicLog, PublicLogError};
use super::tiles::{self, Kind, TILE_WIDTH, Tile};
use super::types::{EntryRef, Hash, TreeHead};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files up to which each is synced by itself; more are synced with their whole file system in one
/// call, which costs about as much as fifty files do.
const SYNC_EACH: usize = 64;

/// Full tiles that are written before they are made durable and get their names: bounds what is
/// remembered of them.
const SYNC_EVERY: usize = 4096;

/// Writes the tiles of a growing tree.
#[derive(Debug)]
pub struct TileWriter {
    log: PublicLog,
    size: u64,
    /// The begun tile of each level, the lowest first.
    levels: Vec<Level>,
    /// The begun bundle of records.
    bundle: Vec<u8>,
    /// Width of the begun bundle on disk.
    bundle_written: usize,
    unsynced: Vec<Unsynced>,
    /// Whether the name of the log's folder is durable for sure.
    is_named: bool,
    /// Memory for a record.
    record: Vec<u8>,
    /// Full tiles since the last [`TileWriter::forget_partials`].
    filled: Vec<Tile>,
}

/// A tile that is not durable for sure.
#[derive(Debug)]
struct Unsynced {
    path: PathBuf,
    /// Whether it has its name. One of before a crash may be in memory only.
    is_there: bool,
}

/// The begun tile of a level.
#[derive(Debug, Clone, Default)]
struct Level {
    hashes: Vec<Hash>,
    /// Width of the tile of it that is on disk.
    written: usize,
}

impl TileWriter {
    /// Begins at the first leaf. Tiles that are there already and are right are left alone.
    pub fn new(log: PublicLog) -> Self {
        Self {
            log,
            size: 0,
            levels: Vec::new(),
            bundle: Vec::new(),
            bundle_written: 0,
            unsynced: Vec::new(),
            is_named: false,
            record: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// Goes on behind a tree whose tiles are there; `None` when the begun ones are damaged or
    /// missing, cannot be read, or are those of another tree: then begin anew.
    pub fn resume(log: &PublicLog, head: &TreeHead) -> Option<Self> {
        let read = |kind, index, width| log.tile(&Tile { kind, index, width }).ok().flatten();
        let mut writer = Self::new(log.clone());
        writer.size = head.size;
        let (mut rest, mut level) = (head.size, 0);
        while rest > 0 {
            let width = width_of(rest);
            let mut begun = Level::default();
            if width > 0 {
                let bytes = read(Kind::Hashes(level), rest >> 8, width)?;
                begun = Level { hashes: tiles::hashes(&bytes), written: width.into() };
            }
            writer.levels.push(begun);
            if level == 0 && width > 0 {
                let bundle = read(Kind::Entries, rest >> 8, width)?;
                let records = tiles::records(&bundle).unwrap_or_default();
                let hashes = records.iter().map(|record| super::merkle::leaf_hash(record));
                if !hashes.eq(writer.levels.iter().flat_map(|level| level.hashes.iter().copied())) {
                    return None;
                }
                (writer.bundle, writer.bundle_written) = (bundle, width.into());
            }
            (rest, level) = (rest >> 8, level.saturating_add(1));
        }
        (writer.head() == *head).then_some(writer)
    }

    /// Leaves so far: the number of the next one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree of the leaves so far, computed from the hashes that the tiles have.
    pub fn head(&self) -> TreeHead {
        let mut peaks = Vec::new();
        for level in self.levels.iter().rev() {
            let mut hashes = level.hashes.as_slice();
            while let Some(bits) = hashes.len().checked_ilog2() {
                let Some((peak, rest)) = hashes.split_at_checked(1 << bits) else { break };
                peaks.push(root_of(peak));
                hashes = rest;
            }
        }
        let tree = Frontier::from_parts(self.size, peaks).unwrap_or_default();
        tree.head()
    }

    /// Adds a leaf: its record and the hash of it.
    ///
    /// # Errors
    /// When a full tile cannot be written; begin anew then.
    pub fn push(&mut self, record: &[u8], leaf: Hash) -> Result<(), PublicLogError> {
        let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(record);
        self.size = self.size.saturating_add(1);
        let mut rest = self.size;
        if self.add(0, leaf) {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(Tile::full(Kind::Entries, (rest >> 8).saturating_sub(1)), &bundle)?;
            self.bundle = bundle;
            self.bundle.clear();
            self.bundle_written = 0;
        }
        let mut level = 0_u8;
        while let Some(full) = self.take_full(level) {
            rest >>= 8;
            self.write(Tile::full(Kind::Hashes(level), rest.saturating_sub(1)), &full.concat())?;
            level = level.saturating_add(1);
            self.add(level, root_of(&full));
        }
        if self.unsynced.len() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Adds an entry of the ledger.
    ///
    /// # Errors
    /// As [`TileWriter::push`].
    pub fn push_entry(&mut self, entry: &EntryRef<'_>) -> Result<(), PublicLogError> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        entry.leaf().write(&mut record);
        let pushed = self.push(&record, entry.leaf_hash);
        self.record = record;
        pushed
    }

    /// Adds a hash to the begun tile of a level; `true` when it is full now.
    fn add(&mut self, level: u8, hash: Hash) -> bool {
        let level = usize::from(level);
        if self.levels.len() <= level {
            self.levels.resize_with(level.saturating_add(1), Level::default);
        }
        let Some(begun) = self.levels.get_mut(level) else { return false };
        begun.hashes.push(hash);
        begun.hashes.len() >= usize::from(TILE_WIDTH)
    }

    fn take_full(&mut self, level: u8) -> Option<Vec<Hash>> {
        let begun = self.levels.get_mut(usize::from(level))?;
        let full = begun.hashes.len() >= usize::from(TILE_WIDTH);
        full.then(|| std::mem::take(begun).hashes)
    }

    /// Writes what is begun, and makes all tiles of the tree durable: after this a checkpoint of
    /// [`TileWriter::head`] may be published.
    ///
    /// # Errors
    /// When a tile cannot be written or synced; begin anew then.
    pub fn flush(&mut self) -> Result<(), PublicLogError> {
        let mut begun = Vec::new();
        for (level, tile) in self.levels.iter_mut().enumerate() {
            if tile.hashes.len() == tile.written {
                continue;
            }
            tile.written = tile.hashes.len();
            let Ok(level) = u8::try_from(level) else { continue };
            let bits = u32::from(level).saturating_add(1).saturating_mul(8);
            let index = self.size.checked_shr(bits).unwrap_or(0);
            let Ok(width) = u16::try_from(tile.written) else { continue };
            begun.push((Tile { kind: Kind::Hashes(level), index, width }, tile.hashes.concat()));
        }
        let width = width_of(self.size);
        if self.bundle_written != usize::from(width) {
            let tile = Tile { kind: Kind::Entries, index: self.size >> 8, width };
            begun.push((tile, self.bundle.clone()));
            self.bundle_written = width.into();
        }
        for (tile, bytes) in begun {
            self.write(tile, &bytes)?;
        }
        self.sync()
    }

    /// Publishes a checkpoint of [`TileWriter::head`]: what is begun is durable before it, and partial
    /// tiles of which it has the full one go after it. In this order whatever ends it leaves a checkpoint
    /// whose tree is there.
    ///
    /// # Errors
    /// When something cannot be written or synced; begin anew then.
    pub fn publish(&mut self, signed: &SignedCheckpoint) -> Result<(), PublicLogError> {
        self.flush()?;
        self.log.publish(signed)?;
        self.forget_partials();
        Ok(())
    }

    /// Removes partial tiles in whose place a full one is: who has an older checkpoint reads that.
    /// To be called when a checkpoint that covers the full ones is published.
    pub fn forget_partials(&mut self) {
        for tile in self.filled.drain(..) {
            // What cannot be removed only takes room.
            let _ = self.log.files().remove_dir(&self.log.dir().join(tile.partials()));
        }
    }

    fn write(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), PublicLogError> {
        if tile.is_full() {
            self.filled.push(tile);
        }
        let path = self.log.path(&tile);
        if matches!(self.log.tile(&tile), Ok(Some(there)) if there == bytes) {
            self.unsynced.push(Unsynced { path, is_there: true });
            return Ok(());
        }
        let failed = |source| PublicLogError::Write { path: path.clone(), source };
        if let Some(dir) = path.parent() {
            self.log.files().make_dirs(dir).map_err(failed)?;
        }
        self.log.files().write(&temporary(&path), bytes, false).map_err(failed)?;
        self.unsynced.push(Unsynced { path, is_there: false });
        Ok(())
    }

    /// Makes the written tiles durable, and gives them their names.
    fn sync(&mut self) -> Result<(), PublicLogError> {
        let written = std::mem::take(&mut self.unsynced);
        let synced = self.sync_written(&written);
        if synced.is_err() {
            let files = self.log.files();
            for Unsynced { path, is_there } in &written {
                // IMPORTANT: the system now takes pages for written that never reached the disk, and
                // the next sync of the same file would succeed.
                if *is_there {
                    renew(files, path);
                } else {
                    // It may have its name already, and be durable.
                    let _ = files.remove(&temporary(path));
                }
            }
        }
        synced
    }

    fn sync_written(&mut self, written: &[Unsynced]) -> Result<(), PublicLogError> {
        let (dir, files) = (self.log.dir(), self.log.files());
        let failed = |path: &Path, source| PublicLogError::Write { path: path.to_owned(), source };
        let at_once = written.len() > SYNC_EACH;
        if at_once {
            files.sync_all(dir).map_err(|source| failed(dir, source))?;
        }
        for Unsynced { path, is_there } in written.iter().filter(|_| !at_once) {
            let bytes = if *is_there { path.clone() } else { temporary(path) };
            files.sync(&bytes).map_err(|source| failed(path, source))?;
        }
        // IMPORTANT: after their bytes. A full tile stands in front of the partial ones that the last
        // checkpoint has: a crash that left its name alone would take these from their readers.
        for Unsynced { path, .. } in written.iter().filter(|tile| !tile.is_there) {
            files.rename(&temporary(path), path).map_err(|source| failed(path, source))?;
        }
        if at_once {
            files.sync_all(dir).map_err(|source| failed(dir, source))?;
        }
        let mut dirs = BTreeSet::new();
        for tile in written.iter().filter(|_| !at_once) {
            let above = tile.path.ancestors().skip(1).take_while(|above| above.starts_with(dir));
            dirs.extend(above);
        }
        // Who made the folder of the log may not have lived to sync its name.
        dirs.extend(dir.parent().filter(|_| !self.is_named && dir.is_dir()));
        for dir in dirs {
            files.sync_dir(dir).map_err(|source| failed(dir, source))?;
        }
        self.is_named = true;
        Ok(())
    }
}

/// Writes a file again, as another one with the same name: its pages are new to the system. One for
/// which that fails is gone, and is made again from the ledger.
fn renew(files: &dyn Files, path: &Path) {
    if fs::read(path).and_then(|bytes| place_with(files, path, &bytes, false)).is_err() {
        let _ = files.remove(path);
    }
}

/// Hashes in the begun tile of a tree with so many hashes on a level.
fn width_of(hashes: u64) -> u16 {
    u16::try_from(hashes & 0xFF).unwrap_or(0)
}

#[cfg(test)]
#[path = "tile_writer_tests.rs"]
mod tests;
