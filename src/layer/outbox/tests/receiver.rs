//! The receiver, and records that name their number.

use crate::layer::outbox::{
    Delivered, Delivery, Destination, Outbox, Policy, SendError, Sending, Settings, Signal,
    SpoolSettings,
};
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::sync::watch;

/// Far beyond what is ever needed.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);

/// A request as the receiver got it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) signal: Signal,
    pub(super) resource: Vec<u8>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) receipts: bool,
}

impl Request {
    /// Numbers of the records that tests pushed.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.records.iter().filter_map(|record| number_of(record)).collect()
    }
}

/// What the receiver does with a request.
pub(super) enum Answer {
    Take,
    With(Delivered),
    Fail(SendError),
    /// Answers nothing until the test lets it go on, then takes it.
    Hang,
}

pub(super) fn away() -> Answer {
    Answer::Fail(SendError::Later { after: None, reason: "away".to_owned() })
}

pub(super) fn never() -> Answer {
    Answer::Fail(SendError::Never { reason: "bad record".to_owned() })
}

type Behaviour = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

#[derive(Default)]
struct State {
    asked: Vec<Request>,
    taken: Vec<Request>,
}

/// A receiver in memory.
pub(super) struct Receiver {
    behaviour: Mutex<Behaviour>,
    state: Mutex<State>,
    changed: Condvar,
    go_on: watch::Sender<bool>,
}

impl Receiver {
    pub(super) fn new(behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(Box::new(behaviour)),
            state: Mutex::default(),
            changed: Condvar::new(),
            go_on: watch::Sender::new(false),
        })
    }

    pub(super) fn takes_all() -> Arc<Self> {
        Self::new(|_| Answer::Take)
    }

    pub(super) fn behave(&self, behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Lets requests that hang be taken, from now on.
    pub(super) fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    /// Waits for something that the receiver was asked or took.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        mut seen: impl FnMut(&[Request], &[Request]) -> Option<T>,
    ) -> T {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(seen) = seen(&state.asked, &state.taken) {
                return seen;
            }
            let (again, waited) = self.changed.wait_timeout(state, DEADLINE).unwrap();
            state = again;
            assert!(!waited.timed_out(), "waited {DEADLINE:?} in vain until {what}");
        }
    }

    pub(super) fn asked(&self) -> Vec<Request> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(super) fn taken(&self) -> Vec<Request> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Numbers in the order in which they were taken.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.taken().iter().flat_map(Request::numbers).collect()
    }

    /// What outboxes said themselves: name and attributes.
    pub(super) fn said(&self) -> Vec<Said> {
        self.taken().iter().flat_map(|it| it.records.clone()).filter_map(|it| said(&it)).collect()
    }

    /// Waits for a gap entry and gives all of them so far.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        self.wait("a gap is told", |_, taken| {
            let records = taken.iter().flat_map(|it| &it.records);
            let gaps: Vec<_> = records.filter_map(|it| said(it)?.gap()).collect();
            (!gaps.is_empty()).then_some(gaps)
        })
    }

    fn answer(&self, request: Request) -> Answer {
        let answer = (self.behaviour.lock().unwrap())(&request);
        self.state.lock().unwrap().asked.push(request);
        self.changed.notify_all();
        answer
    }

    fn take(&self, request: Request) {
        self.state.lock().unwrap().taken.push(request);
        self.changed.notify_all();
    }
}

impl Destination for Receiver {
    fn send(&self, signal: Signal, request: Bytes, receipts: bool) -> Sending<'_> {
        let request = read(signal, request, receipts);
        Box::pin(async move {
            match self.answer(request.clone()) {
                Answer::Take => {
                    self.take(request);
                    Ok(Delivered::default())
                }
                Answer::With(delivered) => {
                    self.take(request);
                    Ok(delivered)
                }
                Answer::Fail(error) => Err(error),
                Answer::Hang => {
                    self.go_on.subscribe().wait_for(|go_on| *go_on).await.unwrap();
                    self.take(request);
                    Ok(Delivered::default())
                }
            }
        })
    }
}

