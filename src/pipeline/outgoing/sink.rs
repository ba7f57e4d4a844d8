//! Giving checkpoints to a sink, which keeps them where this machine cannot change them.

use super::file::FileSink;
use super::{Changes, RETRY, has_ended, next, pause};
use crate::config::SinkTarget;
use crate::elasticsearch::checkpoints::CheckpointStream;
use crate::elasticsearch::{Client as Cluster, SettingsError};
use crate::entry::format_ns;
use crate::export::chain;
use crate::intake::now_ns;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::pipeline::publish::PublishStatus;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What checkpoints are given to.
pub(super) enum Keeper {
    /// A file that is appended to.
    File(FileSink),
    /// An address that is posted to, which is shown nowhere.
    Webhook(Url, Client),
    /// A data stream in which documents are created.
    Elasticsearch(Box<CheckpointStream<Cluster>>),
}

impl Keeper {
    /// Nothing is opened or sent yet. `dir` is the folder of the log.
    pub(super) fn new(
        target: &SinkTarget,
        client: &Client,
        dir: &Path,
    ) -> Result<Self, SettingsError> {
        Ok(match target {
            SinkTarget::File(path) => Self::File(FileSink::new(path.clone(), dir)),
            SinkTarget::Webhook(url) => Self::Webhook(url.url().clone(), client.clone()),
            SinkTarget::Elasticsearch(connection) => {
                Self::Elasticsearch(Box::new(CheckpointStream::new(Cluster::new(connection)?)))
            }
        })
    }

    /// Gives it a checkpoint. What may or may not have arrived is given once more.
    async fn keep(&mut self, signed: &SignedCheckpoint) -> Result<(), String> {
        match self {
            Self::File(file) => file.keep(line(signed)).await,
            Self::Webhook(url, client) => {
                let post = client.post(url.clone()).header(CONTENT_TYPE, "application/json");
                match post.body(line(signed)).send().await {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(format!("it answered {}", answer.status())),
                    Err(error) => Err(chain(&error.without_url())),
                }
            }
            Self::Elasticsearch(stream) => {
                let kept = stream.keep(signed, &format_ns(now_ns())).await;
                kept.map_err(|error| error.to_string())
            }
        }
    }
}

/// Gives a sink at most one checkpoint in that time, and the last one before the end.
pub(super) async fn run(
    name: String,
    mut keeper: Keeper,
    every: Duration,
    mut changes: Changes,
    status: Arc<PublishStatus>,
) {
    let mut failed = None;
    while let Some(signed) = next(&mut changes, failed.take()).await {
        let is_last = has_ended(&changes);
        match keeper.keep(&signed).await {
            Ok(()) => {
                status.sink_writes.fetch_add(1, Ordering::Relaxed);
                if status.sinks.took(&name, signed.checkpoint.head) {
                    tracing::info!(sink = name, "a sink takes checkpoints again");
                }
            }
            Err(why) => {
                status.sink_failures.fetch_add(1, Ordering::Relaxed);
                if status.sinks.failed(&name, &why) {
                    tracing::warn!(sink = name, "a sink does not take checkpoints: {why}");
                }
                failed = Some(signed);
            }
        }
        if is_last {
            return;
        }
        // What came meanwhile waits; of several the last is kept.
        let wait = if failed.is_some() { RETRY.min(every) } else { every };
        pause(&changes, wait).await;
    }
}

/// A checkpoint as files and webhooks get it: one line of JSON.
pub(super) fn line(signed: &SignedCheckpoint) -> String {
    let text = String::from_utf8_lossy(&signed.note);
    let checkpoint = &signed.checkpoint;
    let line = json!({
        "time": format_ns(now_ns()),
        "origin": checkpoint.origin,
        "size": checkpoint.head.size,
        "checkpoint": text,
    });
    format!("{line}\n")
}
