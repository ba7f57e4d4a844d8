//! Faults at every system call of what comes after the entry is acknowledged: tiles and checkpoints, packing
//! and pruning, holds, the change of the log's key, repair. The built binary under strace: the call
//! fails with EIO or ENOSPC, or the process dies at it. Then it is started again and must have
//! everything that was acknowledged, and continue every checkpoint that anybody ever saw.
//!
//! ```text
//! dry run: which calls does it make? ─► for each call and fault:
//!   folder ─► server ─► follow the thread ─► work, until the fault ─► kill ─► start ─► work done
//!     ─► end in order ─► verify against every checkpoint seen; nothing lost, nothing told twice
//! ```
//!
//! The suite tries a few points of each stage; `scripts/crash-sweep` tries all of them.
#![cfg(feature = "server")]

#[path = "crash_sweep/disk_full.rs"]
mod disk_full;
#[path = "crash_sweep/folder.rs"]
mod folder;
#[path = "crash_sweep/strace.rs"]
mod strace;
mod support;

use folder::{
    Witness, check, checkpoint, due, entries, files, old_folder, told, touch_sealed, write_config,
};
use prost::Message as _;
use spanledger::access::Tenant;
use spanledger::evidence::{Code, Verdict};
use spanledger::ledger::checkpoint::VerifierKey;
use spanledger::ledger::{Reader, verify};
use spanledger::pipeline::{Holds, ledger_dir, log_key};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use strace::{Fault, Followed, Point, is_alive, points, run, was_elsewhere, was_met};
use support::files::copy_folder;
use support::requests::numbered;
use support::server::{DEADLINE, Server, look_until, wait_until};

/// Points of a stage that are tried, unless `SPANLEDGER_CRASH_POINTS` says another number.
const POINTS: usize = 5;

/// Spans in one request.
const SPANS: u64 = 100;

/// How long a fault may have no visible consequence before the process is killed anyway.
const PATIENCE: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_hours(24);

fn most() -> usize {
    std::env::var("SPANLEDGER_CRASH_POINTS").ok().and_then(|n| n.parse().ok()).unwrap_or(POINTS)
}

/// A folder with a server, and what is known of it from outside.
struct Bench {
    folder: tempfile::TempDir,
    data: PathBuf,
    server: Server,
    pid: u32,
    witness: Witness,
    /// The key that the log had first.
    key: VerifierKey,
    /// What strace writes.
    trace: PathBuf,
    acknowledged: BTreeSet<u64>,
    next: u64,
}

impl Bench {
    /// Starts a server on a copy of that folder, or on a new one.
    async fn start(from: Option<&Path>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let data = files.path().join("data");
        if let Some(from) = from {
            copy_folder(from, &data);
            touch_sealed(&data, SystemTime::now() + DAY);
        }
        let config = write_config(&data);
        let witness = Witness::begin(&data);
        let server = Server::start_with(&data, &["--config", config.to_str().unwrap()]).await;
        wait_until("a first checkpoint is signed", || checkpoint(&data).is_some()).await;
        let key = log_key(&data.join("keys")).unwrap();
        let (pid, trace) = (server.pid(), files.path().join("strace.txt"));
        let acknowledged = BTreeSet::new();
        Self { folder: files, data, server, pid, witness, key, trace, acknowledged, next: 0 }
    }

    async fn follow(&self, thread: &str, point: Option<&Point>) -> Followed {
        Followed::thread(self.pid, thread, point, &self.trace).await
    }

    /// Sends a request of spans; whether it was acknowledged.
    async fn send(&mut self) -> bool {
        let first = self.next;
        self.next += SPANS;
        let request = reqwest::Client::new()
            .post(format!("http://{}/v1/traces", self.server.http()))
            .header("content-type", "application/x-protobuf")
            .body(numbered(first, SPANS).encode_to_vec());
        let done = request.send().await.is_ok_and(|answer| answer.status() == 200);
        if done {
            self.acknowledged.extend(first..self.next);
        }
        done
    }

