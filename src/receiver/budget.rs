//! Memory for all requests together: taken before bytes are buffered, given back on drop.
//!
//! Nobody waits for memory. A request that finds none is told to come again, because a queue of
//! waiting requests would itself be memory, and their senders would time out in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number of bytes that all requests share. Cheap to clone; clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    /// Bytes that the requests of one owner hold together; absent for requests of nobody.
    own: Option<Arc<AtomicUsize>>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    share: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    /// By owner. As many as there are credentials at most.
    owners: Mutex<HashMap<String, Arc<AtomicUsize>>>,
}

/// Why bytes were not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// Others use it now; later there may be room.
    #[error("the memory for requests is in use: send the request again later")]
    Now,
    /// Others of the same owner use as much as one owner may.
    #[error(
        "requests of this credential hold as much memory as they may: send the request again later"
    )]
    Share,
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
    /// A budget of `limit` bytes, of which the requests of one owner get `share`.
    pub fn new(limit: usize, share: usize) -> Self {
        let shared = Shared {
            limit,
            share,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            owners: Mutex::default(),
        };
        Self { shared: Arc::new(shared), own: None }
    }

    /// The same budget, for a request of that owner.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        let mut owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let own = match owners.get(owner) {
            Some(own) => Arc::clone(own),
            None => Arc::clone(owners.entry(owner.to_owned()).or_default()),
        };
        Self { shared: Arc::clone(&self.shared), own: Some(own) }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in use.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// Bytes that there are.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    /// A permit that holds nothing yet.
    pub fn permit(&self) -> Permit {
        Permit { budget: self.clone(), held: 0 }
    }

    /// Takes bytes for a request that holds some already.
    fn take(&self, bytes: usize, held: usize) -> Result<(), OverBudget> {
        self.take_own(bytes, held)?;
        let taken = self.take_shared(bytes);
        if taken.is_err() {
            self.give_own(bytes);
        }
        taken
    }

    fn take_own(&self, bytes: usize, held: usize) -> Result<(), OverBudget> {
        let Some(own) = &self.own else { return Ok(()) };
        let share = self.shared.share;
        // The only request of its owner takes nothing from another of it.
        let fits =
            |used: usize| used.checked_add(bytes).filter(|sum| *sum <= share || used <= held);
        let taken = own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map(drop).map_err(|_| OverBudget::Share)
    }

    fn take_shared(&self, bytes: usize) -> Result<(), OverBudget> {
        let limit = self.shared.limit;
        // Relaxed is enough: the counter guards an amount, no other memory is read through it.
        let before = self
            .shared
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map_err(|_| OverBudget::Now)?;
        self.shared.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.shared.used.fetch_sub(bytes, Ordering::Relaxed);
        self.give_own(bytes);
    }

    fn give_own(&self, bytes: usize) {
        if let Some(own) = &self.own {
            own.fetch_sub(bytes, Ordering::Relaxed);
        }
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
        self.budget.take(bytes, self.held)?;
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
        self.budget.give(less);
        self.held = bytes;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give(self.held);
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
        let budget = Budget::new(100, 100);
        let mut first = budget.permit();
        first.grow(60).unwrap();
        let mut second = budget.permit();
        assert_eq!(second.grow(50), Err(OverBudget::Now));
        assert_eq!(second.grow(101), Err(OverBudget::Never { needed: 101, limit: 100 }));
        assert_eq!(first.grow(41), Err(OverBudget::Never { needed: 101, limit: 100 }));
        drop(first);
        second.grow(50).unwrap();
    }

    #[test]
    fn one_owner_leaves_room_for_another_but_a_single_request_may_have_it_all() {
        let budget = Budget::new(100, 50);
        let (ours, theirs) = (budget.of("a"), budget.of("b"));
        let mut first = ours.permit();
        first.grow(40).unwrap();
        let mut second = ours.permit();
        assert_eq!(second.grow(20), Err(OverBudget::Share));
        let mut other = theirs.permit();
        other.grow(50).unwrap();
        drop(other);
        first.grow(60).unwrap();
        assert_eq!(theirs.permit().grow(1), Err(OverBudget::Now));
        drop(first);
        second.grow(100).unwrap();
        assert_eq!(budget.of("b").permit().grow(1), Err(OverBudget::Now), "and nothing leaks");
    }

    proptest! {
        #[test]
        fn what_is_in_use_is_what_permits_hold(steps: Vec<(u8, u8)>) {
            let budget = Budget::new(400, 250);
            let owners = ["a", "a", "b"].map(|owner| budget.of(owner));
            let mut permits: Vec<Permit> = owners.iter().map(Budget::permit).collect();
            permits.push(budget.permit());
            for (who, bytes) in steps {
                let permit = &mut permits[usize::from(who) % 4];
                let _ = if who & 4 == 0 { permit.resize(bytes.into()) } else { permit.grow(bytes.into()) };
                prop_assert_eq!(budget.used(), permits.iter().map(Permit::held).sum::<usize>());
                prop_assert!(budget.used() <= 400);
                let own = permits[0].held() + permits[1].held();
                prop_assert!(own <= 250 || permits[0].held() == own || permits[1].held() == own);
                prop_assert_eq!(owners[0].own.as_ref().unwrap().load(Ordering::Relaxed), own);
            }
            drop(permits);
            prop_assert_eq!(budget.used(), 0);
            prop_assert_eq!(owners[2].own.as_ref().unwrap().load(Ordering::Relaxed), 0);
        }
    }
}
