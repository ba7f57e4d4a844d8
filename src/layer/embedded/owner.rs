//! The thread that owns the pipeline: starts it, keeps it, stops it.

use super::EmbeddedError;
use super::listening::{Listening, Wish};
use crate::config::{Config, Shutdown};
use crate::convert::Mappings;
use crate::export::chain;
use crate::ledger::Recovery;
use crate::pipeline::{Opened, Pipeline, PipelineError, Vitals};
use crate::receiver::Receiver;
use crate::store::AuditStore;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tracing::subscriber::NoSubscriber;

/// Name of the thread, and of those of its runtime.
const THREAD: &str = "spanledger-ledger";

/// Threads of the runtime: one may be busy converting while the other answers.
const WORKERS: usize = 2;

/// What each step of the end has at least, when what was to be delivered took all of the time: the
/// ledger has synced everything it acknowledged, and only marks a clean end.
const LEAST: Duration = Duration::from_secs(1);

/// How long work that nobody waits for any more may hold up the end of the runtime.
const RUNTIME_WITHIN: Duration = Duration::from_secs(1);

/// What the owner's thread gives to those who use the pipeline.
pub(super) struct Up {
    pub(super) receiver: Receiver,
    pub(super) runtime: runtime::Handle,
    pub(super) store: Arc<dyn AuditStore>,
    pub(super) seen: Seen,
}

/// What the agent may see of it.
pub(super) struct Seen {
    pub(super) vitals: Vitals,
    pub(super) recovery: Recovery,
    pub(super) not_exported: Option<String>,
    pub(super) api: Option<SocketAddr>,
}

/// The end of the thread, from outside.
pub(super) struct Owner {
    deadlines: Shutdown,
    stop: mpsc::Sender<Shutdown>,
    over: watch::Receiver<Ended>,
}

impl Owner {
    /// Has the pipeline stopped and waits for it. Says what was not clean, also to those who ask
    /// again. Needs no runtime.
    pub(super) async fn end(&self, within: Duration) -> Result<(), String> {
        let within = within.max(LEAST);
        let Shutdown { receivers, ledger, consumers } = self.deadlines;
        let receivers = receivers.min(within);
        let (ledger, consumers) = (ledger.min(within), consumers.min(within));
        // One that has ended needs not be told.
        let _ = self.stop.send(Shutdown { receivers, ledger, consumers });
        let mut over = self.over.clone();
        let ended = over.wait_for(Option::is_some).await.map(|ended| ended.clone());
        ended.ok().flatten().unwrap_or_else(|| Err(EmbeddedError::Died.to_string()))
    }
}

/// Starts a pipeline on a thread of its own, and returns when it takes evidence.
pub(super) fn start(
    config: Config,
    mappings: Mappings,
    api: Option<Wish>,
) -> Result<(Owner, Up), EmbeddedError> {
    let deadlines = config.shutdown;
    let (up, started) = mpsc::channel();
    let (stop, told) = mpsc::channel();
    let (ended, over) = watch::channel(None);
    let own = move || {
        // For good: the thread ends with the pipeline.
        std::mem::forget(tracing::subscriber::set_default(NoSubscriber::new()));
        own(&config, mappings, api, &up, &told, &ended);
    };
    let owner = thread::Builder::new().name(THREAD.to_owned());
    owner.spawn(own).map_err(EmbeddedError::Threads)?;
    let up = started.recv().map_err(|_| EmbeddedError::Died)??;
    Ok((Owner { deadlines, stop, over }, up))
}

/// How it ended: `None` while it runs, then what was not clean.
type Ended = Option<Result<(), String>>;

/// The owner's thread: starts the pipeline, waits until it is told to stop or nobody can tell it
/// any more, and stops it.
fn own(
    config: &Config,
    mappings: Mappings,
    api: Option<Wish>,
    up: &mpsc::Sender<Result<Up, EmbeddedError>>,
    told: &mpsc::Receiver<Shutdown>,
    ended: &watch::Sender<Ended>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return drop(up.send(Err(EmbeddedError::Threads(error)))),
    };
    let pipeline = match runtime.block_on(pipeline(config, mappings)) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            runtime.shutdown_timeout(RUNTIME_WITHIN);
            return drop(up.send(Err(error.into())));
        }
    };
    let receiver = Receiver::new(pipeline.intake().clone(), config.limits.clone());
    let listening =
        api.map(|wish| runtime.block_on(Listening::start(wish, config, &pipeline, &receiver)));
    let listening = match listening.transpose() {
        Ok(listening) => listening,
        Err(error) => {
            // Nothing was taken yet, so nothing can be lost by an end that is not clean.
            let _ = runtime.block_on(pipeline.stop_within(config.shutdown));
            runtime.shutdown_timeout(RUNTIME_WITHIN);
            return drop(up.send(Err(error)));
        }
    };
    let seen = Seen {
        vitals: pipeline.vitals(),
        recovery: pipeline.recovery().clone(),
        not_exported: pipeline.not_exported().map(|error| chain(error)),
        api: listening.as_ref().map(Listening::address),
    };
    let store = Arc::clone(pipeline.store());
    let _ = up.send(Ok(Up { receiver, runtime: runtime.handle().clone(), store, seen }));
    let deadlines = told.recv().unwrap_or(config.shutdown);
    if let Some(listening) = listening {
        runtime.block_on(listening.end(deadlines.receivers));
    }
    let stopped = runtime.block_on(pipeline.stop_within(deadlines));
    runtime.shutdown_timeout(RUNTIME_WITHIN);
    ended.send_replace(Some(stopped.map_err(|error| chain(&error))));
}

async fn pipeline(config: &Config, mappings: Mappings) -> Result<Pipeline, PipelineError> {
    let opened = Opened::open(config, mappings)?;
    // An erasure that cannot be completed now stays ordered, and its payloads stay shut.
    let _ = opened.intake().complete_erasures().await;
    opened.start(config)
}

fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(THREAD)
        .on_thread_start(|| {
            std::mem::forget(tracing::subscriber::set_default(NoSubscriber::new()));
        })
        .enable_all()
        .build()
}
