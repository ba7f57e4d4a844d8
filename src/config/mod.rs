//! Configuration: raw (what people write) → resolved (validated types that the process runs on).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Config`]: defaults, then the file, then flags and environment; validated once |
//! | `raw.rs` | the file as it is written, key by key |
//! | `alerts.rs` | the same of its list `alerts:`, and what it means |
//! | `elasticsearch.rs` | the same of its section `elasticsearch:`, and what it means |
//! | `tls.rs`, `axonflow.rs`, `public_log.rs` | the same of its sections of that name |
//! | `units.rs` | sizes and durations as people write them |
//! | `yaml.rs` | YAML with line numbers and the nearest known name |
//! | `fuzzing.rs` | what `fuzz/` reaches |

mod alerts;
mod axonflow;
mod elasticsearch;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod public_log;
mod raw;
mod retention;
mod tls;
mod units;
pub mod yaml;

pub use alerts::MAX_ALERTS;
pub use elasticsearch::Elasticsearch;
pub use public_log::{CheckpointSink, PublicLogSettings, SinkTarget, Witness};
pub use retention::{Retention, RetentionClass};
pub use tls::Transport;
pub use units::{Period, Size};

use crate::api::Bounds;
use crate::protect::{Notice, SettingsError};
use crate::telemetry::LogFormat;
use crate::{ledger, protect, receiver};
use raw::{Raw, RawReceiver};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Smallest segment: below it a ledger is mostly files.
const MIN_SEGMENT: Size = Size::mib(1);

/// Everything that the process runs on.
#[derive(Debug, Clone)]
pub struct Config {
    /// Data directory.
    pub data: PathBuf,
    /// Folder of the keys.
    pub keys: PathBuf,
    /// Folder of the user's own mapping files.
    pub mappings: Option<PathBuf>,
    /// Where to listen.
    pub listen: Listen,
    /// How it is reached there.
    pub transport: Transport,
    /// Limits of the receivers.
    pub limits: receiver::Limits,
    /// How the ledger is run.
    pub ledger: ledger::Options,
    /// When full segments are compressed; `None`: never.
    pub compress_after: Option<Duration>,
    /// How long bodies are kept.
    pub retention: Retention,
    /// The public form of the ledger, and its checkpoints.
    pub public_log: PublicLogSettings,
    /// What is recorded and how it is protected.
    pub audit: protect::Settings,
    /// The embedded index, if there is one.
    pub index: Option<Index>,
    /// How ids join.
    pub correlation: Correlation,
    /// The cluster that entries are exported to, if there is one.
    pub elasticsearch: Option<Elasticsearch>,
    /// What is told to webhooks.
    pub alerts: Vec<crate::export::Alert>,
    /// The engine that decides, if calls of AxonFlow's API that ask for a decision have one.
    pub axonflow: Option<receiver::axonflow::UpstreamSettings>,
    /// Deadlines of an orderly end.
    pub shutdown: Shutdown,
    /// Filter of our own logs.
    pub log_level: String,
    /// Look of our own logs.
    pub log_format: LogFormat,
    /// What an operator should know about these settings.
    pub notices: Vec<Notice>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// API.
    pub api: SocketAddr,
}

/// The embedded index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Entries after which the index is committed.
    pub commit_entries: u64,
    /// Time after which it is committed when nothing more comes.
    pub commit_idle: Duration,
    /// Time that one query may take.
    pub query_timeout: Duration,
    /// Queries that run at once.
    pub max_queries: usize,
}

impl Index {
    /// How many questions the API works on at once, and how long on each.
    pub fn bounds(&self) -> Bounds {
        Bounds { concurrent: self.max_queries, answer: self.query_timeout, ..Bounds::default() }
    }
}

/// How ids join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// Ids that join nothing.
    pub careless_ids: Vec<String>,
    /// Traces that one story may join.
    pub max_traces: usize,
}

/// Deadlines of an orderly end, in the order of the data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// For requests in flight to be answered.
    pub receivers: Duration,
    /// For the ledger to write and sync what it took.
    pub ledger: Duration,
    /// For consumers to reach the end of the ledger.
    pub consumers: Duration,
}

/// What flags and environment variables say; they win over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen-grpc`
    pub grpc: Option<SocketAddr>,
    /// `--listen-http`
    pub http: Option<SocketAddr>,
    /// `--listen-api`
    pub api: Option<SocketAddr>,
    /// `--elasticsearch`: addresses of nodes of one cluster.
    pub elasticsearch: Vec<String>,
}

