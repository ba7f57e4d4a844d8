//! The public log of a running server: signed, served, taken up again, and never contradicted.
#![cfg(feature = "server")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use spanledger::access::Role;
use spanledger::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use spanledger::ledger::merkle::leaf_hash;
use spanledger::ledger::proof::{
    consistency, inclusion, root, verify_consistency, verify_inclusion,
};
use spanledger::ledger::{PublicLog, Reader, TreeHead};
use spanledger::pipeline::{ledger_dir, log_dir};
use std::path::Path;
use std::process::{Command, Output};
use support::files::copy_folder;
use support::keys::{create, new};
use support::requests::numbered;
use support::server::{DEADLINE, Server, look_until};

/// Sends spans and waits until they are acknowledged.
async fn send(server: &Server, first: u64, count: u64) {
    let endpoint = format!("http://{}", server.grpc());
    let mut client = TraceServiceClient::connect(endpoint).await.unwrap();
    client.export(numbered(first, count)).await.unwrap();
}

/// The verifier key that the folder of keys has.
fn key(data: &Path) -> VerifierKey {
    VerifierKey::parse(&std::fs::read_to_string(data.join("keys/log.pub")).unwrap()).unwrap()
}

/// Waits for a checkpoint of at least that size, and checks its signature.
async fn checkpoint(data: &Path, size: u64) -> SignedCheckpoint {
    let log = PublicLog::open(&log_dir(data));
    let found = look_until(DEADLINE, async || {
        log.checkpoint().unwrap().filter(|signed| signed.checkpoint.head.size >= size)
    });
    let found = found.await.expect("a checkpoint that covers what was acknowledged");
    found.verify(&[key(data)]).unwrap();
    found
}

fn spanledger(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanledger"));
    command.args(arguments).arg("--data").arg(data).output().unwrap()
}

/// Checks each leaf of a public log against a checkpoint, and that it continues an earlier one.
fn assert_proves(data: &Path, head: TreeHead, earlier: TreeHead) {
    let log = PublicLog::open(&log_dir(data));
    for index in 0..head.size {
        let leaf = leaf_hash(&log.leaf_record(index).unwrap());
        let proof = inclusion(&log, index, head.size).unwrap();
        verify_inclusion(&leaf, index, &head, &proof).unwrap();
    }
    let proof = consistency(&log, earlier.size, head.size).unwrap();
    verify_consistency(&earlier, &head, &proof).unwrap();
}

#[tokio::test]
async fn what_is_acknowledged_is_soon_covered_by_a_signed_checkpoint_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    send(&server, 0, 300).await;
    let first = checkpoint(data.path(), 300).await.checkpoint;
    assert_proves(data.path(), first.head, first.head);
    // Nobody sees it end, and it goes on where it was.
    send(&server, 300, 50).await;
    server.restart().await;
    send(&server, 350, 250).await;
    let second = checkpoint(data.path(), 600).await.checkpoint;
    assert_eq!(second.origin, first.origin);
    assert_proves(data.path(), second.head, first.head);
    let covered = server.metric("spanledger_public_log_entries").await;
    assert!(covered >= 600, "{covered}");
    assert_eq!(server.metric("spanledger_public_log_held_up").await, 0);
    // At the end everything is covered, whatever was done last.
    send(&server, 600, 7).await;
    server.terminate().await;
    let last = checkpoint(data.path(), 0).await.checkpoint;
    let ledger = Reader::open(&ledger_dir(data.path())).unwrap();
    assert_eq!(last.head, ledger.head());
    assert_proves(data.path(), last.head, second.head);
    // Full tiles took the place of partial ones.
    let tiles: Vec<_> = data.path().join("log/tile/0").read_dir().unwrap().collect();
    assert_eq!(tiles.len(), 3, "000, 001, 002.p: {tiles:?}");
}

#[tokio::test]
async fn over_http_a_global_auditor_gets_the_bytes_of_the_folder_with_headers_that_let_him_keep_them()
 {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    send(&server, 0, 300).await;
    checkpoint(data.path(), 300).await;
    let key_of = |role| create(data.path(), new(role, "default")).1.reveal().to_owned();
    let (auditor, tenants) = (key_of(Role::GlobalAuditor), key_of(Role::Auditor));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str, key: &str, known: &str| {
        let address = format!("http://{}/log/{path}", server.api());
        let request = client.get(address).bearer_auth(key).header("if-none-match", known);
        request.send().await.unwrap()
    };
    let shut =
        look_until(DEADLINE, async || (get("keys", "", "").await.status() == 401).then_some(()));
    shut.await.expect("nobody gets in without a credential");
    let open = look_until(DEADLINE, async || {
        (get("keys", &auditor, "").await.status() == 200).then_some(())
    });
    open.await.expect("the credentials are in effect");
    for (path, kind, keep) in [
        ("keys", "text/plain; charset=utf-8", "private, no-cache"),
        ("tile/0/000", "application/octet-stream", "private, max-age=31536000, immutable"),
        ("tile/entries/000", "application/octet-stream", "private, max-age=31536000, immutable"),
        ("tile/1/000.p/1", "application/octet-stream", "private, max-age=60"),
    ] {
        let answer = get(path, &auditor, "").await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], kind, "{path}");
        assert_eq!(answer.headers()["cache-control"], keep, "{path}");
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(bytes, std::fs::read(data.path().join("log").join(path)).unwrap(), "{path}");
        let again = get(path, &auditor, &tag).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.unwrap().is_empty());
        assert_eq!(get(path, &tenants, "").await.status(), 403, "{path}");
        assert_eq!(get(path, "", "").await.status(), 401, "{path}");
    }
    let note = get("checkpoint", &auditor, "").await.bytes().await.unwrap();
    let signed = SignedCheckpoint::parse(&note).unwrap();
    signed.verify(&[key(data.path())]).unwrap();
    for path in ["tile/0/999", "tile/0/..%2f..%2fkeys", "tile/9/000", "lock", "tile/0/000.p/0"] {
        assert_eq!(get(path, &auditor, "").await.status(), 404, "{path}");
    }
    server.terminate().await;
}

