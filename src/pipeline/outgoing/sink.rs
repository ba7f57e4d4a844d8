//! Giving checkpoints to a sink, which keeps them where this machine cannot change them.

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
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What checkpoints are given to.
pub(super) enum Keeper {
    /// A file that is appended to.
    File(PathBuf),
    /// An address that is posted to, which is shown nowhere.
    Webhook(Url, Client),
    /// A data stream in which documents are created.
    Elasticsearch(Box<CheckpointStream<Cluster>>),
}

impl Keeper {
    /// Nothing is opened or sent yet.
    pub(super) fn new(target: &SinkTarget, client: &Client) -> Result<Self, SettingsError> {
        Ok(match target {
            SinkTarget::File(path) => Self::File(path.clone()),
            SinkTarget::Webhook(url) => Self::Webhook(url.url().clone(), client.clone()),
            SinkTarget::Elasticsearch(connection) => {
                Self::Elasticsearch(Box::new(CheckpointStream::new(Cluster::new(connection)?)))
            }
        })
    }

    /// Gives it a checkpoint. What may or may not have arrived is given once more.
    async fn keep(&mut self, signed: &SignedCheckpoint) -> Result<(), String> {
        match self {
            Self::File(path) => append(path.clone(), line(signed)).await,
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

pub(super) async fn append(path: PathBuf, line: String) -> Result<(), String> {
    let write = move || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o600);
        let mut file = options.open(&path)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(at) = length.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        // A full disk took half a line before: that one stands alone.
        let start = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{start}{line}").as_bytes())?;
        file.sync_data()?;
        match path.parent().filter(|_| length == 0) {
            // Of a new file the name has to be durable too.
            Some(dir) if dir.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| error.to_string())?.map_err(|error: io::Error| error.to_string())
}
