//! Dead letters, over crashes, damage and operators.

use super::*;
use proptest::prelude::*;
use std::path::Path;

fn letter(sequence: u64) -> DeadLetter {
    DeadLetter {
        sequence,
        id: format!("{sequence:032x}"),
        tenant: "acme".to_owned(),
        data_stream: "spanledger-default".to_owned(),
        status: 400,
        error_type: "a".to_owned(),
        reason: String::new(),
        first_attempt_ns: 5,
        last_attempt_ns: 5,
        attempts: 1,
    }
}

fn dropped() -> Resolved {
    Resolved::Dropped { by: "operator".to_owned(), reason: "not needed".to_owned() }
}

/// What a crash leaves that came before the length was noted: the note of earlier.
struct Note(std::path::PathBuf, Vec<u8>);

impl Note {
    fn take(dir: &Path) -> Self {
        let path = dir.join("letters.length");
        Self(path.clone(), std::fs::read(path).unwrap())
    }

    fn put_back(&self) {
        std::fs::write(&self.0, &self.1).unwrap();
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn letters_are_there_after_a_restart_until_they_are_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append((0..5).map(letter).collect()).unwrap();
    letters.resolve(&[1, 99], Resolved::Delivered, 9).unwrap();
    let again = DeadLetter { first_attempt_ns: 8, last_attempt_ns: 8, ..letter(2) };
    letters.append(vec![again]).unwrap();
    drop(letters);
    let letters = DeadLetters::open(dir.path()).unwrap();
    let page = letters.list(0, 2).unwrap();
    assert_eq!(page.iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [0, 2]);
    let twice = &page[1];
    assert_eq!((twice.first_attempt_ns, twice.last_attempt_ns, twice.attempts), (5, 8, 2));
    let rest = letters.list(3, 10).unwrap();
    assert_eq!(rest, [letter(3), letter(4)]);
    assert_eq!(letters.get(1).unwrap(), None);
}

#[test]
fn a_torn_tail_is_cut_off_at_every_byte_and_what_was_durable_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append(vec![letter(0)]).unwrap();
    let (durable, note) = (length(&path), Note::take(dir.path()));
    letters.append(vec![letter(1)]).unwrap();
    drop(letters);
    let bytes = std::fs::read(&path).unwrap();
    for length in usize::try_from(durable).unwrap()..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        note.put_back();
        let letters = DeadLetters::open(dir.path()).unwrap();
        assert_eq!(letters.list(0, 9).unwrap(), [letter(0)], "{length} bytes");
        letters.append(vec![letter(2)]).unwrap();
        assert_eq!(letters.list(0, 9).unwrap(), [letter(0), letter(2)]);
    }
}

#[test]
fn damage_that_no_crash_makes_is_an_error_and_never_another_letter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append(vec![letter(0)]).unwrap();
    let first = usize::try_from(length(&path)).unwrap();
    letters.append(vec![letter(1), letter(2)]).unwrap();
    drop(letters);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..first {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        std::fs::write(&path, broken).unwrap();
        let error = DeadLetters::open(dir.path()).unwrap_err();
        assert!(matches!(error, DeadLetterError::Damaged { at: 0, .. }), "byte {at}");
    }
}

#[test]
fn the_last_group_may_be_torn_anywhere_because_pages_are_written_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append(vec![letter(0)]).unwrap();
    let first = usize::try_from(length(&path)).unwrap();
    let note = Note::take(dir.path());
    letters.append(vec![letter(1), letter(2)]).unwrap();
    drop(letters);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[first..first + 40].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    note.put_back();
    let letters = DeadLetters::open(dir.path()).unwrap();
    assert_eq!(letters.list(0, 9).unwrap(), [letter(0)]);
    assert_eq!(length(&path), first as u64);
    let kept = std::fs::read(dir.path().join(format!("letters.{first}.torn"))).unwrap();
    assert_eq!(kept, bytes[first..], "what is cut off is kept beside");
}

#[test]
fn what_was_acknowledged_is_never_cut_off_whatever_happens_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append(vec![letter(0)]).unwrap();
    let first = usize::try_from(length(&path)).unwrap();
    letters.append(vec![letter(1)]).unwrap();
    drop(letters);
    let bytes = std::fs::read(&path).unwrap();
    let is_damaged = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = DeadLetters::open(dir.path()).unwrap_err();
        assert!(matches!(error, DeadLetterError::Damaged { at, .. } if at == first as u64));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is changed");
    };
    for at in first..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        is_damaged(&flipped);
        is_damaged(&bytes[..at]);
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(DeadLetters::open(dir.path()).unwrap().len(), 2);
}

