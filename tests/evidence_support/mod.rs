//! A small ledger with its public log, written without the server's publisher: a second
//! implementation of the layout, so that what is checked is not checked by what wrote it.
#![allow(dead_code, reason = "each test file uses its part of it")]

use spanledger::access::Tenant;
use spanledger::evidence::{
    Folder, FolderReport, Kept, KeySource, Prover, Spool, Story, Trust, hex,
};
use spanledger::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint, VerifierKey};
use spanledger::ledger::proof::root_of;
use spanledger::ledger::{
    Batch, Commitment, EntryId, Hash, Kind, Ledger, NewEntry, Options, PublicLog, Reader, Tile,
    TreeHead,
};
use std::path::{Path, PathBuf};

// Some of these tests have the other shared modules too, and some need this one alone.
#[allow(clippy::duplicate_mod, unreachable_pub)]
#[path = "../support/files.rs"]
mod folders;
use folders::copy_folder;

/// When the first entry was received.
const RECEIVED_NS: u64 = 1_795_241_529_000_000_000;

/// Segments of a few entries each.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 2_000, reserve_bytes: 0, ..Options::default() }
}

/// A body as intake writes them: of a run, every third one a decision.
pub(crate) fn body(n: u64) -> String {
    let audit = match n % 3 {
        0 => r#""kind":"tool_call","step":{"name":"lookup"}"#,
        1 => {
            r#""kind":"decision","decision":{"outcome":"block","reason":"too much"},"policy":{"id":["refund-limit"]}"#
        }
        _ => r#""kind":"approval","approval":{"status":"approved","resolved_by":"ops-lead"}"#,
    };
    format!(
        r#"{{"schema_version":1,"@timestamp":"2026-11-21T08:00:{n:02}.000000000Z","trace_id":["run-1"],"message":"entry {n} <b>&","event":{{"action":"refund.create"}},"audit":{{{audit}}}}}"#
    )
}

/// The pseudonym of a tenant.
pub(crate) fn pseudonym(tenant: &str) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(tenant.bytes()).for_each(|(to, from)| *to = from);
    out
}

/// Entries of two tenants in groups of two.
pub(crate) async fn append(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    append_with(ledger, numbers, |_| Vec::new()).await;
}

async fn append_with(
    ledger: &Ledger,
    numbers: std::ops::Range<u64>,
    sealed: impl Fn(u64) -> Vec<u8>,
) {
    for first in numbers.clone().step_by(2) {
        let mut batch = Batch::new();
        for n in (first..first + 2).filter(|n| numbers.contains(n)) {
            push_with(&mut batch, n, &body(n), &sealed(n));
        }
        ledger.append(batch).await.unwrap();
    }
}

/// What is sealed beside an entry: of every third one nothing, and of the others not as much.
fn sealed(n: u64) -> Vec<u8> {
    let bytes = if n.is_multiple_of(3) { 0 } else { 20 + n % 4 };
    (0..bytes).map(|at| (n * 31 + at * 7 + 1).to_le_bytes()[0]).collect()
}

pub(crate) fn push(batch: &mut Batch, n: u64, body: &str) {
    push_with(batch, n, body, &[]);
}

fn push_with(batch: &mut Batch, n: u64, body: &str, sealed: &[u8]) {
    let tenant = if n % 4 == 3 { "rival" } else { "acme" };
    let commitment = Commitment { kind: 1, value: [n.to_le_bytes()[0]; 32], salt: [0; 32] };
    let entry = NewEntry {
        id: EntryId((u128::from(n) + 1).to_be_bytes()),
        tenant,
        tenant_pseudonym: pseudonym(tenant),
        retention_class: 0,
        received_ns: RECEIVED_NS + n,
        mapping_version: *b"mapping1",
        source_key: None,
        commitments: &[commitment],
        sealed,
        body: body.as_bytes(),
    };
    batch.push(&entry).unwrap();
}

/// An entry of the log about itself.
pub(crate) fn push_own(batch: &mut Batch, n: u64, tenant: &str, body: &str) {
    let entry = NewEntry {
        id: EntryId((u128::from(n) + 1).to_be_bytes()),
        tenant,
        tenant_pseudonym: pseudonym(tenant),
        retention_class: 255,
        received_ns: RECEIVED_NS + n,
        mapping_version: *b"mapping1",
        source_key: None,
        commitments: &[],
        sealed: &[],
        body: body.as_bytes(),
    };
    batch.push(&entry).unwrap();
}

/// A data folder.
pub(crate) struct Small {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) key: LogKey,
}

impl Small {
    /// A ledger of so many entries that was closed, and its public log.
    pub(crate) async fn of(entries: u64) -> Self {
        Self::filled(entries, |_| Vec::new()).await
    }

    /// The same with bytes sealed beside two of three entries.
    pub(crate) async fn with_sealed(entries: u64) -> Self {
        Self::filled(entries, sealed).await
    }

