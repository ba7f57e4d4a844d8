//! Consumers bring every entry at least once, in order, whatever fails.

mod store_support;

use spanledger::entry::Kind;
use spanledger::export::{
    Consumer, ConsumerOptions, ConsumerState, ConsumerStatus, CursorFile, Sink, SinkError, Stopped,
    StoreSink,
};
use spanledger::ledger::Chunk;
use spanledger::store::{AuditStore, EmbeddedStore};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use store_support::*;

const SOON: Duration = Duration::from_secs(20);

fn quick(fixture: &Fixture) -> ConsumerOptions {
    ConsumerOptions {
        chunk_bytes: 512,
        idle_after: Duration::from_millis(1),
        cursor_every: Duration::ZERO,
        retry: (Duration::from_millis(1), Duration::from_millis(4)),
        ..ConsumerOptions::new(fixture.dir.path().join("cursors"))
    }
}

/// Waits for something that another thread does.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SOON, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn append(fixture: &mut Fixture, from: u64, to: u64) {
    let entries: Vec<Given> = (from..to).map(|n| Given::new(n, Kind::Span, n).run("7")).collect();
    fixture.append(&entries);
}

/// Tells what it is given, and fails when it is told to.
struct Recorder {
    name: &'static str,
    given: Sender<u64>,
    fails: Box<dyn FnMut(u64) -> bool + Send>,
    settled: Option<u64>,
}

impl Sink for Recorder {
    fn name(&self) -> &str {
        self.name
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        for entry in chunk.entries() {
            if (self.fails)(entry.sequence) {
                return Err("not now".into());
            }
            let _ = self.given.send(entry.sequence);
        }
        Ok(())
    }

    fn settled(&mut self) -> Option<u64> {
        self.settled
    }
}

fn recorder(
    name: &'static str,
    fails: impl FnMut(u64) -> bool + Send + 'static,
) -> (Recorder, Receiver<u64>) {
    let (given, seen) = channel();
    (Recorder { name, given, fails: Box::new(fails), settled: None }, seen)
}

fn applied(status: &ConsumerStatus, to: u64) {
    until("all entries", || status.applied() >= to);
}

#[test]
fn every_entry_is_given_in_order_and_after_a_restart_it_goes_on() {
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 10);
    let (sink, seen) = recorder("plain", |_| false);
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    let status = consumer.status();
    applied(&status, 10);
    append(&mut fixture, 10, 15);
    applied(&status, 15);
    assert_eq!(status.lag(fixture.reader().watermark()), 0);
    assert_eq!(consumer.stop(SOON), Stopped::Cleanly);
    assert_eq!(status.state(), ConsumerState::Stopped);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());

    append(&mut fixture, 15, 18);
    let (sink, seen) = recorder("plain", |_| false);
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    applied(&consumer.status(), 18);
    consumer.stop(SOON);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [15, 16, 17]);
}

#[test]
fn a_failure_is_tried_again_and_skips_nothing_and_stops_nobody_else() {
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 20);
    let mut left = 3;
    let (failing, seen) = recorder("failing", move |sequence| {
        let fails = sequence == 12 && left > 0;
        left -= i32::from(fails);
        fails
    });
    let (broken, _) = recorder("broken", |_| true);
    let (healthy, healthy_seen) = recorder("healthy", |_| false);
    let many = ConsumerOptions { chunk_bytes: 64 * 1024, ..quick(&fixture) };
    let failing = Consumer::start(fixture.reader(), failing, many).unwrap();
    let broken = Consumer::start(fixture.reader(), broken, quick(&fixture)).unwrap();
    let healthy = Consumer::start(fixture.reader(), healthy, quick(&fixture)).unwrap();
    applied(&failing.status(), 20);
    applied(&healthy.status(), 20);
    append(&mut fixture, 20, 25);
    applied(&healthy.status(), 25);

    let status = broken.status();
    until("failures", || status.failures() > 2);
    assert_eq!((status.applied(), status.settled()), (0, 0));
    assert!(status.last_error().unwrap().contains("not now"));
    let failing_status = failing.status();
    assert_eq!(failing_status.failures(), 3);
    assert_eq!(failing_status.last_error(), None, "it works again");
    assert_eq!(broken.stop(SOON), Stopped::Cleanly, "a wait after a failure ends at once");
    failing.stop(SOON);
    healthy.stop(SOON);

    let mut given: Vec<u64> = seen.try_iter().collect();
    assert!(given.len() > 25, "the entries before the failed one came again");
    given.sort_unstable();
    given.dedup();
    assert_eq!(given, (0..25).collect::<Vec<_>>());
    assert_eq!(healthy_seen.try_iter().count(), 25);
}

