//! The upkeep of the ledger: packs segments, prunes what is no longer kept, puts holds on record.
//!
//! One thread, which works a quarter of the time that it is at work and rests for the others: nothing
//! here is urgent. It ends between two blocks of 256 KiB, so it keeps nobody waiting.
//!
//! Before a segment is pruned an entry of kind `prune` says so and is durable: a crash in between
//! leaves an entry that was early, never a body that went without one.

use super::folders::log_dir;
use super::holds::{Held, Holds, HoldsError, record_name};
use crate::config::{Config, Retention};
use crate::elasticsearch::{Client, DeadLetterError, Exporter};
use crate::entry::{Kind, format_ns};
use crate::export::{ConsumerStatus, thread};
use crate::intake::{Fact, Intake, IntakeError, LedgerAct, OperatorAction};
use crate::ledger::{
    Due, Expiry, Ledger, PublicLog, PublicLogError, ReadError, RewriteError, Upkeep,
};
use crate::store::{AuditStore, StoreError};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// Longest time between two looks at what there is to do.
const LOOK: Duration = Duration::from_secs(10);

/// Shortest time between them.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// How much longer it rests than it worked.
const REST: u32 = 3;

/// Longest rest between two blocks.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Time after which packing and pruning are tried again when they failed.
const RETRY: Duration = Duration::from_mins(10);

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// How much later than the newest entry of before the start the clock may be, in days, the time
/// since the start not counted. Nothing is pruned by a clock that is later still: one that starts in
/// another decade would end the time of every body at once.
const MAX_PAUSE_DAYS: u64 = 14;

/// Who prunes, as the entries say.
const ACTOR: &str = "spanledger:retention";

/// What upkeep did since the start, for metrics.
#[derive(Debug, Default)]
pub struct UpkeepStatus {
    /// Segments that were packed.
    pub packed: AtomicU64,
    /// Bytes on the disk that packing and pruning gave back.
    pub freed_bytes: AtomicU64,
    /// Entries whose bodies were pruned.
    pub pruned: AtomicU64,
    /// Times that something could not be done.
    pub failures: AtomicU64,
    stopping: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl UpkeepStatus {
    /// What is in the way, in a sentence; `None` when nothing is.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut said = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = trouble.as_ref().filter(|why| said.as_ref() != Some(*why)) {
            tracing::warn!("{why}");
        }
        *said = trouble;
    }
}

