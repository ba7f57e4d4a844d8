//! What holds the export up, in the log: a line when it has lasted, and a line when it is over.

use super::status::{ExporterState, ExporterStatus};
use std::time::{Duration, Instant};

/// How long the export is held up, or flows again, until that is told; and the shortest time
/// between two lines. A busy cluster slows requests down many times a second.
const LASTS: Duration = Duration::from_secs(2);

/// Looked at again and again by the thread of the sink.
#[derive(Debug)]
pub(super) struct Watch {
    /// What the last line said.
    told: ExporterState,
    /// Whether it flowed at the last look.
    flowed: bool,
    /// Since when that is so, or the last line was written.
    since: Instant,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { told: ExporterState::Running, flowed: true, since: now }
    }

    /// Writes a line when there is something new to tell.
    pub(super) fn look(&mut self, status: &ExporterStatus) {
        let Some(state) = self.news(status.state(), Instant::now()) else { return };
        if state == ExporterState::Running {
            tracing::info!("the export flows again");
            return;
        }
        tracing::warn!(
            state = state.as_str(),
            error = status.last_error().unwrap_or_default(),
            advice = state.advice().unwrap_or("it goes on by itself when the cluster replies"),
            "the export is held up; nothing is lost, it is tried again"
        );
    }

    /// The state when it differs from what was told and has lasted.
    fn news(&mut self, state: ExporterState, now: Instant) -> Option<ExporterState> {
        let flows = state == ExporterState::Running;
        if flows != self.flowed {
            self.flowed = flows;
            self.since = now;
        }
        if state == self.told || now.saturating_duration_since(self.since) < LASTS {
            return None;
        }
        self.told = state;
        self.since = now;
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Problem;
    use super::*;

    const FLOWS: ExporterState = ExporterState::Running;
    const BUSY: ExporterState = ExporterState::HeldUp(Problem::Busy);
    const KEY: ExporterState = ExporterState::HeldUp(Problem::Unauthorized);

    /// The lines of a state each half a second.
    fn lines(states: &[ExporterState]) -> Vec<(usize, ExporterState)> {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let mut now = start;
        let mut all = Vec::new();
        for (at, state) in states.iter().enumerate() {
            now += LASTS / 4;
            all.extend(watch.news(*state, now).map(|state| (at, state)));
        }
        all
    }

    #[test]
    fn what_lasts_is_told_once_and_that_it_is_over_once() {
        let states = [vec![FLOWS; 3], vec![KEY; 20], vec![FLOWS; 20]].concat();
        assert_eq!(lines(&states), [(7, KEY), (27, FLOWS)]);
    }

    #[test]
    fn what_passes_at_once_is_not_told_however_often_it_comes() {
        assert_eq!(lines(&[FLOWS, BUSY].repeat(100)), []);
    }

    #[test]
    fn another_thing_that_holds_it_up_is_told_too_but_not_many_times_a_second() {
        let changed = [vec![BUSY; 8], vec![KEY; 8]].concat();
        assert_eq!(lines(&changed), [(4, BUSY), (8, KEY)]);
        let count = lines(&[BUSY, KEY].repeat(50)).len();
        assert!((20..=25).contains(&count), "{count}");
    }
}
