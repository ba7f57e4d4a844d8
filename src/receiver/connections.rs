//! Who is connected to a port, and who makes room when all places are taken.
//!
//! A connection of HTTP/2 may be silent for [`connection_age`](super::Limits::connection_age): agents
//! keep theirs between two batches. When a new one comes and there is no place, the connection is
//! asked to leave that has been idle longest (no request under way, not even its body), of the
//! address that has most. It is told by GOAWAY: a request that is on its way is answered or was not
//! begun, so its client sends it again. HTTP/1.1 has no such word and needs none: an idle connection
//! is closed after [`header_timeout`](super::Limits::header_timeout).

use crate::access::network;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The connections of a port.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    most_per_address: usize,
    most_streams: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// What each address has.
    addresses: HashMap<IpAddr, Load>,
    /// Those that can be asked to leave.
    members: HashMap<u64, (IpAddr, Arc<Activity>)>,
}

#[derive(Debug, Default)]
struct Load {
    connections: usize,
    /// Streams of HTTP/2 under way, over all of its connections.
    streams: Arc<AtomicUsize>,
}

/// One connection of an address; dropping it gives its place back.
pub(super) struct Place {
    connections: Connections,
    address: IpAddr,
    number: u64,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    now: Mutex<Now>,
    leave: Notify,
    /// Those of its address.
    streams: Arc<AtomicUsize>,
    most_streams: usize,
}

#[derive(Debug)]
struct Now {
    requests: usize,
    /// When it last did something.
    since: Instant,
    /// Whether it was asked to leave.
    asked: bool,
}

/// A request under way; dropping it ends it.
pub(super) struct Busy(Arc<Activity>);

/// A connection that was asked to leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) address: IpAddr,
    pub(super) idle: Duration,
}

impl Connections {
    pub(super) fn new(most_per_address: usize, most_streams: usize) -> Self {
        Self {
            most_per_address: most_per_address.max(1),
            most_streams: most_streams.max(1),
            open: Arc::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, if the address has one left.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.open();
        let load = open.addresses.entry(address).or_default();
        if load.connections >= self.most_per_address {
            return None;
        }
        load.connections = load.connections.saturating_add(1);
        let number = open.next;
        open.next = number.wrapping_add(1);
        Some(Place { connections: self.clone(), address, number })
    }

    /// Asks the connection to leave that has been idle longest, of the address that has most of
    /// them. None if no connection has been idle for `at_least`.
    pub(super) fn ask_idle(&self, at_least: Duration) -> Option<Asked> {
        let open = self.open();
        // One moment for all of them: who is looked at later has not been idle longer for that.
        let now = Instant::now();
        let idle = open.members.values().filter_map(|(address, activity)| {
            let idle = activity.idle(now).filter(|idle| *idle >= at_least)?;
            Some((address, activity, idle))
        });
        let count = |address| open.addresses.get(address).map_or(0, |load| load.connections);
        let (address, activity, idle) =
            idle.min_by_key(|(address, _, idle)| Reverse((count(address), *idle)))?;
        activity.ask();
        Some(Asked { address: *address, idle })
    }
}

impl Place {
    /// Says what its connection is doing from now on, which may be asked to leave then.
    pub(super) fn join(&self) -> Arc<Activity> {
        let mut open = self.connections.open();
        let load = open.addresses.get(&self.address);
        let activity = Arc::new(Activity {
            now: Mutex::new(Now { requests: 0, since: Instant::now(), asked: false }),
            leave: Notify::new(),
            streams: load.map(|load| Arc::clone(&load.streams)).unwrap_or_default(),
            most_streams: self.connections.most_streams,
        });
        open.members.insert(self.number, (self.address, Arc::clone(&activity)));
        activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.members.remove(&self.number);
        if let Some(load) = open.addresses.get_mut(&self.address) {
            load.connections = load.connections.saturating_sub(1);
            if load.connections == 0 {
                open.addresses.remove(&self.address);
            }
        }
    }
}

impl Activity {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it ends when what this gives is dropped. None when its address has as
    /// many under way as it may.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let more =
            |streams: usize| (streams < self.most_streams).then(|| streams.saturating_add(1));
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let mut now = self.now();
        now.requests = now.requests.saturating_add(1);
        Some(Busy(Arc::clone(self)))
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.now().requests > 0
    }

    /// How long it had been doing nothing then; none while it does something, and once it was asked.
    fn idle(&self, then: Instant) -> Option<Duration> {
        let now = self.now();
        (now.requests == 0 && !now.asked).then(|| then.saturating_duration_since(now.since))
    }

    fn ask(&self) {
        self.now().asked = true;
        self.leave.notify_one();
    }

    /// Returns when it was asked to leave.
    pub(super) async fn asked(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        let mut now = self.0.now();
        now.requests = now.requests.saturating_sub(1);
        now.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_its_share_of_connections_and_gets_places_back() {
        let connections = Connections::new(2, 1);
        let first = connections.take(address(1));
        let _second = connections.take("::ffff:10.0.0.1".parse().unwrap());
        assert!(first.is_some() && connections.take(address(1)).is_none());
        assert!(connections.take(address(2)).is_some());
        drop(first);
        assert!(connections.take(address(1)).is_some());
        assert_eq!(connections.open().addresses.len(), 1, "who is gone is forgotten");
    }

    #[test]
    fn the_longest_idle_one_of_the_address_with_most_is_asked_and_nobody_twice() {
        let connections = Connections::new(9, 9);
        let places: Vec<_> =
            [1, 2, 2, 2].map(|last| connections.take(address(last)).unwrap()).into();
        let joined: Vec<_> = places.iter().map(Place::join).collect();
        let busy = joined[1].begin();
        // The second of them has done something since.
        drop(joined[2].begin());
        let asked = |at_least| connections.ask_idle(at_least).map(|asked| asked.address);
        assert_eq!(asked(Duration::from_hours(1)), None, "nobody has been idle that long");
        assert_eq!(asked(Duration::ZERO), Some(address(2)));
        assert!(joined[3].now().asked && !joined[2].now().asked);
        assert_eq!(asked(Duration::ZERO), Some(address(2)));
        assert!(joined[2].now().asked);
        assert_eq!(asked(Duration::ZERO), Some(address(1)), "the busy one of the other stays");
        assert_eq!(asked(Duration::ZERO), None);
        drop(busy);
        assert_eq!(asked(Duration::ZERO), Some(address(2)), "it is idle now");
        drop(places);
        assert!(connections.open().members.is_empty());
    }

    #[test]
    fn an_address_has_its_share_of_streams_over_all_its_connections() {
        let connections = Connections::new(9, 2);
        let places = [1, 1, 2].map(|last| connections.take(address(last)).unwrap());
        let [one, same, other] = [0, 1, 2].map(|at| places[at].join());
        let first = one.begin();
        let _second = same.begin().unwrap();
        assert!(first.is_some() && one.begin().is_none() && same.begin().is_none());
        assert!(other.begin().is_some());
        drop(first);
        assert!(same.begin().is_some());
    }

    #[tokio::test]
    async fn who_was_asked_before_it_looked_is_told() {
        let connections = Connections::new(1, 1);
        let place = connections.take(address(1)).unwrap();
        let activity = place.join();
        connections.ask_idle(Duration::ZERO).unwrap();
        activity.asked().await;
    }
}
