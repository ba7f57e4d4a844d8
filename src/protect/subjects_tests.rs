use super::*;
use std::fs;
use std::path::PathBuf;

const TENANT: [u8; 16] = [3; 16];

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    (dir, keys)
}

fn store(keys: &Path) -> SubjectKeys {
    SubjectKeys::within(Some(keys))
}

fn subject(byte: u8) -> Pseudonym {
    Pseudonym([byte; 16])
}

/// A durable key of that subject.
fn kept(store: &SubjectKeys, subject: Pseudonym) -> KeyId {
    let mut fresh = FreshKeys::default();
    let key = store.key_for(&subject, &TENANT, &mut fresh).unwrap();
    store.make_durable(&fresh).unwrap();
    key.id()
}

fn order(store: &SubjectKeys, subject: Pseudonym) -> ErasureOrder {
    let by = OrderedBy { actor: "local".to_owned(), authenticated: false, name: "ada".to_owned() };
    store.order(&Tenant::default(), subject, false, 7, by, "request 17".to_owned()).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The file of the one key that there is.
fn key_file(dir: &Path) -> PathBuf {
    let is_key = |path: &PathBuf| path.extension().is_some_and(|it| it == "key");
    files(dir).into_iter().find(is_key).unwrap()
}

fn is_here(store: &SubjectKeys, subject: Pseudonym, key: KeyId) -> bool {
    matches!(store.find(&subject, key).unwrap(), FoundKey::Here(found) if found.id() == key)
}

fn is_erased(store: &SubjectKeys, subject: Pseudonym, key: KeyId) -> bool {
    matches!(store.find(&subject, key).unwrap(), FoundKey::Erased(it) if it.by == "local" && it.at_ns == 7)
}

#[test]
fn a_subject_has_one_key_which_is_there_after_a_restart() {
    let (_guard, dir) = folder();
    let first = {
        let store = store(&dir);
        let first = kept(&store, subject(1));
        assert_eq!(kept(&store, subject(1)), first);
        assert_ne!(kept(&store, subject(2)), first);
        first
    };
    let again = store(&dir);
    assert_eq!(kept(&again, subject(1)), first);
    assert!(is_here(&again, subject(1), first));
    assert!(matches!(again.find(&subject(1), KeyId([0; 16])), Ok(FoundKey::Missing)));
}

#[test]
fn the_first_use_by_many_at_once_makes_one_key() {
    let (_guard, dir) = folder();
    let store = store(&dir);
    let ids: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16).map(|_| scope.spawn(|| kept(&store, subject(1)))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(store.counts().created.load(Ordering::Relaxed), 1);
    assert!(is_here(&store, subject(1), ids[0]));
}

#[test]
fn keys_are_for_their_owner_only_and_their_files_tell_no_name() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_guard, dir) = folder();
    kept(&store(&dir), subject(1));
    for path in files(&dir) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        let folder = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(folder & 0o777, 0o700, "{path:?}");
    }
}

#[test]
fn an_erased_key_is_gone_and_the_next_one_is_another() {
    let (_guard, dir) = folder();
    let store = store(&dir);
    let old = kept(&store, subject(1));
    let secret = fs::read(key_file(&dir)).unwrap()[40..].to_vec();
    let ordered = order(&store, subject(1));
    assert_eq!(ordered.keys, [old]);
    assert!(is_erased(&store, subject(1), old), "from the order on");
    let new = kept(&store, subject(1));
    assert_ne!(new, old, "from the order on");
    store.destroy(&ordered).unwrap();
    assert!(is_erased(&store, subject(1), old));
    assert!(is_here(&store, subject(1), new));
    assert_eq!(store.orders().unwrap(), []);
    for path in files(&dir) {
        let bytes = fs::read(&path).unwrap();
        assert!(memchr::memmem::find(&bytes, &secret).is_none(), "{path:?}");
    }
    store.destroy(&ordered).unwrap();
    assert!(is_here(&store, subject(1), new), "an order done twice takes no other key");
}