    /// A number of the server; 0 too when it dies while it is asked.
    async fn metric(&self, series: &str) -> u64 {
        let text = async {
            reqwest::get(format!("http://{}/metrics", self.server.api())).await?.text().await
        };
        let text = text.await.unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.find(|(name, _)| *name == series).map_or(0, |(_, value)| value.parse().unwrap())
    }

    /// Waits until that has happened or the server is gone. `false` when neither came in time.
    async fn until(&self, patience: Duration, happened: impl Fn() -> bool) -> bool {
        let look = async || (happened() || !is_alive(self.pid)).then_some(());
        look_until(patience, look).await.is_some()
    }

    /// Kills the server, and starts it again without anything in its way.
    async fn start_again(&mut self, followed: Followed) {
        self.server.kill();
        followed.end();
        self.server.restart().await;
        self.pid = self.server.pid();
    }
}

/// Whether everything that is in the ledger is signed, by one key.
fn is_signed(data: &Path) -> bool {
    let keys = data.join("keys");
    let changes = keys.join("log.next").exists() || keys.join("log.old").exists();
    let size = Reader::open(&ledger_dir(data)).map_or(u64::MAX, |reader| reader.watermark());
    !changes && checkpoint(data).is_some_and(|signed| signed.checkpoint.head.size >= size)
}

/// Asks for another key of the log.
fn rotate(data: &Path) {
    spanledger::pipeline::ask_for_rotation(&data.join("keys"), "os:anna").unwrap();
}

