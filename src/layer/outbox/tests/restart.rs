//! What an ended process left, whole and damaged.

use super::receiver::{
    Answer, DEADLINE, Gap, Receiver, Request, Said, away, end, leave, never, push, record,
    resource, said, spool, start, told,
};
use crate::layer::outbox::{Outbox, Policy, Settings, SpoolSettings, WhenFull};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An instance that delivered nothing and said goodbye, or did not.
fn leave_records(folder: &Path, count: u64, goodbye: bool) -> String {
    leave_sized(folder, count, 30, goodbye)
}

fn leave_sized(folder: &Path, count: u64, size: usize, goodbye: bool) -> String {
    let receiver = Receiver::new(|_| away());
    let outbox = start(spool(folder), &receiver);
    for _ in 0..count {
        push(&outbox, size);
    }
    assert!(outbox.flush(DEADLINE));
    let instance = outbox.instance().to_owned();
    if !goodbye {
        keep_as_it_is(folder, &instance);
    }
    leave(&outbox);
    if !goodbye {
        take_back(folder);
    }
    instance
}

/// Ends an outbox whose folder is then as if it had been killed.
fn killed(folder: &Path, outbox: &Outbox) -> String {
    let instance = outbox.instance().to_owned();
    keep_as_it_is(folder, &instance);
    leave(outbox);
    take_back(folder);
    instance
}

/// Copies an instance's folder, as a kill would leave it.
fn keep_as_it_is(folder: &Path, instance: &str) {
    let from = folder_of(folder, instance);
    let to = folder.join("kept").join(from.file_name().unwrap());
    fs::create_dir_all(&to).unwrap();
    for entry in from.read_dir().unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn take_back(folder: &Path) {
    for entry in folder.join("kept").read_dir().unwrap().map(Result::unwrap) {
        let place = folder.join(entry.file_name());
        fs::remove_dir_all(&place).unwrap();
        fs::rename(entry.path(), place).unwrap();
    }
    fs::remove_dir(folder.join("kept")).unwrap();
}

fn folder_of(folder: &Path, instance: &str) -> PathBuf {
    let found = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        found.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(instance));
    found.next().unwrap()
}

fn is_gone(folder: &Path, instance: &str) -> bool {
    folder
        .read_dir()
        .unwrap()
        .all(|it| !it.unwrap().file_name().to_str().unwrap().starts_with(instance))
}

/// Waits until all that an instance left is delivered.
fn until_gone(folder: &Path, instance: &str) {
    let start = Instant::now();
    while !is_gone(folder, instance) {
        assert!(start.elapsed() < DEADLINE, "{instance} is still there");
        std::thread::sleep(Duration::from_millis(1)); // between two looks
    }
}

/// Starts a later process, and gives what it took of `instance` when all that was left is gone.
fn deliver_the_rest(folder: &Path, instance: &str) -> (Vec<u64>, Vec<Gap>) {
    let receiver = Receiver::takes_all();
    let outbox = start(spool(folder), &receiver);
    // Its goodbye is the last thing that is delivered, and only after all that it adopted.
    until_gone(folder, instance);
    end(&outbox);
    let gaps: Vec<_> = receiver.said().iter().filter_map(Said::gap).collect();
    assert!(gaps.iter().all(|gap| gap.instance == instance), "{gaps:?}");
    (receiver.numbers(), gaps)
}

#[test]
fn a_later_process_delivers_the_same_bytes_under_the_same_resource() {
    let folder = tempfile::tempdir().unwrap();
    let instance = leave_records(folder.path(), 100, true);
    let receiver = Receiver::takes_all();
    let outbox = start(spool(folder.path()), &receiver);
    receiver.wait("all are delivered", |_, taken| {
        let numbers = taken.iter().map(|it| it.numbers().len()).sum::<usize>();
        let goodbye = taken.iter().flat_map(|it| &it.records).filter_map(|it| said(it)).any(|it| {
            it.event == "spanledger.instance.end" && it.text["spanledger.instance.id"] == instance
        });
        (numbers == 100 && goodbye).then_some(())
    });
    let left = receiver.taken().into_iter().filter(|it| !it.numbers().is_empty());
    let resource = format!("resource of {instance}").into_bytes();
    let expected: Vec<_> = (1..=100).map(|number| record(number, 30)).collect();
    let mut records = Vec::new();
    for request in left {
        assert_eq!(request.resource, resource);
        records.extend(request.records);
    }
    assert_eq!(records, expected);
    end(&outbox);
    assert!(receiver.said().iter().all(|it| it.gap().is_none()), "it said goodbye");
}

#[test]
fn an_instance_without_goodbye_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let instance = leave_records(folder.path(), 100, false);
    let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
    assert!((1..=100).eq(numbers));
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.first, gap.last), (101, None));
    assert_eq!(gap.reason, "it ended without goodbye");
    assert!(is_gone(folder.path(), &instance));
}

