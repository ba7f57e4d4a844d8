//! The thread `spanledger-sender` and its runtime.

use super::backlog::Backlog;
use super::shared::Shared;
use super::spool::live::LiveReader;
use std::io;
use std::sync::{Arc, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::subscriber::NoSubscriber;

/// A runtime of one thread, which may be dropped anywhere: in an agent's runtime, too, when a
/// thread cannot be started.
pub(super) struct Background(Option<Runtime>);

impl Background {
    /// The few other threads that it may start (for names of hosts) are as deaf to tracing as the
    /// sender: what its libraries say must not become records.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("spanledger-sender")
            .on_thread_start(|| {
                std::mem::forget(tracing::subscriber::set_default(NoSubscriber::new()));
            })
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The thread's work, until the outbox stops.
pub(super) fn run(shared: &Arc<Shared>, background: Background, own: Option<LiveReader>) {
    tracing::subscriber::with_default(NoSubscriber::new(), || {
        let Some(runtime) = &background.0 else { return };
        runtime.block_on(async {
            let task = tokio::spawn(Backlog::new(shared.clone(), own).run());
            *shared.backlog.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
            shared.halt.notified().await;
        });
        drop(background);
    });
}