/// Why there is no configuration to run on.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error(transparent)]
    Yaml(#[from] yaml::YamlError),
    /// The `audit:` block says something that cannot be.
    #[error(transparent)]
    Audit(#[from] SettingsError),
    /// A value cannot be.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Config {
    /// The configuration of a file (or of none), with what flags and environment say on top.
    ///
    /// # Errors
    /// [`ConfigError`], with file and line or the key to change.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let raw = match file {
            None => Raw::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                parse(&path.display().to_string(), &text)?
            }
        };
        resolve(raw, overrides)
    }
}

/// A file of comments only is a file of defaults.
fn parse(name: &str, text: &str) -> Result<Raw, yaml::YamlError> {
    let says_nothing = text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    if says_nothing { Ok(Raw::default()) } else { yaml::parse(name, text) }
}

fn resolve(raw: Raw, overrides: &Overrides) -> Result<Config, ConfigError> {
    let data = overrides.data.clone().unwrap_or(raw.data);
    let listen = Listen {
        grpc: overrides.grpc.unwrap_or(raw.listen.grpc),
        http: overrides.http.unwrap_or(raw.listen.http),
        api: overrides.api.unwrap_or(raw.listen.api),
    };
    if raw.ledger.segment < MIN_SEGMENT {
        return Err(value("ledger.segment", "must be at least 1MiB"));
    }
    if raw.index.commit_entries == 0 {
        return Err(value("index.commit_entries", "must be at least 1"));
    }
    let (audit, notices) = raw.audit.validate()?;
    let elasticsearch = raw.elasticsearch.resolve(&overrides.elasticsearch)?;
    let cluster = elasticsearch.as_ref().map(|cluster| &cluster.connection);
    Ok(Config {
        keys: raw.keys.unwrap_or_else(|| data.join("keys")),
        mappings: raw.mappings,
        listen,
        transport: raw.tls.resolve()?,
        limits: limits(&raw.receiver, raw.shutdown.receivers.duration())?,
        ledger: ledger::Options {
            segment_bytes: raw.ledger.segment.bytes(),
            window: raw.ledger.duplicate_window,
            queue_bytes: raw.ledger.queue.as_usize(),
            reserve_bytes: raw.ledger.reserve.bytes(),
            ..ledger::Options::default()
        },
        compress_after: raw.ledger.compress.then(|| raw.ledger.compress_after.duration()),
        retention: raw.retention.resolve(audit.retention_days)?,
        public_log: raw.public_log.resolve(cluster)?,
        audit,
        index: raw.index.enabled.then(|| Index {
            commit_entries: raw.index.commit_entries,
            commit_idle: raw.index.commit_idle.duration(),
            query_timeout: raw.index.query_timeout.duration(),
            max_queries: raw.index.max_queries.max(1),
        }),
        correlation: Correlation {
            careless_ids: raw.correlation.careless_ids,
            max_traces: raw.correlation.max_traces.max(1),
        },
        elasticsearch,
        alerts: alerts::resolve(raw.alerts)?,
        axonflow: raw.axonflow.resolve()?,
        shutdown: Shutdown {
            receivers: raw.shutdown.receivers.duration(),
            ledger: raw.shutdown.ledger.duration(),
            consumers: raw.shutdown.consumers.duration(),
        },
        log_level: raw.log.level,
        log_format: raw.log.format,
        notices,
        data,
    })
}

fn limits(raw: &RawReceiver, shutdown: Duration) -> Result<receiver::Limits, ConfigError> {
    if raw.memory < raw.max_request {
        return Err(value(
            "receiver.memory",
            "must be at least receiver.max_request, or the largest request could never be taken",
        ));
    }
    Ok(receiver::Limits {
        max_request_bytes: raw.max_request.as_usize(),
        max_inflate_ratio: usize::try_from(raw.max_ratio).unwrap_or(usize::MAX).max(1),
        memory_bytes: raw.memory.as_usize(),
        body_timeout: raw.body_timeout.duration(),
        header_timeout: raw.header_timeout.duration(),
        max_connections: raw.max_connections.max(1),
        max_concurrent_streams: raw.max_streams.max(1),
        shutdown_timeout: shutdown,
        ..receiver::Limits::default()
    })
}

fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../config/spanledger.yaml");

    fn load(text: &str) -> Result<Config, ConfigError> {
        resolve(parse("test.yaml", text)?, &Overrides::default())
    }

    #[test]
    fn the_documented_file_is_the_defaults() {
        let documented: Raw = parse("config/spanledger.yaml", DOCUMENTED).unwrap();
        assert_eq!(documented, Raw::default());
    }

    #[test]
    fn every_key_is_documented() {
        let sections: &[&[&str]] = &[
            Raw::KEYS,
            raw::RawListen::KEYS,
            tls::RawTls::KEYS,
            RawReceiver::KEYS,
            raw::RawLedger::KEYS,
            retention::RawRetention::KEYS,
            retention::RawClass::KEYS,
            retention::RawRule::KEYS,
            raw::RawIndex::KEYS,
            raw::RawCorrelation::KEYS,
            elasticsearch::RawElasticsearch::KEYS,
            elasticsearch::RawCorrelator::KEYS,
            elasticsearch::RawReader::KEYS,
            alerts::RawAlert::KEYS,
            axonflow::RawAxonflow::KEYS,
            axonflow::RawUpstream::KEYS,
            public_log::RawPublicLog::KEYS,
            public_log::RawWitness::KEYS,
            public_log::RawSink::KEYS,
            public_log::RawSinkCluster::KEYS,
            raw::RawShutdown::KEYS,
            raw::RawLog::KEYS,
        ];
        let audit = serde_json::to_value(protect::Settings::default()).unwrap();
        let audit = audit.as_object().unwrap().keys().map(String::as_str);
        for key in sections.iter().copied().flatten().copied().chain(audit) {
            let documented = DOCUMENTED
                .lines()
                .any(|line| line.trim_start_matches([' ', '#']).starts_with(&format!("{key}:")));
            assert!(documented, "{key} is not in config/spanledger.yaml");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = load("listen:\n  grpc: 127.0.0.1:1\nledgr:\n  segment: 1MiB\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("test.yaml:3:1: "), "{text}");
        assert!(text.contains("did you mean \"ledger\"?"), "{text}");
    }

    #[test]
    fn the_audit_block_of_the_runtime_journal_guide_is_accepted_verbatim() {
        let config = load(
            "audit:\n  sink: append_only\n  retention_days: 180\n  redact_fields: [\"email\", \"phone\", \"card_number\"]\n  hash_args: true\n  sign_events: true\n",
        )
        .unwrap();
        assert!(config.audit.hash_args);
        assert_eq!(config.audit.redact_fields, ["card_number", "email", "phone"]);
        let notices: Vec<String> = config.notices.iter().map(ToString::to_string).collect();
        assert!(notices.iter().any(|notice| notice.contains("184")), "{notices:?}");
    }

    #[test]
    fn a_value_that_is_no_size_says_how_to_write_one() {
        let error = load("receiver:\n  memory: much\n").unwrap_err().to_string();
        assert!(error.contains("test.yaml:2:") && error.contains("64KiB"), "{error}");
        let error = load("receiver:\n  memory: 1MiB\n").unwrap_err().to_string();
        assert!(error.contains("receiver.max_request"), "{error}");
    }

    #[test]
    fn questions_are_asked_as_the_exporter_unless_a_reader_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "geheim\n").unwrap();
        let secret = secret.display();
        let exporter = format!(
            "elasticsearch:\n  urls: [http://localhost:9200]\n  bearer_token: {{file: {secret}}}\n"
        );
        let cluster = load(&exporter).unwrap().elasticsearch.unwrap();
        assert_eq!(cluster.reader, cluster.connection);
        let named = format!(
            "{exporter}  reader:\n    username: auditor\n    password: {{file: {secret}}}\n"
        );
        let cluster = load(&named).unwrap().elasticsearch.unwrap();
        assert_ne!(cluster.reader.auth, cluster.connection.auth);
        assert_eq!(cluster.reader.hosts, cluster.connection.hosts);
        let half = format!("{exporter}  reader:\n    username: auditor\n");
        let error = load(&half).unwrap_err().to_string();
        assert!(error.starts_with("elasticsearch.reader: give one of"), "{error}");
    }

    #[test]
    fn an_alert_names_a_query_and_keeps_its_address_secret() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("hook");
        let with = |address: &str, rest: &str| {
            std::fs::write(&secret, address).unwrap();
            let path = secret.display();
            load(&format!("alerts:\n  - {{name: blocked, {rest}, url: {{file: {path}}}}}\n"))
        };
        let hook = "https://hooks.example.com/services/geheim\n";
        let config = with(hook, "query: 'decision:block', format: slack").unwrap();
        assert_eq!(config.alerts[0].query.to_string(), "decision:block");
        assert!(!format!("{config:?}").contains("geheim"));
        for (address, rest, told) in [
            ("http://hooks.example.com/geheim", "query: 'decision:block'", "alerts.url"),
            ("geheim", "query: 'decision:block'", "alerts.url"),
            (hook, "query: 'dicision:block'", "decision"),
            (hook, "format: json", "alerts.query"),
        ] {
            let error = with(address, rest).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("geheim"), "{error}");
        }
        let error = load("alerts:\n  - {name: x, query: a, url: https://h/geheim}\n").unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn a_file_of_comments_is_a_file_of_defaults() {
        assert!(load("# nothing\n\n").is_ok());
        assert!(load("").is_ok());
    }
}
