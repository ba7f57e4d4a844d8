//! Delivering the records of a window: each is acknowledged, or refused for ever and told.

use super::destination::{Delivered, SendError, Signal};
use super::frame::Frame;
use super::numbers::Numbers;
use super::records::{self, Lost};
use super::settings::Settings;
use super::shared::{Place, Shared};
use super::spool::instance::Framing;
use super::spool::refused::RefusedFile;
use super::sync::timeout;
use super::window::Window;
use bytes::Bytes;
use std::sync::PoisonError;
use std::time::Duration;

/// The longest wait that a receiver can ask for: what it says may be wrong.
const MOST_ASKED: Duration = Duration::from_mins(10);

/// The longest wait between two tries when the process is about to end.
const WHILE_CLOSING: Duration = Duration::from_millis(500);

/// Tries of a request over which the receiver breaks, before it is asked to take another one.
const BROKEN_TRIES: u32 = 3;

/// Answers in a row that nobody takes a signal, before it is asked whether the other one is taken.
const UNSERVED_TRIES: u32 = 3;

impl Shared {
    /// Sends all records of a window, however long it takes: spans in one request and log
    /// records in another, each in the order in which they were handed over. Gives those that will
    /// never be taken.
    pub(super) async fn deliver(
        &self,
        instance: &str,
        framing: &Framing,
        window: &Window,
    ) -> Vec<Lost> {
        let first = window.frames.first().and_then(Frame::signal).unwrap_or(Signal::Spans);
        let mut lost: Vec<Lost> = window.lost.iter().cloned().collect();
        for signal in [first, first.other()] {
            let of_signal = window.frames.iter().filter(|frame| frame.signal() == Some(signal));
            let frames: Vec<&Frame> = of_signal.collect();
            if !frames.is_empty() {
                let load = Load { instance, framing, data: &window.data, signal };
                lost.extend(self.deliver_one_signal(&load, &frames).await);
            }
        }
        lost
    }

    /// Sends records of one signal. Gives those that will never be taken.
    async fn deliver_one_signal(&self, load: &Load<'_>, frames: &[&Frame]) -> Vec<Lost> {
        let mut parts = vec![frames];
        let mut lost = Vec::new();
        while let Some(part) = parts.pop() {
            let records = part.iter().map(|frame| frame.bytes(load.data));
            let request = records::request(&load.framing.resource, &load.framing.scope, records);
            match self.send_until_answered(load.signal, request).await {
                Ok(delivered) => lost.extend(self.acknowledged(part, delivered)),
                Err(GivenUp { reason, all: true }) => {
                    for frame in part {
                        let record = frame.bytes(load.data);
                        self.refused(load.instance, load.signal, frame.number, record);
                    }
                    // What tells a gap is a log record itself.
                    if load.signal == Signal::Spans {
                        lost.extend(lost_of(part, reason));
                    }
                }
                Err(GivenUp { reason, all: false }) => {
                    if let [only] = part {
                        let record = only.bytes(load.data);
                        self.refused(load.instance, load.signal, only.number, record);
                        lost.extend(lost_of(part, reason));
                    } else {
                        // It is one of them: found by halves, the early ones first.
                        let (early, late) = part.split_at(part.len() >> 1);
                        parts.extend([late, early]);
                    }
                }
            }
        }
        lost
    }

    fn acknowledged(&self, part: &[&Frame], delivered: Delivered) -> Option<Lost> {
        let all = part.len() as u64;
        let refused = delivered.refused.min(all);
        self.counters.delivered.add(all.saturating_sub(refused));
        if refused == 0 {
            return None;
        }
        self.counters.refused.add(refused);
        let why = delivered.why.unwrap_or_else(|| "it did not say why".to_owned());
        lost_of(part, format!("the receiver refused {refused} of these {all}: {why}"))
    }

    /// Counts and keeps a record that the receiver will never take.
    pub(super) fn refused(&self, instance: &str, signal: Signal, number: u64, record: &[u8]) {
        self.counters.refused.add(1);
        if let Place::Spool { root, .. } = &self.place {
            let file = RefusedFile::new(root, instance);
            if let Err(error) = file.keep(signal, number, record) {
                self.counters.spool_error.set(Some(format!("refused records: {error}")));
            }
        }
    }

