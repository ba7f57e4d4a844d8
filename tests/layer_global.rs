//! The layer in a global subscriber, of which a process has one: one test.

use spanledger::testing;
use std::fmt;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

struct Chatty;
impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = info_span!("inner", trace_id = "i", note = "from Debug");
        inner.in_scope(|| info!(decision = "allow", "inside"));
        f.write_str("chatty")
    }
}

/// Only a global subscriber hears what is said while it hears something.
#[test]
fn values_that_log_while_they_are_shown_do_not_recurse_or_lock() {
    let (layer, audited) = testing::layer();
    tracing_subscriber::registry().with(layer).init();
    {
        let outer = info_span!("outer", trace_id = ?Chatty, run_id = tracing::field::Empty);
        outer.record("run_id", tracing::field::debug(Chatty));
        outer.in_scope(|| info!(decision = ?Chatty, "event"));
    }
    let records = audited.records();
    assert_eq!(records.iter().filter(|record| record.name == "inner").count(), 3);
    let outer = audited.named("outer").unwrap();
    assert_eq!(outer.text("spanledger.run_id"), Some("chatty"));
}
