//! The query language: what is read is written so that it is read again as the same question, and
//! both say the same of an entry.
//!
//! The question is what stands before the first NUL; what follows is the body of an entry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::store::query::{Clock, Compiled, Query};
use spanledger::store::{EntryView, Envelope};

/// A body with something in it for most fields.
const BODY: &str = r#"{"schema_version":1,"@timestamp":"2026-11-21T12:00:00.123456789Z","event":{"action":"pay","outcome":"failure","duration":1500000000},"trace_id":["4bf92f3577b34da6a3ce929d0e0e4736","langsmith-run-abc123"],"span":{"id":"00f067aa0ba902b7"},"user":{"id":"ada","name":"Ada"},"service":{"name":"shop"},"gen_ai":{"request":{"model":"gpt-5"},"usage":{"input_tokens":12,"output_tokens":3.5},"tool":{"name":"payment"}},"message":"Refund of 12 EUR \"refused\", Straße","audit":{"kind":"decision","decision":{"outcome":"blocked","reason":"spend limit"},"policy":{"name":"spend limit","id":"7"},"run":{"id":"7"},"workflow":{"id":"w"},"job":{"id":"8"},"step":{"id":"9"},"actor":{"id":"agent"}},"attributes":{"order.id":"A-17","n":[1,-2.5,true,null,{"x":"y"}]}}"#;

fuzz_target!(|text: &str| {
    let (question, body) = text.split_once('\0').unwrap_or((text, BODY));
    let Ok(query) = Query::parse(question) else { return };
    let written = query.to_string();
    let again = Query::parse(&written);
    assert_eq!(again.as_ref(), Ok(&query), "written as {written}");

    let clock = Clock { now_ns: 1_795_262_400_000_000_000 };
    let envelope = Envelope {
        sequence: 7,
        id: [3; 16],
        tenant: "default",
        received_ns: 1_795_262_399_000_000_000,
        conflict: false,
        leaf_hash: [9; 32],
    };
    let compiled = Compiled::new(&query, clock);
    let answer = compiled.matches(&EntryView::new(envelope, body.as_bytes()));
    let negated = Compiled::new(&Query::Not(Box::new(query)), clock);
    assert_ne!(answer, negated.matches(&EntryView::new(envelope, body.as_bytes())));
});
