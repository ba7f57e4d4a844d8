//! `verify` and `evidence` as `clap` sees them.

use super::args::{DEFAULT_DATA_DIR, SourceArgs};
use super::client::{Source, SourceError};
use super::offline::offline_with_keys;
use crate::ledger::TreeHead;
use clap::Args;
use std::path::{Path, PathBuf};

/// `verify`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger verify\n  spanledger verify --data /var/lib/spanledger --json --key operator.vkey\n  spanledger verify --checkpoint kept-in-march --checkpoint kept-in-april\n  spanledger verify --witness w1.vkey --witness w2.vkey --quorum 1\n  spanledger verify --expect 1024:8f14e45fceea167a5a36dedd4bea2543f1a4c1b6d0b1d0c2c1f4f3a2b1c0d9e8\n  spanledger verify --bundle evidence.zip --key operator.vkey\n  spanledger verify --proof proof.json --key operator.vkey --checkpoint kept-in-march\n  spanledger verify --elasticsearch http://localhost:9200 --config spanledger.yaml\n\nWithout --key the key is taken from the same machine: whoever could write the ledger anew could\nreplace it too. A checkpoint that was kept elsewhere must be the beginning of this log: that shows\nalso that nobody replaced the whole of it.\nVerdicts: ok; partial, when nothing is known to be changed and not everything can be shown;\ncompromised. docs/evidence.md lists the findings.\n--elasticsearch compares the copy alone and takes no --keys, --key, --checkpoint, --expect or --witness: for the\nledger itself run verify a second time without --elasticsearch, and give them there.\nExit codes: 0 ok or partial, 1 could not be read, 2 usage, 3 compromised, with --strict also partial."
)]
pub struct VerifyArgs {
    /// Data folder whose ledger is checked
    #[arg(
        long,
        value_name = "DIR",
        env = "SPANLEDGER_DATA",
        default_value = DEFAULT_DATA_DIR,
        hide_env_values = true
    )]
    pub data: PathBuf,

    /// Folder of the keys, with which it is checked that each entry is of its tenant. Default:
    /// DATA/keys
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,

    /// Key by which checkpoints have to be signed: NAME+ID+BASE64, or a file with such lines
    #[arg(long, value_name = "KEY|FILE")]
    pub key: Vec<String>,

    /// File with a checkpoint that was kept elsewhere, or with the lines of a sink of checkpoints
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,

    /// Witness that has to have signed a checkpoint of this log, with --bundle or --proof the one of its
    /// tree: NAME+ID+BASE64, or a file with such lines
    #[arg(long, value_name = "KEY|FILE")]
    pub witness: Vec<String>,

    /// How many of the witnesses have to have signed one checkpoint. Default: all that are given
    #[arg(long, value_name = "N", requires = "witness")]
    pub quorum: Option<usize>,

    /// Size and root hash (64 hex digits) of a checkpoint that was kept elsewhere
    #[arg(long, value_name = "SIZE:ROOT", conflicts_with = "bundle")]
    pub expect: Vec<ExpectedRoot>,

    /// Check this bundle of evidence instead, which needs nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    pub bundle: Option<PathBuf>,

    /// Check this saved proof instead (`spanledger proof --json`, a receipt), which needs nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "bundle"])]
    pub proof: Option<PathBuf>,

    /// Write the report of the bundle anew, from what is proved, to this file
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub report: Option<PathBuf>,

    /// Compare the documents of this cluster with the ledger instead, several nodes separated by
    /// commas; credentials and TLS are in the configuration file. The ledger itself is not checked
    /// then: run verify once more without this, with --key and --checkpoint
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        conflicts_with_all = ["bundle", "proof", "keys", "key", "checkpoint", "expect", "witness"]
    )]
    pub elasticsearch: Vec<String>,

    /// Configuration file (YAML) whose elasticsearch block says who asks the cluster
    #[arg(long, value_name = "FILE", requires = "elasticsearch")]
    pub config: Option<PathBuf>,

    /// End with code 3 also when the verdict is partial
    #[arg(long)]
    pub strict: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// The trees that were kept elsewhere without a signature.
    pub(super) fn expected(&self) -> Vec<TreeHead> {
        let head = |kept: &ExpectedRoot| TreeHead { size: kept.size, root: kept.root };
        self.expect.iter().map(head).collect()
    }
}

/// `evidence`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger evidence langsmith-run-abc123 -o evidence.zip\n  spanledger evidence job-123 -o - | sha256sum\n  spanledger evidence job-123 --payloads -o for-the-court.zip\n  spanledger verify --bundle evidence.zip --key operator.vkey\n\nThe file has the entries as they were recorded, what proves each of them, the signed checkpoint, a\nreport to read and instructions; with --payloads also the originals, for whoever may read them. examples/verify_bundle.py checks it without spanledger."
)]
pub struct EvidenceArgs {
    /// Any form of any id of the run
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,

    /// Where to write the bundle; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "evidence.zip")]
    pub output: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,

    /// With the exact payloads that mode full sealed, and what checks them: whoever gets the file reads them
    #[arg(long)]
    pub payloads: bool,

    /// Folder of the keys that open them, where no server runs [default: `keys` in the data folder]
    #[arg(long, value_name = "DIR", requires = "payloads")]
    pub keys: Option<PathBuf>,

    /// Whose evidence: for a key that reads every tenant's
    #[arg(long, value_name = "NAME", env = "SPANLEDGER_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

impl EvidenceArgs {
    /// Where the answers come from: with `--payloads` a data folder that no server runs on is opened with
    /// its keys.
    ///
    /// # Errors
    /// As for [`Source::open`].
    pub async fn open(&self) -> Result<Source, SourceError> {
        let open = |data: &Path| {
            let keys = self.keys.clone().unwrap_or_else(|| data.join("keys"));
            offline_with_keys(data, self.payloads.then_some(&*keys))
        };
        Source::open(&self.source, open).await
    }
}

/// A checkpoint that somebody kept: so many entries, with this root.
///
/// ```
/// use spanledger::cli::ExpectedRoot;
/// let kept: ExpectedRoot = format!("3:{}", "ab".repeat(32)).parse()?;
/// assert_eq!((kept.size, kept.root[0]), (3, 0xab));
/// assert!("3:ab".parse::<ExpectedRoot>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedRoot {
    /// Number of entries.
    pub size: u64,
    /// Root hash of the Merkle tree over them.
    pub root: [u8; 32],
}

/// Why text is not an [`ExpectedRoot`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write it as SIZE:ROOT, where SIZE is the number of entries and ROOT has 64 hexadecimal digits, as `spanledger verify` prints them"
)]
pub struct NotARoot;

impl std::str::FromStr for ExpectedRoot {
    type Err = NotARoot;

    fn from_str(text: &str) -> Result<Self, NotARoot> {
        let (size, hex) = text.split_once(':').ok_or(NotARoot)?;
        let size = size.parse().map_err(|_| NotARoot)?;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotARoot);
        }
        let mut root = [0; 32];
        for (byte, digits) in root.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotARoot)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotARoot)?;
        }
        Ok(Self { size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_with_a_sign_or_too_few_digits_is_refused() {
        for text in ["", "3", "3:", "x:00", "-1:00", &format!("3:+{}", "a".repeat(63))] {
            assert_eq!(text.parse::<ExpectedRoot>(), Err(NotARoot), "{text}");
        }
    }
}
