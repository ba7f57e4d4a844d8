//! Segments that are packed and pruned: what is read, proved and recovered is the same.

use super::*;
use crate::ledger::segment::{PACKED, SEGMENT, path};
use std::path::Path;
use std::time::SystemTime;

/// A ledger of several segments with entries of the classes 0 and 1 in turn.
async fn filled(dir: &Path) -> Ledger {
    let (ledger, _) = Ledger::open(dir, small()).unwrap();
    for n in 0..40 {
        let mut batch = Batch::new();
        let commitments = [Commitment { kind: 1, value: [n; 32], salt: [0x5A; 32] }];
        let body = format!("{{\"secret\":\"canary-{n}\"}}");
        let new = NewEntry {
            retention_class: n % 2,
            commitments: &commitments,
            sealed: b"canary-sealed",
            ..entry(u64::from(n), body.as_bytes())
        };
        batch.push(&new).unwrap();
        ledger.append(batch).await.unwrap();
    }
    ledger
}

fn yes() -> bool {
    true
}

/// Nothing is held that was not held before.
const SAME: fn() -> Option<()> = || Some(());

fn all_due(found: Vec<Result<Due, RewriteError>>) -> Vec<Due> {
    found.into_iter().collect::<Result<_, _>>().unwrap()
}

fn pack_all(ledger: &Ledger) -> Vec<Rewritten> {
    let upkeep = ledger.upkeep();
    let firsts = upkeep.unpacked(SystemTime::now());
    firsts.into_iter().map(|first| upkeep.pack(first, &mut yes).unwrap()).collect()
}

/// Every entry, by itself.
fn each(reader: &Reader) -> Vec<StoredEntry> {
    (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect()
}

/// Names of the files with that ending.
fn files(dir: &Path, ending: &str) -> Vec<String> {
    let names = dir.read_dir().unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.ends_with(ending));
    names.sort();
    names
}

#[tokio::test]
async fn a_packed_ledger_reads_verifies_and_goes_on_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let (before, head) = (each(&ledger.reader()), ledger.reader().head());
    let mut slow = ledger.reader().scan(0);
    let read = slow.next_chunk(300).unwrap().unwrap().len();
    let packed = pack_all(&ledger);
    assert!(packed.len() > 5, "{}", packed.len());
    assert_eq!(files(dir.path(), ".segment").len(), 1, "the active one");
    assert_eq!(files(dir.path(), ".packed").len(), packed.len());
    assert_eq!(each(&ledger.reader()), before);
    let mut rest = read;
    while let Some(chunk) = slow.next_chunk(300).unwrap() {
        rest += chunk.len();
    }
    assert_eq!(rest, 40, "who was reading goes on");
    assert_eq!(pack_all(&ledger), []);
    assert_eq!(each(&Reader::open(dir.path()).unwrap()), before);
    ledger.append(batch([1000])).await.unwrap();
    ledger.close().await.unwrap();
    let report = verify_against(dir.path(), &[head], None, |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    // Without the sidecars too.
    for name in files(dir.path(), ".index") {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let (ledger, recovery) = Ledger::open(dir.path(), small()).unwrap();
    assert_eq!((recovery.clean, recovery.window), (true, 41));
    assert_eq!(each(&ledger.reader())[..40], before);
    let receipt = ledger.append(batch([1000])).await.unwrap();
    assert!(receipt.entries[0].duplicate);
}

#[tokio::test]
async fn a_crash_at_any_step_of_packing_leaves_a_whole_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let (before, head) = (each(&ledger.reader()), ledger.reader().head());
    let plain = std::fs::read(path(dir.path(), 0, SEGMENT)).unwrap();
    pack_all(&ledger);
    ledger.close().await.unwrap();
    let packed = std::fs::read(path(dir.path(), 0, PACKED)).unwrap();
    let unfinished = path(dir.path(), 0, "packed.new");
    let (first, second) = (path(dir.path(), 0, SEGMENT), path(dir.path(), 0, PACKED));
    for step in 0..4 {
        // Being written; written; renamed; done.
        match step {
            0 => std::fs::write(&unfinished, &packed[..packed.len() / 2]).unwrap(),
            1 => std::fs::write(&unfinished, &packed).unwrap(),
            _ => {}
        }
        match step {
            0 | 1 => {
                std::fs::write(&first, &plain).unwrap();
                std::fs::remove_file(&second).unwrap();
            }
            2 => std::fs::write(&first, &plain).unwrap(),
            _ => {}
        }
        assert_eq!(each(&Reader::open(dir.path()).unwrap()), before, "step {step}");
        let (ledger, _) = Ledger::open(dir.path(), small()).unwrap();
        assert!(!unfinished.exists());
        assert_eq!(each(&ledger.reader()), before, "step {step}");
        pack_all(&ledger);
        assert!(!first.exists() && second.exists(), "step {step}");
        ledger.close().await.unwrap();
        let report = verify_against(dir.path(), &[head], None, |_| {}).unwrap();
        assert!(report.is_ok(), "step {step}: {:?}", report.problems);
    }
}

