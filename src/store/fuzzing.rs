//! What `fuzz/` reaches of the stores: documents that come back from a cluster.

use super::document::Document;

/// The body in a projected document, byte for byte; `None` when it is not one that the projection
/// writes.
pub fn stored_document(text: &str) -> Option<Vec<u8>> {
    Document::read(text).map(|document| document.view().body.to_vec())
}
