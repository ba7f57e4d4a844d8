//! Threads that hear tracing as little as whoever starts them.

use std::io;
use tracing::subscriber::NoSubscriber;

/// Starts a thread of that name. Whoever hears no tracing starts one that hears none: in an agent's
/// process what is said about an export must not become entries that are exported again.
///
/// # Errors
/// When the system starts no thread.
pub(crate) fn start(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let deaf = tracing::dispatcher::get_default(tracing::Dispatch::is::<NoSubscriber>);
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(move || {
        let _deaf = deaf.then(|| tracing::subscriber::set_default(NoSubscriber::new()));
        work();
    })?;
    Ok(())
}
