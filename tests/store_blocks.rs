//! Tags are listed for blocks of entries, and answers are entries all the same.

mod store_support;

use proptest::prelude::*;
use spanledger::entry::{Kind, Outcome};
use spanledger::ledger::Reader;
use spanledger::store::embedded::IndexOptions;
use spanledger::store::query::Query;
use spanledger::store::{AuditStore, EmbeddedStore, Order, QueryRequest};
use std::time::Duration;
use store_support::*;

/// Entries of a block in these tests: see [`options`].
const BLOCK: u64 = 4;

const ORDERS: [Order; 3] = [Order::Newest, Order::Ledger, Order::Story];

/// An entry that is blocked or allowed, of one tool or the other, never of both.
fn alternating(number: u64) -> Given {
    let is_even = number.is_multiple_of(2);
    let kind = if is_even { Kind::Decision } else { Kind::ToolCall };
    // Times run against the ledger within a block.
    Given::new(number, kind, 1_000 + (number ^ 3)).with(|entry| {
        let outcome = if is_even { Outcome::Block } else { Outcome::Allow };
        entry.audit.decision.outcome = Some(outcome);
        entry.gen_ai.tool.name = Some(if is_even { "pay" } else { "search" }.into());
        entry.message = Some(if is_even { "left" } else { "right" }.into());
    })
}

fn alternating_up_to(end: u64) -> Vec<Given> {
    (0..end).map(alternating).collect()
}

fn numbers(all: impl IntoIterator<Item = u64>, keep: impl Fn(u64) -> bool) -> Vec<u64> {
    all.into_iter().filter(|number| keep(*number)).collect()
}

#[test]
fn a_block_that_is_not_full_is_listed_counts_as_such_and_is_read_again_after_a_restart() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(14));
    fixture.index(14);
    let status = fixture.store().status();
    assert_eq!((status.tags, status.added_tags, status.lag()), (12, 14, 0));
    let even = numbers(0..14, |n| n.is_multiple_of(2));
    assert_eq!(fixture.numbers("left"), even, "the committed blocks, and what no block has");
    fixture.store().flush().unwrap();
    assert_eq!(fixture.store().status().tags, 12, "a commit takes whole blocks only");

    fixture.reopen();
    let status = fixture.store().status();
    assert_eq!((status.tags, status.added_tags), (12, 12));
    assert_eq!(fixture.store().position(), Some(8), "the run of ids that was not full");
    assert_eq!(fixture.numbers("left"), even);
    fixture.index_all();
    assert_eq!(fixture.store().status().lag(), 0);
    fixture.append(&(14..24).map(alternating).collect::<Vec<_>>());
    fixture.index_all();
    assert_eq!(fixture.store().status().tags, 24);
    for text in ["left", "tool:pay", "kind:decision"] {
        assert_eq!(fixture.numbers(text), numbers(0..24, |n| n.is_multiple_of(2)), "{text}");
    }
}

#[test]
fn entries_that_come_one_by_one_fill_blocks_too() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(3 * BLOCK + 1));
    for taken in 1..=3 * BLOCK + 1 {
        fixture.index(1);
        assert_eq!(fixture.store().status().added_tags, taken);
        assert_eq!(fixture.numbers("right"), numbers(0..13, |n| !n.is_multiple_of(2)));
    }
    assert_eq!(fixture.store().status().tags, 3 * BLOCK);
}

#[test]
fn two_tags_of_one_block_on_different_entries_are_no_answer() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(40));
    fixture.index_all();
    assert_eq!(fixture.store().status().tags, 40);
    for nobody in [
        "left and right",
        "left and tool:search",
        "tool:pay and decision:allowed",
        "kind:decision and decision:allowed",
        "kind:decision and (tool:search or decision:allowed)",
        "kind:tool_call and tool:pa*",
        "kind:span and decision:blocked",
    ] {
        for order in ORDERS {
            assert!(fixture.ask("acme", nobody, order).is_empty(), "{nobody}");
        }
    }
    let even = numbers(0..40, |n| n.is_multiple_of(2));
    for some in [
        "left and tool:pay",
        "KIND:Decision and decision:DENY",
        "kind:decision and tool:p* and not right",
        "kind:decision and (tool:search or decision:blocked)",
        "event_type:decision and model:x or left",
    ] {
        let some = &some.replace("KIND", "kind");
        assert_eq!(fixture.numbers(some), even, "{some}");
    }
    assert_eq!(fixture.numbers("(left or right) and sequence:7"), [7]);
}

