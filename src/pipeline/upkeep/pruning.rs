//! Bodies whose time is over: what may go, the entry that says so, and their going.
//!
//! ```text
//! due ─► how many of them does no entry announce yet? ─► entry of kind `prune`, durable
//!   ─► the segment written anew ─► is the same still held? ─► put in its place
//! ```
//!
//! Before a segment is pruned an entry of kind `prune` says so and is durable: a crash in between
//! leaves an entry that was early, never a body that went without one. What such an entry announced
//! is not announced again, after a restart either: more than what went would excuse bodies that
//! somebody else takes out.

use super::super::holds::{Held, Hold, HoldAct};
use super::clock::DAY_NS;
use super::{Keeper, UpkeepError};
use crate::access::Tenant;
use crate::entry::{Kind, format_ns};
use crate::intake::{Fact, LedgerAct, OperatorAction, now_ns};
use crate::ledger::{Due, EntryRef, Expiry, PublicLog, RewriteError};
use crate::store::query::{Query, Value};
use crate::store::{AuditStore, MAX_PAGE, Order, QueryRequest};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who prunes, as the entries say.
const ACTOR: &str = "spanledger:retention";

/// How long one page may take of finding what was announced before the start: after each, others have
/// the machine for a while.
const BUDGET: Duration = Duration::from_millis(250);

/// What was announced and lost; read once after a start.
#[derive(Debug, Default)]
pub(super) struct Announced(Option<Told>);

/// What entries of ours say about bodies that are gone, or go.
#[derive(Debug, Default)]
struct Told {
    /// How many bodies entries of kind `prune` announced, by the first entry of the segment and class:
    /// 40 bytes for each class that was pruned in a segment.
    announced: HashMap<(u64, u8), u64>,
    /// Ranges of bodies that repairs lost.
    lost: Vec<RangeInclusive<u64>>,
}

/// What is read of such an entry.
#[derive(Deserialize)]
struct Announcement {
    attributes: Facts,
}

#[derive(Deserialize)]
struct Facts {
    #[serde(rename = "spanledger.prune.first")]
    first: Option<u64>,
    #[serde(rename = "spanledger.prune.class")]
    class: Option<u8>,
    #[serde(rename = "spanledger.prune.entries")]
    entries: Option<u64>,
    #[serde(rename = "spanledger.repair.sequences")]
    lost: Option<String>,
}

