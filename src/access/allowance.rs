//! How much may come in a second.

use std::time::Instant;

/// So many units in a second, and as many at once. What is larger gets through when anything is
/// left, and is paid for by waiting longer: it must get through at some time.
#[derive(Debug)]
pub(super) struct Allowance {
    each_second: f64,
    /// Below nothing after something large.
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(each_second: u64, now: Instant) -> Self {
        let each_second = units(each_second);
        Self { each_second, left: each_second, at: now }
    }

    /// Whether so many may come now; they are counted then.
    pub(super) fn take(&mut self, count: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.each_second).min(self.each_second);
        self.at = now;
        if self.left <= 0.0 {
            return false;
        }
        self.left -= units(count);
        true
    }
}

/// Exact up to 2^53, which is more than a machine receives in a second.
#[allow(clippy::cast_precision_loss)]
fn units(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_large_is_paid_for_by_waiting() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut allowance = Allowance::new(100, start);
        assert!(allowance.take(1000, start) && !allowance.take(1, start));
        assert!(!allowance.take(1, after(9)), "nine seconds pay for what was too much");
        assert!(allowance.take(100, after(10)) && !allowance.take(1, after(10)));
        assert!(
            allowance.take(100, after(99)) && !allowance.take(1, after(99)),
            "none is saved up"
        );
    }

    #[test]
    fn as_many_come_in_ten_seconds_as_ten_seconds_allow() {
        let start = Instant::now();
        let mut allowance = Allowance::new(7, start);
        let tries = (0..10_000).map(|ms| start + Duration::from_millis(ms));
        let came = tries.filter(|at| allowance.take(1, *at)).count();
        assert!((70..=78).contains(&came), "{came}");
    }
}
