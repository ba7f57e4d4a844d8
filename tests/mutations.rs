//! Whatever somebody changes in a ledger, in its public log or in a bundle of evidence is found, and
//! the place is named: every byte flipped, every record deleted, swapped and repeated, every boundary
//! cut, cut and written on, signed with another key, the whole log replaced.
//!
//! Sealed bytes are changed, too, by somebody who mends their checksum.
//!
//! What is derived and trusted by nobody is left out: sidecars, the reserve, the lock, and the keys
//! that lie beside the log. `tests/ledger_damage.rs` does the same to a ledger without a public log.

mod evidence_support;
#[path = "evidence_support/frames.rs"]
mod frames;

use evidence_support::{Small, append, files, options, push, segments, verify};
use frames::{Frames, places};
use spanledger::evidence::{Code, Finding, FolderReport, Kept, Verdict, check_bundle, hex};
use spanledger::ledger::checkpoint::{LogKey, SignedCheckpoint};
use spanledger::ledger::{Batch, Ledger, PublicLog, TreeHead};
use std::path::Path;

/// Entries of the small ledger.
const ENTRIES: u64 = 12;

fn compromised(report: &FolderReport, what: &str) {
    let findings = report.findings.listed();
    assert_eq!(report.verdict(), Verdict::Compromised, "{what}: {findings:?}");
    assert!(
        findings.iter().any(|it| it.weight == Verdict::Compromised
            && (it.place.file.is_some() || it.place.sequence.is_some())),
        "{what}: no place is named: {findings:?}"
    );
}

#[tokio::test]
async fn a_ledger_and_its_log_as_they_were_written_are_ok() {
    for entries in [1, 2, 12, 255, 256, 257, 600] {
        let small = Small::with_sealed(entries).await;
        let report = small.check(small.dir.path());
        assert_eq!(report.findings.listed(), [], "{entries}");
        assert_eq!((report.verdict(), report.uncovered()), (Verdict::Ok, 0));
        assert_eq!(report.ledger.head.size, entries);
        assert_eq!(report.signers.len(), 1);
    }
}

#[tokio::test]
async fn every_flipped_byte_of_ledger_and_log_is_found_and_its_file_is_named() {
    let small = Small::with_sealed(6).await;
    let mut swept = segments(small.dir.path());
    let last = swept.last().unwrap().clone();
    swept.extend(files(&small.log()).into_iter().filter(|path| !path.ends_with("keys")));
    let mut unnoticed = Vec::new();
    for path in &swept {
        let sound = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        for at in 0..sound.len() {
            let mut changed = sound.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(path, &changed).unwrap();
            let report = small.check(small.dir.path());
            if report.verdict() == Verdict::Compromised {
                let named = report
                    .findings
                    .listed()
                    .iter()
                    .any(|it| it.place.file.as_ref().is_some_and(|file| file.contains(name)));
                assert!(named, "{name} byte {at}: {:?}", report.findings.listed());
            } else {
                assert!(report.findings.has(Code::TornTail), "{name} byte {at}");
                unnoticed.push((path.clone(), at));
            }
        }
        std::fs::write(path, sound).unwrap();
    }
    // The mark of a clean end is the last 80 bytes: without it the end is told as torn.
    let length = usize::try_from(last.metadata().unwrap().len()).unwrap();
    let mark: Vec<_> = (length - 80..length).map(|at| (last.clone(), at)).collect();
    assert_eq!(unnoticed, mark);
}

#[tokio::test]
async fn every_record_that_is_deleted_swapped_or_repeated_is_found() {
    let small = Small::of(ENTRIES).await;
    for path in segments(small.dir.path()) {
        let sound = std::fs::read(&path).unwrap();
        let frames = places(&sound);
        // The mark of a clean end says nothing of entries.
        let is_last = segments(small.dir.path()).last() == Some(&path);
        let counted = if is_last { frames.len() - 1 } else { frames.len() };
        for (nth, frame) in frames.iter().enumerate().take(counted) {
            let (before, after) = (&sound[..frame.start], &sound[frame.end..]);
            let this = &sound[frame.clone()];
            std::fs::write(&path, [before, after].concat()).unwrap();
            compromised(&small.check(small.dir.path()), &format!("frame {nth} deleted"));
            std::fs::write(&path, [before, this, this, after].concat()).unwrap();
            compromised(&small.check(small.dir.path()), &format!("frame {nth} repeated"));
            if let Some(next) = frames.get(nth + 1).filter(|_| nth + 1 < counted) {
                let (that, after) = (&sound[next.clone()], &sound[next.end..]);
                std::fs::write(&path, [before, that, this, after].concat()).unwrap();
                compromised(&small.check(small.dir.path()), &format!("frame {nth} swapped"));
            }
        }
        std::fs::write(&path, sound).unwrap();
    }
}

