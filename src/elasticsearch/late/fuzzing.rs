//! What `fuzz/` reaches of the correlator: late ids in a document.

use super::super::Reply;
use super::replies;
use super::splice::{Change, Spliced};

/// The document with those ids of its group that it did not carry; `None` when nothing is to be
/// written.
pub fn late_document(source: &str, ids: &[&str]) -> Option<String> {
    match Spliced::read(source)?.give(ids.iter().copied()) {
        Change::Write { source, .. } => Some(source),
        Change::None => None,
    }
}

/// How many outcomes a reply has to a bulk request of `sent` updates; `None` when it has none. The
/// same reply is read as one to a search of documents and one to a request for rights too.
pub fn late_replies(reply: &Reply, sent: usize) -> Option<usize> {
    let _ = replies::of_rights(reply);
    let _ = replies::of_documents(reply);
    let _ = replies::of_links(reply, sent);
    replies::names_the_guard(reply);
    replies::of_writes(reply, sent).ok().map(|written| written.len())
}
