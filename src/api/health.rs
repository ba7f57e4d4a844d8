//! Whether the process lives, and whether it is ready to take evidence.
//!
//! Live and ready are different questions. A full disk makes a server not ready, and restarting it
//! would not help; a writer that died makes it not live, and only a restart helps.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use utoipa::ToSchema;

/// The state of the process, told by its parts and asked by `/healthz` and `/readyz`.
///
/// A new one is live and not ready: each part that must be up before evidence is taken names
/// itself at the start.
///
/// ```
/// use spanledger::api::Health;
/// let health = Health::starting(&["ledger"]);
/// assert!(health.is_live() && !health.is_ready());
/// health.ready("ledger");
/// assert!(health.is_ready());
/// health.not_ready("ledger", "the disk is full: free space, intake then goes on by itself");
/// assert!(health.is_live() && !health.is_ready());
/// ```
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    dead: Option<String>,
    reasons: BTreeMap<&'static str, String>,
    held_up: BTreeMap<&'static str, String>,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether evidence is taken.
    pub ready: bool,
    /// Why not: a sentence a part.
    pub reasons: Vec<String>,
    /// Exports that wait for something, and for what. Evidence is taken all the same: it is in the
    /// ledger, and goes there later.
    pub held_up: Vec<String>,
}

impl Health {
    /// Live, and not ready until each of these parts said that it is.
    pub fn starting(parts: &[&'static str]) -> Self {
        let reasons = parts.iter().map(|part| (*part, "starting".to_owned())).collect();
        Self {
            state: Mutex::new(State { reasons, ..State::default() }),
            stopping: AtomicBool::new(false),
        }
    }

    // A thread that panicked while it held this lock left two plain fields: they are still true.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That part is ready.
    pub fn ready(&self, part: &'static str) {
        self.state().reasons.remove(part);
    }

    /// That part cannot do its work for now, and what to do about it.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.state().reasons.insert(part, reason.into());
    }

    /// An export waits for something, and for what. The server is ready all the same.
    pub fn held_up(&self, part: &'static str, reason: impl Into<String>) {
        self.state().held_up.insert(part, reason.into());
    }

    /// An export waits for nothing any more.
    pub fn flows(&self, part: &'static str) {
        self.state().held_up.remove(part);
    }

    /// Takes what consumers wait for, and why the ledger takes nothing if it does not.
    pub fn see(
        &self,
        consumers: impl Iterator<Item = (&'static str, Option<String>)>,
        ledger: Option<String>,
    ) {
        for (name, trouble) in consumers {
            match trouble {
                Some(reason) => self.held_up(name, reason),
                None => self.flows(name),
            }
        }
        match ledger {
            Some(reason) => self.not_ready("ledger", reason),
            None => self.ready("ledger"),
        }
    }

    /// Only a restart helps.
    pub fn dead(&self, reason: impl Into<String>) {
        self.state().dead.get_or_insert(reason.into());
    }

    /// The process is on its way out: not ready, and nothing new will come.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.not_ready("process", "it is stopping");
    }

    /// Whether the process is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a restart is not called for.
    pub fn is_live(&self) -> bool {
        self.state().dead.is_none()
    }

    /// Whether evidence is taken.
    pub fn is_ready(&self) -> bool {
        self.readiness().ready
    }

    /// Whether evidence is taken, and why not.
    pub fn readiness(&self) -> Readiness {
        let state = self.state();
        let reasons: Vec<String> = state
            .dead
            .iter()
            .cloned()
            .chain(state.reasons.iter().map(|(part, reason)| format!("{part}: {reason}")))
            .collect();
        let held_up = state.held_up.iter();
        let held_up = held_up.map(|(part, reason)| format!("{part}: {reason}")).collect();
        Readiness { ready: reasons.is_empty(), reasons, held_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_the_last_part_is() {
        let health = Health::starting(&["ledger", "index"]);
        health.ready("index");
        assert_eq!(health.readiness().reasons, ["ledger: starting"]);
        health.ready("ledger");
        assert_eq!(health.readiness(), Readiness { ready: true, reasons: vec![], held_up: vec![] });
    }

    #[test]
    fn an_export_that_is_held_up_keeps_nobody_from_sending_evidence() {
        let health = Health::starting(&[]);
        health.held_up("elasticsearch", "no reply from http://es:9200");
        let readiness = health.readiness();
        assert!(readiness.ready);
        assert_eq!(readiness.held_up, ["elasticsearch: no reply from http://es:9200"]);
        health.flows("elasticsearch");
        assert_eq!(health.readiness().held_up, Vec::<String>::new());
    }

    #[test]
    fn what_is_dead_is_not_ready_and_stays_dead() {
        let health = Health::starting(&[]);
        health.dead("the ledger's writer stopped");
        health.dead("later");
        assert!(!health.is_live() && !health.is_ready());
        assert_eq!(health.readiness().reasons, ["the ledger's writer stopped"]);
    }
}
