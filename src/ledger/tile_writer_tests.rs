//! Tests of the tile writer: what is in the folder, and what is done when it is not as it was.

use super::*;
use crate::ledger::checkpoint::{Checkpoint, LogKey};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::proof::{
    Subtrees as _, consistency, inclusion, root, verify_consistency, verify_inclusion,
};

fn record(n: u64) -> Vec<u8> {
    format!("record {n}").into_bytes()
}

fn grow(writer: &mut TileWriter, size: u64) {
    for n in writer.size()..size {
        writer.push(&record(n), leaf_hash(&record(n))).unwrap();
    }
    writer.flush().unwrap();
    writer.forget_partials();
}

fn expected(size: u64) -> TreeHead {
    let mut tree = Frontier::default();
    (0..size).map(record).for_each(|record| tree.push(leaf_hash(&record)));
    tree.head()
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for file in next.read_dir().unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn the_tiles_are_those_of_the_specification_at_each_size() {
    for (size, wanted) in [
        (0, vec![]),
        (1, vec!["tile/0/000.p/1", "tile/entries/000.p/1"]),
        (255, vec!["tile/0/000.p/255", "tile/entries/000.p/255"]),
        (256, vec!["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]),
        (
            257,
            vec![
                "tile/0/000",
                "tile/0/001.p/1",
                "tile/1/000.p/1",
                "tile/entries/000",
                "tile/entries/001.p/1",
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = TileWriter::new(PublicLog::open(dir.path()));
        grow(&mut writer, size);
        assert_eq!(files(dir.path()), wanted, "size {size}");
        assert_eq!(writer.head(), expected(size));
    }
}

#[test]
fn proofs_from_tiles_hold_whatever_checkpoints_came_between() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    let mut writer = TileWriter::new(log.clone());
    let mut heads = vec![expected(0)];
    for size in [1, 2, 100, 255, 256, 257, 300, 511, 512, 513, 700] {
        grow(&mut writer, size);
        heads.push(writer.head());
        for old in &heads {
            let proof = consistency(&log, old.size, size).unwrap();
            verify_consistency(old, &writer.head(), &proof).unwrap();
            // Also with an older checkpoint, whose partial tiles may be gone.
            assert_eq!(root(&log, old.size).unwrap(), old.root);
        }
        for index in [0, size / 2, size - 1] {
            let proof = inclusion(&log, index, size).unwrap();
            let record = log.leaf_record(index).unwrap();
            verify_inclusion(&leaf_hash(&record), index, &writer.head(), &proof).unwrap();
        }
        assert!(log.leaf_record(size).is_err());
    }
    assert!(log.subtree(0, 700).is_err());
}

#[test]
fn a_writer_goes_on_after_a_restart_as_if_nothing_had_been() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    grow(&mut TileWriter::new(log.clone()), 0);
    for (size, next) in [(0, 3), (3, 256), (256, 300), (300, 600), (600, 601)] {
        let mut writer = TileWriter::resume(&log, &expected(size)).unwrap();
        grow(&mut writer, next);
        assert_eq!(writer.head(), expected(next));
    }
    for index in 0..601 {
        assert_eq!(log.leaf_record(index).unwrap(), record(index));
    }
}

#[test]
fn begun_tiles_that_are_damaged_are_not_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    grow(&mut TileWriter::new(log.clone()), 300);
    let head = expected(300);
    assert!(TileWriter::resume(&log, &expected(299)).is_none());
    for name in ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"] {
        let path = dir.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[17] ^= 1;
        for bytes in [bad, good[1..].to_vec(), Vec::new()] {
            fs::write(&path, bytes).unwrap();
            assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
        }
        fs::remove_file(&path).unwrap();
        assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
        // A link to itself: the system refuses to read it.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(TileWriter::resume(&log, &head).is_none(), "{name}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
    }
    assert!(TileWriter::resume(&log, &head).is_some());
}

#[test]
fn beginning_anew_repairs_what_is_damaged_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    grow(&mut TileWriter::new(log.clone()), 600);
    let before = files(dir.path());
    for name in ["tile/0/000", "tile/entries/001", "tile/1/000.p/2"] {
        fs::write(dir.path().join(name), b"rubbish").unwrap();
    }
    let full = |kind, index| log.is_sound(&Tile::full(kind, index)).unwrap();
    assert!(!full(Kind::Hashes(0), 0) && !full(Kind::Entries, 1));
    grow(&mut TileWriter::new(log.clone()), 600);
    assert_eq!(files(dir.path()), before);
    for index in 0..2 {
        assert!(full(Kind::Hashes(0), index) && full(Kind::Entries, index));
    }
    assert!(!full(Kind::Hashes(0), 2), "it is not full yet");
    assert_eq!(root(&log, 600).unwrap(), expected(600).root);
    assert_eq!(log.leaf_record(256).unwrap(), record(256));
}