/// A record of a test: its number and some more bytes.
pub(super) fn record(number: u64, bytes: usize) -> Vec<u8> {
    let mut record = b"test".to_vec();
    record.extend(number.to_le_bytes());
    record.resize(bytes.max(12), b'.');
    record
}

pub(super) fn number_of(record: &[u8]) -> Option<u64> {
    let number = record.strip_prefix(b"test")?.first_chunk()?;
    Some(u64::from_le_bytes(*number))
}

/// Takes a number and pushes its record.
pub(super) fn push(outbox: &Outbox, bytes: usize) -> u64 {
    let number = outbox.number();
    outbox.push(Signal::Spans, number, &record(number, bytes));
    number
}

pub(super) fn resource(id: &str) -> Vec<u8> {
    format!("resource of {id}").into_bytes()
}

/// Settings of a spool, with short waits.
pub(super) fn spool(folder: &Path) -> Settings {
    quick(Settings::new(Policy::Spool(SpoolSettings::new(folder))))
}

pub(super) fn quick(settings: Settings) -> Settings {
    let retry_first = Duration::from_millis(1);
    Settings { retry_first, retry_most: Duration::from_millis(5), ..settings }
}

pub(super) fn start(settings: Settings, receiver: &Arc<Receiver>) -> Outbox {
    Outbox::start(settings, resource, receiver.clone()).unwrap()
}

/// Ends an outbox that has nobody to deliver to, at once.
pub(super) fn leave(outbox: &Outbox) -> Delivery {
    outbox.shutdown_blocking(Duration::ZERO)
}

/// Ends an outbox, and wants everything to be delivered.
pub(super) fn end(outbox: &Outbox) -> Delivery {
    let delivery = outbox.shutdown_blocking(DEADLINE);
    assert!(delivery.complete, "{delivery:?}");
    delivery
}

/// Runs a future without any runtime.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park();
    }
}

/// What an outbox said itself.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) event: String,
    pub(super) text: BTreeMap<String, String>,
    pub(super) numbers: BTreeMap<String, u64>,
}

/// A gap entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) instance: String,
    pub(super) first: u64,
    pub(super) last: Option<u64>,
    pub(super) reason: String,
}

impl Said {
    pub(super) fn gap(&self) -> Option<Gap> {
        if self.event != "spanledger.gap" {
            return None;
        }
        assert_eq!(self.text["spanledger.kind"], "gap");
        Some(Gap {
            instance: self.text["spanledger.instance.id"].clone(),
            first: self.numbers["spanledger.gap.first"],
            last: self.numbers.get("spanledger.gap.last").copied(),
            reason: self.text["spanledger.gap.reason"].clone(),
        })
    }
}

/// The numbers that gap entries tell, up to that one.
pub(super) fn told(gaps: &[Gap], up_to: u64) -> BTreeSet<u64> {
    gaps.iter().flat_map(|gap| gap.first..=gap.last.unwrap_or(up_to)).collect()
}

/// What the record says, if it is an outbox's own.
pub(super) fn said(record: &[u8]) -> Option<Said> {
    if number_of(record).is_some() {
        return None;
    }
    let log = Log::decode(record).unwrap();
    let mut said = Said { event: log.event, text: BTreeMap::new(), numbers: BTreeMap::new() };
    for pair in log.attributes {
        let value = pair.value.unwrap();
        said.text.extend(value.text.map(|text| (pair.key.clone(), text)));
        said.numbers.extend(value.number.map(|number| (pair.key, number.cast_unsigned())));
    }
    Some(said)
}

fn read(signal: Signal, request: Bytes, receipts: bool) -> Request {
    let mut resources = Export::decode(request).unwrap().resources;
    let Some(mut resource) = resources.pop() else {
        // It only asks whether this signal is taken.
        return Request { signal, resource: Vec::new(), records: Vec::new(), receipts };
    };
    assert!(resources.is_empty());
    let scope = resource.scopes.pop().unwrap();
    assert!(!scope.records.is_empty(), "a request without records");
    Request { signal, resource: resource.resource, records: scope.records, receipts }
}

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(bytes = "vec", tag = "1")]
    resource: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(bytes = "vec", repeated, tag = "2")]
    records: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Log {
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<Pair>,
    #[prost(string, tag = "12")]
    event: String,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}
