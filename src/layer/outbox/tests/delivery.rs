//! Order, answers, retries, refusals, shutdown.

use super::receiver::{
    Answer, DEADLINE, Gap, Receiver, Request, away, block_on, end, leave, never, number_of, push,
    quick, record, spool, start,
};
use crate::layer::outbox::{
    Delivered, Policy, SendError, Settings, Signal, SpoolSettings, WhenFull,
};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

fn memory() -> Settings {
    quick(Settings::new(Policy::Memory(WhenFull::Gap)))
}

#[test]
fn records_arrive_in_order_between_hello_and_goodbye_with_the_resource() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [memory(), spool(folder.path())] {
        let receiver = Receiver::takes_all();
        let outbox = start(Settings { batch_records: 10, ..settings }, &receiver);
        for _ in 0..1_000 {
            push(&outbox, 100);
        }
        let delivery = end(&outbox);
        assert_eq!(receiver.numbers(), (1..=1_000).collect::<Vec<_>>());
        let taken = receiver.taken();
        let resource = format!("resource of {}", outbox.instance()).into_bytes();
        assert!(taken.iter().all(|it| it.resource == resource && it.records.len() <= 10));
        let said = receiver.said();
        let [hello, goodbye] = &said[..] else { panic!("{said:?}") };
        assert_eq!(hello.event, "spanledger.instance.start");
        assert_eq!(goodbye.event, "spanledger.instance.end");
        assert_eq!(goodbye.numbers["spanledger.instance.last"], 1_000);
        assert_eq!(taken[0].signal, Signal::Logs);
        assert_eq!(taken.last().unwrap().signal, Signal::Logs);
        assert_eq!((delivery.stats.taken, delivery.stats.delivered), (1_000, 1_002));
        assert_eq!((delivery.stats.lost, delivery.stats.waiting_bytes), (0, 0));
    }
    let left: Vec<_> =
        folder.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "nothing is left of an instance that delivered everything");
}

#[test]
fn spans_and_log_records_go_in_requests_of_their_own() {
    let receiver = Receiver::takes_all();
    let outbox = start(memory(), &receiver);
    for number in 1..=100 {
        let signal = if number % 2 == 0 { Signal::Logs } else { Signal::Spans };
        outbox.push(signal, outbox.number(), &record(number, 50));
    }
    end(&outbox);
    for request in receiver.taken() {
        let odd = request.signal == Signal::Spans;
        assert!(request.numbers().iter().all(|number| (number % 2 == 1) == odd));
    }
    assert_eq!(receiver.numbers().len(), 100);
}

#[test]
fn sixteen_threads_push_a_million_records_and_each_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::takes_all();
    let outbox = start(spool(folder.path()), &receiver);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..62_500 {
                    push(&outbox, 60);
                }
            });
        }
    });
    let delivery = end(&outbox);
    let mut numbers = receiver.numbers();
    assert_eq!(numbers.len(), 1_000_000);
    numbers.sort_unstable();
    assert!((1..=1_000_000).eq(numbers));
    assert_eq!(delivery.stats.lost, 0);
    assert_eq!(receiver.said().len(), 2, "hello and goodbye, no gap");
}

#[test]
fn a_receiver_that_is_away_gets_everything_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [memory(), spool(folder.path())] {
        let receiver = Receiver::new(|_| away());
        let outbox = start(settings, &receiver);
        for _ in 0..500 {
            push(&outbox, 100);
        }
        receiver.wait("several tries", |asked, _| (asked.len() > 5).then_some(()));
        assert_eq!(outbox.stats().last_error.as_deref(), Some("away"));
        assert!(outbox.stats().retries >= 5);
        let delivery = block_on(outbox.delivered(Duration::from_millis(1)));
        assert!(!delivery.complete);
        receiver.behave(|_| Answer::Take);
        assert!(block_on(outbox.delivered(DEADLINE)).complete);
        assert_eq!(receiver.numbers(), (1..=500).collect::<Vec<_>>());
        assert_eq!(outbox.stats().last_error, None);
        end(&outbox);
    }
}

#[test]
fn the_receiver_says_when_to_come_back() {
    let receiver = Receiver::new(|_| {
        let after = Some(Duration::from_hours(1));
        Answer::Fail(SendError::Later { after, reason: "busy".to_owned() })
    });
    let outbox = start(memory(), &receiver);
    push(&outbox, 10);
    receiver.wait("the first try", |asked, _| (asked.len() == 1).then_some(()));
    assert!(!block_on(outbox.delivered(Duration::from_millis(100))).complete);
    assert_eq!(receiver.asked().len(), 1, "nothing is sent before the hour has passed");
    receiver.behave(|_| Answer::Take);
    end(&outbox); // tries at once, since the process ends
}

