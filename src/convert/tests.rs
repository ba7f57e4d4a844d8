//! Rules that hold for every record, and the messages for wrong mappings.

use super::*;
use crate::entry::PayloadKind;
use crate::span::{Attribute, Event, Text};
use proptest::prelude::*;
use std::sync::LazyLock;

static BUILTIN: LazyLock<Mappings> = LazyLock::new(|| Mappings::builtin().unwrap());

fn text(text: &str) -> Value<'static> {
    Value::Text(text.to_owned().into())
}

fn span(attributes: Vec<Attribute<'static>>) -> Span<'static> {
    Span {
        trace_id: [7; 16],
        span_id: [7; 8],
        name: "x".into(),
        start_ns: 1,
        end_ns: 2,
        attributes,
        ..Span::default()
    }
}

fn body_of(mappings: &Mappings, record: Record<'_, '_>) -> serde_json::Value {
    let resource = mappings.resource(&Resource::default());
    let scope = mappings.scope(&Scope::default());
    let converted = mappings.convert(&resource, &scope, record);
    let mut body = Vec::new();
    converted.entry.write(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn converted(attributes: Vec<Attribute<'static>>) -> serde_json::Value {
    body_of(&BUILTIN, Record::Span(&span(attributes)))
}

fn with(mapping: &str) -> Result<Mappings, MappingError> {
    Mappings::of(&[("mine.yaml".to_owned(), mapping.to_owned())])
}

fn problem(mapping: &str) -> String {
    with(mapping).unwrap_err().to_string()
}

/// Names that mean something, and names that do not.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "gen_ai.provider.name",
            "gen_ai.system",
            "gen_ai.operation.name",
            "gen_ai.usage.input_tokens",
            "gen_ai.response.finish_reasons",
            "gen_ai.input.messages",
            "gen_ai.tool.call.arguments",
            "gen_ai.agent.id",
            "gen_ai.prompt",
            "openinference.span.kind",
            "llm.provider",
            "llm.system",
            "llm.input_messages.0.message.content",
            "input.value",
            "metadata",
            "langsmith.span.kind",
            "langsmith.metadata.external_trace_id",
            "traceloop.span.kind",
            "spanledger.decision.outcome",
            "spanledger.policy.id",
            "spanledger.approval.required",
            "spanledger.change.path",
            "spanledger.changes",
            "spanledger.external.trace_id",
            "request_type",
            "user.id",
            "error.type",
            "baggage",
            "target",
            "decision",
        ])
        .prop_map(str::to_owned),
        "[a-z.]{0,8}",
    ]
}

/// Values of every type, each with a text in it that occurs nowhere else.
fn marked(value: u8, mark: &str) -> Value<'static> {
    match value % 8 {
        0 => text(mark),
        1 => {
            text(&format!("{{\"external_trace_id\":\"{mark}\",\"resume\":{{\"by\":\"{mark}\"}}}}"))
        }
        2 => Value::List(vec![text(mark), Value::Int(1)]),
        3 => Value::Map(vec![Attribute::new("path", text(mark))]),
        4 => Value::Map(vec![Attribute::new("k", text("a")), Attribute::new("k", text(mark))]),
        5 => text(&format!("a=1,external_trace_id={mark}")),
        6 => text(&format!("\"{mark}\"")),
        _ => Value::List(vec![Value::List(vec![text(mark)])]),
    }
}

proptest! {
    #[test]
    fn nothing_that_was_sent_is_lost(sent in prop::collection::vec((names(), any::<u8>()), 0..12)) {
        let attributes = sent.iter().enumerate().map(|(at, (name, value))| {
            Attribute::new(name.clone(), marked(*value, &format!("mark-{at}-")))
        });
        let body = converted(attributes.collect()).to_string();
        for (at, sent) in sent.iter().enumerate() {
            let mark = format!("mark-{at}-");
            prop_assert!(body.contains(&mark), "{sent:?} is not in {body}");
        }
    }

    #[test]
    fn the_same_record_gives_the_same_entry(sent in prop::collection::vec((names(), any::<u8>()), 0..12)) {
        let attributes: Vec<_> = sent
            .iter()
            .map(|(name, value)| Attribute::new(name.clone(), marked(*value, "mark")))
            .collect();
        prop_assert_eq!(converted(attributes.clone()), converted(attributes));
    }

    #[test]
    fn a_name_sent_many_times_has_all_its_values_in_their_order(count in 2_i64..120) {
        let attributes: Vec<_> =
            (0..count).map(|n| Attribute::new("again", Value::Int(n))).collect();
        let body = converted(attributes);
        prop_assert_eq!(&body["attributes"]["again"], &serde_json::json!((0..count).collect::<Vec<_>>()));
        prop_assert_eq!(&body["audit"]["flags"], &serde_json::json!(["duplicate_attribute"]));
    }
}

