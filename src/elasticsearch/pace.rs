//! How much is sent at once: less at once when the cluster is busy, slowly more afterwards.
//!
//! Each sign of congestion (429, no reply, 5xx) halves the number of requests in flight; when that
//! is one, the size of a request. At most one step for the requests that were in flight together:
//! what was sent before the last step says nothing about it. Eight good replies in a row give a
//! quarter of the size back, or, at full size, one request more.

/// Smallest size of a bulk that congestion leads to, in bytes: below, the costs of a request
/// itself are what the cluster is busy with.
pub const MIN_BYTES: usize = 64 * 1024;

/// Good replies in a row for a step up.
const GOOD_FOR_A_STEP: u32 = 8;

/// Number and size of requests, between one and a maximum.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    max_in_flight: usize,
    max_bytes: usize,
    in_flight: usize,
    bytes: usize,
    good: u32,
    /// Requests begun, and the number of the first that was begun after the last step down.
    begun: u64,
    valid_from: u64,
}

impl Pace {
    /// Full pace.
    pub(super) fn new(max_in_flight: usize, max_bytes: usize) -> Self {
        let (max_in_flight, max_bytes) = (max_in_flight.max(1), max_bytes.max(1));
        Self {
            max_in_flight,
            max_bytes,
            in_flight: max_in_flight,
            bytes: max_bytes,
            good: 0,
            begun: 0,
            valid_from: 0,
        }
    }

    /// How many requests may be in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many bytes a request may have, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A request begins; gives its number.
    pub(super) fn begin(&mut self) -> u64 {
        self.begun = self.next_request();
        self.begun
    }

    /// The number of the request that begins next.
    pub(super) fn next_request(&self) -> u64 {
        self.begun.saturating_add(1)
    }

    /// The cluster took a request and was not busy.
    pub(super) fn good(&mut self) {
        self.good = self.good.saturating_add(1);
        if self.good < GOOD_FOR_A_STEP {
            return;
        }
        self.good = 0;
        if self.bytes < self.max_bytes {
            self.bytes = self.bytes.saturating_add(self.max_bytes / 4).min(self.max_bytes);
        } else {
            self.in_flight = self.in_flight.saturating_add(1).min(self.max_in_flight);
        }
    }

    /// The cluster was too busy for the request with that number.
    pub(super) fn congested(&mut self, request: u64) {
        self.good = 0;
        if request < self.valid_from {
            return;
        }
        self.valid_from = self.next_request();
        if self.in_flight > 1 {
            self.in_flight /= 2;
        } else {
            self.bytes = (self.bytes / 2).max(MIN_BYTES.min(self.max_bytes));
        }
    }

    /// A request of that many bytes was too large for something on the way (413). Lasts: what is
    /// larger would be refused again.
    pub(super) fn too_large(&mut self, bytes: usize) {
        let half = (bytes / 2).max(MIN_BYTES.min(self.max_bytes));
        self.max_bytes = self.max_bytes.min(half);
        self.bytes = self.bytes.min(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_storm_leads_to_one_small_request_and_calm_back_to_full_pace() {
        let mut pace = Pace::new(4, 1_000_000);
        for _ in 0..10 {
            let request = pace.begin();
            pace.congested(request);
        }
        assert_eq!((pace.in_flight(), pace.bytes()), (1, MIN_BYTES));
        for step in 0..8 * 7 {
            assert!(pace.in_flight() < 4, "slowly: {step}");
            pace.begin();
            pace.good();
        }
        assert_eq!((pace.in_flight(), pace.bytes()), (4, 1_000_000));
    }

    #[test]
    fn requests_that_were_in_flight_together_are_one_sign() {
        let mut pace = Pace::new(8, 1_000_000);
        let requests: Vec<u64> = (0..8).map(|_| pace.begin()).collect();
        for request in requests {
            pace.congested(request);
        }
        assert_eq!(pace.in_flight(), 4);
    }

    #[test]
    fn what_was_too_large_is_not_sent_again_at_that_size() {
        let mut pace = Pace::new(1, 5_000_000);
        pace.too_large(4_000_000);
        for _ in 0..1_000 {
            pace.begin();
            pace.good();
        }
        assert_eq!(pace.bytes(), 2_000_000);
    }

    proptest! {
        #[test]
        fn pace_stays_between_one_and_its_maximum(signs in proptest::collection::vec(0..3_u8, 0..200)) {
            let mut pace = Pace::new(4, 5_000_000);
            for sign in signs {
                let request = pace.begin();
                match sign {
                    0 => pace.good(),
                    1 => pace.congested(request),
                    _ => pace.too_large(pace.bytes()),
                }
                prop_assert!((1..=4).contains(&pace.in_flight()));
                prop_assert!((MIN_BYTES..=5_000_000).contains(&pace.bytes()));
            }
        }
    }
}
