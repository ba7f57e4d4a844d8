//! Checkpoints on their way out: to witnesses, which sign what is consistent with what they signed
//! before, and to sinks, which only keep them.
//!
//! ```text
//! published ─► witness: add-checkpoint (old size, proof, note) ─► its signature ─► checkpoint, cosigned
//!           └► sink:    a line in a file, a POST
//! ```
//!
//! Each has a task of its own. What fails is counted, logged once and tried again, with a newer
//! checkpoint when there is one; it never keeps a checkpoint from being published. A sink gets the
//! last one before the process ends, and everybody gets it again after a start. Sources:
//! c2sp.org/tlog-witness, c2sp.org/tlog-cosignature.

use super::publish::{Command, PublishStatus};
use crate::config::{CheckpointSink, PublicLogSettings, SinkTarget, Witness};
use crate::export::chain;
use crate::ledger::PublicLog;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::ledger::proof::consistency;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Time for one request, the connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Least time between two requests to one witness: they serve many logs.
const WITNESS_PAUSE: Duration = Duration::from_secs(1);

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// Largest answer of a witness that is read, bytes: a few lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a witness says that signed something else.
const ANOTHER: &str = "it has another tree of that size";

/// What is to be sent.
pub(super) type Latest = watch::Sender<Option<SignedCheckpoint>>;

/// What tasks hold until they end.
type Running = Sender<()>;

/// Starts a task for each witness and each sink. They end when the sender that this gives is gone;
/// a sink holds `running` until it got the last checkpoint, or did not take it.
pub(super) fn start(
    settings: &PublicLogSettings,
    log: &PublicLog,
    status: &Arc<PublishStatus>,
    commands: &Sender<Command>,
    running: &Running,
    runtime: &Handle,
) -> io::Result<Latest> {
    let latest = Latest::new(None);
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(io::Error::other)?;
    for witness in &settings.witnesses {
        let asking =
            Asking { witness: witness.clone(), client: client.clone(), log: log.clone(), seen: 0 };
        let (changes, status) = (latest.subscribe(), Arc::clone(status));
        runtime.spawn(asking.run(changes, status, commands.clone()));
    }
    for sink in &settings.sinks {
        let kept = keep(sink.clone(), client.clone(), latest.subscribe(), Arc::clone(status));
        let running = running.clone();
        runtime.spawn(async move {
            kept.await;
            drop(running);
        });
    }
    Ok(latest)
}

/// Counts, and logs a trouble when it is another one than before.
fn note(before: &mut Option<String>, now: Result<(), String>, who: &str, failures: &AtomicU64) {
    if now.is_err() {
        failures.fetch_add(1, Ordering::Relaxed);
    }
    let now = now.err();
    if *before != now {
        if let Some(why) = &now {
            tracing::warn!("{who}: {why}");
        } else {
            tracing::info!("{who}: works again");
        }
        *before = now;
    }
}

type Changes = watch::Receiver<Option<SignedCheckpoint>>;

/// The next checkpoint: the newest, or else the one that was not taken; `None` at the end.
async fn next(changes: &mut Changes, failed: Option<SignedCheckpoint>) -> Option<SignedCheckpoint> {
    loop {
        {
            let latest = changes.borrow_and_update();
            if latest.has_changed() && latest.is_some() {
                return latest.clone();
            }
        }
        if failed.is_some() {
            return failed;
        }
        // What was sent before the sender went is still told.
        changes.changed().await.ok()?;
        if let Some(latest) = changes.borrow_and_update().clone() {
            return Some(latest);
        }
    }
}

/// Whether a witness's signature is there already, from before a start.
fn has_signed(key: &VerifierKey, signed: &SignedCheckpoint) -> bool {
    signed.signers().iter().any(|signer| signer.name == key.name() && signer.id == key.id())
}

/// Whether nothing is signed any more.
fn has_ended(changes: &Changes) -> bool {
    changes.has_changed().is_err()
}

/// Waits so long, and no longer when nothing more is signed.
async fn pause(changes: &Changes, wait: Duration) {
    let mut changes = changes.clone();
    let ended = async { while changes.changed().await.is_ok() {} };
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = ended => {}
    }
}

/// Why a witness did not sign.
#[derive(Debug)]
struct Refused {
    why: String,
    /// Whether it knows another history of this log: that does not pass by itself.
    contradicts: bool,
}

impl Refused {
    fn contradiction(why: String) -> Self {
        Self { why, contradicts: true }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, contradicts: false }
    }
}

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// A witness that is asked.
struct Asking {
    witness: Witness,
    client: Client,
    log: PublicLog,
    /// Size of the tree that it signed last.
    seen: u64,
}

