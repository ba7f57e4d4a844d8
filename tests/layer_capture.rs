//! What a span or event becomes, and each trap of today's tracing crates.

use serde_json::{Value as Json, json};
use spanledger::layer::{
    AuditLayer, INCOMPLETE, MAX_VALUE_BYTES, NUMBER, REDACTIONS, TRUNCATED, UNWINDING,
};
use spanledger::testing::{self, Audit, Audited};
use std::fmt;
use tracing::{Level, Span, debug_span, error_span, info, info_span, span, trace_span};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, filter, reload};

/// What was audited while `work` ran.
fn audited(work: impl FnOnce()) -> Vec<Audit> {
    let (layer, audited) = testing::layer();
    tracing::subscriber::with_default(Registry::default().with(layer), work);
    audited.records()
}

fn one(work: impl FnOnce()) -> Audit {
    let records = audited(work);
    assert_eq!(records.len(), 1, "{records:#?}");
    records.into_iter().next().unwrap()
}

fn named<'r>(records: &'r [Audit], name: &str) -> &'r Audit {
    records.iter().find(|record| record.name == name).unwrap()
}

#[test]
fn a_span_with_a_field_of_ours_is_audited_and_another_is_not() {
    let records = audited(|| {
        info_span!("plain", amount = 1).in_scope(|| info!("nothing of ours"));
        info_span!("by id", trace_id = "langsmith-run-abc123").in_scope(|| ());
        info_span!("by convention", gen_ai.request.model = "gpt").in_scope(|| ());
        span!(target: "audit", Level::TRACE, "by target").in_scope(|| ());
    });
    let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["by id", "by convention", "by target"]);
    assert_eq!(records[0].text("spanledger.external.trace_id"), Some("langsmith-run-abc123"));
}

