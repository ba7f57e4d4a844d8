//! Writing tiles: one leaf after the other, in memory of a fixed size.
//!
//! ```text
//! leaf ─► level 0 ┬ 256 hashes ─► tile/0/N ─► their root ─► level 1 ┬ 256 … ─► tile/1/N ─► …
//! record ─► bundle┘ 256 records ─► tile/entries/N                   │
//!                   at a checkpoint: what is begun ─► tile/…/N.p/W ─┘
//! ```
//!
//! Nothing that a checkpoint covers is ever written over with other bytes: a full tile is final,
//! and a partial one is named by its width. What lies beyond the last checkpoint may be anything
//! after a crash; it is written again.

use super::merkle::Frontier;
use super::proof::root_of;
use super::public::{PublicLog, PublicLogError};
use super::storage::{create_private, sync_dir};
use super::tiles::{self, Kind, TILE_WIDTH, Tile};
use super::types::{EntryRef, Hash, TreeHead};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Files up to which each is synced by itself; more are synced with their whole file system in one
/// call, which costs about as much as fifty files do.
const SYNC_EACH: usize = 64;

/// Full tiles that are written before they are made durable: bounds what is remembered of them.
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
    unsynced: Vec<PathBuf>,
    /// Memory for a record.
    record: Vec<u8>,
    /// Full tiles since the last [`TileWriter::forget_partials`].
    filled: Vec<Tile>,
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

    /// Removes partial tiles in whose place a full one is: who has an older checkpoint reads that.
    /// To be called when a checkpoint that covers the full ones is published.
    pub fn forget_partials(&mut self) {
        for tile in self.filled.drain(..) {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(self.log.dir().join(tile.partials()));
        }
    }

    fn write(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), PublicLogError> {
        if tile.is_full() {
            self.filled.push(tile);
        }
        let path = self.log.path(&tile);
        if matches!(self.log.tile(&tile), Ok(Some(there)) if there == bytes) {
            // Perhaps from before a crash, and then perhaps in memory only.
            self.unsynced.push(path);
            return Ok(());
        }
        let failed = |source| PublicLogError::Write { path: path.clone(), source };
        if let Some(dir) = path.parent() {
            make_dirs(dir).map_err(failed)?;
        }
        place(&path, bytes, false).map_err(failed)?;
        self.unsynced.push(path);
        Ok(())
    }

    /// Makes the written tiles durable.
    fn sync(&mut self) -> Result<(), PublicLogError> {
        let synced = self.sync_written();
        let written = std::mem::take(&mut self.unsynced);
        if synced.is_err() {
            // IMPORTANT: the system now takes pages for written that never reached the disk, and
            // the next sync of the same file would succeed.
            for path in &written {
                renew(path);
            }
        }
        synced
    }

    fn sync_written(&self) -> Result<(), PublicLogError> {
        let dir = self.log.dir();
        let failed = |path: &Path, source| PublicLogError::Write { path: path.to_owned(), source };
        if self.unsynced.len() > SYNC_EACH {
            let whole = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            whole.map_err(|source| failed(dir, source))?;
        } else {
            let mut dirs = BTreeSet::new();
            for path in &self.unsynced {
                let synced = File::open(path).and_then(|file| file.sync_all());
                synced.map_err(|source| failed(path, source))?;
                let above = path.ancestors().skip(1).take_while(|above| above.starts_with(dir));
                dirs.extend(above);
            }
            for dir in dirs {
                sync_dir(dir).map_err(|source| failed(dir, source))?;
            }
        }
        Ok(())
    }
}

/// Writes a file again, as another one with the same name: its pages are new to the system. One for
/// which that fails is gone, and is made again from the ledger.
fn renew(path: &Path) {
    if fs::read(path).and_then(|bytes| place(path, &bytes, false)).is_err() {
        let _ = fs::remove_file(path);
    }
}

/// Hashes in the begun tile of a tree with so many hashes on a level.
fn width_of(hashes: u64) -> u16 {
    u16::try_from(hashes & 0xFF).unwrap_or(0)
}

/// Makes a folder for the owner alone, with those above it.
pub(super) fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o700).create(dir) }
}