#[test]
fn a_record_that_is_never_taken_is_found_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(|request| {
        let bad = request.numbers().iter().any(|number| [7, 300].contains(number));
        if bad { never() } else { Answer::Take }
    });
    let outbox = start(spool(folder.path()), &receiver);
    for _ in 0..500 {
        push(&outbox, 100);
    }
    let delivery = end(&outbox);
    let expected: Vec<_> = (1..=500).filter(|number| ![7, 300].contains(number)).collect();
    assert_eq!(receiver.numbers(), expected, "all others, in order");
    assert_eq!(delivery.stats.refused, 2);
    let instance = outbox.instance().to_owned();
    let gap = |number| Gap {
        instance: instance.clone(),
        first: number,
        last: Some(number),
        reason: "bad record".to_owned(),
    };
    assert_eq!(receiver.gaps(), [gap(7), gap(300)]);
    let kept = folder.path().join("refused").join(format!("{instance}.frames"));
    let kept = std::fs::read(kept).unwrap();
    assert!(kept.windows(100).any(|it| it == record(7, 100)));
    assert!(kept.windows(100).any(|it| it == record(300, 100)));
}

#[test]
fn a_receiver_that_breaks_over_everything_is_away_and_over_one_record_refuses_it() {
    fn broken() -> Answer {
        Answer::Fail(SendError::Broken { reason: "INTERNAL".to_owned() })
    }
    let receiver = Receiver::new(|_| broken());
    let outbox = start(memory(), &receiver);
    for _ in 0..100 {
        push(&outbox, 100);
    }
    receiver.wait("many tries", |asked, _| (asked.len() > 20).then_some(()));
    assert_eq!(outbox.stats().refused, 0);
    receiver.behave(|it| if it.numbers().contains(&33) { broken() } else { Answer::Take });
    let delivery = end(&outbox);
    assert_eq!(delivery.stats.refused, 1);
    assert_eq!(receiver.numbers(), (1..=100).filter(|it| *it != 33).collect::<Vec<_>>());
    let gaps = receiver.gaps();
    assert_eq!((gaps[0].first, gaps[0].last), (33, Some(33)));
}

fn takes_no_logs(request: &Request) -> Answer {
    match request.signal {
        Signal::Spans => Answer::Take,
        Signal::Logs => Answer::Fail(SendError::Unserved { reason: "UNIMPLEMENTED".to_owned() }),
    }
}

#[test]
fn a_receiver_that_takes_no_log_records_gets_all_spans() {
    let receiver = Receiver::new(takes_no_logs);
    let folder = tempfile::tempdir().unwrap();
    let outbox = start(spool(folder.path()), &receiver);
    for _ in 0..100 {
        push(&outbox, 100);
    }
    let number = outbox.number();
    outbox.push(Signal::Logs, number, &record(number, 100));
    let delivery = end(&outbox);
    assert_eq!(receiver.numbers(), (1..=100).collect::<Vec<_>>());
    assert!(delivery.complete, "{delivery:?}");
    assert_eq!(delivery.stats.refused, 3, "hello, the record, goodbye");
    let kept = folder.path().join("refused").read_dir().unwrap().count();
    assert_eq!(kept, 1, "what was refused is in a file");
}

#[test]
fn log_records_wait_while_the_receiver_takes_nothing_at_all() {
    let unserved = |_: &Request| Answer::Fail(SendError::Unserved { reason: "none".to_owned() });
    let receiver = Receiver::new(unserved);
    let outbox = start(memory(), &receiver);
    push(&outbox, 100);
    receiver.wait("many tries", |asked, _| (asked.len() > 5).then_some(()));
    receiver.behave(|_| Answer::Take);
    let delivery = end(&outbox);
    assert_eq!(delivery.stats.refused, 0, "an address was corrected");
    assert_eq!(receiver.numbers(), [1]);
}

#[test]
fn a_request_that_is_too_large_is_sent_in_parts() {
    let receiver = Receiver::new(|request| {
        if request.records.len() > 3 {
            Answer::Fail(SendError::TooLarge { reason: "too large".to_owned() })
        } else {
            Answer::Take
        }
    });
    let outbox = start(memory(), &receiver);
    for _ in 0..100 {
        push(&outbox, 100);
    }
    let delivery = end(&outbox);
    assert_eq!(receiver.numbers(), (1..=100).collect::<Vec<_>>());
    assert_eq!(delivery.stats.refused, 0);
}

