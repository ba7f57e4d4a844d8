//! Mode `full`: the body says what mode `hash` says, and what was taken out of it opens with the
//! subject's key, is what was sent, and is proved by the ledger.
#![cfg(feature = "server")]

#[path = "sealed/bench.rs"]
mod bench;
#[path = "evidence_support/frames.rs"]
mod frames;

use bench::{Bench, request};
use frames::Frames;
use serde_json::{Value, json};
use spanledger::access::Tenant;
use spanledger::entry::{Entry, Json, Kind, Payload, PayloadKind};
use spanledger::intake::{ErasureError, ErasureRequest, IntakeError};
use spanledger::ledger::{Damage, LeafRecord, Mismatch, SEALED_KIND, verify};
use spanledger::protect::{
    Commitment, FreshKeys, Keys, ORIGINALS_KIND, OriginalsList, Protector, SealError, Settings,
    Taken, commitment_kind, original_mark,
};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const TEXT: &str = "canary: please refund order 1042 to my card";
const TENANT: &str = "acme";

fn settings(audit: Value) -> Settings {
    serde_json::from_value::<Settings>(audit).unwrap().validate().unwrap().0
}

fn full() -> Settings {
    settings(json!({ "payloads": { "mode": "full" } }))
}

fn protector(folder: &Path, settings: &Settings) -> Protector {
    Protector::new(settings, Keys::open_or_create(&folder.join("keys")).unwrap()).unwrap()
}

fn payload(kind: PayloadKind, text: &str) -> Payload<'static> {
    let text = Some(text.to_owned().into());
    Payload { kind, source: "a".into(), text, hash: None, bytes: 0 }
}