    async fn send_until_answered(
        &self,
        signal: Signal,
        request: Bytes,
    ) -> Result<Delivered, GivenUp> {
        let one = |reason| Err(GivenUp { reason, all: false });
        let mut backoff = Backoff::new(&self.settings);
        let (mut broken, mut unserved) = (0_u32, 0_u32);
        let mut takes_others = false;
        loop {
            let (after, reason) = match self.try_once(signal, request.clone(), false).await {
                Ok(delivered) => {
                    self.counters.send_error.set(None);
                    self.note_unserved(|of| of.filter(|unserved| *unserved != signal));
                    return Ok(delivered);
                }
                Err(SendError::Later { after, reason }) => {
                    (broken, unserved, takes_others) = (0, 0, false);
                    (after, reason)
                }
                // It took another request just now, and breaks over this one again.
                Err(SendError::Broken { reason }) if takes_others => return one(reason),
                Err(SendError::Broken { reason }) => {
                    broken = broken.saturating_add(1);
                    takes_others = broken >= BROKEN_TRIES && self.takes_something_else().await;
                    if takes_others {
                        continue;
                    }
                    (None, reason)
                }
                Err(SendError::Unserved { reason }) => {
                    unserved = unserved.saturating_add(1);
                    let known = self.note_unserved(|of| of) == Some(signal);
                    let sure = known || unserved >= UNSERVED_TRIES;
                    if sure && self.takes_the_other(signal).await {
                        self.note_unserved(|_| Some(signal));
                        self.counters.send_error.set(Some(reason.clone()));
                        return Err(GivenUp { reason, all: true });
                    }
                    (None, reason)
                }
                Err(SendError::Never { reason } | SendError::TooLarge { reason }) => {
                    self.counters.send_error.set(Some(reason.clone()));
                    return one(reason);
                }
            };
            self.counters.retries.add(1);
            self.counters.send_error.set(Some(reason));
            let mut wait = backoff.next().max(after.unwrap_or_default().min(MOST_ASKED));
            if self.is_closing() {
                wait = wait.min(WHILE_CLOSING);
            }
            let _ = timeout(wait, self.again.notified()).await;
        }
    }

    /// Whether the receiver takes the hello once more, which it has already.
    async fn takes_something_else(&self) -> bool {
        let framing = &self.framing;
        let hello = [&*self.hello].into_iter();
        let request = records::request(&framing.resource, &framing.scope, hello);
        self.try_once(Signal::Logs, request, false).await.is_ok()
    }

    fn note_unserved(
        &self,
        change: impl FnOnce(Option<Signal>) -> Option<Signal>,
    ) -> Option<Signal> {
        let mut unserved = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        *unserved = change(*unserved);
        *unserved
    }

    /// Whether the receiver takes a request of the other signal, one without records.
    async fn takes_the_other(&self, signal: Signal) -> bool {
        self.try_once(signal.other(), Bytes::new(), false).await.is_ok()
    }

    pub(super) async fn try_once(
        &self,
        signal: Signal,
        request: Bytes,
        receipts: bool,
    ) -> Result<Delivered, SendError> {
        let within = self.settings.request_timeout;
        let sent = self.destination.send(signal, request, receipts);
        timeout(within, sent).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {within:?}");
            Err(SendError::Later { after: None, reason })
        })
    }
}

/// The numbers of these records. What the outbox itself says (number 0) is not told: it would be
/// refused for ever.
fn lost_of(part: &[&Frame], reason: String) -> Option<Lost> {
    let mut numbers = Numbers::default();
    let of_records = part.iter().map(|frame| frame.number).filter(|number| *number > 0);
    of_records.for_each(|number| numbers.insert(number));
    (!numbers.is_empty()).then_some(Lost { numbers, reason })
}

/// Why records are given up.
struct GivenUp {
    reason: String,
    /// All records of the request; else one of them, or the request for its size.
    all: bool,
}

/// What a part of a window has in common.
struct Load<'a> {
    instance: &'a str,
    framing: &'a Framing,
    data: &'a Bytes,
    signal: Signal,
}

/// Waits that double up to a bound, each shortened by up to half so that agents which failed
/// together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { next: settings.retry_first, most: settings.retry_most }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.min(self.most);
        self.next = wait.saturating_mul(2);
        // Without random bytes: no jitter, which costs a crowd and no record.
        let part = getrandom::u32().unwrap_or(u32::MAX);
        wait.mul_f64(0.5 + f64::from(part) / f64::from(u32::MAX) / 2.0)
    }
}
