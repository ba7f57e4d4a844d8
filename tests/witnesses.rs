//! Witnesses that we did not write sign our checkpoints; what they do wrong keeps nobody waiting.
#![cfg(feature = "server")]

mod support;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use spanledger::ledger::PublicLog;
use spanledger::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use spanledger::pipeline::log_dir;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use support::clients::is_skipped;
use support::files::copy_folder;
use support::requests::numbered;
use support::server::{DEADLINE, Server, binary, look_until};
use support::witness::Witness;
use tempfile::TempDir;

/// A data folder whose log has these witnesses: what they listen on, and their keys.
struct Witnessed {
    folder: TempDir,
}

impl Witnessed {
    fn by(witnesses: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let witnesses: Vec<_> = witnesses
            .iter()
            .map(|(address, key)| format!("{{url: 'http://{address}', key: '{key}'}}"))
            .collect();
        let config = format!("public_log: {{witnesses: [{}]}}\n", witnesses.join(", "));
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        Self { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PublicLog {
        PublicLog::open(&log_dir(&self.data()))
    }

    async fn start(&self) -> Server {
        let config = self.folder.path().join("config.yaml");
        Server::start_with(&self.data(), &["--config", config.to_str().unwrap()]).await
    }

    /// The line of the log's public key, which is made soon after the first start.
    async fn key(&self) -> String {
        let file = self.data().join("keys/log.pub");
        let written = look_until(DEADLINE, async || {
            let line = std::fs::read_to_string(&file).ok()?;
            VerifierKey::parse(&line).ok().map(|_| line.trim().to_owned())
        });
        written.await.expect("the log has a key")
    }

    fn verify(&self, key: &str, more: &[&str]) -> Output {
        let mut verify = Command::new(binary());
        verify.args(["verify", "--data"]).arg(self.data()).args(["--key", key]).args(more);
        verify.output().unwrap()
    }

    /// Waits until all of these signed one checkpoint of that many entries at least.
    async fn cosigned(&self, size: u64, keys: &[&str]) -> SignedCheckpoint {
        let keys: Vec<_> = keys.iter().map(|key| VerifierKey::parse(key).unwrap()).collect();
        let found = look_until(DEADLINE, async || {
            let signed = self.log().cosigned().unwrap()?;
            let all = signed.signed_by(&keys).len() == keys.len();
            (all && signed.checkpoint.head.size >= size).then_some(signed)
        });
        found.await.unwrap_or_else(|| panic!("no checkpoint of {size} entries is cosigned"))
    }
}

/// Sends spans; a checkpoint has to cover them, whatever witnesses do.
async fn send(server: &Server, witnessed: &Witnessed, first: u64, count: u64) -> u64 {
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(numbered(first, count)).await.unwrap();
    let size = server.metric("spanledger_ledger_entries").await;
    let covered = look_until(DEADLINE, async || {
        let signed = witnessed.log().checkpoint().unwrap()?;
        (signed.checkpoint.head.size >= size).then_some(())
    });
    covered.await.expect("a checkpoint covers what was acknowledged");
    size
}

/// Waits until `/readyz`, which stays 200, and the metric say that of the witness; nothing says that all
/// is well.
async fn told(server: &Server, name: &str, what: &str) {
    let told = look_until(DEADLINE, async || {
        let readiness = server.get("/readyz").await;
        assert_eq!(readiness["ready"], true);
        let held_up = readiness["held_up"].to_string();
        let is = if what.is_empty() {
            !held_up.contains("witnesses: ")
        } else {
            held_up.contains("witnesses: ") && held_up.contains(what)
        };
        is.then_some(())
    });
    let told = told.await;
    let now = server.get("/readyz").await;
    assert!(told.is_some(), "{what:?} is not said of the witness: {now}");
    let series = format!("spanledger_public_log_witness_held_up{{witness=\"{name}\"}}");
    assert_eq!(server.metric(&series).await, u64::from(!what.is_empty()), "{series}");
}

#[tokio::test]
async fn a_witness_signs_what_is_published_whenever_it_is_there_and_its_own_tools_open_it() {
    const NAME: &str = "witness.example/w1";
    if is_skipped("witness") {
        return;
    }
    let mut witness = Witness::start(NAME);
    let log = Witnessed::by(&[(witness.address(), witness.key())]);
    let mut server = log.start().await;
    // It refuses a log that nobody made known to it.
    send(&server, &log, 0, 20).await;
    told(&server, NAME, "does not know this log").await;
    assert!(server.metric("spanledger_public_log_witness_failures_total").await > 0);
    witness.knows(&log.key().await);
    let size = server.metric("spanledger_public_log_entries").await;
    let signed = log.cosigned(size, &[witness.key()]).await;
    told(&server, NAME, "").await;
    assert!(signed.checkpoint.head.size >= 20);
    // Nothing comes in now: the last checkpoint carries the signature, too.
    let last = log.log().checkpoint().unwrap().unwrap();
    assert_eq!(last.signed_by(&[VerifierKey::parse(witness.key()).unwrap()]).len(), 1);
    for file in ["checkpoint", "cosigned"] {
        let opened = witness.opens(&log.data().join("log").join(file), &log.key().await);
        let said = String::from_utf8_lossy(&opened.stderr).into_owned();
        assert!(opened.status.success(), "{file}: {said}");
        let shown = String::from_utf8(opened.stdout).unwrap();
        assert!(shown.starts_with(&format!("{} ", last.checkpoint.head.size)), "{shown}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("http://{}/log/cosigned", server.api()));
    let over_http = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(over_http, std::fs::read(log.data().join("log/cosigned")).unwrap());
    // It was away for a while.
    witness.kill();
    let size = send(&server, &log, 20, 300).await;
    told(&server, NAME, "w1: ").await;
    witness.start_again();
    log.cosigned(size, &[witness.key()]).await;
    told(&server, NAME, "").await;
    // We forget what it signed, and it says so (409, another size).
    server.restart().await;
    let size = send(&server, &log, 320, 5).await;
    log.cosigned(size, &[witness.key()]).await;
    told(&server, NAME, "").await;
    let series = format!("spanledger_public_log_witness_entries{{witness=\"{NAME}\"}}");
    assert!(server.metric(&series).await >= size);
    server.terminate().await;
}

#[tokio::test]
async fn whoever_trusts_witnesses_asks_for_as_many_of_them_as_he_wants() {
    if is_skipped("witness") {
        return;
    }
    let [one, two, absent] =
        ["one", "two", "absent"].map(|name| Witness::start(&format!("{name}.example/w")));
    let log = Witnessed::by(&[(one.address(), one.key()), (two.address(), two.key())]);
    let server = log.start().await;
    for witness in [&one, &two] {
        witness.knows(&log.key().await);
    }
    let (size, of_log) = (send(&server, &log, 0, 30).await, log.key().await);
    let both = log.cosigned(size, &[one.key(), two.key()]).await;
    let (one, two, absent) = (one.key(), two.key(), absent.key());
    let quorum = |keys: &[&str], more: &[&str]| {
        let keys: Vec<_> = keys.iter().flat_map(|key| ["--witness", key]).collect();
        let found = log.verify(&of_log, &[&keys, more].concat());
        (found.status.code().unwrap(), String::from_utf8(found.stdout).unwrap())
    };
    let (code, text) = quorum(&[one, two], &[]);
    assert_eq!(code, 0, "{text}");
    let shown = format!("witnessed: {} entries, by ", both.checkpoint.head.size);
    assert!(text.contains(&shown) && text.contains("two.example/w+"), "{text}");
    let (code, text) = quorum(&[one, two, absent], &[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("unwitnessed: 2 of the 3 witnesses"), "{text}");
    assert_eq!(quorum(&[one, two, absent], &["--quorum", "2"]).0, 0);
    assert_eq!(quorum(&[one, absent], &["--quorum", "1", "--json"]).0, 0);
    assert_eq!(quorum(&[absent], &[]).0, 3);
    server.terminate().await;
}

#[tokio::test]
async fn a_machine_that_was_put_back_as_a_whole_is_told_by_its_witness() {
    const NAME: &str = "memory.example/w";
    if is_skipped("witness") {
        return;
    }
    let witness = Witness::start(NAME);
    let log = Witnessed::by(&[(witness.address(), witness.key())]);
    let mut server = log.start().await;
    witness.knows(&log.key().await);
    let size = send(&server, &log, 0, 10).await;
    log.cosigned(size, &[witness.key()]).await;
    server.kill();
    let backup = log.folder.path().join("backup");
    copy_folder(&log.data(), &backup);
    server.restart().await;
    let size = send(&server, &log, 10, 40).await;
    let kept = log.folder.path().join("kept");
    let signed = log.cosigned(size, &[witness.key()]).await;
    std::fs::write(&kept, &signed.note).unwrap();
    server.kill();
    std::fs::remove_dir_all(log.data()).unwrap();
    copy_folder(&backup, &log.data());
    // Ledger, log and keys agree with each other: only who saw more can tell.
    server.restart().await;
    send(&server, &log, 1_000, 3).await;
    told(&server, NAME, "older copy").await;
    server.terminate().await;
    let key = log.key().await;
    assert_eq!(log.verify(&key, &[]).status.code(), Some(0));
    let found = log.verify(&key, &["--checkpoint", kept.to_str().unwrap()]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.status.code(), Some(3), "{text}");
    assert!(text.contains("rollback: "), "{text}");
}

/// What stands between the log and its witness does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// What the witness answers.
    Passes,
    /// No answer ever.
    Hangs,
    /// An answer that is no signature.
    Rubbish,
    /// 409 with a size that nobody signed.
    OtherSize,
    /// 500.
    Fails,
}

#[derive(Clone)]
struct Between {
    does: Arc<Mutex<Does>>,
    witness: String,
}

async fn between(State(between): State<Between>, body: String) -> Response {
    let does = *between.does.lock().unwrap();
    match does {
        Does::Hangs => std::future::pending().await,
        Does::Rubbish => "\u{2014} rubbish\n".into_response(),
        Does::OtherSize => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, "1000000\n").into_response()
        }
        Does::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Does::Passes => {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("http://{}/add-checkpoint", between.witness);
            let answer = client.post(url).body(body).send().await.unwrap();
            let (code, kind) =
                (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
            let text = answer.text().await.unwrap();
            let kind = kind.unwrap_or(header::HeaderValue::from_static("text/plain"));
            (code, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
    }
}

#[tokio::test]
async fn whatever_a_witness_does_the_log_goes_on_and_it_signs_again_by_itself() {
    const NAME: &str = "wrong.example/w";
    if is_skipped("witness") {
        return;
    }
    let witness = Witness::start(NAME);
    let does = Arc::new(Mutex::new(Does::Passes));
    let state = Between { does: Arc::clone(&does), witness: witness.address().to_owned() };
    let app = Router::new().route("/add-checkpoint", post(between)).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let log = Witnessed::by(&[(&address, witness.key())]);
    let server = log.start().await;
    witness.knows(&log.key().await);
    let size = send(&server, &log, 0, 10).await;
    log.cosigned(size, &[witness.key()]).await;
    let mut first = 10;
    for (wrong, what) in [
        (Does::Rubbish, "signature"),
        (Does::Fails, "500"),
        (Does::OtherSize, "older copy"),
        (Does::Hangs, "w: "),
    ] {
        *does.lock().unwrap() = wrong;
        send(&server, &log, first, 10).await;
        told(&server, NAME, what).await;
        let size = send(&server, &log, first + 10, 10).await;
        first += 20;
        *does.lock().unwrap() = Does::Passes;
        log.cosigned(size, &[witness.key()]).await;
        told(&server, NAME, "").await;
    }
    // Nobody is kept waiting by one that hangs, at the end either.
    *does.lock().unwrap() = Does::Hangs;
    send(&server, &log, first, 10).await;
    server.terminate().await;
    let last = log.log().checkpoint().unwrap().unwrap();
    assert!(last.checkpoint.head.size > size, "it was signed without the witness");
    assert!(Path::new(&log.data()).join("log/cosigned").exists());
}
