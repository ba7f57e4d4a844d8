//! Crashes: at every operation, with every kind of torn write.
//!
//! The oracle of every run: each acknowledged entry is there once, at its place, with its hash, and
//! the ledger begins with every tree that was signed, so that no two signed trees contradict.

use super::simulated::{Fault, Op, Simulated, Tear};
use super::{batch, small};
use crate::ledger::{Appended, Ledger, Options, TreeHead, verify, verify_against};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::Path;

/// What others know of a ledger.
#[derive(Default)]
struct Told {
    /// What was acknowledged, by id.
    acknowledged: HashMap<u64, Appended>,
    /// The trees that were signed, which is done to what is durable at any time.
    signed: Vec<TreeHead>,
}

impl Told {
    /// A ledger that knows what was signed last.
    fn options(&self) -> Options {
        Options { signed: self.signed.last().copied(), ..small() }
    }
}

/// Appends those batches until the disk fails.
async fn run(dir: &Path, disk: &Simulated, batches: &[Vec<u64>]) -> Told {
    let mut told = Told::default();
    go_on(dir, disk, batches, &mut told).await;
    told
}

/// The same on what is there already.
async fn go_on(dir: &Path, disk: &Simulated, batches: &[Vec<u64>], told: &mut Told) {
    let Ok((ledger, _)) = Ledger::open_on(dir, told.options(), Box::new(disk.clone())) else {
        return;
    };
    let Told { acknowledged, signed } = told;
    for ids in batches {
        if let Ok(receipt) = ledger.append(batch(ids.iter().copied())).await {
            for (id, appended) in ids.iter().zip(receipt.entries) {
                let before = acknowledged.entry(*id).or_insert(appended);
                assert_eq!(before.sequence, appended.sequence, "the duplicate has its original's");
            }
        }
        signed.push(ledger.reader().head());
    }
    let _ = ledger.close().await;
    signed.push(ledger.reader().head());
}

/// Opens what the crash left, on a disk that works now, and checks it against what was acknowledged.
async fn check(dir: &Path, told: &Told) {
    let Told { acknowledged, signed } = told;
    let (ledger, recovery) =
        Ledger::open_on(dir, told.options(), Box::<Simulated>::default()).unwrap();
    if let Some(torn) = recovery.torn {
        // Whatever pages of the last group arrived, nobody is needed to go on.
        let cut = |entry: &Appended| torn.entries.contains(&entry.sequence);
        assert!(!acknowledged.values().any(cut), "{torn}");
        assert_eq!(torn.saved_as.metadata().unwrap().len(), torn.bytes);
    }
    let reader = ledger.reader();
    for (id, appended) in acknowledged {
        let entry = reader.get(appended.sequence).unwrap().unwrap();
        assert_eq!(entry.id.0[..8], id.to_be_bytes());
        assert_eq!(entry.leaf_hash, appended.leaf_hash);
    }
    let all = super::ids(&reader);
    let once: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(once.len(), all.len(), "nothing is there twice");
    // Senders send everything again that was not acknowledged, and get an answer.
    ledger.append(batch(acknowledged.keys().copied().chain([1 << 40]))).await.unwrap();
    assert_eq!(super::ids(&reader).len(), all.len() + 1);
    let head = ledger.close().await.unwrap();
    let report = verify(dir, |_| {}).unwrap();
    assert!(report.is_ok() && report.head == head && report.closed, "{:?}", report.problems);
    let report = verify_against(dir, signed, None, |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}

fn batches() -> Vec<Vec<u64>> {
    vec![vec![1], vec![2, 3, 2], vec![4, 5, 6], vec![1, 7], vec![8], vec![9, 10, 11], vec![12]]
}

#[tokio::test]
async fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let told = run(dir.path(), &disk, &batches()).await;
    assert_eq!(told.acknowledged.len(), 12);
    let operations = disk.operations();
    assert!(operations >= 20, "{operations}");
    let tears = [
        Tear::Nothing,
        Tear::Everything,
        Tear::Front(1),
        Tear::Front(200),
        Tear::Front(600),
        Tear::Blocks(0xAAAA_AAAA_AAAA_AAAA),
        Tear::Blocks(0x5555_5555_5555_5555),
    ];
    for operation in 0..operations {
        for tear in tears {
            let dir = tempfile::tempdir().unwrap();
            let disk = Simulated::default();
            disk.crash_at(operation);
            let told = run(dir.path(), &disk, &batches()).await;
            disk.crash(tear);
            check(dir.path(), &told).await;
        }
    }
}

#[tokio::test]
async fn of_a_group_that_was_never_acknowledged_any_blocks_may_be_missing() {
    // 15 entries take seven blocks; the first has durable bytes too, the last has the trailer.
    let mut cut_with_its_seal = 0;
    for missing in 0..9 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Simulated::default();
        disk.fail(Op::Sync, 1, Fault::Error(std::io::ErrorKind::Other, 0));
        let told = run(dir.path(), &disk, &[vec![1], (2..17).collect()]).await;
        assert_eq!(told.acknowledged.len(), 1);
        disk.crash(Tear::Blocks(!(1 << missing)));
        let copy = tempfile::tempdir().unwrap();
        for file in dir.path().read_dir().unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let (_, recovery) = Ledger::open(copy.path(), small()).unwrap();
        if let Some(torn) = recovery.torn.filter(|torn| torn.sealed) {
            assert_eq!((torn.entries.clone(), recovery.head.size), (1..16, 1));
            assert!(torn.to_string().contains("entries 1 to 15"), "{torn}");
            cut_with_its_seal += 1;
        }
        check(dir.path(), &told).await;
    }
    assert!(cut_with_its_seal >= 5, "{cut_with_its_seal}");
}

#[tokio::test]
async fn a_crash_during_the_recovery_from_a_crash_loses_nothing_either() {
    for second in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Simulated::default();
        disk.crash_at(9);
        let mut told = run(dir.path(), &disk, &batches()).await;
        disk.crash(Tear::Front(300));
        let disk = Simulated::default();
        disk.crash_at(second);
        go_on(dir.path(), &disk, &[vec![100], vec![101]], &mut told).await;
        disk.crash(Tear::Front(100));
        check(dir.path(), &told).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_sent_and_wherever_it_crashes_the_oracle_holds(
        batches in prop::collection::vec(prop::collection::vec(0_u64..30, 1..6), 1..12),
        crash_at in 0_u64..60,
        tear in prop_oneof![
            (0_usize..3_000).prop_map(Tear::Front),
            any::<u64>().prop_map(Tear::Blocks),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let disk = Simulated::default();
            disk.crash_at(crash_at);
            let told = run(dir.path(), &disk, &batches).await;
            disk.crash(tear);
            check(dir.path(), &told).await;
        });
    }
}
