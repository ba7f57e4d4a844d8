//! What entries of ours say about the ledger itself: what was pruned, erased, repaired.
//!
//! A body that is gone is as it should be only when an entry of kind `prune` says so (of that class,
//! of that segment, received before that time, and no more of them), or when an entry of kind `repair`
//! names it. Whoever empties bodies by hand is found by this: [`gone`](super::gone).

use super::gone::{Again, Gone, Pruning};
use super::unbound::Unbound;
use super::verdict::{Code, Findings, Place};
use crate::access::Tenant;
use crate::entry::parse_ns;
use crate::ledger::EntryRef;
use crate::ledger::checkpoint::{VerifierKey, signed_text};
use memchr::memmem;
use serde::Deserialize;
use std::slice;
use std::sync::LazyLock;

/// What stands in every entry that spanledger makes itself, and in no other: no mapping fills it.
const DATASET: &str = "spanledger";

/// The same as it stands in a body.
static MARK: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(br#""dataset":"spanledger""#));

/// Entries of ours that are told one by one: the others are counted.
const MAX_TOLD: usize = 1_000;

/// What the statement begins with by which a key of the log hands over to the next one.
const ROTATION: &str = "spanledger key rotation/v1";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Own {
    told: Vec<(u64, Code, String)>,
    /// Statements by which keys of the log handed over, in their order, each with its entry.
    handovers: Vec<(u64, String)>,
    more_repairs: u64,
    more_erasures: u64,
    gone: Gone,
    unbound: Unbound,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "@timestamp", default)]
    timestamp: Option<String>,
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
    #[serde(default)]
    reason: Option<String>,
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
    #[serde(rename = "spanledger.prune.entries")]
    entries: Option<u64>,
    #[serde(rename = "spanledger.prune.told_again", default)]
    told_again: u64,
    #[serde(rename = "spanledger.repair.sequences")]
    lost: Option<String>,
}

impl Facts {
    fn pruning(&self) -> Option<Pruning> {
        Some(Pruning {
            range: self.first?..self.end?,
            class: self.class?,
            before_ns: self.before.as_deref().and_then(parse_ns)?,
            entries: self.entries?,
            told_again: self.told_again > 0,
        })
    }
}

impl Own {
    /// Looks at an entry, whose segment starts with the entry `segment`.
    pub(super) fn look(&mut self, entry: &EntryRef<'_>, segment: u64) {
        if entry.pruned {
            self.gone.push(entry, segment);
        }
        self.unbound.look(entry);
        if MARK.find(entry.body).is_none() {
            return;
        }
        let Ok(body) = serde_json::from_slice::<Body>(entry.body) else { return };
        if body.event.dataset.as_deref() != Some(DATASET) {
            return;
        }
        if body.event.action.as_deref() == Some("log_key.rotated") {
            if self.handovers.len() < MAX_TOLD {
                self.handovers.extend(body.message.map(|note| (entry.sequence, note)));
            }
            return;
        }
        // What was done to the ledger is the installation's own evidence, and no tenant's.
        let is_systems = entry.tenant == Tenant::system().name();
        let code = match body.audit.kind.as_str() {
            "repair" => Code::Repaired,
            "erasure" => Code::Erased,
            "prune" => {
                if let Some(pruning) = body.attributes.pruning().filter(|_| is_systems) {
                    self.gone.pruning(&pruning, entry.sequence);
                }
                return;
            }
            _ => return,
        };
        if let Some(lost) = body.attributes.lost.filter(|_| is_systems && code == Code::Repaired) {
            self.gone.lost(&lost, entry.sequence);
        }
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

    /// Adds the keys to which trusted ones handed over: who has an old key follows it to the new
    /// one. A statement that no trusted key signed adds none. Gives the last one that was reached by
    /// an entry before that one.
    pub(super) fn follow_handovers(
        &self,
        keys: &mut Vec<VerifierKey>,
        before: u64,
    ) -> Option<VerifierKey> {
        let mut newest = None;
        for (sequence, note) in &self.handovers {
            let next = next_key(note, keys).filter(|next| !keys.contains(next));
            if let Some(next) = next {
                keys.push(next.clone());
                newest = Some(next).filter(|_| *sequence < before).or(newest);
            }
        }
        newest
    }

    /// Bodies that somebody is about to put on record as lost: `3,7-9`.
    pub(super) fn lost(&mut self, sequences: &str) {
        self.gone.lost(sequences, u64::MAX);
    }

    /// Bodies that are gone and that nothing speaks of.
    pub(super) fn unsaid(self, again: Again<'_>) -> Vec<Pruning> {
        self.gone.unsaid(again)
    }

    /// Says what was seen. `again` shows entries once more, where it depends on single ones.
    pub(super) fn finish(self, again: Again<'_>, findings: &mut Findings) {
        self.gone.finish(again, findings);
        self.unbound.finish(findings);
        for (sequence, code, text) in self.told {
            findings.add(code, Place::entry(sequence), text);
        }
        findings.count_more(self.more_repairs, Code::Repaired.weight());
        findings.count_more(self.more_erasures, Code::Erased.weight());
    }
}

/// The key to which one of these hands over with that statement. Both are keys of the log that the
/// statement names: who holds the key of another log hands over nothing of this one.
pub(super) fn next_key(note: &str, keys: &[VerifierKey]) -> Option<VerifierKey> {
    keys.iter().find_map(|key| {
        let mut lines = signed_text(note.as_bytes(), slice::from_ref(key))?.lines();
        let (first, origin) = (lines.next()?, lines.next()?);
        let next = VerifierKey::parse(lines.next()?).ok()?;
        (first == ROTATION && key.name() == origin && next.name() == origin).then_some(next)
    })
}

/// What an entry of ours says that explains others.
#[derive(Debug)]
pub(super) enum Act {
    /// Bodies were taken out, and why.
    Prune(Pruning, Option<String>),
    /// The statement of a key of the log that hands over to the next one.
    Rotation(String),
}

/// What a body of ours says that explains others; with who had it done, and when.
pub(super) fn act(body: &[u8]) -> Option<(Act, Option<String>, Option<String>)> {
    let body = serde_json::from_slice::<Body>(body).ok()?;
    if body.event.dataset.as_deref() != Some(DATASET) {
        return None;
    }
    let act = if body.event.action.as_deref() == Some("log_key.rotated") {
        Act::Rotation(body.message?)
    } else if body.audit.kind == "prune" {
        Act::Prune(body.attributes.pruning()?, body.event.reason)
    } else {
        return None;
    };
    Some((act, body.audit.actor.id, body.timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Commitments, EntryId};

    fn entry<'a>(sequence: u64, tenant: &'a str, body: &'a [u8]) -> EntryRef<'a> {
        EntryRef {
            sequence,
            tenant_sequence: sequence,
            id: EntryId([1; 16]),
            tenant,
            tenant_pseudonym: [0; 16],
            retention_class: 2,
            received_ns: 1_000 + sequence,
            mapping_version: [0; 8],
            source_key: None,
            conflict: false,
            commitments: Commitments::default(),
            body_hash: [0; 32],
            leaf_hash: [0; 32],
            pruned: body.is_empty(),
            sealed: &[],
            body,
        }
    }

    const PRUNE: &str = r#"{"event":{"dataset":"spanledger"},"audit":{"kind":"prune"},"attributes":{
        "spanledger.prune.first":0,"spanledger.prune.end":10,"spanledger.prune.class":2,
        "spanledger.prune.entries":4,"spanledger.prune.before":"2026-01-01T00:00:00.000000000Z"}}"#;

