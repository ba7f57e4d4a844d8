//! Whether the clock can be right: a clock that is wrong by years would end the time of every body.
//!
//! ```text
//! DATA/clock.json       the newest time that was believed; written every hour
//! DATA/clock.confirmed  who says that the clock is right, until the server has put it on record
//! ```
//!
//! A time is believed when it is at most [`MAX_PAUSE_DAYS`] after one that was believed before, the time
//! that a clock counted which nobody sets added. The first such time is that of the newest entry of
//! before the start. Later ones are not taken from entries: those say what a wrong clock said.

use super::super::holds::{HoldAct, HoldsError, read_json, write_json};
use crate::access::files::give_to_owner;
use jiff::Timestamp;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much later than a time that was believed the clock may be, in days, the time since not counted.
/// Nothing is pruned by a clock that is later still. Two weeks: longer than servers are off for
/// holidays, and shorter than any class that is of use.
pub(in crate::pipeline) const MAX_PAUSE_DAYS: u64 = 14;

pub(super) const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// How far the file may be behind what is believed, nanoseconds.
const NOTED_EVERY_NS: u64 = 60 * 60 * 1_000_000_000;

const BELIEVED: &str = "clock.json";
const CONFIRMED: &str = "clock.confirmed";

/// Says that the clock of this machine is right, for the server of that data folder: it goes on from
/// now, and puts on record who said so and why.
///
/// # Errors
/// [`HoldsError`]; nothing is confirmed then.
pub fn confirm_clock(data: &Path, actor: String, reason: String) -> Result<(), HoldsError> {
    let path = data.join(CONFIRMED);
    let act = HoldAct { actor, reason, at: Timestamp::now(), recorded: false };
    write_json(&path, &act)?;
    let given = give_to_owner(data, &path);
    given.map_err(|source| HoldsError::Io { doing: "give to the server", path, source })
}

/// What is believed of the time.
#[derive(Debug)]
pub(super) struct Clock {
    data: PathBuf,
    /// When the process started.
    started: Instant,
    /// The newest time that was believed, nanoseconds since 1970, and when that was.
    believed: Cell<Option<(u64, Instant)>>,
    /// The same as it stands in the file.
    noted: Cell<Option<u64>>,
}

impl Clock {
    /// That of a data folder, at the start.
    pub(super) fn of(data: &Path) -> Self {
        let (believed, noted) = (Cell::new(None), Cell::new(None));
        Self { data: data.to_owned(), started: Instant::now(), believed, noted }
    }

    /// What somebody confirmed and is not in effect yet.
    pub(super) fn confirmed(&self) -> Result<Option<HoldAct>, HoldsError> {
        read_json(self.data.join(CONFIRMED))
    }

    /// Believes what was confirmed.
    pub(super) fn follow(&self, act: &HoldAct) -> Result<(), HoldsError> {
        self.believe(u64::try_from(act.at.as_nanosecond()).unwrap_or(0), true)?;
        let path = self.data.join(CONFIRMED);
        std::fs::remove_file(&path).map_err(|source| HoldsError::Io {
            doing: "remove",
            path,
            source,
        })
    }

    /// Whether `now` can be right; else the time that it is too far behind. `newest` is when the newest
    /// entry of before the start was received. All in nanoseconds since 1970.
    pub(super) fn judge(&self, now: u64, newest: u64) -> Result<Result<(), u64>, HoldsError> {
        let (believed, since) = if let Some(believed) = self.believed.get() {
            believed
        } else {
            let noted = read_json(self.data.join(BELIEVED))?;
            self.noted.set(noted);
            (noted.unwrap_or(newest), self.started)
        };
        if !is_plausible(now, believed, since.elapsed()) {
            return Ok(Err(believed));
        }
        // One that is behind keeps everything, and is nothing to go on from.
        if now >= believed {
            self.believe(now, false)?;
        }
        Ok(Ok(()))
    }

