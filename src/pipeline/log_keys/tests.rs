//! The log's key: made once, never replaced silently, and handed over on record.

use super::*;
use crate::ledger::TreeHead;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

const ORIGIN: &str = "00112233445566778899aabbccddeeff";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn open(dir: &Path) -> Result<LogKeys, LogKeyError> {
    LogKeys::open(dir, "spanledger", ORIGIN, None)
}

fn checkpoint(size: u64) -> Checkpoint {
    let head = TreeHead { size, root: [1; 32] };
    Checkpoint { origin: format!("spanledger/{ORIGIN}"), head }
}

fn signers(keys: &mut LogKeys) -> usize {
    let signed = keys.sign(&checkpoint(1)).unwrap();
    signed.verify(&keys.verifiers()).unwrap().len()
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let dir = folder();
    let keys = open(dir.path()).unwrap();
    assert_eq!(keys.origin(), format!("spanledger/{ORIGIN}"));
    assert_eq!(open(dir.path()).unwrap().verifiers(), keys.verifiers());
    let mode = fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let public = fs::read_to_string(dir.path().join(PUBLIC)).unwrap();
    assert_eq!(VerifierKey::parse(&public).unwrap(), keys.verifiers()[0]);
    let mut names: Vec<_> =
        dir.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [KEY, PUBLIC], "no other copy of the key");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let dir = folder();
    open(dir.path()).unwrap();
    let path = dir.path().join(KEY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("644") && error.contains("chmod 600"), "{error}");
}

#[test]
fn no_new_key_takes_the_place_of_one_that_signed_and_is_lost() {
    let (dir, other) = (folder(), folder());
    let before = open(other.path()).unwrap().sign(&checkpoint(1)).unwrap();
    let lost = LogKeys::open(dir.path(), "spanledger", ORIGIN, Some(&before)).unwrap_err();
    assert!(matches!(lost, LogKeyError::Lost { .. }), "{lost}");
    assert!(!dir.path().join(KEY).exists());
    // Nor when only the folder of keys tells.
    fs::remove_file(other.path().join(KEY)).unwrap();
    assert!(matches!(open(other.path()).unwrap_err(), LogKeyError::Lost { .. }));
}

#[test]
fn what_was_signed_binds_the_key_whatever_became_of_the_public_log() {
    let dir = folder();
    open(dir.path()).unwrap().sign(&checkpoint(5)).unwrap();
    assert_eq!(last_signed(dir.path()).unwrap(), Some(checkpoint(5)));
    let mut keys = open(dir.path()).unwrap();
    keys.sign(&checkpoint(5)).unwrap();
    let mut other = checkpoint(5);
    other.head.root = [2; 32];
    for wrong in [checkpoint(4), other] {
        let refused = keys.sign(&wrong).unwrap_err();
        assert!(matches!(refused, LogKeyError::Contradiction { .. }), "{refused}");
    }
    keys.sign(&checkpoint(6)).unwrap();
    assert_eq!(last_signed(dir.path()).unwrap(), Some(checkpoint(6)));
}

#[test]
fn a_key_that_was_retired_signs_nothing_more_when_an_old_copy_is_put_back() {
    let (dir, copy) = (folder(), folder());
    let mut keys = open(dir.path()).unwrap();
    let first = keys.sign(&checkpoint(1)).unwrap();
    fs::copy(dir.path().join(KEY), copy.path().join(KEY)).unwrap();
    let reopen =
        |dir: &Path, last: &SignedCheckpoint| LogKeys::open(dir, "spanledger", ORIGIN, Some(last));
    ask_for_rotation(dir.path(), "os:ada").unwrap();
    let asked = keys.asked().unwrap().unwrap();
    keys.take_over(asked.key).unwrap();
    reopen(dir.path(), &first).expect("a crash before both signed");
    let both = keys.sign(&checkpoint(2)).unwrap();
    reopen(dir.path(), &both).expect("a crash before the old one was removed");
    keys.retire().unwrap();
    reopen(dir.path(), &both).expect("the new one signed");
    let alone = keys.sign(&checkpoint(3)).unwrap();
    reopen(copy.path(), &first).expect("it was the newest then");
    for last in [both, alone] {
        let refused = reopen(copy.path(), &last).unwrap_err();
        assert!(matches!(refused, LogKeyError::Retired { .. }), "{refused}");
    }
}

#[test]
fn a_copy_of_the_key_that_a_crash_left_is_removed() {
    let dir = folder();
    let left = dir.path().join(".log.key.00ff00ff00ff00ff");
    let others = dir.path().join(".log.key.mine");
    for path in [&left, &others] {
        fs::write(path, "x").unwrap();
    }
    open(dir.path()).unwrap();
    assert!(!left.exists() && others.exists());
}