#[test]
fn a_tool_with_the_name_of_a_kind_is_found_with_every_kind() {
    let mut fixture = Fixture::new();
    let kinds = [Kind::Decision, Kind::Approval, Kind::Span, Kind::Interrupt];
    let named = |number: u64, kind: Kind, tool: &'static str| {
        Given::new(number, kind, number).with(|entry| entry.gen_ai.tool.name = Some(tool.into()))
    };
    fixture.append(&[
        named(0, kinds[0], "decision"),
        named(1, kinds[1], "approval"),
        named(2, kinds[2], "Span"),
        named(3, kinds[3], "span"),
    ]);
    // A full block, and a commit of it.
    fixture.index_all();
    fixture.store().flush().unwrap();
    assert_eq!(fixture.store().status().tags, BLOCK);
    for (text, wanted) in [
        ("kind:decision and tool:decision", 0),
        ("kind:approval and tool:approval", 1),
        ("kind:span and tool:span", 2),
        ("kind:interrupt and tool:SPAN", 3),
    ] {
        assert_eq!(fixture.numbers(text), [wanted], "{text}");
    }
}

#[test]
fn tenants_in_one_block_never_see_each_other() {
    let mut fixture = Fixture::new();
    let owner = |number: u64| if number.is_multiple_of(3) { "other" } else { "acme" };
    fixture.append(&(0..24).map(|n| alternating(n).of(owner(n))).collect::<Vec<_>>());
    fixture.index_all();
    assert_eq!(fixture.store().status().tags, 24);
    for text in ["left", "tool:pay", "kind:decision and decision:blocked", "time:1970-01-01"] {
        let is_asked = |n: u64| text.starts_with("time") || n.is_multiple_of(2);
        for name in ["acme", "other"] {
            let hits = fixture.ask(name, text, Order::Ledger);
            let found: Vec<u64> = hits.iter().map(|hit| hit.sequence).collect();
            assert_eq!(found, numbers(0..24, |n| is_asked(n) && owner(n) == name), "{text}");
        }
        assert!(fixture.ask("third", text, Order::Newest).is_empty());
    }
}

#[test]
fn a_time_within_a_block_finds_its_entries_alone() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(40));
    fixture.index_all();
    for at in [0_u64, 3, 4, 17, 39] {
        let text = format!("time:1970-01-01T00:00:01.{at:03}Z");
        assert_eq!(fixture.numbers(&text), [at ^ 3], "{text}");
    }
    let text = "time:[1970-01-01T00:00:01.006Z TO 1970-01-01T00:00:01.009Z]";
    assert_eq!(fixture.numbers(text), [4, 5, 10, 11], "of two blocks, two entries of each");
    assert!(fixture.numbers("time > 1970-01-01T00:00:01.039Z").is_empty());
}

#[test]
fn pages_of_any_length_begin_and_end_amid_blocks() {
    let mut fixture = Fixture::new();
    // More than the first window, and its edges lie amid blocks.
    fixture.append(&alternating_up_to(4_103));
    fixture.index_all();
    assert_eq!(fixture.store().status().tags, 4_100);
    let query = Query::parse("left and sequence >= 4063").unwrap();
    for order in ORDERS {
        let model = all_pages(&fixture.memory, "acme", &query, order, 1_000);
        assert_eq!(model.len(), 20);
        for limit in [1, 2, 3, 4, 5, 7] {
            let ours = all_pages(fixture.store(), "acme", &query, order, limit);
            assert_eq!(ours, model, "{order:?}, {limit} on a page");
        }
    }
    let first = QueryRequest::new(tenant("acme"), Query::parse("left").unwrap());
    let whole = QueryRequest { limit: 10_000, ..first };
    assert_eq!(fixture.store().query(&whole).unwrap().hits.len(), 2_052);
}