/// Protects and seals; gives the body, the commitments and what opens again.
fn seal(protector: &Protector, entry: &mut Entry<'_>) -> (String, Vec<Commitment>, Vec<Taken>) {
    let tenant = protector.tenant(&Tenant::new(TENANT).unwrap());
    let mut body = Vec::new();
    let protected = tenant.write(entry, &mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let Some(unsealed) = &protected.unsealed else { return (body, protected.commitments, vec![]) };
    let mut fresh = FreshKeys::default();
    let sealed = tenant.seal(&[1; 16], unsealed, &mut fresh).unwrap();
    let subjects = protector.keys().subjects();
    subjects.make_durable(&fresh).unwrap();
    let opened = subjects.open(&sealed, &[1; 16], &tenant.keys().pseudonym()).unwrap();
    (body, protected.commitments, opened)
}

#[test]
fn what_leaves_the_body_is_sealed_once_and_nothing_of_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut entry: Entry<'_> = serde_json::from_value(json!({
        "schema_version": 1,
        "event": { "reason": format!("asked: {TEXT}") },
        "message": TEXT,
        "log": { "event_name": "gen_ai.user.message" },
        "audit": {
            "kind": "llm_call",
            "payload": [
                { "kind": "prompt", "source": "a", "text": TEXT, "bytes": 0 },
                { "kind": "response", "source": "b", "text": "canary-answer", "bytes": 0 },
            ],
            "invalid_text": [{ "place": "gen_ai.prompt", "base64": "Y2FuYXJ5OiBwbGVhc2UgcmVmdW5k/w==" }],
        },
        "attributes": {
            "gen_ai.input.messages": [{ "role": "user", "parts": [{ "content": "canary-short" }] }],
            "input.value": "canary-short",
            "copied": TEXT,
        },
        "events": [
            { "name": "gen_ai.choice", "attributes": { "index": 3, "message": "canary-choice" } },
        ],
        "body": { "content": "canary-body", "role": "user" },
    }))
    .unwrap();
    let (body, commitments, texts) = seal(&protector(folder.path(), &full()), &mut entry);
    assert!(!body.contains("canary") && !body.contains("Y2FuYXJ5"), "{body}");
    assert!(body.contains(r#""rule":"payload_mode:full""#), "{body}");
    let places: Vec<_> = texts.iter().map(|it| (it.place.as_str(), it.original.as_str())).collect();
    let messages = r#"[{"role":"user","parts":[{"content":"canary-short"}]}]"#;
    let asked = format!("asked: {TEXT}");
    for wanted in [
        ("audit.payload[0]", TEXT),
        ("audit.payload[1]", "canary-answer"),
        ("event.reason", asked.as_str()),
        ("attributes.gen_ai.input.messages", messages),
        ("attributes.input.value", "canary-short"),
        ("events[0].attributes.message", "canary-choice"),
        ("body", r#"{"content":"canary-body","role":"user"}"#),
        ("audit.invalid_text[0].base64", "Y2FuYXJ5OiBwbGVhc2UgcmVmdW5k/w=="),
    ] {
        assert!(places.contains(&wanted), "{wanted:?} of {places:?}");
    }
    assert_eq!(texts.iter().filter(|it| it.original == TEXT).count(), 1, "{places:?}");
    assert!(commitments.iter().all(|it| it.salt == [0; 32]), "salts are sealed, too");
    assert!(texts.iter().all(|text| text.salt.is_some()), "who is given a text can check it");
}

#[tokio::test]
async fn who_is_given_the_originals_and_their_salts_checks_them_against_the_leaf_without_a_key() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    let leaf = LeafRecord::read(&bench.entry(0).as_ref().leaf_record()).unwrap();
    let stated = leaf.commitments.iter().find(|(kind, _)| *kind == ORIGINALS_KIND).unwrap().1;
    let list = |change: &dyn Fn(&mut String)| {
        let mut list = OriginalsList::default();
        for mut it in bench.open(0).unwrap() {
            change(&mut it.original);
            let mark = original_mark(&it.salt.unwrap(), &it.original);
            list.add(it.kind.map_or(0, commitment_kind), &it.place, &mark);
        }
        list.value()
    };
    assert_eq!(list(&|_| ()), stated);
    assert_ne!(list(&|text| text.push('.')), stated);
}

#[tokio::test]
async fn what_was_erased_cannot_be_read_and_its_bytes_are_checked_all_the_same() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    bench.erase(Some("alice")).await.unwrap();
    let entry = bench.entry(0);
    assert!(entry.as_ref().commitments.iter().any(|it| it.kind == SEALED_KIND));
    let Bench { folder, ledger, .. } = bench;
    ledger.close().await.unwrap();
    let dir = folder.path().join("ledger");
    let report = verify(&dir, |_| ()).unwrap();
    assert_eq!(report.problems, []);
    let segment = dir.join(format!("{:020}.segment", 0));
    for (sealed, expected) in
        [(&entry.sealed[1..], Mismatch::Sealed), (&[][..], Mismatch::SealedMissing)]
    {
        let mut frames = Frames::read(&segment);
        frames.set_sealed(0, sealed);
        frames.write();
        let problems = verify(&dir, |_| ()).unwrap().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let damage = Damage::Chain(expected);
        assert_eq!((problems[0].sequence, &problems[0].damage), (0, &damage));
    }
}

#[test]
fn the_text_after_redaction_is_sealed_beside_the_exact_one() {
    let folder = tempfile::tempdir().unwrap();
    let original = "the key is AKIAIOSFODNN7EXAMPLE";
    let mut entry = Entry::new(Kind::LlmCall);
    entry.audit.payload.push(payload(PayloadKind::Prompt, original));
    entry.audit.payload.push(payload(PayloadKind::Response, "nothing to hide"));
    let (_, _, texts) = seal(&protector(folder.path(), &full()), &mut entry);
    assert_eq!(texts[0].original, original);
    assert_eq!(texts[0].redacted.as_deref(), Some("the key is [REDACTED:aws_access_key_id]"));
    assert_eq!(texts[1].redacted, None);
}

