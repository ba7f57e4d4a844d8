//! What does not fit together: codes, severity, and the entries a finding stands on.

use super::read::{EntryRef, Record};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;

/// How much a finding weighs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A rule was not kept, or something was done under another approval than was given.
    Critical,
    /// Evidence is missing.
    Warning,
    /// Worth knowing, and often as it should be.
    Note,
}

impl Severity {
    /// The word that stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:tt, $severity:ident;)*) => {
        /// What was found.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $word)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The word that stands in answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $word,)* }
            }

            /// How much it weighs, unless the entries say that it was only watched.
            pub const fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// What it means, in a sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

codes! {
    /// Something was done after a policy had said that it may not be.
    ExecutionAfterStop = "execution_after_stop", Critical;
    /// Something was done that needed an approval, and no entry says that anybody gave it.
    ExecutionWithoutApproval = "execution_without_approval", Critical;
    /// Something was done after a person had said no, or after the question had expired.
    ExecutionAfterRejection = "execution_after_rejection", Critical;
    /// An approval was given after another answer had refused, and nobody had asked again.
    ApprovalAfterRejection = "approval_after_rejection", Critical;
    /// The approval is of another request than the one that was decided or done: the job hashes differ.
    ApprovalJobHashMismatch = "approval_job_hash_mismatch", Critical;
    /// The approval was given under another policy snapshot than the decision was made.
    ApprovalPolicySnapshotMismatch = "approval_policy_snapshot_mismatch", Critical;
    /// What was done had other arguments than what was decided or approved.
    ArgsHashMismatch = "args_hash_mismatch", Critical;
    /// Something was done that no decision is about, in a run whose other actions are decided.
    ActionWithoutDecision = "action_without_decision", Warning;
    /// Something was done although its decision could not be made.
    ExecutionAfterFailedDecision = "execution_after_failed_decision", Warning;
    /// An allowed action of which no entry says what became of it.
    DecisionWithoutOutcome = "decision_without_outcome", Warning;
    /// A decision against an action, or one that asks a person, that names no policy.
    DecisionWithoutPolicy = "decision_without_policy", Warning;
    /// A decision in a word that is not in the vocabulary.
    DecisionNotUnderstood = "decision_not_understood", Warning;
    /// An approval that joins no decision.
    ApprovalWithoutDecision = "approval_without_decision", Warning;
    /// An answer that does not say who gave it.
    ApprovalWithoutApprover = "approval_without_approver", Warning;
    /// An action that needed an approval was decided otherwise later, and no entry says who answered.
    ApprovalNotRecorded = "approval_not_recorded", Warning;
    /// A policy allowed what a person had refused, or had not answered in time, and nobody had asked again.
    AllowedAfterRejection = "allowed_after_rejection", Warning;
    /// Evidence is known to be missing.
    EvidenceGap = "evidence_gap", Warning;
    /// Numbers that a source gave to its records are missing in its stream.
    SequenceGap = "sequence_gap", Warning;
    /// A source gave one number to several records.
    SequenceRepeated = "sequence_repeated", Warning;
    /// Whoever asked also answered.
    ApprovedByRequester = "approved_by_requester", Note;
    /// One action, by its key, was done more than once in a run.
    ActionRepeated = "action_repeated", Note;
}

/// Something that does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was found.
    pub code: Code,
    /// How much it weighs.
    pub severity: Severity,
    /// The same in words, about these entries.
    pub message: String,
    /// The entries that it stands on, by time.
    pub entries: Vec<EntryRef>,
}

impl Finding {
    /// A finding with its code's severity.
    pub(super) fn new<'r>(
        code: Code,
        message: impl Into<String>,
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Self {
        let mut entries: Vec<EntryRef> = Vec::new();
        for record in records {
            if !entries.contains(&record.entry) {
                entries.push(record.entry.clone());
            }
        }
        Self { code, severity: code.severity(), message: message.into(), entries }
    }
}

/// Puts findings in order: the most severe first, then by time, and each once.
pub(super) fn order(findings: &mut Vec<Finding>, records: &[Record]) {
    let places: HashMap<&str, usize> =
        records.iter().enumerate().map(|(at, record)| (record.entry.id.as_str(), at)).collect();
    findings.sort_by_cached_key(|finding| {
        let places = finding.entries.iter().map(|entry| places.get(entry.id.as_str()).copied());
        (finding.severity, places.collect::<Vec<_>>(), finding.code, finding.message.clone())
    });
    findings.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_lists_the_words_of_the_answers() {
        let schema = serde_json::to_value(<Code as utoipa::PartialSchema>::schema()).unwrap();
        let words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(schema["enum"], serde_json::json!(words), "{schema:#}");
    }

    #[test]
    fn the_word_of_the_code_and_the_word_in_the_answer_are_one() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.about().trim().ends_with('.'), "{code:?}");
        }
    }
}
