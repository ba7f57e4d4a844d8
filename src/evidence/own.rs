//! What entries of ours say about the ledger itself: what was pruned, erased, repaired.
//!
//! A body that is gone is as it should be only when an entry of kind `prune` says so: of that class,
//! of that place, received before that time. Whoever empties bodies by hand is found by this.

use super::verdict::{Code, Findings, Place};
use crate::entry::parse_ns;
use crate::ledger::EntryRef;
use crate::ledger::checkpoint::{VerifierKey, signed_text};
use memchr::memmem;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// What stands in every entry that spanledger makes itself, and in no other: no mapping fills it.
const DATASET: &str = "spanledger";

/// The same as it stands in a body.
static MARK: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(br#""dataset":"spanledger""#));

/// Entries of ours that are told one by one: the others are counted.
const MAX_TOLD: usize = 1_000;

/// Runs of pruned entries that are compared with what was put on record: 32 MiB.
const MAX_RUNS: usize = 1 << 20;

/// What the statement begins with by which a key of the log hands over to the next one.
const ROTATION: &str = "spanledger key rotation/v1";

/// Pruned entries of one class behind one another.
#[derive(Debug)]
struct Run {
    class: u8,
    first: u64,
    end: u64,
    newest_ns: u64,
}

/// Up to which entry a prune went, and which time.
#[derive(Debug)]
struct Pruned {
    end: u64,
    before_ns: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Own {
    told: Vec<(u64, Code, String)>,
    /// Statements by which keys of the log handed over, in their order.
    handovers: Vec<String>,
    more_repairs: u64,
    more_erasures: u64,
    runs: Vec<Run>,
    /// Pruned entries beyond [`MAX_RUNS`].
    more_pruned: u64,
    /// What was put on record of each class, by the first entry.
    on_record: HashMap<u8, BTreeMap<u64, Pruned>>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    message: Option<String>,
    event: Event,
    audit: Audit,
    #[serde(default)]
    attributes: Facts,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    dataset: Option<String>,
    #[serde(default)]
    action: Option<String>,
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

#[derive(Deserialize, Default)]
struct Facts {
    #[serde(rename = "spanledger.prune.first")]
    first: Option<u64>,
    #[serde(rename = "spanledger.prune.end")]
    end: Option<u64>,
    #[serde(rename = "spanledger.prune.class")]
    class: Option<u8>,
    #[serde(rename = "spanledger.prune.before")]
    before: Option<String>,
}

impl Own {
    /// Looks at an entry.
    pub(super) fn look(&mut self, entry: &EntryRef<'_>) {
        if entry.pruned {
            self.pruned(entry);
        }
        if MARK.find(entry.body).is_none() {
            return;
        }
        let Ok(body) = serde_json::from_slice::<Body>(entry.body) else { return };
        if body.event.dataset.as_deref() != Some(DATASET) {
            return;
        }
        if body.event.action.as_deref() == Some("log_key.rotated") {
            if self.handovers.len() < MAX_TOLD {
                self.handovers.extend(body.message);
            }
            return;
        }
        let code = match body.audit.kind.as_str() {
            "repair" => Code::Repaired,
            "erasure" => Code::Erased,
            "prune" => return self.act(&body.attributes),
            _ => return,
        };
        if self.told.len() < MAX_TOLD {
            let by = body.audit.actor.id.unwrap_or_else(|| "nobody named".to_owned());
            let text = format!("{} (by {by})", body.message.unwrap_or_default());
            self.told.push((entry.sequence, code, text));
        } else if code == Code::Repaired {
            self.more_repairs = self.more_repairs.saturating_add(1);
        } else {
            self.more_erasures = self.more_erasures.saturating_add(1);
        }
    }

    fn pruned(&mut self, entry: &EntryRef<'_>) {
        let (class, first, newest_ns) = (entry.retention_class, entry.sequence, entry.received_ns);
        let end = first.saturating_add(1);
        let has_room = self.runs.len() < MAX_RUNS;
        match self.runs.last_mut() {
            Some(last) if last.class == class && last.end == first => {
                last.end = end;
                last.newest_ns = last.newest_ns.max(newest_ns);
            }
            _ if has_room => {
                self.runs.push(Run { class, first, end, newest_ns });
            }
            _ => self.more_pruned = self.more_pruned.saturating_add(1),
        }
    }

    fn act(&mut self, facts: &Facts) {
        let (Some(first), Some(end), Some(class)) = (facts.first, facts.end, facts.class) else {
            return;
        };
        let before_ns = facts.before.as_deref().and_then(parse_ns).unwrap_or(0);
        let of_class = self.on_record.entry(class).or_default();
        let known = of_class.entry(first).or_insert(Pruned { end, before_ns });
        known.end = known.end.max(end);
        known.before_ns = known.before_ns.max(before_ns);
    }

    /// Whether everything of a run was put on record.
    fn is_on_record(&self, run: &Run) -> bool {
        let Some(acts) = self.on_record.get(&run.class) else { return false };
        let mut at = run.first;
        while at < run.end {
            let act = acts.range(..=at).next_back().map(|(_, act)| act);
            match act.filter(|act| act.end > at && act.before_ns > run.newest_ns) {
                Some(act) => at = act.end,
                None => return false,
            }
        }
        true
    }

    /// Adds the keys to which trusted ones handed over: who has an old key follows it to the new
    /// one. A statement that no trusted key signed adds none.
    pub(super) fn follow_handovers(&self, keys: &mut Vec<VerifierKey>) {
        for note in &self.handovers {
            let text = signed_text(note.as_bytes(), keys);
            let next = text.and_then(|text| {
                let mut lines = text.lines();
                let (first, origin) = (lines.next()?, lines.next()?);
                let next = VerifierKey::parse(lines.next()?).ok()?;
                (first == ROTATION && next.name() == origin).then_some(next)
            });
            keys.extend(next.filter(|next| !keys.contains(next)));
        }
    }

    /// Says what was seen. `pruned` is how many entries have lost their body.
    pub(super) fn finish(self, pruned: u64, findings: &mut Findings) {
        for run in self.runs.iter().filter(|run| !self.is_on_record(run)) {
            let (count, first) = (run.end.saturating_sub(run.first), run.first);
            let text = format!(
                "the bodies of {count} entries from {first} on are gone, and no entry says so"
            );
            findings.add(Code::Missing, Place::entry(first), text);
        }
        if let Some(run) = self.runs.first() {
            let text = format!(
                "{pruned} bodies were taken out when the time for which they are kept was over; leaves \
                 and hashes stay"
            );
            findings.add(Code::RetentionTrimmed, Place::entry(run.first), text);
            if self.more_pruned > 0 {
                let text = format!(
                    "{} of these were not compared with what is on record",
                    self.more_pruned
                );
                findings.add(Code::RetentionTrimmed, Place::default(), text);
            }
        }
        for (sequence, code, text) in self.told {
            findings.add(code, Place::entry(sequence), text);
        }
        findings.count_more(self.more_repairs, Code::Repaired.weight());
        findings.count_more(self.more_erasures, Code::Erased.weight());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Commitments, EntryId};

    fn entry(sequence: u64, pruned: bool, body: &[u8]) -> EntryRef<'_> {
        EntryRef {
            sequence,
            tenant_sequence: sequence,
            id: EntryId([1; 16]),
            tenant: "acme",
            tenant_pseudonym: [0; 16],
            retention_class: 2,
            received_ns: 1_000 + sequence,
            mapping_version: [0; 8],
            source_key: None,
            conflict: false,
            commitments: Commitments::default(),
            body_hash: [0; 32],
            leaf_hash: [0; 32],
            pruned,
            sealed: &[],
            body,
        }
    }

    fn act(first: u64, end: u64, class: u8) -> String {
        format!(
            r#"{{"event":{{"dataset":"spanledger"}},"audit":{{"kind":"prune"}},"attributes":{{
            "spanledger.prune.first":{first},"spanledger.prune.end":{end},
            "spanledger.prune.class":{class},"spanledger.prune.before":"2026-01-01T00:00:00.000000000Z"}}}}"#
        )
    }

    fn found(acts: &[String], pruned: &[u64]) -> Findings {
        let mut own = Own::default();
        pruned.iter().for_each(|sequence| own.look(&entry(*sequence, true, b"")));
        acts.iter().for_each(|act| own.look(&entry(100, false, act.as_bytes())));
        let mut findings = Findings::default();
        own.finish(pruned.len() as u64, &mut findings);
        findings
    }

    #[test]
    fn bodies_that_are_gone_are_as_they_should_be_when_an_entry_says_so_and_only_then() {
        use super::super::Verdict;
        let all = [3, 4, 5, 9];
        for (acts, verdict) in [
            (vec![act(0, 10, 2)], Verdict::Partial),
            (vec![act(4, 10, 2), act(0, 4, 2)], Verdict::Partial),
            (vec![], Verdict::Compromised),
            (vec![act(0, 10, 1)], Verdict::Compromised),
            (vec![act(0, 9, 2)], Verdict::Compromised),
            (vec![act(4, 10, 2)], Verdict::Compromised),
        ] {
            assert_eq!(found(&acts, &all).verdict(), verdict, "{acts:?}");
        }
        assert_eq!(found(&[act(0, 10, 2)], &[]).verdict(), Verdict::Ok, "nothing is gone");
        let forged =
            act(0, 10, 2).replace("\"dataset\":\"spanledger\"", "\"dataset\":\"otlp.span\"");
        assert_eq!(found(&[forged], &all).verdict(), Verdict::Compromised);
    }
}