#[test]
fn a_text_of_mode_hash_is_sealed_nowhere_also_within_one_of_mode_full() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        settings(json!({ "payloads": { "mode": "full", "kinds": { "reasoning": "hash" } } }));
    let secret = "a thought that nobody may see again";
    let mut entry = Entry::new(Kind::LlmCall);
    entry.audit.payload.push(payload(PayloadKind::Prompt, "a question"));
    entry.audit.payload.push(payload(PayloadKind::Reasoning, secret));
    entry.attributes.push("copied".into(), Json::Text(format!("so: {secret}").into()));
    entry.attributes.push("input.value".into(), Json::Text(format!("again: {secret}").into()));
    let (body, commitments, texts) = seal(&protector(folder.path(), &settings), &mut entry);
    assert!(!body.contains(secret), "{body}");
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(texts[0].original, "a question");
    assert_eq!(commitments[0].salt, [0; 32]);
    assert_ne!(commitments[1].salt, [0; 32]);
}

#[test]
fn other_modes_and_entries_without_payloads_seal_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let protector = protector(folder.path(), &full());
    let mut entry = Entry::new(Kind::Decision);
    entry.attributes.push("reason".into(), "because".into());
    assert_eq!(seal(&protector, &mut entry).2, []);
    for mode in ["hash", "redact"] {
        let settings = settings(json!({ "payloads": { "mode": mode } }));
        let mut entry = Entry::new(Kind::LlmCall);
        entry.audit.payload.push(payload(PayloadKind::Prompt, TEXT));
        let protector = Protector::new(&settings, Keys::from_root(&[7; 32])).unwrap();
        assert_eq!(seal(&protector, &mut entry).2, []);
    }
    assert!(!folder.path().join("keys/subjects").exists(), "and no key is made");
}

#[tokio::test]
async fn what_was_sent_opens_after_a_restart_and_is_proved_by_the_ledger() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    let bench = bench.restart().await;
    assert_eq!(bench.text(0), TEXT);
    let entry = bench.entry(0);
    let opened = bench.open(0).unwrap();
    let (salt, hash) = (opened[0].salt.unwrap(), opened[0].keyed_hash);
    let commitment = entry.as_ref().commitments.iter().next().unwrap();
    assert_eq!(Commitment::value_of(&salt, &hash), commitment.value);
    assert!(!String::from_utf8(entry.body).unwrap().contains("canary"));
}

