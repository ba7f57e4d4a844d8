//! The decision vocabulary: a canonical word, and the words that sources use for it.

#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a policy or a person decided. The word as the source wrote it is kept beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may happen.
    Allow,
    /// It may happen within limits.
    AllowWithConstraints,
    /// It may not happen.
    Block,
    /// A person has to say so first.
    RequireApproval,
    /// It may happen with parts removed.
    Redact,
    /// Its result is held back.
    Quarantine,
    /// It may happen later.
    Throttle,
    /// It may happen and somebody should look.
    Warn,
    /// The decision could not be made.
    Error,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &'static [Outcome] = &[
        Outcome::Allow,
        Outcome::AllowWithConstraints,
        Outcome::Block,
        Outcome::RequireApproval,
        Outcome::Redact,
        Outcome::Quarantine,
        Outcome::Throttle,
        Outcome::Warn,
        Outcome::Error,
    ];

    /// The word that stands in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::AllowWithConstraints => "allow_with_constraints",
            Outcome::Block => "block",
            Outcome::RequireApproval => "require_approval",
            Outcome::Redact => "redact",
            Outcome::Quarantine => "quarantine",
            Outcome::Throttle => "throttle",
            Outcome::Warn => "warn",
            Outcome::Error => "error",
        }
    }

    /// The outcome that a source means by a word, in any case and with `-` or a space for `_`.
    ///
    /// ```
    /// use spanledger::entry::Outcome;
    /// assert_eq!(Outcome::from_word("EFFECT_DENY"), Some(Outcome::Block));
    /// assert_eq!(Outcome::from_word("needs-approval"), Some(Outcome::RequireApproval));
    /// assert_eq!(Outcome::from_word("maybe"), None);
    /// ```
    pub fn from_word(word: &str) -> Option<Self> {
        /// Longest accepted word, in bytes.
        const LONGEST: usize = 32;
        let word = word.trim();
        if word.len() > LONGEST {
            return None;
        }
        let plain: String = word
            .chars()
            .map(|c| if matches!(c, '-' | ' ') { '_' } else { c.to_ascii_lowercase() })
            .collect();
        Some(match plain.as_str() {
            "allow" | "allowed" | "effect_allow" | "passed" | "pass" | "permit" | "permitted"
            | "approved" | "approve" | "approval_granted" | "granted" | "true" => Self::Allow,
            "allow_with_constraints" => Self::AllowWithConstraints,
            "block" | "blocked" | "deny" | "denied" | "stop" | "stopped" | "effect_deny"
            | "failed" | "rejected" | "reject" | "approval_denied" | "approval_rejected"
            | "expired" | "refuse" | "refused" | "false" => Self::Block,
            "require_approval" | "approval_required" | "requires_approval" | "needs_approval"
            | "require_human" | "escalate" | "ask" | "review" => Self::RequireApproval,
            "redact" | "redacted" | "modify" => Self::Redact,
            "quarantine" | "quarantined" => Self::Quarantine,
            "throttle" | "throttled" => Self::Throttle,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_word_of_each_outcome_means_itself() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_word(outcome.as_str()), Some(*outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }

    #[test]
    fn the_words_of_the_known_engines_are_understood() {
        for (word, outcome) in [
            ("ALLOW", Outcome::Allow),
            ("EFFECT_ALLOW", Outcome::Allow),
            ("PASSED", Outcome::Allow),
            ("ALLOW_WITH_CONSTRAINTS", Outcome::AllowWithConstraints),
            ("DENY", Outcome::Block),
            ("stop", Outcome::Block),
            ("expired", Outcome::Block),
            ("needs_approval", Outcome::RequireApproval),
            ("REQUIRE_HUMAN", Outcome::RequireApproval),
            ("REDACT", Outcome::Redact),
            ("modify", Outcome::Redact),
        ] {
            assert_eq!(Outcome::from_word(word), Some(outcome), "{word}");
        }
    }
}
