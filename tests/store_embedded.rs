//! What the embedded store promises, one sentence each.

#![allow(clippy::large_stack_arrays, reason = "a list of entries is short")]

mod store_support;

use spanledger::entry::{Json, Kind, Outcome};
use spanledger::ledger::Reader;
use spanledger::store::query::Query;
use spanledger::store::{
    AuditStore, Cursor, EmbeddedStore, Order, QueryRequest, StoreError, TraceRequest,
};
use std::fs;
use std::time::Duration;
use store_support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const LOW_DECIMAL: &str = "11803532876627986230";

fn given(number: u64) -> Given {
    Given::new(number, Kind::Span, number)
}

#[test]
fn an_entry_is_found_by_any_id_word_and_field_before_the_index_has_seen_it() {
    let mut fixture = Fixture::new();
    fixture.append(&[given(0).trace(TRACE).run("7").with(|entry| {
        entry.message = Some("refund order-4711x".into());
        entry.audit.decision.outcome = Some(Outcome::Block);
    })]);
    assert_eq!(fixture.store().status().ids, 0);
    for text in ["run_id:7", "refund", "4711x", "decision:blocked", LOW_DECIMAL, "kind:span"] {
        assert_eq!(fixture.numbers(text), [0], "{text}");
    }
    assert_eq!(fixture.story_numbers("7"), [0]);
}

#[test]
fn the_low_half_of_a_trace_id_in_hex_or_decimal_finds_the_whole_id() {
    let mut fixture = Fixture::new();
    fixture.append(&[
        given(0).trace(TRACE),
        given(1).trace("a3ce929d0e0e4736"),
        given(2).trace("langsmith-run-abc123"),
    ]);
    for index in [false, true] {
        if index {
            fixture.index_all();
        }
        for id in [
            TRACE,
            LOW_DECIMAL,
            "a3ce929d0e0e4736",
            "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736",
            "trace_4bf92f3577b34da6a3ce929d0e0e4736",
        ] {
            assert_eq!(fixture.story_numbers(id), [0, 1], "{id}");
            assert_eq!(fixture.numbers(&format!("trace_id:{id}")), [0, 1], "{id}");
            assert_eq!(fixture.numbers(id), [0, 1], "{id}");
        }
        assert_eq!(fixture.numbers("langsmith-run-*"), [2]);
        assert_eq!(fixture.numbers("trace_id:langsmith*"), [2]);
    }
}

#[test]
fn traces_that_share_a_run_a_job_or_an_approval_are_one_story_also_after_a_restart() {
    let mut fixture = Fixture::new();
    fixture.append(&[
        given(0).trace("a"),
        given(1).trace("a").run("r"),
        given(2).run("r").with(|entry| entry.audit.job.id = Some("j".into())),
        given(3).trace("b").with(|entry| entry.audit.job.id = Some("j".into())),
        given(4).trace("b").with(|entry| entry.audit.approval.id = Some("x".into())),
        given(5).trace("c").with(|entry| entry.audit.approval.id = Some("x".into())),
        given(6).trace("d").with(|entry| entry.audit.session.id = Some("s".into())),
        given(7).trace("a2").with(|entry| entry.audit.session.id = Some("s".into())),
    ]);
    for round in 0..3 {
        for id in ["a", "b", "c", "r", "j", "x"] {
            assert_eq!(fixture.story_numbers(id), [0, 1, 2, 3, 4, 5], "{id}, round {round}");
        }
        assert_eq!(fixture.story("a").trace_ids, ["a", "b", "c"]);
        assert_eq!(fixture.story_numbers("d"), [6], "a session does not join");
        assert_eq!(fixture.story_numbers("s"), [6, 7], "and is found by whoever asks for it");
        fixture.index_all();
        fixture.store().flush().unwrap();
        fixture.reopen();
    }
}