#[test]
fn a_note_that_is_gone_or_damaged_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append(vec![letter(0)]).unwrap();
    drop(letters);
    let note = Note::take(dir.path());
    for text in [None, Some(""), Some("what"), Some("00000000 00000000000000009999\n")] {
        std::fs::remove_file(&note.0).unwrap();
        if let Some(text) = text {
            std::fs::write(&note.0, text).unwrap();
        }
        assert_eq!(DeadLetters::open(dir.path()).unwrap().len(), 1);
        assert_eq!(Note::take(dir.path()).1, note.1);
    }
}

#[test]
fn what_is_done_with_goes_and_who_dropped_what_and_why_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append((0..10).map(letter).collect()).unwrap();
    assert_eq!(letters.resolve(&[9, 9, 77], dropped(), 5).unwrap(), 1);
    let kept = letters.list(3, 2).unwrap();
    let mut longest = 0;
    for round in 0..20_u64 {
        let sequences: Vec<u64> = (0..500).map(|n| 1_000 + 500 * round + n).collect();
        letters.append(sequences.iter().copied().map(letter).collect()).unwrap();
        letters.resolve(&sequences, Resolved::Delivered, 6).unwrap();
        longest = longest.max(length(&path));
        assert_eq!((letters.len(), letters.list(3, 2).unwrap()), (9, kept.clone()));
    }
    // A round is about 200 kB, and a megabyte that is done with may stay.
    assert!(longest < 1_500_000 && length(&path) < 1_500_000, "{longest} {}", length(&path));
    drop(letters);
    let letters = DeadLetters::open(dir.path()).unwrap();
    assert_eq!((letters.len(), letters.list(3, 2).unwrap()), (9, kept));
    let text = std::fs::read_to_string(&path).unwrap();
    let told = r#"{"resolved":{"sequence":9,"how":{"dropped":{"by":"operator","reason":"not needed"}},"at_ns":5}}"#;
    assert_eq!(text.matches(told).count(), 1);
    letters.append(vec![letter(3)]).unwrap();
    assert_eq!(letters.get(3).unwrap().unwrap().attempts, 2);
}

#[test]
fn a_crash_at_any_step_of_writing_anew_leaves_every_open_letter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters.log");
    let letters = DeadLetters::open(dir.path()).unwrap();
    letters.append((0..6_000).map(letter).collect()).unwrap();
    drop(letters);
    let (before, note) = (std::fs::read(&path).unwrap(), Note::take(dir.path()));
    let letters = DeadLetters::open(dir.path()).unwrap();
    let done: Vec<u64> = (10..6_000).collect();
    letters.resolve(&done, Resolved::Delivered, 6).unwrap();
    drop(letters);
    let (after, note_after) = (std::fs::read(&path).unwrap(), Note::take(dir.path()));
    assert!(after.len() < before.len() / 100, "it was written anew");
    let nothing = Note(note.0.clone(), Vec::new());
    let half = after[..after.len() / 2].to_vec();
    for (log, unfinished, note, open) in [
        (&before, Some(&half), &note, 6_000),
        (&before, Some(&after), &nothing, 6_000),
        (&after, None, &nothing, 10),
        (&after, None, &note_after, 10),
    ] {
        std::fs::write(&path, log).unwrap();
        if let Some(unfinished) = unfinished {
            std::fs::write(dir.path().join("letters.tmp"), unfinished).unwrap();
        }
        note.put_back();
        assert_eq!(DeadLetters::open(dir.path()).unwrap().len(), open);
    }
}

#[test]
fn more_than_the_bound_is_refused_and_nothing_of_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open_with(dir.path(), 2).unwrap();
    let error = letters.append((0..3).map(letter).collect()).unwrap_err();
    assert!(matches!(error, DeadLetterError::Full));
    assert!(letters.is_empty());
    letters.append((0..2).map(letter).collect()).unwrap();
    letters.append(vec![letter(1)]).unwrap();
    assert_eq!(letters.get(1).unwrap().unwrap().attempts, 2, "one that is open has room");
}

proptest! {
    // Each step is a few fsyncs.
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_file_says_what_a_map_would(steps in proptest::collection::vec((0..3_u8, 0..6_u64), 0..30)) {
        let dir = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::open(dir.path()).unwrap();
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        for (step, sequence) in steps {
            match step {
                0 => {
                    letters.append(vec![letter(sequence)]).unwrap();
                    *model.entry(sequence).or_default() += 1;
                }
                1 => {
                    letters.resolve(&[sequence], dropped(), 1).unwrap();
                    model.remove(&sequence);
                }
                _ => {
                    drop(letters);
                    letters = DeadLetters::open(dir.path()).unwrap();
                }
            }
            let shown = letters.list(0, 100).unwrap();
            let shown: BTreeMap<u64, u32> =
                shown.into_iter().map(|letter| (letter.sequence, letter.attempts)).collect();
            prop_assert_eq!(&shown, &model);
        }
    }
}
