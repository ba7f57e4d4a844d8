//! Bounds of a question, and what is said when a text is none.

/// Bounds of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, bytes.
    pub max_bytes: usize,
    /// Most values, ranges and tests for presence in one question: each is a look-up.
    pub max_clauses: usize,
    /// Deepest nesting of parentheses and `NOT`.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 8 * 1024, max_clauses: 128, max_depth: 32 }
    }
}

/// Why a text is not a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("query, character {}: {problem}", position.saturating_add(1))]
pub struct ParseError {
    /// Where, in characters from 0.
    pub position: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A short name that nobody knows.
    #[error(
        "there is no field {name:?}; did you mean {nearest:?}? A name with a dot is taken as a path, and a text with a colon in it needs quotes"
    )]
    UnknownField {
        /// As it was written.
        name: String,
        /// The nearest that exists.
        nearest: &'static str,
    },
    /// A quote that does not end.
    #[error("this quote does not end: add a closing \"")]
    OpenQuote,
    /// A star that is not at the end.
    #[error("'*' stands only at the end of a word; write \\* for the character")]
    Star,
    /// A backslash with nothing after it.
    #[error("nothing follows this backslash; write \\\\ for the character")]
    OpenEscape,
    /// `""` without a field.
    #[error("an empty text is in every entry; name a field, as in reason:\"\"")]
    Empty,
    /// Longer than [`Limits::max_bytes`].
    #[error("the query has {bytes} bytes, the limit is {limit}: ask in several")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More than [`Limits::max_clauses`].
    #[error("more than {limit} clauses: ask in several queries")]
    TooManyClauses {
        /// The limit.
        limit: usize,
    },
    /// Deeper than [`Limits::max_depth`].
    #[error("nested deeper than {limit} levels: leave out parentheses")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}
