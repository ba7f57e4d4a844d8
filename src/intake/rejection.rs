//! Entries about requests that were refused: what was tried is evidence too.
//!
//! A client that sends rubbish must not be able to fill the ledger with rejections of it, so they
//! are rate-limited per tenant, and each entry says how many more it stands for.

use super::draft::ledger_commitment;
use super::{Intake, now_ns};
use crate::access::Tenant;
use crate::entry::{Entry, EventPart, Kind, Rejection, format_ns};
use crate::ledger::{Batch, EntryId, NewEntry};
use sha2::{Digest, Sha256};
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

/// Rejections that wait for their entry to be written. Beyond it they are withheld and counted.
const QUEUE: usize = 256;

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
    allowances: Mutex<HashMap<Tenant, Allowance>>,
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
    pub(super) fn offer(&self, tenant: Tenant, refused: RefusedRequest) -> bool {
        let now = Instant::now();
        let withheld = {
            let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
            let allowance = allowances.entry(tenant.clone()).or_insert_with(|| Allowance::new(now));
            match allowance.take(now) {
                Some(withheld) => withheld,
                None => return false,
            }
        };
        self.queue.try_send(Work { tenant, refused, withheld, at_ns: now_ns() }).is_ok()
    }
}

/// Starts the task that writes rejection entries until the intake is gone.
pub(super) fn spawn(intake: &Intake, mut work: mpsc::Receiver<Work>) {
    let inner = std::sync::Arc::downgrade(&intake.0);
    tokio::spawn(async move {
        while let Some(work) = work.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            let intake = Intake(inner);
            if let Err(reason) = write(&intake, &work).await {
                tracing::warn!(reason, "a rejection could not be put on record");
            }
        }
    });
}

async fn write(intake: &Intake, work: &Work) -> Result<(), String> {
    let mut entry = entry(work);
    let inner = &intake.0;
    let mut body = Vec::new();
    let tenant = &work.tenant;
    let protector = inner.protector.tenant(tenant);
    let commitments = protector.write(&mut entry, &mut body).map_err(|error| error.to_string())?;
    let commitments: Vec<_> = commitments.into_iter().map(ledger_commitment).collect();
    let keys = protector.keys();
    let mut batch = Batch::new();
    // Two refusals of the same bytes are two events: the time keeps their ids apart.
    let mut digest = Sha256::new();
    digest.update(work.at_ns.to_le_bytes());
    digest.update(&body);
    batch
        .push(&NewEntry {
            id: EntryId(keys.entry_id(&digest.finalize().into())),
            tenant: tenant.name(),
            tenant_pseudonym: keys.pseudonym(),
            retention_class: 0,
            received_ns: work.at_ns,
            mapping_version: inner.mappings.version(),
            source_key: None,
            commitments: &commitments,
            body: &body,
        })
        .map_err(|error| error.to_string())?;
    inner.ledger.append(batch).await.map(drop).map_err(|error| error.to_string())
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
