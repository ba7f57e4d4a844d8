//! The language of `search`: what a person types into Kibana.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Query`], the parsed question, and how it is written back |
//! | `parse.rs` | text → [`Query`] |
//! | `problem.rs` | limits, and errors that say what to do |
//! | `names.rs` | short names (`run_id`, `decision`) and dotted paths → what is looked at |
//! | `time.rs` | `2026-11-21`, `now-15m` → nanoseconds |
//! | `tokens.rs` | text → words |
//! | `matching.rs` | [`Compiled`]: whether an entry answers a question. The one truth: every index only proposes |
//! | `path.rs` | the values at a dotted path of a body |
//!
//! ```text
//! run_id:7 and decision:blocked                     fields; and, or, not in any case
//! policy:"spend limit" or (tool:pay* and not user:ada)
//! @timestamp >= now-1h  latency [10 TO 20]          next to each other means and
//! attributes.order.id:A-17  approval_id:*           any dotted path; * asks whether it is there
//! 4bf92f35-77b3-4da6-a3ce-929d0e0e4736  refund      ids in any spelling, and words of any text
//! ```

mod matching;
mod names;
mod parse;
mod path;
mod problem;
mod time;
pub(crate) mod tokens;

pub(crate) use matching::is_random;
pub use matching::{Between, Clock, Compiled, Needle, Test, matches};
pub use names::{CLAIMED_TENANT, SHORT_NAMES, Target};
pub use problem::{Limits, ParseError, Problem};

use std::fmt;

/// A parsed question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Everything.
    All,
    /// All of them.
    And(Vec<Query>),
    /// At least one of them.
    Or(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// A field with a value, or a value anywhere.
    Term {
        /// Name of the field; `None` looks in all text and all ids.
        field: Option<String>,
        /// The value.
        value: Value,
    },
    /// The field has a value.
    Exists {
        /// Name of the field.
        field: String,
    },
    /// A value of the field lies between the bounds.
    Range {
        /// Name of the field.
        field: String,
        /// The lower bound.
        lower: Option<Bound>,
        /// The upper bound.
        upper: Option<Bound>,
    },
}

/// A value that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Whether more may follow: `abc*`.
    pub prefix: bool,
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The value.
    pub value: String,
    /// Whether the value itself is within.
    pub inclusive: bool,
}

impl Query {
    /// Parses a question under the default [`Limits`]. The empty text asks for everything.
    ///
    /// ```
    /// use spanledger::store::query::Query;
    /// let query = Query::parse("run_id:7 AND NOT decision:allow")?;
    /// assert_eq!(query.to_string(), "run_id:7 AND NOT decision:allow");
    /// let error = Query::parse("rum_id:7").unwrap_err();
    /// assert!(error.to_string().contains("run_id"));
    /// # Ok::<(), spanledger::store::query::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// [`ParseError`] with the place, what was expected there, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_within(text, &Limits::default())
    }

    /// A value of a field.
    pub fn term(field: &str, value: &str) -> Self {
        Query::Term {
            field: Some(field.to_owned()),
            value: Value { text: value.to_owned(), prefix: false },
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::All => f.write_str("*"),
            Query::And(parts) => write_joined(f, parts, " AND "),
            Query::Or(parts) => write_joined(f, parts, " OR "),
            Query::Not(inner) => {
                f.write_str("NOT ")?;
                write_operand(f, inner)
            }
            Query::Term { field, value } => {
                if let Some(field) = field {
                    write!(f, "{}:", Name(field))?;
                }
                write!(f, "{value}")
            }
            Query::Exists { field } => write!(f, "{}:*", Name(field)),
            Query::Range { field, lower, upper } => {
                let open = if lower.as_ref().is_none_or(|b| b.inclusive) { '[' } else { '{' };
                let close = if upper.as_ref().is_none_or(|b| b.inclusive) { ']' } else { '}' };
                write!(f, "{}:{open}", Name(field))?;
                write_bound(f, lower.as_ref())?;
                f.write_str(" TO ")?;
                write_bound(f, upper.as_ref())?;
                write!(f, "{close}")
            }
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Query], joint: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            f.write_str(joint)?;
        }
        write_operand(f, part)?;
    }
    Ok(())
}

fn write_operand(f: &mut fmt::Formatter<'_>, query: &Query) -> fmt::Result {
    match query {
        Query::And(_) | Query::Or(_) => write!(f, "({query})"),
        _ => write!(f, "{query}"),
    }
}

fn write_bound(f: &mut fmt::Formatter<'_>, bound: Option<&Bound>) -> fmt::Result {
    match bound {
        Some(bound) => write_text(f, &bound.value),
        None => f.write_str("*"),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prefix {
            return write_text(f, &self.text);
        }
        for c in self.text.chars() {
            if !parse::is_plain(c) {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("*")
    }
}

/// A value without quotes where that reads back as itself.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if !text.is_empty() && text.chars().all(parse::is_plain) && !parse::is_operator(text) {
        return f.write_str(text);
    }
    f.write_str("\"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

/// The name of a field, escaped where it has characters of the language.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if !parse::is_plain(c) {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}
