//! Witnesses and sinks that answer as they should, and as they should not.

use super::file::FileSink;
use super::sink::line;
use super::*;
use crate::config::Witness;
use crate::ledger::checkpoint::{Checkpoint, LogKey};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::proof::verify_consistency;
use crate::ledger::{TestWitness, TileWriter, TreeHead};
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
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
    Asking::new("w1".to_owned(), witness, client, log.public.clone())
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
async fn a_witness_that_said_a_wrong_size_once_is_asked_again_and_signs() {
    let mut log = Log::new();
    let seen = Arc::new(Mutex::new(TreeHead { size: 900, root: [7; 32] }));
    let mut asking = asking(serve(Arc::clone(&seen)).await, &log);
    let signed = log.grow(300);
    for _ in 0..2 {
        assert!(asking.ask(&signed).await.unwrap_err().why.contains("900"));
    }
    *seen.lock().unwrap() = empty();
    asking.ask(&signed).await.unwrap();
    assert_eq!(asking.seen, 300);
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
    until(|| status.witnesses.trouble().is_some()).await;
    assert!(status.witnesses.trouble().unwrap().contains("900"));
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
        let keeper = Keeper::File(FileSink::new(path.clone(), dir.path()));
        let name = "file".to_owned();
        let kept = sink::run(name, keeper, every, latest.subscribe(), Arc::clone(&status));
        (latest, status, tokio::spawn(kept))
    };
    let (latest, status, kept) = start(Duration::from_millis(5));
    latest.send_replace(Some(log.grow(1)));
    until(|| status.sink_failures.load(Ordering::Relaxed) > 1).await;
    let trouble = status.sinks.trouble().unwrap();
    assert!(trouble.starts_with("file: No such file"), "{trouble}");
    std::fs::create_dir(dir.path().join("later")).unwrap();
    until(|| sizes(&path) == [1] && status.sinks.trouble().is_none()).await;
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
    let mut file = FileSink::new(path.clone(), dir.path());
    file.keep("{}\n".to_owned()).await.unwrap();
    file.keep("{}\n".to_owned()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"half\": \n{}\n{}\n");
}

#[tokio::test]
async fn a_file_gets_a_line_for_each_checkpoint_and_nothing_is_written_over() {
    let mut log = Log::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoints");
    let mut file = FileSink::new(path.clone(), dir.path());
    for size in [1, 2] {
        file.keep(line(&log.grow(size))).await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[1]["size"].as_u64()), (2, Some(2)));
    let note = lines[1]["checkpoint"].as_str().unwrap();
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    signed.verify(&[log.key.verifier().clone()]).unwrap();
}

/// A file whose disk hangs: a pipe that is full. What is read of it makes room.
fn full_pipe(path: &std::path::Path) -> std::fs::File {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
    let not_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    let mut pipe = options.read(true).write(true).custom_flags(not_waiting).open(path).unwrap();
    for length in [4096, 1] {
        while pipe.write(&vec![b'x'; length]).is_ok() {}
    }
    pipe
}

#[tokio::test]
async fn a_file_that_hangs_is_told_and_no_second_write_is_begun_until_the_first_is_done() {
    use std::io::Read as _;
    let mut log = Log::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hangs");
    let pipe = full_pipe(&path);
    let file = FileSink::new(path, dir.path()).with_patience(Duration::from_millis(20));
    let (latest, status) = (Latest::new(None), Arc::<PublishStatus>::default());
    let (keeper, every) = (Keeper::File(file), Duration::from_millis(1));
    let kept = sink::run("file".to_owned(), keeper, every, latest.subscribe(), status.clone());
    let kept = tokio::spawn(kept);
    latest.send_replace(Some(log.grow(1)));
    until(|| status.sink_failures.load(Ordering::Relaxed) > 2).await;
    let trouble = status.sinks.trouble().unwrap();
    // At the end it is tried once more, and given up.
    drop(latest);
    tokio::time::timeout(TIMEOUT, kept).await.unwrap().unwrap();
    // Its disk answers again: all that was begun is written now.
    let written = std::cell::RefCell::new(Vec::new());
    until(|| {
        let mut some = [0; 4096];
        let length = (&pipe).read(&mut some).unwrap_or(0);
        written.borrow_mut().extend_from_slice(&some[..length]);
        written.borrow().ends_with(b"\n")
    })
    .await;
    let written = String::from_utf8(written.into_inner()).unwrap();
    assert_eq!(written.matches("\"size\"").count(), 1, "{}", written.trim_start_matches('x'));
    assert!(trouble.contains("does not take a line"), "{trouble}");
}