impl Announced {
    /// What `store` finds in the ledger, unless it is known. `go_on` is asked after each page.
    fn known(
        &mut self,
        store: &dyn AuditStore,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<&mut Told, UpkeepError> {
        let known = match self.0.take() {
            Some(known) => known,
            None => find(store, go_on)?,
        };
        Ok(self.0.insert(known))
    }
}

fn find(store: &dyn AuditStore, go_on: &mut dyn FnMut() -> bool) -> Result<Told, UpkeepError> {
    let mut told = Told::default();
    for kind in [Kind::Prune, Kind::Repair] {
        let field = Some("kind".to_owned());
        let value = Value { text: kind.as_str().to_owned(), prefix: false };
        let mut request = QueryRequest {
            order: Order::Ledger,
            limit: MAX_PAGE,
            budget: BUDGET,
            ..QueryRequest::new(Tenant::system(), Query::Term { field, value })
        };
        loop {
            let page = store.query(&request)?;
            // Who else would say so in this tenant: only the program itself writes there.
            page.hits.iter().for_each(|hit| told.look(&hit.document));
            if !go_on() {
                return Err(RewriteError::Stopped.into());
            }
            match page.next_cursor {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
    }
    Ok(told)
}

impl Told {
    fn look(&mut self, document: &[u8]) {
        let Ok(said) = serde_json::from_slice::<Announcement>(document) else { return };
        let facts = said.attributes;
        if let (Some(first), Some(class), Some(entries)) = (facts.first, facts.class, facts.entries)
        {
            add(&mut self.announced, (first, class), entries);
        }
        for named in facts.lost.iter().flat_map(|lost| lost.split(',')) {
            let (first, last) = named.split_once('-').unwrap_or((named, named));
            let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else { continue };
            self.lost.push(first..=last);
        }
    }

    /// Those of a segment that repairs lost, each once.
    fn lost_in(&self, due: &Due) -> BTreeSet<u64> {
        let last = due.end.saturating_sub(1);
        let within =
            |lost: &RangeInclusive<u64>| (*lost.start()).max(due.first)..=(*lost.end()).min(last);
        self.lost.iter().flat_map(within).collect()
    }
}

fn add(announced: &mut HashMap<(u64, u8), u64>, of: (u64, u8), entries: u64) {
    let before = announced.entry(of).or_default();
    *before = before.saturating_add(entries);
}

/// How many of the bodies that are due nobody announced: those that are gone already were, those aside
/// that a repair lost.
fn unannounced(due: &Due, announced: u64) -> u64 {
    due.entries.saturating_sub(announced.saturating_sub(due.gone))
}

/// What an entry of kind `prune` says for programs.
pub(in crate::pipeline) fn facts(due: &Due) -> Vec<(&'static str, Fact)> {
    let Due { first, end, expiry, entries, .. } = *due;
    vec![
        ("spanledger.prune.first", Fact::Number(first)),
        ("spanledger.prune.end", Fact::Number(end)),
        ("spanledger.prune.class", Fact::Number(expiry.class.into())),
        ("spanledger.prune.entries", Fact::Number(entries)),
        ("spanledger.prune.before", Fact::Text(format_ns(expiry.before_ns))),
    ]
}

impl Keeper {
    /// The entry up to which bodies may go: nobody needs them, and a checkpoint covers them.
    fn limit(&self) -> Result<u64, UpkeepError> {
        if self.work.is_one_missing {
            return Ok(0);
        }
        let settled = self.work.consumers.iter().map(|consumer| consumer.settled()).min();
        let checkpoint = PublicLog::open(&self.log).checkpoint()?;
        let signed = checkpoint.map_or(0, |signed| signed.checkpoint.head.size);
        let letters = match &self.work.exporter {
            Some(exporter) => exporter.dead_letters().list(0, 1)?,
            None => Vec::new(),
        };
        let letter = letters.first().map_or(u64::MAX, |letter| letter.sequence);
        Ok(settled.unwrap_or(u64::MAX).min(signed).min(letter))
    }

    /// The time by which bodies are judged, nanoseconds since 1970.
    pub(super) fn now(&self) -> Result<u64, UpkeepError> {
        if let Some(act) = self.clock.confirmed().map_err(UpkeepError::ClockFile)? {
            self.runtime.block_on(self.work.intake.record(&confirmation(&act)))?;
            self.clock.follow(&act).map_err(UpkeepError::ClockFile)?;
        }
        let newest = match self.work.found.checked_sub(1) {
            Some(last) => self.ledger.reader().get(last)?.map(|entry| entry.received_ns),
            None => None,
        };
        let (now, newest) = (now_ns(), newest.unwrap_or(self.started_ns));
        match self.clock.judge(now, newest).map_err(UpkeepError::ClockFile)? {
            Ok(()) => Ok(now),
            Err(believed) => {
                Err(UpkeepError::Clock { now: format_ns(now), believed: format_ns(believed) })
            }
        }
    }

    /// Bodies of a class go when they were received before that.
    fn expiries(&self, now: u64) -> Vec<Expiry> {
        let classes = self.retention.classes.iter();
        let finite = classes.filter_map(|(class, it)| Some((*class, it.days?)));
        finite
            .map(|(class, days)| {
                let before_ns = now.saturating_sub(u64::from(days).saturating_mul(DAY_NS));
                Expiry { class, before_ns }
            })
            .collect()
    }

    /// Prunes what is due. `false` when there was nothing that may be looked at yet. What is damaged
    /// keeps no other segment waiting.
    pub(super) fn prune(&self, now: u64, announced: &mut Announced) -> Result<bool, UpkeepError> {
        let limit = self.limit()?;
        if limit == 0 {
            return Ok(false);
        }
        let expiries = self.expiries(now);
        let (holds, held) = self.held()?;
        let has = |entry: &EntryRef<'_>| held.has(entry);
        let mut failed = None;
        for due in self.upkeep.due(limit, &expiries, &has, &mut self.pace()) {
            let due = match due {
                Ok(due) => due,
                Err(stopped @ RewriteError::Stopped) => return Err(stopped.into()),
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            if self.holds.read()? != holds {
                // Somebody holds something else now: what is due is found anew.
                return Ok(false);
            }
            self.announce(&due, announced)?;
            let mut last_look = None;
            let done = self.upkeep.prune(&due, &has, &mut self.pace(), || {
                let lock = self.holds.lock_if(&holds);
                let (lock, looked) = lock.map_or_else(|e| (None, Err(e)), |lock| (lock, Ok(())));
                last_look = Some(looked);
                lock
            });
            match (done, last_look) {
                (Ok(done), _) => {
                    self.status.pruned.fetch_add(done.pruned, Ordering::Relaxed);
                    self.freed(done.before_bytes, done.after_bytes);
                    tracing::info!(first = due.first, entries = done.pruned, "pruned a segment");
                }
                (Err(_), Some(Err(error))) => return Err(error.into()),
                // Somebody held something else meanwhile.
                (Err(RewriteError::Stopped), Some(Ok(()))) => return Ok(false),
                (Err(stopped @ RewriteError::Stopped), None) => return Err(stopped.into()),
                (Err(error), _) => failed = Some(error),
            }
        }
        failed.map_or(Ok(true), |error| Err(error.into()))
    }

    /// Puts on record what goes, as far as it is not: such an entry stays for ever, so it is said once,
    /// however often it is tried and whatever ends the process in between.
    fn announce(&self, due: &Due, announced: &mut Announced) -> Result<(), UpkeepError> {
        // Of which stories they were, nobody can tell when they are gone.
        self.work.store.keep_ids(due.end).map_err(UpkeepError::Ids)?;
        let of = (due.first, due.expiry.class);
        let known = announced.known(self.own_store(), &mut self.pace())?;
        let said = known.announced.get(&of).copied().unwrap_or(0);
        let lost = if said > 0 && due.gone > 0 { self.lost(due, known)? } else { 0 };
        let entries = unannounced(&Due { gone: due.gone.saturating_sub(lost), ..*due }, said);
        if entries == 0 {
            return Ok(());
        }
        let act = self.act(&Due { entries, ..*due });
        let recorded = self.runtime.block_on(self.work.intake.record_act(&act));
        match recorded {
            Ok(()) => add(&mut known.announced, of, entries),
            // Whether it is there is looked up again.
            Err(_) => *announced = Announced::default(),
        }
        Ok(recorded?)
    }

    /// How many bodies of the class repairs lost in that segment: none of them was announced.
    fn lost(&self, due: &Due, told: &Told) -> Result<u64, UpkeepError> {
        let reader = self.ledger.reader();
        let mut lost = 0_u64;
        for sequence in told.lost_in(due) {
            let entry = reader.get(sequence)?;
            let is_of = entry
                .is_some_and(|entry| entry.pruned && entry.retention_class == due.expiry.class);
            lost = lost.saturating_add(u64::from(is_of));
        }
        Ok(lost)
    }

    /// What finds entries of this ledger: in a store that several ledgers share, those of the others
    /// would be found too.
    fn own_store(&self) -> &dyn AuditStore {
        self.work.store.followed().unwrap_or(&*self.work.store)
    }

    fn held(&self) -> Result<(Vec<Hold>, Held), UpkeepError> {
        let holds = self.holds.whole()?;
        let held = Held::find(&holds, self.own_store())?;
        Ok((holds, held))
    }

    fn act(&self, due: &Due) -> LedgerAct {
        let Due { first, end, expiry, entries, .. } = *due;
        let before = format_ns(expiry.before_ns);
        let class = self.retention.classes.get(&expiry.class);
        let name = class.map_or("", |class| class.name.as_str());
        let last = end.saturating_sub(1);
        LedgerAct {
            kind: Kind::Prune,
            at_ns: now_ns(),
            actor: ACTOR.to_owned(),
            by_person: false,
            reason: class.and_then(|class| class.days).map(|days| format!("kept for {days} days")),
            action: "ledger.pruned",
            target: format!("entries {first} to {last}"),
            message: format!(
                "bodies of {entries} entries of the class {name} ({}) that were received before {before} \
                 are taken out of entries {first} to {last}; leaves and hashes stay",
                expiry.class
            ),
            facts: facts(due),
        }
    }
}

/// The entry that says who confirmed the clock.
fn confirmation(act: &HoldAct) -> OperatorAction {
    OperatorAction {
        tenant: Tenant::system(),
        at_ns: u64::try_from(act.at.as_nanosecond()).unwrap_or(0),
        actor: act.actor.clone(),
        action: "clock.confirmed",
        target_type: "clock",
        target: act.at.to_string(),
        message: format!("the clock is right, and retention goes on by it: {}", act.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_and_is_not_gone_yet_is_not_announced_again() {
        let expiry = Expiry { class: 1, before_ns: 0 };
        let due = |entries, gone| Due { first: 0, end: 10, expiry, entries, gone };
        assert_eq!(unannounced(&due(7, 0), 0), 7);
        assert_eq!(unannounced(&due(7, 0), 7), 0, "a crash before the segment was replaced");
        assert_eq!(unannounced(&due(4, 0), 7), 0, "three are held now");
        assert_eq!(unannounced(&due(3, 4), 7), 0, "and released");
        assert_eq!(unannounced(&due(3, 7), 7), 3, "they were held from the beginning");
        assert_eq!(unannounced(&due(3, 9), 7), 3, "somebody took two more");
    }

    #[test]
    fn what_a_repair_lost_is_not_what_was_announced() {
        let mut told = Told::default();
        told.look(br#"{"attributes":{"spanledger.repair.sequences":"3,7-9,x,20-30,8"}}"#);
        told.look(br#"{"attributes":{"spanledger.repair.sequences":"9-12"}}"#);
        told.look(br#"{"attributes":{"spanledger.prune.first":4,"spanledger.prune.class":1,"spanledger.prune.entries":5}}"#);
        assert_eq!(told.announced, HashMap::from([((4, 1), 5)]));
        let expiry = Expiry { class: 1, before_ns: 0 };
        let due = |first, end| Due { first, end, expiry, entries: 5, gone: 2 };
        assert_eq!(told.lost_in(&due(4, 11)), BTreeSet::from([7, 8, 9, 10]));
        assert_eq!(told.lost_in(&due(13, 20)), BTreeSet::new());
        assert_eq!(told.lost_in(&due(30, 40)), BTreeSet::from([30]));
    }
}
