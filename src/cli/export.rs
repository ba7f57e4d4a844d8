//! The export to Elasticsearch as the server runs it.

use super::offline::ledger_name;
use super::serve::{CURSOR_FOLDER, ServeError};
use crate::api::{DeadLetterBox, Letter, ReplayAnswer, Replaying};
use crate::config::Config;
use crate::elasticsearch::{
    Client, DeadLetter, DeadLetters, ElasticsearchSink, Exporter, ExporterOptions, ExporterState,
    ExporterStatus,
};
use crate::entry::format_ns;
use crate::export::{Consumer, ConsumerOptions};
use crate::ledger::{Ledger, Reader};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Name of the consumer: in metrics, logs, `/readyz`, and as the name of its cursor file.
pub(super) const ELASTICSEARCH: &str = "elasticsearch";

/// Folder of dead letters in the data folder.
pub(super) const DEAD_LETTERS: &str = "dead-letters";

/// A running export.
pub(super) struct Export {
    /// Status, dead letters, replays.
    pub(super) exporter: Exporter<Client>,
    /// The thread that reads the ledger.
    pub(super) consumer: Consumer,
}

impl Export {
    /// Starts it when a cluster is configured. Whether the cluster is there is found out later:
    /// evidence is taken without it.
    pub(super) fn start(config: &Config, ledger: &Ledger) -> Result<Option<Self>, ServeError> {
        let Some(settings) = &config.elasticsearch else { return Ok(None) };
        let client = Client::new(&settings.connection).map_err(ServeError::Elasticsearch)?;
        for notice in settings.connection.notices() {
            tracing::warn!("{notice}");
        }
        let letters = DeadLetters::open(&config.data.join(DEAD_LETTERS));
        let letters = letters.map_err(ServeError::DeadLetters)?;
        let reader = ledger.reader();
        let cursors = config.data.join(CURSOR_FOLDER);
        let origin = ledger_name(reader.origin());
        let options = ExporterOptions {
            max_bytes: settings.bulk_bytes,
            max_items: settings.bulk_documents,
            max_in_flight: settings.in_flight,
            gzip: settings.gzip,
            timeout: settings.request_timeout,
            ..ExporterOptions::new(origin, &cursors)
        };
        let letters = Arc::new(letters);
        let sink = ElasticsearchSink::new(client, options, letters, &reader, Handle::current());
        let sink = sink.map_err(ServeError::Consumer)?;
        let exporter = sink.exporter();
        let options = ConsumerOptions::new(cursors);
        let consumer = Consumer::start(reader, sink, options).map_err(ServeError::Consumer)?;
        Ok(Some(Self { exporter, consumer }))
    }
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

    fn replay(&self, sequences: Vec<u64>) -> Replaying<'_> {
        Box::pin(async move {
            let done = self.exporter.replay(&self.reader, &sequences).await;
            let done = done.map_err(|error| error.to_string())?;
            Ok(ReplayAnswer {
                delivered: done.delivered as u64,
                refused: done.refused as u64,
                unknown: done.unknown as u64,
            })
        })
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