#[test]
fn an_order_stands_until_it_is_carried_out_also_after_a_crash() {
    let (_guard, dir) = folder();
    let old = {
        let store = store(&dir);
        let old = kept(&store, subject(1));
        order(&store, subject(1));
        old
    };
    let again = store(&dir);
    assert!(is_erased(&again, subject(1), old), "before it is carried out");
    again.claim().unwrap();
    let new = kept(&again, subject(1));
    assert_ne!(new, old, "what comes before it is carried out is sealed with another key");
    let [ordered] = &again.orders().unwrap()[..] else { panic!() };
    // A crash between the note and the key.
    again.files().unwrap().note_destroyed(&subject(1), ordered.destroyed().collect()).unwrap();
    again.destroy(ordered).unwrap();
    assert!(is_erased(&again, subject(1), old));
    assert!(is_here(&again, subject(1), new));
    let noted = again.files().unwrap().destroyed(&subject(1)).unwrap();
    assert_eq!(noted.len(), 1, "noted once");
}

#[test]
fn a_key_that_is_erased_before_it_was_durable_never_comes_to_the_disk() {
    let (_guard, dir) = folder();
    let store = store(&dir);
    let mut fresh = FreshKeys::default();
    let key = store.key_for(&subject(1), &TENANT, &mut fresh).unwrap();
    let ordered = order(&store, subject(1));
    assert_eq!(ordered.keys, [key.id()]);
    store.make_durable(&fresh).unwrap();
    store.destroy(&ordered).unwrap();
    store.make_durable(&fresh).unwrap();
    assert!(is_erased(&store, subject(1), key.id()));
    assert!(files(&dir).iter().all(|it| it.extension().is_none_or(|it| it != "key")));
}

#[test]
fn two_processes_do_not_make_keys_in_one_folder() {
    let (_guard, dir) = folder();
    let first = store(&dir);
    first.claim().unwrap();
    let second = store(&dir);
    let refused = second.claim().unwrap_err().to_string();
    assert!(refused.contains("another spanledger"), "{refused}");
    drop(first);
    second.claim().unwrap();
}

#[test]
fn a_damaged_key_is_said_to_be_damaged_and_can_be_erased() {
    let (_guard, dir) = folder();
    let id = kept(&store(&dir), subject(1));
    let path = key_file(&dir);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, bytes).unwrap();
    let store = store(&dir);
    let mut fresh = FreshKeys::default();
    for error in [
        store.find(&subject(1), id).unwrap_err(),
        store.key_for(&subject(1), &TENANT, &mut fresh).unwrap_err(),
    ] {
        assert!(matches!(error, SubjectKeyError::Damaged { .. }), "{error}");
    }
    store.destroy(&order(&store, subject(1))).unwrap();
    assert!(!path.exists());
    assert_ne!(kept(&store, subject(1)), id);
}

#[test]
fn the_keys_in_memory_are_bounded_and_none_is_lost_that_is_not_on_disk() {
    let key = |byte: u8| Arc::new(SubjectKey::new(KeyId([byte; 16]), [0; 32]));
    let mut slots: HashMap<_, _> = (0..MAX_CACHED_SUBJECT_KEYS as u128)
        .map(|n| (Pseudonym(n.to_be_bytes()), Slot::Durable(key(0))))
        .collect();
    let fresh: Vec<_> =
        (0..100).map(|n: u128| Pseudonym((n << 64 | 1 << 63).to_be_bytes())).collect();
    for subject in &fresh {
        slots.insert(*subject, Slot::Fresh(key(1)));
    }
    make_room(&mut slots);
    assert!(slots.len() <= MAX_CACHED_SUBJECT_KEYS / 2 + 100 + 1);
    assert!(fresh.iter().all(|subject| slots.contains_key(subject)));
}

#[test]
fn without_a_folder_nothing_is_sealed() {
    let store = SubjectKeys::within(None);
    let mut fresh = FreshKeys::default();
    let refused = store.key_for(&subject(1), &TENANT, &mut fresh).unwrap_err();
    assert!(matches!(refused, SubjectKeyError::NoFolder));
    assert_eq!(store.orders().unwrap(), []);
}
