//! `spanledger verify` as somebody runs it: verdicts, exit codes, keys and checkpoints from elsewhere.

mod evidence_support;

use clap::Parser as _;
use evidence_support::{Small, segments};
use serde_json::Value;
use spanledger::cli::{Cli, Command, CommandError, Exit, verify};
use spanledger::evidence::hex;
use spanledger::ledger::checkpoint::LogKey;
use std::path::Path;

fn run(line: &[&str]) -> (Result<Exit, CommandError>, String) {
    let line = [&["spanledger", "verify"], line].concat();
    let Command::Verify(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
    let mut out = Vec::new();
    (verify(&args, &mut out), String::from_utf8(out).unwrap())
}

fn folder(data: &Path, more: &[&str]) -> (Exit, String) {
    let (end, text) = run(&[&["--data", data.to_str().unwrap()], more].concat());
    (end.unwrap(), text)
}

#[tokio::test]
async fn a_key_of_ones_own_says_more_than_the_one_beside_the_log() {
    let small = Small::of(6).await;
    let (data, key) = (small.dir.path(), small.verifier().to_string());
    let (end, text) = folder(data, &[]);
    assert_eq!(end, Exit::Fine);
    assert!(text.starts_with("ok: ") && text.contains("from the same machine"), "{text}");
    let (end, text) = folder(data, &["--key", &key, "--strict"]);
    assert_eq!(end, Exit::Fine);
    assert!(text.starts_with("ok: ") && !text.contains("same machine"), "{text}");
    let file = data.join("operator.vkey");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    assert_eq!(folder(data, &["--key", file.to_str().unwrap()]).0, Exit::Fine);

    let other = LogKey::generate(small.verifier().name()).unwrap().verifier().to_string();
    let (end, text) = folder(data, &["--key", &other]);
    assert_eq!(end, Exit::Tampered);
    assert!(text.contains("unknown_key: log/checkpoint"), "{text}");
    let (end, _) = run(&["--data", data.to_str().unwrap(), "--key", "no key"]);
    assert!(matches!(end, Err(CommandError::Trust(_))));
}

#[tokio::test]
async fn a_checkpoint_that_was_kept_elsewhere_finds_what_the_log_itself_does_not_show() {
    let small = Small::of(6).await;
    let kept = small.dir.path().join("kept");
    std::fs::copy(small.log().join("checkpoint"), &kept).unwrap();
    let kept = kept.to_str().unwrap();
    let end = folder(small.dir.path(), &["--checkpoint", kept]).0;
    assert_eq!(end, Exit::Fine);
    // The same log, written anew with one entry less, and signed by its own key.
    let shorter = Small::of(5).await;
    let (end, text) = folder(shorter.dir.path(), &["--checkpoint", kept]);
    assert_eq!(end, Exit::Tampered);
    assert!(text.contains("wrong_origin") || text.contains("rollback"), "{text}");
}

#[tokio::test]
async fn a_program_reads_verdict_and_findings() {
    let small = Small::of(6).await;
    let data = small.dir.path();
    let json = |more: &[&str]| -> Value {
        serde_json::from_str(&folder(data, &[&["--json"], more].concat()).1).unwrap()
    };
    let report = json(&[]);
    assert_eq!((&report["verdict"], &report["ok"]), (&"ok".into(), &true.into()));
    assert_eq!(report["checkpoint"]["size"], 6);
    assert_eq!(report["checkpoint"]["key_from_the_same_machine"], true);
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);

    let segment = &segments(data)[0];
    let mut bytes = std::fs::read(segment).unwrap();
    let at = bytes.windows(8).position(|window| window == b"too much").unwrap();
    bytes[at..at + 8].copy_from_slice(b"too nice");
    std::fs::write(segment, bytes).unwrap();
    let report = json(&[]);
    assert_eq!((&report["verdict"], &report["ok"]), (&"compromised".into(), &false.into()));
    let finding = &report["findings"][0];
    assert_eq!((&finding["code"], &finding["sequence"]), (&"hash_mismatch".into(), &1.into()));
    let file = segment.file_name().unwrap().to_str().unwrap();
    assert_eq!(finding["file"], file);
    assert!(finding["offset"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_bundle_is_checked_also_where_the_environment_names_a_data_folder() {
    let small = Small::of(6).await;
    let file = small.dir.path().join("b.zip");
    std::fs::write(&file, small.bundle()).unwrap();
    let key = small.verifier().to_string();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_spanledger"))
        .args(["verify", "--key", &key, "--bundle"])
        .arg(&file)
        .env("SPANLEDGER_DATA", small.dir.path())
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(text.contains("the bundle says: tenant acme, asked run-1"), "{text}");
}

#[test]
fn comparing_the_copy_refuses_what_would_check_the_ledger() {
    let given = [
        "--key=k",
        "--keys=k",
        "--checkpoint=c",
        "--witness=w",
        &format!("--expect=3:{}", "a".repeat(64)),
    ];
    for flag in given {
        let line = ["spanledger", "verify", "--elasticsearch", "http://localhost:9200", flag];
        let refused = Cli::try_parse_from(line).unwrap_err();
        assert_eq!(refused.exit_code(), 2, "{flag}");
        assert!(refused.to_string().contains("--elasticsearch"), "{flag}: {refused}");
    }
}

#[tokio::test]
async fn a_bundle_and_a_proof_that_no_witness_signed_say_so() {
    let small = Small::of(6).await;
    let file = |name: &str| small.dir.path().join(name).to_str().unwrap().to_owned();
    let (bundle, proof, key) = (file("b.zip"), file("p.json"), small.verifier().to_string());
    std::fs::write(&bundle, small.bundle()).unwrap();
    let note = std::fs::read_to_string(small.log().join("checkpoint")).unwrap();
    let root = hex(&small.reader().head().root);
    let same = serde_json::json!({"old": 6, "old_root": root, "new": 6, "new_root": root,
        "proof": [], "checkpoint": note});
    std::fs::write(&proof, same.to_string()).unwrap();
    let witness = "w.example/w+9a336fe5+BFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZm";
    for checked in [["--bundle", &bundle], ["--proof", &proof]] {
        let known = ["--key", &key, "--strict"];
        let (end, text) = run(&[&checked[..], &known].concat());
        assert_eq!(end.unwrap(), Exit::Fine, "{checked:?}: {text}");
        let asked = ["--witness", witness, "--quorum", "1"];
        let (end, text) = run(&[&checked[..], &known, &asked].concat());
        assert_eq!(end.unwrap(), Exit::Tampered, "{checked:?}: {text}");
        assert!(text.contains("unwitnessed: 0 of the 1 witnesses"), "{checked:?}: {text}");
    }
}

#[tokio::test]
async fn a_bundle_is_checked_and_its_report_drawn_anew_without_anything_else() {
    let small = Small::of(6).await;
    let (file, page) = (small.dir.path().join("b.zip"), small.dir.path().join("r.html"));
    std::fs::write(&file, small.bundle()).unwrap();
    let (file, key) = (file.to_str().unwrap(), small.verifier().to_string());
    let (end, text) = run(&["--bundle", file, "--key", &key, "--report", page.to_str().unwrap()]);
    assert_eq!(end.unwrap(), Exit::Fine);
    assert!(text.starts_with("ok: ") && text.contains("tree of 6 entries"), "{text}");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    // A page that is there is not replaced, which is told at once.
    let (end, text) = run(&["--bundle", file, "--key", &key, "--report", page.to_str().unwrap()]);
    assert!(end.is_err() && text.is_empty(), "{text}");
    // Of what is false none is drawn.
    let (other, page) = (small.dir.path().join("o.zip"), small.dir.path().join("o.html"));
    let mut bytes = small.bundle();
    let at = bytes.windows(8).position(|window| window == b"too much").unwrap();
    bytes[at..at + 8].copy_from_slice(b"too nice");
    std::fs::write(&other, bytes).unwrap();
    let line = ["--bundle", other.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let (end, text) = run(&line);
    assert!(end.unwrap() == Exit::Tampered && text.contains("no report was drawn"), "{text}");
    assert!(!page.exists());
    let kept = small.log().join("checkpoint");
    let (end, _) =
        run(&["--bundle", file, "--key", &key, "--checkpoint", kept.to_str().unwrap(), "--strict"]);
    assert_eq!(end.unwrap(), Exit::Fine);
    let (end, text) = run(&["--bundle", file, "--strict"]);
    assert_eq!(end.unwrap(), Exit::Tampered, "{text}");
    assert!(text.contains("unknown_key"), "{text}");
    assert!(run(&["--bundle", "/nowhere"]).0.is_err());
}
