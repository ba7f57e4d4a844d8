//! Data folders of the sweep, and what must be true of each in the end.

use crate::support::requests::span_id_hex;
use serde_json::Value;
use spanledger::access::Tenant;
use spanledger::config::{Config, Overrides};
use spanledger::entry::{Entry, Kind};
use spanledger::evidence::{Findings, Folder, Kept, KeySource, Trust};
use spanledger::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use spanledger::ledger::{Batch, EntryId, Ledger, NewEntry, PublicLog, Reader, StoredEntry};
use spanledger::pipeline::{ledger_dir, log_dir};
use spanledger::protect::Keys;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Received in 2020: older than every class that ends.
const OLD_NS: u64 = 1_600_000_000_000_000_000;

/// Old entries of a folder: they fill three segments and begin a fourth.
pub(crate) const OLD: u64 = 1_000;

/// Small segments, everything at once, and a file that gets every checkpoint.
pub(crate) fn write_config(data: &Path) -> PathBuf {
    let path = data.with_extension("yaml");
    let sink = sink(data);
    let text = format!(
        "ledger: {{segment: 1MiB, reserve: 4MiB, compress_after: 1ms}}\nretention: {{every: 1s}}\npublic_log:\n  \
         checkpoint_interval: 50ms\n  sinks: [{{file: {}, every: 1s}}]\n",
        sink.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn sink(data: &Path) -> PathBuf {
    data.with_extension("checkpoints")
}

/// The class of an old entry: one in ten is kept for ever.
fn class(n: u64) -> u8 {
    if n % 10 == 1 { 255 } else { 0 }
}

/// Makes a folder with old entries.
pub(crate) async fn old_folder(data: &Path) {
    let overrides = Overrides { data: Some(data.to_owned()), ..Overrides::default() };
    let config = Config::load(Some(&write_config(data)), &overrides).unwrap();
    let keys = Keys::open_or_create(&config.keys).unwrap();
    let pseudonym = keys.tenant(&Tenant::default()).pseudonym();
    let (ledger, _) = Ledger::open(&ledger_dir(data), config.ledger.clone()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for n in 0..=OLD {
        let mut entry = Entry::new(Kind::ToolCall);
        entry.message = Some(format!("old {n} {}", "x".repeat(3_500)).into());
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        let mut batch = Batch::new();
        let new = NewEntry {
            id: EntryId(u128::from(n + 1).to_be_bytes()),
            tenant: "default",
            tenant_pseudonym: pseudonym,
            retention_class: class(n),
            // The last is of now: by a clock far behind the newest entry nothing is pruned.
            received_ns: if n == OLD { u64::try_from(now.as_nanos()).unwrap() } else { OLD_NS + n },
            mapping_version: [0; 8],
            source_key: None,
            commitments: &[],
            sealed: &[],
            body: &body,
        };
        batch.push(&new).unwrap();
        ledger.append(batch).await.unwrap();
    }
    ledger.close().await.unwrap();
}

pub(crate) fn entries(data: &Path) -> Vec<StoredEntry> {
    let reader = Reader::open(&ledger_dir(data)).unwrap();
    (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect()
}

/// Files of the ledger whose names end so.
pub(crate) fn files(data: &Path, ending: &str) -> Vec<PathBuf> {
    let files = ledger_dir(data).read_dir().unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.to_str().is_some_and(|it| it.ends_with(ending))).collect();
    files.sort();
    files
}

/// When the segments that are full were changed last, so that they are packed or not.
pub(crate) fn touch_sealed(data: &Path, time: SystemTime) {
    let mut plain = files(data, ".segment");
    plain.pop();
    for path in plain {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

/// Entries whose bodies are to go: those of the class that ends in the segments that are full.
pub(crate) fn due(data: &Path) -> BTreeSet<u64> {
    let active = files(data, ".segment").pop().unwrap();
    let active: u64 = active.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    (0..active.min(OLD)).filter(|n| class(*n) == 0).collect()
}

/// The last checkpoint.
pub(crate) fn checkpoint(data: &Path) -> Option<SignedCheckpoint> {
    PublicLog::open(&log_dir(data)).checkpoint().unwrap()
}

/// Somebody who reads the last checkpoint all the time and keeps what he saw.
pub(crate) struct Witness {
    ended: Arc<AtomicBool>,
    seen: JoinHandle<Vec<SignedCheckpoint>>,
}

impl Witness {
    pub(crate) fn begin(data: &Path) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (until, path) = (Arc::clone(&ended), log_dir(data).join("checkpoint"));
        let seen = std::thread::spawn(move || {
            let mut seen: BTreeMap<Vec<u8>, SignedCheckpoint> = BTreeMap::new();
            while !until.load(Ordering::Acquire) {
                if let Ok(note) = std::fs::read(&path) {
                    let parsed = SignedCheckpoint::parse(&note).expect("a whole one, at any time");
                    seen.insert(note, parsed);
                }
                // What is polled, a millisecond apart.
                std::thread::park_timeout(Duration::from_millis(1));
            }
            seen.into_values().collect()
        });
        Self { ended, seen }
    }

    /// Everything that was seen, and everything that the sink got.
    pub(crate) fn end(self, data: &Path) -> Vec<SignedCheckpoint> {
        self.ended.store(true, Ordering::Release);
        let mut seen = self.seen.join().expect("the witness saw whole checkpoints only");
        let sink = std::fs::read_to_string(sink(data)).unwrap_or_default();
        // A line that a crash cut off is none.
        let lines = sink.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let notes = lines.map(|line| line["checkpoint"].as_str().unwrap().to_owned());
        seen.extend(notes.map(|note| SignedCheckpoint::parse(note.as_bytes()).unwrap()));
        seen
    }
}

/// What must be true of a folder that was left in order: it verifies against every checkpoint that
/// anybody ever saw, by the key that the first one was signed with, and each acknowledged span is
/// there once.
pub(crate) fn check(
    data: &Path,
    seen: Vec<SignedCheckpoint>,
    key: VerifierKey,
    acknowledged: &BTreeSet<u64>,
) -> (Findings, Vec<StoredEntry>) {
    let mut roots = BTreeMap::new();
    for signed in &seen {
        let head = signed.checkpoint.head;
        assert_eq!(*roots.entry(head.size).or_insert(head.root), head.root, "{head}");
    }
    let kept: Vec<_> = seen
        .into_iter()
        .map(|signed| Kept { name: format!("seen at {}", signed.checkpoint.head.size), signed })
        .collect();
    let ledger = &ledger_dir(data);
    let trust = Trust { keys: vec![key], from: KeySource::Given };
    let log = PublicLog::open(&log_dir(data));
    let folder = Folder { ledger, log, trust, kept: &kept, expected: &[], pseudonyms: None };
    let report = folder.verify(&mut |_| {}, |_| {}).unwrap();
    assert_eq!(report.uncovered(), 0, "everything is signed at an orderly end");
    let all = entries(data);
    let mut spans: BTreeMap<String, u64> = BTreeMap::new();
    for body in all.iter().filter(|entry| !entry.pruned).map(body) {
        if let Some(id) = body["span"]["id"].as_str() {
            *spans.entry(id.to_owned()).or_default() += 1;
        }
    }
    for serial in acknowledged {
        assert_eq!(spans.get(&span_id_hex(*serial)), Some(&1), "span {serial} was acknowledged");
    }
    assert!(spans.values().all(|times| *times == 1), "{spans:?}");
    (report.findings, all)
}

pub(crate) fn body(entry: &StoredEntry) -> Value {
    serde_json::from_slice(&entry.body).unwrap()
}

/// How often an entry of ours says that action.
pub(crate) fn told(all: &[StoredEntry], action: &str) -> Vec<Value> {
    let own = all.iter().filter(|entry| !entry.pruned).map(body);
    own.filter(|body| body["event"]["action"] == action).collect()
}
