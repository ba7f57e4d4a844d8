//! How far a sink is, in a file of its own: the sequence number of the next entry.

use crate::store::StoreError;
use crate::store::durable::NumbersFile;
use std::path::Path;

/// The cursor of a sink that does not keep one with its own data.
#[derive(Debug, Clone)]
pub struct CursorFile(NumbersFile);

impl CursorFile {
    /// The cursor of the sink `name` in `dir`, for the ledger with that random number.
    pub fn new(dir: &Path, name: &str, ledger: [u8; 16]) -> Self {
        let path = dir.join(format!("{name}.cursor"));
        Self(NumbersFile { path, title: "spanledger cursor 1", ledger })
    }

    /// The sequence number of the next entry; `None` when there is no cursor, or it is damaged or
    /// of another ledger: the sink then gets everything again, which is safe.
    pub fn read(&self) -> Option<u64> {
        self.0.read()?.first().copied()
    }

    /// Whether there is a file, readable or not.
    pub fn exists(&self) -> bool {
        // What cannot be looked at may be there.
        self.0.path.try_exists().unwrap_or(true)
    }

    /// Makes the sequence number durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old cursor is then still there.
    pub fn write(&self, sequence: u64) -> Result<(), StoreError> {
        self.0.write(std::iter::once(sequence))
    }
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
