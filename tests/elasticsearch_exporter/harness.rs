//! An exporter over a ledger in front of a cluster in memory, which is stopped, killed and started.

use crate::bulk_cluster::Cluster;
use crate::store_support::*;
use spanledger::elasticsearch::{DeadLetters, ElasticsearchSink, Exporter, ExporterOptions};
use spanledger::entry::Kind;
use spanledger::export::{Consumer, ConsumerOptions, ConsumerStatus, CursorFile, Stopped};
use std::cell::Cell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Messages of entries that the cluster rejects, each in its own way.
pub(crate) const BAD: [&str; 3] =
    ["bad document", "goes to the failure store", "refuses the request"];

pub(crate) struct Export {
    pub(crate) fixture: Fixture,
    pub(crate) cluster: Cluster,
    pub(crate) runtime: Runtime,
    pub(crate) change: fn(&mut ExporterOptions),
    pub(crate) idle_after: Duration,
    /// Where the exporter's files lie: each kill goes on with a copy.
    pub(crate) files: PathBuf,
    pub(crate) kills: usize,
    pub(crate) letters: Cell<Weak<DeadLetters>>,
}

pub(crate) struct Running {
    pub(crate) consumer: Consumer,
    pub(crate) status: Arc<ConsumerStatus>,
    pub(crate) exporter: Exporter<Cluster>,
}

impl Running {
    pub(crate) fn stop(self) -> Stopped {
        drop(self.exporter);
        self.consumer.stop(SOON)
    }
}

impl Export {
    pub(crate) fn new(seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let (fixture, cluster) = (Fixture::new(), Cluster::new(seed));
        Self {
            files: fixture.dir.path().join("exporter"),
            kills: 0,
            fixture,
            cluster,
            runtime,
            change: |_| {},
            idle_after: Duration::from_millis(1),
            letters: Cell::default(),
        }
    }

    pub(crate) fn append(&mut self, from: u64, to: u64, bad: impl Fn(u64) -> Option<&'static str>) {
        let entries: Vec<Given> = (from..to)
            .map(|n| {
                let message = bad(n).map_or_else(|| format!("message {n}"), str::to_owned);
                Given::new(n, Kind::Span, n).with(|entry| entry.message = Some(message.into()))
            })
            .collect();
        self.fixture.append(&entries);
    }

    pub(crate) fn start(&self) -> Running {
        let cursors = self.files.join("cursors");
        let mut options = ExporterOptions {
            max_items: 7,
            retry: (Duration::from_millis(1), Duration::from_millis(4)),
            refresh_wait: Duration::from_millis(1),
            sent_ahead: 10,
            ..ExporterOptions::new(ORIGIN, &cursors)
        };
        (self.change)(&mut options);
        // A thread of the last run may still be writing: a process that is killed has none.
        let last = self.letters.take();
        wait("the end of the last run", || last.strong_count() == 0);
        let letters = self.files.join("dead-letters");
        let dead = Arc::new(DeadLetters::open(&letters).unwrap());
        self.letters.set(Arc::downgrade(&dead));
        let reader = self.fixture.reader();
        let runtime = self.runtime.handle().clone();
        let sink =
            ElasticsearchSink::new(self.cluster.clone(), options, dead, &reader, runtime).unwrap();
        let exporter = sink.exporter();
        let options = ConsumerOptions {
            chunk_bytes: 4096,
            idle_after: self.idle_after,
            cursor_every: Duration::ZERO,
            retry: (Duration::from_millis(1), Duration::from_millis(4)),
            ..ConsumerOptions::new(&cursors)
        };
        let consumer = Consumer::start(reader, sink, options).unwrap();
        Running { status: consumer.status(), consumer, exporter }
    }