#[test]
fn a_tile_that_could_not_be_made_durable_is_another_file_at_the_next_attempt() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    grow(&mut TileWriter::new(log.clone()), 256);
    // Begun anew, as after a crash: what is there is right, and durable perhaps.
    let mut writer = TileWriter::new(log.clone());
    for n in 0..256 {
        writer.push(&record(n), leaf_hash(&record(n))).unwrap();
    }
    let full = dir.path().join("tile/0/000");
    let (before, bytes) = (fs::metadata(&full).unwrap().ino(), fs::read(&full).unwrap());
    writer.unsynced.push(Unsynced { path: dir.path().join("tile/gone"), is_there: true });
    writer.flush().unwrap_err();
    assert_ne!(fs::metadata(&full).unwrap().ino(), before);
    assert_eq!(fs::read(&full).unwrap(), bytes);
    grow(&mut TileWriter::new(log.clone()), 256);
    assert_eq!(root(&log, 256).unwrap(), expected(256).root);
}

#[test]
fn a_tile_has_no_name_before_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    let mut writer = TileWriter::new(log.clone());
    for n in 0..300 {
        writer.push(&record(n), leaf_hash(&record(n))).unwrap();
    }
    let named = || files(dir.path()).into_iter().filter(|name| !name.contains(".new"));
    assert_eq!(named().count(), 0);
    writer.unsynced.push(Unsynced { path: dir.path().join("tile/gone"), is_there: false });
    writer.flush().unwrap_err();
    assert_eq!(files(dir.path()).len(), 0, "what failed leaves nothing");
    grow(&mut TileWriter::new(log.clone()), 300);
    assert_eq!(root(&log, 300).unwrap(), expected(300).root);
}

#[test]
fn many_tiles_are_made_durable_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(dir.path());
    // More than are synced one by one.
    grow(&mut TileWriter::new(log.clone()), 256 * 40);
    assert_eq!(root(&log, 256 * 40).unwrap(), expected(256 * 40).root);
    assert!(files(dir.path()).iter().all(|name| !name.contains(".new")));
}

#[test]
fn a_checkpoint_is_replaced_at_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let log = PublicLog::open(&dir.path().join("log"));
    assert_eq!(log.checkpoint().unwrap(), None);
    let key = LogKey::generate("spanledger/1").unwrap();
    for size in [0, 1] {
        let origin = key.verifier().name().to_owned();
        let signed = key.sign(&Checkpoint { origin, head: expected(size) }).unwrap();
        log.publish(&signed).unwrap();
        assert_eq!(log.checkpoint().unwrap(), Some(signed));
    }
    log.publish_keys(&[key.verifier().clone()]).unwrap();
    assert_eq!(log.keys().unwrap(), [key.verifier().clone()]);
    let mode = fs::metadata(log.dir().join("checkpoint")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(files(log.dir()), ["checkpoint", "keys"]);
}