/// Every segment, and where in them the entries are that have something sealed beside them.
fn all_sealed(small: &Small) -> (Vec<Frames>, Vec<(usize, usize)>) {
    let sound: Vec<_> = segments(small.dir.path()).iter().map(|path| Frames::read(path)).collect();
    let places = sound.iter().enumerate().flat_map(|(file, frames)| {
        let sealed = frames.entries().into_iter().filter(|nth| !frames.sealed(*nth).is_empty());
        sealed.map(move |nth| (file, nth)).collect::<Vec<_>>()
    });
    let places = places.collect();
    (sound, places)
}

/// Changes the sealed bytes of one entry after the other, in each way that `change` makes, with every
/// checksum mended. Exactly that entry is found, as `code`. Gives the number of changes.
fn each_sealed(small: &Small, change: impl Fn(&[u8]) -> Vec<Vec<u8>>, code: Code) -> usize {
    let mut count = 0;
    let (sound, places) = all_sealed(small);
    for (file, nth) in places {
        for sealed in change(&sound[file].sealed(nth)) {
            let mut changed = sound[file].clone();
            changed.set_sealed(nth, &sealed);
            changed.write();
            only(small, &[(&sound[file], nth)], code);
            count += 1;
        }
        sound[file].clone().write();
    }
    assert_eq!(small.check(small.dir.path()).findings.listed(), []);
    count
}

/// These entries are found, by file and number, and nothing else is.
fn only(small: &Small, entries: &[(&Frames, usize)], code: Code) {
    let report = small.check(small.dir.path());
    let place = |it: &Finding| (it.place.file.clone(), it.place.sequence);
    let found = report.findings.listed().iter();
    let found: Vec<_> = found.map(|it| (it.code, it.weight, place(it))).collect();
    let expected = entries.iter().map(|(frames, nth)| {
        (code, Verdict::Compromised, (Some(frames.name()), Some(frames.sequence(*nth))))
    });
    assert_eq!(found, expected.collect::<Vec<_>>(), "{:?}", report.findings.listed());
}

#[tokio::test]
async fn every_changed_byte_of_sealed_payloads_is_found_although_the_checksum_is_right() {
    let small = Small::with_sealed(ENTRIES).await;
    let flipped = |sealed: &[u8]| {
        let flip = |at: usize| {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1 << (at % 8);
            changed
        };
        (0..sealed.len()).map(flip).collect()
    };
    assert!(each_sealed(&small, flipped, Code::HashMismatch) > 100);
    let rewritten = |sealed: &[u8]| {
        let longer = [sealed, b"x"].concat();
        vec![vec![0; sealed.len()], sealed[1..].to_vec(), longer, b"another".to_vec()]
    };
    assert_eq!(each_sealed(&small, rewritten, Code::HashMismatch), 4 * 8);
}

#[tokio::test]
async fn sealed_payloads_that_somebody_takes_out_are_missing() {
    let small = Small::with_sealed(ENTRIES).await;
    assert_eq!(each_sealed(&small, |_| vec![Vec::new()], Code::Missing), 8);
    // As retention takes them, with nothing about it on record.
    for path in segments(small.dir.path()) {
        let sound = Frames::read(&path);
        for nth in sound.entries() {
            let mut changed = sound.clone();
            changed.prune(nth);
            changed.write();
            let report = small.check(small.dir.path());
            compromised(&report, "pruned by hand");
            assert!(report.findings.has(Code::Missing), "{:?}", report.findings.listed());
        }
        sound.write();
    }
}

#[tokio::test]
async fn sealed_payloads_that_change_places_are_found_at_both() {
    let small = Small::with_sealed(ENTRIES).await;
    let (sound, places) = all_sealed(&small);
    for (at, one) in places.iter().enumerate() {
        for other in &places[at + 1..] {
            let mut changed = sound.clone();
            changed[one.0].set_sealed(one.1, &sound[other.0].sealed(other.1));
            changed[other.0].set_sealed(other.1, &sound[one.0].sealed(one.1));
            changed.into_iter().for_each(Frames::write);
            let both = [(&sound[one.0], one.1), (&sound[other.0], other.1)];
            only(&small, &both, Code::HashMismatch);
        }
    }
    assert_eq!(places.len(), 8);
}

