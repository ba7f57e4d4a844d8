//! `public_log:` as it is written, and what it means.

use super::{ConfigError, Period, value};
use std::time::Duration;

/// Shortest time between checkpoints: each costs a few writes to the disk.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

super::raw::section! {
    /// `public_log:`
    RawPublicLog {
        /// First part of the log's name.
        name: String = "spanledger".to_owned(),
        /// Longest time from an acknowledgement to a checkpoint that covers it.
        checkpoint_interval: Period = Period::seconds(1),
    }
}

/// How the public log is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicLogSettings {
    /// First part of the log's name; the second is the ledger's random number.
    pub name: String,
    /// Longest time from an acknowledgement to a checkpoint that covers it.
    pub checkpoint_interval: Duration,
}

impl RawPublicLog {
    pub(super) fn resolve(self) -> Result<PublicLogSettings, ConfigError> {
        let named = |c: char| c.is_ascii_alphanumeric() || "-._~/:".contains(c);
        if self.name.is_empty() || self.name.len() > 200 || !self.name.chars().all(named) {
            let problem = "names the log for ever, as a host and a path do: 1 to 200 of the \
                characters a-z A-Z 0-9 - . _ ~ / :";
            return Err(value("public_log.name", problem));
        }
        let checkpoint_interval = self.checkpoint_interval.duration();
        if checkpoint_interval < MIN_INTERVAL {
            return Err(value("public_log.checkpoint_interval", "must be at least 50ms"));
        }
        Ok(PublicLogSettings { name: self.name, checkpoint_interval })
    }
}
