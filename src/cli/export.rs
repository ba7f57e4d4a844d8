//! The export to Elasticsearch as the server runs it.

use super::offline::ledger_name;
use super::serve::{CURSOR_FOLDER, join_rules};
use crate::api::{DeadLetterBox, DropAnswer, Letter, ReplayAnswer, Replaying};
use crate::config::Config;
use crate::elasticsearch::late::{
    Delivered, IDLE_AFTER, LateIdSink, LateOptions, LateStatus, NAME, Replays,
};
use crate::elasticsearch::{
    Client, Connection, DeadLetter, DeadLetterError, DeadLetters, ElasticsearchSink, Exporter,
    ExporterOptions, ExporterState, ExporterStatus, Resolved, SettingsError,
};
use crate::entry::format_ns;
use crate::export::{Consumer, ConsumerOptions, CursorFile};
use crate::ledger::{Ledger, Reader};
use crate::store::{AuditStore, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// Name of the consumer: in metrics, logs, `/readyz`, and as the name of its cursor file.
pub(super) const ELASTICSEARCH: &str = "elasticsearch";

/// Name of the correlator, in the same places.
pub(super) const LATE_IDS: &str = NAME;

/// How long a refresh takes to come by itself, for a key that may not ask for one: the cluster's
/// default is a second, and thirty for what nobody searches, which the search ends.
const REFRESH_WAIT: Duration = Duration::from_secs(10);

/// How long a search of the correlator may take.
const LATE_TIMEOUT: Duration = Duration::from_mins(1);

/// Folder of dead letters in the data folder.
pub(super) const DEAD_LETTERS: &str = "dead-letters";

/// Why an export could not be started. Evidence is taken all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
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
        let letters = DeadLetters::open(&config.data.join(DEAD_LETTERS))?;
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

/// The dead letters of a running export, for the API.
pub(super) struct Letters {
    pub(super) exporter: Exporter<Client>,
    pub(super) reader: Reader,
}

impl DeadLetterBox for Letters {
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String> {
        let letters = self.exporter.dead_letters();
        let page = letters.list(from, limit).map_err(|error| error.to_string())?;
        Ok((page.into_iter().map(letter).collect(), letters.len() as u64))
    }

    fn replay(&self, sequences: Vec<u64>, within: Duration) -> Replaying<'_> {
        Box::pin(async move {
            let done = self.exporter.replay(&self.reader, &sequences, within).await;
            let done = done.map_err(|error| error.to_string())?;
            Ok(ReplayAnswer {
                delivered: done.delivered as u64,
                refused: done.refused as u64,
                unknown: done.unknown as u64,
                left: done.left as u64,
            })
        })
    }

    fn drop_letters(
        &self,
        sequences: &[u64],
        reason: &str,
        by: &str,
    ) -> Result<DropAnswer, String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let how = Resolved::Dropped { by: by.to_owned(), reason: reason.to_owned() };
        let dropped = self.exporter.dead_letters().resolve(sequences, how, at_ns);
        let dropped = dropped.map_err(|error| error.to_string())?;
        tracing::warn!(dropped, "dead letters were dropped; their entries stay in the ledger only");
        let unknown = sequences.len().saturating_sub(dropped) as u64;
        Ok(DropAnswer { dropped: dropped as u64, unknown })
    }
}

/// In place of the dead letters of an export that could not be started: why.
pub(super) struct NotStarted(pub(super) String);

impl DeadLetterBox for NotStarted {
    fn list(&self, _: u64, _: usize) -> Result<(Vec<Letter>, u64), String> {
        Err(self.0.clone())
    }

    fn replay(&self, _: Vec<u64>, _: Duration) -> Replaying<'_> {
        Box::pin(async { Err(self.0.clone()) })
    }

    fn drop_letters(&self, _: &[u64], _: &str, _: &str) -> Result<DropAnswer, String> {
        Err(self.0.clone())
    }
}

/// The dead letters of a data folder that no server runs on: they can be looked at.
pub(super) struct LettersOnDisk {
    folder: PathBuf,
}

impl LettersOnDisk {
    /// `None` when nothing was ever exported from that data folder.
    pub(super) fn of(data: &Path) -> Option<Arc<dyn DeadLetterBox>> {
        let folder = data.join(DEAD_LETTERS);
        folder.exists().then(|| Arc::new(Self { folder }) as Arc<dyn DeadLetterBox>)
    }

    fn needs_server<T>() -> Result<T, String> {
        Err("only a running server can do that: start it with `spanledger serve`".to_owned())
    }
}

impl DeadLetterBox for LettersOnDisk {
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String> {
        let open = DeadLetters::read_only(&self.folder).map_err(|error| error.to_string())?;
        let mut open = open.unwrap_or_default();
        let count = open.len() as u64;
        let page = open.split_off(&from).into_values().take(limit);
        Ok((page.map(letter).collect(), count))
    }

    fn replay(&self, _: Vec<u64>, _: Duration) -> Replaying<'_> {
        Box::pin(async { Self::needs_server() })
    }

    fn drop_letters(&self, _: &[u64], _: &str, _: &str) -> Result<DropAnswer, String> {
        Self::needs_server()
    }
}

fn letter(letter: DeadLetter) -> Letter {
    Letter {
        sequence: letter.sequence,
        id: letter.id,
        tenant: letter.tenant,
        data_stream: letter.data_stream,
        status: letter.status,
        error_type: letter.error_type,
        reason: letter.reason,
        first_attempt: format_ns(letter.first_attempt_ns),
        last_attempt: format_ns(letter.last_attempt_ns),
        attempts: letter.attempts,
    }
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