/// Puts a file in its place at once: whoever reads sees the old one or the whole new one. With
/// `durable` it stays there whatever happens next.
pub(crate) fn place(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    let temporary = path.with_file_name(name);
    let file = create_private(&temporary)?;
    (&file).write_all(bytes)?;
    if durable {
        // IMPORTANT: before the file gets its name.
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    match path.parent().filter(|_| durable) {
        // IMPORTANT: else the old file may be back after a crash.
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Checkpoint, LogKey};
    use super::super::merkle::leaf_hash;
    use super::super::proof::{
        Subtrees as _, consistency, inclusion, root, verify_consistency, verify_inclusion,
    };
    use super::*;

    fn record(n: u64) -> Vec<u8> {
        format!("record {n}").into_bytes()
    }

    fn grow(writer: &mut TileWriter, size: u64) {
        for n in writer.size()..size {
            writer.push(&record(n), leaf_hash(&record(n))).unwrap();
        }
        writer.flush().unwrap();
        writer.forget_partials();
    }

    fn expected(size: u64) -> TreeHead {
        let mut tree = Frontier::default();
        (0..size).map(record).for_each(|record| tree.push(leaf_hash(&record)));
        tree.head()
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for file in next.read_dir().unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn the_tiles_are_those_of_the_specification_at_each_size() {
        for (size, wanted) in [
            (0, vec![]),
            (1, vec!["tile/0/000.p/1", "tile/entries/000.p/1"]),
            (255, vec!["tile/0/000.p/255", "tile/entries/000.p/255"]),
            (256, vec!["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]),
            (
                257,
                vec![
                    "tile/0/000",
                    "tile/0/001.p/1",
                    "tile/1/000.p/1",
                    "tile/entries/000",
                    "tile/entries/001.p/1",
                ],
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut writer = TileWriter::new(PublicLog::open(dir.path()));
            grow(&mut writer, size);
            assert_eq!(files(dir.path()), wanted, "size {size}");
            assert_eq!(writer.head(), expected(size));
        }
    }

    #[test]
    fn proofs_from_tiles_hold_whatever_checkpoints_came_between() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        let mut writer = TileWriter::new(log.clone());
        let mut heads = vec![expected(0)];
        for size in [1, 2, 100, 255, 256, 257, 300, 511, 512, 513, 700] {
            grow(&mut writer, size);
            heads.push(writer.head());
            for old in &heads {
                let proof = consistency(&log, old.size, size).unwrap();
                verify_consistency(old, &writer.head(), &proof).unwrap();
                // Also with an older checkpoint, whose partial tiles may be gone.
                assert_eq!(root(&log, old.size).unwrap(), old.root);
            }
            for index in [0, size / 2, size - 1] {
                let proof = inclusion(&log, index, size).unwrap();
                let record = log.leaf_record(index).unwrap();
                verify_inclusion(&leaf_hash(&record), index, &writer.head(), &proof).unwrap();
            }
            assert!(log.leaf_record(size).is_err());
        }
        assert!(log.subtree(0, 700).is_err());
    }

    #[test]
    fn a_writer_goes_on_after_a_restart_as_if_nothing_had_been() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        grow(&mut TileWriter::new(log.clone()), 0);
        for (size, next) in [(0, 3), (3, 256), (256, 300), (300, 600), (600, 601)] {
            let mut writer = TileWriter::resume(&log, &expected(size)).unwrap();
            grow(&mut writer, next);
            assert_eq!(writer.head(), expected(next));
        }
        for index in 0..601 {
            assert_eq!(log.leaf_record(index).unwrap(), record(index));
        }
    }

    #[test]
    fn begun_tiles_that_are_damaged_are_not_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        grow(&mut TileWriter::new(log.clone()), 300);
        let head = expected(300);
        assert!(TileWriter::resume(&log, &expected(299)).is_none());
        for name in ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"] {
            let path = dir.path().join(name);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad[17] ^= 1;
            for bytes in [bad, good[1..].to_vec(), Vec::new()] {
                fs::write(&path, bytes).unwrap();
                assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
            }
            fs::remove_file(&path).unwrap();
            assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
            // A link to itself: the system refuses to read it.
            std::os::unix::fs::symlink(&path, &path).unwrap();
            assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
            fs::remove_file(&path).unwrap();
            fs::write(&path, good).unwrap();
        }
        assert!(TileWriter::resume(&log, &head).is_some());
    }

    #[test]
    fn beginning_anew_repairs_what_is_damaged_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        grow(&mut TileWriter::new(log.clone()), 600);
        let before = files(dir.path());
        for name in ["tile/0/000", "tile/entries/001", "tile/1/000.p/2"] {
            fs::write(dir.path().join(name), b"rubbish").unwrap();
        }
        let full = |kind, index| log.is_sound(&Tile::full(kind, index)).unwrap();
        assert!(!full(Kind::Hashes(0), 0) && !full(Kind::Entries, 1));
        grow(&mut TileWriter::new(log.clone()), 600);
        assert_eq!(files(dir.path()), before);
        for index in 0..2 {
            assert!(full(Kind::Hashes(0), index) && full(Kind::Entries, index));
        }
        assert!(!full(Kind::Hashes(0), 2), "it is not full yet");
        assert_eq!(root(&log, 600).unwrap(), expected(600).root);
        assert_eq!(log.leaf_record(256).unwrap(), record(256));
    }

    #[test]
    fn a_tile_that_could_not_be_made_durable_is_another_file_at_the_next_attempt() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        let mut writer = TileWriter::new(log.clone());
        for n in 0..256 {
            writer.push(&record(n), leaf_hash(&record(n))).unwrap();
        }
        let full = dir.path().join("tile/0/000");
        let (before, bytes) = (fs::metadata(&full).unwrap().ino(), fs::read(&full).unwrap());
        writer.unsynced.push(dir.path().join("tile/gone"));
        writer.flush().unwrap_err();
        assert_ne!(fs::metadata(&full).unwrap().ino(), before);
        assert_eq!(fs::read(&full).unwrap(), bytes);
        grow(&mut TileWriter::new(log.clone()), 256);
        assert_eq!(root(&log, 256).unwrap(), expected(256).root);
    }

    #[test]
    fn a_checkpoint_is_replaced_at_once_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(&dir.path().join("log"));
        assert_eq!(log.checkpoint().unwrap(), None);
        let key = LogKey::generate("spanledger/1").unwrap();
        for size in [0, 1] {
            let origin = key.verifier().name().to_owned();
            let signed = key.sign(&Checkpoint { origin, head: expected(size) }).unwrap();
            log.publish(&signed).unwrap();
            assert_eq!(log.checkpoint().unwrap(), Some(signed));
        }
        log.publish_keys(&[key.verifier().clone()]).unwrap();
        assert_eq!(log.keys().unwrap(), [key.verifier().clone()]);
        let mode = fs::metadata(log.dir().join("checkpoint")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files(log.dir()), ["checkpoint", "keys"]);
    }
}
