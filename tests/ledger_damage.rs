//! What somebody changes in a ledger on disk is found: every byte, every cut, every record that
//! is dropped, moved or repeated.
//!
//! The documented exceptions: what was cut off the end, group by group, is only found by who
//! kept a tree head; and damage to the last group of a log that was not closed can be a torn
//! write, so opening cuts that group off and says so.

use spanledger::ledger::{
    Batch, Damage, EntryId, Ledger, NewEntry, OpenError, Options, Reader, TreeHead, VerifyReport,
    verify, verify_against,
};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Segments of a few entries each.
fn options() -> Options {
    Options { segment_bytes: 1_600, reserve_bytes: 0, ..Options::default() }
}

fn batch(ids: impl IntoIterator<Item = u8>) -> Batch {
    let mut batch = Batch::new();
    for id in ids {
        let entry = NewEntry {
            id: EntryId([id; 16]),
            tenant: if id % 3 == 0 { "one" } else { "two" },
            tenant_pseudonym: [u8::from(id % 3 == 0); 16],
            retention_class: 1,
            received_ns: 1_700_000_000_000_000_000 + u64::from(id),
            mapping_version: *b"mapping1",
            source_key: Some([id; 16]),
            commitments: &[],
            sealed: &[],
            body: b"{\"schema_version\":1}",
        };
        batch.push(&entry).unwrap();
    }
    batch
}

/// A log of ten groups in several segments. `ids` start at 1.
async fn write_log(dir: &Path, close: bool) -> TreeHead {
    let (ledger, _) = Ledger::open(dir, options()).unwrap();
    for group in 0..10 {
        ledger.append(batch([2 * group + 1, 2 * group + 2])).await.unwrap();
    }
    let head = ledger.close().await.unwrap();
    if !close {
        // The mark of a clean end is the last 80 bytes.
        let last = segments(dir).pop().unwrap();
        let length = last.metadata().unwrap().len();
        std::fs::File::options().write(true).open(&last).unwrap().set_len(length - 80).unwrap();
    }
    head
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .collect();
    found.sort();
    found
}

fn check(dir: &Path) -> VerifyReport {
    verify(dir, |_| {}).unwrap()
}

/// Changes one byte of a file.
fn poke(path: &Path, at: usize, byte: u8) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte], at as u64).unwrap();
}

/// Copies the files of a ledger.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

/// Where the frames of a segment start, by their magic.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let starts = |at: &usize| bytes[*at..].starts_with(&[0xF7, b'S', b'L', 0xFE]);
    (0..bytes.len()).filter(starts).chain([bytes.len()]).collect()
}

#[tokio::test]
async fn every_flipped_byte_of_a_closed_log_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let head = write_log(dir.path(), true).await;
    assert!(check(dir.path()).is_ok());
    let all = segments(dir.path());
    assert!(all.len() >= 4, "{}", all.len());
    let mut unnoticed_by_verify = Vec::new();
    for (nth, path) in all.iter().enumerate() {
        let sound = std::fs::read(path).unwrap();
        for at in 0..sound.len() {
            poke(path, at, sound[at] ^ 0xFF);
            let report = check(dir.path());
            poke(path, at, sound[at]);
            if report.is_ok() {
                // The mark of the clean end itself: what it ends is sound, and the report says
                // that the end is not.
                assert!(!report.closed && report.head == head);
                unnoticed_by_verify.push((nth, sound.len() - at));
            }
        }
    }
    let mark: Vec<_> = (1..=80).rev().map(|from_end| (all.len() - 1, from_end)).collect();
    assert_eq!(unnoticed_by_verify, mark);
    assert!(check(dir.path()).is_ok());
}

