//! Storage that fails: what is acknowledged, what is said, and how it goes on.

use super::simulated::{Fault, Op, Simulated};
use super::{batch, ids, small};
use crate::ledger::{AppendError, CloseError, Ledger, Options, Recovery, verify};
use std::io::ErrorKind::{self, StorageFull};
use std::path::Path;
use std::time::Duration;

const EIO: Fault = Fault::Error(ErrorKind::Other, 0);
const FULL: Fault = Fault::Error(StorageFull, 100);

fn open(dir: &Path, disk: &Simulated, options: Options) -> (Ledger, Recovery) {
    Ledger::open_on(dir, options, Box::new(disk.clone())).unwrap()
}

fn assert_sound(dir: &Path, size: u64) {
    let report = verify(dir, |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.head.size, size);
}

#[tokio::test]
async fn nothing_is_acknowledged_or_visible_before_its_fdatasync_returned() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    let reader = ledger.reader();
    let open_gate = disk.hold_syncs();
    let mut append = std::pin::pin!(ledger.append(batch([1, 2])));
    tokio::select! {
        biased;
        _ = &mut append => panic!("acknowledged before the fdatasync"),
        () = tokio::task::yield_now() => {}
    }
    while disk.count(Op::Write) == 0 {
        tokio::task::yield_now().await;
    }
    // The bytes are in the file by now, and count for nothing.
    assert_eq!((reader.watermark(), reader.get(0).unwrap()), (0, None));
    assert_eq!(ids(&reader), Vec::<u64>::new());
    open_gate.send(()).unwrap();
    let receipt = append.await.unwrap();
    assert_eq!((receipt.entries.len(), reader.watermark()), (2, 2));
}

#[tokio::test]
async fn a_failed_fdatasync_stops_the_ledger_and_a_restart_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    ledger.append(batch([1])).await.unwrap();
    disk.fail(Op::Sync, disk.count(Op::Sync), EIO);
    let refused = ledger.append(batch([2])).await.unwrap_err();
    assert!(matches!(refused, AppendError::Poisoned { .. }) && !refused.is_transient());
    let refused = ledger.append(batch([3])).await.unwrap_err();
    assert!(refused.to_string().contains("fdatasync"), "{refused}");
    assert!(ledger.status().poisoned.is_some());
    assert_eq!(ids(&ledger.reader()), [1]);
    assert!(ledger.reader().has_ended());
    assert!(matches!(ledger.close().await, Err(CloseError::Poisoned { .. })));

    // The group may be there after all; nobody was told so, and its sender sends it again.
    let (ledger, recovery) = Ledger::open(dir.path(), small()).unwrap();
    assert!(!recovery.clean);
    let receipt = ledger.append(batch([2, 3])).await.unwrap();
    assert_eq!(receipt.entries[1].sequence, 2);
    assert_eq!(ids(&ledger.reader()), [1, 2, 3]);
}

#[tokio::test]
async fn any_other_error_of_a_write_stops_the_ledger_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    ledger.append(batch([1])).await.unwrap();
    disk.fail(Op::Write, 1, Fault::Error(ErrorKind::Other, 50));
    let refused = ledger.append(batch([2])).await.unwrap_err();
    assert!(matches!(refused, AppendError::Poisoned { .. }));
    let _ = ledger.close().await;
    let (ledger, recovery) = Ledger::open(dir.path(), small()).unwrap();
    let torn = recovery.torn.unwrap();
    assert_eq!((torn.bytes, std::fs::read(torn.saved_as).unwrap().len()), (50, 50));
    assert_eq!(ids(&ledger.reader()), [1]);
}

#[tokio::test]
async fn a_full_disk_refuses_for_now_and_goes_on_with_the_same_numbers() {
    for kind in [StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Simulated::default();
        let (ledger, _) = open(dir.path(), &disk, small());
        ledger.append(batch([1])).await.unwrap();
        disk.fail(Op::Write, 1, Fault::Error(kind, 100));
        let refused = ledger.append(batch([2, 2])).await.unwrap_err();
        assert!(matches!(refused, AppendError::DiskFull { .. }) && refused.is_transient());
        let receipt = ledger.append(batch([3, 2, 1])).await.unwrap();
        let sequences: Vec<_> = receipt.entries.iter().map(|e| (e.sequence, e.duplicate)).collect();
        assert_eq!(sequences, [(1, false), (2, false), (0, true)]);
        assert!(ledger.status().disk_full.is_none());
        assert_eq!(ids(&ledger.reader()), [1, 3, 2]);
        ledger.close().await.unwrap();
        assert_sound(dir.path(), 3);
    }
}

#[tokio::test]
async fn space_that_comes_back_is_noticed_without_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let options = Options { space_check: Duration::from_millis(1), ..small() };
    let (ledger, _) = open(dir.path(), &disk, options);
    disk.fail(Op::Write, 0, FULL);
    assert!(ledger.append(batch([1])).await.is_err());
    while ledger.status().disk_full.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ledger.status().counters.disk_full, 1);
}

#[tokio::test]
async fn a_disk_too_full_for_another_segment_refuses_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    disk.fail(Op::Create, 1, FULL);
    let mut refused = 0;
    let mut stored = Vec::new();
    for id in 0..20 {
        match ledger.append(batch([id])).await {
            Ok(_) => stored.push(id),
            Err(error) => {
                assert!(error.is_transient());
                refused += 1;
            }
        }
    }
    assert_eq!((refused, ids(&ledger.reader())), (1, stored));
    ledger.close().await.unwrap();
    assert_sound(dir.path(), 19);
}