#[tokio::test]
async fn a_file_that_took_checkpoints_and_is_gone_is_not_made_anew_beside_its_mount() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let path = mount.join("checkpoints");
    FileSink::new(path.clone(), dir.path()).keep("1\n".to_owned()).await.unwrap();
    std::fs::rename(&path, dir.path().join("away")).unwrap();
    // Whoever starts next knows it, too.
    let mut file = FileSink::new(path.clone(), dir.path());
    let told = file.keep("2\n".to_owned()).await.unwrap_err();
    assert!(told.contains("mount what it lies on"), "{told}");
    assert!(!path.exists());
    std::fs::rename(dir.path().join("away"), &path).unwrap();
    file.keep("2\n".to_owned()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
    // Another file is not this one.
    FileSink::new(mount.join("other"), dir.path()).keep("1\n".to_owned()).await.unwrap();
}

/// A server that answers each POST with the next of these, the last one again and again, and notes which
/// sizes it was given.
async fn webhook(answers: &'static [Said]) -> (reqwest::Url, Arc<Mutex<Vec<u64>>>) {
    let given = Arc::<Mutex<Vec<u64>>>::default();
    let noted = Arc::clone(&given);
    let hook = move |body: String| {
        let size = serde_json::from_str::<serde_json::Value>(&body).unwrap()["size"].as_u64();
        let mut noted = noted.lock().unwrap();
        noted.push(size.unwrap());
        let said = answers[(noted.len() - 1).min(answers.len() - 1)];
        async move {
            match said {
                Said::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
                Said::Elsewhere => {
                    (StatusCode::FOUND, [(header::LOCATION, "/other")]).into_response()
                }
                Said::Nothing => std::future::pending().await,
            }
        }
    };
    let elsewhere = || async { panic!("nobody follows a redirect") as String };
    let app = Router::new().route("/hook/secret", post(hook));
    let app = app.route("/other", post(elsewhere).get(elsewhere));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}/hook/secret").parse().unwrap(), given)
}

#[derive(Clone, Copy)]
enum Said {
    Status(u16),
    Elsewhere,
    Nothing,
}

/// As the process makes it, with a time that a test can wait for.
fn impatient() -> Client {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    client.timeout(Duration::from_millis(300)).build().unwrap()
}