    fn believe(&self, now: u64, at_once: bool) -> Result<(), HoldsError> {
        let noted = self.noted.get();
        if at_once || noted.is_none_or(|noted| now >= noted.saturating_add(NOTED_EVERY_NS)) {
            write_json(&self.data.join(BELIEVED), &now)?;
            self.noted.set(Some(now));
        }
        self.believed.set(Some((now, Instant::now())));
        Ok(())
    }
}

/// Whether a clock can be right that says `now`, that long after `believed` was; nanoseconds since 1970.
fn is_plausible(now: u64, believed: u64, since: Duration) -> bool {
    let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let pause = MAX_PAUSE_DAYS.saturating_mul(DAY_NS);
    now <= believed.saturating_add(pause).saturating_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: u64 = 1_795_241_529_000_000_000;

    fn in_days(days: u64) -> u64 {
        NEWEST + days * DAY_NS
    }

    #[test]
    fn a_clock_far_behind_the_newest_entry_prunes_nothing() {
        let days = |days: u64| Duration::from_hours(24 * days);
        assert!(is_plausible(in_days(14), NEWEST, Duration::ZERO));
        assert!(!is_plausible(in_days(15), NEWEST, Duration::ZERO), "2036 at boot is one of them");
        // A server that runs for a year sees a year pass.
        assert!(is_plausible(in_days(365), NEWEST, days(352)));
        assert!(!is_plausible(in_days(365), NEWEST, days(350)));
        // A clock that is behind keeps everything anyway.
        assert!(is_plausible(0, NEWEST, Duration::ZERO));
    }

    #[test]
    fn a_start_with_a_wrong_clock_makes_it_believed_at_no_later_start() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Clock::of(data.path()).judge(in_days(1), NEWEST).unwrap(), Ok(()));
        let wrong = in_days(3_650);
        assert_eq!(Clock::of(data.path()).judge(wrong, in_days(1)).unwrap(), Err(in_days(1)));
        // Entries that were received by it, and another start.
        assert_eq!(Clock::of(data.path()).judge(wrong, wrong).unwrap(), Err(in_days(1)));
        assert_eq!(Clock::of(data.path()).judge(in_days(2), wrong).unwrap(), Ok(()));
    }

    #[test]
    fn a_server_with_few_entries_believes_the_time_that_it_saw_itself() {
        let data = tempfile::tempdir().unwrap();
        for days in [10, 20, 30, 40] {
            let found = Clock::of(data.path()).judge(in_days(days), NEWEST).unwrap();
            assert_eq!(found, Ok(()), "{days} days after the only entry");
        }
        assert_eq!(Clock::of(data.path()).judge(in_days(60), NEWEST).unwrap(), Err(in_days(40)));
    }

    #[test]
    fn a_clock_that_somebody_says_is_right_is_believed_from_then_on() {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::of(data.path());
        let now = || u64::try_from(Timestamp::now().as_nanosecond()).unwrap();
        assert_eq!(clock.judge(now(), 5).unwrap(), Err(5));
        assert_eq!(clock.confirmed().unwrap(), None);
        confirm_clock(data.path(), "os:anna".into(), "off for a month".into()).unwrap();
        let act = clock.confirmed().unwrap().unwrap();
        assert_eq!((act.actor.as_str(), act.reason.as_str()), ("os:anna", "off for a month"));
        clock.follow(&act).unwrap();
        assert_eq!(clock.confirmed().unwrap(), None);
        assert_eq!(clock.judge(now(), 5).unwrap(), Ok(()));
        assert_eq!(Clock::of(data.path()).judge(now(), 5).unwrap(), Ok(()));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_no_first_start() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(BELIEVED), "{").unwrap();
        let error = Clock::of(data.path()).judge(in_days(1), NEWEST).unwrap_err();
        assert!(error.to_string().contains("nothing is pruned"), "{error}");
    }
}
