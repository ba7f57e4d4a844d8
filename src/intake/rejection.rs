//! Entries about requests that were refused: what was tried is evidence too.
//!
//! A client that sends rubbish must not be able to fill the ledger with rejections of it, so they
//! are rate-limited per tenant (per address for those who have no credential), and each entry says how many more it stands for.

use super::{Intake, now_ns, own};
use crate::access::{Tenant, network};
use crate::entry::{Entry, EventPart, Kind, Rejection, format_ns};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Rejection entries that one tenant may cause at once: enough for each kind of mistake of a
/// client that is being set up.
const BURST: u32 = 32;

/// After a burst, one rejection entry of a tenant per this time.
const REFILL: Duration = Duration::from_secs(1);

/// Offenders whose allowance is kept. Tenants are as many as there are credentials; addresses are
/// as many as an attacker has, and beyond this number they share one allowance.
const MAX_OFFENDERS: usize = 4096;

/// Rejections that wait for their entry to be written. Beyond it they are withheld and counted.
const QUEUE: usize = 256;

impl RefusedRequest {
    /// A request of which nothing was read.
    pub fn new(endpoint: &'static str, status: u16, reason: String, peer: Option<IpAddr>) -> Self {
        Self { endpoint, status, reason, bytes: 0, hash: None, records: 0, peer }
    }
}

/// A request that was refused as a whole, or of which records were refused.
#[derive(Debug, Clone)]
pub struct RefusedRequest {
    /// Where it was sent: `/v1/traces`, `TraceService/Export`.
    pub endpoint: &'static str,
    /// HTTP status that was answered, or its equivalent of a gRPC status.
    pub status: u16,
    /// Why, as the client was told.
    pub reason: String,
    /// Size as received, bytes.
    pub bytes: u64,
    /// SHA-256 as received, when it was read to its end.
    pub hash: Option<[u8; 32]>,
    /// Records that were refused, when they could be counted.
    pub records: u64,
    /// Who sent it. Not stored: an address is personal data and proves nothing.
    pub peer: Option<IpAddr>,
}

/// Whose request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A tenant's, as its credential says.
    Tenant(&'a Tenant),
    /// A stranger's. The entry is the installation's own ([`Tenant::system`]): no tenant learns
    /// who knocks at the door.
    Stranger,
}

/// Who uses up an allowance: a tenant, or whoever sends from one address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Offender {
    Tenant(Tenant),
    Address(Option<IpAddr>),
}

impl Offender {
    fn of(from: Whose<'_>, peer: Option<IpAddr>) -> Self {
        match from {
            Whose::Tenant(tenant) => Self::Tenant(tenant.clone()),
            Whose::Stranger => Self::Address(peer.map(network)),
        }
    }
}

/// A rejection that gets an entry.
#[derive(Debug)]
pub(super) struct Work {
    tenant: Tenant,
    refused: RefusedRequest,
    withheld: u64,
    at_ns: u64,
}

/// The rate limit, and the queue to the task that writes.
#[derive(Debug)]
pub(super) struct Rejections {
    allowances: Mutex<HashMap<Offender, Allowance>>,
    queue: mpsc::Sender<Work>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled: Instant,
    withheld: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, refilled: now, withheld: 0 }
    }

    /// Whether it is as good as new. What it withheld stays counted in the metric.
    fn is_forgotten(&self, now: Instant) -> bool {
        let whole = REFILL.saturating_mul(BURST);
        now.saturating_duration_since(self.refilled) >= whole
    }

    /// Takes one; answers for how many withheld ones it stands, or `None` when there is none left.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let earned = now
            .saturating_duration_since(self.refilled)
            .as_millis()
            .checked_div(REFILL.as_millis());
        let earned = earned.unwrap_or_default();
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.withheld = self.withheld.saturating_add(1);
            return None;
        }
        self.left = self.left.saturating_sub(1);
        Some(std::mem::take(&mut self.withheld))
    }
}

impl Rejections {
    pub(super) fn new() -> (Self, mpsc::Receiver<Work>) {
        let (queue, work) = mpsc::channel(QUEUE);
        (Self { allowances: Mutex::default(), queue }, work)
    }