#[test]
fn careless_ids_join_nothing_and_are_found_all_the_same() {
    let mut fixture = Fixture::new();
    let zeros = "00000000000000000000000000000000";
    let long = "x".repeat(256);
    for (at, careless) in (0..).step_by(2).zip(["test", "Unknown", "n/a", zeros, &long]) {
        let trace = |n: u64| format!("t{n}");
        fixture.append(&[
            given(at).trace(&trace(at)).run(careless),
            given(at + 1).trace(&trace(at + 1)).run(careless),
        ]);
        assert_eq!(fixture.story_numbers(&trace(at)), [at], "{careless}");
        assert_eq!(fixture.numbers(&format!("run_id:\"{careless}\"")), [at, at + 1]);
    }
}

#[test]
fn tenants_with_equal_ids_never_see_each_other() {
    let mut fixture = Fixture::new();
    let both = |number: u64| {
        given(number).trace(TRACE).run("7").with(|entry| {
            entry.message = Some("secret word".into());
            entry.audit.session.thread_id = Some("t".into());
        })
    };
    fixture.append(&[both(0), both(1).of("other"), both(2)]);
    for index in [false, true] {
        if index {
            fixture.index_all();
            fixture.store().flush().unwrap();
        }
        for text in [
            "run_id:7",
            TRACE,
            "secret",
            "kind:span",
            "*",
            "not run_id:8",
            "tenant_id:other or run_id:7",
        ] {
            assert_eq!(fixture.numbers(text), [0, 2], "{text}");
            let others = fixture.ask("other", text, Order::Newest);
            assert_eq!(others.iter().map(|hit| hit.sequence).collect::<Vec<_>>(), [1], "{text}");
            assert!(fixture.ask("third", text, Order::Newest).is_empty());
        }
        assert_eq!(fixture.story("7").total, 2);
        assert_eq!(story(fixture.store(), "other", "7").total, 1);
        assert_eq!(story(fixture.store(), "third", TRACE).total, 0);
    }
}

#[test]
fn a_tenant_is_found_by_the_credentials_name_and_by_the_claimed_one_within_the_wall() {
    let mut fixture = Fixture::new();
    let claims = |number: u64, tenant: &'static str| {
        given(number).with(|entry| entry.audit.claims.tenant_id = Some(tenant.into()))
    };
    fixture.append(&[
        given(0),
        claims(1, "Customer 7"),
        claims(2, "acme").of("other"),
        claims(3, "other"),
    ]);
    for index in [false, true] {
        if index {
            fixture.index_all();
            fixture.store().flush().unwrap();
        }
        for (text, own, others) in [
            ("tenant_id:acme", vec![0, 1, 3], vec![2]),
            ("tenant_id:other", vec![3], vec![2]),
            ("tenant:\"customer 7\"", vec![1], vec![]),
            ("tenant_id:custom*", vec![1], vec![]),
            ("organization.id:other", vec![], vec![2]),
            ("audit.claims.tenant_id:acme", vec![], vec![2]),
            ("NOT tenant_id:other", vec![0, 1], vec![]),
        ] {
            assert_eq!(fixture.numbers(text), own, "{text}");
            let found = fixture.ask("other", text, Order::Ledger);
            assert_eq!(found.iter().map(|hit| hit.sequence).collect::<Vec<_>>(), others, "{text}");
        }
    }
}

#[test]
fn an_interrupted_run_and_the_one_that_resumed_it_are_one_story() {
    let mut fixture = Fixture::new();
    let on_thread = |number: u64, trace: &str| {
        given(number).trace(trace).with(|e| e.audit.session.thread_id = Some("thread".into()))
    };
    let resumes = |number: u64, trace: &str| {
        on_thread(number, trace).with(|e| e.audit.interrupt.response = Some("approved".into()))
    };
    fixture.append(&[
        resumes(4, "b"),
        on_thread(9, "z"),
        on_thread(2, "a").with(|e| e.audit.interrupt.reason = Some("pay?".into())),
        given(1).trace("a"),
        given(5).trace("b"),
    ]);
    for index in [false, true] {
        if index {
            fixture.index_all();
        }
        for id in ["a", "b"] {
            assert_eq!(fixture.story_numbers(id), [3, 2, 0, 4], "by event time, not by arrival");
        }
        assert_eq!(fixture.story_numbers("z"), [1], "the thread itself joins nothing");
    }
}