#[test]
fn the_cursor_never_passes_what_the_sink_has_settled() {
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 10);
    let (mut sink, _seen) = recorder("slow", |_| false);
    sink.settled = Some(4);
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    applied(&consumer.status(), 10);
    consumer.stop(SOON);
    let cursor =
        CursorFile::new(&fixture.dir.path().join("cursors"), "slow", fixture.reader().origin());
    assert_eq!(cursor.read(), Some(4));
}

#[test]
fn a_sink_that_panics_shows_as_failed_and_stops_nobody() {
    let mut fixture = Fixture::new();
    let (sink, _seen) = recorder("panics", |_| panic!("a defect"));
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    append(&mut fixture, 0, 1);
    let status = consumer.status();
    until("the end", || status.state() == ConsumerState::Failed);
    assert_eq!(consumer.stop(SOON), Stopped::Late);
    append(&mut fixture, 1, 2);
}

#[test]
fn a_sink_that_does_not_let_go_is_left_behind_at_the_deadline() {
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 1);
    let (release, held) = channel::<()>();
    let (entered, inside) = channel();
    let (sink, _seen) = recorder("stuck", move |_| {
        let _ = entered.send(());
        let _ = held.recv();
        false
    });
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    inside.recv_timeout(SOON).unwrap();
    assert_eq!(consumer.stop(Duration::from_millis(10)), Stopped::Late);
    drop(release);
}

#[test]
fn the_index_follows_the_ledger_and_keeps_its_own_cursor() {
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 50);
    fixture.while_closed(|_| {});
    let dir = fixture.dir.path().join("followed");
    let open = || Arc::new(EmbeddedStore::open(&dir, fixture.reader(), options()).unwrap());
    let store = open();
    let consumer =
        Consumer::start(fixture.reader(), StoreSink::new("index", store.clone()), quick(&fixture))
            .unwrap();
    until("the index", || store.status().lag() == 0);
    until("a commit when idle, of all full blocks", || store.status().tags == 48);
    assert_eq!(consumer.stop(SOON), Stopped::Cleanly);
    assert_eq!(consumer_cursor_files(&fixture), 0, "the position is in the index");
    assert_eq!(store.position(), Some(48));
    drop(store);
    assert_eq!(open().position(), Some(48));
}

fn consumer_cursor_files(fixture: &Fixture) -> usize {
    std::fs::read_dir(fixture.dir.path().join("cursors")).unwrap().count()
}

/// Has work that comes from elsewhere.
struct Asked {
    left: Arc<std::sync::atomic::AtomicUsize>,
}

impl Sink for Asked {
    fn name(&self) -> &'static str {
        "asked"
    }

    fn apply(&mut self, _chunk: &Chunk) -> Result<(), SinkError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        use std::sync::atomic::Ordering::SeqCst;
        let _ = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        Ok(())
    }

    fn has_more(&mut self) -> bool {
        self.left.load(std::sync::atomic::Ordering::SeqCst) > 0
    }
}

#[test]
fn a_sink_with_work_from_elsewhere_is_called_though_no_entries_come() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut fixture = Fixture::new();
    append(&mut fixture, 0, 1);
    let left = Arc::new(AtomicUsize::new(1));
    let sink = Asked { left: Arc::clone(&left) };
    let consumer = Consumer::start(fixture.reader(), sink, quick(&fixture)).unwrap();
    until("the first work", || left.load(Ordering::SeqCst) == 0);
    left.store(3, Ordering::SeqCst);
    until("more of it", || left.load(Ordering::SeqCst) == 0);
    assert_eq!(consumer.stop(SOON), Stopped::Cleanly);
}
