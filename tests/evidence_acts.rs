//! What explains the entries of a bundle: keys of the log that handed over, and what retention took out.

mod evidence_support;
mod support;

use evidence_support::Small;
use serde_json::{Value, json};
use spanledger::access::Tenant;
use spanledger::config::{Config, Overrides};
use spanledger::convert::Mappings;
use spanledger::entry::{Entry, Kind};
use spanledger::evidence::{Checked, Code, Parts, Verdict, check_bundle, read_bundle};
use spanledger::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint, VerifierKey};
use spanledger::ledger::{Batch, Due, EntryId, Expiry, Ledger, NewEntry, PublicLog};
use spanledger::pipeline::{Opened, ledger_dir};
use spanledger::protect::Keys;
use spanledger::store::TraceRequest;
use std::path::Path;
use std::process::{Command, Output};
use std::slice::from_ref;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};
use support::clients;
use support::governed::send;
use support::server::{DEADLINE, Server, look_until, wait_until};
use support::stories::span;

/// The tenant of what is told of the log itself.
const SYSTEM: &str = "_spanledger";

fn spanledger(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanledger"));
    command.args(arguments).env_remove("SPANLEDGER_DATA").env("NO_COLOR", "1");
    said(&command.output().expect("the binary runs"))
}

fn said(output: &Output) -> (i32, String) {
    let (out, err) = (&output.stdout, &output.stderr);
    let text = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    (output.status.code().unwrap(), text)
}

/// The other implementation's exit code and what it says.
fn python(bundle: &[u8], key: &VerifierKey) -> Option<(i32, String)> {
    if clients::is_skipped("evidence") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bundle.zip");
    std::fs::write(&file, bundle).unwrap();
    let mut command = clients::command("evidence");
    Some(said(&command.arg(&file).args(["--key", &key.to_string()]).output().unwrap()))
}

/// What both implementations say of a bundle, which is the same.
fn checked(bundle: &[u8], key: &VerifierKey) -> (Checked, String) {
    let checked = check_bundle(bundle, from_ref(key));
    let python = python(bundle, key);
    if let Some((code, text)) = &python {
        let verdict = checked.verdict();
        let expected = match verdict {
            Verdict::Ok => 0,
            Verdict::Partial => 4,
            Verdict::Compromised => 3,
        };
        assert_eq!(*code, expected, "{verdict}: {text}\n{:?}", checked.findings.listed());
    }
    (checked, python.map(|(_, text)| text).unwrap_or_default())
}

/// The statement of a key that hands over to another.
fn statement(by: &LogKey, origin: &str, next: &VerifierKey) -> String {
    by.sign_text(&format!("spanledger key rotation/v1\n{origin}\n{next}\n"))
}

/// The body of an entry that tells of a rotation.
fn rotated(statement: &str) -> String {
    json!({
        "schema_version": 1, "@timestamp": "2026-11-21T09:00:00.000000000Z", "message": statement,
        "event": {"action": "log_key.rotated", "dataset": "spanledger", "outcome": "success"},
        "audit": {"kind": "operator_action", "actor": {"id": "os:ada"}},
    })
    .to_string()
}

/// The body of an entry that tells that bodies were taken out.
fn pruned(first: u64, end: u64, entries: u64, before: &str) -> String {
    json!({
        "schema_version": 1, "@timestamp": "2026-11-21T09:00:00.000000000Z",
        "event": {"action": "ledger.pruned", "dataset": "spanledger", "reason": "kept for 30 days"},
        "audit": {"kind": "prune", "actor": {"id": "spanledger:retention"}},
        "attributes": {
            "spanledger.prune.first": first, "spanledger.prune.end": end,
            "spanledger.prune.class": 0, "spanledger.prune.entries": entries,
            "spanledger.prune.before": before,
        },
    })
    .to_string()
}

/// A log of six entries and of those that tell of rotations, signed by a key.
async fn signed_by(
    key: usize,
    tell: impl Fn(&str, &[LogKey]) -> Vec<String>,
) -> (Small, Vec<LogKey>) {
    let small = Small::of(6).await;
    let origin = small.verifier().name().to_owned();
    let keys: Vec<LogKey> = (0..4).map(|_| LogKey::generate(&origin).unwrap()).collect();
    let own: Vec<_> = tell(&origin, &keys).iter().map(|it| (SYSTEM, rotated(it))).collect();
    // The same log goes on.
    let (ledger, _) = Ledger::open(&small.ledger(), evidence_support::options()).unwrap();
    for (n, (tenant, body)) in (6..).zip(&own) {
        let mut batch = Batch::new();
        evidence_support::push_own(&mut batch, n, tenant, body);
        ledger.append(batch).await.unwrap();
    }
    ledger.close().await.unwrap();
    small.publish(&keys[key]);
    (small, keys)
}