impl Asking {
    async fn run(
        mut self,
        mut changes: Changes,
        status: Arc<PublishStatus>,
        commands: Sender<Command>,
    ) {
        let who = format!("witness {}", self.witness.key.name());
        let (mut trouble, mut failed) = (None, None);
        while let Some(signed) = next(&mut changes, failed.take()).await {
            if has_ended(&changes) {
                // Nobody would keep its signature. It is asked after the next start.
                return;
            }
            if has_signed(&self.witness.key, &signed) {
                continue;
            }
            let told = match self.ask(&signed).await {
                Ok(lines) => {
                    status.cosignatures.fetch_add(1, Ordering::Relaxed);
                    status.stand(&who, None);
                    let key = Box::new(self.witness.key.clone());
                    // The publisher may have ended.
                    let _ = commands.send(Command::Cosigned { of: Box::new(signed), lines, key });
                    Ok(())
                }
                Err(Refused { why, contradicts }) => {
                    if contradicts {
                        status.stand(&who, Some(&format!("{who}: {why}")));
                    }
                    failed = Some(signed);
                    Err(why)
                }
            };
            note(&mut trouble, told, &who, &status.witness_failures);
            pause(&changes, if failed.is_some() { RETRY } else { WITNESS_PAUSE }).await;
        }
    }

    /// Its signature lines for a checkpoint.
    async fn ask(&mut self, signed: &SignedCheckpoint) -> Result<String, Refused> {
        let size = signed.checkpoint.head.size;
        // Once more when it says which size it signed last.
        for _ in 0..2 {
            if self.seen > size {
                return Err(Refused::contradiction(format!(
                    "it signed a tree of {} entries of this log, which has {size}: somebody went on \
                     from an older copy, or it is another log",
                    self.seen
                )));
            }
            let (log, old) = (self.log.clone(), self.seen);
            let proof = tokio::task::spawn_blocking(move || consistency(&log, old, size)).await;
            let proof = proof.map_err(|error| error.to_string())?;
            let proof = proof.map_err(|error| chain(&error))?;
            let mut body = format!("old {old}\n").into_bytes();
            for hash in proof {
                body.extend(BASE64_STANDARD.encode(hash).bytes());
                body.push(b'\n');
            }
            body.push(b'\n');
            body.extend(&signed.note);
            let url = format!("{}/add-checkpoint", self.witness.url.as_str().trim_end_matches('/'));
            let answer = self.client.post(url).body(body).send().await;
            let mut answer = answer.map_err(|error| chain(&error.without_url()))?;
            let code = answer.status();
            let kind = answer.headers().get(CONTENT_TYPE).cloned();
            let mut text = Vec::new();
            while let Some(some) =
                answer.chunk().await.map_err(|error| chain(&error.without_url()))?
            {
                text.extend_from_slice(&some);
                if text.len() > MAX_ANSWER_BYTES {
                    return Err("its answer is too long".into());
                }
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            match code {
                StatusCode::OK => {
                    let known = std::slice::from_ref(&self.witness.key);
                    let with = signed.with_cosignatures(&text, known);
                    let with = with.map_err(|error| error.to_string())?;
                    if with == *signed {
                        return Err("it did not sign with its key".into());
                    }
                    self.seen = size;
                    return Ok(text);
                }
                StatusCode::CONFLICT if kind.is_some_and(|kind| kind == "text/x.tlog.size") => {
                    let known = text.trim().parse().ok();
                    self.seen = known.ok_or("it said no size")?;
                    if self.seen == old {
                        return Err(Refused::contradiction(ANOTHER.to_owned()));
                    }
                }
                StatusCode::CONFLICT => return Err(Refused::contradiction(ANOTHER.to_owned())),
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(Refused::contradiction(format!(
                        "it answered {code}: what it signed before is not in this log"
                    )));
                }
                StatusCode::NOT_FOUND => {
                    return Err("it does not know this log: have it added there".into());
                }
                other => return Err(format!("it answered {other}").into()),
            }
        }
        Err("it said two sizes".into())
    }
}

async fn keep(
    sink: CheckpointSink,
    client: Client,
    mut changes: Changes,
    status: Arc<PublishStatus>,
) {
    let (mut trouble, mut failed) = (None, None);
    while let Some(signed) = next(&mut changes, failed.take()).await {
        let is_last = has_ended(&changes);
        let kept = match &sink.target {
            SinkTarget::File(path) => append(path.clone(), line(&signed)).await,
            SinkTarget::Webhook(url) => {
                let post = client.post(url.url().clone()).header(CONTENT_TYPE, "application/json");
                match post.body(line(&signed)).send().await {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(format!("it answered {}", answer.status())),
                    Err(error) => Err(chain(&error.without_url())),
                }
            }
        };
        if kept.is_err() {
            failed = Some(signed);
        } else {
            status.sink_writes.fetch_add(1, Ordering::Relaxed);
        }
        let who = format!("sink of checkpoints ({})", sink.target.kind());
        note(&mut trouble, kept, &who, &status.sink_failures);
        if is_last {
            return;
        }
        // What came meanwhile waits; of several the last is kept.
        let wait = if failed.is_some() { RETRY.min(sink.every) } else { sink.every };
        pause(&changes, wait).await;
    }
}

