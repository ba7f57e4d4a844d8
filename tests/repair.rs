//! Repair, with the built binary: what is kept, what goes, what tells it, and that nothing is lost
//! on the way.
#![cfg(feature = "server")]

mod support;

use assert_cmd::Command;
use spanledger::access::Tenant;
use spanledger::config::{Config, Overrides};
use spanledger::convert::Mappings;
use spanledger::evidence::{self, Code, FolderReport, KeySource, Trust, Verdict};
use spanledger::ledger::checkpoint::{LogKey, SignedCheckpoint};
use spanledger::ledger::{
    Batch, Commitment, EntryId, Ledger, NewEntry, PublicLog, Reader, StoredEntry, TreeHead,
    verify_against,
};
use spanledger::pipeline::{Opened, ledger_dir, log_dir};
use spanledger::protect::Keys;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use support::files::copy_folder;

const ENTRIES: u64 = 4_000;
const CONFIG: &str = "ledger: {segment: 1MiB, compress: false}\nretention: {prune: false}\n";

fn config(data: &Path) -> Config {
    let file = data.with_extension("yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let overrides = Overrides { data: Some(data.to_owned()), ..Overrides::default() };
    Config::load(Some(&file), &overrides).unwrap()
}

/// A data folder with several segments, all of it signed.
struct Folder {
    _files: tempfile::TempDir,
    data: PathBuf,
    head: TreeHead,
    entries: Vec<StoredEntry>,
    signed: SignedCheckpoint,
}

async fn folder(pack: bool) -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = config(&data);
    let keys = Keys::open_or_create(&config.keys).unwrap();
    let pseudonym = keys.tenant(&Tenant::default()).pseudonym();
    let (ledger, _) = Ledger::open(&ledger_dir(&data), config.ledger.clone()).unwrap();
    for group in 0..ENTRIES / 50 {
        let mut batch = Batch::new();
        for n in group * 50..(group + 1) * 50 {
            let text = "x".repeat(700);
            let body = format!(
                r#"{{"schema_version":1,"message":"entry {n} {text}","event":{{}},"audit":{{"kind":"span"}}}}"#
            );
            let new = NewEntry {
                id: EntryId(u128::from(n + 1).to_be_bytes()),
                tenant: "default",
                tenant_pseudonym: pseudonym,
                retention_class: 0,
                received_ns: 1_700_000_000_000_000_000 + n,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[Commitment { kind: 1, value: [1; 32], salt: [2; 32] }],
                sealed: &[],
                body: body.as_bytes(),
            };
            batch.push(&new).unwrap();
        }
        ledger.append(batch).await.unwrap();
    }
    let upkeep = ledger.upkeep();
    for first in upkeep.unpacked(SystemTime::now()).into_iter().filter(|_| pack) {
        upkeep.pack(first, &mut || true).unwrap();
    }
    ledger.close().await.unwrap();
    let (head, signed) = run(&data).await;
    let entries = entries(&data);
    Folder { _files: folder, data, head, entries, signed }
}

/// Starts and stops everything on that folder: what is there is signed then.
async fn run(data: &Path) -> (TreeHead, SignedCheckpoint) {
    let config = config(data);
    let opened = Opened::open(&config, Mappings::builtin().unwrap()).unwrap();
    let pipeline = opened.start(&config).unwrap();
    let reader = pipeline.ledger().reader();
    pipeline.stop().await.unwrap();
    let signed = PublicLog::open(&log_dir(data)).checkpoint().unwrap().unwrap();
    assert_eq!(signed.checkpoint.head, reader.head());
    (reader.head(), signed)
}

fn entries(data: &Path) -> Vec<StoredEntry> {
    let reader = Reader::open(&ledger_dir(data)).unwrap();
    (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect()
}

/// The files of a ledger with these endings, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = dir.read_dir().unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "segment" || it == "packed"))
        .collect();
    files.sort();
    files
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    segments(dir).iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

/// Changes a byte of the file where that text is, or that far behind it.
fn damage(file: &Path, text: &[u8], behind: usize) {
    let bytes = std::fs::read(file).unwrap();
    let at = memchr::memmem::find(&bytes, text).unwrap() + behind;
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(&[bytes[at] ^ 0xFF], at as u64).unwrap();
}

/// Runs the command; gives its exit code and what it printed.
fn repair(data: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("spanledger").unwrap();
    let config = data.with_extension("yaml");
    let done = command.arg("repair").arg("--data").arg(data).arg("--config").arg(config);
    let output = done.args(more).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

const CONFIRM: [&str; 3] = ["--confirm", "--reason", "disk sda died"];

/// The entry about the repair: the last one of the ledger after it.
fn told(data: &Path) -> serde_json::Value {
    let all = entries(data);
    let bodies = all.iter().rev().filter(|entry| !entry.pruned);
    bodies
        .map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.body).unwrap())
        .find(|body| body["audit"]["kind"] == "repair")
        .unwrap()
}

