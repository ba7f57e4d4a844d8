//! `public_log:` as it is written, and what it means.

use super::elasticsearch::{RawSecret, read};
use super::{ConfigError, Period, value};
use crate::export::WebhookUrl;
use crate::ledger::checkpoint::{Algorithm, VerifierKey};
use reqwest::Url;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time between checkpoints: each costs a few writes to the disk.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Most witnesses, and most sinks: each has a task of its own.
const MAX_OUTGOING: usize = 16;

super::raw::section! {
    /// `public_log:`
    RawPublicLog {
        /// First part of the log's name.
        name: String = "spanledger".to_owned(),
        /// Longest time from an acknowledgement to a checkpoint that covers it.
        checkpoint_interval: Period = Period::seconds(1),
        /// Who signs that the log only grows.
        witnesses: Vec<RawWitness> = Vec::new(),
        /// Who keeps checkpoints.
        sinks: Vec<RawSink> = Vec::new(),
    }
}

super::raw::section! {
    /// One of `public_log.witnesses:`
    RawWitness {
        /// Where it is asked.
        url: String = String::new(),
        /// Its verifier key.
        key: String = String::new(),
    }
}

super::raw::section! {
    /// One of `public_log.sinks:`
    RawSink {
        /// A file that is appended to.
        file: Option<PathBuf> = None,
        /// Where the address of a webhook stands.
        webhook: Option<RawSecret> = None,
        /// Least time between two checkpoints.
        every: Period = Period::seconds(60),
    }
}

/// How the public log is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicLogSettings {
    /// First part of the log's name; the second is the ledger's random number.
    pub name: String,
    /// Longest time from an acknowledgement to a checkpoint that covers it.
    pub checkpoint_interval: Duration,
    /// Who signs that the log only grows.
    pub witnesses: Vec<Witness>,
    /// Who keeps checkpoints.
    pub sinks: Vec<CheckpointSink>,
}

/// A witness: c2sp.org/tlog-witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its submission prefix.
    pub url: Url,
    /// What it signs with.
    pub key: VerifierKey,
}

/// What checkpoints are given to, and which cannot take them back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSink {
    /// Where they go.
    pub target: SinkTarget,
    /// Least time between two of them.
    pub every: Duration,
}

/// Where checkpoints go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkTarget {
    /// A file that is appended to.
    File(PathBuf),
    /// An address that is posted to, which is a secret.
    Webhook(WebhookUrl),
}

impl SinkTarget {
    /// What it is, for logs.
    pub fn kind(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Webhook(_) => "webhook".to_owned(),
        }
    }
}

impl RawWitness {
    fn resolve(self) -> Result<Witness, ConfigError> {
        let url = Url::parse(&self.url).ok().filter(|url| {
            let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            url.scheme() == "https" || (url.scheme() == "http" && here)
        });
        let problem = "is an https address; only one on this machine may be http";
        let url = url.ok_or_else(|| value("public_log.witnesses.url", problem))?;
        let key = VerifierKey::parse(&self.key)
            .map_err(|error| value("public_log.witnesses.key", &error.to_string()))?;
        if key.algorithm() != Algorithm::Cosignature {
            let problem = "is no key for cosignatures (algorithm 4)";
            return Err(value("public_log.witnesses.key", problem));
        }
        Ok(Witness { url, key })
    }
}

impl RawSink {
    fn resolve(self) -> Result<CheckpointSink, ConfigError> {
        let target = match (self.file, self.webhook) {
            (Some(path), None) => SinkTarget::File(path),
            (None, Some(secret)) => {
                let key = "public_log.sinks.webhook";
                let url = WebhookUrl::new(read(key, &secret)?.expose());
                SinkTarget::Webhook(url.map_err(|error| value(key, &error.to_string()))?)
            }
            _ => return Err(value("public_log.sinks", "each needs a file or a webhook, not both")),
        };
        Ok(CheckpointSink { target, every: self.every.duration() })
    }
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
        if self.witnesses.len().max(self.sinks.len()) > MAX_OUTGOING {
            return Err(value("public_log", "has more than 16 witnesses or sinks"));
        }
        let witnesses = self.witnesses.into_iter().map(RawWitness::resolve);
        let sinks = self.sinks.into_iter().map(RawSink::resolve);
        Ok(PublicLogSettings {
            name: self.name,
            checkpoint_interval,
            witnesses: witnesses.collect::<Result<_, _>>()?,
            sinks: sinks.collect::<Result<_, _>>()?,
        })
    }
}
