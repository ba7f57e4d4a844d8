//! What can be in the way of an outbox.

use std::path::PathBuf;

/// Why an outbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A limit is too small for the others.
    #[error("{name} is {is}, and must be at least {least} for the other limits to hold")]
    Limit {
        /// The setting.
        name: &'static str,
        /// What was set.
        is: u64,
        /// What it must be at least.
        least: u64,
    },
    /// The spool's folder cannot be used.
    #[error("the spool {path} cannot be used: is it a folder that this user may write?")]
    Spool {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A thread or its runtime cannot be started.
    #[error("the thread {name} cannot be started: does the process reach a limit of threads?")]
    Thread {
        /// The thread.
        name: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system gives no random bytes for the instance's id.
    #[error("no random bytes for the id of this instance")]
    Random(#[from] getrandom::Error),
}
