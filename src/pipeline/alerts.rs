//! The alerts: a consumer for each webhook.

use super::PipelineError;
use super::folders::CURSOR_FOLDER;
use crate::config::Config;
use crate::export::{AlertStatus, Consumer, ConsumerOptions, CursorFile, Sink as _, WebhookSink};
use crate::ledger::Ledger;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Names of the consumers in metrics and `/readyz`, by their place in the configuration.
const NAMES: [&str; crate::config::MAX_ALERTS] =
    ["alert_1", "alert_2", "alert_3", "alert_4", "alert_5", "alert_6", "alert_7", "alert_8"];

/// A running alert.
pub(super) struct Alerting {
    pub(super) name: &'static str,
    pub(super) consumer: Consumer,
    pub(super) status: Arc<AlertStatus>,
}

/// Starts what the configuration names. A new alert begins with what comes after it: nobody wants
/// to be woken by what happened last year.
pub(super) fn start(config: &Config, ledger: &Ledger) -> Result<Vec<Alerting>, PipelineError> {
    let mut running = Vec::new();
    for (alert, name) in config.alerts.iter().zip(NAMES) {
        let sink = WebhookSink::new(alert.clone(), Handle::current())
            .map_err(|error| PipelineError::Consumer(std::io::Error::other(error)))?;
        let reader = ledger.reader();
        let cursors = config.data.join(CURSOR_FOLDER);
        std::fs::create_dir_all(&cursors).map_err(PipelineError::Consumer)?;
        let cursor = CursorFile::new(&cursors, sink.name(), reader.origin());
        if !cursor.exists() {
            cursor.write(reader.watermark())?;
        }
        let status = sink.status();
        let consumer = Consumer::start(reader, sink, ConsumerOptions::new(cursors))
            .map_err(PipelineError::Consumer)?;
        running.push(Alerting { name, consumer, status });
    }
    Ok(running)
}
