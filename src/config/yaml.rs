//! YAML with errors that a person can act on: file, line, and the nearest name that exists.

use serde::de::DeserializeOwned;

/// Names further apart than this share of their letters are not offered as a correction.
const NEAREST_AT_LEAST: f64 = 0.6;

/// Why a file is not what it should be. Displays as `file:line:column: what is wrong`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct YamlError {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1; 0 when it is not known.
    pub line: u64,
    /// Column, from 1; 0 when it is not known.
    pub column: u64,
    /// What is wrong and, where there is one, the nearest name that exists.
    pub problem: String,
}

/// Reads a document into `T`. Types with `deny_unknown_fields` get the nearest known name.
///
/// # Errors
/// [`YamlError`] when the text is not YAML or not a `T`.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        YamlError { file: file.to_owned(), line, column, problem: problem(error.without_snippet()) }
    })
}

fn problem(error: &serde_saphyr::Error) -> String {
    let serde_saphyr::Error::SerdeUnknownField { field, expected, .. } = error else {
        return first_sentence(error);
    };
    let known = expected.join(", ");
    match nearest(field, expected) {
        Some(name) => {
            format!("unknown key {field:?}; did you mean {name:?}? (known here: {known})")
        }
        None => format!("unknown key {field:?}; known here: {known}"),
    }
}

/// The library's message without the position, which stands in front of ours already.
fn first_sentence(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.split_once("error: ").map_or(text, |(_, rest)| rest);
    match text.split_once(": ") {
        Some((position, rest)) if position.starts_with("line ") => rest.to_owned(),
        _ => text.to_owned(),
    }
}

/// The known name that is most like `wrong`, if any is like it at all.
pub fn nearest<'n>(wrong: &str, known: &[&'n str]) -> Option<&'n str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), *name))
        .filter(|(likeness, _)| *likeness >= NEAREST_AT_LEAST)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}
