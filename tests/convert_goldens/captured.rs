//! The important fields of each captured family, by name.

use super::*;

const LANGGRAPH: [&str; 3] = [
    "langgraph-openinference/main/001.traces.http-protobuf.bin",
    "langgraph-langsmith/otel/001.traces.http-protobuf.bin",
    "langgraph-traceloop/main/001.traces.http-protobuf.bin",
];

#[test]
fn the_external_id_inside_openinference_metadata_is_found() {
    let entries = entries(LANGGRAPH[0]);
    for entry in &entries {
        assert_eq!(entry["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
        assert!(entry["trace_id"].as_array().unwrap().contains(&json!("ext-7f3a-1042")));
        assert!(
            entry["attributes"]["metadata"].as_str().unwrap().contains("external_trace_id"),
            "what was decoded is kept raw"
        );
    }
    assert_eq!(entries.len(), 43);
}

#[test]
fn an_interrupt_is_an_interrupt_in_every_instrumentation_whatever_its_status_says() {
    for request in LANGGRAPH {
        let entries = entries(request);
        let interrupts: Vec<_> =
            entries.iter().filter(|entry| entry["audit"]["kind"] == "interrupt").collect();
        assert!(interrupts.len() >= 2, "{request}");
        for interrupt in interrupts {
            assert_eq!(interrupt["event"]["outcome"], "unknown", "{request}");
            assert!(interrupt["error"].is_null(), "{request}: an interrupt is no error");
            let reason = interrupt["audit"]["interrupt"]["reason"].as_str().unwrap();
            assert!(reason.contains("approve refund?"), "{request}");
            assert!(!interrupt["audit"]["session"]["thread_id"].is_null(), "{request}");
        }
    }
}

#[test]
fn a_resumed_run_says_who_answered_and_what() {
    for request in LANGGRAPH {
        let entries = entries(request);
        let answered: Vec<_> = entries
            .iter()
            .filter(|entry| entry["audit"]["interrupt"]["responder"] == "ops-lead")
            .collect();
        assert!(answered.len() >= 2, "{request}");
        for run in &answered {
            assert_eq!(run["audit"]["kind"], "workflow_run", "{request}");
            assert_eq!(run["audit"]["approval"]["resolved_by"], "ops-lead", "{request}");
            assert!(!run["audit"]["session"]["thread_id"].is_null(), "{request}: pairs them");
        }
        assert_eq!(answered[0]["audit"]["approval"]["resolution"], "approved", "{request}");
    }
    let refused = entries(LANGGRAPH[0]);
    let refused: Vec<_> = refused
        .iter()
        .filter(|entry| entry["audit"]["approval"]["resolution"] == "rejected")
        .collect();
    assert_eq!(refused.len(), 1, "one of the runs was refused");
    assert_eq!(refused[0]["audit"]["interrupt"]["response"], "rejected");
    assert!(payload(refused[0], "input").contains(r#""approved""#), "in its own words");
}

#[test]
fn a_langgraph_model_call_has_model_tokens_and_messages_in_every_instrumentation() {
    for (request, message) in
        LANGGRAPH.into_iter().zip(["ChatOpenAI", "ChatOpenAI", "ChatOpenAI.chat"])
    {
        let entries = entries(request);
        let calls = of_kind(&entries, "llm_call", message);
        assert!(calls.len() >= 5, "{request}");
        let call = calls[0];
        assert_eq!(call["gen_ai"]["provider"]["name"], "openai", "{request}");
        assert_eq!(call["gen_ai"]["request"]["model"], "gpt-4o-mini", "{request}");
        assert_eq!(call["gen_ai"]["usage"]["input_tokens"], 112, "{request}");
        assert_eq!(call["gen_ai"]["usage"]["output_tokens"], 17, "{request}");
        assert!(call["gen_ai"]["usage"]["repeated"].is_null(), "{request}: the call itself");
        assert!(payload(call, "prompt").contains("Please refund order 1042"), "{request}");
        assert!(payload(call, "response").contains("lookup_order"), "{request}");
        assert_eq!(call["user"]["id"], "u-77", "{request}");
        assert_eq!(call["audit"]["session"]["id"], "sess-1", "{request}");
        assert_eq!(call["audit"]["step"]["name"], "agent", "{request}");
    }
}

#[test]
fn a_langgraph_tool_call_has_its_arguments_and_result_in_every_instrumentation() {
    let names = ["lookup_order", "lookup_order", "execute_tool lookup_order"];
    for (request, message) in LANGGRAPH.into_iter().zip(names) {
        let entries = entries(request);
        let call = of_kind(&entries, "tool_call", message)[0];
        assert_eq!(call["gen_ai"]["tool"]["name"], "lookup_order", "{request}");
        assert!(payload(call, "arguments").contains("1042"), "{request}");
        assert!(payload(call, "result").contains("delivered"), "{request}");
        for part in call["audit"]["payload"].as_array().unwrap() {
            let source = part["source"].as_str().unwrap();
            assert!(call["attributes"][source].is_null(), "{request}: {source} is kept once");
        }
    }
    let langsmith = entries(LANGGRAPH[1]);
    let call = of_kind(&langsmith, "tool_call", "lookup_order")[0];
    assert_eq!(call["gen_ai"]["tool"]["call"]["id"], "call_fake_1");
}

#[test]
fn a_failed_run_says_what_went_wrong() {
    for (request, root) in
        LANGGRAPH.into_iter().zip(["refund-run", "refund-run", "refund-run.workflow"])
    {
        let entries = entries(request);
        let failed = of_kind(&entries, "workflow_run", root);
        let failed = failed.iter().find(|run| run["event"]["outcome"] == "failure").unwrap();
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains("payment gateway declined"), "{request}");
    }
}

#[test]
fn the_langsmith_project_is_not_a_session_and_langchain_is_not_a_provider() {
    for entry in entries(LANGGRAPH[1]) {
        assert_eq!(entry["attributes"]["langsmith.trace.session_name"], "refund-proj");
        assert_ne!(entry["audit"]["session"]["id"], "refund-proj");
        assert_ne!(entry["gen_ai"]["provider"]["name"], "langchain");
    }
}

#[test]
fn a_run_id_of_langchain_is_found_but_is_no_external_id() {
    let entries = entries(LANGGRAPH[2]);
    let task = of_kind(&entries, "step", "execute_task agent")[0];
    let run = task["audit"]["run"]["id"].as_str().unwrap();
    let forms = task["trace_id"].as_array().unwrap();
    assert!(forms.contains(&json!(run)) && forms.contains(&json!(run.replace('-', ""))));
    assert_eq!(task["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
}

#[test]
fn every_way_to_write_the_trace_id_is_listed() {
    let entries = entries("otel-python/http/001.traces.http-protobuf.bin");
    let upstream = entries.iter().find(|e| e["message"] == "continued-from-upstream").unwrap();
    assert_eq!(
        upstream["trace_id"],
        json!([
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
            "a3ce929d0e0e4736",
            "11803532876627986230"
        ])
    );
}

#[test]
fn tokens_of_a_run_are_marked_as_repeated_and_those_of_its_calls_are_not() {
    let entries = entries("pydantic-ai/v5/001.traces.http-protobuf.bin");
    let run = of_kind(&entries, "agent_run", "invoke_agent refund_agent")[0];
    assert_eq!(run["gen_ai"]["usage"]["input_tokens"], 471);
    assert_eq!(run["gen_ai"]["usage"]["repeated"], true);
    assert_eq!(run["audit"]["external"]["trace_id"], json!(["ext-7f3a-1042"]));
    let calls = of_kind(&entries, "llm_call", "chat gpt-4o-mini");
    let once = |call: &&&JsonValue| call["gen_ai"]["usage"]["repeated"].is_null();
    let sum: i64 = calls
        .iter()
        .filter(once)
        .map(|call| call["gen_ai"]["usage"]["input_tokens"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 471, "what is left to add up is what was used");
    assert_eq!(run["audit"]["run"]["id"], calls[0]["audit"]["run"]["id"]);
}

#[test]
fn structured_messages_of_a_log_event_are_payload_and_the_call_is_counted_once() {
    let entries = entries("openai-v2/both_latest/001.logs.http-protobuf.bin");
    let call = &entries[0];
    assert_eq!(call["audit"]["kind"], "llm_call");
    assert_eq!(call["gen_ai"]["usage"]["repeated"], true, "its span says the same");
    assert!(payload(call, "prompt").starts_with(r#"[{"role":"system""#), "compact JSON text");
    assert!(call["attributes"]["gen_ai.input.messages"].is_null());
    assert_eq!(call["@timestamp"], call["event"]["created"], "Python sends no other time");
}

#[test]
fn the_older_message_logs_have_their_bodies_as_payload() {
    let entries = entries("openai-v2/legacy/001.logs.http-protobuf.bin");
    let user = of_kind(&entries, "log", "gen_ai.user.message")[0];
    assert_eq!(payload(user, "prompt"), r#"{"content":"Please refund order 1042"}"#);
    assert!(user["body"].is_null(), "the body is kept once");
    let choice = of_kind(&entries, "log", "gen_ai.choice")[0];
    assert_eq!(choice["gen_ai"]["response"]["finish_reasons"], json!(["tool_calls"]));
    let tool = of_kind(&entries, "log", "gen_ai.tool.message")[0];
    assert_eq!(tool["gen_ai"]["tool"]["call"]["id"], "call_fake_1");
}

#[test]
fn numbers_and_bytes_at_the_edges_survive() {
    let entries = entries("otel-python/http/001.traces.http-protobuf.bin");
    let attributes = &of_kind(&entries, "llm_call", "chat gpt-4o-mini")[0]["attributes"];
    assert_eq!(attributes["t.int.max"], json!(i64::MAX));
    assert_eq!(attributes["t.int.min"], json!(i64::MIN));
    assert_eq!(attributes["t.int.2^53+1"], json!(9_007_199_254_740_993_i64));
    assert_eq!(attributes["t.double.nan"], "NaN");
    assert_eq!(attributes["t.double.ninf"], "-Infinity");
    let zero = attributes["t.double.neg0"].as_f64().unwrap();
    assert!(zero == 0.0 && zero.is_sign_negative());
    assert_eq!(attributes["t.bytes.bin"], "AP/+AQ==");
    assert_eq!(attributes["t.none"], JsonValue::Null);
    assert_eq!(attributes["t.map"], json!({"a": 1, "b": {"c": [1, "x", null]}}));
}

#[test]
fn a_span_that_ends_before_it_starts_is_kept_as_it_was_sent_and_flagged() {
    let entries = entries("otel-python/http/001.traces.http-protobuf.bin");
    let span = of_kind(&entries, "span", "end-before-start")[0];
    assert_eq!(span["audit"]["flags"], json!(["end_before_start"]));
    assert_eq!(span["audit"]["time"], json!({"start": 2_000_000_000, "end": 1_000_000_000}));
    assert!(span["event"]["duration"].is_null());
}

#[test]
fn an_agent_an_openai_run_names_is_the_actor_and_the_user_is_beside_it() {
    let entries = entries("openai-agents/openinference/001.traces.http-protobuf.bin");
    let run = of_kind(&entries, "agent_run", "refund-agent")[0];
    assert_eq!(run["gen_ai"]["agent"]["name"], "refund-agent");
    assert_eq!(
        run["audit"]["actor"],
        json!({"id": "refund-agent", "type": "agent", "source": "asserted"})
    );
    assert_eq!(run["user"]["id"], "u-77");
}

#[test]
fn a_langgraph_node_is_an_agent_run_only_if_its_instrumentation_calls_it_an_agent() {
    let sent = entries(LANGGRAPH[0]);
    let nodes: Vec<_> = sent.iter().filter(|entry| entry["message"] == "agent").collect();
    assert!(!nodes.is_empty());
    for node in nodes {
        assert_eq!(node["gen_ai"]["operation"]["name"], "AGENT", "the source's own word");
        assert_eq!(node["audit"]["kind"], "agent_run");
    }
    let chain = documented(|sink| {
        let attributes = vec![
            ("openinference.span.kind", documented_requests::text("CHAIN")),
            ("gen_ai.agent.name", documented_requests::text("agent")),
            ("agent.name", documented_requests::text("agent")),
        ];
        sink.record(Record::Span(&documented_requests::span(1, "agent", attributes)));
    });
    assert_ne!(chain[0]["audit"]["kind"], "agent_run");
}