fn aside(data: &Path, start: &str) -> Vec<PathBuf> {
    let files = data.read_dir().unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).collect()
}

fn is_ok(data: &Path, heads: &[TreeHead]) {
    let report = verify_against(&ledger_dir(data), heads, None, |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}

/// What `verify` says of the folder.
fn check(data: &Path) -> FolderReport {
    let log = PublicLog::open(&log_dir(data));
    let trust = Trust { keys: log.keys().unwrap(), from: KeySource::Beside };
    let ledger = &ledger_dir(data);
    let folder =
        evidence::Folder { ledger, log, trust, kept: &[], expected: &[], pseudonyms: None };
    folder.verify(&mut |_| {}, |_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_ledger_is_left_alone() {
    let it = folder(true).await;
    let before = contents(&ledger_dir(&it.data));
    let (code, said) = repair(&it.data, &CONFIRM);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("nothing to repair"), "{said}");
    assert_eq!(contents(&ledger_dir(&it.data)), before);
    let nowhere = it.data.with_file_name("nowhere");
    config(&nowhere);
    let (code, said) = repair(&nowhere, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no ledger"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_body_goes_and_the_log_stays_the_same_log() {
    let it = folder(false).await;
    let dir = ledger_dir(&it.data);
    let before = check(&it.data);
    assert_eq!(before.verdict(), Verdict::Ok, "{:?}", before.findings);
    damage(&segments(&dir)[1], b"entry 1500 ", 20);
    let damaged = contents(&dir);
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("1 bodies are damaged") && said.contains("entries 1500"), "{said}");
    assert!(said.contains("nothing was changed") && !said.contains("another log"), "{said}");
    assert_eq!(contents(&dir), damaged);

    let (code, said) = repair(&it.data, &CONFIRM);
    assert_eq!(code, 0, "{said}");
    let now = entries(&it.data);
    assert!(now[1500].pruned && now[1500].body.is_empty());
    let salt = now[1500].as_ref().commitments.iter().next().unwrap().salt;
    assert_eq!(salt, [2; 32], "what was committed to elsewhere can still be shown");
    for (old, new) in it.entries.iter().zip(&now).filter(|(old, _)| old.sequence != 1500) {
        assert_eq!(old, new);
    }
    let told = told(&it.data);
    assert_eq!(told["event"]["reason"], "disk sda died");
    assert_eq!(told["attributes"]["spanledger.repair.sequences"], "1500");
    assert!(told["audit"]["actor"]["id"].as_str().unwrap().starts_with("os:"));
    is_ok(&it.data, &[it.head]);
    assert_eq!(contents(&aside(&it.data, "ledger.damaged-")[0]), damaged);
    let report = check(&it.data);
    assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings);
    assert!(report.findings.has(Code::Repaired) && report.findings.has(Code::Unsigned));
    // The same log is signed with the same key.
    let (head, signed) = run(&it.data).await;
    assert_eq!(signed.checkpoint.origin, it.signed.checkpoint.origin);
    assert_eq!(signed.signers(), it.signed.signers());
    is_ok(&it.data, &[it.head, head]);
    let report = check(&it.data);
    assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings);
    let codes: Vec<_> = report.findings.listed().iter().map(|it| it.code).collect();
    assert_eq!(codes, [Code::Repaired], "the body that was lost is on record");
}