#[test]
fn a_key_that_root_asks_for_belongs_to_the_user_of_the_server() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = folder();
    open(dir.path()).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    ask_for_rotation(dir.path(), "os:root").unwrap();
    assert_eq!(fs::metadata(dir.path().join(NEXT)).unwrap().uid(), 65_534);
}

#[test]
fn the_key_of_another_ledger_is_not_used() {
    let dir = folder();
    open(dir.path()).unwrap();
    let other = LogKeys::open(dir.path(), "spanledger", &"0".repeat(32), None).unwrap_err();
    assert!(matches!(other, LogKeyError::OtherLog { .. }), "{other}");
    let renamed = LogKeys::open(dir.path(), "another.name", ORIGIN, None).unwrap();
    assert_eq!(renamed.origin(), format!("spanledger/{ORIGIN}"), "a log keeps its name");
}

#[test]
fn a_new_key_takes_over_with_one_checkpoint_that_both_sign() {
    let dir = folder();
    let mut keys = open(dir.path()).unwrap();
    assert!(keys.asked().unwrap().is_none());
    let wanted = ask_for_rotation(dir.path(), "os:ada").unwrap();
    assert!(matches!(ask_for_rotation(dir.path(), "x"), Err(LogKeyError::Asked { .. })));
    let asked = keys.asked().unwrap().unwrap();
    assert_eq!((asked.key.verifier(), asked.actor.as_str()), (&wanted, "os:ada"));
    let old = keys.verifiers();
    let note = keys.statement(asked.key.verifier());
    assert!(note.contains(&wanted.to_string()) && note.contains("\n\n— spanledger/"));
    keys.take_over(asked.key).unwrap();
    // A restart changes nothing of it.
    for mut keys in [open(dir.path()).unwrap(), keys] {
        assert!(keys.is_retiring() && keys.asked().unwrap().is_none());
        assert_eq!(keys.verifiers(), [old[0].clone(), wanted.clone()]);
        assert_eq!(signers(&mut keys), 2);
        keys.retire().unwrap();
        assert_eq!((keys.verifiers(), signers(&mut keys)), (vec![wanted.clone()], 1));
    }
    let keys = open(dir.path()).unwrap();
    assert_eq!(keys.verifiers(), [log_key(dir.path()).unwrap()]);
    assert_eq!(keys.verifiers()[0], wanted);
    assert!(!dir.path().join(OLD).exists());
}

#[test]
fn a_second_rotation_waits_until_both_keys_of_the_first_signed() {
    let dir = folder();
    let mut keys = open(dir.path()).unwrap();
    let last = keys.sign(&checkpoint(1)).unwrap();
    let reopen =
        |last: &SignedCheckpoint| LogKeys::open(dir.path(), "spanledger", ORIGIN, Some(last));
    // Two of them come before anything can be published, and a restart.
    for _ in 0..2 {
        let _ = ask_for_rotation(dir.path(), "os:ada");
        if let Some(asked) = keys.asked().unwrap() {
            keys.take_over(asked.key).unwrap();
        }
        keys = reopen(&last).expect("the first key is there and can sign");
    }
    let second = log_key(dir.path()).unwrap();
    let both = keys.sign(&checkpoint(2)).unwrap();
    assert_eq!(both.verify(&keys.verifiers()).unwrap().len(), 2);
    keys.retire().unwrap();
    // Now the second one is done.
    let asked = keys.asked().unwrap().expect("it was not forgotten");
    let third = asked.key.verifier().clone();
    keys.take_over(asked.key).unwrap();
    keys = reopen(&both).unwrap();
    assert_eq!(keys.verifiers(), [second, third]);
    keys.sign(&checkpoint(3)).unwrap();
}

#[test]
fn the_public_half_is_replaced_as_a_whole_and_never_written_in_place() {
    let dir = folder();
    let mut keys = open(dir.path()).unwrap();
    let (public, reader) = (dir.path().join(PUBLIC), dir.path().join("reader"));
    fs::hard_link(&public, &reader).unwrap();
    let before = fs::read_to_string(&reader).unwrap();
    ask_for_rotation(dir.path(), "os:ada").unwrap();
    let asked = keys.asked().unwrap().unwrap();
    keys.take_over(asked.key).unwrap();
    assert_eq!(fs::read_to_string(&reader).unwrap(), before);
    assert_ne!(fs::read_to_string(&public).unwrap(), before);
}

#[test]
fn a_crash_before_the_new_key_is_in_place_leaves_the_old_one() {
    let dir = folder();
    let keys = open(dir.path()).unwrap();
    ask_for_rotation(dir.path(), "os:ada").unwrap();
    fs::hard_link(dir.path().join(KEY), dir.path().join(OLD)).unwrap();
    let again = open(dir.path()).unwrap();
    assert_eq!(again.verifiers(), keys.verifiers());
    assert!(!again.is_retiring() && again.asked().unwrap().is_some());
}
