//! `public_log:` as it is written, and what it means.

use super::elasticsearch::{RawSecret, auth, read};
use super::{ConfigError, Period, value};
use crate::elasticsearch::{Auth, Client, Connection, Hosts};
use crate::export::WebhookUrl;
use crate::ledger::checkpoint::{Algorithm, VerifierKey};
use reqwest::Url;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time between checkpoints: each costs a few writes to the disk.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Shortest time between two checkpoints for a sink: what fails is tried again after it, and none should
/// be asked without a pause.
const MIN_EVERY: Duration = Duration::from_secs(1);

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
        /// A cluster in which documents are created.
        elasticsearch: Option<RawSinkCluster> = None,
        /// Least time between two checkpoints.
        every: Period = Period::seconds(60),
    }
}

super::raw::section! {
    /// `public_log.sinks.elasticsearch:`
    RawSinkCluster {
        /// Nodes; none for the cluster of `elasticsearch:`.
        urls: Vec<String> = Vec::new(),
        /// User of the password.
        username: Option<String> = None,
        /// Where the user's password stands.
        password: Option<RawSecret> = None,
        /// Where an API key stands, encoded as Elasticsearch gives it.
        api_key: Option<RawSecret> = None,
        /// Where a bearer token stands.
        bearer_token: Option<RawSecret> = None,
        /// Certificates that are trusted, PEM.
        ca: Option<PathBuf> = None,
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
    /// A cluster in which documents are created.
    Elasticsearch(Box<Connection>),
}

impl SinkTarget {
    /// What it is, for logs, metrics and `/readyz`.
    pub fn kind(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Webhook(_) => "webhook".to_owned(),
            Self::Elasticsearch(_) => "elasticsearch".to_owned(),
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

impl RawSinkCluster {
    /// Its connection: with addresses of its own nothing is taken from `elasticsearch:`.
    fn resolve(self, exporter: Option<&Connection>) -> Result<Connection, ConfigError> {
        const KEY: &str = "public_log.sinks.elasticsearch";
        let own = auth(KEY, self.username, self.password, self.api_key, self.bearer_token)?;
        let mut connection = match (self.urls.is_empty(), exporter) {
            (false, _) => {
                Connection { hosts: Hosts::Urls(self.urls), auth: Auth::None, ..Connection::to("") }
            }
            (true, Some(exporter)) => exporter.clone(),
            (true, None) => {
                let problem = "names no urls, and there is no cluster in elasticsearch.urls either: \
                    say where checkpoints go";
                return Err(value(KEY, problem));
            }
        };
        if own != Auth::None {
            connection.auth = own;
        }
        if self.ca.is_some() {
            connection.ca_file = self.ca;
        }
        // Made once here, so that what cannot be used is said before anything is opened.
        Client::new(&connection).map_err(|error| value(KEY, &error.to_string()))?;
        Ok(connection)
    }
}

impl RawSink {
    fn resolve(self, exporter: Option<&Connection>) -> Result<CheckpointSink, ConfigError> {
        if self.every.duration() < MIN_EVERY {
            return Err(value("public_log.sinks.every", "must be at least 1s"));
        }
        let target = match (self.file, self.webhook, self.elasticsearch) {
            (Some(path), None, None) => SinkTarget::File(path),
            (None, None, Some(cluster)) => {
                SinkTarget::Elasticsearch(Box::new(cluster.resolve(exporter)?))
            }
            (None, Some(secret), None) => {
                let key = "public_log.sinks.webhook";
                let url = WebhookUrl::new(read(key, &secret)?.expose());
                SinkTarget::Webhook(url.map_err(|error| value(key, &error.to_string()))?)
            }
            _ => {
                let problem = "each is one of file, webhook and elasticsearch";
                return Err(value("public_log.sinks", problem));
            }
        };
        Ok(CheckpointSink { target, every: self.every.duration() })
    }
}

impl RawPublicLog {
    /// What the section says; `exporter` is the cluster of `elasticsearch:`, if there is one.
    pub(super) fn resolve(
        self,
        exporter: Option<&Connection>,
    ) -> Result<PublicLogSettings, ConfigError> {
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
        let sinks = self.sinks.into_iter().map(|sink| sink.resolve(exporter));
        Ok(PublicLogSettings {
            name: self.name,
            checkpoint_interval,
            witnesses: witnesses.collect::<Result<_, _>>()?,
            sinks: sinks.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides};

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(folder.path().join("key"), "id:geheim\n").unwrap();
        let key = folder.path().join("key").display().to_string();
        std::fs::write(&file, text.replace("KEY", &key)).unwrap();
        Config::load(Some(&file), &Overrides::default())
    }

    #[test]
    fn a_cluster_of_its_own_takes_nothing_of_the_exporters_and_another_key_is_all_that_differs() {
        let exporter =
            "elasticsearch: {urls: [http://localhost:9200], username: u, password: {file: KEY}}\n";
        let sink = |cluster: &str| {
            let sinks = format!("public_log: {{sinks: [{{elasticsearch: {cluster}}}]}}\n");
            let config = load(&format!("{exporter}{sinks}")).unwrap();
            let [CheckpointSink { target: SinkTarget::Elasticsearch(to), every }] =
                &config.public_log.sinks[..]
            else {
                panic!("one sink, a cluster")
            };
            assert_eq!(*every, Duration::from_mins(1));
            ((**to).clone(), config.elasticsearch.unwrap().connection)
        };
        let (same, of_exporter) = sink("{}");
        assert_eq!(same, of_exporter);
        let (keyed, of_exporter) = sink("{api_key: {file: KEY}}");
        assert_eq!(keyed.hosts, of_exporter.hosts);
        assert!(matches!(keyed.auth, Auth::ApiKey(_)));
        let (own, _) = sink("{urls: ['http://localhost:9201']}");
        assert_eq!(
            (own.auth, own.hosts),
            (Auth::None, Hosts::Urls(vec!["http://localhost:9201".into()]))
        );
    }

    #[test]
    fn a_sink_that_cannot_be_is_refused_with_its_key() {
        for (sinks, told) in [
            ("[{elasticsearch: {}}]", "public_log.sinks.elasticsearch: names no urls"),
            ("[{elasticsearch: {urls: [nothing]}}]", "public_log.sinks.elasticsearch: "),
            ("[{elasticsearch: {urls: ['http://h:1'], username: u}}]", "give one of"),
            ("[{every: 5s}]", "each is one of file, webhook and elasticsearch"),
            ("[{file: a, webhook: {file: KEY}}]", "each is one of"),
            ("[{file: a, elasticsearch: {urls: ['http://h:1']}}]", "each is one of"),
            ("[{file: a, every: 0s}]", "public_log.sinks.every: must be at least 1s"),
            ("[{file: a, every: 999ms}]", "at least 1s"),
        ] {
            let error = load(&format!("public_log: {{sinks: {sinks}}}\n")).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("geheim"), "{sinks}: {error}");
        }
    }
}