#[test]
fn shuffled_and_repeated_arrival_tells_the_same_story() {
    let entries: Vec<Given> = (0..30)
        .map(|n| {
            given(n).trace(&format!("t{}", n % 4)).run(&format!("r{}", n % 3)).with(|entry| {
                entry.span.id = Some(format!("{n:016x}").into());
                entry.span.parent_id = Some(format!("{:016x}", n / 2).into());
                entry.timestamp = spanledger::entry::format_ns(1 + n / 5).into();
            })
        })
        .collect();
    let ids = |fixture: &Fixture| -> Vec<[u8; 16]> {
        fixture.story("t0").entries.iter().map(|hit| hit.id).collect()
    };
    let mut straight = Fixture::new();
    straight.append(&entries);
    straight.index_all();
    let mut shuffled = Fixture::new();
    let mut order: Vec<&Given> = entries.iter().collect();
    order.rotate_left(13);
    order.reverse();
    for (at, chunk) in order.chunks(7).enumerate() {
        let chunk: Vec<Given> = chunk.iter().map(|given| (*given).clone()).collect();
        shuffled.append(&chunk);
        // A resend, within the ledger's window and beyond it.
        shuffled.append(&chunk);
        if at % 2 == 0 {
            shuffled.index_all();
        }
    }
    assert_eq!(ids(&straight).len(), 30);
    assert_eq!(ids(&straight), ids(&shuffled));
    shuffled.index_all();
    assert_eq!(ids(&straight), ids(&shuffled));
    assert_eq!(shuffled.numbers("run_id:*").len(), 30, "a repeated entry counts once");
}

#[test]
fn pages_go_on_where_they_ended_while_entries_are_appended() {
    let mut fixture = Fixture::new();
    let some =
        |from: u64, to: u64| -> Vec<Given> { (from..to).map(|n| given(n).run("7")).collect() };
    fixture.append(&some(0, 40));
    fixture.index(25);
    let query = Query::parse("run_id:7").unwrap();
    for order in [Order::Newest, Order::Ledger, Order::Story] {
        let first = fixture.numbers("run_id:7").len() as u64;
        let mut request =
            QueryRequest { order, limit: 7, ..QueryRequest::new(tenant("acme"), query.clone()) };
        let mut seen = Vec::new();
        loop {
            let page = fixture.store().query(&request).unwrap();
            seen.extend(page.hits.iter().map(|hit| hit.sequence));
            request.cursor = page.next_cursor;
            if request.cursor.is_none() || seen.len() > 200 {
                break;
            }
            let next = fixture.reader().watermark();
            if next < first + 12 {
                fixture.append(&some(next, next + 3));
                fixture.index(4);
            }
        }
        let before = |s: &&u64| **s < first;
        let mut old: Vec<u64> = seen.iter().filter(before).copied().collect();
        old.sort_unstable();
        assert_eq!(old, (0..first).collect::<Vec<_>>(), "{order:?}: each once");
    }
}

#[test]
fn a_cursor_of_another_order_is_refused() {
    let fixture = Fixture::new();
    let request = QueryRequest {
        cursor: Some(Cursor::Above(3)),
        ..QueryRequest::new(tenant("acme"), Query::All)
    };
    assert!(matches!(fixture.store().query(&request), Err(StoreError::Cursor(_))));
}

