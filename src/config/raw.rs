//! The configuration file as it is written: every key optional, unknown keys refused.
//!
//! `config/spanledger.yaml` documents each key; a test holds that file to the defaults here.

use super::alerts::RawAlert;
use super::axonflow::RawAxonflow;
use super::elasticsearch::RawElasticsearch;
use super::public_log::RawPublicLog;
use super::retention::RawRetention;
use super::tls::RawTls;
use super::{Period, Size};
use crate::telemetry::LogFormat;
use std::net::SocketAddr;
use std::path::PathBuf;

macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty = $default:expr, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $( $(#[$field_meta])* pub(super) $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $name {
            /// The keys of this section, for the test that holds the documented file to the code.
            #[cfg(test)]
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field),)*];
        }
    };
}

pub(super) use section;

section! {
    /// The file.
    Raw {
        /// Data directory.
        data: PathBuf = PathBuf::from("./spanledger-data"),
        /// Folder of the keys; `DATA/keys` when absent.
        keys: Option<PathBuf> = None,
        /// Folder of the user's own mapping files; the built-in ones when absent.
        mappings: Option<PathBuf> = None,
        /// Addresses.
        listen: RawListen = RawListen::default(),
        /// TLS on all of them.
        tls: RawTls = RawTls::default(),
        /// Limits of what comes in.
        receiver: RawReceiver = RawReceiver::default(),
        /// The ledger.
        ledger: RawLedger = RawLedger::default(),
        /// The public form of the ledger, and its checkpoints.
        public_log: RawPublicLog = RawPublicLog::default(),
        /// What is recorded and how it is protected.
        audit: crate::protect::Settings = crate::protect::Settings::default(),
        /// How long bodies are kept.
        retention: RawRetention = RawRetention::default(),
        /// The embedded index.
        index: RawIndex = RawIndex::default(),
        /// How ids join.
        correlation: RawCorrelation = RawCorrelation::default(),
        /// The cluster that entries are exported to.
        elasticsearch: RawElasticsearch = RawElasticsearch::default(),
        /// What is told to webhooks.
        alerts: Vec<RawAlert> = Vec::new(),
        /// AxonFlow's API.
        axonflow: RawAxonflow = RawAxonflow::default(),
        /// Deadlines of an orderly end.
        shutdown: RawShutdown = RawShutdown::default(),
        /// Our own logs.
        log: RawLog = RawLog::default(),
    }
}

section! {
    /// `listen:`
    RawListen {
        /// OTLP over gRPC.
        grpc: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4317)),
        /// OTLP over HTTP.
        http: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4318)),
        /// API and page.
        api: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4380)),
    }
}

section! {
    /// `receiver:`
    RawReceiver {
        /// Largest request, decompressed.
        max_request: Size = Size::mib(64),
        /// Memory for all requests in flight.
        memory: Size = Size::mib(192),
        /// Largest ratio of decompressed to received bytes.
        max_ratio: u32 = 200,
        /// Time for a request's body to arrive.
        body_timeout: Period = Period::seconds(30),
        /// Time for a request's headers to arrive.
        header_timeout: Period = Period::seconds(30),
        /// Connections per port.
        max_connections: usize = 1024,
        /// Requests in flight on one HTTP/2 connection.
        max_streams: u32 = 64,
    }
}

section! {
    /// `ledger:`
    RawLedger {
        /// Size at which a new segment begins.
        segment: Size = Size::mib(64),
        /// Space kept so that an end can be written to a full disk.
        reserve: Size = Size::mib(16),
        /// Ids that are remembered to recognise what is sent again.
        duplicate_window: usize = 1 << 20,
        /// Bytes that may wait for the writer.
        queue: Size = Size::mib(64),
        /// Whether full segments are compressed.
        compress: bool = true,
        /// Time after which a full segment is compressed.
        compress_after: Period = Period::seconds(10 * 60),
    }
}

section! {
    /// `index:`
    RawIndex {
        /// Whether there is an embedded index.
        enabled: bool = true,
        /// Entries after which the index is committed.
        commit_entries: u64 = 50_000,
        /// Time after which the index is committed when nothing more comes.
        commit_idle: Period = Period::seconds(5),
        /// Time that one query may take.
        query_timeout: Period = Period::seconds(10),
        /// Queries that run at once.
        max_queries: usize = 8,
    }
}

section! {
    /// `correlation:`
    RawCorrelation {
        /// Ids that join nothing.
        careless_ids: Vec<String> =
            ["test", "unknown", "none", "null", "undefined", "n/a", "default"].map(String::from).into(),
        /// Traces that one story may join.
        max_traces: usize = 10_000,
    }
}

section! {
    /// `shutdown:`
    RawShutdown {
        /// Time for requests in flight to be answered.
        receivers: Period = Period::seconds(10),
        /// Time for the ledger to write what it took.
        ledger: Period = Period::seconds(10),
        /// Time for consumers to reach the end of the ledger.
        consumers: Period = Period::seconds(10),
    }
}

section! {
    /// `log:`
    RawLog {
        /// Filter.
        level: String = "info".to_owned(),
        /// Look.
        format: LogFormat = LogFormat::Auto,
    }
}
