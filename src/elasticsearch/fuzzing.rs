//! What `fuzz/` reaches of the Elasticsearch client: replies, and documents that come back.

use super::Reply;
use super::outcome::{Answer, of_reply};

/// How many outcomes the reply to a bulk request of `sent` documents has; `None` when it has none.
pub fn bulk_reply(status: u16, body: &[u8], sent: usize) -> Option<usize> {
    let body = bytes::Bytes::copy_from_slice(body);
    match of_reply(&Reply { status, body, retry_after: None }, sent) {
        Answer::Items(outcomes) => Some(outcomes.len()),
        _ => None,
    }
}

pub use super::late::fuzzing::{late_document, late_replies};