#[test]
fn what_several_killed_processes_left_is_delivered_although_it_fills_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let left: Vec<_> = (0..4).map(|_| leave_sized(folder.path(), 40, 1_000, false)).collect();
    // Room for less than what three of them left: the gap of the first cannot be written before the
    // others are gone, too.
    let room = SpoolSettings { max_spool_bytes: 50_000, ..SpoolSettings::new(folder.path()) };
    let settings =
        Settings { buffer_bytes: 20_000, max_record_bytes: 2_000, ..spool(folder.path()) };
    let receiver = Receiver::takes_all();
    let outbox = start(Settings { policy: Policy::Spool(room), ..settings }, &receiver);
    for instance in &left {
        until_gone(folder.path(), instance);
    }
    end(&outbox);
    let gaps: Vec<_> = receiver.said().iter().filter_map(Said::gap).collect();
    let told: BTreeSet<_> = gaps.iter().map(|gap| gap.instance.clone()).collect();
    assert_eq!(told, left.into_iter().collect());
    assert!(gaps.iter().all(|gap| (gap.first, gap.last) == (41, None)), "{gaps:?}");
    assert_eq!(receiver.numbers().len(), 160);
}

/// Requests with a gap that tells a missing goodbye, as they came.
fn farewells(asked: &[Request]) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let tells = |it: &&Request| {
        let gaps = it.records.iter().filter_map(|it| said(it)?.gap());
        gaps.into_iter().any(|gap| gap.last.is_none())
    };
    asked.iter().filter(tells).map(|it| (it.resource.clone(), it.records.clone())).collect()
}

#[test]
fn a_missing_goodbye_is_told_with_the_same_bytes_however_often_its_teller_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let instance = leave_records(folder.path(), 10, false);
    let mut tellers = Vec::new();
    let mut asked = Vec::new();
    for _ in 0..3 {
        // Its answer to what tells the end never comes.
        let receiver = Receiver::new(|it| {
            let silent = !farewells(std::slice::from_ref(it)).is_empty();
            if silent { away() } else { Answer::Take }
        });
        let outbox = start(spool(folder.path()), &receiver);
        receiver.wait("the end is told", |asked, _| (!farewells(asked).is_empty()).then_some(()));
        asked.extend(farewells(&receiver.asked()));
        tellers.push(outbox.instance().to_owned());
        leave(&outbox);
    }
    let receiver = Receiver::takes_all();
    let outbox = start(spool(folder.path()), &receiver);
    until_gone(folder.path(), &instance);
    end(&outbox);
    let of_it = |it: &(Vec<u8>, _)| it.0 == resource(&instance);
    let taken: Vec<_> = farewells(&receiver.taken()).into_iter().filter(of_it).collect();
    let [(_, records)] = &taken[..] else { panic!("told once: {taken:?}") };
    assert!(asked.iter().all(|it| it == &taken[0]), "a receiver knows it again");
    let told_by = &said(&records[0]).unwrap().text["spanledger.gap.told_by"];
    assert_eq!(told_by, &tellers[0], "who told it first");
}

#[test]
fn a_refusal_is_told_although_the_spool_was_full_when_its_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let when_full = WhenFull::Block { within: Duration::ZERO };
    let small =
        SpoolSettings { max_spool_bytes: 50_000, when_full, ..SpoolSettings::new(folder.path()) };
    let settings =
        Settings { buffer_bytes: 20_000, max_record_bytes: 2_000, ..spool(folder.path()) };
    let settings = Settings { batch_records: 1, policy: Policy::Spool(small), ..settings };
    let receiver = Receiver::new(|_| away());
    let outbox = start(settings, &receiver);
    let is_full = |error: String| error.contains("the spool is full");
    let start = Instant::now();
    while !outbox.stats().last_error.is_some_and(is_full) {
        push(&outbox, 1_000);
        assert!(start.elapsed() < DEADLINE, "the spool never filled");
        std::thread::sleep(Duration::from_millis(1)); // between two looks
    }
    // The first two records are never taken, and the third one waits.
    receiver.behave(|it| match it.numbers()[..] {
        [1 | 2] => never(),
        [] => Answer::Take,
        _ => away(),
    });
    receiver.wait("the third one is tried", |asked, _| {
        asked.iter().any(|it| it.numbers() == [3]).then_some(())
    });
    let instance = killed(folder.path(), &outbox);
    let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
    assert!(!numbers.contains(&1) && !numbers.contains(&2) && numbers.contains(&3));
    let refused: Vec<_> = gaps.iter().filter(|gap| gap.reason == "bad record").collect();
    let [gap] = refused[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.first, gap.last), (1, Some(2)));
}

#[test]
fn a_refusal_whose_gap_was_acknowledged_is_not_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(|it| match it.numbers()[..] {
        [1] => never(),
        [] => Answer::Take,
        _ => away(),
    });
    let outbox = start(Settings { batch_records: 1, ..spool(folder.path()) }, &receiver);
    push(&outbox, 30);
    assert_eq!(receiver.gaps().len(), 1);
    push(&outbox, 30);
    receiver.wait("the next one is tried", |asked, _| {
        asked.iter().any(|it| it.numbers() == [2]).then_some(())
    });
    let instance = killed(folder.path(), &outbox);
    let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
    assert_eq!(numbers, [2]);
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.first, gap.last), (3, None), "the missing goodbye alone");
}