#[tokio::test]
async fn sealed_payloads_without_a_commitment_are_valid_and_told_and_later_ones_show_nothing() {
    // As versions before the commitment wrote them.
    let before = Small::of(4).await;
    let first = &segments(before.dir.path())[0];
    let mut frames = Frames::read(first);
    let entries = frames.entries();
    frames.set_sealed(entries[1], b"sealed by an earlier version");
    frames.write();
    let report = before.check(before.dir.path());
    assert_eq!(report.verdict(), Verdict::Ok);
    let told = &report.findings.listed()[0];
    assert_eq!((told.code, told.place.sequence), (Code::Unsigned, Some(1)));

    // Behind entries that have it, somebody may have put them there.
    let small = Small::with_sealed(ENTRIES).await;
    let mut all = segments(small.dir.path()).into_iter().map(|path| Frames::read(&path));
    let third = |frames: &Frames| frames.entries().into_iter().find(|it| frames.sequence(*it) == 3);
    let (mut frames, nth) = all.find_map(|it| third(&it).map(|nth| (it, nth))).unwrap();
    assert!(frames.sealed(nth).is_empty());
    frames.set_sealed(nth, b"put there by somebody");
    frames.write();
    let report = small.check(small.dir.path());
    assert_eq!(report.verdict(), Verdict::Partial);
    assert_eq!(report.findings.listed()[0].place.sequence, Some(3));
}

#[tokio::test]
async fn every_cut_below_the_checkpoint_is_a_rollback() {
    let small = Small::of(ENTRIES).await;
    let all = segments(small.dir.path());
    // Segments and their sidecars from the end, and every boundary in each.
    for (nth, path) in all.iter().enumerate().rev() {
        let copy = small.copy();
        let here = |path: &Path| copy.path().join("ledger").join(path.file_name().unwrap());
        for later in &all[nth + 1..] {
            std::fs::remove_file(here(later)).unwrap();
        }
        for sidecar in &all[nth..] {
            let _ = std::fs::remove_file(here(sidecar).with_extension("index"));
        }
        let sound = std::fs::read(path).unwrap();
        let boundaries = places(&sound);
        for cut in boundaries.iter().map(|frame| frame.start) {
            std::fs::write(here(path), &sound[..cut]).unwrap();
            let report = small.check(copy.path());
            let at_the_end =
                nth + 1 == all.len() && Some(cut) == boundaries.last().map(|it| it.start);
            if at_the_end {
                assert_eq!(report.verdict(), Verdict::Ok, "only the mark of a clean end is gone");
                continue;
            }
            compromised(&report, &format!("cut at {cut}"));
            assert!(report.findings.has(Code::Rollback), "{:?}", report.findings.listed());
        }
    }
}

#[tokio::test]
async fn a_ledger_that_was_cut_and_written_on_is_another_tree_than_the_signed_one() {
    let small = Small::of(ENTRIES).await;
    let copy = small.copy();
    // Behind the first group, as if the rest had never been.
    let all = segments(copy.path());
    for later in &all[1..] {
        std::fs::remove_file(later).unwrap();
    }
    for sidecar in &all {
        let _ = std::fs::remove_file(sidecar.with_extension("index"));
    }
    let sound = std::fs::read(&all[0]).unwrap();
    let seal = places(&sound).into_iter().find(|it| it.len() == 80).unwrap();
    std::fs::write(&all[0], &sound[..seal.end]).unwrap();
    let (ledger, _) = Ledger::open(&copy.path().join("ledger"), options()).unwrap();
    let from = ledger.reader().watermark();
    assert!(from < ENTRIES);
    append(&ledger, 100..130).await;
    ledger.close().await.unwrap();
    let report = small.check(copy.path());
    compromised(&report, "resumed");
    assert!(report.findings.has(Code::RootMismatch), "{:?}", report.findings.listed());
    assert!(report.ledger.problems.len() <= 1, "the ledger by itself is sound");
}

#[tokio::test]
async fn a_log_signed_with_another_key_or_not_at_all_is_refused_by_who_knows_the_key() {
    let small = Small::of(ENTRIES).await;
    let name = small.key.verifier().name().to_owned();
    let other = LogKey::generate(&name).unwrap();
    let copy = small.copy();
    evidence_support::publish(&small.reader(), &copy.path().join("log"), &other);
    let report = small.check(copy.path());
    compromised(&report, "another key");
    assert!(report.findings.has(Code::UnknownKey));
    // With the key from beside the log nobody can tell, and the report says where it comes from.
    let report = verify(copy.path(), &[], &[], &[]);
    assert_eq!(report.verdict(), Verdict::Ok);
    assert_eq!(report.keys_from, spanledger::evidence::KeySource::Beside);

    std::fs::remove_file(copy.path().join("log/checkpoint")).unwrap();
    let report = small.check(copy.path());
    compromised(&report, "no checkpoint although a key was given");
    assert!(report.findings.has(Code::Unsigned));
    assert_eq!(verify(copy.path(), &[], &[], &[]).verdict(), Verdict::Partial);

    let note = std::fs::read_to_string(small.log().join("checkpoint")).unwrap();
    let text = note.split_once("\n\n").unwrap().0;
    std::fs::write(copy.path().join("log/checkpoint"), format!("{text}\n\n")).unwrap();
    let report = small.check(copy.path());
    compromised(&report, "a checkpoint without its signature");
}