#[tokio::test]
async fn packing_that_is_stopped_or_meets_damage_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let plain = path(dir.path(), 0, SEGMENT);
    let stopped = ledger.upkeep().pack(0, &mut || false);
    assert!(matches!(stopped, Err(RewriteError::Stopped)), "{stopped:?}");
    let mut bytes = std::fs::read(&plain).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&plain, &bytes).unwrap();
    let damaged = ledger.upkeep().pack(0, &mut yes);
    assert!(matches!(damaged, Err(RewriteError::Read(ReadError::Corrupt { .. }))), "{damaged:?}");
    assert_eq!(std::fs::read(&plain).unwrap(), bytes);
    assert_eq!(files(dir.path(), ".new").len() + files(dir.path(), ".packed").len(), 0);
}

#[tokio::test]
async fn every_flipped_byte_of_a_packed_segment_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    pack_all(&ledger);
    ledger.close().await.unwrap();
    let file = path(dir.path(), 0, PACKED);
    let sound = std::fs::read(&file).unwrap();
    for at in 0..sound.len() {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x55;
        std::fs::write(&file, flipped).unwrap();
        let report = verify(dir.path(), |_| {}).unwrap();
        assert!(!report.is_ok(), "byte {at} of {}", sound.len());
        assert_eq!(report.problems[0].segment, file, "byte {at}");
    }
    std::fs::remove_file(&file).unwrap();
    let report = verify(dir.path(), |_| {}).unwrap();
    assert!(matches!(report.problems[0].damage, Damage::Missing { first: 0 }), "{report:?}");
}

#[tokio::test]
async fn a_packed_segment_without_its_next_one_tells_that_it_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    pack_all(&ledger);
    ledger.close().await.unwrap();
    std::fs::remove_file(dir.path().join(&files(dir.path(), ".segment")[0])).unwrap();
    for name in files(dir.path(), ".index") {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(!verify(dir.path(), |_| {}).unwrap().is_ok());
    let refused = Ledger::open(dir.path(), small());
    assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{refused:?}");
}

#[tokio::test]
async fn pruning_takes_the_bodies_of_one_class_and_leaves_every_proof() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let (before, head) = (each(&ledger.reader()), ledger.reader().head());
    pack_all(&ledger);
    let upkeep = ledger.upkeep();
    let expiry = Expiry { class: 1, before_ns: u64::MAX };
    let third = |entry: &EntryRef<'_>| entry.sequence == 3;
    let due = all_due(upkeep.due(30, &[expiry], &third, &mut yes));
    assert!(due.iter().all(|due| due.end <= 30 && due.entries > 0), "{due:?}");
    let end = due.last().unwrap().end;
    let announced: u64 = due.iter().map(|due| due.entries).sum();
    let pruned: u64 =
        due.iter().map(|due| upkeep.prune(due, &third, &mut yes, SAME).unwrap().pruned).sum();
    assert_eq!(announced, pruned);
    for (old, new) in before.iter().zip(each(&ledger.reader())) {
        let goes = old.retention_class == 1 && old.sequence < end && old.sequence != 3;
        assert_eq!(new.pruned, goes, "entry {}", old.sequence);
        assert_eq!((new.body.is_empty(), new.sealed.is_empty()), (goes, goes));
        assert_eq!(new.as_ref().leaf_record(), old.as_ref().leaf_record());
    }
    // It is done once: what is left of the class is held, or above the limit.
    assert_eq!(all_due(upkeep.due(30, &[expiry], &third, &mut yes)), []);
    let nobody = |_: &EntryRef<'_>| false;
    let released = all_due(upkeep.due(30, &[expiry], &nobody, &mut yes));
    assert_eq!(released.iter().map(|due| due.entries).collect::<Vec<_>>(), [1]);
    ledger.close().await.unwrap();
    let report = verify_against(dir.path(), &[head], None, |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.pruned, pruned);
}