#[test]
fn a_question_whose_time_is_over_amid_blocks_says_where_to_go_on() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(40));
    fixture.index_all();
    for order in [Order::Newest, Order::Ledger] {
        let query = Query::parse("left").unwrap();
        let mut request = QueryRequest {
            budget: Duration::ZERO,
            order,
            ..QueryRequest::new(tenant("acme"), query)
        };
        let page = fixture.store().query(&request).unwrap();
        assert!(page.timed_out && page.hits.is_empty());
        request.cursor = page.next_cursor;
        request.budget = Duration::from_mins(1);
        assert_eq!(fixture.store().query(&request).unwrap().hits.len(), 20, "{order:?}");
    }
}

#[test]
fn without_a_server_whole_blocks_are_found_and_the_rest_is_read() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(30));
    fixture.index(18);
    let reader = Reader::open(&fixture.dir.path().join("ledger")).unwrap();
    let store = EmbeddedStore::open_read_only(&fixture.index_dir(), reader, options()).unwrap();
    assert_eq!(store.status().tags, 16);
    let hits = all_pages(&store, "acme", &Query::parse("right").unwrap(), Order::Ledger, 100);
    let found: Vec<u64> = hits.iter().map(|hit| hit.sequence).collect();
    assert_eq!(found, numbers(0..30, |n| !n.is_multiple_of(2)));
}

#[test]
fn blocks_of_another_length_build_the_index_again() {
    let mut fixture = Fixture::new();
    fixture.append(&alternating_up_to(30));
    fixture.index_all();
    let dir = fixture.index_dir();
    fixture.reopen();
    assert!(!fixture.store().status().rebuilt);
    let reader = fixture.reader();
    fixture.while_closed(move |_| {
        let other = IndexOptions { block_entries: 8, ..options() };
        assert!(EmbeddedStore::open(&dir, reader, other).unwrap().status().rebuilt);
    });
    assert!(fixture.store().status().rebuilt, "and back");
    assert_eq!(fixture.numbers("left").len(), 15);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the length of blocks, of commits and of what comes at once.
    #[test]
    fn blocks_of_any_length_find_the_same(
        block_entries in 1..20_u64,
        commit_entries in 1..40_u64,
        steps in prop::collection::vec((1..24_u64, any::<bool>()), 1..8),
    ) {
        let mut fixture = Fixture::new();
        let dir = fixture.dir.path().join("drawn");
        let drawn = IndexOptions { block_entries, commit_entries, ..options() };
        let mut store = EmbeddedStore::open(&dir, fixture.reader(), drawn.clone()).unwrap();
        for (more, restart) in steps {
            let end = fixture.reader().watermark();
            fixture.append(&(end..end + more).map(alternating).collect::<Vec<_>>());
            if restart {
                drop(store);
                store = EmbeddedStore::open(&dir, fixture.reader(), drawn.clone()).unwrap();
            }
            feed(&fixture, &store);
            let status = store.status();
            prop_assert_eq!(status.lag(), 0);
            prop_assert!(status.tags.is_multiple_of(block_entries));
            prop_assert!(end + more - status.tags < commit_entries + block_entries);
            for text in ["left", "left right", "tool:search", "kind:decision and tool:pay", "time < now"] {
                let query = Query::parse(text).unwrap();
                for order in ORDERS {
                    let ours = all_pages(&store, "acme", &query, order, 5);
                    prop_assert_eq!(ours, all_pages(&fixture.memory, "acme", &query, order, 1_000));
                }
            }
        }
    }
}

/// Brings a store everything from its position on.
fn feed(fixture: &Fixture, store: &EmbeddedStore) {
    let mut scan = fixture.reader().scan(store.position().unwrap());
    while let Some(chunk) = scan.next_chunk(2_048).unwrap() {
        let views: Vec<_> = chunk.entries().map(spanledger::store::EntryView::from).collect();
        store.write(&views).unwrap();
    }
}
