//! The end of an outbox: deliver, say goodbye, stop, tell how far it came.

use super::pending::Urgent;
use super::shared::{Place, Shared};
use super::stats::Delivery;
use super::sync::timeout;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the writer has beyond the time to write what it holds and the goodbye: a second of a disk
/// that is slow, against a whole process told as ended without goodbye.
const GRACE: Duration = Duration::from_secs(1);

impl Shared {
    /// How far delivery came.
    pub(super) fn delivery(&self, complete: bool) -> Delivery {
        let kept = matches!(self.place, Place::Spool { .. });
        Delivery { complete, kept, stats: self.stats() }
    }

    /// What shutdown told, for those who ask again.
    pub(super) fn told_last(&self) -> Delivery {
        self.last.get().cloned().unwrap_or_else(|| self.delivery(false))
    }

    pub(super) async fn shutdown(self: Arc<Self>, within: Duration) -> Delivery {
        if self.closing.swap(true, Ordering::AcqRel) {
            // Another call is at it; its runtime ends with it.
            self.when(|it| it.writer_ended).await;
            return self.told_last();
        }
        self.again.notify_one();
        let drained = timeout(within, self.drain()).await.is_ok();
        self.take_pending();
        self.handover.close();
        // Whatever was not delivered is written, and the goodbye behind it.
        if matches!(self.place, Place::Spool { .. }) {
            let _ = timeout(GRACE, self.when(|it| it.goodbye)).await;
        }
        self.stop.store(true, Ordering::Release);
        self.handover.hurry();
        let ended = timeout(GRACE, self.when(|it| it.writer_ended)).await;
        if let Some(backlog) = Self::take(&self.backlog) {
            backlog.abort();
            let _ = backlog.await;
        }
        let progress = *self.progress.borrow();
        let complete =
            drained && ended.is_ok() && progress.goodbye && progress.done_to >= self.end();
        if let Some(instance) = Self::take(&self.instance)
            && complete
            && let Err(error) = instance.remove()
        {
            self.counters.spool_error.set(Some(format!("the spool cannot be removed: {error}")));
        }
        let delivery = self.delivery(complete);
        let _ = self.last.set(delivery.clone());
        self.halt.notify_one();
        delivery
    }

    /// Delivers everything, then the goodbye, then what was told meanwhile.
    async fn drain(&self) {
        self.take_pending();
        // Before the goodbye, so that what the receiver refuses is told before it.
        self.reach(self.handover.hurry()).await;
        self.handover.close();
        self.when(|it| it.goodbye).await;
        loop {
            let pushed = self.handover.hurry();
            self.reach(pushed).await;
            if self.handover.hurry() == pushed {
                return;
            }
        }
    }

    /// Records whose receipt somebody waits for wait like any other from now on, beside their
    /// own way.
    fn take_pending(&self) {
        for Urgent { signal, number, record } in self.pending.close() {
            self.handover.force(signal, number, &record);
        }
    }

    /// Nobody will push or ask any more: what is in memory is written, if there is a spool.
    pub(super) fn abandon(&self) {
        self.take_pending();
        self.handover.close();
        self.stop.store(true, Ordering::Release);
        self.handover.hurry();
        self.halt.notify_one();
    }
}