/// Why upkeep did not do everything. It tries again.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error("a segment was not rewritten")]
    Rewrite(#[from] RewriteError),
    #[error("nothing is pruned: the last checkpoint of the public log cannot be read")]
    Log(#[from] PublicLogError),
    #[error("nothing is pruned: holds cannot be read")]
    Holds(#[from] HoldsError),
    #[error("nothing is pruned: what holds hold cannot be found")]
    Store(#[from] StoreError),
    #[error("nothing is pruned: the index cannot be written")]
    Ids(#[source] StoreError),
    #[error("nothing is pruned: dead letters cannot be read")]
    Letters(#[from] DeadLetterError),
    #[error("nothing is pruned: the newest entry cannot be read, so the clock cannot be judged")]
    Newest(#[from] ReadError),
    #[error(
        "nothing is pruned: the clock says {now}, more than {MAX_PAUSE_DAYS} days after the newest \
         entry of before the start ({newest}); put the clock right, or, if it is right, restart when \
         new entries have come"
    )]
    Clock { now: String, newest: String },
    #[error("what was to be done could not be put on record")]
    Record(#[from] IntakeError),
}

/// What upkeep works on.
pub(super) struct Work {
    pub(super) intake: Intake,
    pub(super) store: Arc<dyn AuditStore>,
    /// Who brings entries elsewhere: none of them may find a body gone.
    pub(super) consumers: Vec<Arc<ConsumerStatus>>,
    pub(super) exporter: Option<Exporter<Client>>,
    /// Whether one of them could not be started, so that nobody knows how far it is.
    pub(super) is_one_missing: bool,
    /// Entries that were there before this start.
    pub(super) found: u64,
}

/// The running upkeep. Dropped, it ends in its own time.
#[derive(Debug)]
pub(super) struct Keeping {
    status: Arc<UpkeepStatus>,
    wake: Sender<()>,
    done: Receiver<()>,
}

impl Keeping {
    /// Starts the thread. To be called inside a tokio runtime.
    pub(super) fn start(config: &Config, ledger: &Ledger, work: Work) -> std::io::Result<Self> {
        let status = Arc::new(UpkeepStatus::default());
        let (wake, woken) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let keeper = Keeper {
            upkeep: ledger.upkeep(),
            work,
            holds: Holds::of(&config.data).with_copy(config.keys.join("holds.json")),
            ledger: ledger.clone(),
            reserve_bytes: config.ledger.reserve_bytes,
            started: (now_ns(), Instant::now()),
            log: log_dir(&config.data),
            compress_after: config.compress_after,
            retention: config.retention.clone(),
            status: status.clone(),
            woken,
            runtime: Handle::current(),
        };
        thread::start("ledger-upkeep".into(), move || {
            keeper.run();
            let _ = finished.send(());
        })?;
        Ok(Self { status, wake, done })
    }

    pub(super) fn status(&self) -> &Arc<UpkeepStatus> {
        &self.status
    }

    /// Tells the thread to end, and waits for it at most that long. Blocks.
    pub(super) fn stop(self, deadline: Duration) {
        self.tell();
        let _ = self.done.recv_timeout(deadline);
    }

    /// Tells the thread to end.
    pub(super) fn tell(&self) {
        self.status.stopping.store(true, Ordering::Release);
        // One that has ended does not mind.
        let _ = self.wake.send(());
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.tell();
    }
}

/// What runs on the thread.
struct Keeper {
    upkeep: Upkeep,
    work: Work,
    holds: Holds,
    ledger: Ledger,
    reserve_bytes: u64,
    /// When, by the clock of the day and by one that nobody sets.
    started: (u64, Instant),
    log: PathBuf,
    compress_after: Option<Duration>,
    retention: Retention,
    status: Arc<UpkeepStatus>,
    woken: Receiver<()>,
    runtime: Handle,
}

impl Keeper {
    fn run(&self) {
        let look = self.compress_after.unwrap_or(LOOK).min(self.retention.every);
        let look = look.clamp(SHORTEST_LOOK, LOOK);
        let (mut pack_at, mut prune_at) = (Instant::now(), Instant::now());
        let (mut pack_trouble, mut prune_trouble) = (None, None);
        let mut announced = HashSet::new();
        while self.rest(look) {
            let hold_trouble = self.told(self.record_holds());
            if Instant::now() >= pack_at {
                let packed = self.pack();
                // What is damaged is read again and again otherwise.
                pack_at = later(if packed.is_ok() { Duration::ZERO } else { RETRY });
                pack_trouble = self.told(packed);
            }
            if self.retention.prune && Instant::now() >= prune_at {
                let pruned = self.prune(&mut announced);
                prune_at = later(match &pruned {
                    Ok(true) => self.retention.every,
                    Ok(false) => Duration::ZERO,
                    Err(_) => self.retention.every.min(RETRY),
                });
                prune_trouble = self.told(pruned);
            }
            let trouble =
                hold_trouble.as_ref().or(pack_trouble.as_ref()).or(prune_trouble.as_ref());
            self.status.set_trouble(trouble.cloned());
        }
    }

    /// Counts a failure, and gives it in words.
    fn told<T>(&self, done: Result<T, UpkeepError>) -> Option<String> {
        match done {
            Ok(_) | Err(UpkeepError::Rewrite(RewriteError::Stopped)) => None,
            Err(error) => {
                self.status.failures.fetch_add(1, Ordering::Relaxed);
                Some(crate::export::chain(&error))
            }
        }
    }

    /// Waits; `false` when it is over.
    fn rest(&self, time: Duration) -> bool {
        let _ = self.woken.recv_timeout(time);
        !self.status.stopping.load(Ordering::Acquire)
    }

    /// What a rewrite asks after each block: rests for as long as others should have the machine.
    fn pace(&self) -> impl FnMut() -> bool + '_ {
        let mut since = Instant::now();
        move || {
            let rest = since.elapsed().saturating_mul(REST).min(LONGEST_REST);
            let goes_on = self.rest(rest);
            since = Instant::now();
            goes_on
        }
    }

    /// Packs what is old enough. What is damaged keeps no other segment waiting. A disk that is nearly
    /// full is left to the entries that come: both forms of a segment are there for a while.
    fn pack(&self) -> Result<(), UpkeepError> {
        if self.ledger.status().disk_full.is_some() {
            return Ok(());
        }
        let since = self.compress_after.and_then(|after| SystemTime::now().checked_sub(after));
        let Some(since) = since else { return Ok(()) };
        let mut failed = None;
        for first in self.upkeep.unpacked(since) {
            if !self.upkeep.has_room(first, self.reserve_bytes) {
                tracing::debug!(first, "not enough room to pack a segment");
                continue;
            }
            match self.upkeep.pack(first, &mut self.pace()) {
                Ok(done) => {
                    self.status.packed.fetch_add(1, Ordering::Relaxed);
                    self.freed(done.before_bytes, done.after_bytes);
                }
                Err(stopped @ RewriteError::Stopped) => return Err(stopped.into()),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn freed(&self, before: u64, after: u64) {
        self.status.freed_bytes.fetch_add(before.saturating_sub(after), Ordering::Relaxed);
    }

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
    fn prune(&self, announced: &mut HashSet<(u64, u8, u64)>) -> Result<bool, UpkeepError> {
        let limit = self.limit()?;
        if limit == 0 {
            return Ok(false);
        }
        let expiries = self.expiries(self.now()?);
        let (holds, held) = self.held()?;
        let has = |entry: &crate::ledger::EntryRef<'_>| held.has(entry);
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
            // Said once, however often it is tried: such an entry stays for ever.
            let name = (due.first, due.expiry.class, due.entries);
            if !announced.contains(&name) {
                // Of which stories they were, nobody can tell when they are gone.
                self.work.store.keep_ids(due.end).map_err(UpkeepError::Ids)?;
                self.runtime.block_on(self.work.intake.record_act(&self.act(&due)))?;
                announced.insert(name);
            }
            let mut last_look = None;
            let done = self.upkeep.prune(&due, &has, &mut self.pace(), || {
                let lock = self.holds.lock_if(&holds);
                let (lock, looked) = lock.map_or_else(|e| (None, Err(e)), |lock| (lock, Ok(())));
                last_look = Some(looked);
                lock
            });
            match (done, last_look) {
                (Ok(done), _) => {
                    announced.remove(&name);
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

    fn held(&self) -> Result<(Vec<super::holds::Hold>, Held), UpkeepError> {
        let holds = self.holds.whole()?;
        // In a store that several ledgers share the sequences would not be ours.
        let store = self.work.store.followed().unwrap_or(&*self.work.store);
        let held = Held::find(&holds, store)?;
        Ok((holds, held))
    }

    fn act(&self, due: &Due) -> LedgerAct {
        let Due { first, end, expiry, entries } = *due;
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
            facts: vec![
                ("spanledger.prune.first", Fact::Number(first)),
                ("spanledger.prune.end", Fact::Number(end)),
                ("spanledger.prune.class", Fact::Number(expiry.class.into())),
                ("spanledger.prune.entries", Fact::Number(entries)),
                ("spanledger.prune.before", Fact::Text(before)),
            ],
        }
    }

    /// Puts on record what was held and released and is not on record yet.
    fn record_holds(&self) -> Result<(), UpkeepError> {
        let mut recorded = HashSet::new();
        for hold in self.holds.whole()? {
            let acts = [("added", Some(&hold.added)), ("released", hold.released.as_ref())];
            for (name, act) in acts {
                let Some(act) = act.filter(|act| !act.recorded) else { continue };
                let what = hold.trace.as_deref().map_or_else(
                    || format!("everything of tenant {}", hold.tenant.name()),
                    |trace| format!("the story of {trace} of tenant {}", hold.tenant.name()),
                );
                let (action, done) = if name == "added" {
                    ("hold.added", "is held: retention leaves it alone")
                } else {
                    ("hold.released", "is held no more")
                };
                let on_record = OperatorAction {
                    tenant: hold.tenant.clone(),
                    at_ns: u64::try_from(act.at.as_nanosecond()).unwrap_or(0),
                    actor: act.actor.clone(),
                    action,
                    target_type: "hold",
                    target: hold.id.clone(),
                    message: format!("{what} {done}: {}", act.reason),
                };
                self.runtime.block_on(self.work.intake.record(&on_record))?;
                recorded.insert(record_name(&hold.id, name));
            }
        }
        if !recorded.is_empty() {
            self.holds.recorded(&recorded)?;
        }
        Ok(())
    }
}

/// Whether a clock can be right that says `now`, that long after a start before which the newest entry
/// was received at `newest`; nanoseconds since 1970.
fn is_plausible(now: u64, newest: u64, since_start: Duration) -> bool {
    let since_start = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
    let pause = MAX_PAUSE_DAYS.saturating_mul(DAY_NS);
    now <= newest.saturating_add(pause).saturating_add(since_start)
}

fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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