/// Publishes over the end of a full tile, and changes the key, with that fault; gives the calls.
async fn publishing(point: Option<&Point>) -> (PathBuf, tempfile::TempDir) {
    let mut it = Bench::start(None).await;
    let followed = it.follow("publisher", point).await;
    for step in 0..5 {
        if step == 2 {
            rotate(&it.data);
        }
        if !it.send().await {
            break;
        }
        let goes_on = it.until(DEADLINE, || is_signed(&it.data)).await;
        if !goes_on && was_elsewhere(&it.trace) {
            break;
        }
        assert!(goes_on, "{point:?}: signing does not go on by itself\n{}", it.server.stderr());
    }
    it.start_again(followed).await;
    if !it.data.join("keys/log.next").exists() && log_key(&it.data.join("keys")).unwrap() == it.key
    {
        // It died before.
        rotate(&it.data);
    }
    assert!(it.send().await, "{point:?}");
    assert!(it.until(DEADLINE, || is_signed(&it.data)).await, "{point:?}: nothing is signed");
    it.server.terminate().await;
    let seen = it.witness.end(&it.data);
    let newest = seen.iter().map(|signed| signed.checkpoint.head.size).max();
    assert!(newest > Some(SPANS), "{point:?}: the witness saw {newest:?}");
    let (findings, all) = check(&it.data, seen, it.key.clone(), &it.acknowledged);
    assert_eq!(findings.verdict(), Verdict::Ok, "{point:?}: {findings:?}");
    assert_eq!(told(&all, "log_key.rotated").len(), 1, "{point:?}");
    assert_ne!(log_key(&it.data.join("keys")).unwrap(), it.key);
    (it.trace, it.folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_while_tiles_checkpoints_and_a_new_key_are_published_loses_and_contradicts_nothing()
{
    let (trace, _files) = publishing(None).await;
    let mut met = 0;
    let points = points(&trace, most());
    for point in &points {
        let (trace, _files) = publishing(Some(point)).await;
        met += usize::from(was_met(&trace));
    }
    // How many depends on how the threads of that run met each other.
    assert!(met > 0, "none of {} points was met", points.len());
}

/// Packs and prunes with that fault; gives the calls.
async fn keeping(template: &Path, point: Option<&Point>) -> (PathBuf, tempfile::TempDir) {
    let mut it = Bench::start(Some(template)).await;
    let before = entries(&it.data);
    let (due, holds) = (due(&it.data), Holds::of(&it.data));
    let hold = holds.read().unwrap().remove(0).id;
    assert!(it.send().await);
    let followed = it.follow("ledger-upkeep", point).await;
    touch_sealed(&it.data, SystemTime::now() - DAY);
    holds.release(&hold, "os:anna".into(), "closed".into()).unwrap();
    let look = async || {
        if !is_alive(it.pid) {
            return Some(());
        }
        let failed = it.metric("spanledger_ledger_upkeep_failures_total").await;
        let pruned = it.metric("spanledger_ledger_entries_pruned_total").await;
        (failed > 0 || pruned >= due.len() as u64).then_some(())
    };
    // Some faults have no consequence.
    let _ = look_until(if point.is_some() { PATIENCE } else { DEADLINE }, look).await;
    it.start_again(followed).await;
    assert!(it.send().await, "{point:?}");
    let is_done = || {
        let left = files(&it.data, ".segment").len() + files(&it.data, ".new").len();
        left == 1
            && holds.read().unwrap().is_empty()
            && verify(&ledger_dir(&it.data), |_| {}).unwrap().pruned == due.len() as u64
    };
    assert!(it.until(DEADLINE, is_done).await, "{point:?}: not done\n{}", it.server.stderr());
    assert!(is_done(), "{point:?}: the server died:\n{}", it.server.stderr());
    it.server.terminate().await;
    let seen = it.witness.end(&it.data);
    let (findings, all) = check(&it.data, seen, it.key.clone(), &it.acknowledged);
    assert_eq!(findings.verdict(), Verdict::Partial, "{point:?}: {findings:?}");
    let codes: BTreeSet<_> = findings.listed().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, BTreeSet::from([Code::RetentionTrimmed]), "{point:?}: {findings:?}");
    for (old, new) in before.iter().zip(&all) {
        assert_eq!(old.leaf_hash, new.leaf_hash, "{point:?}");
        assert_eq!(new.pruned, due.contains(&old.sequence), "{point:?}: entry {}", old.sequence);
        assert!(new.pruned || old == new, "{point:?}: entry {}", old.sequence);
    }
    let announced = told(&all, "ledger.pruned");
    let announced = announced.iter().map(|act| &act["attributes"]["spanledger.prune.entries"]);
    let announced: u64 = announced.map(|entries| entries.as_u64().unwrap()).sum();
    assert_eq!(announced, due.len() as u64, "{point:?}: each body is announced once");
    for action in ["hold.added", "hold.released"] {
        assert_eq!(told(&all, action).len(), 1, "{point:?}: {action}");
    }
    (it.trace, it.folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_while_segments_are_packed_and_pruned_leaves_each_done_or_not() {
    let template = tempfile::tempdir().unwrap();
    let template = template.path().join("data");
    old_folder(&template).await;
    Holds::of(&template).add(Tenant::default(), None, "os:anna".into(), "case 1".into()).unwrap();
    let (trace, _files) = keeping(&template, None).await;
    let mut met = 0;
    let points = points(&trace, most());
    for point in &points {
        let (trace, _files) = keeping(&template, Some(point)).await;
        met += usize::from(was_met(&trace));
    }
    // How many depends on how the threads of that run met each other.
    assert!(met > 0, "none of {} points was met", points.len());
}

/// A folder of its own for a command, copied.
struct Copied {
    files: tempfile::TempDir,
    data: PathBuf,
}

impl Copied {
    fn of(template: &Path) -> Self {
        let files = tempfile::tempdir().unwrap();
        let data = files.path().join("data");
        copy_folder(template, &data);
        write_config(&data);
        Self { files, data }
    }

    async fn run(&self, arguments: &[&str], point: Option<&Point>) -> bool {
        run(arguments, &self.data, point, &self.trace()).await
    }

    fn trace(&self) -> PathBuf {
        self.files.path().join("strace.txt")
    }
}

/// A folder that a server ran on: it has a key of the log, and a checkpoint.
async fn used_folder(data: &Path) {
    old_folder(data).await;
    let config = write_config(data);
    let server = Server::start_with(data, &["--config", config.to_str().unwrap()]).await;
    wait_until("everything is signed", || is_signed(data)).await;
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_command_leaves_what_was_or_what_it_was_to_make() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("data");
    used_folder(&template).await;

    let add = ["hold", "add", "--tenant", "acme", "--all", "--reason", "case 2"];
    let dry = Copied::of(&template);
    assert!(dry.run(&add, None).await);
    for point in points(&dry.trace(), most()) {
        let it = Copied::of(&template);
        let done = it.run(&add, Some(&point)).await;
        let held = Holds::of(&it.data).read().unwrap().len();
        assert!(held <= 1 && (held == 1 || !done), "{point:?}: {held}");
        assert!(it.run(&add, None).await, "{point:?}: it can be held after it");
        assert_eq!(Holds::of(&it.data).read().unwrap().len(), held + 1, "{point:?}");
    }

    let change = ["keys", "log", "rotate"];
    let dry = Copied::of(&template);
    assert!(dry.run(&change, None).await);
    for point in points(&dry.trace(), most()) {
        let it = Copied::of(&template);
        let key = log_key(&it.data.join("keys")).unwrap();
        let done = it.run(&change, Some(&point)).await;
        let asked = it.data.join("keys/log.next").exists();
        assert!(asked || !done, "{point:?}");
        assert_eq!(log_key(&it.data.join("keys")).unwrap(), key, "{point:?}");
        if !asked {
            assert!(it.run(&change, None).await, "{point:?}: it can be asked for after it");
        }
        let config = write_config(&it.data);
        let server = Server::start_with(&it.data, &["--config", config.to_str().unwrap()]).await;
        wait_until("another key signs", || {
            is_signed(&it.data) && log_key(&it.data.join("keys")).unwrap() != key
        })
        .await;
        server.terminate().await;
        assert_eq!(told(&entries(&it.data), "log_key.rotated").len(), 1, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_repair_leaves_the_old_log_or_the_new_one_and_it_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("data");
    used_folder(&template).await;
    let before = entries(&template);
    let old = Reader::open(&ledger_dir(&template)).unwrap().origin();
    let repair = ["repair", "--restored", "--confirm", "--reason", "backup of Sunday"];
    let dry = Copied::of(&template);
    assert!(dry.run(&repair, None).await);
    for point in points(&dry.trace(), most()) {
        let it = Copied::of(&template);
        let done = it.run(&repair, Some(&point)).await;
        let now = Reader::open(&ledger_dir(&it.data)).unwrap().origin();
        assert!(now != old || !done, "{point:?}");
        // What the operator does: the same again, and only what is left when it says another log.
        let rest = if now == old { &repair[..] } else { &repair[..1] };
        assert!(it.run(rest, None).await, "{point:?}: it can be done after it");
        let config = write_config(&it.data);
        let server = Server::start_with(&it.data, &["--config", config.to_str().unwrap()]).await;
        wait_until("the new log is signed", || is_signed(&it.data)).await;
        server.terminate().await;
        let key = log_key(&it.data.join("keys")).unwrap();
        let (findings, all) = check(&it.data, Vec::new(), key, &BTreeSet::new());
        assert_eq!(findings.verdict(), Verdict::Partial, "{point:?}: {findings:?}");
        let leaves = |entries: &[spanledger::ledger::StoredEntry]| {
            entries[..before.len()].iter().map(|entry| entry.leaf_hash).collect::<Vec<_>>()
        };
        assert_eq!(leaves(&all), leaves(&before), "{point:?}");
        assert_eq!(told(&all, "ledger.repaired").len(), 1, "{point:?}");
        assert_ne!(Reader::open(&ledger_dir(&it.data)).unwrap().origin(), old, "{point:?}");
    }
}

/// The faults that a point can have are each among those that are tried.
#[test]
fn a_few_points_have_every_call_and_kind_of_fault() {
    let dry_run = tempfile::NamedTempFile::new().unwrap();
    let calls = "1234  fsync(3) = 0\nrename(\"a\", \"b\") = 0\nstat(\"a\") = 0\n".repeat(20);
    std::fs::write(dry_run.path(), calls).unwrap();
    assert_eq!(points(dry_run.path(), usize::MAX).len(), (20 + 20) * 3);
    let few = points(dry_run.path(), 12);
    assert_eq!(few.len(), 12);
    for fault in [Fault::Eio, Fault::Enospc, Fault::Kill] {
        assert!(few.iter().any(|point| point.fault == fault), "{few:?}");
    }
}
