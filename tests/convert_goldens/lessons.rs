//! What the captured requests taught, each lesson by name.

use super::columns::{named, one};
use super::*;
use documented_requests::{span, text};
use spanledger::span::{Attribute, Event, LogRecord, Span, Value};
use spanledger::story;
use std::collections::BTreeMap;

fn log<'a>(attributes: Vec<(&'a str, Value<'a>)>, body: Option<Value<'a>>) -> LogRecord<'a> {
    LogRecord {
        time_ns: 1_775_052_632_000_000_000,
        attributes: documented_requests::attributes(attributes),
        body,
        ..LogRecord::default()
    }
}

fn entry_of(log: &LogRecord<'_>) -> JsonValue {
    documented(|sink| sink.record(Record::Log(log))).remove(0)
}

/// The texts of a kind of payload, in their order.
fn texts<'e>(entry: &'e JsonValue, kind: &str) -> Vec<&'e str> {
    let parts = entry["audit"]["payload"].as_array().into_iter().flatten();
    parts.filter(|part| part["kind"] == kind).map(|part| part["text"].as_str().unwrap()).collect()
}

#[test]
fn tokens_that_are_not_marked_as_repeated_add_up_to_what_was_used() {
    for request in [
        "vercel-ai-sdk/json/001.traces.http-json.bin",
        "pydantic-ai/v2/001.traces.http-protobuf.bin",
        "agent-framework/core/001.traces.http-protobuf.bin",
        "google-adk/schema1/001.traces.http-protobuf.bin",
    ] {
        let mut traces: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for entry in entries(request) {
            let trace =
                traces.entry(entry["trace"]["id"].as_str().unwrap().to_owned()).or_default();
            let tokens = entry["gen_ai"]["usage"]["input_tokens"].as_i64().unwrap_or(0);
            if entry["gen_ai"]["usage"]["repeated"] == true {
                trace.1 += tokens;
            } else {
                trace.0 += tokens;
            }
        }
        assert!(traces.values().any(|(calls, _)| *calls > 0), "{request}");
        for (trace, (calls, runs)) in traces {
            assert_eq!(calls, runs, "{request} {trace}: the run repeats what its calls used");
        }
    }
}

#[test]
fn an_event_of_a_call_has_its_spans_ids_and_repeats_its_tokens() {
    for run in ["openai-v2/both_latest", "openai-v2/events_latest"] {
        let logs = entries(&format!("{run}/001.logs.http-protobuf.bin"));
        let spans = entries(&format!("{run}/002.traces.http-protobuf.bin"));
        for log in &logs {
            let of_log = |span: &&JsonValue| span["span"]["id"] == log["span"]["id"];
            let call = spans.iter().find(of_log).unwrap();
            assert_eq!(call["trace"]["id"], log["trace"]["id"]);
            for tokens in ["input_tokens", "output_tokens"] {
                let (said, repeated) = (&call["gen_ai"]["usage"], &log["gen_ai"]["usage"]);
                assert_eq!(said[tokens], repeated[tokens]);
                assert!(repeated[tokens].is_null() || repeated["repeated"] == true);
            }
        }
    }
}

#[test]
fn messages_of_a_call_are_not_counted_as_calls() {
    let logs = entries("openai-v2/legacy/001.logs.http-protobuf.bin");
    for log in &logs {
        assert_eq!(log["audit"]["kind"], "log");
        assert_eq!(log["event"]["action"], "llm.message");
        assert!(!log["span"]["id"].is_null(), "the call that it belongs to");
    }
    let spans = entries("openai-v2/legacy/002.traces.http-protobuf.bin");
    let calls = spans.iter().filter(|span| span["audit"]["kind"] == "llm_call").count();
    assert_eq!(calls, 8, "six answers, one refusal for the rate, one embedding");
}

