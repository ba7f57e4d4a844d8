//! The mapping of documents.

use super::{Flavor, Product};
use serde_json::{Value, json};

/// The mapping that a data stream of this cluster gets.
pub fn mappings(flavor: &Flavor) -> Value {
    let free = match flavor.product {
        Product::Elasticsearch => "flattened",
        Product::OpenSearch => "flat_object",
    };
    json!({
        "dynamic": false,
        "properties": {
            "@timestamp": {"type": "date"},
            "trace_id": {"type": "keyword", "ignore_above": 8191},
            "attributes": {"type": free},
        },
    })
}