#[test]
fn every_kind_of_value_arrives_as_what_it_is() {
    #[derive(Debug)]
    struct Point {
        #[expect(dead_code, reason = "shown by Debug")]
        x: i32,
    }
    #[derive(Debug)]
    struct Failed(std::io::Error);
    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the tool failed")
        }
    }
    impl std::error::Error for Failed {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let failed = Failed(std::io::Error::other("disk on fire"));
    let error: &(dyn std::error::Error + 'static) = &failed;
    let record = one(|| {
        let _ = span!(
            target: "audit",
            Level::INFO,
            "values",
            text = "ä\"\n",
            truth = true,
            int = -7_i64,
            unsigned = 42_u64,
            large = u64::MAX,
            wide = i128::MIN,
            wider = u128::MAX,
            double = 0.5,
            raw = &b"\xff\x00"[..],
            debug = ?Point { x: 3 },
            display = %"shown",
            failure = error,
            none = tracing::field::Empty,
            optional = Some(9),
        );
    });
    for (key, expected) in [
        ("text", json!("ä\"\n")),
        ("truth", json!(true)),
        ("int", json!(-7)),
        ("unsigned", json!(42)),
        ("large", json!("18446744073709551615")),
        ("wide", json!(i128::MIN.to_string())),
        ("wider", json!(u128::MAX.to_string())),
        ("double", json!(0.5)),
        ("raw", json!("/wA=")),
        ("debug", json!("Point { x: 3 }")),
        ("display", json!("shown")),
        ("failure", json!("the tool failed: disk on fire")),
        ("optional", json!(9)),
    ] {
        assert_eq!(record.get(key), Some(&expected), "{key}");
    }
    assert_eq!(record.get("none"), None);
}

#[test]
fn what_is_recorded_late_or_again_counts_once_and_last() {
    let record = one(|| {
        let span = info_span!("gate", decision = tracing::field::Empty, tool_name = "refund");
        span.record("decision", "require_approval");
        span.record("decision", "allow");
        for n in 0..10_000 {
            span.record("tool_name", format!("refund {n} {}", "x".repeat(100)).as_str());
        }
    });
    let decisions = record.attributes.iter().filter(|(key, _)| key.ends_with("outcome"));
    assert_eq!(decisions.map(|(_, value)| value.clone()).collect::<Vec<_>>(), [json!("allow")]);
    assert!(record.text("spanledger.tool_name").unwrap().starts_with("refund 9999"));
}

#[test]
fn children_have_what_their_parents_learned_late_and_their_own_first() {
    let records = audited(|| {
        let run =
            info_span!("run", trace_id = tracing::field::Empty, run_id = "r1", tenant = "acme");
        run.in_scope(|| {
            let middle = debug_span!("not captured");
            middle.in_scope(|| {
                let step = info_span!("step", gen_ai.tool.name = "t", run_id = "r2");
                run.record("trace_id", "late-id");
                step.in_scope(|| info!(decision = "block", "no"));
            });
        });
    });
    let (run, step) = (named(&records, "run"), named(&records, "step"));
    assert_eq!(step.text("spanledger.external.trace_id"), Some("late-id"));
    assert_eq!(step.text("spanledger.run_id"), Some("r2"));
    assert_eq!(step.text("spanledger.tenant_id"), Some("acme"));
    assert_eq!(step.parent_span_id, run.span_id, "the nearest captured span is the parent");
    let event = records.iter().find(|record| record.body.as_deref() == Some("no")).unwrap();
    assert_eq!((event.trace_id, event.span_id), (run.trace_id, step.span_id));
    assert_eq!(event.text("spanledger.run_id"), Some("r2"));
}

#[test]
fn captured_spans_below_one_root_that_is_not_captured_are_one_trace() {
    let records = audited(|| {
        info_span!("request").in_scope(|| {
            info_span!("a", trace_id = "x").in_scope(|| ());
            trace_span!("between").in_scope(|| info_span!("b", trace_id = "x").in_scope(|| ()));
            info!(decision = "allow", "c");
        });
        info_span!("other", trace_id = "x").in_scope(|| ());
    });
    let [a, b, c, other] = &records[..] else { panic!("{records:#?}") };
    assert!(a.trace_id == b.trace_id && b.trace_id == c.trace_id && a.trace_id != other.trace_id);
    assert_eq!(a.parent_span_id, [0; 8]);
}

#[test]
fn a_traceparent_joins_the_trace_of_another_process() {
    let record = one(|| {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        info_span!("served", trace_id = "x", traceparent = header).in_scope(|| ());
    });
    assert_eq!((record.trace_id[0], record.parent_span_id[7]), (0x0a, 0x31));
}

#[test]
fn a_span_may_follow_itself_others_and_one_that_ended() {
    let records = audited(|| {
        let first = info_span!("first", trace_id = "x");
        let second = info_span!("second", trace_id = "y");
        second.follows_from(&first);
        second.follows_from(&second);
        let ended = first.id();
        drop(first);
        second.follows_from(ended);
    });
    let (first, second) = (named(&records, "first"), named(&records, "second"));
    let of = |audit: &Audit| (audit.trace_id, audit.span_id);
    assert_eq!(second.links, [of(first), of(second)]);
}

#[test]
fn otel_fields_name_the_span_and_its_kind_and_status() {
    let record = one(|| {
        let _ = info_span!(
            "chat",
            gen_ai.operation.name = "chat",
            otel.name = "chat gpt-4.1",
            otel.kind = "client",
            otel.status_code = "error",
            otel.status_description = "too many tokens"
        );
    });
    assert_eq!((record.name.as_str(), record.kind, record.status), ("chat gpt-4.1", 3, 2));
    assert_eq!(record.status_message, "too many tokens");
    assert_eq!(record.get("otel.name"), None);
}

#[test]
fn secrets_do_not_leave_the_memory_of_the_agent() {
    let key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz";
    let (layer, audited) = AuditLayer::builder().redact_fields(["email"]).for_test().unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let run = info_span!(
            "run",
            trace_id = key,
            otel.name = format!("call {key}"),
            args = format!(r#"{{"header":"{key}","email":"eve@example.org"}}"#),
            db.password = "hunter2",
            pin.password = 1234,
            user.email = "eve@example.org",
            raw = key.as_bytes(),
        );
        run.in_scope(|| info!(decision = "allow", "with {key}"));
        info!(target: "audit", note = "harmless");
    });
    let records = audited.records();
    let shown = format!("{records:?}");
    for secret in [key, "hunter2", "1234", "eve@example.org"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let rules = named(&records, &records.last().unwrap().name).get(REDACTIONS).unwrap();
    assert!(rules.as_array().unwrap().contains(&json!("field:email at user.email")), "{rules}");
    assert!(records.iter().any(|record| record.text("note") == Some("harmless")));
}

#[test]
fn a_value_beyond_the_limit_is_cut_and_the_record_says_so() {
    let record = one(|| {
        let long = "ä".repeat(MAX_VALUE_BYTES);
        let _ = info_span!("long", gen_ai.prompt = long.as_str(), spanledger.result = ?long, n = 1);
    });
    for key in ["gen_ai.prompt", "spanledger.result"] {
        let length = record.text(key).unwrap().len();
        assert!((MAX_VALUE_BYTES - 2..=MAX_VALUE_BYTES).contains(&length), "{key} {length}");
    }
    let cut: Vec<_> = record.get(TRUNCATED).and_then(Json::as_array).unwrap().clone();
    assert_eq!(cut, [json!("gen_ai.prompt"), json!("spanledger.result")]);
}

#[test]
fn a_span_that_ends_by_a_panic_is_an_entry_that_says_so() {
    let record = one(|| {
        let panicked = std::panic::catch_unwind(|| {
            let _span = error_span!("tool", tool_name = "refund").entered();
            std::panic::resume_unwind(Box::new("no"));
        });
        assert!(panicked.is_err());
    });
    assert_eq!((record.get(UNWINDING), record.status), (Some(&json!(true)), 2));
}

#[test]
fn spans_that_never_end_are_told_as_incomplete_at_the_end_and_once() {
    let (layer, audited) = testing::layer();
    let handle = layer.handle();
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let open = info_span!("run", trace_id = "x");
        let inner = open.in_scope(|| info_span!("tool", tool_name = "t"));
        handle.shutdown_blocking(std::time::Duration::ZERO);
        drop((inner, open));
    });
    let records = audited.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.get(INCOMPLETE) == Some(&json!(true))));
}

