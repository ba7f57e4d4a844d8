//! What a verification says: a verdict, and findings that a program can read.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Findings of one kind that are listed; more are counted, so that a ledger that is damaged
/// everywhere does not fill memory.
pub const MAX_FINDINGS: usize = 1_000;

/// What a verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as it was written, and a signature that was checked covers it.
    Ok,
    /// Nothing is known to be changed, and not everything can be shown: something was pruned or
    /// repaired on record, or nothing is signed.
    Partial,
    /// Something is not as it was written.
    Compromised,
}

impl Verdict {
    /// The word that stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Compromised => "compromised",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:literal, $weight:ident;)*) => {
        /// What was found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

            /// What it does to the verdict, where the case says nothing else.
            pub const fn weight(self) -> Verdict {
                match self { $(Code::$variant => Verdict::$weight,)* }
            }

            /// What it means, in a sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

codes! {
    /// Entries, a segment or a file that belong there are not there.
    Missing = "missing", Compromised;
    /// Something stands where something else belongs.
    OutOfOrder = "out_of_order", Compromised;
    /// Bytes are not those whose hash or checksum was written.
    HashMismatch = "hash_mismatch", Compromised;
    /// The body was taken out when the time for which it is kept was over; its leaf still proves it.
    RetentionTrimmed = "retention_trimmed", Partial;
    /// Payloads of somebody were erased by destroying their key.
    Erased = "erased", Ok;
    /// No key that was given made a signature of the checkpoint.
    UnknownKey = "unknown_key", Partial;
    /// A signature does not fit what it stands under.
    BadSignature = "bad_signature", Compromised;
    /// No signed checkpoint covers it, so somebody who wrote it anew would not be found.
    Unsigned = "unsigned", Partial;
    /// Fewer witnesses signed it than were asked for.
    Unwitnessed = "unwitnessed", Compromised;
    /// There is less than a checkpoint says that there was.
    Rollback = "rollback", Compromised;
    /// Two different trees were signed for one log.
    Equivocation = "equivocation", Compromised;
    /// It belongs to another log.
    WrongOrigin = "wrong_origin", Compromised;
    /// The log was repaired, which is on record: what was cut off cannot be shown.
    Repaired = "repaired", Partial;
    /// The last group of entries is not whole.
    TornTail = "torn_tail", Ok;
    /// A document is there that the ledger does not have.
    ExtraDocument = "extra_document", Compromised;
    /// A document of an entry is not there.
    MissingDocument = "missing_document", Compromised;
    /// A field says something else than the ledger.
    FieldMismatch = "field_mismatch", Compromised;
    /// The root of the tree is not the one that was signed or kept.
    RootMismatch = "root_mismatch", Compromised;
}

/// Where something was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, or the member of a bundle.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// Where in it, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<u64>,
    /// Sequence of the entry, or of the one that comes next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sequence: Option<u64>,
}

impl Place {
    /// A file, or a member of a bundle.
    pub fn file(name: impl Into<String>) -> Self {
        Self { file: Some(name.into()), ..Self::default() }
    }

    /// An entry.
    pub fn entry(sequence: u64) -> Self {
        Self { sequence: Some(sequence), ..Self::default() }
    }

    /// The same place with the entry that it is about.
    #[must_use]
    pub fn of_entry(self, sequence: u64) -> Self {
        Self { sequence: Some(sequence), ..self }
    }

    /// The same place, so many bytes into the file.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            separator = ", ";
        }
        if let Some(offset) = self.offset {
            write!(f, "{separator}byte {offset}")?;
            separator = ", ";
        }
        if let Some(sequence) = self.sequence {
            write!(f, "{separator}entry {sequence}")?;
        }
        Ok(())
    }
}

/// Something that a verification has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was found.
    pub code: Code,
    /// What it does to the verdict.
    pub weight: Verdict,
    /// The same in words.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code.as_str())?;
        if self.place != Place::default() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

/// Findings as they come, and the verdict that follows from them.
///
/// ```
/// use spanledger::evidence::{Code, Findings, Place, Verdict};
/// let mut findings = Findings::default();
/// assert_eq!(findings.verdict(), Verdict::Ok);
/// findings.add(Code::Unsigned, Place::default(), "nothing is signed");
/// assert_eq!(findings.verdict(), Verdict::Partial);
/// findings.add(Code::HashMismatch, Place::entry(7), "the body was changed");
/// assert_eq!(findings.verdict(), Verdict::Compromised);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    listed: Vec<Finding>,
    more: u64,
    worst: Option<Verdict>,
}

impl Findings {
    /// Adds a finding with the weight of its code.
    pub fn add(&mut self, code: Code, place: Place, message: impl Into<String>) {
        self.weigh(code, code.weight(), place, message);
    }

    /// Adds a finding that weighs something else here.
    pub fn weigh(&mut self, code: Code, weight: Verdict, place: Place, message: impl Into<String>) {
        self.worst = self.worst.max(Some(weight));
        if self.listed.len() < MAX_FINDINGS {
            self.listed.push(Finding { code, weight, message: message.into(), place });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Counts findings that somebody else did not list, which weigh so much.
    pub fn count_more(&mut self, more: u64, weight: Verdict) {
        if more > 0 {
            self.worst = self.worst.max(Some(weight));
            self.more = self.more.saturating_add(more);
        }
    }

    /// Adds what somebody else found.
    pub fn append(&mut self, other: Self) {
        self.worst = self.worst.max(other.worst);
        self.more = self.more.saturating_add(other.more);
        for finding in other.listed {
            let Finding { code, weight, message, place } = finding;
            self.weigh(code, weight, place, message);
        }
    }

    /// What they come to.
    pub fn verdict(&self) -> Verdict {
        self.worst.unwrap_or(Verdict::Ok)
    }

    /// The findings, in the order in which they were made; the first thousand.
    pub fn listed(&self) -> &[Finding] {
        &self.listed
    }

    /// Findings that are not listed.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// Whether one with that code is listed.
    pub fn has(&self, code: Code) -> bool {
        self.listed.iter().any(|finding| finding.code == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_the_code_and_the_word_in_the_answer_are_one() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.about().trim().ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn the_worst_finding_decides_also_when_it_is_only_counted() {
        let mut findings = Findings::default();
        for _ in 0..MAX_FINDINGS {
            findings.add(Code::Repaired, Place::default(), "x");
        }
        findings.add(Code::Missing, Place::entry(3), "y");
        assert_eq!((findings.listed().len(), findings.more()), (MAX_FINDINGS, 1));
        assert_eq!(findings.verdict(), Verdict::Compromised);
    }

    #[test]
    fn a_finding_says_what_and_where_in_one_line() {
        let mut findings = Findings::default();
        findings.add(Code::HashMismatch, Place::file("a.segment").at(9).of_entry(2), "changed");
        let shown = findings.listed()[0].to_string();
        assert_eq!(shown, "hash_mismatch: a.segment, byte 9, entry 2: changed");
        let json = serde_json::to_value(&findings.listed()[0]).unwrap();
        assert_eq!((&json["code"], &json["sequence"]), (&"hash_mismatch".into(), &2.into()));
    }
}
