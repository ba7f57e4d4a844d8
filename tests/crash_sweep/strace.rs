//! System calls that fail, or at which the process dies: counted in a dry run, then one at a time.
//!
//! strace counts the calls of each thread by itself, so a thread of the server is followed alone: the
//! n-th call is then the n-th of the work that is looked at, whatever the other threads do.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::numbers::Numbers;
use crate::support::server::{DEADLINE, look_until, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command with a fault may take: one whose thread was not woken, because that very write failed, waits
/// for ever.
const COMMAND: Duration = Duration::from_secs(20);

/// The calls that change what is on the disk, or open it. A system has not all of them.
const CALLS: [&str; 18] = [
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "openat",
    "mkdir",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
];

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails: the device has an error.
    Eio,
    /// It fails: there is no room.
    Enospc,
    /// The process is killed at it.
    Kill,
}

/// One call of a run, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    call: &'static str,
    /// Which of the calls, from 1.
    nth: u64,
    pub(crate) fault: Fault,
}

impl Point {
    /// What strace is told. Without a point it only writes down what it sees.
    fn arguments(point: Option<&Self>, output: &Path) -> Vec<String> {
        let calls = CALLS.map(|call| format!("?{call}")).join(",");
        // Files with their paths.
        let mut arguments = vec!["-y".to_owned(), "-o".to_owned(), output.display().to_string()];
        arguments.extend(["-e".to_owned(), format!("trace={calls}")]);
        if let Some(Self { call, nth, fault }) = point {
            let what = match fault {
                Fault::Eio => "error=EIO",
                Fault::Enospc => "error=ENOSPC",
                Fault::Kill => "signal=KILL",
            };
            arguments.extend(["-e".to_owned(), format!("inject={call}:{what}:when={nth}")]);
        }
        arguments
    }
}

/// Points to try of the calls in the file that a dry run wrote: every one of them, or at most so many,
/// the calls in turn.
pub(crate) fn points(dry_run: &Path, most: usize) -> Vec<Point> {
    let text = std::fs::read_to_string(dry_run).expect("strace wrote its file");
    // Of each call those that are worth a try, by their numbers within their thread.
    let mut seen: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    let mut calls: BTreeMap<&'static str, BTreeSet<u64>> = BTreeMap::new();
    for line in text.lines() {
        // Of a process that is followed with its threads each line begins with the thread.
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let thread = &line[..line.len() - rest.len()];
        let (name, arguments) = rest.split_once('(').unwrap_or_default();
        let Some(call) = CALLS.into_iter().find(|call| *call == name) else { continue };
        let nth = seen.entry((thread, call)).or_default();
        *nth += 1;
        if is_of_disk(arguments) {
            calls.entry(call).or_default().insert(*nth);
        }
    }
    let mut numbers = Numbers::new(1);
    let mut all: Vec<(u64, Point)> = Vec::new();
    for (call, worth_it) in calls {
        let mut of_call = Vec::new();
        for nth in worth_it {
            for fault in [Fault::Eio, Fault::Enospc, Fault::Kill] {
                of_call.push((numbers.below(u64::MAX), Point { call, nth, fault }));
            }
        }
        of_call.sort_by_key(|(random, _)| *random);
        all.extend((0..).zip(of_call.into_iter().map(|(_, point)| point)));
    }
    all.sort_by_key(|(turn, _)| *turn);
    eprintln!("{} points, of which {} are tried", all.len(), most.min(all.len()));
    all.into_iter().map(|(_, point)| point).take(most).collect()
}

/// A thread of a running process that is followed.
pub(crate) struct Followed(Child);

impl Followed {
    /// Follows the thread of that name of the process.
    pub(crate) async fn thread(pid: u32, name: &str, point: Option<&Point>, output: &Path) -> Self {
        let thread = thread(pid, name);
        let log = output.with_extension("log");
        let child = Command::new("strace")
            .args(["-p", &thread])
            .args(Point::arguments(point, output))
            .stderr(Stdio::from(std::fs::File::create(&log).unwrap()))
            .spawn()
            .expect("strace starts; install it with: apt-get install strace");
        wait_until("strace follows the thread", || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("attached"))
        })
        .await;
        Self(child)
    }

    /// Waits for the end of the process.
    pub(crate) fn end(mut self) {
        self.0.wait().expect("strace ends with the process");
    }
}

/// Whether the point was met, as the file says.
pub(crate) fn was_met(output: &Path) -> bool {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    text.contains("(INJECTED)") || text.contains("SIGKILL")
}

/// Whether the call that failed was one that wakes another thread after all: threads do not meet each
/// other at the same moments in each run.
pub(crate) fn was_elsewhere(output: &Path) -> bool {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    let mut failed = text.lines().filter(|line| line.contains("(INJECTED)"));
    failed.any(|line| line.split_once('(').is_some_and(|(_, arguments)| !is_of_disk(arguments)))
}

/// What wakes another thread, or speaks with somebody, is no matter of the disk.
fn is_of_disk(arguments: &str) -> bool {
    let first = arguments.split([',', ')']).next().unwrap_or_default();
    !["anon_inode:", "socket:", "pipe:"].iter().any(|other| first.contains(other))
}

/// Whether a process is there and was not killed.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn thread(pid: u32, name: &str) -> String {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut tasks = tasks.read_dir().unwrap().map(|task| task.unwrap().path());
    let of_name = |task: &PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim() == name)
    };
    let found = tasks.find(of_name).unwrap_or_else(|| panic!("no thread {name}"));
    found.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Runs a command of the program from its start to its end; whether it succeeded.
pub(crate) async fn run(
    arguments: &[&str],
    data: &Path,
    point: Option<&Point>,
    output: &Path,
) -> bool {
    let mut child = Command::new("strace")
        .args(["-f", "-qq"])
        .args(Point::arguments(point, output))
        .arg(crate::support::server::binary())
        .args(arguments)
        .arg("--data")
        .arg(data)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts; install it with: apt-get install strace");
    let patience = if point.is_some() { COMMAND } else { DEADLINE };
    if let Some(status) = look_until(patience, async || child.try_wait().unwrap()).await {
        return status.success();
    }
    kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    false
}