    const REPAIR: &str = r#"{"event":{"dataset":"spanledger"},"audit":{"kind":"repair"},
        "attributes":{"spanledger.repair.sequences":"3-5,9"}}"#;

    /// What is found when the bodies of four entries are gone, and that stands in the ledger.
    fn found(at: u64, tenant: &str, body: &str) -> Findings {
        let gone = [3, 4, 5, 9].map(|sequence| entry(sequence, "acme", b""));
        let mut own = Own::default();
        let said = entry(at, tenant, body.as_bytes());
        for (entry, segment) in gone.iter().map(|it| (it, 0)).chain([(&said, 10)]) {
            own.look(entry, segment);
        }
        let mut findings = Findings::default();
        let again = |range: std::ops::Range<u64>, see: &mut dyn FnMut(&EntryRef<'_>)| {
            gone.iter().filter(|entry| range.contains(&entry.sequence)).for_each(see);
            true
        };
        own.finish(&again, &mut findings);
        findings
    }

    #[test]
    fn only_a_key_of_the_same_log_hands_over() {
        use crate::ledger::checkpoint::LogKey;
        let [own, next] = [(); 2].map(|()| LogKey::generate("example/log").unwrap());
        let other = LogKey::generate("example/other").unwrap();
        let known = [own.verifier().clone(), other.verifier().clone()];
        let text = format!("{ROTATION}\nexample/log\n{}\n", next.verifier());
        assert_eq!(next_key(&own.sign_text(&text), &known).as_ref(), Some(next.verifier()));
        assert_eq!(next_key(&other.sign_text(&text), &known), None);
    }

    #[test]
    fn bodies_that_are_gone_are_as_they_should_be_when_an_entry_of_ours_says_so_and_only_then() {
        use super::super::Verdict;
        let system = Tenant::system();
        for body in [PRUNE, REPAIR] {
            let verdict = |at, tenant: &str, body: &str| found(at, tenant, body).verdict();
            assert_eq!(verdict(10, system.name(), body), Verdict::Partial, "{body}");
            assert_eq!(verdict(9, system.name(), body), Verdict::Compromised, "before its end");
            assert_eq!(verdict(10, "acme", body), Verdict::Compromised, "of a tenant");
            let forged = body.replace("\"dataset\":\"spanledger\"", "\"dataset\":\"otlp.span\"");
            assert_eq!(verdict(10, system.name(), &forged), Verdict::Compromised);
        }
        let few = PRUNE.replace("\"spanledger.prune.entries\":4", "\"spanledger.prune.entries\":3");
        assert_eq!(found(10, system.name(), &few).verdict(), Verdict::Compromised);
    }
}