#[tokio::test]
async fn opening_refuses_every_flipped_byte_of_the_active_segment_of_a_closed_log() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true).await;
    let active = segments(dir.path()).pop().unwrap();
    let sound = std::fs::read(&active).unwrap();
    for at in 0..sound.len() - 80 {
        poke(&active, at, sound[at] ^ 1);
        let refused = Ledger::open(dir.path(), options()).unwrap_err();
        assert_eq!(std::fs::read(&active).unwrap()[at], sound[at] ^ 1, "nothing was changed");
        poke(&active, at, sound[at]);
        let OpenError::Corrupt { segment, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*segment, active);
        assert!(refused.to_string().contains("spanledger verify"), "{refused}");
        assert_eq!(std::fs::read(&active).unwrap(), sound, "nothing was changed");
    }
}

#[tokio::test]
async fn without_the_mark_of_a_clean_end_only_the_last_group_can_be_taken_for_torn() {
    let dir = tempfile::tempdir().unwrap();
    let head = write_log(dir.path(), false).await;
    let active = segments(dir.path()).pop().unwrap();
    let sound = std::fs::read(&active).unwrap();
    let starts = frames(&sound);
    // Two entries, their seal, and the end of the file.
    let [.., last_group, _, last_seal, _] = starts[..] else { panic!("{starts:?}") };
    for at in 0..sound.len() {
        let copy = copy(dir.path());
        let file = copy.path().join(active.file_name().unwrap());
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        let (in_last_group, in_last_seal) = (at >= last_group, at >= last_seal);
        let report = check(copy.path());
        assert_eq!(report.is_ok(), in_last_seal, "byte {at}: {:?}", report.problems);
        let tail = report.tail.map(|tail| (tail.offset, tail.sealed));
        let expected = in_last_group.then_some((last_group as u64, !in_last_seal));
        assert_eq!(tail, expected, "byte {at}");
        match Ledger::open(copy.path(), options()) {
            Ok((_, recovery)) => {
                let torn = recovery.torn.unwrap();
                assert!(in_last_group);
                assert_eq!((torn.offset, torn.sealed), (last_group as u64, !in_last_seal));
                assert_eq!(torn.entries, head.size - 2..head.size);
                assert_eq!(recovery.head.size, head.size - 2);
                assert_eq!(std::fs::read(&torn.saved_as).unwrap(), bytes[last_group..]);
                let message = torn.to_string();
                assert_eq!(message.contains("ACKNOWLEDGED"), torn.sealed, "{message}");
                assert!(message.contains("entries 18 to 19"), "{message}");
                assert!(check(copy.path()).is_ok());
            }
            Err(refused) => {
                assert!(!in_last_group && matches!(refused, OpenError::Corrupt { .. }));
            }
        }
    }
}

/// Found by fuzzing: the torn end was cut off before the window of duplicates met the damage.
#[tokio::test]
async fn a_torn_end_is_not_cut_off_when_damage_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), false).await;
    let [sealed, .., active] = &segments(dir.path())[..] else { panic!("several segments") };
    let torn = std::fs::read(active).unwrap();
    std::fs::write(active, &torn[..torn.len() - 7]).unwrap();
    let sound = std::fs::read(sealed).unwrap();
    poke(sealed, 200, sound[200] ^ 1);
    std::fs::remove_file(sealed.with_extension("index")).unwrap();

    let refused = Ledger::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    assert_eq!(std::fs::read(active).unwrap(), torn[..torn.len() - 7], "nothing was changed");
    poke(sealed, 200, sound[200]);
    let (_, recovery) = Ledger::open(dir.path(), options()).unwrap();
    assert!(recovery.torn.is_some());
}