/// A checkpoint as sinks get it: one line of JSON.
fn line(signed: &SignedCheckpoint) -> String {
    let text = String::from_utf8_lossy(&signed.note);
    let checkpoint = &signed.checkpoint;
    let line = json!({
        "time": crate::entry::format_ns(crate::intake::now_ns()),
        "origin": checkpoint.origin,
        "size": checkpoint.head.size,
        "checkpoint": text,
    });
    format!("{line}\n")
}

async fn append(path: PathBuf, line: String) -> Result<(), String> {
    let write = move || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o600);
        let mut file = options.open(&path)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(at) = length.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        // A full disk took half a line before: that one stands alone.
        let start = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{start}{line}").as_bytes())?;
        file.sync_data()?;
        match path.parent().filter(|_| length == 0) {
            // Of a new file the name has to be durable too.
            Some(dir) if dir.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| error.to_string())?.map_err(|error: io::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use crate::ledger::merkle::leaf_hash;
    use crate::ledger::proof::verify_consistency;
    use crate::ledger::{TestWitness, TileWriter, TreeHead};
    use axum::Router;
    use axum::http::header;
    use axum::response::{IntoResponse as _, Response};
    use axum::routing::post;
    use std::sync::Mutex;
    use tempfile::TempDir;

    const ORIGIN: &str = "spanledger/00112233445566778899aabbccddeeff";

    struct Log {
        _dir: TempDir,
        public: PublicLog,
        key: LogKey,
        writer: TileWriter,
    }

    impl Log {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = PublicLog::open(dir.path());
            let writer = TileWriter::new(log.clone());
            Self { _dir: dir, public: log, key: LogKey::generate(ORIGIN).unwrap(), writer }
        }

        fn grow(&mut self, size: u64) -> SignedCheckpoint {
            for n in self.writer.size()..size {
                let record = n.to_le_bytes();
                self.writer.push(&record, leaf_hash(&record)).unwrap();
            }
            self.writer.flush().unwrap();
            let head = self.writer.head();
            self.key.sign(&Checkpoint { origin: ORIGIN.to_owned(), head }).unwrap()
        }
    }

    /// Answers as c2sp.org/tlog-witness says.
    fn answer(seen: &Mutex<TreeHead>, body: &str) -> Response {
        let (old, note) = body.split_once("\n\n").unwrap();
        let mut lines = old.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let proof: Vec<_> =
            lines.map(|line| BASE64_STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        let head = signed.checkpoint.head;
        let mut seen = seen.lock().unwrap();
        if old != seen.size {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            return (StatusCode::CONFLICT, kind, format!("{}\n", seen.size)).into_response();
        }
        if verify_consistency(&seen, &head, &proof).is_err() {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        *seen = head;
        let witness = TestWitness::new("witness.example/w1");
        witness.line(&signed.checkpoint.text(), 1_700_000_000).into_response()
    }

    async fn serve(seen: Arc<Mutex<TreeHead>>) -> Witness {
        let witness = move |body: String| {
            let seen = Arc::clone(&seen);
            async move { answer(&seen, &body) }
        };
        let app = Router::new().route("/w/add-checkpoint", post(witness));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let key = TestWitness::new("witness.example/w1").verifier().clone();
        Witness { url: format!("http://{address}/w/").parse().unwrap(), key }
    }

    fn empty() -> TreeHead {
        TreeHead { size: 0, root: crate::ledger::merkle::Frontier::default().root() }
    }

    fn asking(witness: Witness, log: &Log) -> Asking {
        let client = Client::builder().no_proxy().build().unwrap();
        Asking { witness, client, log: log.public.clone(), seen: 0 }
    }

    #[tokio::test]
    async fn a_witness_signs_each_tree_that_continues_what_it_signed_before() {
        let mut log = Log::new();
        let witness = serve(Arc::new(Mutex::new(empty()))).await;
        let keys = [log.key.verifier().clone(), witness.key.clone()];
        let mut asking = asking(witness, &log);
        for size in [0, 3, 3, 300, 701] {
            // A restart forgets what the witness has: it says so itself.
            if size == 300 {
                asking.seen = 0;
            }
            let signed = log.grow(size);
            let lines = asking.ask(&signed).await.unwrap();
            let cosigned = signed.with_cosignatures(&lines, &keys[1..]).unwrap();
            assert_eq!(cosigned.verify(&keys).unwrap()[1].time, Some(1_700_000_000));
            assert_eq!(asking.seen, size);
        }
    }

    #[tokio::test]
    async fn a_witness_that_knows_a_longer_history_says_so() {
        let mut log = Log::new();
        let seen = Arc::new(Mutex::new(TreeHead { size: 900, root: [7; 32] }));
        let mut asking = asking(serve(seen).await, &log);
        let refused = asking.ask(&log.grow(300)).await.unwrap_err();
        assert!(refused.contradicts);
        let refused = refused.why;
        assert!(refused.contains("900") && refused.contains("older copy"), "{refused}");
        let refused = asking.ask(&log.grow(1000)).await.unwrap_err().why;
        assert!(refused.contains("422"), "{refused}");
    }

    #[tokio::test]
    async fn a_witness_that_knows_another_history_stays_in_sight() {
        let mut log = Log::new();
        let seen = Arc::new(Mutex::new(TreeHead { size: 900, root: [7; 32] }));
        let asking = asking(serve(seen).await, &log);
        let (latest, status) = (Latest::new(None), Arc::<PublishStatus>::default());
        let (commands, _told) = std::sync::mpsc::channel();
        let asked = tokio::spawn(asking.run(latest.subscribe(), Arc::clone(&status), commands));
        latest.send_replace(Some(log.grow(300)));
        until(|| status.standing().is_some()).await;
        assert!(status.standing().unwrap().contains("900"));
        assert_eq!(status.trouble(), None, "it keeps nothing from being signed");
        drop(latest);
        tokio::time::timeout(TIMEOUT, asked).await.unwrap().unwrap();
    }

    async fn until(done: impl Fn() -> bool) {
        let wait = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, wait).await.expect("it happens soon");
    }

    fn sizes(path: &std::path::Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let size = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["size"].as_u64().unwrap()
        };
        text.lines().map(size).collect()
    }

    #[tokio::test]
    async fn what_was_not_taken_is_sent_again_unless_something_newer_is_there() {
        let mut log = Log::new();
        let (one, two) = (log.grow(1), log.grow(2));
        let latest = Latest::new(None);
        let mut changes = latest.subscribe();
        latest.send_replace(Some(one.clone()));
        assert_eq!(next(&mut changes, None).await, Some(one.clone()));
        assert_eq!(next(&mut changes, Some(one.clone())).await, Some(one.clone()));
        latest.send_replace(Some(two.clone()));
        drop(latest);
        assert_eq!(next(&mut changes, Some(one)).await, Some(two));
        assert_eq!(next(&mut changes, None).await, None);
    }

    #[tokio::test]
    async fn a_sink_gets_what_it_did_not_take_and_the_last_one_before_the_end() {
        let mut log = Log::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/checkpoints");
        let start = |every| {
            let (latest, status) = (Latest::new(None), Arc::<PublishStatus>::default());
            let sink = CheckpointSink { target: SinkTarget::File(path.clone()), every };
            let kept = keep(sink, Client::new(), latest.subscribe(), Arc::clone(&status));
            (latest, status, tokio::spawn(kept))
        };
        let (latest, status, kept) = start(Duration::from_millis(5));
        latest.send_replace(Some(log.grow(1)));
        until(|| status.sink_failures.load(Ordering::Relaxed) > 1).await;
        std::fs::create_dir(dir.path().join("later")).unwrap();
        until(|| sizes(&path) == [1]).await;
        drop(latest);
        tokio::time::timeout(TIMEOUT, kept).await.unwrap().unwrap();
        // One that takes its time.
        let (latest, _status, kept) = start(Duration::from_hours(1));
        latest.send_replace(Some(log.grow(2)));
        until(|| sizes(&path) == [1, 2]).await;
        latest.send_replace(Some(log.grow(3)));
        drop(latest);
        tokio::time::timeout(TIMEOUT, kept).await.unwrap().unwrap();
        assert_eq!(sizes(&path), [1, 2, 3]);
    }

    #[tokio::test]
    async fn half_a_line_from_a_full_disk_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        std::fs::write(&path, "{\"half\": ").unwrap();
        append(path.clone(), "{}\n".to_owned()).await.unwrap();
        append(path.clone(), "{}\n".to_owned()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"half\": \n{}\n{}\n");
    }

    #[tokio::test]
    async fn a_file_gets_a_line_for_each_checkpoint_and_nothing_is_written_over() {
        let mut log = Log::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        for size in [1, 2] {
            append(path.clone(), line(&log.grow(size))).await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), lines[1]["size"].as_u64()), (2, Some(2)));
        let note = lines[1]["checkpoint"].as_str().unwrap();
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        signed.verify(&[log.key.verifier().clone()]).unwrap();
    }
}
