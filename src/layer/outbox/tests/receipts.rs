//! Records whose receipt somebody waits for.

use super::receiver::{
    Answer, DEADLINE, Receiver, away, block_on, end, leave, never, push, quick, record, spool,
    start,
};
use crate::layer::outbox::{
    Delivered, Outbox, Policy, Receipt, ReceiptError, Settings, Signal, WhenFull,
};
use std::time::Duration;

const RECEIPT: Receipt = Receipt { sequence: 41, leaf_hash: [7; 32] };

fn memory() -> Settings {
    quick(Settings::new(Policy::Memory(WhenFull::Gap)))
}

fn confirm(outbox: &Outbox, within: Duration) -> (u64, Result<Receipt, ReceiptError>) {
    let number = outbox.number();
    let confirmed = outbox.confirm(Signal::Spans, number, record(number, 50), within);
    (number, block_on(confirmed))
}

fn with_receipt() -> Answer {
    Answer::With(Delivered { receipts: vec![RECEIPT], ..Delivered::default() })
}

#[test]
fn a_receipt_comes_ahead_of_a_backlog_that_hangs() {
    let receiver =
        Receiver::new(|request| if request.receipts { with_receipt() } else { Answer::Hang });
    let outbox = start(memory(), &receiver);
    for _ in 0..1_000 {
        push(&outbox, 100);
    }
    receiver.wait("the backlog hangs", |asked, _| (!asked.is_empty()).then_some(()));
    let (number, receipt) = confirm(&outbox, DEADLINE);
    assert_eq!((number, receipt), (1_001, Ok(RECEIPT)));
    assert_eq!(receiver.numbers(), [1_001]);
    receiver.go_on();
    end(&outbox);
    assert_eq!(receiver.numbers().len(), 1_001);
    assert_eq!(receiver.said().len(), 2, "no gap: the confirmed record is not missing");
}

#[test]
fn a_receipt_is_asked_for_at_once_while_the_backlog_waits_for_its_next_try() {
    let receiver = Receiver::new(|_| away());
    let hour = Duration::from_hours(1);
    let outbox = start(Settings { retry_first: hour, retry_most: hour, ..memory() }, &receiver);
    push(&outbox, 100);
    receiver.wait("the backlog failed", |asked, _| (!asked.is_empty()).then_some(()));
    receiver.behave(|request| if request.receipts { with_receipt() } else { Answer::Take });
    assert_eq!(confirm(&outbox, DEADLINE).1, Ok(RECEIPT));
    // The receiver is back, so the backlog does not wait for the rest of its hour.
    assert!(block_on(outbox.delivered(DEADLINE)).complete);
    end(&outbox);
}

#[test]
fn a_receipt_is_asked_for_again_until_the_receiver_is_back() {
    let receiver = Receiver::new(|_| away());
    let outbox = start(memory(), &receiver);
    let waits = {
        let outbox = outbox.clone();
        std::thread::spawn(move || confirm(&outbox, DEADLINE).1)
    };
    receiver.wait("three tries", |asked, _| {
        (asked.iter().filter(|it| it.receipts).count() > 2).then_some(())
    });
    receiver.behave(|_| with_receipt());
    assert_eq!(waits.join().unwrap(), Ok(RECEIPT));
    end(&outbox);
}

#[test]
fn after_the_deadline_the_same_bytes_wait_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, hangs) in [(memory(), true), (spool(folder.path()), false)] {
        let receiver = Receiver::new(move |_| if hangs { Answer::Hang } else { away() });
        let outbox = start(settings, &receiver);
        let within = Duration::from_millis(20);
        let (number, confirmed) = confirm(&outbox, within);
        let Err(ReceiptError::Deadline { within: said, last }) = confirmed else {
            panic!("{confirmed:?}")
        };
        assert_eq!(
            (said, last),
            (within, if hangs { "no try has ended" } else { "away" }.to_owned())
        );
        receiver.behave(|_| Answer::Take);
        receiver.go_on();
        end(&outbox);
        assert_eq!(receiver.numbers(), [number]);
        let sent = receiver.taken().into_iter().flat_map(|it| it.records);
        assert!(sent.into_iter().any(|it| it == record(number, 50)));
        assert_eq!(receiver.said().len(), 2, "no gap");
    }
}

#[test]
fn a_refused_record_and_a_receiver_without_receipts_are_told_apart() {
    let receiver = Receiver::takes_all();
    let outbox = start(memory(), &receiver);
    assert_eq!(confirm(&outbox, DEADLINE).1, Err(ReceiptError::NoReceipt));
    receiver.behave(|request| if request.receipts { never() } else { Answer::Take });
    let reason = "bad record".to_owned();
    let (number, refused) = confirm(&outbox, DEADLINE);
    assert_eq!(refused, Err(ReceiptError::Refused { reason }));
    receiver.behave(|request| {
        let refused = u64::from(request.receipts);
        Answer::With(Delivered { refused, why: Some("no".to_owned()), receipts: Vec::new() })
    });
    let reason = "no".to_owned();
    assert_eq!(confirm(&outbox, DEADLINE).1, Err(ReceiptError::Refused { reason }));
    let delivery = end(&outbox);
    assert_eq!(delivery.stats.refused, 2);
    let gaps = receiver.gaps();
    assert_eq!((gaps[0].first, gaps[0].last), (number, Some(number)));
    assert_eq!(gaps.len(), 2);
}

#[test]
fn a_record_that_is_being_confirmed_at_shutdown_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(|_| away());
    let outbox = start(spool(folder.path()), &receiver);
    let waits = {
        let outbox = outbox.clone();
        std::thread::spawn(move || confirm(&outbox, DEADLINE).1)
    };
    receiver.wait("a try", |asked, _| asked.iter().any(|it| it.receipts).then_some(()));
    leave(&outbox);
    assert_eq!(waits.join().unwrap(), Err(ReceiptError::Closed));
    assert_eq!(confirm(&outbox, DEADLINE).1, Err(ReceiptError::Closed));
    let receiver = Receiver::takes_all();
    let later = start(spool(folder.path()), &receiver);
    receiver.wait("it is delivered later", |_, taken| {
        taken.iter().any(|it| it.numbers() == [1]).then_some(())
    });
    end(&later);
}

#[test]
fn a_caller_that_stops_waiting_stops_nothing() {
    let receiver = Receiver::new(|_| Answer::Hang);
    let outbox = start(memory(), &receiver);
    let number = outbox.number();
    {
        let confirmed = outbox.confirm(Signal::Spans, number, record(number, 50), DEADLINE);
        let mut confirmed = std::pin::pin!(confirmed);
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(confirmed.as_mut().poll(&mut context).is_pending());
    }
    receiver.go_on();
    end(&outbox);
    assert!(receiver.numbers().contains(&number));
}
