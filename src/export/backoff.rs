//! How long to wait after a failure: twice as long each time, with jitter, up to a bound.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Waits that grow while failures follow each other.
///
/// ```
/// use spanledger::export::Backoff;
/// use std::time::Duration;
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// let first = backoff.next_wait();
/// assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    seed: u64,
}

impl Backoff {
    /// Waits that start with `first` and never exceed `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        // The standard library's seed is random: jitter needs no better.
        Self { first, longest, failures: 0, seed: RandomState::new().hash_one(first) }
    }

    /// How long to wait now: between half and all of the current step, so that many that failed
    /// together do not come back together.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let step = step.min(self.longest);
        self.failures = self.failures.saturating_add(1).min(31);
        // xorshift64: enough to be unlike one's neighbours.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let half = step.checked_div(2).unwrap_or_default();
        let nanoseconds = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let more = self.seed.checked_rem(nanoseconds.saturating_add(1)).unwrap_or(0);
        half.saturating_add(Duration::from_nanos(more))
    }

    /// After a success the next failure starts anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_anew_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        for step in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next_wait();
            let step = Duration::from_millis(step);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next_wait() <= longest);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