#[tokio::test]
async fn erasing_a_subject_reaches_its_payloads_and_nobody_elses() {
    let bench = Bench::new();
    for (user, text) in [("alice", "hers"), ("bob", "his"), ("", "nobody's"), ("alice", "hers too")]
    {
        bench.send(user, text).await;
    }
    assert_eq!(bench.erase(Some("alice")).await.unwrap(), 1);
    assert!(bench.is_erased(0) && bench.is_erased(3));
    assert_eq!((bench.text(1), bench.text(2)), ("his".to_owned(), "nobody's".to_owned()));
    bench.send("alice", "hers again").await;
    assert_eq!(bench.text(5), "hers again");
    assert_eq!(bench.erase(None).await.unwrap(), 1);
    assert!(bench.is_erased(2));
    assert_eq!(bench.text(5), "hers again", "what belongs to nobody is not hers");
    let bench = bench.restart().await;
    assert!(bench.is_erased(0) && bench.is_erased(2));
    assert_eq!(bench.text(5), "hers again");
    assert_eq!(bench.erase(Some("carol")).await.unwrap(), 0, "nothing was ever sealed for her");
    let Bench { folder, ledger, .. } = bench;
    ledger.close().await.unwrap();
    let report = verify(&folder.path().join("ledger"), |_| ()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test]
async fn the_entry_says_who_erased_what_and_why_and_names_nobody() {
    let bench = Bench::new();
    bench.send("alice-1964", TEXT).await;
    bench.erase(Some("alice-1964")).await.unwrap();
    let entry = bench.entry(1);
    let body = String::from_utf8(entry.body).unwrap();
    assert!(!body.contains("alice-1964"), "{body}");
    let entry: Entry<'_> = serde_json::from_str(&body).unwrap();
    assert_eq!(entry.audit.kind, Kind::Erasure);
    assert_eq!(entry.audit.actor.id.as_deref(), Some("local"));
    assert_eq!(entry.user.name.as_deref(), Some("ada"), "his own word is a claim");
    assert_eq!(entry.audit.actor.source.as_deref(), Some("asserted"));
    assert_eq!(entry.event.reason.as_deref(), Some("request 17 of 2026"));
    assert_eq!(entry.audit.target.kind.as_deref(), Some("subject"));
    assert!(entry.message.unwrap().contains("1 key(s) destroyed"));
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_completed_and_on_record_once() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    let ErasureRequest { tenant, at_ns, by, reason, .. } = request(Some("alice"), 7);
    // The order is durable, and the process dies.
    let keys = bench.intake.protector().keys();
    let subject = keys.tenant(&tenant).subject(Some("alice"));
    keys.subjects().order(&tenant, subject, false, at_ns, by, reason).unwrap();
    assert!(bench.is_erased(0), "nobody opens it any more");
    let bench = bench.restart().await;
    assert!(bench.is_erased(0));
    assert_eq!(bench.ledger.reader().watermark(), 1);
    let mut orders = std::fs::read_dir(bench.folder.path().join("keys/subjects/orders")).unwrap();
    let path = orders.next().unwrap().unwrap().path();
    let cut_off = std::fs::read(&path).unwrap();
    assert_eq!(bench.intake.complete_erasures().await.unwrap(), 1);
    assert_eq!(bench.ledger.reader().watermark(), 2);
    // The process died between the entry and the end of the order.
    std::fs::write(&path, cut_off).unwrap();
    assert_eq!(bench.intake.complete_erasures().await.unwrap(), 1);
    assert_eq!(bench.intake.complete_erasures().await.unwrap(), 0);
    assert_eq!(bench.ledger.reader().watermark(), 2, "on record once");
    assert!(bench.is_erased(0));
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_keeps_the_order_and_destroys_nothing_unrecorded() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    bench.ledger.close().await.unwrap();
    let refused = bench.erase(Some("alice")).await.unwrap_err();
    assert!(matches!(refused, ErasureError::Record(_)), "{refused}");
    assert!(bench.is_erased(0), "it is ordered, so nobody opens it");
    let Bench { folder, ledger, intake, opener } = bench;
    drop((ledger, intake, opener));
    let bench = Bench::on(folder);
    assert_eq!(bench.intake.complete_erasures().await.unwrap(), 1);
    let body = String::from_utf8(bench.entry(1).body).unwrap();
    assert!(body.contains(r#""kind":"erasure""#), "{body}");
    assert!(bench.is_erased(0));
}

#[tokio::test]
async fn a_missing_key_is_said_to_be_missing_and_an_exchanged_text_to_be_exchanged() {
    let bench = Bench::new();
    bench.send("alice", TEXT).await;
    bench.send("alice", "another text").await;
    let mut swapped = bench.entry(0);
    let other = bench.entry(1);
    // Sealed bytes of another entry do not open beside this one.
    swapped.sealed = other.sealed.clone();
    let refused = bench.opener.open(&swapped.as_ref()).unwrap_err();
    assert!(matches!(refused, SealError::Bytes(_)), "{refused}");
    // What was taken out is not the same as nothing.
    let mut emptied = bench.entry(0);
    emptied.sealed.clear();
    let refused = bench.opener.open(&emptied.as_ref()).unwrap_err();
    assert!(matches!(refused, SealError::TakenOut), "{refused}");
    // Who has the key and seals another text meets the commitment.
    let mut forged = bench.entry(0);
    forged.id = other.id;
    forged.sealed = other.sealed;
    let refused = bench.opener.open(&forged.as_ref()).unwrap_err();
    assert!(matches!(refused, SealError::NotCommitted { .. }), "{refused}");
    std::fs::remove_dir_all(bench.folder.path().join("keys/subjects")).unwrap();
    let refused = bench.open(0).unwrap_err();
    assert!(matches!(refused, SealError::Missing { .. }), "{refused}");
    assert!(refused.to_string().contains("restore"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_comes_while_its_subject_is_erased_opens_or_is_erased_and_is_never_lost() {
    let bench = Arc::new(Bench::new());
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                for number in 0..20 {
                    bench.send("alice", &format!("text {number} of sender {sender}")).await;
                }
            })
        })
        .collect();
    for round in 0..40 {
        bench.intake.erase(request(Some("alice"), 7 + round)).await.unwrap();
    }
    for sender in senders {
        sender.await.unwrap();
    }
    bench.send("alice", "the last").await;
    let entries = bench.ledger.reader().watermark();
    let mut opened = 0;
    for sequence in 0..entries {
        match bench.open(sequence) {
            Ok(payloads) => opened += payloads.len(),
            Err(SealError::Erased { .. }) => {}
            Err(error) => panic!("entry {sequence}: {error}"),
        }
    }
    assert!(opened >= 1);
    assert_eq!(entries, 8 * 20 + 40 + 1);
    assert_eq!(bench.text(entries - 1), "the last");
}

#[tokio::test]
async fn without_room_for_a_key_nothing_is_acknowledged() {
    let bench = Bench::new();
    let subjects = bench.folder.path().join("keys/subjects");
    std::fs::write(&subjects, "in the way").unwrap();
    let refused = bench.try_send("alice", TEXT).await.unwrap_err();
    assert!(matches!(refused, IntakeError::Unavailable { .. }), "{refused}");
    assert!(!refused.to_string().contains("keys"), "paths are for the log: {refused}");
    assert_eq!(bench.ledger.reader().watermark(), 0);
    std::fs::remove_file(&subjects).unwrap();
    bench.send("alice", TEXT).await;
    assert_eq!(bench.text(0), TEXT);
}

/// `spanledger erase` on a data folder, killed at the `nth` call of that kind on a thread. Whether
/// it came to its end.
fn erased_with_a_kill(data: &Path, call: &str, nth: u32) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let trace = data.join("trace.txt");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-e"])
        .args([&format!("trace={call}"), "-e", &inject, env!("CARGO_BIN_EXE_spanledger")])
        .args(["erase", "--tenant", TENANT, "--subject", "alice", "--actor", "ada"])
        .args(["--reason", "request 17", "--data", data.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace starts; install it with: apt-get install strace");
    std::fs::remove_file(trace).unwrap();
    status.success()
}

/// The kinds of the entries.
fn kinds(bench: &Bench) -> Vec<Kind> {
    let bodies = (0..bench.ledger.reader().watermark()).map(|sequence| bench.entry(sequence).body);
    let kind = |body: Vec<u8>| serde_json::from_slice::<Entry<'_>>(&body).unwrap().audit.kind;
    bodies.map(kind).collect()
}

#[tokio::test]
async fn an_erasure_killed_at_any_call_is_not_begun_or_is_completed_and_on_record() {
    let (mut killed, mut completed) = (0, 0);
    for call in ["fsync", "fdatasync", "rename", "unlink"] {
        for nth in 1.. {
            let bench = Bench::new();
            bench.send("alice", TEXT).await;
            bench.send("bob", "his").await;
            let Bench { folder, ledger, intake, opener } = bench;
            ledger.close().await.unwrap();
            drop((ledger, intake, opener));
            if erased_with_a_kill(folder.path(), call, nth) {
                break;
            }
            killed += 1;
            let bench = Bench::on(folder);
            let begun = bench.is_erased(0);
            let on_record = kinds(&bench).contains(&Kind::Erasure);
            assert!(begun || !on_record, "{call} {nth}: on record and not erased");
            bench.intake.complete_erasures().await.unwrap();
            let recorded = kinds(&bench).iter().filter(|kind| **kind == Kind::Erasure).count();
            if begun {
                completed += 1;
                assert_eq!(recorded, 1, "{call} {nth}");
                assert!(bench.is_erased(0), "{call} {nth}");
            } else {
                assert_eq!((recorded, bench.text(0).as_str()), (0, TEXT), "{call} {nth}");
            }
            assert_eq!(bench.text(1), "his", "{call} {nth}");
        }
    }
    assert!(killed > 8 && completed > 3 && completed < killed, "{killed} kills, {completed} begun");
}