#[test]
fn what_was_delivered_before_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let receiver =
        Receiver::new(
            |it| if it.numbers().iter().any(|it| *it > 60) { away() } else { Answer::Take },
        );
    let outbox = start(Settings { batch_records: 20, ..spool(folder.path()) }, &receiver);
    for _ in 0..100 {
        push(&outbox, 30);
    }
    receiver.wait("most are delivered", |_, taken| {
        taken.iter().any(|it| it.numbers().contains(&60)).then_some(())
    });
    receiver.wait("the rest is not", |asked, _| {
        asked.iter().any(|it| it.numbers().contains(&61)).then_some(())
    });
    let instance = outbox.instance().to_owned();
    leave(&outbox);
    let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
    assert!((61..=100).eq(numbers), "behind the cursor only");
    assert_eq!(gaps, []);
}

#[test]
fn a_process_that_lives_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let away = Receiver::new(|_| away());
    let lives = start(spool(folder.path()), &away);
    push(&lives, 10);
    assert!(lives.flush(DEADLINE));
    let receiver = Receiver::takes_all();
    let other = start(
        Settings { look_for_left: Duration::from_millis(1), ..spool(folder.path()) },
        &receiver,
    );
    push(&other, 10);
    end(&other);
    assert_eq!(receiver.numbers(), [1], "its own");
    away.behave(|_| Answer::Take);
    end(&lives);
    assert_eq!(away.numbers(), [1]);
}

#[test]
fn a_process_that_ends_is_found_by_one_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::takes_all();
    let soon = Settings { look_for_left: Duration::from_millis(1), ..spool(folder.path()) };
    let runs = start(soon, &receiver);
    let instance = leave_records(folder.path(), 5, true);
    receiver.wait("it is delivered", |_, taken| {
        taken.iter().any(|it| it.numbers() == [1, 2, 3, 4, 5]).then_some(())
    });
    until_gone(folder.path(), &instance);
    end(&runs);
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let instance = leave_records(folder.path(), 100, true);
    let segment = folder_of(folder.path(), &instance).join("00000001.segment");
    fs::remove_file(segment).unwrap();
    // The goodbye was in it, too: nothing is known of this instance but that it was one.
    fs::write(folder_of(folder.path(), &instance).join("00000002.segment"), "").unwrap();
    let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
    assert!(numbers.is_empty(), "{numbers:?}");
    assert_eq!((gaps[0].first, gaps[0].last), (1, None));
}

#[test]
fn a_spool_that_is_damaged_while_it_is_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(|it| if it.numbers().is_empty() { Answer::Take } else { away() });
    let outbox = start(Settings { batch_records: 1, ..spool(folder.path()) }, &receiver);
    push(&outbox, 30);
    assert!(outbox.flush(DEADLINE));
    receiver.wait("the sender read it", |asked, _| {
        asked.iter().any(|it| it.numbers() == [1]).then_some(())
    });
    for _ in 0..3 {
        push(&outbox, 30);
    }
    assert!(outbox.flush(DEADLINE));
    let segment = folder_of(folder.path(), outbox.instance()).join("00000001.segment");
    let mut data = fs::read(&segment).unwrap();
    let at = data.windows(30).position(|it| it == record(3, 30)).unwrap();
    data[at] ^= 1;
    fs::write(&segment, data).unwrap();
    receiver.behave(|_| Answer::Take);
    let instance = outbox.instance().to_owned();
    outbox.shutdown_blocking(DEADLINE);
    assert_eq!(receiver.numbers(), [1, 2, 4]);
    let mut gaps: Vec<_> = receiver.said().iter().filter_map(Said::gap).collect();
    if gaps.is_empty() {
        gaps = deliver_the_rest(folder.path(), &instance).1;
    }
    assert_eq!((gaps[0].first, gaps[0].last), (3, Some(3)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A torn tail at any byte, and flips anywhere: each record is delivered as it was, or told.
    #[test]
    fn damage_loses_nothing_without_telling_it(
        goodbye in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..3),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let instance = leave_records(folder.path(), 20, goodbye);
        let segment = folder_of(folder.path(), &instance).join("00000001.segment");
        let mut data = fs::read(&segment).unwrap();
        let length = data.len();
        data.truncate(length - cut.index(length));
        for (at, bits) in flips {
            let at = at.index(data.len());
            data[at] ^= bits;
        }
        fs::write(&segment, data).unwrap();
        let (numbers, gaps) = deliver_the_rest(folder.path(), &instance);
        let told = told(&gaps, 1_000);
        let arrived: BTreeSet<_> = numbers.iter().copied().collect();
        prop_assert_eq!(arrived.len(), numbers.len(), "once");
        prop_assert!(arrived.is_disjoint(&told));
        let all: BTreeSet<_> = (1..=20).collect();
        prop_assert!(all.is_subset(&(&arrived | &told)), "{:?} {:?}", arrived, gaps);
        prop_assert!(arrived.is_subset(&all), "no record that was never written");
    }
}