#[tokio::test]
async fn a_group_that_cannot_be_cut_off_a_full_disk_stops_the_ledger() {
    for failing in [Op::Truncate, Op::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Simulated::default();
        let (ledger, _) = open(dir.path(), &disk, small());
        disk.fail(Op::Write, 0, FULL);
        disk.fail(failing, disk.count(failing), EIO);
        let refused = ledger.append(batch([1])).await.unwrap_err();
        assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
    }
}

#[tokio::test]
async fn the_reserve_is_kept_for_the_end_and_for_urgent_entries() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = dir.path().join("reserve");
    let disk = Simulated::default();
    let options =
        Options { reserve_bytes: 1 << 20, space_check: Duration::from_hours(1), ..small() };
    let (ledger, _) = open(dir.path(), &disk, options);
    assert!(ledger.status().reserve);
    disk.fail(Op::Write, 0, FULL);
    disk.fail(Op::Write, 1, FULL);
    assert!(ledger.append(batch([1])).await.is_err());
    assert!(reserve.exists(), "an ordinary append does not get it");
    let receipt = ledger.append_urgent(batch([2])).await.unwrap();
    assert_eq!(receipt.entries[0].sequence, 0);
    assert_eq!(disk.count(Op::Write), 3);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn the_mark_of_a_clean_end_uses_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let options = Options { reserve_bytes: 1 << 20, ..small() };
    let (ledger, _) = open(dir.path(), &disk, options.clone());
    ledger.append(batch([1])).await.unwrap();
    disk.fail(Op::Write, 1, FULL);
    ledger.close().await.unwrap();
    assert!(!dir.path().join("reserve").exists());
    let (ledger, recovery) = Ledger::open(dir.path(), options).unwrap();
    assert!(recovery.clean && ledger.status().reserve);
}

#[tokio::test]
async fn a_segment_that_is_made_shorter_under_a_reader_is_damage_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), Options::default()).unwrap();
    ledger.append(batch(0..3)).await.unwrap();
    let reader = ledger.reader();
    let file = dir.path().join(format!("{:020}.segment", 0));
    let end = reader.bytes_from(0).unwrap() - reader.bytes_from(2).unwrap();
    // Within the third entry.
    std::fs::File::options().write(true).open(file).unwrap().set_len(end + 200).unwrap();
    for mut scan in [reader.scan(0), reader.scan_once(0)] {
        let read = scan.next_chunk(1 << 20).unwrap().unwrap();
        assert_eq!(read.len(), 2);
        assert!(matches!(
            scan.next_chunk(1 << 20),
            Err(crate::ledger::ReadError::Corrupt { sequence: 2, .. })
        ));
    }
}

#[tokio::test]
async fn a_writer_that_dies_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    let reader = ledger.reader();
    disk.fail(Op::Write, 0, Fault::Panic);
    let open_gate = disk.hold_syncs();
    drop(open_gate);
    let appends: Vec<_> = (0..10)
        .map(|id| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(batch([id])).await })
        })
        .collect();
    for append in appends {
        let refused = append.await.unwrap().unwrap_err();
        assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
    }
    assert!(matches!(ledger.close().await, Err(CloseError::Poisoned { .. })));
    assert_eq!(reader.clone().changed().await, None);
    assert_eq!(reader.wait_beyond(0, Duration::from_hours(1)), 0);
    Ledger::open(dir.path(), small()).unwrap();
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_a_batch_that_never_fits_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let bytes = batch([1]).bytes();
    let options = Options { queue_bytes: 2 * bytes, ..small() };
    let (ledger, _) = open(dir.path(), &disk, options);
    let open_gate = disk.hold_syncs();
    let spawn = |id| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.append(batch([id])).await })
    };
    let first = spawn(0);
    while disk.count(Op::Write) == 0 {
        tokio::task::yield_now().await;
    }
    let waiting = [spawn(1), spawn(2)];
    while ledger.status().queue_batches < 2 {
        tokio::task::yield_now().await;
    }
    let refused = ledger.append(batch([3])).await.unwrap_err();
    assert!(matches!(refused, AppendError::Full { batches: 2, .. }), "{refused}");
    assert!(refused.is_transient());
    let refused = ledger.append(batch([4, 5, 6])).await.unwrap_err();
    assert!(matches!(refused, AppendError::TooLarge { .. }) && !refused.is_transient());
    drop(open_gate);
    for append in [first].into_iter().chain(waiting) {
        append.await.unwrap().unwrap();
    }
    // What waited while the disk was busy went into one group.
    assert_eq!(ledger.status().counters.groups, 2);
    ledger.close().await.unwrap();
    let refused = ledger.append(batch([7])).await.unwrap_err();
    assert!(matches!(refused, AppendError::Closed), "{refused}");
}

#[tokio::test]
async fn a_duplicate_of_an_entry_in_flight_fails_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let (ledger, _) = open(dir.path(), &disk, small());
    disk.fail(Op::Sync, disk.count(Op::Sync), EIO);
    let (one, other) = tokio::join!(ledger.append(batch([1])), ledger.append(batch([1])));
    assert!(one.is_err() && other.is_err());
}
