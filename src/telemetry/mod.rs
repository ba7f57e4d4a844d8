//! What the process says about itself: logs and metrics. Never on the path of a span.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | our own logs: structured, to standard error, quiet by default |
//! | `metrics.rs` | the numbers of every module, read when somebody asks for them |
//! | `log_metrics.rs` | those of the public log and of the upkeep of segments |

mod log_metrics;
pub mod metrics;

use serde::Deserialize;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How our own log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts our own logs on standard error. A second call changes nothing.
///
/// `level` is a filter as `tracing-subscriber` reads it: `warn`, `info`, `spanledger=debug`.
///
/// # Errors
/// The text of what is wrong with the filter.
pub fn start_logs(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!(
            "{level:?} is not a log level: {error}; write it like warn, info or spanledger=debug"
        )
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    // An error means that a subscriber is there already: a test's, or an earlier call's.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
    Ok(())
}
