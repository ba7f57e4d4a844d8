//! Publishing on a disk that crashes: entries, tiles and checkpoints, in the order in which the publisher
//! writes them.
//!
//! The oracle of every run: the last checkpoint can be read and is not older than the last that was
//! published, every hash and record of its tree is there and right, the ledger is opened with it, has
//! every entry that was acknowledged, and continues every tree that anybody ever saw.

use super::batch;
use super::simulated::{Fault, Op, Simulated, Tear};
use super::simulated_files::SimulatedFiles;
use crate::ledger::checkpoint::{Checkpoint, LogKey};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::proof::{consistency, inclusion, root, verify_consistency, verify_inclusion};
use crate::ledger::{
    Ledger, Options, PublicLog, PublicLogError, Reader, TileWriter, TreeHead, verify_against,
};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// Batches whose ends lie around those of full tiles.
const SIZES: [u64; 4] = [200, 56, 1, 40];

const NAME: &str = "spanledger/simulated";

/// A ledger and its public log, below one folder.
struct World {
    root: tempfile::TempDir,
    disk: Simulated,
    files: SimulatedFiles,
    key: LogKey,
    told: Told,
}

/// What others know.
#[derive(Default)]
struct Told {
    /// Entries that were acknowledged: the first so many.
    acknowledged: u64,
    /// Trees that somebody saw signed.
    seen: Vec<TreeHead>,
    /// Size of the last checkpoint of which it was said that it is published.
    published: u64,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = Simulated::default();
        let files = SimulatedFiles::new(&disk, root.path());
        std::fs::create_dir(root.path().join("ledger")).unwrap();
        let key = LogKey::generate(NAME).unwrap();
        Self { root, disk, files, key, told: Told::default() }
    }

    fn ledger(&self) -> PathBuf {
        self.root.path().join("ledger")
    }

    fn log(&self) -> PublicLog {
        PublicLog::open_on(&self.root.path().join("log"), Arc::new(self.files.clone()))
    }

    /// Appends so many entries at a time and publishes each time, whatever fails.
    async fn run(&mut self, sizes: &[u64]) {
        let options = options(None);
        let disk = Box::new(self.disk.clone());
        let Ok((ledger, _)) = Ledger::open_on(&self.ledger(), options, disk) else { return };
        let (log, mut writer, mut next) = (self.log(), None, 0);
        for size in sizes {
            let ids = next..next + size;
            next += size;
            if ledger.append(batch(ids)).await.is_ok() {
                self.told.acknowledged = next;
            }
            let published = publish(&ledger.reader(), &log, &self.key, &mut writer);
            // Whatever came of it, a reader sees what is there now.
            if let Ok(Some(signed)) = log.checkpoint() {
                self.told.seen.push(signed.checkpoint.head);
            }
            match published {
                Ok(head) => self.told.published = head.size,
                Err(_) => writer = None,
            }
        }
        let _ = ledger.close().await;
    }

    /// Looks at what the crash left, and goes on from it on a disk that works.
    async fn check(&self) {
        let log = PublicLog::open(&self.root.path().join("log"));
        let signed = log.checkpoint().unwrap().map(|signed| signed.checkpoint.head);
        let size = signed.map_or(0, |head| head.size);
        assert!(size >= self.told.published, "{size}: {} were published", self.told.published);
        if let Some(head) = signed {
            is_whole(&log, &head);
        }
        let disk = Box::<Simulated>::default();
        let (ledger, recovery) = Ledger::open_on(&self.ledger(), options(signed), disk).unwrap();
        assert!(recovery.head.size >= self.told.acknowledged);
        let expected: Vec<u64> = (0..recovery.head.size).collect();
        assert_eq!(super::ids(&ledger.reader()), expected, "each once, in order");
        ledger.append(batch([1 << 40])).await.unwrap();
        let head = publish(&ledger.reader(), &log, &self.key, &mut None).unwrap();
        is_whole(&log, &head);
        for seen in &self.told.seen {
            let proof = consistency(&log, seen.size, head.size).unwrap();
            verify_consistency(seen, &head, &proof).unwrap();
        }
        ledger.close().await.unwrap();
        let report = verify_against(&self.ledger(), &self.told.seen, None, |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

fn options(signed: Option<TreeHead>) -> Options {
    Options { signed, segment_bytes: 20_000, reserve_bytes: 0, ..Options::default() }
}

/// What the publisher does with what is durable.
fn publish(
    reader: &Reader,
    log: &PublicLog,
    key: &LogKey,
    writer: &mut Option<TileWriter>,
) -> Result<TreeHead, PublicLogError> {
    let head = reader.head();
    let mut tiles = match writer.take() {
        Some(writer) => writer,
        None => resume(reader, log)?,
    };
    follow(reader, &mut tiles, head.size)?;
    assert_eq!(tiles.head(), head);
    let signed = key.sign(&Checkpoint { origin: NAME.to_owned(), head }).unwrap();
    tiles.publish(&signed)?;
    *writer = Some(tiles);
    Ok(head)
}

fn resume(reader: &Reader, log: &PublicLog) -> Result<TileWriter, PublicLogError> {
    let Some(signed) = log.checkpoint()? else { return Ok(TileWriter::new(log.clone())) };
    let head = signed.checkpoint.head;
    if let Some(writer) = TileWriter::resume(log, &head) {
        return Ok(writer);
    }
    let mut writer = TileWriter::new(log.clone());
    follow(reader, &mut writer, head.size)?;
    writer.flush()?;
    assert_eq!(writer.head(), head, "the ledger contradicts what was signed");
    Ok(writer)
}

fn follow(reader: &Reader, writer: &mut TileWriter, size: u64) -> Result<(), PublicLogError> {
    let mut scan = reader.scan(writer.size());
    while writer.size() < size {
        let Some(chunk) = scan.next_chunk(100_000).unwrap() else { break };
        for entry in chunk.entries().take_while(|entry| entry.sequence < size) {
            writer.push_entry(&entry)?;
        }
    }
    Ok(())
}

/// The leaves of that tree are in the folder, with proofs.
fn is_whole(log: &PublicLog, head: &TreeHead) {
    assert_eq!(root(log, head.size).unwrap(), head.root, "{head}");
    // All of them would take long, and be made of the same files.
    for index in (0..head.size).filter(|index| index % 64 == 0 || index + 1 == head.size) {
        let record = log.leaf_record(index).unwrap();
        let proof = inclusion(log, index, head.size).unwrap();
        verify_inclusion(&leaf_hash(&record), index, head, &proof).unwrap();
    }
}

const TEARS: [Tear; 6] = [
    Tear::Nothing,
    Tear::Everything,
    Tear::Front(1),
    Tear::Front(5_000),
    Tear::Blocks(0xAAAA_AAAA_AAAA_AAAA),
    Tear::Blocks(0x5555_5555_5555_5555),
];

async fn crash(world: World, tear: Tear) {
    world.disk.crash(tear);
    world.files.crash(tear);
    world.check().await;
}

#[tokio::test]
async fn a_crash_at_any_operation_of_publishing_contradicts_nothing_that_was_seen() {
    let mut world = World::new();
    world.run(&SIZES).await;
    assert_eq!(world.told.published, SIZES.iter().sum::<u64>());
    let operations = world.disk.operations();
    assert!(operations > 80, "{operations}");
    crash(world, Tear::Nothing).await;
    for operation in 0..operations {
        // Each with two of them, the neighbours with others.
        let nth = usize::try_from(operation).unwrap();
        for tear in [TEARS[nth % 6], TEARS[(nth + 3) % 6]] {
            let mut world = World::new();
            world.disk.crash_at(operation);
            world.run(&SIZES).await;
            crash(world, tear).await;
        }
    }
}

#[tokio::test]
async fn an_operation_that_fails_once_is_made_good_and_a_crash_finds_all_that_was_published() {
    let mut world = World::new();
    world.run(&SIZES).await;
    let operations = world.disk.count(Op::File);
    for nth in 0..operations {
        let mut world = World::new();
        world.disk.fail(Op::File, nth, Fault::Error(std::io::ErrorKind::Other, 0));
        world.run(&SIZES).await;
        let all: u64 = SIZES.iter().sum();
        assert!(world.told.published + SIZES[3] >= all, "{nth}: {}", world.told.published);
        crash(world, Tear::Nothing).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_is_published_and_wherever_it_fails_and_crashes_the_oracle_holds(
        sizes in prop::collection::vec(1_u64..300, 1..6),
        fails_at in 0_u64..150,
        crash_at in 0_u64..200,
        tear in prop_oneof![
            (0_usize..3_000).prop_map(Tear::Front),
            any::<u64>().prop_map(Tear::Blocks),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.disk.fail(Op::File, fails_at, Fault::Error(std::io::ErrorKind::Other, 0));
            world.disk.crash_at(crash_at);
            world.run(&sizes).await;
            crash(world, tear).await;
        });
    }
}
