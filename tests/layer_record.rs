//! Records by themselves: receipts, gates, tool calls, macros.

use serde_json::json;
use spanledger::layer::{
    Approval, ApprovalStatus, AuditEvent, CANCELLED, Change, Decision, Handoff, Interrupt,
    ModelCall, Outcome, RecordError, ToolCall, Why, audited, gate,
};
use spanledger::testing::{self, Audit, Audited};
use spanledger::{AuditSpan as _, record};
use std::future::{Future, IntoFuture as _};
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

fn here() -> (Audited, DefaultGuard) {
    let (layer, audited) = testing::layer();
    (audited, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
}

/// No runtime of tokio: an agent may have another one, or none.
fn run<F: Future>(work: F) -> F::Output {
    use std::task::{Context, Poll, Waker};
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

fn named(audited: &Audited, name: &str) -> Audit {
    audited.named(name).unwrap()
}

#[test]
fn what_is_recorded_has_a_receipt_and_stands_in_the_span_around_it() {
    let (audited, _guard) = here();
    let span = info_span!("run", trace_id = "run-1", tenant = "acme");
    let decision = Decision::new(Outcome::Block).reason("over the limit").policy_id("refunds");
    let receipt = run(async { record(decision).await }.instrument(span.clone())).unwrap();
    drop(span);
    let entry = named(&audited, "spanledger.decision");
    assert_eq!(receipt.sequence + 1, entry.get("spanledger.number").unwrap().as_u64().unwrap());
    assert_eq!(entry.text("spanledger.decision.outcome"), Some("block"));
    assert_eq!(entry.text("spanledger.external.trace_id"), Some("run-1"));
    assert_eq!(entry.text("spanledger.tenant_id"), Some("acme"));
    assert_eq!(entry.trace_id, named(&audited, "run").trace_id);
    assert_eq!(entry.span_id, named(&audited, "run").span_id);
}

#[test]
fn the_span_that_counts_is_that_of_the_call_not_of_the_waiting() {
    let (audited, _guard) = here();
    let outer = info_span!("outer", trace_id = "a");
    let recording = outer.in_scope(|| record(AuditEvent::new("said")));
    run(async { recording.await }.instrument(info_span!("inner", trace_id = "b"))).unwrap();
    assert_eq!(named(&audited, "said").text("spanledger.external.trace_id"), Some("a"));
}

#[test]
fn the_prefix_may_be_left_out_in_what_is_recorded_as_in_the_target_audit() {
    let (audited, _guard) = here();
    let event = AuditEvent::new("said").with("trace_id", "run-1").with("reason", "limit");
    run(record(event.with("refund.amount", 7)).into_future()).unwrap();
    let said = named(&audited, "said");
    assert_eq!(said.text("spanledger.external.trace_id"), Some("run-1"));
    assert_eq!(said.text("spanledger.decision.reason"), Some("limit"));
    assert_eq!(said.get("refund.amount"), Some(&json!(7)));
}

#[test]
fn nothing_is_recorded_until_it_is_awaited() {
    let (audited, _guard) = here();
    drop(record(AuditEvent::new("never")).into_future());
    assert!(audited.records().is_empty());
}

#[test]
fn without_a_layer_the_error_says_what_to_do() {
    let error = run(record(AuditEvent::new("x")).into_future()).unwrap_err();
    assert_eq!(error, RecordError::NoLayer);
    assert!(error.to_string().contains("spanledger::layer("), "{error}");
    let plain = tracing::subscriber::set_default(tracing_subscriber::registry());
    assert_eq!(run(info_span!("x").audit().into_future()), Err(RecordError::NoLayer));
    drop(plain);
}

#[test]
fn a_handle_records_where_no_subscriber_shows_the_layer() {
    let (layer, audited) = testing::layer();
    let handle = layer.handle();
    run(handle.record(AuditEvent::new("alone")).into_future()).unwrap();
    let (reloadable, _reload) = tracing_subscriber::reload::Layer::new(layer);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(reloadable));
    let span = info_span!("run", trace_id = "a");
    span.in_scope(|| run(handle.record(AuditEvent::new("inside")).into_future())).unwrap();
    assert_eq!(named(&audited, "alone").trace_id, [0; 16]);
    assert_eq!(named(&audited, "inside").text("spanledger.external.trace_id"), Some("a"));
    let hidden = run(span.audit().into_future()).unwrap_err();
    assert!(hidden.to_string().contains("Handle"), "{hidden}");
}

#[test]
fn a_span_that_is_audited_now_is_an_entry_now_and_another_when_it_ends() {
    let (audited, _guard) = here();
    let span = info_span!("gate", trace_id = "run-1", decision = tracing::field::Empty);
    span.record("decision", "allow");
    run(span.audit().into_future()).unwrap();
    let now = audited.only();
    assert_eq!(now.text("spanledger.decision.outcome"), Some("allow"));
    assert_eq!(now.text("spanledger.external.trace_id"), Some("run-1"));
    let plain = info_span!("plain");
    assert_eq!(run(plain.audit().into_future()), Err(RecordError::NotAudited));
    drop(span);
    let records = audited.records();
    assert_eq!((records.len(), records[1].span_id), (2, now.span_id));
}

#[test]
fn an_action_is_cleared_by_a_recorded_decision_that_allows_it_and_by_nothing_else() {
    let (audited, _guard) = here();
    for outcome in Outcome::ALL {
        let cleared = run(gate("refund").decide(Decision::new(*outcome)));
        let may = matches!(outcome, Outcome::Allow | Outcome::AllowWithConstraints | Outcome::Warn);
        assert_eq!(cleared.is_ok(), may, "{outcome:?}");
        if let Err(held) = cleared {
            assert!(matches!(held.why(), Why::Decided(why, _) if why == outcome));
            assert_eq!(held.needs_approval(), *outcome == Outcome::RequireApproval);
        }
    }
    assert_eq!(audited.records().len(), Outcome::ALL.len());
}

#[test]
fn an_answer_clears_what_asked_for_one_and_only_a_yes_does() {
    let (_audited, _guard) = here();
    let held = |outcome| run(gate(740).decide(Decision::new(outcome).id("d"))).unwrap_err();
    let answer = |status| Approval::new(status).decision_id("d").resolved_by("ops-lead");
    let yes = run(held(Outcome::RequireApproval).answered(answer(ApprovalStatus::Approved)));
    assert_eq!(yes.unwrap().act(), 740);
    let no = run(held(Outcome::RequireApproval).answered(answer(ApprovalStatus::Rejected)));
    assert!(matches!(no.unwrap_err().why(), Why::Answered("rejected", _)));
    let unasked = run(held(Outcome::Block).answered(answer(ApprovalStatus::Approved)));
    assert!(matches!(unasked.unwrap_err().why(), Why::Decided(Outcome::Block, _)));
}

#[test]
fn without_a_receipt_no_decision_clears_anything() {
    let held = run(gate(740).decide(Decision::new(Outcome::Allow))).unwrap_err();
    assert!(matches!(held.why(), Why::NotRecorded(RecordError::NoLayer)));
    assert_eq!(held.into_action(), 740);
}

#[test]
fn a_tool_call_has_its_arguments_result_and_error_and_says_when_it_was_dropped() {
    let (audited, _guard) = here();
    let fine = audited_call("refund", Ok(7));
    assert_eq!(run(fine), Ok(7));
    assert_eq!(run(audited_call("broken", Err("no money"))), Err("no money"));
    {
        use std::task::{Context, Waker};
        let mut call = Box::pin(audited_call_forever());
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let fine = named(&audited, "execute_tool refund");
    assert_eq!(fine.text("gen_ai.tool.call.arguments"), Some(r#"{"amount":740}"#));
    assert_eq!((fine.text("gen_ai.tool.call.result"), fine.status), (Some("7"), 1));
    let broken = named(&audited, "execute_tool broken");
    assert_eq!((broken.status, broken.status_message.as_str()), (2, "no money"));
    assert_eq!(broken.text("error.type"), Some("&str"));
    let dropped = named(&audited, "execute_tool forever");
    assert_eq!(dropped.get(CANCELLED), Some(&json!(true)));
}

async fn audited_call(tool: &str, answer: Result<i32, &'static str>) -> Result<i32, &'static str> {
    audited(tool, &json!({"amount": 740}), async { answer }).await
}

async fn audited_call_forever() -> Result<(), String> {
    audited("forever", &(), std::future::pending::<Result<(), String>>()).await
}

#[test]
fn each_type_has_the_names_that_the_mapping_knows() {
    let (audited, _guard) = here();
    let key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz";
    let events: [AuditEvent; 6] = [
        Approval::new(ApprovalStatus::Pending).id("a").url("https://ask").into(),
        ToolCall::new("refund").arguments(&json!({"key": key})).result(&7).into(),
        ModelCall::new("chat", "gpt").provider("openai").input_tokens(7).into(),
        Handoff::new("triage", "refunds").intent("money").into(),
        Interrupt::new("approval").thread_id("t-1").into(),
        Change::between("policy", &json!({"a": 1}), &json!({"a": 2})).actor("eve").into(),
    ];
    for event in events {
        run(record(event).into_future()).unwrap();
    }
    let text = |name: &str, key: &str| named(&audited, name).text(key).map(str::to_owned);
    assert_eq!(text("spanledger.approval", "spanledger.approval.status").unwrap(), "pending");
    assert!(!text("spanledger.tool_call", "gen_ai.tool.call.arguments").unwrap().contains(key));
    run(record(AuditEvent::new(format!("used {key}")).saying(key)).into_future()).unwrap();
    assert!(!format!("{:?}", audited.records()).contains(key), "in names and sentences, too");
    assert_eq!(text("spanledger.model_call", "gen_ai.request.model").unwrap(), "gpt");
    assert_eq!(text("spanledger.handoff", "spanledger.handoff.target").unwrap(), "refunds");
    assert_eq!(text("spanledger.interrupt", "spanledger.thread_id").unwrap(), "t-1");
    assert_eq!(
        text("spanledger.change", "spanledger.changes").unwrap(),
        r#"[{"path":"a","before":1,"after":2}]"#
    );
}

#[test]
fn macros_declare_what_is_learned_late_and_take_what_is_given_first() {
    let (audited, _guard) = here();
    {
        let span = spanledger::audit_span!("refund", run_id = "r", reason = "early");
        let late = "shown";
        span.record("decision", "require_approval");
        span.record("reason", "late");
        span.in_scope(|| spanledger::decision!("block", policy_id = "p", "no {}", 7));
        let _bare = spanledger::audit_span!("bare");
        let _comma = spanledger::audit_span!(
            "comma",
            gen_ai.operation.name = "chat",
            %late,
            seven = 1 + 2 + 2 + 2,
            run_name = ?"r",
        );
    }
    let span = named(&audited, "refund");
    assert_eq!(span.text("spanledger.decision.outcome"), Some("require_approval"));
    assert_eq!(span.text("spanledger.decision.reason"), Some("late"));
    let decision = named(&audited, "no 7");
    assert_eq!(decision.text("spanledger.kind"), Some("decision"));
    assert_eq!(decision.text("spanledger.policy.id"), Some("p"));
    assert_eq!(decision.text("spanledger.run_id"), Some("r"));
    assert!(audited.named("bare").is_some());
    let comma = named(&audited, "comma");
    assert_eq!((comma.text("late"), comma.get("seven")), (Some("shown"), Some(&json!(7))));
}
