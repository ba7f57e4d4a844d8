//! A few threads each, and what must hold when they are through, in whatever order they took turns.
//!
//! Each function runs one model through all its orders and panics at the first in which something does
//! not hold. Where that would take too long, `preemptions` bounds how often a thread is taken its turn in
//! the middle of its work, and of the models with all threads the first [`MOST`] orders are seen.

use super::backlog::Backlog;
use super::destination::{Delivered, Destination, SendError, Sending, Signal};
use super::frame::{HEAD_BYTES, head};
use super::handover::Handover;
use super::memory::Slot;
use super::numbers::Numbers;
use super::pending::{Pending, Urgent};
use super::receipt::{Receipt, ReceiptError};
use super::records;
use super::settings::{Policy, Settings, SpoolSettings, WhenFull};
use super::shared::{Place, Progress, Shared};
use super::spool::instance::{Framing, Instance};
use super::spool::shelf::Shelf;
use super::spool::writer::SpoolWriter;
use super::stats::Counters;
use super::sync::{AtomicBool, JoinHandle, Mutex, NEVER, Notify, spawn, watch};
use super::writer::{self, Store};
use bytes::Bytes;
use loom::future::block_on;
use loom::thread;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Orders that are tried of a model with all threads: some seconds.
const MOST: usize = 1_500;

/// How long agents wait for room where they wait for ever.
const EVER: Duration = Duration::from_hours(1);

/// Bytes of a record: `record-0001`.
const RECORD: usize = 11;

/// What one frame takes in the buffer.
const FRAME: usize = RECORD + HEAD_BYTES;

fn record(number: u64) -> Vec<u8> {
    format!("record-{number:04}").into_bytes()
}

/// Numbers of records that stand in these bytes, whatever is around them, once for each time.
fn records_in(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    text.split("record-").skip(1).filter_map(|rest| rest.get(..4)?.parse().ok()).collect()
}

