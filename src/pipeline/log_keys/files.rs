//! The files of the log's key: read, parsed, removed.

use super::{KEY, LogKeyError, SIGNED};
use crate::ledger::PublicLogError;
use crate::ledger::checkpoint::{Checkpoint, LogKey, VerifierKey};
use crate::protect::demand_private;
use std::fs;
use std::io;
use std::path::Path;

/// Largest key file, bytes: a key takes less than 200.
const MAX_KEY_BYTES: u64 = 4096;

/// What the keys in that folder signed last, or were about to sign.
pub(in crate::pipeline) fn last_signed(keys: &Path) -> Result<Option<Checkpoint>, PublicLogError> {
    let path = keys.join(SIGNED);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PublicLogError::Io { path, source }),
        Ok(text) => text,
    };
    let noted = Checkpoint::parse(&text);
    noted.map(Some).map_err(|source| PublicLogError::Checkpoint { path, source })
}

/// The public half of the log's key in `keys`.
///
/// # Errors
/// [`LogKeyError`].
pub fn log_key(keys: &Path) -> Result<VerifierKey, LogKeyError> {
    let path = keys.join(KEY);
    let text = read(&path)?.ok_or(LogKeyError::None { path: path.clone() })?;
    Ok(parse(&path, &text)?.verifier().clone())
}

/// Removes copies of a key that a crash left while it was put in place.
pub(super) fn remove_leftovers(dir: &Path) {
    let Ok(files) = dir.read_dir() else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(".log.key."));
        if random.is_some_and(|it| it.len() == 16 && it.bytes().all(|it| it.is_ascii_hexdigit())) {
            // What cannot be removed now is tried at the next start.
            let _ = fs::remove_file(file.path());
        }
    }
}

/// The key on the first line. Who asked for it may stand below.
pub(super) fn parse(path: &Path, text: &str) -> Result<LogKey, LogKeyError> {
    LogKey::parse(text.lines().next().unwrap_or_default())
        .map_err(|source| LogKeyError::Key { path: path.to_owned(), source })
}

/// The text of a file that only its owner may read; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, LogKeyError> {
    let failed = |source| LogKeyError::Io { what: "read", path: path.to_owned(), source };
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    demand_private(path, &found, 0o600)?;
    if found.len() > MAX_KEY_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read_to_string(path).map(Some).map_err(failed)
}

pub(super) fn remove(path: &Path) -> Result<(), LogKeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogKeyError::Io { what: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
