//! Originals in a bundle of evidence: there only when they were asked for, checked by who has neither
//! key nor server, and gone when they were erased.

#[path = "evidence_support/frames.rs"]
mod frames;
mod support;

use frames::Frames;
use prost::Message as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use support::clients;
use support::requests::{request, span, text};
use support::server::{DEADLINE, Server, binary, look_until};

/// The trace of the first ten spans.
const TRACE: &str = "abababababababab0000000000000001";

const HERS: &str = "kanarie-alice: please refund order 1042 to my card";
const HIS: &str = "kanarie-bob: where is my parcel";

fn spanledger(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_remove("SPANLEDGER_DATA")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// A bundle of the trace.
fn bundle(data: &Path, arguments: &[&str]) -> Vec<u8> {
    let file = data.join("evidence.zip");
    let (path, folder) = (file.to_str().unwrap(), data.to_str().unwrap());
    let line = [&["evidence", TRACE, "--force", "-o", path, "--data", folder][..], arguments];
    let made = spanledger(&line.concat());
    assert!(made.status.success(), "{}", said(&made));
    fs::read(file).unwrap()
}

/// What this program and the other implementation say of a bundle. Their exit codes are the same, but
/// for a partial bundle: 0 here without `--strict`, 4 there.
fn checked(data: &Path, bundle: &[u8]) -> (i32, String) {
    let keys = fs::read_to_string(data.join("log/keys")).unwrap();
    let key = keys.lines().last().unwrap();
    let file = data.join("checked.zip");
    fs::write(&file, bundle).unwrap();
    let path = file.to_str().unwrap();
    let ours = spanledger(&["verify", "--bundle", path, "--key", key]);
    let code = ours.status.code().unwrap();
    if !clients::is_skipped("evidence") {
        let mut python = clients::command("evidence");
        let theirs = python.arg(&file).args(["--key", key]).output().unwrap();
        let is_partial = said(&ours).starts_with("partial: ");
        let expected = if is_partial { 4 } else { code };
        assert_eq!(theirs.status.code(), Some(expected), "{}\n{}", said(&ours), said(&theirs));
    }
    (code, said(&ours))
}

/// Changes an original in a bundle, with a manifest that has the right hashes.
const FORGE: &str = r#"
import hashlib, json, sys, zipfile
_, source, target = sys.argv
with zipfile.ZipFile(source) as bundle:
    files = {name: bundle.read(name) for name in bundle.namelist()}
manifest = json.loads(files.pop("manifest.json"))
for name in files:
    if name.startswith("payloads/"):
        files[name] = files[name].replace(b"order 1042", b"order 1043")
manifest["files"] = {name: hashlib.sha256(bytes).hexdigest() for name, bytes in files.items()}
with zipfile.ZipFile(target, "w") as bundle:
    bundle.writestr("manifest.json", json.dumps(manifest))
    for name, bytes in files.items():
        bundle.writestr(name, bytes)
"#;

/// What the other implementation says of a bundle with another original.
fn forged(data: &Path, bundle: &[u8]) -> Option<(i32, String)> {
    if clients::is_skipped("evidence") {
        return None;
    }
    let (source, target) = (data.join("source.zip"), data.join("forged.zip"));
    fs::write(&source, bundle).unwrap();
    let mut forge = Command::new("python3");
    let done = forge.args(["-c", FORGE]).arg(&source).arg(&target).status().unwrap();
    assert!(done.success());
    let keys = fs::read_to_string(data.join("log/keys")).unwrap();
    let mut python = clients::command("evidence");
    let key = keys.lines().last().unwrap();
    let output = python.arg(&target).args(["--key", key]).output().unwrap();
    Some((output.status.code().unwrap(), said(&output)))
}

fn holds(bundle: &[u8], text: &str) -> bool {
    memchr::memmem::find(bundle, text.as_bytes()).is_some()
}

/// A server in mode `full` that was told of a prompt of hers and one of his.
async fn server(data: &Path) -> Server {
    let config = data.join("config.yaml");
    fs::write(&config, "audit:\n  payloads: { mode: full }\n").unwrap();
    let server = Server::start_with(data, &["--config", config.to_str().unwrap()]).await;
    let prompt =
        |n, user, prompt| span(n, vec![text("input.value", prompt), text("user.id", user)]);
    let spans = vec![prompt(0, "alice", HERS), prompt(1, "bob", HIS), span(2, Vec::new())];
    let sent = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf")
        .body(request(spans).encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let found = look_until(DEADLINE, async || {
        let found = server.get(&format!("/api/v1/traces/{TRACE}")).await;
        (found["count"] == 3).then_some(())
    });
    found.await.expect("the trace is found");
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn originals_come_with_a_bundle_when_they_are_asked_for_and_are_checked_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = server(data).await;
    let without = bundle(data, &[]);
    assert!(!holds(&without, "kanarie"), "a bundle has no original that nobody asked for");
    assert!(!holds(&without, "payloads/0"));
    let (code, said) = checked(data, &without);
    assert!(code == 0 && !said.contains("originals"), "{said}");

    let with = bundle(data, &["--payloads"]);
    assert!(holds(&with, HERS) && holds(&with, HIS));
    let (code, said) = checked(data, &with);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("originals of 2 entries"), "{said}");

    if let Some((code, said)) = forged(data, &with) {
        assert_eq!(code, 3, "{said}");
        let named = "entry 0: audit.payload[0] is not the text of its commitment";
        assert!(said.contains(named), "{said}");
    }

    // What was erased does not come back, and the bundle says why it is not there.
    let erase = ["erase", "--tenant", "default", "--subject", "alice", "--actor", "ada"];
    let path = data.to_str().unwrap();
    let erased = spanledger(&[&erase[..], &["--reason", "request 17", "--data", path]].concat());
    assert!(erased.status.success(), "{}", self::said(&erased));
    let with = bundle(data, &["--payloads"]);
    assert!(!holds(&with, "kanarie-alice") && holds(&with, HIS));
    let (code, said) = checked(data, &with);
    assert!(code == 0 && said.contains("erased"), "{code} {said}");
    assert!(said.starts_with("partial: "), "nothing in the bundle shows the erasure: {said}");
    assert!(said.contains("originals of 1 entries"), "what is withheld is not there: {said}");
    assert!(holds(&with, "\"payloads\": true"), "the manifest says that they were asked for");

    // The data folder makes the same without its server.
    server.terminate().await;
    let offline = bundle(data, &["--payloads"]);
    assert!(!holds(&offline, "kanarie-alice") && holds(&offline, HIS));
    assert_eq!(checked(data, &offline).0, 0);
    assert!(!holds(&bundle(data, &[]), "kanarie"));
    let none = tempfile::tempdir().unwrap();
    let keys = none.path().to_str().unwrap();
    let line = ["evidence", TRACE, "--payloads", "--keys", keys, "-o", "-", "--data", path];
    let refused = spanledger(&line);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{}", self::said(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_bytes_that_somebody_changes_are_named_by_verify_also_when_they_were_erased() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let path = data.to_str().unwrap();
    server(data).await.terminate().await;
    let erase = ["erase", "--tenant", "default", "--subject", "alice", "--actor", "ada"];
    let erased = spanledger(&[&erase[..], &["--reason", "request 17", "--data", path]].concat());
    assert!(erased.status.success(), "{}", said(&erased));
    let verify = || {
        let verified = spanledger(&["verify", "--data", path]);
        (verified.status.code().unwrap(), said(&verified))
    };
    assert_eq!(verify().0, 0, "{}", verify().1);
    let segment = data.join(format!("ledger/{:020}.segment", 0));
    let sound = Frames::read(&segment);
    let sealed: Vec<_> =
        sound.entries().into_iter().filter(|nth| !sound.sealed(*nth).is_empty()).collect();
    assert_eq!(sealed.len(), 2, "hers and his");
    for nth in sealed {
        let entry = format!("entry {}", sound.sequence(nth));
        let mut bytes = sound.sealed(nth);
        bytes[60] ^= 1;
        for (bytes, code) in [(bytes, "hash_mismatch"), (Vec::new(), "missing")] {
            let mut changed = sound.clone();
            changed.set_sealed(nth, &bytes);
            changed.write();
            let (exit, said) = verify();
            assert_eq!(exit, 3, "{said}");
            let named = |line: &str| line.contains(code) && line.contains(&entry);
            assert!(said.lines().any(named), "{code} {entry}: {said}");
        }
    }
    sound.write();
    assert_eq!(verify().0, 0);
}
