//! The public log in its folder: what an auditor reads, over HTTP or from the disk.
//!
//! ```text
//! LOG/checkpoint          the last signed checkpoint
//! LOG/keys                verifier keys of the log, one a line, the newest last
//! LOG/cosigned            the last one that witnesses signed
//! LOG/tile/…              hashes and leaf records: `tiles.rs`
//! ```
//!
//! Reading trusts nothing but the form of the files: whoever checks a proof against a signed
//! checkpoint finds out whether the hashes are right. All but the checkpoint can be made again
//! from the ledger.

use super::checkpoint::{CheckpointError, SignedCheckpoint, VerifierKey};
use super::files::{FileSystem, Files, place_with};
use super::merkle::leaf_hash;
use super::note::KeyError;
use super::proof::{Subtrees, root_of};
use super::tiles::{self, Kind, MAX_TILE_BYTES, TILE_WIDTH, Tile};
use super::types::Hash;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the last signed checkpoint in the log's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// Name of the checkpoint that most witnesses signed in the log's folder.
pub const COSIGNED_FILE: &str = "cosigned";

/// Name of a newer one that fewer of them signed, in the log's folder.
pub const LATEST_COSIGNED_FILE: &str = "cosigned.latest";

/// Name of the list of verifier keys in the log's folder.
pub const KEYS_FILE: &str = "keys";

/// Largest checkpoint and list of keys that is read, bytes: that of other programs for notes.
const MAX_TEXT_BYTES: u64 = 1_000_000;

