//! Repair, as far as the ledger does it.

use super::*;
use crate::ledger::segment::{SEGMENT, path};

#[tokio::test]
async fn a_segment_under_the_name_of_another_one_ends_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), small()).unwrap();
    for id in 0..40 {
        ledger.append(batch([id])).await.unwrap();
    }
    ledger.close().await.unwrap();
    let firsts = crate::ledger::segment::list(dir.path(), SEGMENT).unwrap();
    let last = *firsts.last().unwrap();
    let (right, wrong) = (path(dir.path(), last, SEGMENT), path(dir.path(), last + 1, SEGMENT));
    std::fs::rename(right, &wrong).unwrap();
    let repair = Repair::plan(dir.path(), None).unwrap();
    let found = repair.findings().shortened.as_ref().unwrap();
    assert_eq!((&found.segment, &found.damage), (&wrong, &Damage::Order));
    assert_eq!(repair.findings().kept.size, last);
    let into = tempfile::tempdir().unwrap();
    repair.build(into.path()).unwrap();
    let (ledger, recovery) = Ledger::open(into.path(), small()).unwrap();
    assert_eq!(recovery.head.size, last);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn nobody_opens_a_ledger_whose_lock_is_held_although_its_directory_gets_another_name() {
    let parent = tempfile::tempdir().unwrap();
    let (new, place) = (parent.path().join("new"), parent.path().join("ledger"));
    let (ledger, _) = Ledger::open(&new, small()).unwrap();
    ledger.close().await.unwrap();
    let held = Repair::lock(&new).unwrap();
    std::fs::rename(&new, &place).unwrap();
    let refused = Ledger::open(&place, small());
    assert!(matches!(refused, Err(OpenError::Locked { .. })), "{refused:?}");
    drop(held);
    Ledger::open(&place, small()).unwrap();
}
