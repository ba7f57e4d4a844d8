//! Why a mapping was not accepted: always with the file and, where there is one, the line.

use std::path::PathBuf;

/// How far a word may be from a known one and still be meant as it: Jaro-Winkler similarity.
const NEAR: f64 = 0.7;

/// Why a mapping was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The text of a mapping is wrong.
    #[error("{file}:{line}: {problem}")]
    Invalid {
        /// Name of the file.
        file: String,
        /// Line in it, counted from 1; 0 when the whole file is meant.
        line: u64,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A folder or file could not be read.
    #[error("cannot read mappings from {}: check the path and its permissions", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are more mappings than a record can be tested for.
    #[error("{count} mappings, the limit is {limit}: merge some of the files")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// The known word that is meant by an unknown one.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// `unknown key "feilds", did you mean "fields"?`
pub(super) fn unknown(what: &str, word: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what} \"{word}\", did you mean \"{nearest}\"?"),
        None => format!("unknown {what} \"{word}\""),
    }
}
