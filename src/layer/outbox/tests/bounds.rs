//! What is full, and what is told then.

use super::receiver::{Answer, Receiver, away, end, leave, push, quick, spool, start, told};
use super::small_disk::SmallDisk;
use crate::layer::outbox::{Policy, Settings, SpoolSettings, WhenFull};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const RECORD: usize = 1_000;

fn small(policy: Policy) -> Settings {
    let buffer_bytes = 20_000;
    quick(Settings { buffer_bytes, max_record_bytes: 2_000, ..Settings::new(policy) })
}

fn small_spool(folder: &Path, when_full: WhenFull) -> Settings {
    let spool = SpoolSettings { max_spool_bytes: 50_000, when_full, ..SpoolSettings::new(folder) };
    small(Policy::Spool(spool))
}

#[test]
fn what_finds_no_room_is_told_with_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let of_spool = small_spool(folder.path(), WhenFull::Gap);
    for settings in [small(Policy::Memory(WhenFull::Gap)), of_spool] {
        let receiver = Receiver::new(|_| away());
        let outbox = start(settings, &receiver);
        for _ in 0..500 {
            push(&outbox, RECORD);
        }
        let stats = outbox.stats();
        assert!(stats.lost > 0 && stats.taken == 500, "{stats:?}");
        assert!(stats.waiting_bytes <= 90_000, "{stats:?}");
        receiver.behave(|_| Answer::Take);
        let delivery = end(&outbox);
        let arrived: BTreeSet<_> = receiver.numbers().into_iter().collect();
        let lost = told(&receiver.gaps(), 0);
        assert!(arrived.is_disjoint(&lost));
        assert_eq!(&arrived | &lost, (1..=500).collect());
        assert_eq!(lost.len() as u64, delivery.stats.lost);
    }
}

#[test]
fn on_a_full_disk_each_record_arrives_or_is_told_and_writing_goes_on_when_there_is_room() {
    let disk = SmallDisk::new("1m");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 512 << 10]).unwrap();
    let when_full = WhenFull::Block { within: Duration::from_millis(50) };
    let spool = SpoolSettings { when_full, ..SpoolSettings::new(disk.path().join("spool")) };
    let receiver = Receiver::new(|_| away());
    let outbox = start(small(Policy::Spool(spool)), &receiver);
    let mut newest = 0;
    while outbox.stats().lost == 0 {
        newest = push(&outbox, RECORD);
        assert!(newest < 10_000, "the disk never filled");
    }
    let error = outbox.stats().last_error.unwrap();
    assert!(error.contains("cannot be written") && error.contains("space"), "{error}");

    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..100 {
        newest = push(&outbox, RECORD);
    }
    receiver.behave(|_| Answer::Take);
    let delivery = end(&outbox);
    let arrived: BTreeSet<_> = receiver.numbers().into_iter().collect();
    let missing = told(&receiver.gaps(), 0);
    assert!(arrived.is_disjoint(&missing));
    assert_eq!(&arrived | &missing, (1..=newest).collect());
    assert_eq!(missing.len() as u64, delivery.stats.lost);
    assert!(arrived.contains(&newest), "there was room again");
}

#[test]
fn agents_wait_for_room_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let block = WhenFull::Block { within: Duration::from_mins(1) };
    for settings in [small(Policy::Memory(block)), small_spool(folder.path(), block)] {
        let receiver = Receiver::new(|_| away());
        let outbox = start(settings, &receiver);
        let pushed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        pushed.fetch_max(push(&outbox, RECORD), Ordering::Relaxed);
                    }
                });
            }
            // Everything is full when nothing moves any more: then the receiver comes back.
            receiver.wait("tries", |asked, _| (asked.len() > 20).then_some(()));
            assert!(pushed.load(Ordering::Relaxed) < 500);
            receiver.behave(|_| Answer::Take);
        });
        let delivery = end(&outbox);
        let mut numbers = receiver.numbers();
        numbers.sort_unstable();
        assert!((1..=1_000).eq(numbers));
        assert_eq!(delivery.stats.lost, 0);
    }
}

#[test]
fn agents_wait_no_longer_than_they_were_told() {
    let receiver = Receiver::new(|_| away());
    let block = WhenFull::Block { within: Duration::from_millis(5) };
    let outbox = start(small(Policy::Memory(block)), &receiver);
    for _ in 0..60 {
        push(&outbox, RECORD);
    }
    assert!(outbox.stats().lost > 0);
    receiver.behave(|_| Answer::Take);
    end(&outbox);
    let gaps = receiver.gaps();
    assert!(gaps[0].reason.contains("time to wait had passed"), "{gaps:?}");
}

#[test]
fn a_record_that_is_too_large_is_told_and_the_others_go_on() {
    let receiver = Receiver::takes_all();
    let outbox = start(small(Policy::Memory(WhenFull::Gap)), &receiver);
    push(&outbox, 100);
    push(&outbox, 2_001);
    push(&outbox, 2_000);
    end(&outbox);
    assert_eq!(receiver.numbers(), [1, 3]);
    let gaps = receiver.gaps();
    assert_eq!((gaps[0].first, gaps[0].last), (2, Some(2)));
    assert!(gaps[0].reason.contains("max_record_bytes"), "{gaps:?}");
}

#[test]
fn a_spool_that_cannot_be_written_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let receiver = Receiver::takes_all();
    let refused = crate::layer::outbox::Outbox::start(spool(&file), |_| Vec::new(), receiver);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("file"), "{error}");
}

#[test]
fn delivered_segments_are_deleted_while_the_outbox_runs() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::takes_all();
    let block = WhenFull::Block { within: Duration::from_mins(1) };
    let outbox = start(small_spool(folder.path(), block), &receiver);
    for _ in 0..2_000 {
        push(&outbox, RECORD); // forty times what the spool may hold
    }
    let delivery = end(&outbox);
    assert_eq!((delivery.stats.lost, delivery.stats.spooled), (0, 2_002));
    assert_eq!(receiver.numbers().len(), 2_000);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_spool() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let receiver = Receiver::new(|_| away());
    let outbox = start(spool(&root), &receiver);
    push(&outbox, 10);
    leave(&outbox);
    let mut folders = vec![root];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
    }
    assert!(files >= 4, "two locks, a description and a segment");
}