/// Why the public log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicLogError {
    /// The system refused to read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The system refused to write.
    #[error("cannot write {}; is there room, and may this user write there?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The log does not have that, or not yet.
    #[error("the public log has no {what} in {}: it comes with a checkpoint that covers it", path.display())]
    Missing {
        /// What is not there.
        what: String,
        /// The folder.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error(
        "{} is damaged: remove it and start spanledger, which makes it again from the ledger",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint is none.
    #[error("{} cannot be used", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The list of keys has something else in it.
    #[error("{} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// The public log in a folder. Holds nothing open; what is published later is seen.
#[derive(Debug, Clone)]
pub struct PublicLog {
    dir: PathBuf,
    files: Arc<dyn Files>,
}

impl PublicLog {
    /// The log in that folder, which need not be there yet.
    pub fn open(dir: &Path) -> Self {
        Self::open_on(dir, Arc::new(FileSystem))
    }

    /// The same on those files.
    pub(super) fn open_on(dir: &Path, files: Arc<dyn Files>) -> Self {
        Self { dir: dir.to_owned(), files }
    }

    /// What writes it.
    pub(super) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last signed checkpoint, signatures not checked; `None` when none was published.
    ///
    /// # Errors
    /// [`PublicLogError`] when there is one that cannot be read.
    pub fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, PublicLogError> {
        self.note(CHECKPOINT_FILE)
    }

    fn note(&self, name: &str) -> Result<Option<SignedCheckpoint>, PublicLogError> {
        let path = self.dir.join(name);
        let Some(note) = read(&path, MAX_TEXT_BYTES)? else { return Ok(None) };
        let parsed = SignedCheckpoint::parse(&note);
        parsed.map(Some).map_err(|source| PublicLogError::Checkpoint { path, source })
    }

    /// Makes a checkpoint the last one. The tiles of its tree are durable before, and it is when
    /// this returns.
    ///
    /// # Errors
    /// [`PublicLogError::Write`]; whether it is there is uncertain then.
    pub fn publish(&self, signed: &SignedCheckpoint) -> Result<(), PublicLogError> {
        self.put(CHECKPOINT_FILE, &signed.note)
    }

    /// The checkpoint that most witnesses signed, of those the last, signatures not checked; `None` when
    /// no witness signed one.
    ///
    /// # Errors
    /// [`PublicLogError`] when there is one that cannot be read.
    pub fn cosigned(&self) -> Result<Option<SignedCheckpoint>, PublicLogError> {
        self.note(COSIGNED_FILE)
    }

    /// Keeps a checkpoint that witnesses signed.
    ///
    /// # Errors
    /// [`PublicLogError::Write`]; whether it is there is uncertain then.
    pub fn publish_cosigned(&self, signed: &SignedCheckpoint) -> Result<(), PublicLogError> {
        self.put(COSIGNED_FILE, &signed.note)
    }

    /// The checkpoint that most witnesses signed lately, which may be fewer, signatures not checked;
    /// `None` when no witness signed one.
    ///
    /// # Errors
    /// [`PublicLogError`] when there is one that cannot be read.
    pub fn latest_cosigned(&self) -> Result<Option<SignedCheckpoint>, PublicLogError> {
        self.note(LATEST_COSIGNED_FILE)
    }

    /// Keeps the checkpoint that most witnesses signed lately.
    ///
    /// # Errors
    /// [`PublicLogError::Write`]; whether it is there is uncertain then.
    pub fn publish_latest_cosigned(&self, signed: &SignedCheckpoint) -> Result<(), PublicLogError> {
        self.put(LATEST_COSIGNED_FILE, &signed.note)
    }

    /// Lists the verifier keys, the newest last.
    ///
    /// # Errors
    /// [`PublicLogError::Write`].
    pub fn publish_keys(&self, keys: &[VerifierKey]) -> Result<(), PublicLogError> {
        self.put(KEYS_FILE, key_lines(keys).as_bytes())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), PublicLogError> {
        let path = self.dir.join(name);
        let files = self.files();
        let placed = files.make_dirs(&self.dir);
        let placed = placed.and_then(|()| place_with(files, &path, bytes, true));
        placed.map_err(|source| PublicLogError::Write { path, source })
    }

    /// The verifier keys that the folder names, the newest last: those of the same machine, so a
    /// verifier that has a key from elsewhere uses that one.
    ///
    /// # Errors
    /// [`PublicLogError`] when the list cannot be read. None is an empty list.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, PublicLogError> {
        let path = self.dir.join(KEYS_FILE);
        let bytes = read(&path, MAX_TEXT_BYTES)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let keys = lines.map(VerifierKey::parse).collect::<Result<_, _>>();
        keys.map_err(|source| PublicLogError::Key { path, source })
    }

    /// The leaf record of an entry that a published checkpoint covers.
    ///
    /// # Errors
    /// [`PublicLogError`].
    pub fn leaf_record(&self, index: u64) -> Result<Vec<u8>, PublicLogError> {
        let at = u16::try_from(index & 0xFF).unwrap_or(u16::MAX);
        let (tile, bytes) = self.bundle(Kind::Entries, index >> 8, at.saturating_add(1))?;
        let records = tiles::records(&bytes);
        let record = records.and_then(|all| all.get(usize::from(at)).map(|r| r.to_vec()));
        record.ok_or_else(|| PublicLogError::Damaged { path: self.path(&tile) })
    }

    /// The bytes of that very tile; `None` when the log does not have it.
    ///
    /// # Errors
    /// [`PublicLogError::Io`], [`PublicLogError::Damaged`].
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, PublicLogError> {
        let path = self.path(tile);
        let Some(bytes) = read(&path, MAX_TILE_BYTES)? else { return Ok(None) };
        let whole = match tile.kind {
            Kind::Hashes(_) => bytes.len() == tiles::hashes_len(tile.width),
            Kind::Entries => {
                tiles::records(&bytes).is_some_and(|all| all.len() == usize::from(tile.width))
            }
        };
        if whole { Ok(Some(bytes)) } else { Err(PublicLogError::Damaged { path }) }
    }

    /// Whether a full tile is the one that the tree has: its root stands in the tile above, and
    /// the records of a bundle are those of its leaves. `false` too when it is not there.
    ///
    /// # Errors
    /// [`PublicLogError::Io`] when a file cannot be read.
    pub fn is_sound(&self, tile: &Tile) -> Result<bool, PublicLogError> {
        let sound = || {
            let Some(bytes) = self.tile(tile)? else { return Ok(false) };
            match tile.kind {
                Kind::Hashes(level) => {
                    let above = level.saturating_add(1).saturating_mul(8);
                    Ok(root_of(&tiles::hashes(&bytes)) == self.subtree(above, tile.index)?)
                }
                Kind::Entries => {
                    let leaves = self.tile(&Tile { kind: Kind::Hashes(0), ..*tile })?;
                    let records = tiles::records(&bytes).unwrap_or_default();
                    let hashes = records.iter().map(|record| leaf_hash(record));
                    Ok(leaves.is_some_and(|leaves| tiles::hashes(&leaves).into_iter().eq(hashes)))
                }
            }
        };
        match sound() {
            Err(PublicLogError::Damaged { .. } | PublicLogError::Missing { .. }) => Ok(false),
            sound => sound,
        }
    }

    /// Path of a tile's file.
    pub(super) fn path(&self, tile: &Tile) -> PathBuf {
        self.dir.join(tile.to_string())
    }

    /// The tile at that place with at least so many hashes or records: the full one, or else the
    /// narrowest partial one that has them.
    fn bundle(
        &self,
        kind: Kind,
        index: u64,
        needed: u16,
    ) -> Result<(Tile, Vec<u8>), PublicLogError> {
        let full = Tile::full(kind, index);
        let mut damaged = None;
        // Twice: between the looks the full one may have replaced the partial ones.
        for _ in 0..2 {
            if let Some(bytes) = self.tile(&full)? {
                return Ok((full, bytes));
            }
            let mut widths = self.partial_widths(&full)?;
            widths.retain(|width| *width >= needed);
            widths.sort_unstable();
            for width in widths {
                let tile = Tile { width, ..full };
                match self.tile(&tile) {
                    Ok(Some(bytes)) => return Ok((tile, bytes)),
                    Ok(None) => {}
                    // A wider one has the same hashes.
                    Err(PublicLogError::Damaged { path }) => damaged = Some(path),
                    Err(error) => return Err(error),
                }
            }
        }
        if let Some(path) = damaged {
            return Err(PublicLogError::Damaged { path });
        }
        Err(PublicLogError::Missing { what: full.to_string(), path: self.dir.clone() })
    }

    /// Widths of the partial tiles that are at a place.
    pub(super) fn partial_widths(&self, tile: &Tile) -> Result<Vec<u16>, PublicLogError> {
        let path = self.dir.join(tile.partials());
        let names = match path.read_dir() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(PublicLogError::Io { path, source }),
        };
        let names = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
        Ok(names
            .filter_map(|name| name.parse().ok())
            .filter(|w| (1..TILE_WIDTH).contains(w))
            .collect())
    }
}

/// Verifier keys as a list of them is written: one a line.
pub(crate) fn key_lines(keys: &[VerifierKey]) -> String {
    keys.iter().fold(String::new(), |lines, key| lines + &key.to_string() + "\n")
}

fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, PublicLogError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 <= most => Ok(Some(bytes)),
        Ok(_) => Err(PublicLogError::Damaged { path: path.to_owned() }),
        Err(error) if missing(&error) => Ok(None),
        Err(source) => Err(PublicLogError::Io { path: path.to_owned(), source }),
    }
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl Subtrees for PublicLog {
    type Error = PublicLogError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, PublicLogError> {
        let Some((kind, tile, at, count)) = Tile::of_subtree(level, index) else {
            let what = format!("subtree {index} of level {level}");
            return Err(PublicLogError::Missing { what, path: self.dir.clone() });
        };
        let end = at.saturating_add(count);
        let (tile, bytes) = self.bundle(kind, tile, end)?;
        let hashes = tiles::hashes(&bytes);
        let hashes = hashes.get(usize::from(at)..usize::from(end));
        let hashes = hashes.ok_or_else(|| PublicLogError::Damaged { path: self.path(&tile) })?;
        Ok(root_of(hashes))
    }
}