/// Numbers that gap entries in these bytes tell.
fn told_in(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let one = text.split("record ").skip(1).filter_map(|rest| {
        let number = rest.split_once(" is missing")?.0.parse().ok()?;
        Some((number, number))
    });
    let several = text.split("records ").skip(1).filter_map(|rest| {
        let (first, last) = rest.split_once(" are missing")?.0.split_once(" to ")?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    one.chain(several).flat_map(|(first, last): (u64, u64)| first..=last).collect()
}

fn settings(policy: Policy, buffer_bytes: usize) -> Settings {
    // Whoever looks only because time passed would hide that nobody woke him.
    let look_for_left = NEVER;
    let request_timeout = NEVER;
    let limits = Settings { buffer_bytes, max_record_bytes: 64, ..Settings::new(policy) };
    Settings { look_for_left, request_timeout, ..limits }
}

/// Tries every order of a model. Says how many there were.
fn every_order(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> usize {
    orders(preemptions, None, model)
}

/// Tries the first orders in which a thread is taken its turn once.
fn first_orders(model: impl Fn() + Send + Sync + 'static) -> usize {
    orders(Some(1), Some(MOST), model)
}

fn orders(
    preemptions: Option<usize>,
    most: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = orders.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_permutations = most;
    builder.max_branches = 20_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    orders.load(Ordering::Relaxed)
}

// ── the buffer between agents' threads and the writer ───────────────────────────────────────────

/// Two agents push, the last one closes, and the writer takes until it hears so. Gives what became of
/// each number.
fn pushed_and_taken(when_full: WhenFull, frames: usize, pushes: [u64; 2]) {
    let settings = settings(Policy::Memory(when_full), frames * FRAME);
    let handover = Arc::new(Handover::new(&settings));
    let agent = |numbers: std::ops::Range<u64>, first: Option<thread::JoinHandle<()>>| {
        let handover = handover.clone();
        thread::spawn(move || {
            for number in numbers {
                handover.push(Signal::Spans, number, &record(number));
            }
            if let Some(first) = first {
                first.join().unwrap();
                handover.close();
            }
        })
    };
    let [first, second] = pushes;
    let one = agent(1..first + 1, None);
    let both = agent(first + 1..first + second + 1, Some(one));
    let (mut arrived, mut told) = (Vec::new(), Numbers::default());
    loop {
        let mut chunk = Vec::new();
        let taken = handover.take(&mut chunk, "model");
        arrived.extend(records_in(&chunk));
        taken.gaps.iter().for_each(|gap| told.extend(&gap.numbers));
        if taken.closed {
            break;
        }
    }
    both.join().unwrap();
    let counts = handover.counts();
    let told: Vec<u64> = told.ranges().flat_map(|(first, last)| first..=last).collect();
    assert_eq!((counts.bytes, counts.too_late), (0, 0), "nothing comes behind the end");
    assert_eq!((counts.records, counts.lost), (arrived.len() as u64, told.len() as u64));
    let mut all = [arrived, told.clone()].concat();
    all.sort_unstable();
    let pushed = first + second;
    assert!((1..=pushed).eq(all), "each number arrives or is told, once");
    if when_full == (WhenFull::Block { within: EVER }) {
        assert_eq!(told, [], "who waits without a deadline loses nothing");
    }
}

/// There is room for one record: the others are lost and told.
pub fn a_full_buffer_tells_what_it_does_not_take() -> usize {
    every_order(None, || pushed_and_taken(WhenFull::Gap, 1, [1, 1]))
}

/// There is room for one record, and agents wait for it as long as it takes.
pub fn agents_that_wait_for_room_are_woken() -> usize {
    every_order(Some(2), || pushed_and_taken(WhenFull::Block { within: EVER }, 1, [2, 1]))
}

/// The same with a deadline that can pass at any moment.
pub fn agents_whose_time_passes_are_told() -> usize {
    let within = Duration::from_millis(500);
    every_order(Some(3), move || pushed_and_taken(WhenFull::Block { within }, 1, [1, 2]))
}

/// Somebody closes while two push: what comes too late is counted as that, and the writer hears of
/// the end whatever it was about to do.
pub fn a_close_between_pushes_is_heard_and_loses_nothing() -> usize {
    every_order(Some(2), || {
        let settings = settings(Policy::Memory(WhenFull::Block { within: EVER }), FRAME);
        let handover = Arc::new(Handover::new(&settings));
        let agents = [1, 2].map(|number| {
            let handover = handover.clone();
            thread::spawn(move || handover.push(Signal::Spans, number, &record(number)))
        });
        let closing = handover.clone();
        let closing = thread::spawn(move || closing.close());
        let mut arrived = Vec::new();
        loop {
            let mut chunk = Vec::new();
            let taken = handover.take(&mut chunk, "model");
            arrived.extend(records_in(&chunk));
            if taken.closed {
                break;
            }
        }
        agents.into_iter().chain([closing]).for_each(|thread| thread.join().unwrap());
        let counts = handover.counts();
        assert_eq!(counts.records, arrived.len() as u64);
        assert_eq!((counts.records + counts.too_late, counts.bytes), (2, 0));
    })
}

// ── the outbox, but for its network and its runtime ─────────────────────────────────────────────

/// A receiver that takes everything, or says "later" some times before. What it took.
#[derive(Default)]
struct Receiver {
    laters: AtomicUsize,
    taken: std::sync::Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    records: Vec<u64>,
    told: Vec<u64>,
    goodbyes: usize,
}

impl Destination for Receiver {
    fn send(&self, _: Signal, request: Bytes, _: bool) -> Sending<'_> {
        Box::pin(async move {
            let later = |left: usize| left.checked_sub(1);
            if self.laters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok() {
                return Err(SendError::Later { after: None, reason: "away".to_owned() });
            }
            let mut taken = self.taken.lock().unwrap();
            taken.records.extend(records_in(&request));
            taken.told.extend(told_in(&request));
            let text = String::from_utf8_lossy(&request);
            taken.goodbyes += text.matches("spanledger.instance.end").count();
            let receipt = Receipt { sequence: 7, leaf_hash: [7; 32] };
            Ok(Delivered { refused: 0, why: None, receipts: vec![receipt] })
        })
    }
}

struct Model {
    shared: Arc<Shared>,
    receiver: Arc<Receiver>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Model {
    fn new(settings: Settings, place: Place, laters: usize) -> Self {
        let receiver = Arc::new(Receiver { laters: AtomicUsize::new(laters), ..<_>::default() });
        let shared = Arc::new(Shared {
            handover: Handover::new(&settings),
            hello: Vec::new(),
            id: "model".to_owned(),
            settings,
            framing: Framing::default(),
            destination: receiver.clone(),
            place,
            counters: Counters::default(),
            progress: watch::Sender::new(Progress::default()),
            pending: Pending::default(),
            data: Notify::new(),
            again: Notify::new(),
            halt: Notify::new(),
            closing: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            instance: Mutex::new(None),
            backlog: Mutex::new(None),
            unserved: Mutex::default(),
            last: OnceLock::new(),
        });
        Self { shared, receiver, writer: None }
    }

    fn write(&mut self, store: Store) {
        let shared = self.shared.clone();
        self.writer = Some(thread::spawn(move || writer::run(&shared, store)));
    }

    /// Nobody takes what waits.
    fn without_threads(laters: usize) -> Self {
        let block = Policy::Memory(WhenFull::Block { within: EVER });
        Self::new(settings(block, 4 * FRAME), Place::Memory(Slot::default()), laters)
    }

    /// Records wait in memory; with the writer's thread and the sender's.
    fn in_memory(laters: usize) -> Self {
        let mut model = Self::without_threads(laters);
        let task = spawn(Backlog::new(model.shared.clone(), None).run());
        *model.shared.backlog.lock().unwrap() = Some(task);
        model.write(Store::Memory(Numbers::default()));
        model
    }

    fn push(&self) -> u64 {
        let number = self.shared.handover.number();
        self.shared.handover.push(Signal::Spans, number, &record(number));
        number
    }

    /// Shuts down, and waits for the threads.
    fn end(self, within: Duration) -> (bool, Arc<Receiver>) {
        let delivery = block_on(self.shared.clone().shutdown(within));
        if let Some(writer) = self.writer {
            writer.join().unwrap();
        }
        (delivery.complete, self.receiver)
    }
}

/// One pushes while another shuts down: what was pushed before is delivered, and the goodbye behind
/// it; what was pushed in between is delivered, told, or counted as too late; nobody waits for ever.
pub fn a_shutdown_delivers_what_was_pushed_before_it() -> usize {
    first_orders(|| {
        let model = Model::in_memory(0);
        let first = model.push();
        let handover = model.shared.clone();
        let agent = thread::spawn(move || {
            let number = handover.handover.number();
            handover.handover.push(Signal::Spans, number, &record(number));
        });
        let shared = model.shared.clone();
        let (complete, receiver) = model.end(NEVER);
        agent.join().unwrap();
        assert!(complete);
        let taken = receiver.taken.lock().unwrap();
        assert_eq!(taken.records.iter().filter(|number| **number == first).count(), 1);
        assert_eq!(taken.goodbyes, 1);
        let late = shared.handover.counts().too_late;
        let told: BTreeSet<u64> = taken.told.iter().copied().collect();
        let arrived: BTreeSet<u64> = taken.records.iter().copied().collect();
        assert!(arrived.is_disjoint(&told), "{arrived:?} {told:?}");
        // A number that was taken before the goodbye and came behind it is told as one that never came.
        let untold = [1, 2].iter().filter(|it| !arrived.contains(it) && !told.contains(it)).count();
        assert!(untold as u64 <= late, "{arrived:?} {told:?} {late}");
    })
}

/// Time for a shutdown passes at any moment: it ends all the same, and says what did not happen.
pub fn a_shutdown_ends_when_its_time_has_passed() -> usize {
    every_order(Some(1), || {
        let model = Model::in_memory(0);
        let number = model.push();
        let (complete, receiver) = model.end(Duration::ZERO);
        let taken = receiver.taken.lock().unwrap();
        if complete {
            assert_eq!((&taken.records[..], taken.goodbyes), (&[number][..], 1));
        }
        assert!(taken.records.len() <= 1 && taken.told.is_empty());
    })
}

/// Somebody waits for a receipt while the outbox ends: the record is delivered or waits with the
/// others, and whoever waits has an answer. Without the writer's thread and the sender's: what waits in
/// the buffer is theirs, see the other models.
pub fn a_receipt_and_an_end_lose_no_record(laters: usize, within: Duration) -> usize {
    every_order(None, move || {
        let model = Model::without_threads(laters);
        let number = model.shared.handover.number();
        let urgent = Urgent { signal: Signal::Logs, number, record: record(number).into() };
        let ticket = model.shared.pending.add(urgent.clone()).unwrap();
        let shared = model.shared.clone();
        let asks = spawn(async move { shared.confirm(urgent, ticket, within).await });
        model.shared.abandon();
        let answer = asks.join().unwrap();
        let mut chunk = Vec::new();
        let taken = model.shared.handover.take(&mut chunk, "model");
        assert!(taken.closed && taken.gaps.is_empty());
        let delivered = model.receiver.taken.lock().unwrap().records.clone();
        match answer {
            Ok(receipt) => assert_eq!((receipt.sequence, &delivered[..]), (7, &[number][..])),
            Err(ReceiptError::Deadline { .. }) => {
                assert_eq!(records_in(&chunk), [number], "it is sent with the others");
            }
            Err(error) => panic!("{error}"),
        }
        // Otherwise the goodbye would tell that it never came.
        let (mut noted, mut at) = (Numbers::default(), 0);
        while let Some(frame) = head(&chunk, at) {
            at = frame.record.end;
            frame.note(&chunk, &mut noted);
        }
        assert_eq!(noted.ranges().collect::<Vec<_>>(), [(number, number)]);
    })
}

/// The same with all threads and a shutdown: it is delivered, perhaps twice, and never told as missing.
pub fn a_receipt_and_a_shutdown_lose_no_record() -> usize {
    first_orders(|| {
        let model = Model::in_memory(0);
        let number = model.shared.handover.number();
        let urgent = Urgent { signal: Signal::Logs, number, record: record(number).into() };
        let ticket = model.shared.pending.add(urgent.clone()).unwrap();
        let shared = model.shared.clone();
        let asks = spawn(async move { shared.confirm(urgent, ticket, NEVER).await });
        let (complete, receiver) = model.end(NEVER);
        assert_eq!(asks.join().unwrap().map(|it| it.sequence), Ok(7));
        assert!(complete);
        let taken = receiver.taken.lock().unwrap();
        assert!(!taken.records.is_empty() && taken.told.is_empty(), "{:?}", taken.told);
    })
}

/// The receiver is away once: whoever waits between two tries is woken by a shutdown.
pub fn a_shutdown_wakes_who_waits_for_the_next_try() -> usize {
    first_orders(|| {
        let model = Model::in_memory(1);
        let number = model.push();
        let (complete, receiver) = model.end(NEVER);
        assert!(complete);
        assert_eq!(receiver.taken.lock().unwrap().records, [number]);
    })
}

/// A flush returns when what was pushed before is in a file, whatever others push.
pub fn a_flush_returns_behind_what_was_pushed_before() -> usize {
    every_order(Some(2), || {
        let folder = in_memory_folder();
        let spool = SpoolSettings { max_spool_bytes: 1 << 20, ..SpoolSettings::new(folder.path()) };
        let settings = settings(Policy::Spool(spool.clone()), 4 * FRAME);
        let id = "0".repeat(32);
        let instance = Instance::create(folder.path(), &id, Framing::default()).unwrap();
        let shelf = Arc::new(Shelf::default());
        let store = SpoolWriter::new(&instance, shelf.clone(), spool.max_spool_bytes);
        let place = Place::Spool { shelf, root: spool.folder.clone() };
        let mut model = Model::new(settings, place, 0);
        model.write(Store::Spool(store));
        let shared = model.shared.clone();
        let agent = thread::spawn(move || {
            shared.handover.push(Signal::Spans, 1, &record(1));
        });
        model.shared.handover.push(Signal::Spans, 2, &record(2));
        block_on(model.shared.flush());
        assert!(in_files(folder.path()).contains(&2), "it is in a file");
        agent.join().unwrap();
        // Dropping the outbox writes what is in memory.
        model.shared.abandon();
        model.writer.unwrap().join().unwrap();
        let mut written = in_files(folder.path());
        written.sort_unstable();
        assert_eq!(written, [1, 2]);
    })
}

/// A folder that needs no disk, where the system has one: each order has a new one.
fn in_memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Numbers of the records in all segments.
fn in_files(folder: &std::path::Path) -> Vec<u64> {
    let mut found = Vec::new();
    for instance in folder.read_dir().unwrap().map(Result::unwrap) {
        let Ok(files) = instance.path().read_dir() else { continue };
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|it| it == "segment") {
                found.extend(records_in(&std::fs::read(file).unwrap()));
            }
        }
    }
    found
}
