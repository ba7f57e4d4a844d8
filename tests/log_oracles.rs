//! Programs that we did not write verify our public log: tessera's fsck and client, and Go's own
//! `sumdb/tlog` and `note` (`tests/clients/log`).
#![cfg(feature = "server")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use spanledger::access::Role;
use spanledger::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint};
use spanledger::ledger::merkle::leaf_hash;
use spanledger::ledger::{PublicLog, TileWriter};
use spanledger::pipeline::log_dir;
use std::path::Path;
use std::process::Output;
use support::clients::{command, is_skipped};
use support::keys::{create, new};
use support::requests::numbered;
use support::server::{DEADLINE, Server, look_until};

/// Sizes around what changes the shape of tiles.
const SIZES: [u64; 7] = [1, 255, 256, 257, 65_535, 65_536, 65_537];

/// What the program says of a log in a folder or at an address.
fn check(place: &str, key: &str, token: &[&str]) -> Output {
    command("log").arg(place).arg(key).args(token).output().unwrap()
}

fn assert_accepted(size: u64, answer: &Output) {
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "size {size}: {said}");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), size.to_string());
}

fn record(n: u64) -> Vec<u8> {
    format!("leaf record {n}").into_bytes()
}

/// A signed log that grew to each of those sizes in turn, and is left at the last.
fn grow(dir: &Path, key: &LogKey, sizes: &[u64], mut at_each: impl FnMut(u64)) {
    let log = PublicLog::open(dir);
    let mut writer = TileWriter::new(log.clone());
    for size in sizes {
        for n in writer.size()..*size {
            writer.push(&record(n), leaf_hash(&record(n))).unwrap();
        }
        writer.flush().unwrap();
        let origin = key.verifier().name().to_owned();
        log.publish(&key.sign(&Checkpoint { origin, head: writer.head() }).unwrap()).unwrap();
        writer.forget_partials();
        at_each(*size);
    }
}

#[test]
fn our_folder_is_accepted_at_each_size_as_the_log_grows() {
    if is_skipped("log") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate("spanledger.example/00112233445566778899aabbccddeeff").unwrap();
    let vkey = key.verifier().to_string();
    let large = std::env::var("SPANLEDGER_LOG_SIZE").ok().and_then(|size| size.parse().ok());
    let sizes: Vec<u64> = SIZES.into_iter().chain(large).collect();
    grow(dir.path(), &key, &sizes, |size| {
        assert_accepted(size, &check(dir.path().to_str().unwrap(), &vkey, &[]));
    });
}

#[test]
fn the_oracle_refuses_a_log_that_was_changed_anywhere() {
    if is_skipped("log") {
        return;
    }
    let key = LogKey::generate("spanledger.example/0").unwrap();
    let other = LogKey::generate("spanledger.example/0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    grow(dir.path(), &key, &[300], |_| {});
    let place = dir.path().to_str().unwrap();
    assert_accepted(300, &check(place, &key.verifier().to_string(), &[]));
    assert!(!check(place, &other.verifier().to_string(), &[]).status.success());
    for name in
        ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "checkpoint"]
    {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[10] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(!check(place, &key.verifier().to_string(), &[]).status.success(), "{name}");
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn our_server_is_accepted_over_http_at_each_size() {
    if is_skipped("log") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    let log = PublicLog::open(&log_dir(data.path()));
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    let mut sent = 0;
    for size in [1, 255, 256, 257, 700] {
        while sent < size {
            let count = (size - sent).min(1000);
            client.export(numbered(sent, count)).await.unwrap();
            sent += count;
        }
        let covered = look_until(DEADLINE, async || {
            log.checkpoint().unwrap().filter(|signed| signed.checkpoint.head.size == size)
        });
        let SignedCheckpoint { .. } = covered.await.expect("a checkpoint of all that was sent");
        let key = log.keys().unwrap().pop().unwrap().to_string();
        let place = format!("http://{}/log", server.api());
        assert_accepted(size, &check(&place, &key, &[]));
    }
    // With credentials the same, for who may read everything.
    let (_, auditor) = create(data.path(), new(Role::GlobalAuditor, "default"));
    let key = log.keys().unwrap().pop().unwrap().to_string();
    let place = format!("http://{}/log", server.api());
    let shut = look_until(DEADLINE, async || {
        (server.status("/log/checkpoint").await == 401).then_some(())
    });
    shut.await.expect("nobody gets in without a credential");
    server.show(auditor.reveal());
    let open = look_until(DEADLINE, async || {
        (server.status("/log/checkpoint").await == 200).then_some(())
    });
    open.await.expect("the credentials are in effect");
    let accepted = check(&place, &key, &[auditor.reveal()]);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    server.terminate().await;
}
