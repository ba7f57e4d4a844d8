//! What packing makes of the entries of real systems: how small, how fast to read, and the same.
#![cfg(feature = "server")]

use spanledger::access::{Tenant, Tenants};
use spanledger::convert::Mappings;
use spanledger::intake::Intake;
use spanledger::ledger::{Ledger, Options, Reader, StoredEntry, verify};
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::receiver::otlp::{self, Format, Signal};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The requests that were captured from real systems.
fn requests() -> Vec<PathBuf> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for file in dir.read_dir().unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if path.to_str().is_some_and(|it| it.ends_with(".traces.http-protobuf.bin")) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads"), &mut found);
    found.sort();
    found
}

/// A ledger with what those requests become.
async fn ledger_of_requests(dir: &Path) -> Ledger {
    let keys = Keys::open_or_create(&dir.join("keys")).unwrap();
    let (settings, _) = Settings::default().validate().unwrap();
    let protector = Protector::new(&settings, keys).unwrap();
    let options = Options { segment_bytes: 512 * 1024, reserve_bytes: 0, ..Options::default() };
    let (ledger, _) = Ledger::open(&dir.join("ledger"), options).unwrap();
    let intake = Intake::new(Mappings::builtin().unwrap(), protector, ledger.clone());
    for request in requests() {
        let bytes = std::fs::read(request).unwrap();
        let mut draft = intake.draft(&Tenants::from(Tenant::default()));
        if otlp::decode(Signal::Traces, Format::Protobuf, &bytes, &mut draft).is_ok() {
            intake.commit(draft).await.unwrap();
        }
    }
    ledger
}

fn all(reader: &Reader) -> Vec<StoredEntry> {
    (0..reader.watermark()).map(|n| reader.get(n).unwrap().unwrap()).collect()
}

#[tokio::test]
async fn entries_of_real_systems_take_less_than_two_fifths_of_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger_of_requests(dir.path()).await;
    let before = all(&ledger.reader());
    let upkeep = ledger.upkeep();
    let (mut plain, mut packed) = (0, 0);
    for first in upkeep.unpacked(SystemTime::now()) {
        let done = upkeep.pack(first, &mut || true).unwrap();
        (plain, packed) = (plain + done.before_bytes, packed + done.after_bytes);
    }
    assert!(plain > 1024 * 1024, "{plain} bytes are too few to say anything");
    println!("{packed} of {plain} bytes: {:.3}", packed as f64 / plain as f64);
    assert!(packed * 5 <= plain * 2, "{packed} of {plain} bytes");
    assert_eq!(all(&ledger.reader()), before);
    ledger.close().await.unwrap();
    let report = verify(&dir.path().join("ledger"), |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}
