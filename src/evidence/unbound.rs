//! Sealed bytes that no leaf commits to: of a version that did not, or put there by somebody.
//!
//! Versions before the commitment sealed without it, and what they wrote stays valid: it is told. Once
//! an entry of the ledger has the commitment each later one with sealed bytes should: where one does
//! not, either an older program wrote again, or somebody put bytes there, and nobody can show which.

use super::verdict::{Code, Findings, Place, Verdict};
use crate::ledger::{EntryRef, SEALED_KIND};

/// Entries whose sealed bytes nothing proves.
#[derive(Debug, Default)]
pub(super) struct Unbound {
    /// Whether an entry before had the commitment.
    bound: bool,
    early: Seen,
    late: Seen,
}

/// How many, and the first of them.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    first: Option<u64>,
}

impl Seen {
    fn add(&mut self, sequence: u64) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert(sequence);
    }
}

impl Unbound {
    /// Looks at the next entry.
    pub(super) fn look(&mut self, entry: &EntryRef<'_>) {
        if entry.commitments.iter().any(|it| it.kind == SEALED_KIND) {
            self.bound = true;
        } else if !entry.sealed.is_empty() {
            let seen = if self.bound { &mut self.late } else { &mut self.early };
            seen.add(entry.sequence);
        }
    }

    /// Says what was seen.
    pub(super) fn finish(self, findings: &mut Findings) {
        if let Some(first) = self.early.first {
            let text = format!(
                "the leaves of {} entries commit to none of the sealed payloads beside them, as those of \
                 earlier versions of the program: that they are as they were stored cannot be shown",
                self.early.count
            );
            findings.weigh(Code::Unsigned, Verdict::Ok, Place::entry(first), text);
        }
        if let Some(first) = self.late.first {
            let text = format!(
                "sealed payloads stand beside {} entries whose leaves commit to none, behind entries whose \
                 leaves do: an older version of the program wrote them, or somebody put them there",
                self.late.count
            );
            findings.add(Code::Unsigned, Place::entry(first), text);
        }
    }
}