#[test]
fn many_names_do_not_make_it_slow() {
    // A million would be minutes if each name were compared with all before it.
    let attributes: Vec<_> =
        (0..100_000).map(|n| Attribute::new(format!("k{n}"), Value::Int(n))).collect();
    let body = converted(attributes);
    assert_eq!(body["attributes"].as_object().unwrap().len(), 100_000);
}

#[test]
fn a_mapped_name_sent_twice_fills_its_field_and_keeps_both_values() {
    let body = converted(vec![
        Attribute::new("user.id", text("u-1")),
        Attribute::new("user.id", text("u-2")),
    ]);
    assert_eq!(body["user"]["id"], "u-1");
    assert_eq!(body["attributes"]["user.id"], serde_json::json!(["u-1", "u-2"]));
    assert_eq!(body["audit"]["flags"], serde_json::json!(["duplicate_attribute"]));
}

#[test]
fn the_newer_name_wins_and_the_older_one_stays_as_it_came() {
    let body = converted(vec![
        Attribute::new("gen_ai.system", text("old")),
        Attribute::new("gen_ai.provider.name", text("new")),
    ]);
    assert_eq!(body["gen_ai"]["provider"]["name"], "new");
    assert_eq!(body["attributes"], serde_json::json!({"gen_ai.system": "old"}));
}

#[test]
fn a_value_of_another_type_stays_an_attribute_and_is_flagged() {
    let body = converted(vec![
        Attribute::new("gen_ai.usage.input_tokens", text("many")),
        Attribute::new("gen_ai.usage.prompt_tokens", Value::Int(5)),
    ]);
    assert_eq!(body["gen_ai"]["usage"]["input_tokens"], 5, "the next name that fits fills it");
    assert_eq!(body["attributes"]["gen_ai.usage.input_tokens"], "many");
    assert_eq!(body["audit"]["flags"], serde_json::json!(["unexpected_type"]));
}

#[test]
fn a_word_that_is_no_outcome_is_kept_and_flagged() {
    let body = converted(vec![Attribute::new("spanledger.decision.outcome", text("maybe"))]);
    assert_eq!(body["audit"]["decision"], serde_json::json!({"raw": "maybe"}));
    assert_eq!(body["audit"]["flags"], serde_json::json!(["unknown_outcome"]));
}

#[test]
fn an_external_id_of_256_characters_is_kept_and_joins_nothing() {
    let long = "ä".repeat(256);
    let body = converted(vec![Attribute::new("correlation.id", text(&long))]);
    assert!(body["audit"]["external"].is_null());
    assert_eq!(body["attributes"]["correlation.id"], long.as_str());
    assert_eq!(body["audit"]["flags"], serde_json::json!(["id_too_long"]));
    let just = "ä".repeat(255);
    let body = converted(vec![Attribute::new("correlation.id", text(&just))]);
    assert_eq!(body["audit"]["external"]["trace_id"][0], just.as_str());
}