#[tokio::test]
async fn tiles_that_are_lost_or_damaged_are_made_again_from_the_ledger() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    send(&server, 0, 300).await;
    checkpoint(data.path(), 300).await;
    let log = PublicLog::open(&log_dir(data.path()));
    let tiles = data.path().join("log/tile");
    let damages = ["all", "0/001.p", "0/000", "entries/000", "1/000.p", "0/000 unreadable"];
    for (serial, damage) in (1_000..).zip(damages) {
        server.kill();
        let before = log.checkpoint().unwrap().unwrap().checkpoint.head;
        let path = tiles.join(damage);
        if damage == "all" {
            std::fs::remove_dir_all(&tiles).unwrap();
        } else if let Some(name) = damage.strip_suffix(" unreadable") {
            // A link to itself: the system refuses to read it.
            let path = tiles.join(name);
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
        } else if path.is_dir() {
            for tile in path.read_dir().unwrap() {
                std::fs::write(tile.unwrap().path(), b"rubbish").unwrap();
            }
        } else {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[40] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        server.restart().await;
        send(&server, serial, 1).await;
        let made = look_until(DEADLINE, async || {
            (server.metric("spanledger_public_log_rebuilds_total").await > 0).then_some(())
        });
        made.await.expect("the tiles are made again");
        let head = checkpoint(data.path(), before.size + 1).await.checkpoint.head;
        assert_eq!(root(&log, before.size).unwrap(), before.root, "{damage}");
        assert_proves(data.path(), head, before);
    }
    server.terminate().await;
}

#[tokio::test]
async fn a_ledger_from_before_its_last_checkpoint_is_refused_with_the_way_out() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    send(&server, 0, 20).await;
    checkpoint(data.path(), 20).await;
    server.kill();
    let ledger = ledger_dir(data.path());
    let backup = data.path().join("backup");
    copy_folder(&ledger, &backup);
    server.restart().await;
    send(&server, 20, 20).await;
    checkpoint(data.path(), 40).await;
    server.terminate().await;

    std::fs::remove_dir_all(&ledger).unwrap();
    copy_folder(&backup, &ledger);
    let listen = ["--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-api"];
    let arguments = [&["serve"][..], &listen, &["127.0.0.1:0"]].concat();
    // The folder of keys knows it too: the public log may be as old, or away.
    for away in [false, true] {
        if away {
            std::fs::remove_dir_all(log_dir(data.path())).unwrap();
        }
        let refused = spanledger(data.path(), &arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains("was signed") && said.contains("newest copy of the ledger"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_change_of_the_key_that_fails_keeps_nothing_from_being_signed() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    send(&server, 0, 3).await;
    checkpoint(data.path(), 3).await;
    let next = data.path().join("keys/log.next");
    std::fs::write(&next, "no key").unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
    send(&server, 3, 3).await;
    checkpoint(data.path(), 6).await;
    assert_eq!(server.metric("spanledger_public_log_held_up").await, 0);
    server.terminate().await;
}

#[tokio::test]
async fn a_new_key_takes_over_with_an_entry_that_the_old_one_signed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    send(&server, 0, 3).await;
    checkpoint(data.path(), 3).await;
    let old = key(data.path());
    let shown = spanledger(data.path(), &["keys", "log", "show"]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), old.to_string());
    let rotated = spanledger(data.path(), &["keys", "log", "rotate"]);
    let said = String::from_utf8(rotated.stdout).unwrap();
    let new = VerifierKey::parse(said.lines().next().unwrap()).unwrap();
    assert_ne!(new, old);
    // Both sign the checkpoint that covers the entry.
    let log = PublicLog::open(&log_dir(data.path()));
    let both = look_until(DEADLINE, async || {
        let signed = log.checkpoint().unwrap()?;
        let both = [old.clone(), new.clone()];
        (signed.verify(&both).ok()?.len() == 2).then_some(signed)
    });
    let both = both.await.expect("a checkpoint that both keys signed");
    assert_eq!(
        (key(data.path()), log.keys().unwrap()),
        (new.clone(), vec![old.clone(), new.clone()])
    );
    send(&server, 3, 3).await;
    let later = checkpoint(data.path(), both.checkpoint.head.size + 3).await;
    assert_eq!(later.signers().len(), 1, "the old key signs nothing more");
    server.terminate().await;

    let ledger = Reader::open(&ledger_dir(data.path())).unwrap();
    let mut scan = ledger.scan(0);
    let mut statements = Vec::new();
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        for entry in chunk.entries() {
            let body: serde_json::Value = serde_json::from_slice(entry.body).unwrap();
            if body["event"]["action"] == "log_key.rotated" {
                assert!(entry.sequence < both.checkpoint.head.size);
                assert!(body["audit"]["actor"]["id"].as_str().unwrap().starts_with("os:"));
                statements.push(body["message"].as_str().unwrap().to_owned());
            }
        }
    }
    let [statement] = &statements[..] else { panic!("{statements:?}") };
    assert!(statement.contains(&new.to_string()), "{statement}");
    let theirs = signed_note::StandardVerifier::new(&old.to_string()).unwrap();
    let note = signed_note::Note::from_bytes(statement.as_bytes()).unwrap();
    note.verify(&signed_note::VerifierList::new(vec![Box::new(theirs)])).unwrap();
}