#[tokio::test]
async fn who_has_an_old_key_follows_it_to_the_one_that_it_handed_over_to() {
    let small = Small::of(4).await;
    let origin = small.key.verifier().name().to_owned();
    let next = LogKey::generate(&origin).unwrap();
    let hand_over = async |by: &LogKey, n: u64| {
        let text = format!("spanledger key rotation/v1\n{origin}\n{}\n", next.verifier());
        let note = serde_json::to_string(&by.sign_text(&text)).unwrap();
        let body = format!(
            r#"{{"schema_version":1,"message":{note},"event":{{"action":"log_key.rotated","dataset":"spanledger"}},"audit":{{"kind":"operator_action"}}}}"#
        );
        let (ledger, _) = Ledger::open(&small.ledger(), options()).unwrap();
        let mut batch = Batch::new();
        push(&mut batch, n, &body);
        ledger.append(batch).await.unwrap();
        ledger.close().await.unwrap();
        small.publish(&next);
    };
    hand_over(&LogKey::generate(&origin).unwrap(), 4).await;
    let report = small.check(small.dir.path());
    compromised(&report, "a statement that nobody trusted signed");
    assert!(report.findings.has(Code::UnknownKey));
    hand_over(&small.key, 5).await;
    let report = small.check(small.dir.path());
    assert_eq!(report.findings.listed(), []);
    assert_eq!(report.signers.len(), 1);
    // Who knows the next key alone, and kept what the one before it signed.
    let next = PublicLog::open(&small.log()).checkpoint().unwrap().unwrap();
    let head = next.checkpoint.head;
    small.publish(&small.key);
    let kept = PublicLog::open(&small.log()).checkpoint().unwrap().unwrap();
    // The key that handed over signs on: somebody may have taken it.
    let report = small.check(small.dir.path());
    assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings.listed());
    assert!(report.findings.has(Code::UnknownKey), "{:?}", report.findings.listed());
    let kept = [Kept { name: "kept".to_owned(), signed: kept }];
    let other = [LogKey::generate(&origin).unwrap().verifier().clone()];
    let report = verify(small.dir.path(), &other, &kept, &[head]);
    let of_kept = |it: &&Finding| it.place.file.as_deref() == Some("kept");
    let told: Vec<_> = report.findings.listed().iter().filter(of_kept).collect();
    assert_eq!((told.len(), told[0].weight), (1, Verdict::Partial), "{told:?}");
    assert!(told[0].message.contains("give the key of that time"), "{told:?}");
}

#[tokio::test]
async fn a_log_that_was_replaced_as_a_whole_is_found_by_who_kept_a_key_or_a_checkpoint() {
    let small = Small::of(ENTRIES).await;
    let kept = SignedCheckpoint::parse(&std::fs::read(small.log().join("checkpoint")).unwrap());
    let kept = [Kept { name: "kept".to_owned(), signed: kept.unwrap() }];
    // Everything new, with a name and a key of its own: consistent in itself.
    let replaced = Small::of(ENTRIES + 4).await;
    assert_eq!(replaced.check(replaced.dir.path()).verdict(), Verdict::Ok);
    let report = small.check(replaced.dir.path());
    compromised(&report, "another log");
    assert!(report.findings.has(Code::WrongOrigin));
    let beside = verify(replaced.dir.path(), &[], &kept, &[]);
    compromised(&beside, "the kept checkpoint");
    assert!(beside.findings.has(Code::WrongOrigin));
}

