//! The upkeep of the ledger: packs segments, prunes what is no longer kept, puts holds on record.
//!
//! One thread, which works a quarter of the time that it is at work and rests for the others: nothing
//! here is urgent. It ends between two blocks of 256 KiB, so it keeps nobody waiting.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the thread; packing, and what was held and released on record |
//! | `pruning.rs` | what may go, what says so, and its going |
//! | `clock.rs` | whether the clock can be right |

mod clock;
pub(super) mod pruning;

use super::folders::log_dir;
use super::holds::{Holds, HoldsError, record_name};
use crate::config::{Config, Retention};
use crate::elasticsearch::{Client, DeadLetterError, Exporter};
use crate::export::{ConsumerStatus, thread};
use crate::intake::{Intake, IntakeError, OperatorAction, now_ns};
use crate::ledger::{Ledger, PublicLogError, ReadError, RewriteError, Upkeep};
use crate::store::{AuditStore, StoreError};
pub use clock::confirm_clock;
use clock::{Clock, MAX_PAUSE_DAYS};
use pruning::Announced;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
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
        "nothing is pruned: the clock says {now}, more than {MAX_PAUSE_DAYS} days after the last time that \
         was believed ({believed}); put the clock right, or, if it is right, say so: \
         `spanledger confirm-clock --reason TEXT`"
    )]
    Clock { now: String, believed: String },
    #[error("nothing is pruned: what was believed of the clock cannot be read or noted")]
    ClockFile(#[source] HoldsError),
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
            started_ns: now_ns(),
            clock: Clock::of(&config.data),
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
    /// When, by the clock of the day.
    started_ns: u64,
    clock: Clock,
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
        let mut announced = Announced::default();
        while self.rest(look) {
            let hold_trouble = self.told(self.record_holds());
            if Instant::now() >= pack_at {
                let packed = self.pack();
                // What is damaged is read again and again otherwise; where there is no room nothing is
                // read before there is some.
                let is_damage = match &packed {
                    Err(UpkeepError::Rewrite(error)) => !error.is_disk_full(),
                    other => other.is_err(),
                };
                pack_at = later(if is_damage { RETRY } else { Duration::ZERO });
                pack_trouble = self.told(packed);
            }
            if Instant::now() >= prune_at {
                // Also where nothing is pruned: what is believed of the time goes on.
                let now = self.now();
                let pruned = if self.retention.prune {
                    now.and_then(|now| self.prune(now, &mut announced))
                } else {
                    Ok(true)
                };
                prune_at = later(match &pruned {
                    Ok(true) => self.retention.every,
                    Ok(false) => Duration::ZERO,
                    Err(_) => self.retention.every.min(RETRY),
                });
                prune_trouble = self.told(pruned);
            }
            self.status.set_trouble(joined([&hold_trouble, &pack_trouble, &prune_trouble]));
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
                Err(error) => {
                    // Damage counts more than a full disk: it stays.
                    failed = failed.filter(|it: &RewriteError| !it.is_disk_full()).or(Some(error));
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn freed(&self, before: u64, after: u64) {
        self.status.freed_bytes.fetch_add(before.saturating_sub(after), Ordering::Relaxed);
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

/// All that is in the way, in one sentence.
fn joined(troubles: [&Option<String>; 3]) -> Option<String> {
    let troubles: Vec<&str> = troubles.into_iter().flatten().map(String::as_str).collect();
    (!troubles.is_empty()).then(|| troubles.join("; and "))
}

fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_in_the_way_is_told_and_not_only_the_first() {
        let trouble = |text: &str| Some(text.to_owned());
        let (holds, pruning) = (trouble("holds cannot be read"), trouble("the clock is wrong"));
        let all = joined([&holds, &None, &pruning]);
        assert_eq!(all.as_deref(), Some("holds cannot be read; and the clock is wrong"));
        assert_eq!(joined([&None, &None, &None]), None);
    }
}
