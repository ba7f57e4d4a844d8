//! What a mapping can say beyond "this name fills that field", and the messages for mistakes there.

use super::*;
use crate::span::{Attribute, LogRecord};
use serde_json::{Value as JsonValue, json};

fn mapping(rules: &str) -> Result<Mappings, MappingError> {
    let text = format!("name: mine\nrank: 40\n{rules}");
    Mappings::of(&[("mine.yaml".to_owned(), text)])
}

/// The entry of a span with these attributes, by one mapping of these rules.
fn entry(rules: &str, name: &str, attributes: &[(&str, &str)]) -> JsonValue {
    let mappings = mapping(rules).unwrap();
    let attributes = attributes.iter();
    let attributes =
        attributes.map(|(key, value)| Attribute::new(*key, Value::Text((*value).into())));
    let span = Span {
        trace_id: [7; 16],
        span_id: [7; 8],
        name: name.into(),
        start_ns: 1,
        end_ns: 2,
        attributes: attributes.collect(),
        ..Span::default()
    };
    body(&mappings, Record::Span(&span))
}

fn body(mappings: &Mappings, record: Record<'_, '_>) -> JsonValue {
    let resource = mappings.resource(&Resource::default());
    let scope = mappings.scope(&Scope::default());
    let mut body = Vec::new();
    mappings.convert(&resource, &scope, record).entry.write(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn problem(rules: &str) -> String {
    mapping(rules).unwrap_err().to_string()
}

#[test]
fn a_text_that_says_nothing_yields_to_the_next_name_and_stays_an_attribute() {
    let rules = "fields:\n  - {from: [my.id, old.id], to: user.id, except: ['none', '<*>']}";
    for nothing in ["none", "<not specified>"] {
        let entry = entry(rules, "x", &[("my.id", nothing), ("old.id", "u-1")]);
        assert_eq!(entry["user"]["id"], "u-1");
        assert_eq!(entry["attributes"]["my.id"], nothing);
        assert!(entry["audit"]["flags"].is_null(), "it is no mistake");
    }
}

#[test]
fn otherwise_fills_a_field_only_when_no_member_did() {
    let rules = "fields:\n  - {from: my.conversation, to: audit.session.id, otherwise: true}\n\
                 nested:\n  - from: my.meta\n    fields:\n      - {from: session, to: audit.session.id}";
    let alone = entry(rules, "x", &[("my.conversation", "c-1")]);
    assert_eq!(alone["audit"]["session"]["id"], "c-1");
    assert_eq!(alone["attributes"]["my.conversation"], "c-1", "and keeps its name");
    let both = &[("my.conversation", "c-1"), ("my.meta", r#"{"session":"s-1"}"#)];
    assert_eq!(entry(rules, "x", both)["audit"]["session"]["id"], "s-1");
}

#[test]
fn a_payload_is_found_inside_of_its_wrapping_and_the_whole_is_kept_behind_it() {
    let rules =
        "payloads:\n  - {from: my.args, kind: arguments, inside: [kwargs, args.0], as: python}";
    let payloads = |value| entry(rules, "x", &[("my.args", value)])["audit"]["payload"].clone();
    let found = payloads(r#"{"args":["{'a': None}"],"kwargs":{}}"#);
    assert_eq!(found[0]["text"], r#"{"a":null}"#, "the first path that leads to something");
    assert_eq!(found[0]["source"], "my.args/args.0");
    assert_eq!(found[1]["source"], "my.args");
    assert_eq!(found[1]["kind"], "arguments", "whoever hashes arguments hashes both");
    let plain = payloads("just text");
    assert_eq!((plain.as_array().unwrap().len(), &plain[0]["text"]), (1, &json!("just text")));
}

#[test]
fn a_payload_that_says_nothing_stays_an_attribute() {
    let rules = "payloads:\n  - {from: my.args, kind: arguments, except: '{}'}";
    let entry = entry(rules, "x", &[("my.args", "{}")]);
    assert!(entry["audit"]["payload"].is_null());
    assert_eq!(entry["attributes"]["my.args"], "{}");
}

#[test]
fn a_family_that_owns_an_attribute_also_keeps_others_from_looking_into_it() {
    let general = "name: general\nrank: 10\nnested:\n  - from: my.meta\n    fields:\n      - {from: model, to: gen_ai.request.model}";
    let own = "name: own\nrank: 40\ndetect:\n  - attribute: my.sign\nowns: [my.meta]";
    let files = [("general.yaml", general), ("own.yaml", own)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let mappings = Mappings::of(&files).unwrap();
    let sent = |sign: &'static str| Span {
        attributes: vec![
            Attribute::new("my.meta", Value::Text(r#"{"model":"m"}"#.into())),
            Attribute::new(sign, Value::Bool(true)),
        ],
        ..Span::default()
    };
    let model =
        |span: &Span<'_>| body(&mappings, Record::Span(span))["gen_ai"]["request"]["model"].clone();
    assert_eq!(model(&sent("other")), "m");
    assert_eq!(model(&sent("my.sign")), JsonValue::Null);
}

#[test]
fn the_tokens_of_a_span_that_sums_up_are_marked_by_its_name() {
    let rules = "fields:\n  - {from: my.tokens, to: gen_ai.usage.input_tokens}\n\
                 usage_repeated:\n  spans: [\"prepare *\"]";
    let repeated =
        |name| entry(rules, name, &[("my.tokens", "7")])["gen_ai"]["usage"]["repeated"].clone();
    assert_eq!(repeated("prepare chat"), true);
    assert_eq!(repeated("chat"), JsonValue::Null);
}

#[test]
fn a_version_of_a_family_is_told_by_the_schema_url_of_its_scope() {
    let rules = "only_when_detected: true\ndetect:\n  - schema: https://example.org/2\n\
                 kinds:\n  - {span: call, kind: llm_call}";
    let mappings = mapping(rules).unwrap();
    let kind = |schema: &'static str| {
        let resource = mappings.resource(&Resource::default());
        let scope = Scope { schema_url: schema.into(), ..Scope::default() };
        let scope = mappings.scope(&scope);
        let span = Span { name: "call".into(), ..Span::default() };
        mappings.convert(&resource, &scope, Record::Span(&span)).entry.audit.kind
    };
    assert_eq!(kind("https://example.org/2"), Kind::LlmCall);
    assert_eq!(kind("https://example.org/1"), Kind::Span);
}

#[test]
fn a_log_record_without_a_name_is_the_event_that_its_attribute_names() {
    let rules = "event_names: my.event\nkinds:\n  - {event: paused, kind: interrupt}";
    let log = LogRecord {
        attributes: vec![Attribute::new("my.event", Value::Text("paused".into()))],
        ..LogRecord::default()
    };
    let mappings = mapping(rules).unwrap();
    let named = body(&mappings, Record::Log(&log));
    assert_eq!(named["audit"]["kind"], "interrupt");
    assert_eq!(named["log"]["event_name"], "paused");
    let other = LogRecord { event_name: "other".into(), ..log };
    assert_eq!(
        body(&mappings, Record::Log(&other))["audit"]["kind"],
        "log",
        "its own name goes first"
    );
}

#[test]
fn mistakes_are_refused_with_their_line_and_a_way_out() {
    assert_eq!(
        problem("span_names:\n  - {name: chat, to: gen_ai.request.model}"),
        "mine.yaml:4: the pattern \"chat\" needs one `*`: it fills the field"
    );
    assert!(
        problem("span_names:\n  - {name: 'x *', to: gen_ai.usage.input_tokens}")
            .contains("not a text")
    );
    assert!(
        problem("payloads:\n  - {from: a, kind: arguments, as: pyton}")
            .contains("unknown decoder of a payload \"pyton\", did you mean \"python\"?")
    );
    assert!(problem("fields:\n  - {from: a, to: user.id, exept: b}").contains("did you mean"));
    assert!(
        problem("fields:\n  - {from: a, to: audit.external.trace_id, otherwise: true}")
            .contains("takes every value")
    );
}

#[test]
fn no_mapping_gives_a_record_the_dataset_of_our_own_entries() {
    for dataset in ["spanledger", "' spanledger '"] {
        let problem = problem(&format!("dataset: {dataset}\n"));
        assert!(problem.contains("mine.yaml") && problem.contains('3'), "{problem}");
        assert!(problem.contains("makes itself"), "{problem}");
    }
    assert!(mapping("dataset: spanledger.plugin\n").is_ok());
}
