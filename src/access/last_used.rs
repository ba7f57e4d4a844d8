//! When each credential was last used: a hint for people, kept coarsely.
//!
//! It is no evidence (what was written under a credential is), so it is written once a minute and
//! at the end, not with each request.

use super::BookError;
use super::files::{io_error, write_private};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Name of the file.
const FILE: &str = "last-used.json";

/// When each credential was last used, by its id.
pub type LastUsed = BTreeMap<String, Timestamp>;

/// What is kept in `dir`; nothing when there is no such file or it cannot be read: it is a hint.
pub fn read_last_used(dir: &Path) -> LastUsed {
    let text = std::fs::read(dir.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps it in `dir`.
///
/// # Errors
/// [`BookError::Io`].
pub fn write_last_used(dir: &Path, used: &LastUsed) -> Result<(), BookError> {
    let path = dir.join(FILE);
    let text = serde_json::to_vec_pretty(used)
        .map_err(|error| io_error("write", &path, io::Error::other(error)))?;
    write_private(dir, FILE, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_last_used(dir.path()).is_empty());
        let used = LastUsed::from([("0123".to_owned(), Timestamp::from_second(7).unwrap())]);
        write_last_used(dir.path(), &used).unwrap();
        assert_eq!(read_last_used(dir.path()), used);
        std::fs::write(dir.path().join(FILE), "[").unwrap();
        assert!(read_last_used(dir.path()).is_empty());
    }
}
