//! Elasticsearch and OpenSearch: setup, the exporter, and what it could not deliver.
//!
//! | file | holds |
//! |---|---|
//! | `fields/` | every field of a document: mapping of the index, and `docs/fields.md` |
//! | `transport.rs` | one request and its reply, as bytes |
//! | `settings.rs` | [`Connection`]: hosts, who we are, certificates, proxy, limits |
//! | `client.rs` | [`Client`]: sends to the hosts of one cluster, the next one when one is gone |
//! | `flavor.rs` | [`Flavor`]: product and version |
//! | `setup/` | what has to be in the cluster before the exporter writes |

mod client;
pub mod fields;
mod flavor;
mod settings;
pub mod setup;
mod transport;

pub use client::{Client, SET_ASIDE};
pub use flavor::{Flavor, FlavorError, Product, Version};
pub use settings::{
    Auth, ClientCertificate, Connection, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_REPLY_BYTES, Hosts,
    Proxy, Secret, SettingsError,
};
pub use transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
