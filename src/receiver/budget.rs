//! Memory for all requests together: taken before bytes are buffered, given back on drop.
//!
//! Nobody waits for memory. A request that finds none is told to come again, because a queue of
//! waiting requests would itself be memory, and their senders would time out in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that all requests share. Cheap to clone; clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

/// Why bytes were not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// Others use it now; later there may be room.
    #[error("the memory for requests is in use: send the request again later")]
    Now,
    /// One request that asks for more than all of it.
    #[error(
        "the request needs about {needed} bytes of memory, all requests have {limit}: send smaller requests"
    )]
    Never {
        /// Bytes that this request needs in all.
        needed: usize,
        /// Bytes that there are.
        limit: usize,
    },
}

/// What one request holds of a [`Budget`]; dropping it gives all of it back.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// A budget of that many bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }))
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in use.
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Bytes that there are.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// A permit that holds nothing yet.
    pub fn permit(&self) -> Permit {
        Permit { budget: self.clone(), held: 0 }
    }

    fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let limit = self.0.limit;
        // Relaxed is enough: the counter guards an amount, no other memory is read through it.
        let before = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map_err(|_| OverBudget::Now)?;
        self.0.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
        Ok(())
    }
}

impl Permit {
    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// [`OverBudget`]; what was held before stays held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let needed = self.held.saturating_add(bytes);
        let limit = self.budget.limit();
        if needed > limit {
            return Err(OverBudget::Never { needed, limit });
        }
        self.budget.take(bytes)?;
        self.held = needed;
        Ok(())
    }

    /// Holds exactly `bytes`, more or less than before.
    ///
    /// # Errors
    /// [`OverBudget`] when that is more and there is no room; then nothing changes.
    pub fn resize(&mut self, bytes: usize) -> Result<(), OverBudget> {
        if let Some(more) = bytes.checked_sub(self.held) {
            return self.grow(more);
        }
        let less = self.held.saturating_sub(bytes);
        self.budget.0.used.fetch_sub(less, Ordering::Relaxed);
        self.held = bytes;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// A buffer below this many bytes grows fourfold: most requests are smaller than four times it.
const SMALL_BYTES: usize = 128 * 1024;

/// Bytes that are charged before there is room for them.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    permit: Permit,
    most: usize,
}

impl Buffer {
    /// An empty buffer, which will never have to hold more than `most` bytes.
    pub(super) fn new(budget: &Budget, most: usize) -> Self {
        Self { bytes: Vec::new(), permit: budget.permit(), most }
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes and what was charged for them.
    pub(super) fn into_parts(self) -> (Vec<u8>, Permit) {
        (self.bytes, self.permit)
    }

    /// Makes room for `more` bytes. Capacity grows by a factor, up to the most that there will be,
    /// so that bytes are moved a constant number of times; a small buffer grows faster.
    ///
    /// # Errors
    /// [`OverBudget`]; what is in the buffer stays there.
    pub(super) fn reserve(&mut self, more: usize) -> Result<&mut Vec<u8>, OverBudget> {
        let needed = self.bytes.len().saturating_add(more);
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let factor = if capacity < SMALL_BYTES { 4 } else { 2 };
            let wanted = capacity.saturating_mul(factor).min(self.most).max(needed);
            self.permit.resize(wanted)?;
            self.bytes.reserve_exact(wanted.saturating_sub(self.bytes.len()));
        }
        Ok(&mut self.bytes)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`OverBudget`]; nothing is appended.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        self.reserve(bytes.len())?.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_request_could_never_get_is_told_apart_from_what_others_hold() {
        let budget = Budget::new(100);
        let mut first = budget.permit();
        first.grow(60).unwrap();
        let mut second = budget.permit();
        assert_eq!(second.grow(50), Err(OverBudget::Now));
        assert_eq!(second.grow(101), Err(OverBudget::Never { needed: 101, limit: 100 }));
        assert_eq!(first.grow(41), Err(OverBudget::Never { needed: 101, limit: 100 }));
        drop(first);
        second.grow(50).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_in_use_is_what_permits_hold(steps: Vec<(u8, u8)>) {
            let budget = Budget::new(400);
            let mut permits: Vec<Permit> = (0..4).map(|_| budget.permit()).collect();
            for (who, bytes) in steps {
                let permit = &mut permits[usize::from(who) % 4];
                let _ = if who & 4 == 0 { permit.resize(bytes.into()) } else { permit.grow(bytes.into()) };
                prop_assert_eq!(budget.used(), permits.iter().map(Permit::held).sum::<usize>());
                prop_assert!(budget.used() <= 400);
            }
            drop(permits);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