#[tokio::test]
async fn a_webhook_that_fails_in_every_way_gets_no_older_checkpoint_after_a_newer_one() {
    const ANSWERS: &[Said] =
        &[Said::Status(500), Said::Elsewhere, Said::Nothing, Said::Status(404), Said::Status(204)];
    let mut log = Log::new();
    let (url, given) = webhook(ANSWERS).await;
    let (latest, status) = (Latest::new(None), Arc::<PublishStatus>::default());
    let name = status.sinks.add("webhook");
    let keeper = Keeper::Webhook(url, impatient());
    let every = Duration::from_millis(5);
    let kept = sink::run(name, keeper, every, latest.subscribe(), Arc::clone(&status));
    let kept = tokio::spawn(kept);
    let troubles = ["500", "302", "timed out", "404"];
    for (at, trouble) in troubles.iter().enumerate() {
        // A new one comes while the one before is not taken.
        latest.send_replace(Some(log.grow(at as u64 + 1)));
        let told = || status.sinks.trouble().is_some_and(|told| told.contains(trouble));
        // The next answer may have come by now: then the count tells.
        let failed = || status.sink_failures.load(Ordering::Relaxed) > at as u64;
        until(|| told() || failed()).await;
    }
    until(|| status.sink_writes.load(Ordering::Relaxed) > 0).await;
    assert_eq!(status.sinks.trouble(), None);
    latest.send_replace(Some(log.grow(9)));
    until(|| status.sinks.list()["webhook"].entries == 9).await;
    drop(latest);
    tokio::time::timeout(TIMEOUT, kept).await.unwrap().unwrap();
    let given = given.lock().unwrap();
    assert!(given.is_sorted(), "{given:?}");
    assert_eq!(given.last(), Some(&9));
    assert_eq!(status.sink_failures.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn what_is_said_of_a_webhook_that_is_away_shows_nothing_of_its_address() {
    let mut log = Log::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook/secret", listener.local_addr().unwrap());
    drop(listener);
    let (latest, status) = (Latest::new(None), Arc::<PublishStatus>::default());
    let keeper = Keeper::Webhook(url.parse().unwrap(), impatient());
    let (name, every) = (status.sinks.add("webhook"), Duration::from_hours(1));
    let kept = sink::run(name, keeper, every, latest.subscribe(), Arc::clone(&status));
    latest.send_replace(Some(log.grow(1)));
    drop(latest);
    // At the end it is tried once, and nobody is kept waiting for it.
    tokio::time::timeout(TIMEOUT, kept).await.unwrap();
    let told = status.sinks.trouble().unwrap();
    assert!(!told.contains("secret") && told.starts_with("webhook: "), "{told}");
}

/// A witness that says that, whatever it is asked.
async fn says(code: StatusCode, kind: &'static str, text: &'static str) -> Witness {
    let answer = move || async move { (code, [(header::CONTENT_TYPE, kind)], text) };
    let app = Router::new().route("/w/add-checkpoint", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let key = TestWitness::new("witness.example/w1").verifier().clone();
    Witness { url: format!("http://{address}/w/").parse().unwrap(), key }
}

#[tokio::test]
async fn a_witness_that_answers_anything_else_is_refused_with_what_it_said() {
    let mut log = Log::new();
    let signed = log.grow(300);
    let size = "text/x.tlog.size";
    for (code, kind, text, told, contradicts) in [
        (StatusCode::OK, "text/plain", "", "did not sign", false),
        (StatusCode::OK, "text/plain", "rubbish\n", "signature", false),
        (
            StatusCode::OK,
            "text/plain",
            "\u{2014} other.example/w9 AAAAAAAA\n",
            "did not sign",
            false,
        ),
        (StatusCode::CONFLICT, size, "7\n", "another tree", true),
        (StatusCode::CONFLICT, "Text/X.tlog.Size; charset=utf-8", "301\n", "older copy", true),
        (StatusCode::CONFLICT, size, "-1\n", "no size", false),
        (StatusCode::CONFLICT, size, "0\n", "another tree", true),
        (StatusCode::CONFLICT, size, "301\n", "older copy", true),
        (StatusCode::CONFLICT, size, "18446744073709551616\n", "no size", false),
        (StatusCode::CONFLICT, "text/plain", "300\n", "another tree", true),
        (StatusCode::UNPROCESSABLE_ENTITY, "text/plain", "", "not in this log", true),
        (StatusCode::FORBIDDEN, "text/plain", "", "key", false),
        (StatusCode::NOT_FOUND, "text/plain", "", "does not know this log", false),
        (StatusCode::TOO_MANY_REQUESTS, "text/plain", "", "429", false),
        (StatusCode::FOUND, "text/plain", "", "302", false),
    ] {
        let mut asking = asking(says(code, kind, text).await, &log);
        let refused = asking.ask(&signed).await.unwrap_err();
        assert!(refused.why.contains(told), "{code} {text:?}: {}", refused.why);
        assert_eq!(refused.contradicts, contradicts, "{code} {text:?}");
    }
    let endless: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    let mut asking = asking(says(StatusCode::OK, "text/plain", endless).await, &log);
    assert!(asking.ask(&signed).await.unwrap_err().why.contains("too long"));
}
