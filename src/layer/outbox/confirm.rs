//! One record ahead of all others, until the receiver says that it is durable.

use super::courier::Backoff;
use super::destination::{Delivered, SendError};
use super::numbers::Numbers;
use super::pending::Urgent;
use super::receipt::{Receipt, ReceiptError};
use super::records::{self, Gap, Lost};
use super::shared::Shared;
use super::sync::{Instant, sleep, timeout};
use std::time::Duration;

/// The longest wait between two tries: somebody waits for each.
const MOST_WAIT: Duration = Duration::from_secs(1);

impl Shared {
    /// Tries at once, whatever the backlog waits for, and again until the time has passed. Then
    /// the record waits with the others: the same bytes, so the same entry if both arrive.
    pub(super) async fn confirm(
        &self,
        urgent: Urgent,
        ticket: u64,
        within: Duration,
    ) -> Result<Receipt, ReceiptError> {
        let start = Instant::now();
        let mut last = "no try has ended".to_owned();
        let mut backoff = Backoff::new(&self.settings);
        let framing = &self.framing;
        let record = [&*urgent.record];
        let request = records::request(&framing.resource, &framing.scope, record.into_iter());
        loop {
            let left = within.saturating_sub(start.elapsed());
            let try_once = self.try_once(urgent.signal, request.clone(), true);
            match timeout(left, try_once).await {
                Ok(Ok(delivered)) => return self.confirmed(&urgent, ticket, delivered),
                Ok(Err(SendError::Never { reason } | SendError::TooLarge { reason })) => {
                    self.never(&urgent, ticket, &reason);
                    return Err(ReceiptError::Refused { reason });
                }
                Ok(Err(
                    SendError::Later { reason, .. }
                    | SendError::Broken { reason }
                    | SendError::Unserved { reason },
                )) => {
                    last = reason;
                }
                Err(_) => break,
            }
            let left = within.saturating_sub(start.elapsed());
            sleep(backoff.next().min(MOST_WAIT).min(left)).await;
            if start.elapsed() >= within {
                break;
            }
        }
        self.pending.settle(ticket, |urgent| {
            self.handover.force(urgent.signal, urgent.number, &urgent.record);
        });
        Err(ReceiptError::Deadline { within, last })
    }

    fn confirmed(
        &self,
        urgent: &Urgent,
        ticket: u64,
        delivered: Delivered,
    ) -> Result<Receipt, ReceiptError> {
        if delivered.refused > 0 {
            let reason = delivered.why.unwrap_or_else(|| "it did not say why".to_owned());
            self.never(urgent, ticket, &reason);
            return Err(ReceiptError::Refused { reason });
        }
        self.counters.delivered.add(1);
        self.pending.settle(ticket, |urgent| self.handover.covered(urgent.number));
        // The receiver answers: no need for the backlog to wait any longer.
        self.again.notify_one();
        delivered.receipts.first().copied().ok_or(ReceiptError::NoReceipt)
    }

    fn never(&self, urgent: &Urgent, ticket: u64, reason: &str) {
        // Otherwise the outbox closes, and the backlog finds out by itself.
        let tell = |urgent: &Urgent| {
            let (mut numbers, reason) = (Numbers::default(), reason.to_owned());
            numbers.insert(urgent.number);
            self.tell(Gap::of(&self.id, Lost { numbers, reason }));
        };
        if self.pending.settle(ticket, tell) {
            self.refused(&self.id, urgent.signal, urgent.number, &urgent.record);
        }
    }
}
