//! Elasticsearch and OpenSearch: setup, the exporter, and what it could not deliver.
//!
//! | file | holds |
//! |---|---|
//! | `transport.rs` | one request and its reply, as bytes |
//! | `settings.rs` | [`Connection`]: hosts, who we are, certificates, proxy, limits |
//! | `client.rs` | [`Client`]: sends to the hosts of one cluster, the next one when one is gone |
//! | `flavor.rs` | [`Flavor`]: product and version |
//! | `fields/` | every field of a document: mapping of the index, and `docs/fields.md` |
//! | `setup/` | what has to be in the cluster before the exporter writes |
//! | `exporter.rs` | [`ElasticsearchSink`]: the exporter as a consumer of the ledger |
//! | `document.rs`, `bulk.rs` | an entry as a bulk item; bulk requests |
//! | `deliver.rs`, `outcome.rs`, `reason.rs` | a bulk to its end; what replies mean; safe texts |
//! | `gate.rs`, `pace.rs`, `window.rs` | waits all share; how much at once; what is out |
//! | `lookup.rs`, `streams.rs` | what is there already; streams where clusters do not check |
//! | `identity.rs` | whether the cluster is the one that the cursor means |
//! | `checkpoints.rs` | checkpoints of the public log, kept in a data stream of their own |
//! | `filter.rs`, `search.rs`, `ids.rs` | searches and their answers; an id as a search |
//! | `dead_letters.rs`, `letter.rs`, `letter_log.rs` | what is not taken, durably |
//! | `replay.rs` | sending it again |
//! | `late/` | the correlator: ids that became known after a document was exported |
//! | `store/` | [`ElasticsearchStore`]: questions answered from the cluster |
//! | `fuzzing.rs` | what `fuzz/` reaches |
//! | `status.rs`, `watch.rs` | [`ExporterStatus`]: plain numbers; what holds it up, in the log |

mod bulk;
pub mod checkpoints;
mod client;
mod dead_letters;
mod deliver;
mod document;
mod exporter;
pub mod fields;
mod filter;
mod flavor;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gate;
mod identity;
pub mod ids;
pub mod late;
mod letter;
mod letter_log;
mod lookup;
mod outcome;
mod pace;
mod reason;
mod replay;
pub mod search;
mod settings;
pub mod setup;
mod status;
pub mod store;
mod streams;
mod transport;
mod watch;
mod window;

pub use bulk::{DEFAULT_BULK_TIMEOUT, DEFAULT_MAX_BYTES, DEFAULT_MAX_ITEMS, Filling, Item, Part};
pub use client::{Client, SET_ASIDE};
pub use dead_letters::{DeadLetterError, DeadLetters, MAX_OPEN};
pub use document::{data_stream, write_item};
pub use exporter::{
    DEFAULT_MAX_AGE, DEFAULT_MAX_IN_FLIGHT, DEFAULT_SENT_AHEAD, ElasticsearchSink, ExporterError,
    ExporterOptions,
};
pub use flavor::{Flavor, FlavorError, Product, Version};
pub use letter::{DeadLetter, Resolved};
pub use outcome::{Outcome, Problem, Rejection};
pub use pace::MIN_BYTES;
pub use replay::{Exporter, ReplayError, Replayed};
pub use settings::{
    Auth, ClientCertificate, Connection, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_REPLY_BYTES, Hosts,
    Proxy, Secret, SettingsError,
};
pub use status::{ExporterState, ExporterStatus, LATENCY_BUCKETS_MS, Latency, MAX_ERROR_TYPES};
pub use store::{ElasticsearchStore, StoreOptions, StoreStatus};
pub use transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