    async fn filled(entries: u64, sealed: impl Fn(u64) -> Vec<u8>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&dir.path().join("ledger"), options()).unwrap();
        append_with(&ledger, 0..entries, sealed).await;
        ledger.close().await.unwrap();
        let reader = Reader::open(&dir.path().join("ledger")).unwrap();
        let key = LogKey::generate(&format!("spanledger/{}", hex(&reader.origin()))).unwrap();
        let small = Self { dir, key };
        small.publish(&small.key);
        small
    }

    /// The same with entries of the log about itself behind those.
    pub(crate) async fn with_own(entries: u64, own: &[(&str, String)], key: LogKey) -> Self {
        let small = Self { key, ..Self::of(entries).await };
        let (ledger, _) = Ledger::open(&small.ledger(), options()).unwrap();
        for (n, (tenant, body)) in (entries..).zip(own) {
            let mut batch = Batch::new();
            push_own(&mut batch, n, tenant, body);
            ledger.append(batch).await.unwrap();
        }
        ledger.close().await.unwrap();
        small.publish(&small.key);
        small
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.ledger()).unwrap()
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        self.key.verifier().clone()
    }

    /// Writes the public log of what is there, signed with that key.
    pub(crate) fn publish(&self, key: &LogKey) -> TreeHead {
        publish(&self.reader(), &self.log(), key)
    }

    /// A copy of the folder.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        copy_folder(self.dir.path(), to.path());
        to
    }

    /// Checks a folder with the operator's key.
    pub(crate) fn check(&self, data: &Path) -> FolderReport {
        verify(data, std::slice::from_ref(self.key.verifier()), &[], &[])
    }

    pub(crate) fn prover(&self) -> Prover {
        Prover::new(self.reader(), PublicLog::open(&self.log()), "spanledger/unsigned")
    }

    /// A bundle of the tenant's entries.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        let reader = self.reader();
        let of = |tenant: &str| -> Vec<(u64, [u8; 16])> {
            let all = (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap());
            let mine = all.filter(|entry| entry.tenant == tenant);
            mine.map(|entry| (entry.sequence, entry.id.0)).collect()
        };
        let story = Story {
            entries: of("acme"),
            acts: of("_spanledger"),
            trace_ids: vec!["run-1".to_owned()],
            truncated: false,
        };
        let tenant = Tenant::new("acme").unwrap();
        let mut spool = Spool::in_memory();
        self.prover().bundle("run-1", &tenant, &story, RECEIVED_NS, &mut spool).unwrap();
        spool.into_bytes().unwrap()
    }
}

/// Checks a data folder.
pub(crate) fn verify(
    data: &Path,
    given: &[VerifierKey],
    kept: &[Kept],
    expected: &[TreeHead],
) -> FolderReport {
    let log = PublicLog::open(&data.join("log"));
    let trust = if given.is_empty() {
        Trust { keys: log.keys().unwrap_or_default(), from: KeySource::Beside }
    } else {
        Trust { keys: given.to_vec(), from: KeySource::Given }
    };
    let of = |tenant: &str| pseudonym(tenant);
    let folder =
        Folder { ledger: &data.join("ledger"), log, trust, kept, expected, pseudonyms: Some(&of) };
    folder.verify(&mut |_| {}, |_| {}).unwrap()
}

/// Writes the public log of a ledger.
pub(crate) fn publish(reader: &Reader, log: &Path, key: &LogKey) -> TreeHead {
    let entries: Vec<_> =
        (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect();
    let records: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| {
            let record = entry.as_ref().leaf_record();
            [&u16::try_from(record.len()).unwrap().to_be_bytes()[..], &record].concat()
        })
        .collect();
    for (index, records) in (0..).zip(records.chunks(256)) {
        write_tile(log, Kind::Entries, index, records.len(), &records.concat());
    }
    let mut hashes: Vec<Hash> = entries.iter().map(|entry| entry.leaf_hash).collect();
    for level in 0.. {
        for (index, hashes) in (0..).zip(hashes.chunks(256)) {
            write_tile(log, Kind::Hashes(level), index, hashes.len(), hashes.as_flattened());
        }
        hashes = hashes.chunks_exact(256).map(root_of).collect();
        if hashes.is_empty() {
            break;
        }
    }
    let head = reader.head();
    let origin = key.verifier().name().to_owned();
    let signed = SignedCheckpoint::sign(&Checkpoint { origin, head }, &[key]).unwrap();
    std::fs::create_dir_all(log).unwrap();
    std::fs::write(log.join("checkpoint"), signed.note).unwrap();
    std::fs::write(log.join("keys"), format!("{}\n", key.verifier())).unwrap();
    head
}

fn write_tile(log: &Path, kind: Kind, index: u64, width: usize, bytes: &[u8]) {
    let tile = Tile { kind, index, width: u16::try_from(width).unwrap() };
    let path = log.join(tile.to_string());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Every file below a folder, by path, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn segments(data: &Path) -> Vec<PathBuf> {
    let mut all = files(&data.join("ledger"));
    all.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    all
}