#[test]
fn an_event_that_is_named_by_an_attribute_is_that_event() {
    let attributes =
        vec![("event.name", text("gen_ai.user.message")), ("gen_ai.system", text("openai"))];
    let body = Value::Map(vec![Attribute::new("content", text("Please refund order 1042"))]);
    let entry = entry_of(&log(attributes, Some(body)));
    assert_eq!(entry["log"]["event_name"], "gen_ai.user.message");
    assert_eq!(entry["event"]["action"], "llm.message");
    assert_eq!(texts(&entry, "prompt"), [r#"{"content":"Please refund order 1042"}"#]);
}

#[test]
fn messages_in_events_of_a_span_are_payload_of_the_call() {
    let said = |name: &'static str, attribute: &'static str, said: &'static str| Event {
        name: name.into(),
        attributes: documented_requests::attributes(vec![(attribute, text(said))]),
        ..Event::default()
    };
    let events = vec![
        said("gen_ai.user.message", "content", "Please refund order 1042"),
        said("gen_ai.choice", "gen_ai.event.content", r#"{"message":{"content":"Done."}}"#),
    ];
    let attributes = vec![("gen_ai.operation.name", text("chat"))];
    let call = Span { events, ..span(0, "chat", attributes) };
    let call = documented(|sink| sink.record(Record::Span(&call))).remove(0);
    assert_eq!(texts(&call, "prompt"), ["Please refund order 1042"]);
    assert_eq!(texts(&call, "response"), [r#"{"message":{"content":"Done."}}"#]);
}

#[test]
fn the_status_of_a_span_is_not_the_verdict() {
    let spans = entries("ms-agent-governance-toolkit/otel/002.traces.http-protobuf.bin");
    let denied = of_kind(&spans, "decision", "mesh.governance.policy_decision")[0];
    assert!(denied["span"]["status"].is_null(), "the denial has no status");
    assert_eq!(denied["audit"]["decision"]["outcome"], "block");
    assert_eq!(denied["audit"]["decision"]["raw"], "DENY");
    assert_eq!(denied["audit"]["decision"]["reason"], "refund > 50");
    assert_eq!(denied["event"]["outcome"], "unknown", "what became of it nobody said");
    for execution in of_kind(&spans, "step", "kernel.execute") {
        assert!(execution["audit"]["decision"].is_null(), "blocked or not: the span does not say");
    }
    let guardrail = entries("langfuse/python-sdk/001.traces.http-protobuf.bin");
    let guardrail = of_kind(&guardrail, "decision", "with-explicit-trace")[0];
    assert_eq!(guardrail["audit"]["decision"]["outcome"], "block");
    assert_eq!(guardrail["audit"]["decision"]["reason"], "blocked");
    assert_eq!(guardrail["event"]["outcome"], "unknown");
}

#[test]
fn the_drafts_guardrails_have_a_verdict_and_no_enforcement() {
    for (status, outcome) in [("PASSED", "allow"), ("FAILED", "block"), ("ERROR", "error")] {
        let entry = one(vec![
            ("gen_ai.guardrail.name", text("pii")),
            ("gen_ai.guardrail.status", text(status)),
        ]);
        assert_eq!(entry["audit"]["kind"], "decision");
        assert_eq!(entry["audit"]["decision"]["outcome"], outcome);
        assert_eq!(entry["audit"]["guardrail"]["status"], status, "the source's own word");
        assert!(entry["audit"]["decision"]["enforcement"].is_null(), "it may only warn");
    }
    let tripped = one(vec![("gen_ai.guardrail.triggered", Value::Bool(true))]);
    assert_eq!(tripped["audit"]["decision"]["outcome"], "block", "triggered is not true");
    assert_eq!(tripped["audit"]["guardrail"]["triggered"], true);
}

#[test]
fn json_in_json_is_read_and_kept_as_it_came() {
    for (request, tool) in [
        ("langgraph-openinference/main/001.traces.http-protobuf.bin", "lookup_order"),
        ("langgraph-langsmith/otel/001.traces.http-protobuf.bin", "lookup_order"),
        ("langgraph-traceloop/main/001.traces.http-protobuf.bin", "execute_tool lookup_order"),
    ] {
        let sent = entries(request);
        let call = of_kind(&sent, "tool_call", tool)[0];
        let results = texts(call, "result");
        let answer: JsonValue = serde_json::from_str(results[0]).unwrap();
        assert_eq!(answer["status"], "delivered", "{request}: what the tool said");
        assert!(results[1].len() > results[0].len(), "{request}: and what was wrapped around it");
        assert_eq!(call["gen_ai"]["tool"]["call"]["id"], "call_fake_1", "{request}");
    }
}

#[test]
fn a_python_repr_is_read_as_what_it_means_and_kept_as_it_came() {
    let sent = entries("ms-agent-governance-toolkit/otel/001.logs.http-protobuf.bin");
    assert_eq!(
        texts(&sent[1], "arguments"),
        [r#"{"order_id":"1042","amount":59.9}"#, "{'order_id': '1042', 'amount': 59.9}"]
    );
    assert_eq!(sent[1]["attributes"]["agt.audit.meta.nothing"], "None", "of no field's concern");
    let entry = one(vec![
        ("traceloop.span.kind", text("tool")),
        ("gen_ai.tool.call.arguments", text(r#"{"input_str": "{'ok': True, 'note': None}"}"#)),
    ]);
    assert_eq!(texts(&entry, "arguments")[0], r#"{"ok":true,"note":null}"#);
    let no_literal = one(vec![
        ("traceloop.span.kind", text("tool")),
        ("gen_ai.tool.call.arguments", text(r#"{"input_str": "<Order at 0x7f>"}"#)),
    ]);
    assert_eq!(texts(&no_literal, "arguments")[0], "<Order at 0x7f>");
}

#[test]
fn what_is_a_text_here_is_an_object_or_a_list_there() {
    let sent = entries("pydantic-ai/v2/001.traces.http-protobuf.bin");
    let answers: Vec<_> = of_kind(&sent, "llm_call", "chat test");
    assert!(texts(answers[0], "response")[0].contains(r#""arguments":{"order_id":"a"}"#));
    let answers: Vec<_> = of_kind(&sent, "llm_call", "chat gpt-4o-mini");
    assert!(texts(answers[0], "response")[0].contains(r#""arguments":"{\"order_id\""#));
    for reasons in [text("stop"), text(r#"["stop"]"#), Value::List(vec![text("stop")])] {
        let entry = one(vec![("gen_ai.response.finish_reasons", reasons)]);
        assert_eq!(entry["gen_ai"]["response"]["finish_reasons"], json!(["stop"]));
    }
    let structured = Value::Map(vec![Attribute::new("order_id", text("1042"))]);
    for arguments in [structured, text(r#"{"order_id":"1042"}"#)] {
        let entry = one(vec![("gen_ai.tool.call.arguments", arguments)]);
        assert_eq!(texts(&entry, "arguments"), [r#"{"order_id":"1042"}"#]);
    }
}

#[test]
fn an_id_in_quotes_is_the_id() {
    let entry = one(vec![("langfuse.trace.metadata.external_trace_id", text("\"ext-1\""))]);
    assert_eq!(entry["audit"]["external"]["trace_id"], json!(["ext-1"]));
    assert_eq!(
        entry["attributes"]["langfuse.trace.metadata.external_trace_id"], "\"ext-1\"",
        "as it came"
    );
}

#[test]
fn ids_inside_metadata_are_found_by_every_spelling() {
    for (metadata, field, wanted) in [
        (r#"{"external_trace_id":"ext-1"}"#, "/audit/external/trace_id/0", "ext-1"),
        (r#"{"externalTraceId":"ext-1"}"#, "/audit/external/trace_id/0", "ext-1"),
        (r#"{"user.id":"u-77"}"#, "/user/id", "u-77"),
        (r#"{"sessionId":"s-1","user_id":"u"}"#, "/audit/session/id", "s-1"),
        (r#"{"thread_id":"t-1"}"#, "/audit/session/thread_id", "t-1"),
    ] {
        let entry = one(vec![("metadata", text(metadata))]);
        assert_eq!(entry.pointer(field), Some(&json!(wanted)), "{metadata}");
        assert_eq!(entry["attributes"]["metadata"], metadata);
    }
    let both = one(vec![
        ("gen_ai.conversation.id", text("conv-1")),
        ("metadata", text(r#"{"session_id":"s-1"}"#)),
    ]);
    assert_eq!(both["audit"]["session"]["id"], "s-1", "the caller's own session goes first");
    assert_eq!(both["gen_ai"]["conversation"]["id"], "conv-1");
}

#[test]
fn an_external_id_is_found_on_the_root_on_a_log_event_in_baggage_and_in_the_tracestate() {
    let external = |entry: &JsonValue| entry["audit"]["external"]["trace_id"][0].clone();
    let sent = entries("pydantic-ai/v2/001.traces.http-protobuf.bin");
    let with_id: Vec<_> = sent.iter().filter(|entry| !external(entry).is_null()).collect();
    assert_eq!(with_id.len(), 1, "only the root of one run has it");
    assert_eq!(with_id[0]["audit"]["kind"], "agent_run");

    let logs = entries("ms-agent-governance-toolkit/otel/001.logs.http-protobuf.bin");
    assert_eq!(external(&logs[0]), "ext-7f3a-1042");

    let baggage =
        one(vec![("baggage", text("user.id=u-77,correlation.id=ext%2D1,session.id=s-1"))]);
    assert_eq!(external(&baggage), "ext-1");
    assert_eq!(baggage["user"]["id"], "u-77");
    assert_eq!(baggage["audit"]["session"]["id"], "s-1");

    let copied = one(vec![("external_trace_id", text("ext-1")), ("session_id", text("s-1"))]);
    assert_eq!(external(&copied), "ext-1", "a processor copied the baggage onto the span");
    assert_eq!(copied["audit"]["session"]["id"], "s-1");

    let state =
        Span { trace_state: "vendor=1,external_trace_id=ext-1".into(), ..span(1, "x", vec![]) };
    let state = documented(|sink| sink.record(Record::Span(&state))).remove(0);
    assert_eq!(external(&state), "ext-1");
}

#[test]
fn the_id_of_an_answer_is_no_conversation_and_no_session() {
    let sent = entries("agent-framework/core/001.traces.http-protobuf.bin");
    let calls = of_kind(&sent, "llm_call", "chat gpt-4o-mini");
    let named: Vec<_> = calls
        .iter()
        .filter(|call| call["attributes"]["gen_ai.conversation.id"].is_string())
        .collect();
    assert!(!named.is_empty(), "the Responses client sends the id of the answer before");
    for call in named {
        assert!(call["gen_ai"]["conversation"].is_null());
        assert!(call["audit"]["session"].is_null());
    }
    let real = one(vec![("gen_ai.conversation.id", text("conv_1"))]);
    assert_eq!(real["gen_ai"]["conversation"]["id"], "conv_1");
}

#[test]
fn a_placeholder_is_no_value() {
    let sent = entries("google-adk/default/001.traces.http-protobuf.bin");
    let failed = sent.iter().find(|entry| entry["event"]["outcome"] == "failure").unwrap();
    assert!(failed["gen_ai"]["tool"]["call"].is_null());
    assert_eq!(failed["attributes"]["gen_ai.tool.call.id"], "<not specified>", "kept as it came");
    let hidden = named(
        "call_llm",
        vec![
            ("gen_ai.system", text("gcp.vertex.agent")),
            ("gen_ai.request.model", text("gemini-2.5-pro")),
            ("gcp.vertex.agent.llm_request", text("{}")),
        ],
    );
    assert_eq!(hidden["audit"]["kind"], "llm_call");
    assert!(hidden["gen_ai"]["provider"].is_null(), "the kit itself runs no model");
    assert!(hidden["audit"]["payload"].is_null(), "what was not captured is not empty");
}

#[test]
fn one_call_that_is_several_spans_is_counted_once() {
    let usage = |operation| {
        let attributes =
            vec![("ai.operationId", text(operation)), ("ai.usage.tokens", Value::Int(5))];
        one(attributes)["gen_ai"]["usage"]["repeated"].clone()
    };
    assert_eq!(usage("ai.embed"), true, "the span around the call");
    assert!(usage("ai.embed.doEmbed").is_null(), "the call");
    let sent = entries("google-adk/schema1/001.traces.http-protobuf.bin");
    assert_eq!(of_kind(&sent, "llm_call", "call_llm").len(), 2);
    let earlier = named("call_llm", vec![("gen_ai.usage.input_tokens", Value::Int(5))]);
    assert!(earlier["gen_ai"]["usage"]["repeated"].is_null(), "alone in earlier versions");
}

#[test]
fn a_call_that_its_instrumentation_and_its_client_both_report_is_counted_once_in_its_story() {
    let calls: Vec<JsonValue> =
        entries("openinference-clients/openai-anthropic/001.traces.http-protobuf.bin")
            .into_iter()
            .filter(|entry| entry["gen_ai"]["provider"]["name"] == "anthropic")
            .collect();
    assert_eq!(calls.len(), 2, "one of the instrumentation, one of the client within it");
    let story = |calls: &[JsonValue]| {
        let records = calls.iter().enumerate().map(|(at, call)| {
            let mut call = call.clone();
            call["event"]["id"] = format!("{at:032x}").into();
            story::Record::read(call.to_string().as_bytes(), 1).unwrap()
        });
        let usage = story::Study::of(records.collect()).usage;
        let sums = usage.iter().map(|of| (of.input_tokens, of.output_tokens, of.calls));
        sums.collect::<Vec<_>>()
    };
    assert_eq!(story(&calls), [(184, 17, 1)]);
    assert_eq!(story(&calls[..1]), [(184, 17, 1)], "where only one of them arrived");
    assert_eq!(story(&calls[1..]), [(184, 17, 1)]);
}

/// Keeps the texts that a request sends.
struct Sent(Vec<Vec<String>>);

impl Sent {
    fn texts(value: &Value<'_>, found: &mut Vec<String>) {
        match value {
            Value::Text(text) => found.push(text.as_str().to_owned()),
            Value::List(items) => items.iter().for_each(|item| Self::texts(item, found)),
            Value::Map(map) => map.iter().for_each(|member| Self::texts(&member.value, found)),
            _ => {}
        }
    }
}

impl Sink for Sent {
    fn resource(&mut self, _: &Resource<'_>) {}
    fn scope(&mut self, _: &Scope<'_>) {}
    fn record(&mut self, record: Record<'_, '_>) {
        let mut found = Vec::new();
        let (attributes, body) = match record {
            Record::Span(span) => (&span.attributes, None),
            Record::Log(log) => (&log.attributes, log.body.as_ref()),
        };
        for attribute in attributes {
            Self::texts(&attribute.value, &mut found);
        }
        if let Some(body) = body {
            Self::texts(body, &mut found);
        }
        self.0.push(found);
    }
    fn refuse(&mut self, why: Refusal) {
        panic!("{why}");
    }
}

/// The texts of an entry, one behind the other.
fn all_texts(value: &JsonValue, found: &mut String) {
    match value {
        JsonValue::String(text) => {
            found.push_str(text);
            found.push('\n');
        }
        JsonValue::Array(items) => items.iter().for_each(|item| all_texts(item, found)),
        JsonValue::Object(fields) => fields.values().for_each(|value| all_texts(value, found)),
        _ => {}
    }
}

#[test]
fn no_text_of_a_captured_request_is_lost() {
    for request in requests().iter().filter(|request| !is_json(request)) {
        let mut sent = Sent(Vec::new());
        prost_records::replay(&payloads().join(request), &mut sent);
        let entries = entries(request);
        assert_eq!(sent.0.len(), entries.len(), "{request}: no event of these is an entry");
        for (texts, entry) in sent.0.iter().zip(&entries) {
            let mut kept = String::new();
            all_texts(entry, &mut kept);
            for text in texts {
                // Structured payloads are JSON text, where quotes are escaped.
                let escaped = serde_json::to_string(text).unwrap();
                let escaped = &escaped[1..escaped.len() - 1];
                assert!(kept.contains(text) || kept.contains(escaped), "{request}: {text}");
            }
        }
    }
}
