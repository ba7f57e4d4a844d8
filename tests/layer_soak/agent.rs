//! The agent that is killed: this test binary, started again.

use crate::support::server::look_until;
use spanledger::layer::{AuditLayer, Handle, Otlp, Policy, Settings, SpoolSettings, WhenFull};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Threads that make spans.
pub(crate) const THREADS: usize = 16;

/// Bytes that a close leaves in its thread's file: when it returned, nanoseconds since 1970.
pub(crate) const CLOSE_BYTES: usize = 8;

/// How long the spans of one agent, or what they left, may take in a long run.
pub(crate) const LONGEST: Duration = Duration::from_hours(2);

const FOLDER: &str = "SPANLEDGER_TEST_SOAK_FOLDER";
const RECEIVER: &str = "SPANLEDGER_TEST_SOAK_RECEIVER";
const BUDGET: &str = "SPANLEDGER_TEST_SOAK_BUDGET";

/// Where the threads of an instance say which closes returned.
pub(crate) fn closed_folder(folder: &Path, instance: &str) -> PathBuf {
    folder.join("closed").join(instance)
}

/// How many spans a thread of an agent with that budget makes.
fn share(budget: u64, thread: u64) -> u64 {
    let threads = THREADS as u64;
    budget / threads + u64::from(thread < budget % threads)
}

#[test]
fn the_agent_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let budget = std::env::var(BUDGET).unwrap().parse().unwrap();
    // Room in the spool is waited for: what is lost here, a kill lost.
    let when_full = WhenFull::Block { within: Duration::from_mins(10) };
    let spool = SpoolSettings { when_full, ..SpoolSettings::new(folder.join("spool")) };
    let settings = Settings {
        retry_first: Duration::from_millis(20),
        retry_most: Duration::from_millis(500),
        look_for_left: Duration::from_secs(1),
        ..Settings::new(Policy::Spool(spool))
    };
    let builder = AuditLayer::builder().service_name("soak").settings(settings);
    let layer = builder.otlp(Otlp::new(std::env::var(RECEIVER).unwrap())).unwrap();
    let handle = layer.handle();
    tracing_subscriber::registry().with(layer).init();
    let closed = closed_folder(&folder, handle.instance());
    fs::create_dir_all(&closed).unwrap();
    println!("instance {}", handle.instance());
    let pace = Pace::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (closed, pace) = (closed.join(thread.to_string()), &pace);
            scope.spawn(move || work(thread, share(budget, thread), &closed, pace));
        }
        pace.with(&handle);
    });
    // Until the test lets it go: it delivers what others left.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let delivery = handle.shutdown_blocking(LONGEST);
    println!("said {delivery:?}");
    assert!(delivery.complete, "{delivery:?}");
}

/// Batches of an agent's work. So many acknowledgements take as long as a receiver needs to start
/// again: each kill then meets somebody at work.
const BATCHES: u64 = 100;

/// How far the threads may go: a batch is made while the one before is on its way to the receiver.
#[derive(Default)]
struct Pace {
    acknowledged: Mutex<u64>,
    more: Condvar,
}

impl Pace {
    /// Lets the threads make a batch for each acknowledgement. One that is away holds them up only
    /// for so long: they work on, into the spool.
    fn with(&self, handle: &Handle) {
        const AWAY: Duration = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..BATCHES {
            runtime.block_on(handle.delivered(AWAY));
            *self.acknowledged.lock().unwrap() += 1;
            self.more.notify_all();
        }
    }

    /// Waits until the batch before the last one is there.
    fn wait_for(&self, batch: u64) {
        let acknowledged = self.acknowledged.lock().unwrap();
        drop(self.more.wait_while(acknowledged, |it| *it + 1 < batch).unwrap());
    }
}

fn work(thread: u64, spans: u64, closed: &Path, pace: &Pace) {
    let batch = spans.div_ceil(BATCHES).max(1);
    let mut closed = File::options().create(true).append(true).open(closed).unwrap();
    for n in 0..spans {
        if n % batch == 0 {
            pace.wait_for(n / batch);
        }
        let span = tracing::info_span!(target: "audit", "work", soak.thread = thread, soak.n = n);
        span.in_scope(|| ());
        drop(span);
        closed.write_all(&now_ns().to_le_bytes()).unwrap();
    }
}

pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// A running agent. Dropping it kills the process.
pub(crate) struct Agent {
    pub(crate) instance: String,
    /// How many spans it makes.
    budget: u64,
    closed: PathBuf,
    child: Child,
    /// Held open, for what it says at its end.
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts one that makes that many spans, and returns when its layer is there.
    pub(crate) fn start(folder: &Path, receiver: &str, budget: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["agent::the_agent_that_is_killed", "--exact", "--nocapture"])
            .env(FOLDER, folder)
            .env(RECEIVER, receiver)
            .env(BUDGET, budget.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let instance = said(&mut stdout, "instance ");
        Self { budget, closed: closed_folder(folder, &instance), instance, child, stdout }
    }

    /// Waits until that many closes returned, or all of them.
    pub(crate) async fn closed(&self, spans: u64) {
        let spans = spans.min(self.budget);
        let all = look_until(LONGEST, async || (self.closed_now() >= spans).then_some(()));
        assert!(all.await.is_some(), "waited {LONGEST:?} in vain for {spans} closes");
    }

    fn closed_now(&self) -> u64 {
        let bytes = |thread: usize| fs::metadata(self.closed.join(thread.to_string()));
        let spans = |thread| bytes(thread).map_or(0, |it| it.len() / CLOSE_BYTES as u64);
        (0..THREADS).map(spans).sum()
    }

    /// `kill -9`; gives how many closes had returned.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.closed_now()
    }

    /// Lets it say goodbye; gives what it says.
    pub(crate) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let said = said(&mut self.stdout, "said ");
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What stands behind that word in a line of the agent's.
fn said(stdout: &mut impl BufRead, word: &str) -> String {
    let mut lines = stdout.lines().map(Result::unwrap);
    let found = lines.find_map(|line| Some(line.split_once(word)?.1.to_owned()));
    found.expect("the agent says it before it ends")
}