    /// The next start finds the files as they are at some moment while requests are in flight.
    pub(crate) fn kill(&mut self, running: Running) {
        self.cluster.cut_off();
        self.kills += 1;
        let copy = self.fixture.dir.path().join(format!("exporter-{}", self.kills));
        // The cursor first: it never passes what becomes durable later.
        for folder in ["cursors", "dead-letters"] {
            copy_files(&self.files.join(folder), &copy.join(folder));
        }
        running.stop();
        self.files = copy;
    }

    pub(crate) fn cursor(&self) -> u64 {
        let cursors = self.files.join("cursors");
        let origin = self.fixture.reader().origin();
        CursorFile::new(&cursors, "elasticsearch", origin).read().unwrap_or(0)
    }

    /// The cursor is behind nothing that is neither a document nor a dead letter.
    pub(crate) fn assert_cursor_is_honest(&self, running: &Running) {
        // The cursor first: what it passed must be there already.
        let cursor = self.cursor().max(running.status.settled());
        let mut there = self.cluster.sequences();
        there.extend(letters(&running.exporter));
        for sequence in 0..cursor {
            assert!(there.contains(&sequence), "{sequence} is lost, the cursor is {cursor}");
        }
    }

    pub(crate) fn settle(&self, running: &Running) {
        let all = self.fixture.reader().watermark();
        until(
            || running.status.settled() == all,
            || format!("{:?} {:?}", running.status, running.exporter.status()),
            || self.assert_cursor_is_honest(running),
        );
    }

    /// Documents and dead letters together are all entries, and no document is there twice.
    pub(crate) fn assert_complete(&self, running: &Running, duplicates: usize) {
        let documents = self.cluster.documents();
        let mut all: HashSet<u64> = documents.iter().map(|(_, _, sequence)| *sequence).collect();
        let distinct = all.len();
        assert!(documents.len() <= distinct + duplicates, "{} of {distinct}", documents.len());
        let dead = letters(&running.exporter);
        assert!(dead.iter().all(|sequence| !all.contains(sequence)), "both");
        all.extend(dead);
        assert_eq!(all, (0..self.fixture.reader().watermark()).collect());
    }
}

pub(crate) fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut names: Vec<_> =
        from.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        // A file that is being replaced has another name for a moment.
        if let Ok(bytes) = std::fs::read(from.join(&name)) {
            std::fs::write(to.join(&name), bytes).unwrap();
        }
    }
}

pub(crate) fn letters(exporter: &Exporter<Cluster>) -> Vec<u64> {
    let letters = exporter.dead_letters().list(0, 1_000).unwrap();
    letters.iter().map(|letter| letter.sequence).collect()
}

pub(crate) fn until(
    mut holds: impl FnMut() -> bool,
    show: impl Fn() -> String,
    mut each: impl FnMut(),
) {
    let since = Instant::now();
    while !holds() {
        each();
        assert!(since.elapsed() < SOON, "it did not happen: {}", show());
        std::thread::yield_now();
    }
}

pub(crate) fn wait(what: &str, holds: impl FnMut() -> bool) {
    until(holds, || what.to_owned(), || {});
}

pub(crate) fn good(_: u64) -> Option<&'static str> {
    None
}

impl Export {
    /// One more entry, so that there is something to send.
    pub(crate) fn append_one_if_idle(&self, running: &Running) {
        let all = self.fixture.reader().watermark();
        if running.status.settled() == all {
            let body = {
                let mut body = Vec::new();
                spanledger::entry::Entry::new(Kind::Span).write(&mut body).unwrap();
                body
            };
            let mut batch = spanledger::ledger::Batch::new();
            let entry = spanledger::ledger::NewEntry {
                id: spanledger::ledger::EntryId(u128::from(all).to_be_bytes()),
                tenant: "acme",
                tenant_pseudonym: [0; 16],
                retention_class: 3,
                received_ns: 1,
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: &body,
            };
            batch.push(&entry).unwrap();
            self.fixture.runtime.block_on(self.fixture.ledger.append(batch)).unwrap();
        }
    }
}
