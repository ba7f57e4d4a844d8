//! What entries of ours say about the ledger itself: what was pruned, erased, repaired.

use super::verdict::{Code, Findings, Place};
use crate::ledger::EntryRef;
use memchr::memmem;
use serde::Deserialize;

/// What stands in every entry that spanledger makes itself, and in no other: no mapping fills it.
const DATASET: &str = "spanledger";

/// The same as it stands in a body.
const MARK: &[u8] = br#""dataset":"spanledger""#;

/// Entries of ours whose number is kept: the others are counted.
const MAX_KEPT: usize = 1_000;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Own {
    seen: Vec<(u64, Code, String)>,
    /// Pruned entries by retention class.
    pruned: bool,
    more: u64,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    message: Option<String>,
    event: Event,
    audit: Audit,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    dataset: Option<String>,
}

#[derive(Deserialize)]
struct Audit {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    actor: Actor,
}

#[derive(Deserialize, Default)]
struct Actor {
    #[serde(default)]
    id: Option<String>,
}

impl Own {
    /// Looks at an entry.
    pub(super) fn look(&mut self, entry: &EntryRef<'_>) {
        if memmem::find(entry.body, MARK).is_none() {
            return;
        }
        let Ok(body) = serde_json::from_slice::<Body>(entry.body) else { return };
        let code = match body.audit.kind.as_str() {
            "repair" => Code::Repaired,
            "erasure" => Code::Erased,
            "prune" => Code::RetentionTrimmed,
            _ => return,
        };
        if body.event.dataset.as_deref() != Some(DATASET) {
            return;
        }
        self.pruned |= code == Code::RetentionTrimmed;
        let by = body.audit.actor.id.unwrap_or_else(|| "nobody named".to_owned());
        let text = format!("{} (by {by})", body.message.unwrap_or_default());
        if self.seen.len() < MAX_KEPT {
            self.seen.push((entry.sequence, code, text));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Says what was seen. `pruned` is how many entries have lost their body.
    pub(super) fn finish(self, pruned: u64, findings: &mut Findings) {
        for (sequence, code, text) in self.seen {
            // The bodies themselves decide: what was only to be pruned is all there.
            if code != Code::RetentionTrimmed || pruned > 0 {
                findings.add(code, Place::entry(sequence), text);
            }
        }
        findings.count_more(self.more, Code::Repaired.weight());
        if pruned > 0 && !self.pruned {
            let text = format!("{pruned} bodies were taken out, and no entry says who did it");
            findings.add(Code::Missing, Place::default(), text);
        }
    }
}
