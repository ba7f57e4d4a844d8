//! A full disk under everything that writes: intake, checkpoints, packing and pruning.

use crate::folder::{
    Witness, check, checkpoint, due, files, old_folder, told, touch_sealed, write_config,
};
use crate::support::requests::numbered;
use crate::support::server::{DEADLINE, Server, look_until, wait_until};
use crate::support::small_disk::SmallDisk;
use crate::{DAY, is_signed};
use prost::Message as _;
use spanledger::access::Tenant;
use spanledger::evidence::Verdict;
use spanledger::ledger::verify;
use spanledger::pipeline::{Holds, ledger_dir, log_key};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

const SPANS: u64 = 20;

async fn send(server: &Server, first: u64) -> u16 {
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf")
        .body(numbered(first, SPANS).encode_to_vec());
    request.send().await.unwrap().status().as_u16()
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    let mut ballast = File::create(path).unwrap();
    for step in [1 << 20, 1 << 12] {
        while ballast.write_all(&vec![0xA5; step]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_intake_checkpoints_and_upkeep_and_all_go_on_when_there_is_room() {
    let disk = SmallDisk::new("96m");
    let data = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    old_folder(&data).await;
    let hold =
        Holds::of(&data).add(Tenant::default(), None, "os:anna".into(), "case 1".into()).unwrap();
    touch_sealed(&data, SystemTime::now() + DAY);
    let config = write_config(&data);
    let witness = Witness::begin(&data);
    let server = Server::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    wait_until("the hold is on record and signed", || {
        is_signed(&data) && Holds::of(&data).read().unwrap()[0].added.recorded
    })
    .await;
    // Of the segments that are full now: the next one gets entries of today.
    let (due, key) = (due(&data), log_key(&data.join("keys")).unwrap());
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    // A segment that this server began: it has reserved its room.
    let newest = || files(&data, ".segment").pop().unwrap();
    let active = newest();
    while newest() == active {
        assert_eq!(send(&server, next).await, 200);
        acknowledged.extend(next..next + SPANS);
        next += SPANS;
    }
    // What the holds will be: on a full disk nobody can write that.
    let released = tempfile::tempdir().unwrap();
    std::fs::copy(data.join("holds.json"), released.path().join("holds.json")).unwrap();
    Holds::of(released.path()).release(&hold.id, "os:anna".into(), "closed".into()).unwrap();
    std::fs::copy(released.path().join("holds.json"), data.join("holds.released")).unwrap();

    let full_since = next;
    let before = checkpoint(&data).unwrap().checkpoint.head.size;
    fill(&ballast);
    std::fs::rename(data.join("holds.released"), data.join("holds.json")).unwrap();
    touch_sealed(&data, SystemTime::now() - DAY);
    loop {
        match send(&server, next).await {
            200 => acknowledged.extend(next..next + SPANS),
            503 => break,
            status => panic!("a full disk was answered with {status}"),
        }
        next += SPANS;
        assert!(next < 100_000, "the disk is never full");
    }
    assert!(next > full_since, "what the segment reserved can still be used");
    let held_up = async || {
        let held_up = server.metric("spanledger_public_log_held_up").await == 1;
        let failed = server.metric("spanledger_ledger_upkeep_failures_total").await > 0;
        (held_up && failed).then_some(())
    };
    assert!(look_until(DEADLINE, held_up).await.is_some(), "signing and upkeep say that they wait");
    assert_eq!(send(&server, next).await, 503);
    assert!(checkpoint(&data).unwrap().checkpoint.head.size >= before);
    let report = verify(&ledger_dir(&data), |_| {}).unwrap();
    assert!(report.is_ok() && report.pruned == 0, "{:?}", report.problems);

    std::fs::remove_file(&ballast).unwrap();
    let taken = async || (send(&server, next).await == 200).then_some(());
    assert!(look_until(DEADLINE, taken).await.is_some(), "it takes evidence again by itself");
    acknowledged.extend(next..next + SPANS);
    let state = || {
        let left = [files(&data, ".segment"), files(&data, ".new")].concat();
        let pruned = verify(&ledger_dir(&data), |_| {}).unwrap().pruned;
        (left, is_signed(&data), pruned, Holds::of(&data).read().unwrap().len())
    };
    let done = async || {
        let (left, signed, pruned, holds) = state();
        (left.len() == 1 && signed && pruned == due.len() as u64 && holds == 0).then_some(())
    };
    let done = look_until(DEADLINE, done).await;
    assert!(done.is_some(), "it does not go on by itself: {:?}\n{}", state(), server.stderr());
    server.terminate().await;
    let (findings, all) = check(&data, witness.end(&data), key, &acknowledged);
    assert_eq!(findings.verdict(), Verdict::Partial, "{findings:?}");
    let announced = told(&all, "ledger.pruned");
    let announced = announced.iter().map(|act| &act["attributes"]["spanledger.prune.entries"]);
    assert_eq!(announced.map(|it| it.as_u64().unwrap()).sum::<u64>(), due.len() as u64);
    assert_eq!(told(&all, "hold.released").len(), 1);
}
