//! Checkpoints on their way out: to witnesses, which sign what is consistent with what they signed
//! before, and to sinks, which only keep them.
//!
//! ```text
//! published ─► witness: add-checkpoint (old size, proof, note) ─► its signature ─► checkpoint, cosigned
//!           └► sink:    a line in a file, a POST, a document
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the tasks: what each is given next, and when |
//! | `outlets.rs` | [`Outlets`]: how it goes with each witness and each sink |
//! | `witness.rs` | asking a witness |
//! | `sink.rs` | giving checkpoints to a sink |
//! | `file.rs` | a file as a sink, which may hang or be away |
//!
//! Each has a task of its own. What fails is counted, logged once, shown in `/readyz` and tried again,
//! with a newer checkpoint when there is one, so none is given an older one after a newer; it never
//! keeps a checkpoint from being published. A sink gets the last one before the process ends, and
//! everybody gets it again after a start. Sources: c2sp.org/tlog-witness, c2sp.org/tlog-cosignature.

mod file;
mod outlets;
mod sink;
mod witness;

pub use outlets::{Outlet, Outlets};

use super::publish::{Command, PublishStatus};
use crate::config::PublicLogSettings;
use crate::ledger::PublicLog;
use crate::ledger::checkpoint::SignedCheckpoint;
use reqwest::{Client, redirect};
use sink::Keeper;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use witness::Asking;

/// Time for one request, the connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// Least time between two checkpoints for witnesses: they serve many logs.
const ROUND: Duration = Duration::from_secs(1);

/// What is to be sent.
pub(super) type Latest = watch::Sender<Option<SignedCheckpoint>>;

/// What tasks hold until they end.
type Running = Sender<()>;

type Changes = watch::Receiver<Option<SignedCheckpoint>>;

/// Starts a task for each witness and each sink. They end when the sender that this gives is gone;
/// a sink holds `running` until it got the last checkpoint, or did not take it.
pub(super) fn start(
    settings: &PublicLogSettings,
    log: &PublicLog,
    status: &Arc<PublishStatus>,
    commands: &Sender<Command>,
    running: &Running,
    runtime: &Handle,
) -> io::Result<Latest> {
    let latest = Latest::new(None);
    // A redirect could lead to whom nobody meant, and environment variables are no configuration.
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(io::Error::other)?;
    let rounds = Latest::new(None);
    let given: Vec<Changes> = settings.witnesses.iter().map(|_| rounds.subscribe()).collect();
    runtime.spawn(in_rounds(latest.subscribe(), rounds));
    for (witness, changes) in settings.witnesses.iter().zip(given) {
        let name = status.witnesses.add(witness.key.name());
        let asking = Asking::new(name, witness.clone(), client.clone(), log.clone());
        runtime.spawn(asking.run(changes, Arc::clone(status), commands.clone()));
    }
    for sink in &settings.sinks {
        let name = status.sinks.add(&sink.target.kind());
        let keeper = Keeper::new(&sink.target, &client, log.dir()).map_err(io::Error::other)?;
        let kept = sink::run(name, keeper, sink.every, latest.subscribe(), Arc::clone(status));
        let running = running.clone();
        runtime.spawn(async move {
            kept.await;
            drop(running);
        });
    }
    Ok(latest)
}

/// Gives all witnesses the same checkpoints, so that several sign the same one.
async fn in_rounds(mut changes: Changes, rounds: Latest) {
    while let Some(signed) = next(&mut changes, None).await {
        rounds.send_replace(Some(signed));
        pause(&changes, ROUND).await;
    }
}

/// The next checkpoint: the newest, or else the one that was not taken; `None` at the end.
async fn next(changes: &mut Changes, failed: Option<SignedCheckpoint>) -> Option<SignedCheckpoint> {
    loop {
        {
            let latest = changes.borrow_and_update();
            if latest.has_changed() && latest.is_some() {
                return latest.clone();
            }
        }
        if failed.is_some() {
            return failed;
        }
        // What was sent before the sender went is still told.
        changes.changed().await.ok()?;
        if let Some(latest) = changes.borrow_and_update().clone() {
            return Some(latest);
        }
    }
}

/// Whether nothing is signed any more.
fn has_ended(changes: &Changes) -> bool {
    changes.has_changed().is_err()
}

/// Waits so long, and no longer when nothing more is signed.
async fn pause(changes: &Changes, wait: Duration) {
    let mut changes = changes.clone();
    let ended = async { while changes.changed().await.is_ok() {} };
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = ended => {}
    }
}

#[cfg(test)]
mod tests;
