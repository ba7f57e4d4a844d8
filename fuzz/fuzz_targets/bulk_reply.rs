//! Replies of a cluster, or of whatever answers in its place: outcomes are never counted that are
//! not there.
//!
//! Two bytes are the status, one is the number of documents that were sent, the rest is the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::elasticsearch::{Flavor, Reply};
use spanledger::fuzzing::{bulk_reply, late_replies};

fuzz_target!(|data: &[u8]| {
    let Some(([high, low, sent], body)) = data.split_first_chunk::<3>() else { return };
    let status = u16::from_be_bytes([*high, *low]);
    let sent = usize::from(*sent);
    if let Some(outcomes) = bulk_reply(status, body, sent) {
        assert_eq!(outcomes, sent);
    }
    let reply = Reply { status, body: bytes::Bytes::copy_from_slice(body), retry_after: None };
    if let Some(written) = late_replies(&reply, sent) {
        assert_eq!(written, sent);
    }
    if let Ok(flavor) = Flavor::read(&reply) {
        assert!(!format!("{flavor:?}").is_empty());
    }
});