#[tokio::test]
async fn nothing_of_a_pruned_body_is_left_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let upkeep = ledger.upkeep();
    let nobody = |_: &EntryRef<'_>| false;
    let all = [0, 1].map(|class| Expiry { class, before_ns: u64::MAX });
    // From plain files: pruning packs them.
    for due in all_due(upkeep.due(u64::MAX, &all, &nobody, &mut yes)) {
        upkeep.prune(&due, &nobody, &mut yes, SAME).unwrap();
    }
    let reader = ledger.reader();
    let left: Vec<_> = each(&reader).into_iter().filter(|entry| !entry.pruned).collect();
    assert!(left.len() < 10, "only the active segment is whole: {}", left.len());
    for name in files(dir.path(), ".packed") {
        let first = name.split('.').next().unwrap().parse().unwrap();
        let source = crate::ledger::source::Source::open(dir.path(), first).unwrap();
        let mut bytes = vec![0; usize::try_from(source.length().unwrap()).unwrap()];
        source.read_up_to(&mut bytes, 0).unwrap();
        for canary in [&b"canary"[..], &[0x5A; 32]] {
            assert!(memchr::memmem::find(&bytes, canary).is_none(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_body_stays_until_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    pack_all(&ledger);
    let received = ledger.reader().get(0).unwrap().unwrap().received_ns;
    let nobody = |_: &EntryRef<'_>| false;
    let due = |class, before_ns| {
        let expiry = [Expiry { class, before_ns }];
        all_due(ledger.upkeep().due(u64::MAX, &expiry, &nobody, &mut yes))
    };
    assert_eq!(due(0, received), []);
    assert_eq!(due(7, u64::MAX), []);
    // The first segment goes when the last of the class in it has expired, and no other does.
    let all = due(0, u64::MAX);
    let newest = all[0].end - 1 - (all[0].end - 1) % 2;
    assert_eq!(due(0, received + newest), []);
    assert_eq!(due(0, received + newest + 1).len(), 1);
    let forever = Expiry { class: 0, before_ns: u64::MAX };
    let below = all_due(ledger.upkeep().due(all[0].end - 1, &[forever], &nobody, &mut yes));
    assert_eq!(below, [], "a segment that reaches beyond the limit is left alone");
}

/// Tells when it is given up whether the new file was in its place.
struct Guard<'a>(&'a std::cell::Cell<bool>, std::path::PathBuf);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.set(self.1.exists());
    }
}

#[tokio::test]
async fn what_is_held_while_a_segment_is_rewritten_stops_it_before_anything_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let before = each(&ledger.reader());
    let upkeep = ledger.upkeep();
    let nobody = |_: &EntryRef<'_>| false;
    let expiry = [Expiry { class: 1, before_ns: u64::MAX }];
    let due = all_due(upkeep.due(u64::MAX, &expiry, &nobody, &mut yes));
    let new = path(dir.path(), due[0].first, "packed.new");
    let stopped = upkeep.prune(&due[0], &nobody, &mut yes, || {
        assert!(new.exists(), "it is asked when all is written");
        None::<()>
    });
    assert!(matches!(stopped, Err(RewriteError::Stopped)), "{stopped:?}");
    assert_eq!(each(&ledger.reader()), before);
    assert_eq!(files(dir.path(), ".new").len() + files(dir.path(), ".packed").len(), 0);

    let in_place = std::cell::Cell::new(false);
    let packed = path(dir.path(), due[0].first, PACKED);
    upkeep.prune(&due[0], &nobody, &mut yes, || Some(Guard(&in_place, packed))).unwrap();
    assert!(in_place.get());
}

#[tokio::test]
async fn a_damaged_segment_keeps_no_other_one_from_being_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    let upkeep = ledger.upkeep();
    let nobody = |_: &EntryRef<'_>| false;
    let expiry = [Expiry { class: 1, before_ns: u64::MAX }];
    let sound = all_due(upkeep.due(u64::MAX, &expiry, &nobody, &mut yes));
    let oldest = path(dir.path(), 0, SEGMENT);
    let mut bytes = std::fs::read(&oldest).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&oldest, bytes).unwrap();
    let found = upkeep.due(u64::MAX, &expiry, &nobody, &mut yes);
    assert!(matches!(found[0], Err(RewriteError::Read(_))), "{found:?}");
    let others: Vec<_> = found.into_iter().filter_map(Result::ok).collect();
    assert!(!others.is_empty());
    assert_eq!(others, sound[sound.len() - others.len()..]);
    let stopped = upkeep.due(u64::MAX, &expiry, &nobody, &mut || false);
    assert!(matches!(stopped[..], [Err(RewriteError::Stopped)]), "{stopped:?}");
}

#[tokio::test]
async fn packing_asks_for_the_room_of_the_segment_and_of_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path()).await;
    assert!(ledger.upkeep().has_room(0, 0));
    assert!(!ledger.upkeep().has_room(0, u64::MAX));
}
