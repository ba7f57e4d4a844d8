//! `kill -9`: every record whose push returned is delivered, waits in the spool, or is told.

use super::receiver::{Answer, Receiver, Request, away, end, push, record, spool, start, told};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Tells the test binary that it is the process to be killed, and where it works.
const CHILD: &str = "SPANLEDGER_TEST_OUTBOX_CHILD";

/// Pushes records until it is killed; what its receiver takes goes to a file.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let taken = OpenOptions::new().append(true).create(true).open(folder.join("taken")).unwrap();
    let receiver = Receiver::new(|_| Answer::Take);
    let outbox = start(spool(&folder.join("spool")), &receiver);
    println!("instance {}", outbox.instance());
    let requests = std::sync::Mutex::new(0_u32);
    let write = move |request: &Request| {
        // Every third request fails, so that some records always wait.
        let mut count = requests.lock().unwrap();
        *count += 1;
        if count.is_multiple_of(3) {
            return away();
        }
        let mut lines = String::new();
        for number in request.numbers() {
            writeln!(lines, "{number}").unwrap();
        }
        for instance in ends(request) {
            writeln!(lines, "end {instance}").unwrap();
        }
        (&taken).write_all(lines.as_bytes()).unwrap();
        Answer::Take
    };
    receiver.behave(write);
    loop {
        let number = push(&outbox, 200);
        if number.is_multiple_of(100) {
            println!("pushed {number}");
        }
    }
}

/// Runs the process, kills it when it has pushed that many, and says its instance and how many
/// pushes are known to have returned.
fn run_and_kill(folder: &Path, after: u64) -> (String, u64) {
    let me = std::env::current_exe().unwrap();
    let mut child = Command::new(me)
        .args(["layer::outbox_tests::killed::the_process_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let instance = lines.find_map(|line| Some(line.split_once("instance ")?.1.to_owned())).unwrap();
    let number = |line: String| line.strip_prefix("pushed ")?.parse::<u64>().ok();
    let mut pushed = lines.by_ref().filter_map(number).find(|number| *number >= after).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    pushed = lines.filter_map(number).last().unwrap_or(pushed);
    (instance, pushed)
}

#[test]
fn a_killed_process_leaves_no_record_untold() {
    for after in [100, 3_000, 30_000] {
        let folder = tempfile::tempdir().unwrap();
        let (instance, pushed) = run_and_kill(folder.path(), after);
        let receiver = Receiver::takes_all();
        let outbox = start(spool(&folder.path().join("spool")), &receiver);
        let gaps = receiver.gaps();
        end(&outbox);
        assert!(gaps.iter().all(|gap| gap.instance == instance));
        assert!(gaps.iter().any(|gap| gap.last.is_none()), "it said no goodbye: {gaps:?}");
        let taken = std::fs::read_to_string(folder.path().join("taken")).unwrap_or_default();
        let taken = taken.lines().filter_map(|line| line.parse::<u64>().ok());
        let mut known: BTreeSet<u64> = receiver.numbers().into_iter().chain(taken).collect();
        let told = told(&gaps, pushed);
        known.extend(told);
        let missing: Vec<_> = (1..=pushed).filter(|number| !known.contains(number)).collect();
        assert!(missing.is_empty(), "{missing:?} of {pushed}: {gaps:?}");
        let sent = receiver.taken().into_iter().filter(|it| !it.numbers().is_empty());
        for request in sent {
            for (number, bytes) in request.numbers().into_iter().zip(&request.records) {
                assert_eq!(*bytes, record(number, 200));
            }
        }
    }
}

/// Instances of which a request tells that they ended without goodbye.
fn ends(request: &Request) -> impl Iterator<Item = String> {
    let gaps = request.records.iter().filter_map(|it| super::receiver::said(it)?.gap());
    gaps.filter(|gap| gap.last.is_none()).map(|gap| gap.instance)
}

/// Told at least once: one of the processes may have adopted another, told its end, and been killed
/// before it took its folder away; or after that, and then it was its receiver that was told.
#[test]
fn processes_share_a_folder_and_the_end_of_each_that_is_killed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let killed: BTreeSet<_> = thread::scope(|scope| {
        let runs = [500, 5_000, 10_000].map(|it| {
            let folder = folder.path();
            scope.spawn(move || run_and_kill(folder, it).0)
        });
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let receiver = Receiver::takes_all();
    let outbox = start(spool(&folder.path().join("spool")), &receiver);
    let taken = std::fs::read_to_string(folder.path().join("taken")).unwrap_or_default();
    let before = taken.lines().filter_map(|line| Some(line.strip_prefix("end ")?.to_owned()));
    let before: BTreeSet<_> = before.collect();
    let all = |taken: &[Request]| {
        taken.iter().flat_map(ends).chain(before.iter().cloned()).collect::<BTreeSet<_>>()
    };
    receiver.wait("all ends are told", |_, taken| (all(taken).len() >= 3).then_some(()));
    end(&outbox);
    assert_eq!(all(&receiver.taken()), killed);
}
