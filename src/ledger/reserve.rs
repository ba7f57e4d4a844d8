//! Room on the disk that is given up when it is full, so that the end can be written.
//!
//! Ordinary appends never get it: they are refused while the disk is full. It is given up for the
//! mark of a clean end and for urgent batches, and made again when there is space.

use super::storage::{allocate, create_private};
use std::io;
use std::path::{Path, PathBuf};

/// A file that only takes up room.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve of the ledger in `dir`; 0 bytes for none.
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        Self { path: dir.join("reserve"), bytes }
    }

    /// Whether the room is there.
    pub(super) fn is_there(&self) -> bool {
        self.bytes > 0 && self.path.metadata().is_ok_and(|meta| meta.len() == self.bytes)
    }

    /// Takes the room, if it is not taken yet.
    pub(super) fn ensure(&self) -> io::Result<()> {
        if self.bytes == 0 || self.is_there() {
            return Ok(());
        }
        let made = create_private(&self.path).and_then(|file| allocate(&file, self.bytes));
        if made.is_err() {
            // A part of it is of no use to anybody.
            self.release();
        }
        made
    }

    /// Gives the room up. `false` when there was nothing to give.
    pub(super) fn release(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_takes_its_room_until_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), 1 << 20);
        reserve.ensure().unwrap();
        assert!(reserve.is_there());
        let blocks = std::os::unix::fs::MetadataExt::blocks(&reserve.path.metadata().unwrap());
        assert!(blocks * 512 >= 1 << 20, "{blocks}");
        assert!(reserve.release() && !reserve.is_there() && !reserve.release());
    }
}
