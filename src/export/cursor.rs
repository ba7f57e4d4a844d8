//! How far a sink is, in a file of its own.
//!
//! ```text
//! spanledger cursor 1
//! <random number of the ledger, 32 hex digits>
//! <sequence number of the next entry>
//! <crc32c of the lines above, 8 hex digits>
//! ```

use crate::store::StoreError;
use crate::store::durable::write_file;
use std::path::{Path, PathBuf};

const TITLE: &str = "spanledger cursor 1";

/// The cursor of a sink that does not keep one with its own data.
#[derive(Debug, Clone)]
pub struct CursorFile {
    path: PathBuf,
    ledger: [u8; 16],
}

impl CursorFile {
    /// The cursor of the sink `name` in `dir`, for the ledger with that random number.
    pub fn new(dir: &Path, name: &str, ledger: [u8; 16]) -> Self {
        Self { path: dir.join(format!("{name}.cursor")), ledger }
    }

    /// The sequence number of the next entry; `None` when there is no cursor, or it is damaged or
    /// of another ledger: the sink then gets everything again, which is safe.
    pub fn read(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let (content, crc) = text.trim_end().rsplit_once('\n')?;
        if crc != checksum(content) {
            return None;
        }
        let mut lines = content.lines();
        let known = lines.next()? == TITLE && lines.next()? == hex(self.ledger);
        known.then(|| lines.next()?.parse().ok()).flatten()
    }

    /// Whether there is a file, readable or not.
    pub fn exists(&self) -> bool {
        // What cannot be looked at may be there.
        self.path.try_exists().unwrap_or(true)
    }

    /// Makes the sequence number durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old cursor is then still there.
    pub fn write(&self, sequence: u64) -> Result<(), StoreError> {
        let content = format!("{TITLE}\n{}\n{sequence}", hex(self.ledger));
        write_file(&self.path, format!("{content}\n{}\n", checksum(&content)).as_bytes())
    }
}

fn checksum(content: &str) -> String {
    format!("{:08x}", crc_fast::crc32_iscsi(content.as_bytes()))
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_another_ledgers_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = CursorFile::new(dir.path(), "webhook", [1; 16]);
        assert_eq!((cursor.read(), cursor.exists()), (None, false));
        for sequence in [0, 7, u64::MAX] {
            cursor.write(sequence).unwrap();
            assert_eq!(cursor.read(), Some(sequence));
        }
        assert_eq!(CursorFile::new(dir.path(), "webhook", [2; 16]).read(), None);
        assert_eq!(CursorFile::new(dir.path(), "other", [1; 16]).read(), None);
    }

    #[test]
    fn a_damaged_cursor_is_none_and_never_another_number() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = CursorFile::new(dir.path(), "webhook", [1; 16]);
        cursor.write(1234).unwrap();
        let path = dir.path().join("webhook.cursor");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() - 1 {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            std::fs::write(&path, broken).unwrap();
            assert_eq!((cursor.read(), cursor.exists()), (None, true), "byte {at}");
        }
        for length in 0..bytes.len() - 1 {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert_eq!(cursor.read(), None, "{length} bytes");
        }
    }
}