#[tokio::test]
async fn whatever_follows_a_damaged_group_proves_that_it_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let one_segment = Options { segment_bytes: 1 << 20, ..options() };
    let (ledger, _) = Ledger::open(dir.path(), one_segment).unwrap();
    for group in 0..3 {
        ledger.append(batch([2 * group + 1, 2 * group + 2])).await.unwrap();
    }
    ledger.close().await.unwrap();
    let active = segments(dir.path()).pop().unwrap();
    let mut sound = std::fs::read(&active).unwrap();
    // Without the mark of a clean end.
    sound.truncate(sound.len() - 80);
    let starts = frames(&sound);
    let [.., seal_before, entry, second_entry, seal, end] = starts[..] else { panic!() };
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&active, bytes).unwrap();
        let refused = Ledger::open(dir.path(), options()).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{what}: {refused}");
        assert_eq!(std::fs::read(&active).unwrap(), bytes, "{what}: nothing was changed");
        assert!(!check(dir.path()).is_ok(), "{what}");
    };
    let poked = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    };
    // Of the group before the last one: its trailer, with less and less behind it.
    refused(&poked(seal_before + 40), "a whole group");
    refused(&poked(seal_before + 40)[..seal], "two entries");
    refused(&poked(seal_before + 40)[..second_entry], "one entry");
    // Of the last group: an entry, with something behind the trailer.
    for behind in [&[0_u8][..], &sound[entry..second_entry], &sound[seal..end], &[7; 80]] {
        refused(&[&poked(entry + 50)[..], behind].concat(), "behind the last trailer");
    }
    // The trailer of another group is not that of this one.
    let other = [&poked(entry + 50)[..seal], &sound[seal_before..entry]].concat();
    refused(&other, "another trailer");
    std::fs::write(&active, &sound).unwrap();
    assert!(Ledger::open(dir.path(), options()).is_ok());
}

#[tokio::test]
async fn a_log_cut_anywhere_keeps_every_complete_group() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true).await;
    let active = segments(dir.path()).pop().unwrap();
    let sound = std::fs::read(&active).unwrap();
    let first: u64 = active.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let starts = frames(&sound);
    // Around each frame's start and in each part of a head; a body is a body all along.
    let near = |cut: &usize| starts.iter().any(|at| cut.abs_diff(*at) < 3) || cut.is_multiple_of(7);
    for cut in (starts[0]..=sound.len()).filter(near) {
        let copy = copy(dir.path());
        let file = copy.path().join(active.file_name().unwrap());
        std::fs::write(&file, &sound[..cut]).unwrap();
        let report = check(copy.path());
        assert!(report.is_ok(), "{:?}", report.problems);
        // Groups of two entries and a seal; the last frame is the mark of the clean end.
        let complete = starts.iter().skip(1).filter(|end| **end <= cut).count() / 3;
        let complete = u64::try_from(complete.min((starts.len() - 2) / 3)).unwrap();
        assert_eq!(report.head.size, first + 2 * complete, "cut at {cut}");
        let (ledger, recovery) = Ledger::open(copy.path(), options()).unwrap();
        assert_eq!(recovery.head, report.head);
        assert_eq!(recovery.torn.is_some(), report.tail.is_some());
        let reader = ledger.reader();
        for sequence in 0..recovery.head.size {
            let id = u8::try_from(sequence + 1).unwrap();
            assert_eq!(reader.get(sequence).unwrap().unwrap().id, EntryId([id; 16]));
        }
        let receipt = ledger.append(batch([200])).await.unwrap();
        assert_eq!(receipt.entries[0].sequence, recovery.head.size);
    }
}

#[tokio::test]
async fn a_frame_that_is_dropped_repeated_or_swapped_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true).await;
    for (nth, path) in segments(dir.path()).iter().enumerate() {
        let sound = std::fs::read(path).unwrap();
        let starts = frames(&sound);
        let piece = |n: usize| &sound[starts[n]..starts[n + 1]];
        let count = starts.len() - 1;
        for n in 0..count {
            let mark = nth + 1 == segments(dir.path()).len() && n + 1 == count;
            if mark {
                // Dropping or repeating the mark of a clean end changes nothing that counts.
                continue;
            }
            let (before, after) = (&sound[..starts[n]], &sound[starts[n + 1]..]);
            let dropped = [before, after].concat();
            let repeated = [before, piece(n), piece(n), after].concat();
            let mut changed = vec![dropped, repeated];
            if n + 1 < count {
                let rest = &sound[starts[n + 2]..];
                changed.push([before, piece(n + 1), piece(n), rest].concat());
            }
            for bytes in changed {
                std::fs::write(path, &bytes).unwrap();
                let report = check(dir.path());
                assert!(!report.is_ok(), "frame {n} of segment {nth}");
            }
        }
        std::fs::write(path, &sound).unwrap();
    }
    assert!(check(dir.path()).is_ok());
}