#[test]
fn partial_success_is_counted_and_told_with_its_reason() {
    let receiver = Receiver::new(|request| {
        let refused = u64::from(request.numbers().contains(&5)) * 2;
        let why = Some("two have no trace id".to_owned());
        Answer::With(Delivered { refused, why, receipts: Vec::new() })
    });
    let outbox = start(memory(), &receiver);
    for _ in 0..10 {
        push(&outbox, 100);
    }
    let delivery = end(&outbox);
    assert_eq!(delivery.stats.refused, 2);
    let gaps = receiver.gaps();
    assert!(gaps[0].reason.contains("refused 2 of these"), "{gaps:?}");
    assert!(gaps[0].reason.contains("two have no trace id"), "{gaps:?}");
    assert!(gaps[0].first <= 5 && gaps[0].last >= Some(5));
}

#[test]
fn a_refused_goodbye_is_not_told_for_ever() {
    let receiver =
        Receiver::new(
            |request| {
                if request.signal == Signal::Logs { never() } else { Answer::Take }
            },
        );
    let outbox = start(memory(), &receiver);
    push(&outbox, 10);
    let delivery = end(&outbox);
    assert_eq!((delivery.stats.delivered, delivery.stats.refused), (1, 2));
}

#[test]
fn shutdown_tells_what_was_not_delivered_and_a_second_one_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, kept) in [(memory(), false), (spool(folder.path()), true)] {
        let receiver = Receiver::new(|_| away());
        let outbox = start(settings, &receiver);
        for _ in 0..10 {
            push(&outbox, 100);
        }
        let delivery = leave(&outbox);
        assert_eq!((delivery.complete, delivery.kept), (false, kept));
        assert_eq!((delivery.stats.taken, delivery.stats.delivered), (10, 0));
        assert_eq!(block_on(outbox.shutdown(DEADLINE)), delivery);
        push(&outbox, 100);
        assert_eq!(outbox.stats().too_late, 1);
        assert!(!outbox.flush(Duration::ZERO) || !kept);
        assert!(!block_on(outbox.delivered(DEADLINE)).complete);
    }
}

#[test]
fn a_number_that_was_taken_and_never_pushed_is_told_before_the_goodbye() {
    let receiver = Receiver::takes_all();
    let outbox = start(memory(), &receiver);
    push(&outbox, 10);
    let never_pushed = [outbox.number(), outbox.number()];
    push(&outbox, 10);
    end(&outbox);
    let gaps = receiver.gaps();
    assert_eq!((gaps[0].first, gaps[0].last), (never_pushed[0], Some(never_pushed[1])));
    let events: Vec<_> = receiver.said().into_iter().map(|said| said.event).collect();
    assert_eq!(events.last().unwrap(), "spanledger.instance.end");
}

#[test]
fn what_the_senders_libraries_trace_reaches_no_subscriber() {
    use tracing::Level;
    // The sender's thread only: a global subscriber would hear it, if anything did.
    let heard = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let by_receiver = heard.clone();
    let receiver = Receiver::new(move |_| {
        by_receiver.lock().unwrap().insert(tracing::enabled!(Level::ERROR));
        Answer::Take
    });
    let outbox = start(memory(), &receiver);
    push(&outbox, 10);
    end(&outbox);
    assert_eq!(*heard.lock().unwrap(), BTreeSet::from([false]));
}

#[test]
fn a_push_inside_drop_while_unwinding_is_delivered() {
    struct PushesWhenDropped(crate::layer::outbox::Outbox);
    impl Drop for PushesWhenDropped {
        fn drop(&mut self) {
            push(&self.0, 10);
        }
    }
    let receiver = Receiver::takes_all();
    let outbox = start(memory(), &receiver);
    let inner = PushesWhenDropped(outbox.clone());
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _inner = inner;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
    end(&outbox);
    assert_eq!(receiver.numbers(), [1]);
}

#[test]
fn limits_that_cannot_hold_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let small = SpoolSettings { max_spool_bytes: 1_000, ..SpoolSettings::new(folder.path()) };
    for (settings, name) in [
        (Settings { buffer_bytes: 10, ..memory() }, "buffer_bytes"),
        (Settings { batch_records: 0, ..memory() }, "batch_records"),
        (Settings::new(Policy::Spool(small)), "max_spool_bytes"),
    ] {
        let receiver = Receiver::takes_all();
        let refused = crate::layer::outbox::Outbox::start(settings, |_| Vec::new(), receiver);
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn records_of_tests_name_their_number() {
    assert_eq!(number_of(&record(77, 40)), Some(77));
}
