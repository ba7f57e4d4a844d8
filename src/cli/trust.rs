//! What a verification is made with: keys and checkpoints that somebody kept.

use crate::evidence::{Kept, KeySource, NoProof, Trust, Witnesses};
use crate::ledger::checkpoint::{
    Algorithm, CheckpointError, KeyError, SignedCheckpoint, VerifierKey,
};
use crate::ledger::{
    CHECKPOINT_FILE, COSIGNED_FILE, Hash, LATEST_COSIGNED_FILE, PublicLog, PublicLogError,
};
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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
    /// A key is not that of a witness.
    #[error("{0} is no key for cosignatures: give a log's key with --key")]
    NotAWitness(String),
    /// More witnesses have to have signed than there are.
    #[error("--quorum is {quorum}, and {given} witnesses are given: it is 1 to {given}")]
    Quorum {
        /// How many have to have signed.
        quorum: usize,
        /// How many are given.
        given: usize,
    },
    /// What lies in the public log cannot be read.
    #[error(transparent)]
    Log(#[from] PublicLogError),
    /// A line of what a sink kept is none.
    #[error("line {line} of {} is not one that a sink of checkpoints writes", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
    },
    /// The file has no checkpoint.
    #[error("{} has no checkpoint that can be read, so nothing would be compared", .path.display())]
    NoCheckpoint {
        /// The file.
        path: PathBuf,
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

/// Checkpoints that somebody kept: each file has one, or the lines of a sink.
pub(super) fn kept(files: &[PathBuf]) -> Result<Vec<Kept>, TrustError> {
    let mut kept = Vec::new();
    for path in files {
        if begins_as_json(path)? {
            lines_of_a_sink(path, &mut kept)?;
        } else {
            let parsed = SignedCheckpoint::parse(&read(path)?);
            let signed =
                parsed.map_err(|source| TrustError::Checkpoint { path: path.clone(), source })?;
            kept.push(Kept { name: path.display().to_string(), signed });
        }
    }
    Ok(kept)
}

/// The witnesses that were given; `None` when there are none.
pub(super) fn witnesses(
    given: &[String],
    quorum: Option<usize>,
) -> Result<Option<Witnesses>, TrustError> {
    let mut keys: Vec<VerifierKey> = Vec::new();
    for key in given_keys(given)? {
        if key.algorithm() != Algorithm::Cosignature {
            return Err(TrustError::NotAWitness(key.to_string()));
        }
        // Named twice, it is one witness.
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Ok(None);
    }
    let given = keys.len();
    let quorum = quorum.unwrap_or(given);
    if quorum == 0 || quorum > given {
        return Err(TrustError::Quorum { quorum, given });
    }
    Ok(Some(Witnesses { keys, quorum }))
}

/// What witnesses signed, as the public log has it.
pub(super) fn cosigned(log: &PublicLog) -> Result<Vec<Kept>, TrustError> {
    let named = |file: &str, signed| Kept { name: format!("log/{file}"), signed };
    let last = log.checkpoint()?.map(|signed| named(CHECKPOINT_FILE, signed));
    let cosigned = log.cosigned()?.map(|signed| named(COSIGNED_FILE, signed));
    let latest = log.latest_cosigned()?.map(|signed| named(LATEST_COSIGNED_FILE, signed));
    Ok(last.into_iter().chain(cosigned).chain(latest).collect())
}

/// What is read of a line of a sink.
#[derive(serde::Deserialize)]
struct Line {
    checkpoint: String,
}

/// A note begins with the name of a log, which is no brace.
fn begins_as_json(path: &Path) -> Result<bool, TrustError> {
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    let mut first = Vec::new();
    std::fs::File::open(path).and_then(|it| it.take(1).read_to_end(&mut first)).map_err(failed)?;
    Ok(first == b"{")
}

/// Each tree once, however often it was written: a file grows by a line a minute for years.
fn lines_of_a_sink(path: &Path, kept: &mut Vec<Kept>) -> Result<(), TrustError> {
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    let mut file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
    let mut seen: HashSet<(String, u64, Hash)> = HashSet::new();
    let mut text = Vec::new();
    let (before, mut cut) = (kept.len(), 0_u64);
    for number in 1_u64.. {
        text.clear();
        let read = (&mut file).take(MAX_FILE_BYTES).read_until(b'\n', &mut text).map_err(failed)?;
        if read == 0 {
            break;
        }
        let parsed = serde_json::from_slice::<Line>(&text).ok();
        let signed =
            parsed.and_then(|line| SignedCheckpoint::parse(line.checkpoint.as_bytes()).ok());
        let Some(signed) = signed else {
            if text.trim_ascii().is_empty() {
                continue;
            }
            // A full disk cuts a line off; the sink wrote the next one behind it. Its beginning is left.
            let is_json = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
            if is_json || text.first() != Some(&b'{') {
                return Err(TrustError::Line { path: path.to_owned(), line: number });
            }
            cut = cut.saturating_add(1);
            continue;
        };
        let checkpoint = &signed.checkpoint;
        if seen.insert((checkpoint.origin.clone(), checkpoint.head.size, checkpoint.head.root)) {
            kept.push(Kept { name: format!("{}:{number}", path.display()), signed });
        }
    }
    if kept.len() == before {
        return Err(TrustError::NoCheckpoint { path: path.to_owned() });
    }
    if cut > 0 {
        let name = path.display();
        let _ = writeln!(
            std::io::stderr(),
            "{cut} lines of {name} are cut off: they were not compared"
        );
    }
    Ok(())
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
    fn the_lines_of_a_sink_are_checkpoints_each_tree_once_and_half_a_line_is_none() {
        let key = LogKey::generate("example/0").unwrap();
        let line = |size: u64| {
            let head = crate::ledger::TreeHead { size, root: [1; 32] };
            let checkpoint =
                crate::ledger::checkpoint::Checkpoint { origin: "example/0".to_owned(), head };
            let signed = SignedCheckpoint::sign(&checkpoint, &[&key]).unwrap();
            let note = String::from_utf8(signed.note).unwrap();
            serde_json::json!({"time": "t", "size": size, "checkpoint": note}).to_string()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checkpoints");
        let half = line(4)[..40].to_owned();
        let lines = [line(1), line(2), half, line(2), line(3)].join("\n") + "\n" + &line(5)[..30];
        std::fs::write(&file, lines).unwrap();
        let found = kept(std::slice::from_ref(&file)).unwrap();
        let found: Vec<_> =
            found.iter().map(|it| (it.signed.checkpoint.head.size, it.name.clone())).collect();
        let name = |line: u64| format!("{}:{line}", file.display());
        assert_eq!(found, [(1, name(1)), (2, name(2)), (3, name(5))]);
        std::fs::write(&file, "{\"checkpoint\": \"none\"}\n").unwrap();
        let error = kept(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.starts_with("line 1 of "), "{error}");
        // What is none at all, and a file that has none: nothing would be compared.
        std::fs::write(&file, line(1) + "\nnot one\n").unwrap();
        let error = kept(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.starts_with("line 2 of "), "{error}");
        std::fs::write(&file, &line(1)[..40]).unwrap();
        let error = kept(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.contains("no checkpoint"), "{error}");
    }

    #[test]
    fn a_quorum_is_of_different_witnesses_and_of_no_more_than_there_are() {
        let of_log = LogKey::generate("example/log").unwrap().verifier().to_string();
        assert!(witnesses(&[of_log], None).unwrap_err().to_string().contains("--key"));
        let [one, two] = ["a.example/w", "b.example/w"]
            .map(|name| crate::ledger::TestWitness::new(name).verifier().to_string());
        let given = [one.clone(), one, two];
        assert_eq!(witnesses(&given, None).unwrap().unwrap().quorum, 2);
        for quorum in [0, 3] {
            let error = witnesses(&given, Some(quorum)).unwrap_err().to_string();
            assert!(error.contains("1 to 2"), "{error}");
        }
        assert!(witnesses(&[], None).unwrap().is_none());
    }

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
