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

use super::super::holds::{Held, Hold};
use super::{Keeper, UpkeepError};
use crate::access::Tenant;
use crate::entry::{Kind, format_ns};
use crate::intake::{Fact, LedgerAct, now_ns};
use crate::ledger::{Due, EntryRef, Expiry, PublicLog, RewriteError};
use crate::store::query::{Query, Value};
use crate::store::{AuditStore, MAX_PAGE, Order, QueryRequest};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How much later than the newest entry of before the start the clock may be, in days, the time
/// since the start not counted. Nothing is pruned by a clock that is later still: one that starts in
/// another decade would end the time of every body at once.
pub(super) const MAX_PAUSE_DAYS: u64 = 14;

/// Who prunes, as the entries say.
const ACTOR: &str = "spanledger:retention";

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// How long it may take to find what was announced before the start.
const BUDGET: Duration = Duration::from_mins(5);

/// How many bodies entries of kind `prune` announced, by the first entry of the segment and class.
/// Read once after a start; 40 bytes for each class that was pruned in a segment.
#[derive(Debug, Default)]
pub(super) struct Announced(Option<HashMap<(u64, u8), u64>>);

/// What is read of an entry that announces.
#[derive(Deserialize)]
struct Announcement {
    attributes: Facts,
}

#[derive(Deserialize)]
struct Facts {
    #[serde(rename = "spanledger.prune.first")]
    first: u64,
    #[serde(rename = "spanledger.prune.class")]
    class: u8,
    #[serde(rename = "spanledger.prune.entries")]
    entries: u64,
}

impl Announced {
    /// Those that `store` finds in the ledger, unless they are known.
    fn known(
        &mut self,
        store: &dyn AuditStore,
    ) -> Result<&mut HashMap<(u64, u8), u64>, UpkeepError> {
        let known = match self.0.take() {
            Some(known) => known,
            None => find(store)?,
        };
        Ok(self.0.insert(known))
    }
}

fn find(store: &dyn AuditStore) -> Result<HashMap<(u64, u8), u64>, UpkeepError> {
    let field = Some("kind".to_owned());
    let value = Value { text: Kind::Prune.as_str().to_owned(), prefix: false };
    let mut request = QueryRequest {
        order: Order::Ledger,
        limit: MAX_PAGE,
        budget: BUDGET,
        ..QueryRequest::new(Tenant::system(), Query::Term { field, value })
    };
    let mut found = HashMap::new();
    loop {
        let page = store.query(&request)?;
        for hit in &page.hits {
            // Who else would say so in this tenant: only the program itself writes there.
            let Ok(said) = serde_json::from_slice::<Announcement>(&hit.document) else { continue };
            add(
                &mut found,
                (said.attributes.first, said.attributes.class),
                said.attributes.entries,
            );
        }
        match page.next_cursor {
            Some(next) => request.cursor = Some(next),
            None => return Ok(found),
        }
    }
}

fn add(announced: &mut HashMap<(u64, u8), u64>, of: (u64, u8), entries: u64) {
    let before = announced.entry(of).or_default();
    *before = before.saturating_add(entries);
}

/// How many of the bodies that are due nobody announced: those that are gone already were.
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
    fn now(&self) -> Result<u64, UpkeepError> {
        let (started_ns, started) = self.started;
        let newest = match self.work.found.checked_sub(1) {
            Some(last) => self.ledger.reader().get(last)?.map(|entry| entry.received_ns),
            None => None,
        };
        let (now, newest) = (now_ns(), newest.unwrap_or(started_ns));
        if is_plausible(now, newest, started.elapsed()) {
            return Ok(now);
        }
        Err(UpkeepError::Clock { now: format_ns(now), newest: format_ns(newest) })
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
    pub(super) fn prune(&self, announced: &mut Announced) -> Result<bool, UpkeepError> {
        let limit = self.limit()?;
        if limit == 0 {
            return Ok(false);
        }
        let expiries = self.expiries(self.now()?);
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
        let known = announced.known(self.own_store())?;
        let entries = unannounced(due, known.get(&of).copied().unwrap_or(0));
        if entries == 0 {
            return Ok(());
        }
        let act = self.act(&Due { entries, ..*due });
        let recorded = self.runtime.block_on(self.work.intake.record_act(&act));
        match recorded {
            Ok(()) => add(known, of, entries),
            // Whether it is there is looked up again.
            Err(_) => *announced = Announced::default(),
        }
        Ok(recorded?)
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

/// Whether a clock can be right that says `now`, that long after a start before which the newest entry
/// was received at `newest`; nanoseconds since 1970.
fn is_plausible(now: u64, newest: u64, since_start: Duration) -> bool {
    let since_start = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
    let pause = MAX_PAUSE_DAYS.saturating_mul(DAY_NS);
    now <= newest.saturating_add(pause).saturating_add(since_start)
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
        assert_eq!(unannounced(&due(3, 9), 7), 3, "a repair lost two more");
    }

    #[test]
    fn a_clock_far_behind_the_newest_entry_prunes_nothing() {
        let newest = 1_795_241_529_000_000_000;
        let in_days = |days: u64| newest + days * DAY_NS;
        let days = |days: u64| Duration::from_hours(24 * days);
        assert!(is_plausible(in_days(14), newest, Duration::ZERO));
        assert!(!is_plausible(in_days(15), newest, Duration::ZERO), "2036 at boot is one of them");
        // A server that runs for a year sees a year pass.
        assert!(is_plausible(in_days(365), newest, days(352)));
        assert!(!is_plausible(in_days(365), newest, days(350)));
        // A clock that is behind keeps everything anyway.
        assert!(is_plausible(0, newest, Duration::ZERO));
    }
}
