//! What an index says of itself: its version, its secret, and the ledger that it belongs to.

use super::super::StoreError;
use super::super::durable::{io, write_file};
use super::IndexOptions;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Layout of what is listed. Another version is rebuilt.
const VERSION: u32 = 2;

const FILE: &str = "manifest.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    /// Random number of the ledger.
    ledger: String,
    /// Entries in a small run.
    run_entries: u64,
    /// Entries in a document of the dictionary.
    block_entries: u64,
    /// Whether words of texts are listed.
    words: bool,
    /// Makes the keys of this index unlike those of every other, hexadecimal.
    secret: String,
    /// CRC-32C of the secret: under another one nothing would be found.
    check: u32,
}

impl Manifest {
    /// The manifest in `dir`, when it is of this version and ledger.
    pub(super) fn read(dir: &Path, ledger: [u8; 16], options: &IndexOptions) -> Option<Self> {
        let bytes = fs::read(dir.join(FILE)).ok()?;
        let manifest: Self = serde_json::from_slice(&bytes).ok()?;
        let fits = manifest.version == VERSION
            && manifest.ledger == hex(ledger)
            && manifest.run_entries == options.run_entries
            && manifest.block_entries == options.block_entries
            && manifest.words == options.words
            && u128::from_str_radix(&manifest.secret, 16).is_ok()
            && manifest.check == crc_fast::crc32_iscsi(manifest.secret.as_bytes());
        fits.then_some(manifest)
    }

    /// Begins an index in `dir`, with nothing of what was there before.
    pub(super) fn begin(
        dir: &Path,
        ledger: [u8; 16],
        options: &IndexOptions,
    ) -> Result<Self, StoreError> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove the old index", dir, error));
            }
            _ => {}
        }
        fs::create_dir_all(dir).map_err(|source| io("create", dir, source))?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| {
            StoreError::Unavailable(format!("the system gives no random numbers: {error}"))
        })?;
        let secret = hex(secret);
        let check = crc_fast::crc32_iscsi(secret.as_bytes());
        let manifest = Self {
            version: VERSION,
            ledger: hex(ledger),
            run_entries: options.run_entries,
            block_entries: options.block_entries,
            words: options.words,
            secret,
            check,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| StoreError::Damaged {
            context: "cannot write the manifest of the index".to_owned(),
            source: Some(Box::new(error)),
        })?;
        write_file(&dir.join(FILE), &text)?;
        Ok(manifest)
    }

    /// The secret of the keys.
    pub(super) fn secret(&self) -> [u8; 16] {
        u128::from_str_radix(&self.secret, 16).unwrap_or_default().to_be_bytes()
    }
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_another_ledger_or_version_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        let options = IndexOptions::default();
        let manifest = Manifest::begin(&index, [1; 16], &options).unwrap();
        assert_eq!(Manifest::read(&index, [1; 16], &options), Some(manifest.clone()));
        assert_eq!(Manifest::read(&index, [2; 16], &options), None);
        let text = fs::read_to_string(index.join(FILE)).unwrap();
        let digit = if manifest.secret.starts_with('0') { "1" } else { "0" };
        let other = format!("{digit}{}", &manifest.secret[1..]);
        fs::write(index.join(FILE), text.replace(&manifest.secret, &other)).unwrap();
        assert_eq!(Manifest::read(&index, [1; 16], &options), None, "a secret that is not its own");
        let without = IndexOptions { words: false, ..options.clone() };
        assert_eq!(Manifest::read(&index, [1; 16], &without), None);
        let larger = IndexOptions { block_entries: 32, ..options.clone() };
        assert_eq!(Manifest::read(&index, [1; 16], &larger), None, "blocks of another length");
        let other = serde_json::to_vec(&Manifest { version: 0, ..manifest }).unwrap();
        fs::write(index.join(FILE), other).unwrap();
        assert_eq!(Manifest::read(&index, [1; 16], &options), None);
        fs::write(index.join(FILE), b"{").unwrap();
        assert_eq!(Manifest::read(&index, [1; 16], &options), None);
    }
}
