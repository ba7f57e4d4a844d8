//! Elasticsearch and OpenSearch: setup, the exporter, and what it could not deliver.
//!
//! | file | holds |
//! |---|---|
//! | `transport.rs` | one request and its reply, as bytes |

mod transport;

pub use transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
