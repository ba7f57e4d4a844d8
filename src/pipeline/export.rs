//! The export to Elasticsearch, and the correlator that follows it.

use super::answering::join_rules;
use super::folders::{CURSOR_FOLDER, dead_letters_dir, ledger_name};
use crate::config::Config;
use crate::elasticsearch::late::{
    Delivered, IDLE_AFTER, LateIdSink, LateOptions, LateStatus, NAME, Replays,
};
use crate::elasticsearch::{
    Client, Connection, DeadLetterError, DeadLetters, ElasticsearchSink, Exporter, ExporterOptions,
    ExporterState, ExporterStatus, SettingsError,
};
use crate::export::{Consumer, ConsumerOptions, CursorFile};
use crate::ledger::Ledger;
use crate::store::{AuditStore, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Name of the consumer: in metrics, logs, `/readyz`, and as the name of its cursor file.
pub const ELASTICSEARCH: &str = "elasticsearch";

/// Name of the correlator, in the same places.
pub(super) const LATE_IDS: &str = NAME;

/// How long a refresh takes to come by itself, for a key that may not ask for one: the cluster's
/// default is a second, and thirty for what nobody searches, which the search ends.
const REFRESH_WAIT: Duration = Duration::from_secs(10);

/// How long a search of the correlator may take.
const LATE_TIMEOUT: Duration = Duration::from_mins(1);

/// Why an export could not be started. Evidence is taken all the same.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The cluster cannot be exported to with these settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What could not be delivered cannot be kept.
    #[error(transparent)]
    DeadLetters(#[from] DeadLetterError),
    /// The place of what follows the export cannot be set back.
    #[error(transparent)]
    Cursor(#[from] StoreError),
    /// There is no folder or no thread for it.
    #[error("the export cannot be started; check the disk and the data folder, then restart")]
    Start(#[from] std::io::Error),
}

/// A running export.
pub(super) struct Export {
    /// Status, dead letters, replays.
    pub(super) exporter: Exporter<Client>,
    /// The thread that reads the ledger.
    pub(super) consumer: Consumer,
    /// What gives documents ids that became known later, unless it is switched off.
    pub(super) correlator: Option<Correlator>,
}

/// A running correlator.
pub(super) struct Correlator {
    /// Plain numbers.
    pub(super) status: Arc<LateStatus>,
    /// The thread that reads the ledger.
    pub(super) consumer: Consumer,
}

impl Export {
    /// Starts it when a cluster is configured. Whether the cluster is there is found out later:
    /// evidence is taken without it.
    /// `local` knows the groups of our own ledger.
    ///
    /// # Errors
    /// [`ExportError`]: there is no export then, and everything else works.
    pub(super) fn start(
        config: &Config,
        ledger: &Ledger,
        local: Option<Arc<dyn AuditStore>>,
    ) -> Result<Option<Self>, ExportError> {
        let Some(settings) = &config.elasticsearch else { return Ok(None) };
        let client = Client::new(&settings.connection)?;
        for notice in settings.connection.notices() {
            tracing::warn!("{notice}");
        }
        let letters = DeadLetters::open(&dead_letters_dir(&config.data))?;
        let reader = ledger.reader();
        let cursors = config.data.join(CURSOR_FOLDER);
        let origin = ledger_name(reader.origin());
        let replays = Arc::new(Replays::open(&cursors, LATE_IDS, reader.origin()));
        let follower = settings.correlator.is_some();
        let options = ExporterOptions {
            max_bytes: settings.bulk_bytes,
            max_items: settings.bulk_documents,
            max_in_flight: settings.in_flight,
            gzip: settings.gzip,
            timeout: settings.request_timeout,
            replays: follower.then(|| Arc::clone(&replays)),
            ..ExporterOptions::new(&origin, &cursors)
        };
        let letters = Arc::new(letters);
        let sink = ElasticsearchSink::new(client, options, letters, &reader, Handle::current())?;
        let exporter = sink.exporter();
        if follower {
            stay_behind(&cursors, reader.origin())?;
        }
        let options = ConsumerOptions::new(&cursors);
        let consumer = Consumer::start(reader, sink, options)?;
        let correlator = settings.correlator.as_ref().map(|connection| {
            Correlator::start(config, connection, ledger, &exporter, &consumer, replays, local)
        });
        let correlator = correlator.transpose()?;
        Ok(Some(Self { exporter, consumer, correlator }))
    }
}

impl Correlator {
    fn start(
        config: &Config,
        connection: &Connection,
        ledger: &Ledger,
        exporter: &Exporter<Client>,
        followed: &Consumer,
        replays: Arc<Replays>,
        local: Option<Arc<dyn AuditStore>>,
    ) -> Result<Self, ExportError> {
        let client = Client::new(connection)?;
        let reader = ledger.reader();
        let (exporter, progress) = (exporter.clone(), followed.status());
        // Before the first entry of this start the exporter knows only its cursor.
        let delivered: Delivered = Box::new(move |sequence, most| {
            let before = progress.settled();
            if before > sequence {
                return before;
            }
            exporter.wait_delivered(sequence, most).max(progress.settled())
        });
        let options = LateOptions {
            origin: ledger_name(reader.origin()),
            rules: join_rules(&config.correlation),
            timeout: LATE_TIMEOUT,
            refresh_wait: REFRESH_WAIT,
        };
        let (from, runtime) = (reader.clone(), Handle::current());
        let sink = LateIdSink::new(client, options, delivered, replays, local, from, runtime);
        let status = sink.status();
        let cursors = config.data.join(CURSOR_FOLDER);
        let options = ConsumerOptions { idle_after: IDLE_AFTER, ..ConsumerOptions::new(cursors) };
        let consumer = Consumer::start(reader, sink, options)?;
        Ok(Self { status, consumer })
    }
}

/// Sets the correlator's cursor back to the exporter's: what is sent again may be delivered for the
/// first time, and is looked at after that.
fn stay_behind(cursors: &Path, ledger: [u8; 16]) -> Result<(), StoreError> {
    let at = CursorFile::new(cursors, ELASTICSEARCH, ledger).read().unwrap_or(0);
    let own = CursorFile::new(cursors, LATE_IDS, ledger);
    if own.read().is_some_and(|own| own > at) { own.write(at) } else { Ok(()) }
}

/// What the export waits for, in a sentence for `/readyz`.
pub(super) fn held_up(status: &ExporterStatus) -> Option<String> {
    let state = status.state();
    if state == ExporterState::Running {
        return None;
    }
    let what = status.last_error().unwrap_or_else(|| state.as_str().to_owned());
    Some(state.advice().map_or_else(|| what.clone(), |advice| format!("{what}; {advice}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correlator_starts_no_later_than_the_exporter() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = |name| CursorFile::new(dir.path(), name, [1; 16]);
        stay_behind(dir.path(), [1; 16]).unwrap();
        assert_eq!(cursor(LATE_IDS).read(), None, "a new one starts at the first entry");
        for (exporter, own, wanted) in [(Some(7), 9, 7), (Some(7), 5, 5), (None, 9, 0)] {
            let _ = std::fs::remove_file(dir.path().join(format!("{ELASTICSEARCH}.cursor")));
            if let Some(at) = exporter {
                cursor(ELASTICSEARCH).write(at).unwrap();
            }
            cursor(LATE_IDS).write(own).unwrap();
            stay_behind(dir.path(), [1; 16]).unwrap();
            assert_eq!(cursor(LATE_IDS).read(), Some(wanted));
        }
    }
}
