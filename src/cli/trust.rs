//! What a verification is made with: keys and checkpoints that somebody kept.

use crate::evidence::{Kept, KeySource, NoProof, Trust};
use crate::ledger::PublicLog;
use crate::ledger::checkpoint::{CheckpointError, KeyError, SignedCheckpoint, VerifierKey};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file of keys, and largest checkpoint, that is read, bytes: some thousand signatures.
const MAX_FILE_BYTES: u64 = 1_024 * 1_024;

/// Why a key or a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{} cannot be read; check its name and its permissions", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is given is neither a key nor a file of keys.
    #[error("{given:?} is neither a verifier key (NAME+ID+BASE64) nor a file that can be read")]
    NotAKey {
        /// What was given, harmless.
        given: String,
        /// Why it is no key.
        source: KeyError,
    },
    /// The file has no key.
    #[error("there is no verifier key in {}: write one a line, NAME+ID+BASE64", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A line of the file is no key.
    #[error("{} has a line that is no verifier key", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The file is no proof.
    #[error("{} cannot be checked", .path.display())]
    Proof {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoProof,
    },
    /// The file is no checkpoint.
    #[error("{} is no checkpoint", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
}

/// Keys as they were given: each by itself or in a file.
pub(super) fn given_keys(given: &[String]) -> Result<Vec<VerifierKey>, TrustError> {
    let mut keys = Vec::new();
    for given in given {
        match VerifierKey::parse(given) {
            Ok(key) => keys.push(key),
            Err(source) if !Path::new(given).is_file() => {
                let given = super::display::clean(given);
                return Err(TrustError::NotAKey { given, source });
            }
            Err(_) => keys.extend(keys_in(Path::new(given))?),
        }
    }
    Ok(keys)
}

/// The keys of a file, one a line.
fn keys_in(path: &Path) -> Result<Vec<VerifierKey>, TrustError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Result<Vec<_>, _> = lines.map(VerifierKey::parse).collect();
    let keys = keys.map_err(|source| TrustError::Key { path: path.to_owned(), source })?;
    if keys.is_empty() { Err(TrustError::NoKey { path: path.to_owned() }) } else { Ok(keys) }
}

/// The keys that were given, else those that lie beside the log.
pub(super) fn trust(given: &[String], log: &PublicLog, keys: &Path) -> Result<Trust, TrustError> {
    let given = given_keys(given)?;
    if !given.is_empty() {
        return Ok(Trust { keys: given, from: KeySource::Given });
    }
    // What lies there and cannot be used is no key: then nobody knows who signed.
    let mut beside = log.keys().unwrap_or_default();
    let own = keys.join(PUBLIC_KEY_FILE);
    if own.is_file() {
        beside.extend(keys_in(&own).unwrap_or_default());
    }
    Ok(Trust { keys: beside, from: KeySource::Beside })
}

/// Public form of the log's key in the folder of keys.
const PUBLIC_KEY_FILE: &str = "log.pub";

/// Checkpoints that somebody kept.
pub(super) fn kept(files: &[PathBuf]) -> Result<Vec<Kept>, TrustError> {
    let read_one = |path: &PathBuf| {
        let parsed = SignedCheckpoint::parse(&read(path)?);
        let signed =
            parsed.map_err(|source| TrustError::Checkpoint { path: path.clone(), source })?;
        Ok(Kept { name: path.display().to_string(), signed })
    };
    files.iter().map(read_one).collect()
}

/// The bytes of a small file.
fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::LogKey;

    #[test]
    fn a_key_is_given_as_text_or_in_a_file_and_nothing_else_is_taken_for_one() {
        let key = LogKey::generate("example/log").unwrap().verifier().to_string();
        assert_eq!(given_keys(std::slice::from_ref(&key)).unwrap().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let given = [file.display().to_string()];
        assert!(given_keys(&given).unwrap_err().to_string().contains("neither"));
        std::fs::write(&file, "\n").unwrap();
        assert!(given_keys(&given).unwrap_err().to_string().contains("no verifier key"));
        std::fs::write(&file, format!("{key}\n\n{key}\n")).unwrap();
        assert_eq!(given_keys(&given).unwrap().len(), 2);
        std::fs::write(&file, format!("{key}\nnot one\n")).unwrap();
        assert!(given_keys(&given).is_err());
    }
}
