//! Elasticsearch and OpenSearch: setup, the exporter, and what it could not deliver.
//!
//! | file | holds |
//! |---|---|
//! | `fields/` | every field of a document: mapping of the index, and `docs/fields.md` |
//! | `transport.rs` | one request and its reply, as bytes |

pub mod fields;
mod transport;

pub use transport::{Body, ContentType, Method, Reply, Request, SendError, Transport};