#[test]
fn a_question_whose_time_is_over_says_so_and_where_to_go_on() {
    let mut fixture = Fixture::new();
    fixture.append(&(0..20).map(given).collect::<Vec<_>>());
    for order in [Order::Newest, Order::Ledger] {
        let mut request = QueryRequest {
            budget: Duration::ZERO,
            order,
            ..QueryRequest::new(tenant("acme"), Query::All)
        };
        let page = fixture.store().query(&request).unwrap();
        assert!(page.timed_out && page.hits.is_empty());
        request.cursor = page.next_cursor;
        request.budget = Duration::from_mins(1);
        assert_eq!(fixture.store().query(&request).unwrap().hits.len(), 20, "{order:?}");
    }
    let request =
        TraceRequest { budget: Duration::ZERO, ..TraceRequest::new(tenant("acme"), "nobody") };
    assert!(fixture.store().trace(&request).unwrap().truncated);
}

#[test]
fn a_crash_between_the_run_of_ids_and_the_commit_loses_and_repeats_nothing() {
    // Runs have 8 entries, blocks have 4, and a commit comes with the call after which 12 are
    // waiting in full blocks.
    for (first, second, runs, commit) in [(14, 8, 16, 12), (5, 8, 8, 12), (5, 14, 16, 16)] {
        let mut fixture = Fixture::new();
        let refund = |n| given(n).run("7").with(|e| e.message = Some("refund".into()));
        fixture.append(&(0..30).map(refund).collect::<Vec<_>>());
        fixture.index(first);
        fixture.index(second);
        let status = fixture.store().status();
        assert_eq!((status.durable_ids, status.tags), (runs, commit));
        fixture.reopen();
        assert_eq!(fixture.store().position(), Some(runs.min(commit)));
        for _ in 0..2 {
            for text in ["run_id:7", "refund", "kind:span"] {
                assert_eq!(fixture.numbers(text), (0..30).collect::<Vec<_>>(), "{text}");
            }
            fixture.index_all();
        }
        assert_eq!(fixture.store().status().lag(), 0);
    }
}

#[test]
fn an_index_that_was_deleted_or_is_of_another_ledger_is_built_again() {
    let mut fixture = Fixture::new();
    fixture.append(&(0..30).map(|n| given(n).run("7")).collect::<Vec<_>>());
    fixture.index_all();
    let before = fixture.ask("acme", "run_id:7", Order::Newest);
    fixture.while_closed(|dir| fs::remove_dir_all(dir).unwrap());
    assert!(fixture.store().status().rebuilt);
    assert_eq!(fixture.ask("acme", "run_id:7", Order::Newest), before, "while it is built");
    fixture.index_all();
    assert_eq!(fixture.ask("acme", "run_id:7", Order::Newest), before);

    let mut stranger = Fixture::new();
    stranger.append(&[given(1).run("9")]);
    let own = fixture.index_dir();
    stranger.while_closed(|dir| {
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir_all(dir.join("tags")).unwrap();
        for from in [own.clone(), own.join("tags")] {
            for file in fs::read_dir(&from).unwrap().map(Result::unwrap) {
                if file.path().is_file() {
                    let name = file.path().strip_prefix(&own).unwrap().to_owned();
                    fs::copy(file.path(), dir.join(name)).unwrap();
                }
            }
        }
    });
    assert!(stranger.store().status().rebuilt);
    assert_eq!(stranger.numbers("run_id:9"), [0]);
}

#[test]
fn a_run_that_is_damaged_while_it_is_open_is_found_out_and_mended() {
    let mut fixture = Fixture::new();
    fixture.append(&(0..40).map(|n| given(n).run("7")).collect::<Vec<_>>());
    fixture.index_all();
    for run in fs::read_dir(fixture.index_dir()).unwrap().map(|f| f.unwrap().path()) {
        if run.extension().is_some_and(|e| e == "run") {
            let mut bytes = fs::read(&run).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            bytes[last / 2] ^= 1;
            // In place: the store has the file open.
            fs::write(&run, bytes).unwrap();
        }
    }
    assert_eq!(fixture.numbers("run_id:7"), (0..40).collect::<Vec<_>>());
    assert!(fixture.store().status().mended_runs > 0);
    assert_eq!(fixture.story("7").total, 40);
    fixture.reopen();
    assert_eq!(fixture.numbers("run_id:7"), (0..40).collect::<Vec<_>>());
}