/// Repairs a folder whose log has to end early, and checks what became of it.
async fn ends_early(it: &Folder, damage: &str) -> usize {
    let dir = ledger_dir(&it.data);
    let damaged = contents(&dir);
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(damage) && said.contains("another log"), "{said}");
    assert_eq!(contents(&dir), damaged);
    let (code, said) = repair(&it.data, &CONFIRM);
    assert_eq!(code, 0, "{damage}: {said}");
    assert_eq!(contents(&aside(&it.data, "ledger.damaged-")[0]), damaged);
    assert_eq!(aside(&it.data, "log.").len(), 1, "the old public log is kept");
    let told = told(&it.data);
    let kept = usize::try_from(told["attributes"]["spanledger.repair.kept"].as_u64().unwrap());
    let kept = kept.unwrap();
    let old = it.signed.checkpoint.origin.rsplit('/').next().unwrap();
    assert_eq!(told["attributes"]["spanledger.repair.old_origin"], old);

    // It goes on as another log, with another key; what it has of the old one is as it was.
    let (head, signed) = run(&it.data).await;
    assert_ne!(signed.checkpoint.origin, it.signed.checkpoint.origin);
    assert_ne!(signed.signers(), it.signed.signers());
    assert!(signed.verify(&PublicLog::open(&log_dir(&it.data)).keys().unwrap()).is_ok());
    assert_eq!(entries(&it.data)[..kept], it.entries[..kept]);
    is_ok(&it.data, &[head]);
    // And nothing is left to do.
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 0, "{said}");
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_head_ends_the_log_with_the_group_before_it() {
    let it = folder(false).await;
    let segment = segments(&ledger_dir(&it.data))[1].clone();
    let id = u128::from(1_501_u32).to_be_bytes();
    damage(&segment, &id, 3);
    assert_eq!(ends_early(&it, "checksum").await, 1_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_of_a_packed_segment_ends_the_log_there() {
    let it = folder(true).await;
    let packed = segments(&ledger_dir(&it.data))[1].clone();
    let length = usize::try_from(packed.metadata().unwrap().len()).unwrap();
    let bytes = std::fs::read(&packed).unwrap();
    let file = std::fs::File::options().write(true).open(&packed).unwrap();
    file.write_all_at(&[bytes[length / 2] ^ 1], length as u64 / 2).unwrap();
    let kept = ends_early(&it, "packed").await;
    assert!(kept > 1_000 && kept < 3_000, "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_ends_the_log_before_it() {
    for (pack, which) in [(false, 2), (true, 2), (true, 3)] {
        let it = folder(pack).await;
        let all = segments(&ledger_dir(&it.data));
        std::fs::remove_file(&all[which]).unwrap();
        let first: usize = all[which].file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(ends_early(&it, "missing").await, first, "segment {which} of {}", all.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_set_back_below_its_checkpoint_is_refused_and_goes_on_as_another_one() {
    let it = folder(false).await;
    let dir = ledger_dir(&it.data);
    // Whole groups go: nothing in the ledger itself is damaged.
    let last = segments(&dir).pop().unwrap();
    let first: usize = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let file = std::fs::File::options().write(true).open(&last).unwrap();
    file.set_len(116).unwrap();
    drop(file);
    let refused = Opened::open(&config(&it.data), Mappings::builtin().unwrap());
    assert!(refused.is_err());
    assert_eq!(ends_early(&it, "a checkpoint was signed").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_was_interrupted_is_finished_by_the_next_one() {
    let it = folder(false).await;
    let segment = segments(&ledger_dir(&it.data))[1].clone();
    damage(&segment, &u128::from(1_501_u32).to_be_bytes(), 3);
    // Before the exchange: a part of the new ledger is there.
    let unfinished = it.data.join("ledger.repairing");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("00000000000000000000.segment"), b"a part").unwrap();
    let (code, said) = repair(&it.data, &CONFIRM);
    assert_eq!(code, 0, "{said}");
    assert_eq!(aside(&it.data, "ledger.unfinished-repair-").len(), 1);
    // After it, and before what is of the old log was put aside.
    let old = it.signed.checkpoint.origin.rsplit('/').next().unwrap();
    std::fs::rename(it.data.join(format!("log.{old}")), log_dir(&it.data)).unwrap();
    for name in ["log.key", "log.pub"] {
        let keys = it.data.join("keys");
        std::fs::rename(keys.join(format!("{name}.{old}")), keys.join(name)).unwrap();
    }
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("put aside"), "{said}");
    let (_, signed) = run(&it.data).await;
    assert_ne!(signed.checkpoint.origin, it.signed.checkpoint.origin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_data_and_keys_from_one_backup_goes_on_as_another_log_when_somebody_says_so() {
    let it = folder(true).await;
    let backup = it.data.with_file_name("backup");
    copy_folder(&it.data, &backup);
    // The log goes on after the backup, and somebody keeps what it signed.
    let (ledger, _) = Ledger::open(&ledger_dir(&it.data), config(&it.data).ledger).unwrap();
    let mut batch = Batch::new();
    let last = it.entries.last().unwrap();
    batch.push(&NewEntry { id: EntryId([7; 16]), ..new_like(last) }).unwrap();
    ledger.append(batch).await.unwrap();
    ledger.close().await.unwrap();
    let (newer, kept) = run(&it.data).await;
    assert!(newer.size > it.head.size);

    std::fs::remove_dir_all(&it.data).unwrap();
    copy_folder(&backup, &it.data);
    assert_eq!(check(&it.data).verdict(), Verdict::Ok, "nothing in it shows what is lost");
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = repair(&it.data, &["--restored"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("restored from a backup") && said.contains("another log"), "{said}");
    assert_eq!(entries(&it.data), it.entries, "nothing was changed");
    let (code, said) = repair(&it.data, &[&["--restored"], &CONFIRM[..]].concat());
    assert_eq!(code, 0, "{said}");

    let told = told(&it.data);
    assert_eq!(told["attributes"]["spanledger.repair.restored"], it.head.size);
    assert!(told["message"].as_str().unwrap().contains("restored from a backup"), "{told}");
    assert!(told["audit"]["actor"]["id"].as_str().unwrap().starts_with("os:"));
    assert_eq!(told["event"]["reason"], CONFIRM[2]);
    let (head, signed) = run(&it.data).await;
    assert_ne!(signed.checkpoint.origin, it.signed.checkpoint.origin);
    assert_ne!(signed.signers(), it.signed.signers());
    let now = entries(&it.data);
    assert_eq!(now[..it.entries.len()], it.entries);
    is_ok(&it.data, &[it.head, head]);
    let report = check(&it.data);
    assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings);
    assert!(report.findings.has(Code::Repaired));
    // Whoever has a checkpoint of the old log sees that this one is another.
    let log = PublicLog::open(&log_dir(&it.data));
    let trust = Trust { keys: log.keys().unwrap(), from: KeySource::Beside };
    let kept = [evidence::Kept { name: "kept".into(), signed: kept }];
    let ledger = &ledger_dir(&it.data);
    let folder =
        evidence::Folder { ledger, log, trust, kept: &kept, expected: &[], pseudonyms: None };
    let report = folder.verify(&mut |_| {}, |_| {}).unwrap();
    assert!(report.findings.has(Code::WrongOrigin), "{:?}", report.findings);
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_aside_before_is_not_overwritten_and_a_key_goes_under_its_own_name() {
    let it = folder(false).await;
    let keys = it.data.join("keys");
    let old = it.signed.checkpoint.origin.rsplit('/').next().unwrap();
    // The key is that of a third log, whose key was put aside already; and so was this public log.
    let third = "ab".repeat(16);
    let key = LogKey::generate(&format!("spanledger/{third}")).unwrap();
    let key = format!("{}\n", key.to_private_text());
    std::fs::write(keys.join("log.key"), &key).unwrap();
    std::fs::write(keys.join(format!("log.key.{third}")), "precious").unwrap();
    let log = it.data.join(format!("log.{old}"));
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("checkpoint"), "precious too").unwrap();
    let (code, said) = repair(&it.data, &[&["--restored"], &CONFIRM[..]].concat());
    assert_eq!(code, 0, "{said}");
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(keys.join(format!("log.key.{third}"))), "precious");
    assert_eq!(read(log.join("checkpoint")), "precious too");
    let beside = aside(&keys, &format!("log.key.{third}."));
    assert_eq!(beside.len(), 1, "{said}");
    assert_eq!(read(beside[0].clone()), key);
    assert_eq!(aside(&it.data, &format!("log.{old}.")).len(), 1);
    assert!(!log_dir(&it.data).exists() && !keys.join("log.key").exists());
    let (code, said) = repair(&it.data, &[]);
    assert_eq!(code, 0, "{said}");
    run(&it.data).await;
}

/// An entry that is to be appended, like one that is there.
fn new_like(entry: &StoredEntry) -> NewEntry<'_> {
    NewEntry {
        id: entry.id,
        tenant: &entry.tenant,
        tenant_pseudonym: entry.tenant_pseudonym,
        retention_class: entry.retention_class,
        received_ns: entry.received_ns,
        mapping_version: entry.mapping_version,
        source_key: None,
        commitments: &[],
        sealed: &[],
        body: &entry.body,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_repaired_under_a_running_server() {
    let it = folder(false).await;
    let config = config(&it.data);
    let opened = Opened::open(&config, Mappings::builtin().unwrap()).unwrap();
    let (code, said) = repair(&it.data, &CONFIRM);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("in use"), "{said}");
    drop(opened);
}