#[tokio::test]
async fn a_missing_or_foreign_segment_is_refused_and_found() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true).await;
    let count = segments(dir.path()).len();
    for missing in 0..count {
        let copy = copy(dir.path());
        std::fs::remove_file(&segments(copy.path())[missing]).unwrap();
        let refused = Ledger::open(copy.path(), options()).unwrap_err();
        let OpenError::Corrupt { damage, .. } = &refused else { panic!("{refused}") };
        assert!(matches!(**damage, Damage::Missing { .. }), "{missing}: {refused}");
        assert!(!check(copy.path()).is_ok(), "segment {missing}");
        assert!(Reader::open(copy.path()).is_err());
    }
    let other = tempfile::tempdir().unwrap();
    write_log(other.path(), true).await;
    for foreign in 0..count {
        let copy = copy(dir.path());
        let name = segments(copy.path())[foreign].clone();
        std::fs::copy(&segments(other.path())[foreign], name).unwrap();
        assert!(Ledger::open(copy.path(), options()).is_err(), "segment {foreign}");
        assert!(!check(copy.path()).is_ok(), "segment {foreign}");
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_or_was_written_anew_is_found_by_who_kept_a_head() {
    let dir = tempfile::tempdir().unwrap();
    let head = write_log(dir.path(), true).await;
    let kept = [TreeHead { size: 0, root: sha256_of_nothing() }, head];
    assert!(verify_against(dir.path(), &kept, None, |_| {}).unwrap().is_ok());

    let shorter = copy(dir.path());
    let last = segments(shorter.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let starts = frames(&bytes);
    std::fs::write(&last, &bytes[..starts[starts.len() - 5]]).unwrap();
    assert!(check(shorter.path()).is_ok(), "the log alone does not show it");
    let report = verify_against(shorter.path(), &kept, None, |_| {}).unwrap();
    assert!(
        matches!(report.problems[..], [ref one] if matches!(one.damage, Damage::Expected { .. }))
    );

    // The same entries, written by somebody else at another time: consistent in itself.
    let anew = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(anew.path(), options()).unwrap();
    ledger.append(batch(2..22)).await.unwrap();
    ledger.close().await.unwrap();
    assert!(check(anew.path()).is_ok());
    assert!(!verify_against(anew.path(), &kept, None, |_| {}).unwrap().is_ok());
    let huge = TreeHead { size: u64::MAX, root: head.root };
    assert!(!verify_against(dir.path(), &[huge], None, |_| {}).unwrap().is_ok());
}

fn sha256_of_nothing() -> [u8; 32] {
    spanledger::ledger::merkle::Frontier::default().root()
}

#[tokio::test]
async fn sidecars_are_made_again_when_they_are_missing_or_damaged_and_change_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let head = write_log(dir.path(), true).await;
    let sidecars: Vec<_> =
        segments(dir.path()).iter().map(|path| path.with_extension("index")).collect();
    let sealed = sidecars.len() - 1;
    for damage in [None, Some(0), Some(40), Some(70), Some(150)] {
        for path in &sidecars[..sealed] {
            let mut bytes = std::fs::read(path).unwrap();
            match damage {
                None => std::fs::remove_file(path).unwrap(),
                Some(from_end) => {
                    let at = bytes.len() - 1 - from_end;
                    bytes[at] ^= 1;
                    std::fs::write(path, bytes).unwrap();
                }
            }
        }
        // Reading goes on without them.
        let reader = Reader::open(dir.path()).unwrap();
        assert_eq!((reader.head(), reader.get(5).unwrap().unwrap().id), (head, EntryId([6; 16])));
        assert!(check(dir.path()).is_ok());
        let (ledger, recovery) = Ledger::open(dir.path(), options()).unwrap();
        assert!(recovery.sidecars_rebuilt >= sealed as u64, "{damage:?}: {recovery:?}");
        assert_eq!((recovery.head, recovery.window), (head, 20));
        let receipt = ledger.append(batch([3])).await.unwrap();
        assert!(receipt.entries[0].duplicate && receipt.entries[0].sequence == 2);
        ledger.close().await.unwrap();
    }
    let (ledger, recovery) = Ledger::open(dir.path(), options()).unwrap();
    assert_eq!(recovery.sidecars_rebuilt, 0);
    ledger.close().await.unwrap();
}

/// A log of one entry for each name and pseudonym. The name is not in the leaf, so this is what
/// somebody leaves behind who writes other names there.
async fn write_named(dir: &Path, named: &[(&str, u8)]) {
    let (ledger, _) = Ledger::open(dir, options()).unwrap();
    for (id, (tenant, pseudonym)) in (1..).zip(named) {
        let mut batch = Batch::new();
        let entry = NewEntry {
            id: EntryId([id; 16]),
            tenant,
            tenant_pseudonym: [*pseudonym; 16],
            retention_class: 1,
            received_ns: 1,
            mapping_version: *b"mapping1",
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: b"{}",
        };
        batch.push(&entry).unwrap();
        ledger.append(batch).await.unwrap();
    }
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn evidence_that_is_given_to_another_tenant_is_found() {
    let pseudonym = |name: &str| [u8::from(name == "one"); 16];
    for (named, without_keys, with_keys) in [
        (&[("one", 1), ("two", 0)][..], true, true),
        (&[("one", 1), ("one", 0)], false, false),
        (&[("two", 1), ("one", 0)], true, false),
        (&[("new", 1), ("two", 0)], true, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_named(dir.path(), named).await;
        let plain = check(dir.path());
        let keyed = verify_against(dir.path(), &[], Some(&pseudonym), |_| {}).unwrap();
        assert_eq!((plain.is_ok(), keyed.is_ok()), (without_keys, with_keys), "{named:?}");
        let damaged = keyed.problems.iter().all(|it| matches!(it.damage, Damage::Name { .. }));
        assert!(damaged, "{keyed:?}");
    }
}

#[tokio::test]
async fn a_pseudonym_that_stands_for_two_tenants_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), options()).unwrap();
    let mut both = Batch::new();
    for (id, tenant) in [(1, "one"), (2, "other")] {
        let entry = NewEntry {
            id: EntryId([id; 16]),
            tenant,
            tenant_pseudonym: [9; 16],
            retention_class: 0,
            received_ns: 0,
            mapping_version: [0; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: b"{}",
        };
        both.push(&entry).unwrap();
    }
    ledger.append(both).await.unwrap();
    let report = check(dir.path());
    assert!(
        matches!(report.problems[..], [ref one] if matches!(one.damage, Damage::Tenant { .. }))
    );
}

#[tokio::test]
async fn a_body_changed_with_all_its_checksums_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true).await;
    let path = &segments(dir.path())[1];
    let sound = std::fs::read(path).unwrap();
    let start = frames(&sound)[0];
    let end = frames(&sound)[1];
    let crc = |bytes: &[u8]| crc_fast::crc32_iscsi(bytes).to_le_bytes();
    let body_at = end - b"{\"schema_version\":1}".len();
    let mut bytes = sound.clone();
    bytes[end - 2] = b'2';
    let body_crc = crc(&bytes[body_at..end]);
    bytes[start + 64..start + 68].copy_from_slice(&body_crc);
    let head_crc = crc(&bytes[start + 8..body_at]);
    bytes[start + 4..start + 8].copy_from_slice(&head_crc);
    std::fs::write(path, &bytes).unwrap();
    let report = check(dir.path());
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((&problem.segment, problem.offset), (path, start as u64));
    assert!(problem.to_string().contains("body hash"), "{problem}");
}
