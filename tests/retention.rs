//! Retention in a whole data folder: what goes when its time is over, what stays, and what tells it.
#![cfg(feature = "server")]

mod support;

use assert_cmd::Command;
use spanledger::access::Tenant;
use spanledger::config::{Config, Overrides};
use spanledger::convert::Mappings;
use spanledger::entry::{Entry, Kind};
use spanledger::evidence::{Code, Folder, FolderReport, KeySource, Trust, Verdict};
use spanledger::ledger::checkpoint::{Checkpoint, LogKey};
use spanledger::ledger::{
    Batch, Due, EntryId, EntryRef, Expiry, Ledger, NewEntry, Options, PublicLog, Reader,
    StoredEntry, verify, verify_against,
};
use spanledger::pipeline::{Holds, Opened, Pipeline, ledger_dir, ledger_name, log_dir};
use spanledger::protect::Keys;
use spanledger::store::query::Query;
use spanledger::store::{QueryRequest, TraceRequest};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::server::{DEADLINE, Server, look_until, wait_until};

const ENTRIES: u64 = 6_000;

/// Received in 2020: older than every finite class.
const OLD_NS: u64 = 1_600_000_000_000_000_000;

/// Segments of 1 MiB, looked at every second, packed at once.
const CONFIG: &str = "ledger: {segment: 1MiB, compress_after: 1ms}\nretention: {every: 1s}\n";

fn config(data: &Path, text: &str) -> Config {
    let file = data.with_extension("yaml");
    std::fs::write(&file, text).unwrap();
    let overrides = Overrides { data: Some(data.to_owned()), ..Overrides::default() };
    Config::load(Some(&file), &overrides).unwrap()
}

/// Whose entry it is, its class, and the run that it belongs to.
fn facts(n: u64) -> (&'static str, u8, String) {
    let tenant = if n.is_multiple_of(3) { "held" } else { "default" };
    let class = if n % 10 == 1 { 255 } else { 0 };
    (tenant, class, format!("run-{}", n / 100))
}

/// A data folder with old entries, of which a checkpoint covers some.
async fn old_data(data: &Path, signed: u64) {
    old_data_of(data, signed, |_| OLD_NS).await;
}

/// The same with entries that were received at other times, and a number of nanoseconds later.
async fn old_data_of(data: &Path, signed: u64, received_ns: impl Fn(u64) -> u64) {
    let config = config(data, CONFIG);
    let keys = Keys::open_or_create(&config.keys).unwrap();
    let (ledger, _) = Ledger::open(&ledger_dir(data), config.ledger.clone()).unwrap();
    for group in 0..ENTRIES / 100 {
        let mut batch = Batch::new();
        for n in group * 100..(group + 1) * 100 {
            let (tenant, retention_class, run) = facts(n);
            let of = keys.tenant(&Tenant::new(tenant).unwrap());
            let mut entry = Entry::new(Kind::ToolCall);
            entry.message = Some(format!("canary {n} {}", "x".repeat(700)).into());
            entry.add_trace_id(run.into());
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            let new = NewEntry {
                id: EntryId(u128::from(n + 1).to_be_bytes()),
                tenant,
                tenant_pseudonym: of.pseudonym(),
                retention_class,
                received_ns: received_ns(n) + n,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: &body,
            };
            batch.push(&new).unwrap();
        }
        ledger.append(batch).await.unwrap();
        if (group + 1) * 100 == signed {
            sign(data, &ledger.reader());
        }
    }
    ledger.append(recent(&keys)).await.unwrap();
    ledger.close().await.unwrap();
}

/// An entry of now: without one the clock would be too far behind the newest entry to be believed.
fn recent(keys: &Keys) -> Batch {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut batch = Batch::new();
    let new = NewEntry {
        id: EntryId([0xEE; 16]),
        tenant: "held",
        tenant_pseudonym: keys.tenant(&Tenant::new("held").unwrap()).pseudonym(),
        retention_class: 255,
        received_ns: u64::try_from(now.as_nanos()).unwrap(),
        mapping_version: [0; 8],
        source_key: None,
        commitments: &[],
        sealed: &[],
        body: br#"{"schema_version":1,"message":"recent","event":{},"audit":{"kind":"span"}}"#,
    };
    batch.push(&new).unwrap();
    batch
}