#[tokio::test]
async fn who_knows_an_old_key_follows_it_through_all_rotations_and_no_further() {
    let chain = |origin: &str, keys: &[LogKey]| -> Vec<String> {
        let hand = |from: usize, to: usize| statement(&keys[from], origin, keys[to].verifier());
        vec![hand(0, 1), hand(1, 2)]
    };
    let (small, keys) = signed_by(2, chain).await;
    let bundle = small.bundle();
    for (known, followed) in [(0, 2), (1, 1), (2, 0)] {
        let (found, python) = checked(&bundle, keys[known].verifier());
        assert_eq!(found.verdict(), Verdict::Ok, "{known}: {:?}", found.findings.listed());
        assert_eq!(found.handovers.len(), followed, "{known}: {:?}", found.handovers);
        assert_eq!(python.matches("the log's key changed: entry").count(), followed, "{python}");
    }
    let (found, _) = checked(&bundle, keys[0].verifier());
    let first = &found.handovers[0];
    assert_eq!((first.sequence, first.by.as_deref()), (6, Some("os:ada")));
    assert_eq!(first.to, keys[1].verifier().to_string());
    assert!(keys[0].verifier().to_string().starts_with(&first.from));
    // A key that nobody handed over to, or that comes later than what it should lead to.
    let (found, _) = checked(&bundle, keys[3].verifier());
    assert!(found.findings.has(Code::UnknownKey) && found.verdict() == Verdict::Compromised);
    // As somebody runs it.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bundle.zip");
    std::fs::write(&file, &bundle).unwrap();
    let old = keys[0].verifier().to_string();
    let (code, text) =
        spanledger(&["verify", "--bundle", file.to_str().unwrap(), "--key", &old, "--strict"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("the log's key changed: entry 6: ") && text.contains("by os:ada"),
        "{text}"
    );
}

/// What somebody tells of rotations.
type Tell = fn(&str, &[LogKey]) -> Vec<String>;

#[tokio::test]
async fn a_false_hand_over_leads_nowhere() {
    let cases: [(&str, usize, Tell); 5] = [
        ("nobody handed over", 1, |_, _| Vec::new()),
        ("another signed it", 1, |origin, keys| {
            vec![statement(&keys[3], origin, keys[1].verifier())]
        }),
        ("it names another key", 1, |origin, keys| {
            let (one, other) = (keys[1].verifier().to_string(), keys[2].verifier().to_string());
            vec![statement(&keys[0], origin, keys[2].verifier()).replace(&other, &one)]
        }),
        ("it is of another log", 1, |_, keys| {
            vec![statement(&keys[0], "example/other", keys[1].verifier())]
        }),
        ("it is older than what made its signer a key of the log", 2, |origin, keys| {
            let hand = |from: usize, to: usize| statement(&keys[from], origin, keys[to].verifier());
            vec![hand(1, 2), hand(0, 1)]
        }),
    ];
    for (what, key, tell) in cases {
        let (small, keys) = signed_by(key, tell).await;
        let (found, python) = checked(&small.bundle(), keys[0].verifier());
        assert_eq!(found.verdict(), Verdict::Compromised, "{what}: {:?}", found.findings.listed());
        assert!(found.findings.has(Code::UnknownKey), "{what}: {:?}", found.findings.listed());
        assert!(found.handovers.is_empty() && !python.contains("changed"), "{what}: {python}");
    }
}

#[tokio::test]
async fn a_hand_over_counts_only_where_the_log_has_it_and_from_nobody_but_the_log() {
    let chain: Tell = |origin, keys| vec![statement(&keys[0], origin, keys[1].verifier())];
    let (small, keys) = signed_by(1, chain).await;
    let known = keys[0].verifier();
    let remade = |change: &dyn Fn(&mut Parts)| {
        let (manifest, items, acts) = read_bundle(&small.bundle()).unwrap();
        let checkpoint = PublicLog::open(&small.log()).checkpoint().unwrap();
        let keys = vec![small.verifier()];
        let mut parts = Parts { manifest, items, acts, checkpoint, keys };
        change(&mut parts);
        parts.write().unwrap()
    };
    let sound = remade(&|_| {});
    assert_eq!(checked(&sound, known).0.verdict(), Verdict::Ok);
    let without = remade(&|parts| parts.acts.clear());
    assert!(checked(&without, known).0.findings.has(Code::UnknownKey));
    // What the operator's newest key would sign, were it not that the log does not have it.
    let later = keys[2].verifier().clone();
    let forged = remade(&|parts| {
        let note = statement(&keys[0], later.name(), &later);
        parts.acts[0].body = Some(rotated(&note).into_bytes());
        let checkpoint = parts.checkpoint.as_ref().unwrap().checkpoint.clone();
        parts.checkpoint = Some(SignedCheckpoint::sign(&checkpoint, &[&keys[2]]).unwrap());
    });
    let found = checked(&forged, known).0;
    assert_eq!(found.verdict(), Verdict::Compromised);
    assert!(found.findings.has(Code::HashMismatch), "{:?}", found.findings.listed());
    // The key that handed over signs on: somebody may have taken it.
    let retired = remade(&|parts| {
        let checkpoint: Checkpoint = parts.checkpoint.as_ref().unwrap().checkpoint.clone();
        parts.checkpoint = Some(SignedCheckpoint::sign(&checkpoint, &[&keys[0]]).unwrap());
    });
    let (found, python) = checked(&retired, known);
    assert_eq!(found.verdict(), Verdict::Partial, "{:?}", found.findings.listed());
    assert!(found.findings.has(Code::UnknownKey), "{:?}", found.findings.listed());
    assert!(python.is_empty() || python.contains("had handed over"), "{python}");
    // With a line of the newest key that is not its signature of this: worse than none.
    let claimed = remade(&|parts| {
        let checkpoint: Checkpoint = parts.checkpoint.as_ref().unwrap().checkpoint.clone();
        let mut note = SignedCheckpoint::sign(&checkpoint, &[&keys[0]]).unwrap().note;
        let other = keys[1].sign_text("another text\n");
        note.extend(other.rsplit_once("\n\n").unwrap().1.bytes());
        parts.checkpoint = Some(SignedCheckpoint::parse(&note).unwrap());
    });
    let (found, _) = checked(&claimed, known);
    assert_eq!(found.verdict(), Verdict::Compromised, "{:?}", found.findings.listed());
    assert!(found.findings.has(Code::BadSignature), "{:?}", found.findings.listed());

    // A tenant sends an entry that looks as one of ours.
    let small = Small::of(2).await;
    let key = LogKey::generate(small.verifier().name()).unwrap();
    let note = statement(&small.key, key.verifier().name(), key.verifier());
    let old = small.verifier();
    let forged = Small::with_own(3, &[("acme", rotated(&note))], key).await;
    let (manifest, mut items, _) = read_bundle(&forged.bundle()).unwrap();
    let acts = vec![items.pop().unwrap()];
    assert_eq!(acts[0].proof.sequence, 3);
    let checkpoint = PublicLog::open(&forged.log()).checkpoint().unwrap();
    let parts = Parts { manifest, items, acts, checkpoint, keys: vec![forged.verifier()] };
    let found = checked(&parts.write().unwrap(), &old).0;
    let told = found.findings.listed().iter().any(|it| it.message.contains("cannot speak"));
    assert!(told && found.verdict() == Verdict::Compromised, "{:?}", found.findings.listed());
}

#[tokio::test]
async fn the_key_of_another_log_hands_over_nothing_of_this_one() {
    let other = LogKey::generate("example/other").unwrap();
    let (small, keys) =
        signed_by(1, |origin, keys| vec![statement(&other, origin, keys[1].verifier())]).await;
    let (bundle, known) = (small.bundle(), [&other, &keys[0]].map(|key| key.verifier().clone()));
    let found = check_bundle(&bundle, &known);
    assert_eq!(found.verdict(), Verdict::Compromised, "{:?}", found.findings.listed());
    assert!(found.handovers.is_empty(), "{:?}", found.handovers);
    if !clients::is_skipped("evidence") {
        let file = small.dir.path().join("bundle.zip");
        std::fs::write(&file, &bundle).unwrap();
        let mut command = clients::command("evidence");
        command.arg(&file);
        for key in &known {
            command.args(["--key", &key.to_string()]);
        }
        let (code, text) = said(&command.output().unwrap());
        assert!(code == 3 && text.contains("neither a given key"), "{code} {text}");
    }
}

/// Takes out the bodies of the first entries of the small ledger, as retention does.
async fn prune(small: &Small, before_ns: u64) -> u64 {
    let (ledger, _) = Ledger::open(&small.ledger(), evidence_support::options()).unwrap();
    let first_end = {
        let names = small.ledger().read_dir().unwrap().map(|it| it.unwrap().file_name());
        let mut firsts: Vec<u64> =
            names.filter_map(|it| it.to_str()?.get(..20)?.parse().ok()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        firsts[1]
    };
    let expiry = Expiry { class: 0, before_ns };
    let due = Due { first: 0, end: first_end, expiry, entries: first_end, gone: 0 };
    ledger.upkeep().prune(&due, &|_| false, &mut || true, || Some(())).unwrap();
    ledger.close().await.unwrap();
    first_end
}

#[tokio::test]
async fn what_retention_took_out_stands_in_the_bundle_with_what_tells_it() {
    let after = "2026-11-21T10:00:00.000000000Z";
    let plain = Small::of(12).await;
    let count = prune(&plain, u64::MAX).await;
    let cases = [
        (vec![pruned(0, count, count, after)], true),
        // Of other entries, or of older ones: it explains none of these.
        (vec![pruned(count, 12, 1, after)], false),
        (vec![pruned(0, count, count, "2020-01-01T00:00:00.000000000Z")], false),
        (vec![], false),
    ];
    for (acts, is_told) in cases {
        let own: Vec<_> = acts.iter().map(|body| (SYSTEM, body.clone())).collect();
        let key = LogKey::generate(plain.verifier().name()).unwrap();
        let small = Small::with_own(12, &own, key).await;
        prune(&small, u64::MAX).await;
        let bundle = small.bundle();
        let (found, python) = checked(&bundle, &small.verifier());
        assert_eq!(found.verdict(), Verdict::Partial, "{acts:?}: {:?}", found.findings.listed());
        let gone = found.entries.iter().filter(|entry| entry.body.is_none()).count() as u64;
        // The rival's entry is not acme's.
        assert_eq!(gone, (0..count).filter(|n| n % 4 != 3).count() as u64);
        let told: Vec<_> =
            found.findings.listed().iter().filter(|it| it.code == Code::RetentionTrimmed).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let words = if is_told { "entry 12 of the log (kept" } else { "no entry of the log" };
        assert!(told[0].message.contains(words), "{told:?}");
        assert_eq!(found.acts.len(), usize::from(is_told));
        let words = if is_told { "as entry 12 says" } else { "it says that they were pruned" };
        assert!(python.is_empty() || python.contains(words), "{python}");
        let members = String::from_utf8_lossy(&bundle);
        let report = members.contains("What is no longer kept")
            && members.contains("no longer kept: entry 0");
        assert!(report, "the report names them");
        assert_eq!(members.contains("kept for 30 days, by spanledger:retention"), is_told);
    }
    // It took out fewer than are gone: somebody took out the others.
    let key = LogKey::generate(plain.verifier().name()).unwrap();
    let small = Small::with_own(12, &[(SYSTEM, pruned(0, count, 1, after))], key).await;
    prune(&small, u64::MAX).await;
    let (found, python) = checked(&small.bundle(), &small.verifier());
    assert_eq!(found.verdict(), Verdict::Compromised, "{:?}", found.findings.listed());
    let told = found.findings.listed().iter().any(|it| it.message.contains("took out 1 at most"));
    assert!(told, "{:?}", found.findings.listed());
    assert!(python.is_empty() || python.contains("took out 1 at most"), "{python}");
}

/// A data folder with entries of 2020, of which 20 stand in one story each.
async fn old_data(data: &Path, config: &Config) {
    let keys = Keys::open_or_create(&config.keys).unwrap();
    let (ledger, _) = Ledger::open(&ledger_dir(data), config.ledger.clone()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_nanos()).unwrap();
    for group in 0..100_u64 {
        let mut batch = Batch::new();
        for n in group * 20..(group + 1) * 20 {
            let mut entry = Entry::new(Kind::ToolCall);
            entry.message = Some(format!("canary {n} {}", "x".repeat(700)).into());
            entry.add_trace_id(format!("run-{group}").into());
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            let is_last = n == 1_999;
            let new = NewEntry {
                id: EntryId(u128::from(n + 1).to_be_bytes()),
                tenant: "default",
                tenant_pseudonym: keys.tenant(&Tenant::default()).pseudonym(),
                // One of each story is kept for ever.
                retention_class: if n % 20 == 7 || is_last { 255 } else { 0 },
                received_ns: if is_last { now } else { 1_600_000_000_000_000_000 + n },
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: &body,
            };
            batch.push(&new).unwrap();
        }
        ledger.append(batch).await.unwrap();
    }
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_of_a_story_names_what_was_pruned_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("spanledger.yaml");
    let text = "ledger: {segment: 1MiB, compress_after: 1ms}\nretention: {every: 1s}\n";
    std::fs::write(&file, text).unwrap();
    let overrides = Overrides { data: Some(data.clone()), ..Overrides::default() };
    let config = Config::load(Some(&file), &overrides).unwrap();
    old_data(&data, &config).await;
    let opened = Opened::open(&config, Mappings::builtin().unwrap()).unwrap();
    let pipeline = opened.start(&config).unwrap();
    let status = pipeline.upkeep().clone();
    wait_until("a segment is pruned", || status.pruned.load(Ordering::Relaxed) > 900).await;
    let story = pipeline.store().trace(&TraceRequest::new(Tenant::default(), "run-3")).unwrap();
    assert_eq!((story.total, story.pruned.len()), (1, 19));
    let other = TraceRequest::new(Tenant::new("acme").unwrap(), "run-3");
    assert_eq!(pipeline.store().trace(&other).unwrap().pruned, [], "another tenant sees nothing");
    pipeline.stop().await.unwrap();
    let key = std::fs::read_to_string(data.join("keys/log.pub")).unwrap();
    let key = VerifierKey::parse(key.trim()).unwrap();
    let (bundle, data) = (folder.path().join("run-3.zip"), data.to_str().unwrap());
    let path = bundle.to_str().unwrap();
    let (code, text) = spanledger(&["evidence", "run-3", "-o", path, "--data", data]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("20 entries, verdict partial"), "{text}");
    let bytes = std::fs::read(&bundle).unwrap();
    let (found, python) = checked(&bytes, &key);
    assert_eq!(found.verdict(), Verdict::Partial, "{:?}", found.findings.listed());
    let told = &found.findings.listed()[0];
    assert!(told.message.contains("19 bodies were taken out"), "{told}");
    assert!(told.message.contains("kept for 184 days, by spanledger:retention"), "{told}");
    assert!(told.message.contains("60 to 66, 68 to 79"), "{told}");
    assert!(python.is_empty() || python.contains("such bodies as those of 19 of them"), "{python}");
    let (code, json) =
        spanledger(&["verify", "--bundle", path, "--key", &key.to_string(), "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, report["pruned"].as_array().unwrap().len()), (0, 19), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_keys_were_rotated_makes_bundles_for_who_knows_the_first_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let folder = data.path().to_str().unwrap();
    send(&server, "agent", &[span(1, 1, "first", json!({"run_id": "run-7"}))]).await;
    let public = || std::fs::read_to_string(data.path().join("keys/log.pub")).unwrap();
    look_until(DEADLINE, async || data.path().join("keys/log.pub").exists().then_some(()))
        .await
        .expect("the log has a key");
    let first = public();
    for round in 0..2_u8 {
        let before = public();
        let (code, text) = spanledger(&["keys", "log", "rotate", "--data", folder]);
        assert_eq!(code, 0, "{text}");
        let changed = look_until(DEADLINE, async || (public() != before).then_some(())).await;
        changed.expect("the next key is in place");
        let more = span(1, 2 + round, "more", json!({"run_id": "run-7"}));
        send(&server, "agent", &[more]).await;
        // One checkpoint has both signatures: this one comes later.
        let log = PublicLog::open(&data.path().join("log"));
        let signed = look_until(DEADLINE, async || {
            let signed = log.checkpoint().unwrap()?;
            (signed.signers().len() == 1 && signed.checkpoint.head.size > u64::from(2 + round))
                .then_some(())
        });
        signed.await.expect("a checkpoint that only the next key signed");
    }
    let found = look_until(DEADLINE, async || {
        (server.get("/api/v1/traces/run-7").await["count"] == 3).then_some(())
    });
    found.await.expect("the story is found");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("evidence.zip");
    let path = file.to_str().unwrap();
    let look = |when: &str| {
        let made = ["evidence", "run-7", "-o", path, "--force", "--data", folder];
        let (code, text) = spanledger(&made);
        assert_eq!(code, 0, "{when}: {text}");
        let first = VerifierKey::parse(first.trim()).unwrap();
        let (found, _) = checked(&std::fs::read(&file).unwrap(), &first);
        assert_eq!(found.verdict(), Verdict::Ok, "{when}: {:?}", found.findings.listed());
        assert_eq!((found.handovers.len(), found.entries.len()), (2, 3), "{when}");
    };
    look("running");
    server.terminate().await;
    look("stopped");
}
