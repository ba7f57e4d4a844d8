//! Places for all callers together, of which one credential gets half: one never keeps all others
//! out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places. Cheap to clone; clones are the same places.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    all: Arc<Semaphore>,
    share: usize,
    /// Of each owner that ever took one: as many as there are credentials at most.
    of: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// Places that were taken; dropping them gives them back.
#[derive(Debug)]
pub(super) struct Taken {
    _all: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The owner has all of its share.
    Own,
    /// All are taken.
    All,
}

impl Shares {
    pub(super) fn new(all: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(all)), share: all.div_ceil(2), of: Arc::default() }
    }

    /// Places of one owner.
    pub(super) fn share(&self) -> usize {
        self.share
    }

    fn own(&self, owner: &str) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let own = of.entry(owner.to_owned());
        Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    /// Takes places that are there now: of the owner's share first, where there is an owner.
    pub(super) fn try_take(&self, owner: Option<&str>, count: u32) -> Result<Taken, Full> {
        let own = owner.map(|owner| self.own(owner).try_acquire_many_owned(count));
        let own = own.transpose().map_err(|_| Full::Own)?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(count).map_err(|_| Full::All)?;
        Ok(Taken { _all: all, _own: own })
    }

    /// Takes one place, and waits that long for one of each.
    pub(super) async fn take(&self, owner: Option<&str>, within: Duration) -> Result<Taken, Full> {
        let wait = async |places: Arc<Semaphore>| {
            tokio::time::timeout(within, places.acquire_owned()).await.ok().and_then(Result::ok)
        };
        let own = match owner {
            Some(owner) => Some(wait(self.own(owner)).await.ok_or(Full::Own)?),
            None => None,
        };
        let all = wait(Arc::clone(&self.all)).await.ok_or(Full::All)?;
        Ok(Taken { _all: all, _own: own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_owner_gets_half_and_gives_it_back() {
        let shares = Shares::new(4);
        let one = shares.try_take(Some("a"), 2).unwrap();
        assert_eq!(shares.try_take(Some("a"), 1).unwrap_err(), Full::Own);
        let within = Duration::from_millis(5);
        assert_eq!(shares.take(Some("a"), within).await.unwrap_err(), Full::Own);
        let _other = shares.take(Some("b"), within).await.unwrap();
        let _nobody = shares.try_take(None, 1).unwrap();
        assert_eq!(shares.try_take(Some("b"), 1).unwrap_err(), Full::All);
        assert_eq!(shares.take(Some("c"), within).await.unwrap_err(), Full::All);
        drop(one);
        assert!(shares.try_take(Some("b"), 1).is_ok() && shares.try_take(Some("a"), 2).is_ok());
    }
}