/// What the publisher would leave.
fn sign(data: &Path, reader: &Reader) {
    let origin = ledger_name(reader.origin());
    let key = LogKey::generate(&origin).unwrap();
    let signed = key.sign(&Checkpoint { origin, head: reader.head() }).unwrap();
    std::fs::create_dir_all(data.join("log")).unwrap();
    std::fs::write(data.join("log/checkpoint"), signed.note).unwrap();
}

fn start(data: &Path, text: &str) -> Pipeline {
    let config = config(data, text);
    let opened = Opened::open(&config, Mappings::builtin().unwrap()).unwrap();
    opened.start(&config).unwrap()
}

/// Names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let files =
        dir.read_dir().unwrap().filter_map(|file| file.unwrap().file_name().into_string().ok());
    files.collect()
}

/// Files whose names end so.
fn files(dir: &Path, ending: &str) -> usize {
    names(dir).iter().filter(|name| name.ends_with(ending)).count()
}

/// The first entry of each segment, in order.
fn firsts(dir: &Path) -> Vec<u64> {
    let names = names(dir);
    let segments =
        names.iter().filter(|name| name.ends_with(".packed") || name.ends_with(".segment"));
    let mut firsts: Vec<u64> = segments.map(|name| name[..20].parse().unwrap()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    firsts
}

fn entries(reader: &Reader) -> Vec<StoredEntry> {
    (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect()
}

fn json(entry: &EntryRef<'_>) -> serde_json::Value {
    serde_json::from_slice(entry.body).unwrap()
}

/// Entries of ours of that kind.
fn told(all: &[StoredEntry], kind: &str) -> Vec<serde_json::Value> {
    let own = all.iter().filter(|entry| entry.tenant == "_spanledger" && !entry.pruned);
    own.map(|entry| json(&entry.as_ref())).filter(|body| body["audit"]["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_whose_time_is_over_go_and_an_entry_tells_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let signed = 5_000;
    old_data(&data, signed).await;
    let command = |words: &[&str]| {
        let mut program = Command::cargo_bin("spanledger").unwrap();
        let done = program.arg("hold").args(words).arg("--data").arg(&data).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    };
    let all = command(&["add", "--tenant", "held", "--all", "--reason", "case 7"]);
    let one = command(&["add", "--trace", "run-3", "--reason", "case 8"]);
    assert!(command(&["list"]).contains("run-3 of tenant default"));

    let pipeline = start(&data, CONFIG);
    let reader = pipeline.ledger().reader();
    let status = pipeline.upkeep().clone();
    wait_until("something is pruned", || status.pruned.load(Ordering::Relaxed) > 0).await;
    let limit =
        firsts(&ledger_dir(&data)).into_iter().filter(|first| *first <= signed).max().unwrap();
    assert!(limit > 1_000, "{limit}");
    let goes = |n: u64, held: bool| {
        let (tenant, class, run) = facts(n);
        n < limit && class == 0 && !(held && (tenant == "held" || run == "run-3"))
    };
    let expected = (0..ENTRIES).filter(|n| goes(*n, true)).count() as u64;
    wait_until("all that is due is pruned", || status.pruned.load(Ordering::Relaxed) >= expected)
        .await;
    let now = entries(&reader);
    for entry in &now[..usize::try_from(ENTRIES).unwrap()] {
        assert_eq!(entry.pruned, goes(entry.sequence, true), "entry {}", entry.sequence);
    }

    let prunes = told(&now, "prune");
    let counted = prunes.iter().map(|body| body["attributes"]["spanledger.prune.entries"].as_u64());
    assert_eq!(counted.sum::<Option<u64>>(), Some(expected));
    for body in &prunes {
        assert_eq!(body["audit"]["actor"]["id"], "spanledger:retention");
        assert_eq!(body["event"]["reason"], "kept for 184 days");
    }
    let holds: Vec<_> = now
        .iter()
        .filter(|entry| !entry.pruned && entry.received_ns > OLD_NS + ENTRIES)
        .map(|entry| json(&entry.as_ref()))
        .filter(|body| body["event"]["action"] == "hold.added")
        .collect();
    assert_eq!(holds.len(), 2);
    assert!(
        holds.iter().all(|body| body["audit"]["actor"]["id"].as_str().unwrap().starts_with("os:"))
    );

    // What is left is found; what went is not, and its entry says so.
    let store = pipeline.store();
    let query = |text: &str| QueryRequest {
        limit: 10_000,
        ..QueryRequest::new(Tenant::default(), Query::parse(text).unwrap())
    };
    let kept = (0..ENTRIES).filter(|n| facts(*n).0 == "default" && !goes(*n, true)).count();
    assert_eq!(store.query(&query("kind:tool_call")).unwrap().hits.len(), kept);
    let run = store.trace(&TraceRequest::new(Tenant::default(), "run-3")).unwrap();
    assert_eq!(run.total, (300..400).filter(|n| facts(*n).0 == "default").count());

    // What is released goes at the next look.
    for line in [&all, &one] {
        command(&["release", line.split_whitespace().next().unwrap(), "--reason", "closed"]);
    }
    let expected = (0..ENTRIES).filter(|n| goes(*n, false)).count() as u64;
    wait_until("what was held goes too", || status.pruned.load(Ordering::Relaxed) >= expected)
        .await;
    assert_eq!(status.trouble(), None);
    assert!(status.freed_bytes.load(Ordering::Relaxed) > 2_000_000);
    pipeline.stop().await.unwrap();
    assert!(command(&["list"]).contains("nothing is held"));
    let report = verify(&ledger_dir(&data), |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.pruned, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_segments_are_rewritten_lose_nothing_and_leave_nothing_undone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dir = ledger_dir(&data);
    // Signed by the server itself, when it comes to it.
    old_data(&data, u64::MAX).await;
    let file = data.with_extension("yaml");
    let before = entries(&Reader::open(&dir).unwrap());
    let head = Reader::open(&dir).unwrap().head();
    for round in 0..10 {
        let mut server = Server::start_with(&data, &["--config", file.to_str().unwrap()]).await;
        // Somewhere within a rewrite, if there is one left to do.
        let patience = Duration::from_secs(2);
        look_until(patience, async || (files(&dir, "packed.new") > 0).then_some(())).await;
        // At another moment each time.
        look_until(Duration::from_millis(round * 17 % 90), async || None::<()>).await;
        server.kill();
        let now = entries(&Reader::open(&dir).unwrap());
        for (old, new) in before.iter().zip(&now) {
            assert_eq!(old.leaf_hash, new.leaf_hash);
            assert!(new.pruned || old == new, "entry {}", old.sequence);
        }
    }
    let pipeline = start(&data, CONFIG);
    let active = firsts(&dir).pop().unwrap();
    let expected = (0..ENTRIES.min(active)).filter(|n| facts(*n).1 == 0).count() as u64;
    let look = async || {
        let report = verify_against(&dir, &[head], None, |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
        (report.pruned >= expected).then_some(report.pruned)
    };
    assert_eq!(look_until(DEADLINE, look).await, Some(expected));
    let now = entries(&pipeline.ledger().reader());
    pipeline.stop().await.unwrap();
    let told = told(&now, "prune");
    let told = told.iter().map(|it| it["attributes"]["spanledger.prune.entries"].as_u64().unwrap());
    assert_eq!(told.sum::<u64>(), expected, "each body that went was announced, once");
    assert_eq!(files(&dir, "packed.new"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_no_checkpoint_covers_or_when_pruning_is_off() {
    for (signed, text) in [
        // Less than a segment; without the key that signed it nothing more is signed.
        (100, CONFIG.to_owned()),
        (6_000, CONFIG.replace("every: 1s", "every: 1s, prune: false")),
        (6_000, format!("{CONFIG}audit: {{retention_days: 36500}}\n")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        old_data(&data, signed).await;
        let pipeline = start(&data, &text);
        let status = pipeline.upkeep().clone();
        wait_until("segments are packed", || status.packed.load(Ordering::Relaxed) >= 4).await;
        let reader = pipeline.ledger().reader();
        let report = check(&data);
        let listed = report.findings.listed().iter();
        let uncovered = listed.filter(|it| it.message.contains("no checkpoint covers the last"));
        let weights: Vec<_> = uncovered.map(|it| it.weight).collect();
        // At least the entry of now came after what was signed.
        assert_eq!(weights, [Verdict::Partial], "{:?}", report.findings);
        pipeline.stop().await.unwrap();
        assert_eq!(status.pruned.load(Ordering::Relaxed), 0);
        assert!(entries(&reader).iter().all(|entry| !entry.pruned), "{text}");
        assert_eq!(told(&entries(&reader), "prune").len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_of_pruning_and_of_operators_is_permanent_whatever_rules_say() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    old_data(&data, ENTRIES).await;
    let text = format!(
        "{}  rules: [{{kinds: [operator_action, prune], class: short}}]\n  classes: {{short: {{id: 9, days: 30}}}}\n",
        CONFIG.replace("retention: {every: 1s}\n", "retention:\n  every: 1s\n")
    );
    let pipeline = start(&data, &text);
    Holds::of(&data).add(Tenant::default(), None, "os:anna".into(), "case 9".into()).unwrap();
    let reader = pipeline.ledger().reader();
    let own = || {
        let own = (ENTRIES..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap());
        own.map(|entry| (json(&entry.as_ref())["audit"]["kind"].clone(), entry.retention_class))
            .collect::<Vec<_>>()
    };
    wait_until("both kinds are there", || {
        own().contains(&("operator_action".into(), 255)) && own().contains(&("prune".into(), 255))
    })
    .await;
    pipeline.stop().await.unwrap();
}

/// What `verify` says of the folder.
fn check(data: &Path) -> FolderReport {
    let log = PublicLog::open(&log_dir(data));
    let trust = Trust { keys: log.keys().unwrap_or_default(), from: KeySource::Beside };
    let ledger = &ledger_dir(data);
    let folder = Folder { ledger, log, trust, kept: &[], expected: &[], pseudonyms: None };
    folder.verify(&mut |_| {}, |_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pruned_on_different_days_is_on_record_and_what_somebody_emptied_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dir = ledger_dir(&data);
    let day = Duration::from_hours(24);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago = |days: u32| u64::try_from(now.saturating_sub(day * days).as_nanos()).unwrap();
    old_data_of(&data, u64::MAX, |n| if n < 3_000 { ago(500) } else { ago(300) }).await;
    Holds::of(&data)
        .add(Tenant::new("held").unwrap(), None, "os:anna".into(), "case 10".into())
        .unwrap();
    let goes = |n: &u64| facts(*n).1 == 0 && facts(*n).0 != "held";
    let limits = [
        (firsts(&dir).into_iter().filter(|first| *first <= 3_000).max().unwrap(), 400),
        (firsts(&dir).pop().unwrap(), 184),
    ];
    let mut done = 0;
    for (limit, days) in limits {
        let pipeline = start(&data, &format!("{CONFIG}audit: {{retention_days: {days}}}\n"));
        let status = pipeline.upkeep().clone();
        let expected = (0..limit).filter(goes).count() as u64 - done;
        wait_until("all that is due is pruned", || {
            status.pruned.load(Ordering::Relaxed) >= expected
        })
        .await;
        pipeline.stop().await.unwrap();
        assert_eq!(status.pruned.load(Ordering::Relaxed), expected);
        done += expected;
        let report = check(&data);
        assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings);
        assert!(report.findings.has(Code::RetentionTrimmed), "{:?}", report.findings);
        assert_eq!(report.uncovered(), 0);
    }
    // Somebody empties what is held: an entry that speaks of others does not excuse it.
    let (ledger, _) = Ledger::open(&dir, config(&data, CONFIG).ledger).unwrap();
    let expiry = Expiry { class: 0, before_ns: ago(400) };
    let due = Due { first: 0, end: firsts(&dir)[1], expiry, entries: 1, gone: 0 };
    let held = |entry: &EntryRef<'_>| entry.sequence != 0;
    ledger.upkeep().prune(&due, &held, &mut || true, || Some(())).unwrap();
    ledger.close().await.unwrap();
    let report = check(&data);
    assert!(report.ledger.is_ok(), "no hash tells it");
    assert_eq!(report.verdict(), Verdict::Compromised, "{:?}", report.findings);
    let listed = report.findings.listed().iter();
    let missing: Vec<_> = listed.filter(|it| it.code == Code::Missing).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].message.contains("bodies of 1 entries of the class 0"), "{missing:?}");

    // No entry is cut off, so none can have told it: a repair does not tell it either.
    let mut program = Command::cargo_bin("spanledger").unwrap();
    let file = data.with_extension("yaml");
    let repair = program.arg("repair").arg("--data").arg(&data).arg("--config").arg(file);
    repair.args(["--restored", "--confirm", "--reason", "backup"]).assert().success();
    let report = check(&data);
    assert!(report.findings.has(Code::Repaired) && report.findings.has(Code::Missing));
    assert_eq!(report.verdict(), Verdict::Compromised, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_pause_nothing_goes_until_somebody_says_that_the_clock_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    old_data(&data, u64::MAX).await;
    let day_ns = 24 * 60 * 60 * 1_000_000_000_u64;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
    // What the server believed last, whatever the newest entry says.
    std::fs::write(data.join("clock.json"), (now.unwrap() - 30 * day_ns).to_string()).unwrap();
    let pipeline = start(&data, CONFIG);
    let status = pipeline.upkeep().clone();
    let waits = || status.trouble().is_some_and(|why| why.contains("spanledger confirm-clock"));
    wait_until("the clock is not believed", waits).await;
    assert_eq!(status.pruned.load(Ordering::Relaxed), 0);
    let mut program = Command::cargo_bin("spanledger").unwrap();
    let confirm = program.arg("confirm-clock").arg("--data").arg(&data);
    confirm.args(["--reason", "it was off for a month"]).assert().success();
    wait_until("bodies go", || status.pruned.load(Ordering::Relaxed) > 0).await;
    wait_until("nothing is in the way", || status.trouble().is_none()).await;
    let all = entries(&pipeline.ledger().reader());
    pipeline.stop().await.unwrap();
    let confirmed: Vec<_> = told(&all, "operator_action")
        .into_iter()
        .filter(|body| body["event"]["action"] == "clock.confirmed")
        .collect();
    assert_eq!(confirmed.len(), 1, "{confirmed:?}");
    assert!(confirmed[0]["message"].as_str().unwrap().contains("off for a month"));
    assert!(confirmed[0]["audit"]["actor"]["id"].as_str().unwrap().starts_with("os:"));
    // And a later start believes it too.
    let pipeline = start(&data, CONFIG);
    let status = pipeline.upkeep().clone();
    pipeline.stop().await.unwrap();
    assert_eq!(status.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_tells_again_what_was_pruned_when_it_cuts_off_what_told_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dir = ledger_dir(&data);
    old_data(&data, u64::MAX).await;
    let active = firsts(&dir).pop().unwrap();
    let expected = (0..active).filter(|n| facts(*n).1 == 0).count() as u64;
    let pipeline = start(&data, CONFIG);
    let status = pipeline.upkeep().clone();
    wait_until("all is pruned", || status.pruned.load(Ordering::Relaxed) >= expected).await;
    pipeline.stop().await.unwrap();
    assert_eq!(check(&data).verdict(), Verdict::Partial);
    // The segment that is written to goes, and with it every entry that says what was pruned.
    let last = dir.join(format!("{active:020}.segment"));
    std::fs::File::options().write(true).open(last).unwrap().set_len(116).unwrap();
    assert_eq!(check(&data).verdict(), Verdict::Compromised);
    let mut program = Command::cargo_bin("spanledger").unwrap();
    let file = data.with_extension("yaml");
    let repair = program.arg("repair").arg("--data").arg(&data).arg("--config").arg(file);
    repair.args(["--confirm", "--reason", "disk sda died"]).assert().success();

    let mut sums = Vec::new();
    for _ in 0..2 {
        let report = check(&data);
        assert_eq!(report.verdict(), Verdict::Partial, "{:?}", report.findings);
        // Whether their time was over, nothing shows any more.
        assert!(!report.findings.has(Code::RetentionTrimmed), "{:?}", report.findings);
        let mut listed = report.findings.listed().iter();
        let begin = format!("{expected} bodies were gone before a repair");
        assert!(listed.any(|it| it.code == Code::Repaired && it.message.starts_with(&begin)));
        assert_eq!(report.ledger.pruned, expected);
        let now = entries(&Reader::open(&dir).unwrap());
        let told = told(&now, "prune");
        for act in &told {
            // It travels in bundles of tenants; who did it and why stands in the entry of the repair.
            assert_eq!(act["audit"]["actor"]["id"], "spanledger:repair", "{act}");
            assert_eq!(act["event"]["reason"], serde_json::Value::Null);
        }
        let count =
            |act: &serde_json::Value| act["attributes"]["spanledger.prune.entries"].as_u64();
        sums.push(told.iter().map(count).sum::<Option<u64>>().unwrap());
        // And a server that goes on says nothing more about them.
        let pipeline = start(&data, CONFIG);
        let published = pipeline.published();
        published.publish().await.unwrap();
        pipeline.stop().await.unwrap();
    }
    assert_eq!(sums, [expected; 2]);
}

/// Keeps the segment size of the tests and of the configuration in one place.
#[test]
fn the_ledger_of_these_tests_has_several_segments() {
    let folder = tempfile::tempdir().unwrap();
    let options = config(&folder.path().join("data"), CONFIG).ledger;
    assert!(options.segment_bytes < ENTRIES * 700 / 3);
    assert_ne!(options.segment_bytes, Options::default().segment_bytes);
}