#[test]
fn text_that_is_not_utf8_is_repaired_once_and_its_bytes_are_kept() {
    let bad = || Value::Text(Text::from_bytes(b"u-\xff"));
    let body = converted(vec![
        Attribute::new("user.id", bad()),
        Attribute::new("note", Value::List(vec![bad()])),
    ]);
    assert_eq!(body["user"]["id"], "u-\u{fffd}");
    assert_eq!(body["audit"]["flags"], serde_json::json!(["invalid_utf8"]));
    let places: Vec<_> = body["audit"]["invalid_text"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| (note["place"].as_str().unwrap(), note["base64"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [("user.id", "dS3/"), ("note", "dS3/")]);
}

#[test]
fn a_time_that_cannot_be_one_is_left_to_the_receiver_and_kept_raw() {
    let late = Span { start_ns: u64::MAX, end_ns: 0, ..span(Vec::new()) };
    let body = body_of(&BUILTIN, Record::Span(&late));
    assert!(body["@timestamp"].is_null());
    assert_eq!(body["audit"]["time"]["start"], u64::MAX);
    assert_eq!(body["audit"]["flags"], serde_json::json!(["implausible_time"]));
}

#[test]
fn propagated_context_gives_the_external_id_where_the_sdk_lost_it() {
    let traced = Span {
        trace_state: "congo=t61,external_trace_id=ext-1".into(),
        ..span(vec![Attribute::new("baggage", text("user_id=u-77,correlation_id=ext%202"))])
    };
    let body = body_of(&BUILTIN, Record::Span(&traced));
    assert_eq!(body["audit"]["external"]["trace_id"], serde_json::json!(["ext 2", "ext-1"]));
    assert_eq!(body["user"]["id"], "u-77");
}

#[test]
fn what_a_resource_says_of_its_service_is_said_once_and_never_lost() {
    let mine = with(
        "name: mine\nrank: 10\nfields:\n  - {from: my.service, to: service.name}\nresource:\n  \
         - {from: [service.name, old.name], to: service.name}\n  - {from: tenant.id, to: \
         audit.claims.tenant_id}\n",
    )
    .unwrap();
    let body = |resource: &[(&'static str, &'static str)], record: &[&'static str]| {
        let attributes = |list: &mut dyn Iterator<Item = (&'static str, &'static str)>| {
            list.map(|(key, value)| Attribute::new(key, text(value))).collect()
        };
        let resource = Resource {
            attributes: attributes(&mut resource.iter().copied()),
            ..Resource::default()
        };
        let resource = mine.resource(&resource);
        let scope = mine.scope(&Scope::default());
        let sent = span(attributes(&mut record.iter().map(|value| ("my.service", *value))));
        let entry = mine.convert(&resource, &scope, Record::Span(&sent)).entry;
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        (body["service"]["name"].clone(), body["resource"].clone())
    };
    let once = [("service.name", "a"), ("tenant.id", "t")];
    assert_eq!(body(&once, &[]), (serde_json::json!("a"), serde_json::json!({"tenant.id": "t"})));
    let both = serde_json::json!({"tenant.id": "t", "service.name": "a"});
    assert_eq!(body(&once, &["own"]), (serde_json::json!("own"), both));
    let two = [("service.name", "a"), ("old.name", "b")];
    assert_eq!(body(&two, &[]), (serde_json::json!("a"), serde_json::json!({"old.name": "b"})));
    let twice = [("service.name", "a"), ("service.name", "b")];
    let list = serde_json::json!({"service.name": ["a", "b"]});
    assert_eq!(body(&twice, &[]), (serde_json::json!("a"), list));
}

#[test]
fn an_operation_that_is_not_known_is_not_guessed_at() {
    let kind = |attributes: &[(&'static str, &'static str)]| {
        let attributes = attributes.iter().map(|(key, value)| Attribute::new(*key, text(value)));
        converted(attributes.collect())["audit"]["kind"].clone()
    };
    let who = [("gen_ai.agent.id", "a"), ("gen_ai.agent.name", "n"), ("gen_ai.provider.name", "p")];
    assert_eq!(kind(&who), "span", "who did it does not say what was done");
    let operation = [("gen_ai.operation.name", "policy_decision")];
    assert_eq!(kind(&[&who[..], &operation].concat()), "span");
    let about = [("gen_ai.tool.name", "issue_refund"), ("gen_ai.request.model", "gpt-4o")];
    assert_eq!(kind(&[&who[..], &operation, &about].concat()), "span");
    let decided = [("spanledger.decision.outcome", "allow")];
    assert_eq!(kind(&[&operation[..], &about, &decided].concat()), "decision");
    assert_eq!(kind(&[("spanledger.decision", "deny"), about[0]]), "decision");
    assert_eq!(kind(&[("gen_ai.operation.name", "chat")]), "llm_call");
    assert_eq!(kind(&about[1..]), "llm_call", "without an operation the model tells");
}

#[test]
fn an_answer_to_a_decision_is_an_approval_and_the_question_is_a_decision() {
    let kind = |attributes: &[(&'static str, &'static str)]| {
        let id = [("spanledger.decision.id", "decision-1"), ("spanledger.approval.id", "ap-1")];
        let attributes = id.iter().chain(attributes);
        let attributes = attributes.map(|(key, value)| Attribute::new(*key, text(value)));
        converted(attributes.collect())["audit"]["kind"].clone()
    };
    for answer in [
        ("spanledger.approval.resolved_by", "ops-lead"),
        ("spanledger.approval.resolution", "rejected"),
        ("spanledger.approval.status", "approved"),
        ("spanledger.approval.status", "rejected"),
    ] {
        assert_eq!(kind(&[answer, ("spanledger.approval.required", "true")]), "approval");
    }
    let required = ("spanledger.approval.required", "true");
    let pending = ("spanledger.approval.status", "pending");
    let outcome = ("spanledger.decision.outcome", "require_approval");
    assert_eq!(kind(&[outcome, required, pending]), "decision");
    assert_eq!(kind(&[required, pending]), "decision");
}

#[test]
fn content_in_events_is_payload_so_that_it_can_be_hashed() {
    let mut call = span(vec![Attribute::new("gen_ai.operation.name", text("chat"))]);
    call.events = vec![Event {
        name: "gen_ai.choice".into(),
        time_ns: 3,
        attributes: vec![
            Attribute::new("message", text("the answer")),
            Attribute::new("index", Value::Int(0)),
        ],
        ..Event::default()
    }];
    let resource = BUILTIN.resource(&Resource::default());
    let scope = BUILTIN.scope(&Scope::default());
    let entry = BUILTIN.convert(&resource, &scope, Record::Span(&call)).entry;
    assert_eq!(entry.audit.payload[0].kind, PayloadKind::Response);
    assert_eq!(entry.audit.payload[0].source, "gen_ai.choice/message");
    assert_eq!(entry.audit.payload[0].bytes, 10);
    assert_eq!(entry.events[0].attributes.len(), 1);
}

#[test]
fn a_mapping_of_ones_own_is_understood() {
    let mine = with(
        "name: mine\nrank: 10\ndetect: [{span: 'my.*'}]\nkinds:\n  - {span: my.tool, kind: tool_call, \
         action: my.verb}\nfields:\n  - {from: [my.user, 'my.*.user'], to: user.id}\n",
    )
    .unwrap();
    let mut tool = span(vec![Attribute::new("my.7.user", text("u"))]);
    tool.name = "my.tool".into();
    let body = body_of(&mine, Record::Span(&tool));
    assert_eq!(body["audit"]["mapping"], "mine");
    assert_eq!(body["audit"]["kind"], "tool_call");
    assert_eq!(body["event"]["action"], "my.verb");
    assert_eq!(body["user"]["id"], "u");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    assert_eq!(
        problem("name: mine\nrank: 1\nfeilds: []\n"),
        "mine.yaml:3: unknown key \"feilds\", did you mean \"fields\"?"
    );
    assert_eq!(
        problem(
            "name: mine\nrank: 1\nfields:\n  - {from: a, to: user.id}\n  - {form: b, to: user.id}\n"
        ),
        "mine.yaml:5: unknown key \"form\", did you mean \"from\"?"
    );
}

#[test]
fn an_unknown_word_is_refused_with_its_line_and_the_nearest_known_one() {
    let head = "name: mine\nrank: 1\n";
    for (rest, message) in [
        (
            "fields:\n  - {from: a, to: user.di}\n",
            "mine.yaml:4: unknown field \"user.di\", did you mean \"user.id\"?",
        ),
        (
            "fields:\n  - {from: a, to: user.id, as: quotd}\n",
            "mine.yaml:4: unknown decoder \"quotd\", did you mean \"quoted\"?",
        ),
        (
            "kinds:\n\n  - {span: a, kind: tool_cal}\n",
            "mine.yaml:5: unknown kind \"tool_cal\", did you mean \"tool_call\"?",
        ),
        (
            "payloads:\n  - {from: a, kind: promt}\n",
            "mine.yaml:4: unknown payload \"promt\", did you mean \"prompt\"?",
        ),
        (
            "fields:\n  - {from: a, to: gen_ai.usage.cost, as: approval}\n",
            "mine.yaml:4: decoder \"approval\" does not suit the field \"gen_ai.usage.cost\"",
        ),
        (
            "detect:\n  - {is: audit}\n",
            "mine.yaml:4: a sign needs `scope`, `schema`, `span`, `event` or `attribute`",
        ),
        (
            "resource:\n  - {from: a, to: gen_ai.usage.cost}\n",
            "mine.yaml:4: a resource cannot fill \"gen_ai.usage.cost\": not a text",
        ),
    ] {
        assert_eq!(problem(&format!("{head}{rest}")), message);
    }
    assert!(problem("name: [").starts_with("mine.yaml:"), "broken yaml has a line too");
    assert!(problem("rank: 1\n").contains("name"), "what is missing is named");
}

#[test]
fn a_folder_replaces_the_mapping_of_the_same_name_and_adds_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("langsmith.yaml"), "name: langsmith\nrank: 30\n").unwrap();
    std::fs::write(
        folder.path().join("mine.yaml"),
        "name: mine\nrank: 20\nfields:\n  - {from: my.user, to: user.id}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a mapping").unwrap();
    let mappings = Mappings::load(folder.path()).unwrap();
    assert_ne!(mappings.version(), BUILTIN.version());
    let sent = span(vec![
        Attribute::new("my.user", text("u")),
        Attribute::new("langsmith.metadata.thread_id", text("thread")),
    ]);
    let body = body_of(&mappings, Record::Span(&sent));
    assert_eq!(body["user"]["id"], "u");
    assert!(body["audit"]["session"].is_null(), "the replaced mapping says nothing");
    let missing = Mappings::load(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("check the path"), "{missing}");
}

#[test]
fn the_version_names_the_mappings_and_nothing_else() {
    assert_eq!(Mappings::builtin().unwrap().version(), BUILTIN.version());
    assert_ne!(with("name: a\nrank: 1\n").unwrap().version(), BUILTIN.version());
}