#[test]
fn without_a_server_the_index_is_read_as_it_is_or_not_at_all() {
    let mut fixture = Fixture::new();
    fixture.append(&(0..30).map(|n| given(n).run("7")).collect::<Vec<_>>());
    fixture.index(20);
    let ledger = fixture.dir.path().join("ledger");
    for dir in [fixture.index_dir(), fixture.dir.path().join("nowhere")] {
        let reader = Reader::open(&ledger).unwrap();
        let store = EmbeddedStore::open_read_only(&dir, reader, options()).unwrap();
        let hits = all_pages(&store, "acme", &Query::term("run_id", "7"), Order::Ledger, 100);
        assert_eq!(hits.len(), 30);
        assert_eq!(story(&store, "acme", "7").total, 30);
        assert!(matches!(store.write(&[]), Err(StoreError::Request(_))));
    }
    assert!(!fixture.dir.path().join("nowhere").exists(), "reading makes no files");
}

#[test]
fn the_five_questions_are_one_query_each() {
    let mut fixture = Fixture::new();
    fixture.append(&[
        given(0).run("7").with(|entry| {
            entry.audit.decision.outcome = Some(Outcome::Block);
            entry.audit.decision.reason = Some("spend limit exceeded".into());
            entry.audit.policy.rule_id = Some("limit-1".into());
            entry.user.id = Some("ada@example.com".into());
        }),
        given(1).run("7").with(|entry| {
            entry.audit.approval.status = Some("approved".into());
            entry.audit.approval.resolved_by = Some("ops-lead".into());
            entry.audit.workflow.id = Some("w1".into());
            entry.audit.workflow.name = Some("Nightly".into());
        }),
        given(2).with(|entry| {
            entry.gen_ai.request.model = Some("gpt-5".into());
            entry.gen_ai.tool.name = Some("pay".into());
            entry.attributes.push("order.amount".into(), Json::Int(250));
        }),
    ]);
    for index in [false, true] {
        if index {
            fixture.index_all();
            fixture.store().flush().unwrap();
        }
        for (text, wanted) in [
            ("decision:DENY and reason:\"spend limit\"", &[0][..]),
            ("rule:LIMIT-1", &[0]),
            ("user:ada@example.com", &[0]),
            ("resolved_by:ops-lead and run_id:7", &[1]),
            ("workflow:w1", &[1]),
            ("workflow:nightly", &[1]),
            ("model:gpt-5 or tool:pa*", &[2]),
            ("attributes.order.amount >= 200", &[2]),
            ("order.amount:250", &[2]),
            ("time:[1970-01-01T00:00:00.001Z TO 1970-01-01T00:00:00.001Z]", &[1]),
            ("@timestamp < 1970-01-02 and not run_id:*", &[2]),
            ("event.sequence > 1", &[2]),
            ("exceeded", &[0]),
        ] {
            assert_eq!(fixture.numbers(text), wanted, "{text}");
        }
    }
}

#[test]
fn a_hit_is_shown_as_one_document_with_its_envelope() {
    let mut fixture = Fixture::new();
    fixture.append(&[given(0).run("7")]);
    let hits = fixture.ask("acme", "run_id:7", Order::Newest);
    let document: serde_json::Value = serde_json::from_slice(&hits[0].document).unwrap();
    assert_eq!(document["event"]["sequence"], 0);
    assert_eq!(document["organization"]["id"], "acme");
    assert_eq!(document["audit"]["run"]["id"], "7");
    assert_eq!(document["audit"]["ledger"]["origin"], ORIGIN);
}