#[test]
fn numbers_of_records_have_no_hole() {
    let records = audited(|| {
        for n in 0..100 {
            info_span!("n", trace_id = n).in_scope(|| info!(decision = "allow"));
        }
    });
    let numbers: Vec<_> =
        records.iter().map(|it| it.get(NUMBER).unwrap().as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_filter_in_front_hides_spans_and_their_children_find_the_next_parent() {
    let (layer, audited) = testing::layer();
    let quiet = layer.with_filter(filter::filter_fn(|it| it.name() != "hidden"));
    tracing::subscriber::with_default(Registry::default().with(quiet), || {
        let outer = info_span!("outer", trace_id = "x").entered();
        let hidden = info_span!("hidden", trace_id = "y").entered();
        info_span!("inner", tool_name = "t").in_scope(|| info!(decision = "allow", "e"));
        drop((hidden, outer));
    });
    let records = audited.records();
    assert_eq!(records.len(), 3);
    assert_eq!(named(&records, "inner").parent_span_id, named(&records, "outer").span_id);
    assert_eq!(named(&records, "inner").text("spanledger.external.trace_id"), Some("x"));
}

#[test]
fn a_global_level_filter_or_another_layer_changes_nothing_for_what_is_left() {
    let (layer, audited) = testing::layer();
    let other = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = Registry::default().with(filter::LevelFilter::INFO).with(layer).with(other);
    tracing::subscriber::with_default(subscriber, || {
        debug_span!("below", trace_id = "x").in_scope(|| ());
        info_span!("kept", trace_id = "x").in_scope(|| ());
    });
    assert_eq!(audited.only().name, "kept");
}

#[test]
fn two_layers_in_one_subscriber_choose_for_themselves() {
    let (one, first) = testing::layer();
    let (other, second) =
        AuditLayer::builder().capture(|it| it.name() == "plain").for_test().unwrap();
    tracing::subscriber::with_default(Registry::default().with(one).with(other), || {
        for _ in 0..3 {
            info_span!("plain").in_scope(|| ());
            info_span!("ours", trace_id = "x").in_scope(|| ());
        }
    });
    assert_eq!((first.records().len(), second.records().len()), (3, 6));
}

#[test]
fn a_layer_can_be_put_in_and_taken_out_while_the_agent_runs() {
    let (layer, audited) = testing::layer();
    let (reloadable, reload) = reload::Layer::new(None);
    tracing::subscriber::with_default(Registry::default().with(reloadable), || {
        let before = info_span!("before", trace_id = "x");
        reload.modify(|slot| *slot = Some(layer)).unwrap();
        before.in_scope(|| info_span!("during", trace_id = "y").in_scope(|| ()));
        drop(before);
        let across = info_span!("across", trace_id = "z");
        reload.modify(|slot| *slot = None).unwrap();
        drop(across);
    });
    let records = audited.records();
    assert_eq!(records.len(), 2, "what began before is none, what never ended is told");
    assert_eq!(named(&records, "during").get(INCOMPLETE), None);
    assert_eq!(named(&records, "across").get(INCOMPLETE), Some(&json!(true)));
}

#[test]
fn a_span_given_to_other_threads_ends_once_after_all_of_them() {
    let (layer, audited) = testing::layer();
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let run = info_span!("run", trace_id = "x");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = |run: Span, n: usize| {
            let dispatch = dispatch.clone();
            move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    run.in_scope(|| {
                        for _ in 0..100 {
                            info_span!("step", tool_name = n).in_scope(|| ());
                        }
                    });
                });
            }
        };
        let threads: Vec<_> = (0..8).map(|n| std::thread::spawn(work(run.clone(), n))).collect();
        drop(run);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let records = audited.records();
    assert_eq!(records.len(), 801);
    assert_eq!(records.last().unwrap().name, "run", "children keep their parents open");
    assert!(records.iter().all(|record| record.trace_id == records[0].trace_id));
}

#[test]
fn an_explicit_parent_and_a_root_are_where_they_say() {
    let records = audited(|| {
        let one = info_span!("one", trace_id = "a");
        let _inside = info_span!("two", trace_id = "b").entered();
        info_span!(parent: &one, "child of one", tool_name = "t").in_scope(|| ());
        info_span!(parent: None, "root", tool_name = "t").in_scope(|| ());
        info!(parent: &one, decision = "allow", "event of one");
    });
    let one = named(&records, "one");
    assert_eq!(named(&records, "child of one").parent_span_id, one.span_id);
    let root = named(&records, "root");
    assert!(root.parent_span_id == [0; 8] && root.trace_id != one.trace_id);
    assert!(root.text("spanledger.external.trace_id").is_none());
    let event = records.iter().find(|it| it.body.is_some()).unwrap();
    assert_eq!(event.span_id, one.span_id);
}

#[test]
fn audited_is_empty_without_a_record() {
    let (_layer, audited): (_, Audited) = testing::layer();
    assert!(audited.records().is_empty() && audited.named("x").is_none());
}
