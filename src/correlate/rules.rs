//! Ids that join nothing although their namespace would.

use super::Id;

/// Longest id that joins, in characters. A longer one is kept and can be searched for.
pub const MAX_JOINING_CHARS: usize = 255;

/// Most traces in one group, unless configured.
const DEFAULT_MAX_TRACES: usize = 10_000;

/// Most entries in one group, unless configured: about 100 bytes of memory each while a story is
/// put together.
const DEFAULT_MAX_ENTRIES: usize = 200_000;

/// Words that people write where an id should be.
const CARELESS: &[&str] = &["test", "unknown", "none", "null", "undefined", "n/a", "default"];

/// What joins, and how far.
#[derive(Debug, Clone)]
pub struct JoinRules {
    /// Ids that join nothing, compared without regard to case and surrounding space. The empty id
    /// and all zeros never join, whatever this says.
    pub careless: Vec<String>,
    /// Most traces in one group. Beyond it the answer says that it was cut.
    pub max_traces: usize,
    /// Most entries in one group. Beyond it the answer says that it was cut.
    pub max_entries: usize,
}

impl Default for JoinRules {
    fn default() -> Self {
        Self {
            careless: CARELESS.iter().map(ToString::to_string).collect(),
            max_traces: DEFAULT_MAX_TRACES,
            max_entries: DEFAULT_MAX_ENTRIES,
        }
    }
}

impl JoinRules {
    /// Whether an id joins the entries that carry it.
    ///
    /// ```
    /// use spanledger::correlate::{Id, JoinRules, Namespace};
    /// let rules = JoinRules::default();
    /// assert!(rules.joins(&Id::new(Namespace::Run, "run-7")));
    /// assert!(!rules.joins(&Id::new(Namespace::Run, "Unknown")));
    /// assert!(!rules.joins(&Id::new(Namespace::Session, "run-7")));
    /// ```
    pub fn joins(&self, id: &Id<'_>) -> bool {
        id.namespace.is_strong()
            && !self.is_careless(&id.text)
            && id.text.chars().nth(MAX_JOINING_CHARS).is_none()
    }

    fn is_careless(&self, text: &str) -> bool {
        let text = text.trim();
        // All zeros are no id in the spelling of OpenAI's SDK either.
        let digits = text.strip_prefix("trace_").unwrap_or(text);
        digits.bytes().all(|b| matches!(b, b'0' | b'-'))
            || self.careless.iter().any(|word| word.trim().eq_ignore_ascii_case(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Namespace;

    fn joins(text: &str) -> bool {
        JoinRules::default().joins(&Id::new(Namespace::Trace, text))
    }

    #[test]
    fn words_that_stand_for_no_id_join_nothing() {
        for text in [
            "",
            " ",
            "test",
            " none ",
            "n/a",
            "0",
            "00000000-0000-0000-0000-000000000000",
            "trace_00",
        ] {
            assert!(!joins(text), "{text:?}");
        }
        assert!(joins("testing") && joins("10"));
    }

    #[test]
    fn an_id_longer_than_255_characters_joins_nothing() {
        assert!(joins(&"ü".repeat(255)));
        assert!(!joins(&"ü".repeat(256)));
    }

    #[test]
    fn the_list_is_the_users_own() {
        let rules = JoinRules { careless: vec!["todo".into()], ..JoinRules::default() };
        assert!(!rules.joins(&Id::new(Namespace::Run, "TODO")));
        assert!(rules.joins(&Id::new(Namespace::Run, "test")));
    }
}