    /// Whether the rejection gets an entry of its own.
    pub(super) fn offer(&self, from: Whose<'_>, refused: RefusedRequest) -> bool {
        let Some(withheld) = self.take(Offender::of(from, refused.peer), Instant::now()) else {
            return false;
        };
        let tenant = match from {
            Whose::Tenant(tenant) => tenant.clone(),
            Whose::Stranger => Tenant::system(),
        };
        let offender = Offender::of(from, refused.peer);
        let sent = self.queue.try_send(Work { tenant, refused, withheld, at_ns: now_ns() });
        if sent.is_err() {
            self.give_back(&offender, withheld);
        }
        sent.is_ok()
    }
}

impl Rejections {
    /// The next entry of the offender stands for these, too.
    fn give_back(&self, offender: &Offender, withheld: u64) {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(allowance) = allowances.get_mut(offender) {
            let more = withheld.saturating_add(1);
            allowance.withheld = allowance.withheld.saturating_add(more);
        }
    }

    fn take(&self, offender: Offender, now: Instant) -> Option<u64> {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        if allowances.len() >= MAX_OFFENDERS && !allowances.contains_key(&offender) {
            allowances.retain(|_, allowance| !allowance.is_forgotten(now));
        }
        let offender = match offender {
            // A flood from everywhere: they share what is left.
            Offender::Address(_) if allowances.len() >= MAX_OFFENDERS => Offender::Address(None),
            offender => offender,
        };
        allowances.entry(offender).or_insert_with(|| Allowance::new(now)).take(now)
    }
}

/// Starts the task that writes rejection entries until the intake is gone.
pub(super) fn spawn(intake: &Intake, mut work: mpsc::Receiver<Work>) {
    let inner = std::sync::Arc::downgrade(&intake.0);
    tokio::spawn(async move {
        while let Some(work) = work.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            let intake = Intake(inner);
            if let Err(error) = own::append(&intake, &work.tenant, entry(&work), work.at_ns).await {
                tracing::warn!(%error, "a rejection could not be put on record");
            }
        }
    });
}

fn entry(work: &Work) -> Entry<'_> {
    let refused = &work.refused;
    let mut entry = Entry::new(Kind::Rejection);
    entry.timestamp = Cow::Owned(format_ns(work.at_ns));
    entry.message = Some(Cow::Owned(format!(
        "refused a request to {} with status {}: {}",
        refused.endpoint, refused.status, refused.reason
    )));
    entry.event = EventPart {
        action: Some("request.refused".into()),
        outcome: Some("failure".into()),
        dataset: Some("spanledger".into()),
        ..EventPart::default()
    };
    entry.audit.actor.id = Some("spanledger".into());
    entry.audit.actor.kind = Some("system".into());
    entry.audit.rejection = Rejection {
        reason: Some(refused.reason.as_str().into()),
        status: Some(refused.status),
        bytes: Some(refused.bytes),
        hash: refused.hash.map(|hash| Cow::Owned(hex(&hash))),
        records: (refused.records > 0).then_some(refused.records),
        endpoint: Some(refused.endpoint.into()),
        withheld: (work.withheld > 0).then_some(work.withheld),
        ..Rejection::default()
    };
    entry
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_many_addresses_shares_an_allowance_and_leaves_tenants_theirs() {
        let (rejections, _work) = Rejections::new();
        let now = Instant::now();
        let address = |n: u32| Offender::Address(Some(IpAddr::V4(n.into())));
        let given: usize = (0..3 * u32::try_from(MAX_OFFENDERS).unwrap())
            .filter(|n| rejections.take(address(*n), now).is_some())
            .count();
        assert_eq!(given, MAX_OFFENDERS + BURST as usize);
        let tenant = Offender::Tenant(Tenant::default());
        assert_eq!(rejections.take(tenant, now), Some(0));
        let later = now + REFILL * BURST;
        assert_eq!(rejections.take(address(u32::MAX), later), Some(0), "and is forgotten in time");
    }

    #[test]
    fn after_a_burst_rejections_are_withheld_and_the_next_entry_says_how_many() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..BURST {
            assert_eq!(allowance.take(start), Some(0));
        }
        assert_eq!(allowance.take(start), None);
        assert_eq!(allowance.take(start), None);
        assert_eq!(allowance.take(start + REFILL), Some(2));
        assert_eq!(allowance.take(start + REFILL), None);
    }
}