#[tokio::test]
async fn two_signed_trees_of_one_log_are_an_equivocation_and_a_shorter_one_is_a_rollback() {
    let small = Small::of(ENTRIES).await;
    let key = [small.verifier()];
    let kept = |head: TreeHead| {
        let origin = small.key.verifier().name().to_owned();
        let checkpoint = spanledger::ledger::checkpoint::Checkpoint { origin, head };
        let signed = SignedCheckpoint::sign(&checkpoint, &[&small.key]).unwrap();
        [Kept { name: "kept".to_owned(), signed }]
    };
    let sound = small.reader().head();
    let report = verify(small.dir.path(), &key, &kept(sound), &[sound]);
    assert_eq!(report.findings.listed(), []);

    let other = TreeHead { root: [7; 32], size: 5 };
    let report = verify(small.dir.path(), &key, &kept(other), &[]);
    compromised(&report, "two trees");
    assert!(report.findings.has(Code::Equivocation), "{:?}", report.findings.listed());

    for size in [sound.size + 1, u64::MAX] {
        let longer = TreeHead { size, ..sound };
        let report = verify(small.dir.path(), &key, &kept(longer), &[]);
        compromised(&report, "shorter than what was signed");
        assert!(report.findings.has(Code::Rollback), "{:?}", report.findings.listed());
        let report = verify(small.dir.path(), &key, &[], &[longer]);
        assert!(report.findings.has(Code::Rollback), "without a signature too");
    }
    let empty = TreeHead { size: 0, root: [0; 32] };
    assert_eq!(verify(small.dir.path(), &key, &kept(empty), &[]).verdict(), Verdict::Compromised);
}

#[tokio::test]
async fn tiles_that_are_missing_or_say_more_than_the_ledger_are_found() {
    let small = Small::of(300).await;
    for path in files(&small.log().join("tile")) {
        let sound = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let report = small.check(small.dir.path());
        compromised(&report, "a tile is missing");
        assert!(report.findings.has(Code::Missing), "{:?}", report.findings.listed());
        std::fs::write(&path, sound).unwrap();
    }
    let wider = small.log().join("tile/0/001.p/45");
    std::fs::write(&wider, vec![7; 45 * 32]).unwrap();
    let report = small.check(small.dir.path());
    assert!(report.findings.has(Code::Rollback), "{:?}", report.findings.listed());
    assert_eq!(report.findings.listed()[0].place.file.as_deref(), Some("tile/0/001.p/45"));
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_of_a_bundle_is_found() {
    let small = Small::with_sealed(8).await;
    let (file, keys) = (small.bundle(), [small.verifier()]);
    let checked = check_bundle(&file, &keys);
    assert_eq!(checked.findings.listed(), []);
    assert_eq!((checked.verdict(), checked.entries.len()), (Verdict::Ok, 6));
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let checked = check_bundle(&changed, &keys);
        assert_eq!(checked.verdict(), Verdict::Compromised, "byte {at}");
        assert!(checked.findings.listed()[0].place.file.is_some(), "byte {at}");
        let cut = check_bundle(&file[..at], &keys);
        assert_eq!(cut.verdict(), Verdict::Compromised, "cut at {at}");
    }
}

#[tokio::test]
async fn a_ledger_whose_own_entry_tells_a_repair_is_partial_for_ever_after() {
    let small = Small::of(4).await;
    let (ledger, _) = Ledger::open(&small.ledger(), options()).unwrap();
    let mut batch = Batch::new();
    let told = |kind: &str, dataset: &str| {
        format!(
            r#"{{"schema_version":1,"message":"cut at entry 7","event":{{"dataset":"{dataset}"}},"audit":{{"kind":"{kind}","actor":{{"id":"os:ada"}}}}}}"#
        )
    };
    push(&mut batch, 4, &told("repair", "otlp.span"));
    push(&mut batch, 5, &told("erasure", "spanledger"));
    ledger.append(batch).await.unwrap();
    drop(ledger.close().await);
    small.publish(&small.key);
    let report = small.check(small.dir.path());
    let told_by_a_client = report.findings.has(Code::Repaired);
    assert!(!told_by_a_client, "a client cannot say that a ledger was repaired");
    assert!(report.findings.has(Code::Erased), "who erased what is told");
    assert_eq!(report.verdict(), Verdict::Ok, "and the ledger is valid");

    let (ledger, _) = Ledger::open(&small.ledger(), options()).unwrap();
    let mut batch = Batch::new();
    push(&mut batch, 6, &told("repair", "spanledger"));
    ledger.append(batch).await.unwrap();
    drop(ledger.close().await);
    small.publish(&small.key);
    let report = small.check(small.dir.path());
    assert_eq!(report.verdict(), Verdict::Partial);
    let repaired = report.findings.listed().iter().find(|it| it.code == Code::Repaired).unwrap();
    assert_eq!(repaired.place.sequence, Some(6));
    assert!(repaired.message.contains("os:ada"), "{}", repaired.message);
    assert_eq!(hex(&report.ledger.origin).len(), 32);
}
