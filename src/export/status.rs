//! State and lag of a consumer: plain numbers that anybody may read at any time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $word:literal;)*) => {
        /// What a consumer is doing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ConsumerState {
            $($(#[$doc])* $variant,)*
        }

        impl ConsumerState {
            /// Every state.
            pub const ALL: &'static [ConsumerState] = &[$(ConsumerState::$variant,)*];

            const fn code(self) -> u8 {
                match self { $(ConsumerState::$variant => $code,)* }
            }

            /// The word for it in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(ConsumerState::$variant => $word,)* }
            }
        }
    };
}

states! {
    /// The thread has not begun.
    Starting = 0, "starting";
    /// It has all entries and waits for more.
    Idle = 1, "idle";
    /// It brings entries.
    Running = 2, "running";
    /// It waits after a failure.
    Retrying = 3, "retrying";
    /// It ended as it was told.
    Stopped = 4, "stopped";
    /// It ended by itself: a defect of the program.
    Failed = 5, "failed";
}

/// State and lag of a consumer.
#[derive(Debug, Default)]
pub struct ConsumerStatus {
    state: AtomicU8,
    applied: AtomicU64,
    settled: AtomicU64,
    arrived: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<String>>,
    pub(super) stopping: AtomicBool,
}

impl ConsumerStatus {
    /// What it is doing.
    pub fn state(&self) -> ConsumerState {
        let code = self.state.load(Ordering::Relaxed);
        let found = ConsumerState::ALL.iter().find(|state| state.code() == code);
        found.copied().unwrap_or(ConsumerState::Starting)
    }

    /// Sequence after the last entry that the sink took.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Sequence up to which nothing is given again after a restart. Retention must not pass it.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    /// Sequence up to which everything is where the sink brings it. An index answers for what it
    /// took before that is settled; an exporter holds entries that are not in the cluster.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Failures since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What the last failure said; `None` once the sink works again.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many entries of a ledger with that watermark have not arrived.
    pub fn lag(&self, watermark: u64) -> u64 {
        watermark.saturating_sub(self.arrived())
    }

    /// What keeps it from its work, in a sentence; `None` while it works.
    pub fn trouble(&self) -> Option<String> {
        match (self.state(), self.last_error()) {
            (ConsumerState::Failed, _) => {
                Some("it ended by itself: restart the program and report this".to_owned())
            }
            (_, Some(error)) => Some(format!("it failed and is tried again: {error}")),
            (_, None) => None,
        }
    }

    pub(super) fn set_state(&self, state: ConsumerState) {
        self.state.store(state.code(), Ordering::Relaxed);
    }

    pub(super) fn set_applied(&self, sequence: u64) {
        self.applied.store(sequence, Ordering::Relaxed);
    }

    pub(super) fn set_settled(&self, sequence: u64) {
        self.settled.store(sequence, Ordering::Relaxed);
    }

    pub(super) fn set_arrived(&self, sequence: u64) {
        self.arrived.store(sequence, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self, error: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn note_success(&self) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it was told to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_what_failed_until_it_works_again_and_an_end_that_nobody_wanted() {
        let status = ConsumerStatus::default();
        assert_eq!(status.trouble(), None);
        status.note_failure("the disk is full".to_owned());
        status.set_state(ConsumerState::Running);
        assert!(status.trouble().unwrap().ends_with("the disk is full"));
        status.note_success();
        assert_eq!(status.trouble(), None);
        status.set_state(ConsumerState::Failed);
        assert!(status.trouble().unwrap().contains("restart"));
    }
}
